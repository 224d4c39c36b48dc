/* What maths.h promises: how near exp, tanh, sigmoid and log come to the true values, over the whole range of their
 * argument, and what they make of infinities, NaN, zeros and subnormals.
 *
 * The arguments are every STEP-th bit pattern of all that there are, and every number within NEAR steps of the places where
 * something changes: a clamp, the border between two reductions, the smallest and the largest result. The true value comes
 * from libm in a wider type. Errors are in ulp: the distance between two neighbours at the true value, once it is rounded;
 * for a subnormal value, the smallest subnormal. In float the bits themselves are held too, by a digest of all results: they
 * are to be the same whatever compiled them, with vector code or without. Who changes maths.h on purpose puts in the new
 * digests that the test prints.                                                                                           */
#include "maths.h"
#include "unit.h"

#include <float.h>

#ifdef REAL_DOUBLE
typedef long double wide;
typedef uint64_t Bits;
#define WIDE(f) f##l
enum { IS_FLOAT = 0, DIGITS = DBL_MANT_DIG, LOWEST = DBL_MIN_EXP - DBL_MANT_DIG, TOP = DBL_MAX_EXP, NEAR = 10 };
static const Bits STEP = 92233720368547, LAST = UINT64_MAX;
static const real LEAST = DBL_TRUE_MIN, NORMAL = DBL_MIN, MOST = DBL_MAX;
static const real EXP_TOP = 709.782712893384, EXP_LOW = -745.13321910194;         /* exp is infinity above, 0 below */
#else
typedef double wide;
typedef uint32_t Bits;
#define WIDE(f) f
enum { IS_FLOAT = 1, DIGITS = FLT_MANT_DIG, LOWEST = FLT_MIN_EXP - FLT_MANT_DIG, TOP = FLT_MAX_EXP, NEAR = 1000 };
static const Bits STEP = 1013, LAST = UINT32_MAX;
static const real LEAST = FLT_TRUE_MIN, NORMAL = FLT_MIN, MOST = FLT_MAX;
static const real EXP_TOP = 88.7228394f, EXP_LOW = -103.972084f;                  /* exp is infinity above, 0 below */
#endif

static real from_bits(Bits b) { real x; memcpy(&x, &b, sizeof x); return x; }
static Bits to_bits(real x)   { Bits b; memcpy(&b, &x, sizeof b); return b; }

static wide true_exp(wide x)     { return WIDE(exp)(x); }
static wide true_tanh(wide x)    { return WIDE(tanh)(x); }
static wide true_log(wide x)     { return WIDE(log)(x); }
static wide true_sigmoid(wide x) { return x < 0 ? WIDE(exp)(x) / (1 + WIDE(exp)(x)) : 1 / (1 + WIDE(exp)(-x)); }

static void run_exp(int n, real *y, const real *x)     { for (int i = 0; i < n; i++) y[i] = r_exp(x[i]); }
static void run_tanh(int n, real *y, const real *x)    { for (int i = 0; i < n; i++) y[i] = r_tanh(x[i]); }
static void run_log(int n, real *y, const real *x)     { for (int i = 0; i < n; i++) y[i] = r_log(x[i]); }
static void run_sigmoid(int n, real *y, const real *x) { for (int i = 0; i < n; i++) y[i] = r_sigmoid(x[i]); }

/* ---- the sweep ----------------------------------------------------------------------------------------------------- */

enum { BLOCK = 4096 };

typedef struct {
    const char *name;
    void (*run)(int, real *, const real *);
    wide (*truth)(wide);
    double least, most;                    /* no result may lie outside           */

    double worst;                          /* largest error in ulp …              */
    real worst_at;                         /* … and its argument                  */
    uint64_t digest;                       /* FNV-1a of the bits of all results   */
    real x[BLOCK], y[BLOCK];
    int held;
} Sweep;

/* How far got is from want. An infinity stands for the power of two that would come after the largest number. */
static double ulps(real got, wide want)
{
    real rounded = (real)want;
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (isinf(rounded) && isinf(got)) return got == rounded ? 0 : INFINITY;
    wide near = isinf(got) ? WIDE(copysign)(WIDE(ldexp)(1, TOP), got) : got;
    int exponent = isinf(rounded) ? TOP - 1 : rounded == 0 ? LOWEST : ilogb(rounded);
    int unit_exponent = exponent - DIGITS + 1 < LOWEST ? LOWEST : exponent - DIGITS + 1;
    return (double)WIDE(ldexp)(WIDE(fabs)(near - want), -unit_exponent);
}

