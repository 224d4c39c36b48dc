/* # 8. Only attention, and what may be seen
 *
 * Chapter 07 ended with a question. If a decoder can reach every place of the source in one step, what is the recurrence
 * still for? It costs much: step t waits for step t-1, so sixty letters are sixty small products one after the other,
 * whatever machine you have. Vaswani et al. (2017) left it out. What remains is the *Transformer*: rows of numbers, one
 * for each symbol, that look at one another, all at the same time, block after block.
 *
 * Taking the recurrence away takes two things with it. Nothing tells the rows apart but what they hold, so order must be
 * put into the numbers (section 5). And nothing stops a row from looking at what it is to predict, so somebody must
 * forbid it: a *mask* says who may see whom (section 3). The rest of this chapter is one network with different masks. It
 * translates numbers, continues the Quijote, and fills gaps in it, and its lines of attention, some fifty with the mask,
 * are the same every time.
 *
 *     run        make chapter-08                                        number series; a minute on two cores, as each of these
 *                make chapter-08 ARGS='--task words'                    chapter 06's and 07's Spanish numbers
 *                make chapter-08 ARGS='--task gpt'                      continues the Quijote
 *                make chapter-08 ARGS='--task bert'                     fills gaps in it
 *     writes     out/08_transformer_mask/TASK/curve.csv, attention.csv, timing.csv, and
 *                series: masks.csv, warmup.csv, accuracy.csv, samples.txt
 *                words: accuracy.csv, length.csv, digits.csv, predictions.csv, samples.txt, to_digits.safetensors,
 *                       to_words.safetensors
 *                gpt: results.csv, samples.txt, model.safetensors       bert: gaps.csv, model.safetensors
 *     look at    out/08_transformer_mask/series/masks.png: all the masks there are. Learn to draw them
 *                out/08_transformer_mask/words/attention.png: eight heads that look at one number
 *
 * The chapter has three parts, to be read in this order:
 *
 *     transformer_mask.c   attention, masks, heads, positions, blocks: the network, and the run (you are here)
 *     encoder_decoder.c    two stacks: number series, warm-up, number words
 *     one_stack.c          one stack: GPT and BERT, writing with a cache, and the end of the book
 *
 * and transformer.h, which lists the structs and what the parts want of one another. New since chapter 07: everything in
 * this file, but the masked softmax and dropout. Batches, padding, tasks and training loops you know.
 *
 * Shapes: B sequences, T steps that ask, S places that are asked (S = T where a sequence looks at itself), D width of a
 * row, h heads of width d = D/h each, F width inside a block, V symbols. Rows are vectors. The rows of a sequence now lie
 * together: step t of sequence b is row b·T + t, because it is sequences that are looked at as a whole, and no longer
 * steps.
 *
 * Three letters serve twice, as they do in the literature: E is scores in (2.2) and the embedding in (5.1), P is weights
 * in (2.3) and positions in (5.1), V is values everywhere but in a shape, where it counts symbols. `Seen` is how a mask
 * is written down (common/attention.h): { B, causal, lengths }, where lengths[b] says how many places of sequence b are
 * no padding, and NULL that all are; it is a pointer, and what it points to must last until the last block has used it.
 * PAD, -1, is the id that reads a row of zeros (common/pairs.h).                                                           */
#include "transformer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ## 1. Self-attention without anything to learn
 *
 * Take chapter 07's weighted average and give all three roles to the same rows. X (T,D) has a row for each symbol of one
 * sequence; each row is query, key and value:
 *
 *     eₜₛ = xₜ · xₛ          aₜ = softmax(eₜ)          yₜ = Σₛ aₜₛ xₛ                (1.1)
 *
 * Or, for all rows at once, Y = softmax(X Xᵀ) X. Every row becomes an average of all rows, with most weight on those that
 * point where it points. Nothing is learned here, and yet yₜ already holds something of all the other words. Two things
 * about it are worth keeping in mind:
 *
 * - It is T² comparisons, none of which waits for another. Between any two places lies one step, not |t-s| of them.
 * - It knows no order. Shuffle the rows of X and the rows of Y are shuffled likewise, and are otherwise the same: an
 *   average does not ask in which order its terms came. "Sancho mordió al perro" is, up to a permutation, "al perro
 *   mordió Sancho".
 *
 * And two things are wrong with it. Among rows of about equal length a row agrees most with itself, so it mostly looks at
 * itself. And what makes two symbols worth comparing need not be what makes them alike: a verb looks for a subject.
 *
 * ## 2. Queries, keys, values, and √d
 *
 * So let the network make three rows out of each row, one for each role:
 *
 *     Q = X Wq + bq       K = X' Wk + bk       V = X' Wv + bv                      (2.1)   (T,D) (S,D) (S,D); W (D,D)
 *     E = (Q/√d) Kᵀ                                                                (2.2)   (T,S)   scores
 *     P = softmax(E) by rows                                                       (2.3)   (T,S)   weights
 *     Y = P V                                                                      (2.4)   (T,D)
 *
 * Where a sequence looks at itself, X' = X. Where a decoder looks at an encoder's rows, X' are those, and S is not T;
 * section 8 has it. Nothing else is different: that is all of *self-attention* and *cross-attention*.
 *
 * Why √d? q · k is a sum of d products. If the numbers in q and k are independent, of mean 0 and variance 1, so are the
 * products, and the sum has variance d: scores of size √d. A softmax of large scores is nearly one-hot, and then it has
 * no slope: ∂aₛ/∂eₛ = aₛ (1 - aₛ). show_scale draws such q and k and looks (`make chapter-08`, or --preset quick):
 *
 *     d       largest of 32 weights     Σ aₛ (1 - aₛ)
 *             plain     /√d             plain     /√d
 *        4    0.340     0.156           0.793     0.927
 *       64    0.828     0.172           0.244     0.924
 *     1024    0.954     0.167           0.067     0.926
 *
 * Without the division a wide network would begin with attention that is sure of everything, knows nothing, and learns
 * nothing in most rows: those where one weight is near 1 already, so that no slope is left to move it (exercise 08.1
 * counts them). With it the start does not depend on d. Chapter 07 did without: its queries and keys were 32 wide, and
 * there training could still repair it.                                                                                    */
