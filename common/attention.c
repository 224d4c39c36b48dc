/* Sequences do not meet: everything about sequence b is computed by one thread, its places in order. The one sum over
 * sequences, dva, is taken afterwards, over rows that the threads have left. Places are the outer loop, because the rows of
 * a step lie side by side.                                                                                                */
#include "attention.h"
#include "maths.h"
#include "ops.h"
#include "threads.h"

#include <string.h>

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

/* ---- heads: sequence b with head h is item b·heads + h, and one thread's from beginning to end ------------------------------
 *
 * Steps go in blocks of BLOCK. With a causal mask a block needs no places behind its last step, so about half of the work is
 * never done. What a product reads many times is first copied side by side: rows that lie D apart fall into few places of the
 * first-level cache. K is turned as it is copied, because every block needs it turned.
 *
 * A weight that dropout took is drawn again on the way back: a generator is one word, and drawing costs less than keeping.     */
typedef struct {
    int heads, T, S, d;
    Seen seen;                             /* lengths: a copy */
    double dropout;
    Rng rng;                               /* before the first weight of item 0, row by row */
    Matrix P;                              /* (B·heads·T, S) */
    Matrix scratch;                        /* (shares, …): room for an item at a time */
} Heads;

enum { BLOCK = 32 };

typedef struct { int seen; Matrix P; Rng rng; } Item;        /* seen: places, all but those that the causal mask hides */

static Item item_of(const Heads *x, int i)
{
    return (Item){ .seen = x->seen.lengths ? x->seen.lengths[i / x->heads] : x->S, .P = mat_rows(x->P, i * x->T, x->T),
                   .rng = rng_skip(x->rng, (uint64_t)i * (uint64_t)x->T * (uint64_t)x->S) };
}

/* The numbers of item i in m, which has `rows` rows for each sequence. */
static Matrix part(const Heads *x, Matrix m, int i, int rows)
{
    return mat_cols(mat_rows(m, i / x->heads * rows, rows), i % x->heads * x->d, x->d);
}

static Matrix room_take(real **room, int rows, int cols)
{
    Matrix m = mat_over(*room, rows, cols);
    *room += (mat_size(m) + LANES - 1) / LANES * LANES;
    return m;
}

static Matrix copy_of(real **room, Matrix m)
{
    Matrix copy = room_take(room, m.rows, m.cols);
    for (int r = 0; r < m.rows; r++) {
        real *restrict to = mat_row(copy, r);
        const real *from = mat_row(m, r);
        for (int c = 0; c < m.cols; c++) to[c] = from[c];
    }
    return copy;
}

static Matrix turned_copy(real **room, Matrix m)
{
    Matrix copy = room_take(room, m.cols, m.rows);
    for (int r = 0; r < m.rows; r++)
        for (int c = 0; c < m.cols; c++) mat_row(copy, c)[r] = mat_row(m, r)[c];
    return copy;
}

/* How many places step t may see: the first ones. */
static int sees(const Heads *x, const Item *item, int t)
{
    int most = t + 1 + x->S - x->T;
    return x->seen.causal && most < item->seen ? most : item->seen;
}

/* P of steps t0 …, `rows` of them, becomes the weights: softmax over what each may see, 0 elsewhere. */
static void block_weights(const Heads *x, const Item *item, int t0, Matrix P)
{
    for (int r = 0; r < P.rows; r++)
        for (int s = sees(x, item, t0 + r); s < P.cols; s++) mat_row(P, r)[s] = -INFINITY;
    mat_softmax(P, P, NULL);
}

/* out = P with dropout, of the same steps; P itself where there is none. */
static Matrix block_dropped(const Heads *x, const Item *item, int t0, Matrix P, real *room)
{
    if (x->dropout == 0) return P;
    Matrix out = mat_over(room, P.rows, x->S);
    Rng rng = rng_skip(item->rng, (uint64_t)t0 * (uint64_t)x->S);
    for (int r = 0; r < P.rows; r++) rng_keep(&rng, x->dropout, mat_row(out, r), x->S);
    for (int r = 0; r < P.rows; r++)
        for (int s = 0; s < P.cols; s++) mat_row(out, r)[s] *= mat_row(P, r)[s];
    return mat_cols(out, 0, P.cols);
}

