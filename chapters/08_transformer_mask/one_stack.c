/* # 8, third part: one stack
 *
 * A text that goes on, or a text with holes. There is no source, so there is no encoder to look at: one stack reads, and
 * says something at every place. What it may say without cheating is a question of the mask.                               */
#include "transformer.h"

#include "corpus.h"
#include "ngrams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ## 13. One mask apart
 *
 *     Y = stack(embed(x₁ … x_T), mask)          logitsₜ = Yₜ U + c   (13.1)   (B·T,V)
 *
 *     mask          reads                      row t says          and is called
 *     triangle      x₁ … x_T                   xₜ₊₁                GPT      Radford et al. 2018
 *     none          x₁ … x_T, some hidden      xₜ, where hidden    BERT     Devlin et al. 2019
 *
 * Under the triangle every row can be asked for the next symbol, because none has seen it. Without the triangle a row
 * sees its right neighbour, and asking for it would be chapter 05's leak. So the answer must be taken out of the input
 * instead: some symbols are replaced by one that is none, the *gap* (the last row of the embedding), and only there is
 * the network asked. One hides the future by a mask in the attention; the other hides symbols in the text, and lets all
 * be seen.
 *
 * `causal` is the whole difference, here and in fill_causal and fill_gaps.                                                 */
static Var *read_all(const Model *m, const int *ids, int B, int T, bool causal, Rng *rng)
{
    Pass pass = { .m = m, .stack = &m->decoder, .seen = { .B = B, .causal = causal }, .rng = rng };                  /* (13.1) */
    return linear(&m->output, stack_run(&pass, model_embed(m, m->Et, ids, B, T, 0, rng)));
}

static int gap_id(const Model *m) { return m->plan.target - 1; }

/* Batches are windows of T symbols from anywhere in the training part. Nothing is carried from one to the next: what
 * chapter 05's state remembered from earlier pages, this network has to find in its T symbols.
 *
 * fill_causal uses all T rows to learn from, fill_gaps only the share that is hidden. BERT's authors hide 15 %, and put
 * something else than the gap into a fifth of these. We hide 30 % (`--gap`): more to learn from in each batch, and for
 * letters, whose neighbours say much, still enough to go by.                                                               */
typedef struct { int B, T, *x, *y; } Windows;                            /* (B·T) each: what is read, what is to be said */

static Windows windows_new(int B, int T)
{
    return (Windows){ .B = B, .T = T, .x = allocate((size_t)(B * T), sizeof(int)), .y = allocate((size_t)(B * T), sizeof(int)) };
}

static void windows_free(Windows *w) { free(w->x), free(w->y); }

/* Row b of the windows begins at `at`: each symbol predicts the next. */
static void fill_causal(Windows *w, int b, const int *at)
{
    memcpy(w->x + b * w->T, at, (size_t)w->T * sizeof *at);
    memcpy(w->y + b * w->T, at + 1, (size_t)w->T * sizeof *at);
}

/* … or else some are gaps, which are to be filled, and nothing is said of the others. */
static void fill_gaps(Windows *w, int b, const int *at, double share, int gap, Rng *rng)
{
    int *x = w->x + b * w->T, *y = w->y + b * w->T, gaps = 0;
    for (int t = 0; t < w->T; t++) {
        bool hidden = (double)rng_uniform(rng) < share;
        x[t] = hidden ? gap : at[t];
        y[t] = hidden ? at[t] : PAD;
        gaps += hidden;
    }
    if (gaps > 0) return;
    int t = rng_below(rng, w->T);                                        /* a window without a question teaches nothing */
    x[t] = gap, y[t] = at[t];
}

static void fill(Windows *w, int b, const int *at, const Model *m, bool causal, double share, Rng *rng)
{
    if (causal) fill_causal(w, b, at);
    else fill_gaps(w, b, at, share, gap_id(m), rng);
}

