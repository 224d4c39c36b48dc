#include "cli.h"
#include "check.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const preset_names[PRESETS] = { "quick", "default", "reference" };
enum { FIRST = 1000, HELP = 2000, PRESET };    /* what getopt returns: FIRST + index in the table, so never a letter */

static void *field(void *config, const Option *o)             { return (char *)config + o->at; }
static const void *const_field(const void *config, const Option *o) { return (const char *)config + o->at; }

/* ---- --help -------------------------------------------------------------------------------------------------------- */

static void format_value(char *room, size_t size, const Option *o, const void *config)
{
    const void *at = const_field(config, o);
    switch (o->kind) {
    case OPTION_INT:  snprintf(room, size, "%d", *(const int *)at); break;
    case OPTION_REAL: snprintf(room, size, "%g", *(const double *)at); break;
    case OPTION_TEXT:
    case OPTION_CHOICE: snprintf(room, size, "%s", *(const char *const *)at ? *(const char *const *)at : "-"); break;
    }
}

static void print_option(const Option *o, const void *const *presets)
{
    static const char *const argument[] = { " N", " X", " TEXT", " TEXT" };
    char left[48], value[PRESETS][64];
    snprintf(left, sizeof left, "--%s%s", o->name, argument[o->kind]);
    for (int i = 0; i < PRESETS; i++) format_value(value[i], sizeof value[i], o, presets[i]);
    printf("  %-20s %s", left, o->help);
    if (strcmp(value[0], value[1]) == 0 && strcmp(value[1], value[2]) == 0) printf(" [%s]\n", value[0]);
    else printf(" [%s | %s | %s]\n", value[0], value[1], value[2]);
}

static _Noreturn void print_help(const Cli *cli, const char *program, const void *const *presets)
{
    printf("usage: %s [options]\n\n%s\n\n", program, cli->about);
    printf("  %-20s where the options start from: quick | default | reference [default]\n", "--preset TEXT");
    for (int i = 0; i < cli->count; i++) print_option(&cli->options[i], presets);
    printf("  %-20s this text\n\n", "--help");
    printf("In brackets: the value in each preset, or the one value that all three have.\n");
    if (cli->choice) printf("The presets depend on --%s: add it to see those of another.\n", cli->choice);
    exit(0);
}

/* ---- values -------------------------------------------------------------------------------------------------------- */

static void check_range(const Option *o, const char *text, double x)
{
    if (x < o->low || x > o->high) die("--%s %s: expected a number from %g to %g", o->name, text, o->low, o->high);
}

/* Which of the words at the beginning of its help the text is, from 0; dies where it is none of them. */
static int choice_of(const Option *o, const char *text)
{
    size_t all = strcspn(o->help, ":"), n = strlen(text);
    int words = 0;
    for (const char *word = o->help; word < o->help + all; word += strspn(word, ", ")) {
        size_t letters = strcspn(word, ", :");
        bool is_or = letters == 2 && memcmp(word, "or", 2) == 0;
        if (!is_or && letters == n && memcmp(word, text, n) == 0) return words;
        words += !is_or;
        word += letters;
    }
    die("--%s '%s': expected %.*s", o->name, text, (int)all, o->help);
}

static void set_value(const Option *o, const char *text, void *at)
{
    char *end = NULL;
    errno = 0;
    if (o->kind == OPTION_TEXT || o->kind == OPTION_CHOICE) {
        if (!*text) die("--%s: expected a text, got none", o->name);
        if (o->kind == OPTION_CHOICE) choice_of(o, text);
        *(const char **)at = text;
    } else if (o->kind == OPTION_INT) {
        long x = strtol(text, &end, 10);
        if (end == text || *end) die("--%s '%s': expected a whole number from %.0f to %.0f", o->name, text, o->low, o->high);
        check_range(o, text, errno ? o->high * 2 + 1 : (double)x);
        *(int *)at = (int)x;
    } else {
        double x = strtod(text, &end);
        if (end == text || *end || isnan(x)) die("--%s '%s': expected a number from %g to %g", o->name, text, o->low, o->high);
        check_range(o, text, x);
        *(double *)at = x;
    }
}

static int preset_of(const char *name)
{
    for (int i = 0; i < PRESETS; i++)
        if (strcmp(name, preset_names[i]) == 0) return i;
    die("--preset '%s': expected quick, default or reference", name);
}

/* ---- parsing ------------------------------------------------------------------------------------------------------- */

/* What decides where the options start from. */
typedef struct { int preset; const void *const *presets; bool help; } Start;

/* One pass over argv. What it does with an option depends on the pass: `start` must be known before the rest. */
static void pass(const Cli *cli, int argc, char **argv, const struct option *longs, void *config, Start *start)
{
    optind = 1;
    opterr = 0;
    for (int found, at = 1; (found = getopt_long(argc, argv, "+:h", longs, NULL)) != -1; at = optind) {
        if (found == 'h' || found == HELP) start->help = true;
        if (found == ':') die("%s: expected a value after it", argv[at]);
        if (found == '?' && optopt >= FIRST) die("%s: expected no value", argv[at]);
        if (found == '?') die("%s: no such option; --help lists them all", argv[at]);
        if (found == PRESET) start->preset = preset_of(optarg);
        if (found < FIRST || found >= HELP) continue;
        const Option *o = &cli->options[found - FIRST];
        if (config) set_value(o, optarg, field(config, o));
        else if (cli->choice && strcmp(o->name, cli->choice) == 0) start->presets = cli->of_choice[choice_of(o, optarg)];
    }
    if (optind < argc) die("'%s': expected an option, which begins with --; --help lists them all", argv[optind]);
}

static void check_stdout(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return;
    fputs("standard output could not be written: is the disk full?\n", stderr);
    _exit(2);
}

void cli_parse(const Cli *cli, int argc, char **argv, void *config)
{
    struct option *longs = allocate((size_t)cli->count + 3, sizeof *longs);
    Start start = { .preset = 1, .presets = cli->presets };
    int n = 0;
    for (; n < cli->count; n++)
        longs[n] = (struct option){ cli->options[n].name, required_argument, NULL, FIRST + n };
    longs[n++] = (struct option){ "preset", required_argument, NULL, PRESET };
    longs[n++] = (struct option){ "help", no_argument, NULL, HELP };
    program_name(argv[0]);
    atexit(check_stdout);
    pass(cli, argc, argv, longs, NULL, &start);
    if (start.help) free(longs), print_help(cli, argv[0], start.presets);
    memcpy(config, start.presets[start.preset], cli->size);
    pass(cli, argc, argv, longs, config, &start);
    free(longs);
}
