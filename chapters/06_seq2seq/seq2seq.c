/* # 6. One sequence in, another out
 *
 * A language model says one thing for each thing it reads: a letter in, the next letter out. Most of what one would like to
 * ask is not of that form. "doscientos tres mil cuatro" is 26 symbols and "203004" is six, and no letter stands for a digit:
 * the "d" alone could become a 2, a 10 or a 12, "mil" moves what was read by three places, and the zeros are said by no word at
 * all. So let one network read to the end without writing, and let another one write to the end without reading. Between them
 * passes what the first remembers: one state, of fixed size.
 *
 * That is all there is to this chapter: an encoder, a decoder, and a state. It was enough to translate languages with (Cho et
 * al. and Sutskever et al., both 2014). It also has a flaw that one figure shows: the more there is to know about a sequence,
 * the more has to pass through that one state. The next chapter removes it.
 *
 *     run        make chapter-06                                        less than a minute on two cores
 *                make chapter-06 ARGS='--part copy'                     one part alone: copy, branches, numbers or forcing
 *     again      build/06_seq2seq --load out/06_seq2seq/to_digits.safetensors --prompt "doscientos tres mil cuatro"
 *     writes     out/06_seq2seq/curve.csv, accuracy.csv, length.csv, digits.csv, beam.csv, forcing.csv, branches.csv,
 *                predictions.csv, samples.txt, timing.csv, to_digits.safetensors, to_words.safetensors
 *     look at    out/06_seq2seq/digits.png: exact answers against the digits of a number, a line for each width of the state
 *
 * New since chapter 05: two networks that are trained as one; sequences that begin and end, of different lengths in one batch;
 * and a network that is told its own mistakes. The cells come from common/cells.h; the number words from common/numbers.h.
 *
 * Shapes: B batch, S steps of the source, T steps of the target, D width of an embedding, H hidden width, G gates of a cell
 * (RNN 1, GRU 3, LSTM 4), V symbols that the decoder may say. Rows are vectors.                                            */
#include "trial.h"
#include "workbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LAYERS = 3, MOST_BEAM = 32 };

typedef struct {
    int seed, threads;
    const char *out, *part, *task, *cell, *load, *prompt, *started;
    int layers, hidden, embedding, batch, steps, reports, test, beam, longest, widths, copy_steps, forcing_steps;
    double lr, clip, dropout, forcing, forcing_end, copy_low;
} Config;

/* ## 1. Four shapes
 *
 * What a recurrent network can be asked for comes in four shapes:
 *
 * | shape                     | in → out                                    | where in this book                             |
 * | ------------------------- | ------------------------------------------- | ---------------------------------------------- |
 * | many to one               | five numbers → the next                     | chapter 03, the series                         |
 * | many to many, aligned     | a letter → the next letter, at every step   | chapters 01 to 05, the language models         |
 * | one to many               | a first digit → the rest of a sequence      | section 7                                      |
 * | many to many, not aligned | digits → digits; words → digits and back    | sections 5, 8 and 9, and chapters 07 and 08    |
 *
 * The last one is the general case. It is made of the first and the third: many to one (the encoder: letters in, one state
 * out) and one to many (the decoder: one state in, digits out).
 *
 * ## 2. Sequences of different lengths in one batch
 *
 * The decoder writes one symbol at a time, and each symbol it writes is the input of its next step, as in chapter 05. Two
 * things are new. It needs something to be told at its first step, when nothing is written yet: BOS, beginning of sequence.
 * And it must be able to stop: EOS, end of sequence, is one more symbol that it may say. Without EOS it could not answer
 * "doce" with two digits and "cien" with three.
 *
 * A batch has B pairs side by side in matrices whose rows are steps times pairs, and the pairs are not equally long. So short
 * ones are filled up with PAD. Three pairs of the number task, as batch_of (common/pairs.h) lays them out, "-" for PAD:
 *
 *     source    - - - - - - d o c e       input    BOS 1   2   -        target   1   2   EOS -
 *               - - - - - - c i e n                BOS 1   0   0                 1   0   0   EOS
 *               c i e n t o   d o s                BOS 1   0   2                 1   0   2   EOS
 *
 * Input and target are one sequence, shifted by one step: told BOS, say the first digit; told the first digit, say the second.
 *
 * The trap is that padding is not nothing. A network that reads PAD as if it were a symbol changes its state at every step of
 * it, so the answer for a number would depend on which other numbers happen to be in its batch. Our PAD is -1, no row of any
 * table:
 *
 *   - As an *input* it reads a row of zeros. A cell looks its input up in a table that has the bias added already (chapter 05,
 *     (3.1)), so this 0 has no bias in it. Sources are filled up in front, where the state is still 0. Look into the cells with
 *     nothing coming in and h = c = 0: an RNN's h is tanh(0) = 0; an LSTM's candidate is g = tanh(0) = 0, so
 *     c = f ⊙ 0 + i ⊙ 0 = 0 and h = o ⊙ tanh(0) = 0; a GRU's is n = 0, so h = 0. The state stays 0, exactly, until the first
 *     letter comes. And all sources end in the same row, so the state that is handed over is simply the last one.
 *   - As a *target* it is left out: the loss is a mean over the symbols that are there (v_cross_entropy), and no gradient comes
 *     from the rest. What the decoder says after its EOS does not count.
 *
 * In layers above the first the input is no table but the states of the layer below, with a bias in every row; there encode
 * gives the cell an index all the same, each row's own number, with PAD where there is no letter (rows_of). Tests hold us
 * to all this: padding changes no bit of a state (tests/test_pairs.c, tests/test_chapter06.c).
 *
 * Some programs have to cut as well. A source longer than `--longest` loses its end, and with it the answer. (A target that
 * is cut, as pair_truncate can, gets no EOS, or else the network would learn to stop in the middle of a word.) Cut when
 * memory forces you, and look at what it costs: with `--part numbers --task to_digits --widths 0 --hidden 64` 99.1 % of the
 * answers are exact; with `--longest 40` as well, 62.8 %, and nearly all that are lost are among those that were cut.
 *
 * ## 3. Encoder and decoder
 *
 *     eₛ         = Es[xₛ]                                 (3.1)   the source's embedding                    (B,D)
 *     hₛ, cₛ     = encoder(eₛ, hₛ₋₁, cₛ₋₁)                (3.2)   s = 1 … S, from 0                         (B,H) each
 *     h'₀, c'₀   = h_S, c_S                               (3.3)   what passes between the two, and all of it
 *     uₜ         = Et[yₜ₋₁]                               (3.4)   y₀ = BOS                                  (B,D)
 *     h'ₜ, c'ₜ   = decoder(uₜ, h'ₜ₋₁, c'ₜ₋₁)              (3.5)   t = 1 … T                                 (B,H) each
 *     p(yₜ | y₁ … yₜ₋₁, x) = softmax(h'ₜ Wo + bo)         (3.6)                                             (B,V)
 *
 * The decoder is chapter 05's language model. It models digits given the digits before them, but its state begins with what
 * the encoder remembers. The two share no weights. With more than one layer, each layer of the encoder hands its last state to
 * the same layer of the decoder.
 *
 * In the program a cell comes with its weights from common/cells.h. `cell_input(w, x)` is x Wx + b. `cell_layer(w, x, index, h0,
 * c0, T)` takes T steps: at step t pair b reads row index[t·B + b] of x, which may be a table of all symbols, and nothing where
 * the index is PAD; without an index it reads row t·B + b. It returns all states, `h` (T·B,H), and the last ones, `h_last` and
 * `c_last`. A Pair has a source x of n symbols and a target y of m; a Batch has B of them as section 2 lays them out.
 *
 * Nothing is said about how the encoder should encode. The loss comes from the decoder, flows back through (3.3) into the
 * encoder's last state and from there through all S steps; whatever the decoder would have needed to know, the encoder is
 * pulled towards keeping.                                                                                                  */
