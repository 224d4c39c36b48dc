/* common/attention.h against the same equations from visible ops, a sequence at a time, without padding and without a mask; and
 * against differences, in double. The batch has sources of different lengths, padded in front, and noise where the padding
 * is, so that whatever reads it shows. All sizes differ, so that a transposed shape cannot slip through.                  */
#include "unit.h"
#include "pairs.h"
#include "workbook.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

typedef enum { DOT, ADDITIVE, SCORES } Scores;
typedef struct { int B, S, D, Dx; const int *length; } Sizes;
enum { Q, KEYS, X, VA, OPERANDS };

static const char *const names[SCORES] = { "dot", "additive" }, *const operands[OPERANDS] = { "q", "K", "X", "va" };
static const Sizes small = { 3, 5, 4, 6, (const int[]){ 2, 5, 3 } };

/* Sums are taken in other orders on the two sides. The largest differences measured are 1.6e-7 and 5e-16. */
#ifdef REAL_DOUBLE
static const double tolerance = 1e-14;
#else
static const double tolerance = 2e-6;
#endif

/* Every operand lies in a larger matrix, a row from its top and two columns from its left: views have a stride. */
typedef struct {
    Sizes sizes;
    Scores scores;
    Matrix at[OPERANDS], mask, wA, wC;     /* mask (B,S); weights of the loss by A (B,S) and C (B,Dx) */
} Batched;

typedef struct { Var *A, *C; } Attended;
typedef struct { Var *leaf[OPERANDS], *in[OPERANDS]; } Inputs;
typedef Attended Attend(const Batched *x, Var *const *in);

static Matrix noise(int rows, int cols, Rng *rng)
{
    Matrix m = mat_new(rows, cols);
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = rng_normal(rng);
    return m;
}

static Batched batched_new(Sizes z, Scores scores)
{
    Rng rng = rng_new(9, 0);
    const int rows[OPERANDS] = { z.B, z.S * z.B, z.S * z.B, 1 }, cols[OPERANDS] = { z.D, z.D, z.Dx, z.D };
    Batched x = { .sizes = z, .scores = scores, .mask = mat_new(z.B, z.S) };
    for (int i = 0; i < OPERANDS; i++) x.at[i] = noise(rows[i] + 2, cols[i] + 5, &rng);
    x.wA = noise(z.B, z.S, &rng), x.wC = noise(z.B, z.Dx, &rng);
    for (int b = 0; b < z.B; b++)
        for (int s = z.S - z.length[b]; s < z.S; s++) mat_row(x.mask, b)[s] = 1;
    return x;
}

static void batched_free(Batched *x)
{
    for (int i = 0; i < OPERANDS; i++) mat_free(&x->at[i]);
    mat_free(&x->mask), mat_free(&x->wA), mat_free(&x->wC);
}

static Inputs inputs_of(const Batched *x)
{
    Inputs in;
    for (int i = 0; i < OPERANDS; i++) {
        in.leaf[i] = v_leaf(x->at[i]);
        in.in[i] = v_cols(v_rows(in.leaf[i], 1, x->at[i].rows - 2), 2, x->at[i].cols - 5);
    }
    return in;
}

static Attended fused(const Batched *x, Var *const *in)
{
    Var *E = x->scores == DOT ? v_score_dot(in[Q], in[KEYS]) : v_score_additive(in[Q], in[KEYS], in[VA]);
    Var *A = v_softmax(E, &x->mask);
    return (Attended){ A, v_context(A, in[X]) };
}

/* A's rows are filled up with a constant 0 in front, so that both sides give the same shapes. */
static Attended visible(const Batched *x, Var *const *in)
{
    enum { MOST = 64 };
    const int B = x->sizes.B, S = x->sizes.S;
    Var *A[MOST], *C[MOST];
    CHECK(B <= MOST, "%d sequences", B);
    for (int b = 0; b < B; b++) {
        int n = x->sizes.length[b], first = (S - n) * B + b;
        Var *q = v_rows(in[Q], b, 1), *K = v_every(in[KEYS], first, B, n);
        Var *E = x->scores == DOT ? v_matmul_nt(q, K) : v_matmul_nt(in[VA], v_tanh(v_add_bias(K, q)));
        Var *a = v_softmax(E, NULL), *zeros = v_const(mat_rows(mat_cols(x->mask, 0, S - n), b, 1));
        A[b] = n < S ? v_hcat((Var *[]){ zeros, a }, 2) : a;
        C[b] = v_matmul(a, v_every(in[X], first, B, n));
    }
    return (Attended){ v_vcat(A, B), v_vcat(C, B) };
}

static Var *loss_of(const Batched *x, Attended y)
{
    return v_add(v_mean(v_mul(y.A, v_const(x->wA))), v_mean(v_mul(y.C, v_const(x->wC))));
}

