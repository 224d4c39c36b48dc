/* What ngrams.h promises: Witten-Bell probabilities as they come out by hand on a text of four symbols, and as (2.2) of chapter
 * 05 gives them with counts by brute force; their sum over all symbols is 1; a context that was never seen passes through;
 * where fewer symbols stand in front than an order would read, the longest context that there is serves; the loss of a part is
 * the mean of their logarithms. */
#include "ngrams.h"
#include "output.h"
#include "rng.h"
#include "unit.h"

#include <signal.h>
#include <stdlib.h>

enum { A, B, C };

/* ---- by hand: "abaa" --------------------------------------------------------------------------------------------------- */

static const int abaa[] = { A, B, A, A };

/* p[n-1] of the last symbol of a text of `length`, all of which may be read. */
static void expect_last(const Ngrams *g, const int *ids, int length, int V, const double want[ORDERS], const char *what)
{
    double p[ORDERS];
    ngrams_probabilities(g, ids + length - 1, length - 1, V, p);
    for (int n = 0; n < ORDERS; n++) EXPECT_NEAR(p[n], want[n], 1e-15, "%s, order %d", what, n + 1);
}

static void test_by_hand(void)
{
    Ngrams g = ngrams_count(abaa, 4);
    /* c() = 4, d() = 2, c(a) = 3, c(b) = 1, so p(a) = (3 + 2/2)/6 and p(b) = (1 + 2/2)/6. a was followed by b and by a, b by a,
     * ab by a, ba by a, aba by a. */
    double a = 2 / 3., b = 1 / 3., a_a = (1 + 2 * a) / 4, a_b = (1 + 2 * b) / 4, b_a = (1 + a) / 2, b_b = (0 + b) / 2;
    double ab_a = (1 + b_a) / 2, ba_a = (1 + a_a) / 2, ba_b = a_b / 2, aba_a = (1 + ba_a) / 2, aba_b = ba_b / 2;
    expect_last(&g, (int[]){ A }, 1, 2, (double[]){ a, a, a, a, a }, "a");
    expect_last(&g, (int[]){ B }, 1, 2, (double[]){ b, b, b, b, b }, "b");
    expect_last(&g, (int[]){ A, A }, 2, 2, (double[]){ a, 7 / 12., 7 / 12., 7 / 12., 7 / 12. }, "aa");
    expect_last(&g, (int[]){ A, B }, 2, 2, (double[]){ b, a_b, a_b, a_b, a_b }, "ab");
    expect_last(&g, (int[]){ B, A }, 2, 2, (double[]){ a, 5 / 6., 5 / 6., 5 / 6., 5 / 6. }, "ba");
    expect_last(&g, (int[]){ B, B }, 2, 2, (double[]){ b, b_b, b_b, b_b, b_b }, "bb");
    expect_last(&g, (int[]){ A, B, A }, 3, 2, (double[]){ a, b_a, ab_a, ab_a, ab_a }, "aba");
    expect_last(&g, (int[]){ A, B, A, A }, 4, 2, (double[]){ a, a_a, ba_a, aba_a, aba_a }, "abaa");
    expect_last(&g, (int[]){ A, B, A, B }, 4, 2, (double[]){ b, a_b, ba_b, aba_b, aba_b }, "abab");
    ngrams_free(&g);
}

/* "aa" ends the text and "bb" is not in it, so nothing is known of what follows: the shorter context's answer stays. */
static void test_unseen_contexts(void)
{
    Ngrams g = ngrams_count(abaa, 4);
    double a_a = 7 / 12., b_a = 5 / 6.;
    expect_last(&g, (int[]){ A, A, A }, 3, 2, (double[]){ 2 / 3., a_a, a_a, a_a, a_a }, "after aa");
    expect_last(&g, (int[]){ B, B, A }, 3, 2, (double[]){ 2 / 3., b_a, b_a, b_a, b_a }, "after bb");
    /* a third symbol that was never seen: p() = (4 + 2/3)/6 in all for a and b, and for c what is left, (0 + 2/3)/6 */
    double c = 1 / 9., a_c = 2 * c / 4;
    expect_last(&g, (int[]){ C, C }, 2, 3, (double[]){ c, c, c, c, c }, "c after c");
    expect_last(&g, (int[]){ A, C }, 2, 3, (double[]){ c, a_c, a_c, a_c, a_c }, "c after a");
    ngrams_free(&g);
}

