/* # 4. The same idea with fewer gates: the GRU
 *
 * The LSTM of chapter 03 remembers, and it pays for that with four blocks of weights, two states and five equations. Whoever
 * meets it asks which of them it needs. Cho et al. (2014) had an answer that still stands: one state is enough, and two gates.
 * Their cell, the gated recurrent unit or GRU, is what this chapter builds.
 *
 * You will build it twice, because there are two GRUs in the world, which differ in the place of one pair of parentheses and
 * do not give the same numbers. Then the three cells of this book, RNN, LSTM and GRU, meet in a league on chapter 01's text: at
 * equal width, at equal numbers of parameters, and at equal time. And you will see what a better cell does with a text that is
 * too short for it.
 *
 *     run        make chapter-04                                        about 40 s
 *                make chapter-04 ARGS='--preset reference'              about 7 minutes
 *     writes     out/04_gru/curve.csv, league.csv, gates.csv, samples.txt, and with times in them, which no two runs
 *                share: timing.csv, league_seconds.csv, variants_seconds.csv
 *     look at    out/04_gru/league.png: who wins, and by how much, in three games
 *                out/04_gru/curve.png: the GRU's two curves, training and test, and how far they part
 *
 * New since chapter 03: the cell (sections 2 and 3), and how to compare fairly (section 8). The training loop is the one you
 * know.
 *
 * ## Notation
 *
 * B batch, T time, V vocabulary, H hidden width, as always. Two numbers are particular to this chapter: G, the blocks of
 * weights in a cell (1 in the RNN, 4 in the LSTM, 3 in the GRU), and the matrix
 *
 *     aₜ = xₜ Wx + b                                   (B,GH)  what the input adds at step t, for all G blocks side by side
 *
 * which is one row lookup, since x is one-hot (chapter 01, section 2). Every cell below is a function of aₜ and its state.  */
#include "workbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    int seed, threads;
    const char *out, *corpus, *cell, *prompt;
    int epochs, batch, window, hidden, train, test, length, fused;
    double lr, lr_rnn, clip, temperature, race;
} Config;

typedef struct Cell Cell;                    /* what sets one kind of network apart from another: section 5 */

typedef struct {
    const Cell *cell;
    int V, H;
    bool fused;                              /* trained with the cells of common/cells.h: end of section 5 */
    Params params;
    Var *Wx, *Wh, *b;                        /* (V,GH) (H,GH) (1,GH): the G blocks of the cell side by side */
    Var *bu;                                 /* (1,H), only in one of the two GRUs: section 3               */
    Var *Wo, *bo;                            /* (H,V) (1,V): from the state to the logits                   */
} Model;

typedef struct { Var *h, *c; } State;        /* (B,H) each; c only in the LSTM */

/* ## 1. Which gates would you do without?
 *
 * Look at the two lines of the LSTM that make it one:
 *
 *     cₜ = f ⊙ cₜ₋₁ + i ⊙ g                            (1.1)   keep some, write some
 *     hₜ = o ⊙ tanh(cₜ)                                (1.2)   show some
 *
 * f and i are free of each other, so a number of the cell can be kept and written to (f = i = 1, it adds up) or neither
 * (f = i = 0, it is cleared). But a memory of fixed size mostly has to choose: what is written takes the place of what was
 * there. So tie the two gates, f = z and i = 1 - z:
 *
 *     hₜ = z ⊙ hₜ₋₁ + (1 - z) ⊙ n                      (1.3)   z near 1: keep; z near 0: replace
 *
 * That was the first gate. A second thing happens on the way. c can grow without bound, if f = i = 1 for long, and that is
 * why (1.2) needs a tanh before anybody looks at it. (1.3) is a weighted mean of two numbers in (-1,1) and stays there by
 * itself. So the second tanh goes, and with it the reason for a second state: h is the memory, and all of it is shown. The
 * output gate is gone too.
 *
 * One thing was lost. In the LSTM, o could hide a part of the memory from the next step's gates and candidate. In (1.3) the
 * candidate n sees all of h, if it wants to or not. For this the GRU has its second gate, the reset gate r: it decides how
 * much of the old state the candidate may see. r = 0 makes n a function of the input alone, as if a sentence began here.
 *
 * | question                  | LSTM                         | GRU                                  |
 * | ------------------------- | ---------------------------- | ------------------------------------ |
 * | how much is kept?         | f                            | z                                    |
 * | how much is written?      | i                            | 1 - z                                |
 * | who sees the memory?      | all, through o               | the candidate through r, others all  |
 * | states                    | h and c                      | h                                    |
 * | blocks of weights, G      | 4                            | 3                                    |
 *
 * What made the LSTM work is still there. The way from hₜ back to hₜ₋₁ that leads through the first term of (1.3) passes no
 * matrix and no tanh, only z; where z stays near 1, a gradient comes through a hundred steps.
 *
 * Do not rely on names. Cho et al. and this book have z for "keep"; Chung et al. (2014) write (1 - z) hₜ₋₁ + z n, and there
 * the same letter means "replace". Weights moved from one program to another with z the wrong way round load without complaint.
 *
 * ## 2. One GRU step
 *
 *     z  = σ(xₜ Wxz + hₜ₋₁ Whz + bz)                   (2.1)   update gate, in (0,1)
 *     r  = σ(xₜ Wxr + hₜ₋₁ Whr + br)                   (2.2)   reset gate, in (0,1)
 *     n  = tanh(xₜ Wxn + (r ⊙ hₜ₋₁) Whn + bn)          (2.3)   candidate, in (-1,1)
 *     hₜ = z ⊙ hₜ₋₁ + (1 - z) ⊙ n                      (2.4)
 *
 * (Cho et al. 2014, section 2.3, (5) to (8), where biases are left out; with biases, Zhang et al., section 10.2.) Shapes: z,
 * r, n, h (B,H), each Wx (V,H), each Wh (H,H), each b (1,H). The three blocks lie side by side, Wh = [ Whz | Whr | Whn ]
 * (H,3H) and likewise Wx and b, so a = xₜ Wx + b is one (B,3H), and z and r come out of one product and one σ:         */
static Var *gru_gates(const Model *m, Var *a, Var *h)
{
    int H = m->H;
    Var *u = v_matmul(h, v_cols(m->Wh, 0, 2 * H));
    return v_sigmoid(v_add(v_cols(a, 0, 2 * H), u));                     /* (2.1) (2.2): [ z | r ]  (B,2H) */
}

/* (2.4) has two products. Written as n + z ⊙ (hₜ₋₁ - n) it has one, and no matrix of ones to subtract from: the same line
 * between n (z = 0) and hₜ₋₁ (z = 1), walked from the other end. */
static Var *gru_blend(Var *z, Var *h, Var *n)
{
    return v_add(n, v_mul(z, v_sub(h, n)));                              /* (2.4)  (B,H) */
}

