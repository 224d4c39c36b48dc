/* # 1. Letter by letter: a recurrent network with nothing hidden
 *
 * Cover the end of this lin_ and you know which letter is missing, because you have read the ones before it. A program that
 * predicts the next letter of a text has to do the same: keep something of what it has read. This chapter builds the
 * smallest network that can, and builds all of it from loops and matrix products. Every derivative is taken by hand, once. From chapter
 * 02 on a machine takes them for us, and you will know what the machine does.
 *
 *     run        make chapter-01                                        about 20 s on two cores
 *                make chapter-01 ARGS='--preset reference'              about 15 s
 *     writes     out/01_rnn_scratch/curve.csv, activations.csv, timing.csv, samples.txt
 *     look at    out/01_rnn_scratch/curve.png (drawn by make): how unsure the network is about the next letter, from 33 down
 *                to about 6
 *
 * What you need: matrix products, the chain rule, and C. What you get: perplexity, the recurrent step, backpropagation
 * through time, gradient clipping, an adaptive step size, and a first look at a network that learns its text by heart.
 *
 * ## Notation
 *
 * These letters mean the same in all eight chapters:
 *
 * | letter | meaning                                  | in the reference run |
 * | ------ | ---------------------------------------- | -------------------- |
 * | B      | batch: sequences handled side by side    | 1024                 |
 * | T      | time: symbols in a sequence              | 32                   |
 * | V      | vocabulary: distinct symbols             | 33                   |
 * | H      | hidden width: numbers in the state       | 32                   |
 *
 * (m,n) after a name is its shape: m rows, n columns. Vectors are rows, so a batch of them is a matrix with B rows, and a
 * layer multiplies from the right: h Wh, (B,H)(H,H) → (B,H). ⊙ multiplies element by element. dX is short for ∂L/∂X, the
 * derivative of the loss with respect to X; it always has X's shape. In the code `real` is float.                                                                    */
#include "workbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int seed, threads;
    const char *out, *corpus, *prompt;
    int epochs, batch, window, hidden, train, test, length;
    double lr, clip, temperature;
} Config;

/* ## 1. How good is a guess? Perplexity
 *
 * Before any network, decide how to tell a good prediction from a bad one. Take a bag with four balls, numbered 1 to 4. I
 * draw one, you find out which by questions that I answer with yes or no. "Is it above 2? Is it odd?" Two questions always
 * do. Now the bag {1,1,1,1,2,2,3,4}: ask first "is it 1?", and half of the time one question is enough. On average you
 * need 4/8·1 + 2/8·2 + 2/8·3 = 1.75 questions. You guess better because you know that the bag is uneven, and the entropy
 * measures how uneven. A ball with probability q(i) costs -log₂ q(i) questions, so
 *
 *     entropy(q) = - Σ q(i) log₂ q(i)                  (1.1)   in bits: the questions that one draw costs on average
 *     perplexity = 2^entropy                           (1.2)
 *
 * (Exactly so where the probabilities are powers of ½, as here; otherwise it is what no plan of questions can beat.)
 * Perplexity says the same in a form that is easier to picture. 2 bits correspond to a fair choice among 2² = 4 balls; 1.75
 * bits to one among 2^1.75 = 3.36. A perplexity of P means: as unsure as one who picks blindly among P.
 *
 * You do not know q; a model gives p instead. If you plan your questions for p but the balls are drawn from q, you need
 *
 *     crossentropy(q,p) = - Σ q(i) log₂ p(i)  ≥  entropy(q)       (1.3)   equal only when p = q
 *
 * so a model can come down to 3.36 and no lower. From here on logarithms are natural ones and losses are in nats; a nat is
 * 1/ln 2 = 1.44 bits, and perplexity is e^loss.
 *
 * In the code that follows, four numbers z learn p from draws: p(i) = e^z(i) / Σ e^z(j), the softmax of z. The derivative of
 * (1.3), in nats, with respect to z is p - q; section 5 derives it. We do not have q, but we have draws, and if ball i was
 * drawn, p minus a 1 at place i is p - q on average. So each draw moves z a small step against that. The run shows
 *
 *     draws       0       10      100     1000    10000
 *     perplexity  4.0000  3.6920  3.4488  3.3739  3.3646     and 3.3636 is the bag's own                                  */
enum { BALLS = 4 };

static const real bag[BALLS] = { 4 / (real)8, 2 / (real)8, 1 / (real)8, 1 / (real)8 };

/* e^crossentropy(bag, p); r_log is the natural logarithm, perplexity(nats) is e^nats */
static double guess_perplexity(const real *p)
{
    double nats = 0;
    for (int i = 0; i < BALLS; i++) nats -= (double)(bag[i] * r_log(p[i]));
    return perplexity(nats);
}

static void guessing_game(uint64_t seed)
{
    Rng rng = rng_new(seed, 1);
    real z[BALLS] = { 0 }, p[BALLS];
    printf("guessing  draws     perplexity   (the bag's own: %.4f)\n", guess_perplexity(bag));
    for (int draw = 0, show = 0; draw <= 10000; draw++) {
        mat_softmax(mat_over(p, 1, BALLS), mat_over(z, 1, BALLS), NULL);
        if (draw == show) {
            printf("          %-9d %.4f\n", draw, guess_perplexity(p));
            show = show ? 10 * show : 10;
        }
        int ball = rng_categorical(&rng, bag, BALLS);
        real step = 1 / (real)(draw / 10 + 10);                  /* ever smaller, or the last draws would count too much */
        for (int i = 0; i < BALLS; i++) z[i] -= step * (p[i] - (i == ball));
    }
}