/* Leaves A, C and the gradients of all leaves, one behind the other, in out, which the caller frees; returns how many. */
static int run(const Batched *x, Attend *attend, real **out)
{
    Inputs in = inputs_of(x);
    Attended y = attend(x, in.in);
    tape_backward(loss_of(x, y));
    Matrix all[2 + OPERANDS] = { y.A->value, y.C->value };
    size_t n = 0, size = 0;
    for (int i = 0; i < OPERANDS; i++) all[2 + i] = var_grad(in.leaf[i]);
    for (int i = 0; i < 2 + OPERANDS; i++) size += mat_size(all[i]);
    *out = allocate(size, sizeof **out);
    for (int i = 0; i < 2 + OPERANDS; i++) {
        memcpy(*out + n, all[i].at, mat_size(all[i]) * sizeof **out);
        n += mat_size(all[i]);
    }
    tape_reset();
    return (int)n;
}

/* ---- the glass box ------------------------------------------------------------------------------------------------------ */

static double worst;

static void test_equals_the_visible_ops(void)
{
    for (Scores scores = DOT; scores < SCORES; scores++) {
        Batched x = batched_new(small, scores);
        real *got, *want;
        int n = run(&x, fused, &got), m = run(&x, visible, &want);
        EXPECT(n == m, "%s: %d numbers and %d", names[scores], n, m);
        for (int i = 0; i < n; i++) {
            EXPECT_NEAR(got[i], want[i], tolerance, "%s, number %d of %d", names[scores], i, n);
            worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
        }
        free(got), free(want);
        batched_free(&x);
    }
}

/* ---- padding ------------------------------------------------------------------------------------------------------------ */

static double largest_in(const real *a, int n)
{
    double largest = 0;
    for (int j = 0; j < n; j++) largest = fmax(largest, fabs((double)a[j]));
    return largest;
}

static void expect_padding(const Batched *x, const Inputs *in, Attended y, int b, int s)
{
    const int B = x->sizes.B;
    bool real_token = mat_row(x->mask, b)[s] != 0;
    EXPECT((mat_row(y.A->value, b)[s] != 0) == real_token, "%s: weight of place %d of sequence %d", names[x->scores], s, b);
    for (int i = KEYS; i <= X; i++) {
        double slope = largest_in(mat_row(var_grad(in->in[i]), s * B + b), in->in[i]->value.cols);
        EXPECT((slope > 0) == real_token, "%s, %s: %g flows to (%d,%d)", names[x->scores], operands[i], slope, s, b);
    }
}

/* Exactly 0, and not nearly: that is what lets a batch be padded by any length. */
static void test_padding_takes_no_part(void)
{
    for (Scores scores = DOT; scores < SCORES; scores++) {
        Batched x = batched_new(small, scores);
        Inputs in = inputs_of(&x);
        Attended y = fused(&x, in.in);
        tape_backward(loss_of(&x, y));
        for (int b = 0; b < small.B; b++) {
            double sum = 0;
            for (int s = 0; s < small.S; s++) {
                expect_padding(&x, &in, y, b, s);
                sum += (double)(mat_row(y.A->value, b)[s] * mat_row(x.mask, b)[s]);
            }
            EXPECT_NEAR(sum, 1, 4e-7, "%s: sum over the real places of sequence %d", names[scores], b);
        }
        tape_reset();
        batched_free(&x);
    }
}

/* ---- differences -------------------------------------------------------------------------------------------------------- */

#ifdef REAL_DOUBLE

static double value_of(const Batched *x)
{
    bool before = tape_record(false);
    Inputs in = inputs_of(x);
    double loss = loss_of(x, fused(x, in.in))->value.at[0];
    tape_record(before);
    tape_reset();
    return loss;
}

static double central_difference(const Batched *x, real *at)
{
    const double epsilon = 1e-5, kept = *at;
    *at = kept + epsilon;
    double above = value_of(x);
    *at = kept - epsilon;
    double below = value_of(x);
    *at = kept;
    return (above - below) / (2 * epsilon);
}

static void test_differences(void)
{
    for (Scores scores = DOT; scores < SCORES; scores++) {
        Batched x = batched_new(small, scores);
        real *ran, *grad;
        run(&x, fused, &ran);
        grad = ran + mat_size(x.wA) + mat_size(x.wC);
        for (int i = 0; i < OPERANDS; i++) {
            int n = (int)mat_size(x.at[i]);
            bool flows = largest_in(grad, n) > 1e-3;
            EXPECT(flows == (i != VA || scores == ADDITIVE), "%s, %s: flows a gradient? %d", names[scores], operands[i], flows);
            for (int j = 0; j < n; j++) {
                double want = central_difference(&x, &x.at[i].at[j]);
                EXPECT_NEAR(grad[j], want, 1e-9, "%s, number %d of %s", names[scores], j, operands[i]);
            }
            grad += n;
        }
        free(ran);
        batched_free(&x);
    }
}