static State gru_step(const Model *m, Var *a, State s)
{
    int H = m->H;
    Var *zr = gru_gates(m, a, s.h), *z = v_cols(zr, 0, H), *r = v_cols(zr, H, H);
    Var *u = v_matmul(v_mul(r, s.h), v_cols(m->Wh, 2 * H, H));
    Var *n = v_tanh(v_add(v_cols(a, 2 * H, H), u));                      /* (2.3)  (B,H) */
    return (State){ .h = gru_blend(z, s.h, n) };
}

/* ## 3. The other GRU
 *
 * (2.3) cannot start before (2.2) has finished: r must be known before the product with Whn begins. Move the gate behind the
 * product, and the step needs one product with all of Wh, at once, at its beginning:
 *
 *     [ uz | ur | un ] = hₜ₋₁ Wh                       (3.1)   (B,H)(H,3H) → (B,3H)
 *     z, r = σ(az + uz), σ(ar + ur)                    (3.2)   as before
 *     n    = tanh(an + r ⊙ (un + bu))                  (3.3)   this is new
 *
 * This is the GRU of cuDNN, and therefore of torch.nn.GRU and, by default, of Keras, which calls it reset_after. These
 * are two models: weights trained for one are wrong for the other. Column by column the difference is
 *
 *     before     n[j] hears  Σₖ r[k] h[k] W[k,j]       (3.4)   r[k]: may number k of the old state be read, by anyone?
 *     after      n[j] hears  r[j] Σₖ h[k] W[k,j]       (3.5)   r[j]: may candidate j read the old state, any of it?
 *
 * A sum does not care when r[k] and r[j] are the same number; then the factor can be moved across it. With bu = 0 the two
 * agree when r is the same for all units, when h is 0, when H = 1, or when W is diagonal, so that k = j is the only term. In
 * general they differ. The second bias is part of the second GRU because b, as a part of a, is added outside the gate: bu
 * is added inside it, and r = 0 switches it off with all the rest. (In the blocks z and r, frameworks carry a second bias too;
 * there it is added to the first and does nothing that the first could not.)                                              */
static State gru_step_after(const Model *m, Var *a, State s)
{
    int H = m->H;
    Var *u = v_matmul(s.h, m->Wh);                                                          /* (3.1)  (B,3H) */
    Var *zr = v_sigmoid(v_add(v_cols(a, 0, 2 * H), v_cols(u, 0, 2 * H)));                   /* (3.2)  (B,2H) */
    Var *z = v_cols(zr, 0, H), *r = v_cols(zr, H, H);
    Var *un = v_add_bias(v_cols(u, 2 * H, H), m->bu);
    Var *n = v_tanh(v_add(v_cols(a, 2 * H, H), v_mul(r, un)));                              /* (3.3)  (B,H)  */
    return (State){ .h = gru_blend(z, s.h, n) };
}

/* ## 4. Two cells that you know, in the same socket
 *
 * For the league all cells take a and a state and give a state. The RNN of chapter 01 and the LSTM of chapter 03 then look
 * like this:                                                                                                              */
static State rnn_step(const Model *m, Var *a, State s)
{
    return (State){ .h = v_tanh(v_add(a, v_matmul(s.h, m->Wh))) };
}

static State lstm_step(const Model *m, Var *a, State s)
{
    int H = m->H;
    Var *z = v_add(a, v_matmul(s.h, m->Wh));                             /* [ zi | zf | zg | zo ]  (B,4H) */
    Var *i = v_sigmoid(v_cols(z, 0 * H, H));
    Var *f = v_sigmoid(v_cols(z, 1 * H, H));
    Var *g = v_tanh   (v_cols(z, 2 * H, H));
    Var *o = v_sigmoid(v_cols(z, 3 * H, H));
    Var *c = v_add(v_mul(f, s.c), v_mul(i, g));                          /* (1.1) */
    return (State){ .h = v_mul(o, v_tanh(c)), .c = c };                  /* (1.2) */
}

/* ## 5. What a cell costs
 *
 * Each of the G blocks has a piece of Wx (V,H), of Wh (H,H) and of b (1,H). With the output layer the network has
 *
 *     P = G (V H + H² + H) + E + H V + V               (5.1)   E = H for the GRU's second bias bu, else 0
 *
 * parameters. At the reference size, V = 33 and H = 32:
 *
 * | cell      | G | E  | parameters | width with as many parameters as the GRU |
 * | --------- | - | -- | ---------- | ---------------------------------------- |
 * | rnn       | 1 | 0  |      3,201 | 59 (7,467 parameters)                    |
 * | lstm      | 4 | 0  |      9,537 | 27 (7,512)                               |
 * | gru       | 3 | 0  |      7,425 | 32                                       |
 * | gru_after | 3 | 32 |      7,457 | 32                                       |
 *
 * The last column is what a comparison at equal parameters needs; hidden_for finds it. The products of one step cost
 * 2 G H² operations a symbol, whichever side r stands on.                                                                 */
struct Cell {
    const char *name;
    int blocks, biases;                      /* G, and the biases bu that E counts: 0 or 1 times H */
    State (*step)(const Model *m, Var *a, State s);
};

enum { RNN, LSTM, GRU, GRU_AFTER, CELLS };

static const Cell cells[CELLS] = {
    [RNN]       = { "rnn",       1, 0, rnn_step },
    [LSTM]      = { "lstm",      4, 0, lstm_step },
    [GRU]       = { "gru",       3, 0, gru_step },
    [GRU_AFTER] = { "gru_after", 3, 1, gru_step_after },
};

static long count_parameters(const Cell *cell, long V, long H)
{
    return cell->blocks * (V * H + H * H + H) + cell->biases * H + H * V + V;               /* (5.1) */
}

/* The width whose number of parameters comes nearest to `budget`. */
static int hidden_for(const Cell *cell, int V, long budget)
{
    int H = 1;
    while (count_parameters(cell, V, H + 1) <= budget) H++;
    long below = budget - count_parameters(cell, V, H), above = count_parameters(cell, V, H + 1) - budget;
    return above < below ? H + 1 : H;
}

/* ### The network around the cell
 *
 * Weights begin as N(0,1)·0.01 and biases as 0. A parameter's first numbers depend on the seed and on its name alone, so
 * both GRUs start from the very same weights.
 *
 * window_loss is chapter 01's forward pass on the tape. It adds b to the V rows of Wx once, and looks aₜ up in the result,
 * instead of adding b to B rows at each of T steps.                                                                       */
static Model model_new(const Cell *cell, int V, int H, uint64_t seed)
{
    Model m = { .cell = cell, .V = V, .H = H };
    int GH = cell->blocks * H;
    m.Wx = param(&m.params, "Wx", V, GH, init_normal(0.01));
    m.Wh = param(&m.params, "Wh", H, GH, init_normal(0.01));
    m.b  = param(&m.params, "b", 1, GH, init_zero());
    if (cell->biases) m.bu = param(&m.params, "bu", 1, H, init_zero());
    m.Wo = param(&m.params, "Wo", H, V, init_normal(0.01));
    m.bo = param(&m.params, "bo", 1, V, init_zero());
    params_allocate(&m.params, seed);
    return m;
}

static Var *input_table(const Model *m) { return v_add_bias(m->Wx, m->b); }                 /* (V,GH): row v is a of symbol v */

