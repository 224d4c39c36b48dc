/* Chapter 03's claims: the cell is its equations, the corner cases are exact, the cell's own way back is the product of its
 * forget gates, no number of a held-out window is trained on, and recall is learned. In the double build, as well: the
 * gradient of every parameter, through two layers and six steps, is the central difference.                                */
#define main chapter_main                  /* the chapter's functions are static: to reach them, its source is read in here */
#include "../chapters/03_lstm/lstm.c"
#undef main

#include "unit.h"

static const double near = sizeof(real) == sizeof(double) ? 1e-12 : 2e-6;

static void fill_normal(Matrix m, double scale, uint64_t stream)
{
    Rng rng = rng_new(7, stream);
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = (real)scale * rng_normal(&rng);
}

static Net small_net(Step *step, int layers, int D, int H, int Q)
{
    Net m;
    net_new(&m, (Plan){ .step = step, .D = D, .H = H, .Q = Q, .layers = layers, .init = init_normal(0.8), .forget_bias = 1 }, 3);
    return m;
}

/* ---- the cell ------------------------------------------------------------------------------------------------------ */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* One number of z, by a plain sum */
static double z_of(const Cell *m, Matrix xW, Matrix h, int row, int column)
{
    double z = (double)mat_row(xW, row)[column] + (double)m->b->value.at[column];
    for (int k = 0; k < m->H; k++) z += (double)mat_row(h, row)[k] * (double)mat_row(m->Wh->value, k)[column];
    return z;
}

static void test_lstm_step_is_its_equations(void)
{
    enum { B = 2, D = 3, H = 4 };
    Net m = small_net(lstm_step, 1, D, H, 5);
    const Cell *cell = &m.cell[0];
    Matrix xW = mat_new(B, 4 * H), h = mat_new(B, H), c = mat_new(B, H);
    fill_normal(xW, 1, 1), fill_normal(h, 1, 2), fill_normal(c, 1, 3), fill_normal(cell->b->value, 1, 4);
    State s = lstm_step(cell, v_const(xW), (State){ .h = v_const(h), .c = v_const(c) });
    for (int r = 0; r < B; r++)
        for (int j = 0; j < H; j++) {
            double i = sigmoid(z_of(cell, xW, h, r, j)), f = sigmoid(z_of(cell, xW, h, r, H + j));
            double g = tanh(z_of(cell, xW, h, r, 2 * H + j)), o = sigmoid(z_of(cell, xW, h, r, 3 * H + j));
            double want = f * (double)mat_row(c, r)[j] + i * g;
            EXPECT_NEAR(mat_row(s.c->value, r)[j], want, near, "c (%d,%d)", r, j);
            EXPECT_NEAR(mat_row(s.h->value, r)[j], o * tanh(want), near, "h (%d,%d)", r, j);
        }
    tape_reset();
    mat_free(&xW), mat_free(&h), mat_free(&c);
    params_free(&m.params);
}

static void test_corners(void)
{
    real g[CORNER_STEPS], c[CORNER_STEPS], sum = (real)0.5;
    for (int t = 0; t < CORNER_STEPS; t++) g[t] = r_tanh(corner_input[t]);
    corner_run(true, false, c);
    for (int t = 0; t < CORNER_STEPS; t++) EXPECT_NEAR(c[t], 0.5, 1e-30, "keep, step %d", t);
    corner_run(false, true, c);
    for (int t = 0; t < CORNER_STEPS; t++) EXPECT_NEAR(c[t], g[t], near, "replace, step %d", t);
    corner_run(true, true, c);
    for (int t = 0; t < CORNER_STEPS; t++) sum += g[t], EXPECT_NEAR(c[t], sum, near, "add up, step %d", t);
    corner_run(false, false, c);
    for (int t = 0; t < CORNER_STEPS; t++) EXPECT_NEAR(c[t], 0, 1e-30, "wipe, step %d", t);
}

/* With nothing but biases the gates are σ(b) for ever, and ∂c_T/∂c_0 = σ(b)^T exactly. */
static void test_cell_alone_multiplies_forget_gates(void)
{
    enum { T = 20 };
    for (int bias = 0; bias <= 5; bias += 5) {
        real zero[4] = { 0 }, b[4] = { 0, (real)bias, 0, 0 }, one = 1, nothing = 0;
        Cell cell = { .step = lstm_step, .H = 1, .Wh = v_const(mat_over(zero, 1, 4)), .b = v_const(mat_over(b, 1, 4)) };
        Var *first = v_leaf(mat_over(&one, 1, 1));
        State s = { .h = v_const(mat_over(&nothing, 1, 1)), .c = first };
        for (int t = 0; t < T; t++) s = lstm_step(&cell, v_const(mat_over(zero, 1, 4)), s);
        tape_backward(s.c);
        double want = pow(sigmoid(bias), T);
        EXPECT_NEAR(first->grad.at[0], want, 1e-5 * want, "forget bias %d", bias);
        tape_reset();
    }
}

