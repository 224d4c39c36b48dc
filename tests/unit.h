/* unit: a harness for unit tests in one header.
 *
 *     static void test_sum(void)  { EXPECT_NEAR(sum(1, 2), 3, 0, "1 and 2"); }
 *     int main(void)              { RUN(test_sum); return unit_result(); }
 *
 * A failed expectation prints its file and line, what was expected and what came, and the test goes on. A test counts once,
 * however many of its expectations failed; one that expected nothing has checked nothing, and counts as failed. The last
 * line of the output is "N passed, N failed"; the exit status is 1 unless there were tests and all passed.                */
#ifndef WORKBOOK_UNIT_H
#define WORKBOOK_UNIT_H

#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { UNIT_LINES = 5 };                   /* failures printed a test; the rest only count */

static struct { const char *test; long checks, failures; int passed, failed; char came[160]; } unit;

#define RUN(test)         unit_run(#test, test)
#define EXPECT(cond, ...) unit_expect(HERE, (cond), "expected " #cond, __VA_ARGS__)
#define EXPECT_NEAR(got, want, tolerance, ...) \
    unit_expect(HERE, unit_near((double)(got), (double)(want), tolerance), unit.came, __VA_ARGS__)
#define EXPECT_DEATH(call, word) unit_expect_death(HERE, call, word)      /* status 2, and one line on stderr that has word */
#define EXPECT_SAME_BYTES(got, want, size, ...) unit_expect(HERE, unit_same(got, want, size), unit.came, __VA_ARGS__)

PRINTF_LIKE(4, 5) static inline void unit_expect(const char *where, bool ok, const char *came, const char *fmt, ...)
{
    unit.checks++;
    if (ok || ++unit.failures > UNIT_LINES) return;
    va_list args;
    va_start(args, fmt);
    printf("%s: %s: ", where, unit.test);
    vprintf(fmt, args);
    printf(": %s\n", came);
    va_end(args);
}

/* Equal infinities are near; a NaN is near nothing. */
static inline bool unit_near(double got, double want, double tol)
{
    bool ok = got == want || fabs(got - want) <= tol;
    if (!ok) snprintf(unit.came, sizeof unit.came, "expected %.17g to within %.3g, got %.17g", want, tol, got);
    return ok;
}

static inline bool unit_same(const void *got, const void *want, size_t size)
{
    const unsigned char *g = got, *w = want;
    size_t i = 0;
    while (i < size && g[i] == w[i]) i++;
    if (i < size) snprintf(unit.came, sizeof unit.came, "byte %zu of %zu: expected 0x%02x, got 0x%02x", i, size, w[i], g[i]);
    return i == size;
}

/* Runs call in a child process, leaves what it said on stderr in said, and returns how it ended, as waitpid tells it. */
static inline int unit_child(void (*call)(void), char *said, size_t room)
{
    int status = -1;
    FILE *log = tmpfile();
    fflush(stdout);
    pid_t child = log ? fork() : -1;
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });      /* an abort that is wanted leaves no core file */
        dup2(fileno(log), STDERR_FILENO);
        call();
        _exit(0);
    }
    if (child > 0) waitpid(child, &status, 0);
    if (log) rewind(log);
    said[log ? fread(said, 1, room - 1, log) : 0] = '\0';
    if (log) fclose(log);
    return status;
}

static inline void unit_expect_death(const char *where, void (*call)(void), const char *word)
{
    char said[1000];
    int status = unit_child(call, said, sizeof said);
    char *end = strchr(said, '\n');
    unit_expect(where, WIFEXITED(status) && WEXITSTATUS(status) == 2, "expected exit status 2", "status %d: %s", status, said);
    unit_expect(where, end && end[1] == '\0' && strstr(said, word), "expected one line with that word", "'%s': %s", word, said);
}

static inline void unit_run(const char *name, void (*test)(void))
{
    unit.test = name, unit.checks = unit.failures = 0;
    test();
    if (unit.checks == 0) printf("%s: checked nothing\n", name);
    if (unit.failures > UNIT_LINES) printf("%s: %ld of %ld expectations failed\n", name, unit.failures, unit.checks);
    (unit.checks > 0 && unit.failures == 0) ? unit.passed++ : unit.failed++;
    fflush(stdout);
}

static inline int unit_result(void)
{
    printf("%d passed, %d failed\n", unit.passed, unit.failed);
    return unit.failed > 0 || unit.passed == 0;
}

#endif
