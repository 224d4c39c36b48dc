/* Gradients against differences. Every op of ops.h, alone and composed, networks built from them, and chapter 01's way back
 * written by hand: each must agree with the central difference
 *
 *     ∂L/∂x ≈ (L(x+ε) - L(x-ε)) / 2ε
 *
 * for every number of every input. All sizes differ, so that a transposed shape cannot slip through; the loss weighs an op's
 * results by fixed random numbers, so that no symmetry hides a mistake; and gradients that are all zero are a failure.
 *
 * Built with -DREAL_DOUBLE alone: in float the rounding of L, divided by 2ε, leaves two digits to compare.                */
#ifndef REAL_DOUBLE

#include <stdio.h>

int main(void)
{
    fputs("test_gradients: differences need double; run build/double/test_gradients\n", stderr);
    return 2;
}

#else

#define main chapter_main                  /* chapter 01's functions are static: to reach them, its source is read in here */
#include "../chapters/01_rnn_scratch/rnn_scratch.c"
#undef main

#include "unit.h"

enum { B = 2, D = 3, H = 4, V = 5, T = 6 };

/* ---- the comparison ------------------------------------------------------------------------------------------------
 *
 * ε: the difference is off by ε² L'''/6 and by L's rounding, about 1e-16, over ε; at 1e-5 both are some 1e-11. Measured over
 * all checks below, the largest difference is 7e-11 at ε = 1e-5, and 2e-10 at 3e-6, 5e-10 at 3e-5. So 1e-10 + 1e-7 of the
 * gradient leaves room for another libm, at four times the worst measured; a slope wrong by a part in a million fails. */
static const double epsilon = 1e-5, relative = 1e-7, absolute = 1e-10;
static double worst;                       /* the largest difference, as a part of the allowed one */

typedef double Value(void *arg);           /* L at the inputs as they are */

static double central_difference(Value *value, void *arg, real *x)
{
    double kept = *x;
    *x = kept + epsilon;
    double above = value(arg);
    *x = kept - epsilon;
    double below = value(arg);
    *x = kept;
    return (above - below) / (2 * epsilon);
}

/* grad holds what is claimed to be ∂L/∂at. */
static void compare(const char *name, Matrix at, Matrix grad, Value *value, void *arg)
{
    double largest = 0;
    for (int r = 0; r < at.rows; r++)
        for (int c = 0; c < at.cols; c++) {
            double want = central_difference(value, arg, mat_row(at, r) + c), got = mat_row(grad, r)[c];
            double allowed = relative * fabs(want) + absolute, part = fabs(got - want) / allowed;
            EXPECT_NEAR(got, want, allowed, "%s, (%d,%d) of (%d,%d)", name, r, c, at.rows, at.cols);
            largest = fmax(largest, fabs(got));
            worst = fmax(worst, part);
        }
    EXPECT(largest > 1e-4, "%s: all gradients are zero, or nearly so", name);
}

static void fill_normal(Matrix m, double scale, uint64_t stream)
{
    Rng rng = rng_new(7, stream);
    for (int r = 0; r < m.rows; r++)
        for (int c = 0; c < m.cols; c++) mat_row(m, r)[c] = scale * rng_normal(&rng);
}

/* ---- one op, in several ways ---------------------------------------------------------------------------------------- */

enum { MOST_INPUTS = 3 };

typedef Var *Build(Var *const *in);

typedef struct {
    const char *name;
    Build *build;
    int inputs, shape[MOST_INPUTS][2];
} Case;

typedef struct {
    const char *name;
    bool twice;                            /* built twice on the same inputs: a way back that sets instead of adding fails */
    bool framed;                           /* each input is a view into a larger leaf, with a stride                       */
    int fixed;                             /* this input is a constant; -1: none is                                        */
} Way;

typedef struct {
    const Case *c;
    const Way *way;
    Matrix at[MOST_INPUTS];                /* the leaves' numbers */
    Var *leaf[MOST_INPUTS], *in[MOST_INPUTS];
} Trial;

static void trial_inputs(Trial *x)
{
    for (int i = 0; i < x->c->inputs; i++) {
        const int *shape = x->c->shape[i];
        x->leaf[i] = i == x->way->fixed ? v_const(x->at[i]) : v_leaf(x->at[i]);
        x->in[i] = x->way->framed ? v_cols(v_rows(x->leaf[i], 1, shape[0]), 2, shape[1]) : x->leaf[i];
    }
}

static Matrix weights_for(Var *y, int time)
{
    Matrix w = tape_matrix(y->value.rows, y->value.cols);
    fill_normal(w, 1, 100 + (uint64_t)time);
    return w;
}

/* L, summed up by plain loops, and not by the ops that the tape's gradient starts with */
static double trial_value(void *arg)
{
    Trial *x = arg;
    double total = 0;
    trial_inputs(x);
    for (int time = 0; time <= x->way->twice; time++) {
        Var *y = x->c->build(x->in);
        Matrix w = weights_for(y, time);
        double sum = 0;
        for (int r = 0; r < w.rows; r++)
            for (int c = 0; c < w.cols; c++) sum += mat_row(w, r)[c] * mat_row(y->value, r)[c];
        total += sum / (double)mat_size(w);
    }
    tape_reset();
    return total;
}

static Var *trial_loss(Trial *x)
{
    Var *loss = NULL;
    trial_inputs(x);
    for (int time = 0; time <= x->way->twice; time++) {
        Var *y = x->c->build(x->in), *part = v_mean(v_mul(y, v_const(weights_for(y, time))));
        loss = loss ? v_add(loss, part) : part;
    }
    return loss;
}

