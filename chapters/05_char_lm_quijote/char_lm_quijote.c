/* # 5. A language model of Don Quijote
 *
 * Chapter 01 trained on ten pages, folded to 33 letters, and each window had forgotten the one before it. This chapter reads
 * the whole book as it was set: capitals, accents, dashes, question marks on both ends. It reads it in order, from the first
 * page to the last, and carries its state along. What comes out is a program that writes: not sense, but words, dialogue with
 * its dashes, sentences that open and close; and a number, bits a character, by which it can be held against anything else
 * that predicts text.
 *
 *     run        make chapter-05                                        less than a minute on two cores
 *                make chapter-05 ARGS='--preset reference'              about ten minutes
 *     again      build/05_char_lm_quijote --load out/05_char_lm_quijote/model.safetensors --prompt "— ¿Qué gigantes?"
 *     writes     out/05_char_lm_quijote/curve.csv, results.csv, depth.csv, timing.csv, samples.txt, model.safetensors,
 *                checkpoint.safetensors
 *     look at    out/05_char_lm_quijote/curve.png: training and validation, and the baselines that they leave behind
 *
 * New since the chapters before: an embedding, layers upon layers, a text in three parts, a state that outlives the batch,
 * n-grams to compare with, a model in a file, and several ways of writing with it. The cells of chapters 01, 03 and 04 come from
 * common/cells.h now, where they are fused for speed; they compute what those chapters computed.
 *
 * Shapes: B batch, T time, V vocabulary, D width of an embedding, H hidden width, G gates of a cell (RNN 1, GRU 3, LSTM 4).
 * Rows are vectors; ⊙ is element by element.                                                                               */
#include "corpus.h"
#include "workbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LAYERS = 3, MOST_BEAM = 64, LONGEST_WORD = 24 };

typedef struct {
    int seed, threads;
    const char *out, *corpus, *save, *load, *resume, *prompt, *cell;
    int steps, epochs, batch, window, embedding, hidden, layers, warmup, reports;
    int length, top_k, beam, suggest, leak, depth, dynamic;
    double lr, clip, dropout, temperature, top_p;
} Config;

/* ## 1. The text, in three parts
 *
 * Every code point is a symbol of its own: "Q" and "q" are two, "ñ" is one although it takes two bytes. The book has 92.
 *
 * The first 90 % of the text is for training. The next 5 % is for validation: while training goes on we look at the loss
 * there, and keep the weights that did best. The last 5 % is for the test, and is looked at once, at the very end. Why two?
 * Because whoever chooses by a number makes that number too good. The weights were chosen to do well on the validation part;
 * only a part that has chosen nothing can say how good they are.
 *
 * The parts are contiguous. Were they shuffled, a test sentence would have its neighbours in training, and half of what is
 * particular to a page would be known already.
 *
 * The cutting is done by common/corpus.h, for chapter 08 as well: a Corpus is a vocabulary and the ids of the text, a Part is a
 * view of some of them, and `train`, `valid` and `test` are the three. What is left for this chapter is to ask whether the parts
 * are long enough for its batches.                                                                                         */
static Corpus data_open(const Config *o)
{
    Corpus c = corpus_open(o->corpus);
    int least = o->batch * (o->window + 1), least_part = c.test.n < c.valid.n ? c.test.n : c.valid.n;
    if (least_part < least) die("%s: %d symbols, of which 5 %% are %d; --batch %d and --window %d need %d there", c.source, c.n,
                                c.test.n, o->batch, o->window, least);
    corpus_print(&c);
    return c;
}

/* ## 2. Bits a character, and what to beat
 *
 * Losses are in nats, as before. People who compress texts count bits, and so shall we:
 *
 *     bits a character = loss / ln 2                   (2.1)
 *
 * A model that gives each symbol the probability p could, with an arithmetic coder, store it in -log₂ p bits. So a loss of
 * 2 bits is a compressor that leaves a quarter of a file with 8 bits a character. One number, three faces: loss 1.386 nats,
 * 2 bits, perplexity 4.
 *
 * A network is worth its trouble only if it beats what needs none. The oldest language model counts. An n-gram model looks at
 * the last n-1 symbols, h, and at how often each w followed them. Long contexts are seen rarely and leave holes, short ones
 * are seen often and are blunt, so they are mixed. Witten and Bell (1991) let the text itself say how: if c(h) occurrences
 * of h were followed by d(h) different symbols, then something new came d(h) times, so d(h) / (c(h) + d(h)) is the share to
 * keep for the shorter context:
 *
 *     p(w|h) = (c(hw) + d(h) p(w|h')) / (c(h) + d(h))  (2.2)
 *
 * h' is h without its oldest symbol; one order lower p(w|h') is the same formula, and at the bottom stands 1/V. A context that
 * was never seen leaves p(w|h') as it is. With V = 2 symbols and the training text "abaa", by hand:
 *
 *     p(a)   = (3 + 2 · 1/2) / (4 + 2) = 2/3           after no context: 4 symbols, 3 of them a, 2 different ones
 *     p(a|b) = (1 + 1 · 2/3) / (1 + 1) = 5/6           b was followed once, by a
 *     p(a|a) = (1 + 2 · 2/3) / (2 + 2) = 7/12          a was followed twice, once by a, once by b
 *
 * The code is in common/ngrams.c, because chapter 08 counts, too; read it now, it has a hundred lines. `ngrams_count` fills one
 * hash table with the counts of all orders. A gram of n ≤ 5 symbols, read as a number in base 4099 with n+1 in front, is its own
 * key: it fits into 64 bits, and it is never 0, which marks an empty slot. `ngrams_probabilities` goes from the shortest context
 * to the longest, and (2.2) is its one line of arithmetic; on the way it passes the answers of all five orders:
 *
 *     p[k] = (hw->count + h->followers * lower) / (h->total + h->followers);
 *
 * `ngrams_loss` is the mean of -ln p over the symbols of a part, for each order; add_baselines asks for it (section 7). The
 * symbols that stand before the part are read as context. (2.1) is `bits`, in common/output.h beside `perplexity`.
 *
 * ## 3. The network
 *
 *     eₜ     = E[idₜ]                                  (3.1)   a row of E: D numbers that say what the symbol is like
 *     h¹ₜ    = cell₁(eₜ Wx₁ + b₁, h¹ₜ₋₁)               (3.2)   an RNN, GRU or LSTM: chapters 01, 04, 03
 *     hˡₜ    = cellₗ(hˡ⁻¹ₜ Wxₗ + bₗ, hˡₜ₋₁)            (3.3)   what the layer below says is this layer's input
 *     logits = hᴸₜ Wo + bo                             (3.4)
 *
 * Shapes: E (V,D), Wx₁ (D,GH), Wxₗ (H,GH), b (1,GH), Wh (H,GH), Wo (H,V), bo (1,V); states (B,H).
 *
 * (3.1) and the product in (3.2) are done in another order than they are written. Together they are onehot(idₜ) E Wx₁, and
 * products may be bracketed as one likes: onehot (E Wx₁ + b₁) is a row lookup in a table of V rows. A batch has B·T = 2,048
 * symbols in training, the table 92 rows, so this part of the work becomes 22 times smaller there, and the tape sends the gradient back through
 * the lookup and the product as if nothing had happened.
 *
 * So a cell of common/cells.h is given the finished product with Wx, not the symbol, and the state, which for an LSTM is h and
 * c. The state is copied onto the tape as a constant: no gradient goes beyond it.
 *
 * In higher layers the input of all T steps is known when the layer begins, so (3.3)'s first product is one product over
 * B·T rows. Only hₜ₋₁ Wh has to go step by step; that, and no lack of cleverness, is why recurrent networks are slow.
 *
 * The LSTM's forget gates begin with bias 1, so that σ(1) = 0.73 of a cell survives each step before anything is learned
 * (chapter 03). Dropout sits between layers and before the output, never inside the recurrence, where it would wipe the
 * memory T times.                                                                                                          */
