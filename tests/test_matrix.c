/* What matrix.h promises: each kernel gives the numbers that its line in the header says, to the bit where an order of
 * summation is written down, for every remainder that a tile, a panel or a vector can leave, on views as on whole matrices,
 * with any number of threads; it writes its output and nothing beside it; and a shape that does not fit ends the program
 * with a message that names the shapes.
 *
 * Outputs and operands are views into larger matrices, with NaN around them. The reference works on a copy of the output's
 * larger matrix, and then both are compared whole: so one comparison finds a wrong element, a write beside the view, and a
 * NaN that came in from beside an operand.                                                                                */
#include "matrix.h"
#include "maths.h"
#include "rng.h"
#include "threads.h"
#include "unit.h"

#include <float.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef long double wide;                  /* for references: wider than real in either build */

#ifdef REAL_DOUBLE
static const double EPSILON = DBL_EPSILON, TINIEST = DBL_TRUE_MIN;
#else
static const double EPSILON = FLT_EPSILON, TINIEST = FLT_TRUE_MIN;
#endif

static Rng rng;

/* ---- matrices to test with ----------------------------------------------------------------------------------------- */

/* Normal numbers, among them zeros of both signs and numbers so small that their products are subnormal. */
static real noise(void)
{
    static const real rare[] = { 0, -(real)0, (real)1e-20, -(real)1e-38, 1, -1, 3, 1000 };
    uint32_t bits = rng_bits(&rng);
    return bits % 16 < 8 ? rng_uniform(&rng) * 4 - 2 : bits % 16 < 14 ? rng_uniform(&rng) - (real)0.5 : rare[bits >> 4 & 7];
}

static void fill_noise(Matrix m)
{
    for (int r = 0; r < m.rows; r++)
        for (int c = 0; c < m.cols; c++) mat_row(m, r)[c] = noise();
}

/* A matrix and what lies around it: gap rows and columns on every side, of NaN; gap = 0 for a matrix without. */
typedef struct { Matrix whole, view; } Framed;

static Framed framed(int rows, int cols, int gap)
{
    Framed f = { .whole = mat_new(rows + 2 * gap, cols + 2 * gap) };
    for (size_t i = 0; i < mat_size(f.whole); i++) f.whole.at[i] = (real)NAN;
    f.view = mat_cols(mat_rows(f.whole, gap, rows), gap, cols);
    fill_noise(f.view);
    return f;
}

static Framed framed_copy(Framed from)
{
    Framed f = { .whole = mat_new(from.whole.rows, from.whole.cols) };
    memcpy(f.whole.at, from.whole.at, mat_size(f.whole) * sizeof(real));
    f.view = from.view;
    f.view.at = f.whole.at + (from.view.at - from.whole.at);
    return f;
}

static void framed_reset(Framed to, Framed from)
{
    memcpy(to.whole.at, from.whole.at, mat_size(to.whole) * sizeof(real));
}

static Framed framed_turned(Matrix m, int gap)
{
    Framed f = framed(m.cols, m.rows, gap);
    for (int r = 0; r < m.rows; r++)
        for (int c = 0; c < m.cols; c++) mat_row(f.view, c)[r] = mat_row(m, r)[c];
    return f;
}

#define EXPECT_SAME(got, want, ...) \
    EXPECT_SAME_BYTES((got).whole.at, (want).whole.at, mat_size((want).whole) * sizeof(real), __VA_ARGS__)

/* ---- products ------------------------------------------------------------------------------------------------------ */

static void plain_product(Matrix C, Matrix A, Matrix B, Into into)
{
    for (int i = 0; i < C.rows; i++)
        for (int j = 0; j < C.cols; j++) {
            real sum = into == ADD ? mat_row(C, i)[j] : 0;
            for (int p = 0; p < A.cols; p++) sum = real_fma(mat_row(A, i)[p], mat_row(B, p)[j], sum);
            mat_row(C, i)[j] = sum;
        }
}

/* A bias is what the chains begin with: so adding into C that holds it in every row is the same to the bit. */
static void expect_bias(Matrix A, Matrix B, Framed want, Framed got, Framed before, int gap)
{
    Framed b = framed(1, B.cols, gap);
    framed_reset(want, before);
    for (int i = 0; i < A.rows; i++)
        for (int j = 0; j < B.cols; j++) mat_row(want.view, i)[j] = b.view.at[j];
    plain_product(want.view, A, B, ADD);
    framed_reset(got, before);
    matmul_bias(got.view, A, B, b.view);
    EXPECT_SAME(got, want, "A B + b, (%d,%d)(%d,%d), gap %d, %d threads", A.rows, A.cols, B.rows, B.cols, gap, threads_count());
    mat_free(&b.whole);
}

