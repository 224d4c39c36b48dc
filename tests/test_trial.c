/* What trial.h promises: tests against plain loops, the same pairs for the same seed, forcing along a straight line, rows as they
 * are described, `learned`, and Ctrl-C. The networks are made up: one looks its next symbol up and nothing else, and one
 * knows the targets and says them wrong where it is told to.                                                               */
#include "unit.h"
#include "workbook.h"
#include "trial.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { V = 11, EOS = 10, BOS = 11, MOST_STEPS = 200 };

static const double near = sizeof(real) == sizeof(double) ? 1e-12 : 2e-5;

/* What the networks are asked, and what they should do. */
typedef struct {
    Params params;
    Var *table;                            /* (V + 1, V): logits of what follows each symbol         */
    int steps;                             /* of training so far                                     */
    double forcing[MOST_STEPS];            /* at each of them                                        */
    uint64_t drawn[MOST_STEPS];            /* a number that stands for the pairs of that batch       */
    int longest_x, longest_y, tested;      /* in training: symbols; pairs seen that are of the test  */
    const Pair *test;
    int tests;
    int right_from, wrong, wrong_from;     /* oracle: at which step of training it begins to be right, but for `wrong` of the
                                              pairs, and from `wrong_from` on for one pair more                           */
    long symbols;                          /* in training, EOS included                                                  */
    bool surer;                            /* oracle: surer from step to step                                           */
    int interrupt;                         /* oracle: the step of training in which somebody presses Ctrl-C; 0: nobody     */
} Fake;

static Fake *fake_new(void)
{
    Fake *f = allocate(1, sizeof *f);
    f->table = param(&f->params, "table", V + 1, V, init_normal(1));
    params_allocate(&f->params, 5);
    return f;
}

static void fake_free(Fake *f)
{
    params_free(&f->params);
    free(f);
}

static void note_training(Fake *f, const Batch *batch, double forcing)
{
    uint64_t mixed = 1;
    CHECK(f->steps < MOST_STEPS, "%d steps", f->steps);
    for (int b = 0; b < batch->B; b++) {
        const Pair *pair = &batch->pair[b];
        for (int i = 0; i < pair->n; i++) mixed = mixed * 1000003 + (uint64_t)pair->x[i] + 1;
        f->longest_x = pair->n > f->longest_x ? pair->n : f->longest_x;
        f->longest_y = pair->m > f->longest_y ? pair->m : f->longest_y;
        f->symbols += pair->m + 1;
        for (int i = 0; i < f->tests; i++)
            f->tested += f->test[i].n == pair->n && memcmp(f->test[i].x, pair->x, (size_t)pair->n * sizeof *pair->x) == 0;
    }
    f->forcing[f->steps] = forcing;
    f->drawn[f->steps++] = mixed;
}

/* What follows each symbol is looked up. */
static Var *lookup_decode(const void *model, const Batch *batch, double forcing, Rng *rng, int *said)
{
    Fake *f = (Fake *)(uintptr_t)model;
    int B = batch->B;
    const int *told = batch->input;
    Var **logits = tape_room((size_t)batch->T * sizeof *logits);
    if (tape_is_recording()) note_training(f, batch, forcing);
    for (int t = 0; t < batch->T; t++) {
        logits[t] = v_lookup(f->table, told, B);
        argmax_rows(said + t * B, logits[t]->value);
        bool truth = forcing == 1 || (forcing > 0 && (double)rng_uniform(rng) < forcing);
        told = truth && t + 1 < batch->T ? batch->input + (t + 1) * B : said + t * B;
    }
    return v_vcat(logits, batch->T);
}

/* Logit of what the oracle says, all others being 0; and what a symbol that it has right costs. */
static double logit_of(const Fake *f) { return f->surer ? f->steps / 8.0 : 9; }
static double cost_of(double logit)   { return log(1 + (V - 1) * exp(-logit)); }