/* The mean loss over a part, windows side by side that do not overlap; always the same gaps. */
static double part_loss(const Model *m, Part part, int T, bool causal, double share)
{
    enum { SIDE_BY_SIDE = 32 };
    int windows = (part.n - 1) / T;
    double total = 0;
    long counted = 0;
    Rng rng = rng_new(0, 3);
    bool recording = tape_record(false);
    for (int i = 0; i < windows; i += SIDE_BY_SIDE) {
        Windows w = windows_new(windows - i < SIDE_BY_SIDE ? windows - i : SIDE_BY_SIDE, T);
        long now = 0;
        for (int b = 0; b < w.B; b++) fill(&w, b, part.ids + (i + b) * T, m, causal, share, &rng);
        for (int k = 0; k < w.B * T; k++) now += w.y[k] >= 0;
        tape_reset();
        total += (double)now * (double)v_cross_entropy(read_all(m, w.x, w.B, T, causal, NULL), w.y)->value.at[0];
        counted += now;
        windows_free(&w);
    }
    tape_record(recording);
    return counted ? total / (double)counted : 0;
}

/* Training is chapter 05's, without the state and without keeping the best weights: at these lengths the last are the best.   */
typedef struct { Curve curve; Output *timing; } Files;

static void report(Files *f, const char *name, CurveRow row, double valid, double seconds, long symbols)
{
    row.model = name, row.split = "train";
    curve_add(&f->curve, row);
    printf("  %-4s step %6ld   train %.3f   valid %.3f bits   %7.0f symbols/s\n", name, row.step, bits(row.loss), bits(valid),
           (double)symbols / seconds);
    fflush(stdout);
    row.split = "valid", row.loss = valid, row.grad_norm = row.lr = 0;
    curve_add(&f->curve, row);
    fprintf(output_file(f->timing), "%s,%ld,%.3f,%.0f\n", name, row.epoch, seconds, (double)symbols / seconds);
}

static double train_step(Model *m, const Config *o, Part part, bool causal, Windows *w, Optim *adam, Rng rng[2], double *norm)
{
    for (int b = 0; b < w->B; b++) fill(w, b, part.ids + rng_below(&rng[0], part.n - w->T), m, causal, o->gap, &rng[0]);
    tape_reset();
    Var *loss = v_cross_entropy(read_all(m, w->x, w->B, w->T, causal, &rng[1]), w->y);
    params_zero_grad(&m->params);
    tape_backward(loss);
    *norm = params_clip_grad(&m->params, o->clip);
    optim_step(adam, &m->params);
    return (double)loss->value.at[0];
}

/* Returns the steps taken: with 0, after an early Ctrl-C, there is nothing to keep. */
static long train(Model *m, const Config *o, const Corpus *book, bool causal, Files *f)
{
    const char *name = causal ? "gpt" : "bert";
    Windows w = windows_new(o->batch, o->window);
    Rng rng[2] = { rng_new((uint64_t)o->seed, 1), rng_new((uint64_t)o->seed, 2) };                      /* batches; dropout */
    Optim adam = optim_adam(&m->params, o->lr, 0);
    CurveRow row = { .epoch = 1 };
    int reports = o->reports < o->steps ? o->reports : o->steps, done = 0, since = 0;
    double total = 0, begun = seconds_now();
    long each = (long)o->batch * o->window;
    bool stop = interrupted();
    while (row.step < o->steps && !stop) {
        adam.lr = row.lr = o->lr * schedule_cosine(row.step++, o->warmup, o->steps, 0.05);
        total += train_step(m, o, book->train, causal, &w, &adam, rng, &row.grad_norm);
        if (!isfinite(total) || !isfinite(row.grad_norm))
            die("%s: at step %ld the loss is no number: training has diverged; try a smaller --lr", name, row.step);
        row.tokens += each;
        row.epoch = 1 + row.tokens / book->train.n;
        progress_line(name, row.step, o->steps, total / ++since);
        stop = interrupted();                                            /* asked once: a signal may come between two */
        if (row.step * reports / o->steps == done && !stop) continue;
        progress_end();
        double seconds = seconds_now() - begun;
        row.loss = total / since;
        report(f, name, row, part_loss(m, book->valid, o->window, causal, o->gap), seconds, since * each);
        done = (int)(row.step * reports / o->steps);
        total = since = 0, begun = seconds_now();
    }
    progress_end();
    optim_free(&adam);
    windows_free(&w);
    return row.step;
}

