/* # 5. A language model of Don Quijote
 *
 * Chapter 01 trained on ten pages, folded to 33 letters, and each window had forgotten the one before it.
 * This one reads the whole book as Cervantes' printers set it: capitals, accents, dashes, question marks on both ends. It
 * reads it in order, from the first page to the last, and carries its state along. What comes out at the end is a program
 * that writes: not sense, but words, dialogue with its dashes, sentences that open and close.
 *
 *     run        make chapter-05                                        about 45 s on two cores
 *     again      build/05_char_lm_quijote --load out/05_char_lm_quijote/model.safetensors --prompt "— ¿Qué gigantes?"
 *     writes     out/05_char_lm_quijote/curve.csv, timing.csv, samples.txt, model.safetensors
 *     look at    out/05_char_lm_quijote/curve.png: training and validation, and the baselines that they leave behind
 *
 * New since chapter 01: the tape takes the derivatives (common/tape.h); the LSTM, an embedding, a text in three parts, a state
 * that outlives the batch, bits a character, and a model in a file.
 *
 * Shapes: B batch, T time, V vocabulary, D width of an embedding, H hidden width. Rows are vectors; ⊙ is element by element. */
#include "workbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int seed, threads;
    const char *out, *corpus, *save, *load, *prompt;
    int steps, epochs, batch, window, embedding, hidden, warmup, reports, length;
    double lr, clip, dropout, temperature;
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
 * particular to a page would be known already.                                                                             */
typedef struct { const int *ids; int n; } Part;

typedef struct {
    Vocab vocab;
    int *ids;
    Part train, valid, test;
} Data;

static Data data_open(const Config *o)
{
    Text text = text_open(o->corpus);
    Data d = { .vocab = vocab_new(text.code, text.n) };
    d.ids = vocab_encode(&d.vocab, &text);
    int a = (int)(text.n * 0.90), b = (int)(text.n * 0.95);
    d.train = (Part){ d.ids, a };
    d.valid = (Part){ d.ids + a, b - a };
    d.test = (Part){ d.ids + b, text.n - b };
    int least = o->batch * (o->window + 1);
    if (d.test.n < least) die("%s: %d symbols, of which 5 %% are %d; --batch %d and --window %d need %d there", text.source, text.n,
                              d.test.n, o->batch, o->window, least);
    printf("text      %s\n          %d symbols, %d distinct: %d to train on, %d to validate, %d to test\n", text.source, text.n,
           d.vocab.size, d.train.n, d.valid.n, d.test.n);
    text_free(&text);
    return d;
}

static void data_free(Data *d)
{
    vocab_free(&d->vocab);
    free(d->ids);
}

/* ## 2. Bits a character, and what to beat
 *
 * Losses are in nats, as before. People who compress texts count bits, and so shall we:
 *
 *     bits a character = loss / ln 2                   (2.1)
 *
 * A model that gives each symbol the probability p could, with an arithmetic coder, store it in -log₂ p bits. So a loss of
 * 2 bits is a compressor that makes a quarter of a file with 8 bits a character. The same number has three faces: loss
 * 1.386 nats, 2 bits, perplexity 4.
 *
 * Two baselines cost nothing. Knowing only that there are V symbols: log₂ V bits, 6.52 for the book. Knowing how often each
 * occurs, and no more: 4.40 bits on the validation part. Anything a network learns about *order* shows below the second line. */
static double bits(double nats) { return nats / 0.69314718055994530942; }

/* -mean ln f(v) over `part`, f the frequencies in the training part; one is added to each count, so that a symbol which
 * never occurs there has a probability too. */
static double unigram_loss(const Data *d, Part part)
{
    int V = d->vocab.size;
    double *count = allocate((size_t)V, sizeof *count), total = 0;
    for (int v = 0; v < V; v++) count[v] = 1;
    for (int i = 0; i < d->train.n; i++) count[d->train.ids[i]]++;
    for (int i = 0; i < part.n; i++) total -= (double)r_log((real)(count[part.ids[i]] / (d->train.n + V)));
    free(count);
    return total / part.n;
}

