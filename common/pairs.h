/* pairs: sequences that answer sequences; tasks made of them; batches; and how good an answer is.
 *
 * Sequences of a batch have different lengths and a matrix has one, so the short ones are filled up. PAD is no symbol: as an
 * index it reads a row of zeros (v_lookup, the cells), and as a target it is left out of the loss (v_cross_entropy).
 *
 *     source     PAD … PAD x₁ … xₙ          filled up in front: with a row of zeros for input cell_rnn, cell_lstm and cell_gru
 *                                           stay at 0 exactly when they begin there, and all sources end at the last step,
 *                                           together. Not cell_gru_after: it adds bn at every step
 *     input      BOS y₁ … yₘ PAD …          what a decoder is told …
 *     target     y₁ … yₘ EOS PAD …          … and what it should say to it: the same, one step on
 *
 * EOS is the id behind the last symbol of the target's vocabulary, BOS the one behind EOS: a decoder may say the first, and
 * is told the second.                                                                                                      */
#ifndef WORKBOOK_PAIRS_H
#define WORKBOOK_PAIRS_H

#include "matrix.h"
#include "rng.h"
#include "text.h"

#include <stdio.h>

enum { PAD = -1, MOST_PAIR = 96, MOST_ANSWER = 72 };        /* MOST_ANSWER: steps that are enough for any number in words */

typedef struct {
    int n, m;                              /* lengths of source and target                          */
    int x[MOST_PAIR], y[MOST_PAIR];        /* (n) and (m) ids                                       */
    bool open;                             /* the target was cut off, so that EOS does not follow it */
} Pair;

/* Cuts the source to its first n symbols and the target to its first m.                                                   */
void pair_truncate(Pair *pair, int n, int m);

/* ---- tasks ---------------------------------------------------------------------------------------------------------- */

/* Nine in ten pairs are to train on, the tenth is for the test. The pair alone decides which, whatever the seed.          */
typedef enum { TRAIN, TEST } Split;

Split split_of(uint64_t what);             /* a hash of what names a pair */

typedef struct Task Task;
struct Task {
    const char *name;                      /* as in a CSV: "copy"          */
    Vocab source, target;
    void (*draw)(const Task *task, Rng *rng, Split split, Pair *pair);     /* a random pair of that split */
    int shortest, longest;                 /* digits of a copy             */
};

/* Digits, `shortest` to `longest` of them, as they are or the other way round. Pairs of one or two digits are all to train on;
 * longest is at least 3.                                                                                                  */
Task task_copy(int shortest, int longest);
Task task_reverse(int shortest, int longest);

/* Spanish numbers below a million, "veintiún mil dos" → "21002", and the other way. A number's size is drawn first: below 100,
 * or of 3, 4, 5 or 6 digits, each equally likely; otherwise nine in ten would have six. (What is of the other split is drawn
 * again, size and all: 22 in 100 pairs to train on are below 100.) The split is the same both ways. All below 100 are to train
 * on: they are the words that the others are made of.                                                                      */
Task task_to_digits(void);
Task task_to_words(void);
Task task_named(const char *name, const char *where); /* one of these two; dies of any other, naming `where` it stands   */
void task_free(Task *task);

/* Different test pairs, always the same ones; returns how many there are, at most `want`.                                 */
int task_test(const Task *task, Pair *pair, int want);

/* ---- batches -------------------------------------------------------------------------------------------------------- */

typedef struct {
    int B, S, T;                           /* pairs; steps of the longest source; of the longest target, EOS included */
    int bos, eos;
    const Pair *pair;                      /* (B) the caller's                       */
    int *source;                           /* (S,B): step s of pair b at s·B + b     */
    int *input, *target;                   /* (T,B)                                  */
    Matrix mask;                           /* (B,S): 1 on a symbol, 0 on padding     */
} Batch;

/* The batch lives on the tape, until tape_reset; the pairs must live as long.                                             */
Batch batch_of(const Pair *pair, int B, const Task *task);

/* The places of a batch's sources in reversed order, (S,B): source symbol i of n changes places with n-1-i, the padding stays
 * in front. Row order[k] of a matrix over all steps is what belongs in row k when it is read from the end; PAD on padding.
 * Applied twice, it gives back the order that there was. Lives on the tape.                                                */
int *batch_backwards(const Batch *batch);

/* ---- answers -------------------------------------------------------------------------------------------------------- */

typedef struct { int n, y[MOST_PAIR]; } Answer;

/* What was said at steps 0 … T-1, said[t·B], up to the first EOS. T ≤ MOST_PAIR.                                          */
Answer answer_of(const int *said, int B, int T, int eos);

typedef struct { long symbols, right, pairs, exact; } Score;     /* {0} to begin with */

bool answer_exact(const Pair *pair, const Answer *answer);       /* the whole target, and no more */

/* A symbol is right where answer and target agree at the same place. Returns whether the answer is exact.                 */
bool score_add(Score *score, const Pair *pair, const Answer *answer);
double score_symbols(const Score *s);      /* right / symbols, 0 of nothing */
double score_exact(const Score *s);        /* exact / pairs, 0 of nothing   */

/* Rows of length.csv and digits.csv, "model,task,hidden,length,pairs,exact": pairs by the length of their longer side (of a
 * number, its letters) or of the shorter one (its digits), `width` lengths a row. length is the mean of those in the row, exact
 * the share of exact answers.                                                                                              */
typedef enum { LONGER, SHORTER } Side;
void lengths_write(FILE *f, const char *model, const Task *task, int hidden, const Pair *pair, const Answer *answer, int n,
                   Side side, int width);

/* Rows of predictions.csv, "model,task,source,target,answer,exact", exact 0 or 1.                                         */
void predictions_write(FILE *f, const char *model, const Task *task, const Pair *pair, const Answer *answer, int n);

/* ids as UTF-8, in room.                                                                                                  */
enum { SYMBOLS_ROOM = MOST_PAIR * UTF8_ROOM };
const char *symbols_text(const Vocab *vocab, const int *ids, int n, char room[SYMBOLS_ROOM]);

/* … and back: at most MOST_PAIR ids; returns how many. Dies, naming `source`, on a symbol that the vocabulary lacks and on a
 * text that is too long or empty.                                                                                          */
int symbols_encode(const Vocab *vocab, const char *utf8, const char *source, int ids[MOST_PAIR]);

#endif