static void trial_run(const Case *c, const Way *way, bool lavish)
{
    Trial x = { .c = c, .way = way };
    Matrix grad[MOST_INPUTS];
    char name[120];
    for (int i = 0; i < c->inputs; i++) {
        x.at[i] = mat_new(c->shape[i][0] + 2 * way->framed, c->shape[i][1] + 5 * way->framed);
        grad[i] = mat_new(x.at[i].rows, x.at[i].cols);
        fill_normal(x.at[i], 1, (uint64_t)i);
    }
    tape_backward(trial_loss(&x));
    for (int i = 0; i < c->inputs; i++) {
        bool reached = x.leaf[i]->grad.at != NULL;
        bool may = lavish && i == way->fixed;
        EXPECT(reached == (i != way->fixed) || may, "%s %s, input %d: has it a gradient? %d", c->name, way->name, i, reached);
        if (reached) mat_copy(grad[i], x.leaf[i]->grad);
    }
    tape_reset();
    for (int i = 0; i < c->inputs; i++) {
        snprintf(name, sizeof name, "%s %s, input %d", c->name, way->name, i);
        if (i != way->fixed) compare(name, x.at[i], grad[i], trial_value, &x);
    }
    for (int i = 0; i < c->inputs; i++) mat_free(&x.at[i]), mat_free(&grad[i]);
}

/* lavish: the op gives constants a gradient, too, which nobody reads. */
static void run_cases(const Case *cases, size_t count, bool lavish)
{
    static const Way ways[] = {
        { "once", false, false, -1 }, { "twice", true, false, -1 },
        { "framed", false, true, -1 }, { "framed twice", true, true, -1 },
        { "beside a constant", true, false, 0 }, { "beside a constant", true, true, 1 },
        { "beside a constant", true, false, 2 },
    };
    for (size_t i = 0; i < count; i++)
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
            if (ways[w].fixed < 0 || (cases[i].inputs > 1 && ways[w].fixed < cases[i].inputs))
                trial_run(&cases[i], &ways[w], lavish);
}

/* ---- every op ------------------------------------------------------------------------------------------------------- */

static const int rows_asked[T] = { 1, 4, 1, -1, 0, 1 };                  /* repeated, none, and two rows not at all */
static const int targets[H] = { 2, 0, 4, 2 }, targets_padded[H] = { 2, -1, 4, -1 };
static real mask_numbers[H][T] = { { 1, 0, 1, 1, 0, 1 }, { 0, 0, 0, 0, 1, 1 }, { 0, 0, 0, 0, 0, 0 }, { 1, 1, 1, 1, 1, 1 } };

static Var *op_add(Var *const *in)       { return v_add(in[0], in[1]); }
static Var *op_sub(Var *const *in)       { return v_sub(in[0], in[1]); }
static Var *op_mul(Var *const *in)       { return v_mul(in[0], in[1]); }
static Var *op_scale(Var *const *in)     { return v_scale(in[0], -1.7); }
static Var *op_tanh(Var *const *in)      { return v_tanh(in[0]); }
static Var *op_sigmoid(Var *const *in)   { return v_sigmoid(in[0]); }
static Var *op_relu(Var *const *in)      { return v_relu(in[0]); }
static Var *op_matmul(Var *const *in)    { return v_matmul(in[0], in[1]); }
static Var *op_matmul_nt(Var *const *in) { return v_matmul_nt(in[0], in[1]); }
static Var *op_linear(Var *const *in)    { return v_linear(in[0], in[1], in[2]); }
static Var *op_add_bias(Var *const *in)  { return v_add_bias(in[0], in[1]); }
static Var *op_cols(Var *const *in)      { return v_cols(in[0], 1, 3); }
static Var *op_rows(Var *const *in)      { return v_rows(in[0], 2, 2); }
static Var *op_every(Var *const *in)     { return v_every(in[0], 1, 2, 3); }
static Var *op_hcat(Var *const *in)      { return v_hcat(in, 3); }
static Var *op_vcat(Var *const *in)      { return v_vcat(in, 3); }
static Var *op_lookup(Var *const *in)    { return v_lookup(in[0], rows_asked, T); }
static Var *op_softmax(Var *const *in)   { return v_softmax(in[0], NULL); }
static Var *op_entropy(Var *const *in)   { return v_cross_entropy(in[0], targets); }
static Var *op_padded(Var *const *in)    { return v_cross_entropy(in[0], targets_padded); }
static Var *op_mean(Var *const *in)      { return v_mean(in[0]); }

static Var *op_masked(Var *const *in)
{
    Matrix mask = mat_over(mask_numbers[0], H, T);
    return v_softmax(in[0], &mask);
}

static Var *op_dropout(Var *const *in)
{
    Rng rng = rng_new(3, 0);               /* anew each time: the same elements fall */
    return v_dropout(in[0], 0.3, &rng);
}

static void test_ops(void)
{
    static const Case cases[] = {
        { "add", op_add, 2, { { B, D }, { B, D } } },
        { "sub", op_sub, 2, { { B, D }, { B, D } } },
        { "mul", op_mul, 2, { { B, D }, { B, D } } },
        { "scale", op_scale, 1, { { B, D } } },
        { "tanh", op_tanh, 1, { { H, V } } },
        { "sigmoid", op_sigmoid, 1, { { H, V } } },
        { "relu", op_relu, 1, { { H, V } } },
        { "matmul", op_matmul, 2, { { B, D }, { D, H } } },
        { "wide matmul", op_matmul, 2, { { B, D }, { D, 37 } } },
        { "matmul_nt", op_matmul_nt, 2, { { B, D }, { H, D } } },
        { "wide matmul_nt", op_matmul_nt, 2, { { B, D }, { 19, D } } },
        { "add_bias", op_add_bias, 2, { { B, V }, { 1, V } } },
        { "cols", op_cols, 1, { { H, T } } },
        { "rows", op_rows, 1, { { V, D } } },
        { "every", op_every, 1, { { T, D } } },
        { "hcat", op_hcat, 3, { { B, D }, { B, H }, { B, V } } },
        { "vcat", op_vcat, 3, { { D, B }, { H, B }, { V, B } } },
        { "lookup", op_lookup, 1, { { V, D } } },
        { "softmax", op_softmax, 1, { { B, V } } },
        { "wide softmax", op_softmax, 1, { { D, 21 } } },
        { "masked softmax", op_masked, 1, { { H, T } } },
        { "cross_entropy", op_entropy, 1, { { H, V } } },
        { "wide cross_entropy", op_entropy, 1, { { H, 21 } } },
        { "padded cross_entropy", op_padded, 1, { { H, V } } },
        { "mean", op_mean, 1, { { D, H } } },
        { "dropout", op_dropout, 1, { { H, T } } },
        { "linear", op_linear, 3, { { B, D }, { D, H }, { 1, H } } },
        { "wide linear", op_linear, 3, { { V, D }, { D, 37 }, { 1, 37 } } },
    };
    run_cases(cases, sizeof cases / sizeof *cases, false);
}