/* ### A model and its text                                                                                                  */
static Corpus open_text(const Config *o)
{
    Corpus book = corpus_open(o->corpus);
    int part = book.valid.n < book.test.n ? book.valid.n : book.test.n;
    if (part < o->window + ORDERS)
        die("%s: 5 %% of it are %d symbols; --window %d needs %d there", book.source, part, o->window, o->window + ORDERS);
    corpus_print(&book);
    return book;
}

static void new_model(Model *m, const Config *o, int V)
{
    Plan plan = plan_of(o);
    plan.target = V + 1, plan.said = V, plan.most = o->window;                           /* the last row: the gap */
    model_new(m, &plan, (uint64_t)o->seed);
}

static void print_model(const char *name, const Model *m, const Config *o)
{
    printf("model     %s, %d blocks of %d, %d heads: %zu parameters; %d steps of %d symbols\n", name, o->blocks, o->width,
           o->heads, m->params.size, o->steps, o->batch * o->window);
}

static void save(const Model *m, const Vocab *vocab, const char *task, const Config *o)
{
    Checkpoint c = { 0 };
    checkpoint_set(&c, "task", "%s", task);
    checkpoint_set_vocab(&c, vocab);
    plan_set(&c, m);
    checkpoint_write(&c, o->out, "model.safetensors");
    checkpoint_free(&c);
}

static void load(Model *m, Vocab *vocab, const char *task, const Config *o)
{
    Checkpoint c = checkpoint_read(o->load);
    if (strcmp(checkpoint_text(&c, "task"), task) != 0)
        die("%s: its task is '%s'; expected %s", o->load, checkpoint_text(&c, "task"), task);
    *vocab = checkpoint_vocab(&c);
    model_load(m, &c, 0, vocab->size + 1, vocab->size);
    checkpoint_free(&c);
}

static Files files_open(const Config *o)
{
    Files f = { .curve = curve_open(o->out, (uint64_t)o->seed), .timing = output_open(o->out, "timing.csv") };
    fputs("model,epoch,seconds,tokens_per_second\n", output_file(f.timing));
    return f;
}

/* ## 14. Writing, with a cache
 *
 * Read the prompt, one symbol at a time; draw the next from what the last row says; read that. With section 7's cache a
 * symbol costs one row through the stack, however long the text is, and the looking back over what is in the cache.
 *
 * The network has places for T symbols and no more. When the cache is full, the later half of the text is read again from
 * place 0, and there is room for another half. From then on it sees between T/2 and T symbols, and never knows what stood
 * before. (One cannot just drop the oldest entries: keys and values were made of rows that knew their place, and the
 * places would all be wrong.) In write_text that is one line: `read` is the next symbol to be read, and when all places
 * are taken it goes back by half of them, and the cache is empty.                                                          */

/* The ids of the prompt (*n); an empty one is the likeliest symbol of the vocabulary, whose id is 0. */
static int *encode_prompt(const Vocab *vocab, const char *prompt, int *n)
{
    if (*prompt) return vocab_encode_utf8(vocab, prompt, "--prompt", n);
    *n = 1;
    return allocate(1, sizeof(int));
}

/* Reads one more symbol at `place`; logits (1,V) for the next, until tape_reset. */
static Matrix read_next(const Model *m, Cache *cache, int id, int place)
{
    Pass pass = { .m = m, .stack = &m->decoder, .seen = { .B = 1 }, .cache = cache };
    tape_reset();
    return linear(&m->output, stack_run(&pass, model_embed(m, m->Et, &id, 1, 1, place, NULL)))->value;
}

