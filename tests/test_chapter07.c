/* Chapter 07's claims: encoder, scores and decoder are their equations, one number at a time; the two ways to attend are one;
 * padding gets a weight of exactly 0 and changes no loss and no gradient; a Gaussian kernel is a softmax of products; the width
 * of one can be learned; what is printed and written of the weights is what they are. In the double build, as well: the gradient
 * of every parameter.
 *
 * What lies in a batch of several pairs is compared with each pair alone, without padding.                                  */
#define main chapter_main                  /* the chapter's functions are static: to reach them, its source is read in here */
#include "../chapters/07_attention/attention.c"
#undef main

#include "unit.h"

/* LeakSanitizer asks this at the end of a process. One that dies does not tidy up before, and need not. */
static bool dies;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return dies; }

/* All sizes differ. The decoder may say 9 symbols, EOS included, and be told 10. */
enum { D = 3, H = 5, SOURCE = 7, TARGET = 8, V = TARGET + 1, PAIRS = 4, LONG = 6 };

static const double near = sizeof(real) == sizeof(double) ? 1e-13 : 5e-6;

/* Lengths of 1 to 6 and 1 to 7; the second has no end. */
static const Pair four[PAIRS] = {
    { .n = 2, .m = 3, .x = { 4, 1 }, .y = { 5, 0, 2 } },
    { .n = LONG, .m = 2, .x = { 0, 3, 6, 1, 2, 6 }, .y = { 1, 7 }, .open = true },
    { .n = 3, .m = 1, .x = { 1, 5, 4 }, .y = { 6 } },
    { .n = 1, .m = 7, .x = { 2 }, .y = { 3, 4, 4, 0, 5, 1, 3 } },
};

/* Copies of digits below `size` */
static Task task_of(int source, int target)
{
    Task task = task_copy(1, 5);
    task.source.size = source, task.target.size = target;
    return task;
}

typedef struct { CellKind cell; bool dot, fused; } Kind;
enum { KINDS = 4 * CELL_KINDS };

static Kind kind_of(int i) { return (Kind){ .cell = (CellKind)(i / 4), .dot = i / 2 % 2, .fused = i % 2 }; }

static const char *kind_name(Kind k)
{
    static char name[60];
    snprintf(name, sizeof name, "%s, %s, %s", cell_name(k.cell), k.dot ? "dot" : "additive", k.fused ? "fused" : "visible");
    return name;
}

/* Every parameter is random, biases as well, or else padding that reads a bias would not be seen. A file has floats. */
static Model random_model(Kind k, const Task *task, double scale, uint64_t seed)
{
    Plan plan = { .cell = k.cell, .dot = k.dot, .fused = k.fused, .embedding = D, .hidden = H };
    Model m;
    model_new(&m, &plan, task, seed);
    Rng rng = rng_new(seed, 9);
    for (size_t i = 0; i < m.params.size; i++) m.params.value[i] = (real)(float)(scale * (double)rng_normal(&rng));
    return m;
}

static int symbols_of(const Pair *pair) { return pair->m + !pair->open; }
static double at(Matrix m, int r, int c) { return (double)mat_row(m, r)[c]; }

/* ---- (2.1) to (4.4), one number at a time ------------------------------------------------------------------------------ */

typedef struct {
    double X[LONG][2 * H], K[LONG][H];     /* of the n places */
    double h[H], c[H], a[LONG], logit[V];  /* after the last step, and of it */
} Plain;

static double squash(double x) { return 1 / (1 + exp(-x)); }

/* x W[:,j] for a row of `rows` numbers */
static double product(const double *x, const Var *W, int rows, int j)
{
    double sum = 0;
    for (int i = 0; i < rows; i++) sum += x[i] * at(W->value, i, j);
    return sum;
}

/* Gate k, number j, before its squashing: x Wx + b + more, and h Wh with each h multiplied by r, where r is not NULL */
static double gate(const CellWeights *w, const double *x, const double *more, const double *h, const double *r, int k, int j)
{
    double part[H], sum = at(w->b->value, 0, k * H + j) + (more ? more[k * H + j] : 0);
    for (int i = 0; i < H; i++) part[i] = (r ? r[i] : 1) * h[i];
    return sum + product(x, w->Wx, D, k * H + j) + product(part, w->Wh, H, k * H + j);
}

static void plain_cell(const CellWeights *w, const double *x, const double *more, double *h, double *c)
{
    double r[H], next[H];
    for (int j = 0; j < H && w->kind == CELL_GRU; j++) r[j] = squash(gate(w, x, more, h, NULL, 0, j));
    for (int j = 0; j < H; j++) {
        if (w->kind == CELL_RNN) next[j] = tanh(gate(w, x, more, h, NULL, 0, j));
        if (w->kind == CELL_GRU) {
            double z = squash(gate(w, x, more, h, NULL, 1, j));
            next[j] = z * h[j] + (1 - z) * tanh(gate(w, x, more, h, r, 2, j));
        }
        if (w->kind == CELL_LSTM) {
            double part[4];
            for (int k = 0; k < 4; k++) part[k] = gate(w, x, more, h, NULL, k, j);
            c[j] = squash(part[1]) * c[j] + squash(part[0]) * tanh(part[2]);
            next[j] = squash(part[3]) * tanh(c[j]);
        }
    }
    memcpy(h, next, sizeof next);
}

static void embed(double *x, const Var *E, int id)
{
    for (int i = 0; i < D; i++) x[i] = at(E->value, id, i);
}

