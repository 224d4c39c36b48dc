/* What ops.h promises beside gradients (test_gradients.c): v_linear is the two ops that it replaces, v_linear_relu the three,
 * v_layer_norm's rows have mean 0 and variance 1, v_dropout draws the same numbers however many threads there are, a first
 * gradient is written and not added to what the memory held, and a shape that does not fit names the op, the shapes and the line
 * of the caller.                                                                                                            */
#include "unit.h"
#include "workbook.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* A result and its gradients, one matrix behind the other: what a test compares. */
enum { MOST = 1 << 19 };
typedef struct { size_t n; real at[MOST]; } Numbers;

static Numbers *got, *want;

static void note(Numbers *to, Matrix m)
{
    CHECK(m.at && to->n + mat_size(m) <= MOST, "(%d,%d) beside %zu numbers", m.rows, m.cols, to->n);
    mat_copy(mat_over(to->at + to->n, m.rows, m.cols), m);
    to->n += mat_size(m);
}

static Matrix noise(int rows, int cols, uint64_t stream)
{
    Rng rng = rng_new(5, stream);
    Matrix m = tape_matrix(rows, cols);
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = rng_normal(&rng);
    return m;
}

/* From the loss mean(W ⊙ Y), W random, to all leaves; notes Y. */
static void back_from(Var *Y, Numbers *to)
{
    tape_backward(v_mean(v_mul(Y, v_const(noise(Y->value.rows, Y->value.cols, 99)))));
    note(to, Y->value);
}

static double largest(const Numbers *x)
{
    double largest = 0;
    for (size_t i = 0; i < x->n; i++) largest = fmax(largest, fabs((double)x->at[i]));
    return largest;
}

/* ---- linear --------------------------------------------------------------------------------------------------------- */

static void run_linear(Numbers *to, bool fused, int m, int k, int n)
{
    Var *X = v_leaf(noise(m, k, 1)), *W = v_leaf(noise(k, n, 2)), *b = v_leaf(noise(1, n, 3));
    to->n = 0;
    back_from(fused ? v_linear(X, W, b) : v_add_bias(v_matmul(X, W), b), to);
    note(to, X->grad), note(to, W->grad), note(to, b->grad);
    tape_reset();
}

/* Only the rounding of X W + b differs, which the chain begins with in one and ends with in the other; gradients do not. */
static void test_linear(void)
{
    static const int shapes[][3] = { { 1, 1, 1 }, { 2, 3, 4 }, { 7, 17, 65 }, { 70, 130, 33 } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        int m = shapes[i][0], k = shapes[i][1], n = shapes[i][2], results = m * n;
        run_linear(got, true, m, k, n), run_linear(want, false, m, k, n);
        EXPECT(largest(want) > 1e-3, "(%d,%d)(%d,%d): all numbers are small", m, k, k, n);
        for (int j = 0; j < results; j++)
            EXPECT_NEAR(got->at[j], want->at[j], 1e-6 * (k + 1), "(%d,%d)(%d,%d), number %d", m, k, k, n, j);
        EXPECT_SAME_BYTES(got->at + results, want->at + results, (want->n - (size_t)results) * sizeof(real),
                          "gradients of (%d,%d)(%d,%d)", m, k, k, n);
    }
}

/* ---- linear, relu and dropout in one ---------------------------------------------------------------------------------- */

static uint64_t run_linear_relu(Numbers *to, bool fused, int m, int k, int n, double p)
{
    Rng rng = rng_new(5, 4);
    Var *X = v_leaf(noise(m, k, 1)), *W = v_leaf(noise(k, n, 2)), *b = v_leaf(noise(1, n, 3));
    to->n = 0;
    Var *Y = fused ? v_linear_relu(X, W, b, p, &rng) : v_dropout(v_relu(v_linear(X, W, b)), p, &rng);
    note(to, Y->value);
    back_from(Y, to);
    note(to, X->grad), note(to, W->grad), note(to, b->grad);
    tape_reset();
    return rng.state;
}

