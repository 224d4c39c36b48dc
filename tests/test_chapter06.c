/* Chapter 06's claims: encoder and decoder are their equations, the state passes between them layer by layer, padding changes no
 * bit of it, (4.1) tells what it says, width 1 is greedy and a wider beam never scores lower where an ordinary beam search does,
 * and after the 7 nothing better than thirds can be learned. In the double build, as well: the gradient of every parameter.
 *
 * What is compared bit for bit: states and logits of a pair in a batch and of the pair alone, whose sums have the same order.
 * Losses and gradients are sums over a batch, in another order than one pair after another: near.                         */
#define main chapter_main                  /* the chapter's functions are static: to reach them, its source is read in here */
#include "../chapters/06_seq2seq/seq2seq.c"
#undef main

#include "unit.h"

/* LeakSanitizer asks this at the end of a process. One that dies does not tidy up before, and need not. */
static bool dies;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return dies; }

/* All sizes differ. The decoder may say 7 symbols, EOS included, and be told 8. */
enum { D = 3, H = 4, SOURCE = 5, TARGET = 6, V = TARGET + 1, PAIRS = 4 };

static const double near = sizeof(real) == sizeof(double) ? 1e-13 : 5e-6;

/* Lengths of 1 to 5 and 1 to 6; the second has no end. */
static const Pair four[PAIRS] = {
    { .n = 2, .m = 3, .x = { 4, 1 }, .y = { 5, 0, 2 } },
    { .n = 5, .m = 2, .x = { 0, 3, 3, 1, 2 }, .y = { 1, 1 }, .open = true },
    { .n = 1, .m = 6, .x = { 2 }, .y = { 3, 4, 4, 0, 5, 1 } },
    { .n = 3, .m = 1, .x = { 1, 0, 4 }, .y = { 2 } },
};

/* Copies of digits below `size` */
static Task task_of(int source, int target)
{
    Task task = task_copy(1, 5);
    task.source.size = source, task.target.size = target;
    return task;
}

/* Every parameter is random, biases as well, or else padding that reads a bias would not be seen. */
static Model random_model(CellKind cell, int layers, const Task *task, double scale, uint64_t seed)
{
    Plan plan = { .cell = cell, .layers = layers, .embedding = D, .hidden = H };
    Model m;
    model_new(&m, &plan, task, seed);
    Rng rng = rng_new(seed, 9);
    for (size_t i = 0; i < m.params.size; i++) m.params.value[i] = (real)scale * rng_normal(&rng);
    return m;
}

static Var *loss_of(const Model *m, const Batch *batch, double forcing)
{
    int *said = tape_room((size_t)(batch->T * batch->B) * sizeof *said);
    return v_cross_entropy(answer(m, batch, forcing, NULL, said), batch->target);
}

static int symbols_of(const Pair *pair) { return pair->m + !pair->open; }

/* The logits (T·B, V) of a batch told the truth at forcing 1, itself at 0 */
static Matrix logits_of(const Model *m, const Batch *batch, double forcing)
{
    Decoder d = decoder_new(m, encode(m, batch, 0, NULL), 0, NULL);
    return decode(&d, batch, forcing, NULL, tape_room((size_t)(batch->T * batch->B) * sizeof(int)))->value;
}

/* ---- (3.1) to (3.6), one number at a time ------------------------------------------------------------------------------ */

typedef struct { double h[MOST_LAYERS][H], c[MOST_LAYERS][H]; } Plain;

static double squash(double x) { return 1 / (1 + exp(-x)); }
static double at(Matrix m, int r, int c) { return (double)mat_row(m, r)[c]; }

/* Gate k, number j, before its squashing: x Wx + b, and h Wh with each h multiplied by r, where r is not NULL */
static double gate(const CellWeights *w, const double *x, const double *h, const double *r, int k, int j)
{
    double sum = at(w->b->value, 0, k * H + j);
    for (int i = 0; i < w->Wx->value.rows; i++) sum += x[i] * at(w->Wx->value, i, k * H + j);
    for (int i = 0; i < H; i++) sum += (r ? r[i] : 1) * h[i] * at(w->Wh->value, i, k * H + j);
    return sum;
}

static void plain_cell(const CellWeights *w, const double *x, double *h, double *c)
{
    double r[H], next[H];
    for (int j = 0; j < H && w->kind == CELL_GRU; j++) r[j] = squash(gate(w, x, h, NULL, 0, j));
    for (int j = 0; j < H; j++) {
        if (w->kind == CELL_RNN) next[j] = tanh(gate(w, x, h, NULL, 0, j));
        if (w->kind == CELL_GRU) {
            double z = squash(gate(w, x, h, NULL, 1, j));
            next[j] = z * h[j] + (1 - z) * tanh(gate(w, x, h, r, 2, j));
        }
        if (w->kind == CELL_LSTM) {
            c[j] = squash(gate(w, x, h, NULL, 1, j)) * c[j] + squash(gate(w, x, h, NULL, 0, j)) * tanh(gate(w, x, h, NULL, 2, j));
            next[j] = squash(gate(w, x, h, NULL, 3, j)) * tanh(c[j]);
        }
    }
    memcpy(h, next, sizeof next);
}

/* One symbol through all layers */
static void plain_step(const Model *m, const CellWeights *cells, const Var *E, int id, Plain *s)
{
    double x[H > D ? H : D];
    for (int i = 0; i < D; i++) x[i] = at(E->value, id, i);
    for (int l = 0; l < m->layers; l++) {
        plain_cell(&cells[l], x, s->h[l], s->c[l]);
        memcpy(x, s->h[l], sizeof s->h[l]);
    }
}

static double plain_logit(const Model *m, const Plain *s, int v)
{
    double sum = at(m->bo->value, 0, v);
    for (int i = 0; i < H; i++) sum += s->h[m->layers - 1][i] * at(m->Wo->value, i, v);
    return sum;
}

static Plain plain_encode(const Model *m, const Pair *pair)
{
    Plain s = { .h = { { 0 } } };
    for (int i = 0; i < pair->n; i++) plain_step(m, m->encoder, m->Es, pair->x[i], &s);
    return s;
}

