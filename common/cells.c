/* Sequences do not meet: row b of every matrix here depends on row b alone, until the gradients of the weights sum over all
 * rows. So a task is a block of rows, taken through all T steps there and all T steps back; then come the weights, each as
 * one product over all T·B rows, in order.
 *
 * `keep` (T·B, ·) holds what a step leaves for the way back: the gates, and on the way back, in their place, the gradients by
 * their sums. */
#include "cells.h"
#include "maths.h"
#include "ops.h"
#include "threads.h"

#include <stdio.h>
#include <string.h>

typedef struct Cell Cell;
typedef void StepFn(const Cell *c, int t, int row, int rows);

struct Cell {
    Var *y, *x, *Wh, *h0, *c0, *bn;
    const int *index;
    int T, B, H, gates;                    /* gates: blocks of H columns in x and Wh */
    Matrix keep, sums;                     /* (T B, ·); sums (B, G H): a step's h Wh, where it may not go straight into keep */
    Matrix c;                              /* (T B, H): an LSTM's cells */
    Matrix W;                              /* Wh, laid out as `spread` says */
    Matrix turned, dh, dc;                 /* the way back: Whᵀ (G H, H); (B,H) what the step after handed back */
    StepFn *step;
    bool spent;                            /* on the way back, which uses up keep */
};

/* Rows row … row+rows of step t of a matrix over all steps, and of the state before step t. */
static Matrix at(Matrix m, const Cell *c, int t, int row, int rows) { return mat_rows(m, t * c->B + row, rows); }

static Matrix before(const Cell *c, Matrix all, Var *first, int t, int row, int rows)
{
    return t > 0 ? at(all, c, t - 1, row, rows) : mat_rows(first->value, row, rows);
}

static Matrix h_before(const Cell *c, int t, int row, int rows) { return before(c, c->y->value, c->h0, t, row, rows); }

/* z = the input's rows at step t */
static void fetch_input(const Cell *c, Matrix z, int t, int row)
{
    if (c->index) mat_gather(z, c->x->value, c->index + t * c->B + row);
    else mat_copy(z, at(c->x->value, c, t, row, z.rows));
}

/* ---- the loops over time ------------------------------------------------------------------------------------------- */

static int block_of(const Cell *c)
{
    enum { MOST = 64 };
    int share = (c->B + threads_count() - 1) / threads_count();
    return share < MOST ? share : MOST;
}

static void block_through_time(int begin, int end, void *arg)
{
    const Cell *c = arg;
    int block = block_of(c);
    for (int row = begin * block; row < end * block && row < c->B; row += block)
        for (int i = 0; i < c->T; i++) c->step(c, c->spent ? c->T - 1 - i : i, row, c->B - row < block ? c->B - row : block);
}

static void run_blocks(Cell *c, StepFn *step)
{
    c->step = step;
    parallel_for((c->B + block_of(c) - 1) / block_of(c), 1, block_through_time, c);
}

/* Room for weights that every step reads again. A width that is a power of two would put the rows of a panel at the same few
 * places of the first-level cache, where they drive each other out; a row that is a line longer moves each to the next. */
static Matrix spread(int rows, int cols)
{
    return mat_cols(tape_matrix(rows, cols + LANES), 0, cols);
}

/* Rows LANES·begin … of Whᵀ, LANES columns at a time, so that what a line of Wh brings along is used while it is there. */
static void turn_rows(int begin, int end, void *arg)
{
    const Cell *c = arg;
    Matrix W = c->Wh->value, T = c->turned;
    int last = end * LANES < T.rows ? end * LANES : T.rows;
    for (int i = 0; i < T.cols; i += LANES)
        for (int j = begin * LANES; j < last; j++)
            for (int l = i; l < i + LANES && l < T.cols; l++) mat_row(T, j)[l] = mat_row(W, l)[j];
}