static State state_zero(const Model *m, int B)
{
    Matrix zeros = tape_matrix(B, m->H);
    mat_fill(zeros, 0);
    return (State){ .h = v_const(zeros), .c = v_const(zeros) };
}

static Var *logits(const Model *m, Var *h) { return v_add_bias(v_matmul(h, m->Wo), m->bo); }

/* The states (T B, H) after each of the symbols x (T,B). */
static Var *window_states(const Model *m, Var *table, const int *x, State s, int T)
{
    int B = s.h->value.rows;
    Var **h = allocate((size_t)T, sizeof *h);
    for (int t = 0; t < T; t++) {
        s = m->cell->step(m, v_lookup(table, x + t * B, B), s);
        h[t] = s.h;
    }
    Var *all = v_vcat(h, T);
    free(h);
    return all;
}

/* ### The same cells, fused
 *
 * A cell of visible ops is slow for a reason that has nothing to do with its equations. Each op is a pass over memory: it
 * reads one or two matrices of (B,H), writes a third, and comes by again on the way back. An LSTM step has some twenty of
 * them, and the arithmetic waits. *Fusing* means to write one loop that does for a few rows all that a step has to do, while
 * their numbers are still in the processor's cache. common/cells.h has such loops for our four cells; a layer of T steps is
 * then one entry on the tape, with one way back, written by hand as in chapter 01. Chapter 05 needs them for its whole book;
 * here `--fused 1` trains the league with them, so that you can see what they are worth, and that they change nothing else.
 *
 * They keep the GRU's blocks in PyTorch's order, [ r | z | n ], and we in the papers', [ z | r | n ]. The weights remain ours:
 * in_their_order makes a copy with the blocks changed round, on the tape, so that the gradients find their way home.
 *
 * Do they change nothing else? Not to the bit. A fused cell lets the sum of a product start from aₜ, where gru_step adds aₜ to
 * the finished sum, and it multiplies and adds in one rounding where two ops round twice. In the default run with `--fused 0`
 * and `--fused 1` the losses of the first epoch agree to 2·10⁻⁸; after 20 epochs, 1,600 steps, to 2·10⁻⁶, and those of gru_after
 * to 5·10⁻⁵. In the tables of section 8 that is at most one unit of the last digit. So one may learn from the slow cell and train
 * with the fast one. Millions of symbols a second, medians of timing.csv:
 *
 *                                                         rnn     lstm      gru   gru_after
 *     default run, two threads           visible          4.3      1.3      1.6         1.7
 *                                        fused            5.6      2.8      3.3         3.3
 *     --preset reference --threads 1     visible          3.0      1.1      1.3         1.3
 *                                        fused            3.2      1.5      1.7         1.8
 *
 * (One machine; yours has other numbers.) In the default run fusing doubles the speed: with batches of 128 an op does little
 * and costs its fixed price, above all where two threads have to meet after each. With one thread and batches of 1,024 it
 * gains a third. There half of the fused LSTM's time goes into products, which fusing does not touch.                       */
static Var *in_their_order(const Model *m, Var *W)
{
    int H = m->H;
    if (m->cell->blocks != 3) return W;
    return v_hcat((Var *[]){ v_cols(W, H, H), v_cols(W, 0, H), v_cols(W, 2 * H, H) }, 3);
}

static Var *fused_states(const Model *m, Var *table, const int *x, State s, int T)
{
    Var *a = in_their_order(m, table), *Wh = in_their_order(m, m->Wh);
    if (m->cell->step == rnn_step)  return cell_rnn(a, x, Wh, s.h, T).h;
    if (m->cell->step == lstm_step) return cell_lstm(a, x, Wh, s.h, s.c, T).h;
    if (m->cell->step == gru_step)  return cell_gru(a, x, Wh, s.h, T).h;
    return cell_gru_after(a, x, Wh, m->bu, s.h, T).h;
}

/* The mean loss in nats a symbol of B windows, ids x and targets y (T,B). */
static Var *window_loss(const Model *m, const int *x, const int *y, int B, int T)
{
    Var *h = (m->fused ? fused_states : window_states)(m, input_table(m), x, state_zero(m, B), T);
    return v_cross_entropy(logits(m, h), y);                             /* (T B, V): one product for all outputs */
}

/* ## 6. The two GRUs side by side
 *
 * First what they compute. variants_differ gives both the same weights, N(0,1)·0.5 this time, feeds them the same 32 random
 * symbols and returns the largest difference between their states at the end. The bias of r moves it from closed to open:
 *
 *     bias of r     -100      -4       0       4     100
 *     difference       0   0.021    0.60    0.27       0
 *
 * At both ends it is 0 to the last bit. σ(100) is exactly 1 in float, and as each element of a product is one sum in a fixed
 * order, un comes out of the wide product with the same bits as out of the narrow one. In between the two are simply
 * different models. Section 8 shows that they learn equally well, so the choice is one of speed.
 *
 * What does (3.1) buy? Not arithmetic: (B,H)(H,2H) and (B,H)(H,H) together multiply as often as (B,H)(H,3H) does. It buys one
 * product in place of two that wait for each other, and on a graphics card one launch in place of two. variants_race measures
 * what that is worth here, in turns, and keeps the fastest of many rounds: the products alone, and the whole training pass,
 * forward and back, over T = 8 steps. In a run with `--threads 1 --race 8`, microseconds of the processor a step:
 *
 *     B       H      two products   one      training, before   after
 *     1       256             9.5   8.0                 100.0    98.6
 *     16      256            38.0  37.0                 210.9   211.4
 *     128     128            75.9  73.5                 476.2   492.9
 *     1024    32             49.9  47.8                 871.5   907.0
 *
 * The one product wins, by 3 to 16 %, and most where there is little work in it. But even with the way back, which takes two
 * products for each one forward, products are a sixth of the pass at the last size; the rest is sums, gates and the output, and
 * bu adds to that. So here the second GRU is no faster; where starting a product costs more than it does here, it will be. A
 * reason that holds elsewhere is worth measuring again.                                                    */
static double variants_differ(double reset_bias, uint64_t seed)
{
    enum { B = 3, T = 32, V = 7, H = 16 };
    Matrix last[2];
    tape_reset();
    for (int i = 0; i < 2; i++) {
        Model m = model_new(&cells[GRU + i], V, H, seed);
        for (size_t j = 0; j < m.params.size; j++) m.params.value[j] *= 50;
        mat_fill(mat_cols(m.b->value, H, H), (real)reset_bias);
        Rng rng = rng_new(seed, 5);
        Var *table = input_table(&m);
        State s = state_zero(&m, B);
        for (int t = 0; t < T; t++) {
            int x[B];
            for (int b = 0; b < B; b++) x[b] = rng_below(&rng, V);
            s = m.cell->step(&m, v_lookup(table, x, B), s);
        }
        last[i] = s.h->value;
        params_free(&m.params);
    }
    double largest = 0;
    for (size_t j = 0; j < mat_size(last[0]); j++) {
        double difference = fabs((double)(last[0].at[j] - last[1].at[j]));
        if (difference > largest) largest = difference;
    }
    return largest;
}