/* Differences do not know how large dropout's results should be: as large as before, on average. */
static void test_dropout_values(void)
{
    Matrix ones = mat_new(60, 70);
    mat_fill(ones, 1);
    Rng rng = rng_new(3, 0);
    Var *x = v_leaf(ones), *y = v_dropout(x, 0.3, &rng);
    int fell = 0, n = (int)mat_size(ones);
    for (int i = 0; i < n; i++) {
        fell += y->value.at[i] == 0;
        EXPECT(y->value.at[i] == 0 || fabs(y->value.at[i] - 1 / 0.7) < 1e-15, "number %d is %g", i, y->value.at[i]);
    }
    EXPECT_NEAR(fell, 0.3 * n, 5 * sqrt(0.3 * 0.7 * n), "how many of %d fell", n);
    EXPECT(v_dropout(x, 0, &rng) == x, "with probability 0 it changes something");
    tape_record(false);
    EXPECT(v_dropout(v_tanh(x), 0.3, &rng)->value.at[0] == tanh(1), "in evaluation it changes something");
    tape_record(true);
    tape_reset();
    mat_free(&ones);
}

/* ---- compositions --------------------------------------------------------------------------------------------------- */

static Var *used_twice(Var *const *in)      { return v_mul(in[0], v_tanh(in[0])); }
static Var *sum_with_self(Var *const *in)   { return v_add(in[0], in[0]); }
static Var *square(Var *const *in)          { return v_mul(in[0], in[0]); }
static Var *matmul_self(Var *const *in)     { return v_matmul(in[0], in[0]); }
static Var *matmul_nt_self(Var *const *in)  { return v_matmul_nt(in[0], in[0]); }
static Var *beside_itself(Var *const *in)   { return v_hcat((Var *[]){ in[0], in[1], in[0] }, 3); }
static Var *view_of_view(Var *const *in)    { return v_cols(v_rows(v_cols(v_tanh(in[0]), 1, 4), 1, 2), 1, 2); }
static Var *only_a_view(Var *const *in)     { return v_rows(v_sigmoid(in[0]), 1, 2); }
static Var *view_of_leaf(Var *const *in)    { return v_tanh(v_cols(in[0], 2, 3)); }

static Var *overlapping(Var *const *in)
{
    Var *y = v_tanh(in[0]);
    return v_add(v_cols(y, 0, 4), v_mul(v_cols(y, 1, 4), v_cols(y, 2, 4)));
}

/* Rows 0, 2, 4 with rows 2, 3, 4, and both with row 4 alone, a view of the first */
static Var *overlapping_rows(Var *const *in)
{
    Var *y = v_tanh(in[0]), *even = v_every(y, 0, 2, 3), *last = v_every(y, 2, 1, 3);
    return v_add_bias(v_mul(even, last), v_cols(v_every(even, 2, 5, 1), 0, D));
}

static Var *view_and_whole(Var *const *in)
{
    Var *y = v_tanh(in[0]);
    return v_hcat((Var *[]){ v_mul(y, y), v_cols(y, 1, 2) }, 2);
}

static Var *views_side_by_side(Var *const *in)
{
    Var *y = v_tanh(in[0]);
    return v_hcat((Var *[]){ v_cols(y, 4, 2), v_cols(in[1], 0, 2), v_cols(y, 1, 3) }, 3);
}

static Var *views_stacked(Var *const *in)
{
    Var *y = v_tanh(in[0]);
    return v_vcat((Var *[]){ v_rows(y, 2, 2), v_rows(in[1], 1, 1), v_rows(y, 0, 3) }, 3);
}

static Var *attention(Var *const *in)
{
    Matrix mask = mat_over(mask_numbers[0], H, T);
    return v_matmul(v_softmax(v_scale(v_matmul_nt(in[0], in[1]), 0.6), &mask), in[2]);
}

/* The first gradient of a product's operand is written, not added: so what comes before and after it must not be lost, be it
 * another product, an add, or a view. y is no leaf, so that its memory is not zero. */
static Var *two_products(Var *const *in)
{
    Var *y = v_tanh(in[0]);
    return v_hcat((Var *[]){ v_matmul(y, in[1]), v_matmul_nt(y, in[2]) }, 2);
}

static Var *product_then_add(Var *const *in)
{
    Var *y = v_tanh(in[0]), *product = v_matmul(y, in[1]);
    return v_add(v_tanh(product), y);
}

static Var *add_then_product(Var *const *in)
{
    Var *y = v_tanh(in[0]), *sum = v_add(y, y);
    return v_add(v_matmul(y, in[1]), sum);
}

static Var *product_then_view(Var *const *in)
{
    Var *y = v_tanh(in[0]), *product = v_matmul_nt(y, in[1]);
    return v_hcat((Var *[]){ product, v_tanh(v_cols(y, 1, 2)) }, 2);
}

