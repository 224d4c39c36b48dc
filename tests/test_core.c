/* What the ground under the kernels promises: check ends a program as it says, an arena hands out aligned memory and uses
 * it again, the random numbers are those of SplitMix64 and have the distributions that they are named after, and a parallel
 * loop does each of its items once.
 *
 * Statistics are taken with fixed seeds, so a test passes always or never. Bounds lie five standard deviations out.       */
#include "arena.h"
#include "check.h"
#include "real.h"
#include "rng.h"
#include "threads.h"
#include "unit.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- check --------------------------------------------------------------------------------------------------------- */

static void call_check(void)         { CHECK(1 + 1 == 3, "a sum of %d", 2); }
static void call_die(void)           { program_name("build/some/program"), die("no file '%s'", "x.txt"); }
static void call_allocate(void)      { free(allocate(SIZE_MAX / 2, 3)); }
static void call_arena(void)         { Arena a = { 0 }; arena_take(&a, SIZE_MAX / 2); }
static void call_start_twice(void)   { threads_start(1), threads_start(1); }
static void call_no_threads(void)    { threads_start(-1); }
static void call_rng_below(void)     { Rng r = rng_new(1, 0); rng_below(&r, 0); }

static void expect_abort(void (*call)(void), const char *text)
{
    char said[512];
    int status = unit_child(call, said, sizeof said);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status 0x%x, \"%s\"", (unsigned)status, said);
    EXPECT(strstr(said, text) && strstr(said, "check failed"), "\"%s\" has no \"%s\"", said, text);
}

static void expect_exit(void (*call)(void), const char *text)
{
    char said[512];
    int status = unit_child(call, said, sizeof said);
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 2, "status 0x%x, \"%s\"", (unsigned)status, said);
    EXPECT(strstr(said, text), "\"%s\" has no \"%s\"", said, text);
    EXPECT(strchr(said, '\n') && strchr(said, '\n')[1] == '\0', "\"%s\" is not one line", said);
}

static void test_endings(void)
{
    CHECK(1 + 1 == 2, "a sum of %d", 2);
    expect_abort(call_check, "test_core.c:");
    expect_abort(call_check, "1 + 1 == 3: a sum of 2\n");
    expect_exit(call_die, "program: no file 'x.txt'\n");
    expect_exit(call_allocate, "out of memory");
    expect_exit(call_arena, "out of memory");
    expect_abort(call_start_twice, "1");
    expect_abort(call_no_threads, "-1");
    expect_abort(call_rng_below, "0");
}

static bool all_bytes_are(const unsigned char *p, size_t size, unsigned char value)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] != value) return false;
    return true;
}

static void test_allocate(void)
{
    for (size_t count = 0; count < 300; count += 7) {
        unsigned char *p = allocate(count, 3);
        EXPECT(p && (uintptr_t)p % 64 == 0, "%zu × 3 bytes at %p", count, (void *)p);
        EXPECT(all_bytes_are(p, 3 * count, 0), "%zu × 3 bytes are zeros", count);
        memset(p, 0xff, 3 * count);        /* the next block must not be zero by chance */
        free(p);
    }
}

/* ---- arena --------------------------------------------------------------------------------------------------------- */

enum { TAKES = 400 };

static size_t take_size(int i)
{
    return i % 100 == 99 ? (size_t)5 << 20 : (size_t)(i * 37 % 5000);     /* now and then one larger than a block */
}

/* Takes TAKES pieces, writes each full, and looks only then: pieces that overlap have lost what was written first. */
static void expect_pieces(Arena *arena)
{
    unsigned char *piece[TAKES];
    for (int i = 0; i < TAKES; i++) {
        piece[i] = arena_take(arena, take_size(i));
        EXPECT((uintptr_t)piece[i] % 64 == 0, "piece %d at %p", i, (void *)piece[i]);
        memset(piece[i], i % 251, take_size(i));
    }
    for (int i = 0; i < TAKES; i++) EXPECT(all_bytes_are(piece[i], take_size(i), (unsigned char)(i % 251)), "piece %d", i);
}