static void variants_compare(const Config *o)
{
    static const double bias[] = { -100, -4, 0, 4, 100 };
    printf("variants  bias of r       ");
    for (int i = 0; i < 5; i++) printf("%9g", bias[i]);
    printf("\n          they differ by  ");
    for (int i = 0; i < 5; i++) printf("%9.2g", variants_differ(bias[i], (uint64_t)o->seed));
    printf("\n");
}

/* Seconds that the processor has spent on this program, in all its threads. They pass only while it runs, so that what else
 * the machine is doing does not count. */
static double processor_seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

/* One pass of a kind over T steps, in seconds: products alone, as they are in gru_step and in gru_step_after, or training. */
static double pass_seconds(Model *m, bool train, const int *ids, int B, int T)
{
    int H = m->H, first = m->cell == &cells[GRU] ? 2 * H : 3 * H;
    double begun = processor_seconds();
    bool recording = tape_record(train);
    tape_reset();
    if (train) {
        params_zero_grad(&m->params);
        tape_backward(window_loss(m, ids, ids + B, B, T));
    } else {
        Var *h = state_zero(m, B).h;
        for (int t = 0; t < T; t++) {
            v_matmul(h, v_cols(m->Wh, 0, first));
            if (first < 3 * H) v_matmul(h, v_cols(m->Wh, first, 3 * H - first));
        }
    }
    tape_record(recording);
    return processor_seconds() - begun;
}

static void variants_race(const Config *o)
{
    enum { V = 33, T = 8, SIZES = 4 };
    static const int size[SIZES][2] = { { 1, 256 }, { 16, 256 }, { 128, 128 }, { 1024, 32 } };
    Output *out = output_open(o->out, "variants_seconds.csv");
    fputs("batch,hidden,pass,variant,microseconds_per_step\n", output_file(out));
    printf("race      B    H         products: two      one      training: before    after   (microseconds a step)\n");
    for (int i = 0; i < SIZES && !interrupted(); i++) {
        int B = size[i][0], H = size[i][1], *ids = allocate((size_t)(B * (T + 1)), sizeof *ids);
        Model m[2] = { model_new(&cells[GRU], V, H, (uint64_t)o->seed), model_new(&cells[GRU_AFTER], V, H, (uint64_t)o->seed) };
        double best[2][2] = { { INFINITY, INFINITY }, { INFINITY, INFINITY } }, begun = seconds_now();
        do
            for (int k = 0; k < 4; k++)
                best[k / 2][k % 2] = fmin(best[k / 2][k % 2], pass_seconds(&m[k % 2], k / 2, ids, B, T));
        while (seconds_now() - begun < o->race && !interrupted());
        for (int k = 0; k < 4; k++)
            fprintf(output_file(out), "%d,%d,%s,%s,%.3f\n", B, H, k / 2 ? "training" : "products", m[k % 2].cell->name,
                    1e6 * best[k / 2][k % 2] / T);
        printf("          %-4d %-4d %17.1f %8.1f %17.1f %8.1f\n", B, H, 1e6 * best[0][0] / T, 1e6 * best[0][1] / T,
               1e6 * best[1][0] / T, 1e6 * best[1][1] / T);
        params_free(&m[0].params), params_free(&m[1].params);
        free(ids);
    }
    output_close(out);
}

/* ## 7. Training, and a model too good for its text
 *
 * Text, windows, optimizer and clipping are chapter 01's: the letters of Don Quijote from "En un lugar de la Mancha," on, as
 * windows of T = 32; the first 20,480 to train on, the next 5,120 to test with; batches of 1,024; Adadelta. Its step size η
 * is 1 for the RNN and 4 for the cells with gates, as in the course notebook that the set-up comes from; section 8 comes back
 * to that.
 *
 * The reference run of the GRU, `--preset reference --cell gru` with `--seed 1`, `2` and `3`, and a PyTorch program with
 * the same set-up and the first of the two GRUs, its gates written out, also with three seeds; mean perplexities:
 *
 *     epoch            1       5      11      20      50     100
 *     train        22.89   11.23    8.29    6.93    5.27    4.37
 *       PyTorch    22.88   11.44    8.28    6.91    5.19    4.33
 *     test         17.56   10.59    8.12    6.94    5.88    5.80
 *       PyTorch    17.60   10.77    8.18    6.96    5.85    5.82
 *
 * After 100 epochs chapter 01's RNN had reached 5.81 on the training windows, and the GRU is there before epoch 40. But look
 * at the last two columns. From epoch 50 to 100 the training perplexity fell by 0.9, and the test perplexity by 0.08. In fact
 * it is worse than that: the test curve went down to 5.65, 5.77 and 5.75 (the three seeds, at epochs 87, 81 and 80; PyTorch
 * 5.67, 5.70 and 5.77 at 69, 78 and 66) and was rising when the run ended. Let it go on, `--preset reference --cell gru
 * --epochs 200`:
 *
 *     epoch           20      50      87     100     120     150     200
 *     train         7.01    5.31    4.50    4.34    4.18    4.04    3.90
 *     test          7.00    5.88    5.65    5.78    5.82    5.93    6.15
 *
 * The RNN of this width never got that far: in chapter 01 it took H = 128 to turn its test curve round. The GRU does it with
 * 32. It has not stopped learning. It learns what is true of these ten pages and of no others.
 *
 * The default run takes half of the text and smaller batches, 10,240 windows in batches of 128, so that all of this happens
 * within 20 epochs and some seconds (`--seed 1`):
 *
 *     epoch            4       8      10      12      16      20
 *     train         7.57    5.84    5.30    4.89    4.29    3.94
 *     test          7.55    6.62    6.58    6.65    7.14    7.84
 *
 * Half of the text, and the lowest test perplexity is 6.58 in place of 5.7, after 800 steps in place of some 1,600. The second
 * half of the run undoes all that was gained since epoch 4, and nothing in the training row says so.
 *
 * Two warnings. The notebook's own "test perplexity" is the training loss under a wrong name (chapter 01, section 7), and so it
 * falls for ever. And whoever stops at epoch 10 because the *test* is lowest there has chosen by the test, and 6.58 is then
 * a little too good to be true. Chapter 05 cuts the text in three parts for this.                                          */
typedef struct {
    Vocab vocab;
    int *ids, n;                             /* the text as ids */
    int train, test;                         /* windows: train ones start at 0 … train-1, test ones right behind them */
} Data;

static Data data_open(const Config *o)
{
    Text text = text_open(o->corpus);
    text_from(&text, "En un lugar de la Mancha,");
    text_letters(&text);
    Data d = { .vocab = vocab_new(text.code, text.n), .n = text.n, .train = o->train, .test = o->test };
    if (d.n < d.train + d.test + o->window + 1)
        die("%s: %d letters; %d windows to train on and %d to test with need %d", text.source, d.n, d.train, d.test,
            d.train + d.test + o->window + 1);
    d.ids = vocab_encode(&d.vocab, &text);
    printf("text      %s\n          %d letters, %d symbols\n", text.source, d.n, d.vocab.size);
    text_free(&text);
    return d;
}

