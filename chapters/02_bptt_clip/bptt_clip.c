/* # 2. What happens to a gradient on its way back
 *
 * In chapter 01 you took every derivative by hand, once. Nobody does it twice. The first half of this chapter hands the work
 * to a machine, the tape, and checks that it does what you did. The second half asks what becomes of a derivative that has
 * to travel: a letter read now changes a guess made thirty letters later, and the gradient has to find its way back over all
 * thirty steps. On the way it is multiplied thirty times, and thirty multiplications are rarely kind to a number. You will
 * watch it die and watch it blow up, learn to predict which, and try the four things that people do about it: clip it, cut
 * the way short, cut it at random places, and read the text in an order that suits the cut.
 *
 *     run        make chapter-02                                        about 10 s on two cores
 *                make chapter-02 ARGS='--preset reference'              about 3 minutes
 *     writes     out/02_bptt_clip/curve.csv, gradients.csv, slopes.csv, normality.csv, truncation.csv, randomized.csv,
 *                feedback.csv, recurrence.csv, explosion.csv, sampling.csv, timing.csv
 *     look at    out/02_bptt_clip/gradients.png: five straight lines on a log axis, one for each spectral radius
 *
 * New since chapter 01: the tape (common/tape.h), its ops (common/ops.h), and parameters with an optimizer (common/params.h).
 *
 * ## Notation
 *
 * | letter | meaning                                          | in the default run |
 * | ------ | ------------------------------------------------ | ------------------ |
 * | B      | batch: sequences handled side by side            | 32                 |
 * | T      | time: symbols in a sequence                      | 32                 |
 * | V      | vocabulary                                       | 33                 |
 * | H      | hidden width                                     | 64                 |
 * | ρ      | spectral radius of a matrix (section 4)          | 0.5 to 1.5         |
 * | k      | steps that a gradient goes back before it is cut | 1 to 64            |
 *
 * As before vectors are rows, (m,n) is a shape, ⊙ multiplies element by element, and dX is short for ∂L/∂X.               */
#include "workbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int seed, threads;
    const char *out, *corpus;
    int train, test, epochs, batch, window, hidden, reports, lags, back, cut, estimates, steps;
    double lr, clip, input;
} Config;

/* ## 1. A graph small enough to print
 *
 * A network of two layers, one input, one answer, and a penalty on large weights:
 *
 *     o = relu(x W1) W2                                (1.1)   x (1,2), W1 (2,3), W2 (3,2), o (1,2)
 *     L = -ln softmax(o)[y]                            (1.2)   cross-entropy; the right answer is y = 1
 *     J = L + λ (Σ W1² + Σ W2²)                        (1.3)   λ = 0.01, weight decay ("L2")
 *
 * (Goodfellow, Bengio and Courville 2016, section 6.5.7, draw the graph of this cost.) Written in C with functions that
 * begin with v_, these three lines do two things at once. Each call computes its value, and each writes down what it did: which
 * op, on which earlier values. That record is the *tape*. Because a value has to exist before it can be used, the tape lists
 * every node after the nodes it depends on. So the chain rule is one loop over the tape from its end to its beginning, in
 * which every node adds to the gradients of its operands. Nothing has to be sorted and nobody has to think.
 *
 * Here is the tape of the program below after the way back, as it prints it: number, op, shape, operands, value, gradient.
 *
 *       1  x              (1,2)  value 1 2
 *       2  W1             (2,3)  value 0.5 -1 1 ; 0.25 0.25 0  grad 0.6325 -0.02 -0.2912 ; 1.25 0.005 -0.6225
 *       3  W2             (3,2)  value 1 0 ; 2 1 ; 0 0.5  grad 0.6425 -0.6225 ; 0.04 0.02 ; 0.6225 -0.6125
 *       4  matmul         (1,3) #1 #2  value 1 -0.5 1  grad 0.6225 0 -0.3112
 *       5  relu           (1,3) #4  value 1 0 1  grad 0.6225 0.6225 -0.3112
 *       6  matmul         (1,2) #5 #3  value 1 0.5  grad 0.6225 -0.6225
 *       7  softmax        (1,2) #6  value 0.6225 0.3775
 *       8  cross_entropy  (1,1) #6  value 0.9741  grad 1
 *       9  mul            (3,2) #3 #3  value 1 0 ; 4 1 ; 0 0.25  grad 0.01 0.01 ; 0.01 0.01 ; 0.01 0.01
 *      10  mean           (1,1) #9  value 1.042  grad 0.06
 *      11  scale          (1,1) #10  value 0.0625  grad 1
 *      12  mul            (2,3) #2 #2  value 0.25 1 1 ; 0.0625 0.0625 0  grad 0.01 0.01 0.01 ; 0.01 0.01 0.01
 *      13  mean           (1,1) #12  value 0.3958  grad 0.06
 *      14  scale          (1,1) #13  value 0.02375  grad 1
 *      15  add            (1,1) #14 #11  value 0.08625  grad 1
 *      16  add            (1,1) #8 #15  value 1.06  grad 1
 *
 * Walk through four lines with a pencil.
 *
 * - **16, the last.** J is the loss, and ∂J/∂J = 1. That is where every way back begins. An addition hands its gradient on
 *   unchanged to both sides: lines 15 and 8 have 1 too.
 * - **6, the logits.** (5.1) of chapter 01: softmax minus the one-hot answer. Line 7 shows softmax(o) = 0.6225, 0.3775; the
 *   answer is 1; so the gradient is 0.6225 and 0.3775 - 1 = -0.6225.
 * - **4, before relu.** The gradient at 5 is do W2ᵀ, for its first number 0.6225·1 - 0.6225·0 = 0.6225. Relu passes it on where
 *   its input was positive. The second input was -0.5, so the second gradient is 0 and not 0.6225: whatever this unit did
 *   wrong, it will not hear of it.
 * - **2, W1.** It is used twice: in the product of line 4 and in the square of line 12. Two gradients arrive and are added.
 *   For its first element the product gives x[0]·0.6225 = 0.6225, the penalty 2λ·0.5 = 0.01; the sum is 0.6325. The middle
 *   column hears only of the penalty, -0.02 and 0.005.
 *
 * Two lines have no gradient at all. x is a constant: nobody asked how to change the input. And line 7 was made to be looked
 * at; nothing that reached J was made of it, so nothing comes back.                                                         */
static Var *named(const char *name, Var *leaf)
{
    leaf->op = name;
    return leaf;
}

/* λ Σ W²: the mean times the number of elements is the sum */
static Var *weight_decay(Var *W, double lambda)
{
    return v_scale(v_mean(v_mul(W, W)), lambda * (double)mat_size(W->value));
}

static void print_graph(void)
{
    real at_x[] = { 1, 2 }, at_W1[] = { 0.5, -1, 1, 0.25, 0.25, 0 }, at_W2[] = { 1, 0, 2, 1, 0, 0.5 };
    const int y[] = { 1 };
    const double lambda = 0.01;
    Var *x = named("x", v_const(mat_over(at_x, 1, 2)));
    Var *W1 = named("W1", v_leaf(mat_over(at_W1, 2, 3)));
    Var *W2 = named("W2", v_leaf(mat_over(at_W2, 3, 2)));
    Var *o = v_matmul(v_relu(v_matmul(x, W1)), W2);                      /* (1.1) */
    v_softmax(o, NULL);                                                  /* only to be looked at */
    Var *L = v_cross_entropy(o, y);                                      /* (1.2) */
    Var *J = v_add(L, v_add(weight_decay(W1, lambda), weight_decay(W2, lambda)));            /* (1.3) */
    printf("graph     the tape, forward\n");
    tape_print(stdout);
    tape_backward(J);
    printf("graph     the tape, and back\n");
    tape_print(stdout);
    tape_reset();
}

/* ## 2. Chapter 01 again, in ten lines
 *
 * The recurrent network needs no new idea. A step is
 *
 *     hₜ = tanh(xₜ Wx + hₜ₋₁ Wh + b)                   (2.1)
 *     oₜ = hₜ Wo + c                                   (2.2)
 *
 * and unrolling it is a for loop: each turn puts five more entries on the tape. The tape does not know that there is such a
 * thing as time. It sees a deep network whose layers happen to name the same Wh, and adds up what comes back to it from all
 * of them, as it did with W1 above. "Backpropagation through time" is a name for doing nothing special.
 *
 * Count the lines from net_step to the end of net_loss and compare them with sections 3 to 5 of chapter 01.                */
typedef struct {
    int V, H;
    Params params;
    Var *Wx, *Wh, *b, *Wo, *c;               /* (V,H) (H,H) (1,H) (H,V) (1,V) */
} Net;

static void net_new(Net *m, int V, int H, uint64_t seed)
{
    *m = (Net){ .V = V, .H = H };
    m->Wx = param(&m->params, "rnn.Wx", V, H, init_normal(0.01));
    m->Wh = param(&m->params, "rnn.Wh", H, H, init_normal(0.01));
    m->b  = param(&m->params, "rnn.b", 1, H, init_zero());
    m->Wo = param(&m->params, "output.W", H, V, init_normal(0.01));
    m->c  = param(&m->params, "output.b", 1, V, init_zero());
    params_allocate(&m->params, seed);
}

static Var *net_step(const Net *m, const int *x, Var *before)
{
    Var *z = v_add(v_lookup(m->Wx, x, before->value.rows), v_matmul(before, m->Wh));
    return v_tanh(v_add_bias(z, m->b));                                  /* (2.1) */
}

/* The mean loss of T states; all their outputs come from one product. */
static Var *output_loss(const Net *m, Var *const *h, int T, const int *y)
{
    Var *o = v_add_bias(v_matmul(v_vcat(h, T), m->Wo), m->c);            /* (2.2)  (T B, V) */
    return v_cross_entropy(o, y);
}

/* The loss of T steps from the state *h on, which becomes the last state. x, y (T,B). */
static Var *net_loss(const Net *m, Var **h, int T, const int *x, const int *y)
{
    int B = (*h)->value.rows;
    Var **all = allocate((size_t)T, sizeof(Var *));
    for (int t = 0; t < T; t++) all[t] = *h = net_step(m, x + t * B, *h);
    Var *loss = output_loss(m, all, T, y);
    free(all);
    return loss;
}

