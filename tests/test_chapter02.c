/* Chapter 02: what it says about its tape, its graph, its matrices, its samplings and its cuts, as far as it can be held to it
 * exactly. In the double build also the gradient of its network, for every parameter, against chapter 01's way back by hand and
 * against central differences. */
#include "workbook.h"

#include <string.h>

/* The functions of a chapter are static: to reach them, its source is read in here. Two chapters in one file need other names
 * for what both have, and chapter 01's options another place in a Cli, because a macro renames that field too. */
typedef struct { const char *about; const Option *first_options; int count; const void *presets[PRESETS]; size_t size; } FirstCli;
#define main        first_main
#define Cli         FirstCli
#define Config      FirstConfig
#define Data        FirstData
#define data_open   first_data_open
#define options     first_options
#define quick       first_quick
#define usual       first_usual
#define reference   first_reference
#define cli         first_cli
#define report      first_report
#define cli_parse   first_cli_parse
static void first_cli_parse(const FirstCli *c, int argc, char **argv, void *config)
{
    (void)argc, (void)argv;
    memcpy(config, c->presets[0], c->size);
}
#include "../chapters/01_rnn_scratch/rnn_scratch.c"
#undef main
#undef Cli
#undef Config
#undef Data
#undef data_open
#undef options
#undef quick
#undef usual
#undef reference
#undef cli
#undef report
#undef cli_parse
#undef SAME

#define main chapter_main
#include "../chapters/02_bptt_clip/bptt_clip.c"
#undef main

#include "unit.h"

enum { TB = 2, TT = 6, TV = 5, TH = 4 };

static void fill(real *at, size_t n, double scale, uint64_t stream)
{
    Rng rng = rng_new(11, stream);
    for (size_t i = 0; i < n; i++) at[i] = (real)scale * rng_normal(&rng);
}

/* A network with large weights and a batch that does not begin with a state of 0. */
static void make_case(Net *m, Batch *b, int B, int T)
{
    Rng rng = rng_new(11, 1);
    net_new(m, TV, TH, 1);
    fill(m->params.value, m->params.size, 0.7, 2);
    *b = batch_new(B, T, TH);
    for (int i = 0; i < B * T; i++) b->x[i] = rng_below(&rng, TV);
    for (int i = 0; i < B * T; i++) b->y[i] = rng_below(&rng, TV);
    fill(b->h.at, mat_size(b->h), 0.4, 3);
}

static void free_case(Net *m, Batch *b)
{
    tape_reset();
    params_free(&m->params);
    batch_free(b);
}

static double apart(const real *a, const real *b, size_t n) { return vectors_apart(a, b, n).distance; }

/* What a float can be expected to keep, or a double. */
static const double tight = sizeof(real) == 4 ? 2e-6 : 1e-13;

/* ---- the tape and the way by hand ------------------------------------------------------------------------------------- */

static void test_hand_gradient(void)
{
    Net m;
    Batch b;
    make_case(&m, &b, TB, TT);
    Matrix dWh = mat_new(TH, TH);
    double by_tape = full_gradient(&m, &b), by_hand = hand_gradient(&m, &b, dWh);
    EXPECT_NEAR(by_hand, by_tape, tight * by_tape, "loss");
    EXPECT(norm_of(dWh) > 1e-3, "dWh is nearly zero");
    EXPECT_NEAR(apart(dWh.at, m.Wh->grad.at, mat_size(dWh)), 0, tight, "dWh");
    mat_free(&dWh);
    free_case(&m, &b);
}

/* Chapter 01's forward and backward functions; its block and our parameters have the same order. */
static void test_chapter_01(void)
{
    Net m;
    Batch b;
    make_case(&m, &b, TB, TT);
    Rnn model = rnn_new(TV, TH), gradient = rnn_new(TV, TH);
    Unrolled u = unroll_new(&model, TB, TT);
    EXPECT(model.size == m.params.size, "%zu and %zu parameters", model.size, m.params.size);
    memcpy(model.block, m.params.value, model.size * sizeof(real));
    memcpy(u.x, b.x, TB * TT * sizeof(int));
    memcpy(u.y, b.y, TB * TT * sizeof(int));
    mat_fill(b.h, 0);                                                    /* as chapter 01 begins */
    double by_hand = rnn_forward(&model, &u), by_tape = full_gradient(&m, &b);
    rnn_backward(&model, &gradient, &u);
    EXPECT_NEAR(by_tape, by_hand, tight * by_hand, "loss");
    EXPECT_NEAR(apart(m.params.grad, gradient.block, model.size), 0, tight, "gradient");
    for (int i = 0; i < m.params.count; i++)
        EXPECT(sum_squares(m.params.item[i]->var.grad.at, mat_size(m.params.item[i]->var.grad)) > 1e-6, "%s: no gradient",
               m.params.item[i]->name);
    free(model.block), free(gradient.block);
    unroll_free(&u);
    free_case(&m, &b);
}

