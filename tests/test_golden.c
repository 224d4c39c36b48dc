/* Golden values: the ops, three recurrent cells built from them, the optimizers, clipping and the schedule, attention, cells in
 * both directions, the loss of a padded batch, layer norm and attention in heads, against what PyTorch computes in float64 from
 * the same numbers (golden/golden.h; golden/make_golden.py made it once).
 *
 * A difference from the definition that everybody else uses shows here and nowhere else: gradient checks pass a GRU that is
 * not the usual one, and an ε inside the root instead of behind it.                                                       */
#include "pairs.h"
#include "workbook.h"

#include "golden/golden.h"
#include "unit.h"

#include <stdlib.h>

enum { B = 2, H = 4, T = 6 };

/* Tolerances, in parts of the largest number that an array holds: smaller ones are sums in which larger ones cancel, and
 * carry their rounding. A float is within 6e-8 of a number; the largest differences measured are 3.8e-7 for ops, 7.2e-7 for
 * cells and attention and 2.1e-7 for optimizers. The workbook's results are the same bits everywhere, so a few times that is
 * room. */
static const double op_tolerance = 1e-6, cell_tolerance = 2e-6, optim_tolerance = 1e-6;
static double worst_op, worst_cell, worst_optim;

/* ---- comparing ------------------------------------------------------------------------------------------------------ */

static double golden_scale(const Golden *want)
{
    double scale = 0;
    for (int i = 0; i < want->rows * want->cols; i++) scale = fmax(scale, fabs(want->at[i]));
    return scale;
}

/* An array of zeros agrees with whatever does nothing, so none may come from PyTorch. */
static void expect_golden(const char *name, Matrix got, const Golden *want, double tolerance)
{
    double scale = golden_scale(want);
    EXPECT(scale > 0, "%s: the golden values are all zero", name);
    EXPECT(got.at && got.rows == want->rows && got.cols == want->cols, "%s is (%d,%d), not (%d,%d)", name,
           got.rows, got.cols, want->rows, want->cols);
    if (!got.at || got.rows != want->rows || got.cols != want->cols) return;
    double *worst = tolerance == cell_tolerance ? &worst_cell : &worst_op;
    for (int r = 0; r < got.rows; r++)
        for (int c = 0; c < got.cols; c++) {
            double expected = want->at[r * want->cols + c], have = (double)mat_row(got, r)[c];
            EXPECT_NEAR(have, expected, tolerance * scale, "%s, (%d,%d)", name, r, c);
            *worst = fmax(*worst, fabs(have - expected) / scale);
        }
}

static Matrix golden_copy(const Golden *g)
{
    Matrix m = tape_matrix(g->rows, g->cols);
    for (int i = 0; i < g->rows * g->cols; i++) m.at[i] = (real)g->at[i];
    return m;
}

static Var *leaf(const Golden *g) { return v_leaf(golden_copy(g)); }

/* From the loss mean(W ⊙ Y) to all leaves. */
static void backward_from(Var *Y, const Golden *W)
{
    tape_backward(v_mean(v_mul(Y, v_const(golden_copy(W)))));
}

/* ---- ops ------------------------------------------------------------------------------------------------------------ */