/* All three forms of one product, SET and ADD, and with a bias, against the plain loop. */
static void expect_products(int m, int k, int n, int gap)
{
    Framed A = framed(m, k, gap), B = framed(k, n, gap);
    Framed At = framed_turned(A.view, gap), Bt = framed_turned(B.view, gap);
    Framed before = framed(m, n, gap), want = framed_copy(before), got = framed_copy(before);
    for (Into into = SET; into <= ADD; into++) {
        const char *name = into == SET ? "SET" : "ADD";
        int threads = threads_count();
        framed_reset(want, before);
        plain_product(want.view, A.view, B.view, into);
        framed_reset(got, before);
        matmul_nn(got.view, A.view, B.view, into);
        EXPECT_SAME(got, want, "A B, %s, (%d,%d)(%d,%d), gap %d, %d threads", name, m, k, k, n, gap, threads);
        framed_reset(got, before);
        matmul_nt(got.view, A.view, Bt.view, into);
        EXPECT_SAME(got, want, "A Bᵀ, %s, (%d,%d)(%d,%d)ᵀ, gap %d, %d threads", name, m, k, n, k, gap, threads);
        framed_reset(got, before);
        matmul_tn(got.view, At.view, B.view, into);
        EXPECT_SAME(got, want, "Aᵀ B, %s, (%d,%d)ᵀ(%d,%d), gap %d, %d threads", name, k, m, k, n, gap, threads);
    }
    expect_bias(A.view, B.view, want, got, before, gap);
    Framed all[] = { A, B, At, Bt, before, want, got };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mat_free(&all[i].whole);
}

static void test_products_of_all_remainders(void)
{
    static const int ms[] = { 0, 1, 2, 5, 6, 7, 13, 33 }, ks[] = { 0, 1, 2, 15, 16, 17, 127, 128, 129, 300 };
    static const int ns[] = { 0, 1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80, 127, 128, 130 };
    for (size_t i = 0; i < sizeof ms / sizeof *ms; i++)
        for (size_t p = 0; p < sizeof ks / sizeof *ks; p++)
            for (size_t j = 0; j < sizeof ns / sizeof *ns; j++) {
                expect_products(ms[i], ks[p], ns[j], 3);
                if ((i + p + j) % 3 == 0) expect_products(ms[i], ks[p], ns[j], 0);
            }
}

/* Every small size in each direction, and sums long enough to be cut several times. */
static void test_products_small_and_long(void)
{
    for (int m = 1; m <= 14; m++)
        for (int n = 1; n <= 34; n++) expect_products(m, 3 + (m + n) % 3, n, m % 2);
    for (int k = 126; k <= 1100; k += k < 130 ? 1 : 61)
        for (int n = 5; n <= 70; n += 13) expect_products(9, k, n, k % 2);
}

/* More than 2¹⁸ multiply-adds: these are shared out. Wide, tall, deep, and with remainders everywhere. */
static void test_products_with_threads(void)
{
    static const int shapes[][3] = { { 70, 129, 130 }, { 3, 300, 400 }, { 400, 300, 3 }, { 1, 700, 900 }, { 900, 700, 1 },
                                     { 33, 600, 16 }, { 13, 1100, 19 }, { 64, 64, 64 }, { 131, 65, 67 }, { 1030, 17, 33 },
                                     { 7, 129, 17 }, { 6, 2, 64 }, { 2, 5000, 31 } };
    for (int threads = 1; threads <= 3; threads++) {
        threads_start(threads);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int gap = 0; gap <= 2; gap += 2) expect_products(shapes[i][0], shapes[i][1], shapes[i][2], gap);
        threads_stop();
    }
}

/* Columns that are computed only to fill a vector are 0·∞ here: none of them may reach C. */
static void test_products_with_infinity(void)
{
    Framed A = framed(7, 20, 1), B = framed(20, 21, 1), C = framed(7, 21, 1), Ct = framed(21, 7, 1);
    Framed At = framed_turned(A.view, 1), Bt = framed_turned(B.view, 1), b = framed(1, 21, 1);
    mat_fill(A.view, INFINITY), mat_fill(At.view, INFINITY);
    mat_fill(B.view, 1), mat_fill(Bt.view, 1);
    for (int form = 0; form < 5; form++) {
        mat_fill(C.view, 0);
        if (form == 0) matmul_nn(C.view, A.view, B.view, SET);
        if (form == 1) matmul_nt(C.view, A.view, Bt.view, SET);
        if (form == 2) matmul_tn(C.view, At.view, B.view, SET);
        if (form == 3) matmul_nt(Ct.view, Bt.view, A.view, SET);
        if (form == 4) matmul_bias(C.view, A.view, B.view, b.view);
        Matrix got = form == 3 ? Ct.view : C.view;
        for (int r = 0; r < got.rows; r++)
            for (int c = 0; c < got.cols; c++)
                EXPECT(isinf(mat_row(got, r)[c]), "form %d, (%d,%d): %g", form, r, c, (double)mat_row(got, r)[c]);
    }
    Framed all[] = { A, B, C, Ct, At, Bt, b };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mat_free(&all[i].whole);
}

/* ---- softmax and cross-entropy ------------------------------------------------------------------------------------- */

/* How far p may be from exp(a - top)/Σ: a - top rounds by half its last place, which exp turns into a factor. */
static double softmax_tolerance(wide p, wide below_top)
{
    return (double)(p * EPSILON * (10 + fabsl(below_top))) + 2 * TINIEST;
}