static Var *view_then_product(Var *const *in)
{
    Var *y = v_tanh(in[0]), *part = v_tanh(v_cols(y, 1, 2));
    return v_hcat((Var *[]){ part, v_linear(y, in[1], in[2]) }, 2);
}

/* Products of views that overlap, and of the whole between them. */
static Var *products_of_views(Var *const *in)
{
    Var *y = v_tanh(in[0]), *left = v_matmul(v_cols(y, 0, 2), v_rows(in[1], 0, 2)), *whole = v_matmul(y, in[1]);
    return v_hcat((Var *[]){ left, whole, v_matmul(v_cols(y, 1, 2), v_rows(in[1], 1, 2)) }, 3);
}

static void test_compositions(void)
{
    static const Case cases[] = {
        { "x tanh x", used_twice, 1, { { B, D } } },
        { "x + x", sum_with_self, 1, { { B, D } } },
        { "x x", square, 1, { { B, D } } },
        { "X X", matmul_self, 1, { { H, H } } },
        { "X Xᵀ", matmul_nt_self, 1, { { B, D } } },
        { "[x y x]", beside_itself, 2, { { B, D }, { B, H } } },
        { "view of a view of a view", view_of_view, 1, { { H, T } } },
        { "view as the only consumer", only_a_view, 1, { { H, V } } },
        { "view of a leaf", view_of_leaf, 1, { { B, T } } },
        { "overlapping views", overlapping, 1, { { B, T } } },
        { "overlapping views of rows", overlapping_rows, 1, { { V, D } } },
        { "view and whole", view_and_whole, 1, { { B, V } } },
        { "hcat of views", views_side_by_side, 2, { { B, T }, { B, D } } },
        { "vcat of views", views_stacked, 2, { { H, V }, { D, V } } },
        { "attention", attention, 3, { { H, D }, { T, D }, { T, V } } },
        { "two products", two_products, 3, { { B, D }, { D, H }, { V, D } } },
        { "a product, then an add", product_then_add, 2, { { B, D }, { D, D } } },
        { "an add, then a product", add_then_product, 2, { { B, D }, { D, D } } },
        { "a product, then a view", product_then_view, 2, { { B, D }, { H, D } } },
        { "a view, then a product", view_then_product, 3, { { B, D }, { D, H }, { 1, H } } },
        { "products of views", products_of_views, 2, { { B, D }, { D, H } } },
    };
    run_cases(cases, sizeof cases / sizeof *cases, false);
}

/* ---- layer norm, and attention in heads: to these a constant is as good as a parameter ------------------------------- */

static Var *op_layer_norm(Var *const *in)  { return v_layer_norm(in[0], in[1], in[2]); }
static Var *norm_by_itself(Var *const *in) { return v_layer_norm(in[0], in[1], in[1]); }

/* In rows of small numbers the 1e-5 counts. */
static Var *op_norm_of_small(Var *const *in) { return v_layer_norm(v_scale(in[0], 1e-3), in[1], in[2]); }

/* Two sequences of 3 steps and 5 places, two heads of 2. */
static const int lengths[B] = { 4, 2 };

static Var *op_heads(Var *const *in)  { return v_attention(in[0], in[1], in[2], 2, (Seen){ .B = B }, 0, NULL); }
static Var *op_causal(Var *const *in) { return v_attention(in[0], in[1], in[2], 2, (Seen){ .B = B, .causal = true }, 0, NULL); }

static Var *op_heads_dropped(Var *const *in)
{
    Rng rng = rng_new(3, 0);
    return v_attention(in[0], in[1], in[2], 2, (Seen){ B, true, lengths }, 0.3, &rng);
}

static Var *heads_of_itself(Var *const *in)
{
    return v_attention(in[0], in[0], in[0], 2, (Seen){ .B = B, .causal = true }, 0, NULL);
}

/* Q, K and V side by side in one matrix, as one product gives them. */
static Var *heads_of_one_product(Var *const *in)
{
    Var *y = v_tanh(in[0]);
    return v_attention(v_cols(y, 0, H), v_cols(y, H, H), v_cols(y, 2 * H, H), 2, (Seen){ B, false, lengths }, 0, NULL);
}

static void test_norm_and_heads(void)
{
    static const Case cases[] = {
        { "layer_norm of 5", op_layer_norm, 3, { { H, 5 }, { 1, 5 }, { 1, 5 } } },
        { "layer_norm of 16", op_layer_norm, 3, { { D, 16 }, { 1, 16 }, { 1, 16 } } },
        { "layer_norm of 33", op_layer_norm, 3, { { D, 33 }, { 1, 33 }, { 1, 33 } } },
        { "attention in heads", op_heads, 3, { { B * 3, H }, { B * 5, H }, { B * 5, H } } },
        { "causal attention in heads", op_causal, 3, { { B * 3, H }, { B * 5, H }, { B * 5, H } } },
        { "attention in heads, all there is", op_heads_dropped, 3, { { B * 3, H }, { B * 5, H }, { B * 5, H } } },
        { "layer_norm with one row for g and b", norm_by_itself, 2, { { D, V }, { 1, V } } },
        { "attention of x to itself", heads_of_itself, 1, { { B * 3, H } } },
        { "attention within one product", heads_of_one_product, 1, { { B * 5, 3 * H } } },
        { "layer_norm of small numbers", op_norm_of_small, 3, { { B, V }, { 1, V }, { 1, V } } },
    };
    run_cases(cases, sizeof cases / sizeof *cases, true);
}