typedef struct {
    int layers, V;                           /* V: what the decoder may say, EOS included */
    double dropout;                          /* between layers and before the output; in training alone */
    Params params;
    Var *Es, *Et, *Wo, *bo;                  /* (symbols of the source, D) (V + 1, D) (H,V) (1,V); BOS is Et's last row */
    CellWeights encoder[MOST_LAYERS], decoder[MOST_LAYERS];
} Model;

/* How a network is made, and how it is trained (common/trial.h). */
typedef struct { CellKind cell; int layers, embedding, hidden; double dropout; Training training; } Plan;

static void model_new(Model *m, const Plan *plan, const Task *task, uint64_t seed)
{
    char name[NAME_ROOM];
    int D = plan->embedding, H = plan->hidden;
    *m = (Model){ .layers = plan->layers, .V = task->target.size + 1, .dropout = plan->dropout };
    m->Es = param(&m->params, "source.embedding", task->source.size, D, init_normal(1));
    m->Et = param(&m->params, "target.embedding", m->V + 1, D, init_normal(1));
    for (int l = 0; l < m->layers; l++) {
        snprintf(name, sizeof name, "encoder%d", l + 1);
        m->encoder[l] = cell_weights(&m->params, name, plan->cell, l ? H : D, H);
        snprintf(name, sizeof name, "decoder%d", l + 1);
        m->decoder[l] = cell_weights(&m->params, name, plan->cell, l ? H : D, H);
    }
    m->Wo = param(&m->params, "output.W", H, m->V, init_uniform(1 / sqrt(H)));
    m->bo = param(&m->params, "output.b", 1, m->V, init_zero());
    params_allocate(&m->params, seed);
    for (int l = 0; l < m->layers; l++) cell_begin(&m->encoder[l]), cell_begin(&m->decoder[l]);
}

static int hidden_of(const Model *m) { return m->Wo->value.rows; }

/* The rows 0 … n-1 that hold a symbol, by their own number; PAD for the others. */
static int *rows_of(const int *source, int n)
{
    int *row = tape_room((size_t)n * sizeof *row);
    for (int i = 0; i < n; i++) row[i] = source[i] == PAD ? PAD : i;
    return row;
}

typedef struct { Var *h[MOST_LAYERS], *c[MOST_LAYERS]; } State;         /* (B,H) each; c means something to an LSTM only */

static State encode(const Model *m, const Batch *batch, double dropout, Rng *rng)
{
    State last = { .h = { NULL } };
    Var *x = m->Es, *nothing = v_zeros(batch->B, hidden_of(m));
    const int *index = batch->source;
    for (int l = 0; l < m->layers; l++) {
        const CellWeights *cell = &m->encoder[l];
        Layer y = cell_layer(cell, cell_input(cell, x), index, nothing, nothing, batch->S);                /* (3.1) (3.2) */
        last.h[l] = y.h_last;                                                                              /* (3.3) */
        last.c[l] = y.c_last;
        if (l + 1 == m->layers) break;
        x = v_dropout(y.h, dropout, rng);
        index = rows_of(batch->source, batch->S * batch->B);
    }
    return last;
}

/* A decoder at work: its state moves on with every step. */
typedef struct {
    const Model *m;
    State s;
    Var *table;                              /* (V + 1, GH): Et Wx + b, what (3.4) and the first product of (3.5) look up */
    double dropout;
    Rng *rng;
} Decoder;

static Decoder decoder_new(const Model *m, State s, double dropout, Rng *rng)
{
    return (Decoder){ .m = m, .s = s, .table = cell_input(&m->decoder[0], m->Et), .dropout = dropout, .rng = rng };
}

/* Tells the decoder one symbol a row, and returns the logits (B,V) of what it would say. */
static Var *decoder_step(Decoder *d, const int *told)
{
    const Model *m = d->m;
    Var *x = d->table;
    for (int l = 0; l < m->layers; l++) {
        Var *in = l ? cell_input(&m->decoder[l], x) : x;
        Layer y = cell_layer(&m->decoder[l], in, l ? NULL : told, d->s.h[l], d->s.c[l], 1);                /* (3.4) (3.5) */
        d->s.h[l] = y.h_last;
        d->s.c[l] = y.c_last;
        x = v_dropout(y.h_last, d->dropout, d->rng);
    }
    return v_add_bias(v_matmul(x, m->Wo), m->bo);                                                          /* (3.6) */
}

/* ## 4. Whom should the decoder believe?
 *
 * In training the right answer is known. So at step t the decoder can be told the right yₜ₋₁, whatever it said itself. That is
 * called *teacher forcing*. It makes learning easy, because a mistake at the first digit does not spoil the rest; and all
 * steps of (3.4) are known in advance.
 *
 * When it is used, nobody knows the answer. The decoder is told what it said. If that was wrong, it is in a state that it
 * never met in training. This gap has a name, *exposure bias*, and a remedy that suggests itself: tell it the truth only
 * now and then. Before each step a coin is thrown, one for the whole batch; with probability `forcing` the decoder is told
 * the right symbol, otherwise its own. (Bengio et al. 2015 let the probability fall in the course of training: *scheduled
 * sampling*; for the numbers of section 8 it is `--forcing 1 --forcing-end 0`.) Choosing the likeliest symbol has no useful
 * derivative, so no gradient goes through it: to the tape, what was told is an input like any other.
 *
 *     toldₜ₊₁ = yₜ  with probability forcing,  else  argmax of the logits at t                                  (4.1)
 *
 * One function serves both training, with the given forcing, and use, with forcing 0. It takes as many steps as the batch has,
 * and goes on after EOS; whoever wants the answer cuts it there. Section 9 measures whether the remedy helps.              */