/* The sum of -log p over the target's symbols, EOS among them where there is one */
static double plain_loss(const Model *m, const Pair *pair)
{
    Plain s = plain_encode(m, pair);
    double loss = 0;
    for (int t = 0; t < symbols_of(pair); t++) {
        double sum = 0;
        plain_step(m, m->decoder, m->Et, t == 0 ? m->V : pair->y[t - 1], &s);
        for (int v = 0; v < m->V; v++) sum += exp(plain_logit(m, &s, v));
        loss += log(sum) - plain_logit(m, &s, t == pair->m ? m->V - 1 : pair->y[t]);
    }
    return loss;
}

static void expect_state(const Model *m, State s, const Plain *want, const char *when)
{
    for (int l = 0; l < m->layers; l++)
        for (int j = 0; j < H; j++) {
            CellKind kind = m->encoder[0].kind;
            const char *cell = cell_name(kind);
            EXPECT_NEAR(s.h[l]->value.at[j], want->h[l][j], near, "%s, %s, layer %d, h %d", cell, when, l + 1, j);
            if (kind == CELL_LSTM)
                EXPECT_NEAR(s.c[l]->value.at[j], want->c[l][j], near, "%s, layer %d, c %d", when, l + 1, j);
        }
}

static void expect_equations(const Model *m, const Task *task, const Pair *pair)
{
    Batch batch = batch_of(pair, 1, task);
    Plain want = plain_encode(m, pair);
    Decoder d = decoder_new(m, encode(m, &batch, 0, NULL), 0, NULL);
    expect_state(m, d.s, &want, "encode");
    for (int t = 0; t < batch.T; t++) {
        Matrix logits = decoder_step(&d, batch.input + t)->value;
        plain_step(m, m->decoder, m->Et, t == 0 ? m->V : pair->y[t - 1], &want);
        expect_state(m, d.s, &want, "decoder_step");
        EXPECT(logits.rows == 1 && logits.cols == V, "logits (%d,%d)", logits.rows, logits.cols);
        for (int v = 0; v < V; v++) EXPECT_NEAR(logits.at[v], plain_logit(m, &want, v), 2 * near, "step %d, logit %d", t, v);
    }
    tape_reset();
}

static void test_encoder_and_decoder_are_their_equations(void)
{
    Task task = task_of(SOURCE, TARGET);
    for (CellKind cell = 0; cell < CELL_KINDS; cell++)
        for (int layers = 1; layers <= MOST_LAYERS; layers++) {
            Model m = random_model(cell, layers, &task, 0.8, 3);
            for (int i = 0; i < PAIRS; i++) expect_equations(&m, &task, &four[i]);
            params_free(&m.params);
        }
    task_free(&task);
}

static void test_model_begins_as_it_should(void)
{
    Task task = task_of(SOURCE, TARGET);
    Model m;
    model_new(&m, &(Plan){ .cell = CELL_LSTM, .layers = 2, .embedding = D, .hidden = H }, &task, 1);
    int cells = 2 * (D * 4 * H + H * 4 * H + 4 * H) + 2 * (2 * H * 4 * H + 4 * H);
    EXPECT(m.params.size == (size_t)(SOURCE * D + (V + 1) * D + cells + H * V + V), "%zu parameters", m.params.size);
    EXPECT(m.V == V && m.Et->value.rows == V + 1, "BOS has a row, and may not be said: V %d, Et (%d,)", m.V, m.Et->value.rows);
    for (int l = 0; l < 2; l++)
        for (int j = 0; j < 4 * H; j++) {
            EXPECT_NEAR(m.encoder[l].b->value.at[j], j / H == 1, 0, "encoder %d, bias %d", l + 1, j);
            EXPECT_NEAR(m.decoder[l].b->value.at[j], j / H == 1, 0, "decoder %d, bias %d", l + 1, j);
        }
    params_free(&m.params);
    task_free(&task);
}

/* The loss with dropout in the encoder, in the decoder, or in both */
static double loss_dropping(const Model *m, const Batch *batch, double in_encoder, double in_decoder)
{
    Rng rng = rng_new(1, 1);
    int *said = tape_room((size_t)(batch->T * batch->B) * sizeof *said);
    Decoder d = decoder_new(m, encode(m, batch, in_encoder, &rng), in_decoder, &rng);
    return (double)v_cross_entropy(decode(&d, batch, 1, NULL, said), batch->target)->value.at[0];
}

static void test_dropout_in_training_alone(void)
{
    Task task = task_of(SOURCE, TARGET);
    Model m = random_model(CELL_GRU, 2, &task, 0.8, 4);
    Batch batch = batch_of(four, PAIRS, &task);
    double without = loss_dropping(&m, &batch, 0, 0);
    EXPECT(fabs(loss_dropping(&m, &batch, 0.5, 0) - without) > 1e-3, "dropout in the encoder changes nothing");
    EXPECT(fabs(loss_dropping(&m, &batch, 0, 0.5) - without) > 1e-3, "dropout in the decoder changes nothing");
    bool recording = tape_record(false);
    EXPECT_NEAR(loss_dropping(&m, &batch, 0.5, 0.5), without, 0, "nothing is dropped in use");
    tape_record(recording);
    tape_reset();
    params_free(&m.params);
    task_free(&task);
}

/* ---- padding ------------------------------------------------------------------------------------------------------------ */

/* States after the encoder, and every logit up to a pair's own end, in a batch of all pairs and of pair b alone. */
static void expect_bits_of_one(const Model *m, const Task *task, int b)
{
    Batch all = batch_of(four, PAIRS, task), one = batch_of(&four[b], 1, task);
    State s = encode(m, &all, 0, NULL), alone = encode(m, &one, 0, NULL);
    for (int l = 0; l < m->layers; l++) {
        EXPECT_SAME_BYTES(mat_row(s.h[l]->value, b), alone.h[l]->value.at, H * sizeof(real), "h of layer %d, pair %d", l + 1, b);
        EXPECT_SAME_BYTES(mat_row(s.c[l]->value, b), alone.c[l]->value.at, H * sizeof(real), "c of layer %d, pair %d", l + 1, b);
    }
    for (int forcing = 0; forcing <= 1; forcing++) {
        Matrix got = logits_of(m, &all, forcing), want = logits_of(m, &one, forcing);
        for (int t = 0; t < one.T; t++)
            EXPECT_SAME_BYTES(mat_row(got, t * PAIRS + b), mat_row(want, t), V * sizeof(real), "forcing %d, step %d of pair %d",
                              forcing, t, b);
    }
    tape_reset();
}

