#include "trial.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>

enum { SIDE_BY_SIDE = 250 };               /* pairs of a test in a batch */

Trial trial_new(const Task *task, const char *model, int tests, int longest, int reports)
{
    Trial t = { .task = task, .model = model, .longest = longest, .reports = reports };
    t.test = allocate((size_t)tests, sizeof *t.test);
    t.answer = allocate((size_t)tests, sizeof *t.answer);
    t.tests = task_test(task, t.test, tests);
    for (int i = 0; i < t.tests; i++) pair_truncate(&t.test[i], longest, MOST_PAIR - 1);
    return t;
}

void trial_free(Trial *t) { free(t->test), free(t->answer); }

void argmax_rows(int *id, Matrix logits)
{
    for (int r = 0; r < logits.rows; r++) {
        const real *at = mat_row(logits, r);
        real top[LANES];                                                 /* LANES at a time first: what comes after is short */
        for (int l = 0; l < LANES; l++) top[l] = at[l < logits.cols ? l : 0];
        for (int v = LANES; v + LANES <= logits.cols; v += LANES)
            for (int l = 0; l < LANES; l++) top[l] = at[v + l] > top[l] ? at[v + l] : top[l];
        for (int v = logits.cols / LANES * LANES; v < logits.cols; v++) top[0] = at[v] > top[0] ? at[v] : top[0];
        for (int l = 1; l < LANES; l++) top[0] = top[l] > top[0] ? top[l] : top[0];
        for (id[r] = 0; at[id[r]] != top[0] && id[r] < logits.cols - 1; ) id[r]++;
    }
}

static int *said_of(const Batch *batch) { return tape_room((size_t)(batch->T * batch->B) * sizeof(int)); }

/* Symbols to say to a batch, EOS included. */
static long symbols_of(const Batch *batch)
{
    long symbols = 0;
    for (int b = 0; b < batch->B; b++) symbols += batch->pair[b].m + !batch->pair[b].open;
    return symbols;
}

/* Answers to all test pairs; returns the mean loss in nats a symbol. One that is told the truth goes on after it has said EOS. */
static double answer_all(Trial *t, const Network *net, double forcing, Score *score)
{
    double total = 0;
    long symbols = 0;
    *score = (Score){ 0 };
    for (int i = 0; i < t->tests; i += SIDE_BY_SIDE) {
        tape_reset();
        Batch batch = batch_of(t->test + i, t->tests - i < SIDE_BY_SIDE ? t->tests - i : SIDE_BY_SIDE, t->task);
        int *said = said_of(&batch);
        Var *loss = v_cross_entropy(net->decode(net->model, &batch, forcing, NULL, said), batch.target);
        for (int b = 0; b < batch.B; b++) {
            t->answer[i + b] = answer_of(said + b, batch.B, batch.T, forcing == 1 ? PAD : batch.eos);
            score_add(score, &t->test[i + b], &t->answer[i + b]);
        }
        total += (double)loss->value.at[0] * (double)symbols_of(&batch);
        symbols += symbols_of(&batch);
    }
    return total / (double)symbols;
}

void trial_test(Trial *t, const Network *net)
{
    bool recording = tape_record(false);
    t->loss = answer_all(t, net, 1, &t->told);
    answer_all(t, net, 0, &t->alone);
    tape_record(recording);
}

static void csv_row(FILE *f, const Trial *t, long step, const double *number, int n)
{
    fprintf(f, "%s,%s,%ld", t->model, t->task->name, step);
    for (int i = 0; i < n; i++) fputc(',', f), csv_number(f, number[i]);
    fputc('\n', f);
}