/* ---- the network --------------------------------------------------------------------------------------------------- */

static void test_forget_bias_is_in_its_place(void)
{
    Net m = small_net(lstm_step, 2, 3, 4, 5), r = small_net(rnn_step, 1, 3, 4, 5);
    for (int l = 0; l < 2; l++)
        for (int j = 0; j < 16; j++) EXPECT_NEAR(m.cell[l].b->value.at[j], j / 4 == 1, 0, "layer %d, bias %d", l, j);
    for (int j = 0; j < 4; j++) EXPECT_NEAR(r.cell[0].b->value.at[j], 0, 0, "rnn, bias %d", j);
    EXPECT(m.params.size == 3 * 16 + 4 * 16 + 16 + 4 * 16 + 4 * 16 + 16 + 4 * 5 + 5, "%zu parameters", m.params.size);
    params_free(&m.params), params_free(&r.params);
}

/* A symbol is the row of numbers with a single 1. */
static void test_symbols_are_one_hot_numbers(void)
{
    enum { B = 2, D = 3, H = 4, T = 6 };
    Net m = small_net(lstm_step, 2, D, H, 5);
    int x[T * B];
    Matrix hot = mat_new(T * B, D);
    State a[MOST_STEPS], b[MOST_STEPS];
    for (int i = 0; i < T * B; i++) x[i] = (i * i + 1) % D, mat_row(hot, i)[x[i]] = 1;
    read_symbols(&m, x, T, B, a);
    read_numbers(&m, v_const(hot), T, B, b);
    for (int t = 0; t < T; t++)
        EXPECT_SAME_BYTES(a[t].h->value.at, b[t].h->value.at, B * H * sizeof(real), "h after step %d", t);
    EXPECT(fabs((double)a[T - 1].h->value.at[0]) > 1e-3, "the state moves");
    tape_reset();
    mat_free(&hot);
    params_free(&m.params);
}

#ifdef REAL_DOUBLE

static double loss_at(const Net *m, const int *x, const int *y, int T, int B)
{
    State s[MOST_STEPS];
    Var *h[MOST_STEPS];
    tape_reset();
    read_symbols(m, x, T, B, s);
    for (int t = 0; t < T; t++) h[t] = s[t].h;
    return v_cross_entropy(net_output(m, v_vcat(h, T)), y)->value.at[0];
}

static void gradient_check(Step *step)
{
    enum { B = 2, D = 3, H = 4, Q = 5, T = 6 };
    Net m = small_net(step, 2, D, H, Q);
    int x[T * B], y[T * B];
    State s[MOST_STEPS];
    Var *h[MOST_STEPS];
    double largest = 0, eps = 1e-5;
    for (int i = 0; i < T * B; i++) x[i] = (i * i + 1) % D, y[i] = (3 * i + 2) % Q;
    tape_reset();
    params_zero_grad(&m.params);
    read_symbols(&m, x, T, B, s);
    for (int t = 0; t < T; t++) h[t] = s[t].h;
    tape_backward(v_cross_entropy(net_output(&m, v_vcat(h, T)), y));
    for (size_t i = 0; i < m.params.size; i++) {
        double kept = m.params.value[i], high, low;
        m.params.value[i] = kept + eps, high = loss_at(&m, x, y, T, B);
        m.params.value[i] = kept - eps, low = loss_at(&m, x, y, T, B);
        m.params.value[i] = kept;
        double want = (high - low) / (2 * eps), got = m.params.grad[i];
        EXPECT_NEAR(got, want, 1e-7 * fabs(want) + 1e-10, "parameter %zu of %zu", i, m.params.size);
        largest = fmax(largest, fabs(got));
    }
    EXPECT(largest > 1e-3, "all gradients are zero, or nearly so");
    tape_reset();
    params_free(&m.params);
}

static void test_lstm_gradient(void) { gradient_check(lstm_step); }
static void test_rnn_gradient(void)  { gradient_check(rnn_step); }

#endif

/* ---- recall -------------------------------------------------------------------------------------------------------- */

static void test_recall_shows_a_key_and_then_noise(void)
{
    enum { LAG = 7, B = 40 };
    int x[(LAG + 1) * B], seen[KEYS + NOISES] = { 0 };
    Rng rng = rng_new(5, 0);
    recall_draw(&rng, LAG, B, x);
    for (int i = 0; i < (LAG + 1) * B; i++) {
        EXPECT(i < B ? x[i] >= 0 && x[i] < KEYS : x[i] >= KEYS && x[i] < KEYS + NOISES, "place %d holds %d", i, x[i]);
        seen[x[i]]++;
    }
    for (int v = 0; v < KEYS + NOISES; v++) EXPECT(seen[v] > 0, "symbol %d never comes", v);
}