/* The logits (T B, V) of the batch's T steps; said (T,B) is what the decoder would have said at each. */
static Var *decode(Decoder *d, const Batch *batch, double forcing, Rng *coin, int *said)
{
    int B = batch->B;
    const int *told = batch->input;                                      /* BOS */
    Var **logits = tape_room((size_t)batch->T * sizeof *logits);
    for (int t = 0; t < batch->T; t++) {
        logits[t] = decoder_step(d, told);
        argmax_rows(said + t * B, logits[t]->value);
        bool truth = t + 1 < batch->T && (forcing == 1 || (forcing > 0 && (double)rng_uniform(coin) < forcing));
        told = truth ? batch->input + (t + 1) * B : said + t * B;        /* (4.1) */
    }
    return v_vcat(logits, batch->T);
}

/* Encoder and decoder as one network, in the form that common/trial.h trains and tests. */
static Var *answer(const void *model, const Batch *batch, double forcing, Rng *rng, int *said)
{
    const Model *m = model;
    Decoder d = decoder_new(m, encode(m, batch, m->dropout, rng), m->dropout, rng);
    return decode(&d, batch, forcing, rng, said);
}

/* The loss is the mean of -ln p over all symbols of all targets, EOS included and PAD not: v_cross_entropy of these logits and
 * the batch's targets. What follows is known from chapter 05 and the same for every network that answers, so it is in
 * common/trial.c: draw a batch, compute the loss, backpropagate, clip, step; now and then answer the pairs of the test, once
 * told the truth and once left alone. "Symbols right" and "exact" are of the latter, and do not count EOS. A tenth of the
 * pairs, chosen by a hash of the source, is never drawn in training, and the test is made of these. Nothing is chosen by
 * looking at it, so there is no validation part.                                                                          */

/* ## 5. First task: say it again
 *
 * Five random digits in, the same five out. It sounds like nothing, and for a program it is nothing; for a network it is the
 * plainest form of the question whether a state can hold a sequence. The set-up is that of a README on sequence to sequence
 * models (docs/references.md): LSTM, embedding 16, hidden 32, batches of 64, Adam with step size 0.005, teacher forcing 0.5,
 * 2,000 steps. A tenth of the 100,000 sequences is held out.
 *
 * We changed one thing: the step size falls along half a cosine to a twentieth. If it stays (`--copy-low 1`, and in the
 * reference preset), the network learns just as well and then may forget for a while what it knew: with seed 1 it has
 * 99.9 % of the symbols right at step 1,175 and 96.6 % at step 2,000. The table gives, for the default run and for `--seed 2`
 * and `3`, the share of held-out symbols right at the end, in %, and the first step (of every 25th) at which it was 99.9:
 *
 *     seed                 1                2                3
 *     copy          99.9   1,325     100.0     950     99.9   1,625
 *     reverse      100.0     750     100.0     650    100.0     725
 *     copy_varied   89.7       -      91.4       -     88.5       -
 *
 * The second task is the same with the answer reversed, and it is learned sooner, in about half the steps with two seeds of
 * three. Think of the way that a digit has to go from its reading to its writing. In a copy it is five steps for each of them.
 * Reversed, it is one step for the last digit and nine for the first: no less on average, but the short ways are learned early
 * and the longer ones on top of them. Sutskever et al. (2014) read their sentences backwards and gained much by it, and explain
 * it in the same way.
 *
 * The third, copy_varied, has 3 to 10 digits, so that EOS and PAD have work to do (and forcing 1; section 9 says why). A width
 * of 32 and 2,000 steps do not suffice for it; section 8 asks what is missing.                                            */
static Plan copy_plan(const Config *o)
{
    return (Plan){ .cell = CELL_LSTM, .layers = 1, .embedding = 16, .hidden = 32,
                   .training = { .batch = 64, .steps = o->copy_steps, .lr = 0.005, .lr_end = o->copy_low, .clip = 1e9,
                                 .forcing = 0.5, .forcing_end = 0.5 } };
}

/* A new network, trained; false when Ctrl-C came before the first step, and there is nothing to show. */
static bool learn(Model *m, const Plan *plan, Trial *trial, const Config *o)
{
    model_new(m, plan, trial->task, (uint64_t)o->seed);
    Network net = { &m->params, m, answer };
    return trial_train(trial, &net, &plan->training, (uint64_t)o->seed) > 0;
}

static void show_copies(const Config *o, FILE *accuracy, FILE *timing)
{
    Task task[] = { task_copy(5, 5), task_reverse(5, 5), task_copy(3, 10) };
    task[2].name = "copy_varied";
    printf("copying\n");
    for (int i = 0; i < 3; i++) {
        Plan plan = copy_plan(o);
        if (i == 2) plan.training.forcing = plan.training.forcing_end = 1;
        Trial trial = trial_new(&task[i], "seq2seq", o->test, o->longest, (o->copy_steps + 24) / 25);
        trial.accuracy = accuracy, trial.timing = timing;
        Model m;
        if (!interrupted()) {
            learn(&m, &plan, &trial, o);
            if (trial.learned) printf("  %-11s 99.9 %% of the symbols right, first at step %ld\n", task[i].name, trial.learned);
            params_free(&m.params);
        }
        trial_free(&trial);
        task_free(&task[i]);
    }
}

/* ## 6. Writing the answer: the likeliest symbol, or the likeliest answer
 *
 * decode with forcing 0 is *greedy*: at each step the likeliest symbol. But what we want is the likeliest answer, and
 *
 *     log p(y | x) = Σₜ log p(yₜ | y₁ … yₜ₋₁, x)                                                                (6.1)
 *
 * may be larger for one that begins with the second best symbol. Beam search (chapter 05) keeps `width` beginnings instead
 * of one. It has a blemish: more beams can find an answer that is less likely. A wider search keeps a beginning that a
 * narrow one drops; its children look better for a step or two, push out the child that would have won, and then come to
 * nothing. Lemons et al. (2022) repair it. The beams have places, and place i may only take a child of the beams in places
 * 0 … i that nobody before it has taken:
 *
 *     for i = 0 … width-1:     the children of beam i join the pool;  place i takes the best of the pool        (6.2)
 *
 * What is in place i depends on the places before it, and not on how many follow. So the beams of width 4 are the first
 * four of width 8, and a wider search never ends with a less likely answer. Width 1 is greedy.
 *
 * A beam that has said EOS has one child, itself.                                                                         */
typedef struct { double log_p; bool done; Answer text; } Beam;

typedef struct { double log_p; int parent, id; } Child;      /* id is PAD for a beam that is done */

static void log_softmax(double *log_p, const real *logit, int n)
{
    real top = logit[0], sum = 0;
    for (int v = 1; v < n; v++) top = logit[v] > top ? logit[v] : top;
    for (int v = 0; v < n; v++) sum += r_exp(logit[v] - top);
    for (int v = 0; v < n; v++) log_p[v] = (double)logit[v] - (double)top - (double)r_log(sum);
}

