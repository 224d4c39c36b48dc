/* output: files that appear whole or not at all, and the CSV of a learning curve.
 *
 * A file is written beside its final name, as NAME.partial, and renamed at the end; until then what an earlier run left
 * stays as it was. When the program dies, or is ended by a signal, the unfinished ones are removed (not by a second Ctrl-C).
 * Any failure (a full disk, an unwritable folder) ends the program through die, naming the file.                          */
#ifndef WORKBOOK_OUTPUT_H
#define WORKBOOK_OUTPUT_H

#include <stdint.h>
#include <stdio.h>

typedef struct Output Output;

Output *output_open(const char *folder, const char *name);  /* makes the folder and those above it; folder NULL: name is a path */
FILE   *output_file(Output *out);                           /* to write to; do not close it                                     */
void    output_close(Output *out);                          /* writes it through to the disk, renames it, frees out             */

/* Dies now if that file could not be written later: better before an hour of training than after it.                      */
void    output_try(const char *folder, const char *name);

/* A number in a CSV cell: %.9g, which gives a float back exactly; "nan" or "inf" where it is neither; nothing for NONE.   */
#define NONE (-1e300)
void csv_number(FILE *f, double x);

/* ---- curve.csv ----------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *model, *split;             /* "rnn"; train, valid, test or baseline                */
    long epoch, step, tokens;              /* epoch from 1, 0 before training; tokens: symbols trained on so far */
    double loss;                           /* nats a token; perplexity follows                     */
    double grad_norm, lr;                  /* 0: not measured                                      */
} CurveRow;

typedef struct { Output *out; uint64_t seed; char *text; size_t length, room; } Curve;   /* text: the file so far */

Curve curve_open(const char *folder, uint64_t seed);        /* folder/curve.csv, with its header                        */
void  curve_add(Curve *curve, CurveRow row);
void  curve_close(Curve *curve);
const char *curve_text(const Curve *curve);                 /* for a checkpoint, and back …                              */
void  curve_continue(Curve *curve, const char *text);       /* … in a later run: the rows that it begins with            */
double perplexity(double loss);                             /* e^loss, the same bits everywhere                         */
double bits(double loss);                                   /* loss / ln 2: nats as bits                                */

#endif