static void show_scale(const Config *o)
{
    enum { PLACES = 32, DRAWS = 500 };
    printf("scale     d      largest weight of %d, without and with 1/√d     slope left, without and with\n", PLACES);
    for (int d = 4; d <= 1024 && !interrupted(); d *= 4) {
        double largest[2] = { 0 }, slope[2] = { 0 };
        Rng rng = rng_new((uint64_t)o->seed, 5);
        for (int draw = 0; draw < DRAWS; draw++) {
            tape_reset();
            Matrix q = tape_matrix(1, d), K = tape_matrix(PLACES, d), e = tape_matrix(1, PLACES), p = tape_matrix(1, PLACES);
            for (int j = 0; j < d; j++) q.at[j] = rng_normal(&rng);
            for (int j = 0; j < PLACES * d; j++) K.at[j] = rng_normal(&rng);
            matmul_nt(e, q, K, SET);
            for (int scaled = 0; scaled < 2; scaled++) {
                for (int s = 0; s < PLACES && scaled; s++) e.at[s] /= real_sqrt((real)d);
                mat_softmax(p, e, NULL);
                double top = 0, sum = 0;
                for (int s = 0; s < PLACES; s++) top = fmax(top, (double)p.at[s]), sum += (double)(p.at[s] * (1 - p.at[s]));
                largest[scaled] += top / DRAWS, slope[scaled] += sum / DRAWS;
            }
        }
        printf("       %4d   %20.3f %8.3f   %30.3f %8.3f\n", d, largest[0], largest[1], slope[0], slope[1]);
    }
}

/* ## 3. What may be seen
 *
 * A mask has a row for each step that asks and a column for each place that could be seen, 1 where it may be, 0 where
 * not. What is 0 gets a weight of exactly 0: its score is made -∞ before the softmax. There are two reasons to hide a
 * place, and so there are two masks; every other is made of these.
 *
 * - **Padding.** Sequences of a batch have different lengths, and what fills up the short ones must not count. Place s of
 *   sequence b is there if s < lengths[b]. The mask is the same in all rows: whole columns are dark. It protects the
 *   result of a sequence from the company that it happens to be in.
 * - **The future.** A decoder is trained on all its steps at once: row t is given y₁ … yₜ and is to say yₜ₊₁, which
 *   stands in row t+1. If it could look there, it would have nothing to learn, as in chapter 05's leak. So row t sees the
 *   places up to t: a triangle. This is the *causal* mask. It protects training from being too easy, and makes it true to
 *   what the network will know when it writes.
 *
 * masks.csv (drawn in masks.png) has them all, and what each protects:
 *
 *     all of it         bert; an encoder whose sources are equally long. Nothing is hidden, so nothing is protected: bert's
 *                       answers are taken out of its text instead (section 13)
 *     padding           an encoder, 5 places of 8: three columns are dark. The result from its batch
 *     causal            a decoder, a gpt: the triangle. Training from the answer
 *     padded and causal both, what each allows. Nobody needs it here: with padding *behind* the symbols the triangle of a row
 *                       that counts ends before the padding begins
 *     3 behind 5        causal, too: three steps ask at once, of eight places, five of which were known before. The
 *                       triangle's last rows
 *     from a cache      one step asks, and 3 of 8 places are filled (section 7). The step from places not yet written
 *     cross             6 steps of a decoder, a source of 5 letters in 8 places: no triangle, as all of the source is given.
 *                       The result from its batch
 *     nothing           a row that may see nothing
 *
 * The last is a trap. The notebook that this chapter's series come from (docs/references.md), to train without telling
 * the decoder the truth, gives it a mask that is -∞ everywhere. But a softmax over nothing is 0/0: in most frameworks
 * NaN, which one step later is in every weight. Here such a row has weights 0 and gives a row of zeros (matrix.h). And it
 * was not what was wanted, anyway: even a decoder that is told nothing must see its own steps. What it is *told* is one
 * thing, and where it may *look* another. Section 10 tells it nothing, and leaves the mask alone.
 *
 * `S - T` in may_see matters where T < S, as with 3 behind 5: the steps that ask are the last T of the S places, so step
 * t stands at place t + S - T. show_fused has 50 behind 10.                                                                */
static bool may_see(Seen seen, int b, int t, int s, int T, int S)
{
    if (seen.lengths && s >= seen.lengths[b]) return false;
    return !seen.causal || s <= t + S - T;
}

static Matrix mask_of(Seen seen, int b, int T, int S)
{
    Matrix mask = tape_matrix(T, S);
    for (int t = 0; t < T; t++)
        for (int s = 0; s < S; s++) mat_row(mask, t)[s] = may_see(seen, b, t, s, T, S);
    return mask;
}

