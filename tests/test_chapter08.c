/* Chapter 08's claims: the network is its equations; a future symbol changes no logit before it; neither padding nor what else is
 * in a batch changes any; what is written with a cache is what would be written without; without positions a bidirectional stack
 * cannot tell orders apart; fused and visible are the same bits; masks, windows, gaps and guesses are what the text says of them;
 * training and its warm-up are a plain loop's, and the pictures show where it looked; a saved network answers as it did. In the
 * double build, as well: the gradient of every parameter.                                                                   */
#define main chapter_main                  /* the chapter's functions are static: to reach them, its sources are read in here */
#include "../chapters/08_transformer_mask/transformer_mask.c"
#undef main

#include "corpus.h"
#include "ngrams.h"

#include <fcntl.h>
#include <signal.h>

#define Files      PairFiles               /* the two files of tasks have three names in common */
#define files_open pair_files_open
#define symbol     pair_symbol
#include "../chapters/08_transformer_mask/encoder_decoder.c"
#undef Files
#undef files_open
#undef symbol

/* The steps that are taken in training on a text, and their learning rates. In step `interrupt` somebody presses Ctrl-C. */
enum { MOST_STEPS = 500 };
static struct { int n, interrupt; double lr[MOST_STEPS]; } stepped;

static void noted_step(Optim *o, Params *p)
{
    CHECK(stepped.n < MOST_STEPS, "%d steps", stepped.n);
    stepped.lr[stepped.n++] = o->lr;
    if (stepped.n == stepped.interrupt) raise(SIGINT);
    optim_step(o, p);
}

#define optim_step noted_step
#include "../chapters/08_transformer_mask/one_stack.c"
#undef optim_step

#include "golden/transformer.h"
#include "unit.h"

/* LeakSanitizer asks this at the end of a process. One that dies does not tidy up before, and need not. */
static bool dies;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return dies; }

/* All sizes differ. Pairs: 7 symbols to read, 8 to say and EOS, BOS to be told. Text: 7 symbols, and a gap. */
enum { D = 6, HEADS = 3, F = 5, BLOCKS = 2, READ = 7, SAY = 8, MOST = 11, PAIRS = 4, LONG = 6 };

static const double near = sizeof(real) == sizeof(double) ? 1e-12 : 1e-5;

/* Lengths of 1 to 6 and 1 to 7; the second has no end. */
static const Pair four[PAIRS] = {
    { .n = 2, .m = 3, .x = { 4, 1 }, .y = { 5, 0, 2 } },
    { .n = LONG, .m = 2, .x = { 0, 3, 6, 1, 2, 6 }, .y = { 1, 7 }, .open = true },
    { .n = 3, .m = 1, .x = { 1, 5, 4 }, .y = { 6 } },
    { .n = 1, .m = 7, .x = { 2 }, .y = { 3, 4, 4, 0, 5, 1, 3 } },
};

static int steps_of(const Pair *pair) { return pair->m + !pair->open; }

static Task task_of(int source, int target)
{
    Task task = task_copy(1, 5);
    task.source.size = source, task.target.size = target;
    return task;
}

/* ---- networks --------------------------------------------------------------------------------------------------------- */

enum { KINDS = 8 };

/* Of kind 0 … 7; for pairs, or for text. */
static Plan plan_for(int kind, bool pairs)
{
    Plan plan = { .target = READ + 1, .said = READ, .width = D, .heads = HEADS, .blocks = BLOCKS, .feed = F, .most = MOST,
                  .pre = kind & 1, .learned = kind & 2, .fused = kind & 4, .spread = 1 };
    if (pairs) plan.source = READ, plan.target = SAY + 2, plan.said = SAY + 1;
    return plan;
}

static const char *plan_name(const Plan *p)
{
    static char name[100];
    snprintf(name, sizeof name, "%s, %s-norm, %s positions, %s, %d blocks", p->source ? "pairs" : "text", p->pre ? "pre" : "post",
             p->learned ? "learned" : "sinusoidal", p->fused ? "fused" : "visible", p->blocks);
    return name;
}

/* Every parameter is random, biases and norms as well, gains around 1. A file has floats. */
static Model random_model(Plan plan, double scale, uint64_t seed)
{
    Model m;
    model_new(&m, &plan, seed);
    Rng rng = rng_new(seed, 9);
    for (int k = 0; k < m.params.count; k++) {
        Matrix w = m.params.item[k]->var.value;
        double middle = strstr(m.params.item[k]->name, ".g") ? 1 : 0;
        for (size_t i = 0; i < mat_size(w); i++) w.at[i] = (real)(float)(middle + scale * (double)rng_normal(&rng));
    }
    return m;
}

static double at(Matrix m, int r, int c) { return (double)mat_row(m, r)[c]; }

static bool same_row(Matrix a, int r, Matrix b, int s)
{
    return a.cols == b.cols && memcmp(mat_row(a, r), mat_row(b, s), (size_t)a.cols * sizeof(real)) == 0;
}

static double rows_apart(Matrix a, int r, Matrix b, int s)
{
    double most = 0;
    for (int j = 0; j < a.cols; j++) most = fmax(most, fabs(at(a, r, j) - at(b, s, j)));
    return most;
}

static Var *noise(int rows, int cols, uint64_t stream)
{
    Matrix m = tape_matrix(rows, cols);
    Rng rng = rng_new(5, stream);
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = rng_normal(&rng);
    return v_leaf(m);
}

static Pass decoder_pass(const Model *m, const Batch *batch, Rng *rng)
{
    return (Pass){ .m = m, .stack = &m->decoder, .memory = encode(m, batch, rng), .rng = rng };
}

static Matrix told_logits(const Model *m, const Batch *batch)
{
    Pass pass = decoder_pass(m, batch, NULL);
    return decode_told(&pass, batch, true)->value;
}

/* ---- the equations, one number at a time, for one sequence ------------------------------------------------------------ */

enum { ROWS = 8 };
typedef double Rows[ROWS][D], Weights[HEADS][ROWS];

/* Where the blocks of the last plain_stack looked, each step of it: in their own rows, and in the memory. */
static Weights plain_looked[BLOCKS][ROWS], plain_crossed[BLOCKS][ROWS];

static void plain_linear(const Linear *l, const double *x, double *y)
{
    for (int j = 0; j < l->W->value.cols; j++) {
        y[j] = at(l->b->value, 0, j);
        for (int i = 0; i < l->W->value.rows; i++) y[j] += x[i] * at(l->W->value, i, j);
    }
}

static void plain_norm(const Norm *n, const double *x, double *y)
{
    double mean = 0, var = 0;
    for (int i = 0; i < D; i++) mean += x[i] / D;
    for (int i = 0; i < D; i++) var += (x[i] - mean) * (x[i] - mean) / D;
    for (int i = 0; i < D; i++) y[i] = at(n->g->value, 0, i) * (x[i] - mean) / sqrt(var + 1e-5) + at(n->b->value, 0, i);
}

/* Step t of queries over n places, all of them to be seen; others have no weight. */
static void plain_attend(const Attention *a, const double *x, Rows from, int n, double *y, Weights p)
{
    double q[D], k[ROWS][D], v[ROWS][D], context[D] = { 0 };
    memset(p, 0, sizeof(Weights));
    plain_linear(&a->q, x, q);
    for (int s = 0; s < n; s++) plain_linear(&a->k, from[s], k[s]), plain_linear(&a->v, from[s], v[s]);
    for (int h = 0; h < HEADS; h++) {
        double e[ROWS], sum = 0;
        for (int s = 0; s < n; s++) {
            double score = 0;
            for (int i = h * D / HEADS; i < (h + 1) * D / HEADS; i++) score += q[i] * k[s][i];
            sum += e[s] = exp(score / sqrt((double)D / HEADS));
        }
        for (int s = 0; s < n; s++) p[h][s] = e[s] / sum;
        for (int s = 0; s < n; s++)
            for (int i = h * D / HEADS; i < (h + 1) * D / HEADS; i++) context[i] += p[h][s] * v[s][i];
    }
    plain_linear(&a->out, context, y);
}

/* x becomes x + f(norm x), or norm(x + f(x)). f's results for all rows are in y. */
static void plain_leave(bool pre, const Norm *norm, Rows x, Rows y, int T)
{
    for (int t = 0; t < T; t++) {
        double sum[D];
        for (int i = 0; i < D; i++) sum[i] = x[t][i] + y[t][i];
        if (pre) memcpy(x[t], sum, sizeof sum);
        else plain_norm(norm, sum, x[t]);
    }
}

static void plain_enter(bool pre, const Norm *norm, Rows x, Rows in, int T)
{
    for (int t = 0; t < T; t++)
        if (pre) plain_norm(norm, x[t], in[t]);
        else memcpy(in[t], x[t], sizeof x[t]);
}

static void plain_stack(const Model *m, const Stack *stack, Rows x, int T, bool causal, Rows memory, int S)
{
    bool pre = m->plan.pre;
    Rows in, y;
    for (int l = 0; l < stack->blocks; l++) {
        const Block *b = &stack->block[l];
        plain_enter(pre, &b->norm[0], x, in, T);
        for (int t = 0; t < T; t++) plain_attend(&b->self, in[t], in, causal ? t + 1 : T, y[t], plain_looked[l][t]);
        plain_leave(pre, &b->norm[0], x, y, T);
        if (memory) {
            plain_enter(pre, &b->norm[1], x, in, T);
            for (int t = 0; t < T; t++) plain_attend(&b->cross, in[t], memory, S, y[t], plain_crossed[l][t]);
            plain_leave(pre, &b->norm[1], x, y, T);
        }
        plain_enter(pre, &b->norm[2], x, in, T);
        for (int t = 0; t < T; t++) {
            double wide[F];
            plain_linear(&b->wide, in[t], wide);
            for (int i = 0; i < F; i++) wide[i] = fmax(wide[i], 0);
            plain_linear(&b->narrow, wide, y[t]);
        }
        plain_leave(pre, &b->norm[2], x, y, T);
    }
    if (!pre) return;
    for (int t = 0; t < T; t++) plain_norm(&stack->last, x[t], in[t]), memcpy(x[t], in[t], sizeof in[t]);
}

static void plain_embed(const Model *m, const Var *E, const int *ids, int T, Rows x)
{
    for (int t = 0; t < T; t++)
        for (int i = 0; i < D; i++) {
            double angle = t / pow(10000, (double)(i / 2 * 2) / D), wave = i % 2 ? cos(angle) : sin(angle);
            x[t][i] = sqrt(D) * at(E->value, ids[t], i) + (m->P ? at(m->P->value, t, i) : wave);
        }
}

static void expect_logits(const Model *m, Rows x, int T, Matrix got, int first, int step)
{
    double want[SAY + 1];
    for (int t = 0; t < T; t++) {
        plain_linear(&m->output, x[t], want);
        for (int v = 0; v < m->plan.said; v++)
            EXPECT_NEAR(at(got, first + t * step, v), want[v], 5 * near, "%s: step %d, logit %d", plan_name(&m->plan), t, v);
    }
}