#ifdef REAL_DOUBLE
static void test_differences(void)
{
    const double epsilon = 1e-5;
    Net m;
    Batch b;
    make_case(&m, &b, TB, TT);
    full_gradient(&m, &b);
    real *claimed = gradient_copy(&m), *w = m.params.value;
    double largest = 0;
    for (size_t i = 0; i < m.params.size; i++) {
        double kept = w[i];
        w[i] = kept + epsilon;
        double above = full_gradient(&m, &b);
        w[i] = kept - epsilon;
        double below = full_gradient(&m, &b), difference = (above - below) / (2 * epsilon);
        w[i] = kept;
        EXPECT_NEAR(claimed[i], difference, 1e-7 * fabs(difference) + 1e-10, "parameter %zu", i);
        largest = fmax(largest, fabs(claimed[i]));
    }
    EXPECT(largest > 1e-2, "all gradients are small");
    free(claimed);
    free_case(&m, &b);
}
#endif

/* The printed graph: what section 1 says of it. */
static void test_graph(void)
{
    real x[] = { 1, 2 }, w1[] = { 0.5, -1, 1, 0.25, 0.25, 0 }, w2[] = { 1, 0, 2, 1, 0, 0.5 };
    const int y[] = { 1 };
    Var *W1 = v_leaf(mat_over(w1, 2, 3)), *W2 = v_leaf(mat_over(w2, 3, 2));
    Var *o = v_matmul(v_relu(v_matmul(v_const(mat_over(x, 1, 2)), W1)), W2);
    Var *J = v_add(v_cross_entropy(o, y), v_add(weight_decay(W1, 0.01), weight_decay(W2, 0.01)));
    double p = 1 / (1 + exp(-0.5)), squares = 0;
    for (int i = 0; i < 6; i++) squares += (double)(w1[i] * w1[i] + w2[i] * w2[i]);
    EXPECT_NEAR(J->value.at[0], -log(1 - p) + 0.01 * squares, 1e-6, "J");
    tape_backward(J);
    EXPECT_NEAR(W1->grad.at[0], p + 0.02 * 0.5, 1e-6, "dW1[0,0]");
    EXPECT_NEAR(W1->grad.at[1], -0.02, 1e-6, "dW1[0,1], behind relu");
    EXPECT_NEAR(W1->grad.at[4], 0.005, 1e-6, "dW1[1,1], behind relu");
    EXPECT_NEAR(W2->grad.at[1], -p, 1e-6, "dW2[0,1]");
    tape_reset();
}

static void test_recurrence(void)
{
    enum { N = 20 };
    real a[N + 1], b[N + 1], db[N + 1], again[N + 1];
    fill(a, N + 1, 1, 4);
    fill(b, N + 1, 1, 5);
    EXPECT(recurrence_kept(N, a, b, db) == 3 * N, "products with z kept");
    EXPECT(recurrence_again(N, a, b, again) == 2 * N + N * (N - 1) / 2, "products with z made again");
    for (int k = 1; k <= N; k++) {
        double behind = 1, z = 0;                                        /* (3.2), as it stands */
        for (int j = k + 1; j <= N; j++) behind *= (double)b[j];
        for (int i = 1; i < k; i++) {
            double term = (double)a[i];
            for (int j = i + 1; j < k; j++) term *= (double)b[j];
            z += term;
        }
        EXPECT_NEAR(db[k], behind * z, 1e-5 * fabs(behind * z) + 1e-9, "db[%d]", k);
        EXPECT(db[k] == again[k], "db[%d]: both ways", k);
    }
}

/* ---- matrices and lags ------------------------------------------------------------------------------------------------ */

