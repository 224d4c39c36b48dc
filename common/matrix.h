/* matrix: row-major matrices of two dimensions, and the kernels on them.
 *
 * A Matrix is a view: it says where numbers lie and owns none of them. Element (r,c) is at[r·stride + c], so a block of
 * rows or of columns of a matrix is a matrix too, at no cost; copying the struct copies the view.
 *
 * Every kernel gives the same bits whatever the compiler, vector width or number of threads, because the order in which
 * each sum is taken is written down here and nowhere left to chance:
 *
 *     matmul     an element of C is one chain of real_fma over k = 0, 1, 2 …
 *     sums       LANES partial sums, element j going to lane j mod LANES, then added in pairs (sum_lanes)
 *
 * Outputs must not overlap inputs, except where a kernel says that Y may be X.                                            */
#ifndef WORKBOOK_MATRIX_H
#define WORKBOOK_MATRIX_H

#include "arena.h"
#include "check.h"
#include "real.h"

#include <stdbool.h>

enum { LANES = 16 };

typedef struct {
    int rows, cols, stride;                /* stride ≥ cols: reals from one row to the next */
    real *at;                              /* (rows, cols)                                  */
} Matrix;

/* ---- making and viewing ------------------------------------------------------------------------------------------- */

Matrix mat_over(real *at, int rows, int cols);                   /* a view of rows·cols reals that the caller owns     */
Matrix mat_take(Arena *arena, int rows, int cols);               /* from an arena, not cleared; lives until its reset  */
Matrix mat_new(int rows, int cols);                              /* zeroed; the caller calls mat_free                  */
void   mat_free(Matrix *m);
Matrix mat_rows(Matrix m, int first, int count);                 /* view (count, m.cols)                               */
Matrix mat_cols(Matrix m, int first, int count);                 /* view (m.rows, count)                               */
Matrix mat_every(Matrix m, int first, int step, int count);      /* view of rows first, first+step, …: (count, m.cols) */

static inline real *mat_row(Matrix m, int r) { return m.at + (ptrdiff_t)r * m.stride; }
static inline size_t mat_size(Matrix m)      { return (size_t)m.rows * (size_t)m.cols; }
static inline bool mat_same_shape(Matrix a, Matrix b) { return a.rows == b.rows && a.cols == b.cols; }

/* ---- products ----------------------------------------------------------------------------------------------------- */

typedef enum { SET, ADD } Into;            /* C = …  or  C += …, the chain then starting from what C holds */

void matmul_nn(Matrix C, Matrix A, Matrix B, Into into);         /* A B     A (m,k)  B (k,n)  →  C (m,n) */
void matmul_bias(Matrix C, Matrix A, Matrix B, Matrix b);        /* A B + b in every row, b (1,n): the chains begin with b */
void matmul_nt(Matrix C, Matrix A, Matrix B, Into into);         /* A Bᵀ    A (m,k)  B (n,k)  →  C (m,n) */
void matmul_tn(Matrix C, Matrix A, Matrix B, Into into);         /* Aᵀ B    A (k,m)  B (k,n)  →  C (m,n) */

/* ---- element by element ------------------------------------------------------------------------------------------- */

/* RowFn: y[j] = f(a[j], b[j], s) for j < n, or y[j] += …; a and b may be NULL where f does not read them.
 * mat_map runs it over Y and over the operands of Y's shape, several elements and several threads at a time.              */
typedef void RowFn(int n, real *y, const real *a, const real *b, real s);
void mat_map(RowFn *f, Matrix Y, const Matrix *A, const Matrix *B, real s);

void mat_fill(Matrix Y, real s);                                 /* Y = s                                              */
void mat_copy(Matrix Y, Matrix A);                               /* Y = A                                              */
void mat_axpy(Matrix Y, real s, Matrix A);                       /* Y += s A                                           */
void mat_tanh(Matrix Y, Matrix A);                               /* Y = tanh A;  Y may be A                            */

/* ---- rows and columns --------------------------------------------------------------------------------------------- */

/* mat_softmax: each row of Y = exp(a - max a) / Σ exp(a - max a); Y may be A. Where mask (of A's shape, or NULL) is 0 the
 * result is exactly 0. A row that is masked altogether becomes 0.                                                         */
void mat_softmax(Matrix Y, Matrix A, const Matrix *mask);

/* mat_cross_entropy: loss[r] = -ln softmax(row r of A)[target[r]] in nats, and P = softmax(A), for every row r; P may be
 * A. A row whose target is negative is padding: loss 0, and its row of P is 0.                                            */
void mat_cross_entropy(Matrix P, real *loss, Matrix A, const int *target);

/* Rows by number. A negative index stands for no row: it reads zeros, and is not added to.                                */
void mat_gather(Matrix Y, Matrix A, const int *index);           /* row r of Y = row index[r] of A                     */
void mat_scatter(Matrix A, const int *index, Matrix Y);          /* row index[r] of A += row r of Y, r in order        */

void mat_add_row(Matrix Y, Matrix b);                            /* Y += b, b (1,n) added to every row                 */
void mat_sum_rows(Matrix b, Matrix A, Into into);                /* b (1,n) = Σ over the rows of A (m,n), in order     */
real sum_lanes(const real *x, int n);                            /* Σ x[j], the fixed order of all our sums            */
void sum_each_row(real *sum, Matrix A);                          /* sum[r] = sum_lanes of row r, many rows at a time   */
double sum_squares(const real *x, size_t n);                     /* Σ x[j]², in double, the same fixed order           */

#endif