static wide row_top(int n, const real *a, const real *mask)
{
    wide top = -INFINITY;
    for (int j = 0; j < n; j++)
        if (!mask || mask[j] != 0) top = fmaxl(top, a[j]);
    return top;
}

static wide row_total(int n, const real *a, const real *mask, wide top)
{
    wide total = 0;
    for (int j = 0; j < n; j++)
        if (!mask || mask[j] != 0) total += expl(a[j] - top);
    return total;
}

static void expect_softmax_row(int n, const real *y, const real *a, const real *mask)
{
    wide top = row_top(n, a, mask), total = row_total(n, a, mask, top), sum = 0;
    for (int j = 0; j < n; j++) {
        bool dead = mask && mask[j] == 0;
        wide want = dead ? 0 : expl(a[j] - top) / total;
        sum += y[j];
        EXPECT_NEAR(y[j], want, dead ? 0 : softmax_tolerance(want, a[j] - top), "%d of %d, mask %d", j, n, mask != NULL);
    }
    EXPECT_NEAR(sum, total > 0 ? 1 : 0, total > 0 ? 10 * EPSILON : 0, "sum of a row of %d, mask %d", n, mask != NULL);
}

/* The same to the bit: exp and the sum are ours, in the order that matrix.h writes down. */
static void plain_softmax_row(int n, real *y, const real *a, const real *mask)
{
    real top = -(real)INFINITY;
    for (int j = 0; j < n; j++)
        if ((!mask || mask[j] != 0) && a[j] > top) top = a[j];
    for (int j = 0; j < n; j++) y[j] = mask && mask[j] == 0 ? 0 : r_exp(a[j] - top);
    real total = sum_lanes(y, n), scale = total > 0 ? 1 / total : 0;
    for (int j = 0; j < n; j++) y[j] *= scale;
}

/* rows × n, out of place and in place, on views; about one row in eight of the masked is masked altogether. */
static void expect_softmax(int rows, int n, bool masked, real size)
{
    Framed A = framed(rows, n, 2), mask = framed(rows, n, 1), Y = framed(rows, n, 3), want = framed_copy(Y);
    for (int r = 0; r < rows; r++) {
        bool none = rng_below(&rng, 8) == 0;
        for (int j = 0; j < n; j++) {
            mat_row(A.view, r)[j] *= size;
            mat_row(mask.view, r)[j] = none ? 0 : (real)rng_below(&rng, 2);
        }
    }
    mat_softmax(Y.view, A.view, masked ? &mask.view : NULL);
    for (int r = 0; r < rows; r++) {
        const real *a = mat_row(A.view, r), *m = masked ? mat_row(mask.view, r) : NULL;
        expect_softmax_row(n, mat_row(Y.view, r), a, m);
        plain_softmax_row(n, mat_row(want.view, r), a, m);
    }
    EXPECT_SAME(Y, want, "(%d,%d), mask %d", rows, n, masked);
    mat_softmax(A.view, A.view, masked ? &mask.view : NULL);
    for (int r = 0; r < rows; r++)
        EXPECT_SAME_BYTES(mat_row(A.view, r), mat_row(Y.view, r), (size_t)n * sizeof(real), "in place, row %d of %d", r, n);
    mat_free(&A.whole), mat_free(&mask.whole), mat_free(&Y.whole), mat_free(&want.whole);
}

static void test_softmax(void)
{
    static const int widths[] = { 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 92, 130 };
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int masked = 0; masked <= 1; masked++) {
            expect_softmax(20, widths[i], masked, 1);
            expect_softmax(20, widths[i], masked, 10);
            expect_softmax(20, widths[i], masked, 60);                   /* some results are subnormal, some 0 */
        }
    for (int rows = 0; rows <= 35; rows++) expect_softmax(rows, 19, rows % 2, 1);
}

static void test_softmax_of_huge_logits(void)
{
    enum { N = 19 };
    real a[N], y[N], mask[N];
    for (int j = 0; j < N; j++) a[j] = j % 2 ? (real)1e30 : -(real)1e30, mask[j] = j % 2 == 0;
    Matrix A = mat_over(a, 1, N), Y = mat_over(y, 1, N), M = mat_over(mask, 1, N);
    mat_softmax(Y, A, NULL);
    for (int j = 0; j < N; j++) EXPECT_NEAR(y[j], j % 2 ? 1.0 / 9 : 0, EPSILON, "logit ±1e30, place %d", j);
    mat_softmax(Y, A, &M);                                               /* the huge ones are masked: exp overflows there */
    for (int j = 0; j < N; j++) EXPECT_NEAR(y[j], j % 2 ? 0 : 1.0 / 10, EPSILON, "the huge ones masked, place %d", j);
    for (int j = 0; j < N; j++) a[j] = j < 3 ? -(real)INFINITY : 0;      /* another way to mask */
    mat_softmax(Y, A, NULL);
    for (int j = 0; j < N; j++) EXPECT_NEAR(y[j], j < 3 ? 0 : 1.0 / 16, EPSILON, "logit -∞, place %d", j);
}

