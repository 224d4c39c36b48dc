/* spawn_int INT|KILL FILE MS PROGRAM [ARGUMENT …]: presses Ctrl-C for a script, or kills.
 *
 * Starts PROGRAM with SIGINT as a terminal's user has it (a shell without job control starts its background jobs with SIGINT
 * ignored), waits until FILE exists and MS milliseconds more, sends the signal, and ends as PROGRAM does: with its status, or
 * 128 and the signal's number. 124: FILE did not come; 125: PROGRAM ended before the signal; 126: it did not end.  */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NO_FILE = 124, TOO_EARLY = 125, TOO_LATE = 126, PATIENCE = 20000 };

static void sleep_ms(long ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
}

/* Whether the child ends within that time. */
static int ends_within(pid_t child, long ms, int *status)
{
    for (; waitpid(child, status, WNOHANG) == 0; ms--) {
        if (ms <= 0) return 0;
        sleep_ms(1);
    }
    return 1;
}

static int give_up(pid_t child, int code)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return code;
}

int main(int argc, char **argv)
{
    int status = 0;
    if (argc < 5) return fprintf(stderr, "usage: spawn_int INT|KILL FILE MS PROGRAM [ARGUMENT ...]\n"), 2;
    pid_t child = fork();
    if (child < 0) return perror("fork"), 2;
    if (child == 0) {
        signal(SIGINT, SIG_DFL);
        execv(argv[4], argv + 4);
        perror(argv[4]);
        _exit(127);
    }
    for (long waited = 0; access(argv[2], F_OK) != 0; waited++) {
        if (ends_within(child, 1, &status)) return TOO_EARLY;
        if (waited > PATIENCE) return give_up(child, NO_FILE);
    }
    if (ends_within(child, strtol(argv[3], NULL, 10), &status)) return TOO_EARLY;
    kill(child, strcmp(argv[1], "KILL") == 0 ? SIGKILL : SIGINT);
    if (!ends_within(child, PATIENCE, &status)) return give_up(child, TOO_LATE);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