/* What stands in front is read only as far as `before` says. */
static void test_beginning_of_the_text(void)
{
    Ngrams g = ngrams_count(abaa, 4);
    double all[ORDERS], p[ORDERS];
    ngrams_probabilities(&g, abaa + 3, 3, 2, all);
    for (int before = 0; before <= 3; before++) {
        ngrams_probabilities(&g, abaa + 3, before, 2, p);
        for (int n = 0; n < ORDERS; n++)
            EXPECT_NEAR(p[n], all[n < before ? n : before], 0, "%d before, order %d", before, n + 1);
    }
    EXPECT(all[0] != all[1] && all[1] != all[2] && all[2] != all[3], "the orders differ, or nothing was compared");
    ngrams_free(&g);
}

static void test_nothing_counted(void)
{
    static const int one[] = { B };
    Ngrams g = ngrams_count(NULL, 0);
    expect_last(&g, (int[]){ A, B, A, B, A, B }, 6, 5, (double[]){ 0.2, 0.2, 0.2, 0.2, 0.2 }, "no text");
    ngrams_free(&g);
    EXPECT(g.slot == NULL && g.size == 0, "a freed table holds nothing");
    g = ngrams_count(one, 1);
    expect_last(&g, (int[]){ B }, 1, 4, (double[]){ 0.625, 0.625, 0.625, 0.625, 0.625 }, "one symbol");     /* (1 + 1/4)/2 */
    ngrams_free(&g);
}

/* ---- by brute force ---------------------------------------------------------------------------------------------------- */

/* (2.2) as it is written: p(w|h), h being the n symbols from h on, with counts taken by reading the text through. */
static double plain_probability(const int *text, int length, const int *h, int n, int w, int V)
{
    double lower = n == 0 ? 1. / V : plain_probability(text, length, h + 1, n - 1, w, V);
    int c = 0, c_w = 0, d = 0;
    bool *seen = calloc((size_t)V, sizeof *seen);
    for (int i = 0; i + n < length; i++) {
        if (n > 0 && memcmp(text + i, h, (size_t)n * sizeof *h) != 0) continue;
        int next = text[i + n];
        c++, c_w += next == w, d += !seen[next];
        seen[next] = true;
    }
    free(seen);
    return c == 0 ? lower : (c_w + d * lower) / (c + d);
}

/* Symbols of which the low ones are frequent, so that long contexts come again; `highest` comes in, too. */
static int *some_text(int n, int V, int highest, uint64_t seed)
{
    int *ids = malloc((size_t)n * sizeof *ids);
    Rng rng = rng_new(seed, 0);
    for (int i = 0; i < n; i++) {
        ids[i] = (int)rng_below(&rng, 1 + rng_below(&rng, V));
        if (ids[i] == V - 1) ids[i] = highest;
    }
    return ids;
}

/* At any place of another text, for every order and every number of symbols in front. The larger text makes the table grow. */
static void test_brute_force(void)
{
    static const struct { int n, V, highest; } row[] = {
        { 40, 2, 1 }, { 300, 3, 2 }, { 3000, 6, 5 }, { 3000, 5, MOST_SYMBOLS - 1 },
    };
    enum { OTHER = 30 };
    for (size_t r = 0; r < sizeof row / sizeof *row; r++) {
        int *text = some_text(row[r].n, row[r].V, row[r].highest, r + 1), V = row[r].highest + 1;
        int *other = some_text(OTHER, row[r].V, row[r].highest, 100 + r);
        Ngrams g = ngrams_count(text, row[r].n);
        double p[ORDERS];
        EXPECT(2 * g.used <= g.size + 1, "row %zu: %zu of %zu slots in use", r, g.used, g.size);
        for (int at = 0; at < OTHER; at++)
            for (int before = 0; before <= at && before <= ORDERS; before++) {
                ngrams_probabilities(&g, other + at, before, V, p);
                for (int n = 0; n < ORDERS; n++) {
                    int read = n < before ? n : before;
                    double want = plain_probability(text, row[r].n, other + at - read, read, other[at], V);
                    EXPECT_NEAR(p[n], want, 1e-15, "row %zu, place %d, %d before, order %d", r, at, before, n + 1);
                }
            }
        ngrams_free(&g);
        free(text), free(other);
    }
}