/* `row` has the training side of a row of curve.csv; k is the number of the report, from 1. Four of them are printed. */
static void report(Trial *t, const Network *net, CurveRow row, int k, int reports, bool last)
{
    trial_test(t, net);
    double train = row.loss, symbols = score_symbols(&t->alone), exact = score_exact(&t->alone);
    if (!t->learned && symbols >= 0.999) t->learned = row.step;
    if (t->accuracy) csv_row(t->accuracy, t, row.step, (double[]){ t->loss, symbols, exact }, 3);
    if (t->forcing) csv_row(t->forcing, t, row.step, (double[]){ t->loss, score_symbols(&t->told), symbols, exact }, 4);
    if (t->curve) {
        curve_add(t->curve, row);
        row.split = "test", row.loss = t->loss, row.grad_norm = row.lr = 0;
        curve_add(t->curve, row);
    }
    if (!last && k * 4 / reports == (k - 1) * 4 / reports) return;
    progress_end();
    printf("  %-11s step %5ld   train %.4f   test %.4f nats   symbols %5.1f %%   exact %5.1f %%\n", t->task->name, row.step,
           train, t->loss, 100 * symbols, 100 * exact);
    fflush(stdout);
}

static void draw_pairs(const Trial *t, Rng *rng, Pair *pair, int n)
{
    for (int i = 0; i < n; i++) {
        t->task->draw(t->task, rng, TRAIN, &pair[i]);
        pair_truncate(&pair[i], t->longest, MOST_PAIR - 1);
    }
}

double trial_step(const Network *net, Optim *optim, const Batch *batch, double forcing, double clip, Rng *rng, double *norm)
{
    Var *loss = v_cross_entropy(net->decode(net->model, batch, forcing, rng, said_of(batch)), batch->target);
    params_zero_grad(net->params);
    tape_backward(loss);
    *norm = params_clip_grad(net->params, clip);
    optim_step(optim, net->params);
    return (double)loss->value.at[0];
}

static void check_finite(const Trial *t, double loss, double norm, long step)
{
    if (isfinite(loss) && isfinite(norm)) return;
    die("%s: at step %ld the loss is %g and its gradient's length %g: training has diverged; try a smaller learning rate",
        t->task->name, step, loss, norm);
}

long trial_train(Trial *t, const Network *net, const Training *plan, uint64_t seed)
{
    Optim adam = optim_adam(net->params, plan->lr, 0);
    Rng draws = rng_new(seed, 1), coins = rng_new(seed, 2);
    Pair *pair = allocate((size_t)plan->batch, sizeof *pair);
    CurveRow row = { .model = t->curve_model ? t->curve_model : t->model, .split = "train", .epoch = 1 };
    double total = 0, begun = seconds_now(), reporting = 0;
    int reports = t->reports < plan->steps ? t->reports : plan->steps, k = 0, since = 0;
    for (bool stop = interrupted(); !stop && row.step < plan->steps; ) {
        double along = (double)row.step / plan->steps, forcing = plan->forcing + along * (plan->forcing_end - plan->forcing);
        draw_pairs(t, &draws, pair, plan->batch);
        tape_reset();
        Batch batch = batch_of(pair, plan->batch, t->task);
        row.tokens += symbols_of(&batch);
        adam.lr = row.lr = plan->lr * schedule_cosine(row.step++, plan->warmup, plan->steps, plan->lr_end);
        double loss = trial_step(net, &adam, &batch, forcing, plan->clip, &coins, &row.grad_norm);
        check_finite(t, loss, row.grad_norm, row.step);
        total += loss;
        progress_line(t->task->name, row.step, plan->steps, total / ++since);
        stop = interrupted();                                            /* asked once: what is decided by it agrees */
        if (row.step * reports / plan->steps == k && !stop) continue;
        double paused = seconds_now();
        row.loss = total / since, total = since = 0;
        report(t, net, row, ++k, reports, stop || row.step == plan->steps);
        reporting += seconds_now() - paused;
    }
    progress_end();
    double seconds = seconds_now() - begun - reporting;
    if (t->timing && row.step > 0)
        fprintf(t->timing, "%s_%s,1,%.3f,%.0f\n", t->model, t->task->name, seconds, (double)row.tokens / seconds);
    optim_free(&adam);
    free(pair);
    return row.step;
}