static void test_network_is_its_equations(void)
{
    static const int ids[ROWS] = { 3, 0, 5, 7, 1, 1, 6, 2 };
    Task task = task_of(READ, SAY);
    for (int kind = 0; kind < KINDS; kind++) {
        Rows x, memory;
        Model text = random_model(plan_for(kind, false), 0.5, 3), pairs = random_model(plan_for(kind, true), 0.5, 4);
        for (int causal = 0; causal < 2; causal++) {
            plain_embed(&text, text.Et, ids, ROWS, x);
            plain_stack(&text, &text.decoder, x, ROWS, causal, NULL, 0);
            expect_logits(&text, x, ROWS, read_all(&text, ids, 1, ROWS, causal, NULL)->value, 0, 1);
        }
        Batch batch = batch_of(four, PAIRS, &task);
        Matrix got = told_logits(&pairs, &batch);
        for (int b = 0; b < PAIRS; b++) {
            int told[ROWS], T = steps_of(&four[b]);
            for (int t = 0; t < T; t++) told[t] = batch.input[t * PAIRS + b];
            EXPECT(told[0] == SAY + 1, "BOS is %d", told[0]);
            plain_embed(&pairs, pairs.Es, four[b].x, four[b].n, memory);
            plain_stack(&pairs, &pairs.encoder, memory, four[b].n, false, NULL, 0);
            plain_embed(&pairs, pairs.Et, told, T, x);
            plain_stack(&pairs, &pairs.decoder, x, T, true, memory, four[b].n);
            expect_logits(&pairs, x, T, got, b, PAIRS);
        }
        tape_reset();
        model_free(&text), model_free(&pairs);
    }
    task_free(&task);
}

/* ---- the same, against PyTorch: values and all gradients (golden/make_transformer.py) ----------------------------------- */

static const GoldenParam *golden_named(const GoldenParam *golden, const char *name)
{
    while (golden->name && strcmp(golden->name, name) != 0) golden++;
    return golden->name ? golden : NULL;
}

static Var *golden_leaf(const GoldenParam *g)
{
    Matrix m = tape_matrix(g->rows, g->cols);
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = (real)g->value[i];
    return v_leaf(m);
}

/* In parts of the largest number, as in test_golden.c. The smallest gradients, of queries and keys, are differences of larger
 * numbers, and those of the keys' biases nothing but rounding.                                                            */
static void expect_golden(const char *what, const char *name, Matrix got, const double *want)
{
    bool exact = sizeof(real) == sizeof(double);
    double scale = 0, tolerance = exact ? 1e-8 : 5e-6, least = exact ? 1e-3 : 1e-2;      /* in float, gradients below are noise */
    for (size_t i = 0; i < mat_size(got); i++) scale = fmax(scale, fabs(want[i]));
    EXPECT(scale > 1e-5 || strstr(name, ".k.b"), "%s %s: all golden values are zero", what, name);
    for (size_t i = 0; i < mat_size(got); i++)
        EXPECT_NEAR(got.at[i], want[i], tolerance * fmax(scale, least), "%s %s, number %zu", what, name, i);
}

/* The model whose parameters the golden ones are; all of them but embeddings and output. */
static Model golden_model(int kind, const GoldenParam *golden)
{
    int known = 0, in_file = -3;                                         /* three rows are no parameters */
    Plan plan = plan_for(kind, true);
    plan.heads = 2;
    Model m;
    model_new(&m, &plan, 1);
    for (const GoldenParam *g = golden; g->name; g++) in_file++;
    for (int k = 0; k < m.params.count; k++) {
        Matrix w = m.params.item[k]->var.value;
        const GoldenParam *g = golden_named(golden, m.params.item[k]->name);
        if (!g) continue;
        EXPECT(w.rows == g->rows && w.cols == g->cols, "%s is (%d,%d)", g->name, w.rows, w.cols);
        for (size_t i = 0; i < mat_size(w); i++) w.at[i] = (real)g->value[i];
        known++;
    }
    EXPECT(known == in_file && known == m.params.count - 4 - plan.learned, "%d of %d parameters", known, m.params.count);
    return m;
}

/* What the decoder makes of target, with the encoder's memory of source. */
static Var *both_stacks(const Model *m, Var *source, Var *target)
{
    enum { SEQUENCES = 3 };
    Seen seen = { .B = SEQUENCES, .lengths = golden_lengths };
    Pass first = { .m = m, .stack = &m->encoder, .seen = seen };
    Var *read = stack_run(&first, source);
    Places memory[BLOCKS];
    for (int l = 0; l < BLOCKS; l++) memory[l] = places_of(&m->decoder.block[l].cross, read, seen);
    Pass second = { .m = m, .stack = &m->decoder, .seen = { .B = SEQUENCES, .causal = true }, .memory = memory };
    return stack_run(&second, target);
}

static void test_stacks_are_pytorchs(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        const GoldenParam *golden = kind & 1 ? golden_pre : golden_post, *result = golden_named(golden, "result"), *g;
        const char *what = kind & 1 ? "pre-norm" : "post-norm";
        Model m = golden_model(kind, golden);
        Var *x = golden_leaf(golden_named(golden, "source")), *y = golden_leaf(golden_named(golden, "target"));
        GoldenParam w = { "", result->rows, result->cols, result->grad, NULL };
        Var *said = both_stacks(&m, x, y), *weights = golden_leaf(&w);
        params_zero_grad(&m.params);
        tape_backward(v_mean(v_mul(said, weights)));
        expect_golden(what, "result", said->value, result->value);
        expect_golden(what, "source", x->grad, golden_named(golden, "source")->grad);
        expect_golden(what, "target", y->grad, golden_named(golden, "target")->grad);
        for (int k = 0; k < m.params.count; k++)
            if ((g = golden_named(golden, m.params.item[k]->name)))
                expect_golden(what, g->name, m.params.item[k]->var.grad, g->grad);
        tape_reset();
        model_free(&m);
    }
}

/* ---- causality -------------------------------------------------------------------------------------------------------- */

/* Two sequences; token t of the second changes. */
static void expect_causal(const Model *m, int T, bool causal)
{
    int *ids = allocate((size_t)(2 * T), sizeof *ids);
    int changed_before = 0;
    for (int i = 0; i < 2 * T; i++) ids[i] = i * i % 5;
    for (int t = 0; t < T; t += T > 20 ? 13 : 1) {
        Matrix old = read_all(m, ids, 2, T, causal, NULL)->value;
        ids[T + t] = READ - 1;
        Matrix new = read_all(m, ids, 2, T, causal, NULL)->value;
        ids[T + t] = (T + t) * (T + t) % 5;
        for (int r = 0; r < T; r++) EXPECT(same_row(old, r, new, r), "%s: the other sequence, row %d", plan_name(&m->plan), r);
        for (int r = 0; r < t; r++) {
            changed_before += !same_row(old, T + r, new, T + r);
            if (causal) EXPECT(same_row(old, T + r, new, T + r), "%s: row %d of %d, token %d", plan_name(&m->plan), r, T, t);
        }
        EXPECT(!same_row(old, T + t, new, T + t), "%s: token %d changes nothing", plan_name(&m->plan), t);
        if (t < T - 1) EXPECT(!same_row(old, 2 * T - 1, new, 2 * T - 1), "%s: the last row, token %d", plan_name(&m->plan), t);
        tape_reset();
    }
    if (!causal) EXPECT(changed_before >= T / 2, "%s: seen from both sides, %d changes", plan_name(&m->plan), changed_before);
    free(ids);
}

static void test_the_future_changes_nothing(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int blocks = 1; blocks <= 3; blocks++)
            for (int longer = 0; longer < 2; longer++) {
                Plan plan = plan_for(kind, false);
                plan.blocks = blocks, plan.most = longer ? 70 : MOST;
                Model m = random_model(plan, 0.5, 5);
                expect_causal(&m, longer ? 70 : 7, true);
                expect_causal(&m, longer ? 70 : 7, false);
                model_free(&m);
            }
}

/* A symbol told at step t to pair b of the batch; and a symbol of its source, which all its steps see. */
static void test_the_decoder_sees_no_future(void)
{
    Task task = task_of(READ, SAY);
    for (int kind = 0; kind < KINDS; kind++) {
        Model m = random_model(plan_for(kind, true), 0.5, 6);
        const char *name = plan_name(&m.plan);
        Batch batch = batch_of(four, PAIRS, &task);
        Matrix old = told_logits(&m, &batch);
        for (int b = 0; b < PAIRS; b++) {
            for (int t = 0; t < batch.T; t++) {
                int *told = &batch.input[t * PAIRS + b], kept = *told;
                *told = kept == 3 ? 2 : 3;
                Matrix new = told_logits(&m, &batch);
                *told = kept;
                for (int k = 0; k < batch.T * PAIRS; k++) {
                    bool may = k % PAIRS == b && k / PAIRS >= t;
                    if (!may) EXPECT(same_row(old, k, new, k), "%s: pair %d step %d, row %d", name, b, t, k);
                    else if (k / PAIRS == t) EXPECT(!same_row(old, k, new, k), "%s: pair %d step %d, told in vain", name, b, t);
                }
            }
            Pair other[PAIRS];
            memcpy(other, four, sizeof four);
            other[b].x[0] = 6 - other[b].x[0];
            Batch changed = batch_of(other, PAIRS, &task);
            Matrix new = told_logits(&m, &changed);
            for (int k = 0; k < batch.T * PAIRS; k++)
                EXPECT(same_row(old, k, new, k) == (k % PAIRS != b), "%s: source of pair %d, row %d", name, b, k);
        }
        tape_reset();
        model_free(&m);
    }
    task_free(&task);
}

/* ---- padding ---------------------------------------------------------------------------------------------------------- */

static void test_padding_changes_no_logit(void)
{
    Task task = task_of(READ, SAY);
    for (int kind = 0; kind < KINDS; kind++) {
        Model m = random_model(plan_for(kind, true), 0.5, 7);
        Batch batch = batch_of(four, PAIRS, &task);
        Matrix together = told_logits(&m, &batch);
        EXPECT(together.rows == batch.T * PAIRS && together.cols == SAY + 1, "logits (%d,%d)", together.rows, together.cols);
        for (int b = 0; b < PAIRS; b++) {
            Batch one = batch_of(&four[b], 1, &task);
            Matrix alone = told_logits(&m, &one);
            for (int t = 0; t < one.T; t++)
                EXPECT(same_row(alone, t, together, t * PAIRS + b), "%s: pair %d, step %d", plan_name(&m.plan), b, t);
        }
        tape_reset();
        model_free(&m);
    }
    task_free(&task);
}

static Var *pair_loss(const Model *m, const Batch *batch, Rng *rng)
{
    int *said = tape_room((size_t)(batch->T * batch->B) * sizeof *said);
    return v_cross_entropy(decode(m, batch, 1, rng, said), batch->target);
}

/* A batch's gradient is the mean of those of its symbols. Alone and together they are summed in other orders: alone a matrix's
 * gradient begins anew with each pair, together one chain runs over the rows of all, padding between them with zeros; and
 * every term was divided by another count of symbols. So they agree to rounding only.                                      */
static void test_padding_changes_no_gradient(void)
{
    Task task = task_of(READ, SAY);
    double symbols = 0;
    for (int b = 0; b < PAIRS; b++) symbols += steps_of(&four[b]);
    for (int kind = 0; kind < KINDS; kind++) {
        Model m = random_model(plan_for(kind, true), 0.5, 8);
        double loss = 0, *want = allocate(m.params.size, sizeof *want), largest = 0;
        for (int b = 0; b < PAIRS; b++) {
            Batch one = batch_of(&four[b], 1, &task);
            Var *part = pair_loss(&m, &one, NULL);
            params_zero_grad(&m.params);
            tape_backward(part);
            loss += (double)part->value.at[0] * steps_of(&four[b]) / symbols;
            for (size_t i = 0; i < m.params.size; i++) want[i] += (double)m.params.grad[i] * steps_of(&four[b]) / symbols;
            tape_reset();
        }
        Batch batch = batch_of(four, PAIRS, &task);
        Var *whole = pair_loss(&m, &batch, NULL);
        params_zero_grad(&m.params);
        tape_backward(whole);
        EXPECT_NEAR(whole->value.at[0], loss, near, "%s: the loss", plan_name(&m.plan));
        for (size_t i = 0; i < m.params.size; i++) {
            EXPECT_NEAR(m.params.grad[i], want[i], near, "%s: number %zu", plan_name(&m.plan), i);
            largest = fmax(largest, fabs(want[i]));
        }
        EXPECT(largest > 1e-2, "%s: all gradients are zero, or nearly so", plan_name(&m.plan));
        tape_reset();
        free(want);
        model_free(&m);
    }
    task_free(&task);
}