/* Is it the same? In the run, hand_gradient goes the way of chapter 01 for one of the matrices, Wh, with its equations
 *
 *     dhₜ = doₜ Woᵀ + dzₜ₊₁ Whᵀ                        (2.3)
 *     dzₜ = dhₜ ⊙ (1 - hₜ²)                            (2.4)
 *     dWh = Σₜ hₜ₋₁ᵀ dzₜ                               (2.5)
 *
 * and the two results are laid side by side:
 *
 *     untrained loss: tape 3.4964764, hand 3.4964764   dWh: largest element 4.15e-05, largest difference 1e-11
 *     trained   loss: tape 1.6917533, hand 1.6917531   dWh: largest element 0.0146, largest difference 2e-08
 *
 * The losses agree to seven digits, the gradients to a millionth of the largest: all that a float can tell, since the two
 * add the same numbers in another order. (tests/test_chapter02.c holds all parameters against chapter 01's own functions
 * and, in double precision, against differences of the loss. In float a difference is of no use: it takes two losses that
 * agree in six of their seven digits, and what is left after subtracting is one digit.)                                    */
typedef struct {
    int B, T;
    int *x, *y;                              /* (T,B) ids */
    Matrix h;                                /* (B,H): the state that the batch begins with */
} Batch;

static Batch batch_new(int B, int T, int H)
{
    size_t places = (size_t)B * (size_t)T;
    return (Batch){ .B = B, .T = T, .x = allocate(places, sizeof(int)), .y = allocate(places, sizeof(int)),
                    .h = mat_new(B, H) };
}

static void batch_free(Batch *b)
{
    free(b->x), free(b->y);
    mat_free(&b->h);
}

/* The tape's gradient of a batch, left in m->params.grad; returns the loss. */
static double full_gradient(Net *m, const Batch *b)
{
    tape_reset();
    Var *h = v_const(b->h), *loss = net_loss(m, &h, b->T, b->x, b->y);
    params_zero_grad(&m->params);
    tape_backward(loss);
    return (double)loss->value.at[0];
}

/* Row block t of a matrix with B rows a step */
static Matrix at_step(Matrix all, int B, int t) { return mat_rows(all, t * B, B); }

/* h ((T+1) B, H) begins with the state before the first step; o (T B, V) */
static void hand_forward(const Net *m, const Batch *b, Matrix h, Matrix o)
{
    mat_copy(at_step(h, b->B, 0), b->h);
    for (int t = 0; t < b->T; t++) {
        Matrix now = at_step(h, b->B, t + 1);
        mat_gather(now, m->Wx->value, b->x + t * b->B);
        matmul_nn(now, at_step(h, b->B, t), m->Wh->value, ADD);
        mat_add_row(now, m->b->value);
        mat_tanh(now, now);
    }
    matmul_nn(o, mat_rows(h, b->B, b->T * b->B), m->Wo->value, SET);
    mat_add_row(o, m->c->value);
}

/* dWh (H,H), zero at first; returns the loss */
static double hand_gradient(const Net *m, const Batch *b, Matrix dWh)
{
    int B = b->B, n = B * b->T;
    Matrix h = mat_new(n + B, m->H), o = mat_new(n, m->V), dh = mat_new(B, m->H), dz = mat_new(B, m->H), loss = mat_new(1, n);
    hand_forward(m, b, h, o);
    mat_cross_entropy(o, loss.at, o, b->y);                              /* o becomes softmax(o) … */
    for (int i = 0; i < n; i++) mat_row(o, i)[b->y[i]] -= 1;             /* … and n times do */
    for (int t = b->T - 1; t >= 0; t--) {
        Matrix now = at_step(h, B, t + 1);
        matmul_nt(dh, at_step(o, B, t), m->Wo->value, ADD);                                          /* (2.3) */
        for (size_t i = 0; i < mat_size(dh); i++) dz.at[i] = dh.at[i] * (1 - now.at[i] * now.at[i]); /* (2.4) */
        matmul_tn(dWh, at_step(h, B, t), dz, ADD);                                                   /* (2.5) */
        matmul_nt(dh, dz, m->Wh->value, SET);
    }
    for (size_t i = 0; i < mat_size(dWh); i++) dWh.at[i] /= (real)n;
    double mean = (double)sum_lanes(loss.at, n) / n;
    mat_free(&h), mat_free(&o), mat_free(&dh), mat_free(&dz), mat_free(&loss);
    return mean;
}

static void compare_with_hand(Net *m, const Batch *b, const char *when)
{
    Matrix dWh = mat_new(m->H, m->H);
    double by_tape = full_gradient(m, b), by_hand = hand_gradient(m, b, dWh), largest = 0, apart = 0;
    for (size_t i = 0; i < mat_size(dWh); i++) {
        largest = fmax(largest, fabs((double)m->Wh->grad.at[i]));
        apart = fmax(apart, fabs((double)(m->Wh->grad.at[i] - dWh.at[i])));
    }
    printf("%-9s loss: tape %.7f, hand %.7f   dWh: largest element %.3g, largest difference %.1g\n", when, by_tape, by_hand,
           largest, apart);
    mat_free(&dWh);
}

/* ## 3. One number instead of a state
 *
 * Shrink the state to a single number and everything that is going to happen can be seen in one line. For how the state
 * depends on a weight, (2.1) gives a recurrence: a direct effect at this step, and the effect on the state before, passed on:
 *
 *     z_k = a_k + b_k z_{k-1},   z₀ = 0                (3.1)
 *
 * Put it into itself until nothing is left to put in:
 *
 *     z_n = Σ_k a_k · b_{k+1} b_{k+2} … b_n            (3.2)
 *
 * Every contribution arrives multiplied by all the b's behind it. If these are around 0.9, what happened 50 steps ago counts
 * 0.9⁵⁰ = 0.005; if they are around 1.1, it counts 117. Section 4 is this line with matrices in it.
 *
 * The line has a second lesson, about cost. (3.2) as it stands has n(n-1)/2 products, but nobody computes it like that: (3.1)
 * takes n. Now the way back. b_k multiplies z_{k-1}, and the rest is what comes from behind:
 *
 *     dz_{k-1} = dz_k b_k         db_k = dz_k z_{k-1}  (3.3)   dz_n = 1
 *
 * Going back we need z_{n-1} first, then z_{n-2}, down to z₀: the reverse of the order in which they were made. Keep them
 * all, and the way back costs two products a step. Keep none, and each must be made again from the start:
 *
 *     length    products, z kept    products, z made again    largest difference of db
 *         16                  48                      152                           0
 *         64                 192                     2144                           0
 *        256                 768                    33152                           0
 *       1024                3072                   525824                           0
 *       4096               12288                  8394752                           0
 *
 * Same derivatives to the last bit; but where the length is four times as large, the right column is sixteen times as
 * large. Backpropagation is cheap only because it remembers, and its memory grows with the length. That is the bargain
 * the tape makes, and the reason why section 7 wants to break it. (There is a middle way, which keeps some: exercise
 * 02.2.)                                                                                                                   */

/* Both: db[k] for k = 1 … n; a, b and db have n + 1 places. They return the number of products. */
static long recurrence_kept(int n, const real *a, const real *b, real *db)
{
    long products = 0;
    real *z = allocate((size_t)n + 1, sizeof *z), dz = 1;
    for (int k = 1; k <= n; k++, products++) z[k] = a[k] + b[k] * z[k - 1];                  /* (3.1) */
    for (int k = n; k >= 1; k--, products += 2) {
        db[k] = dz * z[k - 1];                                                               /* (3.3) */
        dz = dz * b[k];
    }
    free(z);
    return products;
}

static long recurrence_again(int n, const real *a, const real *b, real *db)
{
    long products = 0;
    real dz = 1;
    for (int k = n; k >= 1; k--, products += 2) {
        real z = 0;
        for (int j = 1; j < k; j++, products++) z = a[j] + b[j] * z;                         /* z_{k-1}, from z₀ on */
        db[k] = dz * z;
        dz = dz * b[k];
    }
    return products;
}

/* A row of a CSV: a label, if there is one, and numbers. Every measurement of this chapter is written with it. */
static void write_row(Output *out, const char *label, int count, const double *x)
{
    FILE *f = output_file(out);
    if (label) fprintf(f, "%s,", label);
    for (int i = 0; i < count; i++) {
        csv_number(f, x[i]);
        fputc(i + 1 < count ? ',' : '\n', f);
    }
}
#define ROW(...) (int)(sizeof (double[]){ __VA_ARGS__ } / sizeof(double)), (double[]){ __VA_ARGS__ }

static void measure_recurrence(const Config *o)
{
    Output *out = output_open(o->out, "recurrence.csv");
    Rng rng = rng_new((uint64_t)o->seed, 1);
    fputs("way,length,products,numbers_kept\n", output_file(out));
    printf("\nlength    products, z kept    products, z made again    largest difference of db\n");
    for (int n = 16; n <= 4096; n *= 4) {
        Matrix m = mat_new(4, n + 1);
        real *a = mat_row(m, 0), *b = mat_row(m, 1), *db = mat_row(m, 2), *again = mat_row(m, 3);
        for (int k = 1; k <= n; k++) a[k] = rng_normal(&rng);
        for (int k = 1; k <= n; k++) b[k] = rng_uniform(&rng);
        long cheap = recurrence_kept(n, a, b, db), dear = recurrence_again(n, a, b, again);
        double apart = 0;
        for (int k = 1; k <= n; k++) apart = fmax(apart, fabs((double)(db[k] - again[k])));
        write_row(out, "kept", ROW(n, (double)cheap, n));
        write_row(out, "again", ROW(n, (double)dear, 1));
        printf("%6d %19ld %24ld %27g\n", n, cheap, dear, apart);
        mat_free(&m);
    }
    output_close(out);
}

/* ## 4. Vanishing and exploding
 *
 * Now the state has H numbers, and the b of (3.1) is a matrix. One step back is (2.3) and (2.4), without what comes from the
 * output:
 *
 *     dhₜ₋₁ = (dhₜ ⊙ (1 - hₜ²)) Whᵀ                    (4.1)
 *
 * so after n steps the gradient has been through n slopes and n times through the same Whᵀ. How long is it then?
 *
 * For a matrix the number to look at is its *spectral radius* ρ, the largest |λ| among its eigenvalues, because the
 * length of v Wⁿ grows like ρⁿ when n is large: a power of a matrix acts on each eigenvector as a power of its
 * eigenvalue, and the largest wins. spectral_radius finds it that way round: multiply a random vector by W again and
 * again, and look how much longer it gets a step (power iteration). The usual form of this method waits for the vector to
 * settle. Ours never settles: eigenvalues of a real matrix mostly come in complex pairs, which turn the vector round and
 * round, longer at one step and shorter at the next. The mean growth over many steps settles all the same.                 */
static double norm_of(Matrix m)              /* its rows lie one behind the other */
{
    return sqrt(sum_squares(m.at, mat_size(m)));
}