/* Both compare what name_… holds for an op on X, or on A and B, and end the tape. */
#define EXPECT_UNARY(name, X, op)                                                  \
    do {                                                                           \
        Var *in = leaf(&name##_##X), *Y = op;                                      \
        backward_from(Y, &name##_W);                                               \
        expect_golden(#name, Y->value, &name##_Y, op_tolerance);                   \
        expect_golden(#name ", d" #X, in->grad, &name##_d##X, op_tolerance);       \
        tape_reset();                                                              \
    } while (0)

#define EXPECT_BINARY(name, X1, X2, op)                                            \
    do {                                                                           \
        Var *in1 = leaf(&name##_##X1), *in2 = leaf(&name##_##X2), *Y = op;         \
        backward_from(Y, &name##_W);                                               \
        expect_golden(#name, Y->value, &name##_Y, op_tolerance);                   \
        expect_golden(#name ", d" #X1, in1->grad, &name##_d##X1, op_tolerance);    \
        expect_golden(#name ", d" #X2, in2->grad, &name##_d##X2, op_tolerance);    \
        tape_reset();                                                              \
    } while (0)

static void test_arithmetic(void)
{
    EXPECT_BINARY(add, A, B, v_add(in1, in2));
    EXPECT_BINARY(sub, A, B, v_sub(in1, in2));
    EXPECT_BINARY(mul, A, B, v_mul(in1, in2));
    EXPECT_UNARY(scale, A, v_scale(in, -1.7));
    EXPECT_UNARY(mean, A, v_mean(in));
}

static void test_moving(void)
{
    EXPECT_UNARY(slice, A, v_cols(v_rows(in, 1, 2), 2, 3));
    EXPECT_BINARY(hcat, A, B, v_hcat((Var *[]){ in1, in2 }, 2));
    EXPECT_BINARY(vcat, A, B, v_vcat((Var *[]){ in1, in2 }, 2));
}

static void test_activations(void)
{
    EXPECT_UNARY(tanh, input, v_tanh(in));
    EXPECT_UNARY(sigmoid, input, v_sigmoid(in));
    EXPECT_UNARY(relu, input, v_relu(in));
}

static void test_products(void)
{
    EXPECT_BINARY(matmul, A, B, v_matmul(in1, in2));
    EXPECT_BINARY(matmul_nt, A, B, v_matmul_nt(in1, in2));
    EXPECT_BINARY(bias, A, b, v_add_bias(in1, in2));
}

static void test_lookup(void)
{
    EXPECT_UNARY(lookup, A, v_lookup(in, lookup_index, sizeof lookup_index / sizeof *lookup_index));
}

static void test_softmax(void)
{
    EXPECT_UNARY(softmax, A, v_softmax(in, NULL));
    Matrix mask = golden_copy(&masked_mask);
    EXPECT_UNARY(masked, A, v_softmax(in, &mask));
}

static void test_cross_entropy(void)
{
    EXPECT_UNARY(entropy, A, v_cross_entropy(in, entropy_target));
}

/* ---- cells ---------------------------------------------------------------------------------------------------------- */

/* bx is the bias, or the GRU's first of two; bh and c are NULL where a cell has none. */
typedef struct { Var *x, *h, *c, *Wx, *Wh, *bx, *bh; } Cell;

static void step_rnn(Cell *m, Var *x)
{
    m->h = v_tanh(v_add_bias(v_add(v_matmul(x, m->Wx), v_matmul(m->h, m->Wh)), m->bx));
}

static void step_lstm(Cell *m, Var *x)
{
    Var *z = v_add_bias(v_add(v_matmul(x, m->Wx), v_matmul(m->h, m->Wh)), m->bx);
    Var *i = v_sigmoid(v_cols(z, 0, H)), *f = v_sigmoid(v_cols(z, H, H));
    Var *g = v_tanh(v_cols(z, 2 * H, H)), *o = v_sigmoid(v_cols(z, 3 * H, H));
    m->c = v_add(v_mul(f, m->c), v_mul(i, g));
    m->h = v_mul(o, v_tanh(m->c));
}

/* PyTorch's variant: r gates h Wh + bh, after the product, where Cho's gates h before it. */
static void step_gru(Cell *m, Var *x)
{
    Var *a = v_add_bias(v_matmul(x, m->Wx), m->bx), *s = v_add_bias(v_matmul(m->h, m->Wh), m->bh);
    Var *r = v_sigmoid(v_add(v_cols(a, 0, H), v_cols(s, 0, H)));
    Var *z = v_sigmoid(v_add(v_cols(a, H, H), v_cols(s, H, H)));
    Var *n = v_tanh(v_add(v_cols(a, 2 * H, H), v_mul(r, v_cols(s, 2 * H, H))));
    m->h = v_add(n, v_mul(z, v_sub(m->h, n)));                           /* (1-z) n + z h */
}

/* All the states, one step's below the other's, as PyTorch gives them. m's own h and c stay the first ones. */
static Var *unroll(Cell m, void (*step)(Cell *, Var *))
{
    Var *h[T];
    for (int t = 0; t < T; t++) {
        step(&m, v_rows(m.x, t * B, B));
        h[t] = m.h;
    }
    return v_vcat(h, T);
}

#define EXPECT_GRADIENT(name, field, X) expect_golden(#name ", d" #X, m.field->grad, &name##_d##X, cell_tolerance)

/* Runs the cell m over T steps and compares what all three have in common. */
#define EXPECT_CELL(name, bias)                                                    \
    do {                                                                           \
        Var *Y = unroll(m, step_##name);                                           \
        backward_from(Y, &name##_W);                                               \
        expect_golden(#name, Y->value, &name##_Y, cell_tolerance);                 \
        EXPECT_GRADIENT(name, x, x);                                               \
        EXPECT_GRADIENT(name, h, h);                                               \
        EXPECT_GRADIENT(name, Wx, Wx);                                             \
        EXPECT_GRADIENT(name, Wh, Wh);                                             \
        EXPECT_GRADIENT(name, bx, bias);                                           \
    } while (0)

static void test_rnn(void)
{
    Cell m = { .x = leaf(&rnn_x), .h = leaf(&rnn_h), .Wx = leaf(&rnn_Wx), .Wh = leaf(&rnn_Wh), .bx = leaf(&rnn_b) };
    EXPECT_CELL(rnn, b);
    tape_reset();
}

static void test_lstm(void)
{
    Cell m = { .x = leaf(&lstm_x), .h = leaf(&lstm_h), .c = leaf(&lstm_c), .Wx = leaf(&lstm_Wx), .Wh = leaf(&lstm_Wh),
               .bx = leaf(&lstm_b) };
    EXPECT_CELL(lstm, b);
    EXPECT_GRADIENT(lstm, c, c);
    tape_reset();
}

static void test_gru(void)
{
    Cell m = { .x = leaf(&gru_x), .h = leaf(&gru_h), .Wx = leaf(&gru_Wx), .Wh = leaf(&gru_Wh), .bx = leaf(&gru_bx),
               .bh = leaf(&gru_bh) };
    EXPECT_CELL(gru, bx);
    EXPECT_GRADIENT(gru, bh, bh);
    tape_reset();
}

/* ---- a padded batch --------------------------------------------------------------------------------------------------
 *
 * Three sequences, of 5, 2 and 4 places. PyTorch packs them, or gets them one by one, and so has never seen padding; here it
 * stands in front, and the golden inputs have noise in its places. */

enum { PAIRS = 3, PLACES = 5 };

static const Pair pairs[PAIRS] = {
    { .n = 5, .m = 3, .y = { 1, 4, 0 } }, { .n = 2, .m = 5, .y = { 2, 2, 3, 0, 1 } }, { .n = 4, .m = 1, .y = { 3 } },
};

static Batch batch_of_pairs(void)
{
    Task task = { .target = { .size = 5 } };
    return batch_of(pairs, PAIRS, &task);
}

/* A in the columns behind C's, as the golden results have them. */
static Var *attend(const Batch *batch, Var *E, Var *X)
{
    Var *A = v_softmax(E, &batch->mask);
    return v_hcat((Var *[]){ v_context(A, X), A }, 2);
}

static void test_attention(void)
{
    Batch batch = batch_of_pairs();
    Var *q = leaf(&dot_q), *K = leaf(&dot_K), *X = leaf(&dot_X), *Y = attend(&batch, v_score_dot(q, K), X);
    backward_from(Y, &dot_W);
    expect_golden("dot", Y->value, &dot_Y, cell_tolerance);
    expect_golden("dot, dq", q->grad, &dot_dq, cell_tolerance);
    expect_golden("dot, dK", K->grad, &dot_dK, cell_tolerance);
    expect_golden("dot, dX", X->grad, &dot_dX, cell_tolerance);
    Var *va = leaf(&additive_va);
    q = leaf(&additive_q), K = leaf(&additive_K), X = leaf(&additive_X);
    Y = attend(&batch, v_score_additive(q, K, va), X);
    backward_from(Y, &additive_W);
    expect_golden("additive", Y->value, &additive_Y, cell_tolerance);
    expect_golden("additive, dq", q->grad, &additive_dq, cell_tolerance);
    expect_golden("additive, dK", K->grad, &additive_dK, cell_tolerance);
    expect_golden("additive, dX", X->grad, &additive_dX, cell_tolerance);
    expect_golden("additive, dva", va->grad, &additive_dva, cell_tolerance);
    tape_reset();
}

typedef struct { Var *Wx, *Wh, *b; Layer layer; } Direction;

/* One direction over the rows of x that `order` names; its states come in that order, too. */
static Direction direct(bool lstm, Var *x, const int *order, const Golden *Wx, const Golden *Wh, const Golden *b)
{
    Direction d = { .Wx = leaf(Wx), .Wh = leaf(Wh), .b = leaf(b) };
    Matrix zero = tape_matrix(PAIRS, H);
    mat_fill(zero, 0);
    Var *in = v_add_bias(v_matmul(x, d.Wx), d.b), *h0 = v_const(zero);
    d.layer = lstm ? cell_lstm(in, order, d.Wh, h0, h0, PLACES) : cell_rnn(in, order, d.Wh, h0, PLACES);
    return d;
}

static const int *forwards(const Batch *batch)
{
    int *order = batch_backwards(batch);
    for (int k = 0; k < PLACES * PAIRS; k++) order[k] = order[k] == PAD ? PAD : k;
    return order;
}

#define EXPECT_DIRECTION(name, way)                                                                  \
    do {                                                                                             \
        expect_golden(#name " " #way ", dWx", way.Wx->grad, &name##_##way##_dWx, cell_tolerance);    \
        expect_golden(#name " " #way ", dWh", way.Wh->grad, &name##_##way##_dWh, cell_tolerance);    \
        expect_golden(#name " " #way ", db", way.b->grad, &name##_##way##_db, cell_tolerance);       \
    } while (0)

/* States of all places, those of the way back, r, brought into the order of the places; and the last ones of both ways. */
#define EXPECT_BOTH_WAYS(name, lstm)                                                                 \
    do {                                                                                             \
        Batch batch = batch_of_pairs();                                                              \
        const int *order = batch_backwards(&batch);                                                  \
        Var *x = leaf(&name##_x);                                                                    \
        Direction f = direct(lstm, x, forwards(&batch), &name##_f_Wx, &name##_f_Wh, &name##_f_b);    \
        Direction r = direct(lstm, x, order, &name##_r_Wx, &name##_r_Wh, &name##_r_b);               \
        Var *Y = v_hcat((Var *[]){ f.layer.h, v_lookup(r.layer.h, order, PLACES * PAIRS) }, 2);      \
        Var *ends[] = { f.layer.h_last, r.layer.h_last, f.layer.c_last, r.layer.c_last };            \
        Var *last = v_hcat(ends, lstm ? 4 : 2);                                                      \
        Var *loss = v_mean(v_mul(Y, v_const(golden_copy(&name##_W))));                               \
        tape_backward(v_add(loss, v_mean(v_mul(last, v_const(golden_copy(&name##_W_last))))));       \
        expect_golden(#name, Y->value, &name##_Y, cell_tolerance);                                   \
        expect_golden(#name ", last", last->value, &name##_last, cell_tolerance);                    \
        expect_golden(#name ", dx", x->grad, &name##_dx, cell_tolerance);                            \
        EXPECT_DIRECTION(name, f);                                                                   \
        EXPECT_DIRECTION(name, r);                                                                   \
        tape_reset();                                                                                \
    } while (0)

static void test_both_ways(void)
{
    EXPECT_BOTH_WAYS(birnn, false);
    EXPECT_BOTH_WAYS(bilstm, true);
}

/* The mean over all symbols and EOS of all pairs, which PyTorch gets one behind the other. */
static void test_padded_entropy(void)
{
    Batch batch = batch_of_pairs();
    EXPECT_SAME_BYTES(batch.target, padded_target, sizeof padded_target, "targets");
    EXPECT_UNARY(padded, A, v_cross_entropy(in, padded_target));
}

/* ---- layer norm, and attention in heads ------------------------------------------------------------------------------- */

#define EXPECT_NORM(name)                                                          \
    do {                                                                           \
        Var *A = leaf(&name##_A), *g = leaf(&name##_g), *b = leaf(&name##_b);      \
        Var *Y = v_layer_norm(A, g, b);                                            \
        backward_from(Y, &name##_W);                                               \
        expect_golden(#name, Y->value, &name##_Y, op_tolerance);                   \
        expect_golden(#name ", dA", A->grad, &name##_dA, op_tolerance);            \
        expect_golden(#name ", dg", g->grad, &name##_dg, op_tolerance);            \
        expect_golden(#name ", db", b->grad, &name##_db, op_tolerance);            \
        tape_reset();                                                              \
    } while (0)

static void test_layer_norm(void)
{
    EXPECT_NORM(norm);
    EXPECT_NORM(small_norm);
}

/* Four linear layers around v_attention are PyTorch's nn.MultiheadAttention. */
enum { HEADS = 2, SEQUENCES = 4 };

typedef struct { Var *W, *b; } Linear;

static Var *through(Linear m, Var *x) { return v_linear(x, m.W, m.b); }

#define LINEAR(name, part) { leaf(&name##_W##part), leaf(&name##_b##part) }

#define EXPECT_LINEAR(name, part)                                                                  \
    do {                                                                                           \
        expect_golden(#name ", dW" #part, part.W->grad, &name##_dW##part, cell_tolerance);         \
        expect_golden(#name ", db" #part, part.b->grad, &name##_db##part, cell_tolerance);         \
    } while (0)

#define EXPECT_HEADS(name, seen)                                                                   \
    do {                                                                                           \
        Linear q = LINEAR(name, q), k = LINEAR(name, k), v = LINEAR(name, v), o = LINEAR(name, o); \
        Var *Q = through(q, x), *K = through(k, memory), *V = through(v, memory);                  \
        Var *A = v_attention(Q, K, V, HEADS, seen, 0, NULL), *Y = through(o, A);                   \
        backward_from(Y, &name##_W);                                                               \
        expect_golden(#name, Y->value, &name##_Y, cell_tolerance);                                 \
        expect_golden(#name ", P", weights_of(A, &name##_P), &name##_P, cell_tolerance);           \
        expect_golden(#name ", dx", x->grad, &name##_dx, cell_tolerance);                          \
        EXPECT_LINEAR(name, q);                                                                    \
        EXPECT_LINEAR(name, v);                                                                    \
        EXPECT_LINEAR(name, o);                                                                    \
        expect_golden(#name ", dWk", k.W->grad, &name##_dWk, cell_tolerance);                      \
        expect_nothing(k.b->grad, &name##_dbk);                                                    \
    } while (0)

static Matrix weights_of(const Var *A, const Golden *P)
{
    Matrix m = tape_matrix(P->rows, P->cols);
    int steps = P->rows / (SEQUENCES * HEADS);
    for (int i = 0; i < P->rows; i++) {
        const real *p = attention_weights(A, i / steps / HEADS, i / steps % HEADS, i % steps);
        for (int s = 0; s < P->cols; s++) mat_row(m, i)[s] = p[s];
    }
    return m;
}

/* A bias of K moves all the scores of a row alike, which softmax does not notice: its gradient is rounding, on both sides. */
static void expect_nothing(Matrix grad, const Golden *want)
{
    EXPECT(golden_scale(want) < 1e-15, "golden dbk: %g", golden_scale(want));
    for (int c = 0; c < grad.cols; c++) EXPECT_NEAR(grad.at[c], 0, 1e-8, "dbk, number %d", c);
}

static void test_heads(void)
{
    Var *x = leaf(&padded_heads_x), *memory = leaf(&padded_heads_memory);
    EXPECT_HEADS(padded_heads, ((Seen){ .B = SEQUENCES, .lengths = padded_heads_lengths }));
    expect_golden("padded_heads, dmemory", memory->grad, &padded_heads_dmemory, cell_tolerance);
    tape_reset();
    x = memory = leaf(&causal_heads_x);
    EXPECT_HEADS(causal_heads, ((Seen){ .B = SEQUENCES, .causal = true }));
    tape_reset();
}

/* ---- optimizers ----------------------------------------------------------------------------------------------------- */

/* Each number is judged by how far it went itself: gradients lie between 1 and 1e-10, and so do the ways of some rules. */
static void expect_path(const char *name, const Golden *want, int step, const real *w)
{
    for (int i = 0; i < want->cols; i++) {
        double far = 0;
        for (int s = 0; s < want->rows; s++) far = fmax(far, fabs(want->at[s * want->cols + i]));
        EXPECT(far > 0, "%s: golden number %d is always zero", name, i);
        double expected = want->at[step * want->cols + i];
        EXPECT_NEAR(w[i], expected, optim_tolerance * far, "%s, step %d, number %d", name, step + 1, i);
        worst_optim = fmax(worst_optim, fabs((double)w[i] - expected) / far);
    }
}

/* The weights start at 0, or at `start`. */
static void run_optimizer(const char *name, Optim (*make)(const Params *), const Golden *start, const Golden *want)
{
    const Golden *g = &optim_gradients;
    Params p = { 0 };
    Var *w = param(&p, "w", 1, g->cols, init_zero());
    params_allocate(&p, 1);
    EXPECT(want->rows == g->rows && want->cols == g->cols, "%s: (%d,%d) golden values", name, want->rows, want->cols);
    Optim o = make(&p);
    for (int i = 0; start && i < g->cols; i++) w->value.at[i] = (real)start->at[i];
    for (int step = 0; step < g->rows; step++) {
        for (int i = 0; i < g->cols; i++) w->grad.at[i] = (real)g->at[step * g->cols + i];
        optim_step(&o, &p);
        expect_path(name, want, step, w->value.at);
    }
    optim_free(&o);
    params_free(&p);
}

static Optim make_sgd(const Params *p)      { return optim_sgd(p, 0.1, 0); }
static Optim make_momentum(const Params *p) { return optim_sgd(p, 0.1, 0.9); }
static Optim make_adagrad(const Params *p)  { return optim_adagrad(p, 0.1); }
static Optim make_adadelta(const Params *p) { return optim_adadelta(p, 1); }
static Optim make_adam(const Params *p)     { return optim_adam(p, 0.01, 0); }
static Optim make_adamw(const Params *p)    { return optim_adam(p, 0.01, 0.5); }

static void test_sgd(void)      { run_optimizer("sgd", make_sgd, NULL, &optim_sgd_path); }
static void test_momentum(void) { run_optimizer("momentum", make_momentum, NULL, &optim_momentum_path); }
static void test_adagrad(void)  { run_optimizer("adagrad", make_adagrad, NULL, &optim_adagrad_path); }
static void test_adadelta(void) { run_optimizer("adadelta", make_adadelta, NULL, &optim_adadelta_path); }
static void test_adam(void)     { run_optimizer("adam", make_adam, NULL, &optim_adam_path); }
static void test_adamw(void)    { run_optimizer("adamw", make_adamw, &optim_some, &optim_adamw_path); }

/* PyTorch divides by ‖g‖ + 1e-6, so its gradients are shorter by 1e-6/‖g‖, here 3e-7 of them: within the tolerance. */
static void clip_to(double limit, const char *name, const Golden *wantA, const Golden *wantB)
{
    Params p = { 0 };
    Var *A = param(&p, "A", clip_A.rows, clip_A.cols, init_zero()), *b = param(&p, "B", 1, clip_B.cols, init_zero());
    params_allocate(&p, 1);
    mat_copy(A->grad, golden_copy(&clip_A));
    mat_copy(b->grad, golden_copy(&clip_B));
    double norm = params_clip_grad(&p, limit), want = clip_norm.at[0];
    EXPECT(want > 1.25 && want < 50, "golden norm %g: it is not between the limits", want);
    EXPECT_NEAR(norm, want, op_tolerance * want, "norm");
    expect_golden(name, A->grad, wantA, op_tolerance);
    expect_golden(name, b->grad, wantB, op_tolerance);
    params_free(&p);
    tape_reset();
}

static void test_clip(void)
{
    clip_to(1.25, "cut", &clip_short_A, &clip_short_B);
    clip_to(50, "not cut", &clip_long_A, &clip_long_B);
    clip_to(0, "only measured", &clip_A, &clip_B);
}

static void test_schedule(void)
{
    const long warmup = 4, total = 20;
    double low = 0.1, pi = acos(-1);
    EXPECT(golden_scale(&schedule_rates) > 0, "the golden rates are all zero");
    for (int step = 0; step < schedule_rates.cols; step++) {
        double along = fmin(1, (double)(step - warmup) / (double)(total - warmup));
        double formula = step < warmup ? (step + 1) / (double)warmup : low + (1 - low) * (1 + cos(pi * along)) / 2;
        double got = schedule_cosine(step, warmup, total, low);
        EXPECT_NEAR(got, formula, 1e-8, "step %d, by the formula", step);
        EXPECT_NEAR(got, schedule_rates.at[step], 1e-8, "step %d", step);
    }
}

int main(void)
{
    RUN(test_arithmetic);
    RUN(test_moving);
    RUN(test_activations);
    RUN(test_products);
    RUN(test_lookup);
    RUN(test_softmax);
    RUN(test_cross_entropy);
    RUN(test_rnn);
    RUN(test_lstm);
    RUN(test_gru);
    RUN(test_attention);
    RUN(test_both_ways);
    RUN(test_padded_entropy);
    RUN(test_layer_norm);
    RUN(test_heads);
    RUN(test_sgd);
    RUN(test_momentum);
    RUN(test_adagrad);
    RUN(test_adadelta);
    RUN(test_adam);
    RUN(test_adamw);
    RUN(test_clip);
    RUN(test_schedule);
    tape_free();
    printf("largest differences: ops %.2g, cells %.2g, optimizers %.2g\n", worst_op, worst_cell, worst_optim);
    return unit_result();
}