/* ---- the cache -------------------------------------------------------------------------------------------------------- */

/* Left alone, with a cache; then told all at once what it said. */
static void test_alone_is_told_what_it_said(void)
{
    Task task = task_of(READ, SAY);
    for (int kind = 0; kind < KINDS; kind++) {
        Model m = random_model(plan_for(kind, true), 0.5, 10);
        Batch batch = batch_of(four, PAIRS, &task);
        int said[PAIRS * (MOST_PAIR + 1)], again[PAIRS * (MOST_PAIR + 1)];
        bool recording = tape_record(false);
        Var *alone = decode(&m, &batch, 0, NULL, said);
        EXPECT(alone->value.rows == batch.T * PAIRS && alone->value.cols == SAY + 1, "logits (%d,)", alone->value.rows);
        for (int k = 0; k < batch.T * PAIRS; k++) batch.input[k] = k < PAIRS ? batch.bos : said[k - PAIRS];
        Var *told = decode(&m, &batch, 1, NULL, again);
        for (int k = 0; k < batch.T * PAIRS; k++) {
            EXPECT(same_row(alone->value, k, told->value, k), "%s: step %d of pair %d", plan_name(&m.plan), k / PAIRS, k % PAIRS);
            EXPECT(said[k] == again[k], "%s: it says %d, then %d", plan_name(&m.plan), said[k], again[k]);
        }
        tape_record(recording);
        tape_reset();
        model_free(&m);
    }
    task_free(&task);
}

/* 60 steps, beyond the blocks that v_attention works in. */
static void test_one_by_one_is_all_at_once(void)
{
    enum { T = 60, V = READ };
    for (int kind = 0; kind < KINDS; kind++) {
        int ids[T];
        real all[T][V];
        Plan plan = plan_for(kind, false);
        plan.most = T + 4;
        Model m = random_model(plan, 0.5, 11);
        bool recording = tape_record(false);
        for (int t = 0; t < T; t++) ids[t] = (t * t + t / 3) % READ;
        Matrix logits = read_all(&m, ids, 1, T, true, NULL)->value;
        for (int t = 0; t < T; t++) memcpy(all[t], mat_row(logits, t), sizeof all[t]);
        Cache cache = cache_new(&m, 1, m.plan.most);
        for (int t = 0; t < T; t++) {
            Matrix next = read_next(&m, &cache, ids[t], t);
            EXPECT(next.rows == 1 && next.cols == V && cache.n == t + 1, "%d of %d logits, %d kept", next.cols, V, cache.n);
            EXPECT_SAME_BYTES(next.at, all[t], sizeof all[t], "%s: step %d", plan_name(&m.plan), t);
        }
        cache_free(&cache);
        tape_record(recording);
        tape_reset();
        model_free(&m);
    }
}

static FILE *scratch(void)
{
    FILE *f = tmpfile();
    CHECK(f, "no scratch file");
    return f;
}

static const char *text_in(FILE *f)
{
    static char got[1 << 18];
    CHECK(f, "no such file");
    rewind(f);
    got[fread(got, 1, sizeof got - 1, f)] = '\0';
    fclose(f);
    return got;
}

/* What the chapter prints while it works is not looked at: quiet() … loud(quiet). */
static int quiet(void)
{
    fflush(stdout);
    int kept = dup(STDOUT_FILENO), nowhere = open("/dev/null", O_WRONLY);
    CHECK(kept >= 0 && nowhere >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0, "stdout cannot be silenced");
    close(nowhere);
    return kept;
}

static void loud(int kept)
{
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
}

static const uint32_t letters[] = { 'a', 'b', 'c', 0xf1, '\n', ' ', 'g', 'h', 'i', 'j' };

/* When `most` symbols were read, reading begins anew at the later half of them. */
static const char *plain_text(const Model *m, const char *prompt, const Config *o)
{
    static char text[2000];
    int all[300], n = (int)strlen(prompt), most = m->plan.most, from = 0;
    char room[UTF8_ROOM];
    Rng rng = rng_new((uint64_t)o->seed, 4);
    text[0] = '\0';
    for (int i = 0; i < n + o->length; i++) {
        if (i < n) all[i] = prompt[i] - 'a';
        else {
            Matrix logits = read_all(m, all + from, 1, i - from, true, NULL)->value;
            all[i] = draw_symbol(mat_rows(logits, i - from - 1, 1), o->temperature, &rng);
        }
        if (i - from == most) from = i - most / 2;
        strcat(text, utf8_of(letters[all[i]], room));
        tape_reset();
    }
    return strcat(text, "\n");
}

static void test_text_is_written_as_without_a_cache(void)
{
    Vocab vocab = vocab_of_symbols(letters, READ);
    for (int kind = 0; kind < KINDS; kind++)
        for (int most = 1; most <= 12; most++)
            for (int hot = 0; hot < 2; hot++) {
                Plan plan = plan_for(kind, false);
                plan.most = most;
                Model m = random_model(plan, 0.4, 12);
                Config o = { .seed = 3, .length = 40, .temperature = hot, .prompt = most % 2 ? "a" : "abcabcca" };
                FILE *f = scratch();
                write_text(f, &m, &vocab, &o);
                const char *got = text_in(f), *want = plain_text(&m, o.prompt, &o);
                EXPECT(strcmp(got, want) == 0, "%s, %d positions: '%s' and not '%s'", plan_name(&m.plan), most, got, want);
                EXPECT(tape_is_recording(), "the tape records again");
                tape_reset();
                model_free(&m);
            }
    vocab_free(&vocab);
}

static void test_drawing(void)
{
    enum { DRAWS = 20000 };
    real x[] = { 1, 3, 2, 3 };
    int count[4] = { 0 };
    double p[4], sum = 0;
    Matrix logits = mat_over(x, 1, 4);
    Rng rng = rng_new(1, 1), untouched = rng;
    EXPECT(draw_symbol(logits, 0, &rng) == 1 && rng.state == untouched.state, "the first of the likeliest, without a draw");
    EXPECT(draw_symbol(logits, 1e-30, &rng) % 2 == 1, "nearly 0");
    for (int i = 0; i < DRAWS; i++) count[draw_symbol(logits, 2, &rng)]++;
    for (int v = 0; v < 4; v++) sum += p[v] = exp((double)x[v] / 2);
    for (int v = 0; v < 4; v++) EXPECT_NEAR((double)count[v] / DRAWS, p[v] / sum, 0.015, "symbol %d", v);
    EXPECT(x[0] == 1 && x[1] == 3, "the logits are as they were");
    tape_reset();
}

/* ---- positions ---------------------------------------------------------------------------------------------------------- */

static void test_order_is_in_the_positions_alone(void)
{
    enum { T = 9 };
    static const int order[T] = { 4, 0, 8, 2, 7, 1, 3, 6, 5 };
    for (int kind = 0; kind < KINDS; kind++)
        for (int without = 0; without < 2; without++) {
            int ids[T], permuted[T];
            double most = 0;
            Model m = random_model(plan_for(kind, false), 0.5, 13);
            if (without) mat_fill(m.P ? m.P->value : m.waves, 0);
            for (int t = 0; t < T; t++) ids[t] = t % READ;
            for (int t = 0; t < T; t++) permuted[t] = ids[order[t]];
            Matrix old = read_all(&m, ids, 1, T, false, NULL)->value, new = read_all(&m, permuted, 1, T, false, NULL)->value;
            for (int t = 0; t < T; t++) most = fmax(most, rows_apart(new, t, old, order[t]));
            if (without) EXPECT_NEAR(most, 0, near, "%s: permuted rows", plan_name(&m.plan));
            else EXPECT(most > 1e-2, "%s: positions change %g", plan_name(&m.plan), most);
            tape_reset();
            model_free(&m);
        }
}

/* The rate of wave i is r_exp's, a float: at place p the angle has p times its rounding. */
static void test_waves(void)
{
    static const int widths[] = { 2, 3, 6, 33, 1000 };
    for (int w = 0; w < 5; w++) {
        int width = widths[w];
        Matrix P = waves_new(1200, width);
        EXPECT(P.rows == 1200 && P.cols == width, "waves (%d,%d)", P.rows, P.cols);
        for (int i = 0; i < width; i++) {
            double rate = pow(10000, -(double)(i / 2 * 2) / width);
            double rounded = (double)r_exp((real)(-(double)(i / 2 * 2) / width * log(10000)));
            EXPECT_NEAR(at(P, 0, i), i % 2, 0, "place 0, wave %d of %d", i, width);
            EXPECT_NEAR(rounded / rate, 1, 2e-6, "rate %d of %d", i, width);
            for (int p = 0; p < 1200; p++) {
                double near_it = i % 2 ? cos(p * rounded) : sin(p * rounded), exact = i % 2 ? cos(p * rate) : sin(p * rate);
                EXPECT_NEAR(at(P, p, i), near_it, 1e-7, "place %d, number %d of %d", p, i, width);
                if (p < 10) EXPECT_NEAR(at(P, p, i), exact, 1e-6, "place %d, number %d of %d", p, i, width);
            }
        }
        mat_free(&P);
    }
}

/* ---- gradients, and two ways ---------------------------------------------------------------------------------------------- */

static Var *text_loss(const Model *m, Rng *rng)
{
    static const int x[] = { 3, 0, 7, 5, 1,   2, 6, 4, 7, 6 }, y[] = { 0, 6, 5, 1, PAD,   6, PAD, 4, 3, 2 };
    return v_cross_entropy(read_all(m, x, 2, 5, true, rng), y);
}

static Var *loss_of(const Model *m, const Task *task, Rng *rng)
{
    if (!m->plan.source) return text_loss(m, rng);
    Batch batch = batch_of(four, PAIRS, task);
    return pair_loss(m, &batch, rng);
}

#ifdef REAL_DOUBLE
static double loss_with(const Model *m, const Task *task, real *x, double value)
{
    real kept = *x;
    *x = (real)value;
    bool recording = tape_record(false);
    double loss = (double)loss_of(m, task, NULL)->value.at[0];
    tape_record(recording);
    tape_reset();
    *x = kept;
    return loss;
}

static void test_gradients(void)
{
    const double eps = 1e-6;
    Task task = task_of(READ, SAY);
    for (int kind = 0; kind < 2 * KINDS; kind++) {
        Model m = random_model(plan_for(kind % KINDS, kind >= KINDS), 0.5, 14);
        params_zero_grad(&m.params);
        tape_backward(loss_of(&m, &task, NULL));
        tape_reset();
        for (int k = 0; k < m.params.count; k++) {
            const Param *p = m.params.item[k];
            bool silent = strstr(p->name, ".k.b") != NULL;               /* adds the same to all scores of a row */
            double largest = 0;
            for (size_t i = 0; i < mat_size(p->var.value); i++) {
                double x = p->var.value.at[i], got = p->var.grad.at[i];
                real *number = &p->var.value.at[i];
                double up = loss_with(&m, &task, number, x + eps), down = loss_with(&m, &task, number, x - eps);
                EXPECT_NEAR(got, (up - down) / (2 * eps), 1e-8, "%s: %s, number %zu", plan_name(&m.plan), p->name, i);
                largest = fmax(largest, fabs(got));
            }
            if (silent) EXPECT_NEAR(largest, 0, 1e-14, "%s: %s", plan_name(&m.plan), p->name);
            else EXPECT(largest > 1e-5, "%s: %s: the largest gradient is %g", plan_name(&m.plan), p->name, largest);
        }
        model_free(&m);
    }
    task_free(&task);
}
#endif