/* ## 2. Symbols
 *
 * The text is Don Quijote, or whatever --corpus names. To keep things small we fold it: capitals become small letters, and
 * every run of characters that are not letters of Spanish becomes one space, so "¡Válame Dios! —dijo Sancho" is read as
 * " válame dios dijo sancho". That leaves 33 symbols of the book. The vocabulary numbers them by falling frequency: 0 is the
 * space, 1 is e, 2 is a.
 *
 * A network cannot read the number 7 as a letter: 7 is not larger than 3 here, merely different. So a symbol enters as a row of
 * zeros with a single 1 at its place, a one-hot row x (1,V). The first thing that happens to x is a product with a matrix
 * Wx (V,H), and nearly all of that product is zeros:
 *
 *     x Wx = Σᵥ x[v] Wx[v] = Wx[id]                    (2.1)   a row lookup
 *
 * So the one-hot row is never built. The program keeps ids, and where the equations say x Wx it copies a row. The way back
 * is just as simple: the derivative flows into that row alone (section 5).
 *
 * Training cuts the ids into windows that overlap: window i is the T+1 symbols from place i on. The first T are the input,
 * the last T the targets, shifted by one: at every place the network has to name the symbol that comes next.
 *
 *     ids        e n _ u n _ l u g a r          window 0, T = 4
 *     input      e n _ u
 *     target       n _ u n
 *
 * A trap hides in the numbers. The reference run trains on 20,480 windows, which sounds like a lot. But neighbouring windows
 * share 31 of 32 symbols: together they are the first 20,512 letters of the book, some ten pages. Remember that when you
 * look at the curve. The test windows begin where the last training window has ended, so that none of their symbols was
 * trained on.                                                                                                              */
typedef struct {
    Vocab vocab;
    int *ids, n;                             /* the text as ids */
    int train, test;                         /* windows; the training ones start at 0 … train-1 */
    int test_start;                          /* where the first test window starts */
} Data;

static Data data_open(const Config *o)
{
    Text text = text_open(o->corpus);
    text_from(&text, "En un lugar de la Mancha,");                       /* where the story begins, past title and licences */
    text_letters(&text);
    Data d = { .vocab = vocab_new(text.code, text.n), .n = text.n, .train = o->train, .test = o->test,
               .test_start = o->train + o->window };
    if (d.n < d.test_start + d.test + o->window)
        die("%s: %d letters; %d windows to train on and %d to test with need %d", text.source, d.n, d.train, d.test,
            d.test_start + d.test + o->window);
    d.ids = vocab_encode(&d.vocab, &text);
    printf("text      %s\n          %d letters, %d symbols\n", text.source, d.n, d.vocab.size);
    text_free(&text);
    return d;
}

/* ## 3. The network
 *
 * It has a state h (1,H), H numbers in (-1,1), all that it keeps of what it has read. Each symbol x moves the state, and
 * from the state the network predicts what comes next:
 *
 *     hₜ = tanh(xₜ Wx + hₜ₋₁ Wh + b)                   (3.1)
 *     oₜ = hₜ Wo + c                                   (3.2)   logits: a score for each symbol
 *     pₜ = softmax(oₜ),  pₜ[v] = e^oₜ[v] / Σ e^oₜ[u]    (3.3)   scores become probabilities
 *
 * with x (B,V), h (B,H), Wx (V,H), Wh (H,H), b (1,H), Wo (H,V), c (1,V), o and p (B,V), and h₋₁ = 0; b and c are added to every row. Look at (3.1): the
 * state goes into itself. Wh is what makes the network recurrent; take it away and each letter is guessed from the one
 * before it alone. The same five matrices serve at every place of the sequence, however long it is.
 *
 * You will also see (3.1) written with a single matrix: put x and h side by side, Wx above Wh, and
 *
 *     xₜ Wx + hₜ₋₁ Wh = [xₜ, hₜ₋₁] [Wx ; Wh]            (3.4)
 *
 * It is the same sum, term by term. stacked_check computes it both ways in the run; here they agree to the last bit, since
 * our products add their terms in order and the zeros of x add nothing.
 *
 * All parameters lie in one flat block, and the matrices are views into it. Whatever is one number per parameter, as the
 * gradient is and what the optimizer remembers, is a block of the same layout: an Rnn too.                                 */
typedef struct {
    int V, H;
    size_t size;                             /* reals in the block */
    real *block;
    Matrix Wx, Wh, b, Wo, c;                 /* (V,H) (H,H) (1,H) (H,V) (1,V), one behind the other in the block */
} Rnn;

static Rnn rnn_new(int V, int H)
{
    Rnn m = { .V = V, .H = H };
    struct { Matrix *at; int rows, cols; } part[] = { { &m.Wx, V, H }, { &m.Wh, H, H }, { &m.b, 1, H }, { &m.Wo, H, V }, { &m.c, 1, V } };
    enum { PARTS = sizeof part / sizeof *part };
    for (int i = 0; i < PARTS; i++) m.size += (size_t)part[i].rows * (size_t)part[i].cols;
    m.block = allocate(m.size, sizeof(real));
    size_t at = 0;
    for (int i = 0; i < PARTS; i++) {
        *part[i].at = mat_over(m.block + at, part[i].rows, part[i].cols);
        at += mat_size(*part[i].at);
    }
    return m;
}