static int draw_symbol(Matrix logits, double temperature, Rng *rng)
{
    int best;
    argmax_rows(&best, logits);
    if ((real)temperature == 0) return best;
    Matrix p = tape_matrix(1, logits.cols);
    for (int v = 0; v < logits.cols; v++) p.at[v] = (logits.at[v] - logits.at[best]) / (real)temperature;
    mat_softmax(p, p, NULL);
    return rng_categorical(rng, p.at, p.cols);
}

static void write_text(FILE *f, const Model *m, const Vocab *vocab, const Config *o)
{
    int n, most = m->plan.most, *ids = encode_prompt(vocab, o->prompt, &n), *all = allocate((size_t)(n + o->length), sizeof *all);
    char room[UTF8_ROOM];
    Matrix logits = { 0 };
    Rng rng = rng_new((uint64_t)o->seed, 4);
    Cache cache = cache_new(m, 1, most);
    bool recording = tape_record(false);
    memcpy(all, ids, (size_t)n * sizeof *all);
    for (int i = 0, read = 0; i < n + o->length && !interrupted(); i++) {
        if (i >= n) all[i] = draw_symbol(logits, o->temperature, &rng);
        fputs(utf8_of(vocab->code[all[i]], room), f);
        if (cache.n == most) read = i - most / 2, cache.n = 0;
        for (; read <= i && i + 1 < n + o->length; read++) logits = read_next(m, &cache, all[read], cache.n);
    }
    fputc('\n', f);
    tape_record(recording);
    cache_free(&cache);
    free(ids), free(all);
}

static void write_sample(const Model *m, const Vocab *vocab, const Config *o)
{
    char *text = NULL;
    size_t size = 0;
    Output *out = output_open(o->out, "samples.txt");
    FILE *memory = open_memstream(&text, &size);
    if (!memory) die("out of memory for the sample");
    write_text(memory, m, vocab, o);
    fclose(memory);
    fputs(text, stdout), fputs(text, output_file(out));
    output_close(out);
    free(text);
}

/* ### Where it looked
 *
 * attention.csv: the beginning of the test part, every head of every block, each letter looking at letters.                */
static const char *symbol(const Model *m, const Vocab *vocab, int id, char room[UTF8_ROOM])
{
    if (id == gap_id(m)) return "_";
    uint32_t code = vocab->code[id];
    return code == ' ' || code == '\n' ? "·" : code == ',' || code == '"' ? "'" : utf8_of(code, room);
}

static void write_looks(const Model *trained, const Corpus *book, bool causal, const char *folder)
{
    Model fused = *trained, *m = &fused;
    m->plan.fused = true;                                                /* v_attention keeps P to be looked at */
    enum { LETTERS = 24 };
    Output *out = output_open(folder, "attention.csv");
    FILE *f = output_file(out);
    Label label[LETTERS];
    char room[UTF8_ROOM];
    int T = m->plan.most < LETTERS ? m->plan.most : LETTERS, ids[LETTERS];
    memcpy(ids, book->test.ids, (size_t)T * sizeof *ids);
    if (!causal) ids[T / 2] = gap_id(m);
    fputs("model,example,row,output,column,input,weight\n", f);
    bool recording = tape_record(false);
    tape_reset();
    Pass pass = { .m = m, .stack = &m->decoder, .seen = { .B = 1, .causal = causal } };
    stack_run(&pass, model_embed(m, m->Et, ids, 1, T, 0, NULL));
    for (int t = 0; t < T; t++) snprintf(label[t], LABEL_ROOM, "%s", symbol(m, &book->vocab, ids[t], room));
    write_heads(f, m, pass.looked, 1, T, label, T, label);
    tape_record(recording);
    output_close(out);
}