/* A row of one number is its own mean, so nothing comes through but b. */
static void test_layer_norm_of_one_number(void)
{
    Matrix a = mat_new(T, 1), g = mat_new(1, 1), b = mat_new(1, 1);
    fill_normal(a, 1, 0), fill_normal(g, 1, 1), fill_normal(b, 1, 2);
    Var *A = v_leaf(a), *G = v_leaf(g), *bias = v_leaf(b), *y = v_layer_norm(A, G, bias);
    tape_backward(v_mean(y));
    for (int r = 0; r < T; r++) {
        EXPECT(y->value.at[r] == b.at[0], "row %d of one number is %g, not b = %g", r, y->value.at[r], b.at[0]);
        EXPECT(A->grad.at[r] == 0, "row %d of one number gets %g", r, A->grad.at[r]);
    }
    EXPECT_NEAR(bias->grad.at[0], 1, 1e-15, "db");
    EXPECT(G->grad.at[0] == 0, "dg %g", G->grad.at[0]);
    tape_reset();
    mat_free(&a), mat_free(&g), mat_free(&b);
}

/* ---- where no gradient goes, and where several do -------------------------------------------------------------------- */

static Params two_parameters(Var **w, Var **other)
{
    Params p = { 0 };
    *w = param(&p, "w", D, H, init_normal(1));
    *other = param(&p, "other", D, H, init_normal(1));
    params_allocate(&p, 5);
    return p;
}

static double largest_in(Matrix m)
{
    double largest = 0;
    for (int r = 0; r < m.rows; r++)
        for (int c = 0; c < m.cols; c++) largest = fmax(largest, fabs(mat_row(m, r)[c]));
    return largest;
}

static void test_unused_branch(void)
{
    Var *w, *other;
    Params p = two_parameters(&w, &other);
    Var *leaf = v_leaf(other->value), *unused = v_tanh(v_mul(leaf, other)), *view = v_rows(unused, 1, 2);
    Var *loss = v_mean(v_tanh(w));
    tape_backward(loss);
    EXPECT(largest_in(w->grad) > 1e-3, "the used parameter got a gradient");
    EXPECT(largest_in(other->grad) == 0, "the unused parameter got %g", largest_in(other->grad));
    EXPECT(!leaf->grad.at && !unused->grad.at && !view->grad.at, "an unused value got room for a gradient");
    tape_reset();
    params_free(&p);
}

static void loss_of_constants(void)
{
    real x[] = { 1, 2 };
    tape_backward(v_mean(v_tanh(v_const(mat_over(x, 1, 2)))));
}

static void test_constants(void)
{
    Var *w, *other;
    Params p = two_parameters(&w, &other);
    Var *input = v_const(other->value), *squashed = v_tanh(input), *product = v_mul(squashed, w);
    EXPECT(!input->tracked && !squashed->tracked && product->tracked, "tracked: %d %d %d", input->tracked, squashed->tracked,
           product->tracked);
    tape_backward(v_mean(product));
    EXPECT(!input->grad.at && !squashed->grad.at, "a constant, or what came from it alone, got a gradient");
    EXPECT(largest_in(w->grad) > 1e-3, "the parameter beside it got one");
    tape_reset();
    char said[256];
    int status = unit_child(loss_of_constants, said, sizeof said);
    EXPECT(WIFSIGNALED(status), "a loss of constants alone aborts: status 0x%x, \"%s\"", (unsigned)status, said);
    EXPECT(tape_record(false), "a tape records at first");
    EXPECT(!v_leaf(w->value)->tracked && !v_tanh(w)->tracked, "a tape that does not record tracks something");
    EXPECT(!tape_record(true), "recording was off");
    tape_reset();
    params_free(&p);
}

/* What v_const, v_lookup and v_cross_entropy are given is copied: overwritten before the way back, as a state that moves on
 * is, it gives the gradients that it gave before. time 0 overwrites nothing, and the others one thing each. */
static void test_what_was_given_may_be_overwritten(void)
{
    static const char *const names[] = { "nothing", "v_const", "v_lookup", "v_cross_entropy" };
    Var *w, *other;
    Params p = two_parameters(&w, &other);
    Matrix whole = mat_new(B, D + 2), x = mat_cols(whole, 1, D), want = mat_new(1, (int)p.size);
    for (int time = 0; time < 4; time++) {
        int index[B] = { 2, 0 }, target[B] = { 3, 1 };
        fill_normal(whole, 1, 8);
        params_zero_grad(&p);
        Var *loss = v_cross_entropy(v_add(v_matmul(v_const(x), w), v_lookup(other, index, B)), target);
        if (time == 1) mat_fill(whole, 7);
        if (time == 2) index[0] = 1;
        if (time == 3) target[1] = 0;
        tape_backward(loss);
        if (time == 0) memcpy(want.at, p.grad, p.size * sizeof(real));
        EXPECT_SAME_BYTES(p.grad, want.at, p.size * sizeof(real), "what %s was given is overwritten", names[time]);
        tape_reset();
    }
    EXPECT(largest_in(want) > 1e-3, "all gradients are small: %g", largest_in(want));
    mat_free(&whole), mat_free(&want);
    params_free(&p);
}

/* At exactly 0 relu has no slope; the workbook takes 0, as PyTorch does. */
static void test_relu_at_zero(void)
{
    real x[] = { 0, 1, -1 };
    Var *leaf = v_leaf(mat_over(x, 1, 3));
    tape_backward(v_mean(v_relu(leaf)));
    EXPECT(leaf->grad.at[0] == 0 && leaf->grad.at[2] == 0, "%g and %g", leaf->grad.at[0], leaf->grad.at[2]);
    EXPECT_NEAR(leaf->grad.at[1], 1 / 3.0, 1e-15, "where it is 1");
    tape_reset();
}

static void test_nothing_but_padding(void)
{
    Matrix logits = mat_new(H, V);
    const int padding[H] = { -1, -1, -1, -1 };
    fill_normal(logits, 1, 0);
    Var *leaf = v_leaf(logits), *loss = v_cross_entropy(leaf, padding);
    tape_backward(loss);
    EXPECT(loss->value.at[0] == 0, "loss %g", loss->value.at[0]);
    EXPECT(leaf->grad.at && largest_in(leaf->grad) == 0, "its gradient is not zero");
    tape_reset();
    mat_free(&logits);
}

