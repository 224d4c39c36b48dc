/* Each op: what it does to rows of numbers there (…_row) and back (…_row_back), its way back, and its forward function,
 * in this order. The forward function checks shapes first. Names stand in parentheses, (v_add), because the header's macro
 * of the same name would otherwise supply a line of this file for the caller's.                                           */
#include "ops.h"
#include "maths.h"
#include "threads.h"

#include <string.h>

#define SHAPE(v) (v)->value.rows, (v)->value.cols
#define ONE(a)    (Var *[]){ (a) }, 1
#define TWO(a, b) (Var *[]){ (a), (b) }, 2

/* A RowFn (matrix.h) of one line: y[j] = what, from a[j], b[j] and s. On the way back y is dA, a is dY, and b is Y. */
#define ROW(name, what)                                                         \
static void name(int n, real *y, const real *a, const real *b, real s)          \
{                                                                               \
    (void)a, (void)b, (void)s;                                                  \
    for (int j = 0; j < n; j++) y[j] = what;                                    \
}

ROW(scale_row, s * a[j])

static void add_into(Var *to, real s, Matrix dy)
{
    Into into;
    if (!to->tracked) return;
    Matrix grad = var_grad_into(to, &into);
    if (into == SET) mat_map(scale_row, grad, &dy, NULL, s);
    else mat_axpy(grad, s, dy);
}

/* The gradient of a product's operand: (C op A B) into it, where it is tracked. */
static void product_back(void (*product)(Matrix, Matrix, Matrix, Into), Var *to, Matrix A, Matrix B)
{
    Into into;
    if (!to->tracked) return;
    Matrix grad = var_grad_into(to, &into);
    product(grad, A, B, into);
}

/* y (of a's shape) = f(a, b, s), with this way back where a gradient may come */
static Var *elementwise(const char *op, const char *where, RowFn *f, Var *A, Var *B, double s, Backward *backward)
{
    CHECK_AT(where, !B || mat_same_shape(A->value, B->value), "%s: (%d,%d) and (%d,%d)", op, SHAPE(A),
             B->value.rows, B->value.cols);
    Var *y = tape_push(op, where, (Var *[]){ A, B }, B ? 2 : 1, SHAPE(A), backward);
    y->scalar = (real)s;
    mat_map(f, y->value, &A->value, B ? &B->value : NULL, y->scalar);
    return y;
}

/* ---- add, sub, scale ----------------------------------------------------------------------------------------------- */

ROW(add_row, a[j] + b[j])

static void add_back(Var *y)
{
    add_into(y->in[0], 1, y->grad);
    add_into(y->in[1], 1, y->grad);
}

Var *(v_add)(const char *where, Var *A, Var *B) { return elementwise("add", where, add_row, A, B, 0, add_back); }

ROW(sub_row, a[j] - b[j])

static void sub_back(Var *y)
{
    add_into(y->in[0], 1, y->grad);
    add_into(y->in[1], -1, y->grad);
}

Var *(v_sub)(const char *where, Var *A, Var *B) { return elementwise("sub", where, sub_row, A, B, 0, sub_back); }

static void scale_back(Var *y)
{
    add_into(y->in[0], y->scalar, y->grad);
}

Var *(v_scale)(const char *where, Var *A, double s) { return elementwise("scale", where, scale_row, A, NULL, s, scale_back); }

/* ---- mul ----------------------------------------------------------------------------------------------------------- */

ROW(mul_row, a[j] * b[j])
ROW(mul_add_row, real_fma(a[j], b[j], y[j]))

static void mul_back(Var *y)
{
    Var *a = y->in[0], *b = y->in[1];
    if (a->tracked) mat_map(mul_add_row, var_grad(a), &y->grad, &b->value, 0);
    if (b->tracked) mat_map(mul_add_row, var_grad(b), &y->grad, &a->value, 0);
}

Var *(v_mul)(const char *where, Var *A, Var *B) { return elementwise("mul", where, mul_row, A, B, 0, mul_back); }