/* The targets; of a pair that is to be wrong, the last digit is another. */
static Var *oracle_decode(const void *model, const Batch *batch, double forcing, Rng *rng, int *said)
{
    Fake *f = (Fake *)(uintptr_t)model;
    int rows = batch->T * batch->B, *answer = tape_ints(batch->target, rows);
    (void)rng;
    if (tape_is_recording()) {
        note_training(f, batch, forcing);
        if (f->steps == f->interrupt) raise(SIGINT);
    } else {
        for (int b = 0; b < batch->B; b++) {
            int place = (batch->pair[b].m - 1) * batch->B + b;
            long which = batch->pair + b - f->test, wrong = f->wrong + (f->wrong_from && f->steps >= f->wrong_from);
            if (f->steps < f->right_from || which < wrong) answer[place] = (answer[place] + 1) % 10;
        }
    }
    Matrix sure = tape_matrix(rows, V);
    for (int r = 0; r < rows; r++) {
        said[r] = answer[r] == PAD ? EOS : answer[r];
        for (int v = 0; v < V; v++) mat_row(sure, r)[v] = v == said[r] ? (real)logit_of(f) : 0;
    }
    return v_add(v_const(sure), v_scale(v_lookup(f->table, batch->input, rows), 0));
}

static Network network_of(Fake *f, Var *(*decode)(const void *, const Batch *, double, Rng *, int *))
{
    return (Network){ &f->params, f, decode };
}

/* ---- testing ------------------------------------------------------------------------------------------------------------ */

static int next_of(const Fake *f, int told)
{
    const real *row = mat_row(f->table->value, told);
    int best = 0;
    for (int v = 1; v < V; v++) best = row[v] > row[best] ? v : best;
    return best;
}

static double cost(const Fake *f, int told, int target)
{
    const real *row = mat_row(f->table->value, told);
    double sum = 0;
    for (int v = 0; v < V; v++) sum += exp((double)row[v]);
    return log(sum) - (double)row[target];
}

static int longer_first(const void *a, const void *b) { return ((const Pair *)b)->m - ((const Pair *)a)->m; }

/* More pairs than are answered side by side, of many lengths, some of them cut. The long ones come first, so that the parts
 * count differently. */
static void test_against_a_plain_loop(void)
{
    enum { TESTS = 577, LONGEST = 6 };
    Task task = task_copy(2, 9);
    Fake *f = fake_new();
    Network net = network_of(f, lookup_decode);
    Trial trial = trial_new(&task, "fake", TESTS, LONGEST, 1);
    double loss = 0, symbols = 0;
    long told_right = 0, right = 0, exact = 0, digits = 0, cut = 0;
    for (int k = 0; k < V + 1; k++) mat_row(f->table->value, k)[EOS] += (real)0.8;
    qsort(trial.test, (size_t)trial.tests, sizeof *trial.test, longer_first);
    trial_test(&trial, &net);
    for (int i = 0; i < trial.tests; i++) {
        const Pair *p = &trial.test[i];
        int told = BOS, wrong = 0, n = 0;
        cut += p->m > p->n;
        for (int t = 0; t <= p->m; t++) {
            int truth = t == 0 ? BOS : p->y[t - 1], target = t == p->m ? EOS : p->y[t];
            loss += cost(f, truth, target), symbols++;
            told_right += t < p->m && next_of(f, truth) == target;
        }
        for (int t = 0; t < p->m && (told = next_of(f, told)) != EOS; t++, n++) {
            right += told == p->y[t];
            wrong += told != p->y[t];
            EXPECT(n < trial.answer[i].n && trial.answer[i].y[n] == told, "answer %d, symbol %d", i, n);
        }
        exact += wrong == 0 && n == p->m && next_of(f, told) == EOS;
        digits += p->m;
    }
    EXPECT(trial.tests == TESTS && cut > 100, "%d pairs, %ld of them cut", trial.tests, cut);
    EXPECT_NEAR(trial.loss, loss / symbols, near, "the loss");
    EXPECT(trial.told.symbols == digits && trial.told.right == told_right, "told: %ld of %ld, not %ld of %ld", trial.told.right,
           trial.told.symbols, told_right, digits);
    EXPECT(trial.alone.symbols == digits && trial.alone.right == right, "alone: %ld of %ld, not %ld of %ld", trial.alone.right,
           trial.alone.symbols, right, digits);
    EXPECT(trial.alone.pairs == TESTS && trial.alone.exact == exact, "exact: %ld, not %ld", trial.alone.exact, exact);
    EXPECT(right > 10 && told_right != right, "nothing is right, or telling makes no difference: %ld and %ld", right, told_right);
    EXPECT(tape_is_recording() && f->steps == 0, "the tape records again");
    trial_free(&trial);
    fake_free(f);
    task_free(&task);
}