/* (3.1) to (3.4) */
static Plain plain_encode(const Model *m, const Pair *pair)
{
    Plain p = { .h = { 0 } };
    double x[D], h[2][H] = { { 0 } }, c[2][H] = { { 0 } }, last[2 * H];
    for (int s = 0; s < pair->n; s++) {
        embed(x, m->Es, pair->x[s]);
        plain_cell(&m->right, x, NULL, h[0], c[0]);
        memcpy(p.X[s], h[0], sizeof h[0]);
    }
    for (int s = pair->n - 1; s >= 0; s--) {
        embed(x, m->Es, pair->x[s]);
        plain_cell(&m->left, x, NULL, h[1], c[1]);
        memcpy(p.X[s] + H, h[1], sizeof h[1]);
    }
    memcpy(last, h, sizeof last);
    for (int s = 0; s < pair->n; s++)
        for (int j = 0; j < H; j++) p.K[s][j] = product(p.X[s], m->Ua, 2 * H, j);
    for (int j = 0; j < H; j++) p.h[j] = tanh(product(last, m->Ws, 2 * H, j) + at(m->bs->value, 0, j));
    return p;
}

/* (2.1) or (2.2) */
static double plain_score(const Model *m, const double *q, const double *k)
{
    double e = 0;
    for (int j = 0; j < H; j++) e += m->dot ? q[j] * k[j] : at(m->va->value, 0, j) * tanh(q[j] + k[j]);
    return e;
}

/* (4.1) to (4.4) */
static void plain_step(const Model *m, Plain *p, int n, int told)
{
    double q[H], x[D], context[2 * H] = { 0 }, more[4 * H], seen[3 * H], sum = 0;
    for (int j = 0; j < H; j++) q[j] = product(p->h, m->Wa, H, j);
    for (int s = 0; s < n; s++) sum += p->a[s] = exp(plain_score(m, q, p->K[s]));
    for (int s = 0; s < n; s++) {
        p->a[s] /= sum;
        for (int j = 0; j < 2 * H; j++) context[j] += p->a[s] * p->X[s][j];
    }
    for (int j = 0; j < m->Wc->value.cols; j++) more[j] = product(context, m->Wc, 2 * H, j);
    embed(x, m->Et, told);
    plain_cell(&m->decoder, x, more, p->h, p->c);
    memcpy(seen, p->h, sizeof p->h);
    memcpy(seen + H, context, sizeof context);
    for (int v = 0; v < V; v++) p->logit[v] = product(seen, m->Wo, 3 * H, v) + at(m->bo->value, 0, v);
}

/* The sum of -log p over the target's symbols, EOS among them where there is one */
static double plain_loss(const Model *m, const Pair *pair)
{
    Plain p = plain_encode(m, pair);
    double loss = 0;
    for (int t = 0; t < symbols_of(pair); t++) {
        double sum = 0;
        plain_step(m, &p, pair->n, t == 0 ? V : pair->y[t - 1]);
        for (int v = 0; v < V; v++) sum += exp(p.logit[v]);
        loss += log(sum) - p.logit[t == pair->m ? V - 1 : pair->y[t]];
    }
    return loss;
}

/* Row b of a batch of B pairs, with S places, is `want`; n of its places are symbols. */
static void expect_encoded(const Decoder *d, const Plain *want, int b, const char *name)
{
    int B = d->batch->B, S = d->batch->S, n = d->batch->pair[b].n;
    for (int s = 0; s < S; s++)
        for (int j = 0, i = s - (S - n); j < 2 * H; j++) {
            double x = at(d->X->value, s * B + b, j);
            if (i < 0) EXPECT(x == 0, "%s: padding has %g in X(%d,%d)", name, x, s, j);
            else EXPECT_NEAR(x, want->X[i][j], near, "%s, X of place %d, number %d", name, i, j);
            if (i < 0 || j >= H) continue;
            EXPECT_NEAR(at(d->K->value, s * B + b, j), want->K[i][j], 2 * near, "%s, K of place %d, number %d", name, i, j);
        }
    for (int j = 0; j < H; j++) {
        EXPECT_NEAR(at(d->h->value, b, j), want->h[j], 2 * near, "%s, s0 %d", name, j);
        EXPECT_NEAR(at(d->c->value, b, j), 0, 0, "%s, c0 %d", name, j);
    }
}

static void expect_step(const Decoder *d, Matrix logits, const Plain *want, int b, int t, const char *name)
{
    int S = d->batch->S, n = d->batch->pair[b].n;
    for (int j = 0; j < H; j++) EXPECT_NEAR(at(d->h->value, b, j), want->h[j], 2 * near, "%s, step %d, h %d", name, t, j);
    for (int j = 0; j < H && d->m->decoder.kind == CELL_LSTM; j++)
        EXPECT_NEAR(at(d->c->value, b, j), want->c[j], 2 * near, "%s, step %d, c %d", name, t, j);
    for (int v = 0; v < V; v++) EXPECT_NEAR(at(logits, b, v), want->logit[v], 5 * near, "%s, step %d, logit %d", name, t, v);
    for (int s = 0; s < S; s++) {
        double a = s < S - n ? 0 : want->a[s - (S - n)];
        EXPECT_NEAR(at(d->weights, b, s), a, s < S - n ? 0 : near, "%s, step %d, weight of place %d of %d", name, t, s, S);
    }
}

/* B pairs at once; with one there is no padding. */
static void expect_equations(const Model *m, const Task *task, const Pair *pair, int B, const char *name)
{
    Batch batch = batch_of(pair, B, task);
    Decoder d = encode(m, &batch);
    Plain want[PAIRS];
    EXPECT(d.X->value.rows == batch.S * B && d.X->value.cols == 2 * H, "%s: X (%d,%d)", name, d.X->value.rows, d.X->value.cols);
    EXPECT(d.K->value.rows == batch.S * B && d.K->value.cols == H, "%s: K (%d,%d)", name, d.K->value.rows, d.K->value.cols);
    for (int b = 0; b < B; b++) {
        want[b] = plain_encode(m, &pair[b]);
        expect_encoded(&d, &want[b], b, name);
    }
    for (int t = 0; t < batch.T; t++) {
        Matrix logits = decoder_step(&d, batch.input + t * B)->value;
        EXPECT(logits.rows == B && logits.cols == V, "%s: logits (%d,%d)", name, logits.rows, logits.cols);
        for (int b = 0; b < B; b++) {
            if (t >= symbols_of(&pair[b])) continue;
            plain_step(m, &want[b], pair[b].n, batch.input[t * B + b]);
            expect_step(&d, logits, &want[b], b, t, name);
        }
    }
    tape_reset();
}