typedef struct {
    CellKind cell;
    int V, D, H, layers;
    Params params;
    Var *E, *Wo, *bo;
    CellWeights layer[MOST_LAYERS];          /* Wx, Wh, b of each */
} Model;

/* What a network remembers between two pieces of text: a state for every layer. */
typedef struct { int layers; Matrix h[MOST_LAYERS], c[MOST_LAYERS]; } Memory;      /* (B,H) each */

static void model_new(Model *m, CellKind cell, int V, int D, int H, int layers, uint64_t seed)
{
    char name[NAME_ROOM];
    *m = (Model){ .cell = cell, .V = V, .D = D, .H = H, .layers = layers };
    m->E = param(&m->params, "embedding", V, D, init_normal(1));
    for (int l = 0; l < layers; l++) {
        snprintf(name, sizeof name, "%s%d", cell_name(cell), l + 1);
        m->layer[l] = cell_weights(&m->params, name, cell, l ? H : D, H);
    }
    m->Wo = param(&m->params, "output.W", H, V, init_uniform(1 / sqrt(H)));
    m->bo = param(&m->params, "output.b", 1, V, init_zero());
    params_allocate(&m->params, seed);
    for (int l = 0; l < layers; l++) cell_begin(&m->layer[l]);
}

static Memory memory_new(const Model *m, int B)
{
    Memory s = { .layers = m->layers };
    for (int l = 0; l < m->layers; l++) s.h[l] = mat_new(B, m->H), s.c[l] = mat_new(B, m->H);
    return s;
}

static void memory_free(Memory *s)
{
    for (int l = 0; l < s->layers; l++) mat_free(&s->h[l]), mat_free(&s->c[l]);
}

static void memory_clear(Memory *s)
{
    for (int l = 0; l < s->layers; l++) mat_fill(s->h[l], 0), mat_fill(s->c[l], 0);
}

/* The logits (T B, V) after each of the ids (T,B), from the state in s, which moves on to the state after the last of them. */
static Var *model_read(const Model *m, Memory *s, const int *ids, int T, double dropout, Rng *rng)
{
    Var *h = NULL;
    for (int l = 0; l < m->layers; l++) {
        Var *x = cell_input(&m->layer[l], l ? h : m->E);                             /* (3.1): a table; (3.3): all steps */
        Layer y = cell_layer(&m->layer[l], x, l ? NULL : ids, v_const(s->h[l]), v_const(s->c[l]), T);
        h = v_dropout(y.h, dropout, rng);
        mat_copy(s->h[l], y.h_last->value);
        mat_copy(s->c[l], y.c_last->value);
    }
    return v_add_bias(v_matmul(h, m->Wo), m->bo);                                    /* (3.4) */
}

/* ## 4. Reading in order: truncated backpropagation with a state
 *
 * We cannot unroll over two million symbols: the way back would have to keep them all. So the text is read in pieces of T
 * symbols. Between two pieces the *numbers* of the state are carried on, but not the tape behind them: the new piece starts
 * from them as from constants. Forward, the network remembers since the first page. Backward, blame ends where the piece
 * began. What the network can *use* is longer than what it can *learn* from in one step.
 *
 * To fill a batch, the text is cut into B streams of equal length; row b of the batch reads stream b, all at the same pace:
 *
 *     text       [ stream 0 ......... | stream 1 ......... | ... | stream B-1 ....... ]
 *     step 0       0 … T-1              m … m+T-1                  (B-1)m …
 *     step 1       T … 2T-1             m+T …
 *
 * A trap: shuffle the pieces, as one does with independent examples, and each row's state comes from another page.         */
typedef struct {
    Part part;
    int B, T, length, at;                    /* length of a stream; next place to read in all of them */
    int *start, *x, *y;                      /* (B), (T,B), (T,B) */
    Memory memory;                           /* after what was read */
} Reader;

static Reader reader_new(const Model *m, Part part, int B, int T)
{
    return (Reader){ .part = part, .B = B, .T = T, .length = (part.n - 1) / B, .start = allocate((size_t)B, sizeof(int)),
                     .x = allocate((size_t)B * (size_t)T, sizeof(int)), .y = allocate((size_t)B * (size_t)T, sizeof(int)),
                     .memory = memory_new(m, B) };
}

static void reader_free(Reader *r)
{
    free(r->start), free(r->x), free(r->y);
    memory_free(&r->memory);
}

/* Puts the next piece of every stream into x and y; at the end of the streams it returns false. */
static bool reader_next(Reader *r)
{
    if (r->at + r->T > r->length) return false;
    for (int b = 0; b < r->B; b++) r->start[b] = b * r->length + r->at;
    window_batch(r->part.ids, r->start, r->B, r->T, r->x, r->y);
    r->at += r->T;
    return true;
}

static Var *piece_loss(const Model *m, Reader *r, double dropout, Rng *rng)
{
    return v_cross_entropy(model_read(m, &r->memory, r->x, r->T, dropout, rng), r->y);
}

/* The loss over a whole part, in nats a symbol; nothing is learned and no tape is kept. */
static double part_loss(const Model *m, Part part, int B, int T)
{
    Reader r = reader_new(m, part, B, T);
    double total = 0;
    int pieces = 0;
    bool recording = tape_record(false);
    for (; reader_next(&r); pieces++) {
        tape_reset();
        total += (double)piece_loss(m, &r, 0, NULL)->value.at[0];
    }
    tape_record(recording);
    reader_free(&r);
    return total / pieces;
}

/* ## 5. Training
 *
 * Adam this time (Kingma and Ba 2015): like chapter 01's Adadelta a step size for every parameter, with a memory for the
 * direction as well. Its learning rate follows a schedule. It rises in a straight line over the first steps, while Adam's
 * averages still rest on a handful of gradients, and then falls along half a cosine to a twentieth: large steps to get there,
 * small ones to settle.
 *
 * At every report the validation loss is measured, and the weights are put aside if it was the lowest so far. Training may
 * then go on as long as it likes: what is kept at the end is the best, not the last.
 *
 * In the default run on Don Quijote (a GRU), bits a character:
 *
 *     step          0     200     600    1000    1400    1800    2000
 *     train             3.073   2.207   2.038   1.959   1.858   1.828
 *     valid     6.551   2.423   2.182   2.052   1.973   1.916   1.904
 *
 * It begins near log₂ 92 = 6.52, as it must. After 1,200 steps, 2.5 million symbols, it passes the best of the counters: 2.024
 * on the validation part against 2.050 of the 5-gram. (A train loss is the mean over all steps since the last report, so in
 * the beginning it lags behind valid, which is measured with the weights of the moment.) Train and valid stay together almost to the end, because 4.1 million symbols are two readings of the book and a bit: there was no
 * time to learn it by heart. On the embedded pastiche, 70,000 symbols read twenty times, they part: `QUIJOTE= make
 * chapter-05` ends at 1.314 on training and 2.471 on validation, after a best of 2.370.
 *
 * With `--cell lstm` and nothing else changed, the validation part costs 2.143 bits, with `--cell rnn` 2.172: after so short
 * a run both are still behind the 5-gram. That, and no more, is why the GRU is the default.                                */
