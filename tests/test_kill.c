/* Killed at any moment of writing, a program leaves the old file or the new one, whole.
 *
 * A child writes a checkpoint over and over, every time with another number in all of its tensor and in its header. It is
 * killed, by the signal that no program can answer, each time after another pause; then the file must be readable, and of
 * one number. The same is done to a careless writer, which writes into the file itself: it has to be caught at it, else
 * these tests would prove nothing.                                                                                        */
#include "checkpoint.h"
#include "output.h"
#include "unit.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { SIDE = 200, KILLS = 120, PATH_ROOM = 64 };                        /* a file of 160 KB */

static char folder[] = "/tmp/test_kill.XXXXXX", path[PATH_ROOM], partial[PATH_ROOM];

static void sleep_us(long us)
{
    nanosleep(&(struct timespec){ us / 1000000, us % 1000000 * 1000 }, NULL);
}

static Checkpoint numbered(int number)
{
    Checkpoint c = { 0 };
    Matrix m = mat_new(SIDE, SIDE);
    mat_fill(m, (real)number);
    checkpoint_set(&c, "number", "%d", number);
    checkpoint_add(&c, "numbers", m);
    mat_free(&m);
    return c;
}

static void write_careful(int number)
{
    Checkpoint c = numbered(number);
    checkpoint_write(&c, folder, "checkpoint");
    checkpoint_free(&c);
}

/* The bytes of a checkpoint, straight into the file that is there. */
static void write_careless(int number)
{
    Checkpoint c = numbered(number);
    checkpoint_write(&c, folder, "source");
    checkpoint_free(&c);
    char source[PATH_ROOM], piece[4096];
    snprintf(source, sizeof source, "%s/source", folder);
    FILE *from = fopen(source, "rb"), *to = fopen(path, "wb");
    CHECK(from && to, "%s cannot be copied", source);
    for (size_t n; (n = fread(piece, 1, sizeof piece, from)) > 0; fflush(to)) fwrite(piece, 1, n, to);
    fclose(from), fclose(to);
}

/* Dies, or aborts, when the file is not whole: so it is called in a child. */
static void read_whole(void)
{
    Checkpoint c = checkpoint_read(path);
    int number = checkpoint_int(&c, "number", 1, 1 << 24);
    Matrix m = mat_new(SIDE, SIDE);
    checkpoint_get(&c, "numbers", m);
    for (size_t i = 0; i < mat_size(m); i++) CHECK(m.at[i] == (real)number, "number %zu of checkpoint %d is %g", i, number, (double)m.at[i]);
    mat_free(&m);
    checkpoint_free(&c);
}

/* A writer that is killed `us` microseconds after it began; returns whether it died of that, and of nothing else. */
static bool kill_writer(void (*write)(int), long us)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0, "a process that could be killed after %ld µs cannot be had", us);
    if (child == 0)
        for (int number = 1; ; number++) write(number);
    sleep_us(us);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static bool is_whole(char *said, size_t room)
{
    int status = unit_child(read_whole, said, room);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Pauses of 0 to 20 ms in another order, so that machines of every speed are stopped at every place. */
static long pause_of(int i) { return (long)i * 7919 % 20011; }

static void test_careful(void)
{
    int amidst = 0;
    char said[1000];
    write_careful(1);
    for (int i = 0; i < KILLS; i++) {
        EXPECT(kill_writer(write_careful, pause_of(i)), "writer %d ended in another way", i);
        bool whole = is_whole(said, sizeof said);
        EXPECT(whole, "killed after %ld µs: %s", pause_of(i), said);
        amidst += access(partial, F_OK) == 0;
        unlink(partial);
    }
    EXPECT(amidst > 0, "%d kills, and none while a file was being written", KILLS);
    write_careful(2);
    EXPECT(is_whole(said, sizeof said), "the file that is written next: %s", said);
    EXPECT(access(partial, F_OK) != 0, "%s is left", partial);
}

static void test_careless(void)
{
    enum { MOST = 100 * KILLS };
    int i = 0;
    char said[1000];
    do kill_writer(write_careless, 500 + pause_of(i)); while (is_whole(said, sizeof said) && ++i < MOST);
    EXPECT(i < MOST, "%d kills, and none has harmed a file that is written in place", MOST);
}

int main(void)
{
    CHECK(mkdtemp(folder), "%s cannot be made", folder);
    snprintf(path, sizeof path, "%s/checkpoint", folder);
    snprintf(partial, sizeof partial, "%s/checkpoint.partial", folder);
    RUN(test_careful);
    RUN(test_careless);
    char command[PATH_ROOM];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) printf("%s is left behind\n", folder);
    return unit_result();
}