/* What all ways back begin with: Whᵀ, and the gradients that come in from behind the last step. */
static void begin_back(Cell *c)
{
    CHECK_AT(c->y->where, !c->spent, "%s: a second way back through a fused cell; reset the tape between two losses", c->y->op);
    c->spent = true;
    Matrix W = c->Wh->value;
    c->turned = spread(W.cols, W.rows);
    parallel_for((W.cols + LANES - 1) / LANES, 1 + (1 << 14) / (LANES * W.rows), turn_rows, c);
    c->dh = tape_matrix(c->B, c->H);
    mat_fill(c->dh, 0);
}

/* … and end with. dz: columns `first` … of keep; they are the gradient by the input's columns `to` … */
static void end_input(const Cell *c, int first, int to, int cols)
{
    if (!c->x->tracked) return;
    Matrix dz = mat_cols(c->keep, first, cols), dx = mat_cols(var_grad(c->x), to, cols);
    if (c->index) mat_scatter(dx, c->index, dz);
    else mat_axpy(dx, 1, dz);
}

/* dWh's columns `to` … += Σₜ (state before step t)ᵀ dz, for dz in columns `first` … of keep */
static void end_weights(const Cell *c, int first, int to, int cols)
{
    if (!c->Wh->tracked) return;
    Matrix dz = mat_cols(c->keep, first, cols), dW = mat_cols(var_grad(c->Wh), to, cols);
    int rest = (c->T - 1) * c->B;
    matmul_tn(dW, c->h0->value, mat_rows(dz, 0, c->B), ADD);
    matmul_tn(dW, mat_rows(c->y->value, 0, rest), mat_rows(dz, c->B, rest), ADD);
}

static void end_state(const Cell *c)
{
    if (c->h0->tracked) mat_axpy(var_grad(c->h0), 1, c->dh);
}

/* dh = what comes into hₜ from above and from the step after */
static Matrix incoming(const Cell *c, int t, int row, int rows)
{
    Matrix dh = mat_rows(c->dh, row, rows);
    mat_axpy(dh, 1, at(c->y->grad, c, t, row, rows));
    return dh;
}

/* Whether anybody asks for the gradient by the state before step t. */
static bool goes_on(const Cell *c, int t) { return t > 0 || c->h0->tracked; }

/* ---- making a layer ------------------------------------------------------------------------------------------------ */

static Cell *cell_new(const char *op, const char *where, Var *x, const int *index, Var *Wh, Var *h0, Var *c0, Var *bn, int T,
                      int gates, Backward *back)
{
    int B = h0->value.rows, H = h0->value.cols;
    CHECK_AT(where, T >= 1 && x->value.cols == gates * H && (index || x->value.rows == T * B),
             "%s: x (%d,%d), h0 (%d,%d), %d steps",
          op, x->value.rows, x->value.cols, B, H, T);
    CHECK_AT(where, Wh->value.rows == H && Wh->value.cols == gates * H, "%s: Wh (%d,%d), h0 (%d,%d)", op, Wh->value.rows,
             Wh->value.cols, B, H);
    Var *in[5] = { x, Wh, h0 };
    int operands = 3;
    if (c0) in[operands++] = c0;
    if (bn) in[operands++] = bn;
    Var *y = tape_push(op, where, in, operands, (c0 ? T + 1 : T) * B, H, back);
    Cell *c = tape_room(sizeof *c);
    *c = (Cell){ .y = y, .x = x, .Wh = Wh, .h0 = h0, .c0 = c0, .bn = bn, .T = T, .B = B, .H = H, .gates = gates };
    c->index = index ? tape_ints(index, T * B) : NULL;
    c->W = Wh->value;
    if (T > 1) mat_copy(c->W = spread(H, gates * H), Wh->value);
    y->own = c;
    return c;
}

static Layer layer_of(const Cell *c)
{
    Layer l = { .h = v_rows(c->y, 0, c->T * c->B) };
    l.h_last = v_rows(c->y, (c->T - 1) * c->B, c->B);
    l.c_last = c->c0 ? v_rows(c->y, c->T * c->B, c->B) : NULL;
    return l;
}