/* Weights begin as small random numbers, N(0,1)·0.01, biases as zeros. Small, so that tanh is steep everywhere at first; not
 * all equal, or all H numbers of the state would stay equal for ever, because each receives the same gradient. */
static void rnn_init(Rnn *m, Rng *rng)
{
    Matrix weights[] = { m->Wx, m->Wh, m->Wo };
    for (int i = 0; i < 3; i++)
        for (size_t j = 0; j < mat_size(weights[i]); j++) weights[i].at[j] = (real)0.01 * rng_normal(rng);
}

/* (3.1) for B sequences side by side: x holds their B ids, before (B,H) their states; h (B,H) becomes their new ones. */
static void rnn_step(const Rnn *m, const int *x, Matrix before, Matrix h)
{
    mat_gather(h, m->Wx, x);                                             /* (2.1): row i is row x[i] of Wx */
    matmul_nn(h, before, m->Wh, ADD);
    mat_add_row(h, m->b);
    mat_tanh(h, h);                                                      /* (3.1) */
}

/* (3.2): o (B,V) from h (B,H). */
static void rnn_output(const Rnn *m, Matrix h, Matrix o)
{
    matmul_nn(o, h, m->Wo, SET);
    mat_add_row(o, m->c);                                                /* (3.2) */
}

/* The largest difference between the two sides of (3.4), for B symbols x and B states before them. */
static double stacked_check(const Rnn *m, const int *x, Matrix before)
{
    int B = before.rows;
    Matrix xh = mat_new(B, m->V + m->H), W = mat_new(m->V + m->H, m->H), both = mat_new(B, m->H), h = mat_new(B, m->H);
    for (int i = 0; i < B; i++) mat_row(xh, i)[x[i]] = 1;                /* the one-hot row, for once */
    mat_copy(mat_cols(xh, m->V, m->H), before);
    mat_copy(mat_rows(W, 0, m->V), m->Wx);
    mat_copy(mat_rows(W, m->V, m->H), m->Wh);
    matmul_nn(both, xh, W, SET);
    mat_add_row(both, m->b);
    mat_tanh(both, both);
    rnn_step(m, x, before, h);
    double largest = 0;
    for (size_t i = 0; i < mat_size(h); i++) {
        double difference = fabs((double)(h.at[i] - both.at[i]));
        if (difference > largest) largest = difference;
    }
    mat_free(&xh), mat_free(&W), mat_free(&both), mat_free(&h);
    return largest;
}

/* ## 4. Forward through time
 *
 * A batch is B windows; its ids lie in x and y (T,B), a row for each time step. The loss is the mean over all B·T places of how
 * surprised the network was by what came:
 *
 *     L = - 1/(BT) Σₜ Σᵢ ln pₜ[i, yₜ[i]]               (4.1)   nats per symbol; e^L is the perplexity
 *
 * A network that knows nothing gives every symbol 1/V, so it begins at ln 33 = 3.497, perplexity 33. Look at epoch 0 of a
 * run: if it does not begin there, something is wrong before any learning has happened. It is the cheapest test there is.
 *
 * Forward keeps two things for the way back: every state hₜ, because (3.1)'s derivative needs it, and every pₜ. That is the
 * price of backpropagation: memory that grows with T.                                                                      */
typedef struct {
    int B, T;
    int *x, *y;                              /* (T,B) ids */
    Matrix h;                                /* ((T+1) B, H): row block 0 is h₋₁ = 0, block t+1 is hₜ */
    Matrix p;                                /* (T B, V): the logits, then pₜ, and on the way back doₜ */
    Matrix dh, dz;                           /* (B,H) */
    real *loss;                              /* (B): of one time step */
} Unrolled;

static Unrolled unroll_new(const Rnn *m, int B, int T)
{
    size_t places = (size_t)B * (size_t)T;
    return (Unrolled){ .B = B, .T = T, .x = allocate(places, sizeof(int)), .y = allocate(places, sizeof(int)),
                       .h = mat_new((T + 1) * B, m->H), .p = mat_new(T * B, m->V), .dh = mat_new(B, m->H),
                       .dz = mat_new(B, m->H), .loss = allocate((size_t)B, sizeof(real)) };
}

static void unroll_free(Unrolled *u)
{
    free(u->x), free(u->y), free(u->loss);
    mat_free(&u->h), mat_free(&u->p), mat_free(&u->dh), mat_free(&u->dz);
}

static Matrix state(const Unrolled *u, int t)  { return mat_rows(u->h, (t + 1) * u->B, u->B); }   /* hₜ, t from -1 on */
static Matrix output(const Unrolled *u, int t) { return mat_rows(u->p, t * u->B, u->B); }

/* Fills h and p; returns L. */
static double rnn_forward(const Rnn *m, Unrolled *u)
{
    double total = 0;
    mat_fill(state(u, -1), 0);
    for (int t = 0; t < u->T; t++) {
        rnn_step(m, u->x + t * u->B, state(u, t - 1), state(u, t));
        rnn_output(m, state(u, t), output(u, t));
        mat_cross_entropy(output(u, t), u->loss, output(u, t), u->y + t * u->B);     /* (3.3), and (4.1)'s terms */
        total += (double)sum_lanes(u->loss, u->B);
    }
    return total / ((double)u->B * u->T);                                            /* (4.1) */
}

