/* ngrams: the language model that counts, and what a network has to beat (chapter 05, section 2).
 *
 * An n-gram model guesses a symbol w from h, the n-1 symbols before it. c counts in the training text; h' is h without its
 * oldest symbol; d(h) is how many different symbols followed h:
 *
 *     p(w|h) = (c(hw) + d(h) p(w|h')) / (c(h) + d(h))         p(w|h) = p(w|h') where c(h) = 0
 *
 * and below the shortest context, which has no symbols, stands 1/V. Over all V symbols w the sum of p(w|h) is 1.
 *
 *     Ngrams g = ngrams_count(text, n);
 *     double p[ORDERS];
 *     ngrams_probabilities(&g, other + 7, 7, V, p);            p[4]: of other[7] after other[3 … 6]
 *     ngrams_free(&g);
 *
 * Source: I. Witten, T. Bell, "The zero-frequency problem", IEEE Transactions on Information Theory 37, 1991, method C, with
 * the mixture in place of their escape symbol.                                                                             */
#ifndef WORKBOOK_NGRAMS_H
#define WORKBOOK_NGRAMS_H

#include <stddef.h>

enum { ORDERS = 5, MOST_SYMBOLS = 4099 };           /* n = 1 … ORDERS; ids are 0 … MOST_SYMBOLS-1, and others abort            */

typedef struct { struct Gram *slot; size_t size, used; } Ngrams;    /* a hash table, never more than half full               */

extern const char *const ngram_names[ORDERS];       /* "1-gram" … "5-gram", as they stand in the CSVs */

/* ngrams_count: all grams of up to ORDERS symbols in ids (n), n ≥ 0. ids are not kept. The caller calls ngrams_free.       */
Ngrams ngrams_count(const int *ids, int n);
void   ngrams_free(Ngrams *g);

/* ngrams_probabilities: p[n-1] = p(*at | the n-1 symbols before it), for n = 1 … ORDERS at once: one pass from the shortest
 * context up gives them all. `before` ≥ 0 symbols stand in front of `at`, in the same array; at most ORDERS-1 of them are
 * read. Where n-1 of them would be more than there are, the longest context that there is serves: p[n-1] = p[before].
 * The text need not be the one that was counted. V > 0: how many symbols there are, seen or not.                           */
void ngrams_probabilities(const Ngrams *g, const int *at, int before, int V, double p[ORDERS]);

/* ngrams_loss: loss[n-1] = the mean of -ln p under the model of order n over ids (count), in nats a symbol, 0 where there is
 * none. ORDERS-1 others must stand before ids in the same array: they are read as context.                                 */
void ngrams_loss(const Ngrams *g, const int *ids, int count, int V, double loss[ORDERS]);

#endif
