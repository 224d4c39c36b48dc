/* What pairs.h promises: where padding lies and that it changes nothing, what the tasks draw, how answers are judged.
 *
 * Most of what is said of padding holds bit for bit, and is compared so. A kernel's sum over rows is one chain in the order of
 * the rows (matrix.h), padding adds to it rows of zeros, or zero times a number, and so leaves it as it was. Near, and no
 * more, is what is summed in lanes, where padding moves a number to another lane: a mean, and a softmax over places.      */
#include "unit.h"
#include "numbers.h"
#include "pairs.h"
#include "workbook.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* LeakSanitizer asks this at the end of a process. One that dies does not tidy up before, and need not. */
static bool dies;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return dies; }

/* ---- the layout of a batch ---------------------------------------------------------------------------------------------- */

enum { BOS = 11, EOS = 10 };               /* behind ten digits */

static const Pair by_hand[3] = {
    { .n = 3, .m = 3, .x = { 7, 8, 9 }, .y = { 4, 5, 6 } },
    { .n = 1, .m = 1, .x = { 6 }, .y = { 3 } },
    { .n = 2, .m = 3, .x = { 1, 2 }, .y = { 9, 8, 7 }, .open = true },
};

static void test_batch_by_hand(void)
{
    static const int source[3][3] = { { 7, PAD, PAD }, { 8, PAD, 1 }, { 9, 6, 2 } };
    static const int input[4][3] = { { BOS, BOS, BOS }, { 4, 3, 9 }, { 5, PAD, 8 }, { 6, PAD, 7 } };
    static const int target[4][3] = { { 4, 3, 9 }, { 5, EOS, 8 }, { 6, PAD, 7 }, { EOS, PAD, PAD } };
    static const real mask[3][3] = { { 1, 1, 1 }, { 0, 0, 1 }, { 0, 1, 1 } };
    Task task = task_copy(1, 3);
    Batch batch = batch_of(by_hand, 3, &task);
    EXPECT(batch.B == 3 && batch.S == 3 && batch.T == 4, "B %d, S %d, T %d", batch.B, batch.S, batch.T);
    EXPECT(batch.bos == BOS && batch.eos == EOS && batch.pair == by_hand, "BOS %d, EOS %d", batch.bos, batch.eos);
    EXPECT_SAME_BYTES(batch.source, source, sizeof source, "source");
    EXPECT_SAME_BYTES(batch.input, input, sizeof input, "input");
    EXPECT_SAME_BYTES(batch.target, target, sizeof target, "target");
    EXPECT(batch.mask.rows == 3 && batch.mask.cols == 3, "mask (%d,%d)", batch.mask.rows, batch.mask.cols);
    EXPECT_SAME_BYTES(batch.mask.at, mask, sizeof mask, "mask");
    batch = batch_of(&by_hand[1], 1, &task);
    EXPECT(batch.S == 1 && batch.T == 2, "EOS counts: S %d, T %d", batch.S, batch.T);
    batch = batch_of(&by_hand[2], 1, &task);
    EXPECT(batch.S == 2 && batch.T == 3, "an open target has none: S %d, T %d", batch.S, batch.T);
    tape_reset();
    task_free(&task);
}

static void expect_truncated(int n, int m, int want_n, int want_m, bool open)
{
    Pair pair = by_hand[0];
    pair_truncate(&pair, n, m);
    EXPECT(pair.n == want_n && pair.m == want_m && pair.open == open, "to %d and %d: n %d, m %d, open %d", n, m, pair.n, pair.m,
           pair.open);
    pair_truncate(&pair, 9, 9);
    EXPECT(pair.open == open, "to %d and %d, then to 9: what was cut off is not there again", n, m);
}

static void test_truncate(void)
{
    expect_truncated(3, 3, 3, 3, false);
    expect_truncated(9, 9, 3, 3, false);
    expect_truncated(2, 3, 2, 3, false);
    expect_truncated(3, 2, 3, 2, true);
    expect_truncated(1, 1, 1, 1, true);
    Task task = task_copy(1, 3);
    Pair cut = by_hand[0];
    pair_truncate(&cut, 2, 1);
    Batch batch = batch_of(&cut, 1, &task);
    EXPECT(batch.S == 2 && batch.T == 1 && batch.source[0] == 7 && batch.source[1] == 8, "the first symbols stay");
    EXPECT(batch.input[0] == BOS && batch.target[0] == 4, "BOS asks for the first, and no EOS follows");
    tape_reset();
    task_free(&task);
}

static void test_backwards_by_hand(void)
{
    static const int want[3][3] = { { 6, PAD, PAD }, { 3, PAD, 8 }, { 0, 7, 5 } };
    Task task = task_copy(1, 3);
    Batch batch = batch_of(by_hand, 3, &task);
    EXPECT_SAME_BYTES(batch_backwards(&batch), want, sizeof want, "the order backwards");
    tape_reset();
    task_free(&task);
}

