/* Chapter 04: its cells against the equations written out in plain loops, what it says about the two GRUs, the formula for the
 * number of parameters, and its bookkeeping. In the double build also every gradient against the central difference. */
#define main chapter_main                  /* the chapter's functions are static: to reach them, its source is read in here */
#include "../chapters/04_gru/gru.c"
#undef main

#include "unit.h"

enum { TB = 2, TT = 3, TV = 5, TH = 4, SEED = 3 };

/* ---- the cells, one number at a time ---------------------------------------------------------------------------------- */

static double squash(double x) { return 1 / (1 + exp(-x)); }
static double at(Matrix m, int r, int c) { return (double)mat_row(m, r)[c]; }

/* xₜ Wx + b in block k, for symbol v */
static double input_part(const Model *m, int v, int k, int j)
{
    return at(m->Wx->value, v, k * m->H + j) + at(m->b->value, 0, k * m->H + j);
}

/* Σᵢ scale[i] h[i] Wh[i, block k, j]; scale may be NULL */
static double state_part(const Model *m, const double *h, const double *scale, int k, int j)
{
    double sum = 0;
    for (int i = 0; i < m->H; i++) sum += (scale ? scale[i] : 1) * h[i] * at(m->Wh->value, i, k * m->H + j);
    return sum;
}

static void plain_step(const Model *m, int v, double *h, double *c)
{
    double z[TH], r[TH], next[TH];
    for (int j = 0; j < TH && m->cell->blocks == 3; j++) {
        z[j] = squash(input_part(m, v, 0, j) + state_part(m, h, NULL, 0, j));
        r[j] = squash(input_part(m, v, 1, j) + state_part(m, h, NULL, 1, j));
    }
    for (int j = 0; j < TH; j++) {
        if (m->cell == &cells[RNN]) next[j] = tanh(input_part(m, v, 0, j) + state_part(m, h, NULL, 0, j));
        if (m->cell == &cells[GRU])
            next[j] = z[j] * h[j] + (1 - z[j]) * tanh(input_part(m, v, 2, j) + state_part(m, h, r, 2, j));
        if (m->cell == &cells[GRU_AFTER]) {
            double inside = state_part(m, h, NULL, 2, j) + at(m->bu->value, 0, j);
            next[j] = z[j] * h[j] + (1 - z[j]) * tanh(input_part(m, v, 2, j) + r[j] * inside);
        }
        if (m->cell == &cells[LSTM]) {
            double part[4];
            for (int k = 0; k < 4; k++) part[k] = input_part(m, v, k, j) + state_part(m, h, NULL, k, j);
            c[j] = squash(part[1]) * c[j] + squash(part[0]) * tanh(part[2]);
            next[j] = squash(part[3]) * tanh(c[j]);
        }
    }
    for (int j = 0; j < TH; j++) h[j] = next[j];
}

/* Random weights and biases of a size at which every gate is somewhere between open and closed. */
static Model random_model(const Cell *cell, double scale)
{
    Model m = model_new(cell, TV, TH, SEED);
    Rng rng = rng_new(SEED, 9);
    for (size_t i = 0; i < m.params.size; i++) m.params.value[i] = (real)scale * rng_normal(&rng);
    return m;
}

static const int ids[(TT + 1) * TB] = { 0, 4, 3, 1, 2, 2, 1, 0 };       /* (T+1,B) */

static void test_cells_against_loops(void)
{
    for (int k = 0; k < CELLS; k++) {
        Model m = random_model(&cells[k], 0.8);
        State s = state_zero(&m, TB);
        double h[TB][TH] = { { 0 } }, c[TB][TH] = { { 0 } };
        for (int t = 0; t < TT; t++) {
            s = cells[k].step(&m, v_lookup(input_table(&m), ids + t * TB, TB), s);
            for (int b = 0; b < TB; b++) {
                plain_step(&m, ids[t * TB + b], h[b], c[b]);
                for (int j = 0; j < TH; j++) EXPECT_NEAR(at(s.h->value, b, j), h[b][j], 2e-6, "%s, step %d, h(%d,%d)", cells[k].name, t, b, j);
                for (int j = 0; j < TH && k == LSTM; j++) EXPECT_NEAR(at(s.c->value, b, j), c[b][j], 2e-6, "step %d, c(%d,%d)", t, b, j);
            }
        }
        tape_reset();
        params_free(&m.params);
    }
}

