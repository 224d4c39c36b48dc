/* common/attention.h against the same equations from visible ops, a sequence at a time, without padding and without a mask; and
 * against differences, in double. v_attention, at the end of the file, against the visible way of chapter 08, bit for bit.
 * The batch has sources of different lengths, padded in front, and noise where the padding
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

/* ---- heads --------------------------------------------------------------------------------------------------------------
 *
 * A Job is one call: its operands are the middle columns of larger leaves. `lengths` holds B numbers, or NULL.             */

typedef struct { int B, T, S, heads, d; bool causal; const int *lengths; double dropout; } Job;

enum { OPERANDS_OF_HEADS = 3 };                                          /* Q, K, V */

typedef struct { Job job; Matrix at[OPERANDS_OF_HEADS], W; } HeadsInput;

/* Y, the gradients of the leaves, the weights (B·heads·T, S), and where the generator has come to; the caller frees. */
typedef struct { Matrix Y, grad[OPERANDS_OF_HEADS], P; uint64_t state; } HeadsResult;

typedef Var *AttendHeads(const Job *job, Var *const *in, Rng *rng, Matrix P);

static HeadsInput heads_input(Job job)
{
    Rng rng = rng_new(11, 0);
    int D = job.heads * job.d;
    HeadsInput x = { .job = job, .W = noise(job.B * job.T, D, &rng) };
    for (int i = 0; i < OPERANDS_OF_HEADS; i++) x.at[i] = noise(job.B * (i == 0 ? job.T : job.S), D + 5, &rng);
    return x;
}

static void heads_input_free(HeadsInput *x)
{
    for (int i = 0; i < OPERANDS_OF_HEADS; i++) mat_free(&x->at[i]);
    mat_free(&x->W);
}

static void heads_result_free(HeadsResult *y)
{
    for (int i = 0; i < OPERANDS_OF_HEADS; i++) mat_free(&y->grad[i]);
    mat_free(&y->Y), mat_free(&y->P);
}

static bool is_seen(const Job *job, int b, int t, int s)
{
    return (!job->lengths || s < job->lengths[b]) && (!job->causal || s <= t + job->S - job->T);
}

static Var *fused_heads(const Job *job, Var *const *in, Rng *rng, Matrix P)
{
    Var *Y = v_attention(in[0], in[1], in[2], job->heads, (Seen){ job->B, job->causal, job->lengths }, job->dropout, rng);
    for (int i = 0; i < P.rows; i++) {
        int b = i / job->T / job->heads, h = i / job->T % job->heads;
        memcpy(mat_row(P, i), attention_weights(Y, b, h, i % job->T), (size_t)job->S * sizeof(real));
    }
    return Y;
}

/* As chapter 08 shows it: every sequence and every head by itself, all weights computed, a mask over what is hidden. */
static Var *visible_heads(const Job *job, Var *const *in, Rng *rng, Matrix P)
{
    enum { MOST = 8 };
    const int B = job->B, T = job->T, S = job->S, heads = job->heads, d = job->d;
    Var *row[MOST], *head[MOST];
    CHECK(B <= MOST && heads <= MOST, "%d sequences, %d heads", B, heads);
    for (int b = 0; b < B; b++) {
        Matrix mask = tape_matrix(T, S);
        for (int t = 0; t < T; t++)
            for (int s = 0; s < S; s++) mat_row(mask, t)[s] = is_seen(job, b, t, s);
        for (int h = 0; h < heads; h++) {
            Var *q = v_cols(v_rows(in[0], b * T, T), h * d, d), *k = v_cols(v_rows(in[1], b * S, S), h * d, d);
            Var *v = v_cols(v_rows(in[2], b * S, S), h * d, d);
            Var *p = v_softmax(v_matmul_nt(v_scale(q, 1 / sqrt(d)), k), &mask);
            mat_copy(mat_rows(P, (b * heads + h) * T, T), p->value);
            head[h] = v_matmul(v_dropout(p, job->dropout, rng), v);
        }
        row[b] = v_hcat(head, heads);
    }
    return v_vcat(row, B);
}