static void test_network_is_its_equations(void)
{
    Task task = task_of(SOURCE, TARGET);
    for (int i = 0; i < KINDS; i++) {
        Model m = random_model(kind_of(i), &task, 0.8, 3);
        for (int b = 0; b < PAIRS; b++) expect_equations(&m, &task, &four[b], 1, kind_name(kind_of(i)));
        expect_equations(&m, &task, four, PAIRS, kind_name(kind_of(i)));
        params_free(&m.params);
    }
    task_free(&task);
}

static void test_model_begins_as_it_should(void)
{
    Task task = task_of(SOURCE, TARGET);
    for (int dot = 0; dot < 2; dot++) {
        Model m;
        model_new(&m, &(Plan){ .cell = CELL_LSTM, .dot = dot, .embedding = D, .hidden = H }, &task, 1);
        int cells = 3 * (D * 4 * H + H * 4 * H + 4 * H), attention = H * H + 2 * H * H + (dot ? 0 : H), start = 2 * H * H + H;
        EXPECT(m.params.size == (size_t)(SOURCE * D + (V + 1) * D + cells + attention + start + 2 * H * 4 * H + 3 * H * V + V),
               "%zu parameters", m.params.size);
        EXPECT(m.V == V && m.Et->value.rows == V + 1, "BOS has a row, and is not said: V %d, Et (%d,)", m.V, m.Et->value.rows);
        EXPECT((m.va == NULL) == dot, "the dot product has no va");
        const CellWeights *cell[] = { &m.right, &m.left, &m.decoder };
        for (int k = 0; k < 3; k++)
            for (int j = 0; j < 4 * H; j++) EXPECT_NEAR(cell[k]->b->value.at[j], j / H == 1, 0, "cell %d, bias %d", k, j);
        EXPECT(memcmp(m.right.Wh->value.at, m.left.Wh->value.at, sizeof(real)) != 0, "left and right begin alike");
        for (int k = 0; k < m.params.count; k++) {
            const char *name = m.params.item[k]->name, *kind = strrchr(name, '.') + 1;
            Matrix w = m.params.item[k]->var.value;
            bool bias = strcmp(kind, "b") == 0, embedding = strcmp(kind, "embedding") == 0;
            double largest = 0, most = embedding ? 4 : 1 / sqrt(H);
            for (size_t i = 0; i < mat_size(w); i++) largest = fmax(largest, fabs((double)w.at[i]));
            EXPECT(bias || (largest > 0.5 / sqrt(H) && largest <= most), "%s: the largest is %g", name, largest);
        }
        params_free(&m.params);
    }
    task_free(&task);
}

/* ---- two ways to attend ------------------------------------------------------------------------------------------------- */

static Var *noise(int rows, int cols, uint64_t stream)
{
    Matrix m = tape_matrix(rows, cols);
    Rng rng = rng_new(5, stream);
    for (size_t i = 0; i < mat_size(m); i++) m.at[i] = rng_normal(&rng);
    return v_leaf(m);
}

/* All contexts, all weights, the gradient of the query and those of all parameters, one behind the other; returns how many. */
static size_t attended(const Model *m, const Task *task, Var *(*way)(Decoder *, Var *), double **out)
{
    Params all = m->params;
    Batch batch = batch_of(four, PAIRS, task);
    Decoder d = encode(m, &batch);
    Var *q = noise(PAIRS, H, 1), *c = way(&d, q);
    EXPECT(c->value.rows == PAIRS && c->value.cols == 2 * H, "contexts (%d,%d)", c->value.rows, c->value.cols);
    EXPECT(d.weights.rows == PAIRS && d.weights.cols == LONG, "weights (%d,%d)", d.weights.rows, d.weights.cols);
    params_zero_grad(&all);
    tape_backward(v_mean(v_mul(c, noise(PAIRS, 2 * H, 2))));
    Matrix part[] = { c->value, d.weights, var_grad(q), mat_over(all.grad, 1, (int)all.size) };
    size_t n = 0;
    *out = allocate(PAIRS * (2 * H + LONG + H) + all.size, sizeof **out);
    for (int k = 0; k < 4; k++)
        for (int r = 0; r < part[k].rows; r++)
            for (int j = 0; j < part[k].cols; j++) (*out)[n++] = at(part[k], r, j);
    tape_reset();
    return n;
}

static double largest_of(const double *x, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(x[i]));
    return largest;
}

static void test_two_ways_to_attend(void)
{
    Task task = task_of(SOURCE, TARGET);
    for (int i = 0; i < KINDS; i += 2) {
        Model m = random_model(kind_of(i), &task, 0.8, 4);
        double *visible, *fused;
        size_t n = attended(&m, &task, attend, &visible), same = attended(&m, &task, attend_fused, &fused);
        double *q_grad = visible + PAIRS * (2 * H + LONG), *grad = q_grad + PAIRS * H;
        EXPECT(n == same, "%zu numbers and %zu", n, same);
        for (size_t k = 0; k < n; k++) EXPECT_NEAR(visible[k], fused[k], near, "%s, %zu of %zu", kind_name(kind_of(i)), k, n);
        EXPECT(largest_of(q_grad, PAIRS * H) > 1e-3, "no gradient reaches the query");
        EXPECT(largest_of(grad, m.params.size) > 1e-2, "all gradients are zero, or nearly so");
        free(visible), free(fused);
        params_free(&m.params);
    }
    task_free(&task);
}