static Var *first_loss(Var *w)  { return v_mean(v_tanh(w)); }
static Var *second_loss(Var *w) { return v_mean(v_mul(w, v_sigmoid(w))); }

static void losses_alone(Params *p, Var *w, const Matrix *alone)
{
    for (int i = 0; i < 2; i++) {
        tape_backward(i ? second_loss(w) : first_loss(w));
        mat_copy(alone[i], w->grad);
        EXPECT(largest_in(alone[i]) > 1e-3, "loss %d has no gradient", i);
        params_zero_grad(p), tape_reset();
    }
}

static void expect_sum_of_two(const char *name, Params *p, Var *w, const Matrix *alone)
{
    for (size_t i = 0; i < mat_size(w->value); i++)
        EXPECT_NEAR(w->grad.at[i], alone[0].at[i] + alone[1].at[i], 1e-15, "%s, number %zu", name, i);
    params_zero_grad(p);
    EXPECT(largest_in(w->grad) == 0, "params_zero_grad left %g", largest_in(w->grad));
}

/* Gradients of two losses by one parameter add up: here with a tape for each. */
static void test_two_losses(void)
{
    Var *w, *other;
    Params p = two_parameters(&w, &other);
    Matrix alone[2] = { mat_new(D, H), mat_new(D, H) };
    losses_alone(&p, w, alone);
    tape_backward(first_loss(w)), tape_reset();
    tape_backward(second_loss(w)), tape_reset();
    expect_sum_of_two("two tapes", &p, w, alone);
    tape_backward(v_add(first_loss(w), second_loss(w))), tape_reset();
    expect_sum_of_two("their sum", &p, w, alone);
    mat_free(&alone[0]), mat_free(&alone[1]);
    params_free(&p);
}

/* And with one tape for both, where what the first way back left must not flow again. */
static void test_two_losses_on_one_tape(void)
{
    Var *w, *other;
    Params p = two_parameters(&w, &other);
    Matrix alone[2] = { mat_new(D, H), mat_new(D, H) };
    losses_alone(&p, w, alone);
    tape_backward(first_loss(w));
    tape_backward(second_loss(w));
    expect_sum_of_two("one tape", &p, w, alone);
    tape_reset();
    mat_free(&alone[0]), mat_free(&alone[1]);
    params_free(&p);
}

/* ---- networks over T steps ------------------------------------------------------------------------------------------ */

typedef struct Network Network;
typedef struct { Var *h, *c; } State;

struct Network {
    Params p;
    Var *E, *Wx, *Wh, *b, *bh, *Wo, *co;   /* bh: the state's own bias in the GRU, whose r gates it too */
    State (*step)(const Network *m, Var *x, State before);
    Matrix h0, c0;
};

static State step_rnn(const Network *m, Var *x, State before)
{
    return (State){ .h = v_tanh(v_add_bias(v_add(v_matmul(x, m->Wx), v_matmul(before.h, m->Wh)), m->b)) };
}

static State step_lstm(const Network *m, Var *x, State before)
{
    Var *z = v_add_bias(v_add(v_matmul(x, m->Wx), v_matmul(before.h, m->Wh)), m->b);
    Var *i = v_sigmoid(v_cols(z, 0, H)), *f = v_sigmoid(v_cols(z, H, H));
    Var *g = v_tanh(v_cols(z, 2 * H, H)), *o = v_sigmoid(v_cols(z, 3 * H, H));
    Var *c = v_add(v_mul(f, before.c), v_mul(i, g));
    return (State){ .h = v_mul(o, v_tanh(c)), .c = c };
}

static State step_gru(const Network *m, Var *x, State before)
{
    Var *a = v_add_bias(v_matmul(x, m->Wx), m->b), *s = v_add_bias(v_matmul(before.h, m->Wh), m->bh);
    Var *rz = v_sigmoid(v_add(v_cols(a, 0, 2 * H), v_cols(s, 0, 2 * H)));
    Var *r = v_cols(rz, 0, H), *z = v_cols(rz, H, H);
    Var *n = v_tanh(v_add(v_cols(a, 2 * H, H), v_mul(r, v_cols(s, 2 * H, H))));
    return (State){ .h = v_add(n, v_mul(z, v_sub(before.h, n))) };
}

static Network network_new(State (*step)(const Network *, Var *, State), int gates)
{
    Network m = { .step = step, .h0 = mat_new(B, H), .c0 = mat_new(B, H) };
    m.E = param(&m.p, "E", V, D, init_normal(1));
    m.Wx = param(&m.p, "Wx", D, gates * H, init_normal(0.7));
    m.Wh = param(&m.p, "Wh", H, gates * H, init_normal(0.7));
    m.b = param(&m.p, "b", 1, gates * H, init_normal(0.5));
    if (step == step_gru) m.bh = param(&m.p, "bh", 1, gates * H, init_uniform(0.5));
    m.Wo = param(&m.p, "Wo", H, V, init_normal(1));
    m.co = param(&m.p, "co", 1, V, init_normal(0.5));
    params_allocate(&m.p, 2);
    fill_normal(m.h0, 0.5, 0), fill_normal(m.c0, 0.5, 1);
    return m;
}

static Var *network_loss(const Network *m)
{
    static const int x[T][B] = { { 3, 0 }, { 1, 1 }, { 4, 2 }, { 0, -1 }, { 2, 4 }, { 3, 3 } };
    static const int y[T][B] = { { 1, 1 }, { 4, 2 }, { 0, -1 }, { 2, 4 }, { 3, 3 }, { -1, 0 } };
    State s = { .h = v_const(m->h0), .c = v_const(m->c0) };
    Var *loss = NULL;
    for (int t = 0; t < T; t++) {
        s = m->step(m, v_lookup(m->E, x[t], B), s);
        Var *part = v_scale(v_cross_entropy(v_add_bias(v_matmul(s.h, m->Wo), m->co), y[t]), 1.0 / T);
        loss = loss ? v_add(loss, part) : part;
    }
    return loss;
}