/* ---- tanh, sigmoid, relu: the slope from the result ------------------------------------------------------------------ */

ROW(tanh_row_back, real_fma(a[j], real_fma(-b[j], b[j], 1), y[j]))

static void tanh_back(Var *y)
{
    mat_map(tanh_row_back, var_grad(y->in[0]), &y->grad, &y->value, 0);
}

Var *(v_tanh)(const char *where, Var *A)
{
    Var *y = tape_push("tanh", where, ONE(A), SHAPE(A), tanh_back);
    mat_tanh(y->value, A->value);
    return y;
}

ROW(sigmoid_row, r_sigmoid(a[j]))
ROW(sigmoid_row_back, real_fma(a[j], real_fma(-b[j], b[j], b[j]), y[j]))

static void sigmoid_back(Var *y)
{
    mat_map(sigmoid_row_back, var_grad(y->in[0]), &y->grad, &y->value, 0);
}

Var *(v_sigmoid)(const char *where, Var *A) { return elementwise("sigmoid", where, sigmoid_row, A, NULL, 0, sigmoid_back); }

ROW(relu_row, a[j] <= 0 ? 0 : a[j])              /* which lets NaN through, to be seen */
ROW(relu_row_back, y[j] + (b[j] > 0 ? a[j] : 0))

static void relu_back(Var *y)
{
    mat_map(relu_row_back, var_grad(y->in[0]), &y->grad, &y->value, 0);
}

Var *(v_relu)(const char *where, Var *A) { return elementwise("relu", where, relu_row, A, NULL, 0, relu_back); }

/* ---- products ------------------------------------------------------------------------------------------------------ */

static void matmul_back(Var *y)
{
    product_back(matmul_nt, y->in[0], y->grad, y->in[1]->value);
    product_back(matmul_tn, y->in[1], y->in[0]->value, y->grad);
}

Var *(v_matmul)(const char *where, Var *A, Var *B)
{
    CHECK_AT(where, A->value.cols == B->value.rows, "matmul: A (%d,%d), B (%d,%d)", SHAPE(A), SHAPE(B));
    Var *y = tape_push("matmul", where, TWO(A, B), A->value.rows, B->value.cols, matmul_back);
    matmul_nn(y->value, A->value, B->value, SET);
    return y;
}

static void matmul_nt_back(Var *y)
{
    product_back(matmul_nn, y->in[0], y->grad, y->in[1]->value);
    product_back(matmul_tn, y->in[1], y->grad, y->in[0]->value);
}

Var *(v_matmul_nt)(const char *where, Var *A, Var *B)
{
    CHECK_AT(where, A->value.cols == B->value.cols, "matmul_nt: A (%d,%d), B (%d,%d)", SHAPE(A), SHAPE(B));
    Var *y = tape_push("matmul_nt", where, TWO(A, B), A->value.rows, B->value.rows, matmul_nt_back);
    matmul_nt(y->value, A->value, B->value, SET);
    return y;
}

static void linear_back(Var *y)
{
    matmul_back(y);
    if (y->in[2]->tracked) mat_sum_rows(var_grad(y->in[2]), y->grad, ADD);
}

static Var *linear_push(const char *op, const char *where, Var *X, Var *W, Var *b, Backward *backward)
{
    CHECK_AT(where, X->value.cols == W->value.rows && b->value.rows == 1 && b->value.cols == W->value.cols,
             "%s: X (%d,%d), W (%d,%d), b (%d,%d)", op, SHAPE(X), SHAPE(W), SHAPE(b));
    Var *y = tape_push(op, where, (Var *[]){ X, W, b }, 3, X->value.rows, W->value.cols, backward);
    matmul_bias(y->value, X->value, W->value, b->value);
    return y;
}

Var *(v_linear)(const char *where, Var *X, Var *W, Var *b) { return linear_push("linear", where, X, W, b, linear_back); }

/* scalar: what is kept is multiplied by it */
ROW(linear_relu_row_back, b[j] > 0 ? a[j] * s : 0)