static void fill_normal(Matrix m, double sigma, Rng *rng)
{
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = (real)sigma * rng_normal(rng);
}

static void scale_matrix(Matrix m, double s)
{
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] *= (real)s;
}

/* The n-th root of a product, given as n numbers. */
static double geometric_mean(const double *x, int n)
{
    double logs = 0;
    for (int i = 0; i < n; i++) logs += (double)r_log((real)x[i]);
    return (double)r_exp((real)(logs / n));
}

static double spectral_radius(Matrix W, Rng *rng)
{
    enum { WARM_UP = 500, COUNTED = 500 };
    double growth[COUNTED];
    Matrix v = mat_new(1, W.rows), next = mat_new(1, W.rows);
    fill_normal(v, 1, rng);
    for (int i = 0; i < WARM_UP + COUNTED; i++) {
        matmul_nn(next, v, W, SET);
        growth[i % COUNTED] = norm_of(next) / norm_of(v);
        mat_copy(v, next);
        scale_matrix(v, 1 / norm_of(v));
    }
    mat_free(&v), mat_free(&next);
    return geometric_mean(growth, COUNTED);
}

/* For the experiment we want a Wh whose radius says everything, at the first step as at the thirtieth, and take an orthogonal
 * one: rows of length 1, each at a right angle to all others (Gram and Schmidt make it from a random matrix). It turns a
 * vector and leaves its length alone, so all its eigenvalues have |λ| = 1. Multiplied by ρ it stretches every vector by ρ, and
 * if a gradient shrinks by another factor than ρ it can only be tanh's doing.                                              */
static void make_orthogonal(Matrix Q, Rng *rng)
{
    fill_normal(Q, 1, rng);
    for (int r = 0; r < Q.rows; r++) {
        real *row = mat_row(Q, r);
        for (int s = 0; s < r; s++) {
            double along = 0;
            for (int c = 0; c < Q.cols; c++) along += (double)row[c] * (double)mat_row(Q, s)[c];
            for (int c = 0; c < Q.cols; c++) row[c] -= (real)along * mat_row(Q, s)[c];
        }
        scale_matrix(mat_rows(Q, r, 1), 1 / norm_of(mat_rows(Q, r, 1)));
    }
}

/* On the tape the measurement is easy: run forward from h = 0 with random inputs, ask something about the last state, go back,
 * and there lies the gradient of every state, hₜ->grad. For each lag, the number of steps before the last, we note
 *
 *     norm[lag]  = ‖∂L/∂h_{last-lag}‖ / ‖∂L/∂h_last‖   (4.2)
 *     slope[lag] = √ mean (1 - h²)²                    (4.3)   over all numbers of that state
 *
 * The inputs are small on purpose, N(0,1)·10⁻⁶. With them the states stay near 0, where tanh is a straight line of slope 1.
 *
 * In the default run the five lines of gradients.csv are straight on a log axis (gradients.png). Thirty steps back:
 *
 *     radius    slope    radius x slope    a step    after 30 steps back    radius^30
 *        0.5   1.0000            0.5000    0.5000             9.313e-10    9.313e-10
 *        0.9   1.0000            0.9000    0.9000               0.04239      0.04239
 *          1   1.0000            1.0000    1.0000                     1            1
 *        1.1   1.0000            1.1000    1.1000                 17.45        17.45
 *        1.5   0.9965            1.4948    1.4948             1.727e+05    1.918e+05
 *
 * ("a step" is the thirtieth root of the column behind it, "slope" the geometric mean of slope[lag].) The radius predicts the
 * factor, and where it does not quite, the slope says why. At ρ = 1.5 the states, too, grow one and a half times a step, and
 * after thirty steps even inputs of 10⁻⁶ have made a state that feels how tanh bends. Look at gradients.csv: the first step
 * back multiplies by 1.42, the second by 1.46, the fifth by 1.496, and from the fourteenth on it is 1.5000.
 *
 * What does it mean for learning? With ρ = 0.5, what happened thirty letters ago moves the weights a thousand million times
 * less than what happened now. It is not that the network may not use it. It never finds out that it should (Hochreiter 1991;
 * Bengio, Simard and Frasconi 1994).                                                                                       */
static void gradient_norms(Matrix Wh, const Config *o, double input, Rng *rng, double *norm, double *slope)
{
    enum { SEQUENCES = 32 };
    int last = o->lags, H = Wh.rows;
    Matrix zero = mat_new(SEQUENCES, H);
    Var **h = allocate((size_t)last + 1, sizeof(Var *)), *W = v_leaf(Wh), *before = v_const(zero);
    for (int t = 0; t <= last; t++) {
        Matrix x = tape_matrix(SEQUENCES, H);
        fill_normal(x, input, rng);
        h[t] = before = v_tanh(v_add(v_const(x), v_matmul(before, W)));
    }
    Matrix question = tape_matrix(SEQUENCES, H);
    fill_normal(question, 1, rng);
    tape_backward(v_mean(v_mul(h[last], v_const(question))));
    for (int lag = 0; lag <= last; lag++) {
        Matrix now = h[last - lag]->value;
        double squares = 0;
        for (size_t i = 0; i < mat_size(now); i++) {
            double f = (double)(1 - now.at[i] * now.at[i]);
            squares += f * f;
        }
        norm[lag] = norm_of(h[last - lag]->grad) / norm_of(h[last]->grad);                   /* (4.2) */
        slope[lag] = sqrt(squares / (double)mat_size(now));                                  /* (4.3) */
    }
    tape_reset();
    free(h);
    mat_free(&zero);
}

/* The factor a step, as a mean over all lags. */
static double step_factor(const double *norm, int lags)
{
    return (double)r_exp(r_log((real)norm[lags]) / (real)lags);
}

static const double radii[] = { 0.5, 0.9, 1.0, 1.1, 1.5 };
enum { RADII = sizeof radii / sizeof *radii };

static void measure_radii(const Config *o)
{
    Output *out = output_open(o->out, "gradients.csv");
    Matrix W = mat_new(o->hidden, o->hidden);
    double *norm = allocate((size_t)o->lags + 1, sizeof *norm), *slope = allocate((size_t)o->lags + 1, sizeof *slope);
    fputs("radius,lag,norm\n", output_file(out));
    printf("\nradius    slope    radius x slope    a step    after %d steps back    radius^%d\n", o->lags, o->lags);
    for (int i = 0; i < RADII; i++) {
        Rng rng = rng_new((uint64_t)o->seed, 2);
        make_orthogonal(W, &rng);
        scale_matrix(W, radii[i]);
        gradient_norms(W, o, o->input, &rng, norm, slope);
        for (int lag = 0; lag <= o->lags; lag++) write_row(out, NULL, ROW(radii[i], lag, norm[lag]));
        double mean = geometric_mean(slope, o->lags), power = 1;
        for (int k = 0; k < o->lags; k++) power *= radii[i];
        printf("%6g %8.4f %17.4f %9.4f %21.4g %12.4g\n", radii[i], mean, radii[i] * mean, step_factor(norm, o->lags),
               norm[o->lags], power);
    }
    output_close(out);
    free(norm), free(slope);
    mat_free(&W);
}

/* **How much smaller?** With an orthogonal matrix the answer is exact: by (4.1) a step back multiplies the length by ρ
 * times the root mean square of the slopes, each weighted by how much gradient passes there. If gradient and slope have
 * nothing to do with each other, the weights drop out and
 *
 *     factor a step ≈ ρ · slope                        (4.4)
 *
 * measure_slopes turns up the inputs, from 10⁻⁶ to 1, to see how far that goes. slopes.csv has all 25 combinations; the run
 * prints the factor a step, measured, with ρ · slope in brackets:
 *
 *     radius    input        1e-06            0.001             0.01              0.1                1
 *        0.5           0.500 (0.500)    0.500 (0.500)    0.500 (0.500)    0.494 (0.494)    0.335 (0.334)
 *        0.9           0.900 (0.900)    0.900 (0.900)    0.900 (0.900)    0.869 (0.869)    0.577 (0.576)
 *          1           1.000 (1.000)    1.000 (1.000)    0.998 (0.998)    0.943 (0.943)    0.631 (0.631)
 *        1.1           1.100 (1.100)    1.100 (1.100)    1.080 (1.080)    0.994 (0.992)    0.682 (0.683)
 *        1.5           1.495 (1.495)    1.262 (1.258)    1.183 (1.178)    1.104 (1.098)    0.864 (0.867)
 *
 * (4.4) is never off by more than 0.6 %. Now read the bottom line from left to right. Whoever expects gradients to explode
 * because ρ = 1.5 is in for a surprise: with inputs of size 1 they *vanish*, at 0.864 a step. A state that is pushed hard sits
 * where tanh is flat, and a flat tanh passes nothing on. So there are two ways to forget, a small Wh and a saturated state, and
 * one way to explode: ρ times the mean slope above 1. Explosions come without much warning, because the
 * step that makes Wh large finds states that are still small. Section 6 catches one in the act.                            */
static void measure_slopes(const Config *o)
{
    static const double inputs[] = { 1e-6, 0.001, 0.01, 0.1, 1 };
    enum { INPUTS = sizeof inputs / sizeof *inputs };
    Output *out = output_open(o->out, "slopes.csv");
    Matrix W = mat_new(o->hidden, o->hidden);
    double *norm = allocate((size_t)o->lags + 1, sizeof *norm), *slope = allocate((size_t)o->lags + 1, sizeof *slope);
    fputs("radius,input,slope,predicted,measured\n", output_file(out));
    printf("\nradius    input");
    for (int j = 0; j < INPUTS; j++) printf(" %12g    ", inputs[j]);
    for (int i = 0; i < RADII; i++) {
        printf("\n%6g         ", radii[i]);
        for (int j = 0; j < INPUTS; j++) {
            Rng rng = rng_new((uint64_t)o->seed, 2);
            make_orthogonal(W, &rng);
            scale_matrix(W, radii[i]);
            gradient_norms(W, o, inputs[j], &rng, norm, slope);
            double mean = geometric_mean(slope, o->lags), factor = step_factor(norm, o->lags);
            write_row(out, NULL, ROW(radii[i], inputs[j], mean, radii[i] * mean, factor));
            printf("  %.3f (%.3f)  ", factor, radii[i] * mean);
        }
    }
    printf("\n");
    output_close(out);
    free(norm), free(slope);
    mat_free(&W);
}