/* Values, gradients and the generator; without a tape nothing is dropped. */
static void test_linear_relu(void)
{
    static const int shapes[][3] = { { 1, 1, 1 }, { 2, 3, 4 }, { 7, 17, 65 }, { 70, 130, 33 }, { 300, 40, 100 } };
    static const double dropout[] = { 0, 0.3, 0.9 };
    for (int i = 0; i < 15; i++) {
        const int *s = shapes[i / 3];
        double p = dropout[i % 3];
        uint64_t before = rng_new(5, 4).state, after = run_linear_relu(want, false, s[0], s[1], s[2], p);
        EXPECT(run_linear_relu(got, true, s[0], s[1], s[2], p) == after, "(%d,%d,%d), p %g: the generator", s[0], s[1], s[2], p);
        EXPECT((after != before) == (p > 0), "p %g: numbers are drawn", p);
        EXPECT(got->n == want->n, "%zu numbers and %zu", got->n, want->n);
        EXPECT_SAME_BYTES(got->at, want->at, want->n * sizeof(real), "(%d,%d,%d), p %g", s[0], s[1], s[2], p);
        EXPECT(i < 3 || largest(want) > 0, "(%d,%d,%d): all is zero", s[0], s[1], s[2]);
    }
    Rng rng = rng_new(5, 4), kept = rng;
    bool recording = tape_record(false);
    Var *X = v_const(noise(9, 20, 1)), *W = v_const(noise(20, 30, 2)), *b = v_const(noise(1, 30, 3));
    Var *Y = v_linear_relu(X, W, b, 0.5, &rng), *same = v_relu(v_linear(X, W, b));
    EXPECT_SAME_BYTES(Y->value.at, same->value.at, mat_size(Y->value) * sizeof(real), "without a tape");
    EXPECT(rng.state == kept.state, "without a tape nothing is drawn");
    EXPECT(v_linear_relu(X, W, b, 0.5, NULL)->value.rows == 9, "nor asked for");
    tape_record(recording);
    tape_reset();
}

static void forget_gradients(Var *const in[3])
{
    for (int i = 0; i < 3; i++) in[i]->grad = (Matrix){ 0 };
}

/* Nothing is drawn on the way back, and nothing of what it reads is changed: on one tape it can be gone again, from the same loss
 * or from another in between.                                                                                              */
static void test_linear_relu_goes_back_again(void)
{
    static const double dropout[] = { 0, 0.3, 0.9 };
    for (int k = 0; k < 3; k++) {
        Rng rng = rng_new(5, 4);
        Var *const in[3] = { v_leaf(noise(70, 13, 1)), v_leaf(noise(13, 300, 2)), v_leaf(noise(1, 300, 3)) };
        Var *Y = v_linear_relu(in[0], in[1], in[2], dropout[k], &rng);
        Var *loss = v_mean(v_mul(Y, v_const(noise(70, 300, 99)))), *other = v_mean(v_mul(Y, Y));
        uint64_t state = rng.state;
        for (int time = 0; time < 3; time++) {
            Numbers *to = time ? got : want;
            to->n = 0;
            if (time == 2) tape_backward(other), forget_gradients(in);
            tape_backward(loss);
            note(to, Y->value);
            for (int i = 0; i < 3; i++) note(to, in[i]->grad);
            if (time) EXPECT_SAME_BYTES(got->at, want->at, want->n * sizeof(real), "p %g, time %d", dropout[k], time);
            forget_gradients(in);
        }
        EXPECT(largest(want) > 1e-3 && rng.state == state, "p %g: all is small, or something was drawn", dropout[k]);
        tape_reset();
    }
}

/* ---- layer_norm ------------------------------------------------------------------------------------------------------ */

static Var *row_of(int n, real value)
{
    Matrix m = tape_matrix(1, n);
    mat_fill(m, value);
    return v_leaf(m);
}

/* Numbers around 3 of variance 4, and small ones, for which the 1e-5 counts. */
static void test_layer_norm_rows(void)
{
    enum { M = 20 };
    for (int n = 1; n <= 70; n += n < 35 ? 1 : 7)
        for (int small = 0; small <= 1; small++) {
            Matrix a = noise(M, n, (uint64_t)n);
            for (size_t i = 0; i < mat_size(a); i++) a.at[i] = small ? (real)0.002 * a.at[i] : 3 + 2 * a.at[i];
            Var *y = v_layer_norm(v_leaf(a), row_of(n, 1), row_of(n, 0));
            for (int r = 0; r < M; r++) {
                double mean = 0, variance = 0, mean_u = 0, variance_u = 0;
                for (int j = 0; j < n; j++) mean += (double)mat_row(a, r)[j] / n, mean_u += (double)mat_row(y->value, r)[j] / n;
                for (int j = 0; j < n; j++) {
                    variance += pow((double)mat_row(a, r)[j] - mean, 2) / n;
                    variance_u += pow((double)mat_row(y->value, r)[j] - mean_u, 2) / n;
                }
                EXPECT_NEAR(mean_u, 0, 1e-5, "mean of row %d of (%d,%d)", r, M, n);
                EXPECT_NEAR(variance_u, variance / (variance + 1e-5), 1e-5, "variance of row %d of (%d,%d)", r, M, n);
            }
            tape_reset();
        }
}