/* ## 5. Backward through time
 *
 * Now the derivatives, from the loss to the weights, against the direction in which the numbers were made. Unrolled, three
 * steps of the network look like this. On the way back every arrow is walked the other way, and where two arrows leave a
 * value, two derivatives arrive at it and are added:
 *
 *              L₀                   L₁                   L₂
 *              ↑                    ↑                    ↑
 *              o₀                   o₁                   o₂
 *              ↑                    ↑                    ↑
 *     0   →    h₀         →         h₁         →         h₂
 *              ↑                    ↑                    ↑
 *              x₀                   x₁                   x₂
 *
 * **From L to o.** For one place with target y: L = -ln p[y] = ln Σ e^o[u] - o[y]. Differentiate with respect to o[v]: the
 * first term gives e^o[v] / Σ e^o[u], which is p[v]; the second gives -1 where v = y. So
 *
 *     doₜ = pₜ - onehot(yₜ)                            (5.1)
 *
 * What the network said, minus what it should have said. That it comes out so plain is why softmax and cross-entropy are
 * used together. The factor 1/(BT) of (4.1) belongs here too; but it is common to all derivatives that follow, and every
 * step from here to the weights is linear, so the program multiplies by it once, at the very end.
 *
 * **Through a product.** Let Z = A W + b. Z[i,j] = Σₖ A[i,k] W[k,j] + b[j], so W[k,j] moves Z[i,j] by A[i,k], in every row
 * i, and b[j] moves it by 1: dW[k,j] = Σᵢ A[i,k] dZ[i,j], db[j] = Σᵢ dZ[i,j]. A goes the same way as W. In matrices
 *
 *     dW += Aᵀ dZ      dA += dZ Wᵀ      db += Σ over the rows of dZ      (5.2)
 *
 * If you forget which goes where, the shapes tell: with A (B,K), W (K,N), dZ (B,N) only one product gives (K,N).
 *
 * **From o to h.** The state hₜ is used twice: for the output at t, and for the next state. One derivative comes from oₜ
 * through (3.2); the other is what step t+1 hands back, which we call `from_next`; at the last step it is 0:
 *
 *     dhₜ = doₜ Woᵀ + from_next                        (5.3)
 *     dWo += hₜᵀ doₜ        dc += Σ over the rows of doₜ  (5.4)
 *
 * **Through tanh.** Its slope is 1 - tanh², so with zₜ for the sum inside (3.1):
 *
 *     dzₜ = dhₜ ⊙ (1 - hₜ²)                            (5.5)
 *
 * **From z to everything in it.** (5.2) again; for Wx the product with a one-hot row touches one row for each sequence i:
 *
 *     dWx[xₜ[i]] += dzₜ[i]  dWh += hₜ₋₁ᵀ dzₜ       db += Σ over the rows of dzₜ      (5.6)
 *     from_next = dzₜ Whᵀ                              (5.7)   what this step hands to the one before it
 *
 * Two traps. The sums run over all t, because every step used the same matrices: += and not =, and somebody has to set the
 * gradient to zero first. And (5.7) contains the problem that chapter 02 is about: going back k steps multiplies by Whᵀ, and
 * by a slope of at most one, k times.
 *
 * Derivatives by hand are wrong at first. The test that finds it changes one weight a little up and a little down and
 * compares the loss's change with the derivative: `make test` does so for every weight of this network, in double precision
 * (tests/test_gradients.c), and chapter 02 compares with a machine's derivatives.                                          */

/* The way back through (3.2): d_o (B,V) is given; dh (B,H) comes in as from_next and leaves as dhₜ; g adds up. */
static void rnn_output_back(const Rnn *m, Rnn *g, Matrix h, Matrix d_o, Matrix dh)
{
    matmul_nt(dh, d_o, m->Wo, ADD);                                      /* (5.3) */
    matmul_tn(g->Wo, h, d_o, ADD);                                       /* (5.4) */
    mat_sum_rows(g->c, d_o, ADD);
}

/* The way back through (3.1): dh (B,H) comes in as dhₜ and leaves as from_next for step t-1; dz (B,H) is room; g adds up. */
static void rnn_step_back(const Rnn *m, Rnn *g, const int *x, Matrix before, Matrix h, Matrix dh, Matrix dz)
{
    for (size_t i = 0; i < mat_size(h); i++) dz.at[i] = dh.at[i] * (1 - h.at[i] * h.at[i]);          /* (5.5) */
    mat_scatter(g->Wx, x, dz);                                                                       /* (5.6) */
    matmul_tn(g->Wh, before, dz, ADD);
    mat_sum_rows(g->b, dz, ADD);
    matmul_nt(dh, dz, m->Wh, SET);                                                                   /* (5.7) */
}

/* g = the gradient of L at the batch that rnn_forward has just seen. */
static void rnn_backward(const Rnn *m, Rnn *g, Unrolled *u)
{
    real mean = 1 / ((real)u->B * (real)u->T);
    memset(g->block, 0, g->size * sizeof(real));
    mat_fill(u->dh, 0);                                                  /* nothing comes back from beyond the end */
    for (int t = u->T - 1; t >= 0; t--) {
        Matrix d_o = output(u, t);
        const int *x = u->x + t * u->B, *y = u->y + t * u->B;
        for (int i = 0; i < u->B; i++) mat_row(d_o, i)[y[i]] -= 1;       /* (5.1) */
        rnn_output_back(m, g, state(u, t), d_o, u->dh);
        rnn_step_back(m, g, x, state(u, t - 1), state(u, t), u->dh, u->dz);
    }
    for (size_t i = 0; i < g->size; i++) g->block[i] *= mean;
}