/* The children of a beam, behind the `count` that are in the pool; returns how many there are then. */
static int join_pool(Child *pool, int count, const Beam *beam, int place, const real *logit, int V)
{
    double log_p[MOST_PAIR];
    CHECK(V <= MOST_PAIR, "%d symbols to say", V);
    if (beam->done) {
        pool[count] = (Child){ beam->log_p, place, PAD };
        return count + 1;
    }
    log_softmax(log_p, logit, V);
    for (int v = 0; v < V; v++) pool[count++] = (Child){ beam->log_p + log_p[v], place, v };
    return count;
}

/* (6.2): the next generation, from `beams` beams and the logits (beams,V) of what may follow each; returns how many it has. */
static int next_beams(Child *next, const Beam *beam, int beams, Matrix logits, int width, Child *pool)
{
    int count = 0, taken = 0;
    for (; taken < width; taken++) {
        if (taken < beams) count = join_pool(pool, count, &beam[taken], taken, mat_row(logits, taken), logits.cols);
        int best = 0;
        for (int i = 1; i < count; i++)
            if (pool[i].log_p > pool[best].log_p) best = i;
        if (count == 0 || pool[best].log_p == -INFINITY) break;
        next[taken] = pool[best];
        pool[best].log_p = -INFINITY;
    }
    return taken;
}

/* Rows parent[i] of the state, for i < n. */
static void take_rows(Decoder *d, const int *parent, int n)
{
    for (int l = 0; l < d->m->layers; l++) {
        d->s.h[l] = v_lookup(d->s.h[l], parent, n);
        d->s.c[l] = v_lookup(d->s.c[l], parent, n);
    }
}

/* The beams at the end, in the order of their places; returns how many there are. The decoder has one row and the logits (1,V)
 * of what may come first; an answer has at most `most` symbols. */
static int beam_search(Decoder *d, Var *logits, int eos, int width, int most, Beam *beam)
{
    int V = logits->value.cols, beams = 1, open = 1;
    Child *pool = tape_room((size_t)(width * V) * sizeof *pool), next[MOST_BEAM];
    Beam *old = tape_room((size_t)width * sizeof *old);
    beam[0] = (Beam){ .log_p = 0 };
    for (int t = 0; t < most && open > 0; t++) {
        int parent[MOST_BEAM], told[MOST_BEAM];
        memcpy(old, beam, (size_t)beams * sizeof *old);
        beams = next_beams(next, old, beams, logits->value, width, pool);
        open = 0;
        for (int i = 0; i < beams; i++) {
            parent[i] = next[i].parent;
            beam[i] = old[parent[i]];
            beam[i].log_p = next[i].log_p;
            beam[i].done = next[i].id == eos || next[i].id == PAD;
            told[i] = next[i].id;
            if (!beam[i].done) beam[i].text.y[beam[i].text.n++] = next[i].id, open++;
        }
        take_rows(d, parent, beams);
        logits = decoder_step(d, told);
    }
    return beams;
}

static int likelier_first(const void *a, const void *b)
{
    const Beam *x = a, *y = b;
    if (x->log_p != y->log_p) return x->log_p < y->log_p ? 1 : -1;
    return memcmp(&x->text, &y->text, sizeof x->text);
}

/* A decoder that has been told the source of a pair and what the pair has of an answer, and the logits (1,V) of what it would
 * say next. */
static Decoder decoder_after(const Model *m, const Task *task, const Pair *pair, Var **logits)
{
    tape_reset();
    Batch batch = batch_of(pair, 1, task);
    Decoder d = decoder_new(m, encode(m, &batch, 0, NULL), 0, NULL);
    for (int t = 0; t <= pair->m; t++) *logits = decoder_step(&d, batch.input + t);
    return d;
}

/* The likeliest ways to go on after that, best first, with their log-probabilities (6.1); returns how many, at most width. */
static int continuations(const Model *m, const Task *task, const Pair *pair, int width, Beam *beam)
{
    bool recording = tape_record(false);
    Var *logits;
    Decoder d = decoder_after(m, task, pair, &logits);
    int beams = beam_search(&d, logits, task->target.size, width, MOST_PAIR - 1 - pair->m, beam);
    tape_record(recording);
    qsort(beam, (size_t)beams, sizeof *beam, likelier_first);
    return beams;
}

/* ## 7. One to many: what no training removes
 *
 * Now a source of one symbol: a first digit, and the network continues the sequence that it has learned for it, 3 as 31415
 * and 2 as 27182. For the 7 there are three sequences, each as frequent as the others. What should it say after the 7? It has
 * all there is to know, and that does not decide it. The best that a model can do is to say 2, 6 and 9 with probability 1/3
 * each, and then, once it is told which, to be sure again.
 *
 * So the loss has a floor. One pair in ten begins with 7, and then one of its five symbols (EOS is one) costs ln 3:
 *
 *     least loss = 1/10 · 1/5 · ln 3 = 0.0220 nats a symbol                                                     (7.1)
 *
 * In the default run the training loss ends at 0.0233, and after the 7 (branches.csv, and `--started 7`):
 *
 *     next symbol             2       6       9     the other eight together
 *     after 7              31.4    34.5    33.5      0.5 %
 *
 *     after 72      8: 99.6 %        76      5: 99.3 %        79      1: 99.2 %
 *
 * No width and no number of steps will bring the first line nearer to certainty; a loss of 0 would be a sign that something
 * reads the answer (chapter 05, section 9). Whenever a network seems stuck, ask first what an oracle would score.
 *
 * (Nothing is held out here: the twelve sequences are all there are.)
 *
 * `--started` takes a sequence that has been begun and shows its three likeliest continuations, by the beams of section 6, each
 * with the probability of all of it. After 7 they are 76528, 79124 and 72843, with 34.0, 32.8 and 30.8 %; after 72 the first is
 * 72843, with 97.9 %.
 *
 * A trap: section 5's forcing of 0.5 does harm here. The network says 6, is told that it said 6, and is then asked for the 8 of
 * 2843. It can only conclude that 76 is sometimes followed by 5 and sometimes by 8 or 1. So this part is trained with
 * forcing 1.                                                                                                               */
enum { SEQUENCES = 12, SEQUENCE = 5 };

static const int sequences[SEQUENCES][SEQUENCE] = {
    { 0, 5, 7, 7, 2 }, { 1, 4, 1, 4, 2 }, { 2, 7, 1, 8, 2 }, { 3, 1, 4, 1, 5 }, { 4, 6, 6, 9, 2 }, { 5, 6, 7, 1, 4 },
    { 6, 2, 8, 3, 1 }, { 7, 2, 8, 4, 3 }, { 7, 6, 5, 2, 8 }, { 7, 9, 1, 2, 4 }, { 8, 3, 1, 4, 4 }, { 9, 1, 5, 9, 6 },
};