static void linear_relu_back(Var *y)
{
    mat_map(linear_relu_row_back, y->grad, &y->grad, &y->value, y->scalar);
    linear_back(y);
}

typedef struct { Var *y; Rng from; double p; } Dropping;

/* max(y, 0), and some of it dropped, in place; a piece of a row at a time, so that the factors stay in cache */
static void relu_drop_rows(int begin, int end, void *arg)
{
    enum { ROOM = 256 };
    const Dropping *x = arg;
    int n = x->y->value.cols;
    real keep[ROOM];
    Rng rng = rng_skip(x->from, (uint64_t)begin * (uint64_t)n);
    for (int r = begin; r < end; r++)
        for (int j = 0; j < n; j += ROOM) {
            real *restrict y = mat_row(x->y->value, r) + j;
            int count = n - j < ROOM ? n - j : ROOM;
            if (x->p > 0) rng_keep(&rng, x->p, keep, count);
            for (int i = 0; i < count; i++) y[i] = y[i] <= 0 ? 0 : y[i];
            for (int i = 0; i < count && x->p > 0; i++) y[i] *= keep[i];
        }
}

Var *(v_linear_relu)(const char *where, Var *X, Var *W, Var *b, double p, Rng *rng)
{
    CHECK_AT(where, p >= 0 && p < 1, "linear_relu: dropout with probability %g", p);
    Var *y = linear_push("linear_relu", where, X, W, b, linear_relu_back);
    Dropping x = { .y = y, .p = tape_is_recording() ? p : 0 };
    if (x.p > 0) x.from = *rng;
    y->scalar = x.p > 0 ? (real)(1 / (1 - p)) : 1;
    parallel_for(y->value.rows, 4096 / (y->value.cols + 1) + 1, relu_drop_rows, &x);
    if (x.p > 0) *rng = rng_skip(*rng, mat_size(y->value));
    return y;
}

static void add_bias_back(Var *y)
{
    add_into(y->in[0], 1, y->grad);
    if (y->in[1]->tracked) mat_sum_rows(var_grad(y->in[1]), y->grad, ADD);
}

Var *(v_add_bias)(const char *where, Var *A, Var *b)
{
    CHECK_AT(where, b->value.rows == 1 && b->value.cols == A->value.cols, "add_bias: A (%d,%d), b (%d,%d)", SHAPE(A), SHAPE(b));
    Var *y = tape_push("add_bias", where, TWO(A, b), SHAPE(A), add_bias_back);
    Matrix b_in_each_row = { .rows = A->value.rows, .cols = b->value.cols, .stride = 0, .at = b->value.at };
    mat_map(add_row, y->value, &A->value, &b_in_each_row, 0);
    return y;
}

/* ---- views --------------------------------------------------------------------------------------------------------- */

static Var *view(const char *op, const char *where, Var *A, int row, int step, int rows, int col, int cols)
{
    long last = row + (rows - 1L) * step;
    bool inside = row >= 0 && row <= A->value.rows && rows >= 0 && step >= 1 && last < A->value.rows;
    CHECK_AT(where, inside && col >= 0 && cols >= 0 && col <= A->value.cols - cols,
             "%s: rows %d to %ld, columns %d to %d of (%d,%d)", op, row, last + 1, col, col + cols, SHAPE(A));
    Var *y = tape_push(op, where, ONE(A), 0, 0, NULL);
    y->value = mat_cols(mat_every(A->value, row, step, rows), col, cols);
    y->parent = A;
    y->row = row;
    y->col = col;
    y->step = step;
    return y;
}

Var *(v_cols)(const char *where, Var *A, int first, int count)
{
    return view("cols", where, A, 0, 1, A->value.rows, first, count);
}

Var *(v_rows)(const char *where, Var *A, int first, int count)
{
    return view("rows", where, A, first, 1, count, 0, A->value.cols);
}

Var *(v_every)(const char *where, Var *A, int first, int step, int count)
{
    return view("every", where, A, first, step, count, 0, A->value.cols);
}