static void test_backwards_twice(void)
{
    enum { B = 17 };
    Task task = task_copy(1, 40);
    Rng rng = rng_new(3, 0);
    Pair pair[B];
    for (int b = 0; b < B; b++) task.draw(&task, &rng, TRAIN, &pair[b]);
    Batch batch = batch_of(pair, B, &task);
    int *order = batch_backwards(&batch);
    for (int s = 0; s < batch.S; s++)
        for (int b = 0; b < B; b++) {
            int k = s * B + b, i = s - (batch.S - pair[b].n);            /* symbol i of n, padding where negative */
            EXPECT((order[k] == PAD) == (i < 0), "step %d of pair %d: padding stays in front", s, b);
            if (order[k] == PAD) continue;
            EXPECT(order[order[k]] == k, "step %d of pair %d: twice gives %d, not %d", s, b, order[order[k]], k);
            EXPECT(batch.source[order[k]] == pair[b].x[pair[b].n - 1 - i], "step %d of pair %d is another symbol", s, b);
        }
    tape_reset();
    task_free(&task);
}

/* ---- padding in front: two layers of a cell ----------------------------------------------------------------------------- */

typedef enum { RNN, LSTM, GRU, KINDS } Kind;
enum { V = 12, H = 7, PAIRS = 4, WEIGHTS = 5 };

static const char *const names[KINDS] = { "rnn", "lstm", "gru" };
static const int gates[KINDS] = { 1, 4, 3 };
static const Pair padded[PAIRS] = {
    { .n = 3, .m = 2, .x = { 7, 8, 9 }, .y = { 4, 5 } }, { .n = 6, .m = 4, .x = { 1, 2, 3, 2, 1, 0 }, .y = { 3, 3, 0, 9 } },
    { .n = 1, .m = 1, .x = { 8 }, .y = { 6 } }, { .n = 5, .m = 3, .x = { 4, 4, 1, 7, 6 }, .y = { 2, 1, 2 }, .open = true },
};

/* The first layer reads symbols from a table, the second the rows of the first. */
typedef struct { Kind kind; Matrix at[WEIGHTS], w; } Net;
typedef struct { Var *leaf[WEIGHTS]; Layer one, two; } Ran;
enum { TABLE, WH1, WX2, B2, WH2 };

static void fill_normal(Matrix m, uint64_t stream)
{
    Rng rng = rng_new(6, stream);
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = (real)0.5 * rng_normal(&rng);
}

static Net net_new(Kind kind)
{
    int GH = gates[kind] * H;
    const int rows[WEIGHTS] = { V, H, H, 1, H };
    Net net = { .kind = kind, .w = mat_new(PAIRS, H) };
    for (int i = 0; i < WEIGHTS; i++) net.at[i] = mat_new(rows[i], GH);
    for (int i = 0; i < WEIGHTS; i++) fill_normal(net.at[i], (uint64_t)i);
    fill_normal(net.w, 9);
    return net;
}

static void net_free(Net *net)
{
    for (int i = 0; i < WEIGHTS; i++) mat_free(&net->at[i]);
    mat_free(&net->w);
}

static Var *zeros(int rows, int cols)
{
    Matrix m = tape_matrix(rows, cols);
    mat_fill(m, 0);
    return v_const(m);
}

static Layer run_cell(Kind kind, Var *x, const int *index, Var *Wh, int B, int T)
{
    Var *h0 = zeros(B, H);
    if (kind == LSTM) return cell_lstm(x, index, Wh, h0, h0, T);
    return kind == RNN ? cell_rnn(x, index, Wh, h0, T) : cell_gru(x, index, Wh, h0, T);
}

static Ran net_run(const Net *net, const Batch *batch)
{
    int B = batch->B, S = batch->S, *own = tape_ints(batch->source, S * B);
    Ran ran;
    for (int i = 0; i < WEIGHTS; i++) ran.leaf[i] = v_leaf(net->at[i]);
    for (int k = 0; k < S * B; k++) own[k] = own[k] == PAD ? PAD : k;
    ran.one = run_cell(net->kind, ran.leaf[TABLE], batch->source, ran.leaf[WH1], B, S);
    Var *x = v_add_bias(v_matmul(ran.one.h, ran.leaf[WX2]), ran.leaf[B2]);
    ran.two = run_cell(net->kind, x, own, ran.leaf[WH2], B, S);
    return ran;
}

/* The loss of the last states of `count` pairs from b on. Weights (count,H) are those of pair `first` and the ones behind it. */
static Var *last_loss(const Net *net, const Ran *ran, int b, int first, int count)
{
    Var *states[] = { ran->one.h_last, ran->two.h_last, ran->two.c_last }, *loss = NULL;
    Var *w = v_const(mat_rows(net->w, first, count));
    for (int i = 0; i < (net->kind == LSTM ? 3 : 2); i++) {
        Var *part = v_mean(v_mul(v_rows(states[i], b, count), w));
        loss = loss ? v_add(loss, part) : part;
    }
    return loss;
}