/* At every step of a batch of different lengths. */
static void test_weights(void)
{
    Task task = task_of(SOURCE, TARGET);
    for (int i = 0; i < KINDS; i++) {
        Model m = random_model(kind_of(i), &task, 0.8, 5);
        Batch batch = batch_of(four, PAIRS, &task);
        Matrix looked[LONG + 2];
        int said[(LONG + 2) * PAIRS];
        decode_looking(&m, &batch, 1, NULL, said, looked);
        EXPECT(batch.T == LONG + 2, "T %d", batch.T);
        for (int t = 0; t < batch.T; t++)
            for (int b = 0; b < PAIRS; b++) {
                double sum = 0;
                for (int s = 0; s < batch.S; s++) {
                    double a = at(looked[t], b, s);
                    bool padding = s < batch.S - four[b].n;
                    EXPECT(padding ? a == 0 : a > 0 && a <= 1, "%s: %g at place %d of pair %d", kind_name(kind_of(i)), a, s, b);
                    sum += padding ? 0 : a;
                }
                EXPECT_NEAR(sum, 1, 4e-7, "%s: sum of the weights of pair %d, step %d", kind_name(kind_of(i)), b, t);
            }
        EXPECT(memcmp(looked[0].at, looked[1].at, mat_size(looked[0]) * sizeof(real)) != 0, "it looks at the same at each step");
        tape_reset();
        params_free(&m.params);
    }
    task_free(&task);
}

/* Of section 2's functions alone, by hand: q (1,2), K (3,2). */
static void test_scores_by_hand(void)
{
    real q[] = { 1, -2 }, K[] = { 3, 1, 0, 0, -1, 2 }, va[] = { 10, 100 };
    const double dot[] = { 1, 0, -5 };
    Var *queries = v_const(mat_over(q, 1, 2)), *keys = v_const(mat_over(K, 3, 2));
    Matrix got = score_dot(queries, keys)->value;
    EXPECT(got.rows == 1 && got.cols == 3, "scores (%d,%d)", got.rows, got.cols);
    for (int s = 0; s < 3; s++) EXPECT_NEAR(got.at[s], dot[s], 0, "(2.1), place %d", s);
    got = score_additive(queries, keys, v_const(mat_over(va, 1, 2)))->value;
    EXPECT(got.rows == 1 && got.cols == 3, "scores (%d,%d)", got.rows, got.cols);
    for (int s = 0; s < 3; s++) {
        double want = 10 * tanh(1 + (double)K[2 * s]) + 100 * tanh(-2 + (double)K[2 * s + 1]);
        EXPECT_NEAR(got.at[s], want, 1e-4, "(2.2), place %d", s);
    }
    tape_reset();
}

/* ---- padding ------------------------------------------------------------------------------------------------------------ */

static Var *loss_told(const Model *m, const Batch *batch, double forcing)
{
    int *said = tape_room((size_t)(batch->T * batch->B) * sizeof *said);
    return v_cross_entropy(decode(m, batch, forcing, NULL, said), batch->target);
}

/* Loss and gradient of the batch, and the mean of those of its pairs, each counted as often as it has symbols. */
static void expect_mean_of_pairs(const Model *m, const Task *task, double forcing, const char *name)
{
    double symbols = 0, loss = 0, *want = allocate(m->params.size, sizeof *want);
    Params all = m->params;
    for (int b = 0; b < PAIRS; b++) symbols += symbols_of(&four[b]);
    for (int b = 0; b < PAIRS; b++) {
        Batch one = batch_of(&four[b], 1, task);
        Var *part = loss_told(m, &one, forcing);
        params_zero_grad(&all);
        tape_backward(part);
        loss += (double)part->value.at[0] * symbols_of(&four[b]) / symbols;
        for (size_t i = 0; i < all.size; i++) want[i] += (double)all.grad[i] * symbols_of(&four[b]) / symbols;
        tape_reset();
    }
    Batch batch = batch_of(four, PAIRS, task);
    Var *whole = loss_told(m, &batch, forcing);
    params_zero_grad(&all);
    tape_backward(whole);
    EXPECT_NEAR(whole->value.at[0], loss, near, "%s: the loss, forcing %g", name, forcing);
    for (size_t i = 0; i < all.size; i++) EXPECT_NEAR(all.grad[i], want[i], near, "%s: %zu, forcing %g", name, i, forcing);
    EXPECT(largest_of(want, all.size) > 1e-2, "%s: all gradients are zero, or nearly so", name);
    tape_reset();
    free(want);
}

static void test_padding_changes_nothing(void)
{
    Task task = task_of(SOURCE, TARGET);
    for (int i = 0; i < KINDS; i++) {
        Model m = random_model(kind_of(i), &task, 0.8, 6);
        for (int forcing = 0; forcing <= 1; forcing++) expect_mean_of_pairs(&m, &task, forcing, kind_name(kind_of(i)));
        params_free(&m.params);
    }
    task_free(&task);
}

static void test_loss_is_a_mean_over_symbols(void)
{
    Task task = task_of(SOURCE, TARGET);
    for (int i = 0; i < KINDS; i++) {
        Model m = random_model(kind_of(i), &task, 0.8, 7);
        Batch batch = batch_of(four, PAIRS, &task);
        double want = 0, symbols = 0;
        for (int b = 0; b < PAIRS; b++) want += plain_loss(&m, &four[b]), symbols += symbols_of(&four[b]);
        EXPECT_NEAR(batch_loss(&m, &batch)->value.at[0], want / symbols, near, "%s: four pairs", kind_name(kind_of(i)));
        tape_reset();
        params_free(&m.params);
    }
    task_free(&task);
}

