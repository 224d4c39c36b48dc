/* The fused cells of common/cells.h against the same equations from visible ops: values, and the gradients of everything that
 * went in, with an index and without, for losses on all states and on the last ones. In float to rounding, in double to
 * 1e-12. All sizes differ, so that a transposed shape cannot slip through. dWh is summed in its order, to the bit. A layer
 * refuses a second way back, and shapes that do not fit, with the line of the caller.                                      */
#include "unit.h"
#include "workbook.h"

#include <signal.h>
#include <string.h>

enum { B = 5, H = 7, T = 6, V = 11, MOST_INPUTS = 6 };
typedef enum { RNN, LSTM, GRU, GRU_AFTER, KINDS } Kind;

static const char *const names[KINDS] = { "rnn", "lstm", "gru", "gru_after" };
static const int gates[KINDS] = { 1, 4, 3, 3 };

#ifdef REAL_DOUBLE
static const double tolerance = 1e-12;
#else
static const double tolerance = 2e-5;
#endif

typedef struct { Matrix x, Wh, h0, c0, bn, weight, weight_c; int index[T * B]; } Inputs;

static Matrix noise(int rows, int cols, Rng *rng, real scale)
{
    Matrix m = mat_new(rows, cols);
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = scale * rng_normal(rng);
    return m;
}

static Inputs inputs_new(Kind kind, bool indexed)
{
    Rng rng = rng_new(5, (uint64_t)kind);
    Inputs in = { .x = noise(indexed ? V : T * B, gates[kind] * H, &rng, 1), .Wh = noise(H, gates[kind] * H, &rng, (real)0.5),
                  .h0 = noise(B, H, &rng, (real)0.5), .c0 = noise(B, H, &rng, 1), .bn = noise(1, H, &rng, 1),
                  .weight = noise(T * B, H, &rng, 1), .weight_c = noise(B, H, &rng, 1) };
    for (int i = 0; i < T * B; i++) in.index[i] = rng_below(&rng, V);
    return in;
}

static void inputs_free(Inputs *in)
{
    Matrix *all[] = { &in->x, &in->Wh, &in->h0, &in->c0, &in->bn, &in->weight, &in->weight_c };
    for (int i = 0; i < 7; i++) mat_free(all[i]);
}

/* One step from visible ops; xt (B, G H). */
static Var *visible_step(Kind kind, Var *xt, Var *Wh, Var *bn, Var *h, Var **c)
{
    if (kind == RNN) return v_tanh(v_add(xt, v_matmul(h, Wh)));
    if (kind == LSTM) {
        Var *z = v_add(xt, v_matmul(h, Wh));
        Var *i = v_sigmoid(v_cols(z, 0, H)), *f = v_sigmoid(v_cols(z, H, H)), *g = v_tanh(v_cols(z, 2 * H, H));
        *c = v_add(v_mul(f, *c), v_mul(i, g));
        return v_mul(v_sigmoid(v_cols(z, 3 * H, H)), v_tanh(*c));
    }
    Var *rz = v_sigmoid(v_add(v_cols(xt, 0, 2 * H), v_matmul(h, v_cols(Wh, 0, 2 * H))));
    Var *r = v_cols(rz, 0, H), *z = v_cols(rz, H, H), *Wn = v_cols(Wh, 2 * H, H);
    Var *s = kind == GRU ? v_matmul(v_mul(r, h), Wn) : v_mul(r, v_add_bias(v_matmul(h, Wn), bn));
    Var *n = v_tanh(v_add(v_cols(xt, 2 * H, H), s));
    return v_add(n, v_mul(z, v_sub(h, n)));
}

static Layer visible(Kind kind, Var *x, const int *index, Var *Wh, Var *bn, Var *h, Var *c)
{
    Var *all[T];
    for (int t = 0; t < T; t++) {
        Var *xt = index ? v_lookup(x, index + t * B, B) : v_rows(x, t * B, B);
        all[t] = h = visible_step(kind, xt, Wh, bn, h, &c);
    }
    return (Layer){ .h = v_vcat(all, T), .h_last = h, .c_last = c };
}

static Layer fused(Kind kind, Var *x, const int *index, Var *Wh, Var *bn, Var *h0, Var *c0)
{
    switch (kind) {
    case RNN:  return cell_rnn(x, index, Wh, h0, T);
    case LSTM: return cell_lstm(x, index, Wh, h0, c0, T);
    case GRU:  return cell_gru(x, index, Wh, h0, T);
    default:   return cell_gru_after(x, index, Wh, bn, h0, T);
    }
}