/* State s of the pair alone is state S-n+s in the batch, and before it stands 0. */
static void expect_states(const Net *net, int layer, Layer all, Layer alone, int b, int S)
{
    static const real zero[H] = { 0 };
    for (int s = 0, first = S - padded[b].n; s < S; s++) {
        const real *want = s < first ? zero : mat_row(alone.h->value, s - first);
        EXPECT_SAME_BYTES(mat_row(all.h->value, s * PAIRS + b), want, sizeof zero, "%s, layer %d, step %d of pair %d",
                          names[net->kind], layer, s, b);
    }
    EXPECT_SAME_BYTES(mat_row(all.h_last->value, b), alone.h_last->value.at, sizeof zero, "%s, layer %d, last h of pair %d",
                      names[net->kind], layer, b);
    if (net->kind == LSTM)
        EXPECT_SAME_BYTES(mat_row(all.c_last->value, b), alone.c_last->value.at, sizeof zero, "last c of pair %d", b);
}

static void test_front_padding_keeps_states(void)
{
    Task task = task_copy(1, 3);
    for (Kind kind = RNN; kind < KINDS; kind++) {
        Net net = net_new(kind);
        Batch batch = batch_of(padded, PAIRS, &task);
        Ran all = net_run(&net, &batch);
        for (int b = 0; b < PAIRS; b++) {
            Batch single = batch_of(&padded[b], 1, &task);
            Ran alone = net_run(&net, &single);
            EXPECT(single.S == padded[b].n, "pair %d has padding when it is alone", b);
            expect_states(&net, 1, all.one, alone.one, b, batch.S);
            expect_states(&net, 2, all.two, alone.two, b, batch.S);
        }
        tape_reset();
        net_free(&net);
    }
    task_free(&task);
}

/* The gradients of all weights in grad, from the loss of pairs b … in a batch of all, or of a batch of them alone. */
static void gradients(const Net *net, const Task *task, bool alone, int b, int count, Matrix *grad)
{
    Batch batch = alone ? batch_of(&padded[b], count, task) : batch_of(padded, PAIRS, task);
    Ran ran = net_run(net, &batch);
    tape_backward(last_loss(net, &ran, alone ? 0 : b, b, count));
    for (int i = 0; i < WEIGHTS; i++) mat_copy(grad[i], ran.leaf[i]->grad);
    tape_reset();
}

/* One pair's loss in a batch gives the gradients of the pair alone, bit for bit: neither its own padding nor the other pairs, no
 * gradient having come to them, add anything but zeros. */
static void test_front_padding_keeps_gradients(void)
{
    Task task = task_copy(1, 3);
    for (Kind kind = RNN; kind < KINDS; kind++) {
        Net net = net_new(kind), got = net_new(kind), want = net_new(kind);
        for (int b = 0; b < PAIRS; b++) {
            gradients(&net, &task, false, b, 1, got.at);
            gradients(&net, &task, true, b, 1, want.at);
            for (int i = 0; i < WEIGHTS; i++) {
                bool recurrent = i == WH1 || i == WH2;                   /* which has a gradient from the second symbol on */
                size_t n = mat_size(want.at[i]);
                bool flows = sum_squares(want.at[i].at, n) > 0;
                EXPECT(flows == (!recurrent || padded[b].n > 1), "%s, pair %d: flows gradient %d? %d", names[kind], b, i, flows);
                EXPECT_SAME_BYTES(got.at[i].at, want.at[i].at, n * sizeof(real), "%s, pair %d, gradient %d", names[kind], b, i);
            }
        }
        net_free(&net), net_free(&got), net_free(&want);
    }
    task_free(&task);
}

/* All pairs together: a batch goes through the steps of all, and not through one pair after another, so its sums have another
 * order than the sum of the pairs' gradients. Near. */
static void test_batch_sums_gradients(void)
{
    Task task = task_copy(1, 3);
    for (Kind kind = RNN; kind < KINDS; kind++) {
        Net net = net_new(kind), got = net_new(kind), one = net_new(kind), sum = net_new(kind);
        gradients(&net, &task, false, 0, PAIRS, got.at);
        for (int i = 0; i < WEIGHTS; i++) mat_fill(sum.at[i], 0);
        for (int b = 0; b < PAIRS; b++) {
            gradients(&net, &task, true, b, 1, one.at);
            for (int i = 0; i < WEIGHTS; i++) mat_axpy(sum.at[i], (real)1 / PAIRS, one.at[i]);
        }
        for (int i = 0; i < WEIGHTS; i++)
            for (size_t j = 0; j < mat_size(sum.at[i]); j++)
                EXPECT_NEAR(got.at[i].at[j], sum.at[i].at[j], 1e-7, "%s, gradient %d, number %zu", names[kind], i, j);
        net_free(&net), net_free(&got), net_free(&one), net_free(&sum);
    }
    task_free(&task);
}

/* The cell that may not be used behind padding. bn enters n at every step, so the state leaves 0 as soon as bn has; and even
 * at bn = 0, where it stays, padding gives bn a gradient. */
