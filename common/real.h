/* real: the one number type of the workbook.
 *
 * float in every program that a student runs; double when compiled with -DREAL_DOUBLE, which is how the gradient checks
 * are built. A central difference on a three-step LSTM agrees with the tape to 1e-8 in double and no better than 1e-2 in
 * float, so a check in float would let real mistakes through.
 *
 * real_fma(a, b, c) = a·b + c rounded once. C11 (7.12.13.1) defines its result exactly, which is why the kernels may use
 * it where a compiler's own contraction of a*b + c is forbidden (-ffp-contract=off).                                     */
#ifndef WORKBOOK_REAL_H
#define WORKBOOK_REAL_H

#include <float.h>
#include <math.h>

#if defined __FAST_MATH__ || FLT_EVAL_METHOD != 0
#error "same seed, same bytes: not with -ffast-math or -Ofast, nor where float is computed in another precision"
#endif

#ifdef REAL_DOUBLE
typedef double real;
#define real_fma   fma
#define real_sqrt  sqrt
#else
typedef float real;
#define real_fma   fmaf
#define real_sqrt  sqrtf
#endif

#endif