/* A NaN in a row is the sign of a program that went wrong; a kernel that turned it into numbers would hide that. */
static void test_softmax_keeps_nan(void)
{
    real a[5] = { 1, 2, (real)NAN, 3, 4 }, y[5];
    mat_softmax(mat_over(y, 1, 5), mat_over(a, 1, 5), NULL);
    EXPECT(isnan(y[2]), "softmax of a row with a NaN holds %g in its place", (double)y[2]);
}

static void expect_cross_entropy(int rows, int n, real size)
{
    Framed A = framed(rows, n, 2), P = framed(rows, n, 1), around = framed_copy(P);
    real *loss = allocate((size_t)rows, sizeof(real)), *loss_again = allocate((size_t)rows, sizeof(real));
    int *target = allocate((size_t)rows, sizeof(int));
    for (int r = 0; r < rows; r++) {
        target[r] = rng_below(&rng, 5) == 0 ? -1 - rng_below(&rng, 100) : rng_below(&rng, n);
        for (int j = 0; j < n; j++) mat_row(A.view, r)[j] *= size;
    }
    mat_cross_entropy(P.view, loss, A.view, target);
    for (int r = 0; r < rows; r++) {
        const real *a = mat_row(A.view, r), *p = mat_row(P.view, r);
        wide top = row_top(n, a, NULL), total = row_total(n, a, NULL, top);
        wide want = target[r] < 0 ? 0 : logl(total) + top - a[target[r]];
        EXPECT_NEAR(loss[r], want, target[r] < 0 ? 0 : EPSILON * (double)(8 + want), "loss, target %d of %d", target[r], n);
        if (target[r] >= 0) expect_softmax_row(n, p, a, NULL);
        else for (int j = 0; j < n; j++) EXPECT_NEAR(p[j], 0, 0, "P in a row of padding, column %d of %d", j, n);
    }
    mat_cross_entropy(A.view, loss_again, A.view, target);
    EXPECT_SAME_BYTES(loss_again, loss, (size_t)rows * sizeof(real), "loss, in place");
    for (int r = 0; r < rows; r++)
        EXPECT_SAME_BYTES(mat_row(A.view, r), mat_row(P.view, r), (size_t)n * sizeof(real), "P in place, row %d", r);
    mat_copy(around.view, P.view);
    EXPECT_SAME(P, around, "(%d,%d): written beside the view", rows, n);
    mat_free(&A.whole), mat_free(&P.whole), mat_free(&around.whole);
    free(loss), free(loss_again), free(target);
}

static void test_cross_entropy(void)
{
    static const int widths[] = { 1, 2, 5, 15, 16, 17, 33, 92 };
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
        for (int size = 1; size <= 100; size *= 10) expect_cross_entropy(40, widths[i], (real)size);
    for (int rows = 0; rows <= 35; rows++) expect_cross_entropy(rows, 19, 1);
}

static void test_cross_entropy_of_huge_logits(void)
{
    real a[2][3] = { { (real)1e30, 0, -(real)1e30 }, { (real)1e30, 0, -(real)1e30 } }, p[2][3], loss[2];
    mat_cross_entropy(mat_over(p[0], 2, 3), loss, mat_over(a[0], 2, 3), (int[]){ 0, 2 });
    EXPECT_NEAR(loss[0], 0, 0, "sure and right");
    EXPECT_NEAR(loss[1], 2e30, 1e24, "sure and wrong");
    for (int j = 0; j < 3; j++) EXPECT_NEAR(p[1][j], j == 0, 0, "P, column %d", j);
}

/* What lies in a row of padding does not matter, not even whether it is a number. */
static void test_cross_entropy_of_bad_padding(void)
{
    real a[2][3] = { { (real)NAN, 1, 2 }, { INFINITY, INFINITY, 0 } }, p[2][3], loss[2];
    mat_cross_entropy(mat_over(p[0], 2, 3), loss, mat_over(a[0], 2, 3), (int[]){ -1, -1 });
    for (int r = 0; r < 2; r++) {
        EXPECT_NEAR(loss[r], 0, 0, "loss of padding, row %d", r);
        for (int j = 0; j < 3; j++) EXPECT_NEAR(p[r][j], 0, 0, "P of padding, (%d,%d)", r, j);
    }
}

/* ---- rows, columns and sums ---------------------------------------------------------------------------------------- */

static void test_add_row(void)
{
    for (int n = 0; n <= 70; n += n < 35 ? 1 : 7) {
        Framed Y = framed(5, n, 2), b = framed(1, n, 1), want = framed_copy(Y);
        for (int r = 0; r < 5; r++)
            for (int j = 0; j < n; j++) mat_row(want.view, r)[j] += b.view.at[j];
        mat_add_row(Y.view, b.view);
        EXPECT_SAME(Y, want, "n = %d", n);
        mat_free(&Y.whole), mat_free(&b.whole), mat_free(&want.whole);
    }
}