/* **When the radius does not say everything.** ρ tells what happens in the long run. Two more matrices of radius 0.9 show that
 * the first thirty steps can be another story. One is simply random, N(0,1) in every place, divided by its measured radius and
 * multiplied by 0.9. The other is made of 2 × 2 blocks
 *
 *     [ ρ  0 ]ᵏ     [  ρᵏ      0  ]
 *     [ 1  ρ ]   =  [ k ρᵏ⁻¹   ρᵏ ]                    (4.5)
 *
 * which have both eigenvalues ρ, and a corner k ρᵏ⁻¹ that grows before it falls.
 *
 *     matrix        radius    norm at lag 0, 5, 10 …
 *     orthogonal    0.9000      1.0000   0.5905   0.3487   0.2059   0.1216   0.0718   0.0424
 *     random        0.9004      1.0000   0.4997   0.2589   0.1302   0.0720   0.0415   0.0240
 *     sheared       0.9012      1.0000   2.3837   2.7489   2.4236   1.9051   1.4051   0.9952
 *
 * The random one loses faster than 0.9 at first, 0.87 a step. 0.9 is its largest eigenvalue and most others are smaller;
 * what lies in their directions dies first, and only the rest obeys the radius: from lag 20 to 30 it is 0.896 a step. The
 * sheared one does the opposite. The gradient grows to 2.75 times its length, although every eigenvalue is below 1, and
 * needs thirty steps to get back to where it was. (Its radius comes out as 0.9012: k ρᵏ⁻¹ forgets its k slowly.) Matrices
 * whose eigenvectors do not stand at right angles are called non-normal, and there is no reason why training should make
 * any other (Trefethen and Embree 2005 is a book about this). The radius tells how the story ends, not how it goes.                  */
typedef enum { ORTHOGONAL, RANDOM, SHEARED, KINDS } Kind;

static void make_matrix(Matrix W, Kind kind, double radius, Rng *rng)
{
    if (kind == SHEARED) {
        mat_fill(W, 0);
        for (int r = 0; r < W.rows; r++) mat_row(W, r)[r] = (real)radius;
        for (int r = 1; r < W.rows; r += 2) mat_row(W, r)[r - 1] = 1;
    } else if (kind == RANDOM) {
        fill_normal(W, 1, rng);
        scale_matrix(W, radius / spectral_radius(W, rng));
    } else {
        make_orthogonal(W, rng);
        scale_matrix(W, radius);
    }
}

static void measure_normality(const Config *o)
{
    static const char *const name[KINDS] = { "orthogonal", "random", "sheared" };
    Output *out = output_open(o->out, "normality.csv");
    Matrix W = mat_new(o->hidden, o->hidden);
    double *norm = allocate((size_t)o->lags + 1, sizeof *norm), *slope = allocate((size_t)o->lags + 1, sizeof *slope);
    fputs("matrix,lag,norm\n", output_file(out));
    printf("\nmatrix        radius    norm at lag 0, 5, 10 …\n");
    for (Kind kind = ORTHOGONAL; kind < KINDS; kind++) {
        Rng rng = rng_new((uint64_t)o->seed, 3);
        make_matrix(W, kind, 0.9, &rng);
        printf("%-10s %9.4f   ", name[kind], spectral_radius(W, &rng));
        gradient_norms(W, o, o->input, &rng, norm, slope);
        for (int lag = 0; lag <= o->lags; lag++) {
            write_row(out, name[kind], ROW(lag, norm[lag]));
            if (lag % 5 == 0) printf(" %8.4f", norm[lag]);
        }
        printf("\n");
    }
    output_close(out);
    free(norm), free(slope);
    mat_free(&W);
}

/* ## 5. Three ways to cut up a text
 *
 * To see a gradient explode for real we need a network in training, and to train it, a text cut into sequences of T
 * symbols: 60,000 letters, folded as in chapter 01, and 12,000 behind them for the test. A language model is never
 * trained on the text as a whole, so somebody has to choose where a sequence begins and which sequences sit side by side
 * in a batch. There are three customs (the second and the third are described by Zhang et al., in editions of their
 * book):
 *
 * - **Sliding windows.** Every place begins a sequence; shuffle them all. Chapter 01 did this. Neighbours share T - 1 symbols.
 * - **Random-offset partition.** Cut the text into pieces without overlap, from a random offset below T on; shuffle the
 *   pieces. Each pass over the text uses another offset, so that the cuts do not always fall between the same letters.
 * - **Stateful batches.** Cut without overlap and keep the order: row i of the next batch goes on where row i of this batch
 *   stopped. Then its first state need not be 0. It is the state that the row before it ended with.
 *
 *     text                    a b c d e f g h i j k l m        T = 3, B = 2, offset 0
 *     sliding, shuffled       def bcd | ghi hij | …
 *     partition, shuffled     def jkl | abc ghi
 *     stateful                abc ghi | def jkl
 *
 * A custom is here a function that fills a list with places to begin, the batches one behind the other. n is the length of the
 * text; a sequence from i on needs the symbols i … i + T, the last of them as a target. What does not fill a batch is left out.
 * It returns how many places there are.                                                                                    */
typedef int Starts(int *start, int n, int B, int T, Rng *rng);

static int starts_sliding(int *start, int n, int B, int T, Rng *rng)
{
    int count = n - T;
    for (int i = 0; i < count; i++) start[i] = i;
    rng_shuffle(rng, start, count);
    return count / B * B;
}

static int starts_partition(int *start, int n, int B, int T, Rng *rng)
{
    int offset = rng_below(rng, T), count = (n - 1 - offset) / T;
    for (int i = 0; i < count; i++) start[i] = offset + i * T;
    rng_shuffle(rng, start, count);
    return count / B * B;
}

static int starts_stateful(int *start, int n, int B, int T, Rng *rng)
{
    int offset = rng_below(rng, T), batches = (n - 1 - offset) / T / B;
    for (int i = 0; i < batches; i++)
        for (int b = 0; b < B; b++) start[i * B + b] = offset + (b * batches + i) * T;
    return batches * B;
}

/* A Reader walks down such a list and asks for a new one at its end. It holds the batch and, in batch.h, the state that the
 * batch begins with. carry says whether that is the last one's end; at the start of a list it is 0 in any case.            */
typedef struct { const int *ids; int n; } Part;

typedef struct {
    Part part;
    Starts *starts;
    bool carry;
    Rng rng;
    int *start, at, count;
    Batch batch;
} Reader;

static Reader reader_new(Part part, Starts *starts, bool carry, int B, int T, const Net *m, uint64_t seed)
{
    return (Reader){ .part = part, .starts = starts, .carry = carry, .rng = rng_new(seed, 4),
                     .start = allocate((size_t)part.n, sizeof(int)), .batch = batch_new(B, T, m->H) };
}

static void reader_free(Reader *r)
{
    free(r->start);
    batch_free(&r->batch);
}

static void reader_next(Reader *r)
{
    Batch *b = &r->batch;
    if (r->at == r->count) {
        r->count = r->starts(r->start, r->part.n, b->B, b->T, &r->rng);
        r->at = 0;
    }
    if (r->at == 0 || !r->carry) mat_fill(b->h, 0);
    window_batch(r->part.ids, r->start + r->at, b->B, b->T, b->x, b->y);
    r->at += b->B;
}

typedef struct {
    Vocab vocab;
    int *ids;
    Part train, test;
} Data;

static Data data_open(const Config *o)
{
    Text text = text_open(o->corpus);
    text_from(&text, "En un lugar de la Mancha,");
    text_letters(&text);
    int longest = o->window > o->back ? o->window : o->back, train = (o->batch + 1) * longest, test = (o->batch + 1) * o->window;
    if (text.n < o->train + o->test) die("%s: %d letters; --train %d and --test %d need %d", text.source, text.n, o->train,
                                         o->test, o->train + o->test);
    if (o->train < train) die("--train %d: expected at least %d for --batch %d, --window %d and --back %d", o->train, train,
                              o->batch, o->window, o->back);
    if (o->test < test) die("--test %d: expected at least %d for --batch %d and --window %d", o->test, test, o->batch,
                            o->window);
    Data d = { .vocab = vocab_new(text.code, text.n) };
    d.ids = vocab_encode(&d.vocab, &text);
    d.train = (Part){ d.ids, o->train };
    d.test = (Part){ d.ids + o->train, o->test };
    printf("text      %s\n          %d letters, %d symbols; %d to train on, the next %d to test with\n", text.source, text.n,
           d.vocab.size, o->train, o->test);
    text_free(&text);
    return d;
}

static void data_free(Data *d)
{
    vocab_free(&d->vocab);
    free(d->ids);
}

/* ## 6. Training, with clipping and without
 *
 * A step is what it was in chapter 01, with plain gradient descent in the place of Adadelta:
 *
 *     g ← min(1, θ/‖g‖) g                              (6.1)   clip
 *     w ← w - η g                                      (6.2)   step
 *
 * Plain, because Adadelta divides every gradient by its own recent size and so hides what we have come to see. A trap sits
 * in train_step: the state that the next batch starts from must be copied out before tape_reset ends its life, and the way
 * back still needs the one before it, h₋₁ in (2.5). v_const has made a copy of that one. Had it only looked at the numbers in
 * batch.h, which we overwrite, the gradient would be wrong, a little, in a way that no error message would ever tell.      */
static double hopeless(const Net *m) { return 2 * (double)r_log((real)m->V); }

static double train_step(Net *m, Reader *r, Optim *sgd, double clip, double *norm)
{
    Batch *b = &r->batch;
    reader_next(r);
    tape_reset();
    Var *h = v_const(b->h), *loss = net_loss(m, &h, b->T, b->x, b->y);
    params_zero_grad(&m->params);
    tape_backward(loss);
    mat_copy(b->h, h->value);
    *norm = params_clip_grad(&m->params, clip);                          /* (6.1); clip 0 only measures */
    optim_step(sgd, &m->params);                                         /* (6.2) */
    return (double)loss->value.at[0];
}