static void test_arena_pieces(void)
{
    Arena arena = { 0 };
    for (int step = 0; step < 3; step++) {
        expect_pieces(&arena);
        arena_reset(&arena);
        EXPECT(arena.used == 0, "used after reset: %zu", arena.used);
    }
    arena_free(&arena);
    EXPECT(!arena.newest && arena.used == 0, "nothing is left after arena_free");
    arena_reset(&arena);
    EXPECT(arena_take(&arena, 1) != NULL, "an arena that was freed is ready for use");
    arena_free(&arena);
}

/* The first step may need several blocks; from the second on the same step finds room in one, always the same. */
static void test_arena_reuses(void)
{
    Arena arena = { 0 };
    void *first = arena_take(&arena, 100);
    arena_reset(&arena);
    EXPECT(arena_take(&arena, 4000) == first, "one block: the memory of the step before is handed out again");
    for (int i = 0; i < TAKES; i++) arena_take(&arena, take_size(i));
    arena_reset(&arena);
    ArenaBlock *block = arena.newest;
    for (int step = 0; step < 3; step++) {
        void *again = arena_take(&arena, 4000);
        first = step == 0 ? again : first;
        EXPECT(again == first, "step %d begins at %p, not at %p", step, again, first);
        for (int i = 0; i < TAKES; i++) arena_take(&arena, take_size(i));
        EXPECT(arena.newest == block, "step %d ran into another block", step);
        arena_reset(&arena);
    }
    arena_free(&arena);
}

static void test_arena_peak(void)
{
    Arena arena = { 0 };
    arena_take(&arena, 1000);
    EXPECT(arena.used >= 1000 && arena.used < 1000 + 64 && arena.peak == arena.used, "%zu, %zu", arena.used, arena.peak);
    arena_take(&arena, 3 << 20);
    size_t peak = arena.peak;
    EXPECT(peak >= 1000 + (3 << 20) && peak < 1000 + (3 << 20) + 128, "peak %zu", peak);
    arena_reset(&arena);
    EXPECT(arena.peak == peak, "peak %zu after reset, %zu before", arena.peak, peak);
    arena_take(&arena, 2000);
    EXPECT(arena.peak == peak, "a smaller step leaves the peak: %zu, %zu", arena.peak, peak);
    arena_take(&arena, 4 << 20);
    EXPECT(arena.peak > peak && arena.peak == arena.used, "a larger one raises it: %zu", arena.peak);
    arena_free(&arena);
}

/* ---- rng: the numbers themselves ------------------------------------------------------------------------------------
 *
 * The expected numbers were computed by another implementation of SplitMix64, in whole numbers without bound. From the
 * state 1234567 it gives the 6457827717110365317, 3203168211198807973, 9817491932198370423 known from elsewhere.          */

static void test_rng_golden(void)
{
    static const struct { uint64_t seed, stream; uint32_t bits[6]; } row[] = {
        { 1, 0, { 0x4181b152, 0x169c646d, 0x4a5de8d8, 0x90f7efbd, 0xb10225da, 0x8c0240a8 } },
        { 1, 1, { 0x528bbb6d, 0x8fee789c, 0xc86a2a4f, 0x8af06d93, 0x7c9a2d39, 0xe4f9fa9c } },
        { 2, 0, { 0x657e0be0, 0x4550574b, 0x6cfd2799, 0x0be3d2cf, 0xdb63308c, 0xe6947021 } },
        { 0, 0, { 0xe220a839, 0x6e789e6a, 0x06c45d18, 0xf88bb8a8, 0x1b39896a, 0x53cb9f0c } },
        { UINT64_MAX, UINT64_MAX, { 0x717e1e7b, 0x2e94c32a, 0x730f2278, 0xaa129608, 0x38ca1a82, 0x995e6a0e } },
    };
    for (size_t r = 0; r < sizeof row / sizeof *row; r++) {
        Rng rng = rng_new(row[r].seed, row[r].stream), copy = rng, same = rng;
        for (int i = 0; i < 6; i++) {
            uint32_t bits = rng_bits(&rng);
            EXPECT(bits == row[r].bits[i], "row %zu: 0x%08x, not 0x%08x", r, bits, row[r].bits[i]);
            EXPECT(rng_uniform(&copy) == (real)(bits >> 8) / (1 << 24), "row %zu: uniform number %d", r, i);
            EXPECT(rng_bits(&same) == bits, "row %zu: a copied generator goes the same way", r);
        }
    }
    Rng known = { .state = 1234567 };
    EXPECT(rng_bits(&known) == 6457827717110365317u >> 32, "first of state 1234567");
    EXPECT(rng_bits(&known) == 3203168211198807973u >> 32, "second of state 1234567");
    EXPECT(rng_bits(&known) == 9817491932198370423u >> 32, "third of state 1234567");
}

