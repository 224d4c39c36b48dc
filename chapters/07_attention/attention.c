/* # 7. Look back instead of remembering
 *
 * At the end of chapter 06 a network spoke faultless Spanish and had forgotten what it was to say. Everything that its decoder
 * knew of the source had to lie in one state of fixed size, and to last until the end. Nobody who can look again works like
 * that. Asked for the third digit of a number that is written out before you, you look at the words again: at those that matter
 * for the third digit, and at no others.
 *
 * This chapter lets the decoder do so. The encoder keeps all its states, one for every letter, and what it knows is no
 * longer reduced to the last one. Before each symbol the decoder asks a question, compares it with what stands at every
 * place of the source, and gets back a weighted average of the places, with most weight where the match is best. That is
 * *attention* (Bahdanau, Cho and Bengio 2015). The weights can be drawn, and then one sees the network read.
 *
 *     run        make chapter-07                                        less than a minute on two cores
 *                make chapter-07 ARGS='--part kernels'                  one part alone: kernels, fused, copy or numbers
 *     again      build/07_attention --load out/07_attention/to_digits.safetensors --prompt "doscientos tres mil cuatro"
 *     writes     out/07_attention/kernels.csv, curve.csv, accuracy.csv, length.csv, digits.csv, predictions.csv,
 *                attention.csv, samples.txt, timing.csv, to_digits.safetensors, to_words.safetensors
 *     look at    out/07_attention/digits.png: chapter 06's falling line, if you have run it, and the one of this chapter
 *                out/07_attention/attention.png: which letters each digit looked at
 *
 * New since chapter 06: one function (section 2), an encoder that reads in both directions (section 3), and four formulas for
 * the decoder (section 4). Batches, padding, teacher forcing and the tasks are chapter 06's.
 *
 * Shapes: B batch, S steps of the source, T steps of the target, D width of an embedding, H hidden width, A width of
 * queries and keys (here A = H), G gates of a cell, V symbols that the decoder may say. Rows are vectors. The places of all
 * sources lie in one matrix with time in rows, (S·B, …): place s of pair b is row s·B + b.                               */
#include "workbook.h"
#include "trial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    int seed, threads;
    const char *out, *part, *task, *score, *cell, *load, *prompt;
    int hidden, embedding, batch, steps, reports, test, copy_steps, fused;
    double lr, clip;
} Config;

/* ## 1. An old idea: the average of what is near
 *
 * Start without any network. There are n points (kᵢ, vᵢ), noisy measurements of some curve, and somebody asks for the curve's
 * height at q, where nothing was measured. A sensible answer is the average of the vᵢ, in which those count most whose kᵢ lie
 * near q (Nadaraya 1964, Watson 1964):
 *
 *     f(q) = Σᵢ aᵢ vᵢ         aᵢ = K(q - kᵢ) / Σⱼ K(q - kⱼ)                     (1.1)
 *
 * The *kernel* K says what near means. Three of them, with d = q - k and a width w:
 *
 *     boxcar          K(d) = 1          where |d| < w, else 0                   (1.2)
 *     Epanechnikov    K(d) = 1 - d²/w²  where |d| < w, else 0                   (1.3)
 *     Gaussian        K(d) = exp(-d² / 2w²)                                     (1.4)
 *
 * q is called the *query*, the kᵢ are the *keys* and the vᵢ the *values*. The weights aᵢ
 * are not negative and their sum is 1, so f(q) never leaves the range of the values. (A factor in front of a kernel would cancel.
 * Where no key has any weight, (1.1) says nothing; the program then answers 0.)
 *
 * Now look at the Gaussian in (1.1): aᵢ = exp(eᵢ) / Σ exp(eⱼ) with eᵢ = -(q - kᵢ)²/2w². It is a *softmax* of scores. And
 * multiply the square out:
 *
 *     eᵢ = (q kᵢ - kᵢ²/2) / w²  -  q²/2w²                                       (1.5)
 *
 * The last term is the same for all i, and a softmax does not notice what is added to all its scores. What is left is a product
 * of the query with each key, a little more for each key, and a scale. Section 2 replaces this fixed score by a learned one.
 *
 * The width can be learned already. Predict each point from all the others, and lower the squared error. (The point itself
 * must be masked: otherwise the narrowest kernel wins, by returning the point's own value.) learn_width does it with the
 * tape; what is learned is 1/w, which enters squared, so that products suffice. For comparison, best_width tries 400 widths
 * for each kernel. In the default run, the mean squared error against the curve itself, over 101 queries:
 *
 *                    at width 1     at the width that predicts left-out points best
 *     boxcar            0.4047      0.0692, width 0.430
 *     Epanechnikov      0.1544      0.0725, width 0.480
 *     Gaussian          0.7762      0.0584, width 0.230
 *     learned                       0.0582, width 0.230
 *
 * The first column compares widths rather than kernels: a Gaussian of width 1 has weight far beyond 1, where the other two
 * have none, so it blurs more. With a good width they are close: how wide matters more than which. The tape finds in 300
 * steps what the search finds in 400 tries; with a million numbers to choose at once, only one of the two would still be
 * possible.                                                                                                              */
enum { POINTS = 50, GRID = 101, KERNELS = 4 };

typedef struct { double k[POINTS], v[POINTS]; } Points;

static double truth(double x) { return 2 * (double)r_tanh((real)(3 * (x - 2))) + x / 2; }

static Points points_draw(uint64_t seed)
{
    Rng rng = rng_new(seed, 3);
    Points p;
    for (int i = 0; i < POINTS; i++) {
        p.k[i] = 4 * (double)rng_uniform(&rng);
        p.v[i] = truth(p.k[i]) + 0.5 * (double)rng_normal(&rng);
    }
    return p;
}

static double boxcar(double d, double w)       { return fabs(d) < w; }                                /* (1.2) */
static double epanechnikov(double d, double w) { return fabs(d) < w ? 1 - d * d / (w * w) : 0; }      /* (1.3) */
static double gaussian(double d, double w)     { return (double)r_exp((real)(-d * d / (2 * w * w))); }   /* (1.4) */