/* ---- RNN ----------------------------------------------------------------------------------------------------------- */

static void rnn_step(const Cell *c, int t, int row, int rows)
{
    Matrix h = at(c->y->value, c, t, row, rows);
    fetch_input(c, h, t, row);
    matmul_nn(h, h_before(c, t, row, rows), c->W, ADD);
    mat_tanh(h, h);
}

static void rnn_step_back(const Cell *c, int t, int row, int rows)
{
    Matrix dh = incoming(c, t, row, rows), h = at(c->y->value, c, t, row, rows), dz = at(c->keep, c, t, row, rows);
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < c->H; j++) {
            real y = mat_row(h, r)[j];
            mat_row(dz, r)[j] = mat_row(dh, r)[j] * real_fma(-y, y, 1);
        }
    if (goes_on(c, t)) matmul_nn(dh, dz, c->turned, SET);
}

static void rnn_back(Var *y)
{
    Cell *c = y->own;
    begin_back(c);
    c->keep = tape_matrix(c->T * c->B, c->H);
    run_blocks(c, rnn_step_back);
    end_input(c, 0, 0, c->H);
    end_weights(c, 0, 0, c->H);
    end_state(c);
}

Layer (cell_rnn)(const char *where, Var *x, const int *index, Var *Wh, Var *h0, int T)
{
    Cell *c = cell_new("cell_rnn", where, x, index, Wh, h0, NULL, NULL, T, 1, rnn_back);
    run_blocks(c, rnn_step);
    return layer_of(c);
}

/* ---- LSTM: keep = [ i | f | g | o ], then the gradients by their sums ------------------------------------------------ */

static void lstm_row(int H, real *restrict z, const real *restrict before, real *restrict c, real *restrict h)
{
    real *i = z, *f = z + H, *g = z + 2 * H, *o = z + 3 * H;
    for (int j = 0; j < H; j++) {
        i[j] = r_sigmoid(i[j]);
        f[j] = r_sigmoid(f[j]);
        g[j] = r_tanh(g[j]);
        o[j] = r_sigmoid(o[j]);
        c[j] = real_fma(f[j], before[j], i[j] * g[j]);
        h[j] = o[j] * r_tanh(c[j]);
    }
}

static void lstm_step(const Cell *c, int t, int row, int rows)
{
    Matrix z = at(c->keep, c, t, row, rows), h = at(c->y->value, c, t, row, rows), now = at(c->c, c, t, row, rows);
    Matrix c_before = before(c, c->c, c->c0, t, row, rows);
    fetch_input(c, z, t, row);
    matmul_nn(z, h_before(c, t, row, rows), c->W, ADD);
    for (int r = 0; r < rows; r++) lstm_row(c->H, mat_row(z, r), mat_row(c_before, r), mat_row(now, r), mat_row(h, r));
}

/* dh and dc come in, by hₜ and cₜ; dc leaves as the gradient by cₜ₋₁ */
static void lstm_row_back(int H, real *restrict z, const real *restrict before, const real *restrict c,
                          const real *restrict dh, real *restrict dc)
{
    real *zi = z, *zf = z + H, *zg = z + 2 * H, *zo = z + 3 * H;
    for (int j = 0; j < H; j++) {
        real i = zi[j], f = zf[j], g = zg[j], o = zo[j], y = r_tanh(c[j]);
        real d = real_fma(dh[j] * o, real_fma(-y, y, 1), dc[j]);
        zi[j] = d * g * real_fma(-i, i, i);
        zf[j] = d * before[j] * real_fma(-f, f, f);
        zg[j] = d * i * real_fma(-g, g, 1);
        zo[j] = dh[j] * y * real_fma(-o, o, o);
        dc[j] = d * f;
    }
}