static void sweep_block(Sweep *s)
{
    s->run(s->held, s->y, s->x);
    for (int i = 0; i < s->held; i++) {
        real x = s->x[i], y = s->y[i];
        double error = ulps(y, s->truth(x));
        if (error > s->worst) s->worst = error, s->worst_at = x;
        EXPECT(isnan(x) || isnan(y) || (y >= s->least && y <= s->most), "%s(%a) = %a", s->name, x, y);
        s->digest = (s->digest ^ (isnan(y) ? 0 : to_bits(y))) * 0x100000001b3u;
    }
    s->held = 0;
}

static void sweep_at(Sweep *s, real x)
{
    s->x[s->held++] = x;
    if (s->held == BLOCK) sweep_block(s);
}

/* The numbers around ±place. Beyond 0 lie the bit patterns of NaN, which do no harm. */
static void sweep_near(Sweep *s, wide place)
{
    for (int i = -NEAR; i <= NEAR; i++) {
        real x = from_bits(to_bits((real)place) + (Bits)i);
        sweep_at(s, x);
        sweep_at(s, -x);
    }
}

static void sweep(Sweep *s)
{
    const wide ln2 = (wide)0.693147180559945309417232121458L, root_half = WIDE(sqrt)((wide)0.5);
    const wide places[] = { 0, LEAST, NORMAL, MOST, EXP_TOP, EXP_LOW, (LOWEST + DIGITS - 1) * ln2, 89, 104, 9.02,
                            1e-4, 0.5, 1, 2, 0x1.790924p+2, 0x1.fd0794p-8, 0x1.0a111ap+2, 0x1.00fd16p+0 };
    s->digest = 0xcbf29ce484222325u;
    for (Bits i = 0; i <= LAST / STEP; i++) sweep_at(s, from_bits(i * STEP));
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) sweep_near(s, places[i]);
    for (int k = 1; k < 301; k += 2) sweep_near(s, k * ln2 / 2);                   /* where exp goes on to the next 2ⁿ  */
    for (int k = 1; k < 53; k += 2) sweep_near(s, k * ln2 / 4);                    /* and tanh, whose argument is twice */
    for (int n = LOWEST; n < TOP; n++) sweep_near(s, WIDE(ldexp)(root_half, n));   /* and log                           */
    sweep_block(s);
    printf("%-8s %.3f ulp at most, at %a\n", s->name, s->worst, (double)s->worst_at);
}

/* In double the functions are libm's, whose last bit is not ours to promise. */
static void expect_sweep(Sweep *s, double bound, uint64_t digest)
{
    sweep(s);
    double allowed = IS_FLOAT ? bound : 3;
    EXPECT(s->worst <= allowed, "%s(%a): off by %.3f ulp, %.1f allowed", s->name, (double)s->worst_at, s->worst, allowed);
    EXPECT(!IS_FLOAT || s->digest == digest, "%s: the bits of all results changed: 0x%016llx", s->name,
           (unsigned long long)s->digest);
}

/* The bounds are the largest errors among all floats, rounded up to the next half; the arguments where those errors are
 * stand last among the places. */
static void test_exp(void)
{
    static Sweep s = { .name = "exp", .run = run_exp, .truth = true_exp, .least = 0, .most = INFINITY };
    expect_sweep(&s, 1.5, 0x3954d9d6ccc705abu);
}

static void test_tanh(void)
{
    static Sweep s = { .name = "tanh", .run = run_tanh, .truth = true_tanh, .least = -1, .most = 1 };
    expect_sweep(&s, 2.5, 0xda60d2cd0cff9daeu);
}

static void test_sigmoid(void)
{
    static Sweep s = { .name = "sigmoid", .run = run_sigmoid, .truth = true_sigmoid, .least = 0, .most = 1 };
    expect_sweep(&s, 2.5, 0xc12b80136e9c1528u);
}

static void test_log(void)
{
    static Sweep s = { .name = "log", .run = run_log, .truth = true_log, .least = -INFINITY, .most = INFINITY };
    expect_sweep(&s, 2.0, 0x218c3b409c0000cfu);
}

/* ---- single places ------------------------------------------------------------------------------------------------- */

/* Bits and not values are compared: -0 is not 0 here. */
static void expect_exact(const char *call, real got, real want)
{
    EXPECT((isnan(got) && isnan(want)) || to_bits(got) == to_bits(want), "%s: expected %a, got %a", call, want, got);
}
#define EXACT(call, want) expect_exact(#call, call, want)