static void test_rng_golden_draws(void)
{
    static const int below[] = { 277, 981, 377, 995, 63, 55, 803, 233 };
    static const int far_below[] = { 119589830, 123689503, 50538351, 703732384, 775840180 };    /* 4, 1, 3, 1, 1 draws */
    static const int order[] = { 8, 7, 4, 6, 1, 5, 3, 0, 9, 2 };
    static const double normal[] = { 1.5644393940, -1.9385782019, 1.3067698369, -0.1963077162, 0.0916597843 };
    int items[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 };
    Rng rng = rng_new(7, 3);
    for (int i = 0; i < 8; i++) EXPECT_NEAR(rng_below(&rng, 1000), below[i], 0, "number %d below 1000", i);
    rng = rng_new(7, 44);
    for (int i = 0; i < 5; i++) EXPECT_NEAR(rng_below(&rng, 3 << 29), far_below[i], 0, "number %d below 3·2²⁹", i);
    rng = rng_new(7, 5);
    rng_shuffle(&rng, items, 10);
    for (int i = 0; i < 10; i++) EXPECT_NEAR(items[i], order[i], 0, "place %d of a shuffle", i);
    rng = rng_new(7, 6);
    for (int i = 0; i < 5; i++) EXPECT_NEAR(rng_normal(&rng), normal[i], 2e-6, "normal number %d", i);
}

static void test_rng_streams(void)
{
    enum { SEEDS = 8, STREAMS = 8, ALL = SEEDS * STREAMS };
    uint32_t first[ALL];
    for (int i = 0; i < ALL; i++) {
        Rng rng = rng_new((uint64_t)(i / STREAMS), (uint64_t)(i % STREAMS));
        first[i] = rng_bits(&rng);
        for (int j = 0; j < i; j++) EXPECT(first[i] != first[j], "streams %d and %d begin with the same number", i, j);
    }
}

/* Many at a time, and skipped over: the numbers of rng_bits, and the generator behind them. A state is where it has come to. */
static void test_rng_keep_and_skip(void)
{
    static const double ps[] = { 0, 0.1, 0.3, 0.5, 0.9 };
    for (int n = 0; n <= 70; n++)
        for (size_t i = 0; i < sizeof ps / sizeof *ps; i++) {
            Rng rng = rng_new(21, (uint64_t)n), one_by_one = rng, skipped = rng_skip(rng, (uint64_t)n);
            real keep[71], kept = (real)(1 / (1 - ps[i]));
            keep[n] = 42;
            rng_keep(&rng, ps[i], keep, n);
            for (int j = 0; j < n; j++) {
                bool falls = rng_bits(&one_by_one) < ps[i] * 0x1p32;
                EXPECT_NEAR(keep[j], falls ? 0 : kept, 0, "p %g, factor %d of %d", ps[i], j, n);
            }
            EXPECT(rng.state == one_by_one.state, "p %g: rng_keep leaves another state than %d times rng_bits", ps[i], n);
            EXPECT(skipped.state == one_by_one.state, "rng_skip(%d) comes to another state than rng_bits", n);
            EXPECT(keep[n] == 42, "p %g: factor %d of %d was written", ps[i], n, n);
        }
}

/* Two states beside the limit: a number that equals p·2³² stays, the one below it falls. */
static void test_rng_keep_at_its_limit(void)
{
    Rng at = rng_new(22, 0), next = at;
    double p = rng_bits(&next) / 0x1p32;
    real keep[2];
    Rng rng = at;
    rng_keep(&rng, p, &keep[0], 1);
    rng = at;
    rng_keep(&rng, p + 0x1p-32, &keep[1], 1);
    EXPECT(keep[0] > 1 && keep[1] == 0, "factors %g and %g", (double)keep[0], (double)keep[1]);
}

/* ---- rng: the distributions ---------------------------------------------------------------------------------------- */