static HeadsResult heads_run(const HeadsInput *x, AttendHeads *attend)
{
    const Job *job = &x->job;
    Rng rng = rng_new(12, 0);
    Var *leaf[OPERANDS_OF_HEADS], *in[OPERANDS_OF_HEADS];
    HeadsResult y = { .Y = mat_new(x->W.rows, x->W.cols), .P = mat_new(job->B * job->heads * job->T, job->S) };
    for (int i = 0; i < OPERANDS_OF_HEADS; i++) {
        leaf[i] = v_leaf(x->at[i]);
        in[i] = v_cols(leaf[i], 2, x->W.cols);
    }
    Var *Y = attend(job, in, &rng, y.P);
    tape_backward(v_mean(v_mul(Y, v_const(x->W))));
    mat_copy(y.Y, Y->value);
    for (int i = 0; i < OPERANDS_OF_HEADS; i++) {
        y.grad[i] = mat_new(x->at[i].rows, x->at[i].cols);
        mat_copy(y.grad[i], var_grad(leaf[i]));
    }
    y.state = rng.state;
    tape_reset();
    return y;
}

static const char *job_text(const Job *job)
{
    static char text[160];
    snprintf(text, sizeof text, "B %d, T %d, S %d, %d heads of %d, causal %d, lengths %d, dropout %g, %d threads", job->B,
             job->T, job->S, job->heads, job->d, job->causal, job->lengths != NULL, job->dropout, threads_count());
    return text;
}

/* Equal by ==, so that -0 is 0: where nothing is computed there are zeros, and elsewhere products with zeros. (With one place
 * alone every weight is 1 or 0 whatever the scores, so dQ and dK may be all zeros.) */
static void expect_equal(const char *what, const Job *job, Matrix a, Matrix b)
{
    const char *text = job_text(job);
    double size = 0;
    for (int r = 0; r < a.rows; r++)
        for (int c = 0; c < a.cols; c++) {
            double x = (double)mat_row(a, r)[c], y = (double)mat_row(b, r)[c];
            EXPECT_NEAR(x, y, 0, "%s (%d,%d), %s", what, r, c, text);
            size = fmax(size, fabs(y));
        }
    EXPECT(size > 1e-5 || job->S == 1, "%s: all of it is nearly 0, %s", what, text);
}

static void expect_equal_results(const Job *job, const HeadsResult *a, const HeadsResult *b)
{
    static const char *const names_of[OPERANDS_OF_HEADS] = { "dQ", "dK", "dV" };
    expect_equal("Y", job, a->Y, b->Y);
    expect_equal("P", job, a->P, b->P);
    for (int i = 0; i < OPERANDS_OF_HEADS; i++) expect_equal(names_of[i], job, a->grad[i], b->grad[i]);
    EXPECT(a->state == b->state, "the generators part, %s", job_text(job));
}

static void expect_visible_way(Job job)
{
    HeadsInput x = heads_input(job);
    HeadsResult a = heads_run(&x, fused_heads), b = heads_run(&x, visible_heads);
    expect_equal_results(&job, &a, &b);
    heads_result_free(&a), heads_result_free(&b);
    heads_input_free(&x);
}

/* Steps and places on both sides of one block of 32 steps, and of several. */
static const struct { int T, S; } blocks[] = {
    { 1, 1 }, { 1, 7 }, { 7, 7 }, { 5, 19 }, { 31, 31 }, { 32, 32 }, { 33, 33 }, { 65, 65 }, { 31, 33 }, { 33, 65 }, { 64, 100 },
    { 100, 100 },
};

static void test_heads_are_the_visible_way(void)
{
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        for (int kind = 0; kind < 8; kind++) {
            int T = blocks[i].T, S = blocks[i].S, lengths[] = { S, 0, (S + 1) / 2, 1 };
            int heads = 1 + (int)(i % 3), d = 3 + 2 * (int)(i % 4);
            expect_visible_way((Job){ .B = 4, .T = T, .S = S, .heads = heads, .d = d, .causal = kind & 1,
                                      .lengths = kind & 2 ? lengths : NULL, .dropout = kind & 4 ? 0.3 : 0 });
        }
    for (int heads = 1; heads <= 3; heads++)
        for (int d = 1; d <= 17; d += 4)
            expect_visible_way((Job){ .B = 2, .T = 33, .S = 40, .heads = heads, .d = d, .causal = true, .dropout = 0.5 });
    expect_visible_way((Job){ .B = 3, .T = 40, .S = 6, .heads = 2, .d = 5, .dropout = 0.1 });      /* more steps than places */
}

