#include "params.h"
#include "threads.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The stream of the seed that a parameter draws from: the hash of its name. */
static uint64_t stream_of(const char *name)
{
    uint64_t hash = 14695981039346656037u;                               /* FNV-1a, 64 bits */
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash;
}

Var *param(Params *p, const char *name, int rows, int cols, Init init)
{
    CHECK(!p->value, "%s comes after params_allocate", name);
    CHECK(p->count < MOST_PARAMS, "%s is one parameter more than %d", name, MOST_PARAMS);
    CHECK(strlen(name) < NAME_ROOM, "%s is longer than %d characters", name, NAME_ROOM - 1);
    for (int i = 0; i < p->count; i++) CHECK(strcmp(p->item[i]->name, name) != 0, "a second parameter %s", name);
    Param *item = p->item[p->count++] = allocate(1, sizeof *item);
    snprintf(item->name, sizeof item->name, "%s", name);
    item->init = init;
    item->var = (Var){ .value = mat_over(NULL, rows, cols), .grad = mat_over(NULL, rows, cols),
                       .tracked = true, .op = item->name, .where = "" };
    p->size += mat_size(item->var.value);
    return &item->var;
}

static void begin(Param *item, uint64_t seed)
{
    Rng rng = rng_new(seed, stream_of(item->name));
    real *at = item->var.value.at, scale = item->init.scale;
    size_t n = mat_size(item->var.value);
    for (size_t i = 0; i < n; i++)
        switch (item->init.kind) {
        case INIT_ZERO:     at[i] = 0; break;
        case INIT_CONSTANT: at[i] = scale; break;
        case INIT_NORMAL:   at[i] = scale * rng_normal(&rng); break;
        case INIT_UNIFORM:  at[i] = scale * (2 * rng_uniform(&rng) - 1); break;
        }
}

void params_allocate(Params *p, uint64_t seed)
{
    CHECK(!p->value, "%d parameters are allocated already", p->count);
    p->value = allocate(p->size, sizeof(real));
    p->grad = allocate(p->size, sizeof(real));
    size_t at = 0;
    for (int i = 0; i < p->count; i++) {
        Var *v = &p->item[i]->var;
        v->value.at = p->value + at;
        v->grad.at = p->grad + at;
        begin(p->item[i], seed);
        at += mat_size(v->value);
    }
}

void params_zero_grad(Params *p)
{
    memset(p->grad, 0, p->size * sizeof(real));
}

void params_free(Params *p)
{
    for (int i = 0; i < p->count; i++) free(p->item[i]);
    free(p->value);
    free(p->grad);
    *p = (Params){ 0 };
}

double params_clip_grad(Params *p, double limit)
{
    double norm = sqrt(sum_squares(p->grad, p->size));
    if (limit > 0 && norm > limit) {
        real scale = (real)(limit / norm);
        for (size_t i = 0; i < p->size; i++) p->grad[i] *= scale;
    }
    return norm;
}

/* ---- optimizers ---------------------------------------------------------------------------------------------------- */

static Optim optim_new(const Params *p, Rule rule, double lr, int states)
{
    CHECK(p->value, "params_allocate comes first (%d parameters)", p->count);
    Optim o = { .rule = rule, .lr = lr, .size = p->size };
    for (int i = 0; i < states; i++) o.state[i] = allocate(p->size, sizeof(real));
    return o;
}

Optim optim_sgd(const Params *p, double lr, double momentum)
{
    Optim o = optim_new(p, SGD, lr, momentum > 0 ? 1 : 0);
    o.momentum = momentum;
    return o;
}

Optim optim_adagrad(const Params *p, double lr)
{
    Optim o = optim_new(p, ADAGRAD, lr, 1);
    o.eps = 1e-10;
    return o;
}

Optim optim_adadelta(const Params *p, double lr)
{
    Optim o = optim_new(p, ADADELTA, lr, 2);
    o.rho = 0.9;
    o.eps = 1e-6;
    return o;
}

Optim optim_adam(const Params *p, double lr, double decay)
{
    Optim o = optim_new(p, ADAM, lr, 2);
    o.beta1 = 0.9;
    o.beta2 = 0.999;
    o.eps = 1e-8;
    o.decay = decay;
    return o;
}

void optim_free(Optim *o)
{
    free(o->state[0]);
    free(o->state[1]);
    *o = (Optim){ 0 };
}