/* χ² of counts against what was expected of each: its mean is the degrees of freedom, its variance twice that. */
static void expect_counts(const char *what, const long *count, int n, const double *expected, int freedom)
{
    double chi2 = 0;
    for (int i = 0; i < n; i++) {
        double off = (double)count[i] - expected[i];
        if (expected[i] > 0) chi2 += off * off / expected[i];
        else EXPECT(count[i] == 0, "%s: %ld times the impossible %d", what, count[i], i);
    }
    EXPECT_NEAR(chi2, freedom, 5 * sqrt(2.0 * freedom), "%s: χ² of %d counts", what, n);
}

static void expect_even_counts(const char *what, const long *count, int n, int freedom)
{
    static double expected[1000];
    long total = 0;
    for (int i = 0; i < n; i++) total += count[i];
    for (int i = 0; i < n; i++) expected[i] = (double)total / n;
    expect_counts(what, count, n, expected, freedom);
}

static void test_rng_uniform(void)
{
    enum { N = 200000 };
    Rng rng = rng_new(11, 0);
    double sum = 0, squares = 0;
    long count[64] = { 0 };
    for (int i = 0; i < N; i++) {
        double x = (double)rng_uniform(&rng);
        EXPECT(x >= 0 && x < 1 && x * 0x1p24 == floor(x * 0x1p24), "%a", x);
        sum += x, squares += (x - 0.5) * (x - 0.5);
        count[(int)(x * 64)]++;
    }
    EXPECT_NEAR(sum / N, 0.5, 5 * sqrt(1.0 / 12 / N), "mean");
    EXPECT_NEAR(squares / N, 1.0 / 12, 5 * sqrt(1.0 / 180 / N), "variance");
    expect_even_counts("64 bins", count, 64, 63);
}

/* 2³² is 2⅔ times 3·2²⁹: without the second draw every third number would come as rarely as 2 is to 3. */
static void test_rng_below(void)
{
    enum { N = 100000 };
    static const int ranges[] = { 1, 2, 3, 1000 };
    for (int k = 0; k < 4; k++) {
        Rng rng = rng_new(12, (uint64_t)k);
        int n = ranges[k];
        long count[1000] = { 0 };
        for (int i = 0; i < N; i++) {
            int x = rng_below(&rng, n);
            EXPECT(x >= 0 && x < n, "%d below %d", x, n);
            if (x >= 0 && x < n) count[x]++;
        }
        expect_even_counts("rng_below", count, n, n - 1);
    }
    Rng rng = rng_new(12, 9);
    long count[3] = { 0 };
    for (int i = 0; i < N; i++) count[rng_below(&rng, 3 << 29) % 3]++;
    expect_even_counts("rng_below(3·2²⁹) mod 3", count, 3, 2);
    for (int i = 0; i < 1000; i++) EXPECT(rng_below(&rng, INT32_MAX) >= 0, "rng_below(2³¹ - 1) is negative");
}

static void test_rng_normal(void)
{
    enum { N = 200000 };
    Rng rng = rng_new(13, 0);
    double moment[5] = { 0 };
    double expected[8];
    long bin[8] = { 0 };                   /* below -3, -3 … -2, -2 … -1, …, above 3 */
    for (int i = 0; i < N; i++) {
        double x = (double)rng_normal(&rng), power = 1;
        for (int k = 1; k <= 4; k++) moment[k] += (power *= x) / N;
        bin[x < -3 ? 0 : x >= 3 ? 7 : (int)floor(x) + 4]++;
    }
    for (int b = 0; b < 8; b++) {
        double low = b == 0 ? -1 : erf((b - 4) / sqrt(2.0)), high = b == 7 ? 1 : erf((b - 3) / sqrt(2.0));
        expected[b] = N * (high - low) / 2;
    }
    EXPECT_NEAR(moment[1], 0, 5 * sqrt(1.0 / N), "mean");
    EXPECT_NEAR(moment[2], 1, 5 * sqrt(2.0 / N), "variance");
    EXPECT_NEAR(moment[3], 0, 5 * sqrt(15.0 / N), "third moment");
    EXPECT_NEAR(moment[4], 3, 5 * sqrt(96.0 / N), "fourth moment: kurtosis");
    expect_counts("bins of width 1", bin, 8, expected, 7);
}