/* ## 6. Down the gradient, carefully
 *
 * The gradient points the way in which the loss grows fastest. A small step the other way lowers it, and how small is the
 * question. Two precautions.
 *
 * **Clipping.** The product of many Whᵀ in (5.7) may grow instead of shrinking, and then one batch can yield a gradient many
 * times the usual, and one step along it throws the weights far away. So if its length, over all parameters together, is
 * above θ, it is cut to θ; its direction stays:
 *
 *     g ← min(1, θ/‖g‖) g                              (6.1)   θ = 1
 *
 * It is a safety belt. In the reference run it never tightens (grad_norm in curve.csv stays below 0.4); chapter 02 shows a
 * run that is lost without it.
 *
 * **A step size for every parameter.** The row of Wx for "e" gets a gradient in every batch, that for "ñ" rarely. Adadelta
 * (Zeiler 2012) scales each parameter's step by how large its own gradients have been of late, s, and by how large its own
 * steps have been, u; ρ = 0.9 makes "of late" mean about the last ten batches:
 *
 *     s ← ρ s + (1-ρ) g²                               (6.2)
 *     d = g √(u + ε) / √(s + ε)                        (6.3)   ε = 10⁻⁶ starts it off: at first u = 0
 *     u ← ρ u + (1-ρ) d²                               (6.4)
 *     w ← w - η d                                      (6.5)   η = 1
 *
 * Everything here is element by element over the flat block. The optimizer does not know what a layer is.                  */
/* (6.1) with θ = limit; returns ‖g‖ as it was before. */
static double clip_gradient(Rnn *g, double limit)
{
    double norm = sqrt(sum_squares(g->block, g->size));
    if (norm > limit)
        for (size_t i = 0; i < g->size; i++) g->block[i] *= (real)(limit / norm);        /* (6.1) */
    return norm;
}

typedef struct { Rnn s, u; } Adadelta;

/* (6.2) to (6.5) with η = lr, for every parameter of m. */
static void adadelta_step(Rnn *m, const Rnn *g, Adadelta *memory, double lr)
{
    const real rho = (real)0.9, eps = (real)1e-6, eta = (real)lr;
    real *w = m->block, *s = memory->s.block, *u = memory->u.block;
    for (size_t i = 0; i < m->size; i++) {
        real gi = g->block[i];
        s[i] = rho * s[i] + (1 - rho) * gi * gi;                         /* (6.2) */
        real d = gi * real_sqrt(u[i] + eps) / real_sqrt(s[i] + eps);     /* (6.3) */
        u[i] = rho * u[i] + (1 - rho) * d * d;                           /* (6.4) */
        w[i] -= eta * d;                                                 /* (6.5) */
    }
}

/* ## 7. Training, and an honest test
 *
 * An epoch shows every training window once, in a new random order. The curve records the mean loss over the epoch's batches
 * as they are trained on, and after the epoch the loss on the test windows, which are never trained on.
 *
 * The notebook that this run comes from printed a "test perplexity" too, and it fell as beautifully as the training curve.
 * It was computed in a loop over the test batches that added up, at each turn, the loss of the *last training batch*: a
 * variable's name was wrong. No error, no warning, a nice curve. A number that is too good deserves as much suspicion as one
 * that is too bad.
 *
 * The true test curve tells another story. These are the perplexities of the reference run on Don Quijote, the means of
 * `--seed 1`, `2` and `3`:
 *
 *     epoch        0       1       5      11      20      50     100
 *     train            31.54   16.50   10.84    8.88    6.78    5.81
 *     test     33.00   27.59   16.13   10.60    8.77    6.94    6.32
 *
 * Three things to see. First the plateau: from epoch 2 to 5 nothing seems to happen, near 17. That is the perplexity of the
 * unigram line in the plot, 17.02: the network has learned how often each letter occurs, and its state is still of no use,
 * because with weights near 0.01 hardly anything comes back through (5.7). Then the state catches on, and the curve falls
 * again. Last, train and test go together up to epoch 20 or 30, then they part. What the network learns from its ten pages
 * helps less and less on the pages after them. It has 33·32 + 32·32 + 32 + 32·33 + 33 = 3,201 parameters, a sixth of the
 * number of letters that it reads again and again, and it has begun to learn them by heart. Give it room to do so properly,
 * with `--preset reference --hidden 128 --epochs 150`, and the test curve does not merely fall behind; it turns upward:
 *
 *     epoch       20      50      85     100     150
 *     train     8.21    6.17    4.68    4.19    3.28
 *     test      8.40    6.58    6.23    6.47    7.40
 *
 * This is overfitting, and nothing but an honest test shows it. From about epoch 80 on, training makes the network worse at
 * the only thing it is for, while the training curve keeps looking better.                                                */
typedef struct {
    Rnn model, gradient;
    Adadelta memory;
    Unrolled train, test;
} Trainer;