#endif

/* ---- threads ------------------------------------------------------------------------------------------------------------ */

/* Long enough that over_sequences gives two and three threads a piece each; and often, for two that meet seldom do. */
static void test_threads(void)
{
    enum { B = 41, S = 21, ROUNDS = 20 };
    int length[B];
    for (int b = 0; b < B; b++) length[b] = 1 + (7 * b) % S;
    for (Scores scores = DOT; scores < SCORES; scores++) {
        Batched x = batched_new((Sizes){ B, S, 67, 70, length }, scores);
        real *one, *more;
        int n = run(&x, fused, &one);
        for (int threads = 2; threads <= 3; threads++) {
            threads_start(threads);
            for (int round = 0; round < ROUNDS; round++) {
                run(&x, fused, &more);
                EXPECT_SAME_BYTES(more, one, (size_t)n * sizeof *one, "%s, %d threads, round %d", names[scores], threads, round);
                free(more);
            }
            threads_stop();
        }
        free(one);
        batched_free(&x);
    }
}

/* ---- shapes ------------------------------------------------------------------------------------------------------------- */

static Var *shape(int rows, int cols)
{
    return v_const(mat_take(&(Arena){ 0 }, rows, cols));
}

static void bad_dot_cols(void)      { v_score_dot(shape(3, 4), shape(15, 5)); }
static void bad_dot_rows(void)      { v_score_dot(shape(3, 4), shape(14, 4)); }
static void bad_dot_empty(void)     { v_score_dot(shape(0, 4), shape(15, 4)); }
static void bad_additive_cols(void) { v_score_additive(shape(3, 4), shape(15, 5), shape(1, 4)); }
static void bad_additive_rows(void) { v_score_additive(shape(3, 4), shape(16, 4), shape(1, 4)); }
static void bad_va_cols(void)       { v_score_additive(shape(3, 4), shape(15, 4), shape(1, 5)); }
static void bad_va_rows(void)       { v_score_additive(shape(3, 4), shape(15, 4), shape(2, 4)); }
static void bad_context(void)       { v_context(shape(3, 5), shape(14, 6)); }
static void bad_context_long(void)  { v_context(shape(3, 5), shape(30, 6)); }
static void bad_every_last(void)    { v_every(shape(9, 4), 0, 3, 4); }
static void bad_every_first(void)   { v_every(shape(9, 4), -1, 3, 2); }
static void bad_every_step(void)    { v_every(shape(9, 4), 1, 0, 2); }

static void test_shapes_are_checked(void)
{
    static const struct { void (*call)(void); const char *says[2]; } row[] = {
        { bad_dot_cols, { "score_dot: q (3,4)", "K (15,5)" } },
        { bad_dot_rows, { "score_dot: q (3,4)", "K (14,4)" } },
        { bad_dot_empty, { "score_dot: q (0,4)", "K (15,4)" } },
        { bad_additive_cols, { "score_additive: q (3,4)", "K (15,5)" } },
        { bad_additive_rows, { "score_additive: q (3,4)", "K (16,4)" } },
        { bad_va_cols, { "score_additive: q (3,4)", "va (1,5)" } },
        { bad_va_rows, { "score_additive: q (3,4)", "va (2,4)" } },
        { bad_context, { "context: A (3,5)", "X (14,6)" } },
        { bad_context_long, { "context: A (3,5)", "X (30,6)" } },
        { bad_every_last, { "every: rows 0 to 10", "of (9,4)" } },
        { bad_every_first, { "every: rows -1", "of (9,4)" } },
        { bad_every_step, { "every: rows 1", "of (9,4)" } },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char said[512];
        int status = unit_child(row[i].call, said, sizeof said);
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "call %zu: status 0x%x", i, (unsigned)status);
        EXPECT(strstr(said, "check failed") && strstr(said, "test_attention.c:"), "call %zu names no caller: \"%s\"", i, said);
        for (int s = 0; s < 2; s++)
            EXPECT(strstr(said, row[i].says[s]), "call %zu said \"%s\", without %s", i, said, row[i].says[s]);
    }
}

int main(void)
{
    RUN(test_equals_the_visible_ops);
    RUN(test_padding_takes_no_part);
#ifdef REAL_DOUBLE
    RUN(test_differences);
#endif
    RUN(test_threads);
    RUN(test_shapes_are_checked);
    tape_free();
    printf("largest difference: %.2g\n", worst);
    return unit_result();
}
