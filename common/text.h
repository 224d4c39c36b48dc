/* text: from bytes to symbols.
 *
 * A Text is a sequence of Unicode code points, so that ñ is one symbol and not two bytes. A Vocab numbers the distinct ones;
 * the models see these numbers, the ids, and nothing else.                                                                */
#ifndef WORKBOOK_TEXT_H
#define WORKBOOK_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t *code;                        /* (n) code points */
    int n;
    char source[512];                      /* where it was read, for the reader of the run */
} Text;

/* text_open: the corpus, looked for in this order: `path` if not NULL, $QUIJOTE, data/quijote.txt, and last the pastiche
 * that is compiled in. Dies on what cannot be read, is empty, binary or no UTF-8, or has over 2³¹ bytes. CR LF becomes LF;
 * a byte order mark is dropped. The caller calls text_free.                                                               */
Text text_open(const char *path);
Text text_of_utf8(const char *bytes, size_t size, const char *source);   /* the same, from memory */
Text text_of_symbols(const char *bytes, size_t size, const char *source);   /* the same, but every code point stays as it is */
void text_free(Text *text);

/* text_from: drops what comes before the first `mark` (UTF-8) and tells whether it was there; else leaves the text alone.  */
bool text_from(Text *text, const char *mark);

/* text_letters: lower case, and every run of anything but A-Z, a-z and áéíóúñü becomes one space.                         */
void text_letters(Text *text);

typedef struct {
    int size;                              /* V                                              */
    uint32_t *code;                        /* (V): id → code point                           */
    int *id;                               /* (highest + 1): code point → id, -1 where none  */
    uint32_t highest;
} Vocab;

Vocab vocab_new(const uint32_t *code, int n);               /* by falling frequency; equals by code point. vocab_free it */
Vocab vocab_of_symbols(const uint32_t *code, int n);        /* id i is code[i]; the codes are distinct                    */
void  vocab_free(Vocab *vocab);
int   vocab_id(const Vocab *vocab, uint32_t code);          /* -1 where the vocabulary has it not                         */
int  *vocab_encode(const Vocab *vocab, const Text *text);   /* (text->n) ids; dies on a symbol that is not in it. free it */

/* vocab_encode_utf8: the ids (*n) of a string, read as text_of_utf8 reads it. Dies, naming `source`, of what that dies of and
 * on a symbol that is not in the vocabulary. The caller frees them.                                                       */
int  *vocab_encode_utf8(const Vocab *vocab, const char *utf8, const char *source, int *n);

/* vocab_of_utf8: id i is symbol i of a string of distinct ones, every code point as it is. Dies, naming `source`, where the
 * string is empty or no UTF-8. vocab_free it.                                                                             */
Vocab vocab_of_utf8(const char *symbols, const char *source);

enum { UTF8_ROOM = 5 };
const char *utf8_of(uint32_t code, char room[UTF8_ROOM]);   /* code as a string, in room                                  */

/* window_batch: B windows side by side, time in rows:   x[t·B + b] = ids[start[b] + t],   y[t·B + b] = ids[start[b] + t+1]
 * for t < T. ids must reach to start[b] + T.                                                                              */
void window_batch(const int *ids, const int *start, int B, int T, int *x, int *y);

#endif