static void test_heads_and_threads(void)
{
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i += 3)
        for (int kind = 0; kind < 2; kind++) {
            int S = blocks[i].S, lengths[] = { S, 0, (S + 1) / 2, 1, S - 1 };
            HeadsInput x = heads_input((Job){ .B = 5, .T = blocks[i].T, .S = S, .heads = 3, .d = 4, .causal = true,
                                              .lengths = kind ? lengths : NULL, .dropout = kind ? 0.2 : 0 });
            HeadsResult one = heads_run(&x, fused_heads);
            for (int threads = 2; threads <= 3; threads++) {
                threads_start(threads);
                for (int round = 0; round < 5; round++) {
                    HeadsResult more = heads_run(&x, fused_heads);
                    expect_equal_results(&x.job, &more, &one);
                    heads_result_free(&more);
                }
                threads_stop();
            }
            heads_result_free(&one);
            heads_input_free(&x);
        }
}

static void test_weights_of_heads(void)
{
    const int lengths[] = { 40, 0, 17 };
    HeadsInput x = heads_input((Job){ .B = 3, .T = 35, .S = 40, .heads = 2, .d = 6, .causal = true, .lengths = lengths,
                                      .dropout = 0.4 });
    const Job *job = &x.job;
    HeadsResult y = heads_run(&x, fused_heads);
    for (int i = 0; i < y.P.rows; i++) {
        int b = i / job->T / job->heads, t = i % job->T, seen = 0;
        double sum = 0;
        for (int s = 0; s < job->S; s++) {
            double p = (double)mat_row(y.P, i)[s];
            sum += p, seen += is_seen(job, b, t, s);
            EXPECT(is_seen(job, b, t, s) ? p > 0 : p == 0, "weight %g of place %d, step %d, sequence %d", p, s, t, b);
        }
        EXPECT_NEAR(sum, seen > 0, 1e-6, "sum of the weights of step %d of sequence %d, which sees %d", t, b, seen);
    }
    heads_result_free(&y);
    heads_input_free(&x);
}

/* Step t of Q and the place that it is, in K and V, changed altogether: nothing before it moves, and it does. */
static void test_heads_look_at_no_future(void)
{
    static const int steps[] = { 70, 40 };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const Job job = { .B = 2, .T = steps[i], .S = 70, .heads = 2, .d = 3, .causal = true };
        HeadsInput x = heads_input(job);
        HeadsResult before = heads_run(&x, fused_heads);
        for (int t = job.T - 1; t >= 0; t -= 3) {
            for (int o = 0; o < OPERANDS_OF_HEADS; o++)
                for (int c = 0; c < x.at[o].cols; c++) mat_row(x.at[o], o == 0 ? t : t + job.S - job.T)[c] += 1000;
            HeadsResult y = heads_run(&x, fused_heads);
            size_t same = (size_t)t * (size_t)y.Y.cols, row = (size_t)y.Y.cols * sizeof(real), all = (size_t)job.T * row;
            EXPECT_SAME_BYTES(y.Y.at, before.Y.at, same * sizeof(real), "step %d changed, rows before it, %s", t, job_text(&job));
            EXPECT(memcmp(y.Y.at + same, before.Y.at + same, row) != 0, "step %d changed, and its row did not", t);
            EXPECT_SAME_BYTES(mat_row(y.Y, job.T), mat_row(before.Y, job.T), all, "step %d of the other sequence changed", t);
            heads_result_free(&y);
        }
        heads_result_free(&before);
        heads_input_free(&x);
    }
}