static void test_gru_after_leaves_zero(void)
{
    enum { STEPS = 4 };
    static const int padding[STEPS] = { PAD, PAD, PAD, 1 };
    Net net = net_new(GRU);
    Matrix bn = mat_new(1, H), slope[2] = { mat_new(1, H), mat_new(1, H) };
    for (int front = 0; front <= 3; front += 3) {
        Var *leaf = v_leaf(bn);
        Layer l = cell_gru_after(v_leaf(net.at[TABLE]), padding + 3 - front, v_leaf(net.at[WH1]), leaf, zeros(1, H), front + 1);
        for (int j = 0; j < front * H; j++) EXPECT(l.h->value.at[j] == 0, "bn = 0, number %d is %g", j, (double)l.h->value.at[j]);
        tape_backward(v_mean(l.h_last));
        mat_copy(slope[front / 3], var_grad(leaf));
        tape_reset();
    }
    for (int j = 0; j < H; j++) EXPECT(slope[0].at[j] != slope[1].at[j], "the gradient %d of bn does not know of padding", j);
    mat_fill(bn, (real)0.5);
    Layer l = cell_gru_after(v_leaf(net.at[TABLE]), padding, v_leaf(net.at[WH1]), v_leaf(bn), zeros(1, H), STEPS);
    for (int j = 0; j < 3 * H; j++) EXPECT(l.h->value.at[j] != 0, "bn = 0.5, number %d is 0", j);
    tape_reset();
    mat_free(&bn), mat_free(&slope[0]), mat_free(&slope[1]);
    net_free(&net);
}

/* ---- padding of a whole batch: an encoder and a decoder ----------------------------------------------------------------- */

enum { ENCODER_TABLE, ENCODER_WH, DECODER_TABLE, DECODER_WH, OUT, OUT_CONTEXT, OUT_BIAS, PARTS };

/* Sources through an LSTM, whose last state begins another; its states, and what they attend to, say the targets. Gradients in
 * grad; returns the loss. */
static double translate(const Matrix *at, const Batch *batch, bool attends, Matrix *grad)
{
    Var *leaf[PARTS], *context[MOST_PAIR];
    for (int i = 0; i < PARTS; i++) leaf[i] = v_leaf(at[i]);
    int B = batch->B, T = batch->T;
    Var *zero = zeros(B, H);
    Layer source = cell_lstm(leaf[ENCODER_TABLE], batch->source, leaf[ENCODER_WH], zero, zero, batch->S);
    Layer target = cell_lstm(leaf[DECODER_TABLE], batch->input, leaf[DECODER_WH], source.h_last, source.c_last, T);
    for (int t = 0; t < T && attends; t++)
        context[t] = v_context(v_softmax(v_score_dot(v_rows(target.h, t * B, B), source.h), &batch->mask), source.h);
    Var *logits = v_add_bias(v_matmul(target.h, leaf[OUT]), leaf[OUT_BIAS]);
    if (attends) logits = v_add(logits, v_matmul(v_vcat(context, T), leaf[OUT_CONTEXT]));
    Var *loss = v_cross_entropy(logits, batch->target);
    tape_backward(loss);
    for (int i = 0; i < PARTS; i++) mat_copy(grad[i], var_grad(leaf[i]));
    return (double)loss->value.at[0];
}

/* The pairs, and one more that says nothing: its source and its target are longer by `more`, and its targets are all PAD. */
static Batch batch_with_silent(const Task *task, Pair all[PAIRS + 1], int more)
{
    memcpy(all, padded, sizeof padded);
    all[PAIRS] = (Pair){ .n = 6 + more, .m = 4 + more };
    for (int i = 0; i < MOST_PAIR; i++) all[PAIRS].x[i] = all[PAIRS].y[i] = i % 10;
    Batch batch = batch_of(all, PAIRS + 1, task);
    EXPECT(batch.S == 6 + more && batch.T == 5 + more, "S %d, T %d, with %d more", batch.S, batch.T, more);
    for (int t = 0; t < batch.T; t++) batch.target[t * batch.B + PAIRS] = PAD;
    return batch;
}

/* Gradients bit for bit where nothing attends. The loss is a mean over rows, and attention a softmax over places: near. */
static void expect_padding_changes_nothing(const Task *task, bool attends)
{
    static const int rows[PARTS] = { V, H, V, H, H, H, 1 };
    Matrix at[PARTS], want[PARTS], got[PARTS];
    Pair all[PAIRS + 1];
    for (int i = 0; i < PARTS; i++) {
        int cols = i < OUT ? 4 * H : EOS + 1;
        at[i] = mat_new(rows[i], cols), want[i] = mat_new(rows[i], cols), got[i] = mat_new(rows[i], cols);
        fill_normal(at[i], 20 + (uint64_t)i);
    }
    Batch batch = batch_of(padded, PAIRS, task);
    double loss = translate(at, &batch, attends, want);
    tape_reset();
    EXPECT(sum_squares(want[ENCODER_WH].at, mat_size(want[ENCODER_WH])) > 1e-6, "the encoder has no gradient");
    EXPECT((sum_squares(want[OUT_CONTEXT].at, mat_size(want[OUT_CONTEXT])) > 1e-6) == attends, "attention, and its gradient");
    for (int k = 0; k < 3; k++) {
        const int more = (const int[]){ 0, 3, 17 }[k];
        batch = batch_with_silent(task, all, more);
        EXPECT_NEAR(translate(at, &batch, attends, got), loss, 1e-6, "loss, padded by %d", more);
        for (int i = 0; i < PARTS; i++) {
            size_t n = mat_size(got[i]);
            if (!attends) EXPECT_SAME_BYTES(got[i].at, want[i].at, n * sizeof(real), "gradient %d, padded by %d", i, more);
            for (size_t j = 0; j < n; j++)
                EXPECT_NEAR(got[i].at[j], want[i].at[j], 1e-7, "gradient %d, number %zu, padded by %d", i, j, more);
        }
        tape_reset();
    }
    for (int i = 0; i < PARTS; i++) mat_free(&at[i]), mat_free(&want[i]), mat_free(&got[i]);
}

