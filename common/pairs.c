#include "pairs.h"
#include "numbers.h"
#include "output.h"
#include "tape.h"

#include <stdlib.h>
#include <string.h>

static int smaller(int a, int b) { return a < b ? a : b; }
static int larger(int a, int b)  { return a > b ? a : b; }

void pair_truncate(Pair *pair, int n, int m)
{
    pair->open = pair->open || m < pair->m;
    pair->n = smaller(pair->n, n);
    pair->m = smaller(pair->m, m);
}

/* ---- symbols -------------------------------------------------------------------------------------------------------- */

int symbols_encode(const Vocab *vocab, const char *utf8, const char *source, int ids[MOST_PAIR])
{
    Text text = text_of_utf8(utf8, strlen(utf8), source);
    if (text.n > MOST_PAIR) die("%s: '%s' has %d symbols; expected at most %d", source, utf8, text.n, MOST_PAIR);
    int n = text.n, *found = vocab_encode(vocab, &text);
    memcpy(ids, found, (size_t)n * sizeof *ids);
    text_free(&text);
    free(found);
    return n;
}

const char *symbols_text(const Vocab *vocab, const int *ids, int n, char room[SYMBOLS_ROOM])
{
    char one[UTF8_ROOM], *end = room;
    *end = '\0';
    for (int i = 0; i < n; i++) end += sprintf(end, "%s", utf8_of(vocab->code[ids[i]], one));
    return room;
}

/* ---- tasks ---------------------------------------------------------------------------------------------------------- */

Split split_of(uint64_t what)
{
    Rng rng = rng_new(what, 1000);
    return rng_below(&rng, 10) == 0 ? TEST : TRAIN;
}

static Split digits_split(const Pair *pair)
{
    uint64_t number = 1;                   /* so that 07 and 7 are two */
    for (int i = 0; i < pair->n; i++) number = number * 10 + (uint64_t)pair->x[i];
    return pair->n <= 2 ? TRAIN : split_of(number);
}

static void draw_copy(const Task *task, Rng *rng, Split split, Pair *pair)
{
    do {
        *pair = (Pair){ .n = task->shortest + rng_below(rng, task->longest - task->shortest + 1) };
        for (int i = 0; i < pair->n; i++) pair->x[i] = rng_below(rng, task->source.size);
    } while (digits_split(pair) != split);
    pair->m = pair->n;
    memcpy(pair->y, pair->x, sizeof pair->y);
}

static void draw_reverse(const Task *task, Rng *rng, Split split, Pair *pair)
{
    draw_copy(task, rng, split, pair);
    for (int i = 0; i < pair->n; i++) pair->y[i] = pair->x[pair->n - 1 - i];
}

static int draw_number(Rng *rng, Split split)
{
    static const int from[] = { 0, 100, 1000, 10000, 100000, NUMBERS };
    int size, n;
    do {
        size = rng_below(rng, 5);
        n = from[size] + rng_below(rng, from[size + 1] - from[size]);
    } while (split != (size == 0 ? TRAIN : split_of((uint64_t)n)));
    return n;
}

static void draw_to_digits(const Task *task, Rng *rng, Split split, Pair *pair)
{
    char words[NUMBER_ROOM], digits[16];
    int n = draw_number(rng, split);
    number_words(n, words);
    snprintf(digits, sizeof digits, "%d", n);
    *pair = (Pair){ .n = 0 };
    pair->n = symbols_encode(&task->source, words, words, pair->x);
    pair->m = symbols_encode(&task->target, digits, digits, pair->y);
}

static void draw_to_words(const Task *task, Rng *rng, Split split, Pair *pair)
{
    Task other = { .source = task->target, .target = task->source };
    Pair turned;
    draw_to_digits(&other, rng, split, &turned);
    *pair = (Pair){ .n = turned.m, .m = turned.n };
    memcpy(pair->x, turned.y, sizeof pair->x);
    memcpy(pair->y, turned.x, sizeof pair->y);
}

static Vocab vocab_of_digits(void)  { return vocab_of_utf8("0123456789", "the digits"); }
static Vocab vocab_of_letters(void) { return vocab_of_utf8(" acdehilmnoqrstuvyzéóú", "the letters"); }

Task task_copy(int shortest, int longest)
{
    CHECK(shortest >= 1 && longest >= 3 && longest >= shortest && longest < MOST_PAIR, "copies of %d to %d digits", shortest,
          longest);
    return (Task){ .name = "copy", .source = vocab_of_digits(), .target = vocab_of_digits(), .draw = draw_copy,
                   .shortest = shortest, .longest = longest };
}

Task task_reverse(int shortest, int longest)
{
    Task task = task_copy(shortest, longest);
    task.name = "reverse", task.draw = draw_reverse;
    return task;
}

Task task_to_digits(void)
{
    return (Task){ .name = "to_digits", .source = vocab_of_letters(), .target = vocab_of_digits(), .draw = draw_to_digits };
}

Task task_to_words(void)
{
    return (Task){ .name = "to_words", .source = vocab_of_digits(), .target = vocab_of_letters(), .draw = draw_to_words };
}

Task task_named(const char *name, const char *where)
{
    if (strcmp(name, "to_digits") == 0) return task_to_digits();
    if (strcmp(name, "to_words") == 0) return task_to_words();
    die("%s: its task is '%s'; expected to_digits or to_words", where, name);
}