/* **An explosion, step by step.** Take η = 4, a step size that works well with clipping. Two networks begin
 * alike and read the same batches; one is clipped at θ = 0.5. watch_explosion writes down what each looks like before every
 * step (explosion.csv). On Don Quijote, up to the step at which the first is given up:
 *
 *              not clipped                      clipped at 0.5
 *     step     radius      norm       loss      radius      norm       loss
 *       10      0.520     0.098      2.856       0.520     0.098      2.856
 *       11      0.604     0.155      2.842       0.604     0.155      2.842
 *       12      0.642     0.854      2.940       0.642     0.854      2.940
 *       13      1.216     5.742      3.568       0.487     0.201      2.972
 *       14     16.668     2.113      5.037       0.569     0.093      2.893
 *       15     16.711     5.888     25.711       0.607     0.085      2.877
 *
 * For eleven steps nothing happens that an eye would catch. The gradient's length is around 0.1, no step is clipped, and
 * the radius of Wh creeps up as the network learns to use its past. At step 12 a batch comes with 0.854. Unclipped, the
 * step is η·0.854 = 3.4 long, and throws Wh over the edge: radius 1.216. Now section 4 has the word. The gradient of the
 * next batch is seven times longer, that step makes the radius 16.7, and a step later nothing is left of what the network knew: 25.7
 * nats, where knowing nothing costs 3.5. The clipped network takes the same step in the same direction, 2 long instead of
 * 3.4; where the long one overshoots, the short one lands at a smaller radius than before, 0.487.
 *
 * Note what the first network did *not* do: it produced no NaN and no error, and 5.9 is no terrible number. A loss that
 * jumps is often the only sign.                                                                                            */
typedef struct { double loss, norm, radius; } Step;

/* Trains a new network for as many steps as there is room, or until it is hopeless; returns how many. */
static int watch_steps(const Data *d, const Config *o, double clip, Step *step, int room)
{
    Net m;
    net_new(&m, d->vocab.size, o->hidden, (uint64_t)o->seed);
    Reader r = reader_new(d->train, starts_partition, false, o->batch, o->window, &m, (uint64_t)o->seed);
    Optim sgd = optim_sgd(&m.params, o->lr, 0);
    int n = 0;
    for (double loss = 0; n < room && loss <= hopeless(&m) && !interrupted(); n++) {
        Rng rng = rng_new((uint64_t)o->seed, 8);
        double radius = spectral_radius(m.Wh->value, &rng);
        loss = train_step(&m, &r, &sgd, clip, &step[n].norm);
        step[n].loss = loss, step[n].radius = radius;
    }
    optim_free(&sgd);
    reader_free(&r);
    params_free(&m.params);
    return n;
}

static void watch_explosion(const Data *d, const Config *o)
{
    enum { ROOM = 100, SHOWN = 6 };
    Step step[2][ROOM];
    Output *out = output_open(o->out, "explosion.csv");
    int n[2] = { watch_steps(d, o, 0, step[0], ROOM), watch_steps(d, o, o->clip, step[1], ROOM) };
    fputs("network,step,loss,grad_norm,radius\n", output_file(out));
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < n[i]; k++)
            write_row(out, i ? "clipped" : "unclipped", ROW(k + 1, step[i][k].loss, step[i][k].norm, step[i][k].radius));
    printf("\n         not clipped                      clipped at %g\n", o->clip);
    printf("step     radius      norm       loss      radius      norm       loss\n");
    for (int k = n[0] < SHOWN ? 0 : n[0] - SHOWN; k < n[0] && k < n[1]; k++)
        printf("%4d %10.3f %9.3f %10.3f %11.3f %9.3f %10.3f\n", k + 1, step[0][k].radius, step[0][k].norm, step[0][k].loss,
               step[1][k].radius, step[1][k].norm, step[1][k].loss);
    output_close(out);
}

/* The mean loss over a part, read in B streams. The windows are the same with carry and without; only the state differs. */
static double part_loss(const Net *m, Part part, const Config *o, bool carry)
{
    Reader r = reader_new(part, starts_stateful, carry, o->batch, o->window, m, 0);
    double total = 0;
    int batches = 0;
    bool recording = tape_record(false);
    do {
        reader_next(&r);
        tape_reset();
        Var *h = v_const(r.batch.h);
        total += (double)net_loss(m, &h, o->window, r.batch.x, r.batch.y)->value.at[0];
        mat_copy(r.batch.h, h->value);
        batches++;
    } while (r.at < r.count);
    tape_record(recording);
    reader_free(&r);
    return total / batches;
}

/* Four networks begin with the same weights and read the same number of symbols:
 *
 * | name          | sequences               | first state | θ   |
 * | ------------- | ----------------------- | ----------- | --- |
 * | rnn           | random-offset partition | 0           | 0.5 |
 * | rnn_unclipped | the same                | 0           | ∞   |
 * | rnn_sliding   | sliding windows         | 0           | 0.5 |
 * | rnn_stateful  | stateful batches        | carried on  | 0.5 |
 *
 * A run whose loss at any step is more than twice ln V, that of knowing nothing, is called diverged and stopped.
 *
 * **What clipping does.** Some rows of the first two runs: perplexities, and the longest gradient since the row above, as
 * it was before clipping.
 *
 *     network          step      train   longest gradient     test
 *     rnn               234      10.21        1.481          8.141
 *     rnn               468      7.469       0.8063          7.297
 *     rnn               702      6.732       0.4921          6.881
 *     rnn              2343      5.609       0.4234          6.572
 *     rnn_unclipped      15      111.8        5.888
 *     rnn_unclipped  diverged at step 15, where the loss is 25.71 nats
 *
 * The longest gradient tells when clipping was at work: in the first 468 steps. After that no gradient reaches 0.5, and the
 * network is trained as if there were no clipping. It is a seat belt, not a brake.
 *
 * With `--seed 2` and `3` the unclipped run dies as well, at steps 19 and 34. Smaller steps only make it rarer: of seeds 1, 2
 * and 3 with `--epochs 15`, `--lr 3.5` loses two, `--lr 3` one, `--lr 2` none. That is the mean thing about it. With η = 3 two
 * runs out of three look perfectly healthy, and nothing in them tells that they were lucky.
 *
 * **What the sampling does.** Means of `--seed 1`, `2` and `3`, final perplexities. The test windows are the same for all
 * and are read twice, once with a state of 0 at the beginning of each, once with the state carried on (sampling.csv):
 *
 *                      60,000 letters, 40 times            1,000,000 letters, 3 times
 *                     train   test, 0   test, carried     train   test, 0   test, carried
 *     rnn             5.625    6.474        6.308         5.953    6.071        5.876
 *     rnn_sliding     5.603    6.679        6.510         5.914    6.049        5.852
 *     rnn_stateful    5.433    6.681        6.421         5.695    6.154        5.887
 *
 * (On the right with `--train 1000000 --test 100000 --epochs 3`.) Read it by columns.
 *
 * - *train*: stateful batches win by about 0.2. But they are asked easier questions. A window that begins with 0 has to
 *   guess its first letters from nothing, and T = 32 is short enough for that to show in the mean.
 * - *carried*: ask all three the same questions, and on the long text nothing remains of the lead: 5.88, 5.85, 5.89. What
 *   the curve showed was how the text was read, not what was learned from it.
 * - *0*: a stateful network has hardly ever seen a state of 0 in training, and on the long text it does worst when it has to
 *   begin with one.
 * - On the short text sliding windows are no better than a partition, although they offer 32 times as many sequences. They
 *   are the same letters. Differences of 0.1 are what a step size of 4 makes of noise: over the three seeds the test column of
 *   `rnn` alone runs from 6.37 to 6.57.
 *
 * `--preset reference` trains on 10,000 letters, 500 times over, with 256 units and η = θ = 1, after a set-up of Zhang et al.
 * There the stateful network comes down to a training perplexity of 1.06 and the other three to about 1.6:
 * it meets the same letters after the same state again and again, and knows them by heart. On the test it has 74, the
 * others 23 to 24. (At η = 1 the unclipped run survives, although gradients up to 1.6 come its way.)
 *
 * The lesson is an old one in a new place: two curves may be compared only if they answer the same question. For a
 * language model that will read on and on, measure with the state carried on, whatever it was trained with.               */
typedef struct {
    const char *name;
    Starts *starts;
    bool carry, clipped;
} Plan;

static const Plan plans[] = {
    { "rnn", starts_partition, false, true },
    { "rnn_unclipped", starts_partition, false, false },
    { "rnn_sliding", starts_sliding, false, true },
    { "rnn_stateful", starts_stateful, true, true },
};
enum { PLANS = sizeof plans / sizeof *plans };

/* test NONE: not measured, because there is nothing left to measure. */
static void report(Curve *curve, const char *name, const Config *o, long step, double train, double test, double longest)
{
    long tokens = step * o->batch * o->window;
    CurveRow row = { .model = name, .epoch = 1 + (tokens - 1) / o->train, .step = step, .tokens = tokens };
    row.split = "train", row.loss = train, row.grad_norm = longest, row.lr = o->lr;
    curve_add(curve, row);
    printf("%-14s %6ld %10.4g %12.4g", name, step, perplexity(train), longest);
    row.split = "test", row.loss = test, row.grad_norm = 0, row.lr = 0;
    if (test != NONE) curve_add(curve, row), printf("%15.4g", perplexity(test));
    printf("\n");
    fflush(stdout);
}

/* Returns whether the run came to its end. */
static bool train_net(const Plan *plan, Net *m, const Data *d, const Config *o, Curve *curve, FILE *timing)
{
    Reader r = reader_new(d->train, plan->starts, plan->carry, o->batch, o->window, m, (uint64_t)o->seed);
    Optim sgd = optim_sgd(&m->params, o->lr, 0);
    long steps = (long)o->epochs * o->train / (o->batch * o->window), step = 0;
    double loss = 0;
    curve_add(curve, (CurveRow){ .model = plan->name, .split = "test", .loss = part_loss(m, d->test, o, plan->carry) });
    for (int part = 1; part <= o->reports && loss <= hopeless(m) && !interrupted(); part++) {
        long from = step, to = steps * part / o->reports;
        double begun = seconds_now(), total = 0, norm, longest = 0;
        for (; step < to && loss <= hopeless(m) && !interrupted(); step++) {
            total += loss = train_step(m, &r, &sgd, plan->clipped ? o->clip : 0, &norm);
            longest = fmax(longest, norm);
            progress_line(plan->name, step, steps, loss);
        }
        if (step == from) continue;
        progress_end();
        double seconds = seconds_now() - begun;
        double test = loss <= hopeless(m) ? part_loss(m, d->test, o, plan->carry) : NONE;
        report(curve, plan->name, o, step, total / (double)(step - from), test, longest);
        fprintf(timing, "%s,%ld,%.4f,%.0f\n", plan->name, 1 + (step * o->batch * o->window - 1) / o->train, seconds,
                (double)((step - from) * o->batch * o->window) / seconds);
    }
    if (loss > hopeless(m)) printf("%-14s diverged at step %ld, where the loss is %.4g nats\n", plan->name, step, loss);
    optim_free(&sgd);
    reader_free(&r);
    return step == steps && loss <= hopeless(m);
}