static void write_mask(FILE *f, const char *name, Seen seen, int T, int S)
{
    tape_reset();
    Matrix mask = mask_of(seen, 0, T, S);
    for (int t = 0; t < T; t++)
        for (int s = 0; s < S; s++) fprintf(f, "\"%s\",%d,%d,%d\n", name, t, s, mat_row(mask, t)[s] != 0);
}

static void write_masks(const Config *o)
{
    static const int three = 3, five = 5, none = 0;
    Output *out = output_open(o->out, "masks.csv");
    FILE *f = output_file(out);
    fputs("mask,row,column,seen\n", f);
    write_mask(f, "all of it", (Seen){ .B = 1 }, 8, 8);
    write_mask(f, "padding: 5 of 8", (Seen){ .B = 1, .lengths = &five }, 8, 8);
    write_mask(f, "causal", (Seen){ .B = 1, .causal = true }, 8, 8);
    write_mask(f, "padded and causal", (Seen){ .B = 1, .causal = true, .lengths = &five }, 8, 8);
    write_mask(f, "causal, 3 behind 5", (Seen){ .B = 1, .causal = true }, 3, 8);
    write_mask(f, "from a cache: 3 of 8", (Seen){ .B = 1, .lengths = &three }, 1, 8);
    write_mask(f, "cross: 6 steps, 5 of 8", (Seen){ .B = 1, .lengths = &five }, 6, 8);
    write_mask(f, "nothing", (Seen){ .B = 1, .lengths = &none }, 8, 8);
    output_close(out);
}

/* ## 4. Heads
 *
 * One softmax gives one average. But a row may want several things at once: the letter before it, and the beginning of
 * its word. So D columns are cut into h *heads* of d = D/h columns, each of which attends on its own:
 *
 *     Yⱼ = softmax((Qⱼ/√d) Kⱼᵀ, mask) Vⱼ      j = 1 … h                            (4.1)   (T,d)
 *     Y  = [ Y₁ | … | Yₕ ] Wo + bo                                                 (4.2)   (T,D)
 *
 * Its products cost no more than those of one head of width D, since each is h times narrower; only the softmaxes are h
 * times as many. (4.2) mixes what the heads have found.
 *
 * Here is (4.1) in the open. Two loops, over sequences and over heads; every line is an op that you know. Dropout is on
 * the weights: from time to time a row may not look where it would like to.                                                */
static Var *attention_visible(Var *Q, Var *K, Var *V, int heads, Seen seen, double dropout, Rng *rng)
{
    int B = seen.B, T = Q->value.rows / B, S = K->value.rows / B, d = Q->value.cols / heads;
    Var **sequence = tape_room((size_t)B * sizeof *sequence), **head = tape_room((size_t)heads * sizeof *head);
    for (int b = 0; b < B; b++) {
        Matrix mask = mask_of(seen, b, T, S);
        Var *Qb = v_rows(Q, b * T, T), *Kb = v_rows(K, b * S, S), *Vb = v_rows(V, b * S, S);
        for (int h = 0; h < heads; h++) {
            Var *q = v_cols(Qb, h * d, d), *k = v_cols(Kb, h * d, d), *v = v_cols(Vb, h * d, d);
            Var *E = v_matmul_nt(v_scale(q, 1 / sqrt(d)), k);                                                        /* (2.2) */
            Var *P = v_softmax(E, &mask);                                                                            /* (2.3) */
            head[h] = v_matmul(v_dropout(P, dropout, rng), v);                                                       /* (4.1) */
        }
        sequence[b] = v_hcat(head, heads);
    }
    return v_vcat(sequence, B);
}

Var *linear(const Linear *l, Var *x) { return v_linear(x, l->W, l->b); }

/* The keys and values of (2.1) belong together, with the mask that says who may see them; so they travel together. The
 * queries come from whoever asks. `looked` is left for the plots: behind v_attention's result stand the weights P of all
 * heads, which attention_weights reads out.                                                                                */
Places places_of(const Attention *a, Var *x, Seen seen)
{
    return (Places){ .k = linear(&a->k, x), .v = linear(&a->v, x), .seen = seen };
}

static Var *attend(const Pass *pass, const Attention *a, Var *x, Places p, Var **looked)
{
    const Plan *plan = &pass->m->plan;
    Var *q = linear(&a->q, x);                                                                                       /* (2.1) */
    Var *y = plan->fused ? v_attention(q, p.k, p.v, plan->heads, p.seen, plan->dropout, pass->rng)
                         : attention_visible(q, p.k, p.v, plan->heads, p.seen, plan->dropout, pass->rng);
    *looked = y;
    return linear(&a->out, y);                                                                                       /* (4.2) */
}

/* ### The same, fused
 *
 * For 16 sequences and 4 heads that loop makes 64 rounds of small ops a block, and each writes its matrix to memory and
 * reads it back. v_attention (common/attention.h) takes one head of one sequence through all of (4.1) while its numbers
 * are in cache, and does not compute most of what the causal mask hides. It takes every sum in the same order, so this
 * time the two agree not to rounding but to the last bit, forward and back, dropout included. show_fused compares them on
 * random rows in every run of the series task, tests/test_attention.c in many more cases, and `--fused 0` trains with the
 * visible one: the same curve.csv, byte for byte, in more time.                                                            */
typedef struct { Matrix in[3], grad[3], y; } Trio;                       /* Q, K, V, their gradients, and what comes of them */