static void test_padding_changes_nothing(void)
{
    Task task = task_copy(1, 3);
    expect_padding_changes_nothing(&task, false);
    expect_padding_changes_nothing(&task, true);
    task_free(&task);
}

/* ---- what the tasks draw ------------------------------------------------------------------------------------------------ */

enum { DRAWS = 100000, KEYS = 2 * NUMBERS };

static int digits_value(int before, const int *ids, int n)
{
    for (int i = 0; i < n; i++) before = 10 * before + ids[i];
    return before;
}

/* What a pair is of: a number; or digits, with a 1 in front, so that 07 and 7 are two. */
static int key_of(const Task *task, const Pair *pair)
{
    if (strcmp(task->name, "to_digits") == 0) return digits_value(0, pair->y, pair->m);
    return digits_value(strcmp(task->name, "to_words") == 0 ? 0 : 1, pair->x, pair->n);
}

static unsigned char *drawn;               /* (KEYS): bit `split` where a source of that split was seen */

static void draw_into_table(const Task *task, Split split, uint64_t seed, void (*look)(const Task *, const Pair *))
{
    Rng rng = rng_new(seed, 5);
    for (int i = 0; i < DRAWS; i++) {
        Pair pair;
        task->draw(task, &rng, split, &pair);
        drawn[key_of(task, &pair)] |= (unsigned char)(1 << split);
        look(task, &pair);
    }
}

/* No source is in both splits. Those from `from` up to `to`, all the sources of three digits, were drawn so often that each has
 * been seen, and one in ten is for the test. */
static void expect_splits_apart(const char *name, int from, int to)
{
    int seen[4] = { 0 }, both = 0;
    for (int k = 0; k < KEYS; k++) both += drawn[k] == 3;
    for (int k = from; k < to; k++) seen[drawn[k]]++;
    EXPECT(both == 0, "%s: %d sources are to train on and for the test", name, both);
    EXPECT(seen[0] == 0, "%s: %d sources of three digits are never drawn", name, seen[0]);
    EXPECT_NEAR(seen[1 << TEST] / (double)(to - from), 0.1, 0.03, "%s: the part of the sources for the test", name);
}

static int lengths[8];

static void look_at_copy(const Task *task, const Pair *pair)
{
    bool turned = strcmp(task->name, "reverse") == 0, right = pair->m == pair->n && !pair->open;
    for (int i = 0; i < pair->n; i++)
        right = right && pair->y[i] == pair->x[turned ? pair->n - 1 - i : i] && pair->x[i] >= 0 && pair->x[i] < 10;
    EXPECT(right, "%s: the target of %d digits, %d of them, is wrong", task->name, pair->n, pair->m);
    EXPECT(pair->n >= task->shortest && pair->n <= task->longest, "%s: %d digits", task->name, pair->n);
    lengths[pair->n]++;
}

/* The hash itself, which a chapter may ask: always the same answer, and one in ten is for the test. */
static void test_split_of(void)
{
    enum { N = 100000 };
    int test = 0, repeats = 0, both = 0, before = 0;
    for (int i = 0; i < N; i++) {
        Split split = split_of((uint64_t)i);
        test += split == TEST, repeats += split_of((uint64_t)i) == split;
        both += split == TEST && before, before = split == TEST;
    }
    EXPECT_NEAR(test, N / 10, 5 * sqrt(0.09 * N), "of %d, are for the test", N);
    EXPECT_NEAR(both, N / 100, 5 * sqrt(0.01 * N), "of %d, follow another for the test", N);
    EXPECT(repeats == N, "%d of %d, asked again, are elsewhere", N - repeats, N);
}