/* Loss and gradient of the batch, and the mean of those of its pairs, each counted as often as it has symbols. */
static void expect_mean_of_pairs(const Model *m, const Task *task, double forcing)
{
    double symbols = 0, loss = 0, largest = 0, *want = allocate(m->params.size, sizeof *want);
    Params all = m->params;
    for (int b = 0; b < PAIRS; b++) symbols += symbols_of(&four[b]);
    for (int b = 0; b < PAIRS; b++) {
        Batch one = batch_of(&four[b], 1, task);
        Var *part = loss_of(m, &one, forcing);
        params_zero_grad(&all);
        tape_backward(part);
        loss += (double)part->value.at[0] * symbols_of(&four[b]) / symbols;
        for (size_t i = 0; i < all.size; i++) want[i] += (double)all.grad[i] * symbols_of(&four[b]) / symbols;
        tape_reset();
    }
    Batch batch = batch_of(four, PAIRS, task);
    Var *whole = loss_of(m, &batch, forcing);
    params_zero_grad(&all);
    tape_backward(whole);
    EXPECT_NEAR(whole->value.at[0], loss, near, "the loss, forcing %g", forcing);
    for (size_t i = 0; i < all.size; i++) {
        EXPECT_NEAR(all.grad[i], want[i], near, "gradient %zu, forcing %g", i, forcing);
        largest = fmax(largest, fabs(want[i]));
    }
    EXPECT(largest > 1e-2, "all gradients are zero, or nearly so");
    tape_reset();
    free(want);
}

/* A fifth pair, with a source of 9 and a target of 12 symbols, of which none counts: everybody gets more padding. */
static void expect_silent_pair(const Model *m, const Task *task)
{
    Params all = m->params;
    Pair five[PAIRS + 1] = { four[0], four[1], four[2], four[3], { .n = 9, .m = 12 } };
    Batch batch = batch_of(four, PAIRS, task);
    Var *loss = loss_of(m, &batch, 1);
    double want = (double)loss->value.at[0], *grad = allocate(all.size, sizeof *grad);
    params_zero_grad(&all);
    tape_backward(loss);
    for (size_t i = 0; i < all.size; i++) grad[i] = (double)all.grad[i];
    tape_reset();
    batch = batch_of(five, PAIRS + 1, task);
    for (int t = 0; t < batch.T; t++) batch.target[t * batch.B + PAIRS] = PAD;
    loss = loss_of(m, &batch, 1);
    params_zero_grad(&all);
    tape_backward(loss);
    EXPECT(batch.S == 9 && batch.T == 13, "S %d, T %d", batch.S, batch.T);
    EXPECT_NEAR(loss->value.at[0], want, near, "the loss, with a pair that does not count");
    for (size_t i = 0; i < all.size; i++) EXPECT_NEAR(all.grad[i], grad[i], near, "gradient %zu, with that pair", i);
    tape_reset();
    free(grad);
}

static void test_padding_changes_nothing(void)
{
    Task task = task_of(SOURCE, TARGET);
    for (CellKind cell = 0; cell < CELL_KINDS; cell++)
        for (int layers = 1; layers <= MOST_LAYERS; layers++) {
            Model m = random_model(cell, layers, &task, 0.8, 5);
            for (int b = 0; b < PAIRS; b++) expect_bits_of_one(&m, &task, b);
            for (int forcing = 0; forcing <= 1; forcing++) expect_mean_of_pairs(&m, &task, forcing);
            expect_silent_pair(&m, &task);
            params_free(&m.params);
        }
    task_free(&task);
}

/* A batch's loss is the mean over all symbols. A target that was cut off has no EOS, and where that would be nothing counts. */
static void test_loss_is_a_mean_over_symbols(void)
{
    Task task = task_of(SOURCE, TARGET);
    Model m = random_model(CELL_LSTM, 2, &task, 0.8, 6);
    Batch batch = batch_of(four, PAIRS, &task);
    double want = 0, symbols = 0;
    for (int b = 0; b < PAIRS; b++) want += plain_loss(&m, &four[b]), symbols += symbols_of(&four[b]);
    EXPECT(symbols == 4 + 2 + 7 + 2, "%g symbols", symbols);
    EXPECT_NEAR(loss_of(&m, &batch, 1)->value.at[0], want / symbols, near, "four pairs, one of them open");
    Pair cut = four[2];
    pair_truncate(&cut, 4, 3);
    batch = batch_of(&cut, 1, &task);
    EXPECT(batch.T == 3, "a target cut to 3 symbols has %d steps", batch.T);
    EXPECT_NEAR(loss_of(&m, &batch, 1)->value.at[0], plain_loss(&m, &cut) / 3, near, "a target that was cut");
    tape_reset();
    params_free(&m.params);
    task_free(&task);
}

/* ---- gradients ---------------------------------------------------------------------------------------------------------- */

#ifdef REAL_DOUBLE

/* With forcing 0 the decoder is told what it said, which stays the same for a small change of a weight. */
static void gradient_check(CellKind cell, int layers, double forcing)
{
    enum { B = 2 };
    Task task = task_of(SOURCE, TARGET);
    Model m = random_model(cell, layers, &task, 0.8, 7);
    double largest = 0, eps = 1e-5;
    int zero = 0;
    Batch batch = batch_of(four, B, &task);
    params_zero_grad(&m.params);
    tape_backward(loss_of(&m, &batch, forcing));
    for (size_t i = 0; i < m.params.size; i++) {
        double kept = m.params.value[i], side[2];
        for (int k = 0; k < 2; k++) {
            tape_reset();
            batch = batch_of(four, B, &task);
            m.params.value[i] = k ? kept + eps : kept - eps;
            side[k] = loss_of(&m, &batch, forcing)->value.at[0];
        }
        m.params.value[i] = kept;
        double want = (side[1] - side[0]) / (2 * eps), got = m.params.grad[i];
        EXPECT_NEAR(got, want, 1e-7 * fabs(want) + 1e-10, "%s, %d layers, forcing %g, parameter %zu", cell_name(cell),
                    layers, forcing, i);
        largest = fmax(largest, fabs(got));
        zero += got == 0;
    }
    EXPECT(largest > 1e-2, "all gradients are zero, or nearly so");
    EXPECT(zero < (int)m.params.size / 10, "%d of %zu gradients are zero", zero, m.params.size);
    tape_reset();
    params_free(&m.params);
    task_free(&task);
}