typedef struct {
    Model *model;
    Optim optim;
    Reader reader;
    Rng rng;                                 /* dropout */
    real *best;                              /* (params.size): the weights with the lowest validation loss, … */
    double best_loss;                        /* … and that loss */
    long step, steps, epoch;                 /* steps done, and how many there will be; epoch from 1 */
    long reported;                           /* the step of the last report, … */
    double total, norm;                      /* … the sum of losses since, and the last gradient's length */
} Trainer;

static Trainer trainer_new(Model *m, Part part, const Config *o, long steps)
{
    Trainer t = { .model = m, .optim = optim_adam(&m->params, o->lr, 0), .epoch = 1, .best_loss = INFINITY,
                  .reader = reader_new(m, part, o->batch, o->window), .rng = rng_new((uint64_t)o->seed, 1),
                  .best = allocate(m->params.size, sizeof(real)) };
    long in_epochs = (long)o->epochs * (t.reader.length / o->window);
    t.steps = in_epochs < steps ? in_epochs : steps;
    return t;
}

static void trainer_free(Trainer *t)
{
    optim_free(&t->optim);
    reader_free(&t->reader);
    free(t->best);
}

static double train_step(Trainer *t, const Config *o)
{
    Params *params = &t->model->params;
    if (!reader_next(&t->reader)) {
        t->reader.at = 0;
        memory_clear(&t->reader.memory);
        reader_next(&t->reader);
        t->epoch++;
    }
    tape_reset();
    Var *loss = piece_loss(t->model, &t->reader, o->dropout, &t->rng);
    params_zero_grad(params);
    tape_backward(loss);
    t->norm = params_clip_grad(params, o->clip);
    t->optim.lr = o->lr * schedule_cosine(t->step++, o->warmup, t->steps, 0.05);
    optim_step(&t->optim, params);
    return (double)loss->value.at[0];
}

static void keep_best(Trainer *t, double valid)
{
    if (!(valid < t->best_loss)) return;
    t->best_loss = valid;
    memcpy(t->best, t->model->params.value, t->model->params.size * sizeof(real));
}

/* Puts the best weights into the model; before the first report there are none. */
static void use_best(Trainer *t)
{
    if (t->best_loss < INFINITY) memcpy(t->model->params.value, t->best, t->model->params.size * sizeof(real));
}

static void add_row(Curve *curve, const Trainer *t, const Config *o, const char *split, double loss)
{
    bool training = strcmp(split, "train") == 0;
    curve_add(curve, (CurveRow){ .model = o->cell, .split = split, .epoch = t->step ? t->epoch : 0, .step = t->step,
                                 .tokens = t->step * o->batch * o->window, .loss = loss,
                                 .grad_norm = training ? t->norm : 0, .lr = training ? t->optim.lr : 0 });
}

/* A line on the screen, two rows in curve.csv, and the best weights. */
static void report(Trainer *t, Curve *curve, const Corpus *d, const Config *o, double speed)
{
    double train = t->total / (double)(t->step - t->reported), valid = part_loss(t->model, d->valid, o->batch, o->window);
    add_row(curve, t, o, "train", train);
    add_row(curve, t, o, "valid", valid);
    keep_best(t, valid);
    t->reported = t->step;
    t->total = 0;
    printf("step %6ld  epoch %3ld   train %6.3f   valid %6.3f bits   %7.0f symbols/s\n", t->step, t->epoch, bits(train), bits(valid), speed);
    fflush(stdout);
}

/* ## 6. Stopping, and going on as if nothing had happened
 *
 * Two files. model.safetensors is for use: the best weights by name, and as text beside them all that is needed to use them,
 * the sizes and the vocabulary. Python opens it with one call; common/checkpoint.h describes the format.
 *
 * checkpoint.safetensors is for going on. Weights alone would not do: training resumed from them would start with empty
 * Adam averages, at the beginning of the text, with a blank memory and other dropout. It would go on somehow. Ours goes on
 * exactly: everything that the next step depends on is in the file, down to the generator of the random numbers and the rows
 * that curve.csv has so far, so that a run that was stopped and resumed writes the same curve, byte for byte, as one that
 * was not. That is more than neatness: it is an easy proof that nothing was forgotten.
 *
 * It is written at every report and when you press Ctrl-C, beside its name and then renamed, so a crash in the middle of
 * writing leaves the one before it.                                                                                       */
static void set_model(Checkpoint *c, const Model *m, const Vocab *vocab)
{
    checkpoint_set(c, "model", "char_lm");
    checkpoint_set(c, "cell", "%s", cell_name(m->cell));
    checkpoint_set(c, "embedding", "%d", m->D);
    checkpoint_set(c, "hidden", "%d", m->H);
    checkpoint_set(c, "layers", "%d", m->layers);
    checkpoint_set_vocab(c, vocab);
    checkpoint_add_params(c, &m->params);
}

static void model_save(const Model *m, const Vocab *vocab, const char *folder, const char *name)
{
    Checkpoint c = { 0 };
    set_model(&c, m, vocab);
    checkpoint_write(&c, folder, name);
    checkpoint_free(&c);
}

static void model_load(Model *m, Vocab *vocab, const Checkpoint *c)
{
    checkpoint_expect_model(c, "char_lm");
    *vocab = checkpoint_vocab(c);
    model_new(m, cell_named(checkpoint_text(c, "cell"), c->path), vocab->size, checkpoint_int(c, "embedding", 1, 4096),
              checkpoint_int(c, "hidden", 1, 4096), checkpoint_int(c, "layers", 1, MOST_LAYERS), 0);
    checkpoint_get_params(c, &m->params);
}

/* Everything that decides how a run goes on, as one text: two runs with the same text are the same run. */
static void describe_run(char *room, size_t size, const Config *o, const Corpus *d)
{
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < d->n; i++) hash = (hash ^ (uint64_t)d->ids[i]) * 1099511628211u;
    snprintf(room, size, "seed %d, cell %s, layers %d, hidden %d, embedding %d, batch %d, window %d, steps %d, epochs %d, warmup %d, "
             "reports %d, lr %a, clip %a, dropout %a, text %016llx", o->seed, o->cell, o->layers, o->hidden, o->embedding, o->batch,
             o->window, o->steps, o->epochs, o->warmup, o->reports, o->lr, o->clip, o->dropout, (unsigned long long)hash);
}

/* What the next step depends on besides the weights; the same list writes a checkpoint and reads it. */
typedef struct { char name[16]; Matrix at; } Tensor;

enum { MOST_STATE = 3 + 2 * MOST_LAYERS };

static int trainer_state(const Trainer *t, Tensor state[MOST_STATE])
{
    int n = (int)t->model->params.size, count = 0;
    state[count++] = (Tensor){ "adam.m", mat_over(t->optim.state[0], 1, n) };
    state[count++] = (Tensor){ "adam.s", mat_over(t->optim.state[1], 1, n) };
    state[count++] = (Tensor){ "best", mat_over(t->best, 1, n) };
    for (int l = 0; l < t->model->layers; l++) {
        snprintf(state[count].name, sizeof state->name, "h%d", l);
        state[count++].at = t->reader.memory.h[l];
        snprintf(state[count].name, sizeof state->name, "c%d", l);
        state[count++].at = t->reader.memory.c[l];
    }
    return count;
}