static void test_layer_norm_of_equal_numbers(void)
{
    static const real values[] = { 0, 5, -3, 1024 };
    for (int n = 1; n <= 40; n++)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            Var *a = row_of(n, values[i]), *g = v_leaf(noise(1, n, 1)), *b = v_leaf(noise(1, n, 2)), *y = v_layer_norm(a, g, b);
            EXPECT_SAME_BYTES(y->value.at, b->value.at, (size_t)n * sizeof(real), "%d times %g", n, (double)values[i]);
            tape_backward(v_mean(v_mul(y, v_const(noise(1, n, 3)))));
            for (int j = 0; j < n; j++) {
                EXPECT(isfinite(a->grad.at[j]) && (n > 1 || a->grad.at[j] == 0), "dA %g, %d of %d", (double)a->grad.at[j], j, n);
                EXPECT(g->grad.at[j] == 0 && b->grad.at[j] != 0, "dg %g, db %g", (double)g->grad.at[j], (double)b->grad.at[j]);
            }
            tape_reset();
        }
}

/* ---- threads --------------------------------------------------------------------------------------------------------- */

enum { ROWS = 701, COLS = 133 };

static void run_layer_norm(Numbers *to, uint64_t *state)
{
    Var *A = v_leaf(noise(ROWS, COLS, 1)), *g = v_leaf(noise(1, COLS, 2)), *b = v_leaf(noise(1, COLS, 3));
    *state = 0;
    back_from(v_layer_norm(A, g, b), to);
    note(to, A->grad), note(to, g->grad), note(to, b->grad);
}

static void run_big_linear(Numbers *to, uint64_t *state)
{
    *state = 0;
    run_linear(to, true, ROWS, 150, COLS);
}

static void run_dropout(Numbers *to, uint64_t *state)
{
    Rng rng = rng_new(6, 0);
    Var *A = v_leaf(noise(ROWS, COLS + 5, 1));
    back_from(v_dropout(v_cols(A, 2, COLS), 0.3, &rng), to);
    note(to, A->grad);
    *state = rng.state;
}

/* The same bytes from one thread, two and three; and the generator where it was. */
static void test_threads(void)
{
    static const struct { const char *name; void (*run)(Numbers *to, uint64_t *state); } op[] = {
        { "linear", run_big_linear }, { "layer_norm", run_layer_norm }, { "dropout", run_dropout },
    };
    for (size_t i = 0; i < sizeof op / sizeof *op; i++) {
        uint64_t state, state_of_one;
        want->n = 0;
        op[i].run(want, &state_of_one), tape_reset();
        EXPECT(want->n > ROWS * COLS && largest(want) > 1, "%s: %zu numbers, up to %g", op[i].name, want->n, largest(want));
        for (int threads = 2; threads <= 3; threads++) {
            threads_start(threads);
            for (int round = 0; round < 5; round++) {
                got->n = 0;
                op[i].run(got, &state), tape_reset();
                EXPECT_SAME_BYTES(got->at, want->at, want->n * sizeof(real), "%s, %d threads", op[i].name, threads);
                EXPECT(state == state_of_one, "%s, %d threads: the generator went elsewhere", op[i].name, threads);
            }
            threads_stop();
        }
    }
}

/* Row by row, a number an element; the way back lets through what the way there did. */
static void test_dropout_draws_in_order(void)
{
    const double p = 0.3;
    const real kept = (real)(1 / (1 - p));
    Rng rng = rng_new(6, 1), one_by_one = rng;
    Matrix a = noise(7, 37, 1);
    Var *A = v_leaf(a), *view = v_cols(A, 3, 29), *y = v_dropout(view, p, &rng);
    tape_backward(v_mean(y));
    for (int r = 0; r < 7; r++)
        for (int c = 0; c < 37; c++) {
            bool inside = c >= 3 && c < 32, stays = inside && rng_bits(&one_by_one) >= (uint32_t)(p * 0x1p32);
            if (inside) EXPECT_NEAR(mat_row(y->value, r)[c - 3], stays ? mat_row(a, r)[c] * kept : 0, 0, "value (%d,%d)", r, c);
            EXPECT_NEAR(mat_row(A->grad, r)[c], stays ? kept / (7 * 29) : 0, 1e-8, "gradient (%d,%d)", r, c);
        }
    EXPECT(rng.state == one_by_one.state, "the generator is not behind the last number");
    EXPECT(v_dropout(A, 0, &rng) == A && rng.state == one_by_one.state, "p = 0 changes or draws something");
    bool before = tape_record(false);
    EXPECT(v_dropout(A, p, &rng) == A && rng.state == one_by_one.state, "in evaluation something is changed or drawn");
    tape_record(before);
    tape_reset();
}