static void test_radius(void)
{
    Rng rng = rng_new(1, 1);
    Matrix W = mat_new(12, 12);
    make_orthogonal(W, &rng);
    for (int r = 0; r < 12; r++)
        for (int s = 0; s < 12; s++) {
            double product = 0;
            for (int c = 0; c < 12; c++) product += (double)mat_row(W, r)[c] * (double)mat_row(W, s)[c];
            EXPECT_NEAR(product, r == s, 1e-5, "rows %d and %d", r, s);
        }
    EXPECT_NEAR(spectral_radius(W, &rng), 1, 1e-5, "orthogonal");
    scale_matrix(W, 1.7);
    EXPECT_NEAR(spectral_radius(W, &rng), 1.7, 1e-5, "orthogonal, scaled");
    mat_fill(W, 0);
    for (int r = 0; r < 12; r += 2) {                                    /* 0.6 ± 0.8i, modulus 1, and smaller ones, sheared */
        double size = r ? 0.5 : 1;
        mat_row(W, r)[r] = mat_row(W, r + 1)[r + 1] = (real)(0.6 * size);
        mat_row(W, r)[r + 1] = (real)(1.6 * size), mat_row(W, r + 1)[r] = (real)(-0.4 * size);
    }
    EXPECT_NEAR(spectral_radius(W, &rng), 1, 5e-3, "a complex pair");
    mat_free(&W);
}

/* With small inputs an orthogonal Wh gives exactly the radius, at every lag; the sheared one (4.5). */
static void test_lags(void)
{
    enum { LAGS = 12, WIDE = 40 };
    Config o = { .lags = LAGS };
    double norm[LAGS + 1], slope[LAGS + 1];
    Matrix W = mat_new(WIDE, WIDE);
    for (int i = 0; i < RADII; i++) {
        Rng rng = rng_new(1, 2);
        make_matrix(W, ORTHOGONAL, radii[i], &rng);
        gradient_norms(W, &o, 1e-6, &rng, norm, slope);
        for (int lag = 0; lag <= LAGS; lag++) {
            EXPECT_NEAR(norm[lag], pow(radii[i], lag), 1e-4 * pow(radii[i], lag), "radius %g, lag %d", radii[i], lag);
            EXPECT_NEAR(slope[lag], 1, 1e-6, "radius %g, slope at lag %d", radii[i], lag);
        }
        gradient_norms(W, &o, 1, &rng, norm, slope);
        EXPECT(step_factor(norm, LAGS) < 0.8 * radii[i], "radius %g: no slower with large inputs", radii[i]);
        EXPECT_NEAR(step_factor(norm, LAGS), radii[i] * geometric_mean(slope, LAGS), 0.03, "(4.4)");
    }
    Rng rng = rng_new(1, 2);
    make_matrix(W, SHEARED, 0.9, &rng);
    EXPECT_NEAR(spectral_radius(W, &rng), 0.9, 0.01, "sheared");
    gradient_norms(W, &o, 1e-6, &rng, norm, slope);
    EXPECT(norm[9] > 2, "sheared: %g times the length at lag 9", norm[9]);
    mat_free(&W);
}

/* ---- samplings -------------------------------------------------------------------------------------------------------- */

enum { TEXT = 103, ROWS = 3, SPAN = 7 };