static void test_sums_to_one(void)
{
    enum { V = 7, N = 2000 };
    int *text = some_text(N, V - 1, V - 2, 9), context[ORDERS];              /* symbol V-1 is never seen */
    Ngrams g = ngrams_count(text, N);
    Rng rng = rng_new(10, 0);
    for (int trial = 0; trial < 200; trial++) {
        double p[ORDERS], sum[ORDERS] = { 0 };
        for (int i = 0; i < ORDERS - 1; i++) context[i] = (int)rng_below(&rng, trial < 100 ? 3 : V);
        for (context[ORDERS - 1] = 0; context[ORDERS - 1] < V; context[ORDERS - 1]++) {
            ngrams_probabilities(&g, context + ORDERS - 1, ORDERS - 1, V, p);
            for (int n = 0; n < ORDERS; n++) sum[n] += p[n];
            for (int n = 0; n < ORDERS; n++) EXPECT(p[n] > 0 && p[n] < 1, "context %d, order %d: %g", trial, n + 1, p[n]);
        }
        for (int n = 0; n < ORDERS; n++) EXPECT_NEAR(sum[n], 1, 1e-14, "context %d, order %d", trial, n + 1);
    }
    ngrams_free(&g);
    free(text);
}

/* The mean of -ln p over a part, for every order: by hand after "abaa", and against brute force in the middle of a text. */
static void test_loss(void)
{
    enum { N = 400, FROM = 90, COUNT = 150, V = 5 };
    static const int again[] = { A, B, A, A, A, B };
    int *text = some_text(N, V, V - 1, 20);
    double loss[ORDERS];
    Ngrams g = ngrams_count(abaa, 4);
    ngrams_loss(&g, again + 4, 2, 2, loss);                              /* p(a) p(b) = 2/3 1/3, p(a|a) p(b|a) = 7/12 5/12 */
    EXPECT_NEAR(loss[0], -log(2 / 9.) / 2, 1e-6, "order 1");
    EXPECT_NEAR(loss[1], -log(35 / 144.) / 2, 1e-6, "order 2");
    ngrams_loss(&g, again + 4, 0, 2, loss);
    EXPECT(loss[0] == 0 && loss[ORDERS - 1] == 0, "nothing to predict");
    ngrams_free(&g);
    g = ngrams_count(text, N);
    ngrams_loss(&g, text + FROM, COUNT, V, loss);
    for (int n = 0; n < ORDERS; n++) {
        double total = 0;
        for (int i = FROM; i < FROM + COUNT; i++) total -= log(plain_probability(text, N, text + i - n, n, text[i], V));
        EXPECT_NEAR(loss[n], total / COUNT, 1e-5, "order %d", n + 1);
        EXPECT(n == 0 || loss[n] < loss[n - 1] - 0.01, "order %d: %g, as good as the one below", n + 1, loss[n]);
    }
    ngrams_free(&g);
    free(text);
}

/* ---- errors, and bits -------------------------------------------------------------------------------------------------- */

static Ngrams small;

static void call_count_negative(void)  { ngrams_count((int[]){ A, -1 }, 2); }
static void call_count_too_high(void)  { ngrams_count((int[]){ A, MOST_SYMBOLS }, 2); }
static void ask(const int *at, int before, int V) { ngrams_probabilities(&small, at, before, V, (double[ORDERS]){ 0 }); }
static void call_high_context(void)    { ask((int[]){ MOST_SYMBOLS, A } + 1, 1, 2); }
static void call_negative_symbol(void) { ask((int[]){ -1 }, 0, 2); }
static void call_negative_before(void) { ask((int[]){ A }, -1, 2); }
static void call_no_symbols(void)      { ask((int[]){ A }, 0, 0); }

static void test_errors(void)
{
    static const struct { void (*call)(void); const char *word; } row[] = {
        { call_count_negative, "symbol -1;" }, { call_count_too_high, "symbol 4099;" }, { call_high_context, "symbol 4099;" },
        { call_negative_symbol, "symbol -1;" }, { call_negative_before, "-1 symbols before" }, { call_no_symbols, "0 in all" },
    };
    small = ngrams_count(abaa, 4);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char said[1000];
        int status = unit_child(row[i].call, said, sizeof said);
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "call %zu: status 0x%x", i, (unsigned)status);
        EXPECT(strstr(said, row[i].word), "call %zu: \"%s\", not \"%s\"", i, said, row[i].word);
    }
    ngrams_free(&small);
}

static void test_bits(void)
{
    EXPECT_NEAR(bits(log(2)), 1, 1e-15, "a fair coin");
    EXPECT_NEAR(bits(log(92)), log2(92), 1e-14, "one of 92");
    EXPECT_NEAR(bits(0), 0, 0, "nothing to tell");
}

int main(void)
{
    RUN(test_by_hand);
    RUN(test_unseen_contexts);
    RUN(test_beginning_of_the_text);
    RUN(test_nothing_counted);
    RUN(test_brute_force);
    RUN(test_sums_to_one);
    RUN(test_loss);
    RUN(test_errors);
    RUN(test_bits);
    return unit_result();
}