static void test_exact_answers(void)
{
    Task task = task_copy(3, 9);
    Fake *f = fake_new();
    Network net = network_of(f, oracle_decode);
    Trial trial = trial_new(&task, "fake", 300, MOST_PAIR, 1);
    f->test = trial.test, f->tests = trial.tests;
    for (int wrong = 0; wrong <= 300; wrong += 75) {
        f->wrong = wrong;
        trial_test(&trial, &net);
        EXPECT(trial.alone.exact == 300 - wrong, "%ld exact, %d are wrong", trial.alone.exact, wrong);
        EXPECT(trial.alone.right == trial.alone.symbols - wrong, "%ld right, left alone", trial.alone.right);
        EXPECT(trial.told.right == trial.told.symbols - wrong, "%ld right, told the truth", trial.told.right);
    }
    trial_free(&trial);
    fake_free(f);
    task_free(&task);
}

static void test_argmax_rows(void)
{
    real at[] = { 0, 3, 3, 1,   -5, -7, -5, -6,   -2, -3, -4, -1 };
    int id[3];
    argmax_rows(id, mat_over(at, 3, 4));
    EXPECT(id[0] == 1 && id[1] == 0 && id[2] == 3, "%d, %d, %d: the first of the largest", id[0], id[1], id[2]);
}

/* As many columns as vectors leave remainders of, each column the largest once; then all alike but for two, the larger ones. */
static void test_argmax_rows_of_all_widths(void)
{
    enum { WIDEST = 40 };
    real at[WIDEST * WIDEST];
    int id[WIDEST];
    for (int n = 1; n <= WIDEST; n++) {
        Rng rng = rng_new(8, (uint64_t)n);
        for (int r = 0; r < n; r++)
            for (int j = 0; j < n; j++) at[r * n + j] = j == r ? -(real)0.5 : -1 - rng_uniform(&rng);
        argmax_rows(id, mat_over(at, n, n));
        for (int r = 0; r < n; r++) EXPECT_NEAR(id[r], r, 0, "the largest of %d", n);
        for (int first = 0; first < n; first++) {
            for (int r = 0; r < n; r++)
                for (int j = 0; j < n; j++) at[r * n + j] = j == first || j == r ? 7 : -(real)INFINITY;
            argmax_rows(id, mat_over(at, n, n));
            for (int r = 0; r < n; r++) EXPECT_NEAR(id[r], r < first ? r : first, 0, "%d and %d of %d are alike", r, first, n);
        }
    }
}

/* What comes of it is not said; but it is a column. */
static void test_argmax_rows_with_nan(void)
{
    enum { WIDEST = 40 };
    for (int n = 1; n <= WIDEST; n++)
        for (int bad = 0; bad <= n; bad++) {
            real at[WIDEST];
            int id = -1;
            for (int j = 0; j < n; j++) at[j] = bad == n || j == bad ? (real)NAN : (real)j;
            argmax_rows(&id, mat_over(at, 1, n));
            EXPECT(id >= 0 && id < n, "column %d of %d, a NaN in %d", id, n, bad);
        }
}

/* ---- training ----------------------------------------------------------------------------------------------------------- */

static const Training plan = { .batch = 7, .steps = 40, .warmup = 5, .lr = 0.01, .lr_end = 0.1, .clip = 1,
                               .forcing = 0.9, .forcing_end = 0.2 };

static FILE *scratch(void)
{
    FILE *f = tmpfile();
    CHECK(f, "no scratch file");
    return f;
}

