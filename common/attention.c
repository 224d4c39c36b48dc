/* Sequences do not meet: everything about sequence b is computed by one thread, its places in order. The one sum over
 * sequences, dva, is taken afterwards, over rows that the threads have left. Places are the outer loop, because the rows of
 * a step lie side by side.                                                                                                */
#include "attention.h"
#include "maths.h"
#include "ops.h"
#include "threads.h"

#define SHAPE(v) (v)->value.rows, (v)->value.cols

/* One piece a thread, but none so small that waking the thread costs more than it saves. */
static void over_sequences(LoopBody *body, Var *y)
{
    enum { WORTH = 1 << 14 };
    int B = y->in[0]->value.rows, share = (B + threads_count() - 1) / threads_count();
    int least = (int)(WORTH / (mat_size(y->in[1]->value) / (size_t)B + 1)) + 1;
    parallel_for(B, share > least ? share : least, body, y);
}

/* Untracked operands get a gradient too, which nobody reads: simpler than asking in the inner loops. */
static void make_grads(Var *y)
{
    for (int i = 0; i < y->operands; i++) var_grad(y->in[i]);
}

static real dot(const real *a, const real *b, int n, real *room)
{
    for (int j = 0; j < n; j++) room[j] = a[j] * b[j];
    return sum_lanes(room, n);
}

static void add_scaled(real *restrict y, real s, const real *restrict x, int n)
{
    for (int j = 0; j < n; j++) y[j] = real_fma(s, x[j], y[j]);
}

static Var *score_push(const char *op, const char *where, Var *const *in, int operands, Backward *back)
{
    Var *q = in[0], *K = in[1];
    int B = q->value.rows;
    CHECK_AT(where, B > 0 && K->value.rows % B == 0 && K->value.cols == q->value.cols, "%s: q (%d,%d), K (%d,%d)", op,
             SHAPE(q), SHAPE(K));
    return tape_push(op, where, in, operands, B, K->value.rows / B, back);
}

/* ---- dot ------------------------------------------------------------------------------------------------------------ */

static void dot_rows(int begin, int end, void *arg)
{
    Var *y = arg;
    Matrix q = y->in[0]->value, K = y->in[1]->value;
    for (int s = 0; s < y->value.cols; s++)
        for (int b = begin; b < end; b++)
            mat_row(y->value, b)[s] = dot(mat_row(q, b), mat_row(K, s * q.rows + b), q.cols, mat_row(y->kept, b));
}

static void dot_rows_back(int begin, int end, void *arg)
{
    Var *y = arg, *q = y->in[0], *K = y->in[1];
    int B = q->value.rows, D = q->value.cols;
    for (int s = 0; s < y->value.cols; s++)
        for (int b = begin; b < end; b++) {
            real de = mat_row(y->grad, b)[s];
            add_scaled(mat_row(q->grad, b), de, mat_row(K->value, s * B + b), D);
            add_scaled(mat_row(K->grad, s * B + b), de, mat_row(q->value, b), D);
        }
}

static void dot_back(Var *y)
{
    make_grads(y);
    over_sequences(dot_rows_back, y);
}

Var *(v_score_dot)(const char *where, Var *q, Var *K)
{
    Var *y = score_push("score_dot", where, (Var *[]){ q, K }, 2, dot_back);
    y->kept = tape_matrix(SHAPE(q));
    over_sequences(dot_rows, y);
    return y;
}

/* ---- additive: row s·B + b of kept has the tanh; row S·B + b is room, and then what sequence b adds to dva ------------- */

static void additive_rows(int begin, int end, void *arg)
{
    Var *y = arg;
    Matrix q = y->in[0]->value, K = y->in[1]->value;
    int B = q.rows, S = y->value.cols, D = q.cols;
    for (int s = 0; s < S; s++)
        for (int b = begin; b < end; b++) {
            real *restrict t = mat_row(y->kept, s * B + b);
            const real *qb = mat_row(q, b), *k = mat_row(K, s * B + b);
            for (int j = 0; j < D; j++) t[j] = r_tanh(qb[j] + k[j]);
            mat_row(y->value, b)[s] = dot(y->in[2]->value.at, t, D, mat_row(y->kept, S * B + b));
        }
}

static void additive_rows_back(int begin, int end, void *arg)
{
    Var *y = arg, *q = y->in[0], *K = y->in[1];
    const real *va = y->in[2]->value.at;
    int B = q->value.rows, S = y->value.cols, D = q->value.cols;
    mat_fill(mat_rows(y->kept, S * B + begin, end - begin), 0);
    for (int s = 0; s < S; s++)
        for (int b = begin; b < end; b++) {
            real de = mat_row(y->grad, b)[s], *restrict dq = mat_row(q->grad, b), *restrict dk = mat_row(K->grad, s * B + b);
            const real *t = mat_row(y->kept, s * B + b);
            add_scaled(mat_row(y->kept, S * B + b), de, t, D);
            for (int j = 0; j < D; j++) {
                real d = de * va[j] * real_fma(-t[j], t[j], 1);
                dq[j] += d;
                dk[j] += d;
            }
        }
}

static void additive_back(Var *y)
{
    int B = y->value.rows, S = y->value.cols;
    make_grads(y);
    over_sequences(additive_rows_back, y);
    if (y->in[2]->tracked) mat_sum_rows(y->in[2]->grad, mat_rows(y->kept, S * B, B), ADD);
}

Var *(v_score_additive)(const char *where, Var *q, Var *K, Var *va)
{
    CHECK_AT(where, va->value.rows == 1 && va->value.cols == q->value.cols, "score_additive: q (%d,%d), va (%d,%d)",
             SHAPE(q), SHAPE(va));
    Var *y = score_push("score_additive", where, (Var *[]){ q, K, va }, 3, additive_back);
    y->kept = tape_matrix(K->value.rows + q->value.rows, q->value.cols);
    over_sequences(additive_rows, y);
    return y;
}

/* ---- context ---------------------------------------------------------------------------------------------------------- */

static void context_rows(int begin, int end, void *arg)
{
    Var *y = arg;
    Matrix A = y->in[0]->value, X = y->in[1]->value;
    mat_fill(mat_rows(y->value, begin, end - begin), 0);
    for (int s = 0; s < A.cols; s++)
        for (int b = begin; b < end; b++) add_scaled(mat_row(y->value, b), mat_row(A, b)[s], mat_row(X, s * A.rows + b), X.cols);
}

static void context_rows_back(int begin, int end, void *arg)
{
    Var *y = arg, *A = y->in[0], *X = y->in[1];
    int B = A->value.rows, D = X->value.cols;
    for (int s = 0; s < A->value.cols; s++)
        for (int b = begin; b < end; b++) {
            const real *dc = mat_row(y->grad, b);
            mat_row(A->grad, b)[s] += dot(dc, mat_row(X->value, s * B + b), D, mat_row(y->kept, b));
            add_scaled(mat_row(X->grad, s * B + b), mat_row(A->value, b)[s], dc, D);
        }
}

static void context_back(Var *y)
{
    make_grads(y);
    y->kept = tape_matrix(SHAPE(y));
    over_sequences(context_rows_back, y);
}

Var *(v_context)(const char *where, Var *A, Var *X)
{
    CHECK_AT(where, A->value.rows > 0 && X->value.rows == A->value.rows * A->value.cols, "context: A (%d,%d), X (%d,%d)",
             SHAPE(A), SHAPE(X));
    Var *y = tape_push("context", where, (Var *[]){ A, X }, 2, A->value.rows, X->value.cols, context_back);
    over_sequences(context_rows, y);
    return y;
}