static Trainer trainer_new(const Config *o, int V)
{
    Trainer t = { .model = rnn_new(V, o->hidden), .gradient = rnn_new(V, o->hidden) };
    t.memory = (Adadelta){ .s = rnn_new(V, o->hidden), .u = rnn_new(V, o->hidden) };
    t.train = unroll_new(&t.model, o->batch, o->window);
    t.test = unroll_new(&t.model, o->batch, o->window);
    Rng rng = rng_new((uint64_t)o->seed, 2);
    rnn_init(&t.model, &rng);
    return t;
}

static void trainer_free(Trainer *t)
{
    free(t->model.block), free(t->gradient.block), free(t->memory.s.block), free(t->memory.u.block);
    unroll_free(&t->train), unroll_free(&t->test);
}

static double train_batch(Trainer *t, const Config *o, const int *ids, const int *start, double *norm)
{
    window_batch(ids, start, t->train.B, t->train.T, t->train.x, t->train.y);
    double loss = rnn_forward(&t->model, &t->train);
    rnn_backward(&t->model, &t->gradient, &t->train);
    *norm = clip_gradient(&t->gradient, o->clip);
    adadelta_step(&t->model, &t->gradient, &t->memory, o->lr);
    return loss;
}

/* The mean loss over all test windows, in batches; the last batch may be a smaller one. */
static double test_loss(Trainer *t, const Data *d)
{
    double total = 0;
    int whole = t->test.B, *start = allocate((size_t)whole, sizeof *start);
    for (int done = 0; done < d->test; done += t->test.B) {
        t->test.B = d->test - done < whole ? d->test - done : whole;
        for (int i = 0; i < t->test.B; i++) start[i] = d->test_start + done + i;
        window_batch(d->ids, start, t->test.B, t->test.T, t->test.x, t->test.y);
        total += rnn_forward(&t->model, &t->test) * t->test.B;
    }
    t->test.B = whole;
    free(start);
    return total / d->test;
}

/* ## 8. Writing
 *
 * Read a beginning, symbol by symbol; then choose a next symbol from p, read it as if it had been there, and go on. How to
 * choose? The likeliest one, always (argmax), gives a text that soon runs in circles: the network is in the same state again
 * and says the same again. Drawing by the probabilities does not. A temperature τ lies between: softmax(o/τ) sharpens the
 * choice for τ < 1 and flattens it for τ > 1. In the default run on Don Quijote, after "quijote y sancho ":
 *
 *     argmax      quijote y sancho de su caballero y al caballero de su caballero y al caballero de su caballero y
 *     sampled     quijote y sancho dímos dal aderga dichos y desarar a su otes de la cual afacer en se nijote de lo
 *
 * The sample has τ = 0.7. Nonsense, but with the sound of Spanish, from a network that was never shown more than 32 letters
 * at a time.                                                                                                               */
/* The id of the next symbol after the state h (1,H): the likeliest where temperature is 0, the first of equals. */
static int choose(const Rnn *m, Matrix h, double temperature, Rng *rng)
{
    Matrix o = mat_new(1, m->V), p = mat_new(1, m->V);
    rnn_output(m, h, o);
    int best = 0;
    for (int v = 1; v < m->V; v++) if (o.at[v] > o.at[best]) best = v;
    if (temperature > 0) {
        real top = o.at[best], tau = (real)(temperature > 1e-30 ? temperature : 1e-30);
        for (int v = 0; v < m->V; v++) o.at[v] = (o.at[v] - top) / tau;  /* - top: else a small τ would make infinities */
        mat_softmax(p, o, NULL);
        best = rng_categorical(rng, p.at, m->V);
    }
    mat_free(&o), mat_free(&p);
    return best;
}

/* The prompt's ids, folded like the text. */
static int *encode_prompt(const Data *d, const Config *o, int *n)
{
    Text prompt = text_of_utf8(o->prompt, strlen(o->prompt), "--prompt");
    text_letters(&prompt);
    int *ids = vocab_encode(&d->vocab, &prompt);
    *n = prompt.n;
    text_free(&prompt);
    return ids;
}

static void write_text(FILE *f, const Rnn *m, const Data *d, const Config *o, double temperature)
{
    Rng rng = rng_new((uint64_t)o->seed, 3);
    int n, *ids = encode_prompt(d, o, &n);
    Matrix h = mat_new(1, m->H), next = mat_new(1, m->H);
    char room[UTF8_ROOM];
    for (int i = 0; i < n + o->length && !interrupted(); i++) {
        int id = i < n ? ids[i] : choose(m, h, temperature, &rng);
        rnn_step(m, &id, h, next);
        mat_copy(h, next);
        fputs(utf8_of(d->vocab.code[id], room), f);
    }
    fputc('\n', f);
    mat_free(&h), mat_free(&next);
    free(ids);
}

/* ## 9. Why tanh? A table of activations
 *
 * Any curve that is not a straight line could stand in (3.1). What matters on the way back is its slope, because (5.5)
 * multiplies by it at every step:
 *
 * | name       | f(x)                    | slope            | on the way back                                        |
 * | ---------- | ----------------------- | ---------------- | ------------------------------------------------------ |
 * | sigmoid    | 1/(1+e⁻ˣ)               | f(1-f)           | at most 1/4: every step shrinks the gradient fourfold  |
 * | tanh       | (eˣ-e⁻ˣ)/(eˣ+e⁻ˣ)       | 1-f²             | 1 around 0, towards 0 far out                          |
 * | relu       | max(x,0)                | 0 or 1           | passes or blocks; the state itself may grow for ever   |
 * | leaky relu | max(x, x/10)            | 0.1 or 1         | never quite blocks                                     |
 * | maxout     | max(x, -x/2), say       | 1 or -1/2        | the larger of straight lines, whose slopes are learned |
 * | elu        | x, or eˣ-1 below 0      | 1, or eˣ         | smooth, with a floor at -1                             |
 *
 * tanh is the one whose values stay in (-1,1) and are centred on 0, with a slope near 1 where the state begins. activations.csv
 * has them all from -4 to 4; `make plots` draws each with its slope.                                                       */