/* Five lengths, drawn evenly; of what is drawn some is turned away for its split, and lengths 1 and 2 never are. */
static void expect_copies(Task (*make)(int, int), uint64_t seed)
{
    Task task = make(1, 5);
    memset(drawn, 0, KEYS);
    memset(lengths, 0, sizeof lengths);
    draw_into_table(&task, TRAIN, seed, look_at_copy);
    for (int n = 1; n <= 5; n++)
        EXPECT_NEAR(lengths[n] / (double)DRAWS, n <= 2 ? 1 / 4.7 : 0.9 / 4.7, 0.01, "%s: length %d to train on", task.name, n);
    memset(lengths, 0, sizeof lengths);
    draw_into_table(&task, TEST, seed + 1, look_at_copy);
    for (int n = 1; n <= 5; n++)
        EXPECT_NEAR(lengths[n] / (double)DRAWS, n <= 2 ? 0 : 1 / 3.0, 0.05, "%s: length %d for the test", task.name, n);
    expect_splits_apart(task.name, 1000, 2000);
    EXPECT(drawn[10 + 7] && drawn[100 + 7] && drawn[1000 + 7], "7, 07 and 007 are drawn");
    task_free(&task);
}

static void test_copies(void)
{
    drawn = allocate(KEYS, 1);
    expect_copies(task_copy, 1);
    expect_copies(task_reverse, 3);
    free(drawn);
}

static int sizes[5];

static void look_at_number(const Task *task, const Pair *pair)
{
    char want[NUMBER_ROOM], want_digits[16], words[SYMBOLS_ROOM], digits[SYMBOLS_ROOM];
    bool to_words = strcmp(task->name, "to_words") == 0;
    const int *number = to_words ? pair->x : pair->y;
    int count = to_words ? pair->n : pair->m, value = key_of(task, pair);
    symbols_text(to_words ? &task->target : &task->source, to_words ? pair->y : pair->x, to_words ? pair->m : pair->n, words);
    snprintf(want_digits, sizeof want_digits, "%d", value);
    symbols_text(to_words ? &task->source : &task->target, number, count, digits);
    number_words(value, want);
    EXPECT(strcmp(words, want) == 0 && !pair->open, "%s: %d is \"%s\"", task->name, value, words);
    EXPECT(strcmp(digits, want_digits) == 0, "%s: %d is \"%s\"", task->name, value, digits);
    sizes[value < 100 ? 0 : count - 2]++;
}

static void expect_numbers(Task task, uint64_t seed)
{
    memset(sizes, 0, sizeof sizes);
    draw_into_table(&task, TRAIN, seed, look_at_number);
    for (int k = 0; k < 5; k++)
        EXPECT_NEAR(sizes[k] / (double)DRAWS, k == 0 ? 1 / 4.6 : 0.9 / 4.6, 0.01, "%s: size %d to train on", task.name, k);
    for (int n = 0; n < 100; n++) EXPECT(drawn[n] == 1 << TRAIN, "%s: %d is to train on: %d", task.name, n, drawn[n]);
    memset(sizes, 0, sizeof sizes);
    draw_into_table(&task, TEST, seed + 1, look_at_number);
    EXPECT(sizes[0] == 0, "%s: %d numbers below 100 for the test", task.name, sizes[0]);
    for (int k = 1; k < 5; k++) EXPECT_NEAR(sizes[k] / (double)DRAWS, 0.25, 0.03, "%s: size %d for the test", task.name, k);
    task_free(&task);
}

/* One table for both ways: a number that one of them trains on may not come in the other's test. */
static void test_numbers(void)
{
    drawn = allocate(KEYS, 1);
    expect_numbers(task_to_digits(), 5);
    expect_numbers(task_to_words(), 7);
    expect_splits_apart("numbers", 100, 1000);
    free(drawn);
}

static bool same_pair(const Pair *a, const Pair *b)
{
    return a->n == b->n && a->m == b->m && memcmp(a->x, b->x, (size_t)a->n * sizeof *a->x) == 0 &&
           memcmp(a->y, b->y, (size_t)a->m * sizeof *a->y) == 0;
}

/* Test pairs of three digits at most: some hundred, and no more, however many are wanted. */
static void test_task_test(void)
{
    enum { WANT = 500 };
    static Pair pair[WANT], again[WANT];
    Task task = task_copy(1, 3);
    drawn = allocate(KEYS, 1);
    draw_into_table(&task, TEST, 9, look_at_copy);
    int n = task_test(&task, pair, WANT), there = 0;
    for (int k = 0; k < KEYS; k++) there += drawn[k] != 0;
    EXPECT(n == there && n > 60 && n < 140, "%d pairs of %d", n, there);
    for (int i = 0; i < n; i++) {
        int key = key_of(&task, &pair[i]);
        EXPECT(drawn[key] == 1 << TEST, "pair %d, %d: it is not of the test, or came before", i, key);
        drawn[key] = 0;
    }
    EXPECT(task_test(&task, again, 50) == 50, "as many as are wanted");
    for (int i = 0; i < 50; i++) EXPECT(same_pair(&pair[i], &again[i]), "pair %d is another one the second time", i);
    task_free(&task);
    task = task_to_words();
    EXPECT(task_test(&task, pair, WANT) == WANT && task_test(&task, again, WANT) == WANT, "there are enough numbers");
    for (int i = 0; i < WANT; i++) {
        EXPECT(same_pair(&pair[i], &again[i]), "number %d is another one the second time", i);
        for (int j = 0; j < i; j++) EXPECT(key_of(&task, &pair[i]) != key_of(&task, &pair[j]), "numbers %d and %d", i, j);
    }
    task_free(&task);
    free(drawn);
}