static void test_fused_is_visible(void)
{
    Task task = task_of(READ, SAY);
    for (int kind = 0; kind < KINDS; kind++) {
        Plan plan = plan_for(kind / 2 % 4, kind % 2);
        plan.dropout = kind < 4 ? 0.3 : 0;
        Model m = random_model(plan, 0.5, 15);
        real loss[2], *grad = allocate(m.params.size, sizeof *grad);
        Rng rng[2];
        for (int fused = 0; fused < 2; fused++) {
            m.plan.fused = fused;
            rng[fused] = rng_new(3, 3);
            Var *l = loss_of(&m, &task, &rng[fused]);
            params_zero_grad(&m.params);
            tape_backward(l);
            loss[fused] = l->value.at[0];
            tape_reset();
            if (!fused) memcpy(grad, m.params.grad, m.params.size * sizeof *grad);
        }
        EXPECT_SAME_BYTES(&loss[1], &loss[0], sizeof *loss, "%s: the loss", plan_name(&m.plan));
        EXPECT_SAME_BYTES(m.params.grad, grad, m.params.size * sizeof *grad, "%s: the gradients", plan_name(&m.plan));
        EXPECT(rng[0].state == rng[1].state, "%s: they draw differently often", plan_name(&m.plan));
        Rng none = rng_new(3, 3);
        EXPECT((rng[0].state != none.state) == (plan.dropout > 0), "%s: numbers are drawn", plan_name(&m.plan));
        m.plan.dropout = 0;
        bool other = loss_of(&m, &task, NULL)->value.at[0] != loss[0];
        EXPECT(other == (plan.dropout > 0), "%s: dropout changes the loss", plan_name(&m.plan));
        tape_reset();
        free(grad);
        model_free(&m);
    }
    task_free(&task);
}

/* What is dropped is a layer's result, its row not: a layer that says 1 everywhere adds 0 or 2. And an embedding's sum. */
static void test_what_is_dropped(void)
{
    Plan plan = plan_for(1, false);
    plan.dropout = 0.5;
    for (int layer = 0; layer < 3; layer++) {
        static const int ids[] = { 3, 1, 4, 1, 5, 2, 6 };
        Model m = random_model(plan, 0.5, 24);
        Rng rng = rng_new(7, 7);
        Block *b = &m.decoder.block[0];
        Linear last[] = { b->self.out, b->narrow };
        int changed = 0;
        for (int i = 0; i < 2; i++) mat_fill(last[i].W->value, 0), mat_fill(last[i].b->value, i == layer);
        Pass pass = { .m = &m, .stack = &m.decoder, .seen = { .B = 1 }, .rng = &rng };
        Matrix x = noise(7, D, 4)->value, y = block_run(&pass, 0, v_leaf(x))->value;
        for (int k = 0; k < 7 * D; k++) {
            bool added = y.at[k] != x.at[k];
            changed += added;
            EXPECT_NEAR(y.at[k] - x.at[k], added ? 2 : 0, 1e-6, "layer %d, number %d", layer, k);
        }
        EXPECT(layer == 2 ? changed == 0 : changed > 8 && changed < 34, "layer %d: %d numbers", layer, changed);
        Matrix e = model_embed(&m, m.Et, ids, 1, 7, 0, &rng)->value;
        m.plan.dropout = 0;
        Matrix whole = model_embed(&m, m.Et, ids, 1, 7, 0, NULL)->value;
        for (int k = changed = 0; k < 7 * D; k++) {
            changed += e.at[k] == 0;
            EXPECT_NEAR(e.at[k], e.at[k] == 0 ? 0 : 2 * (double)whole.at[k], 1e-5, "number %d of the embedding", k);
        }
        EXPECT(changed > 8 && changed < 34, "%d numbers of an embedding are dropped", changed);
        tape_reset();
        model_free(&m);
    }
}

static void test_model_begins_as_it_should(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int pairs = 0; pairs < 2; pairs++) {
            Plan plan = plan_for(kind, pairs);
            plan.spread = 0.1;
            Model m;
            model_new(&m, &plan, 1);
            int attention = 4 * (D * D + D), above = D * F + F + F * D + D, block = attention + above + 4 * D;
            int stacks = pairs ? 2 * block + attention + 2 * D : block, V = plan.target + plan.source;
            int want = V * D + BLOCKS * stacks + D * plan.said + plan.said + (plan.learned ? MOST * D : 0)
                     + (plan.pre ? (pairs ? 2 : 1) * 2 * D : 0);
            EXPECT(m.params.size == (size_t)want, "%s: %zu parameters, not %d", plan_name(&plan), m.params.size, want);
            for (int k = 0; k < m.params.count; k++) {
                const Param *p = m.params.item[k];
                Matrix w = p->var.value;
                bool bias = strcmp(strrchr(p->name, '.') ? strrchr(p->name, '.') : "", ".b") == 0, gain = strstr(p->name, ".g");
                double largest = 0, most = bias ? 0 : gain ? 1 : sqrt(6.0 / (w.rows + w.cols));
                if (strstr(p->name, "embedding")) most = 5 * 0.1 / sqrt(D);
                if (strstr(p->name, "positions")) most = 5;
                for (size_t i = 0; i < mat_size(w); i++) largest = fmax(largest, fabs((double)w.at[i]));
                EXPECT(largest <= most * (1 + 1e-6) && largest >= most / 5, "%s: %g of %g", p->name, largest, most);
            }
            model_free(&m);
        }
    Plan shared = plan_for(0, true);
    shared.shared = true;
    Model m;
    model_new(&m, &shared, 1);
    EXPECT(m.Es == m.Et && m.Es->value.rows == SAY + 2, "one embedding for both");
    model_free(&m);
}

/* ---- masks -------------------------------------------------------------------------------------------------------------- */