static void test_rng_shuffle(void)
{
    enum { N = 5, TIMES = 30000 };
    Rng rng = rng_new(14, 0);
    long at[N * N] = { 0 }, order[6] = { 0 };
    for (int t = 0; t < TIMES; t++) {
        int items[N] = { 0, 1, 2, 3, 4 }, three[3] = { 0, 1, 2 }, seen = 0;
        rng_shuffle(&rng, items, N);
        for (int i = 0; i < N; i++) seen |= 1 << items[i];
        EXPECT(seen == (1 << N) - 1, "%d %d %d %d %d is no permutation", items[0], items[1], items[2], items[3], items[4]);
        for (int i = 0; i < N; i++) at[i * N + items[i] % N]++;
        rng_shuffle(&rng, three, 3);
        order[three[0] * 2 + (three[1] > three[2])]++;
    }
    expect_even_counts("item at place", at, N * N, (N - 1) * (N - 1));
    expect_even_counts("orders of three", order, 6, 5);
    int one = 42;
    rng_shuffle(&rng, &one, 1);
    rng_shuffle(&rng, &one, 0);
    EXPECT(one == 42, "nothing to shuffle: %d", one);
}

static void test_rng_categorical(void)
{
    enum { N = 8, TIMES = 100000 };
    static const real p[N] = { 0, 0.25, 0.125, 0, 0, 0.5, 0.125, 0 };
    Rng rng = rng_new(15, 0);
    long count[N] = { 0 };
    double expected[N];
    for (int i = 0; i < N; i++) expected[i] = TIMES * (double)p[i];
    for (int t = 0; t < TIMES; t++) {
        int i = rng_categorical(&rng, p, N);
        EXPECT(i >= 0 && i < N, "index %d of %d", i, N);
        if (i >= 0 && i < N) count[i]++;
    }
    expect_counts("rng_categorical", count, N, expected, 3);
}

/* The two states whose next draw is the smallest and the largest that there are: where a loop might go past an end. */
static void test_rng_categorical_ends(void)
{
    const Rng smallest = { .state = 0u - 0x9e3779b97f4a7c15u }, largest = { .state = 0x31628af67b2131ab };
    static const real p[] = { 0, 0, 0.5, 0, 0.25, 0, 0 };        /* sums to less than 1, as rounding may have it */
    Rng rng = smallest;
    EXPECT(rng_bits(&rng) == 0, "the smallest draw");
    rng = largest;
    EXPECT(rng_bits(&rng) == UINT32_MAX, "the largest draw");
    rng = smallest;
    EXPECT_NEAR(rng_categorical(&rng, p, 7), 2, 0, "the smallest draw takes the first that is possible");
    rng = largest;
    EXPECT_NEAR(rng_categorical(&rng, p, 7), 4, 0, "the largest draw takes the last that is possible");
    rng = largest;
    EXPECT_NEAR(rng_categorical(&rng, &(real){ 1 }, 1), 0, 0, "one outcome");
    rng = largest;
    EXPECT(rng_uniform(&rng) < 1, "the largest uniform number is below 1");
}

/* ---- threads ------------------------------------------------------------------------------------------------------- */

enum { MOST = 5000, INNER = 50 };

typedef struct { int n, grain; unsigned char times[MOST]; atomic_int longest, outside; } Cover;

/* No lock around times: that an item belongs to one piece, and a piece to one thread, is what is under test. */
static void cover_body(int begin, int end, void *arg)
{
    Cover *c = arg;
    int longest = atomic_load(&c->longest);
    while (end - begin > longest && !atomic_compare_exchange_weak(&c->longest, &longest, end - begin)) { }
    if (begin < 0 || end > c->n || begin >= end) atomic_fetch_add(&c->outside, 1);
    else for (int i = begin; i < end; i++) c->times[i]++;
}