void task_free(Task *task)
{
    vocab_free(&task->source), vocab_free(&task->target);
}

static bool same_source(const Pair *a, const Pair *b)
{
    return a->n == b->n && memcmp(a->x, b->x, (size_t)a->n * sizeof *a->x) == 0;
}

/* Where a task has fewer pairs than are wanted, drawing finds nothing new for long, and stops. */
int task_test(const Task *task, Pair *pair, int want)
{
    Rng rng = rng_new(0, 1001);
    int n = 0;
    for (int tries = 0; n < want && tries / 20 < want; tries++) {
        int seen = 0;
        task->draw(task, &rng, TEST, &pair[n]);
        while (!same_source(&pair[seen], &pair[n])) seen++;
        n += seen == n;
    }
    return n;
}

/* ---- batches -------------------------------------------------------------------------------------------------------- */

static int *ints(int rows, int cols) { return tape_room((size_t)rows * (size_t)cols * sizeof(int)); }

Batch batch_of(const Pair *pair, int B, const Task *task)
{
    Batch batch = { .B = B, .pair = pair, .eos = task->target.size, .bos = task->target.size + 1 };
    for (int b = 0; b < B; b++) {
        batch.S = larger(batch.S, pair[b].n);
        batch.T = larger(batch.T, pair[b].m + !pair[b].open);
    }
    int S = batch.S, T = batch.T;
    batch.source = ints(S, B), batch.input = ints(T, B), batch.target = ints(T, B);
    batch.mask = tape_matrix(B, S);
    for (int b = 0; b < B; b++) {
        const Pair *p = &pair[b];
        for (int s = 0, first = S - p->n; s < S; s++) {
            batch.source[s * B + b] = s < first ? PAD : p->x[s - first];
            mat_row(batch.mask, b)[s] = s >= first;
        }
        for (int t = 0; t < T; t++) {
            batch.input[t * B + b] = t == 0 ? batch.bos : t <= p->m ? p->y[t - 1] : PAD;
            batch.target[t * B + b] = t < p->m ? p->y[t] : t == p->m && !p->open ? batch.eos : PAD;
        }
    }
    return batch;
}

int *batch_backwards(const Batch *batch)
{
    int B = batch->B, S = batch->S, *order = ints(S, B);
    for (int b = 0; b < B; b++)
        for (int s = 0, first = S - batch->pair[b].n; s < S; s++)
            order[s * B + b] = s < first ? PAD : (first + S - 1 - s) * B + b;
    return order;
}

/* ---- answers -------------------------------------------------------------------------------------------------------- */

Answer answer_of(const int *said, int B, int T, int eos)
{
    Answer a = { .n = 0 };
    CHECK(T <= MOST_PAIR, "an answer of %d steps", T);
    for (; a.n < T && said[a.n * B] != eos; a.n++) a.y[a.n] = said[a.n * B];
    return a;
}

bool answer_exact(const Pair *pair, const Answer *answer)
{
    return answer->n == pair->m && memcmp(answer->y, pair->y, (size_t)pair->m * sizeof *pair->y) == 0;
}

bool score_add(Score *score, const Pair *pair, const Answer *answer)
{
    bool exact = answer_exact(pair, answer);
    for (int t = 0; t < smaller(answer->n, pair->m); t++) score->right += answer->y[t] == pair->y[t];
    score->symbols += pair->m;
    score->pairs++;
    score->exact += exact;
    return exact;
}

double score_symbols(const Score *s) { return s->symbols ? (double)s->right / (double)s->symbols : 0; }
double score_exact(const Score *s)   { return s->pairs ? (double)s->exact / (double)s->pairs : 0; }

void lengths_write(FILE *f, const char *model, const Task *task, int hidden, const Pair *pair, const Answer *answer, int n,
                   Side side, int width)
{
    CHECK(width >= 1, "classes of %d lengths", width);
    Score score[MOST_PAIR + 1] = { { 0 } };
    long total[MOST_PAIR + 1] = { 0 };
    for (int i = 0; i < n; i++) {
        int length = side == LONGER ? larger(pair[i].n, pair[i].m) : smaller(pair[i].n, pair[i].m);
        score_add(&score[length / width], &pair[i], &answer[i]);
        total[length / width] += length;
    }
    for (int k = 0; k <= MOST_PAIR; k++) {
        if (score[k].pairs == 0) continue;
        fprintf(f, "%s,%s,%d,", model, task->name, hidden);
        csv_number(f, (double)total[k] / (double)score[k].pairs);
        fprintf(f, ",%ld,", score[k].pairs);
        csv_number(f, score_exact(&score[k]));
        fputc('\n', f);
    }
}

void predictions_write(FILE *f, const char *model, const Task *task, const Pair *pair, const Answer *answer, int n)
{
    char source[SYMBOLS_ROOM], target[SYMBOLS_ROOM], said[SYMBOLS_ROOM];
    for (int i = 0; i < n; i++) {
        symbols_text(&task->source, pair[i].x, pair[i].n, source);
        symbols_text(&task->target, pair[i].y, pair[i].m, target);
        symbols_text(&task->target, answer[i].y, answer[i].n, said);
        fprintf(f, "%s,%s,%s,%s,%s,%d\n", model, task->name, source, target, said,
                answer_exact(&pair[i], &answer[i]));
    }
}