/* Forward and back, one way or the other; returns the milliseconds. */
static double attend_once(Trio *x, bool fused, int heads, Seen seen, uint64_t seed)
{
    Rng rng = rng_new(seed, 9);
    Var *in[3];
    double begun = seconds_now();
    tape_reset();
    for (int j = 0; j < 3; j++) in[j] = v_leaf(x->in[j]);
    Var *y = fused ? v_attention(in[0], in[1], in[2], heads, seen, 0.1, &rng)
                   : attention_visible(in[0], in[1], in[2], heads, seen, 0.1, &rng);
    tape_backward(v_mean(v_mul(y, y)));
    double milliseconds = 1e3 * (seconds_now() - begun);
    mat_copy(x->y, y->value);
    for (int j = 0; j < 3; j++) mat_copy(x->grad[j], in[j]->grad);
    return milliseconds;
}

static bool same_numbers(Matrix a, Matrix b)
{
    bool same = true;
    for (size_t i = 0; i < mat_size(a); i++) same = same && a.at[i] == b.at[i];
    return same;
}

static void show_fused(const Config *o)
{
    enum { B = 4, T = 50, S = 60, ROUNDS = 9 };
    static const int lengths[B] = { 60, 55, 58, 60 };
    Seen seen = { .B = B, .causal = true, .lengths = lengths };
    Trio way[2] = { 0 };
    double least[2] = { INFINITY, INFINITY };
    for (int fused = 0; fused < 2; fused++) {
        for (int j = 0; j < 3; j++) {
            Rng rng = rng_new((uint64_t)o->seed, 6 + (uint64_t)j);
            Matrix m = way[fused].in[j] = mat_new(B * (j ? S : T), o->width);
            for (size_t i = 0; i < mat_size(m); i++) m.at[i] = rng_normal(&rng);
            way[fused].grad[j] = mat_new(m.rows, m.cols);
        }
        way[fused].y = mat_new(B * T, o->width);
        for (int i = 0; i < ROUNDS; i++)
            least[fused] = fmin(least[fused], attend_once(&way[fused], fused, o->heads, seen, (uint64_t)o->seed));
    }
    bool same = same_numbers(way[0].y, way[1].y);
    for (int j = 0; j < 3; j++) same = same && same_numbers(way[0].grad[j], way[1].grad[j]);
    printf("fused     values and gradients are %s; %.2f ms visible, %.2f fused\n",
           same ? "the same, to the last bit" : "not the same", least[0], least[1]);
    for (int fused = 0; fused < 2; fused++) {
        for (int j = 0; j < 3; j++) mat_free(&way[fused].in[j]), mat_free(&way[fused].grad[j]);
        mat_free(&way[fused].y);
    }
}

void show_basics(const Config *o)
{
    write_masks(o);
    show_scale(o);
    show_fused(o);
}

/* ## 5. Where
 *
 * Attention knows no order (section 1), so each row is told its place: a row P[t], different for each t, is added to what
 * the symbol says. E is a table with a row for every symbol, the embedding of chapter 05:
 *
 *     xₜ = √D E[idₜ] + P[t]                                                        (5.1)
 *
 * P may be *learned*: one more table, of as many places as will ever be needed. Or it may be fixed waves (*sinusoidal*
 * positions), a pair of columns for each frequency:
 *
 *     P[t, 2i] = sin(t ωᵢ)      P[t, 2i+1] = cos(t ωᵢ)      ωᵢ = 10000^(-2i/D)      (5.2)
 *
 * Read it as the hands of D/2 clocks: the first goes round in 6 steps, the last in some 60,000 (less for small D). Why
 * clocks? Because moving on by k places turns each hand by a fixed angle:
 *
 *     [ sin (t+k)ω ]   [  cos kω   sin kω ] [ sin tω ]
 *     [ cos (t+k)ω ] = [ -sin kω   cos kω ] [ cos tω ]                             (5.3)
 *
 * the same matrix for all t. So Wq can learn "five places on" once, and it holds everywhere. waves_new uses (5.3) with k
 * = 1 to fill the table, each row from the one before. (It also takes no sin and cos from the C library, whose last bits
 * differ between machines. The two that it needs, of an angle of at most 1, come from their series.)
 *
 * A trap is hidden in (5.1). How large should E be beside P at the start? Here √D E has numbers of size 0.1: E begins as
 * N(0, spread²/D) with `--spread` 0.1, and a wave's numbers are of size 0.7. An embedding often begins as N(0,1). That is
 * spread 1 if nothing multiplies it, and spread √D in (5.1): every row is then first of all *what* it is and only then
 * *where*, and a query for a place is drowned in noise. Section 16 measures what spread 1 costs.                           */
static void wave(double angle, double *sine, double *cosine)
{
    double term = 1;
    *sine = 0, *cosine = 1;
    for (int k = 1; k <= 12; k++) {
        *sine += term *= angle / (2 * k - 1);
        *cosine += term *= -angle / (2 * k);
        /* the sign is in the cosine's term, and so in the next sine's */
    }
}

static Matrix waves_new(int most, int D)
{
    Matrix P = mat_new(most, D);
    for (int i = 0; i < D; i += 2) {
        double sine, cosine, s = 0, c = 1;
        wave((double)r_exp((real)(-(double)i / D * 9.2103403719761836)), &sine, &cosine);
        for (int p = 0; p < most; p++) {
            mat_row(P, p)[i] = (real)s;
            if (i + 1 < D) mat_row(P, p)[i + 1] = (real)c;
            double turned = s * cosine + c * sine;                                                                   /* (5.3) */
            c = c * cosine - s * sine;
            s = turned;
        }
    }
    return P;
}

