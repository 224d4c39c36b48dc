/* trial: a network that answers sequences with sequences, trained on a task and tested with the pairs that were held out.
 *
 * Chapters 06 to 08 build networks of one form: given a batch, they give logits for every step of its targets. What is done
 * with these does not depend on what is inside, and stands here: the training loop, and the reports that it makes on its way.
 *
 *     Network net = { &m.params, &m, decode };
 *     Trial trial = trial_new(&task, "seq2seq", tests, longest, reports);
 *     trial.curve = &curve;                      what is wanted of curve, accuracy, forcing and timing
 *     trial_train(&trial, &net, &training, seed);
 *     …                                          trial.test and trial.answer: the held-out pairs, and the last answers
 *     trial_free(&trial);                                                                                                  */
#ifndef WORKBOOK_TRIAL_H
#define WORKBOOK_TRIAL_H

#include "output.h"
#include "ops.h"
#include "pairs.h"
#include "params.h"

typedef struct {
    Params *params;
    const void *model;
    /* Logits (T·B,V), V being the target's symbols and EOS; said (T,B) gets the likeliest symbol at each step. With `forcing` 1
     * the network is told the truth at each step, with 0 what it said at the step before; a test asks for these two. Between
     * them, in training, it is told the truth with that probability, for a step (chapters 06, 07) or a whole batch (08), or
     * else what it said, or nothing (08). rng is read where 0 < forcing < 1, and by dropout while the tape records; NULL is
     * allowed where neither applies.                                                                                       */
    Var *(*decode)(const void *model, const Batch *batch, double forcing, Rng *rng, int *said);
} Network;

typedef struct {
    int batch, steps, warmup;              /* Adam's learning rate rises to lr in `warmup` steps and falls along half a …   */
    double lr, lr_end, clip;               /* … cosine to lr · lr_end; clip: longest gradient                               */
    double forcing, forcing_end;           /* at the first step and at the end, on a straight line                     */
} Training;

typedef struct {
    const Task *task;
    const char *model;                     /* its name in the CSVs                                              */
    const char *curve_model;               /* in curve.csv, which has no column for the task; NULL: model       */
    int tests, longest, reports;           /* pairs to test with; sources are cut to `longest`; rows a training, at most
                                              one a step                                                        */
    Pair *test;                            /* (tests)                                                           */
    Answer *answer;                        /* (tests): at the last report, left alone (forcing 0); cut to the steps that
                                              the longest target among its 250 neighbours takes                 */
    double loss;                           /* at the last report, nats a symbol, told the truth (forcing 1)     */
    Score told, alone;                     /* symbols right when told the truth; and when left alone            */
    long learned;                          /* step of the first report with 99.9 % of the symbols right, alone; 0: none */
    Curve *curve;                          /* these may be NULL: rows train and test of curve.csv               */
    FILE *accuracy;                        /* model,task,step,loss,symbols,exact                                */
    FILE *forcing;                         /* the same with told_symbols before symbols                         */
    FILE *timing;                          /* timing.csv                                                        */
} Trial;

Trial trial_new(const Task *task, const char *model, int tests, int longest, int reports);
void  trial_free(Trial *t);
void  trial_test(Trial *t, const Network *net);          /* fills answer, loss, told and alone; ends the tape's step */

/* One step of `optim` down the gradient of the mean loss over all symbols of the batch, which is returned; the gradient is cut to
 * `clip`, its length before that left in *norm. The batch must be the tape's.                                              */
double trial_step(const Network *net, Optim *optim, const Batch *batch, double forcing, double clip, Rng *rng, double *norm);

/* Trains on pairs that are drawn anew for every step; four of its reports are printed. After Ctrl-C it finishes its step,
 * reports, and returns. Returns the steps taken: with 0, after an early Ctrl-C, nothing was learned, reported or measured.
 * Dies when the loss is no longer a finite number.                                                                         */
long  trial_train(Trial *t, const Network *net, const Training *plan, uint64_t seed);

/* logits (B,V): id[b] = the column of the largest number in row b, the first of them if there are several.                */
void  argmax_rows(int *id, Matrix logits);

#endif
