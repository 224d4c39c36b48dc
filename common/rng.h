/* rng: the workbook's random numbers. Same seed, same numbers, on every machine.
 *
 * SplitMix64: a counter that moves by the golden ratio's bits, mixed by two multiplications (Steele, Lea and Flood, "Fast
 * splittable pseudorandom number generators", OOPSLA 2014). Its whole state is one word, so a checkpoint stores it as a
 * number, and a generator is copied by assignment.                                                                        */
#ifndef WORKBOOK_RNG_H
#define WORKBOOK_RNG_H

#include "real.h"

#include <stdint.h>

typedef struct { uint64_t state; } Rng;            /* any state is a good one */

Rng      rng_new(uint64_t seed, uint64_t stream);  /* independent streams of one seed: initial weights, batches, samples … */
uint32_t rng_bits(Rng *rng);                       /* 32 uniform bits                                          */
void     rng_keep(Rng *rng, double p, real *factor, int n);   /* n factors: 0 with probability p, else 1/(1-p)          */
Rng      rng_skip(Rng rng, uint64_t n);            /* the generator after n more calls of rng_bits             */
real     rng_uniform(Rng *rng);                    /* in [0, 1), a multiple of 2⁻²⁴                            */
int      rng_below(Rng *rng, int n);               /* in 0 … n-1, each equally likely; n ≥ 1                   */
real     rng_normal(Rng *rng);                     /* mean 0, standard deviation 1                             */
void     rng_shuffle(Rng *rng, int *items, int n); /* every order equally likely (Fisher and Yates)            */

/* rng_categorical: i with probability p[i]; p (n) is non-negative and sums to about 1. Never an i with p[i] = 0.          */
int      rng_categorical(Rng *rng, const real *p, int n);

#endif