static void trainer_save(const Trainer *t, const Corpus *d, const Config *o, const char *curve_text)
{
    Checkpoint c = { 0 };
    Tensor state[MOST_STATE];
    char run[512];
    int n = trainer_state(t, state);
    set_model(&c, t->model, &d->vocab);
    for (int i = 0; i < n; i++) checkpoint_add(&c, state[i].name, state[i].at);
    describe_run(run, sizeof run, o, d);
    checkpoint_set(&c, "run", "%s", run);
    checkpoint_set(&c, "progress", "%ld %ld %ld %d %llu %a %a %a", t->step, t->epoch, t->reported, t->reader.at,
                   (unsigned long long)t->rng.state, t->best_loss, t->total, t->norm);
    checkpoint_set(&c, "curve", "%s", curve_text);
    checkpoint_write(&c, o->out, "checkpoint.safetensors");
    checkpoint_free(&c);
}

static void trainer_resume(Trainer *t, const Corpus *d, const Config *o, Curve *curve)
{
    Checkpoint c = checkpoint_read(o->resume);
    Tensor state[MOST_STATE];
    char run[512];
    unsigned long long rng;
    int n = trainer_state(t, state);
    describe_run(run, sizeof run, o, d);
    if (strcmp(run, checkpoint_text(&c, "run")) != 0)
        die("%s: it belongs to another run: '%s'; expected '%s'", o->resume, checkpoint_text(&c, "run"), run);
    checkpoint_get_params(&c, &t->model->params);
    for (int i = 0; i < n; i++) checkpoint_get(&c, state[i].name, state[i].at);
    const char *progress = checkpoint_text(&c, "progress");
    if (sscanf(progress, "%ld %ld %ld %d %llu %la %la %la", &t->step, &t->epoch, &t->reported, &t->reader.at, &rng,
               &t->best_loss, &t->total, &t->norm) != 8 || t->step < 0 || t->step > t->steps || t->reported < 0 ||
        t->reported > t->step || t->epoch < 1 || t->reader.at < 0 || t->reader.at > t->reader.length)
        die("%s: its progress is '%s'", o->resume, progress);
    t->rng.state = rng;
    t->optim.steps = t->step;
    curve_continue(curve, checkpoint_text(&c, "curve"));
    checkpoint_free(&c);
}

/* ## 7. How good is it? And one who goes on learning
 *
 * The test part decides nothing; it is measured when all is chosen, with the best weights, and stands in one table with
 * everything else (results.csv). The default run on Don Quijote:
 *
 *     bits a character        valid     test
 *     uniform                 6.524    6.524
 *     1-gram                  4.396    4.407
 *     2-gram                  3.323    3.322
 *     3-gram                  2.765    2.761
 *     4-gram                  2.312    2.311
 *     5-gram                  2.050    2.042
 *     gru                     1.904    1.900
 *     learning as it reads             1.883
 *
 * The last line is another kind of test. A compressor such as PPMd has an
 * advantage over the frozen network: it goes on counting while it compresses. When it has met "Altisidora" once, it knows
 * her. The fair counterpart is dynamic evaluation (Mikolov et al. 2010; Krause et al. 2018): predict a piece, pay for it,
 * *then* learn from it, and go on to the next. No symbol is learned from before it was predicted, so nothing is cheated. The
 * text must then be read as one stream, in order, with B = 1. (The learning rate, 2·10⁻⁴, was the best of five settings tried
 * on the validation part. Part of the gain is that one stream begins with a blank state once and 32 streams do 32 times.)
 *
 * What ten minutes buy: `--preset reference`, a GRU of 448 with 736,668 weights, 9,000 steps, so nearly ten readings of the
 * training part. Bits a character:
 *
 *     step          0     500    1000    2000    4000    6000    8000    9000
 *     train             2.668   2.015   1.848   1.713   1.607   1.524   1.509
 *     valid     6.527   2.115   1.945   1.867   1.791   1.735   1.713   1.712
 *
 *     test      frozen 1.706, learning as it reads 1.698
 *
 * PPMd needs 1.783 for the same symbols: `7z a -m0=PPMd:o=8` makes 504,439 bytes of the whole book and 480,911 of its first
 * 95 %, and the difference, 188,224 bits, is what the last 105,537 symbols cost it once it had seen the rest. So the network is
 * ahead even with its weights frozen. But it read the book ten times and PPMd once, and its 736,668 weights have to be in the
 * decoder's hands before a bit of this is of use: here three megabytes, for a text of two.
 *
 * Train and valid part by 0.2 bits, which the 10 % dropout does not prevent, and valid has stopped falling (the lowest was 1.709
 * at step 8,500): more steps would not help this network; a book is a small text. With a learning rate of 0.006, twice the
 * preset's, validation rose from 2.070 at step 1,000 to 2.183 at step 1,500; 0.01 had served the narrower default well. A wider
 * network wants smaller steps.
 *
 * Dynamic evaluation changes the model, so the best weights are put back afterwards.                                                       */
static double dynamic_loss(Model *m, const Config *o, Part part)
{
    Reader r = reader_new(m, part, 1, part.n > 32 ? 32 : part.n - 1);
    Optim adam = optim_adam(&m->params, 2e-4, 0);
    double total = 0;
    int pieces = 0;
    for (; reader_next(&r) && !interrupted(); pieces++) {
        tape_reset();
        Var *loss = piece_loss(m, &r, 0, NULL);
        total += (double)loss->value.at[0];                              /* pay first … */
        params_zero_grad(&m->params);
        tape_backward(loss);
        params_clip_grad(&m->params, o->clip);
        optim_step(&adam, &m->params);                                   /* … then learn */
    }
    optim_free(&adam);
    reader_free(&r);
    return total / pieces;
}

typedef struct { const char *model; double valid, test; } Result;

static void write_results(const Config *o, const Result *result, int n)
{
    Output *out = output_open(o->out, "results.csv");
    FILE *f = output_file(out);
    fputs("model,valid_bits,test_bits\n", f);
    printf("%-22s %8s %8s   bits a character\n", "", "valid", "test");
    for (int i = 0; i < n; i++) {
        fprintf(f, "%s,", result[i].model);
        csv_number(f, result[i].valid == NONE ? NONE : bits(result[i].valid)), fputc(',', f);
        csv_number(f, bits(result[i].test)), fputc('\n', f);
        if (result[i].valid == NONE) printf("  %-20s %8s %8.3f\n", result[i].model, "", bits(result[i].test));
        else printf("  %-20s %8.3f %8.3f\n", result[i].model, bits(result[i].valid), bits(result[i].test));
    }
    output_close(out);
}

/* result[0] uniform, result[n] the n-gram models; their validation losses become lines in the plot. */
static void add_baselines(Curve *curve, const Corpus *d, Result *result)
{
    double valid[ORDERS], test[ORDERS], uniform = (double)r_log((real)d->vocab.size);
    Ngrams g = ngrams_count(d->train.ids, d->train.n);
    ngrams_loss(&g, d->valid.ids, d->valid.n, d->vocab.size, valid);
    ngrams_loss(&g, d->test.ids, d->test.n, d->vocab.size, test);
    result[0] = (Result){ "uniform", uniform, uniform };
    for (int n = 0; n < ORDERS; n++) result[n + 1] = (Result){ ngram_names[n], valid[n], test[n] };
    for (int i = 0; i <= ORDERS && curve; i++)
        curve_add(curve, (CurveRow){ .model = result[i].model, .split = "baseline", .loss = result[i].valid });
    ngrams_free(&g);
}