/* Runs one version, and leaves the states and the gradients of all inputs, one behind the other, in out; returns how many. */
static int run(Kind kind, bool indexed, bool is_fused, bool only_last, Inputs *in, real *out)
{
    tape_reset();
    Var *leaf[] = { v_leaf(in->x), v_leaf(in->Wh), v_leaf(in->h0), v_leaf(in->c0), v_leaf(in->bn) };
    Layer l = (is_fused ? fused : visible)(kind, leaf[0], indexed ? in->index : NULL, leaf[1], leaf[4], leaf[2], leaf[3]);
    Var *loss = v_mean(v_mul(l.h_last, v_const(in->weight_c)));
    if (!only_last) loss = v_add(loss, v_mean(v_mul(l.h, v_const(in->weight))));
    if (kind == LSTM) loss = v_add(loss, v_mean(v_mul(v_tanh(l.c_last), v_const(in->weight_c))));
    tape_backward(loss);
    int n = 0;
    for (int r = 0; r < T * B; r++)
        for (int j = 0; j < H; j++) out[n++] = mat_row(l.h->value, r)[j];
    for (int i = 0; i < 5; i++) {
        if ((i == 3 && kind != LSTM) || (i == 4 && kind != GRU_AFTER)) continue;
        Matrix g = var_grad(leaf[i]);
        real largest = 0;
        for (size_t j = 0; j < mat_size(g); j++) {
            out[n++] = g.at[j];
            if (g.at[j] > largest) largest = g.at[j];
        }
        EXPECT(largest > 0, "%s: gradient %d is all zero", names[kind], i);
    }
    return n;
}

static void compare(Kind kind, bool indexed, bool only_last)
{
    enum { ROOM = 2 * T * B * 5 * H + 5 * H * H + 99 * H };
    static real want[2 * ROOM], got[2 * ROOM];
    Inputs in = inputs_new(kind, indexed);
    int n = run(kind, indexed, false, only_last, &in, want), m = run(kind, indexed, true, only_last, &in, got);
    EXPECT(n == m && n < 2 * ROOM, "%d numbers and %d", n, m);
    for (int i = 0; i < n; i++)
        EXPECT_NEAR((double)got[i], (double)want[i], tolerance, "%s, number %d, indexed %d, only last %d", names[kind], i,
                    indexed, only_last);
    inputs_free(&in);
}

static void test_kind(Kind kind)
{
    for (int indexed = 0; indexed < 2; indexed++)
        for (int only_last = 0; only_last < 2; only_last++) compare(kind, indexed, only_last);
}

static void test_rnn(void)       { test_kind(RNN); }
static void test_lstm(void)      { test_kind(LSTM); }
static void test_gru(void)       { test_kind(GRU); }
static void test_gru_after(void) { test_kind(GRU_AFTER); }

/* An element of dWh is one chain over all T·B rows, step 0 first, to the bit: cells.c says so. With an input that is not
 * indexed its gradient is the gradient by the sums, so that a plain loop can follow. The columns of gates that see h itself:
 * all of RNN and LSTM, r and z of the GRUs. */
static void test_weights_are_one_chain(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        Inputs in = inputs_new((Kind)kind, false);
        int columns = (kind == GRU || kind == GRU_AFTER ? 2 : gates[kind]) * H;
        Var *x = v_leaf(in.x), *Wh = v_leaf(in.Wh), *h0 = v_const(in.h0);
        Layer l = fused((Kind)kind, x, NULL, Wh, v_const(in.bn), h0, v_const(in.c0));
        tape_backward(v_mean(v_mul(l.h, v_const(in.weight))));
        for (int i = 0; i < H; i++)
            for (int j = 0; j < columns; j++) {
                real sum = 0, got = mat_row(Wh->grad, i)[j];
                for (int r = 0; r < T * B; r++) {
                    real h = r < B ? mat_row(in.h0, r)[i] : mat_row(l.h->value, r - B)[i];
                    sum = real_fma(h, mat_row(x->grad, r)[j], sum);
                }
                EXPECT_SAME_BYTES(&got, &sum, sizeof got, "%s, dWh (%d,%d)", names[kind], i, j);
            }
        tape_reset();
        inputs_free(&in);
    }
}