/* ## 3. The network
 *
 * The plain network of chapter 01 rewrites its whole state at every step, and what it knew is soon written over. The LSTM
 * (long short-term memory) has a second state, the cell c, that is kept by default: gates, numbers between 0 and 1 that the
 * network computes anew at each step, say how much of it stays, how much is written, and how much is shown. Before it stands
 * an embedding, behind it a softmax:
 *
 *     eₜ      = E[idₜ]                                 (3.1)   a row of E: D numbers that say what the symbol is like
 *     z       = eₜ Wx + hₜ₋₁ Wh + b                    (3.2)   z = [ zi | zf | zg | zo ]
 *     i, f, o = σ(zi), σ(zf), σ(zo)                    (3.3)   gates, each in (0,1)
 *     g       = tanh(zg)                               (3.4)   what might be written
 *     cₜ      = f ⊙ cₜ₋₁ + i ⊙ g                       (3.5)   keep some, write some
 *     hₜ      = o ⊙ tanh(cₜ)                           (3.6)   show some
 *     logits  = hₜ Wo + bo                             (3.7)
 *
 * Shapes: E (V,D), Wx (D,4H), Wh (H,4H), b (1,4H), Wo (H,V), bo (1,V); h, c and the gates (B,H).
 *
 * One thing is done in another order than it is written. (3.1) and the first product of (3.2) together are
 * onehot(idₜ) E Wx, and products may be bracketed as one likes: onehot (E Wx) is a row lookup in the table E Wx + b, which
 * has only V rows. A batch has B·T = 2,048 symbols, so multiplying 92 rows instead of 2,048 makes this part 22 times
 * cheaper, and the tape sends the gradient back through the lookup and the product as if nothing had happened.
 *
 * The forget gates begin with bias 1, so that σ(1) = 0.73 of the cell survives each step before anything is learned, instead
 * of σ(0) = 0.5.                                                                                                           */
typedef struct {
    int V, D, H;
    Params params;
    Var *E, *Wx, *Wh, *b, *Wo, *bo;
} Model;

static void model_new(Model *m, int V, int D, int H, uint64_t seed)
{
    double range = 1 / sqrt(H);
    *m = (Model){ .V = V, .D = D, .H = H };
    m->E  = param(&m->params, "embedding", V, D, init_normal(1));
    m->Wx = param(&m->params, "lstm.Wx", D, 4 * H, init_uniform(range));
    m->Wh = param(&m->params, "lstm.Wh", H, 4 * H, init_uniform(range));
    m->b  = param(&m->params, "lstm.b", 1, 4 * H, init_zero());
    m->Wo = param(&m->params, "output.W", H, V, init_uniform(range));
    m->bo = param(&m->params, "output.b", 1, V, init_zero());
    params_allocate(&m->params, seed);
    mat_fill(mat_cols(m->b->value, H, H), 1);                            /* the forget gates */
}

typedef struct { Var *h, *c; } State;

/* E Wx + b: row v is what symbol v adds to z. */
static Var *input_table(const Model *m)
{
    return v_add_bias(v_matmul(m->E, m->Wx), m->b);                      /* (V,4H) */
}

static State lstm_step(const Model *m, Var *table, const int *id, State s)
{
    int H = m->H, B = s.h->value.rows;
    Var *z = v_add(v_lookup(table, id, B), v_matmul(s.h, m->Wh));        /* (3.2)  (B,4H) */
    Var *i = v_sigmoid(v_cols(z, 0 * H, H));                             /* (3.3)  (B,H)  */
    Var *f = v_sigmoid(v_cols(z, 1 * H, H));
    Var *g = v_tanh   (v_cols(z, 2 * H, H));                             /* (3.4)  */
    Var *o = v_sigmoid(v_cols(z, 3 * H, H));
    Var *c = v_add(v_mul(f, s.c), v_mul(i, g));                          /* (3.5)  */
    return (State){ .h = v_mul(o, v_tanh(c)), .c = c };                  /* (3.6)  */
}

static Var *logits(const Model *m, Var *h)
{
    return v_add_bias(v_matmul(h, m->Wo), m->bo);                        /* (3.7)  */
}

/* ## 4. Reading in order: truncated backpropagation with a state
 *
 * We cannot unroll over two million symbols: section 4 of chapter 01 has to keep every state for the way back. So the text
 * is read in pieces of T symbols. Between two pieces the *numbers* of the state are carried on, but not the tape behind them:
 * the new piece starts from h and c as from constants. Forward, the network remembers since the first page. Backward, blame
 * ends at the piece's beginning. What the network can *use* is longer than what it can *learn* from in one step.
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
    Matrix h, c;                             /* (B,H): the state after what was read */
} Reader;