static void test_infinities_and_nan(void)
{
    const real inf = INFINITY;
    EXACT(r_exp(inf), inf);
    EXACT(r_exp(-inf), 0);
    EXACT(r_tanh(inf), 1);
    EXACT(r_tanh(-inf), -1);
    EXACT(r_sigmoid(inf), 1);
    EXACT(r_sigmoid(-inf), 0);
    EXACT(r_log(inf), inf);
    EXACT(r_log(-inf), NAN);
    EXACT(r_exp((real)NAN), NAN);
    EXACT(r_tanh((real)NAN), NAN);
    EXACT(r_sigmoid((real)NAN), NAN);
    EXACT(r_log((real)NAN), NAN);
    EXACT(r_exp(-(real)NAN), NAN);
    EXACT(r_tanh(-(real)NAN), NAN);
    EXACT(r_sigmoid(-(real)NAN), NAN);
    EXACT(r_log(-(real)NAN), NAN);
}

static void test_zeros_and_ones(void)
{
    EXACT(r_exp(0), 1);
    EXACT(r_exp(-(real)0), 1);
    EXACT(r_tanh(0), 0);
    EXACT(r_tanh(-(real)0), -(real)0);
    EXACT(r_sigmoid(0), (real)0.5);
    EXACT(r_sigmoid(-(real)0), (real)0.5);
    EXACT(r_log(0), -INFINITY);
    EXACT(r_log(-(real)0), -INFINITY);
    EXACT(r_log(1), 0);
    EXACT(r_log(-1), NAN);
    EXACT(r_log(-LEAST), NAN);
    EXACT(r_log(-MOST), NAN);
}

static void test_largest_and_smallest(void)
{
    EXACT(r_exp(MOST), INFINITY);
    EXACT(r_exp(-MOST), 0);
    EXACT(r_exp(LEAST), 1);
    EXACT(r_exp(-LEAST), 1);
    EXACT(r_tanh(MOST), 1);
    EXACT(r_tanh(-MOST), -1);
    EXACT(r_tanh(LEAST), LEAST);
    EXACT(r_tanh(-LEAST), -LEAST);
    EXACT(r_tanh(NORMAL), NORMAL);
    EXACT(r_sigmoid(MOST), 1);
    EXACT(r_sigmoid(-MOST), 0);
    EXACT(r_sigmoid(LEAST), (real)0.5);
    EXPECT_NEAR(r_log(LEAST), true_log(LEAST), 1e-5, "log of the smallest subnormal");
    EXPECT_NEAR(r_log(MOST), true_log(MOST), 1e-5, "log of the largest number");
    EXPECT(r_exp(EXP_TOP) > MOST / 2 && r_exp(EXP_TOP - 1) < INFINITY, "exp just below where it overflows");
    EXPECT(isinf(r_exp(EXP_TOP + 1)), "exp just above where it overflows");
    EXPECT(r_exp(EXP_LOW + 1) > 0 && r_exp(EXP_LOW + 1) < NORMAL, "exp is subnormal before it is 0");
    EXACT(r_exp(EXP_LOW - 1), 0);
}

/* Errors of an ulp may turn two neighbours round, but not two numbers so far apart; and tanh is odd to the bit. */
static void test_they_rise(void)
{
    const real step = (real)0x1p-6;
    for (real x = -4; x < 4; x += step) {
        EXPECT(r_exp(20 * x) < r_exp(20 * (x + step)), "exp between %a and %a", 20 * x, 20 * (x + step));
        EXPECT(r_tanh(x) < r_tanh(x + step), "tanh between %a and %a", x, x + step);
        EXPECT(r_sigmoid(x) < r_sigmoid(x + step), "sigmoid between %a and %a", x, x + step);
        EXPECT(x <= 0 || r_log(20 * x) < r_log(20 * (x + step)), "log between %a and %a", 20 * x, 20 * (x + step));
        EXPECT(r_tanh(-x) == -r_tanh(x), "tanh at ±%a", x);
        EXPECT_NEAR(r_sigmoid(x) + r_sigmoid(-x), 1, 1e-6, "sigmoid at %a and its mirror image", x);
    }
}

int main(void)
{
    RUN(test_exp);
    RUN(test_tanh);
    RUN(test_sigmoid);
    RUN(test_log);
    RUN(test_infinities_and_nan);
    RUN(test_zeros_and_ones);
    RUN(test_largest_and_smallest);
    RUN(test_they_rise);
    return unit_result();
}