Var *model_embed(const Model *m, Var *E, const int *ids, int B, int T, int first, Rng *rng)
{
    int n = B * T, *place = tape_room((size_t)n * sizeof *place);
    for (int i = 0; i < n; i++) place[i] = first + i % T;
    Var *positions = m->P ? m->P : v_const(m->waves);
    Var *x = v_scale(v_lookup(E, ids, n), sqrt(m->plan.width));                                                      /* (5.1) */
    return v_dropout(v_add(x, v_lookup(positions, place, n)), m->plan.dropout, rng);
}

/* ## 6. A block
 *
 * Attention only mixes rows that are there. To compute something new, each row then goes alone through two layers:
 *
 *     ffn(x) = max(x W₁ + b₁, 0) W₂ + b₂                                           (6.1)   W₁ (D,F), W₂ (F,D)
 *
 * Put a dozen such blocks one on the other, and depth is what length was in chapter 02: the gradient comes back through a
 * product of as many Jacobians, and vanishes or explodes. The cure is chapter 03's. A cell's c went from step to step by
 * a *sum*, and a row goes from block to block by one:
 *
 *     x ← x + attention(x)        x ← x + ffn(x)                                   (6.2)   residual connections
 *
 * What is added again and again, twice a block or three times, may grow, and a softmax does not like large numbers.
 * *Layer normalization* (Ba et al. 2016) gives each row mean 0 and variance 1, and then a stretch and a shift that are
 * learned:
 *
 *     norm(x) = g ⊙ (x - mean x) / √(var x + ε) + b                                (6.3)   mean and var over the row's D numbers
 *
 * Where does it stand? Two answers, an option (`--norm`):
 *
 *     post    x ← norm(x + f(x))           Vaswani et al. 2017                      (6.4)
 *     pre     x ← x + f(norm(x)), and one norm after the last block                 (6.5)
 *
 * With (6.5) a path of sums alone leads from the last block to the first, and the gradient comes back on it unharmed.
 * With (6.4) a norm lies across that path in every block. Section 11 measures what that does to the first steps. Dropout,
 * where it is on, falls on f(x) before the sum, between the two layers of (6.1), on the weights (section 4), and on
 * (5.1).
 *
 * enter and leave are what stands before f and behind it, so that a block reads as (6.2). A block of the decoder,
 * pre-norm:
 *
 *     x ──┬── norm ── attention to itself ── + ──┬── norm ── attention to the memory ── + ──┬── norm ── (6.1) ── + ── x
 *         └──────────────────────────────────┘   └──────────────────────────────────────┘   └────────────────────┘
 *                                                                                                                          */
static Var *enter(const Model *m, const Norm *norm, Var *x) { return m->plan.pre ? v_layer_norm(x, norm->g, norm->b) : x; }

static Var *leave(const Pass *pass, const Norm *norm, Var *x, Var *y)
{
    Var *sum = v_add(x, v_dropout(y, pass->m->plan.dropout, pass->rng));
    return pass->m->plan.pre ? sum : v_layer_norm(sum, norm->g, norm->b);
}

/* ## 7. Stacks, and what need not be computed twice
 *
 * A *stack* is blocks in a row. With the mask that lets all be seen it is an encoder; with the triangle, a decoder; and
 * if its blocks have a second attention between the first and (6.1), whose keys and values are an encoder's rows, it is
 * the decoder of an encoder-decoder. block_run is all three.
 *
 * When a decoder writes, it makes one symbol at a time. Running the stack over the whole text for each would do
 * everything again that was done before: under the triangle an earlier row cannot see the new symbol, so nothing about it
 * has changed, not its last bit. What the new row needs of the others are their keys and values. So these are kept, for
 * each block: the *key-value cache*. A step appends its own, and asks alone. The mask's last row is what is left of the
 * triangle, and all n + 1 places that are filled may be seen: it has become a padding mask, with the empty rest of the
 * cache for padding.
 *
 * The sums are taken in the same order in both ways, and what is hidden adds exact zeros. So a text that is written with
 * a cache is the text that would be written without, to the last bit (tests/test_chapter08.c).                             */
static Places cache_add(Cache *c, int layer, Places p)
{
    int *lengths = tape_room((size_t)c->B * sizeof *lengths);
    for (int b = 0; b < c->B; b++) {
        lengths[b] = c->n + 1;
        mat_copy(mat_rows(c->k[layer], b * c->most + c->n, 1), mat_rows(p.k->value, b, 1));
        mat_copy(mat_rows(c->v[layer], b * c->most + c->n, 1), mat_rows(p.v->value, b, 1));
    }
    return (Places){ .k = v_leaf(c->k[layer]), .v = v_leaf(c->v[layer]), .seen = { .B = c->B, .lengths = lengths } };
}

static Var *block_run(Pass *pass, int layer, Var *x)
{
    const Model *m = pass->m;
    const Block *block = &pass->stack->block[layer];
    Var *in = enter(m, &block->norm[0], x);
    Places self = places_of(&block->self, in, pass->seen);
    if (pass->cache) self = cache_add(pass->cache, layer, self);
    x = leave(pass, &block->norm[0], x, attend(pass, &block->self, in, self, &pass->looked[layer]));                 /* (6.2) */
    if (pass->stack->crosses) {
        in = enter(m, &block->norm[1], x);
        x = leave(pass, &block->norm[1], x, attend(pass, &block->cross, in, pass->memory[layer], &pass->crossed[layer]));
    }
    in = enter(m, &block->norm[2], x);
    Var *wide = m->plan.fused ? v_linear_relu(in, block->wide.W, block->wide.b, m->plan.dropout, pass->rng)
                              : v_dropout(v_relu(linear(&block->wide, in)), m->plan.dropout, pass->rng);
    return leave(pass, &block->norm[2], x, linear(&block->narrow, wide));                                            /* (6.1) */
}

