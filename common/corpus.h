/* corpus: a text as ids, in three contiguous parts: to train on, to validate, to test (chapter 05, section 1, says why).
 *
 * Not in workbook.h: chapters that cut their text otherwise have a Part of their own.                                     */
#ifndef WORKBOOK_CORPUS_H
#define WORKBOOK_CORPUS_H

#include "text.h"

typedef struct { const int *ids; int n; } Part;     /* a view of n ids of the corpus; the others stand around it             */

typedef struct {
    Vocab vocab;                                    /* of the whole text, by falling frequency                               */
    int *ids, n;                                    /* (n): the text, every code point a symbol of its own                   */
    Part train, valid, test;                        /* the first 90 %, the next 5 %, the last 5 %; each rounded down to …    */
    char source[512];                               /* … whole symbols but the last. source: as in Text                      */
} Corpus;

/* corpus_open: the text that text_open finds, or dies of, encoded and cut. Dies of more than MOST_SYMBOLS distinct symbols, too,
 * which is what ngrams.h can count. The shorter parts of a text of less than 40 symbols may be empty: it is for the caller to
 * ask how long they must be. The caller calls corpus_free, and no Part outlives it.                                        */
Corpus corpus_open(const char *path);
void   corpus_free(Corpus *corpus);

/* corpus_print: two lines on stdout, for the reader of the run: where the text comes from, and how many symbols are where. */
void corpus_print(const Corpus *corpus);

#endif
