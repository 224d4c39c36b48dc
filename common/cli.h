/* cli: a chapter's options, on top of getopt_long.
 *
 * A chapter keeps its settings in a struct of int, double and const char * fields. It lists its options in a table that
 * says where in the struct each goes and which values make sense, and gives three filled structs, its presets. Parsing
 * starts from a preset and lets the other options override it; --help prints the table with the value of each preset.
 * Anything that cannot be right ends the program through die: one line that names the value and what was expected.        */
#ifndef WORKBOOK_CLI_H
#define WORKBOOK_CLI_H

#include <stddef.h>
#include <stdint.h>

typedef enum { OPTION_INT, OPTION_REAL, OPTION_TEXT, OPTION_CHOICE } OptionKind;

typedef struct {
    const char *name;                      /* "hidden" for --hidden */
    OptionKind kind;
    size_t at;                             /* offsetof(Config, hidden): int, double or const char *         */
    double low, high;                      /* the range that is allowed, ends included; for numbers     */
    const char *help;                      /* one line; that of a choice begins with what can be chosen, up to a colon or
                                              its end: "rnn, gru or lstm: the cell" */
} Option;

enum { PRESETS = 3 };                      /* quick, default, reference */

typedef struct {
    const char *about;                     /* one or two lines for the head of --help */
    const Option *options;
    int count;
    const void *presets[PRESETS];          /* the three structs */
    size_t size;                           /* sizeof of one     */
    const char *choice;                    /* a chapter with several tasks has three structs for each: the name of the OPTION_CHOICE */
    const void *const (*of_choice)[PRESETS];   /* that tells which task, and the structs in the order of its words; or else NULL */
} Cli;

/* Fills *config. --help prints and exits 0. Text options point into argv.                                                 */
void cli_parse(const Cli *cli, int argc, char **argv, void *config);

/* The options that every chapter has; its struct has these fields.                                                        */
#define OPTIONS_FOR_ALL(Config)                                                                                            \
    { "seed", OPTION_INT, offsetof(Config, seed), 0, INT32_MAX, "seed of all random numbers; same seed, same bytes" },      \
    { "threads", OPTION_INT, offsetof(Config, threads), 0, 256, "threads (0: one a processor); changes no result" },        \
    { "out", OPTION_TEXT, offsetof(Config, out), 0, 0, "folder for the results" }

#endif
