/* params: the numbers that are learned, and how learning moves them.
 *
 * A model declares its parameters, each with a name, a shape and a way to begin; params_allocate then lays all of them out
 * in one flat block, and all gradients in another, in the order of declaration. An optimizer is a loop over these blocks
 * and need not know what a layer is; a checkpoint walks the names.
 *
 *     Params p = { 0 };
 *     Var *Wx = param(&p, "lstm.Wx", D, 4*H, init_normal(0.01));        declared: has a shape, and no numbers yet
 *     params_allocate(&p, seed);                                        has numbers
 *
 * The Var lives as long as the Params. Its gradient is added to by tape_backward and cleared by params_zero_grad.         */
#ifndef WORKBOOK_PARAMS_H
#define WORKBOOK_PARAMS_H

#include "rng.h"
#include "tape.h"

typedef struct { enum { INIT_ZERO, INIT_CONSTANT, INIT_NORMAL, INIT_UNIFORM } kind; real scale; } Init;

static inline Init init_zero(void)            { return (Init){ INIT_ZERO, 0 }; }
static inline Init init_constant(double x)    { return (Init){ INIT_CONSTANT, (real)x }; }
static inline Init init_normal(double sigma)  { return (Init){ INIT_NORMAL, (real)sigma }; }     /* mean 0          */
static inline Init init_uniform(double range) { return (Init){ INIT_UNIFORM, (real)range }; }    /* ±range          */

enum { MOST_PARAMS = 640, NAME_ROOM = 64 };

typedef struct {
    Var var;                               /* value and gradient: views into the blocks below */
    char name[NAME_ROOM];
    Init init;
} Param;

typedef struct {
    Param *item[MOST_PARAMS];
    int count;
    size_t size;                           /* reals in all                     */
    real *value, *grad;                    /* (size) each; NULL until allocated */
} Params;                                  /* {0} is an empty one              */

Var *param(Params *p, const char *name, int rows, int cols, Init init);   /* name is copied; aborts on a second of that name */
void params_allocate(Params *p, uint64_t seed);       /* each parameter draws from a stream of its own: the same numbers,
                                                         whatever is declared before it                                     */
void params_zero_grad(Params *p);
void params_free(Params *p);

/* clip: g ← min(1, limit/‖g‖) g over all gradients together; returns ‖g‖ before. limit = 0 only measures.
 * Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", 2013, Algorithm 1.      */
double params_clip_grad(Params *p, double limit);

/* ---- optimizers ---------------------------------------------------------------------------------------------------
 *
 *     sgd        m ← μ m + g                              w ← w - η m
 *     adagrad    s ← s + g²                               w ← w - η g / (√s + ε)                        Duchi et al. 2011
 *     adadelta   s ← ρ s + (1-ρ) g²
 *                d = g √(u+ε) / √(s+ε)
 *                u ← ρ u + (1-ρ) d²                       w ← w - η d                                   Zeiler 2012
 *     adam       m ← β₁ m + (1-β₁) g,  s ← β₂ s + (1-β₂) g²
 *                                                         w ← w - η m̂ / (√ŝ + ε) - η λ w               Kingma and Ba 2015
 *
 * with m̂ = m / (1-β₁ᵗ), ŝ = s / (1-β₂ᵗ); λ > 0 makes it AdamW (Loshchilov and Hutter 2019).                              */
typedef enum { SGD, ADAGRAD, ADADELTA, ADAM } Rule;

typedef struct {
    Rule rule;
    double lr;                             /* η, set anew before a step by those who use a schedule */
    double momentum;                       /* μ, sgd            */
    double rho, eps;                       /* ρ, ε              */
    double beta1, beta2, decay;            /* β₁, β₂, λ         */
    long   steps;                          /* t: steps taken    */
    real  *state[2];                       /* (size) each, zero at first: what the rule remembers of every number */
    size_t size;
} Optim;

Optim optim_sgd(const Params *p, double lr, double momentum);
Optim optim_adagrad(const Params *p, double lr);                         /* ε 1e-10                   */
Optim optim_adadelta(const Params *p, double lr);                        /* ρ 0.9, ε 1e-6             */
Optim optim_adam(const Params *p, double lr, double decay);              /* β 0.9 and 0.999, ε 1e-8   */
void  optim_step(Optim *o, Params *p);                                   /* one step down the gradients in p */
void  optim_free(Optim *o);

/* Learning rates for step 0 … total-1, as a part of the highest: warm-up in a straight line, then half a cosine towards `low`. */
double schedule_cosine(long step, long warmup, long total, double low);

#endif