static void test_sum_rows(void)
{
    for (int n = 0; n <= 70; n += n < 35 ? 1 : 7)
        for (Into into = SET; into <= ADD; into++) {
            Framed A = framed(n % 9, n, 2), b = framed(1, n, 1), want = framed_copy(b);
            for (int j = 0; j < n; j++) {
                real sum = into == SET ? 0 : want.view.at[j];
                for (int r = 0; r < A.view.rows; r++) sum += mat_row(A.view, r)[j];
                want.view.at[j] = sum;
            }
            mat_sum_rows(b.view, A.view, into);
            EXPECT_SAME(b, want, "(%d,%d), into %d", n % 9, n, (int)into);
            mat_free(&A.whole), mat_free(&b.whole), mat_free(&want.whole);
        }
}

/* Rows that are added into rows; backwards: in the order that is not the promised one. */
static void plain_scatter(Matrix A, const int *index, Matrix Y, bool backwards)
{
    for (int i = 0; i < Y.rows; i++) {
        int r = backwards ? Y.rows - 1 - i : i;
        for (int j = 0; index[r] >= 0 && j < Y.cols; j++) mat_row(A, index[r])[j] += mat_row(Y, r)[j];
    }
}

/* A row of A that is named more than once gets its sum over r in order, to the bit; -1 adds nothing. With many rows another
 * order gives other bits, so that this comparison can fail. */
static void expect_scatter(int a_rows, int rows, int cols)
{
    enum { MOST = 703 };
    int index[MOST];
    Framed Y = framed(rows, cols, 1), got = framed(a_rows, cols, 2), want = framed_copy(got), other = framed_copy(got);
    for (int r = 0; r < rows; r++) index[r] = rng_below(&rng, a_rows + 1) - 1;
    plain_scatter(want.view, index, Y.view, false);
    plain_scatter(other.view, index, Y.view, true);
    mat_scatter(got.view, index, Y.view);
    EXPECT_SAME(got, want, "(%d,%d) into (%d,%d), %d threads", rows, cols, a_rows, cols, threads_count());
    EXPECT(rows < MOST || memcmp(other.whole.at, want.whole.at, mat_size(want.whole) * sizeof(real)) != 0,
           "(%d,%d) into (%d,%d): the order makes no difference", rows, cols, a_rows, cols);
    Framed all[] = { Y, got, want, other };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mat_free(&all[i].whole);
}

/* Columns that a piece takes alone, and columns that several threads share. */
static void test_scatter(void)
{
    for (int n = 0; n <= 70; n += n < 35 ? 1 : 7) expect_scatter(1 + n % 4, n % 11, n);
    for (int threads = 1; threads <= 3; threads++) {
        threads_start(threads);
        for (int a_rows = 1; a_rows <= 9; a_rows += 4) expect_scatter(a_rows, 703, 333), expect_scatter(a_rows, 703, 5);
        threads_stop();
    }
}

/* The order that matrix.h writes down: lane j mod 16, then lanes 8 apart, 4 apart, 2, 1. */
static void test_sums_in_lanes(void)
{
    real x[71];
    for (int n = 0; n <= 70; n++)
        for (int time = 0; time < 5; time++) {
            real lane[16] = { 0 };
            double square[16] = { 0 };
            for (int j = 0; j < n; j++) {
                x[j] = noise();
                lane[j % 16] += x[j];
                square[j % 16] = fma((double)x[j], (double)x[j], square[j % 16]);
            }
            x[n] = (real)NAN;
            for (int apart = 8; apart >= 1; apart /= 2)
                for (int l = 0; l < apart; l++) lane[l] += lane[l + apart], square[l] += square[l + apart];
            real sum = sum_lanes(x, n);
            double squares = sum_squares(x, (size_t)n);
            EXPECT_SAME_BYTES(&sum, &lane[0], sizeof sum, "sum_lanes, n = %d", n);
            EXPECT_SAME_BYTES(&squares, &square[0], sizeof squares, "sum_squares, n = %d", n);
        }
}

/* ---- element by element -------------------------------------------------------------------------------------------- */

/* Adds to y, so that an element done twice shows. */
static void mix_row(int n, real *y, const real *a, const real *b, real s)
{
    for (int j = 0; j < n; j++) y[j] += (a ? a[j] : 7) * s - (b ? b[j] : 5);
}

static void expect_map(int rows, int cols, int gap_y, int gap_a, int gap_b)
{
    for (int given = 0; given < 4; given++) {
        Framed Y = framed(rows, cols, gap_y), A = framed(rows, cols, gap_a), B = framed(rows, cols, gap_b);
        Framed want = framed_copy(Y);
        const Matrix *a = given & 1 ? &A.view : NULL, *b = given & 2 ? &B.view : NULL;
        for (int r = 0; r < rows; r++)
            mix_row(cols, mat_row(want.view, r), a ? mat_row(*a, r) : NULL, b ? mat_row(*b, r) : NULL, 3);
        mat_map(mix_row, Y.view, a, b, 3);
        EXPECT_SAME(Y, want, "(%d,%d), gaps %d %d %d, %s%s, %d threads", rows, cols, gap_y, gap_a, gap_b, a ? "A" : "",
                    b ? "B" : "", threads_count());
        mat_free(&Y.whole), mat_free(&A.whole), mat_free(&B.whole), mat_free(&want.whole);
    }
}