Var *stack_run(Pass *pass, Var *x)
{
    for (int layer = 0; layer < pass->stack->blocks; layer++) x = block_run(pass, layer, x);
    if (pass->cache) pass->cache->n++;
    return enter(pass->m, &pass->stack->last, x);                        /* (6.5): the norm after the last block */
}

Cache cache_new(const Model *m, int B, int most)
{
    Cache c = { .B = B, .most = most };
    for (int l = 0; l < m->decoder.blocks; l++) {
        c.k[l] = mat_new(B * most, m->plan.width);
        c.v[l] = mat_new(B * most, m->plan.width);
    }
    return c;
}

void cache_free(Cache *c)
{
    for (int l = 0; l < MOST_BLOCKS; l++) mat_free(&c->k[l]), mat_free(&c->v[l]);
}

/* ### The parameters
 *
 * Weights begin uniform in ±√(6/(in + out)) (Glorot and Bengio 2010), biases at 0, the norms as if they were not there.
 * Names such as "decoder.2.cross.q.W" go to the checkpoints. A network of one stack calls it the decoder, whatever its
 * mask; `plan->source` 0 says that there is no other.                                                                      */
static Linear linear_new(Params *p, const char *where, const char *name, int in, int out)
{
    char full[NAME_ROOM];
    Linear l;
    snprintf(full, sizeof full, "%.40s%s.W", where, name);
    l.W = param(p, full, in, out, init_uniform(sqrt(6.0 / (in + out))));
    snprintf(full, sizeof full, "%.40s%s.b", where, name);
    l.b = param(p, full, 1, out, init_zero());
    return l;
}

static Norm norm_new(Params *p, const char *where, const char *name, int D)
{
    char full[NAME_ROOM];
    Norm n;
    snprintf(full, sizeof full, "%.40s%s.g", where, name);
    n.g = param(p, full, 1, D, init_constant(1));
    snprintf(full, sizeof full, "%.40s%s.b", where, name);
    n.b = param(p, full, 1, D, init_zero());
    return n;
}

static Attention attention_new(Params *p, const char *where, const char *name, int D)
{
    char full[NAME_ROOM];
    snprintf(full, sizeof full, "%.40s%s.", where, name);
    return (Attention){ linear_new(p, full, "q", D, D), linear_new(p, full, "k", D, D), linear_new(p, full, "v", D, D),
                        linear_new(p, full, "out", D, D) };
}

static Stack stack_new(Params *p, const char *name, const Plan *plan, bool crosses)
{
    Stack s = { .blocks = plan->blocks, .crosses = crosses };
    char where[NAME_ROOM];
    int D = plan->width;
    for (int l = 0; l < plan->blocks; l++) {
        Block *block = &s.block[l];
        snprintf(where, sizeof where, "%s.%d.", name, l + 1);
        block->self = attention_new(p, where, "self", D);
        block->norm[0] = norm_new(p, where, "self.norm", D);
        if (crosses) block->cross = attention_new(p, where, "cross", D), block->norm[1] = norm_new(p, where, "cross.norm", D);
        block->wide = linear_new(p, where, "wide", D, plan->feed);
        block->narrow = linear_new(p, where, "narrow", plan->feed, D);
        block->norm[2] = norm_new(p, where, "feed.norm", D);
    }
    snprintf(where, sizeof where, "%s.", name);
    if (plan->pre) s.last = norm_new(p, where, "norm", D);
    return s;
}

void model_new(Model *m, const Plan *plan, uint64_t seed)
{
    int D = plan->width;
    Init init = init_normal(plan->spread / sqrt(D));
    Params *p = &m->params;
    *m = (Model){ .plan = *plan };
    m->Et = param(p, "embedding", plan->target, D, init);
    m->Es = plan->source == 0 || plan->shared ? m->Et : param(p, "source.embedding", plan->source, D, init);
    if (plan->learned) m->P = param(p, "positions", plan->most, D, init_normal(sqrt(0.5)));      /* the size of a wave */
    else m->waves = waves_new(plan->most, D);
    if (plan->source) m->encoder = stack_new(p, "encoder", plan, false);
    m->decoder = stack_new(p, "decoder", plan, plan->source > 0);
    m->output = linear_new(p, "", "output", D, plan->said);
    params_allocate(p, seed);
}

void model_free(Model *m)
{
    params_free(&m->params);
    mat_free(&m->waves);
}

Plan plan_of(const Config *o)
{
    return (Plan){ .width = o->width, .heads = o->heads, .blocks = o->blocks, .feed = o->feed, .dropout = o->dropout,
                   .spread = o->spread, .pre = strcmp(o->norm, "pre") == 0, .learned = strcmp(o->positions, "learned") == 0,
                   .fused = o->fused };
}

void write_heads(FILE *f, const Model *m, Var *const looked[], int example, int T, Label asks[], int S, Label seen[])
{
    for (int l = 0; l < m->decoder.blocks; l++)
        for (int h = 0; h < m->plan.heads; h++)
            for (int t = 0; t < T; t++)
                for (int s = 0; s < S; s++) {
                    fprintf(f, "block %d head %d,%d,%d,%s,%d,%s,", l + 1, h + 1, example, t, asks[t], s, seen[s]);
                    csv_number(f, (double)attention_weights(looked[l], 0, h, t)[s]);
                    fputc('\n', f);
                }
}