static const char *text_of(FILE *f, char *room, size_t size)
{
    rewind(f);
    room[fread(room, 1, size - 1, f)] = '\0';
    return room;
}

/* Trains, and leaves what was printed in said. */
static void train(Trial *trial, const Network *net, const Training *with, uint64_t seed, char *said, size_t size)
{
    FILE *screen = scratch();
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    CHECK(kept >= 0 && dup2(fileno(screen), STDOUT_FILENO) >= 0, "stdout cannot be caught");
    trial_train(trial, net, with, seed);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    text_of(screen, said, size);
    fclose(screen);
}

static Fake *trained(const Task *task, const Training *with, uint64_t seed)
{
    char said[4000];
    Fake *f = fake_new();
    Network net = network_of(f, lookup_decode);
    Trial trial = trial_new(task, "fake", 200, 6, 4);
    f->test = trial.test, f->tests = trial.tests;
    train(&trial, &net, with, seed, said, sizeof said);
    EXPECT(f->steps == with->steps, "%d steps of %d", f->steps, with->steps);
    trial_free(&trial);
    f->test = NULL;
    return f;
}

static void test_pairs_follow_the_seed(void)
{
    Task task = task_copy(3, 8);
    Training other = plan;
    other.forcing = other.forcing_end = 0, other.lr = 0.3;               /* no coins, and a network that moves elsewhere */
    Fake *f = trained(&task, &plan, 3), *again = trained(&task, &plan, 3), *sure = trained(&task, &other, 3);
    Fake *seed = trained(&task, &plan, 4);
    int same = 0;
    EXPECT_SAME_BYTES(again->drawn, f->drawn, sizeof f->drawn, "the same pairs for the same seed");
    EXPECT_SAME_BYTES(again->params.value, f->params.value, f->params.size * sizeof(real), "the same network after it");
    EXPECT_SAME_BYTES(sure->drawn, f->drawn, sizeof f->drawn, "the pairs do not depend on coins and network");
    for (int k = 0; k < plan.steps; k++) same += seed->drawn[k] == f->drawn[k] || (k > 0 && f->drawn[k] == f->drawn[k - 1]);
    EXPECT(same == 0, "%d batches are drawn twice", same);
    EXPECT(f->tested == 0, "%d pairs of the test are trained on", f->tested);
    EXPECT(f->longest_x == 6 && f->longest_y == 8, "sources of %d, targets of %d", f->longest_x, f->longest_y);
    fake_free(f), fake_free(again), fake_free(sure), fake_free(seed);
    task_free(&task);
}

/* A part of a step's change is left out or not at the end: what is meant by a line's last point is not fixed here. */
static void test_forcing_goes_along_a_line(void)
{
    Task task = task_copy(3, 8);
    Fake *f = trained(&task, &plan, 1);
    EXPECT_NEAR(f->forcing[0], 0.9, 0, "at the first step");
    EXPECT_NEAR(f->forcing[plan.steps - 1], 0.2, 0.7 / plan.steps + 1e-12, "at the last step");
    for (int k = 0; k < plan.steps; k++)
        EXPECT_NEAR(f->forcing[k], 0.9 - 0.7 * k / plan.steps, 0.7 / plan.steps, "at step %d", k);
    for (int k = 2; k < plan.steps; k++)
        EXPECT_NEAR(f->forcing[k] - f->forcing[k - 1], f->forcing[1] - f->forcing[0], 1e-12, "straight at step %d", k);
    fake_free(f);
    task_free(&task);
}

/* It goes down: the table learns that BOS is followed by no EOS, and so on. */
static void test_training_lowers_the_loss(void)
{
    char said[4000];
    Task task = task_copy(3, 8);
    Fake *f = fake_new();
    Network net = network_of(f, lookup_decode);
    Trial trial = trial_new(&task, "fake", 200, 8, 4);
    Training with = { .batch = 30, .steps = 100, .lr = 0.05, .lr_end = 0.1, .clip = 1, .forcing = 1, .forcing_end = 1 };
    trial_test(&trial, &net);
    double before = trial.loss;
    train(&trial, &net, &with, 1, said, sizeof said);
    EXPECT(trial.loss < before - 0.2, "test loss %g, and %g before", trial.loss, before);
    trial_free(&trial);
    fake_free(f);
    task_free(&task);
}