/* The source is the first digit, the target the other four; every first digit is equally likely. */
static void draw_branch(const Task *task, Rng *rng, Split split, Pair *pair)
{
    int first = rng_below(rng, 10), among = 0, which[SEQUENCES];
    (void)task, (void)split;
    for (int i = 0; i < SEQUENCES; i++)
        if (sequences[i][0] == first) which[among++] = i;
    const int *sequence = sequences[which[rng_below(rng, among)]];
    *pair = (Pair){ .n = 1, .m = SEQUENCE - 1 };
    pair->x[0] = first;
    memcpy(pair->y, sequence + 1, (SEQUENCE - 1) * sizeof *sequence);
}

static Pair started_pair(const Task *task, const char *digits)
{
    Pair pair = { .n = 1 };
    int ids[MOST_PAIR], n = symbols_encode(&task->source, digits, "--started", ids);
    if (n > SEQUENCE) die("--started '%s': expected 1 to %d digits", digits, SEQUENCE);
    pair.x[0] = ids[0];
    pair.m = n - 1;
    memcpy(pair.y, ids + 1, (size_t)pair.m * sizeof *ids);
    return pair;
}

/* branches.csv: after each of these beginnings, the probability of every symbol. */
static void write_branches(const Model *m, const Task *task, const Config *o)
{
    static const char *const beginning[] = { "3", "7", "72", "76", "79", "728" };
    Output *out = output_open(o->out, "branches.csv");
    fputs("prefix,symbol,probability\n", output_file(out));
    for (size_t i = 0; i < sizeof beginning / sizeof *beginning; i++) {
        Pair pair = started_pair(task, beginning[i]);
        double log_p[MOST_PAIR];
        Var *logits;
        decoder_after(m, task, &pair, &logits);
        log_softmax(log_p, logits->value.at, m->V);
        for (int v = 0; v < m->V; v++) {
            char room[SYMBOLS_ROOM];
            const char *symbol = v == task->target.size ? "end" : symbols_text(&task->target, &v, 1, room);
            fprintf(output_file(out), "%s,%s,", beginning[i], symbol);
            csv_number(output_file(out), (double)r_exp((real)log_p[v]));
            fputc('\n', output_file(out));
        }
    }
    output_close(out);
}

static void print_suggestions(const Model *m, const Task *task, const Pair *pair, const char *started)
{
    enum { SUGGESTIONS = 3 };
    Beam beam[MOST_BEAM];
    int beams = continuations(m, task, pair, MOST_BEAM, beam);
    printf("  after %s:", started);
    for (int i = 0; i < SUGGESTIONS && i < beams; i++) {
        char room[SYMBOLS_ROOM];
        symbols_text(&task->target, beam[i].text.y, beam[i].text.n, room);
        printf("%s %s%s %.1f %%", i ? "," : "", started, room, 100 * exp(beam[i].log_p));
    }
    printf("\n");
}

static void show_branches(const Config *o, FILE *timing)
{
    Task task = task_copy(1, SEQUENCE);
    task.name = "branches", task.draw = draw_branch;
    Pair pair = started_pair(&task, o->started);
    Plan plan = copy_plan(o);
    plan.training.steps = (o->copy_steps + 1) / 2, plan.training.forcing = plan.training.forcing_end = 1;
    Trial trial = trial_new(&task, "seq2seq", o->test, o->longest, 4);
    trial.timing = timing;
    Model m;
    printf("branches  the least loss is %.4f\n", (double)r_log(3) / 50);                                       /* (7.1) */
    if (learn(&m, &plan, &trial, o)) {
        write_branches(&m, &task, o);
        print_suggestions(&m, &task, &pair, o->started);
    }
    params_free(&m.params);
    trial_free(&trial);
    task_free(&task);
}

/* ## 8. Numbers, and the bottleneck
 *
 * Spanish number words are a small language with a grammar that you can check by eye: 22 symbols, the blank included; words
 * that fuse (veintiuno), agree (quinientos, not cincocientos) and drop letters (veintiún mil); and a length that runs from 3
 * letters to 69. All below a million can be made (common/numbers.c), so there is no lack of data, and each has one right
 * answer. The network is not told what a word is; it reads letters. Numbers of 3, 4, 5 and 6 digits are drawn about equally
 * often, and those below 100 as well; a tenth of those from 100 on is held out.
 *
 * Both directions are learned, each from scratch, with three widths of the state: half of `--hidden`, `--hidden`, and twice
 * that. In the default run (LSTM, 2,000 steps of 64 numbers) the share of 1,000 held-out numbers that is answered exactly
 * is, in %:
 *
 *     width                  16      32      64
 *     words to digits      34.6    83.7    99.1
 *     digits to words       0.0     0.0    24.1
 *
 * and by the digits of the number (digits.csv, drawn in digits.png; the numbers in the classes: 89, 291, 298, 322):
 *
 *     digits                        3       4       5       6
 *     words to digits, width 16  76.4    55.7    28.2     9.9
 *                      width 32  98.9    95.9    90.6    62.1
 *                      width 64  98.9   100.0   100.0    97.5
 *     digits to words, width 64  83.1    38.1    12.4     5.9
 *
 * The more there is to know, the fewer are right, and the narrower the state, the sooner it begins. Everything
 * that the decoder will ever know of the source has to lie in the last state, at once. That is the *bottleneck*.
 *
 * Look closely at what makes a sequence long. length.csv has the same by the letters of the words, and there the lines fall
 * as well, from 93.0 % at 27 letters to 72.7 % at 61 for width 32. But that is because longer words tend to have more
 * digits. Among the numbers of six digits alone it is the other way round: 23 % of those with 30 to 39 letters are right
 * and 73 % of those with 60 and more (predictions.csv), because short words for six digits are full of zeros that no word
 * says, and such numbers are rare in training too. So the letters that are read are not what costs. What has to be kept is
 * part of it, and what is rarely practised another.
 *
 * Now the other direction. The digits are the same, and now they have to be kept while up to 69 letters are written, in the
 * same state that writing uses. From samples.txt, width 32:
 *
 *     398      trescientos setenta y siete
 *     7370     siete mil setecientos setenta y siete
 *     86251    ochenta y seis mil setecientos setenta y siete
 *     727252   setecientos cuarenta y siete mil cuatrocientos setenta y siete
 *
 * That is faultless Spanish by someone who has forgotten what to say. Of the 1,000 answers 989 are names of numbers, and
 * the other 11 are cut off one letter before their end, because a test allows as many steps as its longest target needs.
 * The first word is right in 96.8 %, the last in 8.4 %. And 90.5 % end in "setenta y siete", as only 8 of the right answers
 * do. An answer has log p -7.9 on average (see below), about as much as guessing three digits would cost, 3 ln 10 = 6.9:
 * once the decoder does not know, all endings are about equally likely to it, and the likeliest symbol is always the one
 * that is a hair ahead.
 *
 * The bottleneck is a price and not a wall. With `--part numbers --task to_digits --widths 0` and 8,000 steps, width 32 comes to
 * 99.2 % and width 16 to 83.0; with `--task to_words --hidden 64` and 8,000 steps it is 80.8 %. You can always buy a wider state
 * and a longer training. But the price rises with what there is to know, and a decoder that could look back would not have to
 * pay it.
 *
 * Beams (beam.csv, 200 held-out numbers, width 32 of the state) find likelier answers, and that helps where the network nearly
 * knows and not where it does not:
 *
 *     width of the search                   1       2       4       8
 *     words to digits   log p          -0.609  -0.563  -0.555  -0.555
 *                       exact, %         86.0    91.0    91.0    91.0
 *     digits to words   log p          -7.905  -7.879  -7.830  -7.782
 *                       exact, %          0.0     0.0     0.0     0.0
 *
 * Ask it yourself. The network of width 32 is saved:
 *
 *     build/06_seq2seq --load out/06_seq2seq/to_digits.safetensors --beam 4 --prompt "doscientos tres mil cuatro"
 *     doscientos tres mil cuatro → 203004   (probability 0.7200)
 *
 * To "cien" it answers 11, with probability 0.4662: 100 was held out, and in training "cien" was always followed by "mil". */