static const Config small = { .seed = 1, .recall_steps = 400, .recall_hidden = 32, .recall_lr = 0.002, .clip = 1 };

static void test_recall_is_learned(void)
{
    const Candidate c = { "lstm", lstm_step, 5, false };
    Net m = recall_net(&c, &small);
    double before = recall_accuracy(&m, 10, 1);
    EXPECT(before > 0.02 && before < 0.3, "accuracy %g before training, and chance is 1/8", before);
    int steps = recall_train(&m, &c, 10, &small);
    EXPECT(steps < small.recall_steps, "it stops when it knows; %d steps", steps);
    EXPECT(recall_accuracy(&m, 10, 1) > 0.99, "accuracy %g at lag 10", recall_accuracy(&m, 10, 1));
    params_free(&m.params);
}

/* Measured on a network as it begins: with Wh = 0 the share is close to σ(1)^20; with it, another. */
static void test_share_is_the_product_of_forget_gates(void)
{
    const Candidate c = { "lstm", lstm_step, 1, false };
    Net m = recall_net(&c, &small);
    double both = recall_share(&m, 20, 1), want = pow(sigmoid(1), 20);
    mat_fill(m.cell[0].Wh->value, 0);
    double alone = recall_share(&m, 20, 1);
    EXPECT(alone > want / 2 && alone < 2 * want, "share %g, σ(1)^20 is %g", alone, want);
    EXPECT(both > 4 * alone, "share %g with Wh, %g without", both, alone);
    params_free(&m.params);
}

/* ---- series -------------------------------------------------------------------------------------------------------- */

static void test_held_out_numbers_are_never_trained_on(void)
{
    for (int k = 0; k < 3; k++) {
        int start[NUMBERS], n = span_windows(&tasks[k], above, start, span_windows(&tasks[k], below, start, 0));
        EXPECT(n > 700, "%s: %d windows", tasks[k].name, n);
        for (int i = 0; i < n; i++) {
            int first = start[i], last = first + tasks[k].window + tasks[k].ahead - 1;
            EXPECT(last < inside.from || first >= inside.to, "%s: %d to %d", tasks[k].name, first, last);
            EXPECT(last < beyond.from, "%s: %d to %d", tasks[k].name, first, last);
        }
    }
}

static void test_answers_follow_their_windows(void)
{
    static const int start[] = { 10, 200, 31 };
    enum { B = 3 };
    for (int k = 0; k < 3; k++) {
        Batch batch = series_batch(&tasks[k], &scales[0], start, B);
        for (int b = 0; b < B; b++) {
            EXPECT_NEAR(batch.x->value.at[b], start[b], 0, "%s: the first number", tasks[k].name);
            for (int t = 0; tasks[k].every && t < batch.T; t++)
                EXPECT_NEAR(batch.y->value.at[t * B + b], batch.x->value.at[t * B + b] + 5, 0, "%s: step %d", tasks[k].name, t);
            for (int j = 0; !tasks[k].every && j < tasks[k].ahead; j++)
                EXPECT_NEAR(mat_row(batch.y->value, b)[j], start[b] + tasks[k].window + j, 0, "%s: answer %d", tasks[k].name, j);
        }
        EXPECT(batch.y->value.rows == (tasks[k].every ? 50 * B : B), "%s: %d answers", tasks[k].name, batch.y->value.rows);
        tape_reset();
    }
}

/* ---- letters ------------------------------------------------------------------------------------------------------- */

static void test_letters_begin_at_ln_v(void)
{
    Config o = { .window = 8, .train = 64, .test = 16, .prompt = "el", .batch = 16, .corpus = "common/corpus/pastiche.txt" };
    Data d = data_open(&o);
    Net m;
    net_new(&m, (Plan){ .step = lstm_step, .D = d.vocab.size, .H = 6, .Q = d.vocab.size, .layers = 1, .init = init_normal(0.01) }, 1);
    EXPECT_NEAR(letters_test(&m, &d, &o), log(d.vocab.size), 0.01, "the loss of a network that knows nothing");
    tape_reset();
    params_free(&m.params);
    data_free(&d);
}

int main(void)
{
    RUN(test_lstm_step_is_its_equations);
    RUN(test_corners);
    RUN(test_cell_alone_multiplies_forget_gates);
    RUN(test_forget_bias_is_in_its_place);
    RUN(test_symbols_are_one_hot_numbers);
#ifdef REAL_DOUBLE
    RUN(test_lstm_gradient);
    RUN(test_rnn_gradient);
#endif
    RUN(test_recall_shows_a_key_and_then_noise);
    RUN(test_recall_is_learned);
    RUN(test_share_is_the_product_of_forget_gates);
    RUN(test_held_out_numbers_are_never_trained_on);
    RUN(test_answers_follow_their_windows);
    RUN(test_letters_begin_at_ln_v);
    return unit_result();
}
