/* bench: how fast the kernels are, beside what the core could do at best.
 *
 *     make bench
 *
 * The peak is measured in the same run, by multiply-adds on registers alone. Each figure is the median of several rounds
 * that go through all the work in turn, so that a neighbour's load falls on every row alike. One thread.                  */
#include "workbook.h"
#include "maths.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 9, CHAINS = 12, WIDE = 64 / (int)sizeof(real) };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

/* ---- the peak: CHAINS independent chains of multiply-adds, each a vector wide, and no memory ------------------------
 * Variables of their own and not one array, for the same reason as in matrix.c: so they stay in registers.                */

#define CHAINS_12(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define BEGIN(i)   real s##i[WIDE]; for (int l = 0; l < WIDE; l++) s##i[l] = x + (real)(i + l);
#define ADVANCE(i) for (int l = 0; l < WIDE; l++) s##i[l] = real_fma(s##i[l], x, y);
#define KEEP(i)    for (int l = 0; l < WIDE; l++) kept[i][l] = s##i[l];

static volatile real unknown = (real)0.999, sink;
real kept[CHAINS][WIDE];                   /* visible outside, so that nothing is computed in vain */

static double peak_seconds(long steps)
{
    real x = unknown, y = unknown;
    CHAINS_12(BEGIN)
    double start = now();
    for (long p = 0; p < steps; p++) { CHAINS_12(ADVANCE) }
    double seconds = now() - start;
    CHAINS_12(KEEP)
    return seconds;
}

static double peak_gflops(void)
{
    long steps = 1000000;
    return 2e-9 * CHAINS * WIDE * (double)steps / peak_seconds(steps);
}

/* ---- products ------------------------------------------------------------------------------------------------------ */

typedef void MatmulFn(Matrix, Matrix, Matrix, Into);

typedef struct {
    const char *name;
    MatmulFn *f;
    int m, k, n;
    Matrix A, B, C;
    double rate[ROUNDS];
} Work;

static Matrix noise(int rows, int cols, Rng *rng)
{
    Matrix m = mat_new(rows, cols);
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = rng_normal(rng);
    return m;
}

static double matmul_gflops(Work *w)
{
    double work = 2.0 * w->m * w->k * w->n;
    int times = (int)(4e8 / work) + 1;
    double start = now();
    for (int i = 0; i < times; i++) w->f(w->C, w->A, w->B, SET);
    return 1e-9 * work * times / (now() - start);
}

static void bench_matmul(void)
{
    static const int shapes[][3] = { { 32, 256, 1024 }, { 1024, 32, 32 }, { 1024, 32, 128 }, { 512, 512, 512 } };
    enum { SHAPES = sizeof shapes / sizeof *shapes };
    static Work work[3 * SHAPES];
    Rng rng = rng_new(1, 0);
    for (int i = 0; i < 3 * SHAPES; i++) {
        int m = shapes[i / 3][0], k = shapes[i / 3][1], n = shapes[i / 3][2], form = i % 3;
        work[i] = (Work){ .name = form == 0 ? "A B" : form == 1 ? "A Bt" : "At B",
                          .f = form == 0 ? matmul_nn : form == 1 ? matmul_nt : matmul_tn, .m = m, .k = k, .n = n,
                          .A = form == 2 ? noise(k, m, &rng) : noise(m, k, &rng),
                          .B = form == 1 ? noise(n, k, &rng) : noise(k, n, &rng), .C = mat_new(m, n) };
    }
    double peak[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        peak[round] = peak_gflops();
        for (int i = 0; i < 3 * SHAPES; i++) work[i].rate[round] = matmul_gflops(&work[i]);
    }
    double best = median(peak, ROUNDS);
    printf("multiply-adds in registers  %7.1f GFLOP/s  = the peak of one core\n\n", best);
    for (int i = 0; i < 3 * SHAPES; i++) {
        Work *w = &work[i];
        double rate = median(w->rate, ROUNDS);
        printf("%-5s %5d x %-4d %4d x %-5d %7.1f GFLOP/s  %3.0f %%\n", w->name, w->m, w->k, w->k, w->n, rate, 100 * rate / best);
        mat_free(&w->A), mat_free(&w->B), mat_free(&w->C);
    }
}

/* ---- activations --------------------------------------------------------------------------------------------------- */

static void run_exp(real *y, const real *x, int n)     { for (int i = 0; i < n; i++) y[i] = r_exp(x[i]); }
static void run_log(real *y, const real *x, int n)     { for (int i = 0; i < n; i++) y[i] = r_log(x[i]); }
static void run_tanh(real *y, const real *x, int n)    { for (int i = 0; i < n; i++) y[i] = r_tanh(x[i]); }
static void run_sigmoid(real *y, const real *x, int n) { for (int i = 0; i < n; i++) y[i] = r_sigmoid(x[i]); }

static void bench_maths(void)
{
    enum { N = 4096, TIMES = 2000 };
    static real x[N], y[N];
    static const struct { const char *name; void (*f)(real *, const real *, int); } row[] =
        { { "exp", run_exp }, { "log", run_log }, { "tanh", run_tanh }, { "sigmoid", run_sigmoid } };
    Rng rng = rng_new(2, 0);
    for (int i = 0; i < N; i++) x[i] = rng_normal(&rng);
    printf("\n");
    for (size_t f = 0; f < sizeof row / sizeof *row; f++) {
        double rate[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            double start = now();
            for (int i = 0; i < TIMES; i++) row[f].f(y, x, N), sink = y[i % N];
            rate[round] = 1e-6 * N * TIMES / (now() - start);
        }
        printf("%-10s %7.0f million a second\n", row[f].name, median(rate, ROUNDS));
    }
}

static void bench_softmax(void)
{
    static const int widths[] = { 33, 92, 1024 };
    Rng rng = rng_new(3, 0);
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        Matrix A = noise(1024, widths[w], &rng), P = mat_new(1024, widths[w]);
        double rate[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            double start = now();
            for (int i = 0; i < 100; i++) mat_softmax(P, A, NULL);
            rate[round] = 1e-6 * 100 * (double)mat_size(A) / (now() - start);
        }
        printf("softmax, rows of %-4d %7.0f million a second\n", widths[w], median(rate, ROUNDS));
        mat_free(&A), mat_free(&P);
    }
}

int main(void)
{
    bench_matmul();
    bench_maths();
    bench_softmax();
    return 0;
}