typedef struct { const char *name; double (*weight)(double d, double w); double w; } Kernel;

/* (1.1); 0 where no key is near */
static double kernel_average(const Kernel *kernel, const Points *p, double q)
{
    double sum = 0, weights = 0;
    for (int i = 0; i < POINTS; i++) {
        double a = kernel->weight(q - p->k[i], kernel->w);
        sum += a * p->v[i];
        weights += a;
    }
    return weights > 0 ? sum / weights : 0;
}

/* The mean squared error when each point is predicted from all others by (1.1). */
static double left_out(const Kernel *kernel, const Points *p)
{
    double total = 0;
    for (int q = 0; q < POINTS; q++) {
        double sum = 0, weights = 0;
        for (int i = 0; i < POINTS; i++) {
            double a = i == q ? 0 : kernel->weight(p->k[q] - p->k[i], kernel->w);
            sum += a * p->v[i];
            weights += a;
        }
        double error = p->v[q] - (weights > 0 ? sum / weights : 0);
        total += error * error / POINTS;
    }
    return total;
}

/* The width, of 0.005, 0.01 … 2, with the least of these errors. */
static double best_width(Kernel kernel, const Points *p)
{
    double best = 1, least = INFINITY;
    for (int i = 1; i <= 400; i++) {
        kernel.w = i / 200.0;
        double error = left_out(&kernel, p);
        if (error < least) least = error, best = kernel.w;
    }
    return best;
}

/* The same error, with Gaussian weights (1.4), on the tape; narrow (1,1) is 1/w. */
static Var *left_out_error(Var *narrow, const Points *p)
{
    Matrix v = tape_matrix(POINTS, 1);
    for (int i = 0; i < POINTS; i++) v.at[i] = (real)p->v[i];
    Var *values = v_const(v), *scale = v_mul(narrow, narrow), *f[POINTS];
    for (int q = 0; q < POINTS; q++) {
        Matrix near = tape_matrix(1, POINTS), others = tape_matrix(1, POINTS);
        for (int i = 0; i < POINTS; i++) {
            double d = p->k[q] - p->k[i];
            near.at[i] = (real)(-d * d / 2);
            others.at[i] = i != q;
        }
        Var *e = v_matmul(scale, v_const(near));                         /* (1,1)(1,n): -d²/2w² */
        f[q] = v_matmul(v_softmax(e, &others), values);                  /* (1,n)(n,1) */
    }
    Var *error = v_sub(v_vcat(f, POINTS), values);
    return v_mean(v_mul(error, error));
}

/* From width w, by Adam, to one that predicts left-out points better. */
static double learn_width(double w, const Points *p, int steps)
{
    Params params = { 0 };
    Var *narrow = param(&params, "1/w", 1, 1, init_constant(1 / w));
    params_allocate(&params, 0);
    Optim adam = optim_adam(&params, 0.4, 0);
    for (int step = 0; step < steps; step++) {
        tape_reset();
        Var *error = left_out_error(narrow, p);
        params_zero_grad(&params);
        tape_backward(error);
        adam.lr = 0.4 * schedule_cosine(step, 0, steps, 0.01);
        optim_step(&adam, &params);
    }
    w = 1 / (double)narrow->value.at[0];
    optim_free(&adam);
    params_free(&params);
    return w;
}

/* The mean squared error against the curve, which no kernel ever sees, over the grid. */
static double true_error(const Kernel *kernel, const Points *p)
{
    double total = 0;
    for (int i = 0; i < GRID; i++) {
        double q = 4.0 * i / (GRID - 1), error = kernel_average(kernel, p, q) - truth(q);
        total += error * error / GRID;
    }
    return total;
}

static void kernel_row(FILE *f, const char *panel, const char *series, double x, double y)
{
    fprintf(f, "%s,%s,", panel, series);
    csv_number(f, x), fputc(',', f), csv_number(f, y), fputc('\n', f);
}

static void show_kernels(const Config *o)
{
    enum { WIDTH_STEPS = 300 };
    Points p = points_draw((uint64_t)o->seed);
    Kernel kernel[KERNELS] = {
        { "boxcar", boxcar, 1 }, { "epanechnikov", epanechnikov, 1 }, { "gaussian", gaussian, 1 }, { "learned", gaussian, 0 },
    };
    kernel[3].w = learn_width(kernel[2].w, &p, WIDTH_STEPS);
    Output *out = output_open(o->out, "kernels.csv");
    FILE *f = output_file(out);
    fputs("panel,series,x,y\n", f);
    printf("kernels        width    error against the truth   best width    error then\n");
    for (int j = 0; j < KERNELS; j++) {
        for (int i = 0; i < GRID; i++) {
            double d = 6.0 * i / (GRID - 1) - 3, q = 4.0 * i / (GRID - 1);
            kernel_row(f, "weight", kernel[j].name, d, kernel[j].weight(d, kernel[j].w));
            kernel_row(f, "estimate", kernel[j].name, q, kernel_average(&kernel[j], &p, q));
        }
        Kernel best = kernel[j];
        best.w = best_width(best, &p);
        printf("  %-12s %.3f   %20.4f   %10.3f   %11.4f\n", kernel[j].name, kernel[j].w, true_error(&kernel[j], &p), best.w,
               true_error(&best, &p));
    }
    for (int i = 0; i < GRID; i++) kernel_row(f, "estimate", "truth", 4.0 * i / (GRID - 1), truth(4.0 * i / (GRID - 1)));
    for (int i = 0; i < POINTS; i++) kernel_row(f, "estimate", "data", p.k[i], p.v[i]);
    output_close(out);
}

/* ## 2. Attention
 *
 * Now keys and values are rows that a network has made: one for every place of the source. The query is a row too, made from the
 * state of the decoder. Two ways to score a query against a key are in use:
 *
 *     dot product    eₛ = q · kₛ                                                (2.1)   Luong, Pham and Manning (2015)
 *     additive       eₛ = va · tanh(q + kₛ)                                     (2.2)   Bahdanau, Cho and Bengio (2015)
 *
 * The first asks how well two directions agree. The second is a small network with one hidden layer: q = h Wa (4.1)
 * and K = X Ua (3.3) are the two halves of its first product, and va (1,A) is its last. Then, for either:
 *
 *     a = softmax(e)                                                            (2.3)   (1,n)      over the n places
 *     c = Σₛ aₛ xₛ = a X                                                        (2.4)   (1,n)(n,2H)   the context
 *
 * (2.3) and (2.4) are (1.1). The keys are what is searched in, the values are what is found; both are made from the same states,
 * but they need not be the same.
 *
 * For one sequence (2.1) and (2.2) are a line each, of what you know: v_add_bias adds a row to every row.                  */