static Reader reader_new(Part part, int B, int T, int H)
{
    return (Reader){ .part = part, .B = B, .T = T, .length = (part.n - 1) / B, .start = allocate((size_t)B, sizeof(int)),
                     .x = allocate((size_t)(B * T), sizeof(int)), .y = allocate((size_t)(B * T), sizeof(int)),
                     .h = mat_new(B, H), .c = mat_new(B, H) };
}

static void reader_free(Reader *r)
{
    free(r->start), free(r->x), free(r->y);
    mat_free(&r->h), mat_free(&r->c);
}

static void reader_rewind(Reader *r)
{
    r->at = 0;
    mat_fill(r->h, 0);
    mat_fill(r->c, 0);
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

/* The mean loss of the piece that the reader holds, on the tape; the reader's state moves on. Dropout (probability p) sits
 * between state and output, never inside the recurrence, where it would wipe the memory T times. */
static Var *piece_loss(const Model *m, Reader *r, double p, Rng *rng)
{
    Var *table = input_table(m), **h = allocate((size_t)r->T, sizeof *h);
    State s = { .h = v_const(r->h), .c = v_const(r->c) };
    for (int t = 0; t < r->T; t++) {
        s = lstm_step(m, table, r->x + t * r->B, s);
        h[t] = s.h;
    }
    Var *all = v_dropout(v_vcat(h, r->T), p, rng);                       /* (T B, H): one product for all outputs */
    Var *loss = v_cross_entropy(logits(m, all), r->y);
    mat_copy(r->h, s.h->value);
    mat_copy(r->c, s.c->value);
    free(h);
    return loss;
}

/* The loss over a whole part, in nats a symbol; nothing is learned and no tape is kept. */
static double part_loss(const Model *m, Part part, const Config *o)
{
    Reader r = reader_new(part, o->batch, o->window, m->H);
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
 * averages still rest on a handful of gradients, and then falls along half a cosine to a tenth: large steps to get there,
 * small ones to settle.
 *
 * In the default run on Don Quijote (make chapter-05), bits a character:
 *
 *     step          0     160     480     800    1120    1440    1600
 *     train             3.453   2.498   2.292   2.194   2.193   2.176
 *     valid     6.544   2.811   2.426   2.298   2.217   2.185   2.176
 *
 * and 2.185 on the test part. It begins at log₂ 92 = 6.52, as it must; after a tenth of the run it is far below what
 * frequencies alone can tell, 4.40; and train and valid stay together to the end, because 3.3 million symbols are not even
 * two readings of the book: there was no time to learn it by heart. On the embedded pastiche, 70,000 symbols read twenty
 * times, they part. Try it: `QUIJOTE= make chapter-05`.                                                                    */
typedef struct {
    Model *model;
    Optim optim;
    Reader reader;
    Rng rng;                                 /* dropout */
    real *best;                              /* (params.size): the weights with the lowest validation loss, … */
    double best_loss;                        /* … and that loss */
    long step, steps, epoch;                 /* steps done, and how many there will be; epoch from 1 */
} Trainer;

static Trainer trainer_new(Model *m, const Data *d, const Config *o)
{
    Trainer t = { .model = m, .optim = optim_adam(&m->params, o->lr, 0), .epoch = 1, .best_loss = INFINITY,
                  .reader = reader_new(d->train, o->batch, o->window, m->H), .rng = rng_new((uint64_t)o->seed, 1),
                  .best = allocate(m->params.size, sizeof(real)) };
    long in_epochs = (long)o->epochs * (t.reader.length / o->window);
    t.steps = in_epochs < o->steps ? in_epochs : o->steps;
    return t;
}

static void trainer_free(Trainer *t)
{
    optim_free(&t->optim);
    reader_free(&t->reader);
    free(t->best);
}

static double train_step(Trainer *t, const Config *o, double *norm)
{
    Params *params = &t->model->params;
    if (!reader_next(&t->reader)) {
        reader_rewind(&t->reader);
        reader_next(&t->reader);
        t->epoch++;
    }
    tape_reset();
    Var *loss = piece_loss(t->model, &t->reader, o->dropout, &t->rng);
    params_zero_grad(params);
    tape_backward(loss);
    *norm = params_clip_grad(params, o->clip);
    t->optim.lr = o->lr * schedule_cosine(t->step++, o->warmup, t->steps, 0.1);
    optim_step(&t->optim, params);
    return (double)loss->value.at[0];
}

static void keep_best(Trainer *t, double valid)
{
    if (valid >= t->best_loss) return;
    t->best_loss = valid;
    memcpy(t->best, t->model->params.value, t->model->params.size * sizeof(real));
}

/* One line on the screen and two rows in curve.csv. */
static void report(Trainer *t, Curve *curve, const Data *d, const Config *o, double train, double norm, double speed)
{
    long tokens = t->step * o->batch * o->window;
    double valid = part_loss(t->model, d->valid, o);
    CurveRow row = { .model = "lstm", .epoch = t->step ? t->epoch : 0, .step = t->step, .tokens = tokens };
    keep_best(t, valid);
    if (t->step) {
        row.split = "train", row.loss = train, row.grad_norm = norm, row.lr = t->optim.lr;
        curve_add(curve, row);
    }
    row.split = "valid", row.loss = valid, row.grad_norm = 0, row.lr = 0;
    curve_add(curve, row);
    printf("step %6ld  epoch %3ld   train %6.3f   valid %6.3f bits   %7.0f symbols/s\n", t->step, row.epoch, bits(train), bits(valid), speed);
    fflush(stdout);
}

static void add_baselines(Curve *curve, const Data *d)
{
    struct { const char *name; double loss; } line[] = {
        { "uniform", (double)r_log((real)d->vocab.size) }, { "unigram", unigram_loss(d, d->valid) },
    };
    for (int i = 0; i < 2; i++) {
        curve_add(curve, (CurveRow){ .model = line[i].name, .split = "baseline", .loss = line[i].loss });
        printf("%-10s%6.3f bits a character\n", line[i].name, bits(line[i].loss));
    }
}

static void train(Trainer *t, const Data *d, const Config *o)
{
    Curve curve = curve_open(o->out, (uint64_t)o->seed);
    Output *timing = output_open(o->out, "timing.csv");
    fputs("model,epoch,seconds,tokens_per_second\n", output_file(timing));
    add_baselines(&curve, d);
    double norm = 0, first = part_loss(t->model, d->valid, o);
    printf("untrained %6.3f bits a character\n", bits(first));
    curve_add(&curve, (CurveRow){ .model = "lstm", .split = "valid", .loss = first });
    while (t->step < t->steps && !interrupted()) {
        long from = t->step, to = t->steps * (from * o->reports / t->steps + 1) / o->reports;
        double begun = seconds_now(), total = 0;
        while (t->step < (to > from ? to : from + 1) && !interrupted()) {
            total += train_step(t, o, &norm);
            progress_line("training", t->step, t->steps, total / (double)(t->step - from));
        }
        progress_end();
        double seconds = seconds_now() - begun, speed = (double)((t->step - from) * o->batch * o->window) / seconds;
        fprintf(output_file(timing), "lstm,%ld,%.3f,%.0f\n", t->epoch, seconds, speed);
        report(t, &curve, d, o, total / (double)(t->step - from), norm, speed);
    }
    memcpy(t->model->params.value, t->best, t->model->params.size * sizeof(real));
    double test = part_loss(t->model, d->test, o);
    curve_add(&curve, (CurveRow){ .model = "lstm", .split = "test", .epoch = t->epoch, .step = t->step,
                                  .tokens = t->step * o->batch * o->window, .loss = test });
    printf("best valid %.3f bits; with those weights, test %.3f bits a character, perplexity %.3f\n", bits(t->best_loss), bits(test),
           perplexity(test));
    curve_close(&curve);
    output_close(timing);
}

/* ## 6. A model in a file
 *
 * The file holds the weights by name and, as text beside them, all that is needed to use them: the sizes, and the vocabulary
 * as one string. It is a safetensors file, so Python opens it with one call; the layout is described in common/checkpoint.h. */
static void model_save(const Model *m, const Vocab *vocab, const char *folder, const char *name)
{
    Checkpoint c = { 0 };
    char *symbols = allocate((size_t)vocab->size * UTF8_ROOM + 1, 1), room[UTF8_ROOM];
    for (int v = 0, at = 0; v < vocab->size; v++) at += sprintf(symbols + at, "%s", utf8_of(vocab->code[v], room));
    checkpoint_set(&c, "model", "char_lm lstm");
    checkpoint_set(&c, "embedding", "%d", m->D);
    checkpoint_set(&c, "hidden", "%d", m->H);
    checkpoint_set(&c, "vocab", "%s", symbols);
    checkpoint_add_params(&c, &m->params);
    checkpoint_write(&c, folder, name);
    checkpoint_free(&c);
    free(symbols);
}

static void model_load(Model *m, Vocab *vocab, const char *path)
{
    Checkpoint c = checkpoint_read(path);
    if (strcmp(checkpoint_text(&c, "model"), "char_lm lstm") != 0)
        die("%s: this is a checkpoint of '%s'; expected char_lm lstm", path, checkpoint_text(&c, "model"));
    const char *symbols = checkpoint_text(&c, "vocab");
    Text text = text_of_utf8(symbols, strlen(symbols), path);
    *vocab = vocab_of_symbols(text.code, text.n);
    model_new(m, vocab->size, checkpoint_int(&c, "embedding", 1, 4096), checkpoint_int(&c, "hidden", 1, 4096), 0);
    checkpoint_get_params(&c, &m->params);
    checkpoint_free(&c);
    text_free(&text);
}

/* ## 7. Writing
 *
 * As in chapter 01: read the prompt, draw a symbol from softmax(logits / τ), read it, draw the next. The state makes the
 * difference: nothing but h and c is kept of what was written, and yet a dash opens a speech and "dijo" closes it.
 *
 * From the default run on Don Quijote with `--prompt "— ¿Qué gigantes? —dijo Sancho"`:
 *
 *     — ¿Qué gigantes? —dijo Sancho—, y a todo otro entrecia muerte de mí corrardose con aquel de la cortado conciando la
 *     dejar, o volviendo en el puso en la desperridaba después de la duque no me quien que vos de agusto trabajos que esta
 *     parte de los dienter la tornador y del pasado de caballero de llaman de ser estorme de otra buenos las estreguestas
 *
 * Most of these are words, and most of the others might be.                                                                */
static int *encode_prompt(const Vocab *vocab, const char *prompt, int *n)
{
    Text text = text_of_utf8(prompt, strlen(prompt), "--prompt");
    int *ids = vocab_encode(vocab, &text);
    *n = text.n;
    text_free(&text);
    return ids;
}

static int choose(const Matrix scores, double temperature, Rng *rng)
{
    int V = scores.cols, best = 0;
    for (int v = 1; v < V; v++) if (scores.at[v] > scores.at[best]) best = v;
    if (temperature == 0) return best;
    Matrix p = tape_matrix(1, V);
    for (int v = 0; v < V; v++) p.at[v] = scores.at[v] / (real)temperature;
    mat_softmax(p, p, NULL);
    return rng_categorical(rng, p.at, V);
}

/* One sample, printed as it is drawn and to f as well. */
static void write_text(FILE *f, const Model *m, const Vocab *vocab, const Config *o)
{
    int n, *ids = encode_prompt(vocab, o->prompt, &n);
    Matrix h = mat_new(1, m->H), c = mat_new(1, m->H);
    Rng rng = rng_new((uint64_t)o->seed, 2);
    char room[UTF8_ROOM];
    bool recording = tape_record(false);
    for (int i = 0, id = ids[0]; i < n + o->length; i++) {
        tape_reset();
        if (i < n) id = ids[i];
        printf("%s", utf8_of(vocab->code[id], room));
        fputs(room, f);
        fflush(stdout);
        State s = lstm_step(m, input_table(m), &id, (State){ v_const(h), v_const(c) });
        mat_copy(h, s.h->value);
        mat_copy(c, s.c->value);
        if (i >= n - 1) id = choose(logits(m, s.h)->value, o->temperature, &rng);
    }
    printf("\n");
    fputc('\n', f);
    tape_record(recording);
    mat_free(&h), mat_free(&c);
    free(ids);
}

/* ## 8. The run                                                                                                            */
static void train_and_save(Model *m, Vocab *vocab, const Config *o)
{
    Data data = data_open(o);
    int n;
    free(encode_prompt(&data.vocab, o->prompt, &n));                     /* complain of the prompt now, not after training */
    output_try(o->save ? NULL : o->out, o->save ? o->save : "model.safetensors");
    model_new(m, data.vocab.size, o->embedding, o->hidden, (uint64_t)o->seed);
    Trainer trainer = trainer_new(m, &data, o);
    printf("model     LSTM, %d hidden, embedding %d: %zu parameters; %ld steps of %d symbols\n", m->H, m->D, m->params.size,
           trainer.steps, o->batch * o->window);
    train(&trainer, &data, o);
    model_save(m, &data.vocab, o->save ? NULL : o->out, o->save ? o->save : "model.safetensors");
    printf("memory    %.1f MB on the tape at most\n", (double)tape_bytes() / 1e6);
    trainer_free(&trainer);
    *vocab = vocab_of_symbols(data.vocab.code, data.vocab.size);
    data_free(&data);
}

static const Option options[] = {
    OPTIONS_FOR_ALL(Config),
    { "corpus", OPTION_TEXT, offsetof(Config, corpus), 0, 0, "UTF-8 text to read; else $QUIJOTE, data/quijote.txt, the pastiche" },
    { "save", OPTION_TEXT, offsetof(Config, save), 0, 0, "file for the trained model; else model.safetensors in --out" },
    { "load", OPTION_TEXT, offsetof(Config, load), 0, 0, "a saved model: do not train, only write" },
    { "steps", OPTION_INT, offsetof(Config, steps), 1, 1e9, "steps of training at most" },
    { "epochs", OPTION_INT, offsetof(Config, epochs), 1, 1e6, "times through the text at most" },
    { "batch", OPTION_INT, offsetof(Config, batch), 1, 4096, "streams read side by side, B" },
    { "window", OPTION_INT, offsetof(Config, window), 1, 4096, "symbols a step, T: how far back gradients go" },
    { "embedding", OPTION_INT, offsetof(Config, embedding), 1, 4096, "width of an embedding, D" },
    { "hidden", OPTION_INT, offsetof(Config, hidden), 1, 4096, "width of the state, H" },
    { "lr", OPTION_REAL, offsetof(Config, lr), 1e-9, 10, "highest learning rate" },
    { "warmup", OPTION_INT, offsetof(Config, warmup), 0, 1e9, "steps until it is reached" },
    { "clip", OPTION_REAL, offsetof(Config, clip), 1e-9, 1e9, "longest gradient" },
    { "dropout", OPTION_REAL, offsetof(Config, dropout), 0, 0.99, "probability of dropping a number of h before the output" },
    { "reports", OPTION_INT, offsetof(Config, reports), 1, 1e6, "lines in the curve" },
    { "prompt", OPTION_TEXT, offsetof(Config, prompt), 0, 0, "beginning of the sample" },
    { "length", OPTION_INT, offsetof(Config, length), 1, 1e9, "symbols to write after it" },
    { "temperature", OPTION_REAL, offsetof(Config, temperature), 0, 100, "0: always the likeliest symbol; 1: as the model says" },
};

#define SAME .seed = 1, .out = "out/05_char_lm_quijote", .clip = 1, .prompt = "— ¿Qué ", .temperature = 0.7, .length = 400

static const Config quick     = { SAME, .steps = 60, .epochs = 10, .batch = 16, .window = 32, .embedding = 16, .hidden = 32,
                                  .lr = 0.01, .warmup = 5, .reports = 3 };
static const Config usual     = { SAME, .steps = 1600, .epochs = 20, .batch = 32, .window = 64, .embedding = 32, .hidden = 192,
                                  .lr = 0.01, .warmup = 50, .reports = 10 };
static const Config reference = { SAME, .steps = 9000, .epochs = 20, .batch = 32, .window = 64, .embedding = 64, .hidden = 384,
                                  .lr = 0.006, .warmup = 100, .reports = 20, .dropout = 0.1 };

static const Cli cli = {
    .about = "Chapter 05: an LSTM that learns to write like Cervantes, character by character.",
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

    if (o.load) model_load(&model, &vocab, o.load);
    else train_and_save(&model, &vocab, &o);
    Output *samples = output_open(o.out, "samples.txt");
    write_text(output_file(samples), &model, &vocab, &o);
    output_close(samples);

    params_free(&model.params);
    vocab_free(&vocab);
    tape_free();
    threads_stop();
    return interrupted() ? INTERRUPTED : 0;
}

/* ## What we simplified
 *
 * - One layer, and no n-gram to compare with: frequencies alone are easy to beat.
 * - The last piece of each stream that is shorter than T is not read, and the symbols behind the last stream are not either.
 *
 * ## What to remember
 *
 * - Three parts: learn on the first, choose on the second, report the third.
 * - Carry the state's numbers from piece to piece, and cut its gradient there.
 * - Bits a character is loss / ln 2, and a language model is a compressor.
 *
 * ## References
 *
 * - S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997; F. Gers, J. Schmidhuber, F. Cummins,
 *   "Learning to forget", Neural Computation 12, 2000, for the forget gate.
 * - R. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories",
 *   Neural Computation 2, 1990. Truncated backpropagation.
 * - A. Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015. Character models that write.
 * - D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.                                             */