void plan_set(Checkpoint *c, const Model *m)
{
    const Plan *p = &m->plan;
    checkpoint_set(c, "model", "transformer");
    checkpoint_set(c, "width", "%d", p->width);
    checkpoint_set(c, "heads", "%d", p->heads);
    checkpoint_set(c, "blocks", "%d", p->blocks);
    checkpoint_set(c, "feed", "%d", p->feed);
    checkpoint_set(c, "most", "%d", p->most);
    checkpoint_set(c, "norm", "%s", p->pre ? "pre" : "post");
    checkpoint_set(c, "positions", "%s", p->learned ? "learned" : "sinusoidal");
    checkpoint_add_params(c, &m->params);
}

static bool first_of(const Checkpoint *c, const char *key, const char *first, const char *second)
{
    const char *text = checkpoint_text(c, key);
    if (strcmp(text, first) != 0 && strcmp(text, second) != 0)
        die("%s: its %s is '%s'; expected %s or %s", c->path, key, text, first, second);
    return strcmp(text, first) == 0;
}

void model_load(Model *m, const Checkpoint *c, int source, int target, int said)
{
    checkpoint_expect_model(c, "transformer");
    Plan plan = { .source = source, .target = target, .said = said, .fused = true,
                  .width = checkpoint_int(c, "width", 2, 4096), .heads = checkpoint_int(c, "heads", 1, 64),
                  .blocks = checkpoint_int(c, "blocks", 1, MOST_BLOCKS), .feed = checkpoint_int(c, "feed", 1, 16384),
                  .most = checkpoint_int(c, "most", 1, 4096), .pre = first_of(c, "norm", "pre", "post"),
                  .learned = first_of(c, "positions", "learned", "sinusoidal") };
    if (plan.width % plan.heads != 0) die("%s: its width %d is no multiple of its heads, %d", c->path, plan.width, plan.heads);
    model_new(m, &plan, 0);
    checkpoint_get_params(c, &m->params);
}

/* ## The run
 *
 * Four tasks, and three presets for each. `build/08_transformer_mask --task gpt --help` lists those of one.
 *
 * That is the network. It has not learned anything yet. Go on in encoder_decoder.c.                                        */
static const Option options[] = {
    OPTIONS_FOR_ALL(Config),
    { "task", OPTION_CHOICE, offsetof(Config, task), 0, 0, "series, words, gpt or bert: what to learn" },
    { "corpus", OPTION_TEXT, offsetof(Config, corpus), 0, 0, "gpt, bert: a text; else $QUIJOTE, data/quijote.txt, the pastiche" },
    { "direction", OPTION_CHOICE, offsetof(Config, direction), 0, 0, "to_digits, to_words or both: of the words" },
    { "width", OPTION_INT, offsetof(Config, width), 2, 4096, "width of a row, D; a multiple of --heads" },
    { "heads", OPTION_INT, offsetof(Config, heads), 1, 64, "heads" },
    { "blocks", OPTION_INT, offsetof(Config, blocks), 1, MOST_BLOCKS, "blocks in a stack" },
    { "feed", OPTION_INT, offsetof(Config, feed), 1, 16384, "width between the two layers of a block, F" },
    { "norm", OPTION_CHOICE, offsetof(Config, norm), 0, 0, "pre or post: where the layer norm stands" },
    { "positions", OPTION_CHOICE, offsetof(Config, positions), 0, 0, "sinusoidal or learned" },
    { "dropout", OPTION_REAL, offsetof(Config, dropout), 0, 0.99, "probability of dropping a number" },
    { "spread", OPTION_REAL, offsetof(Config, spread), 1e-6, 100, "size of an embedding's numbers in the beginning" },
    { "forcing", OPTION_REAL, offsetof(Config, forcing), 0.001, 1, "series, words: share of batches that are told the truth" },
    { "forcing-end", OPTION_REAL, offsetof(Config, forcing_end), 0.001, 1, "… at the end of training" },
    { "gap", OPTION_REAL, offsetof(Config, gap), 0.01, 0.9, "bert: share of the symbols that are hidden" },
    { "fused", OPTION_INT, offsetof(Config, fused), 0, 1, "1: train with common/attention.h, 0: with section 4's ops" },
    { "window", OPTION_INT, offsetof(Config, window), 2, 4096, "gpt, bert: symbols a sequence, T" },
    { "batch", OPTION_INT, offsetof(Config, batch), 1, 4096, "sequences a step, B" },
    { "steps", OPTION_INT, offsetof(Config, steps), 1, 1e7, "steps of training" },
    { "warmup", OPTION_INT, offsetof(Config, warmup), 0, 1e7, "steps until the highest learning rate" },
    { "lr", OPTION_REAL, offsetof(Config, lr), 1e-9, 10, "highest learning rate" },
    { "clip", OPTION_REAL, offsetof(Config, clip), 1e-9, 1e9, "longest gradient" },
    { "test", OPTION_INT, offsetof(Config, test), 1, 10000, "held-out pairs, or gaps, to test with" },
    { "reports", OPTION_INT, offsetof(Config, reports), 1, 1e6, "rows in the curve" },
    { "warmup-steps", OPTION_INT, offsetof(Config, warmup_steps), 0, 1e6, "series: steps of each run of section 11; 0: none" },
    { "warmup-lr", OPTION_REAL, offsetof(Config, warmup_lr), 1e-9, 10, "series: their learning rate" },
    { "load", OPTION_TEXT, offsetof(Config, load), 0, 0, "words, gpt, bert: a saved network: do not train, answer --prompt" },
    { "prompt", OPTION_TEXT, offsetof(Config, prompt), 0, 0, "gpt: a beginning; words: a number; bert: a text with _" },
    { "length", OPTION_INT, offsetof(Config, length), 1, 1e6, "gpt: symbols to write after the prompt" },
    { "temperature", OPTION_REAL, offsetof(Config, temperature), 0, 100, "gpt: 0: the likeliest symbol; 1: as the model says" },
};