static Var *score_dot(Var *q, Var *K) { return v_matmul_nt(q, K); }                                            /* (2.1)  (1,n) */

static Var *score_additive(Var *q, Var *K, Var *va) { return v_matmul_nt(va, v_tanh(v_add_bias(K, q))); }      /* (2.2)  (1,n) */

/* ## 3. An encoder that keeps everything
 *
 * What should stand at a place of the source? The state after the letters up to there, said chapter 06; but to know that a
 * "dos" ends "cuarenta y dos" one must know what came before, and to know that it begins "doscientos" what comes after. So
 * there are two encoders, one that reads from the first letter to the last, and one from the last to the first, and at each
 * place both have their say:
 *
 *     →hₛ = cell(Es[xₛ], →hₛ₋₁)        ←hₛ = cell'(Es[xₛ], ←hₛ₊₁)                (3.1)   (S·B,H) each
 *     X   = [ →h | ←h ]                                                         (3.2)   (S·B,2H) the values
 *     K   = X Ua                                                                (3.3)   (S·B,A)  the keys, once for all steps
 *     h₀  = tanh([ →h_S | ←h_1 ] Ws + bs)                                       (3.4)   (B,H)    where the decoder begins;
 *                                                                                             an LSTM's c₀ is 0
 *
 * In (3.4), place 1 is the first letter behind the padding. In chapter 05 reading both ways was cheating: the network
 * could see the letter that it had to predict. Here the whole source is given.
 *
 * The padding of chapter 06 stands in front, and the reading from the right must not begin with it. batch_backwards
 * (common/pairs.h) turns each source round within its own length: order[k] is the row that belongs in row k, PAD on padding. A
 * reversal is its own inverse, so it serves twice: to give the second cell the letters in its order, and to put its states back
 * into the first's. (v_lookup gives zeros for PAD, and a cell's state stays 0 on it; so X is 0 on padding.) `cell_input` and
 * `cell_layer` are those of chapter 06, section 3.                                                                        */
typedef struct {
    bool dot, fused;                         /* (2.1), or else (2.2); the ops of common/attention.h, or else section 2's */
    int H, V;                                /* V: what the decoder may say, EOS included */
    Params params;
    Var *Es, *Et;                            /* (symbols of the source, D) (V + 1, D); BOS is Et's last row */
    CellWeights right, left, decoder;
    Var *Ws, *bs;                            /* (2H,H) (1,H)          (3.4) */
    Var *Wa, *Ua, *va;                       /* (H,A) (2H,A) (1,A)    (4.1) (3.3) (2.2); no va for the dot product */
    Var *Wc;                                 /* (2H,GH)               (4.3) */
    Var *Wo, *bo;                            /* (3H,V) (1,V)          (4.4) */
} Model;

/* How a network is made. */
typedef struct { CellKind cell; bool dot, fused; int embedding, hidden; } Plan;

static void model_new(Model *m, const Plan *plan, const Task *task, uint64_t seed)
{
    int D = plan->embedding, H = plan->hidden;
    Init uniform = init_uniform(1 / sqrt(H));
    Params *p = &m->params;
    *m = (Model){ .dot = plan->dot, .fused = plan->fused, .H = H, .V = task->target.size + 1 };
    m->Es = param(p, "source.embedding", task->source.size, D, init_normal(1));
    m->Et = param(p, "target.embedding", m->V + 1, D, init_normal(1));
    m->right   = cell_weights(p, "right", plan->cell, D, H);
    m->left    = cell_weights(p, "left", plan->cell, D, H);
    m->decoder = cell_weights(p, "decoder", plan->cell, D, H);
    m->Ws = param(p, "start.W", 2 * H, H, uniform);
    m->bs = param(p, "start.b", 1, H, init_zero());
    m->Wa = param(p, "attention.Wa", H, H, uniform);
    m->Ua = param(p, "attention.Ua", 2 * H, H, uniform);
    if (!m->dot) m->va = param(p, "attention.va", 1, H, uniform);
    m->Wc = param(p, "decoder.Wc", 2 * H, m->decoder.Wx->value.cols, uniform);
    m->Wo = param(p, "output.W", 3 * H, m->V, uniform);
    m->bo = param(p, "output.b", 1, m->V, init_zero());
    params_allocate(p, seed);
    cell_begin(&m->right), cell_begin(&m->left), cell_begin(&m->decoder);
}

/* A decoder at work, with all it can look at. */
typedef struct {
    const Model *m;
    const Batch *batch;
    Var *X, *K;                              /* (S·B,2H) (S·B,A)                                    */
    Var *h, *c;                              /* (B,H): its state                                    */
    Var *table;                              /* (V + 1, GH): Et Wx + b, to look up in               */
    Matrix weights;                          /* (B,S): where it looked at the last step; 0 on padding */
} Decoder;

static Decoder encode(const Model *m, const Batch *batch)
{
    int n = batch->S * batch->B, *order = batch_backwards(batch), *backwards = tape_room((size_t)n * sizeof *backwards);
    for (int k = 0; k < n; k++) backwards[k] = order[k] == PAD ? PAD : batch->source[order[k]];
    Var *nothing = v_zeros(batch->B, m->H);
    Layer right = cell_layer(&m->right, cell_input(&m->right, m->Es), batch->source, nothing, nothing, batch->S);   /* (3.1) */
    Layer left  = cell_layer(&m->left, cell_input(&m->left, m->Es), backwards, nothing, nothing, batch->S);
    Var *both[2] = { right.h, v_lookup(left.h, order, n) }, *last[2] = { right.h_last, left.h_last };
    Decoder d = { .m = m, .batch = batch, .c = nothing, .table = cell_input(&m->decoder, m->Et) };
    d.X = v_hcat(both, 2);                                                                                          /* (3.2) */
    d.K = v_matmul(d.X, m->Ua);                                                                                     /* (3.3) */
    d.h = v_tanh(v_add_bias(v_matmul(v_hcat(last, 2), m->Ws), m->bs));                                              /* (3.4) */
    return d;
}