/* Adam adds 1e-8 to the size that it divides by, so gradients cut far below that move nothing. */
static void test_gradients_are_clipped(void)
{
    Task task = task_copy(3, 8);
    Training with = plan;
    with.clip = 1e-13;
    Fake *still = trained(&task, &with, 1), *moved = trained(&task, &plan, 1), *begun = fake_new();
    double far = 0, near_by = 0;
    for (size_t i = 0; i < begun->params.size; i++) {
        far = fmax(far, fabs((double)(moved->params.value[i] - begun->params.value[i])));
        near_by = fmax(near_by, fabs((double)(still->params.value[i] - begun->params.value[i])));
    }
    EXPECT(far > 0.1 && near_by < 1e-4, "clipped, it moves by %g, and else by %g", near_by, far);
    fake_free(still), fake_free(moved), fake_free(begun);
    task_free(&task);
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/test_trial.XXXXXX";

static const char *nth_line(const char *text, int n, char room[300])
{
    for (; n > 0 && text; n--) text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL;
    snprintf(room, 300, "%.*s", text ? (int)strcspn(text, "\n") : 0, text ? text : "");
    return room;
}

static int lines_of(const char *text)
{
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

/* Eight reports in 40 steps, on every fifth; the last row has what the trial holds at the end. */
static void expect_rows(const Trial *trial, const char *accuracy, const char *forcing)
{
    char want[300], got[300];
    EXPECT(lines_of(accuracy) == 8 && lines_of(forcing) == 8, "%d and %d rows", lines_of(accuracy), lines_of(forcing));
    for (int k = 0; k < 8; k++) {
        snprintf(want, sizeof want, "fake,copy,%d,", 5 * (k + 1));
        EXPECT(strncmp(nth_line(accuracy, k, got), want, strlen(want)) == 0, "row %d: %s", k, got);
        EXPECT(strncmp(nth_line(forcing, k, got), want, strlen(want)) == 0, "row %d: %s", k, got);
    }
    double symbols = score_symbols(&trial->alone), exact = score_exact(&trial->alone), told = score_symbols(&trial->told);
    snprintf(want, sizeof want, "fake,copy,40,%.9g,%.9g,%.9g", trial->loss, symbols, exact);
    EXPECT(strcmp(nth_line(accuracy, 7, got), want) == 0, "expected %s and got %s", want, got);
    snprintf(want, sizeof want, "fake,copy,40,%.9g,%.9g,%.9g,%.9g", trial->loss, told, symbols, exact);
    EXPECT(strcmp(nth_line(forcing, 7, got), want) == 0, "expected %s and got %s", want, got);
    EXPECT(told != symbols && symbols != exact, "the numbers of a row do not differ: %s", got);
}

static void expect_curve(const char *curve, const Trial *trial)
{
    double total = 0;
    EXPECT(lines_of(curve) == 1 + 2 * 8, "%d rows in the curve", lines_of(curve));
    for (int row = 1; row < lines_of(curve); row++) {
        char split[20], line[300];
        long epoch, step, tokens;
        double loss, per, norm = NONE, lr = NONE;
        int n = sscanf(nth_line(curve, row, line), "fake,9,%ld,%ld,%ld,%19[^,],%lf,%lf,%lf,%lf", &epoch, &step, &tokens, split,
                       &loss, &per, &norm, &lr);
        bool train_row = row % 2 == 1;
        EXPECT(n == (train_row ? 8 : 6) && strcmp(split, train_row ? "train" : "test") == 0, "row %d: %s", row, line);
        EXPECT(epoch == 1 && step == 5 * ((row + 1) / 2), "row %d: step %ld", row, step);
        EXPECT(tokens >= step * plan.batch * 4 && tokens <= step * plan.batch * 9, "row %d: %ld symbols", row, tokens);
        EXPECT_NEAR(per, exp(loss), 1e-5 * exp(loss), "perplexity in row %d", row);
        if (!train_row) continue;
        EXPECT(norm > 0, "gradient's length in row %d: %g", row, norm);
        EXPECT_NEAR(lr, plan.lr * schedule_cosine(step - 1, plan.warmup, plan.steps, plan.lr_end), 1e-9, "rate in row %d", row);
        total += loss / 8;
    }
    char line[300], want[60];
    snprintf(want, sizeof want, ",test,%.9g,", trial->loss);
    EXPECT(strstr(nth_line(curve, 16, line), want), "the last row has %s", line);
    EXPECT(total > 1 && total < 4, "the training loss is %g on average", total);
}

/* A training row has the mean over the steps since the one before, and the symbols of all steps so far. */
static void test_training_rows(void)
{
    char said[4000], line[300];
    Task task = task_copy(3, 8);
    Fake *f = fake_new();
    Network net = network_of(f, oracle_decode);
    Trial trial = trial_new(&task, "fake", 50, MOST_PAIR, 8);
    Curve curve = curve_open(folder, 1);
    trial.curve = &curve, f->test = trial.test, f->surer = true;
    train(&trial, &net, &plan, 1, said, sizeof said);
    for (int k = 0; k < 8; k++) {
        double want = 0, loss = -1;
        long tokens = -1;
        for (int step = 5 * k + 1; step <= 5 * k + 5; step++) want += cost_of(step / 8.0) / 5;
        nth_line(curve_text(&curve), 1 + 2 * k, line);
        EXPECT(sscanf(line, "fake,1,1,%*d,%ld,train,%lf", &tokens, &loss) == 2, "report %d: %s", k, line);
        EXPECT_NEAR(loss, want, 1e-6, "training loss of report %d", k);
        if (k == 7) EXPECT(tokens == f->symbols, "%ld symbols, and %ld were drawn", tokens, f->symbols);
        nth_line(curve_text(&curve), 2 + 2 * k, line);
        EXPECT(sscanf(line, "fake,1,1,%*d,%*d,test,%lf", &loss) == 1, "report %d: %s", k, line);
        EXPECT_NEAR(loss, cost_of((5 * k + 5) / 8.0), 1e-6, "test loss of report %d", k);
    }
    curve_close(&curve);
    snprintf(line, sizeof line, "%s/curve.csv", folder);
    remove(line);
    trial_free(&trial);
    fake_free(f);
    task_free(&task);
}

static void test_rows(void)
{
    char accuracy[2000], forcing[2000], timing[300], said[4000], line[300], want[40];
    Task task = task_copy(3, 8);
    Fake *f = fake_new();
    Network net = network_of(f, lookup_decode);
    Trial trial = trial_new(&task, "fake", 200, MOST_PAIR, 8);
    Curve curve = curve_open(folder, 9);
    trial.curve = &curve, trial.accuracy = scratch(), trial.forcing = scratch(), trial.timing = scratch();
    for (int k = 0; k < V + 1; k++) mat_row(f->table->value, k)[(k + 1) % V] += 2;
    train(&trial, &net, &plan, 9, said, sizeof said);
    expect_rows(&trial, text_of(trial.accuracy, accuracy, sizeof accuracy), text_of(trial.forcing, forcing, sizeof forcing));
    expect_curve(curve_text(&curve), &trial);
    text_of(trial.timing, timing, sizeof timing);
    double seconds = -1, speed = -1;
    EXPECT(lines_of(timing) == 1 && sscanf(timing, "fake_copy,1,%lf,%lf\n", &seconds, &speed) == 2, "timing: %s", timing);
    EXPECT(seconds >= 0 && speed > 0, "%g seconds, %g symbols a second", seconds, speed);
    EXPECT(lines_of(said) == 4, "four reports are printed: %s", said);
    for (int k = 0; k < 4; k++) {
        snprintf(want, sizeof want, "step %5d ", 10 * (k + 1));
        EXPECT(strstr(nth_line(said, k, line), want), "expected %s: %s", want, line);
    }
    fclose(trial.accuracy), fclose(trial.forcing), fclose(trial.timing);
    curve_close(&curve);
    snprintf(line, sizeof line, "%s/curve.csv", folder);
    remove(line);
    trial_free(&trial);
    fake_free(f);
    task_free(&task);
}

/* 200 pairs of five digits are 1,000 symbols: 99.9 % is one of them wrong. */
static void expect_learned(int right_from, int wrong, int wrong_from, int reports, long want)
{
    char said[4000];
    Task task = task_copy(5, 5);
    Fake *f = fake_new();
    Network net = network_of(f, oracle_decode);
    Trial trial = trial_new(&task, "fake", 200, MOST_PAIR, reports);
    f->test = trial.test, f->right_from = right_from, f->wrong = wrong, f->wrong_from = wrong_from;
    EXPECT(trial.learned == 0, "learned before it was trained");
    train(&trial, &net, &plan, 1, said, sizeof said);
    EXPECT(trial.learned == want, "right from %d, %d wrong: %ld, not %ld", right_from, wrong, trial.learned, want);
    trial_free(&trial);
    fake_free(f);
    task_free(&task);
}

static void test_learned(void)
{
    expect_learned(0, 0, 0, 8, 5);
    expect_learned(5, 0, 0, 8, 5);
    expect_learned(6, 0, 0, 8, 10);
    expect_learned(6, 1, 0, 8, 10);        /* 99.9 % */
    expect_learned(6, 2, 0, 8, 0);         /* 99.8 % */
    expect_learned(6, 1, 20, 8, 10);       /* and worse later on */
    expect_learned(100, 0, 0, 8, 0);
    expect_learned(23, 0, 0, 40, 23);
    expect_learned(23, 0, 0, 1, 40);
}

/* ---- Ctrl-C: the last test, since it cannot be taken back --------------------------------------------------------------- */

static void test_interrupt(void)
{
    enum { AT = 13 };
    char accuracy[2000], said[4000], line[300];
    Task task = task_copy(5, 5);
    Fake *f = fake_new();
    Network net = network_of(f, oracle_decode);
    Trial trial = trial_new(&task, "fake", 200, MOST_PAIR, 8);
    f->test = trial.test, f->interrupt = AT;
    trial.accuracy = scratch();
    interrupt_catch();
    train(&trial, &net, &plan, 1, said, sizeof said);
    EXPECT(interrupted() && f->steps == AT, "it finishes its step and ends: %d steps", f->steps);
    text_of(trial.accuracy, accuracy, sizeof accuracy);
    EXPECT(lines_of(accuracy) == 3, "two reports, and one more: %s", accuracy);
    EXPECT(strncmp(nth_line(accuracy, 2, line), "fake,copy,13,", 13) == 0, "the last report: %s", line);
    EXPECT(trial.alone.pairs == 200 && trial.alone.exact == 200, "%ld of %ld", trial.alone.exact, trial.alone.pairs);
    train(&trial, &net, &plan, 1, said, sizeof said);
    EXPECT(f->steps == AT, "after it nothing is trained: %d steps", f->steps);
    EXPECT(lines_of(text_of(trial.accuracy, accuracy, sizeof accuracy)) == 3, "nor reported: %s", accuracy);
    fclose(trial.accuracy);
    trial_free(&trial);
    fake_free(f);
    task_free(&task);
}

int main(void)
{
    CHECK(mkdtemp(folder), "%s cannot be made", folder);
    RUN(test_against_a_plain_loop);
    RUN(test_exact_answers);
    RUN(test_argmax_rows);
    RUN(test_argmax_rows_of_all_widths);
    RUN(test_argmax_rows_with_nan);
    RUN(test_pairs_follow_the_seed);
    RUN(test_forcing_goes_along_a_line);
    RUN(test_training_lowers_the_loss);
    RUN(test_gradients_are_clipped);
    RUN(test_training_rows);
    RUN(test_rows);
    RUN(test_learned);
    RUN(test_interrupt);
    rmdir(folder);
    tape_free();
    return unit_result();
}