static void test_map(void)
{
    static const int shapes[][2] = { { 0, 5 }, { 5, 0 }, { 1, 1 }, { 3, 17 }, { 1, 9000 }, { 9000, 1 }, { 150, 131 } };
    for (int threads = 1; threads <= 3; threads++) {
        threads_start(threads);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int gaps = 0; gaps < 8; gaps++)
                expect_map(shapes[i][0], shapes[i][1], gaps & 1, gaps >> 1 & 1, 2 * (gaps >> 2));
        threads_stop();
    }
}

static void test_fill_copy_axpy_tanh(void)
{
    for (int gap = 0; gap <= 2; gap++) {
        Framed Y = framed(9, 21, gap), A = framed(9, 21, 2 - gap), want = framed_copy(Y);
        for (int step = 0; step < 5; step++) {
            for (int r = 0; r < 9; r++)
                for (int j = 0; j < 21; j++) {
                    real a = mat_row(A.view, r)[j], *w = mat_row(want.view, r) + j;
                    *w = step == 0 ? real_fma((real)0.3, a, *w) : step == 1 ? r_tanh(a) : step == 2 ? r_tanh(*w) :
                         step == 3 ? a : -(real)2.5;
                }
            if (step == 0) mat_axpy(Y.view, (real)0.3, A.view);
            if (step == 1) mat_tanh(Y.view, A.view);
            if (step == 2) mat_tanh(Y.view, Y.view);
            if (step == 3) mat_copy(Y.view, A.view);
            if (step == 4) mat_fill(Y.view, -(real)2.5);
            EXPECT_SAME(Y, want, "step %d, gap %d", step, gap);
        }
        mat_free(&Y.whole), mat_free(&A.whole), mat_free(&want.whole);
    }
}

/* Rows of the kernels that share out rows: enough of them for several pieces, the same bytes from one thread and three. */
static void test_rows_with_threads(void)
{
    enum { ROWS = 700, COLS = 61 };
    Framed A = framed(ROWS, COLS, 1), one = framed(ROWS, COLS, 0), three = framed_copy(one);
    real loss[2][ROWS];
    int target[ROWS];
    for (int r = 0; r < ROWS; r++) target[r] = rng_below(&rng, COLS + 1) - 1;
    for (int kernel = 0; kernel < 3; kernel++) {
        for (int time = 0; time < 2; time++) {
            Matrix Y = time == 0 ? one.view : three.view;
            threads_start(time == 0 ? 1 : 3);
            if (kernel == 0) mat_softmax(Y, A.view, NULL);
            if (kernel == 1) mat_cross_entropy(Y, loss[time], A.view, target);
            if (kernel == 2) mat_tanh(Y, A.view);
            threads_stop();
        }
        EXPECT_SAME(three, one, "kernel %d: one thread and three", kernel);
    }
    EXPECT_SAME_BYTES(loss[1], loss[0], sizeof loss[0], "loss: one thread and three");
    EXPECT(one.view.at[0] == r_tanh(A.view.at[0]), "the kernels ran");
    mat_free(&A.whole), mat_free(&one.whole), mat_free(&three.whole);
}

/* Columns are shared out here; more rows than four divides, and columns that leave a rest. */
static void test_sum_rows_with_threads(void)
{
    enum { ROWS = 703, COLS = 333 };
    Framed A = framed(ROWS, COLS, 1), before = framed(1, COLS, 2), want = framed_copy(before), got = framed_copy(before);
    for (int threads = 1; threads <= 3; threads++)
        for (Into into = SET; into <= ADD; into++) {
            framed_reset(want, before), framed_reset(got, before);
            for (int j = 0; j < COLS; j++) {
                real sum = into == SET ? 0 : want.view.at[j];
                for (int r = 0; r < ROWS; r++) sum += mat_row(A.view, r)[j];
                want.view.at[j] = sum;
            }
            threads_start(threads);
            mat_sum_rows(got.view, A.view, into);
            threads_stop();
            EXPECT_SAME(got, want, "into %d, %d threads", (int)into, threads);
        }
    Framed all[] = { A, before, want, got };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mat_free(&all[i].whole);
}

/* ---- making and viewing -------------------------------------------------------------------------------------------- */