/* ---- answers ------------------------------------------------------------------------------------------------------------ */

static void expect_answer(const char *name, Answer got, int n, const int *y)
{
    EXPECT(got.n == n, "%s: %d symbols, not %d", name, got.n, n);
    EXPECT_SAME_BYTES(got.y, y, (size_t)n * sizeof *y, "%s", name);
}

static void test_answers(void)
{
    static const int said[4][3] = { { 1, EOS, 5 }, { 2, 4, 6 }, { EOS, EOS, 7 }, { 3, 4, 8 } };
    expect_answer("up to the first EOS", answer_of(&said[0][0], 3, 4, EOS), 2, (int[]){ 1, 2 });
    expect_answer("EOS at once", answer_of(&said[0][1], 3, 4, EOS), 0, (int[]){ 0 });
    expect_answer("no EOS", answer_of(&said[0][2], 3, 4, EOS), 4, (int[]){ 5, 6, 7, 8 });
    expect_answer("no steps", answer_of(&said[0][2], 3, 0, EOS), 0, (int[]){ 0 });
}

static void expect_score(const char *name, const Pair *pair, Answer answer, long right, bool exact)
{
    Score s = { .symbols = 10, .right = 5, .pairs = 3, .exact = 1 };
    bool told = score_add(&s, pair, &answer);
    EXPECT(told == exact && s.exact == 1 + exact, "%s: told %d, counted %ld", name, told, s.exact - 1);
    EXPECT(s.right == 5 + right, "%s: %ld right, not %ld", name, s.right - 5, right);
    EXPECT(s.symbols == 10 + pair->m && s.pairs == 4, "%s: %ld symbols, %ld pairs", name, s.symbols, s.pairs);
}

static void test_scores(void)
{
    const Pair pair = { .n = 1, .m = 3, .y = { 1, 2, 3 } }, none = { .n = 1 };
    expect_score("exact", &pair, (Answer){ 3, { 1, 2, 3 } }, 3, true);
    expect_score("one wrong", &pair, (Answer){ 3, { 1, 4, 3 } }, 2, false);
    expect_score("too short", &pair, (Answer){ 2, { 1, 2 } }, 2, false);
    expect_score("too short, what lies behind does not count", &pair, (Answer){ 2, { 1, 2, 3 } }, 2, false);
    expect_score("too long", &pair, (Answer){ 4, { 1, 2, 3, 3 } }, 3, false);
    expect_score("shifted by one", &pair, (Answer){ 4, { 0, 1, 2, 3 } }, 0, false);
    expect_score("empty", &pair, (Answer){ 0 }, 0, false);
    expect_score("empty, as it should be", &none, (Answer){ 0 }, 0, true);
    expect_score("something where nothing should be", &none, (Answer){ 1, { 0 } }, 0, false);
    const Score s = { .symbols = 8, .right = 6, .pairs = 4, .exact = 1 }, nothing = { 0 };
    EXPECT_NEAR(score_symbols(&s), 0.75, 0, "symbols");
    EXPECT_NEAR(score_exact(&s), 0.25, 0, "exact");
    EXPECT_NEAR(score_symbols(&nothing), 0, 0, "symbols of nothing");
    EXPECT_NEAR(score_exact(&nothing), 0, 0, "exact ones of nothing");
}

/* ---- CSV ---------------------------------------------------------------------------------------------------------------- */

static const struct { const char *source, *target, *answer; } written[] = {
    { "veintitrés", "23", "23" }, { "ciento dos", "102", "12" }, { "mil", "1000", "" }, { "uno", "1", "11" },
    { "dieciséis mil", "16000", "16000" },
};
enum { WRITTEN = sizeof written / sizeof *written };

static void expect_text(const char *name, const char *got, const char *want)
{
    EXPECT(strcmp(got, want) == 0, "%s: expected\n%sgot\n%s", name, want, got);
}