/* ## 15. GPT beside the network of chapter 05
 *
 * Beside chapter 05's counters, in bits a character; validation from windows side by side, whose first letters have next
 * to nothing to go by. The default run on Don Quijote (`make chapter-08 ARGS='--task gpt'`), 3 blocks of 96:
 *
 *     step            100     200     400     600     800    1000    1100
 *     valid         3.445   3.101   2.713   2.487   2.345   2.271   2.255
 *
 *     test          5-gram 2.042     gpt 2.268
 *
 * The 5-gram is ahead, and so is chapter 05's GRU, which needs half a minute. At equal seconds and at equal parameters
 * (`make league`; bits on the test part):
 *
 *                              gru                          gpt
 *     equal seconds            1.900    20 s   150,300      2.566    20 s   353,564 parameters; 593 steps
 *     equal parameters         1.900    20 s   150,300      2.306    46 s   150,428 parameters; the same symbols read
 *
 * That is not what one reads about Transformers. Why? A book is small, and a minute is short. The GRU is built for
 * sequences: that what comes next depends on what just came is in its wiring. This network must first find out that
 * neighbours matter; it takes more than a hundred steps to come down to the bigrams' 3.3 bits. And give it more of both?
 * `--task gpt --preset reference` has 4 blocks of 128 and reads 41 million symbols, the book 21 times, in 36 minutes on
 * two cores that had other work as well:
 *
 *     step           1000    2000    4000    8000   12000   16000   20000
 *     valid         2.518   2.230   2.038   1.911   1.851   1.817   1.802      test 1.801
 *
 * It passes the 5-gram (valid 2.050) at step 4,000 and the minute's GRU (1.904) at 9,000, and has not begun to overfit.
 * Chapter 05's reference run, a GRU, ends at 1.706 on test: on one book and two cores recurrence wins. What the
 * Transformer gains cannot be seen here: no step waits for another, so that a machine of ten thousand cores can be kept
 * busy.                                                                                                                    */
typedef struct { const char *model; double valid, test; } Result;

static void result_row(FILE *f, Result r)
{
    fprintf(f, "%s,", r.model);
    csv_number(f, bits(r.valid)), fputc(',', f);
    csv_number(f, bits(r.test)), fputc('\n', f);
    printf("  %-20s %8.3f %8.3f\n", r.model, bits(r.valid), bits(r.test));
}

static void show_baselines(Curve *curve, const Ngrams *g, const Corpus *book, FILE *f)
{
    double valid[ORDERS], test[ORDERS];
    ngrams_loss(g, book->valid.ids, book->valid.n, book->vocab.size, valid);
    ngrams_loss(g, book->test.ids, book->test.n, book->vocab.size, test);
    printf("  %-20s %8s %8s   bits a character\n", "", "valid", "test");
    for (int n = 0; n < ORDERS; n++) {
        curve_add(curve, (CurveRow){ .model = ngram_names[n], .split = "baseline", .loss = valid[n] });
        result_row(f, (Result){ ngram_names[n], valid[n], test[n] });
    }
}

static void learn_gpt(Model *m, const Config *o, const Corpus *book)
{
    Files f = files_open(o);
    Output *results = output_open(o->out, "results.csv");
    Ngrams g = ngrams_count(book->train.ids, book->train.n);
    fputs("model,valid_bits,test_bits\n", output_file(results));
    show_baselines(&f.curve, &g, book, output_file(results));
    bool learned = train(m, o, book, true, &f) > 0;
    if (!interrupted())
        result_row(output_file(results), (Result){ "gpt", part_loss(m, book->valid, o->window, true, 0),
                                                   part_loss(m, book->test, o->window, true, 0) });
    if (learned) write_looks(m, book, true, o->out), save(m, &book->vocab, "gpt", o);
    ngrams_free(&g);
    curve_close(&f.curve), output_close(f.timing), output_close(results);
}