typedef struct { double y, slope; } Point;

static Point at_sigmoid(double x)    { double y = (double)r_sigmoid((real)x); return (Point){ y, y * (1 - y) }; }
static Point at_tanh(double x)       { double y = (double)r_tanh((real)x); return (Point){ y, 1 - y * y }; }
static Point at_relu(double x)       { return x > 0 ? (Point){ x, 1 } : (Point){ 0, 0 }; }
static Point at_leaky_relu(double x) { return x > 0 ? (Point){ x, 1 } : (Point){ x / 10, 0.1 }; }
static Point at_maxout(double x)     { return x > 0 ? (Point){ x, 1 } : (Point){ -x / 2, -0.5 }; }
static Point at_elu(double x)        { double e = (double)r_exp((real)x); return x > 0 ? (Point){ x, 1 } : (Point){ e - 1, e }; }

static void write_activations(const Config *o)
{
    static const struct { const char *name; Point (*at)(double); } row[] = {
        { "sigmoid", at_sigmoid }, { "tanh", at_tanh }, { "relu", at_relu },
        { "leaky relu", at_leaky_relu }, { "maxout", at_maxout }, { "elu", at_elu },
    };
    Output *out = output_open(o->out, "activations.csv");
    FILE *f = output_file(out);
    fputs("name,x,y,slope\n", f);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (int step = -80; step <= 80; step++) {
            double x = step / 20.0;
            Point p = row[i].at(x);
            fprintf(f, "%s,", row[i].name);
            csv_number(f, x), fputc(',', f);
            csv_number(f, p.y), fputc(',', f);
            csv_number(f, p.slope), fputc('\n', f);
        }
    output_close(out);
}

/* ## 10. The run                                                                                                           */
static void report(Curve *curve, long epoch, long step, long tokens, double train, double test, double norm, double lr)
{
    curve_add(curve, (CurveRow){ .model = "rnn", .split = "train", .epoch = epoch, .step = step, .tokens = tokens,
                                 .loss = train, .grad_norm = norm, .lr = lr });
    curve_add(curve, (CurveRow){ .model = "rnn", .split = "test", .epoch = epoch, .step = step, .tokens = tokens, .loss = test });
    printf("epoch %4ld   train %8.4f   test %8.4f\n", epoch, perplexity(train), perplexity(test));
    fflush(stdout);
}

/* Lines to compare with: knowing only how many symbols there are, and knowing how often each occurs in the training text. */
static void add_baselines(Curve *curve, const Data *d)
{
    int V = d->vocab.size, *count = allocate((size_t)V, sizeof *count);
    double unigram = 0;
    for (int v = 0; v < V; v++) count[v] = 1;                            /* so that none is impossible */
    for (int i = 0; i < d->test_start; i++) count[d->ids[i]]++;
    for (int i = 0; i < d->test; i++)
        unigram -= (double)r_log((real)count[d->ids[d->test_start + i]] / (real)(d->test_start + V)) / d->test;
    curve_add(curve, (CurveRow){ .model = "uniform", .split = "baseline", .loss = (double)r_log((real)V) });
    curve_add(curve, (CurveRow){ .model = "unigram", .split = "baseline", .loss = unigram });
    printf("unigram                         test %8.4f   from the frequencies of the letters alone\n", perplexity(unigram));
    free(count);
}

static void train(Trainer *t, const Data *d, const Config *o)
{
    Curve curve = curve_open(o->out, (uint64_t)o->seed);
    Output *timing = output_open(o->out, "timing.csv");
    Rng rng = rng_new((uint64_t)o->seed, 4);
    int *order = allocate((size_t)d->train, sizeof *order), batches = d->train / o->batch;
    long step = 0, per_batch = (long)o->batch * o->window;
    for (int i = 0; i < d->train; i++) order[i] = i;
    fputs("model,epoch,seconds,tokens_per_second\n", output_file(timing));
    double first = test_loss(t, d);
    curve_add(&curve, (CurveRow){ .model = "rnn", .split = "test", .loss = first });
    add_baselines(&curve, d);
    printf("epoch    0                      test %8.4f   perplexity, before any learning\n", perplexity(first));
    for (int epoch = 1; epoch <= o->epochs && !interrupted(); epoch++) {
        double begun = seconds_now(), total = 0, norm = 0;
        int done = 0;
        rng_shuffle(&rng, order, d->train);
        for (; done < batches && !interrupted(); done++, step++) {
            total += train_batch(t, o, d->ids, order + done * o->batch, &norm);
            progress_line("training", step, (long)o->epochs * batches, total / (done + 1));
        }
        if (done == 0) break;
        double seconds = seconds_now() - begun;
        fprintf(output_file(timing), "rnn,%d,%.4f,%.0f\n", epoch, seconds, (double)(done * per_batch) / seconds);
        progress_end();
        report(&curve, epoch, step, step * per_batch, total / done, test_loss(t, d), norm, o->lr);
    }
    curve_close(&curve);
    output_close(timing);
    free(order);
}

