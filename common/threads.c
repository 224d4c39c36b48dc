/* A loop is published by making `round` odd, and closed by making it even again. While it is open, each thread takes pieces
 * from its own share of the items and, when that is used up, from the others'. A worker counts itself into `inside` before
 * it looks whether the round is open, and the caller, having closed it, waits until `inside` is 0: so nobody reads the
 * loop's description while the next one is written, and nobody waits for a worker that is still asleep.
 *
 * Shares, and not one counter for all, because the items of one loop after another are mostly rows of the same batch: a row
 * is then still in the cache of the core that wrote it.
 *
 * Kernels last microseconds. A worker with nothing to do therefore looks at `round` for a while before it goes to sleep on
 * a condition variable, which costs more than a small matmul.                                                             */
#include "threads.h"
#include "check.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

enum { LOOKS = 20000, MOST_THREADS = 256 };

/* Items of a loop, one thread's at first. A share has a cache line to itself. */
typedef struct {
    _Alignas(64) atomic_int next;          /* first item that nobody has taken */
    int end;
} Share;

static struct {
    pthread_t worker[MOST_THREADS];
    int count;                             /* threads, the caller included; 0 before threads_start */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int asleep;                            /* workers on the condition variable; under lock         */
    atomic_bool stop;

    LoopBody *body;                        /* the loop of this round */
    void *arg;
    int grain;
    Share share[MOST_THREADS];             /* one a thread, the caller's first             */
    atomic_int inside;                     /* workers that may be reading the lines above  */
    atomic_uint round;                     /* odd: open                                    */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static _Thread_local bool in_loop;

int threads_count(void)
{
    return pool.count ? pool.count : 1;
}

static void take_pieces(int self)
{
    in_loop = true;
    for (int k = 0; k < pool.count; k++) {
        Share *share = &pool.share[(self + k) % pool.count];
        for (int begin; (begin = atomic_fetch_add(&share->next, pool.grain)) < share->end;)
            pool.body(begin, share->end - begin < pool.grain ? share->end : begin + pool.grain, pool.arg);
    }
    in_loop = false;
}

/* Shares of whole pieces, as even as they can be. */
static void share_out(int n)
{
    long pieces = (n + pool.grain - 1) / pool.grain;
    for (int k = 0; k < pool.count; k++) {
        long end = pieces * (k + 1) / pool.count * pool.grain;
        atomic_store(&pool.share[k].next, (int)(pieces * k / pool.count) * pool.grain);
        pool.share[k].end = end < n ? (int)end : n;
    }
}

static bool open_and_new(unsigned seen)
{
    unsigned round = atomic_load(&pool.round);
    return round % 2 == 1 && round != seen;
}

/* Looks first, then sleeps, until a round other than `seen` is open. */
static void await_round(unsigned seen)
{
    for (int look = 1; look <= LOOKS; look++) {
        if (open_and_new(seen)) return;
        if (look % 1024 == 0) sched_yield();
    }
    pthread_mutex_lock(&pool.lock);
    pool.asleep++;
    while (!open_and_new(seen)) pthread_cond_wait(&pool.wake, &pool.lock);
    pool.asleep--;
    pthread_mutex_unlock(&pool.lock);
}

static void *work(void *index)
{
    int self = (int)(intptr_t)index;
    for (unsigned seen = 0; !atomic_load(&pool.stop);) {
        await_round(seen);
        atomic_fetch_add(&pool.inside, 1);
        seen = atomic_load(&pool.round);
        if (seen % 2 == 1) take_pieces(self);
        atomic_fetch_sub(&pool.inside, 1);
    }
    return NULL;
}

static void open_round(void)
{
    atomic_fetch_add(&pool.round, 1);
    pthread_mutex_lock(&pool.lock);
    if (pool.asleep) pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

static void close_round(void)
{
    atomic_fetch_add(&pool.round, 1);
    for (int look = 1; atomic_load(&pool.inside) > 0; look++)
        if (look % 1024 == 0) sched_yield();
}

void threads_start(int count)
{
    CHECK(count >= 0 && count <= MOST_THREADS, "%d threads; at most %d are possible", count, MOST_THREADS);
    CHECK(pool.count == 0, "threads are running already: %d", pool.count);
    if (count == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        count = cores < 1 ? 1 : cores > MOST_THREADS ? MOST_THREADS : (int)cores;
    }
    atomic_store(&pool.stop, false);
    atomic_store(&pool.round, 0);
    for (pool.count = 1; pool.count < count; pool.count++)
        if (pthread_create(&pool.worker[pool.count], NULL, work, (void *)(intptr_t)pool.count) != 0)
            break;                                                           /* fewer threads, same result */
}

void threads_stop(void)
{
    if (pool.count == 0) return;
    pool.grain = 1, share_out(0);          /* a last, empty round, which stays open until all have gone */
    atomic_store(&pool.stop, true);
    open_round();
    for (int i = 1; i < pool.count; i++) pthread_join(pool.worker[i], NULL);
    pool.count = 0;
}

void parallel_for(int n, int grain, LoopBody *body, void *arg)
{
    CHECK(n >= 0 && grain >= 1 && grain < (INT_MAX - n) / MOST_THREADS, "%d items in pieces of %d", n, grain);
    if (n <= grain || pool.count <= 1 || in_loop) {
        if (n > 0) body(0, n, arg);
        return;
    }
    pool.body = body;
    pool.arg = arg;
    pool.grain = grain;
    share_out(n);
    open_round();
    take_pieces(0);
    close_round();
}