static void test_masks_by_hand(void)
{
    static const int lengths[] = { 2, 0 };
    static const struct { Seen seen; int b, T, S; const char *want; } row[] = {
        { { .B = 1 }, 0, 2, 3, "111111" },
        { { .B = 2, .lengths = lengths }, 0, 2, 3, "110110" },
        { { .B = 2, .lengths = lengths }, 1, 2, 3, "000000" },
        { { .B = 1, .causal = true }, 0, 3, 3, "100110111" },
        { { .B = 1, .causal = true }, 0, 2, 3, "110111" },
        { { .B = 1, .causal = true }, 0, 1, 3, "111" },
        { { .B = 2, .causal = true, .lengths = lengths }, 0, 3, 3, "100110110" },
        { { .B = 2, .causal = true, .lengths = lengths }, 1, 1, 1, "0" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        int T = row[i].T, S = row[i].S;
        Matrix mask = mask_of(row[i].seen, row[i].b, T, S);
        EXPECT(mask.rows == T && mask.cols == S && (int)strlen(row[i].want) == T * S, "mask (%d,%d)", mask.rows, mask.cols);
        for (int k = 0; k < T * S; k++) {
            EXPECT_NEAR(at(mask, k / S, k % S), row[i].want[k] - '0', 0, "mask %zu, (%d,%d)", i, k / S, k % S);
            EXPECT(may_see(row[i].seen, row[i].b, k / S, k % S, T, S) == (row[i].want[k] == '1'), "mask %zu, number %d", i, k);
        }
    }
    tape_reset();
}

static char folder[] = "/tmp/test_chapter08.XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* masks.csv tells what v_attention gives weight to, under the masks that the tasks use. */
static void test_masks_csv(void)
{
    static const int three = 3, five = 5, none = 0;
    static const struct { const char *name; Seen seen; int T; } masks[] = {
        { "all of it", { .B = 1 }, 8 },
        { "padding: 5 of 8", { .B = 1, .lengths = &five }, 8 },
        { "causal", { .B = 1, .causal = true }, 8 },
        { "padded and causal", { .B = 1, .causal = true, .lengths = &five }, 8 },
        { "causal, 3 behind 5", { .B = 1, .causal = true }, 3 },
        { "from a cache: 3 of 8", { .B = 1, .lengths = &three }, 1 },
        { "cross: 6 steps, 5 of 8", { .B = 1, .lengths = &five }, 6 },
        { "nothing", { .B = 1, .lengths = &none }, 8 },
    };
    Config o = presets[0][0];
    char line[200], name[100];
    int rows = 0, t, s, seen, n = sizeof masks / sizeof *masks;
    o.out = folder;
    write_masks(&o);
    tape_reset();
    Var *y[8];
    for (int i = 0; i < n; i++)
        y[i] = v_attention(noise(masks[i].T, 4, 1), noise(8, 4, 2), noise(8, 4, 3), 2, masks[i].seen, 0, NULL);
    FILE *f = fopen(in_folder("masks.csv"), "r");
    CHECK(f && fgets(line, sizeof line, f), "no masks.csv");
    EXPECT(strcmp(line, "mask,row,column,seen\n") == 0, "%s", line);
    while (fgets(line, sizeof line, f)) {
        EXPECT(sscanf(line, "\"%99[^\"]\",%d,%d,%d", name, &t, &s, &seen) == 4, "%s", line);
        int i = 0;
        while (i < n && strcmp(masks[i].name, name) != 0) i++;
        EXPECT(i < n && t >= 0 && t < masks[i].T && s >= 0 && s < 8, "%s", line);
        if (i == n) continue;
        rows++;
        for (int h = 0; h < 2; h++) EXPECT((attention_weights(y[i], 0, h, t)[s] > 0) == (seen == 1), "%s", line);
        EXPECT(seen == 0 || seen == 1, "%s", line);
    }
    EXPECT(rows == 8 * (8 + 8 + 8 + 8 + 3 + 1 + 6 + 8), "%d rows", rows);
    fclose(f);
    remove(in_folder("masks.csv"));
    tape_reset();
}

/* ---- where it looked ------------------------------------------------------------------------------------------------------ */

/* What attention.csv should tell of an example: rows and columns, as they are named, and where the weights are 0. `want` is NULL
 * where there are more of them than ROWS.                                                                                  */
typedef struct { int example, T, S; const char *const *asks, *const *seen; bool causal; Weights (*want)[ROWS]; } Looks;

/* Every head of every block once, in order; a row's weights sum to 1, and are 0 behind its place if the mask is causal. */
static void expect_looks(const char *text, const Looks *k)
{
    int rows = 0, per = k->T * k->S, l, h, e, t, s;
    double sum = 0, weight;
    char output[20], input[20];
    for (; *text; text = strchr(text, '\n') + 1, rows++) {
        int n = sscanf(text, "block %d head %d,%d,%d,%19[^,],%d,%19[^,],%lf", &l, &h, &e, &t, output, &s, input, &weight);
        bool due = n == 8 && l == rows / (HEADS * per) + 1 && h == rows / per % HEADS + 1 && l <= BLOCKS
                && e == k->example && t == rows % per / k->S && s == rows % k->S;
        EXPECT(due, "row %d: %.60s", rows, text);
        if (!due) return;
        EXPECT(strcmp(output, k->asks[t]) == 0 && strcmp(input, k->seen[s]) == 0, "row %d: %.60s", rows, text);
        EXPECT(k->causal && s > t ? weight == 0 : weight > 0, "block %d head %d, (%d,%d): %g", l, h, t, s, weight);
        double exact = fmax(5 * near, 1e-9);                             /* the file has nine digits */
        if (k->want) EXPECT_NEAR(weight, k->want[l - 1][t][h - 1][s], exact, "block %d head %d, (%d,%d)", l, h, t, s);
        sum = s == 0 ? weight : sum + weight;
        if (s == k->S - 1) EXPECT_NEAR(sum, 1, 1e-6, "row %d", rows);
    }
    EXPECT(rows == BLOCKS * HEADS * per, "%d rows", rows);
}

/* The picture is of the answer that it gives alone. */
static void test_looks_of_pairs(void)
{
    static const char *const source[] = { "m", "i", "l", "·", "u", "n" };
    enum { S = 6 };
    Task task = task_to_digits();
    Plan plan = plan_for(1, true);
    plan.source = task.source.size, plan.target = task.target.size + 2, plan.said = task.target.size + 1, plan.most = MOST_PAIR;
    Model m = random_model(plan, 0.4, 16);
    Pair pair = { .m = ROWS - 2 };
    pair.n = symbols_encode(&task.source, "mil un", "source", pair.x);
    Batch batch = batch_of(&pair, 1, &task);
    int said[MOST_PAIR], told[ROWS] = { batch.bos };
    bool recording = tape_record(false);
    decode(&m, &batch, 0, NULL, said);
    Answer answer = answer_of(said, 1, batch.T, batch.eos);
    tape_record(recording);
    EXPECT(answer.n > 1 && answer.n < ROWS, "it says %d symbols", answer.n);
    Rows memory, x;
    char digit[ROWS][2] = { "" };
    const char *asks[ROWS];
    for (int t = 0; t < answer.n; t++) {
        told[t + 1] = answer.y[t], digit[t][0] = (char)task.target.code[answer.y[t]];
        asks[t] = digit[t];
    }
    asks[answer.n] = "end";
    plain_embed(&m, m.Es, pair.x, S, memory);
    plain_stack(&m, &m.encoder, memory, S, false, NULL, 0);
    plain_embed(&m, m.Et, told, answer.n + 1, x);
    plain_stack(&m, &m.decoder, x, answer.n + 1, true, memory, S);
    FILE *f = scratch();
    write_look(f, &m, &task, pair, 4);
    EXPECT(tape_is_recording() && !m.plan.fused, "the tape records again, and the model is as it was");
    expect_looks(text_in(f), &(Looks){ 4, answer.n + 1, S, asks, source, false, plain_crossed });
    tape_reset();
    model_free(&m);
    task_free(&task);
}

/* A row of a GPT is 0 behind its place; one of a BERT sees all, and there is a gap in the middle. There are as many letters as
 * positions, 24 at most.                                                                                                   */
static void expect_text_looks(const Model *m, const Corpus *book, bool causal)
{
    static const char *const name[READ + 1] = { "a", "b", "c", "ñ", "·", "·", "g", "_" };
    int T = m->plan.most < 24 ? m->plan.most : 24, ids[24];
    const char *label[24], *text, *header = "model,example,row,output,column,input,weight\n";
    Rows x;
    memcpy(ids, book->test.ids, (size_t)T * sizeof *ids);
    if (!causal) ids[T / 2] = READ;
    for (int t = 0; t < T; t++) label[t] = name[ids[t]];
    if (T <= ROWS) plain_embed(m, m->Et, ids, T, x), plain_stack(m, &m->decoder, x, T, causal, NULL, 0);
    write_looks(m, book, causal, folder);
    EXPECT(tape_is_recording(), "the tape records again");
    text = text_in(fopen(in_folder("attention.csv"), "r"));
    bool begins = strncmp(text, header, strlen(header)) == 0;
    EXPECT(begins, "it begins with %.50s", text);
    if (begins)
        expect_looks(text + strlen(header), &(Looks){ 1, T, T, label, label, causal, T <= ROWS ? plain_looked : NULL });
    remove(in_folder("attention.csv"));
    tape_reset();
}

static void test_looks_of_a_text(void)
{
    enum { N = 30 };
    int text[N];
    for (int i = 0; i < N; i++) text[i] = (i * i + i / 3) % READ;
    Corpus book = { .vocab = vocab_of_symbols(letters, READ), .test = { text, N } };
    for (int kind = 0; kind < KINDS; kind++) {
        Plan plan = plan_for(kind, false);
        plan.most = kind % 3 == 0 ? 26 : ROWS - kind % 2;
        Model m = random_model(plan, 0.4, 25);
        expect_text_looks(&m, &book, true);
        expect_text_looks(&m, &book, false);
        EXPECT(m.plan.fused == plan.fused, "the model is as it was");
        model_free(&m);
    }
    vocab_free(&book.vocab);
}

/* ---- series ------------------------------------------------------------------------------------------------------------- */

static void test_series(void)
{
    Task task = task_series();
    Pair pair, test[100];
    Rng rng = rng_new(1, 1);
    static bool seen[2][1000];
    int lowest = 1000, highest = 0, tests = task_test(&task, test, 100);
    for (int i = 0; i < 40000; i++) {
        Split split = i % 4 == 0 ? TEST : TRAIN;
        task.draw(&task, &rng, split, &pair);
        EXPECT(pair.n == 48 && pair.m == 48 && !pair.open, "%d and %d numbers", pair.n, pair.m);
        for (int k = 0; k < 48; k++) EXPECT(pair.x[k] == pair.x[0] + k && pair.y[k] == pair.x[k] + 5, "number %d", k);
        EXPECT(pair.x[0] >= 0 && pair.y[47] <= 999, "%d … %d", pair.x[0], pair.y[47]);
        lowest = pair.x[0] < lowest ? pair.x[0] : lowest, highest = pair.x[0] > highest ? pair.x[0] : highest;
        seen[split == TEST][pair.x[0]] = true;
    }
    EXPECT(lowest == 0 && highest == 999 - 48 - 5 + 1, "windows begin at %d … %d", lowest, highest);
    int both = 0, held_out = 0;
    for (int i = 0; i < 1000; i++) both += seen[0][i] && seen[1][i], held_out += seen[1][i];
    EXPECT(both == 0 && held_out > 60 && held_out < 140, "%d windows in both, %d held out", both, held_out);
    EXPECT(tests > 60, "%d windows to test with", tests);
    for (int i = 0; i < tests; i++) EXPECT(!seen[0][test[i].x[0]], "the window at %d was drawn in training", test[i].x[0]);
    Config o = presets[0][0];
    Plan plan = pair_plan(&o, &task);
    EXPECT(plan.source == 1001 && plan.target == 1003 && plan.said == 1002 && plan.shared, "1,003 symbols");
    Batch batch = batch_of(&pair, 1, &task);
    EXPECT(batch.eos == 1001 && batch.bos == 1002 && batch.T == 49, "EOS %d, BOS %d, T %d", batch.eos, batch.bos, batch.T);
    tape_reset();
    task_free(&task);
}

/* Told nothing, the decoder knows BOS and its places; told 1, all; and between them by the batch. */
static void test_told_nothing(void)
{
    Task task = task_of(READ, SAY);
    for (int kind = 0; kind < KINDS; kind++) {
        Model m = random_model(plan_for(kind, true), 0.5, 17);
        Batch batch = batch_of(four, PAIRS, &task);
        Pass pass = decoder_pass(&m, &batch, NULL), again = decoder_pass(&m, &batch, NULL);
        Matrix nothing = decode_told(&pass, &batch, false)->value, all = told_logits(&m, &batch);
        EXPECT(same_row(nothing, 0, all, 0), "%s: both are told BOS", plan_name(&m.plan));
        EXPECT(!same_row(nothing, PAIRS, all, PAIRS), "%s: and one is told more", plan_name(&m.plan));
        for (int k = PAIRS; k < batch.T * PAIRS; k++) batch.input[k] = 1;
        Matrix same = decode_told(&again, &batch, false)->value;
        EXPECT_SAME_BYTES(same.at, nothing.at, mat_size(same) * sizeof(real), "%s: told all the same", plan_name(&m.plan));
        batch = batch_of(four, PAIRS, &task);
        Rng rng = rng_new(2, 2);
        int said[PAIRS * 8], often = 0;
        for (int i = 0; i < 200; i++) {
            Matrix got = decode(&m, &batch, 0.25, &rng, said)->value;
            bool told = same_row(got, PAIRS, all, PAIRS);
            EXPECT(told || same_row(got, PAIRS, nothing, PAIRS), "%s: neither", plan_name(&m.plan));
            often += told;
        }
        EXPECT(often > 25 && often < 80, "told %d of 200 times", often);
        tape_reset();
        model_free(&m);
    }
    task_free(&task);
}

static void test_training_of_pairs(void)
{
    Config o = { .batch = 7, .steps = 70, .warmup = 11, .lr = 0.25, .clip = 3, .forcing = 0.5, .forcing_end = 0.75 };
    Training got = training_of(&o);
    EXPECT(got.batch == 7 && got.steps == 70 && got.warmup == 11, "%d, %d, %d", got.batch, got.steps, got.warmup);
    EXPECT(got.lr == 0.25 && got.lr_end == 0.05 && got.clip == 3, "%g, %g, %g", got.lr, got.lr_end, got.clip);
    EXPECT(got.forcing == 0.5 && got.forcing_end == 0.75, "told %g, and %g at the end", got.forcing, got.forcing_end);
}

/* ---- warm-up ------------------------------------------------------------------------------------------------------------ */

enum { WARMED = 53, RISE = WARMED / 3 };

static const Config warming = { .seed = 3, .norm = "post", .positions = "learned", .fused = 1, .spread = 0.1, .width = D,
                                .heads = HEADS, .blocks = 1, .feed = F, .dropout = 0.1, .clip = 0.5, .batch = 3,
                                .warmup_steps = WARMED, .warmup_lr = 0.02 };

/* The loss of every step, told the truth, the rate rising in a straight line over `warmup` steps. */
static void plain_warmup(const Task *task, bool pre, int warmup, double loss[WARMED + 1])
{
    const Config *o = &warming;
    Plan plan = pair_plan(o, task);
    plan.pre = pre;
    Model m;
    model_new(&m, &plan, (uint64_t)o->seed);
    Optim adam = optim_adam(&m.params, 0, 0);
    Rng draws = rng_new((uint64_t)o->seed, 1), drop = rng_new((uint64_t)o->seed, 2);
    for (int step = 1; step <= WARMED; step++) {
        Pair pair[3];
        for (int b = 0; b < 3; b++) task->draw(task, &draws, TRAIN, &pair[b]);
        Batch batch = batch_of(pair, 3, task);
        Var *mean = pair_loss(&m, &batch, &drop);
        params_zero_grad(&m.params);
        tape_backward(mean);
        loss[step] = (double)mean->value.at[0];
        params_clip_grad(&m.params, o->clip);
        adam.lr = step < warmup ? o->warmup_lr * step / warmup : o->warmup_lr;
        optim_step(&adam, &m.params);
        tape_reset();
    }
    optim_free(&adam), model_free(&m);
}

/* Rows of every second step and the last, each with the mean since the one before: pre- and post-norm, without and with. */
static void test_warmup(void)
{
    Task task = task_copy(1, 4);
    double loss[4][WARMED + 1];
    Config o = warming;
    o.out = folder;
    int kept = quiet();
    show_warmup(&o, &task);
    loud(kept);
    const char *text = text_in(fopen(in_folder("warmup.csv"), "r")), *header = "norm,warmup,step,loss\n";
    EXPECT(strncmp(text, header, strlen(header)) == 0, "it begins with %.40s", text);
    for (int run = 0; run < 4; run++) {
        plain_warmup(&task, run < 2, run % 2 ? RISE : 0, loss[run]);
        for (int step = 2; step <= WARMED + 1; step += 2) {
            int warmup = -1, at = -1, last = step > WARMED ? WARMED : step;
            double got = -1, want = step > WARMED ? loss[run][last] : (loss[run][step - 1] + loss[run][step]) / 2;
            char norm[10] = "";
            text = strchr(text, '\n') ? strchr(text, '\n') + 1 : "";
            EXPECT(sscanf(text, "%9[^,],%d,%d,%lf", norm, &warmup, &at, &got) == 4, "run %d, step %d: %.40s", run, last, text);
            EXPECT(strcmp(norm, run < 2 ? "pre" : "post") == 0 && warmup == (run % 2 ? RISE : 0) && at == last, "%.40s", text);
            EXPECT_NEAR(got, want, 1e-7, "%s, warm-up %d, step %d", norm, warmup, at);
        }
        EXPECT(strchr(text, '\n') && strchr(text, '\n')[1] == (run < 3 ? 'p' : '\0'), "more rows: %.80s", text);
    }
    for (int run = 0; run < 4; run += 2)
        EXPECT(fabs(loss[run][10] - loss[run + 1][10]) > 1e-3, "warm-up changes nothing: %g", loss[run][10]);
    remove(in_folder("warmup.csv"));
    task_free(&task);
}

/* ---- gaps --------------------------------------------------------------------------------------------------------------- */

static void test_gaps_are_hidden(void)
{
    enum { T = 5000 };
    static int text[T + 1], other[T + 1];
    Windows w = windows_new(2, T), again = windows_new(2, T);
    for (int t = 0; t <= T; t++) text[t] = t % READ;
    for (int share = 1; share <= 9; share += 4) {
        Rng rng = rng_new(1, (uint64_t)share), same = rng;
        int gaps = 0;
        for (int k = 0; k < 2 * T; k++) w.x[k] = w.y[k] = again.x[k] = again.y[k] = -9;
        fill_gaps(&w, 1, text, share / 10.0, READ, &rng);
        for (int t = 0; t < T; t++) {
            bool gap = w.x[T + t] == READ;
            gaps += gap;
            EXPECT(w.x[t] == -9 && w.y[t] == -9, "row 0 is another's");
            EXPECT(w.y[T + t] == (gap ? text[t] : PAD), "place %d is to be %d", t, w.y[T + t]);
            EXPECT(gap || w.x[T + t] == text[t], "place %d is %d", t, w.x[T + t]);
            other[t] = gap ? (text[t] + 1) % READ : text[t];
        }
        EXPECT_NEAR((double)gaps / T, share / 10.0, 0.025, "share of gaps");
        fill_gaps(&again, 1, other, share / 10.0, READ, &same);
        EXPECT_SAME_BYTES(again.x + T, w.x + T, T * sizeof *w.x, "what is hidden is seen");
    }
    fill_causal(&w, 1, text);
    EXPECT_SAME_BYTES(w.x + T, text, T * sizeof *text, "what is read");
    EXPECT_SAME_BYTES(w.y + T, text + 1, T * sizeof *text, "each symbol predicts the next");
    windows_free(&w), windows_free(&again);
}

/* The loss of a part: by hand, over windows side by side; of gaps only, always the same ones. */
static void test_loss_of_a_part(void)
{
    enum { T = 5, N = 5 * 70 + 3 };
    static int text[N];
    for (int i = 0; i < N; i++) text[i] = (i * i + i / 3) % READ;
    Part part = { text, N };
    for (int kind = 0; kind < KINDS; kind++)
        for (int causal = 0; causal < 2; causal++) {
            Model m = random_model(plan_for(kind, false), 0.4, 18);
            double total = 0, loss = part_loss(&m, part, T, causal, 0.3);
            int counted = 0, bare = 0;
            Rng rng = rng_new(0, 3);
            for (int i = 0; i < 70; i++) {
                int x[T], y[T], gaps = 0;
                for (int t = 0; t < T; t++) {
                    bool gap = !causal && (double)rng_uniform(&rng) < 0.3;
                    x[t] = gap ? READ : text[i * T + t];
                    y[t] = causal ? text[i * T + t + 1] : gap ? text[i * T + t] : -1;
                    gaps += gap;
                }
                if (!causal && gaps == 0) {                              /* then one of them is, after all */
                    int t = rng_below(&rng, T);
                    x[t] = READ, y[t] = text[i * T + t], bare++;
                }
                Matrix logits = read_all(&m, x, 1, T, causal, NULL)->value;
                for (int t = 0; t < T; t++) {
                    double sum = 0;
                    if (y[t] < 0) continue;
                    for (int v = 0; v < READ; v++) sum += exp(at(logits, t, v));
                    total += log(sum) - at(logits, t, y[t]), counted++;
                }
                tape_reset();
            }
            EXPECT_NEAR(loss, total / counted, 3 * near, "%s, causal %d", plan_name(&m.plan), causal);
            EXPECT(loss == part_loss(&m, part, T, causal, 0.3), "always the same gaps");
            EXPECT(causal || bare > 0, "no window drew no gap");
            EXPECT(tape_is_recording(), "the tape records again");
            tape_reset();
            model_free(&m);
        }
}

static int often(const int *text, int n, const int *gram, int length)
{
    int count = 0;
    for (int i = 0; i + length <= n; i++) count += memcmp(text + i, gram, (size_t)length * sizeof *gram) == 0;
    return count;
}

/* p(last of gram | those before it), by Witten and Bell, with counts taken anew. `follow`: how often gram was followed at all */
static double plain_ngram(const int *text, int n, const int *gram, int length, int V)
{
    double p = 1.0 / V;
    for (int k = 1; k <= length; k++) {
        const int *from = gram + length - k;
        int with[ORDERS], followed = 0, different = 0, count = 0;
        memcpy(with, from, (size_t)k * sizeof *with);
        for (int v = 0; v < V; v++) {
            with[k - 1] = v;
            int c = often(text, n, with, k);
            followed += c, different += c > 0;
            if (v == from[k - 1]) count = c;
        }
        if (followed) p = (count + different * p) / (followed + different);
    }
    return p;
}

static void test_ngram_guess(void)
{
    enum { N = 120, V = 4, PLACES = 60 };
    int text[N], other[PLACES + 8];
    Rng rng = rng_new(4, 4);
    for (int i = 0; i < N; i++) text[i] = i % 3 ? rng_below(&rng, V) : i / 3 % 4;
    for (int i = 0; i < PLACES + 8; i++) other[i] = i % 3 ? rng_below(&rng, V) : i / 3 % 4;
    Ngrams g = ngrams_count(text, N);
    int differ = 0;
    for (int order = 1; order <= ORDERS; order++)
        for (int i = 4; i < 4 + PLACES; i++) {
            int guess[2];
            for (int both = 0; both < 2; both++) {
                double score[V], most = 0;
                for (int v = 0; v < V; v++) {
                    int kept = other[i];
                    other[i] = v;
                    score[v] = 1;
                    for (int j = 0; j <= (both ? order - 1 : 0); j++)
                        score[v] *= plain_ngram(text, N, other + i + j - (order - 1), order, V);
                    other[i] = kept;
                    most = fmax(most, score[v]);
                }
                int kept = other[i];
                guess[both] = ngram_guess(&g, other + i, order, both, V);
                other[i] = (kept + 1) % V;
                EXPECT(ngram_guess(&g, other + i, order, both, V) == guess[both], "it sees what is in the gap");
                other[i] = kept;
                EXPECT_NEAR(score[guess[both]], most, 1e-12, "order %d, place %d, both %d", order, i, both);
            }
            differ += guess[0] != guess[1];
        }
    EXPECT(differ > 50, "only %d guesses differ", differ);
    ngrams_free(&g);
}

static void test_network_guess(void)
{
    enum { T = 9 };
    for (int kind = 0; kind < KINDS; kind++) {
        Plan plan = plan_for(kind, false);
        Model m;
        model_new(&m, &plan, 19);                                        /* its biases are 0: none decides alone */
        for (size_t i = 0; i < m.params.size; i++) m.params.value[i] *= (real)1.5;
        int changed[2][T] = { { 0 } }, window[T], kept[T];
        Rng rng = rng_new(6, 6);
        for (int i = 0; i < 100; i++) {
            for (int t = 0; t < T; t++) window[t] = rng_below(&rng, READ);
            memcpy(kept, window, sizeof kept);
            for (int causal = 0; causal < 2; causal++) {
                int guess = network_guess(&m, window, T, causal);
                EXPECT(guess >= 0 && guess < READ, "guess %d", guess);
                EXPECT_SAME_BYTES(window, kept, sizeof kept, "the window is as it was");
                for (int t = 0; t < T; t++) {
                    window[t] = (window[t] + 3) % READ;
                    changed[causal][t] += network_guess(&m, window, T, causal) != guess;
                    window[t] = kept[t];
                }
            }
            tape_reset();
        }
        for (int t = 0; t < T; t++) {
            EXPECT((changed[1][t] > 0) == (t < T / 2), "%s: gpt, place %d: %d", plan_name(&m.plan), t, changed[1][t]);
            EXPECT((changed[0][t] > 0) == (t != T / 2), "%s: bert, place %d: %d", plan_name(&m.plan), t, changed[0][t]);
        }
        model_free(&m);
    }
}

static void test_fill_in(void)
{
    Vocab vocab = vocab_of_symbols(letters, READ);
    Model m = random_model(plan_for(5, false), 0.6, 20);
    int ids[] = { 0, READ, 3, 2, READ }, said[5];
    char want[60] = "", room[UTF8_ROOM];
    argmax_rows(said, read_all(&m, ids, 1, 5, false, NULL)->value);
    for (int i = 0; i < 5; i++) strcat(want, utf8_of(letters[ids[i] == READ ? said[i] : ids[i]], room));
    FILE *f = scratch();
    fill_in(f, &m, &vocab, "a_ñc_");
    const char *got = text_in(f);
    EXPECT(strcmp(got, strcat(want, "\n")) == 0, "'%s', and not '%s'", got, want);
    EXPECT(tape_is_recording(), "the tape records again");
    tape_reset();
    model_free(&m), vocab_free(&vocab);
}

/* A network that says one symbol, whatever it reads. */
static void say_always(Model *m, int symbol)
{
    mat_fill(m->output.W->value, 0);
    mat_fill(m->output.b->value, 0);
    m->output.b->value.at[symbol] = 1;
}

/* The part to be tested with: stretches of one symbol each, and every fifth symbol is another; aside stand others. */
enum { STRETCHES = 5, OTHER = STRETCHES, HELD_OUT = 213, GUESSED = 8, PLACES = HELD_OUT - GUESSED - (ORDERS - 1) };

static const int *stretches(void)
{
    static const int length[STRETCHES] = { 30, 71, 14, 60, 38 };
    static int text[GUESSED + HELD_OUT + GUESSED];
    for (int i = 0; i < GUESSED; i++) text[i] = text[GUESSED + HELD_OUT + i] = OTHER + 1;
    for (int at = GUESSED, v = 0; v < STRETCHES; v++)
        for (int k = 0; k < length[v]; k++, at++) text[at] = at % 5 == 0 ? OTHER : v;
    return text + GUESSED;
}

/* The share of right answers at all places, by the counters of an order, or, if it is 0, by whoever always says `symbol`. */
static double right_everywhere(const Ngrams *g, const int *part, int order, bool both, int symbol)
{
    int count = 0;
    for (int i = 0; i < PLACES; i++) {
        const int *at = part + GUESSED / 2 + i;
        count += (order ? ngram_guess(g, at, order, both, READ) : symbol) == *at;
    }
    return (double)count / PLACES;
}

/* gaps.csv: asked about some places of the part, all are right about as often as at all of its places, which is another share in
 * every stretch; asked about all, exactly so.                                                                              */
static void expect_gaps(const char *text, const Ngrams *g, const int *part, const int symbol[2], int gaps)
{
    static const char *const names[] = { "1-gram", "2-gram", "3-gram", "4-gram", "5-gram", "gpt", "bert" };
    const char *header = "model,sees,gaps,accuracy\n";
    EXPECT(strncmp(text, header, strlen(header)) == 0, "it begins with %.40s", text);
    for (int row = 0; row < 12; row++) {
        int both = row / 6, n = row % 6, asked = -1;
        char name[20] = "", sees[20] = "";
        double right = -1, want = right_everywhere(g, part, n == 5 ? 0 : n + 1, both, symbol[both]);
        text = strchr(text, '\n') ? strchr(text, '\n') + 1 : "";
        EXPECT(sscanf(text, "%19[^,],%19[^,],%d,%lf", name, sees, &asked, &right) == 4, "row %d: %.40s", row, text);
        EXPECT(strcmp(name, names[n == 5 ? 5 + both : n]) == 0, "row %d: %.40s", row, text);
        EXPECT(strcmp(sees, both ? "both" : "left") == 0 && asked == gaps, "row %d: %.40s", row, text);
        EXPECT_NEAR(right, want, gaps == PLACES ? 1e-8 : 0.08, "%s, %s, %d gaps", name, sees, gaps);
    }
    EXPECT(strchr(text, '\n') && strchr(text, '\n')[1] == '\0', "more rows: %.80s", text);
}

static void test_gaps_are_asked_everywhere(void)
{
    const int *part = stretches();
    Ngrams g = ngrams_count(part, HELD_OUT);
    Corpus book = { .vocab = vocab_of_symbols(letters, READ), .test = { part, HELD_OUT } };
    Model net[2] = { random_model(plan_for(1, false), 0.3, 27), random_model(plan_for(1, false), 0.3, 28) };
    for (int v = 0; v < STRETCHES; v++)
        for (int all = 0; all < 2; all++) {
            Config o = { .window = GUESSED, .test = all ? 10000 : 50, .out = folder };
            int symbol[2] = { v, (v + 2) % STRETCHES };
            for (int i = 0; i < 2; i++) say_always(&net[i], symbol[i]);
            int kept = quiet();
            show_gaps(net, &g, &book, &o);
            loud(kept);
            EXPECT(tape_is_recording(), "the tape records again");
            expect_gaps(text_in(fopen(in_folder("gaps.csv"), "r")), &g, part, symbol, all ? PLACES : 50);
        }
    double left = right_everywhere(&g, part, 3, false, 0), both = right_everywhere(&g, part, 3, true, 0);
    EXPECT(both > left + 0.05, "the text does not tell the sides apart: %g and %g", left, both);
    remove(in_folder("gaps.csv"));
    tape_reset();
    model_free(&net[0]), model_free(&net[1]);
    ngrams_free(&g), vocab_free(&book.vocab);
}

/* ---- training ------------------------------------------------------------------------------------------------------------- */

/* Every symbol of the part comes up once, so a window tells where it begins; around the part stands 0. Windows begin at every
 * place that leaves room for them and for what is to be said, at each about equally often. A symbol that is hidden is in y. */
static void test_windows_are_drawn_everywhere(void)
{
    enum { N = 11, T = 4, B = 16, AROUND = 8, STARTS = N - T };
    static int text[AROUND + N + AROUND];
    for (int i = 0; i < N; i++) text[AROUND + i] = i + 1;
    for (int causal = 0; causal < 2; causal++) {
        Plan plan = plan_for(1, false);
        plan.target = N + 2, plan.said = N + 1;
        Model m = random_model(plan, 0.1, 26);
        Windows w = windows_new(B, T);
        Config o = { .gap = 0.3, .clip = 1e-3 };
        Rng rng[2] = { rng_new(1, 1), rng_new(1, 2) };
        Optim adam = optim_adam(&m.params, 1e-6, 0);
        int drawn[STARTS] = { 0 };
        double norm;
        stepped.n = 0;
        for (int step = 0; step < 20; step++) {
            train_step(&m, &o, (Part){ text + AROUND, N }, causal, &w, &adam, rng, &norm);
            EXPECT(norm > 0.01, "the gradient's length is %g", norm);
            EXPECT_NEAR(params_clip_grad(&m.params, 1), 1e-3, 1e-8, "it is cut");
            for (int b = 0; b < B; b++) {
                const int *x = w.x + b * T, *y = w.y + b * T;
                int at = (causal || y[0] == PAD ? x[0] : y[0]) - 1;
                EXPECT(at >= 0 && at < STARTS, "causal %d: a window begins at %d", causal, at);
                for (int t = 0; t < T; t++) {
                    int want = at + t + 1;
                    EXPECT((causal || y[t] == PAD ? x[t] : y[t]) == want, "causal %d: place %d from %d", causal, t, at);
                    if (causal) EXPECT(y[t] == want + 1, "to be said at place %d from %d: %d", t, at, y[t]);
                }
                if (at >= 0 && at < STARTS) drawn[at]++;
            }
        }
        for (int i = 0; i < STARTS; i++)
            EXPECT_NEAR(drawn[i], 20.0 * B / STARTS, 20, "causal %d: windows that begin at %d", causal, i);
        optim_free(&adam), windows_free(&w);
        model_free(&m);
    }
    tape_reset();
}

/* A small text; each test trains on it in the same way. */
enum { SMALL = 163, TRAINED = 100, VALID = 43, TESTED = 20 };
static int small_text[SMALL];

static Corpus small_corpus(void)
{
    for (int i = 0; i < SMALL; i++) small_text[i] = (i * i + i / 3) % READ;
    return (Corpus){ .vocab = vocab_of_symbols(letters, READ), .ids = small_text, .n = SMALL, .train = { small_text, TRAINED },
                     .valid = { small_text + TRAINED, VALID }, .test = { small_text + TRAINED + VALID, TESTED } };
}

static const Config small = { .seed = 4, .norm = "pre", .positions = "learned", .fused = 1, .spread = 0.1, .width = D,
                              .heads = HEADS, .blocks = 1, .feed = F, .dropout = 0.1, .gap = 0.3, .clip = 0.5, .lr = 0.02,
                              .batch = 4, .window = 5, .steps = 22, .warmup = 6, .reports = 4 };

/* Returns the steps that train took; its curve is in `curve`, and its model in m. */
static long trained(Model *m, const Config *with, const Corpus *book, bool causal, char curve[4000], int *timings)
{
    Config o = *with;
    o.out = folder;
    new_model(m, &o, book->vocab.size);
    stepped.n = 0;
    int kept = quiet();
    Files f = files_open(&o);
    long taken = train(m, &o, book, causal, &f);
    loud(kept);
    snprintf(curve, 4000, "%s", curve_text(&f.curve));
    curve_close(&f.curve), output_close(f.timing);
    const char *text = text_in(fopen(in_folder("timing.csv"), "r"));
    for (*timings = -1; *text; text++) *timings += *text == '\n';
    remove(in_folder("timing.csv")), remove(in_folder("curve.csv"));
    return taken;
}

static double scheduled(const Config *o, int step) { return o->lr * schedule_cosine(step, o->warmup, o->steps, 0.05); }

/* Two rows a report, as a plain loop gives them: the mean loss of the steps since the one before, the last gradient's length and
 * rate, the symbols so far and how often they are the text; and the loss of the validation part.                           */
static void expect_curve(const char *curve, const Config *o, const Corpus *book, bool causal)
{
    Model m;
    new_model(&m, o, book->vocab.size);
    Windows w = windows_new(o->batch, o->window);
    Rng rng[2] = { rng_new((uint64_t)o->seed, 1), rng_new((uint64_t)o->seed, 2) };
    Optim adam = optim_adam(&m.params, o->lr, 0);
    int reports = o->reports < o->steps ? o->reports : o->steps, rows = 0;
    double total = 0, since = 0, norm;
    curve = strchr(curve, '\n') + 1;
    for (int step = 1; step <= o->steps; step++) {
        adam.lr = scheduled(o, step - 1);
        total += train_step(&m, o, book->train, causal, &w, &adam, rng, &norm), since++;
        if (step * reports / o->steps == rows / 2) continue;
        for (int valid = 0; valid < 2; valid++, rows++) {
            long epoch = -1, at = -1, symbols = -1, want = (long)step * o->batch * o->window;
            double loss = -1, length = 0, lr = 0;
            char name[20] = "", split[20] = "";
            int n = sscanf(curve, "%19[^,],4,%ld,%ld,%ld,%19[^,],%lf,%*f,%lf,%lf", name, &epoch, &at, &symbols, split, &loss,
                           &length, &lr);
            EXPECT(n == (valid ? 6 : 8) && strcmp(split, valid ? "valid" : "train") == 0, "row %d: %.60s", rows, curve);
            EXPECT(strcmp(name, causal ? "gpt" : "bert") == 0 && at == step, "row %d: %.60s", rows, curve);
            EXPECT(symbols == want && epoch == 1 + want / TRAINED, "row %d: %.60s", rows, curve);
            double held_out = part_loss(&m, book->valid, o->window, causal, o->gap);
            EXPECT_NEAR(loss, valid ? held_out : total / since, 1e-7, "%s loss at step %d", split, step);
            if (!valid) EXPECT_NEAR(length, norm, 1e-6 * norm, "the gradient's length at step %d", step);
            if (!valid) EXPECT_NEAR(lr, scheduled(o, step - 1), 1e-9, "the rate at step %d", step);
            curve += strcspn(curve, "\n"), curve += *curve == '\n';
        }
        total = since = 0;
    }
    EXPECT(rows == 2 * reports && *curve == '\0', "%d rows, and then: %.60s", rows, curve);
    optim_free(&adam), windows_free(&w);
    tape_reset();
    model_free(&m);
}

/* As many rows as reports, but no more than steps. */
static void test_training_of_a_text(void)
{
    Corpus book = small_corpus();
    for (int i = 0; i < 4; i++) {
        char curve[4000];
        bool causal = i % 2;
        int timings;
        Config o = small;
        if (i > 1) o.steps = 9, o.reports = 20, o.warmup = 0;
        Model m;
        long taken = trained(&m, &o, &book, causal, curve, &timings);
        EXPECT(taken == o.steps && stepped.n == o.steps, "%ld steps, and %d of Adam", taken, stepped.n);
        for (int step = 0; step < o.steps; step++)
            EXPECT_NEAR(stepped.lr[step], scheduled(&o, step), 1e-12, "the rate in step %d of %d", step, o.steps);
        EXPECT(timings == (i > 1 ? 9 : 4), "%d rows of seconds", timings);
        expect_curve(curve, &o, &book, causal);
        model_free(&m);
    }
    vocab_free(&book.vocab);
}

/* A text that repeats: a GPT learns to go on, and a BERT to fill in: less than half of what five even guesses cost. */
static void test_training_learns(void)
{
    enum { N = 400 };
    static int text[N];
    for (int i = 0; i < N; i++) text[i] = i % 5;
    for (int causal = 0; causal < 2; causal++)
        for (int kind = 0; kind < KINDS; kind++) {
            Plan plan = plan_for(kind, false);
            plan.width = 12, plan.feed = 24, plan.spread = 0.1;
            Config o = { .gap = 0.3, .clip = 1 };
            Model m;
            model_new(&m, &plan, 1);
            Windows w = windows_new(8, 10);
            Rng rng[2] = { rng_new(1, 1), rng_new(1, 2) };
            Optim adam = optim_adam(&m.params, 0.01, 0);
            double norm, loss = 0;
            stepped.n = 0;
            for (int step = 0; step < 500; step++) loss = train_step(&m, &o, (Part){ text, N }, causal, &w, &adam, rng, &norm);
            EXPECT(loss < 0.5 * log(5), "%s, causal %d: loss %g", plan_name(&plan), causal, loss);
            EXPECT(norm > 0, "the gradient's norm is told");
            optim_free(&adam), windows_free(&w);
            tape_reset();
            model_free(&m);
        }
}

/* Ctrl-C: the last test, since it cannot be taken back. The step is finished, reported, and no other begun. */
static void test_interrupt(void)
{
    enum { AT = 8 };
    char curve[4000];
    int timings, rows = 0;
    Corpus book = small_corpus();
    Model m, other;
    interrupt_catch();
    stepped.interrupt = AT;
    EXPECT(trained(&m, &small, &book, true, curve, &timings) == AT && stepped.n == AT, "it ends after step %d", stepped.n);
    for (const char *c = curve; *c; c++) rows += *c == '\n';
    EXPECT(rows == 1 + 2 * 2 && timings == 2, "a report, and one more: %d rows", rows);
    EXPECT(strstr(curve, "gpt,4,2,8,160,train,") && strstr(curve, "gpt,4,2,8,160,valid,"), "it is of another step: %s", curve);
    EXPECT(trained(&other, &small, &book, true, curve, &timings) == 0 && stepped.n == 0, "after it nothing is trained");
    EXPECT(timings == 0 && strchr(curve, '\n')[1] == '\0', "nor reported: %s", curve);
    model_free(&m), model_free(&other);
    vocab_free(&book.vocab);
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static void expect_same_plan(const Plan *got, const Plan *want)
{
    EXPECT(got->source == want->source && got->target == want->target && got->said == want->said, "symbols");
    EXPECT(got->width == want->width && got->heads == want->heads, "width %d, %d heads", got->width, got->heads);
    EXPECT(got->blocks == want->blocks && got->feed == want->feed, "%d blocks, feed %d", got->blocks, got->feed);
    EXPECT(got->most == want->most && got->learned == want->learned, "%d positions", got->most);
    EXPECT(got->pre == want->pre && got->fused, "pre %d, fused %d", got->pre, got->fused);
    EXPECT(got->dropout == 0, "nothing is dropped");
}

static Config loading(const char *name)
{
    Config o = presets[2][0];
    o.out = folder, o.load = in_folder(name);
    return o;
}

static void test_text_models_are_saved(void)
{
    static const int ids[] = { 1, 4, 2, 2, 0, 6 };
    Vocab vocab = vocab_of_symbols(letters, READ), again;
    for (int kind = 0; kind < KINDS; kind++)
        for (int bert = 0; bert < 2; bert++) {
            Model m = random_model(plan_for(kind, false), 0.5, 21), loaded;
            Config o = loading("model.safetensors");
            save(&m, &vocab, bert ? "bert" : "gpt", &o);
            load(&loaded, &again, bert ? "bert" : "gpt", &o);
            expect_same_plan(&loaded.plan, &m.plan);
            EXPECT(again.size == READ, "%d symbols", again.size);
            EXPECT_SAME_BYTES(again.code, letters, READ * sizeof *letters, "symbols");
            EXPECT_SAME_BYTES(loaded.params.value, m.params.value, m.params.size * sizeof(real), "%s", plan_name(&m.plan));
            Matrix want = read_all(&m, ids, 1, 6, !bert, NULL)->value, got = read_all(&loaded, ids, 1, 6, !bert, NULL)->value;
            EXPECT_SAME_BYTES(got.at, want.at, mat_size(want) * sizeof(real), "%s", plan_name(&m.plan));
            tape_reset();
            vocab_free(&again), model_free(&m), model_free(&loaded);
        }
    vocab_free(&vocab);
    remove(in_folder("model.safetensors"));
}

static Model words_model(const Task *task, int kind)
{
    Plan plan = plan_for(kind, true);
    plan.source = task->source.size, plan.target = task->target.size + 2, plan.said = task->target.size + 1;
    plan.most = MOST_PAIR;
    return random_model(plan, 0.4, 22);
}

static void test_word_models_are_saved(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        Task task = kind % 2 ? task_to_words() : task_to_digits();
        Model m = words_model(&task, kind), loaded;
        Pair pair = { .m = 4 };
        pair.n = symbols_encode(&task.source, kind % 2 ? "1234" : "mil uno", "source", pair.x);
        model_save(&m, &task, folder, "words.safetensors");
        Checkpoint c = checkpoint_read(in_folder("words.safetensors"));
        EXPECT(strcmp(checkpoint_text(&c, "task"), task.name) == 0, "task %s", checkpoint_text(&c, "task"));
        model_load(&loaded, &c, task.source.size, task.target.size + 2, task.target.size + 1);
        checkpoint_free(&c);
        expect_same_plan(&loaded.plan, &m.plan);
        EXPECT_SAME_BYTES(loaded.params.value, m.params.value, m.params.size * sizeof(real), "%s", plan_name(&m.plan));
        Batch batch = batch_of(&pair, 1, &task);
        Matrix want = told_logits(&m, &batch), got = told_logits(&loaded, &batch);
        EXPECT_SAME_BYTES(got.at, want.at, mat_size(want) * sizeof(real), "%s", plan_name(&m.plan));
        tape_reset();
        model_free(&m), model_free(&loaded);
        task_free(&task);
    }
    remove(in_folder("words.safetensors"));
}

static const Config *tried;
static const char *tried_task;

static void call_load(void)
{
    Model m;
    Vocab vocab;
    dies = true;
    load(&m, &vocab, tried_task, tried);
}

static void call_answer(void)
{
    dies = true;
    answer_prompt(tried);
}

static void call_check(void)
{
    dies = true;
    check_config(tried);
}

static void call_fill_in(void)
{
    Vocab vocab = vocab_of_symbols(letters, READ);
    Model m = random_model(plan_for(5, false), 0.6, 20);
    dies = true;
    fill_in(stdout, &m, &vocab, tried->prompt);
}

/* As plan_set writes it, but for one entry. */
static void write_other(const Model *m, const char *task, const char *bad_key, const char *bad)
{
    static const char *const key[] = { "task", "model", "width", "heads", "blocks", "feed", "most", "norm", "positions",
                                       "vocab" };
    const char *const good[] = { task, "transformer", "6", "3", "2", "5", m->plan.source ? "96" : "11", "pre", "learned",
                                 "abcñ\n g" };
    Checkpoint c = { 0 };
    for (int i = 0; i < 10; i++)
        if (strcmp(key[i], bad_key) != 0) checkpoint_set(&c, key[i], "%s", good[i]);
        else if (bad) checkpoint_set(&c, key[i], "%s", bad);
    checkpoint_add_params(&c, &m->params);
    checkpoint_write(&c, folder, "other.safetensors");
    checkpoint_free(&c);
}

static void test_other_checkpoints(void)
{
    static const char *const bad[][2] = {
        { "task", "copy" }, { "task", "bert" }, { "task", NULL }, { "model", "attention" }, { "model", NULL },
        { "width", "8" }, { "width", "1" }, { "width", "x" }, { "heads", "4" }, { "heads", "0" }, { "heads", "65" },
        { "blocks", "3" }, { "blocks", "0" }, { "blocks", "13" }, { "feed", "4" }, { "feed", "0" },
        { "most", "12" }, { "most", "0" }, { "most", "4097" }, { "most", NULL }, { "norm", "both" }, { "norm", NULL },
        { "positions", "none" }, { "positions", NULL }, { "vocab", "abc" }, { "vocab", NULL },
    };
    Task digits = task_to_digits();
    Model text = random_model(plan_for(3, false), 0.5, 23), words = words_model(&digits, 3), loaded;
    Config o = loading("other.safetensors");
    Vocab vocab;
    o.prompt = "dos";
    tried = &o, tried_task = "gpt";
    write_other(&text, "gpt", "", NULL);
    load(&loaded, &vocab, "gpt", &o);                                    /* the others differ in one thing only */
    EXPECT_SAME_BYTES(loaded.params.value, text.params.value, text.params.size * sizeof(real), "a good one");
    vocab_free(&vocab), model_free(&loaded);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_other(&text, "gpt", bad[i][0], bad[i][1]);
        EXPECT_DEATH(call_load, "other.safetensors");
        write_other(&words, "to_digits", bad[i][0], bad[i][1]);
        if (strcmp(bad[i][0], "vocab") != 0) EXPECT_DEATH(call_answer, "other.safetensors");
    }
    write_other(&words, "to_words", "", NULL);                           /* its sizes are those of to_digits */
    EXPECT_DEATH(call_answer, "other.safetensors");
    write_other(&text, "gpt", "", NULL);
    EXPECT_DEATH(call_answer, "gpt");
    tried_task = "bert";
    EXPECT_DEATH(call_load, "gpt");
    remove(in_folder("other.safetensors"));
    model_free(&text), model_free(&words);
    task_free(&digits);
}

