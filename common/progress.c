#include "progress.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct { double begun, shown; long from, total; } line;

void progress_line(const char *label, long done, long total, double loss)
{
    double now = seconds_now();
    if (!isatty(STDERR_FILENO)) return;
    if (line.total != total) line.begun = now, line.from = done, line.total = total, line.shown = 0;
    if (now - line.shown < 0.1) return;
    line.shown = now;
    double left = done > line.from ? (now - line.begun) * (double)(total - done) / (double)(done - line.from) : 0;
    fprintf(stderr, "\r%s %3.0f %%  loss %.4f  %d:%02d left \033[K", label, 100.0 * (double)done / (double)total, loss,
            (int)left / 60, (int)left % 60);
}

void progress_end(void)
{
    if (line.total && isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    line.total = 0;
}

static volatile sig_atomic_t caught;

static void catch_it(int signal_number)
{
    (void)signal_number;
    caught = 1;
}

void interrupt_catch(void)
{
    struct sigaction action = { .sa_handler = catch_it, .sa_flags = (int)(SA_RESETHAND | SA_RESTART) };
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

bool interrupted(void)
{
    return caught != 0;
}