/* ---- the two GRUs ------------------------------------------------------------------------------------------------------ */

static void test_variants_agree_at_both_ends(void)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        EXPECT(variants_differ(100, seed) == 0, "r = 1: they differ by %g", variants_differ(100, seed));
        EXPECT(variants_differ(-1000, seed) == 0, "r = 0: they differ by %g", variants_differ(-1000, seed));
        EXPECT(variants_differ(0, seed) > 1e-2, "r between: they differ by %g alone", variants_differ(0, seed));
    }
}

/* One step of both from the same state and weights; the largest difference. */
static double difference_after_a_step(Model *m)
{
    Model other = *m;
    Matrix no_bias = mat_new(1, m->H), before = mat_new(TB, m->H);
    Rng rng = rng_new(SEED, 10);
    for (size_t i = 0; i < mat_size(before); i++) before.at[i] = rng_uniform(&rng);
    other.bu = v_const(no_bias);
    State s = { .h = v_const(before) };
    Var *a = v_lookup(input_table(m), ids, TB);
    Matrix one = gru_step(m, a, s).h->value, two = gru_step_after(&other, a, s).h->value;
    double largest = 0;
    for (size_t i = 0; i < mat_size(one); i++) largest = fmax(largest, fabs((double)(one.at[i] - two.at[i])));
    tape_reset();
    mat_free(&no_bias), mat_free(&before);
    return largest;
}

static void test_variants_where_the_factor_moves(void)
{
    Model m = random_model(&cells[GRU], 0.8);
    double general = difference_after_a_step(&m);
    EXPECT(general > 1e-2, "in general they differ by %g alone", general);
    Matrix Whn = mat_cols(m.Wh->value, 2 * TH, TH);
    for (int i = 0; i < TH; i++)
        for (int j = 0; j < TH; j++) if (i != j) mat_row(Whn, i)[j] = 0;
    EXPECT_NEAR(difference_after_a_step(&m), 0, 1e-6, "Whn diagonal");
    params_free(&m.params);
    m = random_model(&cells[GRU], 0.8);
    mat_fill(mat_cols(m.Wx->value, TH, TH), 0), mat_fill(mat_cols(m.Wh->value, TH, TH), 0);
    mat_fill(mat_cols(m.b->value, TH, TH), (real)0.3);
    EXPECT_NEAR(difference_after_a_step(&m), 0, 1e-6, "r the same number everywhere");
    params_free(&m.params);
}

static void test_update_gate(void)
{
    Model m = random_model(&cells[GRU], 0.8);
    real numbers[TB * TH] = { (real)0.1, (real)-0.9, (real)0.5, 0, (real)-0.3, (real)0.7, (real)0.2, (real)-0.6 };
    Var *h = v_const(mat_over(numbers, TB, TH));
    mat_fill(mat_cols(m.b->value, 0, TH), 1000);
    Matrix kept = gru_step(&m, v_lookup(input_table(&m), ids, TB), (State){ .h = h }).h->value;
    for (int i = 0; i < TB * TH; i++) EXPECT_NEAR(kept.at[i], numbers[i], 2e-7, "z = 1, number %d", i);
    mat_fill(mat_cols(m.b->value, 0, TH), -1000);
    Matrix replaced = gru_step(&m, v_lookup(input_table(&m), ids, TB), (State){ .h = h }).h->value;
    for (int i = 0; i < TB * TH; i++) EXPECT(fabs((double)(replaced.at[i] - numbers[i])) > 1e-3, "z = 0, number %d stayed", i);
    tape_reset();
    params_free(&m.params);
}

/* Not so the LSTM's c, which is why it needs its second tanh. */
static void test_state_stays_inside(void)
{
    Model m = random_model(&cells[GRU], 30);
    State s = state_zero(&m, TB);
    for (int t = 0; t < 50; t++) s = gru_step(&m, v_lookup(input_table(&m), ids + t % TT * TB, TB), s);
    for (int i = 0; i < TB * TH; i++) EXPECT(fabs((double)s.h->value.at[i]) <= 1, "number %d is %g", i, (double)s.h->value.at[i]);
    tape_reset();
    params_free(&m.params);
}