/* One, two and three threads: the same bytes. */
static void test_threads(void)
{
    static real one[8192], more[8192];
    for (int kind = 0; kind < KINDS; kind++) {
        Inputs in = inputs_new((Kind)kind, true);
        int n = run((Kind)kind, true, true, false, &in, one);
        for (int threads = 2; threads <= 3; threads++) {
            threads_start(threads);
            run((Kind)kind, true, true, false, &in, more);
            threads_stop();
            EXPECT_SAME_BYTES(one, more, (size_t)n * sizeof *one, "%s with %d threads", names[kind], threads);
        }
        inputs_free(&in);
    }
}

/* ---- what is refused ------------------------------------------------------------------------------------------------- */

/* The way back works in place: a second one would take gradients for gates. Each kind refuses it: two losses, one tape. */
static Kind refusing;

static void two_ways_back(void)
{
    Inputs in = inputs_new(refusing, true);
    Var *x = v_leaf(in.x), *Wh = v_leaf(in.Wh), *bn = v_leaf(in.bn), *h0 = v_leaf(in.h0), *c0 = v_leaf(in.c0);
    Layer l = fused(refusing, x, in.index, Wh, bn, h0, c0);
    tape_backward(v_mean(l.h));
    fputs("once; ", stderr);
    tape_backward(v_mean(l.h_last));
}

static void refused(const char *name, void (*call)(void), const char *first, const char *says)
{
    char said[512];
    int status = unit_child(call, said, sizeof said);
    size_t n = strlen(first);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: status 0x%x", name, (unsigned)status);
    EXPECT(strncmp(said, first, n) == 0 && strncmp(said + n, __FILE__ ":", sizeof __FILE__) == 0,
           "%s names no caller: \"%s\"", name, said);
    EXPECT(strstr(said, "check failed") && strstr(said, says), "%s said \"%s\", without %s", name, said, says);
}

static void test_second_way_back(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        char says[80];
        snprintf(says, sizeof says, "cell_%s: a second way back", names[kind]);
        refusing = (Kind)kind;
        refused(names[kind], two_ways_back, "once; ", says);
    }
}

static Var *shape(int rows, int cols) { return v_zeros(rows, cols); }

static void bad_x_cols(void) { cell_rnn(shape(6, 5), NULL, shape(4, 4), shape(2, 4), 3); }
static void bad_x_rows(void) { cell_gru(shape(7, 12), NULL, shape(4, 12), shape(2, 4), 3); }
static void bad_steps(void)  { cell_rnn(shape(0, 4), NULL, shape(4, 4), shape(2, 4), 0); }
static void bad_Wh(void)     { cell_gru(shape(6, 12), NULL, shape(4, 8), shape(2, 4), 3); }
static void bad_c0(void)     { cell_lstm(shape(6, 16), NULL, shape(4, 16), shape(2, 4), shape(2, 3), 3); }
static void bad_bn(void)     { cell_gru_after(shape(6, 12), NULL, shape(4, 12), shape(2, 4), shape(2, 4), 3); }

static void bad_layer(void)
{
    CellWeights w = { .kind = CELL_LSTM, .Wh = shape(4, 12) };
    cell_layer(&w, shape(6, 16), NULL, shape(2, 4), shape(2, 4), 3);
}

static void test_shapes_are_checked(void)
{
    refused("x, columns", bad_x_cols, "", "cell_rnn: x (6,5), h0 (2,4), 3 steps");
    refused("x, rows", bad_x_rows, "", "cell_gru: x (7,12), h0 (2,4), 3 steps");
    refused("no step", bad_steps, "", "cell_rnn: x (0,4), h0 (2,4), 0 steps");
    refused("Wh", bad_Wh, "", "cell_gru: Wh (4,8), h0 (2,4)");
    refused("c0", bad_c0, "", "cell_lstm: h0 (2,4), c0 (2,3)");
    refused("bn", bad_bn, "", "cell_gru_after: bn (2,4), h0 (2,4)");
    refused("a layer by name", bad_layer, "", "cell_lstm: Wh (4,12), h0 (2,4)");
}

int main(void)
{
    RUN(test_rnn);
    RUN(test_lstm);
    RUN(test_gru);
    RUN(test_gru_after);
    RUN(test_weights_are_one_chain);
    RUN(test_threads);
    RUN(test_second_way_back);
    RUN(test_shapes_are_checked);
    tape_free();
    return unit_result();
}