static void test_gradients(void)
{
    for (CellKind cell = 0; cell < CELL_KINDS; cell++)
        for (int layers = 1; layers <= 2; layers++)
            for (int forcing = 0; forcing <= 1; forcing++) gradient_check(cell, layers, forcing);
}

#endif

/* ---- (4.1) -------------------------------------------------------------------------------------------------------------- */

static int first_largest(const real *at, int n)
{
    int best = 0;
    for (int v = 1; v < n; v++) if (at[v] > at[best]) best = v;
    return best;
}

/* What the decoder was told is seen in its logits, which are compared with those after the truth and after its own symbol.
 * Rows are counted where these two differ: told[1] of the truth, told[0] of its own. */
static void count_told(const Model *m, const Batch *batch, double forcing, Rng *coin, long told[2])
{
    int B = batch->B, *said = tape_room((size_t)(batch->T * B) * sizeof *said), *was = tape_room((size_t)B * sizeof *was);
    Decoder d = decoder_new(m, encode(m, batch, 0, NULL), 0, NULL), again = d;
    Matrix got = decode(&d, batch, forcing, coin, said)->value;
    Matrix first = decoder_step(&again, batch->input)->value;
    EXPECT_SAME_BYTES(got.at, first.at, (size_t)(B * V) * sizeof(real), "the first step is told BOS");
    for (int i = 0; i < batch->T * B; i++) EXPECT(said[i] == first_largest(mat_row(got, i), V), "row %d: it says %d", i, said[i]);
    for (int t = 1; t < batch->T; t++) {
        Decoder true_one = again, own_one = again;
        Matrix truth = decoder_step(&true_one, batch->input + t * B)->value;
        Matrix own = decoder_step(&own_one, said + (t - 1) * B)->value;
        for (int b = 0; b < B; b++) {
            bool is_truth = memcmp(mat_row(got, t * B + b), mat_row(truth, b), V * sizeof(real)) == 0;
            bool is_own = memcmp(mat_row(got, t * B + b), mat_row(own, b), V * sizeof(real)) == 0;
            EXPECT(is_truth || is_own, "step %d, row %d: told neither the truth nor its own symbol", t, b);
            if (is_truth != is_own) told[is_truth]++;
            was[b] = is_truth ? batch->input[t * B + b] : said[(t - 1) * B + b];
        }
        decoder_step(&again, was);
    }
}

static void test_what_the_decoder_is_told(void)
{
    static const double forcing[] = { 0, 0.25, 0.5, 1 };
    enum { BATCHES = 80, LENGTH = 9 };
    Task task = task_of(SOURCE, TARGET);
    Model m = random_model(CELL_LSTM, 1, &task, 0.8, 8);
    for (int k = 0; k < 4; k++) {
        Rng rng = rng_new(11, 0), coin = rng_new(11, 1);
        long told[2] = { 0 };
        bool certain = k == 0 || k == 3;
        for (int n = 0; n < BATCHES; n++) {
            Pair pair[3] = { { .n = 2, .m = LENGTH }, { .n = 4, .m = LENGTH - 2 }, { .n = 3, .m = LENGTH } };
            for (int b = 0; b < 3; b++)
                for (int i = 0; i < LENGTH; i++) pair[b].x[i] = rng_below(&rng, SOURCE), pair[b].y[i] = rng_below(&rng, TARGET);
            Batch batch = batch_of(pair, 3, &task);
            count_told(&m, &batch, forcing[k], certain ? NULL : &coin, told);
            tape_reset();
        }
        long all = told[0] + told[1];
        EXPECT(all > 1000, "forcing %g: only %ld rows tell the two apart", forcing[k], all);
        EXPECT_NEAR((double)told[1] / (double)all, forcing[k], certain ? 0 : 0.07, "forcing %g: the share of truth", forcing[k]);
    }
    params_free(&m.params);
    task_free(&task);
}

/* ---- answers ------------------------------------------------------------------------------------------------------------ */

/* A network made by hand. What it says depends on what it was told last, and on nothing else: it looks next[] up. Its cells are
 * plain, without recurrence, and so steep that h is the one-hot vector of what was told. */
static Model made_by_hand(const Task *task, const int *next)
{
    Model m;
    int all = task->target.size + 2;
    model_new(&m, &(Plan){ .cell = CELL_RNN, .layers = 1, .embedding = all, .hidden = all }, task, 1);
    for (size_t i = 0; i < m.params.size; i++) m.params.value[i] = 0;
    for (int i = 0; i < all; i++) {
        mat_row(m.Et->value, i)[i] = 1;
        mat_row(m.decoder[0].Wx->value, i)[i] = 30;
        if (next[i] != PAD) mat_row(m.Wo->value, i)[next[i]] = 20;
    }
    return m;
}

/* 314 is said to everything; 5 is followed by 5 for ever. A wrong symbol costs 20 nats, a right one nothing worth speaking of. */
static const int next_of[] = { 0, 4, 2, 1, 10, 5, 6, 7, 8, 9, PAD, 3 };

static void expect_answer(const Answer *got, int n, const int *want, const char *what)
{
    EXPECT(got->n == n, "%s: %d symbols, not %d", what, got->n, n);
    for (int i = 0; i < n && i < got->n; i++)
        EXPECT(got->y[i] == want[i], "%s: symbol %d is %d, not %d", what, i, got->y[i], want[i]);
}

/* The pairs as those of a trial (common/trial.h): answers of a network left alone, its loss told the truth, both scores */
static Trial try_all(const Model *m, const Task *task, Pair *pair, int n, Answer *said)
{
    Trial trial = { .task = task, .tests = n, .test = pair, .answer = said };
    Network net = { .model = m, .decode = answer };
    trial_test(&trial, &net);
    return trial;
}