/* Leaves the network of the last plan in m. */
static void train_nets(Net *m, const Data *d, const Config *o, FILE *timing)
{
    Curve curve = curve_open(o->out, (uint64_t)o->seed);
    Output *out = output_open(o->out, "sampling.csv");
    double loss[PLANS][2];
    bool whole[PLANS] = { false };
    fputs("model,state_zero,state_carried\n", output_file(out));
    printf("\nnetwork          step      train   longest gradient     test\n");
    for (int i = 0; i < PLANS && !interrupted(); i++) {
        params_free(&m->params);
        net_new(m, d->vocab.size, o->hidden, (uint64_t)o->seed);
        whole[i] = train_net(&plans[i], m, d, o, &curve, timing);
        for (int carry = 0; carry < 2; carry++) loss[i][carry] = part_loss(m, d->test, o, carry);
    }
    printf("\nnetwork         test, first state 0    test, state carried on\n");
    for (int i = 0; i < PLANS; i++) {
        if (!whole[i]) continue;
        double zero = perplexity(loss[i][0]), carried = perplexity(loss[i][1]);
        write_row(out, plans[i].name, ROW(zero, carried));
        printf("%-14s %20.4f %25.4f\n", plans[i].name, zero, carried);
    }
    curve_close(&curve);
    output_close(out);
}

/* ## 7. Cutting the way short
 *
 * Section 3 has left us with a memory that grows with the length of the sequence, and section 4 with the suspicion that
 * most of it is wasted: if a gradient from thirty steps ago is one part in a million, why keep the states for it? So cut. Go
 * through the sequence in pieces of k steps; carry the state's numbers over each cut but not its tape; add up the gradients of
 * all pieces. This is truncated backpropagation through time (Williams and Peng 1990). Forward, nothing changes.
 * Backward, a state hears only from the losses of its own piece.
 *
 * In the code the cut is one word, v_const: the piece begins with the same numbers as before, but as a constant.          */
static double truncated_gradient(Net *m, const Batch *b, int k)
{
    Matrix before = mat_new(b->B, m->H);
    double total = 0;
    mat_copy(before, b->h);
    params_zero_grad(&m->params);
    for (int t = 0; t < b->T; t += k) {
        tape_reset();
        int T = b->T - t < k ? b->T - t : k;
        Var *h = v_const(before), *mean = net_loss(m, &h, T, b->x + t * b->B, b->y + t * b->B);
        Var *loss = v_scale(mean, (double)T / b->T);                     /* the piece's part of the mean over all */
        tape_backward(loss);
        total += (double)loss->value.at[0];
        mat_copy(before, h->value);
    }
    mat_free(&before);
    return total;
}

/* How wrong is it? Take the network that section 6 has trained, 32 sequences of 64 letters, and compare with the full
 * gradient g: the distance ‖gₖ - g‖/‖g‖, the cosine of the angle between them, the most that the tape held, and the time.
 *
 *        k      error     cosine    tape, kB    time, ms
 *        1     0.6099    0.79337         123        0.97
 *        2     0.5384    0.84410         244        0.96
 *        4     0.4348    0.90192         486        0.97
 *        8     0.3343    0.94291         970        0.98
 *       16     0.2315    0.97296        1939        1.04
 *       32     0.1145    0.99343        3877        1.18
 *       64     0.0000    1.00000        7752        1.29
 *
 * - **Memory** is proportional to k. That is what one buys.
 * - **Time** hardly changes: every state is still computed once and gone through once on the way back. The long tape is even
 *   a little slower; 7.8 MB are farther away from the processor than 0.1 MB.
 * - **Error** falls slowly. With k = 8 the distance is still a third of the gradient's length. One reason is where the
 *   cuts are: the first state of a piece hears of seven losses after its own, the last one of none; on average it is
 *   (k-1)/2 and not k. (One could let every loss go back a full k steps. Then the way back costs about k times as much.)
 * - **Cosine.** Even with k = 1, when no gradient ever passes through Wh to an earlier state, the direction is 0.79 right.
 *   Nothing is cut for Wo and c, and for the rest the nearest step matters most. Truncation works because language
 *   is like that; a task whose only clue lies 40 steps back would get a gradient of exactly 0 from it.                    */
static real *gradient_copy(const Net *m)
{
    real *g = allocate(m->params.size, sizeof *g);
    memcpy(g, m->params.grad, m->params.size * sizeof *g);
    return g;
}

typedef struct { double distance, cosine; } Apart;

/* ‖a - b‖/‖b‖ and the cosine between them */
static Apart vectors_apart(const real *a, const real *b, size_t n)
{
    double aa = 0, ab = 0, bb = 0, gap = 0;
    for (size_t i = 0; i < n; i++) {
        double x = (double)a[i], y = (double)b[i];
        aa += x * x, ab += x * y, bb += y * y, gap += (x - y) * (x - y);
    }
    return (Apart){ sqrt(gap) / sqrt(bb), ab / sqrt(aa) / sqrt(bb) };
}

static void measure_truncation(Net *m, const Batch *b, const Config *o, FILE *timing)
{
    enum { TIMES = 5 };
    Output *out = output_open(o->out, "truncation.csv");
    fputs("k,error,cosine,tape_bytes\n", output_file(out));
    printf("\n   k      error     cosine    tape, kB    time, ms\n");
    full_gradient(m, b);
    real *full = gradient_copy(m);
    for (int k = 1, last = 0; !last && !interrupted(); k = 2 * k < b->T ? 2 * k : b->T) {
        double best = INFINITY;
        last = k == b->T;
        tape_free();                                                     /* forgets the most it has held so far */
        for (int i = 0; i < TIMES; i++) {
            double begun = seconds_now();
            truncated_gradient(m, b, k);
            best = fmin(best, seconds_now() - begun);
        }
        Apart apart = vectors_apart(m->params.grad, full, m->params.size);
        write_row(out, NULL, ROW(k, apart.distance, apart.cosine, (double)tape_bytes()));
        fprintf(timing, "bptt_%d,,%.6f,%.0f\n", k, best, b->B * b->T / best);
        printf("%4d %10.4f %10.5f %11.0f %11.2f\n", k, apart.distance, apart.cosine, (double)tape_bytes() / 1e3, best * 1e3);
    }
    output_close(out);
    free(full);
}

/* ## 8. Cutting at random
 *
 * The truncated gradient is wrong in the same direction every time: it never hears of anything beyond the cut, and no number
 * of batches will average that away. It is *biased*. There is a truncation that is not (Tallec and Ollivier 2017; Zhang et al.
 * 2023, section 9.7). At every step toss a coin. With probability 1 - π cut; else pass the gradient on, but larger:
 *
 *     dhₜ₋₁ = ξₜ · (dzₜ Whᵀ),    ξₜ = 1/π with probability π, else 0          (8.1)
 *
 * The mean of ξₜ is π · 1/π = 1. What comes back over n steps carries the factor ξₜ ξₜ₋₁ …, n independent coins, whose mean
 * is 1·1·…·1 = 1. So the mean of the estimate is the full gradient, term by term, whatever the network is.
 *
 * The tape has no op that passes values on unchanged and multiplies gradients on the way back, so here is one. This is all
 * that an op is: a value, and a function that adds to the operand's gradient.
 *
 *     Y = h          dh += ξ dY                        (8.2)                                                               */
static void pass_back_gradient(Var *y)
{
    if (y->in[0]->tracked) mat_axpy(var_grad(y->in[0]), y->scalar, y->grad);
}

static Var *pass_back(Var *h, double xi)
{
    Var *y = tape_push("pass_back", HERE, &h, 1, h->value.rows, h->value.cols, pass_back_gradient);
    y->scalar = (real)xi;
    mat_copy(y->value, h->value);
    return y;
}

/* One estimate, left in m->params.grad. keep is π; one coin a step, for all rows of the batch. */
static void random_gradient(Net *m, const Batch *b, double keep, Rng *rng)
{
    tape_reset();
    Var *h = v_const(b->h), **all = allocate((size_t)b->T, sizeof(Var *));
    for (int t = 0; t < b->T; t++) {
        double xi = (double)rng_uniform(rng) < keep ? 1 / keep : 0;
        all[t] = h = net_step(m, b->x + t * b->B, pass_back(h, xi));                         /* (8.1) */
    }
    params_zero_grad(&m->params);
    tape_backward(output_loss(m, all, b->T, b->y));
    free(all);
}

/* Is the mean of many estimates the full gradient? A distance alone cannot tell: it never becomes 0. But theory says how large
 * it should be. If every number of the estimate scatters around its true value with variance s², the mean of n of
 * them scatters with s²/n, and we can estimate s² from the estimates themselves:
 *
 *     standard error = √(Σ s² / n)                     (8.3)   the sum runs over all parameters
 *
 * An unbiased estimate has a distance of about one standard error at every n. A biased one stops coming nearer, and soon is
 * many standard errors away.
 *
 *     estimates    distance of their mean    standard error    (always cut at 8: 0.3343)
 *             1                    0.3952
 *             2                    0.2390            0.3063
 *             4                    0.2019            0.2177
 *            16                    0.0972            0.1058
 *            64                    0.0480            0.0516
 *           256                    0.0242            0.0262
 *          1024                    0.0113            0.0131
 *     one estimate scatters by 0.420 of the gradient's length; gradients of single batches by 0.741
 *
 * The two columns go down together, by half for every four times as many estimates: no bias is to be seen. Truncation at
 * 8, with just as many cuts, stays at 0.3343 for ever. After 1,024 estimates that is 25 standard errors away from where
 * the mean is.
 *
 * **What it costs.** A single estimate is no nearer to the truth than the truncated gradient, 0.395 against 0.334. It is
 * wrong in another direction each time, and that is all. Training averages over many steps, so it can live with noise,
 * and has to anyway: gradients of single batches scatter by 0.741 around their mean. Both together make √(0.741² +
 * 0.420²) = 0.852, and (0.852/0.741)² = 1.32: for the same precision one needs 32 % more batches. Nor is the memory a
 * sure gain. It has to hold the longest piece between two cuts, and that is a matter of luck.
 *
 * And 8 is a mild choice. The mean of ξ² is 1/π, so over n steps the square of the factor has the mean π⁻ⁿ: for π = 7/8
 * that is 55 after thirty steps, for π = 1/2 a thousand million. With `--cut 2` one estimate scatters by 5.8 times the
 * gradient's length. The mean of 64 of them is at distance 0.26, that of 128 at 1.21: a single estimate, in which the
 * coin fell well many times in a row, has spoiled the work of all the others. An estimate can be right on average and
 * useless on every single occasion. In practice plain truncation has won (Zhang et al. 2023, section 9.7, give reasons):
 * its error is in what happened long ago, and about that a language model is not asked often.                              */