/* ## 8. Writing
 *
 * Read the prompt; draw a symbol from what the network expects; read that; go on. How to draw is a matter of taste, and the
 * program has them all:
 *
 *     --temperature τ     softmax(logits / τ): 1 as the model says; below 1 bolder in what it knows; 0 the likeliest, always
 *     --top-k k           only among the k likeliest
 *     --top-p p           only among the fewest that have probability p together (nucleus; Holtzman et al. 2020)
 *     --beam k            no drawing: keep the k likeliest beginnings of a text, continue each, keep the k likeliest …
 *
 * The last usually finds a text that the model thinks likelier than greedy's, and it is duller still: the likeliest text is one that
 * nobody would write. Writing well is not the same as maximizing probability.
 *
 * From the default run on Don Quijote with `--prompt "— ¿Qué gigantes? —dijo Sancho, "`:
 *
 *     temperature 0.7   que por la hermosura que le había de escudero. Por cuando esta señora que hablándole que quiere
 *                       gobernador que ellos en su pase con los remonos que no está en su deseo en efeto
 *     temperature 1     que me lo menos, y haya me los cuento; pero, hombre a muy bien por tervida. Más había delante
 *     the likeliest     y que no se había de ser en el mundo, que no se ha de ser de la mano de la Mancha
 *     top-k 5           y no se hacía esta muestra que se he por si levantó a los caballeros si asigué
 *     beam 8            que está en el mundo, que no hay más que le había d
 *     words that follow y 26.9 %, que 24.4 %, no 2.9 %, señor 2.2 %, por 1.4 %                                            */

/* Reads one symbol for each of the B rows of s; returns the logits (B,V), which live until the next call. */
static Matrix read_symbols(const Model *m, Memory *s, const int *ids)
{
    tape_reset();
    bool recording = tape_record(false);
    Var *logits = model_read(m, s, ids, 1, 0, NULL);
    tape_record(recording);
    return logits->value;
}

/* The state after the prompt in s (one row), and the logits for what comes next. */
static Matrix read_prompt(const Model *m, Memory *s, const int *ids, int n)
{
    Matrix logits = { 0 };
    memory_clear(s);
    for (int i = 0; i < n; i++) logits = read_symbols(m, s, ids + i);
    return logits;
}

typedef struct { int id; real p; } Choice;

static int likelier_first(const void *a, const void *b)
{
    const Choice *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? 1 : -1;
    return x->id - y->id;
}

/* A symbol by the rules of o: temperature first, then the k likeliest, then the fewest of them that have at least probability
 * top_p together; among these, by their probabilities. choice and p are room for V each. */
static int choose(Matrix logits, const Config *o, Choice *choice, real *p, Rng *rng)
{
    int V = logits.cols, among = 0;
    double together = 0;
    Matrix P = mat_over(p, 1, V);
    real top = logits.at[0], tau = (real)(o->temperature > 1e-30 ? o->temperature : 1e-30);
    for (int v = 1; v < V; v++) top = logits.at[v] > top ? logits.at[v] : top;
    if (!isfinite(top)) die("the model's numbers are not finite: its training has diverged; try a smaller --lr");
    for (int v = 0; v < V; v++) p[v] = (logits.at[v] - top) / tau;       /* - top: else a small τ would make infinities */
    mat_softmax(P, P, NULL);
    for (int v = 0; v < V; v++) choice[v] = (Choice){ v, p[v] };
    qsort(choice, (size_t)V, sizeof *choice, likelier_first);
    if (o->temperature == 0) return choice[0].id;
    while (among < V && (o->top_k == 0 || among < o->top_k) && (among == 0 || together < o->top_p)) together += (double)choice[among++].p;
    for (int i = 0; i < among; i++) p[i] = choice[i].p / (real)together;
    return choice[rng_categorical(rng, p, among)].id;
}

static void write_sample(FILE *f, const Model *m, const Vocab *vocab, const Config *o)
{
    int n, *ids = vocab_encode_utf8(vocab, o->prompt, "--prompt", &n);
    Memory s = memory_new(m, 1);
    Choice *choice = allocate((size_t)m->V, sizeof *choice);
    real *p = allocate((size_t)m->V, sizeof *p);
    Rng rng = rng_new((uint64_t)o->seed, 2);
    char room[UTF8_ROOM];
    Matrix logits = read_prompt(m, &s, ids, n);
    fputs(o->prompt, f);
    for (int i = 0; i < o->length && !interrupted(); i++) {
        int id = choose(logits, o, choice, p, &rng);
        fputs(utf8_of(vocab->code[id], room), f);
        logits = read_symbols(m, &s, &id);
    }
    fputc('\n', f);
    memory_free(&s);
    free(ids), free(choice), free(p);
}

/* ### Beams
 *
 * A beam is a beginning with its log-probability and the network's state behind it. Each round every beam offers its V
 * continuations; the `width` best of all become the new beams. Row i of the memory belongs to beam i, so taking over a beam
 * is copying a row.
 *
 * The same search finds words. A telephone's keyboard asks: what are the likeliest words from here? That is a beam search in
 * which a beam is finished when its next symbol is no letter; its probability is the whole word's.                         */
typedef struct {
    int width, count;                        /* beams wanted, beams alive */
    Memory memory, next;                     /* (width,H) */
    double log_p[MOST_BEAM];
    int *text[MOST_BEAM], length;            /* (length) ids each */
    Matrix log_probs;                        /* (count,V): of what may follow each beam */
} Beams;

typedef struct { double log_p; int beam, id; } Offer;

static int better_offer_first(const void *a, const void *b)
{
    const Offer *x = a, *y = b;
    if (x->log_p != y->log_p) return x->log_p < y->log_p ? 1 : -1;
    return x->beam != y->beam ? x->beam - y->beam : x->id - y->id;
}

static void copy_row(Memory *to, int row, const Memory *from, int from_row)
{
    for (int l = 0; l < to->layers; l++) {
        mat_copy(mat_rows(to->h[l], row, 1), mat_rows(from->h[l], from_row, 1));
        mat_copy(mat_rows(to->c[l], row, 1), mat_rows(from->c[l], from_row, 1));
    }
}

static void log_softmax(Matrix to, Matrix logits, int rows)
{
    for (int r = 0; r < rows; r++) {
        Matrix p = mat_rows(to, r, 1);
        mat_softmax(p, mat_rows(logits, r, 1), NULL);
        for (int v = 0; v < to.cols; v++) p.at[v] = r_log(p.at[v]);
    }
}

static Beams beams_new(const Model *m, const Vocab *vocab, const Config *o, int width, int length)
{
    Beams b = { .width = width, .count = 1, .memory = memory_new(m, width), .next = memory_new(m, width),
                .log_probs = mat_new(width, m->V) };
    int n, *ids = vocab_encode_utf8(vocab, o->prompt, "--prompt", &n);
    Memory one = memory_new(m, 1);
    log_softmax(b.log_probs, read_prompt(m, &one, ids, n), 1);
    copy_row(&b.memory, 0, &one, 0);
    for (int i = 0; i < width; i++) b.text[i] = allocate((size_t)length, sizeof(int));
    memory_free(&one);
    free(ids);
    return b;
}

static void beams_free(Beams *b)
{
    memory_free(&b->memory), memory_free(&b->next), mat_free(&b->log_probs);
    for (int i = 0; i < b->width; i++) free(b->text[i]);
}

/* All continuations of all beams, best first; the caller frees them. */
static Offer *beams_offers(const Beams *b, int V)
{
    Offer *offer = allocate((size_t)b->count * (size_t)V, sizeof *offer);
    for (int i = 0, n = 0; i < b->count; i++)
        for (int v = 0; v < V; v++, n++) offer[n] = (Offer){ b->log_p[i] + (double)mat_row(b->log_probs, i)[v], i, v };
    qsort(offer, (size_t)b->count * (size_t)V, sizeof *offer, better_offer_first);
    return offer;
}