/* decode says the likeliest at each step and, left alone, is told it at the next. */
static void test_left_alone_it_is_told_what_it_said(void)
{
    Task task = task_of(SOURCE, TARGET);
    for (int i = 0; i < KINDS; i++) {
        Model m = random_model(kind_of(i), &task, 1.5, 8);
        Batch batch = batch_of(four, PAIRS, &task);
        int said[(LONG + 2) * PAIRS], changes = 0;
        decode(&m, &batch, 0, NULL, said);
        for (int b = 0; b < PAIRS; b++) {
            Plain p = plain_encode(&m, &four[b]);
            for (int t = 0; t < batch.T; t++) {
                int best = 0;
                plain_step(&m, &p, four[b].n, t == 0 ? V : said[(t - 1) * PAIRS + b]);
                for (int v = 1; v < V; v++) best = p.logit[v] > p.logit[best] ? v : best;
                EXPECT(said[t * PAIRS + b] == best, "%s, pair %d, step %d: %d, not %d", kind_name(kind_of(i)), b, t,
                       said[t * PAIRS + b], best);
                changes += t < four[b].m && best != four[b].y[t];
            }
        }
        EXPECT(changes > 3, "what it says is the truth nearly everywhere, so nothing has been shown");
        tape_reset();
        params_free(&m.params);
    }
    task_free(&task);
}

/* ---- gradients ---------------------------------------------------------------------------------------------------------- */

#ifdef REAL_DOUBLE

enum { FEW = 3 };

static double loss_now(const Model *m, const Task *task, double forcing)
{
    bool recording = tape_record(false);
    Batch batch = batch_of(four, FEW, task);
    double loss = loss_told(m, &batch, forcing)->value.at[0];
    tape_record(recording);
    tape_reset();
    return loss;
}

/* With forcing 0 the decoder is told what it said, which stays the same for a small change of a weight. */
static void gradient_check(Kind k, double forcing)
{
    const double eps = 1e-5;
    Task task = task_of(SOURCE, TARGET);
    Model m = random_model(k, &task, 0.8, 7);
    Batch batch = batch_of(four, FEW, &task);
    params_zero_grad(&m.params);
    tape_backward(loss_told(&m, &batch, forcing));
    tape_reset();
    for (int p = 0; p < m.params.count; p++) {
        Matrix value = m.params.item[p]->var.value, grad = m.params.item[p]->var.grad;
        double largest = 0;
        for (size_t i = 0; i < mat_size(value); i++) {
            double kept = value.at[i], above, below;
            value.at[i] = kept + eps, above = loss_now(&m, &task, forcing);
            value.at[i] = kept - eps, below = loss_now(&m, &task, forcing);
            value.at[i] = kept;
            double want = (above - below) / (2 * eps);
            EXPECT_NEAR(grad.at[i], want, 1e-7 * fabs(want) + 2e-10, "%s, forcing %g, %s, number %zu", kind_name(k), forcing,
                        m.params.item[p]->name, i);
            largest = fmax(largest, fabs(grad.at[i]));
        }
        EXPECT(largest > 1e-4, "%s: all gradients of %s are zero, or nearly so", kind_name(k), m.params.item[p]->name);
    }
    params_free(&m.params);
    task_free(&task);
}

static void test_gradients(void)
{
    for (int i = 0; i < KINDS; i++) gradient_check(kind_of(i), i % 3 != 0);
}

#endif

/* ---- kernels ------------------------------------------------------------------------------------------------------------ */

static void test_kernels_by_hand(void)
{
    static const struct { double d, w, boxcar, epanechnikov, gaussian; } row[] = {
        { 0, 1, 1, 1, 1 },
        { 0.5, 1, 1, 0.75, 0.88249690258459546 },
        { -0.5, 1, 1, 0.75, 0.88249690258459546 },
        { 1, 1, 0, 0, 0.60653065971263342 },
        { -1, 2, 1, 0.75, 0.88249690258459546 },
        { -1.5, 2, 1, 0.4375, 0.75483960198900735 },
        { 2, 2, 0, 0, 0.60653065971263342 },
        { 3, 1, 0, 0, 0.011108996538242306 },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        EXPECT_NEAR(boxcar(row[i].d, row[i].w), row[i].boxcar, 0, "boxcar of %g, width %g", row[i].d, row[i].w);
        EXPECT_NEAR(epanechnikov(row[i].d, row[i].w), row[i].epanechnikov, 0, "Epanechnikov of %g, width %g", row[i].d, row[i].w);
        EXPECT_NEAR(gaussian(row[i].d, row[i].w), row[i].gaussian, near, "Gaussian of %g, width %g", row[i].d, row[i].w);
    }
}

static void test_kernel_average(void)
{
    Points p = points_draw(3), flat = p, heap;
    const Kernel kernel[] = { { "boxcar", boxcar, 0.7 }, { "epanechnikov", epanechnikov, 0.7 }, { "gaussian", gaussian, 0.7 } };
    double low = p.v[0], high = p.v[0];
    for (int i = 0; i < POINTS; i++) {
        flat.v[i] = -2.5, low = fmin(low, p.v[i]), high = fmax(high, p.v[i]);
        heap.k[i] = i < 20 ? 0 : i < 30 ? 1 : 10, heap.v[i] = i < 20 ? 1 : i < 30 ? 4 : 100;     /* 20, 10 and 20 points */
    }
    for (int j = 0; j < 3; j++)
        for (double q = 0; q <= 4; q += 0.25) {
            double f = kernel_average(&kernel[j], &p, q);
            EXPECT_NEAR(kernel_average(&kernel[j], &flat, q), -2.5, 1e-12, "%s at %g, of a constant", kernel[j].name, q);
            EXPECT(f >= low && f <= high, "%s at %g: %g is not in [%g,%g]", kernel[j].name, q, f, low, high);
        }
    double g = exp(-0.5);
    EXPECT_NEAR(kernel_average(&(Kernel){ "", boxcar, 2 }, &heap, 0), 60.0 / 30, 1e-12, "boxcar by hand");
    EXPECT_NEAR(kernel_average(&(Kernel){ "", epanechnikov, 2 }, &heap, 0), 50.0 / 27.5, 1e-12, "Epanechnikov by hand");
    EXPECT_NEAR(kernel_average(&(Kernel){ "", gaussian, 1 }, &heap, 0), (20 + 40 * g) / (20 + 10 * g), near, "Gaussian by hand");
    EXPECT_NEAR(kernel_average(&(Kernel){ "", boxcar, 2 }, &heap, 20), 0, 0, "where no key is near");
    EXPECT_NEAR(truth(2), 1, 0, "the curve at 2");
}