static void scale_all(Matrix m, real s)
{
    for (size_t j = 0; j < mat_size(m); j++) m.at[j] *= s;
}

static void attention_item(const Var *y, int i, real *room)
{
    const Heads *x = y->own;
    Item item = item_of(x, i);
    Matrix q = copy_of(&room, part(x, y->in[0]->value, i, x->T)), Kt = turned_copy(&room, part(x, y->in[1]->value, i, x->S));
    Matrix v = copy_of(&room, part(x, y->in[2]->value, i, x->S)), out = part(x, y->value, i, x->T);
    scale_all(q, (real)(1 / sqrt(x->d)));
    for (int t = 0; t < x->T; t += BLOCK) {
        int rows = x->T - t < BLOCK ? x->T - t : BLOCK, cols = sees(x, &item, t + rows - 1);
        Matrix P = mat_cols(mat_rows(item.P, t, rows), 0, cols);
        for (int r = t; r < t + rows; r++)
            for (int s = cols; s < x->S; s++) mat_row(item.P, r)[s] = 0;
        matmul_nn(P, mat_rows(q, t, rows), mat_cols(Kt, 0, cols), SET);
        block_weights(x, &item, t, P);
        matmul_nn(mat_rows(out, t, rows), block_dropped(x, &item, t, P, room), mat_rows(v, 0, cols), SET);
    }
}

/* dE = P ⊙ (dP - Σ over the row of dP ⊙ P), dP having come through the dropout; in place of dP. */
static void block_back(const Heads *x, const Item *item, int t0, Matrix dP, Matrix P, real *room)
{
    Rng rng = rng_skip(item->rng, (uint64_t)t0 * (uint64_t)x->S);
    for (int r = 0; r < P.rows; r++) {
        real *restrict d = mat_row(dP, r);
        const real *p = mat_row(P, r);
        if (x->dropout > 0) {
            rng_keep(&rng, x->dropout, room, x->S);
            for (int s = 0; s < P.cols; s++) d[s] *= room[s];
        }
        for (int s = 0; s < P.cols; s++) d[s] *= p[s];
        real mean = sum_lanes(d, P.cols);
        for (int s = 0; s < P.cols; s++) d[s] = real_fma(-mean, p[s], d[s]);
    }
}

static void attention_item_back(const Var *y, int i, real *room)
{
    const Heads *x = y->own;
    Item item = item_of(x, i);
    Matrix q = copy_of(&room, part(x, y->in[0]->value, i, x->T)), k = copy_of(&room, part(x, y->in[1]->value, i, x->S));
    Matrix Vt = turned_copy(&room, part(x, y->in[2]->value, i, x->S)), dy = copy_of(&room, part(x, y->grad, i, x->T));
    Matrix dq = part(x, y->in[0]->grad, i, x->T), dk = part(x, y->in[1]->grad, i, x->S), dv = part(x, y->in[2]->grad, i, x->S);
    real scale = (real)(1 / sqrt(x->d));
    scale_all(q, scale);
    for (int t = 0; t < x->T; t += BLOCK) {
        real *left = room;
        int rows = x->T - t < BLOCK ? x->T - t : BLOCK, cols = sees(x, &item, t + rows - 1);
        Matrix P = mat_cols(mat_rows(item.P, t, rows), 0, cols), dY = mat_rows(dy, t, rows);
        Matrix dP = room_take(&left, rows, cols), dQ = room_take(&left, rows, x->d);
        matmul_nn(dP, dY, mat_cols(Vt, 0, cols), SET);
        matmul_tn(mat_rows(dv, 0, cols), block_dropped(x, &item, t, P, left), dY, ADD);
        block_back(x, &item, t, dP, P, left);
        matmul_nn(dQ, dP, mat_rows(k, 0, cols), SET);
        for (int r = 0; r < rows; r++) add_scaled(mat_row(dq, t + r), scale, mat_row(dQ, r), x->d);
        matmul_tn(mat_rows(dk, 0, cols), dP, mat_rows(q, t, rows), ADD);
    }
}