/* The offers become the beams, and their last symbols are read. */
static void beams_take(Beams *b, const Model *m, const Offer *offer, int count)
{
    int ids[MOST_BEAM] = { 0 }, *old[MOST_BEAM];
    double log_p[MOST_BEAM];
    for (int i = 0; i < b->width; i++) {
        old[i] = allocate((size_t)b->length + 1, sizeof(int));
        memcpy(old[i], b->text[i], (size_t)b->length * sizeof(int));
    }
    for (int i = 0; i < count; i++) {
        copy_row(&b->next, i, &b->memory, offer[i].beam);
        memcpy(b->text[i], old[offer[i].beam], (size_t)b->length * sizeof(int));
        b->text[i][b->length] = ids[i] = offer[i].id;
        log_p[i] = offer[i].log_p;
    }
    for (int i = 0; i < b->width; i++) free(old[i]);
    memcpy(b->log_p, log_p, (size_t)count * sizeof *log_p);
    Memory held = b->memory;
    b->memory = b->next;
    b->next = held;
    b->count = count;
    b->length++;
    log_softmax(b->log_probs, read_symbols(m, &b->memory, ids), count);
}

static void write_beam(FILE *f, const Model *m, const Vocab *vocab, const Config *o, int length)
{
    Beams b = beams_new(m, vocab, o, o->beam, length);
    char room[UTF8_ROOM];
    for (int i = 0; i < length && !interrupted(); i++) {
        Offer *offer = beams_offers(&b, m->V);
        beams_take(&b, m, offer, b.count * m->V < b.width ? b.count * m->V : b.width);
        free(offer);
    }
    fputs(o->prompt, f);
    for (int i = 0; i < b.length; i++) fputs(utf8_of(vocab->code[b.text[0][i]], room), f);
    fprintf(f, "\n          (log-probability %.2f)\n", b.log_p[0]);
    beams_free(&b);
}

static bool is_letter(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0x24f && c != 0xd7 && c != 0xf7);
}

typedef struct { double p; char word[LONGEST_WORD * UTF8_ROOM]; } Word;

/* Puts a finished word among the `want` likeliest so far, likeliest first. */
static void keep_word(Word *words, int want, const Beams *b, int beam, const Vocab *vocab, double p)
{
    int at = want - 1;
    if (p <= words[at].p) return;
    for (; at > 0 && words[at - 1].p < p; at--) words[at] = words[at - 1];
    char room[UTF8_ROOM];
    words[at] = (Word){ .p = p };
    for (int i = 0; i < b->length; i++) strcat(words[at].word, utf8_of(vocab->code[b->text[beam][i]], room));
}

/* The `want` likeliest words that begin, or go on, where the prompt ends. */
static void write_suggestions(FILE *f, const Model *m, const Vocab *vocab, const Config *o, int want)
{
    Beams b = beams_new(m, vocab, o, MOST_BEAM, LONGEST_WORD);
    Word *words = allocate((size_t)want, sizeof *words);
    while (b.length < LONGEST_WORD - 1 && (double)r_exp((real)b.log_p[0]) > words[want - 1].p) {
        Offer *offer = beams_offers(&b, m->V), letters[MOST_BEAM];
        int kept = 0, n = b.count * m->V;
        double ends[MOST_BEAM] = { 0 };
        for (int i = 0; i < n; i++) {
            if (!is_letter(vocab->code[offer[i].id])) ends[offer[i].beam] += (double)r_exp((real)offer[i].log_p);
            else if (kept < b.width) letters[kept++] = offer[i];
        }
        for (int i = 0; i < b.count && b.length > 0; i++) keep_word(words, want, &b, i, vocab, ends[i]);
        free(offer);
        if (kept == 0) break;
        beams_take(&b, m, letters, kept);
    }
    fputs(o->prompt, f);
    for (int i = 0; i < want && words[i].p > 0; i++) fprintf(f, "%s %s %.1f %%", i ? "," : " |", words[i].word, 100 * words[i].p);
    fputc('\n', f);
    free(words);
    beams_free(&b);
}

/* All the ways of writing, one under the other. */
static void write_samples(FILE *f, const Model *m, const Vocab *vocab, const Config *o)
{
    struct { const char *how; double temperature, top_p; int top_k; } way[] = {
        { "drawn as told", o->temperature, o->top_p, o->top_k }, { "temperature 1", 1, 1, 0 }, { "the likeliest", 0, 1, 0 },
        { "top-k 5", 1, 1, 5 }, { "top-p 0.8", 1, 0.8, 0 },
    };
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        Config now = *o;
        now.temperature = way[i].temperature, now.top_p = way[i].top_p, now.top_k = way[i].top_k;
        if (i) now.length = o->length / 4 + 1;
        fprintf(f, "--- %s\n", way[i].how);
        write_sample(f, m, vocab, &now);
    }
    Config beam = *o;
    if (beam.beam == 0) beam.beam = 8;
    fprintf(f, "--- beam %d\n", beam.beam);
    write_beam(f, m, vocab, &beam, o->length / 8 + 1);
    fprintf(f, "--- words that may follow\n");
    write_suggestions(f, m, vocab, o, o->suggest ? o->suggest : 5);
}

/* ## 9. A detour: the model that cannot be wrong
 *
 * "The letter is clearer when I see what follows." Very well, let a second network read each window from its end to its
 * beginning, and predict from both states, hₜ from the left and h'ₜ from the right. It is easily done, it is in every
 * framework under the name bidirectional, and it works too well: the perplexity falls to nearly 1.
 *
 * Look at what it is asked. At place t it must name y = x[t+1]. The network from the right has come from the end of the
 * window to place t, so it has *read* x[t+1], one step before. (But for the last place of a window; that is why the perplexity
 * is 1.18 after 150 steps on Don Quijote, and cannot fall to 1.) The answer lies in its input, and all that is learned is to
 * hand it through. Nothing complains; the loss is wonderful; ask it to write and it cannot, because nobody has the letters
 * that come after those not yet written. A bidirectional network is the right tool when the whole text is given and something
 * else is asked of it (chapter 08 fills gaps). To predict what comes next it must not see what comes next.                 */
typedef struct { Params params; Var *E, *Wo, *bo; CellWeights gru[2]; int H; } TwoWay;

static void two_way_new(TwoWay *m, int V, int D, int H, uint64_t seed)
{
    *m = (TwoWay){ .H = H };
    m->E = param(&m->params, "embedding", V, D, init_normal(1));
    for (int i = 0; i < 2; i++) m->gru[i] = cell_weights(&m->params, i ? "left" : "right", CELL_GRU, D, H);
    m->Wo = param(&m->params, "output.W", 2 * H, V, init_uniform(1 / sqrt(2 * H)));
    m->bo = param(&m->params, "output.b", 1, V, init_zero());
    params_allocate(&m->params, seed);
}

/* order[t B + b] = (T-1-t) B + b: rows in reversed time. With it the second GRU reads backwards, and its states are put in
 * order again. */
static Var *two_way_loss(const TwoWay *m, const Reader *r)
{
    int n = r->T * r->B, *order = tape_room((size_t)n * sizeof(int)), *backwards = tape_room((size_t)n * sizeof(int));
    for (int t = 0; t < r->T; t++)
        for (int b = 0; b < r->B; b++) {
            order[t * r->B + b] = (r->T - 1 - t) * r->B + b;
            backwards[t * r->B + b] = r->x[order[t * r->B + b]];
        }
    Var *h[2], *zeros = v_zeros(r->B, m->H);
    for (int i = 0; i < 2; i++)
        h[i] = cell_layer(&m->gru[i], cell_input(&m->gru[i], m->E), i ? backwards : r->x, zeros, zeros, r->T).h;
    Var *both[2] = { h[0], v_lookup(h[1], order, n) };
    return v_cross_entropy(v_add_bias(v_matmul(v_hcat(both, 2), m->Wo), m->bo), r->y);
}