/* (1.5) without its last term is a dot product: of (q, -1/2) / w² with (k, k²). */
static void test_gaussian_is_a_softmax_of_products(void)
{
    Points p = points_draw(4);
    Matrix keys = mat_new(POINTS, 2);
    for (int i = 0; i < POINTS; i++) mat_row(keys, i)[0] = (real)p.k[i], mat_row(keys, i)[1] = (real)(p.k[i] * p.k[i]);
    for (double w = 0.3; w < 2; w *= 2)
        for (double q = 0; q <= 4; q += 0.5) {
            real query[2] = { (real)(q / (w * w)), (real)(-0.5 / (w * w)) };
            Matrix a = v_softmax(score_dot(v_const(mat_over(query, 1, 2)), v_const(keys)), NULL)->value;
            double sum = 0;
            for (int i = 0; i < POINTS; i++) sum += gaussian(q - p.k[i], w);
            for (int i = 0; i < POINTS; i++)
                EXPECT_NEAR(a.at[i], gaussian(q - p.k[i], w) / sum, 5 * near, "width %g, query %g, key %d", w, q, i);
            tape_reset();
        }
    mat_free(&keys);
}

static double plain_left_out(double narrow, const Points *p)
{
    double error = 0;
    for (int q = 0; q < POINTS; q++) {
        double f = 0, sum = 0;
        for (int i = 0; i < POINTS; i++) {
            double d = p->k[q] - p->k[i], a = i == q ? 0 : exp(-d * d / 2 * narrow * narrow);
            f += a * p->v[i], sum += a;
        }
        error += (f / sum - p->v[q]) * (f / sum - p->v[q]) / POINTS;
    }
    return error;
}

static void test_left_out_error(void)
{
    Points p = points_draw(5);
    const double eps = 1e-5, tolerance = sizeof(real) == sizeof(double) ? 1e-8 : 1e-4;
    for (double narrow = 0.5; narrow < 3; narrow *= 1.7) {
        real x = (real)narrow;
        Var *leaf = v_leaf(mat_over(&x, 1, 1)), *error = left_out_error(leaf, &p);
        double want = (plain_left_out((double)x + eps, &p) - plain_left_out((double)x - eps, &p)) / (2 * eps);
        EXPECT(error->value.rows == 1 && error->value.cols == 1, "the error is (%d,%d)", error->value.rows, error->value.cols);
        EXPECT_NEAR(error->value.at[0], plain_left_out((double)x, &p), near, "1/w = %g", narrow);
        tape_backward(error);
        EXPECT_NEAR(var_grad(leaf).at[0], want, tolerance, "the slope at 1/w = %g", narrow);
        EXPECT(fabs(want) > 100 * tolerance, "no slope at 1/w = %g", narrow);
        tape_reset();
    }
}

static void test_width_is_learned(void)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        Points p = points_draw(seed);
        double before = plain_left_out(1, &p), after = plain_left_out(1 / learn_width(1, &p, 300), &p), least = before;
        for (double w = 0.05; w < 2; w *= 1.02) least = fmin(least, plain_left_out(1 / w, &p));
        EXPECT(after < 0.8 * before, "seed %d: error %g, and %g before", (int)seed, after, before);
        EXPECT(after < 1.001 * least, "seed %d: error %g, and the least is %g", (int)seed, after, least);
        tape_reset();
    }
}

/* ---- where it looked ---------------------------------------------------------------------------------------------------- */

/* n rows of weights */
static Look look_by_hand(const Task *task, const char *source, const char *answer, int steps, const real *weight)
{
    Look look = { .steps = steps };
    look.pair.n = symbols_encode(&task->source, source, "source", look.pair.x);
    look.answer.n = symbols_encode(&task->target, answer, "answer", look.answer.y);
    look.weight = tape_matrix(steps, look.pair.n);
    memcpy(look.weight.at, weight, mat_size(look.weight) * sizeof *weight);
    return look;
}

static void expect_written(FILE *f, const char *want, const char *what)
{
    static char got[20000];
    rewind(f);
    got[fread(got, 1, sizeof got - 1, f)] = '\0';
    fclose(f);
    EXPECT(strcmp(got, want) == 0, "%s: expected\n%s\nand got\n%s\n", what, want, got);
}

static FILE *scratch(void)
{
    FILE *f = tmpfile();
    CHECK(f, "no scratch file");
    return f;
}

static void test_picture_by_hand(void)
{
    static const real digits[] = {
        (real)0.05, (real)0.15, (real)0.3, (real)0.5,
        (real)0.75, (real)0.2, (real)0.04, (real)0.01,
        0, 0, 1, 0,
    };
    static const real words[] = { 0, 1,   (real)0.25, (real)0.75,   1, 0 };
    Task to_digits = task_to_digits(), to_words = task_to_words();
    Look look = look_by_hand(&to_digits, "un é", "30", 3, digits);
    FILE *f = scratch();
    print_look(f, &to_digits, &look);
    expect_written(f, "un é → 30\n      un é\n    3 .:+*\n    0 #:  \n  end   # \n", "words to digits");
    look = look_by_hand(&to_words, "90", "é m", 3, words);               /* broken off: three symbols, and no end */
    f = scratch();
    print_look(f, &to_words, &look);
    expect_written(f, "90 → é m\n      90\n    é  #\n      :#\n    m # \n", "digits to words");
    tape_reset();
    task_free(&to_digits), task_free(&to_words);
}

