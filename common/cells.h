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

#include "params.h"

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

/* ---- any of them, by name: for chapters where the cell is the user's choice ---------------------------------------------- */

typedef enum { CELL_RNN, CELL_GRU, CELL_LSTM, CELL_KINDS } CellKind;

CellKind    cell_named(const char *name, const char *where);     /* dies, naming `where`, on anything but rnn, gru and lstm */
const char *cell_name(CellKind kind);
int         cell_gates(CellKind kind);                           /* G: 1, 3, 4                                              */

typedef struct { CellKind kind; Var *Wx, *Wh, *b; } CellWeights;     /* (D,GH) (H,GH) (1,GH) */

/* Parameters "name.Wx", "name.Wh", "name.b": weights uniform in ±1/√H, biases 0. After params_allocate, cell_begin sets the
 * forget biases of an LSTM to 1 (chapter 03).                                                                              */
CellWeights cell_weights(Params *p, const char *name, CellKind kind, int D, int H);
void cell_begin(const CellWeights *w);

Var *cell_input(const CellWeights *w, Var *x);           /* x Wx + b: what a cell is given, or a table of it to look up in */

/* T steps from h0 and c0. For cells that have no c, c_last is c0.                                                         */
Layer cell_layer(const char *where, const CellWeights *w, Var *x, const int *index, Var *h0, Var *c0, int T);

#define cell_layer(...)     cell_layer(HERE, __VA_ARGS__)
#define cell_rnn(...)       cell_rnn(HERE, __VA_ARGS__)
#define cell_lstm(...)      cell_lstm(HERE, __VA_ARGS__)
#define cell_gru(...)       cell_gru(HERE, __VA_ARGS__)
#define cell_gru_after(...) cell_gru_after(HERE, __VA_ARGS__)

#endif