static void show_leak(const Model *like, const Corpus *d, const Config *o)
{
    TwoWay m;
    two_way_new(&m, d->vocab.size, 16, 32, (uint64_t)o->seed);
    Optim adam = optim_adam(&m.params, 0.01, 0);
    int T = d->train.n > 16 * 33 ? 32 : (d->train.n - 1) / 16;
    Reader r = reader_new(like, d->train, 16, T);
    double loss = 0;
    for (int step = 0; step < o->leak && !interrupted(); step++) {
        if (!reader_next(&r)) r.at = 0, reader_next(&r);
        tape_reset();
        Var *l = two_way_loss(&m, &r);
        params_zero_grad(&m.params);
        tape_backward(l);
        params_clip_grad(&m.params, 1);
        optim_step(&adam, &m.params);
        loss = (double)l->value.at[0];
    }
    printf("the leak  a bidirectional network 'predicts' with perplexity %.3f after %d steps\n", perplexity(loss), o->leak);
    reader_free(&r), optim_free(&adam), params_free(&m.params);
}

/* ## 10. A second detour: deep or wide?
 *
 * The same number of parameters can lie in one wide layer or in two or three narrow ones. The run trains all three for the
 * same number of steps (depth.csv). On Don Quijote, valid bits a character after 200 steps (the default) and after 1,500
 * (`--depth 1500`):
 *
 *     layers  width  parameters     200    1500
 *     1         126       74,730   2.643   2.038
 *     2          79       74,531   3.362   2.186
 *     3          63       74,982   4.396   2.736
 *
 * Deep loses here. 4.396 is what the frequencies of the symbols alone give: after 200 steps three layers have not even begun to
 * use what they read. The lead is smaller in the longer run, 0.15 bits instead of 0.7 for two layers, and we do not know from
 * these runs where it ends, nor whether another learning rate would have served the deep ones better. What it shows is that depth is not free: at equal parameters and little time, be wide.           */
static size_t size_of(CellKind cell, int V, int D, int H, int layers)
{
    size_t G = (size_t)cell_gates(cell), h = (size_t)H;
    return (size_t)(V * D) + (size_t)D * G * h + (size_t)(layers - 1) * h * G * h + (size_t)layers * (G * h * h + G * h) + h * (size_t)V + (size_t)V;
}

static void compare_depths(const Corpus *d, const Config *o)
{
    Output *out = output_open(o->out, "depth.csv");
    size_t budget = size_of(cell_named(o->cell, "--cell"), d->vocab.size, o->embedding, o->hidden, o->layers) / 2;
    fputs("layers,hidden,parameters,steps,valid_bits\n", output_file(out));
    for (int layers = 1; layers <= MOST_LAYERS && !interrupted(); layers++) {
        CellKind cell = cell_named(o->cell, "--cell");
        Config now = *o;
        Model m;
        for (now.hidden = 1; size_of(cell, d->vocab.size, o->embedding, now.hidden + 1, layers) <= budget; now.hidden++) continue;
        model_new(&m, cell, d->vocab.size, o->embedding, now.hidden, layers, (uint64_t)o->seed);
        Trainer t = trainer_new(&m, d->train, &now, o->depth);
        while (t.step < t.steps && !interrupted()) train_step(&t, &now);
        double valid = bits(part_loss(&m, d->valid, o->batch, o->window));
        printf("depth     %d layers of %d: %zu parameters, %6.3f bits after %ld steps\n", layers, now.hidden, m.params.size, valid, t.step);
        fprintf(output_file(out), "%d,%d,%zu,%ld,", layers, now.hidden, m.params.size, t.step);
        csv_number(output_file(out), valid);
        fputc('\n', output_file(out));
        trainer_free(&t);
        params_free(&m.params);
    }
    output_close(out);
}

/* ## 11. The run                                                                                                           */
static void train(Trainer *t, Curve *curve, const Corpus *d, const Config *o)
{
    Output *timing = output_open(o->out, "timing.csv");
    fputs("model,epoch,seconds,tokens_per_second\n", output_file(timing));
    while (t->step < t->steps && !interrupted()) {
        long from = t->step, passed = t->reported * o->reports / t->steps, to = (passed + 1) * t->steps / o->reports;
        while (to <= from) to = (++passed + 1) * t->steps / o->reports;
        double begun = seconds_now();
        while (t->step < to && !interrupted()) {
            t->total += train_step(t, o);
            progress_line("training", t->step, t->steps, t->total / (double)(t->step - t->reported));
        }
        progress_end();
        double seconds = seconds_now() - begun, speed = (double)((t->step - from) * o->batch * o->window) / seconds;
        fprintf(output_file(timing), "%s,%ld,%.3f,%.0f\n", o->cell, t->epoch, seconds, speed);
        if (t->step == to) report(t, curve, d, o, speed);
        trainer_save(t, d, o, curve_text(curve));
    }
    output_close(timing);
}

/* The table of results, with the best weights in the model. */
static void judge(Trainer *t, Curve *curve, const Corpus *d, const Config *o, Result *result)
{
    Model *m = t->model;
    int n = ORDERS + 1;
    result[n++] = (Result){ o->cell, t->best_loss, part_loss(m, d->test, o->batch, o->window) };
    add_row(curve, t, o, "test", result[n - 1].test);
    if (o->dynamic && !interrupted()) {
        double learning = dynamic_loss(m, o, d->test);
        if (!interrupted()) result[n++] = (Result){ "learning as it reads", NONE, learning };
        use_best(t);
    }
    write_results(o, result, n);
}

static void train_and_save(Model *m, Vocab *vocab, const Config *o)
{
    const char *folder = o->save ? NULL : o->out, *name = o->save ? o->save : "model.safetensors";
    Corpus data = data_open(o);
    Result result[ORDERS + 3];
    int n;
    free(vocab_encode_utf8(&data.vocab, o->prompt, "--prompt", &n));     /* complain of the prompt now, not after training */
    output_try(folder, name);
    model_new(m, cell_named(o->cell, "--cell"), data.vocab.size, o->embedding, o->hidden, o->layers, (uint64_t)o->seed);
    Trainer trainer = trainer_new(m, data.train, o, o->steps);
    Curve curve = curve_open(o->out, (uint64_t)o->seed);
    printf("model     %s, %d layer%s of %d, embedding %d: %zu parameters; %ld steps of %d symbols\n", o->cell, m->layers,
           m->layers > 1 ? "s" : "", m->H, m->D, m->params.size, trainer.steps, o->batch * o->window);
    add_baselines(o->resume ? NULL : &curve, &data, result);
    if (o->resume) trainer_resume(&trainer, &data, o, &curve);
    else add_row(&curve, &trainer, o, "valid", part_loss(m, data.valid, o->batch, o->window));
    train(&trainer, &curve, &data, o);
    use_best(&trainer);
    if (!interrupted()) judge(&trainer, &curve, &data, o, result);
    curve_close(&curve);
    model_save(m, &data.vocab, folder, name);
    if (o->leak && !interrupted()) show_leak(m, &data, o);
    if (o->depth && !interrupted()) compare_depths(&data, o);
    trainer_free(&trainer);
    *vocab = vocab_of_symbols(data.vocab.code, data.vocab.size);
    corpus_free(&data);
}