/* ## 4. A decoder that looks back
 *
 *     qₜ = hₜ₋₁ Wa                                                              (4.1)   (B,A)    the question
 *     cₜ = attend(qₜ, K, X)                                                     (4.2)   (B,2H)   section 2, for each pair
 *     hₜ = cell(Et[yₜ₋₁] Wx + cₜ Wc + b, hₜ₋₁)                                  (4.3)   (B,H)    its input: what was said, and
 *                                                                                                what was seen
 *     p(yₜ | y₁ … yₜ₋₁, x) = softmax([ hₜ | cₜ ] Wo + bo)                        (4.4)   (B,V)
 *
 * (4.3)'s first product is a lookup in a table, Et Wx + b, which encode makes once; the cell is given the sum, without an
 * index. An LSTM's cell state moves on too. (4.4) also hands what was seen directly to the output, so that a digit can be
 * read off its word without a detour through the state. The state is left with what it is good at: how far we have got, and
 * what to look for next.
 *
 * attend goes through the batch pair by pair. Pair b has n places, and they stand in rows (S-n)·B + b, + B, + B … of X and
 * K: behind its padding, every B-th row. v_every(m, first, step, count) is a view of these rows, so nothing is copied, and
 * padding is not masked here but simply not looked at.                                                                   */
static Var *attend(Decoder *d, Var *q)
{
    const Model *m = d->m;
    int B = d->batch->B, S = d->batch->S;
    Var **c = tape_room((size_t)B * sizeof *c);
    d->weights = tape_matrix(B, S);
    mat_fill(d->weights, 0);
    for (int b = 0; b < B; b++) {
        int n = d->batch->pair[b].n, first = (S - n) * B + b;
        Var *qb = v_rows(q, b, 1), *Kb = v_every(d->K, first, B, n), *Xb = v_every(d->X, first, B, n);
        Var *a = v_softmax(m->dot ? score_dot(qb, Kb) : score_additive(qb, Kb, m->va), NULL);                       /* (2.3) */
        c[b] = v_matmul(a, Xb);                                                                                     /* (2.4) */
        mat_copy(mat_cols(mat_rows(d->weights, b, 1), S - n, n), a->value);
    }
    return v_vcat(c, B);
}

/* ### The same, fused
 *
 * A batch of 64 pairs with 60 letters to write takes 3,840 rounds of that loop, of very small products. common/attention.h
 * has three ops that go through the whole batch at once. They compute scores for the padding too, since a matrix has no
 * holes; so now there is a mask, and v_softmax gives what it masks a weight of exactly 0. A score of -∞ does the same, as
 * many programs have it. A large negative score nearly does. A score of 0 is wrong: padding then gets real weight, and
 * training still seems to succeed.                                                                                       */
static Var *attend_fused(Decoder *d, Var *q)
{
    const Model *m = d->m;
    Var *e = m->dot ? v_score_dot(q, d->K) : v_score_additive(q, d->K, m->va);                               /* (2.1) (2.2) */
    Var *a = v_softmax(e, &d->batch->mask);                                                                         /* (2.3) */
    d->weights = a->value;
    return v_context(a, d->X);                                                                                      /* (2.4) */
}

/* Tells the decoder one symbol a row, and returns the logits (B,V) of what it would say. */
static Var *decoder_step(Decoder *d, const int *told)
{
    const Model *m = d->m;
    Var *q = v_matmul(d->h, m->Wa);                                                                                 /* (4.1) */
    Var *c = m->fused ? attend_fused(d, q) : attend(d, q);                                                          /* (4.2) */
    Var *x = v_add(v_lookup(d->table, told, d->batch->B), v_matmul(c, m->Wc));
    Layer y = cell_layer(&m->decoder, x, NULL, d->h, d->c, 1);                                                      /* (4.3) */
    d->h = y.h_last;
    d->c = y.c_last;
    Var *seen[2] = { d->h, c };
    return v_add_bias(v_matmul(v_hcat(seen, 2), m->Wo), m->bo);                                                     /* (4.4) */
}

/* decode is chapter 06's (4.1): told the truth with probability `forcing`, or else what it said. `looked`, where it is not NULL,
 * gets the weights of every step.                                                                                          */
static Var *decode_looking(const Model *m, const Batch *batch, double forcing, Rng *coin, int *said, Matrix *looked)
{
    int B = batch->B;
    const int *told = batch->input;                                      /* BOS */
    Var **logits = tape_room((size_t)batch->T * sizeof *logits);
    Decoder d = encode(m, batch);
    for (int t = 0; t < batch->T; t++) {
        logits[t] = decoder_step(&d, told);
        argmax_rows(said + t * B, logits[t]->value);
        if (looked) looked[t] = d.weights;
        bool truth_told = t + 1 < batch->T && (forcing == 1 || (forcing > 0 && (double)rng_uniform(coin) < forcing));
        told = truth_told ? batch->input + (t + 1) * B : said + t * B;
    }
    return v_vcat(logits, batch->T);
}

static Var *decode(const void *model, const Batch *batch, double forcing, Rng *coin, int *said)
{
    return decode_looking(model, batch, forcing, coin, said, NULL);
}

/* ### Two ways to the same number
 *
 * Are they the same? `--part fused` gives one network one batch of 64 numbers, forward and back, in both ways:
 *
 *     score       loss, visible and fused       largest difference of a gradient      milliseconds
 *     additive    2.398094  2.398094            5.6e-9, where the largest is 0.093      9.9 and 5.8
 *     dot         2.397961  2.397961            3.7e-9, where the largest is 0.093      7.3 and 4.5
 *
 * The two add in different orders, so they agree only to rounding. (This is a batch of at most seven steps. The
 * milliseconds are from a machine of two cores and will be others on yours; the rest will not.) tests/test_attention.c
 * holds the two equal in double precision as well. The numbers of this chapter come from the fused way; `--fused 0` trains
 * with section 2's functions, which you can change.                                                                 */