static double network_value(void *arg)
{
    bool before = tape_record(false);
    double loss = network_loss(arg)->value.at[0];
    tape_reset();
    tape_record(before);
    return loss;
}

static void network_check(Network m)
{
    params_zero_grad(&m.p);
    tape_backward(network_loss(&m));
    tape_reset();
    for (int i = 0; i < m.p.count; i++)
        compare(m.p.item[i]->name, m.p.item[i]->var.value, m.p.item[i]->var.grad, network_value, &m);
    mat_free(&m.h0), mat_free(&m.c0);
    params_free(&m.p);
}

static void test_rnn(void)  { network_check(network_new(step_rnn, 1)); }
static void test_lstm(void) { network_check(network_new(step_lstm, 4)); }
static void test_gru(void)  { network_check(network_new(step_gru, 3)); }

/* ---- chapter 01 ----------------------------------------------------------------------------------------------------- */

typedef struct { Rnn model, gradient; Unrolled u; } Handmade;

/* Weights of size 0.5 and biases that are not 0: at the chapter's own small beginning the state is nearly 0, and so would be
 * much of the gradient. The state before the first step is not 0 either, although the chapter's is. */
static Handmade handmade_new(int batch, int steps, int symbols, int hidden)
{
    Handmade x = { .model = rnn_new(symbols, hidden), .gradient = rnn_new(symbols, hidden) };
    Rng rng = rng_new(4, 0);
    fill_normal(mat_over(x.model.block, 1, (int)x.model.size), 0.5, 9);
    x.u = unroll_new(&x.model, batch, steps);
    fill_normal(state(&x.u, -1), 0.5, 8);
    for (int i = 0; i < batch * steps; i++) x.u.x[i] = rng_below(&rng, symbols), x.u.y[i] = rng_below(&rng, symbols);
    return x;
}

static void handmade_free(Handmade *x)
{
    free(x->model.block), free(x->gradient.block);
    unroll_free(&x->u);
}

static double handmade_value(void *arg)
{
    Handmade *x = arg;
    return rnn_forward(&x->model, &x->u);
}

static const int sizes[][4] = { { B, T, V, H }, { 5, 3, 7, 2 }, { 1, 4, 3, 6 } };        /* B, T, V, H */

static void test_chapter_01_differences(void)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Handmade x = handmade_new(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
        const Rnn *m = &x.model, *g = &x.gradient;
        fill_normal(mat_over(g->block, 1, (int)g->size), 1, 1);          /* what an earlier batch left must not count */
        fill_normal(x.u.dh, 1, 2);
        rnn_forward(m, &x.u);
        rnn_backward(m, &x.gradient, &x.u);
        compare("Wx", m->Wx, g->Wx, handmade_value, &x);
        compare("Wh", m->Wh, g->Wh, handmade_value, &x);
        compare("b", m->b, g->b, handmade_value, &x);
        compare("Wo", m->Wo, g->Wo, handmade_value, &x);
        compare("c", m->c, g->c, handmade_value, &x);
        handmade_free(&x);
    }
}

/* Chapter 01's network from ops. Parameters are declared in the order of the chapter's block, so one copy moves them all. */
typedef struct { Params p; Var *Wx, *Wh, *b, *Wo, *c; } OnTape;

static OnTape on_tape_new(int symbols, int hidden, double sigma)
{
    OnTape m = { 0 };
    m.Wx = param(&m.p, "Wx", symbols, hidden, init_normal(sigma));
    m.Wh = param(&m.p, "Wh", hidden, hidden, init_normal(sigma));
    m.b = param(&m.p, "b", 1, hidden, init_zero());
    m.Wo = param(&m.p, "Wo", hidden, symbols, init_normal(sigma));
    m.c = param(&m.p, "c", 1, symbols, init_zero());
    params_allocate(&m.p, 1);
    return m;
}

static Var *on_tape_loss(const OnTape *m, const Unrolled *u)
{
    Var *h = v_const(state(u, -1)), *loss = NULL;
    for (int t = 0; t < u->T; t++) {
        h = v_tanh(v_add_bias(v_add(v_lookup(m->Wx, u->x + t * u->B, u->B), v_matmul(h, m->Wh)), m->b));
        Var *part = v_cross_entropy(v_add_bias(v_matmul(h, m->Wo), m->c), u->y + t * u->B);
        loss = loss ? v_add(loss, part) : part;
    }
    return v_scale(loss, 1.0 / u->T);
}

static void test_chapter_01_and_tape(void)
{
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Handmade x = handmade_new(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
        OnTape m = on_tape_new(sizes[i][2], sizes[i][3], 1);
        CHECK(m.p.size == x.model.size, "%zu and %zu parameters", m.p.size, x.model.size);
        memcpy(m.p.value, x.model.block, m.p.size * sizeof(real));
        double loss = rnn_forward(&x.model, &x.u);
        rnn_backward(&x.model, &x.gradient, &x.u);
        Var *same = on_tape_loss(&m, &x.u);
        EXPECT_NEAR(same->value.at[0], loss, 1e-12 * loss, "loss");
        tape_backward(same);
        double largest = largest_in(mat_over(m.p.grad, 1, (int)m.p.size));
        EXPECT(largest > 1e-2, "all gradients are small: %g", largest);
        for (size_t j = 0; j < m.p.size; j++) {
            double allowed = 1e-12 * fmax(fabs(m.p.grad[j]), 1e-3 * largest);            /* sums cancel to small ones */
            EXPECT_NEAR(x.gradient.block[j], m.p.grad[j], allowed, "size %zu, parameter %zu", i, j);
        }
        tape_reset();
        params_free(&m.p);
        handmade_free(&x);
    }
}