/* What the rules below need for numbers begin … end: constants in the working precision, and where the numbers lie. */
typedef struct {
    const Optim *o;
    real *w, *g, lr, first, second;        /* first, second: Adam's 1/(1-β₁ᵗ) and 1/(1-β₂ᵗ) */
} Step;

static void sgd_step(int begin, int end, void *arg)
{
    const Step *x = arg;
    real *w = x->w, *m = x->o->state[0], lr = x->lr, momentum = (real)x->o->momentum;
    const real *g = x->g;
    for (int i = begin; i < end; i++) {
        real move = g[i];
        if (m) move = m[i] = momentum * m[i] + g[i];
        w[i] -= lr * move;
    }
}

static void adagrad_step(int begin, int end, void *arg)
{
    const Step *x = arg;
    real *restrict w = x->w, *restrict s = x->o->state[0], lr = x->lr, eps = (real)x->o->eps;
    const real *restrict g = x->g;
    for (int i = begin; i < end; i++) {
        s[i] += g[i] * g[i];
        w[i] -= lr * g[i] / (real_sqrt(s[i]) + eps);
    }
}

static void adadelta_step(int begin, int end, void *arg)
{
    const Step *x = arg;
    real *restrict w = x->w, *restrict s = x->o->state[0], *restrict u = x->o->state[1], lr = x->lr;
    const real *restrict g = x->g;
    real rho = (real)x->o->rho, rest = (real)(1 - x->o->rho), eps = (real)x->o->eps;
    for (int i = begin; i < end; i++) {
        s[i] = rho * s[i] + rest * g[i] * g[i];
        real d = real_sqrt(u[i] + eps) / real_sqrt(s[i] + eps) * g[i];
        u[i] = rho * u[i] + rest * d * d;
        w[i] -= lr * d;
    }
}

static void adam_step(int begin, int end, void *arg)
{
    const Step *x = arg;
    const Optim *o = x->o;
    real *restrict w = x->w, *restrict m = o->state[0], *restrict s = o->state[1], lr = x->lr;
    const real *restrict g = x->g;
    real b1 = (real)o->beta1, c1 = (real)(1 - o->beta1), b2 = (real)o->beta2, c2 = (real)(1 - o->beta2);
    real eps = (real)o->eps, keep = (real)(1 - o->lr * o->decay), first = x->first, second = x->second;
    for (int i = begin; i < end; i++) {
        m[i] = b1 * m[i] + c1 * g[i];
        s[i] = b2 * s[i] + c2 * g[i] * g[i];
        w[i] = keep * w[i] - lr * (m[i] * first) / (real_sqrt(s[i] * second) + eps);
    }
}

/* β to the t-th power by squaring: + and * alone, unlike libm's pow, and so the same everywhere. */
static double power(double base, long t)
{
    double result = 1;
    for (; t > 0; t /= 2, base *= base)
        if (t % 2) result *= base;
    return result;
}

void optim_step(Optim *o, Params *p)
{
    enum { PIECE = 1 << 14 };
    static LoopBody *const rules[] = { [SGD] = sgd_step, [ADAGRAD] = adagrad_step, [ADADELTA] = adadelta_step,
                                       [ADAM] = adam_step };
    CHECK(o->size == p->size && p->size < INT32_MAX, "an optimizer for %zu numbers, parameters of %zu", o->size, p->size);
    o->steps++;
    Step step = { .o = o, .w = p->value, .g = p->grad, .lr = (real)o->lr };
    if (o->rule == ADAM) {
        step.first = (real)(1 / (1 - power(o->beta1, o->steps)));
        step.second = (real)(1 / (1 - power(o->beta2, o->steps)));
    }
    parallel_for((int)p->size, PIECE, rules[o->rule], &step);
}

double schedule_cosine(long step, long warmup, long total, double low)
{
    if (step < warmup) return (double)(step + 1) / (double)warmup;
    double along = total > warmup ? (double)(step - warmup) / (double)(total - warmup) : 1;
    if (along > 1) along = 1;
    double x = 3.14159265358979323846 * along, cosine = 1, term = 1;     /* libm's cos may differ in its last bit */
    for (int k = 1; k <= 12; k++) cosine += term *= -x * x / ((2 * k - 1) * (2 * k));
    return low + (1 - low) * (0.5 + 0.5 * cosine);
}