static void test_answers_made_by_hand(void)
{
    enum { N = 3 };
    Pair pair[N] = {
        { .n = 1, .m = 3, .x = { 7 }, .y = { 3, 1, 4 } },              /* right                                                */
        { .n = 2, .m = 2, .x = { 7, 7 }, .y = { 3, 1 } },              /* it goes on where it should end                       */
        { .n = 1, .m = 5, .x = { 0 }, .y = { 3, 5, 5, 1, 5 } },        /* right at the first; told the truth, at the third too */
    };
    static const int alone[] = { 3, 1, 4 }, told[N][6] = { { 3, 1, 4, 10 }, { 3, 1, 4 }, { 3, 1, 5, 5, 4, 5 } };
    static const int steps[N] = { 4, 3, 6 };
    Task task = task_copy(1, 5);
    Model m = made_by_hand(&task, next_of);
    Answer said[N];
    Trial t = try_all(&m, &task, pair, N, said);
    for (int i = 0; i < N; i++) expect_answer(&said[i], 3, alone, "left alone");
    EXPECT(t.alone.symbols == 10 && t.alone.right == 6, "%ld of %ld symbols", t.alone.right, t.alone.symbols);
    EXPECT(t.alone.pairs == N && t.alone.exact == 1, "%ld of %ld pairs", t.alone.exact, t.alone.pairs);
    EXPECT_NEAR(t.loss, 20 * (0 + 1 + 4) / 13.0, 1e-5, "five of 13 symbols are wrong");
    EXPECT(t.told.right == 3 + 2 + 2, "told the truth, %ld symbols are right", t.told.right);
    tape_reset();
    Batch batch = batch_of(pair, N, &task);
    int *told_said = tape_room((size_t)(batch.T * N) * sizeof *told_said);
    answer(&m, &batch, 1, NULL, told_said);
    for (int i = 0; i < N; i++)
        for (int step = 0; step < steps[i]; step++)
            EXPECT(told_said[step * N + i] == told[i][step], "pair %d, step %d: %d", i, step, told_said[step * N + i]);
    EXPECT(tape_is_recording(), "the tape records again");
    params_free(&m.params);
    task_free(&task);
}

/* More pairs than are answered side by side, the long ones first, so that the parts count differently. */
static void test_many_answers(void)
{
    enum { SIDE_BY_SIDE = 250, N = 2 * SIDE_BY_SIDE + 37 };              /* as in common/trial.c */
    Task task = task_of(SOURCE, TARGET);
    Model m = random_model(CELL_GRU, 1, &task, 0.8, 9);
    Pair *pair = allocate(N, sizeof *pair);
    Answer *said = allocate(N, sizeof *said), one;
    double want = 0, symbols = 0;
    for (int i = 0; i < N; i++) {
        pair[i] = four[i < SIDE_BY_SIDE ? 2 : i % PAIRS];
        pair[i].x[0] = i % SOURCE;
        want += plain_loss(&m, &pair[i]);
        symbols += symbols_of(&pair[i]);
    }
    EXPECT_NEAR(try_all(&m, &task, pair, N, said).loss, want / symbols, near, "the loss over all parts");
    for (int i = 0; i < N; i++) {
        try_all(&m, &task, &pair[i], 1, &one);
        EXPECT(said[i].n >= one.n, "answer %d is shorter than alone", i);
        for (int t = 0; t < one.n; t++) EXPECT(said[i].y[t] == one.y[t], "answer %d, symbol %d", i, t);
    }
    free(pair), free(said);
    params_free(&m.params);
    task_free(&task);
}

/* ---- beams -------------------------------------------------------------------------------------------------------------- */

enum { FEW = 9, MOST = 6, MODELS = 40 };   /* FEW + 1 symbols may be said; answers of up to MOST of them */

/* Some steps of copying, so that it prefers some answers and is sure of none */
static Model trained_model(const Task *task, int steps, uint64_t seed)
{
    enum { BATCH = 16 };
    Model m;
    model_new(&m, &(Plan){ .cell = CELL_LSTM, .layers = 2, .embedding = D, .hidden = 16 }, task, seed);
    Optim adam = optim_adam(&m.params, 0.01, 0);
    Rng rng = rng_new(seed, 1);
    for (int k = 0; k < steps; k++) {
        Pair pair[BATCH];
        for (int i = 0; i < BATCH; i++) task->draw(task, &rng, TRAIN, &pair[i]);
        Batch batch = batch_of(pair, BATCH, task);
        params_zero_grad(&m.params);
        tape_backward(loss_of(&m, &batch, 1));
        optim_step(&adam, &m.params);
        tape_reset();
    }
    optim_free(&adam);
    return m;
}

/* 36 as they come, and four that have seen 20 to 80 batches */
static Model model_of(const Task *task, uint64_t seed)
{
    if (seed >= 36) return trained_model(task, 20 * ((int)seed - 35), seed);
    return random_model((CellKind)(seed % 3), 1, task, 1.2, 100 + seed);
}

static Pair random_source(const Task *task, uint64_t seed)
{
    Rng rng = rng_new(seed, 3);
    Pair pair = { .n = 1 + rng_below(&rng, 5) };
    for (int i = 0; i < pair.n; i++) pair.x[i] = rng_below(&rng, task->source.size);
    return pair;
}

/* The beams in the order of their places */
static int search(const Model *m, const Task *task, const Pair *pair, int width, int most, Beam *beam)
{
    bool recording = tape_record(false);
    Var *logits;
    Decoder d = decoder_after(m, task, pair, &logits);
    int beams = beam_search(&d, logits, task->target.size, width, most, beam);
    tape_record(recording);
    return beams;
}

static double best_of(const Beam *beam, int beams)
{
    double best = -INFINITY;
    for (int i = 0; i < beams; i++) best = fmax(best, beam[i].log_p);
    return best;
}

static double plain_log_p(const real *logit, int n, int id)
{
    double sum = 0;
    for (int v = 0; v < n; v++) sum += exp((double)logit[v] - (double)logit[id]);
    return -log(sum);
}

/* (6.1) by telling the network the answer: the sum over its symbols, and over EOS if it has said that. */
static double told_log_p(const Model *m, const Task *task, const Pair *source, const Answer *answer, bool done)
{
    Pair pair = *source;
    double sum = 0;
    pair.m = answer->n;
    memcpy(pair.y, answer->y, (size_t)answer->n * sizeof *answer->y);
    tape_reset();
    Batch batch = batch_of(&pair, 1, task);
    Matrix logits = logits_of(m, &batch, 1);
    for (int t = 0; t < pair.m + done; t++) sum += plain_log_p(mat_row(logits, t), m->V, batch.target[t]);
    return sum;
}