/* Lengths, of the longer side: 10, 10, 4, 3 and 13. */
static void test_csv(void)
{
    Task task = task_to_digits();
    Pair pair[WRITTEN] = { { .n = 0 } };
    Answer answer[WRITTEN] = { { .n = 0 } };
    char *text = NULL;
    size_t size = 0;
    for (int i = 0; i < WRITTEN; i++) {
        pair[i].n = symbols_encode(&task.source, written[i].source, "source", pair[i].x);
        pair[i].m = symbols_encode(&task.target, written[i].target, "target", pair[i].y);
        if (*written[i].answer) answer[i].n = symbols_encode(&task.target, written[i].answer, "answer", answer[i].y);
    }
    for (int width = 1; width <= 5; width += 2) {
        FILE *f = open_memstream(&text, &size);
        lengths_write(f, "attention", &task, 64, pair, answer, WRITTEN, LONGER, width);
        fclose(f);
        expect_text("lengths", text, width == 1 ? "attention,to_digits,64,3,1,0\nattention,to_digits,64,4,1,0\n"
                                                  "attention,to_digits,64,10,2,0.5\nattention,to_digits,64,13,1,1\n" :
                                     width == 3 ? "attention,to_digits,64,3.5,2,0\nattention,to_digits,64,10,2,0.5\n"
                                                  "attention,to_digits,64,13,1,1\n" :
                                                  "attention,to_digits,64,3.5,2,0\nattention,to_digits,64,11,3,0.666666667\n");
        free(text);
    }
    FILE *f = open_memstream(&text, &size);
    predictions_write(f, "gru", &task, pair, answer, WRITTEN);
    fclose(f);
    expect_text("predictions", text, "gru,to_digits,veintitrés,23,23,1\n"
                                     "gru,to_digits,ciento dos,102,12,0\n"
                                     "gru,to_digits,mil,1000,,0\n"
                                     "gru,to_digits,uno,1,11,0\n"
                                     "gru,to_digits,dieciséis mil,16000,16000,1\n");
    free(text);
    task_free(&task);
}

/* The longest source there may be has its row, whatever the width. */
static void test_csv_of_the_longest(void)
{
    static const Pair longest = { .n = MOST_PAIR, .m = 1 };
    static const Answer none;
    Task task = task_copy(1, 3);
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    lengths_write(f, "rnn", &task, 8, &longest, &none, 1, LONGER, 1);
    fclose(f);
    expect_text("lengths", text, "rnn,copy,8,96,1,0\n");
    free(text);
    task_free(&task);
}

/* ---- symbols ------------------------------------------------------------------------------------------------------------ */

static const char *asked;

static void call_encode(void)
{
    Task task = task_to_digits();
    int ids[MOST_PAIR];
    symbols_encode(&task.source, asked, "--say", ids);
}

static void expect_death(const char *utf8, const char *what)
{
    char said[1024];
    asked = utf8, dies = true;
    int status = unit_child(call_encode, said, sizeof said);
    dies = false;
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 2, "'%s': status 0x%x, \"%s\"", utf8, (unsigned)status, said);
    EXPECT(strstr(said, "--say") && strstr(said, what), "'%s': \"%s\" has no \"%s\"", utf8, said, what);
    EXPECT(strchr(said, '\n') && strchr(said, '\n')[1] == '\0', "\"%s\" is not one line", said);
}

static void test_symbols(void)
{
    Task task = task_to_digits();
    char most[MOST_PAIR + 2], room[SYMBOLS_ROOM];
    int ids[MOST_PAIR], n = symbols_encode(&task.source, "ciento veintidós", "a text", ids);
    EXPECT(n == 16, "%d symbols", n);
    expect_text("there and back", symbols_text(&task.source, ids, n, room), "ciento veintidós");
    expect_text("nothing", symbols_text(&task.source, ids, 0, room), "");
    memset(most, 'a', sizeof most);
    most[MOST_PAIR + 1] = '\0';
    expect_death(most, most);
    most[MOST_PAIR] = '\0';
    EXPECT(symbols_encode(&task.source, most, "a text", ids) == MOST_PAIR, "as long as may be");
    expect_death("siete whisky", "'w'");
    expect_death("Siete", "'S'");
    expect_death("ñu", "'ñ'");
    expect_death("12", "'1'");
    expect_death("dos\nmil", "symbol 4");
    expect_death("", "empty");
    task_free(&task);
}

static void call_named(void)
{
    dies = true;
    task_named(asked, "a file");
}

static void test_named(void)
{
    static const char *const wrong[] = { "copy", "to_digit", "to_words ", "" };
    Task digits = task_named("to_digits", "a file"), words = task_named("to_words", "a file");
    EXPECT(strcmp(digits.name, "to_digits") == 0 && digits.target.size == 10, "%s to %d", digits.name, digits.target.size);
    EXPECT(strcmp(words.name, "to_words") == 0 && words.source.size == 10, "%s from %d", words.name, words.source.size);
    task_free(&digits), task_free(&words);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char said[64];
        asked = wrong[i];
        snprintf(said, sizeof said, "a file: its task is '%s'; expected to_digits or to_words", wrong[i]);
        EXPECT_DEATH(call_named, said);
    }
}

int main(void)
{
    alarm(120);                            /* a task that has no pair of a split would look for one for ever */
    RUN(test_batch_by_hand);
    RUN(test_truncate);
    RUN(test_backwards_by_hand);
    RUN(test_backwards_twice);
    RUN(test_front_padding_keeps_states);
    RUN(test_front_padding_keeps_gradients);
    RUN(test_batch_sums_gradients);
    RUN(test_gru_after_leaves_zero);
    RUN(test_padding_changes_nothing);
    RUN(test_split_of);
    RUN(test_copies);
    RUN(test_numbers);
    RUN(test_task_test);
    RUN(test_answers);
    RUN(test_scores);
    RUN(test_csv);
    RUN(test_csv_of_the_longest);
    RUN(test_symbols);
    RUN(test_named);
    tape_free();
    return unit_result();
}