static void write_samples(const Trainer *t, const Data *d, const Config *o)
{
    Output *out = output_open(o->out, "samples.txt");
    for (int sampled = 0; sampled < 2; sampled++)
        for (int to_file = 0; to_file < 2; to_file++) {
            FILE *f = to_file ? output_file(out) : stdout;
            fprintf(f, "%-10s", sampled ? "sampled" : "argmax");
            write_text(f, &t->model, d, o, sampled ? o->temperature : 0);
        }
    output_close(out);
}

static const Option options[] = {
    OPTIONS_FOR_ALL(Config),
    { "corpus", OPTION_TEXT, offsetof(Config, corpus), 0, 0, "UTF-8 text to read; else $QUIJOTE, data/quijote.txt, the pastiche" },
    { "epochs", OPTION_INT, offsetof(Config, epochs), 1, 1e6, "times that every training window is shown" },
    { "batch", OPTION_INT, offsetof(Config, batch), 1, 65536, "windows a step, B" },
    { "window", OPTION_INT, offsetof(Config, window), 1, 1024, "symbols a window, T" },
    { "hidden", OPTION_INT, offsetof(Config, hidden), 1, 4096, "numbers in the state, H" },
    { "train", OPTION_INT, offsetof(Config, train), 1, 1e8, "windows to train on" },
    { "test", OPTION_INT, offsetof(Config, test), 1, 1e8, "windows to test with, right behind them" },
    { "lr", OPTION_REAL, offsetof(Config, lr), 1e-9, 1e3, "step size, η in (6.5)" },
    { "clip", OPTION_REAL, offsetof(Config, clip), 1e-9, 1e9, "longest gradient, θ in (6.1)" },
    { "prompt", OPTION_TEXT, offsetof(Config, prompt), 0, 0, "beginning of the samples" },
    { "length", OPTION_INT, offsetof(Config, length), 1, 1e6, "symbols to write after it" },
    { "temperature", OPTION_REAL, offsetof(Config, temperature), 0, 100, "of the second sample; 0 is argmax" },
};

#define SAME .seed = 1, .out = "out/01_rnn_scratch", .window = 32, .lr = 1, .clip = 1, .prompt = "quijote y sancho ", \
             .length = 80, .temperature = 0.7

static const Config quick     = { SAME, .epochs = 4,   .batch = 256,  .hidden = 32, .train = 4096,  .test = 1024 };
static const Config usual     = { SAME, .epochs = 20,  .batch = 128,  .hidden = 64, .train = 60000, .test = 12000 };
static const Config reference = { SAME, .epochs = 100, .batch = 1024, .hidden = 32, .train = 20480, .test = 5120 };

static const Cli cli = {
    .about = "Chapter 01: a recurrent network that learns to predict the next letter, all of it by hand.",
    .options = options, .count = sizeof options / sizeof *options,
    .presets = { &quick, &usual, &reference }, .size = sizeof(Config),
};

int main(int argc, char **argv)
{
    Config o;
    cli_parse(&cli, argc, argv, &o);
    if (o.batch > o.train) die("--batch %d: expected at most --train, which is %d", o.batch, o.train);
    threads_start(o.threads);
    interrupt_catch();

    int n;
    Data data = data_open(&o);
    free(encode_prompt(&data, &o, &n));                                  /* complain of the prompt now, not after training */
    guessing_game((uint64_t)o.seed);
    write_activations(&o);
    Trainer trainer = trainer_new(&o, data.vocab.size);
    train(&trainer, &data, &o);
    printf("stacked   one matrix instead of two, (3.4): largest difference %g\n",
           stacked_check(&trainer.model, trainer.train.x, state(&trainer.train, trainer.train.T - 1)));
    write_samples(&trainer, &data, &o);

    trainer_free(&trainer);
    vocab_free(&data.vocab);
    free(data.ids);
    threads_stop();
    return interrupted() ? INTERRUPTED : 0;
}

/* ## What we simplified
 *
 * - The state starts at 0 in every window, although a window begins in the middle of a sentence. Chapter 02 carries it on.
 * - All windows have the same length. Real sequences do not; chapter 06 pads them.
 * - One layer, no embedding: the rows of Wx are both what a letter means and how it enters the state.
 * - The last, smaller batch of an epoch is left out; the next epoch's shuffle leaves out another.
 *
 * ## What to remember
 *
 * - Perplexity is the size of the bag you might as well be drawing from. It begins at V. Check that it does.
 * - A recurrent network is one step, (3.1), used again and again. Unrolled it is a deep network whose layers share weights.
 * - Backpropagation is the forward equations read from last to first. A value used twice adds two gradients.
 * - p - onehot(y): what was said minus what should have been said. With softmax and cross-entropy, gradients begin there.
 * - Overlapping windows are not more data, and only a test on text never seen tells whether anything was learned.
 *
 * ## References
 *
 * - J. Elman, "Finding structure in time", Cognitive Science 14, 1990. The network.
 * - P. Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the IEEE 78, 1990.
 * - C. Shannon, "A mathematical theory of communication", 1948, section 6. Entropy; and letters of a text, one by one.
 * - R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML 2013. Clipping.
 * - M. Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, 2012.
 * - Set-up of the reference run: the course notebook on recurrent networks of the Instituto Humai. See docs/references.md.  */