/* ---- a first gradient ------------------------------------------------------------------------------------------------- */

static void test_var_grad_into(void)
{
    Into into = ADD;
    Var *whole = v_leaf(noise(4, 5, 1));
    Matrix first = var_grad_into(whole, &into);
    EXPECT(into == SET && first.rows == 4 && first.cols == 5, "first: into %d, (%d,%d)", (int)into, first.rows, first.cols);
    mat_fill(first, 3);
    Matrix again = var_grad_into(whole, &into);
    EXPECT(into == ADD && again.at == first.at && var_grad(whole).at == first.at, "then: into %d, other memory", (int)into);
    EXPECT(again.at[7] == 3, "asking again changed it to %g", (double)again.at[7]);
    Matrix part = var_grad_into(v_rows(whole, 1, 2), &into);
    EXPECT(into == ADD && part.at == first.at + 5, "a view of it: into %d, %td", (int)into, part.at - first.at);
    for (int i = 0; i < 50; i++) mat_fill(tape_matrix(100, 100), 7);     /* memory that zeros must be written into */
    tape_reset();
    Var *other = v_leaf(noise(4, 5, 1));
    part = var_grad_into(v_cols(other, 1, 2), &into);
    EXPECT(into == ADD && other->grad.at && part.at == other->grad.at + 1, "the first is a view's: into %d", (int)into);
    for (int i = 0; i < 20; i++) EXPECT(other->grad.at[i] == 0, "number %d is %g, not 0", i, (double)other->grad.at[i]);
    tape_reset();
}

/* ---- shapes ----------------------------------------------------------------------------------------------------------- */

static Var *shape(int rows, int cols)
{
    return v_const(mat_take(&(Arena){ 0 }, rows, cols));
}

static void bad_add(void)             { v_add(shape(2, 3), shape(3, 2)); }
static void bad_sub(void)             { v_sub(shape(2, 3), shape(2, 4)); }
static void bad_mul(void)             { v_mul(shape(2, 3), shape(1, 3)); }
static void bad_matmul(void)          { v_matmul(shape(2, 3), shape(2, 3)); }
static void bad_matmul_nt(void)       { v_matmul_nt(shape(2, 3), shape(3, 2)); }
static void bad_bias_cols(void)       { v_add_bias(shape(2, 3), shape(1, 2)); }
static void bad_bias_rows(void)       { v_add_bias(shape(2, 3), shape(2, 3)); }
static void bad_cols(void)            { v_cols(shape(2, 3), 1, 3); }
static void bad_rows(void)            { v_rows(shape(2, 3), 2, 1); }
static void bad_every(void)           { v_every(shape(9, 3), 1, 3, 4); }
static void bad_hcat(void)            { v_hcat((Var *[]){ shape(2, 3), shape(2, 1), shape(3, 3) }, 3); }
static void bad_vcat(void)            { v_vcat((Var *[]){ shape(2, 3), shape(3, 2) }, 2); }
static void bad_lookup(void)          { v_lookup(shape(2, 3), (int[]){ -1, 2 }, 2); }
static void bad_softmax_mask(void)    { v_softmax(shape(2, 3), &(Matrix){ .rows = 1, .cols = 3 }); }
static void bad_target(void)          { v_cross_entropy(shape(2, 3), (int[]){ -1, 3 }); }
static void bad_mean(void)            { v_mean(shape(0, 3)); }
static void bad_linear_inner(void)    { v_linear(shape(2, 3), shape(4, 5), shape(1, 5)); }
static void bad_linear_cols(void)     { v_linear(shape(2, 3), shape(3, 5), shape(1, 4)); }
static void bad_linear_rows(void)     { v_linear(shape(2, 3), shape(3, 5), shape(2, 5)); }
static void bad_relu_inner(void)      { v_linear_relu(shape(2, 3), shape(4, 5), shape(1, 5), 0, NULL); }
static void bad_relu_dropout(void)    { v_linear_relu(shape(2, 3), shape(3, 5), shape(1, 5), 1, &(Rng){ 0 }); }
static void bad_norm_cols(void)       { v_layer_norm(shape(2, 3), shape(1, 4), shape(1, 4)); }
static void bad_norm_rows(void)       { v_layer_norm(shape(2, 3), shape(2, 3), shape(2, 3)); }
static void bad_norm_bias(void)       { v_layer_norm(shape(2, 3), shape(1, 3), shape(1, 4)); }
static void bad_dropout_all(void)     { v_dropout(shape(2, 3), 1, &(Rng){ 0 }); }
static void bad_dropout_less(void)    { v_dropout(shape(2, 3), -0.25, &(Rng){ 0 }); }