/* Each share of the items has a room of its own. */
static void share_of_items(const Var *y, int share, void (*work)(const Var *y, int i, real *room))
{
    const Heads *x = y->own;
    int items = x->seen.B * x->heads, shares = x->scratch.rows;
    for (int i = (int)((long)items * share / shares); i < (int)((long)items * (share + 1) / shares); i++)
        work(y, i, mat_row(x->scratch, share));
}

static void attention_shares(int begin, int end, void *y)
{
    for (int share = begin; share < end; share++) share_of_items(y, share, attention_item);
}

static void attention_shares_back(int begin, int end, void *y)
{
    for (int share = begin; share < end; share++) share_of_items(y, share, attention_item_back);
}

static void attention_back(Var *y)
{
    const Heads *x = y->own;
    make_grads(y);
    parallel_for(x->scratch.rows, 1, attention_shares_back, y);
}

/* Room for the way back, which needs more of it: seven matrices, each of them begun at a multiple of LANES. */
static Matrix heads_scratch(const Heads *x)
{
    int items = x->seen.B * x->heads, shares = 2 * threads_count() < items ? 2 * threads_count() : items;
    int most = 2 * (x->T + x->S) * x->d + BLOCK * (x->d + 2 * x->S) + 7 * LANES;
    return tape_matrix(shares, (most + LANES - 1) / LANES * LANES);
}

Var *(v_attention)(const char *where, Var *Q, Var *K, Var *V, int heads, Seen seen, double dropout, Rng *rng)
{
    int B = seen.B, D = Q->value.cols;
    CHECK_AT(where, B > 0 && heads > 0 && D % heads == 0 && K->value.cols == D && mat_same_shape(K->value, V->value)
             && Q->value.rows % B == 0 && K->value.rows % B == 0, "attention: B %d, %d heads, Q (%d,%d), K (%d,%d), V (%d,%d)",
             B, heads, SHAPE(Q), SHAPE(K), SHAPE(V));
    CHECK_AT(where, dropout >= 0 && dropout < 1, "attention: dropout with probability %g", dropout);
    Var *y = tape_push("attention", where, (Var *[]){ Q, K, V }, 3, SHAPE(Q), attention_back);
    Heads *x = y->own = tape_room(sizeof *x);
    *x = (Heads){ .heads = heads, .T = Q->value.rows / B, .S = K->value.rows / B, .d = D / heads, .seen = seen };
    CHECK_AT(where, !seen.causal || x->S >= x->T, "attention: a causal mask with %d steps and %d places", x->T, x->S);
    for (int b = 0; b < B && seen.lengths; b++)
        CHECK_AT(where, seen.lengths[b] >= 0 && seen.lengths[b] <= x->S, "attention: sequence %d has %d of %d places", b,
                 seen.lengths[b], x->S);
    if (seen.lengths) x->seen.lengths = tape_ints(seen.lengths, B);
    if (tape_is_recording() && dropout > 0) {
        x->dropout = dropout;
        x->rng = *rng;
        *rng = rng_skip(*rng, (uint64_t)B * (uint64_t)heads * (uint64_t)x->T * (uint64_t)x->S);
    }
    x->P = tape_matrix(B * heads * x->T, x->S);
    x->scratch = heads_scratch(x);
    parallel_for(x->scratch.rows, 1, attention_shares, y);
    return y;
}

const real *attention_weights(const Var *Y, int b, int h, int t)
{
    const Heads *x = Y->own;
    return mat_row(x->P, (b * x->heads + h) * x->T + t);
}
