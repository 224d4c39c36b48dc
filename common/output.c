#include "output.h"
#include "check.h"
#include "maths.h"

#include <errno.h>
#include <math.h>
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

static void remove_unfinished(void)
{
    for (int i = 0; i < MOST_OPEN; i++)
        if (unfinished[i]) unlink(unfinished[i]->partial);
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
    static int registered;
    if (!registered++) atexit(remove_unfinished);
    if (folder) make_folder(folder);
    Output *out = allocate(1, sizeof *out);
    int length = snprintf(out->path, sizeof out->path, "%s%s%s", folder ? folder : "", folder ? "/" : "", name);
    if (length < 0 || length > PATH_ROOM - 16) die("%.60s…: this name is too long", name);
    snprintf(out->partial, sizeof out->partial, "%.*s.partial", length, out->path);
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

void csv_number(FILE *f, double x)
{
    if (x == NONE) return;
    if (isnan(x)) fputs("nan", f);         /* printf would print the sign of a NaN, which means nothing */
    else fprintf(f, "%.9g", x);
}

/* ---- curve.csv ----------------------------------------------------------------------------------------------------- */

double perplexity(double loss)
{
    return (double)r_exp((real)loss);
}

Curve curve_open(const char *folder, uint64_t seed)
{
    Curve curve = { .out = output_open(folder, "curve.csv"), .seed = seed };
    fputs("model,seed,epoch,step,tokens,split,loss,perplexity,grad_norm,learning_rate\n", output_file(curve.out));
    return curve;
}

void curve_add(Curve *curve, CurveRow row)
{
    FILE *f = output_file(curve->out);
    fprintf(f, "%s,%llu,%ld,%ld,%ld,%s,", row.model, (unsigned long long)curve->seed, row.epoch, row.step, row.tokens, row.split);
    csv_number(f, row.loss);
    fputc(',', f);
    csv_number(f, perplexity(row.loss));
    fputc(',', f);
    csv_number(f, row.grad_norm == 0 ? NONE : row.grad_norm);
    fputc(',', f);
    csv_number(f, row.lr == 0 ? NONE : row.lr);
    fputc('\n', f);
}

void curve_close(Curve *curve)
{
    output_close(curve->out);
    curve->out = NULL;
}