static void lstm_step_back(const Cell *c, int t, int row, int rows)
{
    Matrix dh = incoming(c, t, row, rows), dc = mat_rows(c->dc, row, rows), z = at(c->keep, c, t, row, rows);
    Matrix now = at(c->c, c, t, row, rows), c_before = before(c, c->c, c->c0, t, row, rows);
    for (int r = 0; r < rows; r++)
        lstm_row_back(c->H, mat_row(z, r), mat_row(c_before, r), mat_row(now, r), mat_row(dh, r), mat_row(dc, r));
    if (goes_on(c, t)) matmul_nn(dh, z, c->turned, SET);
}

static void lstm_back(Var *y)
{
    Cell *c = y->own;
    begin_back(c);
    c->dc = tape_matrix(c->B, c->H);
    mat_copy(c->dc, mat_rows(y->grad, c->T * c->B, c->B));
    run_blocks(c, lstm_step_back);
    end_input(c, 0, 0, 4 * c->H);
    end_weights(c, 0, 0, 4 * c->H);
    end_state(c);
    if (c->c0->tracked) mat_axpy(var_grad(c->c0), 1, c->dc);
}

Layer (cell_lstm)(const char *where, Var *x, const int *index, Var *Wh, Var *h0, Var *c0, int T)
{
    CHECK_AT(where, mat_same_shape(h0->value, c0->value), "cell_lstm: h0 (%d,%d), c0 (%d,%d)", h0->value.rows,
             h0->value.cols, c0->value.rows, c0->value.cols);
    Cell *c = cell_new("cell_lstm", where, x, index, Wh, h0, c0, NULL, T, 4, lstm_back);
    c->keep = tape_matrix(T * c->B, 4 * c->H);
    c->c = tape_matrix(T * c->B, c->H);
    run_blocks(c, lstm_step);
    mat_copy(mat_rows(c->y->value, T * c->B, c->B), mat_rows(c->c, (T - 1) * c->B, c->B));
    return layer_of(c);
}

/* ---- GRU, r ⊙ h before the product: keep = [ r | z | n | r ⊙ h ] ----------------------------------------------------- */

static void gru_step(const Cell *c, int t, int row, int rows)
{
    int H = c->H;
    Matrix k = at(c->keep, c, t, row, rows), prev = h_before(c, t, row, rows), h = at(c->y->value, c, t, row, rows);
    Matrix rz = mat_cols(k, 0, 2 * H), n = mat_cols(k, 2 * H, H), rh = mat_cols(k, 3 * H, H);
    fetch_input(c, mat_cols(k, 0, 3 * H), t, row);
    matmul_nn(rz, prev, mat_cols(c->W, 0, 2 * H), ADD);
    for (int i = 0; i < rows; i++) {
        real *restrict gate = mat_row(rz, i), *restrict product = mat_row(rh, i);
        const real *before_row = mat_row(prev, i);
        for (int j = 0; j < 2 * H; j++) gate[j] = r_sigmoid(gate[j]);
        for (int j = 0; j < H; j++) product[j] = gate[j] * before_row[j];
    }
    matmul_nn(n, rh, mat_cols(c->W, 2 * H, H), ADD);
    for (int i = 0; i < rows; i++) {
        const real *z = mat_row(rz, i) + H, *before_row = mat_row(prev, i);
        real *restrict new_row = mat_row(n, i), *restrict out = mat_row(h, i);
        for (int j = 0; j < H; j++) {
            new_row[j] = r_tanh(new_row[j]);
            out[j] = real_fma(z[j], before_row[j] - new_row[j], new_row[j]);
        }
    }
}