static void test_csv_by_hand(void)
{
    static const real digits[] = { (real)0.125, (real)0.375, (real)0.5,   0, 1, 0 }, words[] = { 1, (real)0.5 };
    Task to_digits = task_to_digits(), to_words = task_to_words();
    Look look = look_by_hand(&to_digits, "o ú", "7", 2, digits);
    FILE *f = scratch();
    write_look(f, "dot", &to_digits, 3, &look);
    expect_written(f, "dot,3,0,7,0,o,0.125\ndot,3,0,7,1,·,0.375\ndot,3,0,7,2,ú,0.5\n"
                      "dot,3,1,end,0,o,0\ndot,3,1,end,1,·,1\ndot,3,1,end,2,ú,0\n", "words to digits");
    look = look_by_hand(&to_words, "4", " é", 2, words);
    f = scratch();
    write_look(f, "to_words", &to_words, 1, &look);
    expect_written(f, "to_words,1,0,·,0,4,1\nto_words,1,1,é,0,4,0.5\n", "digits to words");
    tape_reset();
    task_free(&to_digits), task_free(&to_words);
}

/* The answer is greedy's, and the weights are those of its steps. */
static void expect_look(const Model *m, const Task *task, const char *source)
{
    Look look = look_at(m, task, source);
    Pair pair = { .n = look.pair.n };
    memcpy(pair.x, look.pair.x, sizeof pair.x);
    int steps = look.answer.n <= MOST_ANSWER ? look.answer.n + 1 : MOST_ANSWER + 1;
    EXPECT(look.steps == steps, "%d steps for %d symbols", look.steps, look.answer.n);
    EXPECT(look.weight.rows == look.steps && look.weight.cols == pair.n, "weights (%d,%d)", look.weight.rows, look.weight.cols);
    Batch batch = batch_of(&pair, 1, task);
    Decoder d = encode(m, &batch);
    int told = batch.bos;
    for (int t = 0; t < look.steps; t++) {
        double sum = 0;
        argmax_rows(&told, decoder_step(&d, &told)->value);
        EXPECT(told == (t < look.answer.n ? look.answer.y[t] : batch.eos), "'%s', step %d: it says %d", source, t, told);
        EXPECT_SAME_BYTES(mat_row(look.weight, t), d.weights.at, (size_t)pair.n * sizeof(real), "'%s', step %d", source, t);
        for (int s = 0; s < pair.n; s++) sum += at(look.weight, t, s);
        EXPECT_NEAR(sum, 1, 4e-7, "'%s': sum of the weights of step %d", source, t);
    }
    EXPECT(tape_is_recording(), "the tape records again");
    tape_reset();
}

static void test_look_at(void)
{
    static const char *const digits[] = { "7", "203004", "999999" };
    static const char *const words[] = { "un", "doscientos tres mil cuatro", "veintitrés" };
    for (int to_words = 0; to_words < 2; to_words++) {
        Task task = to_words ? task_to_words() : task_to_digits();
        int ended = 0, went_on = 0;
        for (int k = 0; k < 24; k++) {
            Model m = random_model((Kind){ (CellKind)(k % 3), k % 2, true }, &task, 1, (uint64_t)k);
            m.bo->value.at[task.target.size] += k < 6 ? -1000 : k < 18 ? 0 : 1000;
            for (int i = 0; i < 3; i++) {
                const char *source = to_words ? digits[i] : words[i];
                Look look = look_at(&m, &task, source);
                ended += look.answer.n < look.steps, went_on += look.answer.n == look.steps;
                if (k >= 18) EXPECT(look.steps == 1 && look.answer.n == 0, "it ends at once: %d steps", look.steps);
                if (k < 6) EXPECT(look.steps == MOST_ANSWER + 1 && look.answer.n == look.steps, "no end: %d steps", look.steps);
                expect_look(&m, &task, source);
            }
            params_free(&m.params);
        }
        EXPECT(ended > 18 && went_on >= 18, "%d ended, %d went on", ended, went_on);
        task_free(&task);
    }
}

/* ---- training ----------------------------------------------------------------------------------------------------------- */

/* The trial prints its reports, which are no news here. */
static Trial trained(Model *m, const Task *task, const Plan *plan, const Training *training, uint64_t seed, bool *silent)
{
    FILE *screen = scratch();
    Trial trial = trial_new(task, model_name(plan), 500, MOST_PAIR, 10);
    Network net = { &m->params, m, decode };
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    CHECK(kept >= 0 && dup2(fileno(screen), STDOUT_FILENO) >= 0, "stdout cannot be caught");
    trial_train(&trial, &net, training, seed);
    fflush(stdout);
    *silent = ftell(screen) == 0;
    dup2(kept, STDOUT_FILENO);
    close(kept);
    fclose(screen);
    return trial;
}

static void test_copies_are_learned(void)
{
    Task task = task_copy(5, 5);
    Training training = { .batch = 64, .steps = 150, .lr = 0.005, .lr_end = 0.05, .clip = 1e9,
                          .forcing = 0.5, .forcing_end = 0.5 };
    for (int dot = 0; dot < 2; dot++) {
        Plan plan = { .cell = CELL_LSTM, .dot = dot, .fused = true, .embedding = 16, .hidden = 32 };
        Model m;
        bool silent;
        model_new(&m, &plan, &task, 1);
        Trial trial = trained(&m, &task, &plan, &training, 1, &silent);
        EXPECT(trial.alone.exact == trial.alone.pairs && trial.alone.pairs == 500, "%s: %ld of %ld copies are right", trial.model,
               trial.alone.exact, trial.alone.pairs);
        EXPECT(trial.learned > 0 && trial.learned < 150, "%s: learned at step %ld", trial.model, trial.learned);
        EXPECT(strcmp(trial.model, dot ? "attention_dot" : "attention") == 0 && !silent, "%s reports", trial.model);
        trial_free(&trial);
        params_free(&m.params);
    }
    task_free(&task);
}

