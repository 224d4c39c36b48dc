#include "rng.h"
#include "check.h"
#include "maths.h"

#define GOLDEN 0x9e3779b97f4a7c15u

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Mixing keeps nearby seeds and streams far apart: seed 2 is no shifted copy of seed 1. */
Rng rng_new(uint64_t seed, uint64_t stream)
{
    return (Rng){ .state = mix(mix(seed) + stream) };
}

uint32_t rng_bits(Rng *rng)
{
    rng->state += GOLDEN;
    return (uint32_t)(mix(rng->state) >> 32);
}

Rng rng_skip(Rng rng, uint64_t n) { return (Rng){ .state = rng.state + n * GOLDEN }; }

/* As n calls of rng_bits, each number being mixed from its place in the sequence alone: so a compiler can take many at once. */
void rng_keep(Rng *rng, double p, real *restrict factor, int n)
{
    uint64_t from = rng->state, limit = (uint64_t)(p * 0x1p32) << 32;
    real kept = (real)(1 / (1 - p));
    for (int i = 0; i < n; i++) factor[i] = mix(from + (uint64_t)(i + 1) * GOLDEN) < limit ? 0 : kept;
    *rng = rng_skip(*rng, (uint64_t)n);
}

real rng_uniform(Rng *rng)
{
    return (real)(rng_bits(rng) >> 8) * (real)0x1p-24;
}

/* The high word of bits·n is uniform but for the first 2³² mod n values of the low word, which are drawn again. */
int rng_below(Rng *rng, int n)
{
    CHECK(n >= 1, "a number below %d was asked for", n);
    uint32_t range = (uint32_t)n, unfair = (0u - range) % range;
    uint64_t product;
    do product = (uint64_t)rng_bits(rng) * range; while ((uint32_t)product < unfair);
    return (int)(product >> 32);
}

/* Marsaglia's polar method: it needs only sqrt and log, which are ours to the bit; sin and cos are not. The second number
 * it could give is thrown away, so that the state stays one word. */
real rng_normal(Rng *rng)
{
    real u, v, s;
    do {
        u = 2 * rng_uniform(rng) - 1;
        v = 2 * rng_uniform(rng) - 1;
        s = u * u + v * v;
    } while (s >= 1 || s == 0);
    return u * real_sqrt(-2 * r_log(s) / s);
}

void rng_shuffle(Rng *rng, int *items, int n)
{
    for (int i = n - 1; i > 0; i--) {
        int j = rng_below(rng, i + 1), held = items[i];
        items[i] = items[j];
        items[j] = held;
    }
}

int rng_categorical(Rng *rng, const real *p, int n)
{
    real u = rng_uniform(rng);
    int last = 0;                                  /* where rounding leaves u above the sum, the last possible one */
    for (int i = 0; i < n; i++) {
        if (p[i] <= 0) continue;
        last = i;
        if (u < p[i]) break;
        u -= p[i];
    }
    return last;
}