/* ---- hcat, vcat ---------------------------------------------------------------------------------------------------- */

/* Its columns where parts lie across, side by side; else its rows. */
static int extent(const Var *v, bool across) { return across ? v->value.cols : v->value.rows; }

static Matrix part_of(Matrix whole, int at, const Var *part, bool across)
{
    return across ? mat_cols(whole, at, part->value.cols) : mat_rows(whole, at, part->value.rows);
}

static Var *cat(const char *op, const char *where, Var *const *parts, int count, bool across, Backward *backward)
{
    int total = 0, other = count ? extent(parts[0], !across) : 0;
    for (int i = 0; i < count; total += extent(parts[i++], across))
        CHECK_AT(where, extent(parts[i], !across) == other, "%s: part 0 (%d,%d), part %d (%d,%d)", op,
                 SHAPE(parts[0]), i, SHAPE(parts[i]));
    Var *y = tape_push(op, where, parts, count, across ? other : total, across ? total : other, backward);
    for (int i = 0, at = 0; i < count; at += extent(parts[i++], across))
        mat_copy(part_of(y->value, at, parts[i], across), parts[i]->value);
    return y;
}

static void cat_back(Var *y, bool across)
{
    for (int i = 0, at = 0; i < y->operands; at += extent(y->in[i++], across))
        add_into(y->in[i], 1, part_of(y->grad, at, y->in[i], across));
}

static void hcat_back(Var *y) { cat_back(y, true); }
static void vcat_back(Var *y) { cat_back(y, false); }

Var *(v_hcat)(const char *where, Var *const *parts, int count) { return cat("hcat", where, parts, count, true, hcat_back); }
Var *(v_vcat)(const char *where, Var *const *parts, int count) { return cat("vcat", where, parts, count, false, vcat_back); }

/* ---- lookup -------------------------------------------------------------------------------------------------------- */

static void lookup_back(Var *y)
{
    mat_scatter(var_grad(y->in[0]), y->index, y->grad);
}

Var *(v_lookup)(const char *where, Var *A, const int *index, int rows)
{
    for (int r = 0; r < rows; r++)
        CHECK_AT(where, index[r] < A->value.rows, "lookup: row %d of (%d,%d)", index[r], SHAPE(A));
    Var *y = tape_push("lookup", where, ONE(A), rows, A->value.cols, lookup_back);
    y->index = tape_ints(index, rows);
    mat_gather(y->value, A->value, index);
    return y;
}

/* ---- softmax, cross_entropy ---------------------------------------------------------------------------------------- */

static void softmax_back_rows(int begin, int end, void *arg)
{
    const Var *y = arg;
    int n = y->value.cols;
    for (int r = begin; r < end; r++) {
        const real *dy = mat_row(y->grad, r), *p = mat_row(y->value, r);
        real *da = mat_row(y->in[0]->grad, r), *both = mat_row(y->kept, r);
        for (int j = 0; j < n; j++) both[j] = dy[j] * p[j];
        real mean = sum_lanes(both, n);
        for (int j = 0; j < n; j++) da[j] += real_fma(-mean, p[j], both[j]);
    }
}

static void softmax_back(Var *y)
{
    var_grad(y->in[0]);
    y->kept = tape_matrix(SHAPE(y));
    parallel_for(y->value.rows, 1 + 4096 / (y->value.cols + 1), softmax_back_rows, y);
}

Var *(v_softmax)(const char *where, Var *A, const Matrix *mask)
{
    CHECK_AT(where, !mask || mat_same_shape(A->value, *mask), "softmax: A (%d,%d), mask (%d,%d)", SHAPE(A),
             mask->rows, mask->cols);
    Var *y = tape_push("softmax", where, ONE(A), SHAPE(A), softmax_back);
    mat_softmax(y->value, A->value, mask);
    return y;
}

/* ---- layer_norm: a row of kept holds u, 1/√(var + ε), and room for n numbers, in the end dY ⊙ u ---------------------------- */