/* Behind a sequence's length there may be anything, even what is no number: it changes nothing and gets no gradient. */
static void test_heads_and_padding(void)
{
    const int lengths[] = { 21, 0, 40 };
    for (int causal = 0; causal <= 1; causal++) {
        HeadsInput x = heads_input((Job){ .B = 3, .T = 37, .S = 40, .heads = 2, .d = 5, .causal = causal, .lengths = lengths,
                                          .dropout = 0.3 });
        HeadsResult before = heads_run(&x, fused_heads);
        for (int kind = 0; kind < 3; kind++) {
            for (int r = 0; r < x.at[1].rows; r++)
                for (int c = 0; c < x.at[1].cols && r % 40 >= lengths[r / 40]; c++)
                    mat_row(x.at[1], r)[c] = mat_row(x.at[2], r)[c] = kind == 0 ? (real)1e30 : kind == 1 ? INFINITY : (real)NAN;
            HeadsResult y = heads_run(&x, fused_heads);
            expect_equal_results(&x.job, &y, &before);
            for (int o = 1; o < OPERANDS_OF_HEADS; o++)
                for (int r = 0; r < y.grad[o].rows; r++)
                    EXPECT((largest_in(mat_row(y.grad[o], r), y.grad[o].cols) > 0) == (r % 40 < lengths[r / 40]),
                           "place %d of sequence %d gets %g", r % 40, r / 40, largest_in(mat_row(y.grad[o], r), y.grad[o].cols));
            heads_result_free(&y);
        }
        for (int r = 37; r < 2 * 37; r++) {                              /* the sequence that sees nothing */
            EXPECT(largest_in(mat_row(before.Y, r), before.Y.cols) == 0, "step %d sees nothing, and is not 0", r - 37);
            EXPECT(largest_in(mat_row(before.grad[0], r), before.grad[0].cols) == 0, "dQ of step %d, which sees nothing", r - 37);
        }
        heads_result_free(&before);
        heads_input_free(&x);
    }
}

/* In evaluation nothing falls and nothing is drawn; without dropout there need be no generator. */
static void test_heads_without_dropout(void)
{
    HeadsInput x = heads_input((Job){ .B = 2, .T = 6, .S = 9, .heads = 2, .d = 3, .causal = true });
    Matrix q = mat_cols(x.at[0], 0, 6), k = mat_cols(x.at[1], 0, 6), v = mat_cols(x.at[2], 0, 6);
    Rng rng = rng_new(1, 0), same = rng;
    Seen seen = { .B = 2, .causal = true };
    Var *want = v_attention(v_const(q), v_const(k), v_const(v), 2, seen, 0, NULL);
    bool before = tape_record(false);
    Var *got = v_attention(v_const(q), v_const(k), v_const(v), 2, seen, 0.5, &rng);
    tape_record(before);
    EXPECT(rng.state == same.state, "evaluation draws numbers");
    expect_equal("Y in evaluation", &x.job, got->value, want->value);
    got = v_attention(v_const(q), v_const(k), v_const(v), 2, seen, 0, &rng);
    EXPECT(rng.state == same.state, "dropout 0 draws numbers");
    expect_equal("Y with dropout 0", &x.job, got->value, want->value);
    tape_reset();
    heads_input_free(&x);
}