static void test_initial_weights_are_shared(void)
{
    Model one = model_new(&cells[GRU], TV, TH, SEED), two = model_new(&cells[GRU_AFTER], TV, TH, SEED);
    EXPECT_SAME_BYTES(one.Wx->value.at, two.Wx->value.at, mat_size(one.Wx->value) * sizeof(real), "Wx");
    EXPECT_SAME_BYTES(one.Wh->value.at, two.Wh->value.at, mat_size(one.Wh->value) * sizeof(real), "Wh");
    EXPECT_SAME_BYTES(one.Wo->value.at, two.Wo->value.at, mat_size(one.Wo->value) * sizeof(real), "Wo");
    params_free(&one.params), params_free(&two.params);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------------- */

static void test_parameters(void)
{
    static const long table[CELLS] = { 3201, 9537, 7425, 7457 };
    for (int c = 0; c < CELLS; c++) {
        EXPECT(count_parameters(&cells[c], 33, 32) == table[c], "%s has %ld", cells[c].name, count_parameters(&cells[c], 33, 32));
        for (int H = 1; H < 9; H += 3) {
            Model m = model_new(&cells[c], TV, H, SEED);
            EXPECT((size_t)count_parameters(&cells[c], TV, H) == m.params.size, "%s, width %d: %zu", cells[c].name, H, m.params.size);
            params_free(&m.params);
        }
    }
}

static long off_by(int c, int V, int H, long budget) { return labs(count_parameters(&cells[c], V, H) - budget); }

static void test_width_for_parameters(void)
{
    EXPECT(hidden_for(&cells[RNN], 33, 7425) == 59 && hidden_for(&cells[LSTM], 33, 7425) == 27, "the table of section 5");
    for (int c = 0; c < CELLS; c++)
        for (long budget = 100; budget < 50000; budget = budget * 7 / 5) {
            int H = hidden_for(&cells[c], TV, budget);
            EXPECT(H >= 1 && off_by(c, TV, H, budget) <= off_by(c, TV, H + 1, budget), "%s, %ld: %d is too narrow", cells[c].name, budget, H);
            EXPECT(H == 1 || off_by(c, TV, H, budget) <= off_by(c, TV, H - 1, budget), "%s, %ld: %d is too wide", cells[c].name, budget, H);
        }
}

static void test_epochs_within(void)
{
    double seconds[] = { 1, 2.5, 4 };
    Run r = { .epochs = 3, .seconds = seconds };
    static const struct { double seconds; int epochs; } want[] = { { 0.5, 0 }, { 1, 1 }, { 2.4, 1 }, { 3, 2 }, { 4, 3 }, { 99, 3 } };
    for (int i = 0; i < 6; i++)
        EXPECT(epochs_within(&r, want[i].seconds) == want[i].epochs, "%g s: %d", want[i].seconds, epochs_within(&r, want[i].seconds));
}

/* ---- training ---------------------------------------------------------------------------------------------------------- */

static void test_knows_nothing(void)
{
    for (int c = 0; c < CELLS; c++) {
        Model m = model_new(&cells[c], TV, TH, SEED);
        EXPECT_NEAR(window_loss(&m, ids, ids + TB, TB, TT)->value.at[0], log(TV), 1e-3, "%s before training", cells[c].name);
        tape_reset();
        params_free(&m.params);
    }
}

static Config small_config(void)
{
    Config o = quick;
    o.epochs = 2, o.train = 500, o.test = 100, o.batch = 64, o.hidden = 8, o.corpus = NULL;
    return o;
}

static void test_training(void)
{
    Config o = small_config();
    Data d = data_open(&o);
    for (int c = 0; c < CELLS; c++) {
        Run once = run_train(&cells[c], o.hidden, &d, &o, NULL), again = run_train(&cells[c], o.hidden, &d, &o, NULL);
        EXPECT(once.epochs == 2 && again.epochs == 2, "%d and %d epochs", once.epochs, again.epochs);
        EXPECT(once.test[1] < once.test[0] && once.test[0] < log(d.vocab.size), "%s learned nothing: %g, %g", cells[c].name,
               once.test[0], once.test[1]);
        EXPECT_SAME_BYTES(again.test, once.test, 2 * sizeof(double), "%s, the same again", cells[c].name);
        EXPECT_SAME_BYTES(again.model.params.value, once.model.params.value, once.model.params.size * sizeof(real), "%s", cells[c].name);
        run_free(&once), run_free(&again);
    }
    data_free(&d);
}

static void test_gates_read(void)
{
    Config o = small_config();
    Data d = data_open(&o);
    Model m = model_new(&cells[GRU], d.vocab.size, o.hidden, SEED);
    Gates g = gates_read(&m, &d, &o);
    double places = 0;
    for (int v = 0; v < m.V; v++) {
        places += g.count[v];
        for (int j = 0; j < 2 * m.H && g.count[v] > 0; j++)
            EXPECT_NEAR(at(g.sum, v, j) / g.count[v], 0.5, 0.05, "small weights leave gates half open: symbol %d, %d", v, j);
    }
    EXPECT(places == 100 * 32, "%g places in 100 windows of 32 symbols", places);
    mat_free(&g.sum);
    free(g.count);
    params_free(&m.params);
    data_free(&d);
}

/* ---- fused cells -------------------------------------------------------------------------------------------------------- */

#ifdef REAL_DOUBLE
static const double rounding = 1e-12;
#else
static const double rounding = 2e-6;
#endif

static void test_fused(void)
{
    for (int c = 0; c < CELLS; c++) {
        Model m = random_model(&cells[c], 0.8), fused = random_model(&cells[c], 0.8);
        fused.fused = true;
        Var *visible_loss = window_loss(&m, ids, ids + TB, TB, TT), *fused_loss = window_loss(&fused, ids, ids + TB, TB, TT);
        double largest = 0;
        EXPECT_NEAR(fused_loss->value.at[0], visible_loss->value.at[0], rounding, "%s: loss", cells[c].name);
        tape_backward(visible_loss), tape_backward(fused_loss);
        for (size_t i = 0; i < m.params.size; i++) {
            EXPECT_NEAR(fused.params.grad[i], m.params.grad[i], rounding, "%s: gradient of parameter %zu", cells[c].name, i);
            largest = fmax(largest, fabs((double)m.params.grad[i]));
        }
        EXPECT(largest > 1e-3, "%s: no gradient is above %g", cells[c].name, largest);
        tape_reset();
        params_free(&m.params), params_free(&fused.params);
    }
}

/* ---- gradients --------------------------------------------------------------------------------------------------------- */

#ifdef REAL_DOUBLE
static double loss_now(const Model *m)
{
    double loss = window_loss(m, ids, ids + TB, TB, TT)->value.at[0];
    tape_reset();
    return loss;
}

static void test_gradients(void)
{
    const double eps = 1e-5;
    for (int c = 0; c < CELLS; c++) {
        Model m = random_model(&cells[c], 0.8);
        double largest = 0;
        tape_backward(window_loss(&m, ids, ids + TB, TB, TT));
        tape_reset();
        for (size_t i = 0; i < m.params.size; i++) {
            double *x = m.params.value + i, kept = *x, got = m.params.grad[i];
            *x = kept + eps;
            double above = loss_now(&m);
            *x = kept - eps;
            double below = loss_now(&m);
            *x = kept;
            EXPECT_NEAR(got, (above - below) / (2 * eps), 1e-9, "%s, parameter %zu", cells[c].name, i);
            largest = fmax(largest, fabs(got));
        }
        EXPECT(largest > 1e-3, "%s: no gradient is above %g", cells[c].name, largest);
        params_free(&m.params);
    }
}
#endif

int main(void)
{
    RUN(test_cells_against_loops);
    RUN(test_variants_agree_at_both_ends);
    RUN(test_variants_where_the_factor_moves);
    RUN(test_update_gate);
    RUN(test_state_stays_inside);
    RUN(test_initial_weights_are_shared);
    RUN(test_parameters);
    RUN(test_width_for_parameters);
    RUN(test_epochs_within);
    RUN(test_knows_nothing);
    RUN(test_training);
    RUN(test_gates_read);
    RUN(test_fused);
#ifdef REAL_DOUBLE
    RUN(test_gradients);
#endif
    tape_free();
    return unit_result();
}