void run_gpt(const Config *o)
{
    Model m;
    Vocab vocab;
    if (o->load) load(&m, &vocab, "gpt", o);
    else {
        Corpus book = open_text(o);
        int n;
        free(encode_prompt(&book.vocab, o->prompt, &n));                 /* complain of the prompt now, not after training */
        new_model(&m, o, book.vocab.size);
        print_model("gpt", &m, o);
        learn_gpt(&m, o, &book);
        vocab = vocab_of_symbols(book.vocab.code, book.vocab.size);
        corpus_free(&book);
    }
    if (!interrupted()) write_sample(&m, &vocab, o);
    vocab_free(&vocab), model_free(&m);
}

/* ## 16. BERT, and who fills gaps best
 *
 * A gpt sees what stands to the left of a gap. A bert sees both sides, which must be worth something. The run trains one
 * of each, smaller than the gpt of section 15, both of the same sizes, from the same start, for the same steps; `causal`
 * is what differs (and with it the windows that are drawn, as gaps come out of the same generator). Then one symbol in
 * the middle of each of 1,000 windows of the test part is taken out, and everybody may guess (gaps.csv). The counters of
 * chapter 05 join in, twice: from the left alone, that chapter's (2.2); and from both sides, which a language model of
 * the left can do, too. Put each symbol v into the gap, and multiply the probabilities of v and of the n-1 symbols behind
 * it, whose contexts now hold v. What fits worst behind shows that v was wrong.
 *
 *                   left      both
 *     1-gram        16.9      16.9 %
 *     2-gram        29.3      42.8
 *     3-gram        41.1      66.3
 *     4-gram        51.5      82.1
 *     5-gram        57.4      88.7
 *     gpt           52.4
 *     bert                    52.1
 *
 * Both sides are worth a lot: to the 5-gram it is the difference between 57 and 89 in a hundred. And BERT, which sees 127
 * symbols around the gap, does no better than the gpt that sees only the 64 before it. It has learned less in the same
 * steps, for two reasons that can be seen and one that may be guessed. Only 30 % of its rows teach it something. Its
 * start is slower:
 *
 *     step            150     300     450     600     900    1200    1500
 *     gpt           3.369   3.005   2.787   2.653   2.464   2.364   2.324       bits, all symbols, from the left
 *     bert          4.416   4.406   4.015   3.498   3.007   2.844   2.786       bits, gaps only, from both sides
 *
 * 4.40 bits are the frequencies of the letters alone (4.396), and for 300 steps it has learned nothing else: a gap holds
 * nothing, so everything has to come from the neighbours, and to find them a head must first learn to look one place
 * aside. A gpt has its last letter in its own row, and is at the bigrams' loss (3.323) before BERT has begun. Here
 * (5.1)'s trap can be measured, too: with `--spread 1` BERT stays on that step of the stairs twice as long, until step
 * 600, and ends at 3.254 bits instead of 2.786. And perhaps, third: it was trained with three gaps in ten and is asked
 * about one.
 *
 * The counters win, on this text, in this time; that a network is large says nothing about whether it is good. The gpt of
 * section 15 needed 4,000 steps of a larger network to pass the 5-gram that sees the left. Whether a bert passes the one
 * that sees both sides in the 20,000 of `--preset reference` has not been tried.
 *
 *     build/08_transformer_mask --task bert --load out/08_transformer_mask/bert/model.safetensors --prompt "En un l_gar de la Manch_"
 *     En un lagar de la Mancha
 *
 * A lagar is a wine press. One letter is right, the other is Spanish.                                                      */

/* The likeliest symbol at `at` by the model of `order`; if `both`, with what follows, which it must then explain as well. */
static int ngram_guess(const Ngrams *g, const int *at, int order, bool both, int V)
{
    int around[2 * ORDERS - 1], middle = ORDERS - 1, best = 0, after = both ? order - 1 : 0;
    double most = -1, p[ORDERS];
    memcpy(around, at - middle, sizeof around);
    for (int v = 0; v < V; v++) {
        double all = 1;
        around[middle] = v;
        for (int j = 0; j <= after; j++) {
            ngrams_probabilities(g, around + middle + j, middle + j, V, p);
            all *= p[order - 1];
        }
        if (all > most) most = all, best = v;
    }
    return best;
}

