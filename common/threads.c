/* A loop is published by making `round` odd, and closed by making it even again. While it is open, workers take pieces
 * from the shared counter `next`. A worker counts itself into `inside` before it looks whether the round is open, and the
 * caller, having closed it, waits until `inside` is 0: so nobody reads the loop's description while the next one is
 * written, and nobody waits for a worker that is still asleep.
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
#include <unistd.h>

enum { LOOKS = 2000, MOST_THREADS = 256 };

static struct {
    pthread_t worker[MOST_THREADS];
    int count;                             /* threads, the caller included; 0 before threads_start */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int asleep;                            /* workers on the condition variable; under lock         */
    atomic_bool stop;

    LoopBody *body;                        /* the loop of this round */
    void *arg;
    int n, grain;
    atomic_int next;                       /* first item that nobody has taken             */
    atomic_int inside;                     /* workers that may be reading the lines above  */
    atomic_uint round;                     /* odd: open                                    */
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER };

static _Thread_local bool in_loop;

int threads_count(void)
{
    return pool.count ? pool.count : 1;
}

static void take_pieces(void)
{
    int begin;
    in_loop = true;
    while ((begin = atomic_fetch_add(&pool.next, pool.grain)) < pool.n)
        pool.body(begin, pool.n - begin < pool.grain ? pool.n : begin + pool.grain, pool.arg);
    in_loop = false;
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
        if (look % 64 == 0) sched_yield();
    }
    pthread_mutex_lock(&pool.lock);
    pool.asleep++;
    while (!open_and_new(seen)) pthread_cond_wait(&pool.wake, &pool.lock);
    pool.asleep--;
    pthread_mutex_unlock(&pool.lock);
}

static void *work(void *unused)
{
    (void)unused;
    for (unsigned seen = 0; !atomic_load(&pool.stop);) {
        await_round(seen);
        atomic_fetch_add(&pool.inside, 1);
        seen = atomic_load(&pool.round);
        if (seen % 2 == 1) take_pieces();
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
        if (look % 64 == 0) sched_yield();
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
        if (pthread_create(&pool.worker[pool.count], NULL, work, NULL) != 0) break;    /* fewer threads, same result */
}

void threads_stop(void)
{
    if (pool.count == 0) return;
    pool.n = 0;                            /* a last, empty round, which stays open until all have gone */
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
    pool.n = n;
    pool.grain = grain;
    atomic_store(&pool.next, 0);
    open_round();
    take_pieces();
    close_round();
}