static Var *batch_loss(const Model *m, const Batch *batch)
{
    int *said = tape_room((size_t)(batch->T * batch->B) * sizeof *said);
    return v_cross_entropy(decode(m, batch, 1, NULL, said), batch->target);
}

/* The loss of one batch, its gradient in m->params, and the seconds that it took, at best of a few times. */
static double one_pass(Model *m, const Task *task, const Pair *pair, int B, double *seconds)
{
    double loss = 0;
    *seconds = INFINITY;
    for (int i = 0; i < 5 && !interrupted(); i++) {
        double begun = seconds_now();
        tape_reset();
        Batch batch = batch_of(pair, B, task);
        Var *l = batch_loss(m, &batch);
        params_zero_grad(&m->params);
        tape_backward(l);
        loss = (double)l->value.at[0];
        *seconds = fmin(*seconds, seconds_now() - begun);
    }
    return loss;
}

static Plan number_plan(const Config *o, bool dot)
{
    return (Plan){ .cell = cell_named(o->cell, "--cell"), .dot = dot, .fused = o->fused,
                   .embedding = o->embedding, .hidden = o->hidden };
}

static void show_fused(const Config *o)
{
    Task task = task_to_digits();
    Pair *pair = allocate((size_t)o->batch, sizeof *pair);
    int B = task_test(&task, pair, o->batch);
    printf("fused      score      loss of a batch of %d    largest difference of a gradient    ms, visible    fused\n", B);
    for (int dot = 0; dot < 2 && !interrupted(); dot++) {
        Plan plan = number_plan(o, dot);
        Model m;
        double loss[2], seconds[2], largest = 0, difference = 0;
        model_new(&m, &plan, &task, (uint64_t)o->seed);
        real *grad = allocate(m.params.size, sizeof *grad);
        for (int fused = 0; fused < 2; fused++) {
            m.fused = fused;
            loss[fused] = one_pass(&m, &task, pair, B, &seconds[fused]);
            if (fused == 0) memcpy(grad, m.params.grad, m.params.size * sizeof *grad);
        }
        for (size_t i = 0; i < m.params.size; i++) {
            largest = fmax(largest, fabs((double)grad[i]));
            difference = fmax(difference, fabs((double)(grad[i] - m.params.grad[i])));
        }
        if (!interrupted())
            printf("           %-8s   %.6f %.6f       %.1e, where the largest is %.1e   %9.1f %8.1f\n", dot ? "dot" : "additive",
                   loss[0], loss[1], difference, largest, 1e3 * seconds[0], 1e3 * seconds[1]);
        free(grad);
        params_free(&m.params);
    }
    free(pair);
    task_free(&task);
}

/* ## 5. The copy again
 *
 * Chapter 06's first task with chapter 06's set-up: five digits, embedding 16, hidden 32, batches of 64, Adam from 0.005 down,
 * forcing 0.5. The first step, of every 25th, at which 99.9 % of the held-out symbols are right (`--part copy --seed …`):
 *
 *     seed                        1       2       3
 *     chapter 06              1,325     950   1,625
 *     additive                   75      75      75
 *     dot                        75     100     100
 *
 * The first network had to learn how to pack five digits into a state and how to take them out again in order. This one has to
 * learn where to look: at step t, at place t. It need not pack the digits: Wo reads each from its place.  */
static Training training_of(const Config *o)
{
    return (Training){ .batch = o->batch, .steps = o->steps, .warmup = 50, .lr = o->lr, .lr_end = 0.05, .clip = o->clip,
                       .forcing = 1, .forcing_end = 1 };
}

static const char *model_name(const Plan *plan) { return plan->dot ? "attention_dot" : "attention"; }

static void show_copy(const Config *o, FILE *accuracy, FILE *timing)
{
    Task task = task_copy(5, 5);
    Training training = { .batch = 64, .steps = o->copy_steps, .lr = 0.005, .lr_end = 0.05, .clip = 1e9,
                          .forcing = 0.5, .forcing_end = 0.5 };
    printf("copying\n");
    for (int dot = 0; dot < 2 && !interrupted(); dot++) {
        Plan plan = { .cell = CELL_LSTM, .dot = dot, .fused = o->fused, .embedding = 16, .hidden = 32 };
        Trial trial = trial_new(&task, model_name(&plan), o->test, MOST_PAIR, (o->copy_steps + 24) / 25);
        Model m;
        model_new(&m, &plan, &task, (uint64_t)o->seed);
        Network net = { &m.params, &m, decode };
        trial.accuracy = accuracy, trial.timing = timing;
        trial_train(&trial, &net, &training, (uint64_t)o->seed);
        if (trial.learned)
            printf("  %s has 99.9 %% of the symbols right at step %ld for the first time\n", trial.model, trial.learned);
        params_free(&m.params);
        trial_free(&trial);
    }
    task_free(&task);
}

/* ## 6. Where it looked
 *
 * The weights are numbers from 0 to 1 that belong to a place of the source and a symbol of the answer. So one can print them.
 * After the default run, `build/07_attention --load out/07_attention/to_digits.safetensors --prompt "treinta y un mil novecientos
 * nueve"` prints what follows; the marks . : + * # stand for weights from 0.05, 0.15, 0.3, 0.5 and 0.75 on.
 *
 *     treinta y un mil novecientos nueve → 31909
 *           treinta y un mil novecientos nueve
 *         3  #.
 *         1           #:
 *         9                    *+
 *         0                          # .
 *         9                              +*
 *       end                                          ..
 *
 * Nobody told it what a word is, or that "treinta" is the 3. It looks at the "r" and "e" there, at the "un", and for the 9
 * of the hundreds at "ve": not at the whole word, since the state at a letter has seen the letters on either side, and one
 * place can stand for all of it. The 0 of the tens tells us most, because no word says it. The network looks near
 * the end of "novecientos", where the reading from the right has just come from "nueve" and can know that no "treinta"
 * stands between. Put one there, "novecientos cuarenta y nueve", and the weight of that row moves to the "r" of "cuarenta".
 *
 * Be careful with such pictures. They show where the context came from, and not what was done with it; the state knows a lot as
 * well. That the end looks at nothing in particular suggests that it need not look.                                       */
