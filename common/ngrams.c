/* All grams of all orders lie in one hash table with open addressing. A gram of n ≤ 5 symbols, read as a number in base 4099
 * with n+1 in front, is its own key: it fits into 64 bits, no two grams share one, and none is 0, which marks an empty slot. */
#include "ngrams.h"
#include "check.h"
#include "maths.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

const char *const ngram_names[ORDERS] = { "1-gram", "2-gram", "3-gram", "4-gram", "5-gram" };

typedef struct Gram { uint64_t key; int count, total, followers; } Gram;      /* as hw: c(hw); as h: c(h), d(h) */

/* The key of the n symbols before `end`. */
static uint64_t gram_key(const int *end, int n)
{
    uint64_t key = (uint64_t)n + 1;
    for (const int *id = end - n; id < end; id++) key = key * MOST_SYMBOLS + (uint64_t)*id;
    return key;
}

/* The slot with this key, or the empty one where it belongs. */
static Gram *gram_slot(const Ngrams *g, uint64_t key)
{
    size_t i = (size_t)((key * 0x9e3779b97f4a7c15u) >> 20) % g->size;
    while (g->slot[i].key && g->slot[i].key != key) i = (i + 1) % g->size;
    return &g->slot[i];
}

static Ngrams table_new(size_t size)
{
    return (Ngrams){ .slot = allocate(size, sizeof(Gram)), .size = size };
}

/* The slot of this key, which is put in if it was not there. Slots move when the table grows. */
static Gram *gram_add(Ngrams *g, uint64_t key)
{
    if (2 * g->used >= g->size) {
        Ngrams larger = table_new(2 * g->size + 1024);
        larger.used = g->used;
        for (size_t i = 0; i < g->size; i++)
            if (g->slot[i].key) *gram_slot(&larger, g->slot[i].key) = g->slot[i];
        free(g->slot);
        *g = larger;
    }
    Gram *gram = gram_slot(g, key);
    g->used += gram->key == 0;
    gram->key = key;
    return gram;
}

static void check_id(int id)
{
    CHECK(id >= 0 && id < MOST_SYMBOLS, "symbol %d; expected 0 … %d", id, MOST_SYMBOLS - 1);
}

Ngrams ngrams_count(const int *ids, int n)
{
    Ngrams g = table_new(1024);
    for (int i = 0; i < n; i++) {
        check_id(ids[i]);
        for (int k = 0; k < ORDERS && k <= i; k++) {                             /* h: the k symbols before; w: ids[i] */
            bool first = gram_add(&g, gram_key(ids + i + 1, k + 1))->count++ == 0;
            Gram *h = gram_add(&g, gram_key(ids + i, k));
            h->total++;
            h->followers += first;
        }
    }
    return g;
}

void ngrams_free(Ngrams *g)
{
    free(g->slot);
    *g = (Ngrams){ .slot = NULL };
}

void ngrams_probabilities(const Ngrams *g, const int *at, int before, int V, double p[ORDERS])
{
    double lower = 1.0 / V;
    CHECK(before >= 0 && V > 0, "%d symbols before, %d in all", before, V);
    for (int k = 0; k < ORDERS; k++) {
        p[k] = lower;
        if (k > before) continue;
        check_id(at[-k]);
        const Gram *h = gram_slot(g, gram_key(at, k));
        if (h->total > 0) {
            const Gram *hw = gram_slot(g, gram_key(at + 1, k + 1));
            p[k] = (hw->count + h->followers * lower) / (h->total + h->followers);       /* chapter 05, (2.2) */
        }
        lower = p[k];
    }
}

void ngrams_loss(const Ngrams *g, const int *ids, int count, int V, double loss[ORDERS])
{
    double p[ORDERS];
    for (int n = 0; n < ORDERS; n++) loss[n] = 0;
    for (int i = 0; i < count; i++) {
        ngrams_probabilities(g, ids + i, ORDERS - 1, V, p);
        for (int n = 0; n < ORDERS; n++) loss[n] -= (double)r_log((real)p[n]) / count;
    }
}