static Plan number_plan(const Config *o, int hidden)
{
    return (Plan){ .cell = cell_named(o->cell, "--cell"), .layers = o->layers, .embedding = o->embedding, .hidden = hidden,
                   .dropout = o->dropout,
                   .training = { .batch = o->batch, .steps = o->steps, .warmup = 50, .lr = o->lr, .lr_end = 0.05, .clip = o->clip,
                                 .forcing = o->forcing, .forcing_end = o->forcing_end } };
}

static void model_save(const Model *m, const Task *task, const char *folder, const char *name)
{
    Checkpoint c = { 0 };
    checkpoint_set(&c, "model", "seq2seq");
    checkpoint_set(&c, "task", "%s", task->name);
    checkpoint_set(&c, "cell", "%s", cell_name(m->encoder[0].kind));
    checkpoint_set(&c, "layers", "%d", m->layers);
    checkpoint_set(&c, "embedding", "%d", m->Es->value.cols);
    checkpoint_set(&c, "hidden", "%d", hidden_of(m));
    checkpoint_add_params(&c, &m->params);
    checkpoint_write(&c, folder, name);
    checkpoint_free(&c);
}

static void model_load(Model *m, Task *task, const char *path)
{
    Checkpoint c = checkpoint_read(path);
    checkpoint_expect_model(&c, "seq2seq");
    *task = task_named(checkpoint_text(&c, "task"), path);
    Plan plan = { .cell = cell_named(checkpoint_text(&c, "cell"), path), .layers = checkpoint_int(&c, "layers", 1, MOST_LAYERS),
                  .embedding = checkpoint_int(&c, "embedding", 1, 4096), .hidden = checkpoint_int(&c, "hidden", 1, 4096) };
    model_new(m, &plan, task, 0);
    checkpoint_get_params(&c, &m->params);
    checkpoint_free(&c);
}

/* The answer to one source, as text in room; returns its log-probability. */
static double answer_text(const Model *m, const Task *task, const char *source, int width, char room[SYMBOLS_ROOM])
{
    Pair pair = { .n = 0 };
    Beam beam[MOST_BEAM];
    pair.n = symbols_encode(&task->source, source, "--prompt", pair.x);
    continuations(m, task, &pair, width, beam);
    symbols_text(&task->target, beam[0].text.y, beam[0].text.n, room);
    return beam[0].log_p;
}

/* beam.csv: the first test pairs answered with wider and wider beams. */
static void write_beams(FILE *f, const Model *m, const Task *task, const Trial *t)
{
    enum { PAIRS = 200 };
    int n = t->tests < PAIRS ? t->tests : PAIRS;
    printf("  beam      width   log p of the answer   exact, of %d pairs\n", n);
    for (int width = 1; width <= 8 && !interrupted(); width *= 2) {
        Score score = { 0 };
        double log_p = 0;
        for (int i = 0; i < n; i++) {
            Pair asked = t->test[i];
            Beam beam[MOST_BEAM];
            asked.m = 0;
            continuations(m, task, &asked, width, beam);
            score_add(&score, &t->test[i], &beam[0].text);
            log_p += beam[0].log_p / n;
        }
        printf("            %5d   %19.4f   %5.1f %%\n", width, log_p, 100 * score_exact(&score));
        fprintf(f, "%s,%d,%d,", task->name, width, n);
        csv_number(f, log_p), fputc(',', f), csv_number(f, score_exact(&score)), fputc('\n', f);
    }
}

/* The first answers in samples.txt, with what would have been right where they are not. */
static void write_samples(FILE *f, const Task *task, const Trial *t)
{
    enum { SAMPLES = 12 };
    char source[SYMBOLS_ROOM], said[SYMBOLS_ROOM], target[SYMBOLS_ROOM];
    for (int i = 0; i < t->tests && i < SAMPLES; i++) {
        const Pair *p = &t->test[i];
        symbols_text(&task->source, p->x, p->n, source);
        fprintf(f, "%s → %s", source, symbols_text(&task->target, t->answer[i].y, t->answer[i].n, said));
        if (!answer_exact(p, &t->answer[i])) fprintf(f, "   and not %s", symbols_text(&task->target, p->y, p->m, target));
        fputc('\n', f);
    }
}

typedef struct { Curve curve; Output *length, *digits, *predictions, *beam, *samples; FILE *accuracy, *timing; } NumberFiles;

/* One width of one task. The network of the width that was asked for is saved, and its answers are written out. */
static void show_width(const Task *task, int hidden, bool chosen, const Config *o, NumberFiles *files)
{
    bool digits = strcmp(task->name, "to_digits") == 0;
    Plan plan = number_plan(o, hidden);
    Trial trial = trial_new(task, "seq2seq", o->test, o->longest, o->reports);
    Model m;
    trial.curve_model = digits ? NULL : "seq2seq_words";
    trial.curve = chosen ? &files->curve : NULL, trial.accuracy = chosen ? files->accuracy : NULL, trial.timing = files->timing;
    bool learned = learn(&m, &plan, &trial, o);
    if (learned) {
        lengths_write(output_file(files->length), "seq2seq", task, hidden, trial.test, trial.answer, trial.tests, LONGER, 6);
        lengths_write(output_file(files->digits), "seq2seq", task, hidden, trial.test, trial.answer, trial.tests, SHORTER, 1);
    }
    if (learned && chosen) {
        predictions_write(output_file(files->predictions), "seq2seq", task, trial.test, trial.answer, trial.tests);
        model_save(&m, task, o->out, digits ? "to_digits.safetensors" : "to_words.safetensors");
        write_samples(output_file(files->samples), task, &trial);
        write_beams(output_file(files->beam), &m, task, &trial);
    }
    params_free(&m.params);
    trial_free(&trial);
}