static void test_views(void)
{
    Matrix m = mat_new(5, 7);
    EXPECT(m.rows == 5 && m.cols == 7 && m.stride == 7 && mat_size(m) == 35, "mat_new(5,7)");
    for (int i = 0; i < 35; i++) EXPECT(m.at[i] == 0, "a new matrix is zero"), m.at[i] = (real)i;
    Matrix rows = mat_rows(m, 1, 3), cols = mat_cols(m, 2, 4), block = mat_cols(rows, 2, 4);
    EXPECT(rows.rows == 3 && rows.cols == 7 && rows.at == m.at + 7, "mat_rows");
    EXPECT(cols.rows == 5 && cols.cols == 4 && cols.stride == 7 && cols.at == m.at + 2, "mat_cols");
    EXPECT(block.rows == 3 && block.cols == 4 && block.stride == 7, "a block");
    EXPECT(mat_row(block, 2)[3] == 3 * 7 + 5, "the last element of the block: %g", (double)mat_row(block, 2)[3]);
    mat_row(block, 0)[1] = 100;
    EXPECT(m.at[1 * 7 + 3] == 100, "a view shares the numbers of its matrix");
    Matrix every = mat_every(m, 1, 3, 2), corner = mat_cols(every, 5, 2);
    EXPECT(every.rows == 2 && every.cols == 7 && every.stride == 21 && every.at == m.at + 7, "mat_every");
    EXPECT(mat_row(corner, 1)[1] == 4 * 7 + 6, "the last element of every third row: %g", (double)mat_row(corner, 1)[1]);
    mat_row(corner, 0)[0] = 200;
    EXPECT(m.at[1 * 7 + 5] == 200, "a view of every third row shares them too");
    EXPECT(mat_row(mat_every(every, 1, 5, 1), 0)[3] == 4 * 7 + 3, "a view of the last of every third row");
    EXPECT(mat_size(mat_rows(m, 5, 0)) == 0 && mat_size(mat_cols(m, 7, 0)) == 0, "empty views at the end");
    EXPECT(mat_same_shape(block, mat_over(NULL, 3, 4)) && !mat_same_shape(rows, cols), "mat_same_shape");
    mat_free(&m);
    EXPECT(m.at == NULL && m.rows == 0 && m.cols == 0, "mat_free leaves an empty matrix");
    Arena arena = { 0 };
    Matrix taken = mat_take(&arena, 3, 5);
    EXPECT(taken.rows == 3 && taken.cols == 5 && taken.stride == 5 && (uintptr_t)taken.at % 64 == 0, "mat_take");
    arena_free(&arena);
}

/* ---- shapes that do not fit ---------------------------------------------------------------------------------------- */

static Matrix shape(int rows, int cols)
{
    static real memory[4096];
    return mat_over(memory, rows, cols);
}

static void bad_nn_inner(void)   { matmul_nn(shape(2, 3), shape(2, 5), shape(4, 3), SET); }
static void bad_nn_rows(void)    { matmul_nn(shape(6, 3), shape(2, 5), shape(5, 3), SET); }
static void bad_nn_cols(void)    { matmul_nn(shape(2, 4), shape(2, 5), shape(5, 3), ADD); }
static void bad_bias_inner(void) { matmul_bias(shape(2, 3), shape(2, 5), shape(4, 3), shape(1, 3)); }
static void bad_bias_rows(void)  { matmul_bias(shape(6, 3), shape(2, 5), shape(5, 3), shape(1, 3)); }
static void bad_bias_cols(void)  { matmul_bias(shape(2, 4), shape(2, 5), shape(5, 3), shape(1, 4)); }
static void bad_bias_short(void) { matmul_bias(shape(2, 3), shape(2, 5), shape(5, 3), shape(1, 2)); }
static void bad_bias_many(void)  { matmul_bias(shape(2, 3), shape(2, 5), shape(5, 3), shape(2, 3)); }
static void bad_nt_inner(void)   { matmul_nt(shape(2, 3), shape(2, 5), shape(3, 4), SET); }
static void bad_nt_turned(void)  { matmul_nt(shape(2, 3), shape(2, 5), shape(5, 3), SET); }
static void bad_nt_rows(void)    { matmul_nt(shape(6, 3), shape(2, 5), shape(3, 5), SET); }
static void bad_nt_cols(void)    { matmul_nt(shape(2, 4), shape(2, 5), shape(3, 5), ADD); }
static void bad_tn_inner(void)   { matmul_tn(shape(2, 3), shape(5, 2), shape(4, 3), SET); }
static void bad_tn_turned(void)  { matmul_tn(shape(2, 3), shape(2, 5), shape(5, 3), SET); }
static void bad_tn_rows(void)    { matmul_tn(shape(6, 3), shape(5, 2), shape(5, 3), SET); }
static void bad_tn_cols(void)    { matmul_tn(shape(2, 4), shape(5, 2), shape(5, 3), ADD); }
static void bad_map_a(void)      { Matrix A = shape(2, 4); mat_map(mix_row, shape(2, 3), &A, NULL, 0); }
static void bad_map_b(void)      { Matrix B = shape(3, 2); mat_map(mix_row, shape(2, 3), NULL, &B, 0); }
static void bad_copy(void)       { mat_copy(shape(2, 3), shape(3, 2)); }
static void bad_axpy(void)       { mat_axpy(shape(2, 3), 1, shape(2, 4)); }
static void bad_tanh(void)       { mat_tanh(shape(2, 3), shape(1, 3)); }
static void bad_softmax(void)    { mat_softmax(shape(2, 3), shape(2, 4), NULL); }
static void bad_mask(void)       { Matrix M = shape(1, 3); mat_softmax(shape(2, 3), shape(2, 3), &M); }
static void bad_entropy(void)    { mat_cross_entropy(shape(2, 3), (real[2]){ 0 }, shape(2, 4), (int[2]){ 0 }); }
static void bad_target(void)     { mat_cross_entropy(shape(2, 3), (real[2]){ 0 }, shape(2, 3), (int[2]){ 0, 3 }); }
static void bad_add_row(void)    { mat_add_row(shape(2, 3), shape(1, 4)); }
static void bad_add_rows(void)   { mat_add_row(shape(2, 3), shape(2, 3)); }
static void bad_sum_rows(void)   { mat_sum_rows(shape(1, 4), shape(2, 3), SET); }
static void bad_rows(void)       { mat_rows(shape(4, 5), 2, 3); }
static void bad_rows_first(void) { mat_rows(shape(4, 5), -1, 3); }
static void bad_every(void)      { mat_every(shape(9, 5), 0, 3, 4); }
static void bad_every_step(void) { mat_every(shape(9, 5), 2, 0, 1); }
static void bad_cols(void)       { mat_cols(shape(4, 5), 0, 6); }
static void bad_cols_count(void) { mat_cols(shape(4, 5), 3, -2); }
static void bad_over(void)       { mat_over(NULL, -1, 3); }