/* The rows of a piece, LANES at a time: f(y, first, rows). */
static void norm_groups(const Var *y, int begin, int end, void (*f)(const Var *y, int first, int rows))
{
    for (int r = begin; r < end; r += LANES) f(y, r, end - r < LANES ? end - r : LANES);
}

static void norm_group(const Var *y, int first, int rows)
{
    int n = y->value.cols;
    const real *g = y->in[1]->value.at, *b = y->in[2]->value.at;
    Matrix A = mat_rows(y->in[0]->value, first, rows), U = mat_rows(y->kept, first, rows), Y = mat_rows(y->value, first, rows);
    real sum[LANES];
    sum_each_row(sum, A);
    for (int r = 0; r < rows; r++) {
        const real *a = mat_row(A, r), mean = sum[r] / (real)n;
        real *restrict u = mat_row(U, r), *restrict out = mat_row(Y, r);
        for (int j = 0; j < n; j++) u[j] = a[j] - mean;
        for (int j = 0; j < n; j++) out[j] = u[j] * u[j];
    }
    sum_each_row(sum, Y);
    for (int r = 0; r < rows; r++) {
        real *restrict u = mat_row(U, r), *restrict out = mat_row(Y, r), scale = 1 / real_sqrt(sum[r] / (real)n + (real)1e-5);
        for (int j = 0; j < n; j++) u[j] *= scale;
        for (int j = 0; j < n; j++) out[j] = real_fma(g[j], u[j], b[j]);
        u[n] = scale;
    }
}

static void norm_group_back(const Var *y, int first, int rows)
{
    int n = y->value.cols;
    const real *g = y->in[1]->value.at;
    Matrix dY = mat_rows(y->grad, first, rows), U = mat_rows(y->kept, first, rows), room = mat_cols(U, n + 1, n);
    real mean[LANES], along[LANES];
    for (int r = 0; r < rows; r++) {
        const real *dy = mat_row(dY, r);
        real *restrict x = mat_row(room, r);
        for (int j = 0; j < n; j++) x[j] = dy[j] * g[j];
    }
    sum_each_row(mean, room);
    for (int r = 0; r < rows; r++) {
        const real *u = mat_row(U, r);
        real *restrict x = mat_row(room, r);
        for (int j = 0; j < n; j++) x[j] *= u[j];
    }
    sum_each_row(along, room);
    for (int r = 0; r < rows; r++) {
        const real *dy = mat_row(dY, r), *u = mat_row(U, r), m = mean[r] / (real)n, l = along[r] / (real)n;
        real *restrict da = mat_row(y->in[0]->grad, first + r), *restrict x = mat_row(room, r);
        for (int j = 0; j < n; j++) da[j] = real_fma(u[n], real_fma(-u[j], l, dy[j] * g[j] - m), da[j]);
        for (int j = 0; j < n; j++) x[j] = dy[j] * u[j];
    }
}

static void layer_norm_rows(int begin, int end, void *y)      { norm_groups(y, begin, end, norm_group); }
static void layer_norm_rows_back(int begin, int end, void *y) { norm_groups(y, begin, end, norm_group_back); }

enum { NORM_ROWS = 64 };                   /* that a thread takes at a time */

static void layer_norm_back(Var *y)
{
    int n = y->value.cols;
    var_grad(y->in[0]);                    /* an untracked operand gets one, too, which nobody reads */
    parallel_for(y->value.rows, NORM_ROWS, layer_norm_rows_back, y);
    if (y->in[1]->tracked) mat_sum_rows(var_grad(y->in[1]), mat_cols(y->kept, n + 1, n), ADD);
    if (y->in[2]->tracked) mat_sum_rows(var_grad(y->in[2]), y->grad, ADD);
}