/* What was asked for, on the screen and in samples.txt. */
static void write_out(const Model *m, const Vocab *vocab, const Config *o)
{
    Output *out = output_open(o->out, "samples.txt");
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    if (!memory) die("out of memory for the samples");
    if (!o->load) write_samples(memory, m, vocab, o);
    else if (o->suggest) write_suggestions(memory, m, vocab, o, o->suggest);
    else if (o->beam) write_beam(memory, m, vocab, o, o->length);
    else write_sample(memory, m, vocab, o);
    fclose(memory);
    fputs(text, stdout);
    fputs(text, output_file(out));
    output_close(out);
    free(text);
}

static const Option options[] = {
    OPTIONS_FOR_ALL(Config),
    { "corpus", OPTION_TEXT, offsetof(Config, corpus), 0, 0, "UTF-8 text to read; else $QUIJOTE, data/quijote.txt, the pastiche" },
    { "save", OPTION_TEXT, offsetof(Config, save), 0, 0, "file for the trained model; else model.safetensors in --out" },
    { "load", OPTION_TEXT, offsetof(Config, load), 0, 0, "a saved model: do not train, only write" },
    { "resume", OPTION_TEXT, offsetof(Config, resume), 0, 0, "a checkpoint.safetensors of this very run: go on from there" },
    { "cell", OPTION_CHOICE, offsetof(Config, cell), 0, 0, "rnn, gru or lstm" },
    { "layers", OPTION_INT, offsetof(Config, layers), 1, MOST_LAYERS, "layers, one above the other" },
    { "hidden", OPTION_INT, offsetof(Config, hidden), 1, 4096, "width of the state, H" },
    { "embedding", OPTION_INT, offsetof(Config, embedding), 1, 4096, "width of an embedding, D" },
    { "steps", OPTION_INT, offsetof(Config, steps), 1, 1e9, "steps of training at most" },
    { "epochs", OPTION_INT, offsetof(Config, epochs), 1, 1e6, "times through the text at most" },
    { "batch", OPTION_INT, offsetof(Config, batch), 1, 4096, "streams read side by side, B" },
    { "window", OPTION_INT, offsetof(Config, window), 1, 4096, "symbols a step, T: how far back gradients go" },
    { "lr", OPTION_REAL, offsetof(Config, lr), 1e-9, 10, "highest learning rate" },
    { "warmup", OPTION_INT, offsetof(Config, warmup), 0, 1e9, "steps until it is reached" },
    { "clip", OPTION_REAL, offsetof(Config, clip), 1e-9, 1e9, "longest gradient" },
    { "dropout", OPTION_REAL, offsetof(Config, dropout), 0, 0.99, "probability of dropping a number of a layer's output" },
    { "reports", OPTION_INT, offsetof(Config, reports), 1, 1e6, "lines in the curve" },
    { "dynamic", OPTION_INT, offsetof(Config, dynamic), 0, 1, "1: also test with dynamic evaluation (section 7)" },
    { "leak", OPTION_INT, offsetof(Config, leak), 0, 1e6, "steps for the bidirectional detour; 0: leave it out" },
    { "depth", OPTION_INT, offsetof(Config, depth), 0, 1e6, "steps for each network of deep or wide; 0: leave it out" },
    { "prompt", OPTION_TEXT, offsetof(Config, prompt), 0, 0, "beginning of the samples" },
    { "length", OPTION_INT, offsetof(Config, length), 1, 1e6, "symbols to write after it" },
    { "temperature", OPTION_REAL, offsetof(Config, temperature), 0, 100, "0: always the likeliest symbol; 1: as the model says" },
    { "top-k", OPTION_INT, offsetof(Config, top_k), 0, 1e6, "draw among the k likeliest symbols; 0: among all" },
    { "top-p", OPTION_REAL, offsetof(Config, top_p), 0.001, 1, "draw among the fewest symbols with this probability together" },
    { "beam", OPTION_INT, offsetof(Config, beam), 0, MOST_BEAM, "with --load: write by beam search of this width" },
    { "suggest", OPTION_INT, offsetof(Config, suggest), 0, 32, "with --load: print so many likeliest next words" },
};

#define SAME .seed = 1, .out = "out/05_char_lm_quijote", .cell = "gru", .layers = 1, .clip = 1, .prompt = "— ¿Qué ", \
             .temperature = 0.7, .top_p = 1, .length = 400, .dynamic = 1

static const Config quick     = { SAME, .steps = 60, .epochs = 10, .batch = 16, .window = 32, .embedding = 16, .hidden = 32,
                                  .lr = 0.01, .warmup = 5, .reports = 3, .leak = 30, .depth = 10 };
static const Config usual     = { SAME, .steps = 2000, .epochs = 20, .batch = 32, .window = 64, .embedding = 32, .hidden = 192,
                                  .lr = 0.01, .warmup = 50, .reports = 10, .leak = 150, .depth = 200 };
static const Config reference = { SAME, .steps = 9000, .epochs = 20, .batch = 32, .window = 64, .embedding = 64, .hidden = 448,
                                  .lr = 0.003, .warmup = 100, .reports = 18, .dropout = 0.1, .leak = 150, .depth = 200 };

static const Cli cli = {
    .about = "Chapter 05: a recurrent network that learns to write like Cervantes, character by character.",
    .options = options, .count = sizeof options / sizeof *options,
    .presets = { &quick, &usual, &reference }, .size = sizeof(Config),
};

int main(int argc, char **argv)
{
    Config o;
    Model model;
    Vocab vocab;
    cli_parse(&cli, argc, argv, &o);
    threads_start(o.threads);
    interrupt_catch();

    if (o.load) {
        Checkpoint c = checkpoint_read(o.load);
        model_load(&model, &vocab, &c);
        checkpoint_free(&c);
    } else {
        train_and_save(&model, &vocab, &o);
    }
    if (!interrupted()) write_out(&model, &vocab, &o);

    params_free(&model.params);
    vocab_free(&vocab);
    tape_free();
    threads_stop();
    return interrupted() ? INTERRUPTED : 0;
}

/* ## What we simplified
 *
 * - The last piece of each stream that is shorter than T is not read, nor are the symbols after the last stream.
 * - The state that is carried on was computed with the weights of the step before, and is a little stale.
 * - Gradients end at the piece's beginning. Chapter 02 measures what that costs, and how chance can repair it.
 * - Dynamic evaluation takes plain Adam steps; the papers also pull the weights back towards the trained ones.
 *
 * ## What to remember
 *
 * - Three parts: learn on the first, choose on the second, report the third.
 * - Carry the state's numbers from piece to piece, and cut its gradient there.
 * - Bits a character is loss / ln 2; a language model is a compressor, and counting is the baseline to beat.
 * - A run that resumes to the same bytes has forgotten nothing.
 * - A loss that is too good: look for the answer in the input.
 *
 * ## References
 *
 * - I. Witten, T. Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37, 1991. Method C is (2.2).
 * - S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997; F. Gers, J. Schmidhuber, F. Cummins,
 *   "Learning to forget", Neural Computation 12, 2000. K. Cho et al., EMNLP 2014, for the GRU.
 * - R. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories",
 *   Neural Computation 2, 1990. Truncated backpropagation.
 * - T. Mikolov et al., "Recurrent neural network based language model", Interspeech 2010; B. Krause et al., "Dynamic evaluation
 *   of neural sequence models", ICML 2018.
 * - A. Holtzman et al., "The curious case of neural text degeneration", ICLR 2020. Nucleus sampling, and why beams bore.
 * - A. Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015. Character models that write.
 * - D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.                                             */