static void expect_cover(int n, int grain)
{
    static Cover c;
    int threads = threads_count();
    memset(c.times, 0, sizeof c.times);
    c.n = n, c.grain = grain;
    atomic_store(&c.longest, 0), atomic_store(&c.outside, 0);
    parallel_for(n, grain, cover_body, &c);
    EXPECT(atomic_load(&c.outside) == 0, "n %d, grain %d, threads %d: a piece outside, or empty", n, grain, threads);
    EXPECT(all_bytes_are(c.times, (size_t)n, 1), "n %d, grain %d, threads %d: each item once", n, grain, threads);
    EXPECT(threads == 1 || atomic_load(&c.longest) <= grain, "n %d, grain %d, threads %d: a piece of %d",
           n, grain, threads, atomic_load(&c.longest));
}

static void expect_covers(void)
{
    static const int sizes[] = { 0, 1, 2, 3, 7, 64, 100, 1000, MOST };
    static const int grains[] = { 1, 2, 3, 7, 64, 999, 1000, MOST, 1 << 20 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof grains / sizeof *grains; j++) expect_cover(sizes[i], grains[j]);
}

static void test_threads_cover(void)
{
    EXPECT(threads_count() == 1, "%d threads before threads_start", threads_count());
    expect_covers();
    for (int threads = 1; threads <= 9; threads = 2 * threads - (threads > 2)) {
        threads_start(threads);
        EXPECT(threads_count() == threads, "%d threads, not %d", threads_count(), threads);
        expect_covers();
        threads_stop();
        EXPECT(threads_count() == 1, "%d threads after threads_stop", threads_count());
    }
    expect_cover(100, 3);
}

static void inner_body(int begin, int end, void *arg)
{
    unsigned char *row = arg;
    for (int i = begin; i < end; i++) row[i]++;
}

static void outer_body(int begin, int end, void *arg)
{
    unsigned char (*table)[INNER] = arg;
    for (int i = begin; i < end; i++) parallel_for(INNER, 7, inner_body, table[i]);
}

static void test_threads_nested(void)
{
    static unsigned char table[100][INNER];
    threads_start(3);
    for (int round = 1; round <= 50; round++) {
        parallel_for(100, 3, outer_body, table);
        EXPECT(all_bytes_are(table[0], sizeof table, (unsigned char)round), "round %d: each cell once", round);
    }
    threads_stop();
}

static void test_threads_start_again(void)
{
    for (int round = 0; round < 100; round++) {
        threads_start(1 + round % 4);
        if (round % 3 > 0) expect_cover(round * 10, 1 + round % 7);      /* and at times without a single loop */
        threads_stop();
    }
    threads_stop();                                                      /* stopping what has stopped is no error */
    threads_start(0);
    EXPECT(threads_count() >= 1, "%d threads, one a processor", threads_count());
    expect_cover(1000, 10);
    threads_stop();
}

/* Between two loops workers may be looking, falling asleep or waking: many short loops meet all of it. A loop that lost a
 * wake-up would wait for ever; main has set an alarm. */
static void test_threads_many_loops(void)
{
    enum { ROUNDS = 20000, ITEMS = 8 };
    unsigned char times[ITEMS];
    threads_start(3);
    for (int round = 0; round < ROUNDS; round++) {
        memset(times, 0, sizeof times);
        parallel_for(ITEMS, 1, inner_body, times);
        EXPECT(all_bytes_are(times, ITEMS, 1), "round %d: each item once", round);
    }
    threads_stop();
}

static void give_up(int signal_number)
{
    static const char text[] = "a test did not end within 30 seconds\n";
    (void)signal_number;
    _exit(write(STDERR_FILENO, text, sizeof text - 1) < 0 ? 2 : 1);
}

int main(void)
{
    signal(SIGALRM, give_up);
    alarm(30);
    RUN(test_endings);
    RUN(test_allocate);
    RUN(test_arena_pieces);
    RUN(test_arena_reuses);
    RUN(test_arena_peak);
    RUN(test_rng_golden);
    RUN(test_rng_golden_draws);
    RUN(test_rng_keep_and_skip);
    RUN(test_rng_keep_at_its_limit);
    RUN(test_rng_streams);
    RUN(test_rng_uniform);
    RUN(test_rng_below);
    RUN(test_rng_normal);
    RUN(test_rng_shuffle);
    RUN(test_rng_categorical);
    RUN(test_rng_categorical_ends);
    RUN(test_threads_cover);
    RUN(test_threads_nested);
    RUN(test_threads_start_again);
    RUN(test_threads_many_loops);
    return unit_result();
}