/* Its clipping and its Adadelta, against those of params.h. Limits on either side of the gradient's length. */
static void test_chapter_01_step(void)
{
    Handmade x = handmade_new(B, T, V, H);
    OnTape m = on_tape_new(V, H, 1);
    Adadelta memory = { .s = rnn_new(V, H), .u = rnn_new(V, H) };
    Optim adadelta = optim_adadelta(&m.p, 0.7);
    memcpy(m.p.value, x.model.block, m.p.size * sizeof(real));
    for (int step = 0; step < 4; step++) {
        double limit = step % 2 ? 0.5 : 1e3;
        rnn_forward(&x.model, &x.u);
        rnn_backward(&x.model, &x.gradient, &x.u);
        memcpy(m.p.grad, x.gradient.block, m.p.size * sizeof(real));
        double norm = clip_gradient(&x.gradient, limit);
        EXPECT_NEAR(params_clip_grad(&m.p, limit), norm, 1e-14 * norm, "norm");
        EXPECT(norm > 0.5 && norm < 1e3, "norm %g is not between the limits", norm);
        adadelta_step(&x.model, &x.gradient, &memory, 0.7);
        optim_step(&adadelta, &m.p);
        for (size_t i = 0; i < m.p.size; i++)
            EXPECT_NEAR(x.model.block[i], m.p.value[i], 1e-12 * fabs(m.p.value[i]) + 1e-15, "step %d, %zu", step, i);
    }
    optim_free(&adadelta);
    free(memory.s.block), free(memory.u.block);
    params_free(&m.p);
    handmade_free(&x);
}

/* ---- learning ------------------------------------------------------------------------------------------------------- */

/* A network that knows nothing gives every symbol 1/V. */
static void test_loss_at_first(void)
{
    enum { SYMBOLS = 33, HIDDEN = 16 };
    Handmade x = handmade_new(8, 10, SYMBOLS, HIDDEN);
    Rng rng = rng_new(1, 2);
    memset(x.model.block, 0, x.model.size * sizeof(real));
    rnn_init(&x.model, &rng);
    mat_fill(state(&x.u, -1), 0);
    EXPECT_NEAR(rnn_forward(&x.model, &x.u), log(SYMBOLS), 0.01, "chapter 01");
    OnTape m = on_tape_new(SYMBOLS, HIDDEN, 0.01);
    EXPECT_NEAR(on_tape_loss(&m, &x.u)->value.at[0], log(SYMBOLS), 0.01, "on the tape");
    EXPECT(largest_in(x.model.Wx) > 0.01 && largest_in(m.Wx->value) > 0.01, "the weights are zeros, not small numbers");
    tape_reset();
    params_free(&m.p);
    handmade_free(&x);
}

/* Sequences that begin with different symbols, so that a network can tell all their places apart, and know every target. */
static Handmade batch_to_learn(void)
{
    Handmade x = handmade_new(3, 8, 7, 24);
    Rng rng = rng_new(1, 2);
    memset(x.model.block, 0, x.model.size * sizeof(real));
    rnn_init(&x.model, &rng);
    mat_fill(state(&x.u, -1), 0);
    for (int i = 0; i < x.u.B; i++) x.u.x[i] = i;
    return x;
}

static void test_learn_one_batch_by_hand(void)
{
    Handmade x = batch_to_learn();
    Adadelta memory = { .s = rnn_new(x.model.V, x.model.H), .u = rnn_new(x.model.V, x.model.H) };
    double first = rnn_forward(&x.model, &x.u), loss = first;
    for (int step = 0; step < 600; step++) {
        rnn_backward(&x.model, &x.gradient, &x.u);
        clip_gradient(&x.gradient, 1);
        adadelta_step(&x.model, &x.gradient, &memory, 10);
        loss = rnn_forward(&x.model, &x.u);
    }
    EXPECT_NEAR(first, log(7), 0.01, "at first");
    EXPECT(loss < 0.05, "loss %g after 600 steps", loss);
    free(memory.s.block), free(memory.u.block);
    handmade_free(&x);
}

static void test_learn_one_batch_on_tape(void)
{
    Handmade x = batch_to_learn();
    OnTape m = on_tape_new(x.model.V, x.model.H, 0.01);
    Optim adam = optim_adam(&m.p, 0.02, 0);
    double first = 0, loss = 0;
    for (int step = 0; step <= 300; step++) {
        Var *now = on_tape_loss(&m, &x.u);
        loss = now->value.at[0];
        if (step == 0) first = loss;
        params_zero_grad(&m.p);
        tape_backward(now);
        params_clip_grad(&m.p, 1);
        optim_step(&adam, &m.p);
        tape_reset();
    }
    EXPECT_NEAR(first, log(7), 0.01, "at first");
    EXPECT(loss < 0.05, "loss %g after 300 steps", loss);
    optim_free(&adam);
    params_free(&m.p);
    handmade_free(&x);
}

int main(void)
{
    RUN(test_ops);
    RUN(test_dropout_values);
    RUN(test_compositions);
    RUN(test_norm_and_heads);
    RUN(test_layer_norm_of_one_number);
    RUN(test_unused_branch);
    RUN(test_constants);
    RUN(test_what_was_given_may_be_overwritten);
    RUN(test_relu_at_zero);
    RUN(test_nothing_but_padding);
    RUN(test_two_losses);
    RUN(test_two_losses_on_one_tape);
    RUN(test_rnn);
    RUN(test_lstm);
    RUN(test_gru);
    RUN(test_chapter_01_differences);
    RUN(test_chapter_01_and_tape);
    RUN(test_chapter_01_step);
    RUN(test_loss_at_first);
    RUN(test_learn_one_batch_by_hand);
    RUN(test_learn_one_batch_on_tape);
    tape_free();
    printf("largest difference: %.2g of what is allowed\n", worst);
    return unit_result();
}

#endif
