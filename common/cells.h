/* cells: the recurrent cells of chapters 01 to 04, fused: T steps of one cell are one entry on the tape.
 *
 * A chapter that teaches a cell builds it from visible ops, a dozen a step. Each of those writes a matrix, reads two, and
 * makes a gradient for the way back; at 64 steps the numbers' way through memory takes longer than the arithmetic. Here a
 * block of sequences goes through all T steps while its numbers are in cache, and only what the way back needs is kept. The
 * results are the same; tests/test_cells.c holds values and gradients against the visible versions.
 *
 * Input. What the symbols add to the gates, before the recurrence: row t·B + b belongs to step t of sequence b.
 *
 *     index NULL     x (T·B, G·H) has these rows: x = input Wx + b, one product for all steps
 *     index (T·B)    row index[t·B + b] of x (V, G·H) is meant: x is the table E Wx + b of all symbols
 *
 * G is the number of gates, whose columns lie side by side in x and in Wh (H, G·H). h0 and c0 (B,H) are the states before
 * the first step. All h after it come as (T·B, H), the last ones also as views (B,H). Everything lives until tape_reset.
 * The way back works in place, so a tape with a fused cell can be gone back only once. `where` is supplied as in ops.h.   */
#ifndef WORKBOOK_CELLS_H
#define WORKBOOK_CELLS_H

#include "tape.h"

typedef struct { Var *h, *h_last, *c_last; } Layer;        /* c_last: only of an LSTM */

/* h = tanh(x + h Wh)                                                                             gates [ h ]              */
Layer cell_rnn(const char *where, Var *x, const int *index, Var *Wh, Var *h0, int T);

/* i, f, o = σ(·), g = tanh(·) of x + h Wh;  c = f ⊙ c + i ⊙ g;  h = o ⊙ tanh c                   gates [ i | f | g | o ]
 * Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000.                                                              */
Layer cell_lstm(const char *where, Var *x, const int *index, Var *Wh, Var *h0, Var *c0, int T);

/* r, z = σ(x + h Wh);  n = tanh(xn + (r ⊙ h) Whn);  h = n + z ⊙ (h - n)                          gates [ r | z | n ]
 * Source: Cho et al. 2014.                                                                                                */
Layer cell_gru(const char *where, Var *x, const int *index, Var *Wh, Var *h0, int T);

/* The same with n = tanh(xn + r ⊙ (h Whn + bn)), bn (1,H): the variant of cuDNN and PyTorch, one product a step.           */
Layer cell_gru_after(const char *where, Var *x, const int *index, Var *Wh, Var *bn, Var *h0, int T);

#define cell_rnn(...)       cell_rnn(HERE, __VA_ARGS__)
#define cell_lstm(...)      cell_lstm(HERE, __VA_ARGS__)
#define cell_gru(...)       cell_gru(HERE, __VA_ARGS__)
#define cell_gru_after(...) cell_gru_after(HERE, __VA_ARGS__)

#endif