static void data_free(Data *d)
{
    vocab_free(&d->vocab);
    free(d->ids);
}

typedef struct { int B, T, *start, *x, *y; } Batch;                      /* start (B); x and y (T,B) */

static Batch batch_new(const Config *o)
{
    size_t places = (size_t)o->batch * (size_t)o->window;
    return (Batch){ .B = o->batch, .T = o->window, .start = allocate((size_t)o->batch, sizeof(int)),
                    .x = allocate(places, sizeof(int)), .y = allocate(places, sizeof(int)) };
}

static void batch_free(Batch *b)
{
    free(b->start), free(b->x), free(b->y);
}

/* Test windows first … first+B-1 into x and y; fewer than a batch at the end. Returns B. */
static int test_batch(const Data *d, Batch *b, int first)
{
    int B = d->test - first < b->B ? d->test - first : b->B;
    for (int i = 0; i < B; i++) b->start[i] = d->train + first + i;
    window_batch(d->ids, b->start, B, b->T, b->x, b->y);
    return B;
}

static double test_loss(const Model *m, const Data *d, Batch *b)
{
    double total = 0;
    bool recording = tape_record(false);
    for (int first = 0, B; first < d->test; first += B) {
        B = test_batch(d, b, first);
        tape_reset();
        total += (double)window_loss(m, b->x, b->y, B, b->T)->value.at[0] * B;
    }
    tape_record(recording);
    return total / d->test;
}

/* One network and what became of it. The columns have a number for each epoch that was trained. */
typedef struct {
    Model model;
    int epochs;
    double *train, *test;                    /* losses: mean over the epoch's batches; after it, over all test windows */
    double *seconds;                         /* of the processor, from the beginning to this epoch's end; tests not counted */
} Run;

typedef struct { Curve curve; Output *timing; } Log;

static double train_batch(Model *m, Optim *optim, double clip, const int *x, const int *y, int B, int T, double *norm)
{
    tape_reset();
    Var *loss = window_loss(m, x, y, B, T);
    params_zero_grad(&m->params);
    tape_backward(loss);
    *norm = params_clip_grad(&m->params, clip);
    optim_step(optim, &m->params);
    return (double)loss->value.at[0];
}

/* An epoch that is done: two rows in curve.csv, one in timing.csv, and now and then a line on the screen. */
static void report(Log *log, const Run *r, const Config *o, long step, double seconds, double norm, double lr)
{
    const char *model = r->model.cell->name;
    int e = r->epochs - 1;
    long per_step = (long)o->batch * o->window, steps = step - (long)e * (o->train / o->batch);
    CurveRow row = { .model = model, .split = "train", .epoch = r->epochs, .step = step, .tokens = step * per_step,
                     .loss = r->train[e], .grad_norm = norm, .lr = lr };
    if (log) {
        curve_add(&log->curve, row);
        row.split = "test", row.loss = r->test[e], row.grad_norm = 0, row.lr = 0;
        curve_add(&log->curve, row);
        fprintf(output_file(log->timing), "%s,%d,%.4f,%.0f\n", model, r->epochs, seconds,
                (double)(steps * per_step) / seconds);
    }
    if (r->epochs % ((o->epochs + 4) / 5) && r->epochs < o->epochs) return;
    progress_end();
    printf("%-9s %4d hidden   epoch %4d   train %8.4f   test %8.4f   %6.1f s\n", model, r->model.H, r->epochs,
           perplexity(r->train[e]), perplexity(r->test[e]), r->seconds[e]);
    fflush(stdout);
}

static Run run_new(const Cell *cell, int V, int H, const Config *o)
{
    Run r = { .model = model_new(cell, V, H, (uint64_t)o->seed) };
    r.model.fused = o->fused;
    size_t epochs = (size_t)o->epochs;
    r.train = allocate(epochs, sizeof(double));
    r.test = allocate(epochs, sizeof(double));
    r.seconds = allocate(epochs, sizeof(double));
    return r;
}

static void run_free(Run *r)
{
    params_free(&r->model.params);
    free(r->train), free(r->test), free(r->seconds);
}

/* Trains a network from its first weights; log may be NULL. */
static Run run_train(const Cell *cell, int H, const Data *d, const Config *o, Log *log)
{
    Run r = run_new(cell, d->vocab.size, H, o);
    double lr = cell == &cells[RNN] ? o->lr_rnn : o->lr, norm = 0;
    Optim optim = optim_adadelta(&r.model.params, lr);
    Batch b = batch_new(o);
    Rng rng = rng_new((uint64_t)o->seed, 4);
    int *order = allocate((size_t)d->train, sizeof *order), batches = d->train / o->batch;
    long step = 0;
    for (int i = 0; i < d->train; i++) order[i] = i;
    while (r.epochs < o->epochs && !interrupted()) {
        double begun = seconds_now(), worked = processor_seconds(), total = 0;
        int done = 0, e = r.epochs++;
        rng_shuffle(&rng, order, d->train);
        do {
            window_batch(d->ids, order + done * b.B, b.B, b.T, b.x, b.y);
            total += train_batch(&r.model, &optim, o->clip, b.x, b.y, b.B, b.T, &norm);
            progress_line(cell->name, ++step, (long)o->epochs * batches, total / ++done);
        } while (done < batches && !interrupted());
        r.seconds[e] = processor_seconds() - worked + (e ? r.seconds[e - 1] : 0);
        double seconds = seconds_now() - begun;
        r.train[e] = total / done;
        r.test[e] = test_loss(&r.model, d, &b);
        report(log, &r, o, step, seconds, norm, lr);
    }
    progress_end();
    optim_free(&optim);
    batch_free(&b);
    free(order);
    return r;
}