typedef struct {
    size_t size;
    int n;
    double *sum, *squares;                   /* (size) each */
} Mean;

static Mean mean_new(size_t size)
{
    return (Mean){ .size = size, .sum = allocate(size, sizeof(double)), .squares = allocate(size, sizeof(double)) };
}

static void mean_free(Mean *m) { free(m->sum), free(m->squares); }

static void mean_add(Mean *m, const real *x)
{
    m->n++;
    for (size_t i = 0; i < m->size; i++) m->sum[i] += (double)x[i], m->squares[i] += (double)x[i] * (double)x[i];
}

/* ‖mean - x‖ */
static double mean_distance(const Mean *m, const real *x)
{
    double total = 0;
    for (size_t i = 0; i < m->size; i++) {
        double gap = m->sum[i] / m->n - (double)x[i];
        total += gap * gap;
    }
    return sqrt(total);
}

/* n ≥ 2; NaN before */
static double mean_standard_error(const Mean *m)
{
    double total = 0;
    for (size_t i = 0; i < m->size; i++) {
        double mean = m->sum[i] / m->n;
        total += (m->squares[i] / m->n - mean * mean) / (m->n - 1);                          /* (8.3): s²/n */
    }
    return sqrt(total);
}

/* How far the gradients of single batches scatter around their mean, as a part of ‖g‖: the noise that training has anyway. */
static double batch_noise(Net *m, Reader *r, double length)
{
    enum { BATCHES = 32 };
    Mean mean = mean_new(m->params.size);
    for (int i = 0; i < BATCHES; i++) {
        reader_next(r);
        full_gradient(m, &r->batch);
        mean_add(&mean, m->params.grad);
    }
    double scatter = mean_standard_error(&mean) * sqrt(BATCHES) / length;
    mean_free(&mean);
    return scatter;
}

static void measure_randomized(Net *m, Reader *r, const Config *o)
{
    Output *out = output_open(o->out, "randomized.csv");
    Mean mean = mean_new(m->params.size);
    Rng rng = rng_new((uint64_t)o->seed, 5);
    full_gradient(m, &r->batch);
    real *full = gradient_copy(m);
    double length = sqrt(sum_squares(full, m->params.size));
    truncated_gradient(m, &r->batch, o->cut);
    double fixed = vectors_apart(m->params.grad, full, m->params.size).distance, scatter = 0;
    fputs("estimates,error,standard_error,fixed\n", output_file(out));
    printf("\nestimates    distance of their mean    standard error    (always cut at %d: %.4f)\n", o->cut, fixed);
    for (int show = 1; mean.n < o->estimates && !interrupted(); ) {
        random_gradient(m, &r->batch, 1 - 1.0 / o->cut, &rng);
        mean_add(&mean, m->params.grad);
        progress_line("estimates", mean.n, o->estimates, 0);
        if (mean.n != show && mean.n != o->estimates) continue;
        double error = mean_distance(&mean, full) / length;
        scatter = mean.n > 1 ? mean_standard_error(&mean) * sqrt(mean.n) / length : 0;
        write_row(out, NULL, ROW(mean.n, error, mean.n > 1 ? scatter / sqrt(mean.n) : NONE, fixed));
        printf(mean.n > 1 ? "%9d %25.4f %17.4f\n" : "%9d %25.4f\n", mean.n, error, scatter / sqrt(mean.n));
        show *= 2;
    }
    progress_end();
    printf("one estimate scatters by %.3f of the gradient's length; gradients of single batches by %.3f\n", scatter,
           batch_noise(m, r, length));
    mean_free(&mean);
    free(full);
    output_close(out);
}

/* ## 9. What is fed back: Elman and Jordan
 *
 * In (2.1) the state feeds back into itself. That is Elman's network (1990). Jordan (1986) had fed back the output instead:
 *
 *     Elman      hₜ = tanh(xₜ Wx + hₜ₋₁ Wf + b)        (9.1)   Wf (H,H)
 *     Jordan     hₜ = tanh(xₜ Wx + yₜ₋₁ Wf + b)        (9.2)   Wf (V,H), y a one-hot row: what was said last
 *
 * (9.2) has a great advantage. In training the right yₜ₋₁ is known; feed that back (teacher forcing), and no step depends
 * on another one's computation: no chain, nothing to vanish (Goodfellow, Bengio and Courville 2016, section 10.2.1). The
 * price: all that it knows of the past is one symbol, its own last word. Two tasks over sequences of 16 random bits show
 * what that means.
 *
 *     parity     yₜ = xₜ xor yₜ₋₁                      (9.3)   the answer so far is all that one has to remember
 *     echo       yₜ = xₜ₋₂                             (9.4)   one has to remember xₜ₋₁, which has not been said yet
 *
 * On the echo the Jordan network sees xₜ and yₜ₋₁ = xₜ₋₃, and is asked for xₜ₋₂. The bits are independent, so what it
 * sees tells nothing about what it is asked, and while it is told the right yₜ₋₁, no weights can bring the loss below
 * ln 2 = 0.6931 or more than half of the answers right. It is not that training is too hard. There is nothing to learn.
 *
 * A third network feeds back oₜ₋₁ as it is, the two logits instead of the symbol:
 *
 *     logits     hₜ = tanh(xₜ Wx + oₜ₋₁ Wf + b)        (9.5)
 *
 * Only their difference has a meaning, since softmax does not change when the same number is added to both. Before you
 * look at the last lines: can this one learn the echo?
 *
 *     task       fed back     loss    right answers   (after 2000 steps)
 *     parity     elman      0.0017        100.0 %
 *     parity     jordan     0.0002        100.0 %
 *     parity     logits     0.0003        100.0 %
 *     echo       elman      0.0000        100.0 %
 *     echo       jordan     0.6945         50.7 %
 *     echo       logits     0.1552         95.8 %
 *
 * ("loss" is the mean of the last 200 training steps, right answers are counted in 512 new sequences in which nobody
 * tells the network anything.) On the parity Jordan's network has all it needs: it was handed the one bit that matters. On the
 * echo its loss stays at ln 2, as it must, and its answers at a toss of a coin. (Left to itself, with its own answers coming
 * back, it could use them as a one-bit memory and be right a little more often; training never shows it that.)
 *
 * The third line of the echo is the trap. One who feeds back the logits has built a Jordan network on paper and something
 * else in fact. What the two logits have in common costs nothing in the loss, and it comes back at the next step: a place
 * to keep notes. The network has found it and writes xₜ₋₁ there (95.8 % right, and with `--seed 2` and `3` 100 % and 99.5
 * %). If a model does better than you can explain, look for the channel that you did not mean to open.                     */
typedef enum { ELMAN, JORDAN, LOGITS, FEEDBACKS } Feedback;
enum { BITS = 2, LENGTH = 16, UNITS = 32, LESSONS = 32, QUESTIONS = 512 };

typedef struct {
    Feedback from;
    Params params;
    Var *Wx, *Wf, *b, *Wo, *c;               /* (2,H), (H,H) or (2,H), (1,H), (H,2), (1,2) */
} Fed;

static void fed_new(Fed *m, Feedback from, uint64_t seed)
{
    *m = (Fed){ .from = from };
    m->Wx = param(&m->params, "fed.Wx", BITS, UNITS, init_normal(0.3));
    m->Wf = param(&m->params, "fed.Wf", from == ELMAN ? UNITS : BITS, UNITS, init_normal(0.3));
    m->b  = param(&m->params, "fed.b", 1, UNITS, init_zero());
    m->Wo = param(&m->params, "output.W", UNITS, BITS, init_normal(0.3));
    m->c  = param(&m->params, "output.b", 1, BITS, init_zero());
    params_allocate(&m->params, seed);
}

/* x, y (LENGTH,B). Where there is nothing to answer yet y is -1, which the loss leaves out. */
typedef void Task(int B, int *x, int *y, Rng *rng);

static void task_parity(int B, int *x, int *y, Rng *rng)
{
    for (int i = 0; i < LENGTH * B; i++) x[i] = rng_below(rng, 2);
    for (int i = 0; i < LENGTH * B; i++) y[i] = i < B ? x[i] : x[i] ^ y[i - B];              /* (9.3) */
}

static void task_echo(int B, int *x, int *y, Rng *rng)
{
    for (int i = 0; i < LENGTH * B; i++) x[i] = rng_below(rng, 2);
    for (int i = 0; i < LENGTH * B; i++) y[i] = i < 2 * B ? -1 : x[i - 2 * B];               /* (9.4) */
}

/* word[r] = the likelier of the two symbols */
static void words_of(Matrix o, int *word)
{
    for (int r = 0; r < o.rows; r++) word[r] = mat_row(o, r)[1] > mat_row(o, r)[0];
}

static Var *zeros(int rows, int cols)
{
    Matrix m = tape_matrix(rows, cols);
    mat_fill(m, 0);
    return v_const(m);
}

/* One step: h, o and word are those of the step before. word -1 is none: a row of zeros. */
static Var *fed_step(const Fed *m, const int *x, Var *h, Var *o, const int *word)
{
    int B = h->value.rows;
    Var *back = m->from == ELMAN ? v_matmul(h, m->Wf)                    /* (9.1) */
              : m->from == JORDAN ? v_lookup(m->Wf, word, B)             /* (9.2) */
              : v_matmul(o, m->Wf);                                      /* (9.5) */
    return v_tanh(v_add_bias(v_add(v_lookup(m->Wx, x, B), back), m->b));
}

/* The logits of all steps, (LENGTH B, 2). told: the answers, fed back in training; NULL: it hears what it said itself. */
static Var *fed_logits(const Fed *m, int B, const int *x, const int *told)
{
    Var *h = zeros(B, UNITS), *o = zeros(B, BITS), *all[LENGTH];
    int *word = allocate((size_t)B, sizeof *word);
    for (int i = 0; i < B; i++) word[i] = -1;
    for (int t = 0; t < LENGTH; t++) {
        h = fed_step(m, x + t * B, h, o, word);
        all[t] = o = v_add_bias(v_matmul(h, m->Wo), m->c);
        if (told) memcpy(word, told + t * B, (size_t)B * sizeof *word);
        else words_of(o->value, word);
    }
    free(word);
    return v_vcat(all, LENGTH);
}

static double fed_lesson(Fed *m, Task *task, Optim *adam, Rng *rng)
{
    int x[LENGTH * LESSONS], y[LENGTH * LESSONS];
    task(LESSONS, x, y, rng);
    tape_reset();
    Var *loss = v_cross_entropy(fed_logits(m, LESSONS, x, y), y);
    params_zero_grad(&m->params);
    tape_backward(loss);
    params_clip_grad(&m->params, 1);
    optim_step(adam, &m->params);
    return (double)loss->value.at[0];
}

