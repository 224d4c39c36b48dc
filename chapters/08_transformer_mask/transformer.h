/* What the three parts of chapter 08 share. Read transformer_mask.c first: it explains all that is declared here.          */
#ifndef TRANSFORMER_H
#define TRANSFORMER_H

#include "trial.h"
#include "workbook.h"

#include <stdio.h>

typedef struct {
    int seed, threads;
    const char *out, *task, *corpus, *load, *prompt;
    int width, heads, blocks, feed, batch, window, steps, warmup, reports, test, fused, warmup_steps, length;
    double forcing, forcing_end, spread, gap, lr, warmup_lr, clip, dropout, temperature;
    const char *norm, *positions, *direction;
} Config;

/* ---- the model: transformer_mask.c ------------------------------------------------------------------------------------- */

enum { MOST_BLOCKS = 12 };

typedef struct { Var *W, *b; } Linear;                                   /* (in,out) (1,out)                          */
typedef struct { Var *g, *b; } Norm;                                     /* (1,D) each                                */
typedef struct { Linear q, k, v, out; } Attention;                       /* (D,D) each                                */

typedef struct {
    Attention self, cross;                                               /* cross: only where there is a memory       */
    Linear wide, narrow;                                                 /* (D,F) (F,D)                               */
    Norm norm[3];                                                        /* of self, cross, and the two layers above  */
} Block;

typedef struct { int blocks; bool crosses; Block block[MOST_BLOCKS]; Norm last; } Stack;       /* last: only with pre-norm */

/* How a network is made. source, target: symbols that can be read by the encoder and by the decoder; 0: there is none. */
typedef struct {
    int source, target, said;                                            /* said: symbols that the output chooses from */
    int width, heads, blocks, feed, most;                                /* D, heads, blocks a stack, F, positions     */
    bool pre, learned, fused;                                            /* pre-norm; learned positions                */
    bool shared;                                                         /* one embedding for source and target        */
    double dropout, spread;                                              /* spread: of an embedding's numbers at first  */
} Plan;

typedef struct {
    Plan plan;
    Params params;
    Var *Es, *Et;                                                        /* (source,D) (target,D)                      */
    Var *P;                                                              /* (most,D) where positions are learned, …    */
    Matrix waves;                                                        /* … and else (most,D), fixed                 */
    Stack encoder, decoder;
    Linear output;                                                       /* (D,said)                                   */
} Model;

/* Places to attend to. */
typedef struct { Var *k, *v; Seen seen; } Places;                        /* k, v (B·S,D)                               */

/* What a decoder that goes step by step has seen: keys and values of every layer, of B sequences side by side. */
typedef struct { int B, most, n; Matrix k[MOST_BLOCKS], v[MOST_BLOCKS]; } Cache;      /* (B·most,D); n steps are filled */

/* A pass through a stack: its mask, and what else it needs. */
typedef struct {
    const Model *m;
    const Stack *stack;
    Seen seen;                                                           /* who sees whom                              */
    const Places *memory;                                                /* (layers) for cross-attention, or NULL      */
    Cache *cache;                                                        /* or NULL: all steps at once                 */
    Rng *rng;                                                            /* of dropout; NULL where nothing is dropped  */
    Var *looked[MOST_BLOCKS], *crossed[MOST_BLOCKS];                     /* the attention of each layer, to be drawn   */
} Pass;

void   show_basics(const Config *o);                   /* masks.csv, and sections 2 and 4 on the screen */
Plan   plan_of(const Config *o);                       /* all but the numbers of symbols and positions */
void   model_new(Model *m, const Plan *plan, uint64_t seed);
void   model_free(Model *m);
Var   *model_embed(const Model *m, Var *E, const int *ids, int B, int T, int first, Rng *rng);      /* (B·T,D) */
Var   *stack_run(Pass *pass, Var *x);                                                                /* (B·T,D) → (B·T,D) */
Places places_of(const Attention *a, Var *x, Seen seen);
Var   *linear(const Linear *l, Var *x);
Cache  cache_new(const Model *m, int B, int most);
void   cache_free(Cache *c);

/* Rows of attention.csv: the weights of every head of every block, for T symbols `asks` that look at S `seen`, as they are named. */
enum { LABEL_ROOM = 12 };
typedef char Label[LABEL_ROOM];
void   write_heads(FILE *f, const Model *m, Var *const looked[], int example, int T, Label asks[], int S, Label seen[]);

void   plan_set(Checkpoint *c, const Model *m);        /* … into a file, with the parameters, and back */
void   model_load(Model *m, const Checkpoint *c, int source, int target, int said);

/* ---- the tasks: encoder_decoder.c, one_stack.c ------------------------------------------------------------------------- */

void run_series(const Config *o);
void run_words(const Config *o);
void run_gpt(const Config *o);
void run_bert(const Config *o);

#endif