static void test_options_that_do_not_go_together(void)
{
    static const struct { const char *task, *load, *prompt; int width, heads; const char *says; } row[] = {
        { "series", NULL, "", 6, 4, "--width 6" }, { "gpt", NULL, "a", 2, 3, "--width 2" },
        { "series", "x", "1", 6, 2, "--load 'x'" }, { "words", "x", "", 6, 2, "--prompt" }, { "bert", "x", "", 6, 2, "--prompt" },
        { "words", NULL, "dos", 6, 2, "--load" }, { "series", NULL, "dos", 6, 2, "--load" }, { "bert", NULL, "dos", 6, 2, "_" },
        { "bert", "x", "dos", 6, 2, "_" },
    };
    static const char *const good[][3] = {
        { "words", "x", "dos" }, { "gpt", NULL, "dos" }, { "gpt", "x", "dos" }, { "bert", "x", "d_s" },
        { "bert", NULL, "d_s" }, { "bert", NULL, "" }, { "series", NULL, "" }, { "words", NULL, "" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        Config o = { .task = row[i].task, .load = row[i].load, .prompt = row[i].prompt };
        o.width = row[i].width, o.heads = row[i].heads;
        tried = &o;
        EXPECT_DEATH(call_check, row[i].says);
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        check_config(&(Config){ .task = good[i][0], .load = good[i][1], .prompt = good[i][2], .width = 6, .heads = 2 });
    for (int task = 0; task < 4; task++)
        for (int p = 0; p < PRESETS; p++) check_config(&presets[task][p]);
}

static void test_bad_gaps(void)
{
    static const char *const prompt[] = { "a_x", "abcabcabcab_", "\xf1_" };
    for (int i = 0; i < 3; i++) {
        Config o = { .prompt = prompt[i] };
        tried = &o;
        EXPECT_DEATH(call_fill_in, "--prompt");
    }
}

int main(void)
{
    CHECK(mkdtemp(folder), "%s cannot be made", folder);
    RUN(test_network_is_its_equations);
    RUN(test_stacks_are_pytorchs);
    RUN(test_the_future_changes_nothing);
    RUN(test_the_decoder_sees_no_future);
    RUN(test_padding_changes_no_logit);
    RUN(test_padding_changes_no_gradient);
    RUN(test_alone_is_told_what_it_said);
    RUN(test_one_by_one_is_all_at_once);
    RUN(test_text_is_written_as_without_a_cache);
    RUN(test_drawing);
    RUN(test_order_is_in_the_positions_alone);
    RUN(test_waves);
#ifdef REAL_DOUBLE
    RUN(test_gradients);
#endif
    RUN(test_fused_is_visible);
    RUN(test_what_is_dropped);
    RUN(test_model_begins_as_it_should);
    RUN(test_masks_by_hand);
    RUN(test_masks_csv);
    RUN(test_looks_of_pairs);
    RUN(test_looks_of_a_text);
    RUN(test_series);
    RUN(test_told_nothing);
    RUN(test_training_of_pairs);
    RUN(test_warmup);
    RUN(test_gaps_are_hidden);
    RUN(test_loss_of_a_part);
    RUN(test_ngram_guess);
    RUN(test_network_guess);
    RUN(test_fill_in);
    RUN(test_gaps_are_asked_everywhere);
    RUN(test_windows_are_drawn_everywhere);
    RUN(test_training_of_a_text);
    RUN(test_training_learns);
    RUN(test_text_models_are_saved);
    RUN(test_word_models_are_saved);
    RUN(test_other_checkpoints);
    RUN(test_options_that_do_not_go_together);
    RUN(test_bad_gaps);
    RUN(test_interrupt);
    rmdir(folder);
    tape_free();
    return unit_result();
}
