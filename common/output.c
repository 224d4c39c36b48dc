#include "output.h"
#include "check.h"
#include "maths.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_ROOM = 4096, MOST_OPEN = 16 };

struct Output {
    FILE *file;
    char path[PATH_ROOM], partial[PATH_ROOM];
};

static Output *unfinished[MOST_OPEN];

static void remove_unfinished(void)                /* also called by a signal: unlink is safe there */
{
    for (int i = 0; i < MOST_OPEN; i++)
        if (unfinished[i]) unlink(unfinished[i]->partial);
}

static void remove_and_die(int signal_number)
{
    remove_unfinished();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void register_removal(void)
{
    static const int signals[] = { SIGTERM, SIGHUP, SIGPIPE, SIGABRT };
    static bool registered;
    if (registered) return;
    registered = true;
    atexit(remove_unfinished);
    for (int i = 0; i < 4; i++) signal(signals[i], remove_and_die);
}

static Output **slot_of(const Output *out)
{
    for (int i = 0; i < MOST_OPEN; i++)
        if (unfinished[i] == out) return &unfinished[i];
    CHECK(0, "more than %d files are being written", MOST_OPEN);
    return NULL;
}

/* mkdir -p */
static void make_folder(const char *folder)
{
    char path[PATH_ROOM];
    snprintf(path, sizeof path, "%s", folder);
    for (char *c = path + 1; ; c++) {
        if (*c != '/' && *c != '\0') continue;
        char held = *c;
        *c = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) die("%s: this folder cannot be made: %s", path, strerror(errno));
        *c = held;
        if (held == '\0') break;
    }
    struct stat info;
    if (stat(folder, &info) != 0 || !S_ISDIR(info.st_mode)) die("%s: this is not a folder to write to", folder);
}

Output *output_open(const char *folder, const char *name)
{
    register_removal();
    if (folder) make_folder(folder);
    Output *out = allocate(1, sizeof *out);
    int length = snprintf(out->path, sizeof out->path, "%s%s%s", folder ? folder : "", folder ? "/" : "", name);
    if (length < 0 || length > PATH_ROOM - 16) die("%.60s…: this name is too long", name);
    snprintf(out->partial, sizeof out->partial, "%.*s.partial", length, out->path);
    struct stat info;
    if (stat(out->path, &info) == 0 && S_ISDIR(info.st_mode)) die("%s: this is a folder; expected the name of a file", out->path);
    out->file = fopen(out->partial, "wb");
    if (!out->file) die("%s: this file cannot be written: %s", out->path, strerror(errno));
    *slot_of(NULL) = out;
    return out;
}

FILE *output_file(Output *out)
{
    return out->file;
}

void output_close(Output *out)
{
    int failed = ferror(out->file) || fflush(out->file) != 0 || fsync(fileno(out->file)) != 0;
    int why = errno;
    if (fclose(out->file) != 0 && !failed) failed = 1, why = errno;
    if (failed) die("%s: writing failed: %s; what stood there before is unchanged", out->path, strerror(why));
    if (rename(out->partial, out->path) != 0) die("%s: this file cannot be put in place: %s", out->path, strerror(errno));
    *slot_of(out) = NULL;
    free(out);
}

void output_try(const char *folder, const char *name)
{
    Output *out = output_open(folder, name);
    fclose(out->file);
    unlink(out->partial);
    *slot_of(out) = NULL;
    free(out);
}

static const char *csv_cell(char room[32], double x)
{
    room[0] = '\0';
    if (isnan(x)) return "nan";            /* printf would print the sign of a NaN, which means nothing */
    if (x != NONE) snprintf(room, 32, "%.9g", x);
    return room;
}

void csv_number(FILE *f, double x)
{
    char room[32];
    fputs(csv_cell(room, x), f);
}

/* ---- curve.csv ----------------------------------------------------------------------------------------------------- */

double perplexity(double loss)
{
    return (double)r_exp((real)loss);
}

double bits(double loss)
{
    return loss / 0.69314718055994530942;
}

static void curve_append(Curve *curve, const char *line)
{
    size_t more = strlen(line) + 1;
    if (curve->length + more > curve->room) {
        char *text = allocate(curve->room = 2 * (curve->length + more), 1);
        if (curve->text) memcpy(text, curve->text, curve->length);
        free(curve->text);
        curve->text = text;
    }
    memcpy(curve->text + curve->length, line, more);
    curve->length += more - 1;
}

Curve curve_open(const char *folder, uint64_t seed)
{
    Curve curve = { .out = output_open(folder, "curve.csv"), .seed = seed };
    curve_append(&curve, "model,seed,epoch,step,tokens,split,loss,perplexity,grad_norm,learning_rate\n");
    return curve;
}

void curve_add(Curve *curve, CurveRow row)
{
    char cell[4][32], line[512];
    snprintf(line, sizeof line, "%s,%llu,%ld,%ld,%ld,%s,%s,%s,%s,%s\n", row.model, (unsigned long long)curve->seed, row.epoch,
             row.step, row.tokens, row.split, csv_cell(cell[0], row.loss), csv_cell(cell[1], perplexity(row.loss)),
             csv_cell(cell[2], row.grad_norm == 0 ? NONE : row.grad_norm), csv_cell(cell[3], row.lr == 0 ? NONE : row.lr));
    curve_append(curve, line);
}

const char *curve_text(const Curve *curve)
{
    return curve->text;
}

void curve_continue(Curve *curve, const char *text)
{
    curve->length = 0;
    curve_append(curve, text);
}

void curve_close(Curve *curve)
{
    fputs(curve->text, output_file(curve->out));
    output_close(curve->out);
    free(curve->text);
    *curve = (Curve){ 0 };
}