/* Each op that can refuse something; what it refuses is what its kernel would, but it names the line that asked. */
static void test_shapes_are_checked(void)
{
    static const struct { void (*call)(void); const char *says[2]; } row[] = {
        { bad_add, { "add: (2,3) and (3,2)", "mat_same_shape" } },
        { bad_sub, { "sub: (2,3) and (2,4)", "mat_same_shape" } },
        { bad_mul, { "mul: (2,3) and (1,3)", "mat_same_shape" } },
        { bad_matmul, { "matmul: A (2,3), B (2,3)", "A->value.cols == B->value.rows" } },
        { bad_matmul_nt, { "matmul_nt: A (2,3), B (3,2)", "A->value.cols == B->value.cols" } },
        { bad_bias_cols, { "add_bias: A (2,3), b (1,2)", "b->value.cols" } },
        { bad_bias_rows, { "add_bias: A (2,3), b (2,3)", "b->value.rows" } },
        { bad_cols, { "cols: rows 0 to 2, columns 1 to 4", "of (2,3)" } },
        { bad_rows, { "rows: rows 2 to 3, columns 0 to 3", "of (2,3)" } },
        { bad_every, { "every: rows 1 to 11, columns 0 to 3", "of (9,3)" } },
        { bad_hcat, { "hcat: part 0 (2,3), part 2 (3,3)", "other" } },
        { bad_vcat, { "vcat: part 0 (2,3), part 1 (3,2)", "other" } },
        { bad_lookup, { "lookup: row 2 of (2,3)", "index[r]" } },
        { bad_softmax_mask, { "softmax: A (2,3), mask (1,3)", "mask" } },
        { bad_target, { "cross_entropy: target 3 at row 1", "of A (2,3)" } },
        { bad_mean, { "mean of nothing", "A (0,3)" } },
        { bad_linear_inner, { "linear: X (2,3), W (4,5), b (1,5)", "X->value.cols" } },
        { bad_linear_cols, { "linear: X (2,3), W (3,5), b (1,4)", "b->value.cols" } },
        { bad_linear_rows, { "linear: X (2,3), W (3,5), b (2,5)", "b->value.rows" } },
        { bad_relu_inner, { "linear_relu: X (2,3), W (4,5), b (1,5)", "X->value.cols" } },
        { bad_relu_dropout, { "linear_relu: dropout with probability 1", "p < 1" } },
        { bad_norm_cols, { "layer_norm: A (2,3), g (1,4)", "b (1,4)" } },
        { bad_norm_rows, { "layer_norm: A (2,3), g (2,3)", "b (2,3)" } },
        { bad_norm_bias, { "layer_norm: A (2,3), g (1,3)", "b (1,4)" } },
        { bad_dropout_all, { "dropout with probability 1", "p < 1" } },
        { bad_dropout_less, { "dropout with probability -0.25", "p >= 0" } },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char said[512];
        int status = unit_child(row[i].call, said, sizeof said);
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "call %zu: status 0x%x", i, (unsigned)status);
        EXPECT(strstr(said, "check failed") && strncmp(said, __FILE__ ":", sizeof __FILE__) == 0,
               "call %zu names no caller: \"%s\"", i, said);
        for (int s = 0; s < 2; s++)
            EXPECT(strstr(said, row[i].says[s]), "call %zu said \"%s\", without %s", i, said, row[i].says[s]);
    }
}

static void bad_line(void) { v_matmul(shape(4, 3), shape(5, 2)); } static const char the_line[] = HERE;

static void test_the_line_of_the_caller(void)
{
    char said[512], line[512];
    unit_child(bad_line, said, sizeof said);
    snprintf(line, sizeof line, "%s: check failed: A->value.cols == B->value.rows: matmul: A (4,3), B (5,2)\n", the_line);
    EXPECT(strcmp(said, line) == 0, "expected \"%s\", got \"%s\"", line, said);
}

int main(void)
{
    got = allocate(1, sizeof *got), want = allocate(1, sizeof *want);
    RUN(test_linear);
    RUN(test_linear_relu);
    RUN(test_linear_relu_goes_back_again);
    RUN(test_layer_norm_rows);
    RUN(test_layer_norm_of_equal_numbers);
    RUN(test_threads);
    RUN(test_dropout_draws_in_order);
    RUN(test_var_grad_into);
    RUN(test_shapes_are_checked);
    RUN(test_the_line_of_the_caller);
    free(got), free(want);
    tape_free();
    return unit_result();
}
