/* ops: the operations that the tape knows.
 *
 * Each stands here with its equation, its shapes and its way back. dX means ∂loss/∂X and has X's shape; ⊙ is element by
 * element. The way back always adds (+=), because a value that is used twice gets gradients from both uses.
 *
 * Every result lives on the tape until tape_reset. Nothing is broadcast but a row that is declared as (1,n), b or g. A shape that does
 * not fit aborts with the op, both shapes and the line of the caller: that is what the macros at the end are for.
 * `where` is that line; they supply it, so one writes v_add(a, b).                                                        */
#ifndef WORKBOOK_OPS_H
#define WORKBOOK_OPS_H

#include "rng.h"
#include "tape.h"

/* ---- element by element: A and B of one shape ---------------------------------------------------------------------- */

Var *v_add(const char *where, Var *A, Var *B);       /* A + B          dA += dY            dB += dY           */
Var *v_sub(const char *where, Var *A, Var *B);       /* A - B          dA += dY            dB -= dY           */
Var *v_mul(const char *where, Var *A, Var *B);       /* A ⊙ B          dA += dY ⊙ B        dB += dY ⊙ A       */
Var *v_scale(const char *where, Var *A, double s);   /* s A            dA += s dY                             */
Var *v_tanh(const char *where, Var *A);              /* Y = tanh A     dA += dY ⊙ (1 - Y²)                    */
Var *v_sigmoid(const char *where, Var *A);           /* Y = σ(A)       dA += dY ⊙ Y ⊙ (1 - Y)                 */
Var *v_relu(const char *where, Var *A);              /* max(A, 0)      dA += dY where A > 0                   */

/* ---- products ------------------------------------------------------------------------------------------------------ */

/* v_matmul: C = A B.        A (m,k), B (k,n)  →  C (m,n)
 *     dA += dC Bᵀ           (m,n)(n,k)
 *     dB += Aᵀ dC           (k,m)(m,n)                                                                                    */
Var *v_matmul(const char *where, Var *A, Var *B);

/* v_matmul_nt: C = A Bᵀ.    A (m,k), B (n,k)  →  C (m,n): every row of A with every row of B
 *     dA += dC B            (m,n)(n,k)
 *     dB += dCᵀ A           (n,m)(m,k)                                                                                    */
Var *v_matmul_nt(const char *where, Var *A, Var *B);

/* v_linear: Y = X W + b, b added to every row, as one op: half the trips through memory of v_add_bias(v_matmul(X, W), b).
 * X (m,k), W (k,n), b (1,n)  →  Y (m,n)        dX += dY Wᵀ      dW += Xᵀ dY      db += Σ over the rows of dY                */
Var *v_linear(const char *where, Var *X, Var *W, Var *b);

/* v_linear_relu: Y = dropout(max(X W + b, 0)), the same as v_dropout(v_relu(v_linear(X, W, b)), p, rng) to the last bit, with
 * one matrix in memory instead of four. (Y is positive just where a gradient comes through, so it need not be asked twice.)
 * The way back works in place: Y's gradient is not ∂loss/∂Y afterwards.                                                   */
Var *v_linear_relu(const char *where, Var *X, Var *W, Var *b, double p, Rng *rng);

/* v_add_bias: Y = A + b to every row.   A (m,n), b (1,n)      dA += dY      db += Σ over the rows of dY                   */
Var *v_add_bias(const char *where, Var *A, Var *b);

/* ---- moving: no arithmetic ----------------------------------------------------------------------------------------- */

/* Views. They share A's numbers and A's gradient, so they cost nothing and have no way back of their own.                 */
Var *v_cols(const char *where, Var *A, int first, int count);            /* (m, count) */
Var *v_rows(const char *where, Var *A, int first, int count);            /* (count, n) */
Var *v_every(const char *where, Var *A, int first, int step, int count); /* (count, n): rows first, first+step, first+2 step … */

Var *v_hcat(const char *where, Var *const *parts, int count);            /* side by side: all (m, n_i) → (m, Σ n_i)        */
Var *v_vcat(const char *where, Var *const *parts, int count);            /* one above the other: all (m_i, n) → (Σ m_i, n) */

