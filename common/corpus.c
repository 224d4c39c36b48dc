#include "corpus.h"
#include "check.h"
#include "ngrams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Corpus corpus_open(const char *path)
{
    Text text = text_open(path);
    Corpus c = { .vocab = vocab_new(text.code, text.n), .n = text.n };
    int a = (int)(text.n * 0.90), b = (int)(text.n * 0.95);
    if (c.vocab.size > MOST_SYMBOLS) die("%s: %d distinct symbols; expected at most %d", text.source, c.vocab.size, MOST_SYMBOLS);
    c.ids = vocab_encode(&c.vocab, &text);
    c.train = (Part){ c.ids, a };
    c.valid = (Part){ c.ids + a, b - a };
    c.test = (Part){ c.ids + b, text.n - b };
    memcpy(c.source, text.source, sizeof c.source);
    text_free(&text);
    return c;
}

void corpus_free(Corpus *corpus)
{
    vocab_free(&corpus->vocab);
    free(corpus->ids);
    *corpus = (Corpus){ .ids = NULL };
}

void corpus_print(const Corpus *corpus)
{
    printf("text      %s\n          %d symbols, %d distinct: %d to train on, %d to validate, %d to test\n", corpus->source,
           corpus->n, corpus->vocab.size, corpus->train.n, corpus->valid.n, corpus->test.n);
}