static int compare_ints(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static void test_samplings(void)
{
    int start[TEXT], seen[SPAN] = { 0 };
    Rng rng = rng_new(1, 3);
    int count = starts_sliding(start, TEXT, ROWS, SPAN, &rng);
    EXPECT(count == (TEXT - SPAN) / ROWS * ROWS, "sliding: %d places", count);
    qsort(start, (size_t)count, sizeof *start, compare_ints);
    for (int i = 1; i < count; i++) EXPECT(start[i] > start[i - 1], "sliding: place %d twice", start[i]);
    EXPECT(start[0] >= 0 && start[count - 1] + SPAN < TEXT, "sliding: from %d to %d", start[0], start[count - 1]);
    for (int pass = 0; pass < 60; pass++) {
        count = starts_partition(start, TEXT, ROWS, SPAN, &rng);
        EXPECT(count % ROWS == 0 && count >= (TEXT - SPAN) / SPAN / ROWS * ROWS, "partition: %d places", count);
        seen[start[0] % SPAN]++;
        bool sorted = true;
        for (int i = 1; i < count; i++) sorted = sorted && start[i] > start[i - 1];
        EXPECT(!sorted, "partition: not shuffled");
        qsort(start, (size_t)count, sizeof *start, compare_ints);
        for (int i = 1; i < count; i++)
            EXPECT(start[i] > start[i - 1] && (start[i] - start[0]) % SPAN == 0, "partition: %d after %d", start[i], start[i - 1]);
        EXPECT(start[0] >= 0 && start[count - 1] + SPAN < TEXT, "partition: the last at %d", start[count - 1]);
    }
    for (int i = 0; i < SPAN; i++) EXPECT(seen[i] > 0, "partition: offset %d never came", i);
    for (int pass = 0; pass < 20; pass++) {
        count = starts_stateful(start, TEXT, ROWS, SPAN, &rng);
        EXPECT(count > ROWS && count % ROWS == 0, "stateful: %d places", count);
        for (int i = ROWS; i < count; i++) EXPECT(start[i] == start[i - ROWS] + SPAN, "stateful: row %d breaks off", i % ROWS);
        EXPECT(start[count - 1] + SPAN < TEXT, "stateful: the last at %d", start[count - 1]);
    }
}

/* A stateful reader hands the state on, and begins anew with 0. */
static void test_reader(void)
{
    int ids[TEXT];
    for (int i = 0; i < TEXT; i++) ids[i] = i % TV;
    Net m;
    net_new(&m, TV, TH, 1);
    for (int carry = 0; carry < 2; carry++) {
        Reader r = reader_new((Part){ ids, TEXT }, starts_stateful, carry, ROWS, SPAN, &m, 1);
        for (int i = 0; i < 12; i++) {
            bool first = r.at == r.count;
            reader_next(&r);
            EXPECT(r.batch.h.at[0] == (carry && !first ? 1 : 0), "batch %d, carry %d", i, carry);
            EXPECT(r.batch.x[ROWS] == (r.batch.x[0] + 1) % TV && r.batch.y[0] == r.batch.x[ROWS], "batch %d: symbols", i);
            mat_fill(r.batch.h, 1);
        }
        reader_free(&r);
    }
    params_free(&m.params);
}

/* ---- cuts ------------------------------------------------------------------------------------------------------------- */

static void test_truncated(void)
{
    Net m;
    Batch b;
    make_case(&m, &b, TB, TT);
    double loss = full_gradient(&m, &b), before = INFINITY;
    real *full = gradient_copy(&m);
    size_t bytes = 0;
    for (int k = 1; k <= TT; k++) {
        tape_free();
        EXPECT_NEAR(truncated_gradient(&m, &b, k), loss, tight * loss, "loss, cut at %d", k);
        EXPECT(tape_bytes() > bytes, "cut at %d: the tape holds %zu bytes, and %zu before", k, tape_bytes(), bytes);
        bytes = tape_bytes();
        double error = apart(m.params.grad, full, m.params.size);
        if (k == TT) EXPECT_NEAR(error, 0, tight, "not cut");
        else EXPECT(error > 1e-3, "cut at %d: no error", k);
        before = k == 1 ? error : before;
    }
    EXPECT(before > 0.05, "cut at 1: error %g", before);
    free(full);
    free_case(&m, &b);
}

/* π = 1 never cuts. π = 0.5 has 2⁵ equally likely ways to cut six steps (the first coin is of no use): their mean is the
 * full gradient, to rounding. */
static void test_randomized(void)
{
    Net m;
    Batch b;
    Rng rng = rng_new(1, 4);
    make_case(&m, &b, TB, TT);
    full_gradient(&m, &b);
    real *full = gradient_copy(&m);
    random_gradient(&m, &b, 1, &rng);
    EXPECT_NEAR(apart(m.params.grad, full, m.params.size), 0, tight, "never cut");
    Mean mean = mean_new(m.params.size);
    for (int way = 0; way < 1 << (TT - 1); way++) {
        tape_reset();
        Var *h = v_const(b.h), *all[TT];
        for (int t = 0; t < TT; t++) {
            double xi = t == 0 ? 1 : way >> (t - 1) & 1 ? 2 : 0;
            all[t] = h = net_step(&m, b.x + t * TB, pass_back(h, xi));
        }
        params_zero_grad(&m.params);
        tape_backward(output_loss(&m, all, TT, b.y));
        mean_add(&mean, m.params.grad);
    }
    double length = sqrt(sum_squares(full, m.params.size));
    EXPECT_NEAR(mean_distance(&mean, full) / length, 0, 2 * tight, "the mean of all ways");
    EXPECT(mean_standard_error(&mean) * sqrt(mean.n) / length > 0.05, "all ways are the same");
    mean_free(&mean);
    free(full);
    free_case(&m, &b);
}

/* The mean of 2,000 estimates is within four standard errors, the truncated gradient many away. */
static void test_unbiased(void)
{
    Net m;
    Batch b;
    Rng rng = rng_new(1, 5);
    make_case(&m, &b, TB, TT);
    full_gradient(&m, &b);
    real *full = gradient_copy(&m);
    Mean mean = mean_new(m.params.size);
    for (int i = 0; i < 2000; i++) {
        random_gradient(&m, &b, 0.75, &rng);
        mean_add(&mean, m.params.grad);
    }
    double standard = mean_standard_error(&mean);
    EXPECT(mean_distance(&mean, full) < 4 * standard, "%g, standard error %g", mean_distance(&mean, full), standard);
    truncated_gradient(&m, &b, 2);
    EXPECT(mean_distance(&mean, m.params.grad) > 4 * standard, "cut at 2: %g, standard error %g",
           mean_distance(&mean, m.params.grad), standard);
    mean_free(&mean);
    free(full);
    free_case(&m, &b);
}

static void test_mean(void)
{
    static const real x[4] = { 1, 2, 4, 9 };
    const real truth = 5;
    Mean mean = mean_new(1);
    for (int i = 0; i < 4; i++) mean_add(&mean, &x[i]);
    EXPECT_NEAR(mean_distance(&mean, &truth), 1, 1e-12, "mean 4");
    EXPECT_NEAR(mean_standard_error(&mean), sqrt(38.0 / 3 / 4), 1e-12, "variance 38/3 of one, a quarter of that of the mean");
    mean_free(&mean);
}

/* ---- feedback --------------------------------------------------------------------------------------------------------- */

static void test_tasks(void)
{
    enum { B = 3 };
    int x[LENGTH * B], y[LENGTH * B], ones = 0;
    Rng rng = rng_new(1, 6);
    task_parity(B, x, y, &rng);
    for (int b = 0; b < B; b++)
        for (int t = 0, sum = 0; t < LENGTH; t++) {
            sum += x[t * B + b];
            ones += x[t * B + b];
            EXPECT(y[t * B + b] == sum % 2, "parity, step %d", t);
        }
    EXPECT(ones > 5 && ones < LENGTH * B - 5, "%d ones", ones);
    task_echo(B, x, y, &rng);
    for (int i = 0; i < LENGTH * B; i++) EXPECT(y[i] == (i < 2 * B ? -1 : x[i - 2 * B]), "echo, place %d", i);
}

/* A Jordan network that is told the answers sees xₜ and yₜ₋₁, and nothing else of the past: with these two the same its logits
 * are the same. An Elman network's are not. */
static void test_jordan_is_blind(void)
{
    for (Feedback from = ELMAN; from < FEEDBACKS; from++) {
        Fed m;
        fed_new(&m, from, 1);
        int x[2][LENGTH] = { { 0 } }, told[LENGTH] = { 0 };
        for (int t = 0; t < LENGTH; t++) x[0][t] = x[1][t] = t % 2;
        x[1][LENGTH - 2] = 1 - x[0][LENGTH - 2];
        Matrix a = fed_logits(&m, 1, x[0], told)->value, b = fed_logits(&m, 1, x[1], told)->value;
        bool same = memcmp(mat_row(a, LENGTH - 1), mat_row(b, LENGTH - 1), BITS * sizeof(real)) == 0;
        EXPECT(same == (from == JORDAN), "feedback %d: logits %s", (int)from, same ? "equal" : "differ");
        tape_reset();
        params_free(&m.params);
    }
}

/* It learns the parity, where it is told all it needs, and not the echo. */
static void test_jordan_learns(void)
{
    for (int echo = 0; echo < 2; echo++) {
        Fed m;
        fed_new(&m, JORDAN, 1);
        Optim adam = optim_adam(&m.params, 0.005, 0);
        Rng rng = rng_new(1, 7);
        for (int step = 0; step < 400; step++) fed_lesson(&m, echo ? task_echo : task_parity, &adam, &rng);
        double right = fed_accuracy(&m, echo ? task_echo : task_parity, &rng);
        EXPECT(echo ? right > 0.4 && right < 0.6 : right > 0.99, "%s: %g right", echo ? "echo" : "parity", right);
        optim_free(&adam);
        params_free(&m.params);
    }
}

int main(void)
{
    RUN(test_hand_gradient);
    RUN(test_chapter_01);
#ifdef REAL_DOUBLE
    RUN(test_differences);
#endif
    RUN(test_graph);
    RUN(test_recurrence);
    RUN(test_radius);
    RUN(test_lags);
    RUN(test_samplings);
    RUN(test_reader);
    RUN(test_truncated);
    RUN(test_randomized);
    RUN(test_unbiased);
    RUN(test_mean);
    RUN(test_tasks);
    RUN(test_jordan_is_blind);
    RUN(test_jordan_learns);
    tape_free();
    return unit_result();
}