/* Six steps of the visible way and of the fused one: the losses stay together. */
static void test_both_ways_train_alike(void)
{
    Task task = task_copy(1, 5);
    Training training = { .batch = 8, .steps = 6, .lr = 0.005, .lr_end = 0.05, .clip = 1, .forcing = 1, .forcing_end = 1 };
    for (int dot = 0; dot < 2; dot++) {
        double loss[2];
        for (int fused = 0; fused < 2; fused++) {
            Plan plan = { .cell = CELL_GRU, .dot = dot, .fused = fused, .embedding = D, .hidden = H };
            Model m;
            bool silent;
            model_new(&m, &plan, &task, 2);
            EXPECT(m.fused == fused, "--fused is handed on");
            Trial trial = trained(&m, &task, &plan, &training, 2, &silent);
            loss[fused] = trial.loss;
            trial_free(&trial);
            params_free(&m.params);
        }
        EXPECT_NEAR(loss[0], loss[1], 100 * near, "loss after six steps, dot %d", dot);
    }
    task_free(&task);
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/test_chapter07.XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void test_saved_and_loaded(void)
{
    static const char *const prompt[] = { "7", "203004", "21000" };
    for (int i = 0; i < KINDS; i++) {
        Task task = task_to_words(), again;
        Model m = random_model(kind_of(i), &task, 0.8, 6), loaded;
        model_save(&m, &task, folder, "model.safetensors");
        model_load(&loaded, &again, in_folder("model.safetensors"));
        EXPECT(strcmp(again.name, "to_words") == 0 && loaded.dot == m.dot, "%s, dot %d", again.name, loaded.dot);
        EXPECT(loaded.H == H && loaded.V == m.V && loaded.fused, "H %d, V %d, fused %d", loaded.H, loaded.V, loaded.fused);
        EXPECT(loaded.decoder.kind == m.decoder.kind && loaded.params.size == m.params.size, "%zu numbers", loaded.params.size);
        EXPECT_SAME_BYTES(loaded.params.value, m.params.value, m.params.size * sizeof(real), "%s", kind_name(kind_of(i)));
        m.fused = true;                                                  /* how it is computed is no part of a network */
        for (int k = 0; k < 3; k++) {
            Look want = look_at(&m, &task, prompt[k]);
            Matrix kept = mat_new(want.weight.rows, want.weight.cols);
            mat_copy(kept, want.weight);
            Look got = look_at(&loaded, &again, prompt[k]);
            EXPECT_SAME_BYTES(&got.answer, &want.answer, sizeof got.answer, "the answer to %s", prompt[k]);
            EXPECT(got.steps == want.steps, "%d steps, and %d before", got.steps, want.steps);
            EXPECT_SAME_BYTES(got.weight.at, kept.at, mat_size(kept) * sizeof(real), "the weights for %s", prompt[k]);
            mat_free(&kept);
        }
        tape_reset();
        params_free(&m.params), params_free(&loaded.params);
        task_free(&task), task_free(&again);
    }
    remove(in_folder("model.safetensors"));
}

static void call_load(void)
{
    Model m;
    Task task;
    dies = true;
    model_load(&m, &task, in_folder("other.safetensors"));
}

static const Config *tried;
static void call_check_prompt(void)
{
    dies = true;
    check_prompt(tried);
}

static const char *asked;
static void call_look_at(void)
{
    Task task = task_to_digits();
    Model m = random_model((Kind){ CELL_GRU, true, true }, &task, 1, 1);
    dies = true;
    look_at(&m, &task, asked);
}

/* The first is as chapter 06 writes it. */
static void test_other_checkpoints(void)
{
    static const char *const key[] = { "model", "task", "cell", "score", "hidden" };
    static const char *const good[] = { "attention", "to_words", "lstm", "additive", "5" };
    static const char *const bad[] = { "seq2seq", "copy", "tape", "cosine", "4" };
    Task task = task_to_words();
    Model m = random_model((Kind){ CELL_LSTM, false, true }, &task, 1, 6);
    for (int wrong = 0; wrong < 5; wrong++) {
        Checkpoint c = { 0 };
        for (int i = 0; i < 5; i++) checkpoint_set(&c, key[i], "%s", i == wrong ? bad[i] : good[i]);
        checkpoint_set(&c, "layers", "1");
        checkpoint_set(&c, "embedding", "%d", D);
        checkpoint_add_params(&c, &m.params);
        checkpoint_write(&c, folder, "other.safetensors");
        checkpoint_free(&c);
        EXPECT_DEATH(call_load, wrong == 4 ? "another model" : bad[wrong]);
    }
    remove(in_folder("other.safetensors"));
    params_free(&m.params);
    task_free(&task);
}

static void test_prompt_without_a_network(void)
{
    Config o = quick;
    o.prompt = "dos";
    tried = &o;
    EXPECT_DEATH(call_check_prompt, "--load");
    check_prompt(&quick);
}

static void test_bad_prompts(void)
{
    char long_one[2 * MOST_PAIR];
    memset(long_one, 'm', sizeof long_one);
    long_one[MOST_PAIR + 1] = '\0';
    const char *const prompt[] = { "", "dos, tres", "DOS", long_one };
    for (int i = 0; i < 4; i++) {
        asked = prompt[i];
        EXPECT_DEATH(call_look_at, "--prompt");
    }
}

int main(void)
{
    CHECK(mkdtemp(folder), "%s cannot be made", folder);
    RUN(test_network_is_its_equations);
    RUN(test_model_begins_as_it_should);
    RUN(test_scores_by_hand);
    RUN(test_two_ways_to_attend);
    RUN(test_weights);
    RUN(test_padding_changes_nothing);
    RUN(test_loss_is_a_mean_over_symbols);
    RUN(test_left_alone_it_is_told_what_it_said);
#ifdef REAL_DOUBLE
    RUN(test_gradients);
#endif
    RUN(test_kernels_by_hand);
    RUN(test_kernel_average);
    RUN(test_gaussian_is_a_softmax_of_products);
    RUN(test_left_out_error);
    RUN(test_width_is_learned);
    RUN(test_picture_by_hand);
    RUN(test_csv_by_hand);
    RUN(test_look_at);
    RUN(test_copies_are_learned);
    RUN(test_both_ways_train_alike);
    RUN(test_saved_and_loaded);
    RUN(test_other_checkpoints);
    RUN(test_prompt_without_a_network);
    RUN(test_bad_prompts);
    rmdir(folder);
    tape_free();
    return unit_result();
}