/* ## 8. A fair league
 *
 * "The GRU is better than the RNN." At what? Every comparison holds something equal, and whoever chooses what has chosen a
 * good part of the result:
 *
 * - **Equal width.** Each state has H numbers. Fair to the memory; but the LSTM then has three times the RNN's weights.
 * - **Equal parameters.** Each network has about as many weights as the GRU of width H; (5.1) tells how wide it then is.
 * - **Equal time.** Each cell trains for S seconds, and S is what the fastest of them, at equal width, needs for all of its
 *   epochs. A cheap cell then sees the text more often than a dear one.
 *
 * The first two count epochs, so league.csv is the same in each run, to the byte. The third cannot be. What a network has
 * reached after S seconds depends on the machine, on this program, and a little on what else is running, although the
 * seconds are the processor's (processor_seconds above). So it is read off the curves of the first game, at the last epoch that
 * each had finished within S seconds *of this run*, and goes to a file of its own, league_seconds.csv.
 *
 * In all three the windows and their order are the same, and one thing is not: each cell has its own η. How much of the result
 * is that? The lowest test perplexity in 20 epochs and, in brackets, the epoch, from the default run with `--cell` and `--lr`
 * or `--lr-rnn`:
 *
 *     η           1            2            4            8
 *     rnn      6.95 (20)    6.93 (14)    7.03 (12)    7.24 (6)
 *     lstm     8.22 (20)    7.14 (20)    6.72 (14)    6.74 (8)
 *     gru      7.04 (20)    6.64 (19)    6.58 (10)    6.66 (5)
 *
 * Mostly η sets the pace. With η = 1 for all, the RNN would have won a league of 20 epochs; with η = 1 for itself and 4 for
 * the others it looks slower than it is. But give each cell its best column, and the order is GRU, LSTM, RNN.
 *
 * Now the league of the default run: means over `--seed 1`, `2` and `3`; "lowest" is the lowest test perplexity on the way.
 *
 *                    equal width, H = 32         equal parameters, about 7,450
 *                 train   test  lowest           H   train   test  lowest
 *     rnn          5.93   7.04    7.00          59    5.11   7.15    7.04
 *     lstm         4.96   6.96    6.78          27    5.23   6.86    6.80
 *     gru          3.95   7.81    6.63          32    3.95   7.81    6.63
 *     gru_after    3.99   7.59    6.62          32    3.99   7.59    6.62
 *
 * Who wins depends on the column. By training perplexity the GRU is far ahead. By the test after 20 epochs it is *last*:
 * it was first to learn the text by heart, and has been doing so for ten epochs. By the lowest test perplexity, what one would
 * have kept, it leads the LSTM by 0.15 and the RNN by 0.37; the standard deviation between seeds is between 0.02 and 0.08. The
 * two GRUs cannot be told apart. Equal parameters change less than one might think: the RNN, made almost twice as wide, fits
 * its ten thousand letters better and the next ones no better; the LSTM gives up a fifth of its weights and loses 0.02. On so
 * short a text weights are not what is lacking.
 *
 * Equal time, in the run with seed 1 and one thread. 20 epochs took the RNN 2.1 seconds of the processor, the GRU 4.8, the
 * LSTM 6.9. So when the RNN had finished, the others had come less far:
 *
 *     after 2.1 s      rnn     lstm      gru   gru_after
 *     epochs            20        5        7           8
 *     test            6.95     8.06     6.75        6.73
 *
 * Here the RNN beats the LSTM, and the GRU is ahead again. But the same command with two threads gave the GRU time for 5 epochs,
 * a test perplexity of 7.08, and the game to the RNN. Such a result belongs to a machine and a program as much as to a cell.
 *
 * Last, the reference run (`--preset reference --seed 1`): the whole 20,480 windows and 100 epochs, so 2,000 steps.
 *
 *                    equal width, H = 32         equal parameters, about 7,450
 *                 train   test  lowest           H   train   test  lowest
 *     rnn          5.81   6.23    6.21          59    5.07   6.11    6.08
 *     lstm         4.97   5.92    5.86          27    5.19   5.88    5.85
 *     gru          4.34   5.78    5.65          32    4.34   5.78    5.65
 *     gru_after    4.36   5.78    5.70          32    4.36   5.78    5.70
 *
 * With twice the text the GRU leads in every column, a wider RNN is worth something, and the order is the same. It is one seed:
 * leave the second decimal alone.          */
typedef struct {
    Run size[CELLS];                         /* of width --hidden */
    Run spare[CELLS];                        /* those of another width, for the second game … */
    const Run *parameters[CELLS];            /* … which the first game's networks play too where their width fits; or NULL */
} League;

static void league_train(League *g, const Data *d, const Config *o)
{
    Log log = { .curve = curve_open(o->out, (uint64_t)o->seed), .timing = output_open(o->out, "timing.csv") };
    long budget = count_parameters(&cells[GRU], d->vocab.size, o->hidden);
    fputs("model,epoch,seconds,tokens_per_second\n", output_file(log.timing));
    printf("          perplexity; one that knows nothing has %d\n", d->vocab.size);
    for (int c = 0; c < CELLS && !interrupted(); c++)
        if (!o->cell || strcmp(o->cell, cells[c].name) == 0) g->size[c] = run_train(&cells[c], o->hidden, d, o, &log);
    for (int c = 0; c < CELLS && !o->cell && !interrupted(); c++) {
        int H = hidden_for(&cells[c], d->vocab.size, budget);
        if (H != o->hidden) g->spare[c] = run_train(&cells[c], H, d, o, NULL);
        g->parameters[c] = H != o->hidden ? &g->spare[c] : &g->size[c];
    }
    curve_close(&log.curve);
    output_close(log.timing);
}

/* What a run had reached after so many epochs: a row of a CSV file and a line on the screen. */
static void league_row(FILE *f, const char *comparison, const Run *r, int epochs, const Config *o)
{
    if (!r || epochs == 0) return;
    int best = 0;
    const Model *m = &r->model;
    for (int e = 1; e < epochs; e++) if (r->test[e] < r->test[best]) best = e;
    double shown[] = { perplexity(r->train[epochs - 1]), perplexity(r->test[epochs - 1]), perplexity(r->test[best]) };
    fprintf(f, "%s,%s,%d,%d,%zu,%d,", comparison, m->cell->name, o->seed, m->H, m->params.size, epochs);
    for (int i = 0; i < 3; i++) csv_number(f, shown[i]), fputc(',', f);
    fprintf(f, "%d\n", best + 1);
    printf("          %-11s %-10s %6d %11zu %6d %9.3f %8.3f %8.3f (%d)\n", comparison, m->cell->name, m->H, m->params.size,
           epochs, shown[0], shown[1], shown[2], best + 1);
}

/* Epochs that a run had finished after so many seconds. */
static int epochs_within(const Run *r, double seconds)
{
    int epochs = 0;
    while (epochs < r->epochs && r->seconds[epochs] <= seconds) epochs++;
    return epochs;
}

static void league_write(const League *g, const Config *o)
{
    static const char header[] = "comparison,model,seed,hidden,parameters,epoch,train,test,best_test,best_epoch\n";
    Output *equal = output_open(o->out, "league.csv"), *timed = output_open(o->out, "league_seconds.csv");
    double least = INFINITY;
    fputs(header, output_file(equal)), fputs(header, output_file(timed));
    printf("league    equal       cell       hidden  parameters  epoch     train     test     best (at epoch)\n");
    for (int c = 0; c < CELLS; c++) league_row(output_file(equal), "hidden", &g->size[c], g->size[c].epochs, o);
    for (int c = 0; c < CELLS; c++)
        if (g->parameters[c]) league_row(output_file(equal), "parameters", g->parameters[c], g->parameters[c]->epochs, o);
    for (int c = 0; c < CELLS; c++) {
        const Run *r = &g->size[c];
        if (r->epochs > 0 && r->seconds[r->epochs - 1] < least) least = r->seconds[r->epochs - 1];
    }
    for (int c = 0; c < CELLS; c++)
        league_row(output_file(timed), "seconds", &g->size[c], epochs_within(&g->size[c], least), o);
    if (least < INFINITY) printf("          (seconds: what each had reached after %.1f)\n", least);
    output_close(equal);
    output_close(timed);
}

static void league_free(League *g)
{
    for (int c = 0; c < CELLS; c++) run_free(&g->size[c]), run_free(&g->spare[c]);
}