static Beam greedy(const Model *m, const Task *task, const Pair *pair, int most)
{
    Beam g = { .log_p = 0 };
    Var *logits;
    Decoder d = decoder_after(m, task, pair, &logits);
    while (g.text.n < most && !g.done) {
        int id = first_largest(logits->value.at, m->V);
        g.log_p += plain_log_p(logits->value.at, m->V, id);
        g.done = id == task->target.size;
        if (!g.done) g.text.y[g.text.n++] = id;
        logits = decoder_step(&d, &id);
    }
    return g;
}

static void expect_greedy(const Model *m, const Task *task, const Pair *pair, int most)
{
    Beam want = greedy(m, task, pair, most), got[1];
    Answer said;
    EXPECT(search(m, task, pair, 1, most, got) == 1, "one beam");
    EXPECT(got->done == want.done, "done: %d, greedy %d", got->done, want.done);
    expect_answer(&got->text, want.text.n, want.text.y, "width 1");
    EXPECT_NEAR(got->log_p, want.log_p, 10 * near, "log p of width 1");
    Pair asked = *pair;
    try_all(m, task, &asked, 1, &said);                                    /* as decode says it, up to the end of the target */
    for (int t = 0; t < said.n && t < want.text.n; t++) EXPECT(said.y[t] == got->text.y[t], "decode says %d", said.y[t]);
}

static void test_width_one_is_greedy(void)
{
    Task task = task_of(FEW, FEW);
    for (uint64_t seed = 0; seed < MODELS; seed++) {
        Model m = model_of(&task, seed);
        for (uint64_t i = 0; i < 8; i++) {
            Pair pair = random_source(&task, 100 * seed + i);
            expect_greedy(&m, &task, &pair, i % 4 == 0 ? MOST_PAIR - 1 : MOST);
        }
        tape_reset();
        params_free(&m.params);
    }
    task_free(&task);
}

/* No two say the same, each says EOS or as much as is allowed, and its log p is that of the symbols it says. */
static void expect_answers(const Model *m, const Task *task, const Pair *pair, const Beam *beam, int beams, int most)
{
    for (int i = 0; i < beams; i++) {
        EXPECT_NEAR(beam[i].log_p, told_log_p(m, task, pair, &beam[i].text, beam[i].done), 10 * near, "log p of place %d", i);
        EXPECT(beam[i].done || beam[i].text.n == most, "place %d stops at %d symbols", i, beam[i].text.n);
        for (int j = 0; j < i; j++)
            EXPECT(memcmp(&beam[i].text, &beam[j].text, sizeof beam->text) != 0, "places %d and %d say the same", j, i);
    }
}

/* Place i of width k is place i of width k + 1, to the last bit; and so the best of more is never worse. */
static void expect_places(const Model *m, const Task *task, const Pair *pair, int most)
{
    Beam few[MOST_BEAM], more[MOST_BEAM];
    int had = search(m, task, pair, 1, most, few);
    for (int width = 2; width <= 16; width++) {
        int beams = search(m, task, pair, width, most, more);
        EXPECT(beams >= had && beams <= width, "%d beams at width %d", beams, width);
        for (int i = 0; i < had; i++) EXPECT_SAME_BYTES(&more[i], &few[i], sizeof more[i], "place %d of width %d", i, width);
        double before = best_of(few, had), now = best_of(more, beams);
        EXPECT(now >= before, "width %d: %g, before %g", width, now, before);
        memcpy(few, more, sizeof few);
        had = beams;
    }
    expect_answers(m, task, pair, few, had, most);
}

static int fewer_first(const void *a, const void *b)
{
    double x = ((const Child *)a)->log_p, y = ((const Child *)b)->log_p;
    return (x < y) - (x > y);
}

/* An ordinary beam search: the best `width` of all children, whosever they are. Returns the best answer's log p. */
static double ordinary(const Model *m, const Task *task, const Pair *pair, int width, int most)
{
    Beam beam[MOST_BEAM] = { { .log_p = 0 } }, old[MOST_BEAM];
    Child child[MOST_BEAM * (FEW + 1)];
    int beams = 1;
    Var *logits;
    Decoder d = decoder_after(m, task, pair, &logits);
    for (int t = 0; t < most; t++) {
        int count = 0, parent[MOST_BEAM], told[MOST_BEAM];
        for (int i = 0; i < beams; i++) {
            if (beam[i].done) child[count++] = (Child){ beam[i].log_p, i, PAD };
            for (int v = 0; v < m->V && !beam[i].done; v++)
                child[count++] = (Child){ beam[i].log_p + plain_log_p(mat_row(logits->value, i), m->V, v), i, v };
        }
        qsort(child, (size_t)count, sizeof *child, fewer_first);
        memcpy(old, beam, sizeof old);
        beams = count < width ? count : width;
        for (int i = 0; i < beams; i++) {
            beam[i] = old[parent[i] = child[i].parent];
            beam[i].log_p = child[i].log_p;
            beam[i].done = beam[i].done || child[i].id == task->target.size;
            told[i] = child[i].id;
        }
        take_rows(&d, parent, beams);
        logits = decoder_step(&d, told);
    }
    return best_of(beam, beams);
}

static void test_wider_is_never_worse(void)
{
    Task task = task_of(FEW, FEW);
    int ordinary_fails = 0;
    for (uint64_t seed = 0; seed < MODELS; seed++) {
        Model m = model_of(&task, seed);
        Pair pair = random_source(&task, seed);
        double before = -INFINITY;
        expect_places(&m, &task, &pair, seed % 2 ? MOST : 2 * MOST);
        for (int width = 1; width <= 16; width++) {
            double now = ordinary(&m, &task, &pair, width, 2 * MOST);
            ordinary_fails += now < before - 1e-3;
            before = now;
        }
        tape_reset();
        params_free(&m.params);
    }
    EXPECT(ordinary_fails > 0, "an ordinary beam search never gets worse here, so nothing has been shown");
    task_free(&task);
}

/* Two symbols and EOS, four steps: 1 + 2 + 4 + 8 answers with an end and 16 without. Wide enough for all of them, the search
 * has them all, each once, so that their probabilities sum to 1; and the best is the best. */