static void show_numbers(const Config *o, FILE *accuracy, FILE *timing)
{
    NumberFiles f = { .curve = curve_open(o->out, (uint64_t)o->seed), .length = output_open(o->out, "length.csv"),
                      .digits = output_open(o->out, "digits.csv"),
                      .predictions = output_open(o->out, "predictions.csv"), .beam = output_open(o->out, "beam.csv"),
                      .samples = output_open(o->out, "samples.txt"), .accuracy = accuracy, .timing = timing };
    fputs("model,task,hidden,length,pairs,exact\n", output_file(f.length));
    fputs("model,task,hidden,length,pairs,exact\n", output_file(f.digits));
    fputs("model,task,source,target,answer,exact\n", output_file(f.predictions));
    fputs("task,width,pairs,log_probability,exact\n", output_file(f.beam));
    for (int t = 0; t < 2; t++) {
        Task task = t ? task_to_words() : task_to_digits();
        int hidden[3] = { o->hidden, (o->hidden + 1) / 2, 2 * o->hidden };
        bool asked = strcmp(o->task, "both") == 0 || strcmp(o->task, task.name) == 0;
        for (int w = 0; asked && w < (o->widths ? 3 : 1) && !interrupted(); w++) {
            if (w == 1 && hidden[w] == o->hidden) continue;              /* half of 1 */
            printf("numbers   %s, width %d\n", task.name, hidden[w]);
            show_width(&task, hidden[w], w == 0, o, &f);
        }
        task_free(&task);
    }
    curve_close(&f.curve);
    output_close(f.length), output_close(f.digits), output_close(f.predictions), output_close(f.beam), output_close(f.samples);
}

/* ## 9. Is it better to be told the truth?
 *
 * The question of section 4, put to 3 to 10 digits that are to be copied. Four networks begin with the same weights, see the
 * same pairs, and differ in how often they are told the truth. After 2,000 steps, on held-out sequences, in % (forcing.csv):
 *
 *     forcing                                     1     0.5       0    1 to 0
 *     symbols right, told the truth            96.2    86.2    85.9      76.1
 *     symbols right, left alone                89.7    76.6    82.2      65.2
 *     the gap                                   6.5     9.5     3.7      10.8
 *     exact, left alone                        81.1    50.8    50.0      34.3
 *
 * The gap between the first two lines has two causes. One is exposure bias: left alone, one wrong digit puts the network
 * where it has never been. The other is that the truth tells it things: whoever has forgotten the third digit and is told
 * it can still say the fourth. The network that was never told the truth has the smallest gap, as promised. But look at the
 * last line. What counts is how well it answers alone, and there the one that was always told the truth wins by far. The
 * gap is smaller, and the answers are worse. With `--seed 2` and `3` forcing 1 wins as well, with 85.3 and 81.3 % exact
 * against at most 60.6; the order of the others changes.
 *
 * A likely reason: told its own mistakes, the decoder must give "the t-th digit" after a beginning that does not fit, and
 * early in training nearly everything that it says is a mistake. What should follow a wrong beginning has no good answer,
 * and Huszár (2015) shows that what is minimized under (4.1) is not even least for the true distribution. (Section 7's trap
 * is the same thing in small.) The schedule 1 to 0 first trains it for one situation and then for another. After 5,000
 * steps (`--preset reference --part forcing`) the first is still ahead: 94.5, 80.5, 71.5 and 76.6 % are exact, in the order
 * of the table.
 *
 * And the gap closes by itself as the network gets better: one that makes no mistakes is never told one. Forcing 1 is the rule in
 * the rest of this book, and in nearly all that you will read about.                                                       */
static void show_forcing(const Config *o)
{
    static const struct { const char *name; double from, to; } way[] = { { "1", 1, 1 }, { "0.5", 0.5, 0.5 }, { "0", 0, 0 },
                                                                         { "1 to 0", 1, 0 } };
    Output *out = output_open(o->out, "forcing.csv");
    Task task = task_copy(3, 10);
    fputs("forcing,task,step,told_loss,told_symbols,alone_symbols,alone_exact\n", output_file(out));
    for (int i = 0; i < 4 && !interrupted(); i++) {
        Plan plan = copy_plan(o);
        plan.training.steps = o->forcing_steps, plan.training.forcing = way[i].from, plan.training.forcing_end = way[i].to;
        Trial trial = trial_new(&task, way[i].name, o->test, o->longest, 20);
        Model m;
        trial.forcing = output_file(out);
        printf("forcing   %s\n", way[i].name);
        learn(&m, &plan, &trial, o);
        params_free(&m.params);
        trial_free(&trial);
    }
    output_close(out);
    task_free(&task);
}

/* ## 10. The run                                                                                                          */
static const Option options[] = {
    OPTIONS_FOR_ALL(Config),
    { "part", OPTION_CHOICE, offsetof(Config, part), 0, 0, "copy, branches, numbers, forcing or all: what to run" },
    { "copy-steps", OPTION_INT, offsetof(Config, copy_steps), 1, 1e7, "copy: steps of training; branches: half of them" },
    { "copy-low", OPTION_REAL, offsetof(Config, copy_low), 0, 1, "copy: learning rate at the end, as a part of 0.005" },
    { "started", OPTION_TEXT, offsetof(Config, started), 0, 0, "branches: the first digits of a sequence to go on with" },
    { "forcing-steps", OPTION_INT, offsetof(Config, forcing_steps), 1, 1e7, "forcing: steps of training for each way" },
    { "task", OPTION_CHOICE, offsetof(Config, task), 0, 0, "to_digits, to_words or both: of the numbers" },
    { "cell", OPTION_CHOICE, offsetof(Config, cell), 0, 0, "rnn, gru or lstm: of the numbers" },
    { "layers", OPTION_INT, offsetof(Config, layers), 1, MOST_LAYERS, "numbers: layers of encoder and decoder" },
    { "hidden", OPTION_INT, offsetof(Config, hidden), 1, 2048, "numbers: width of the state, H" },
    { "widths", OPTION_INT, offsetof(Config, widths), 0, 1, "numbers: 1: half and twice that width as well" },
    { "embedding", OPTION_INT, offsetof(Config, embedding), 1, 4096, "numbers: width of an embedding, D" },
    { "steps", OPTION_INT, offsetof(Config, steps), 1, 1e7, "numbers: steps of training" },
    { "batch", OPTION_INT, offsetof(Config, batch), 1, 4096, "numbers: pairs a step, B" },
    { "lr", OPTION_REAL, offsetof(Config, lr), 1e-9, 10, "numbers: highest learning rate" },
    { "clip", OPTION_REAL, offsetof(Config, clip), 1e-9, 1e9, "numbers: longest gradient" },
    { "dropout", OPTION_REAL, offsetof(Config, dropout), 0, 0.99, "numbers: probability of dropping an output" },
    { "forcing", OPTION_REAL, offsetof(Config, forcing), 0, 1, "numbers: probability of being told the truth, at first …" },
    { "forcing-end", OPTION_REAL, offsetof(Config, forcing_end), 0, 1, "numbers: … and at the end; in between, a straight line" },
    { "longest", OPTION_INT, offsetof(Config, longest), 1, MOST_PAIR, "sources are cut to so many symbols" },
    { "test", OPTION_INT, offsetof(Config, test), 1, 10000, "pairs to test with" },
    { "reports", OPTION_INT, offsetof(Config, reports), 1, 1e6, "numbers: rows in the curve" },
    { "load", OPTION_TEXT, offsetof(Config, load), 0, 0, "a saved network: do not train, only answer --prompt" },
    { "prompt", OPTION_TEXT, offsetof(Config, prompt), 0, 0, "with --load: a number in words or in digits" },
    { "beam", OPTION_INT, offsetof(Config, beam), 1, MOST_BEAM, "with --load: width of the search; 1 is greedy" },
};