/* ## 9. What the gates learned
 *
 * z and r are computed anew for every symbol, so one can ask after which symbols the GRU keeps its state, and which of its
 * units keep it. gates.csv has the mean of z and of r for every unit and symbol over the test windows. The default run says:
 *
 *     gates     mean z of the units: from 0.05 to 0.46; after the common symbols: from 0.14 ('q') to 0.29 ('u')
 *
 * First, the units have divided the work. Where z = 0.05, a twentieth of the old value is left after one step: such a unit says
 * what was just read. Where z = 0.46, a tenth is left after three (0.46³ = 0.097). All of that is short. In windows of
 * 32 letters that begin from nothing there is little that would be worth keeping for longer, and so this league is no place
 * for the LSTM to show what chapter 03 found it good at.
 *
 * Second, look at the symbols in gates.csv, each as a mean over the units. q, f, y, v and p are at the low end (0.14 to 0.17),
 * the vowels at the high one (a and e 0.24, o 0.28, u 0.29). After a consonant that opens a syllable much of the state is
 * replaced, after a vowel less. That u keeps most makes sense: in Spanish it often follows a q, which has said all that it
 * could.
 *
 * A caution: z tells how much is copied, and not what for. n may rebuild what z throws away.                               */
typedef struct {
    Matrix sum;                              /* (V,2H): row v sums [ z | r ] over all places where symbol v was read */
    double *count;                           /* (V): how many those were */
} Gates;

static Gates gates_read(const Model *m, const Data *d, const Config *o)
{
    Gates g = { .sum = mat_new(m->V, 2 * m->H), .count = allocate((size_t)m->V, sizeof(double)) };
    Batch b = batch_new(o);
    bool recording = tape_record(false);
    for (int first = 0, B; first < d->test; first += B) {
        B = test_batch(d, &b, first);
        tape_reset();
        Var *table = input_table(m);
        State s = state_zero(m, B);
        for (int t = 0; t < b.T; t++) {
            const int *x = b.x + t * B;
            Var *a = v_lookup(table, x, B);
            mat_scatter(g.sum, x, gru_gates(m, a, s.h)->value);
            for (int i = 0; i < B; i++) g.count[x[i]]++;
            s = gru_step(m, a, s);
        }
    }
    tape_record(recording);
    batch_free(&b);
    return g;
}

static void gates_write(const Gates *g, const Data *d, int H, const Config *o)
{
    Output *out = output_open(o->out, "gates.csv");
    FILE *f = output_file(out);
    char room[UTF8_ROOM];
    fputs("symbol,count,unit,z,r\n", f);
    for (int v = 0; v < d->vocab.size; v++)
        for (int j = 0; j < H && g->count[v] > 0; j++) {
            fprintf(f, "%s,%.0f,%d,", d->vocab.code[v] == ' ' ? "space" : utf8_of(d->vocab.code[v], room), g->count[v], j);
            csv_number(f, (double)mat_row(g->sum, v)[j] / g->count[v]), fputc(',', f);
            csv_number(f, (double)mat_row(g->sum, v)[H + j] / g->count[v]), fputc('\n', f);
        }
    output_close(out);
}

/* The mean of z over all units, where symbol v was read. */
static double symbol_keeps(const Gates *g, int v, int H)
{
    double sum = 0;
    for (int j = 0; j < H; j++) sum += (double)mat_row(g->sum, v)[j];
    return sum / (g->count[v] * H);
}

/* The mean of z over all places, in unit j. */
static double unit_keeps(const Gates *g, int V, int j)
{
    double sum = 0, count = 0;
    for (int v = 0; v < V; v++) sum += (double)mat_row(g->sum, v)[j], count += g->count[v];
    return sum / count;
}

static void gates_show(const Model *m, const Data *d, const Config *o)
{
    Gates g = gates_read(m, d, o);
    int least = 0, most = 0, low = 0, high = 0;
    char room[2][UTF8_ROOM];
    gates_write(&g, d, m->H, o);
    for (int v = 1; v < m->V; v++) {
        if (g.count[v] < (double)d->test * o->window / 100) continue;    /* rarer than one in a hundred */
        if (symbol_keeps(&g, v, m->H) < symbol_keeps(&g, least, m->H)) least = v;
        if (symbol_keeps(&g, v, m->H) > symbol_keeps(&g, most, m->H)) most = v;
    }
    for (int j = 1; j < m->H; j++) {
        if (unit_keeps(&g, m->V, j) < unit_keeps(&g, m->V, low)) low = j;
        if (unit_keeps(&g, m->V, j) > unit_keeps(&g, m->V, high)) high = j;
    }
    printf("gates     mean z of the units: from %.2f to %.2f; after the common symbols: from %.2f ('%s') to %.2f ('%s')\n",
           unit_keeps(&g, m->V, low), unit_keeps(&g, m->V, high), symbol_keeps(&g, least, m->H),
           utf8_of(d->vocab.code[least], room[0]), symbol_keeps(&g, most, m->H), utf8_of(d->vocab.code[most], room[1]));
    mat_free(&g.sum);
    free(g.count);
}

/* ## 10. Writing
 *
 * As in chapter 01: read a beginning, then choose from softmax(logits / τ), read that, and go on. After the default run, with
 * τ = 0.7:
 *
 *     rnn       quijote y sancho dello que en amación da muros a se mes su porena que lo y le deco o aquella ando
 *     lstm      quijote y sancho del parto en ajertino y por ina a ama estaba con las de habue el mandó cuan su y
 *     gru       quijote y sancho el bien camo sin cuando había estas renadad sono todos el carnerse la fupo se or
 *
 * Whether one reads better than the other is hard to say from a line, and that is why we measure perplexity.               */
static int choose(Matrix scores, double temperature, Rng *rng)
{
    int V = scores.cols, best = 0;
    for (int v = 1; v < V; v++) if (scores.at[v] > scores.at[best]) best = v;
    if (temperature == 0) return best;
    Matrix p = tape_matrix(1, V);
    real top = scores.at[best], tau = (real)(temperature > 1e-30 ? temperature : 1e-30);
    for (int v = 0; v < V; v++) p.at[v] = (scores.at[v] - top) / tau;    /* - top: else a small τ would make infinities */
    mat_softmax(p, p, NULL);
    return rng_categorical(rng, p.at, V);
}

static int *encode_prompt(const Data *d, const char *prompt, int *n)
{
    Text text = text_of_utf8(prompt, strlen(prompt), "--prompt");
    text_letters(&text);
    int *ids = vocab_encode(&d->vocab, &text);
    *n = text.n;
    text_free(&text);
    return ids;
}