static void test_wide_enough_finds_the_best(void)
{
    enum { LONG = 4, ALL = 31 };
    Task task = task_of(FEW, 2);
    for (uint64_t seed = 0; seed < MODELS; seed++) {
        Model m = random_model((CellKind)(seed % 3), 1, &task, 1.2, 100 + seed);
        Pair pair = random_source(&task, seed);
        Beam beam[MOST_BEAM];
        double best = -INFINITY, sum = 0;
        Answer likeliest_answer = { .n = 0 };
        for (int n = 0; n <= LONG; n++)
            for (int bits = 0; bits < 1 << n; bits++) {
                Answer a = { .n = n };
                for (int i = 0; i < n; i++) a.y[i] = bits >> i & 1;
                double log_p = told_log_p(&m, &task, &pair, &a, n < LONG);
                if (log_p > best) best = log_p, likeliest_answer = a;
            }
        int beams = search(&m, &task, &pair, MOST_BEAM, LONG, beam), at_best = 0;
        EXPECT(beams == ALL, "%d beams, and %d answers", beams, ALL);
        for (int i = 0; i < beams; i++) sum += exp(beam[i].log_p), at_best = beam[i].log_p > beam[at_best].log_p ? i : at_best;
        EXPECT_NEAR(sum, 1, near, "the probabilities of all answers");
        EXPECT_NEAR(beam[at_best].log_p, best, near, "model %d: log p of the best answer", (int)seed);
        expect_answer(&beam[at_best].text, likeliest_answer.n, likeliest_answer.y, "the best answer");
        tape_reset();
        params_free(&m.params);
    }
    task_free(&task);
}

/* Of an answer that has been begun: what follows, best first, without the beginning. */
static void test_continuations(void)
{
    Task task = task_of(SOURCE, TARGET);
    Model m = trained_model(&task, 40, 4);
    Pair begun = { .n = 3, .m = 2, .x = { 4, 0, 3 }, .y = { 4, 0 } };
    Batch batch = batch_of(&begun, 1, &task);
    Var *logits;
    real want[V];
    Beam beam[MOST_BEAM];
    memcpy(want, mat_row(logits_of(&m, &batch, 1), 2), sizeof want);
    decoder_after(&m, &task, &begun, &logits);
    EXPECT_SAME_BYTES(logits->value.at, want, sizeof want, "what follows after two symbols");
    int beams = continuations(&m, &task, &begun, 12, beam);
    EXPECT(beams == 12, "%d continuations", beams);
    for (int i = 0; i < beams; i++) {
        Answer all = { .n = begun.m + beam[i].text.n, .y = { begun.y[0], begun.y[1] } };
        memcpy(all.y + begun.m, beam[i].text.y, (size_t)beam[i].text.n * sizeof *all.y);
        double of_all = told_log_p(&m, &task, &begun, &all, beam[i].done);
        double of_begun = told_log_p(&m, &task, &begun, &(Answer){ .n = 2, .y = { 4, 0 } }, false);
        EXPECT_NEAR(beam[i].log_p, of_all - of_begun, 20 * near, "continuation %d", i);
        EXPECT(i == 0 || beam[i].log_p <= beam[i - 1].log_p, "continuation %d is likelier than the one before", i);
    }
    EXPECT(tape_is_recording(), "the tape records again");
    tape_reset();
    params_free(&m.params);
    task_free(&task);
}

/* ---- branches ----------------------------------------------------------------------------------------------------------- */

static bool is_sequence(const Pair *pair, const int *sequence)
{
    return pair->x[0] == sequence[0] && memcmp(pair->y, sequence + 1, (SEQUENCE - 1) * sizeof *sequence) == 0;
}

static void test_branches_are_drawn_equally(void)
{
    enum { DRAWS = 60000 };
    long count[SEQUENCES] = { 0 }, first[10] = { 0 };
    Rng rng = rng_new(2, 0);
    for (int k = 0; k < DRAWS; k++) {
        Pair pair;
        int found = 0;
        draw_branch(NULL, &rng, TRAIN, &pair);
        EXPECT(pair.n == 1 && pair.m == SEQUENCE - 1 && !pair.open, "n %d, m %d", pair.n, pair.m);
        while (found < SEQUENCES && !is_sequence(&pair, sequences[found])) found++;
        EXPECT(found < SEQUENCES, "no such sequence");
        if (found < SEQUENCES) count[found]++, first[pair.x[0]]++;
    }
    for (int d = 0; d < 10; d++) EXPECT_NEAR((double)first[d] / DRAWS, 0.1, 0.005, "the share that begins with %d", d);
    for (int i = 0; i < SEQUENCES; i++)
        EXPECT_NEAR((double)count[i] / DRAWS, sequences[i][0] == 7 ? 0.1 / 3 : 0.1, 0.005, "the share of sequence %d", i);
}

/* Σ p · -ln p(next | all before) over the sequences as they are drawn, a symbol: what an oracle scores. */
static double least_loss(void)
{
    double sum = 0;
    for (int i = 0; i < SEQUENCES; i++) {
        double p = sequences[i][0] == 7 ? 0.1 / 3 : 0.1;
        for (int t = 1; t < SEQUENCE; t++) {
            double before = 0, with = 0;
            for (int j = 0; j < SEQUENCES; j++) {
                double pj = sequences[j][0] == 7 ? 0.1 / 3 : 0.1;
                if (memcmp(sequences[i], sequences[j], (size_t)t * sizeof(int)) == 0) before += pj;
                if (memcmp(sequences[i], sequences[j], (size_t)(t + 1) * sizeof(int)) == 0) with += pj;
            }
            sum += p * -log(with / before);
        }
    }
    return sum / SEQUENCE;                 /* four digits and EOS, which is certain */
}

static char folder[] = "/tmp/test_chapter06.XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* Runs the part as the chapter does, and leaves what it prints in said. */
static void run_branches(const Config *o, char *said, size_t room)
{
    FILE *screen = tmpfile(), *timing = tmpfile();
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    CHECK(screen && timing && kept >= 0 && dup2(fileno(screen), STDOUT_FILENO) >= 0, "stdout cannot be caught");
    show_branches(o, timing);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    rewind(screen);
    said[fread(said, 1, room - 1, screen)] = '\0';
    fclose(screen), fclose(timing);
}