#define OUT    "out/08_transformer_mask/"
#define SAME   .seed = 1, .direction = "both", .fused = 1, .temperature = 0.7, .spread = 0.1, .gap = 0.3, .norm = "pre", \
               .positions = "sinusoidal", .warmup_lr = 0.008
#define SERIES SAME, .task = "series", .out = OUT "series", .width = 32, .heads = 2, .blocks = 3, .feed = 256, .batch = 8, \
               .clip = 0.5, .forcing = 0.1, .forcing_end = 0.1, .test = 100, .prompt = "", .window = 48, .length = 1
#define WORDS  SAME, .task = "words", .out = OUT "words", .batch = 64, .clip = 1, .forcing = 1, .forcing_end = 1, .prompt = "", \
               .window = 96, .length = 1
#define TEXT   SAME, .batch = 16, .clip = 1, .forcing = 1, .forcing_end = 1, .heads = 4
#define GPT    TEXT, .task = "gpt", .out = OUT "gpt", .prompt = "", .test = 1000
#define BERT   TEXT, .task = "bert", .out = OUT "bert", .prompt = "", .length = 1
#define TINY   .steps = 20, .warmup = 5, .reports = 2, .width = 16, .blocks = 1, .feed = 32, .lr = 0.003

static const Config presets[4][PRESETS] = {
    { { SERIES, .steps = 40, .warmup = 10, .reports = 2, .lr = 0.004, .dropout = 0.1, .warmup_steps = 8 },
      { SERIES, .steps = 11000, .warmup = 200, .reports = 5, .lr = 0.003, .warmup_steps = 150 },
      { SERIES, .steps = 30000, .warmup = 200, .reports = 30, .lr = 0.001, .dropout = 0.1, .warmup_steps = 300 } },
    { { WORDS, TINY, .heads = 2, .test = 100 },
      { WORDS, .steps = 900, .warmup = 100, .reports = 5, .width = 64, .heads = 4, .blocks = 2, .feed = 128, .lr = 0.003,
        .test = 1000 },
      { WORDS, .steps = 10000, .warmup = 400, .reports = 40, .width = 64, .heads = 4, .blocks = 3, .feed = 256, .lr = 0.002,
        .test = 2000, .dropout = 0.1 } },
    { { GPT, TINY, .window = 32, .length = 60 },
      { GPT, .steps = 1100, .warmup = 100, .reports = 11, .width = 96, .blocks = 3, .feed = 384, .lr = 0.003, .window = 128,
        .length = 400 },
      { GPT, .steps = 20000, .warmup = 400, .reports = 40, .width = 128, .blocks = 4, .feed = 512, .lr = 0.002, .window = 128,
        .length = 400, .dropout = 0.1 } },
    { { BERT, TINY, .window = 32, .test = 100 },
      { BERT, .steps = 1500, .warmup = 100, .reports = 10, .width = 64, .blocks = 2, .feed = 256, .lr = 0.003, .window = 128,
        .test = 1000 },
      { BERT, .steps = 20000, .warmup = 400, .reports = 40, .width = 128, .blocks = 4, .feed = 512, .lr = 0.002, .window = 128,
        .test = 2000 } },
};

#define TRIPLE(i) { &presets[i][0], &presets[i][1], &presets[i][2] }
static const void *const of_choice[4][PRESETS] = { TRIPLE(0), TRIPLE(1), TRIPLE(2), TRIPLE(3) };

static const Cli cli = {
    .about = "Chapter 08: no recurrence, only attention and masks. One network, four tasks.",
    .options = options, .count = sizeof options / sizeof *options,
    .presets = TRIPLE(0), .size = sizeof(Config), .choice = "task", .of_choice = of_choice,
};

static void check_config(const Config *o)
{
    bool series = strcmp(o->task, "series") == 0, bert = strcmp(o->task, "bert") == 0;
    if (o->width % o->heads != 0) die("--width %d: expected a multiple of --heads, which is %d", o->width, o->heads);
    if (o->load && series) die("--load '%s': the series keep no network; expected another --task", o->load);
    if (o->load && !*o->prompt && strcmp(o->task, "gpt") != 0)
        die("--load '%s': expected --prompt TEXT as well, to say what is asked", o->load);
    if (*o->prompt && !o->load && (strcmp(o->task, "words") == 0 || series))
        die("--prompt '%s': expected --load FILE as well, to say which network is to answer", o->prompt);
    if (bert && *o->prompt && !strchr(o->prompt, '_')) die("--prompt '%s': expected a _ for each gap", o->prompt);
}

int main(int argc, char **argv)
{
    Config o;
    cli_parse(&cli, argc, argv, &o);
    check_config(&o);
    threads_start(o.threads);
    interrupt_catch();
    if (strcmp(o.task, "series") == 0) run_series(&o);
    if (strcmp(o.task, "words") == 0) run_words(&o);
    if (strcmp(o.task, "gpt") == 0) run_gpt(&o);
    if (strcmp(o.task, "bert") == 0) run_bert(&o);
    tape_free();
    threads_stop();
    return interrupted() ? INTERRUPTED : 0;
}