static void write_text(FILE *f, const Model *m, const Data *d, const Config *o)
{
    int n, *ids = encode_prompt(d, o->prompt, &n);
    Matrix h = mat_new(1, m->H), c = mat_new(1, m->H);
    Rng rng = rng_new((uint64_t)o->seed, 3);
    char room[UTF8_ROOM];
    bool recording = tape_record(false);
    for (int i = 0, id; i < n + o->length; i++) {
        tape_reset();
        id = i < n ? ids[i] : choose(logits(m, v_const(h))->value, o->temperature, &rng);
        fputs(utf8_of(d->vocab.code[id], room), f);
        State s = m->cell->step(m, v_lookup(input_table(m), &id, 1), (State){ v_const(h), v_const(c) });
        mat_copy(h, s.h->value);
        if (s.c) mat_copy(c, s.c->value);
    }
    fputc('\n', f);
    tape_record(recording);
    mat_free(&h), mat_free(&c);
    free(ids);
}

static void write_samples(const League *g, const Data *d, const Config *o)
{
    Output *out = output_open(o->out, "samples.txt");
    for (int c = 0; c < CELLS; c++)
        for (int to_file = 0; to_file < 2 && g->size[c].epochs > 0; to_file++) {
            FILE *f = to_file ? output_file(out) : stdout;
            fprintf(f, "%-10s", cells[c].name);
            write_text(f, &g->size[c].model, d, o);
        }
    output_close(out);
}

/* ## 11. The run                                                                                                           */
static const Option options[] = {
    OPTIONS_FOR_ALL(Config),
    { "corpus", OPTION_TEXT, offsetof(Config, corpus), 0, 0, "UTF-8 text to read; else $QUIJOTE, data/quijote.txt, the pastiche" },
    { "cell", OPTION_CHOICE, offsetof(Config, cell), 0, 0, "rnn, lstm, gru or gru_after: train this one alone; else the league" },
    { "epochs", OPTION_INT, offsetof(Config, epochs), 1, 1e6, "times that every training window is shown" },
    { "batch", OPTION_INT, offsetof(Config, batch), 1, 65536, "windows a step, B" },
    { "window", OPTION_INT, offsetof(Config, window), 1, 1024, "symbols a window, T" },
    { "hidden", OPTION_INT, offsetof(Config, hidden), 1, 1024, "numbers in the state, H" },
    { "train", OPTION_INT, offsetof(Config, train), 1, 1e8, "windows to train on" },
    { "test", OPTION_INT, offsetof(Config, test), 1, 1e8, "windows to test with, right behind them" },
    { "lr", OPTION_REAL, offsetof(Config, lr), 1e-9, 1e3, "Adadelta's step size for the cells with gates" },
    { "lr-rnn", OPTION_REAL, offsetof(Config, lr_rnn), 1e-9, 1e3, "and for the RNN" },
    { "clip", OPTION_REAL, offsetof(Config, clip), 1e-9, 1e9, "longest gradient" },
    { "fused", OPTION_INT, offsetof(Config, fused), 0, 1, "1: train with the fused cells of common/cells.h (section 5)" },
    { "race", OPTION_REAL, offsetof(Config, race), 0, 1e3, "seconds for each size in the race of the two GRUs" },
    { "prompt", OPTION_TEXT, offsetof(Config, prompt), 0, 0, "beginning of the samples" },
    { "length", OPTION_INT, offsetof(Config, length), 1, 1e6, "symbols to write after it" },
    { "temperature", OPTION_REAL, offsetof(Config, temperature), 0, 100, "of the samples; 0 is argmax" },
};

#define SAME .seed = 1, .out = "out/04_gru", .window = 32, .lr = 4, .lr_rnn = 1, .clip = 1, .prompt = "quijote y sancho ", \
             .length = 80, .temperature = 0.7

static const Config quick     = { SAME, .epochs = 3,   .batch = 128,  .hidden = 16, .train = 1024,  .test = 256,  .race = 0 };
static const Config usual     = { SAME, .epochs = 20,  .batch = 128,  .hidden = 32, .train = 10240, .test = 5120, .race = 0.5 };
static const Config reference = { SAME, .epochs = 100, .batch = 1024, .hidden = 32, .train = 20480, .test = 5120, .race = 2 };

static const Cli cli = {
    .about = "Chapter 04: the GRU, both of them, and a league of RNN, LSTM and GRU.",
    .options = options, .count = sizeof options / sizeof *options,
    .presets = { &quick, &usual, &reference }, .size = sizeof(Config),
};

static void check_config(const Config *o)
{
    if (o->batch > o->train) die("--batch %d: expected at most --train, which is %d", o->batch, o->train);
}

int main(int argc, char **argv)
{
    Config o;
    League league = { 0 };
    int n;
    cli_parse(&cli, argc, argv, &o);
    check_config(&o);
    threads_start(o.threads);
    interrupt_catch();

    Data data = data_open(&o);
    free(encode_prompt(&data, o.prompt, &n));                            /* complain of the prompt now, not after training */
    variants_compare(&o);
    variants_race(&o);
    league_train(&league, &data, &o);
    league_write(&league, &o);
    if (league.size[GRU].epochs > 0) gates_show(&league.size[GRU].model, &data, &o);
    write_samples(&league, &data, &o);

    league_free(&league);
    data_free(&data);
    tape_free();
    threads_stop();
    return interrupted() ? INTERRUPTED : 0;
}

/* ## What we simplified
 *
 * - The RNN, the LSTM and the GRU keep the step sizes of their set-up. A league that is fair to the end would search the best
 *   one for each; the small table in section 8 stands in for that.
 * - The lowest test perplexity was chosen by looking at the test. Chapter 05 has a validation part for it.
 * - Every window begins with the state 0, and none is longer than 32 letters, so nothing here asks for a long memory.
 * - The cells are built from small ops, each of which passes over memory once. What a cell costs in time is partly that;
 *   `--fused 1` shows how much.
 *
 * ## What to remember
 *
 * - The GRU ties the LSTM's f and i into one gate, z and 1 - z, and needs no second state. Its other gate, r, says how much
 *   of the old state the new candidate may see.
 * - There are two GRUs: r before the product with Whn, or after it. They agree where r is the same number for all units
 *   (and bu = 0), and in general nowhere else. Ask which one a file of weights belongs to.
 * - Before you say "better", say what was equal, and whether you read the last value or the lowest.
 * - A better cell overfits sooner. The training curve will not tell you.
 *
 * ## References
 *
 * - K. Cho, B. van Merriënboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk, Y. Bengio, "Learning phrase representations
 *   using RNN encoder-decoder for statistical machine translation", EMNLP 2014, arXiv:1406.1078. The GRU.
 * - J. Chung, C. Gulcehre, K. Cho, Y. Bengio, "Empirical evaluation of gated recurrent neural networks on sequence modeling",
 *   arXiv:1412.3555, 2014. An early league of the three cells.
 * - S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9, 1997; F. Gers, J. Schmidhuber, F. Cummins,
 *   "Learning to forget", Neural Computation 12, 2000.
 * - A. Zhang, Z. Lipton, M. Li, A. Smola, "Dive into deep learning", section 10.2, d2l.ai. The GRU with r before the product.
 * - PyTorch documentation, torch.nn.GRU; Keras documentation, keras.layers.GRU, reset_after. The GRU with r after it.
 * - M. Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, 2012.
 * - Set-up of the reference run: the course notebook on recurrent networks of the Instituto Humai. See docs/references.md.  */