static void test_branches_are_learned_as_thirds(void)
{
    Config o = quick;
    char said[2000], line[100], want[60];
    double sum = 0, after[3][10] = { { 0 } };
    o.copy_steps = 600, o.out = folder;                                  /* 300 steps of training */
    run_branches(&o, said, sizeof said);
    EXPECT_NEAR(least_loss(), log(3) / 50, 1e-12, "(7.1)");
    snprintf(want, sizeof want, "the least loss is %.4f\n", least_loss());
    EXPECT(strstr(said, want), "%sthe run says: %s", want, said);
    EXPECT(strstr(said, "after 7: 7") && strstr(said, "%, 7"), "the run says: %s", said);
    FILE *f = fopen(in_folder("branches.csv"), "r");
    CHECK(f, "branches.csv cannot be read");
    for (int rows = 0; fgets(line, sizeof line, f); rows++) {
        int prefix, symbol;
        double p;
        EXPECT(rows > 0 || strcmp(line, "prefix,symbol,probability\n") == 0, "header: %s", line);
        if (sscanf(line, "%d,%d,%lf", &prefix, &symbol, &p) == 3 && (prefix == 3 || prefix == 7 || prefix == 76))
            after[prefix == 3 ? 0 : prefix == 7 ? 1 : 2][symbol] = p;
        if (sscanf(line, "%d,%*[^,],%lf", &prefix, &p) == 2) sum += p;
    }
    fclose(f);
    EXPECT_NEAR(sum, 6, 1e-4, "the probabilities after six beginnings");
    EXPECT(after[0][1] > 0.9, "after 3: 1 with probability %g", after[0][1]);
    EXPECT(after[2][5] > 0.8, "after 76: 5 with probability %g", after[2][5]);
    for (int i = 0; i < 3; i++) {
        double p = after[1][(const int[]){ 2, 6, 9 }[i]];
        EXPECT(p > 0.28 && p < 0.39, "after 7: a third of the sequences has probability %g", p);
    }
    remove(in_folder("branches.csv"));
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static void test_saved_and_loaded(void)
{
    static const char *const prompt[] = { "doce", "doscientos tres mil cuatro", "veintiún mil" };
    Task task = task_to_digits(), again;
    Model m, loaded;
    char want[SYMBOLS_ROOM], got[SYMBOLS_ROOM];
    model_new(&m, &(Plan){ .cell = CELL_GRU, .layers = 2, .embedding = 5, .hidden = 7 }, &task, 6);
    Rng rng = rng_new(6, 6);
    for (size_t i = 0; i < m.params.size; i++) m.params.value[i] = (real)(float)rng_normal(&rng);    /* a file has floats */
    model_save(&m, &task, folder, "model.safetensors");
    model_load(&loaded, &again, in_folder("model.safetensors"));
    EXPECT(strcmp(again.name, task.name) == 0 && loaded.layers == 2 && hidden_of(&loaded) == 7, "task %s, %d layers", again.name,
           loaded.layers);
    EXPECT(loaded.params.size == m.params.size, "%zu parameters of %zu", loaded.params.size, m.params.size);
    EXPECT_SAME_BYTES(loaded.params.value, m.params.value, m.params.size * sizeof(real), "parameters");
    for (int i = 0; i < 3; i++)
        for (int width = 1; width <= 5; width += 4) {
            double p = answer_text(&m, &task, prompt[i], width, want), q = answer_text(&loaded, &again, prompt[i], width, got);
            EXPECT(strcmp(got, want) == 0 && p == q, "%s: %s (%g), and before it was saved %s (%g)", prompt[i], got, q, want, p);
        }
    tape_reset();
    params_free(&m.params), params_free(&loaded.params);
    task_free(&task), task_free(&again);
    remove(in_folder("model.safetensors"));
}

static void call_load(void)
{
    Model m;
    Task task;
    dies = true;
    model_load(&m, &task, in_folder("other.safetensors"));
}

static const Config *tried;
static void call_check_texts(void)
{
    dies = true;
    check_texts(tried);
}

static void test_other_checkpoints(void)
{
    static const char *const key[] = { "model", "task", "cell", "layers", "hidden" };
    static const char *const good[] = { "seq2seq", "to_words", "lstm", "1", "3" };
    static const char *const bad[] = { "char_lm", "copy", "tape", "9", "4" };
    Task task = task_to_words();
    Model m;
    model_new(&m, &(Plan){ .cell = CELL_LSTM, .layers = 1, .embedding = 2, .hidden = 3 }, &task, 6);
    for (int wrong = 0; wrong < 5; wrong++) {
        Checkpoint c = { 0 };
        for (int i = 0; i < 5; i++) checkpoint_set(&c, key[i], "%s", i == wrong ? bad[i] : good[i]);
        checkpoint_set(&c, "embedding", "2");
        checkpoint_add_params(&c, &m.params);
        checkpoint_write(&c, folder, "other.safetensors");
        checkpoint_free(&c);
        EXPECT_DEATH(call_load, wrong == 4 ? "another model" : bad[wrong]);
    }
    remove(in_folder("other.safetensors"));
    params_free(&m.params);
    task_free(&task);
}

static void test_bad_texts(void)
{
    static const struct { const char *word; size_t at; } bad[] = {
        { "--started", offsetof(Config, started) },
        { "--load", offsetof(Config, prompt) },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Config o = quick;
        *(const char **)((char *)&o + bad[i].at) = "123456";
        tried = &o;
        EXPECT_DEATH(call_check_texts, bad[i].word);
    }
    check_texts(&quick);
}

int main(void)
{
    CHECK(mkdtemp(folder), "%s cannot be made", folder);
    RUN(test_encoder_and_decoder_are_their_equations);
    RUN(test_model_begins_as_it_should);
    RUN(test_dropout_in_training_alone);
    RUN(test_padding_changes_nothing);
    RUN(test_loss_is_a_mean_over_symbols);
#ifdef REAL_DOUBLE
    RUN(test_gradients);
#endif
    RUN(test_what_the_decoder_is_told);
    RUN(test_answers_made_by_hand);
    RUN(test_many_answers);
    RUN(test_width_one_is_greedy);
    RUN(test_wider_is_never_worse);
    RUN(test_wide_enough_finds_the_best);
    RUN(test_continuations);
    RUN(test_branches_are_drawn_equally);
    RUN(test_branches_are_learned_as_thirds);
    RUN(test_saved_and_loaded);
    RUN(test_other_checkpoints);
    RUN(test_bad_texts);
    rmdir(folder);
    tape_free();
    return unit_result();
}
