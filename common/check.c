#include "check.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *program = "workbook";

void program_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    program = slash ? slash + 1 : path;
}

_Noreturn void check_failed(const char *where, const char *cond, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s: check failed: %s: ", where, cond);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

/* What the user gave may hold anything; the message is one line all the same. */
_Noreturn void die(const char *fmt, ...)
{
    char line[4096];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    fflush(stdout);
    fprintf(stderr, "%s: %s\n", program, line);
    exit(2);
}

void *allocate(size_t count, size_t size)
{
    size_t bytes = size && count > SIZE_MAX / 2 / size ? SIZE_MAX / 2 : count * size;
    void *p = bytes < SIZE_MAX / 2 ? aligned_alloc(64, (bytes / 64 + 1) * 64) : NULL;
    if (!p) die("out of memory: %zu items of %zu bytes could not be had", count, size);
    memset(p, 0, bytes);
    return p;
}
