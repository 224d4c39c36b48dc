/* maths: exp, tanh, sigmoid and log of our own.
 *
 * libm has them all, but the last bit of its answers differs between versions and machines, and one bit in step 1 is
 * another sample in step 1,000. These are built from + - * / and fma alone, whose results IEEE 754 fixes, so they give the
 * same bits everywhere. They have no branch and call nothing, so a compiler turns a loop around them into vector code.
 *
 * The idea is one: move the argument into a small interval where a short Taylor series is exact to float's precision.
 *
 *     exp      x = n ln 2 + r, |r| ≤ ½ ln 2          eˣ = 2ⁿ eʳ        eʳ by its series up to r⁷/7!
 *     log      x = 2ⁿ m, √½ ≤ m < √2                ln x = n ln 2 + 2 artanh s,   s = (m-1)/(m+1)
 *     tanh     with E = e^2|x| - 1, taken without cancellation:         tanh |x| = E / (E + 2)
 *     sigmoid  with e = e^-|x| ≤ 1, so that nothing overflows:          σ(|x|) = 1/(1+e),  σ(-|x|) = e/(1+e)
 *
 * Largest error against libm in double, in units in the last place: tests/test_maths.c measures and bounds it, over the
 * whole range, subnormals, infinities and NaN included. In the double build (gradient checks) they are libm's.            */
#ifndef WORKBOOK_MATHS_H
#define WORKBOOK_MATHS_H

#include "real.h"

#include <stdint.h>
#include <string.h>

#ifdef REAL_DOUBLE

static inline real r_exp(real x)     { return exp(x); }
static inline real r_log(real x)     { return log(x); }
static inline real r_tanh(real x)    { return tanh(x); }
static inline real r_sigmoid(real x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

#else

#define LN2_HI  0x1.62e4p-1f             /* ln 2 = LN2_HI + LN2_LO; n·LN2_HI is exact for every n below 2⁹ */
#define LN2_LO  0x1.7f7d1cp-20f
#define LOG2_E  0x1.715476p+0f
#define ROUNDER 12582912.0f              /* 1.5·2²³: adding it rounds to an integer, which then fills the low bits */

static inline uint32_t float_bits(float x)   { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
static inline float bits_float(uint32_t u)   { float x;    memcpy(&x, &u, sizeof x); return x; }
static inline float power_of_two(uint32_t n) { return bits_float((n + 127u) << 23); }   /* 2ⁿ, n a signed value mod 2³² */

/* exp_split: x = n ln 2 + r. Leaves n (mod 2³²) in *n and returns eʳ - 1, accurate near r = 0 where 1 would swallow it.   */
static inline float exp_split(float x, uint32_t *n)
{
    float rounded = fmaf(x, LOG2_E, ROUNDER);
    float whole = rounded - ROUNDER;
    float r = fmaf(-whole, LN2_LO, fmaf(-whole, LN2_HI, x));
    float series = 1.0f / 5040;
    series = fmaf(series, r, 1.0f / 720);
    series = fmaf(series, r, 1.0f / 120);
    series = fmaf(series, r, 1.0f / 24);
    series = fmaf(series, r, 1.0f / 6);
    series = fmaf(series, r, 1.0f / 2);
    *n = float_bits(rounded) - float_bits(ROUNDER);
    return fmaf(series * r, r, r);
}

/* eˣ. Beyond 88.72 it is infinity; below -103.97 it is 0, through the subnormals. The comparisons are false for NaN, which
 * so passes through. 2ⁿ comes in two factors because n reaches 128 and -150, where one float no longer holds it. What is
 * far below is set to 0 before them: a product that rounds to 0 costs a processor some hundred cycles, 0 times x none.     */
static inline real r_exp(real x)
{
    uint32_t n;
    int vanishes = x < -104.0f;
    x = x > 89.0f ? 89.0f : x;
    x = vanishes ? -104.0f : x;
    float e = 1.0f + exp_split(x, &n);
    e = vanishes ? 0.0f : e;
    uint32_t half = ((n + 256u) >> 1) - 128u;
    return e * power_of_two(half) * power_of_two(n - half);
}

/* tanh x. Past |x| = 9.02 float cannot tell it from ±1. E = 2ⁿ(eʳ - 1) + (2ⁿ - 1): each term is exact or small.           */
static inline real r_tanh(real x)
{
    uint32_t n;
    float a = fabsf(x);
    a = a > 9.02f ? 9.02f : a;
    float rest = exp_split(2.0f * a, &n), scale = power_of_two(n);
    float E = fmaf(scale, rest, scale - 1.0f);
    return copysignf(E / (E + 2.0f), x);
}

/* σ(x) = 1 / (1 + e⁻ˣ).                                                                                                   */
static inline real r_sigmoid(real x)
{
    float e = r_exp(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* ln x; -infinity at 0, NaN below. A subnormal is scaled by 2²³ first. Subtracting the bits of √½ before the exponent is
 * read moves the border between two exponents from 1 to √½, so that m lies around 1 where the series is best.             */
static inline real r_log(real x)
{
    int subnormal = x < 0x1p-126f;
    float scaled = subnormal ? x * 0x1p23f : x;
    uint32_t bits = float_bits(scaled), root = 0x3f3504f3u;                /* the bits of √½ */
    uint32_t above = bits - root;
    int32_t n = (int32_t)(above >> 23) - (above >> 31 ? 512 : 0);          /* floor: the top bit is a sign */
    float m = bits_float((above & 0x7fffffu) + root);
    float exponent = (float)n - (subnormal ? 23.0f : 0.0f);
    float f = m - 1.0f, s = f / (m + 1.0f), s2 = s * s;
    float series = fmaf(fmaf(fmaf(2.0f / 9, s2, 2.0f / 7), s2, 2.0f / 5), s2, 2.0f / 3);
    float y = fmaf(exponent, LN2_HI, fmaf(exponent, LN2_LO, fmaf(s * s2, series, 2.0f * s)));
    y = x > 0x1.fffffep127f ? x : y;                                       /* ln ∞ = ∞ */
    y = x == 0.0f ? -INFINITY : y;
    return x < 0.0f || x != x ? NAN : y;
}

#endif
#endif