/* The part of right answers in sequences never seen, when nobody tells. */
static double fed_accuracy(const Fed *m, Task *task, Rng *rng)
{
    int x[LENGTH * QUESTIONS], y[LENGTH * QUESTIONS], word[LENGTH * QUESTIONS], right = 0, asked = 0;
    task(QUESTIONS, x, y, rng);
    tape_reset();
    words_of(fed_logits(m, QUESTIONS, x, NULL)->value, word);
    for (int i = 0; i < LENGTH * QUESTIONS; i++) asked += y[i] >= 0, right += word[i] == y[i];
    return (double)right / asked;
}

static void measure_feedback(const Config *o)
{
    static const struct { const char *name; Task *task; } tasks[] = { { "parity", task_parity }, { "echo", task_echo } };
    static const char *const name[FEEDBACKS] = { "elman", "jordan", "logits" };
    Output *out = output_open(o->out, "feedback.csv");
    fputs("task,feedback,step,loss,accuracy\n", output_file(out));
    printf("\ntask       fed back     loss    right answers   (after %d steps)\n", o->steps);
    for (int k = 0; k < 2 * FEEDBACKS && !interrupted(); k++) {
        int task = k / FEEDBACKS, from = k % FEEDBACKS;
        Fed m;
        fed_new(&m, (Feedback)from, (uint64_t)o->seed);
        Optim adam = optim_adam(&m.params, 0.005, 0);
        Rng lessons = rng_new((uint64_t)o->seed, 6), questions = rng_new((uint64_t)o->seed, 7);
        double loss = 0, accuracy = 0;
        for (int part = 1, step = 0; part <= 10 && !interrupted(); part++) {
            int begun = step, end = (int)((long)o->steps * part / 10);
            double total = 0;
            for (; step < end && !interrupted(); step++) {
                total += fed_lesson(&m, tasks[task].task, &adam, &lessons);
                progress_line(name[from], step, o->steps, total / (step - begun + 1));
            }
            if (step == begun) continue;
            loss = total / (step - begun);
            accuracy = fed_accuracy(&m, tasks[task].task, &questions);
            fprintf(output_file(out), "%s,", tasks[task].name);
            write_row(out, name[from], ROW(step, loss, accuracy));
        }
        progress_end();
        printf("%-10s %-8s %8.4f %12.1f %%\n", tasks[task].name, name[from], loss, 100 * accuracy);
        optim_free(&adam);
        params_free(&m.params);
    }
    output_close(out);
}

/* ## 10. The run                                                                                                           */

/* Sections 2, 6, 7 and 8: one text, one network. */
static void follow_network(const Data *d, const Config *o)
{
    Output *timing = output_open(o->out, "timing.csv");
    Net net;
    net_new(&net, d->vocab.size, o->hidden, (uint64_t)o->seed);
    Reader r = reader_new(d->train, starts_stateful, false, o->batch, o->back, &net, (uint64_t)o->seed);
    reader_next(&r);
    fputs("model,epoch,seconds,tokens_per_second\n", output_file(timing));
    printf("\n");
    compare_with_hand(&net, &r.batch, "untrained");
    watch_explosion(d, o);
    train_nets(&net, d, o, output_file(timing));
    compare_with_hand(&net, &r.batch, "trained");
    if (!interrupted()) measure_truncation(&net, &r.batch, o, output_file(timing));
    if (!interrupted()) measure_randomized(&net, &r, o);
    reader_free(&r);
    params_free(&net.params);
    output_close(timing);
}

static const Option options[] = {
    OPTIONS_FOR_ALL(Config),
    { "corpus", OPTION_TEXT, offsetof(Config, corpus), 0, 0, "UTF-8 text to read; else $QUIJOTE, data/quijote.txt, the pastiche" },
    { "train", OPTION_INT, offsetof(Config, train), 2, 1e8, "letters to train on" },
    { "test", OPTION_INT, offsetof(Config, test), 2, 1e8, "letters to test with, right behind them" },
    { "epochs", OPTION_INT, offsetof(Config, epochs), 1, 1e6, "symbols to read in each run, in lengths of the training text" },
    { "batch", OPTION_INT, offsetof(Config, batch), 1, 4096, "sequences side by side, B" },
    { "window", OPTION_INT, offsetof(Config, window), 1, 4096, "symbols a sequence in training, T" },
    { "hidden", OPTION_INT, offsetof(Config, hidden), 2, 4096, "numbers in the state, H" },
    { "lr", OPTION_REAL, offsetof(Config, lr), 1e-9, 1e3, "step size of gradient descent, η in (6.2)" },
    { "clip", OPTION_REAL, offsetof(Config, clip), 1e-9, 1e9, "longest gradient, θ in (6.1)" },
    { "reports", OPTION_INT, offsetof(Config, reports), 1, 1e6, "rows in the curve of each run" },
    { "lags", OPTION_INT, offsetof(Config, lags), 1, 10000, "steps back in section 4" },
    { "input", OPTION_REAL, offsetof(Config, input), 1e-30, 1e3, "size of the random inputs in gradients.csv and normality.csv" },
    { "back", OPTION_INT, offsetof(Config, back), 1, 4096, "symbols a sequence in sections 7 and 8" },
    { "cut", OPTION_INT, offsetof(Config, cut), 2, 4096, "in section 8, cut after so many steps in the mean; π is 1 - 1/cut" },
    { "estimates", OPTION_INT, offsetof(Config, estimates), 1, 1e6, "randomized gradients to average" },
    { "steps", OPTION_INT, offsetof(Config, steps), 1, 1e6, "steps of training in section 9" },
};

#define SAME .seed = 1, .out = "out/02_bptt_clip", .input = 1e-6, .cut = 8

static const Config quick     = { SAME, .train = 8000, .test = 2000, .epochs = 5, .batch = 16, .window = 16, .hidden = 16,
                                  .lr = 4, .clip = 0.5, .reports = 4, .lags = 10, .back = 32, .estimates = 32, .steps = 100 };
static const Config usual     = { SAME, .train = 60000, .test = 12000, .epochs = 40, .batch = 32, .window = 32, .hidden = 64,
                                  .lr = 4, .clip = 0.5, .reports = 10, .lags = 30, .back = 64, .estimates = 1024, .steps = 2000 };
static const Config reference = { SAME, .train = 10000, .test = 5000, .epochs = 500, .batch = 32, .window = 35, .hidden = 256,
                                  .lr = 1, .clip = 1, .reports = 20, .lags = 100, .back = 128, .estimates = 1024, .steps = 5000 };

static const Cli cli = {
    .about = "Chapter 02: what happens to a gradient on its way back through time, measured.",
    .options = options, .count = sizeof options / sizeof *options,
    .presets = { &quick, &usual, &reference }, .size = sizeof(Config),
};

int main(int argc, char **argv)
{
    Config o;
    cli_parse(&cli, argc, argv, &o);
    threads_start(o.threads);
    interrupt_catch();

    Data data = data_open(&o);
    print_graph();
    measure_recurrence(&o);
    measure_radii(&o);
    measure_slopes(&o);
    measure_normality(&o);
    follow_network(&data, &o);
    if (!interrupted()) measure_feedback(&o);

    data_free(&data);
    tape_free();
    threads_stop();
    return interrupted() ? INTERRUPTED : 0;
}

/* ## What we simplified
 *
 * - The graph of section 1 and the tape know matrices and nothing larger. That is enough for all chapters.
 * - Section 4 measures untrained matrices with random inputs, to have one thing vary at a time. A trained network has a Wh that
 *   is neither orthogonal nor random, and inputs that mean something.
 * - One random coin cuts all rows of a batch at once, and π is the same everywhere. Tallec and Ollivier let it vary.
 * - Section 9 compares networks on tasks of which we know the answer. Jordan's own network fed back a decaying trace of its
 *   outputs, which remembers a little more than ours.
 *
 * ## What to remember
 *
 * - A tape is a list of what was computed, in order. Read backwards it gives every derivative, at about the price of the way
 *   forward, as long as everything is kept.
 * - Going back n steps multiplies by n matrices and n slopes. ρ · slope is the factor a step: below 1 the gradient
 *   vanishes, above 1 it explodes. Saturation shrinks it whatever ρ is.
 * - Clipping bounds the step and leaves its direction. It is needed at few steps, and without it one of them is the end.
 * - Truncation makes an error that is always the same; randomizing turns it into noise that is never the same. Both are
 *   paid for.
 * - Carry the state and cut the gradient; copy the state after the way back. And compare curves only where they
 *   answer the same question.
 * - What is not fed back cannot be remembered. What is fed back by accident can.
 *
 * Clipping mends explosions. Against vanishing nothing in this chapter helps, because it is no accident of training but a
 * product of numbers below 1. The next chapter changes the factors.
 *
 * ## References
 *
 * - I. Goodfellow, Y. Bengio, A. Courville, "Deep Learning", MIT Press 2016, sections 6.5.7 and 10.2.1. The graph; networks
 *   with feedback from the output.
 * - P. Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the IEEE 78, 1990.
 * - S. Hochreiter, "Untersuchungen zu dynamischen neuronalen Netzen", diploma thesis, TU München 1991; Y. Bengio, P.
 *   Simard, P. Frasconi, "Learning long-term dependencies with gradient descent is difficult", IEEE Transactions on
 *   Neural Networks 5, 1994. Vanishing gradients.
 * - R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013. Spectral
 *   radius, clipping.
 * - L. Trefethen, M. Embree, "Spectra and pseudospectra", Princeton University Press 2005. Non-normal matrices.
 * - R. Williams, J. Peng, "An efficient gradient-based algorithm for on-line training of recurrent network trajectories",
 *   Neural Computation 2, 1990. Truncation.
 * - C. Tallec, Y. Ollivier, "Unbiasing truncated backpropagation through time", arXiv:1705.08209, 2017. Randomized truncation.
 * - A. Zhang, Z. Lipton, M. Li, A. Smola, "Dive into deep learning", Cambridge University Press 2023, and
 *   arXiv:2106.11342; the chapters on recurrent networks. Sampling, truncation, the reference run.
 * - J. Elman, "Finding structure in time", Cognitive Science 14, 1990; M. Jordan, "Serial order: a parallel distributed
 *   processing approach", ICS report 8604, University of California, San Diego 1986.
 * - The recurrence of section 3, the graph and the kinds of feedback are from the lecture on sequence prediction, Aprendizaje
 *   Automático, class 9, Universidad de Buenos Aires. See docs/references.md.                                               */