#define SAME .seed = 1, .out = "out/06_seq2seq", .part = "all", .task = "both", .cell = "lstm", .started = "7", .prompt = "", \
             .layers = 1, .batch = 64, .lr = 0.005, .clip = 1, .forcing = 1, .forcing_end = 1, .longest = MOST_PAIR, .beam = 1, \
             .embedding = 16

static const Config quick     = { SAME, .copy_low = 0.05, .copy_steps = 80, .forcing_steps = 40, .steps = 40, .hidden = 16,
                                  .test = 100, .reports = 4 };
static const Config usual     = { SAME, .copy_low = 0.05, .copy_steps = 2000, .forcing_steps = 2000, .steps = 2000,
                                  .hidden = 32, .widths = 1, .test = 1000, .reports = 20 };
static const Config reference = { SAME, .copy_low = 1, .copy_steps = 2000, .forcing_steps = 5000, .steps = 10000,
                                  .hidden = 64, .widths = 1, .test = 2000, .reports = 40 };

static const Cli cli = {
    .about = "Chapter 06: an encoder reads, a decoder writes; copying, Spanish numbers, and the state between them.",
    .options = options, .count = sizeof options / sizeof *options,
    .presets = { &quick, &usual, &reference }, .size = sizeof(Config),
};

/* Complains now of what a part would complain of when it is reached, after others have trained and written their files. */
static void check_texts(const Config *o)
{
    Task digits = task_copy(1, SEQUENCE);
    if (!o->load && *o->prompt) die("--prompt '%s': expected --load FILE as well, to say which network is to answer", o->prompt);
    if (!o->load && o->beam > 1) die("--beam %d: expected --load FILE and --prompt TEXT as well", o->beam);
    if (o->load && !*o->prompt) die("--load '%s': expected --prompt TEXT as well, to say what is asked", o->load);
    started_pair(&digits, o->started);
    task_free(&digits);
}

static bool wanted(const Config *o, const char *part)
{
    return (strcmp(o->part, part) == 0 || strcmp(o->part, "all") == 0) && !interrupted();
}

static void run_parts(const Config *o)
{
    if (wanted(o, "numbers")) output_try(o->out, "curve.csv");           /* complain now, not after the parts before it */
    Output *timing = output_open(o->out, "timing.csv"), *accuracy = NULL;
    fputs("model,epoch,seconds,tokens_per_second\n", output_file(timing));
    if (wanted(o, "copy") || wanted(o, "numbers")) {
        accuracy = output_open(o->out, "accuracy.csv");
        fputs("model,task,step,loss,symbols,exact\n", output_file(accuracy));
    }
    if (wanted(o, "copy")) show_copies(o, output_file(accuracy), output_file(timing));
    if (wanted(o, "branches")) show_branches(o, output_file(timing));
    if (wanted(o, "numbers")) show_numbers(o, output_file(accuracy), output_file(timing));
    if (wanted(o, "forcing")) show_forcing(o);
    if (accuracy) output_close(accuracy);
    output_close(timing);
}

int main(int argc, char **argv)
{
    Config o;
    cli_parse(&cli, argc, argv, &o);
    check_texts(&o);
    threads_start(o.threads);
    interrupt_catch();
    if (o.load) {
        Model m;
        Task task;
        char room[SYMBOLS_ROOM];
        model_load(&m, &task, o.load);
        double log_p = answer_text(&m, &task, o.prompt, o.beam, room);
        printf("%s → %s   (probability %.4f)\n", o.prompt, room, exp(log_p));
        params_free(&m.params);
        task_free(&task);
    } else {
        run_parts(&o);
    }
    tape_free();
    threads_stop();
    return interrupted() ? INTERRUPTED : 0;
}

/* ## What we simplified
 *
 * - One layer by default. Sutskever et al. had four, with 1,000 numbers each.
 * - The decoder sees the source through its first state alone. Cho et al. hand it the encoder's last state at every step,
 *   so that it need not be remembered while writing.
 * - Beams are ranked by log p as it is. Among answers of very different lengths that favours the short ones, and translators
 *   divide by the length or a power of it. Here the length is a part of what is right or wrong.
 * - Whether a symbol is right is judged place by place. An answer that has lost its second digit is then wrong nearly everywhere.
 *
 * ## What to remember
 *
 * - An encoder reads and says nothing, a decoder writes and reads nothing but itself; one state passes between them.
 * - BOS begins, EOS ends, PAD is not there: no input, no target, and in front of a source no change of state. Check it bit
 *   for bit.
 * - Teacher forcing: told the truth in training, left alone in use. The gap between the two is exposure bias. Measure it before
 *   you cure it.
 * - What the input does not decide can only be learned as probabilities. Know the least loss before you try to go below it.
 * - A state of fixed size is a bottleneck for a sequence of any size.
 *
 * ## References
 *
 * - I. Sutskever, O. Vinyals, Q. V. Le, "Sequence to sequence learning with neural networks", NeurIPS 2014.
 * - K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation", EMNLP 2014.
 * - S. Bengio, O. Vinyals, N. Jaitly, N. Shazeer, "Scheduled sampling for sequence prediction with recurrent neural networks",
 *   NeurIPS 2015.
 * - F. Huszár, "How (not) to train your generative model: scheduled sampling, likelihood, adversary?", arXiv:1511.05101, 2015.
 * - S. Lemons, C. Linares López, R. C. Holte, W. Ruml, "Beam search: faster and monotonic", ICAPS 2022. (6.2).
 * - S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997. D. Kingma, J. Ba, "Adam: a method for
 *   stochastic optimization", ICLR 2015.
 * - Set-up of section 5: a README on sequence to sequence models; of section 7: a blog post on them. See docs/references.md.   */