Var *(v_layer_norm)(const char *where, Var *A, Var *g, Var *b)
{
    CHECK_AT(where, g->value.rows == 1 && g->value.cols == A->value.cols && mat_same_shape(g->value, b->value),
             "layer_norm: A (%d,%d), g (%d,%d), b (%d,%d)", SHAPE(A), SHAPE(g), SHAPE(b));
    Var *y = tape_push("layer_norm", where, (Var *[]){ A, g, b }, 3, SHAPE(A), layer_norm_back);
    y->kept = tape_matrix(A->value.rows, 2 * A->value.cols + 1);
    parallel_for(A->value.rows, NORM_ROWS, layer_norm_rows, y);
    return y;
}

/* kept holds softmax(A), scalar 1 / rows counted */
static void cross_entropy_back(Var *y)
{
    Var *a = y->in[0];
    real scale = y->grad.at[0] * y->scalar;
    add_into(a, scale, y->kept);
    for (int r = 0; r < y->kept.rows; r++)
        if (y->index[r] >= 0) mat_row(a->grad, r)[y->index[r]] -= scale;
}

Var *(v_cross_entropy)(const char *where, Var *A, const int *target)
{
    int rows = A->value.rows, counted = 0;
    for (int r = 0; r < rows; r++) {
        CHECK_AT(where, target[r] < A->value.cols, "cross_entropy: target %d at row %d of A (%d,%d)", target[r], r, SHAPE(A));
        counted += target[r] >= 0;
    }
    Var *y = tape_push("cross_entropy", where, ONE(A), 1, 1, cross_entropy_back);
    Matrix losses = tape_matrix(1, rows);
    y->index = tape_ints(target, rows);
    y->kept = tape_matrix(SHAPE(A));
    y->scalar = counted ? 1 / (real)counted : 0;
    mat_cross_entropy(y->kept, losses.at, A->value, target);
    y->value.at[0] = sum_lanes(losses.at, rows) * y->scalar;
    return y;
}

/* ---- mean, dropout -------------------------------------------------------------------------------------------------- */

ROW(add_scalar_row, y[j] + s)

static void mean_back(Var *y)
{
    mat_map(add_scalar_row, var_grad(y->in[0]), NULL, NULL, y->grad.at[0] * y->scalar);
}

Var *(v_mean)(const char *where, Var *A)
{
    CHECK_AT(where, mat_size(A->value) > 0, "mean of nothing: A (%d,%d)", SHAPE(A));
    Var *y = tape_push("mean", where, ONE(A), 1, 1, mean_back);
    Matrix sums = tape_matrix(1, A->value.rows);
    sum_each_row(sums.at, A->value);
    y->scalar = 1 / (real)mat_size(A->value);
    y->value.at[0] = sum_lanes(sums.at, A->value.rows) * y->scalar;
    return y;
}

static void dropout_back(Var *y)
{
    mat_map(mul_add_row, var_grad(y->in[0]), &y->grad, &y->kept, 0);
}

static void dropout_rows(int begin, int end, void *arg)
{
    Dropping *x = arg;
    Matrix A = x->y->in[0]->value;
    Rng rng = rng_skip(x->from, (uint64_t)begin * (uint64_t)A.cols);
    for (int r = begin; r < end; r++) {
        const real *a = mat_row(A, r);
        real *restrict keep = mat_row(x->y->kept, r), *restrict out = mat_row(x->y->value, r);
        rng_keep(&rng, x->p, keep, A.cols);
        for (int j = 0; j < A.cols; j++) out[j] = a[j] * keep[j];
    }
}

Var *(v_dropout)(const char *where, Var *A, double p, Rng *rng)
{
    CHECK_AT(where, p >= 0 && p < 1, "dropout with probability %g", p);
    if (p == 0 || !tape_is_recording()) return A;
    Dropping x = { tape_push("dropout", where, ONE(A), SHAPE(A), dropout_back), *rng, p };
    x.y->kept = tape_matrix(SHAPE(A));
    parallel_for(A->value.rows, 4096 / (A->value.cols + 1) + 1, dropout_rows, &x);
    *rng = rng_skip(*rng, mat_size(A->value));
    return x.y;
}