static void gru_step_back(const Cell *c, int t, int row, int rows)
{
    int H = c->H;
    Matrix dh = incoming(c, t, row, rows), k = at(c->keep, c, t, row, rows), prev = h_before(c, t, row, rows);
    Matrix drh = mat_rows(c->dc, row, rows);                                 /* (rows,H): by r ⊙ h */
    for (int i = 0; i < rows; i++) {
        real *restrict z = mat_row(k, i) + H, *restrict n = z + H, *restrict d = mat_row(dh, i);
        const real *h = mat_row(prev, i);
        for (int j = 0; j < H; j++) {
            real zj = z[j], nj = n[j];
            z[j] = d[j] * (h[j] - nj) * real_fma(-zj, zj, zj);
            n[j] = d[j] * (1 - zj) * real_fma(-nj, nj, 1);
            d[j] *= zj;
        }
    }
    matmul_nn(drh, mat_cols(k, 2 * H, H), mat_rows(c->turned, 2 * H, H), SET);
    for (int i = 0; i < rows; i++) {
        real *restrict r = mat_row(k, i), *restrict d = mat_row(dh, i);
        const real *h = mat_row(prev, i), *dr = mat_row(drh, i);
        for (int j = 0; j < H; j++) {
            d[j] = real_fma(dr[j], r[j], d[j]);
            r[j] = dr[j] * h[j] * real_fma(-r[j], r[j], r[j]);
        }
    }
    if (goes_on(c, t)) matmul_nn(dh, mat_cols(k, 0, 2 * H), mat_rows(c->turned, 0, 2 * H), ADD);
}

static void gru_back(Var *y)
{
    Cell *c = y->own;
    begin_back(c);
    c->dc = tape_matrix(c->B, c->H);
    run_blocks(c, gru_step_back);
    end_input(c, 0, 0, 3 * c->H);
    end_weights(c, 0, 0, 2 * c->H);
    if (c->Wh->tracked)
        matmul_tn(mat_cols(var_grad(c->Wh), 2 * c->H, c->H), mat_cols(c->keep, 3 * c->H, c->H),
                  mat_cols(c->keep, 2 * c->H, c->H), ADD);
    end_state(c);
}

Layer (cell_gru)(const char *where, Var *x, const int *index, Var *Wh, Var *h0, int T)
{
    Cell *c = cell_new("cell_gru", where, x, index, Wh, h0, NULL, NULL, T, 3, gru_back);
    c->keep = tape_matrix(T * c->B, 4 * c->H);
    run_blocks(c, gru_step);
    return layer_of(c);
}

/* ---- GRU, r ⊙ after the product: keep = [ r | z | s | n ], s = h Whn + bn --------------------------------------------- */

static void gru_after_row(int H, real *restrict keep, const real *restrict in, const real *restrict bias,
                          const real *restrict before, real *restrict h)
{
    real *r = keep, *z = keep + H, *s = keep + 2 * H, *n = keep + 3 * H;
    for (int j = 0; j < H; j++) {
        r[j] = r_sigmoid(r[j] + in[j]);
        z[j] = r_sigmoid(z[j] + in[H + j]);
        s[j] += bias[j];
        n[j] = r_tanh(real_fma(r[j], s[j], in[2 * H + j]));
        h[j] = real_fma(z[j], before[j] - n[j], n[j]);
    }
}

static void gru_after_step(const Cell *c, int t, int row, int rows)
{
    Matrix k = at(c->keep, c, t, row, rows), prev = h_before(c, t, row, rows), h = at(c->y->value, c, t, row, rows);
    Matrix x = mat_rows(c->sums, row, rows);
    fetch_input(c, x, t, row);
    matmul_nn(mat_cols(k, 0, 3 * c->H), prev, c->W, SET);
    for (int i = 0; i < rows; i++)
        gru_after_row(c->H, mat_row(k, i), mat_row(x, i), c->bn->value.at, mat_row(prev, i), mat_row(h, i));
}

/* dh comes in, by hₜ, and leaves as what of it goes straight to hₜ₋₁ */
static void gru_after_row_back(int H, real *restrict keep, const real *restrict before, real *restrict dh)
{
    real *r = keep, *z = keep + H, *s = keep + 2 * H, *n = keep + 3 * H;
    for (int j = 0; j < H; j++) {
        real rj = r[j], zj = z[j], nj = n[j], d = dh[j], dn = d * (1 - zj) * real_fma(-nj, nj, 1);
        r[j] = dn * s[j] * real_fma(-rj, rj, rj);
        z[j] = d * (before[j] - nj) * real_fma(-zj, zj, zj);
        s[j] = dn * rj;
        n[j] = dn;
        dh[j] = d * zj;
    }
}