/* The lengths are copied: a caller may use the array again before the way back. */
static void test_lengths_are_copied(void)
{
    int lengths[] = { 5, 2 };
    HeadsInput x = heads_input((Job){ .B = 2, .T = 4, .S = 6, .heads = 1, .d = 3 });
    Matrix v = mat_cols(x.at[2], 0, 3);
    Var *V = v_leaf(v), *Y = v_attention(v_const(mat_cols(x.at[0], 0, 3)), v_const(mat_cols(x.at[1], 0, 3)), V, 1,
                                         (Seen){ .B = 2, .lengths = lengths }, 0, NULL);
    lengths[0] = lengths[1] = 0;
    tape_backward(v_mean(Y));
    for (int r = 0; r < 12; r++)
        EXPECT((mat_row(V->grad, r)[0] != 0) == (r < 5 || r == 6 || r == 7), "row %d gets %g", r, (double)mat_row(V->grad, r)[0]);
    tape_reset();
    heads_input_free(&x);
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

static void heads_of(Var *q, Var *k, Var *v, int heads, Seen seen, double dropout)
{
    v_attention(q, k, v, heads, seen, dropout, &(Rng){ 0 });
}

static void seen_of(int T, Seen seen) { heads_of(shape(2 * T, 8), shape(10, 8), shape(10, 8), 2, seen, 0); }

static const Seen two = { .B = 2 };

static void bad_heads_D(void)       { heads_of(shape(6, 8), shape(10, 8), shape(10, 8), 3, two, 0); }
static void bad_heads_none(void)    { heads_of(shape(6, 8), shape(10, 8), shape(10, 8), 0, two, 0); }
static void bad_heads_B(void)       { heads_of(shape(6, 8), shape(10, 8), shape(10, 8), 2, (Seen){ .B = 0 }, 0); }
static void bad_heads_Q(void)       { heads_of(shape(7, 8), shape(10, 8), shape(10, 8), 2, two, 0); }
static void bad_heads_K(void)       { heads_of(shape(6, 8), shape(11, 8), shape(11, 8), 2, two, 0); }
static void bad_heads_K_cols(void)  { heads_of(shape(6, 8), shape(10, 6), shape(10, 6), 2, two, 0); }
static void bad_heads_V(void)       { heads_of(shape(6, 8), shape(10, 8), shape(12, 8), 2, two, 0); }
static void bad_heads_V_cols(void)  { heads_of(shape(6, 8), shape(10, 8), shape(10, 4), 2, two, 0); }
static void bad_heads_dropout(void) { heads_of(shape(6, 8), shape(10, 8), shape(10, 8), 2, two, 1); }
static void bad_heads_less(void)    { heads_of(shape(6, 8), shape(10, 8), shape(10, 8), 2, two, -0.5); }
static void bad_heads_causal(void)  { seen_of(6, (Seen){ .B = 2, .causal = true }); }
static void bad_length_long(void)   { seen_of(3, (Seen){ 2, false, (int[]){ 5, 6 } }); }
static void bad_length_less(void)   { seen_of(3, (Seen){ 2, true, (int[]){ -1, 5 } }); }

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
        { bad_heads_D, { "attention: B 2, 3 heads, Q (6,8)", "K (10,8), V (10,8)" } },
        { bad_heads_none, { "attention: B 2, 0 heads, Q (6,8)", "K (10,8), V (10,8)" } },
        { bad_heads_B, { "attention: B 0, 2 heads, Q (6,8)", "K (10,8), V (10,8)" } },
        { bad_heads_Q, { "attention: B 2, 2 heads, Q (7,8)", "K (10,8), V (10,8)" } },
        { bad_heads_K, { "attention: B 2, 2 heads, Q (6,8)", "K (11,8), V (11,8)" } },
        { bad_heads_K_cols, { "attention: B 2, 2 heads, Q (6,8)", "K (10,6), V (10,6)" } },
        { bad_heads_V, { "attention: B 2, 2 heads, Q (6,8)", "K (10,8), V (12,8)" } },
        { bad_heads_V_cols, { "attention: B 2, 2 heads, Q (6,8)", "K (10,8), V (10,4)" } },
        { bad_heads_dropout, { "attention: dropout", "probability 1" } },
        { bad_heads_less, { "attention: dropout", "probability -0.5" } },
        { bad_heads_causal, { "attention: a causal mask", "6 steps and 5 places" } },
        { bad_length_long, { "attention: sequence 1", "6 of 5 places" } },
        { bad_length_less, { "attention: sequence 0", "-1 of 5 places" } },
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
    RUN(test_heads_are_the_visible_way);
    RUN(test_heads_and_threads);
    RUN(test_weights_of_heads);
    RUN(test_heads_look_at_no_future);
    RUN(test_heads_and_padding);
    RUN(test_heads_without_dropout);
    RUN(test_lengths_are_copied);
    RUN(test_shapes_are_checked);
    tape_free();
    printf("largest difference: %.2g\n", worst);
    return unit_result();
}