/* What the network would put at place T/2 of the window that begins at `window`. */
static int network_guess(const Model *m, const int *window, int T, bool causal)
{
    int *ids = tape_ints(window, T), best, gap = T / 2;
    if (!causal) ids[gap] = gap_id(m);
    Matrix logits = read_all(m, ids, 1, T, causal, NULL)->value;
    argmax_rows(&best, mat_rows(logits, causal ? gap - 1 : gap, 1));
    return best;
}

static void gaps_row(FILE *f, const char *model, bool both, int right, int gaps)
{
    fprintf(f, "%s,%s,%d,", model, both ? "both" : "left", gaps);
    csv_number(f, (double)right / gaps), fputc('\n', f);
    printf("  %-8s sees %-4s   %5.1f %% of %d gaps\n", model, both ? "both" : "left", 100.0 * right / gaps, gaps);
}

static void show_gaps(const Model net[2], const Ngrams *g, const Corpus *book, const Config *o)
{
    int T = o->window, windows = book->test.n - T - (ORDERS - 1), gaps = o->test < windows ? o->test : windows;
    int right[2 * ORDERS + 2] = { 0 };
    bool recording = tape_record(false);
    for (int i = 0; i < gaps && !interrupted(); i++) {
        const int *window = book->test.ids + (long)windows * i / gaps, *at = window + T / 2;
        tape_reset();
        for (int n = 0; n < 2 * ORDERS; n++) right[n] += ngram_guess(g, at, n / 2 + 1, n % 2, book->vocab.size) == *at;
        for (int n = 0; n < 2; n++) right[2 * ORDERS + n] += network_guess(&net[n], window, T, n == 0) == *at;
    }
    tape_record(recording);
    if (interrupted()) return;
    Output *out = output_open(o->out, "gaps.csv");
    fputs("model,sees,gaps,accuracy\n", output_file(out));
    for (int both = 0; both < 2; both++) {
        for (int n = 0; n < ORDERS; n++) gaps_row(output_file(out), ngram_names[n], both, right[2 * n + both], gaps);
        gaps_row(output_file(out), both ? "bert" : "gpt", both, right[2 * ORDERS + both], gaps);
    }
    output_close(out);
}

/* The ids (*n) of a text, gaps for _; dies on what the network cannot read. The caller frees them. */
static int *encode_gaps(const Vocab *vocab, const char *prompt, int most, int *n)
{
    Text text = text_of_utf8(prompt, strlen(prompt), "--prompt");
    char room[UTF8_ROOM];
    if (text.n > most) die("--prompt: it has %d symbols; expected at most %d", text.n, most);
    int *ids = allocate((size_t)text.n, sizeof *ids);
    for (int i = 0; i < text.n; i++) {
        ids[i] = text.code[i] == '_' ? vocab->size : vocab_id(vocab, text.code[i]);
        if (ids[i] < 0) die("--prompt: '%s' is not in the vocabulary", utf8_of(text.code[i], room));
    }
    *n = text.n;
    text_free(&text);
    return ids;
}

/* The text with its gaps filled: the likeliest symbol in each, all at once. */
static void fill_in(FILE *f, const Model *m, const Vocab *vocab, const char *prompt)
{
    char room[UTF8_ROOM];
    int n, *ids = encode_gaps(vocab, prompt, m->plan.most, &n);
    bool recording = tape_record(false);
    tape_reset();
    int *said = tape_room((size_t)n * sizeof *said);
    argmax_rows(said, read_all(m, ids, 1, n, false, NULL)->value);
    for (int i = 0; i < n; i++) fputs(utf8_of(vocab->code[ids[i] == gap_id(m) ? said[i] : ids[i]], room), f);
    fputc('\n', f);
    tape_record(recording);
    free(ids);
}