static void gru_after_step_back(const Cell *c, int t, int row, int rows)
{
    Matrix dh = incoming(c, t, row, rows), k = at(c->keep, c, t, row, rows), prev = h_before(c, t, row, rows);
    for (int i = 0; i < rows; i++) gru_after_row_back(c->H, mat_row(k, i), mat_row(prev, i), mat_row(dh, i));
    if (goes_on(c, t)) matmul_nn(dh, mat_cols(k, 0, 3 * c->H), c->turned, ADD);
}

static void gru_after_back(Var *y)
{
    Cell *c = y->own;
    begin_back(c);
    run_blocks(c, gru_after_step_back);
    end_input(c, 0, 0, 2 * c->H);
    end_input(c, 3 * c->H, 2 * c->H, c->H);
    end_weights(c, 0, 0, 3 * c->H);
    if (c->bn->tracked) mat_sum_rows(var_grad(c->bn), mat_cols(c->keep, 2 * c->H, c->H), ADD);
    end_state(c);
}

Layer (cell_gru_after)(const char *where, Var *x, const int *index, Var *Wh, Var *bn, Var *h0, int T)
{
    CHECK_AT(where, bn->value.rows == 1 && bn->value.cols == h0->value.cols, "cell_gru_after: bn (%d,%d), h0 (%d,%d)",
             bn->value.rows, bn->value.cols, h0->value.rows, h0->value.cols);
    Cell *c = cell_new("cell_gru_after", where, x, index, Wh, h0, NULL, bn, T, 3, gru_after_back);
    c->keep = tape_matrix(T * c->B, 4 * c->H);
    c->sums = tape_matrix(c->B, 3 * c->H);
    run_blocks(c, gru_after_step);
    return layer_of(c);
}

/* ---- by name -------------------------------------------------------------------------------------------------------- */

static const struct { const char *name; int gates; } kinds[CELL_KINDS] = {
    [CELL_RNN] = { "rnn", 1 }, [CELL_GRU] = { "gru", 3 }, [CELL_LSTM] = { "lstm", 4 },
};

CellKind cell_named(const char *name, const char *where)
{
    for (int i = 0; i < CELL_KINDS; i++)
        if (strcmp(name, kinds[i].name) == 0) return (CellKind)i;
    die("%s '%s': expected rnn, gru or lstm", where, name);
}

const char *cell_name(CellKind kind) { return kinds[kind].name; }
int cell_gates(CellKind kind)        { return kinds[kind].gates; }

CellWeights cell_weights(Params *p, const char *name, CellKind kind, int D, int H)
{
    char full[3][NAME_ROOM];
    const char *part[3] = { "Wx", "Wh", "b" };
    int GH = kinds[kind].gates * H;
    Init uniform = init_uniform(1 / sqrt(H));
    for (int i = 0; i < 3; i++) snprintf(full[i], NAME_ROOM, "%s.%s", name, part[i]);
    CellWeights w = { .kind = kind };
    w.Wx = param(p, full[0], D, GH, uniform);
    w.Wh = param(p, full[1], H, GH, uniform);
    w.b  = param(p, full[2], 1, GH, init_zero());
    return w;
}

void cell_begin(const CellWeights *w)
{
    int H = w->Wh->value.rows;
    if (w->kind == CELL_LSTM) mat_fill(mat_cols(w->b->value, H, H), 1);
}

Var *cell_input(const CellWeights *w, Var *x) { return v_add_bias(v_matmul(x, w->Wx), w->b); }

Layer (cell_layer)(const char *where, const CellWeights *w, Var *x, const int *index, Var *h0, Var *c0, int T)
{
    if (w->kind == CELL_LSTM) return (cell_lstm)(where, x, index, w->Wh, h0, c0, T);
    Layer y = w->kind == CELL_RNN ? (cell_rnn)(where, x, index, w->Wh, h0, T) : (cell_gru)(where, x, index, w->Wh, h0, T);
    y.c_last = c0;
    return y;
}