typedef struct { Pair pair; Answer answer; int steps; Matrix weight; } Look;     /* weight (steps,n): of each step; EOS is one */

/* Answers one source. weight lives until tape_reset. */
static Look look_at(const Model *m, const Task *task, const char *source)
{
    Look look = { .pair = { .m = MOST_ANSWER } };
    int said[MOST_ANSWER + 1];
    Matrix looked[MOST_ANSWER + 1];
    look.pair.n = symbols_encode(&task->source, source, "--prompt", look.pair.x);
    bool recording = tape_record(false);
    tape_reset();
    Batch batch = batch_of(&look.pair, 1, task);
    decode_looking(m, &batch, 0, NULL, said, looked);
    tape_record(recording);
    look.answer = answer_of(said, 1, batch.T, batch.eos);
    look.steps = look.answer.n < batch.T ? look.answer.n + 1 : batch.T;
    look.weight = tape_matrix(look.steps, look.pair.n);
    for (int t = 0; t < look.steps; t++) mat_copy(mat_rows(look.weight, t, 1), looked[t]);
    return look;
}

static const char *said_symbol(const Task *task, const Look *look, int t, char room[SYMBOLS_ROOM])
{
    return t < look->answer.n ? symbols_text(&task->target, &look->answer.y[t], 1, room) : "end";
}

/* The answer, and under it a row for each of its symbols: the darker the mark, the more weight on the letter above. */
static void print_look(FILE *f, const Task *task, const Look *look)
{
    static const char mark[] = " .:+*#";
    char source[SYMBOLS_ROOM], room[SYMBOLS_ROOM];
    fprintf(f, "%s → %s\n", symbols_text(&task->source, look->pair.x, look->pair.n, source),
            symbols_text(&task->target, look->answer.y, look->answer.n, room));
    fprintf(f, "      %s\n", source);
    for (int t = 0; t < look->steps; t++) {
        fprintf(f, t < look->answer.n ? "    %s " : "  %s ", said_symbol(task, look, t, room));    /* %3s would count bytes */
        for (int s = 0; s < look->pair.n; s++) {
            double a = (double)mat_row(look->weight, t)[s];
            fputc(mark[(a >= 0.05) + (a >= 0.15) + (a >= 0.3) + (a >= 0.5) + (a >= 0.75)], f);
        }
        fputc('\n', f);
    }
}

/* Rows of attention.csv; a blank is written "·". */
static void write_look(FILE *f, const char *model, const Task *task, int example, const Look *look)
{
    char in[SYMBOLS_ROOM], out[SYMBOLS_ROOM];
    for (int t = 0; t < look->steps; t++)
        for (int s = 0; s < look->pair.n; s++) {
            const char *letter = symbols_text(&task->source, &look->pair.x[s], 1, in), *said = said_symbol(task, look, t, out);
            fprintf(f, "%s,%d,%d,%s,", model, example, t, strcmp(said, " ") ? said : "·");
            fprintf(f, "%d,%s,", s, strcmp(letter, " ") ? letter : "·");
            csv_number(f, (double)mat_row(look->weight, t)[s]);
            fputc('\n', f);
        }
}

/* ## 7. The numbers again
 *
 * Spanish numbers, set up exactly as in chapter 06's section 8: LSTM, width 32, 2,000 steps of 64 numbers, the
 * same pairs in the same order, the same held-out numbers. Exact answers among these, in %:
 *
 *                         chapter 06      additive       dot product
 *     words to digits           83.7          99.9              99.9
 *     digits to words            0.0          99.8                 -
 *
 * and with `--seed 2` and `3`: 100.0 and 99.9 (additive), 100.0 and 99.9 (dot product), 99.7 and 99.8 (to words). It is quick,
 * too: after 500 of the 2,000 steps they stand at 99.9, 99.7 and 92.0.
 *
 * The line of chapter 06 that fell with the digits is flat now (digits.png, and length.png for the letters). Whether the
 * word that matters is 10 letters back or 60, the decoder reaches it in one step, and the gradient comes back to it in one
 * step, too. More parameters are not the reason: these networks have 33,803 and 34,967, and chapter 06's of width 64, which
 * have more (51,467 towards digits), come to 99.1 and 24.1 %. A second thing has changed besides attention, the reading
 * from the right, and this table does not separate the two; but what a second reading knows would still have to pass
 * through one state.
 *
 * With seed 1 the only wrong answer in digits, for either score, is 100. It is held out, and "cien" alone was never seen:
 * in training it was always followed by "mil". The network says 10 (with seed 2 it says 100, with seed 3, 15), and for the
 * words of 100 it says "ciento mie". And ask it for "dos millones", of which it has never read the second word: 2000,
 * without a sign of doubt. A network that has learned to spell does not know where its knowledge ends.
 *
 * What does it cost? The decoder compares each step with each place, T·S comparisons for a pair where chapter 06 had T + S
 * steps. For 60 letters that is little. For 60,000 it is everything, and chapter 08 will come back to it. And one thing did not
 * change: both networks still go through the source one letter after the other. If the decoder can reach every place in one
 * step, what is the recurrence in the encoder still for?                                                                   */
static void model_save(const Model *m, const Task *task, const char *folder, const char *name)
{
    Checkpoint c = { 0 };
    checkpoint_set(&c, "model", "attention");
    checkpoint_set(&c, "task", "%s", task->name);
    checkpoint_set(&c, "score", "%s", m->dot ? "dot" : "additive");
    checkpoint_set(&c, "cell", "%s", cell_name(m->decoder.kind));
    checkpoint_set(&c, "embedding", "%d", m->Es->value.cols);
    checkpoint_set(&c, "hidden", "%d", m->H);
    checkpoint_add_params(&c, &m->params);
    checkpoint_write(&c, folder, name);
    checkpoint_free(&c);
}