/* v_lookup: row r of Y is row index[r] of A.   A (v,n), index (rows) → Y (rows,n)      dA[index[r]] += dY[r], r in order.
 * The same as a matrix of one-hot rows times A. An index of -1 gives a row of zeros. index is copied.                     */
Var *v_lookup(const char *where, Var *A, const int *index, int rows);

/* ---- rows that are distributions ----------------------------------------------------------------------------------- */

/* v_softmax: each row of Y = exp(A) / Σ exp(A), over the columns where mask (of A's shape; NULL: everywhere) is not 0;
 * elsewhere exactly 0.      dA += Y ⊙ (dY - Σ over the row of dY ⊙ Y)                                                     */
Var *v_softmax(const char *where, Var *A, const Matrix *mask);

/* v_layer_norm: each row moved and scaled to mean 0 and variance 1, then stretched and moved by what is learned.
 * A (m,n), g and b (1,n)  →  Y (m,n):     u = (a - mean a) / √(var a + 1e-5)      y = g ⊙ u + b
 *     dg += Σ dY ⊙ u      db += Σ dY  over the rows;      with d = dY ⊙ g:   dA += (d - mean d - u mean(d ⊙ u)) / √(var a + 1e-5)
 * Source: Ba, Kiros and Hinton, "Layer normalization", 2016.                                                              */
Var *v_layer_norm(const char *where, Var *A, Var *g, Var *b);

/* v_cross_entropy: the mean of -ln softmax(A[r])[target[r]] over the rows r whose target is not negative, in nats (1,1).
 * Negative targets are padding; with nothing else the loss is 0.   dA += dY (softmax(A) - onehot(target)) / rows counted.
 * target (A.rows) is copied.                                                                                              */
Var *v_cross_entropy(const char *where, Var *A, const int *target);

/* ---- the rest ------------------------------------------------------------------------------------------------------ */

Var *v_mean(const char *where, Var *A);              /* (1,1), the mean of all elements       dA += dY / (m n) */

/* v_dropout: each element is kept with probability 1-p and then divided by it, so that its mean stays; or else 0.
 * p = 0, and a tape that does not record, as in evaluation, pass A through.                                              */
Var *v_dropout(const char *where, Var *A, double p, Rng *rng);

#define v_add(...)           v_add(HERE, __VA_ARGS__)
#define v_sub(...)           v_sub(HERE, __VA_ARGS__)
#define v_mul(...)           v_mul(HERE, __VA_ARGS__)
#define v_scale(...)         v_scale(HERE, __VA_ARGS__)
#define v_tanh(...)          v_tanh(HERE, __VA_ARGS__)
#define v_sigmoid(...)       v_sigmoid(HERE, __VA_ARGS__)
#define v_relu(...)          v_relu(HERE, __VA_ARGS__)
#define v_matmul(...)        v_matmul(HERE, __VA_ARGS__)
#define v_matmul_nt(...)     v_matmul_nt(HERE, __VA_ARGS__)
#define v_linear(...)        v_linear(HERE, __VA_ARGS__)
#define v_linear_relu(...)   v_linear_relu(HERE, __VA_ARGS__)
#define v_add_bias(...)      v_add_bias(HERE, __VA_ARGS__)
#define v_cols(...)          v_cols(HERE, __VA_ARGS__)
#define v_rows(...)          v_rows(HERE, __VA_ARGS__)
#define v_every(...)         v_every(HERE, __VA_ARGS__)
#define v_hcat(...)          v_hcat(HERE, __VA_ARGS__)
#define v_vcat(...)          v_vcat(HERE, __VA_ARGS__)
#define v_lookup(...)        v_lookup(HERE, __VA_ARGS__)
#define v_softmax(...)       v_softmax(HERE, __VA_ARGS__)
#define v_layer_norm(...)    v_layer_norm(HERE, __VA_ARGS__)
#define v_cross_entropy(...) v_cross_entropy(HERE, __VA_ARGS__)
#define v_mean(...)          v_mean(HERE, __VA_ARGS__)
#define v_dropout(...)       v_dropout(HERE, __VA_ARGS__)

#endif