static void learn_bert(Model net[2], const Config *o, const Corpus *book)
{
    static const char *const names[2] = { "gpt", "bert" };
    Files f = files_open(o);
    long steps = 0;
    for (int i = 0; i < 2; i++) {
        new_model(&net[i], o, book->vocab.size);
        print_model(names[i], &net[i], o);
        steps = interrupted() ? 0 : train(&net[i], o, book, i == 0, &f);
    }
    curve_close(&f.curve), output_close(f.timing);
    if (steps > 0) write_looks(&net[1], book, false, o->out), save(&net[1], &book->vocab, "bert", o);
}

void run_bert(const Config *o)
{
    Model net[2];
    Vocab vocab;
    if (o->load) {
        load(&net[0], &vocab, "bert", o);
        fill_in(stdout, &net[0], &vocab, o->prompt);
        vocab_free(&vocab), model_free(&net[0]);
        return;
    }
    Corpus book = open_text(o);
    int n;
    if (*o->prompt) free(encode_gaps(&book.vocab, o->prompt, o->window, &n));            /* complain now, not after training */
    learn_bert(net, o, &book);
    if (!interrupted()) {
        Ngrams g = ngrams_count(book.train.ids, book.train.n);
        show_gaps(net, &g, &book, o);
        ngrams_free(&g);
    }
    if (!interrupted() && *o->prompt) fill_in(stdout, &net[1], &book.vocab, o->prompt);
    corpus_free(&book), model_free(&net[0]), model_free(&net[1]);
}

/* ## What we simplified
 *
 * - GPT's authors use another smooth function in place of max(·, 0), and tie the output's weights to the embedding.
 * - BERT's authors leave some hidden symbols in place or put others there, so that the network cannot rely on seeing the
 *   gap.
 * - Greedy answers only in the encoder-decoder; chapter 06's beams would work, each with a cache of its own.
 * - One length for all windows. Positions that are learned or fixed end at T; what is done about it (positions relative
 *   to one another) is another book.
 * - Attention here keeps its T² weights for the way back. They can be computed again instead (Dao et al. 2022).
 *
 * ## What to remember
 *
 * - Attention compares every row with every other, in one step, and knows no order. Places are added to the rows.
 * - Divide by √d, or a wide network begins without a slope.
 * - Two masks, and what each protects. Padding: a result from its neighbours in the batch. The triangle: training from
 *   the answer.
 * - Encoder, decoder, GPT and BERT are one stack. The mask is what makes them differ, and with it what may be asked.
 * - Residual sums carry the gradient through depth as the LSTM's cell carried it through time. Pre-norm keeps the path
 *   free; post-norm wants a warm-up.
 * - In training all steps go at once. In writing they wait for each other, and a cache spares what cannot have changed.
 * - A low loss under teacher forcing may hide that the one symbol which needs the source was never learned.
 *
 * This is the end of the book. You began with a table of letters and derivatives by hand; what stands above is, but for
 * its size and for the list of simplifications, the network that large language models are made of.
 *
 * ## References
 *
 * - A. Vaswani et al., "Attention is all you need", NeurIPS 2017. (2.1) to (2.4), (4.1), (5.2), (6.1), (6.4).
 * - J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016. (6.3).
 * - K. He et al., "Deep residual learning for image recognition", CVPR 2016. (6.2).
 * - X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
 * - R. Xiong et al., "On layer normalization in the Transformer architecture", ICML 2020. Pre, post, and warm-up.
 * - A. Radford et al., "Improving language understanding by generative pre-training", 2018. GPT.
 * - J. Devlin et al., "BERT: pre-training of deep bidirectional Transformers for language understanding", NAACL 2019.
 * - T. Dao et al., "FlashAttention: fast and memory-efficient exact attention with IO-awareness", NeurIPS 2022.
 * - I. Witten, T. Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37, 1991. The n-grams.
 * - N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, 2014.              */