static bool dot_named(const char *name, const char *where)
{
    if (strcmp(name, "dot") != 0 && strcmp(name, "additive") != 0) die("%s '%s': expected additive or dot", where, name);
    return strcmp(name, "dot") == 0;
}

static void model_load(Model *m, Task *task, const char *path)
{
    Checkpoint c = checkpoint_read(path);
    checkpoint_expect_model(&c, "attention");
    *task = task_named(checkpoint_text(&c, "task"), path);
    Plan plan = { .cell = cell_named(checkpoint_text(&c, "cell"), path), .fused = true,
                  .dot = dot_named(checkpoint_text(&c, "score"), path),
                  .embedding = checkpoint_int(&c, "embedding", 1, 4096), .hidden = checkpoint_int(&c, "hidden", 1, 4096) };
    model_new(m, &plan, task, 0);
    checkpoint_get_params(&c, &m->params);
    checkpoint_free(&c);
}

typedef struct { Curve curve; Output *length, *digits, *predictions, *attention, *samples; FILE *accuracy, *timing; } NumberFiles;

/* Four sources, short and long; of the words only two, which are drawn tall. */
static void write_looks(const Model *m, const Task *task, NumberFiles *files)
{
    static const char *const words[] = { "novecientos dos", "doscientos tres mil cuatro", "treinta y un mil novecientos nueve",
                                         "setecientos veintiún mil quinientos dieciséis" };
    static const char *const digits[] = { "902", "203004", "31909", "721516" };
    bool to_digits = strcmp(task->name, "to_digits") == 0;
    for (int i = 0; i < (to_digits ? 4 : 2); i++) {
        Look look = look_at(m, task, to_digits ? words[i] : digits[i]);
        write_look(output_file(files->attention), task->name, task, i + 1, &look);
        print_look(output_file(files->samples), task, &look);
        if (i == 1) print_look(stdout, task, &look);
    }
}

static void show_task(const Task *task, bool dot, const Config *o, NumberFiles *files)
{
    bool digits = strcmp(task->name, "to_digits") == 0;
    Plan plan = number_plan(o, dot);
    Training training = training_of(o);
    Trial trial = trial_new(task, model_name(&plan), o->test, MOST_PAIR, o->reports);
    Model m;
    model_new(&m, &plan, task, (uint64_t)o->seed);
    Network net = { &m.params, &m, decode };
    printf("numbers   %s, %s score: %zu parameters\n", task->name, dot ? "dot" : "additive", m.params.size);
    trial.curve_model = digits ? NULL : dot ? "attention_dot_words" : "attention_words";
    trial.curve = &files->curve, trial.accuracy = files->accuracy, trial.timing = files->timing;
    bool learned = trial_train(&trial, &net, &training, (uint64_t)o->seed) > 0;
    if (learned) {
        const Pair *test = trial.test;
        const Answer *answer = trial.answer;
        lengths_write(output_file(files->length), trial.model, task, o->hidden, test, answer, trial.tests, LONGER, 6);
        lengths_write(output_file(files->digits), trial.model, task, o->hidden, test, answer, trial.tests, SHORTER, 1);
        predictions_write(output_file(files->predictions), trial.model, task, test, answer, trial.tests);
    }
    if (learned && (!dot || strcmp(o->score, "dot") == 0)) {
        write_looks(&m, task, files);
        model_save(&m, task, o->out, digits ? "to_digits.safetensors" : "to_words.safetensors");
    }
    params_free(&m.params);
    trial_free(&trial);
}

static bool either(const char *asked, const char *all, const char *this)
{
    return strcmp(asked, all) == 0 || strcmp(asked, this) == 0;
}

static void show_numbers(const Config *o, FILE *accuracy, FILE *timing)
{
    NumberFiles f = { .curve = curve_open(o->out, (uint64_t)o->seed), .length = output_open(o->out, "length.csv"),
                      .digits = output_open(o->out, "digits.csv"), .predictions = output_open(o->out, "predictions.csv"),
                      .attention = output_open(o->out, "attention.csv"), .samples = output_open(o->out, "samples.txt"),
                      .accuracy = accuracy, .timing = timing };
    fputs("model,task,hidden,length,pairs,exact\n", output_file(f.length));
    fputs("model,task,hidden,length,pairs,exact\n", output_file(f.digits));
    fputs("model,task,source,target,answer,exact\n", output_file(f.predictions));
    fputs("model,example,row,output,column,input,weight\n", output_file(f.attention));
    for (int t = 0; t < 2; t++) {
        Task task = t ? task_to_words() : task_to_digits();
        for (int dot = 0; dot < 2; dot++)
            if (!interrupted() && either(o->task, "both", task.name) && either(o->score, "both", dot ? "dot" : "additive")
                && !(t == 1 && dot == 1 && strcmp(o->score, "both") == 0))
                show_task(&task, dot, o, &f);
        task_free(&task);
    }
    curve_close(&f.curve);
    output_close(f.length), output_close(f.digits), output_close(f.predictions);
    output_close(f.attention), output_close(f.samples);
}

/* ## 8. The run                                                                                                           */
static const Option options[] = {
    OPTIONS_FOR_ALL(Config),
    { "part", OPTION_CHOICE, offsetof(Config, part), 0, 0, "kernels, fused, copy, numbers or all: what to run" },
    { "copy-steps", OPTION_INT, offsetof(Config, copy_steps), 1, 1e7, "copy: steps of training" },
    { "task", OPTION_CHOICE, offsetof(Config, task), 0, 0, "to_digits, to_words or both: of the numbers" },
    { "score", OPTION_CHOICE, offsetof(Config, score), 0, 0, "additive, dot or both: both to digits, additive to words" },
    { "fused", OPTION_INT, offsetof(Config, fused), 0, 1, "1: train with the ops of common/attention.h, 0: with section 2's" },
    { "cell", OPTION_CHOICE, offsetof(Config, cell), 0, 0, "rnn, gru or lstm: of the numbers" },
    { "hidden", OPTION_INT, offsetof(Config, hidden), 1, 2048, "numbers: width of a state, H" },
    { "embedding", OPTION_INT, offsetof(Config, embedding), 1, 4096, "numbers: width of an embedding, D" },
    { "steps", OPTION_INT, offsetof(Config, steps), 1, 1e7, "numbers: steps of training" },
    { "batch", OPTION_INT, offsetof(Config, batch), 1, 4096, "numbers: pairs a step, B" },
    { "lr", OPTION_REAL, offsetof(Config, lr), 1e-9, 10, "numbers: highest learning rate" },
    { "clip", OPTION_REAL, offsetof(Config, clip), 1e-9, 1e9, "numbers: longest gradient" },
    { "test", OPTION_INT, offsetof(Config, test), 1, 10000, "pairs to test with" },
    { "reports", OPTION_INT, offsetof(Config, reports), 1, 1e6, "numbers: rows in the curve" },
    { "load", OPTION_TEXT, offsetof(Config, load), 0, 0, "a saved network: do not train, only answer --prompt" },
    { "prompt", OPTION_TEXT, offsetof(Config, prompt), 0, 0, "with --load: a number in words or in digits" },
};