static void test_shapes_are_checked(void)
{
    static const struct { void (*call)(void); const char *says[3]; } row[] = {
        { bad_nn_inner, { "(2,5)", "(4,3)", "(2,3)" } },    { bad_nn_rows, { "(6,3)", "(2,5)", "(5,3)" } },
        { bad_nn_cols, { "(2,4)", "(2,5)", "(5,3)" } },     { bad_nt_inner, { "(2,5)", "(3,4)", "(2,3)" } },
        { bad_bias_inner, { "(2,5)", "(4,3)", "(2,3)" } },  { bad_bias_rows, { "(6,3)", "(2,5)", "(5,3)" } },
        { bad_bias_cols, { "(2,4)", "(2,5)", "(5,3)" } },   { bad_bias_short, { "(2,3)", "(2,5)", "(5,3)" } },
        { bad_bias_many, { "(2,3)", "(2,5)", "(5,3)" } },
        { bad_nt_turned, { "(2,5)", "(5,3)", "(2,3)" } },   { bad_tn_inner, { "(5,2)", "(4,3)", "(2,3)" } },
        { bad_nt_rows, { "(6,3)", "(2,5)", "(3,5)" } },     { bad_nt_cols, { "(2,4)", "(2,5)", "(3,5)" } },
        { bad_tn_rows, { "(6,3)", "(5,2)", "(5,3)" } },     { bad_tn_cols, { "(2,4)", "(5,2)", "(5,3)" } },
        { bad_tn_turned, { "(2,5)", "(5,3)", "(2,3)" } },   { bad_map_a, { "(2,3)", "(2,4)" } },
        { bad_map_b, { "(2,3)", "(3,2)" } },                { bad_copy, { "(2,3)", "(3,2)" } },
        { bad_axpy, { "(2,3)", "(2,4)" } },                 { bad_tanh, { "(2,3)", "(1,3)" } },
        { bad_softmax, { "(2,3)", "(2,4)" } },              { bad_mask, { "(1,3)", "(2,3)" } },
        { bad_entropy, { "(2,3)", "(2,4)" } },              { bad_target, { "target 3", "row 1" } },
        { bad_add_row, { "(2,3)", "(1,4)" } },              { bad_add_rows, { "Y (2,3)", "b (2,3)" } },
        { bad_sum_rows, { "(1,4)", "(2,3)" } },             { bad_rows, { "2", "5", "(4,5)" } },
        { bad_rows_first, { "-1", "(4,5)" } },              { bad_cols, { "6", "(4,5)" } },
        { bad_every, { "rows 0 to 10", "(9,5)" } },         { bad_every_step, { "step >= 1", "(9,5)" } },
        { bad_cols_count, { "3", "(4,5)" } },               { bad_over, { "(-1,3)" } },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char said[512];
        int status = unit_child(row[i].call, said, sizeof said);
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "call %zu: status 0x%x", i, (unsigned)status);
        EXPECT(strstr(said, "check failed"), "call %zu said \"%s\"", i, said);
        for (int s = 0; s < 3 && row[i].says[s]; s++)
            EXPECT(strstr(said, row[i].says[s]), "call %zu said \"%s\", without %s", i, said, row[i].says[s]);
    }
}

int main(void)
{
    rng = rng_new(1, 0);
    RUN(test_products_of_all_remainders);
    RUN(test_products_small_and_long);
    RUN(test_products_with_threads);
    RUN(test_products_with_infinity);
    RUN(test_softmax);
    RUN(test_softmax_of_huge_logits);
    RUN(test_softmax_keeps_nan);
    RUN(test_cross_entropy);
    RUN(test_cross_entropy_of_huge_logits);
    RUN(test_cross_entropy_of_bad_padding);
    RUN(test_add_row);
    RUN(test_sum_rows);
    RUN(test_scatter);
    RUN(test_sums_in_lanes);
    RUN(test_map);
    RUN(test_fill_copy_axpy_tanh);
    RUN(test_rows_with_threads);
    RUN(test_sum_rows_with_threads);
    RUN(test_views);
    RUN(test_shapes_are_checked);
    return unit_result();
}