#define SAME .seed = 1, .out = "out/07_attention", .part = "all", .task = "both", .score = "both", .cell = "lstm", .prompt = "", \
             .batch = 64, .lr = 0.005, .clip = 1, .embedding = 16, .fused = 1

static const Config quick     = { SAME, .copy_steps = 50, .steps = 20, .hidden = 16, .test = 100, .reports = 4 };
static const Config usual     = { SAME, .copy_steps = 500, .steps = 2000, .hidden = 32, .test = 1000, .reports = 20 };
static const Config reference = { SAME, .copy_steps = 2000, .steps = 10000, .hidden = 64, .test = 2000, .reports = 40 };

static const Cli cli = {
    .about = "Chapter 07: a decoder that looks back. Kernels, two scores, Spanish numbers, and where the network looked.",
    .options = options, .count = sizeof options / sizeof *options,
    .presets = { &quick, &usual, &reference }, .size = sizeof(Config),
};

static void check_prompt(const Config *o)
{
    if (!o->load && *o->prompt) die("--prompt '%s': expected --load FILE as well, to say which network is to answer", o->prompt);
    if (o->load && !*o->prompt) die("--load '%s': expected --prompt TEXT as well, to say what is asked", o->load);
}

static bool wanted(const Config *o, const char *part) { return either(o->part, "all", part) && !interrupted(); }

static void run_parts(const Config *o)
{
    if (wanted(o, "numbers")) output_try(o->out, "curve.csv");           /* complain now, not after the parts before it */
    Output *timing = output_open(o->out, "timing.csv"), *accuracy = NULL;
    fputs("model,epoch,seconds,tokens_per_second\n", output_file(timing));
    if (wanted(o, "copy") || wanted(o, "numbers")) {
        accuracy = output_open(o->out, "accuracy.csv");
        fputs("model,task,step,loss,symbols,exact\n", output_file(accuracy));
    }
    if (wanted(o, "kernels")) show_kernels(o);
    if (wanted(o, "fused")) show_fused(o);
    if (wanted(o, "copy")) show_copy(o, output_file(accuracy), output_file(timing));
    if (wanted(o, "numbers")) show_numbers(o, output_file(accuracy), output_file(timing));
    if (accuracy) output_close(accuracy);
    output_close(timing);
}

static void answer_prompt(const Config *o)
{
    Model m;
    Task task;
    model_load(&m, &task, o->load);
    Look look = look_at(&m, &task, o->prompt);
    print_look(stdout, &task, &look);
    params_free(&m.params);
    task_free(&task);
}

int main(int argc, char **argv)
{
    Config o;
    cli_parse(&cli, argc, argv, &o);
    check_prompt(&o);
    threads_start(o.threads);
    interrupt_catch();
    if (o.load) answer_prompt(&o);
    else run_parts(&o);
    tape_free();
    threads_stop();
    return interrupted() ? INTERRUPTED : 0;
}

/* ## What we simplified
 *
 * - One layer in the encoder and one in the decoder.
 * - Bahdanau et al. begin the decoder with the state of the reading from the right alone, and have a maxout layer before
 *   the output; Luong et al. ask with the new state hₜ, not with hₜ₋₁, and their plain dot product has no Wa and Ua.
 *   Section 2's two scores are theirs, in one and the same network.
 * - The scores of the dot product are not scaled. With A = 32 they need not be; chapter 08 says when they must.
 * - Greedy answers only. Chapter 06's beams would work as they are, if each had the places of its source in X and K.
 *
 * ## What to remember
 *
 * - Attention is a weighted average, and a softmax of scores says with which weights: kernel regression with a kernel that
 *   is learned.
 * - Query: what is asked. Keys: what it is compared with. Values: what is handed back.
 * - It makes every place one step away, forward for what is known and backward for the gradient. So there is no bottleneck.
 * - Padding gets a weight of exactly 0, not a small one.
 * - Weights can be looked at. They say where, and not why.
 *
 * ## References
 *
 * - E. A. Nadaraya, "On estimating regression", Theory of Probability and its Applications 9, 1964; G. S. Watson, "Smooth
 *   regression analysis", Sankhyā A 26, 1964. (1.1).
 * - V. A. Epanechnikov, "Non-parametric estimation of a multivariate probability density", Theory of Probability and its
 *   Applications 14, 1969. (1.3).
 * - D. Bahdanau, K. Cho, Y. Bengio, "Neural machine translation by jointly learning to align and translate", ICLR 2015.
 *   (2.2), and the picture of weights.
 * - M.-T. Luong, H. Pham, C. D. Manning, "Effective approaches to attention-based neural machine translation", EMNLP 2015. (2.1).
 * - M. Schuster, K. K. Paliwal, "Bidirectional recurrent neural networks", IEEE Transactions on Signal Processing 45, 1997.
 * - A. Zhang, Z. Lipton, M. Li, A. Smola, "Dive into deep learning", Cambridge University Press 2023, chapter 11: attention
 *   by way of kernels.
 * - S. Jain, B. C. Wallace, "Attention is not explanation", NAACL 2019. Why to be careful with pictures of weights.
 * - D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.                                             */
