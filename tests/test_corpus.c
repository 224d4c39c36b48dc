/* What corpus.h promises: the ids are the whole text, every code point as it is; the parts lie one behind the other, 90 %, 5 %
 * and the rest; what is printed is what is there; a text that cannot be read, or has too many symbols, is refused. */
#include "corpus.h"
#include "ngrams.h"
#include "unit.h"

#include <stdlib.h>

static char path[] = "/tmp/test_corpus.XXXXXX";

/* n symbols, ñ (two bytes) every seventh. */
static void write_text(int n)
{
    FILE *f = fopen(path, "wb");
    CHECK(f, "%s cannot be written", path);
    for (int i = 0; i < n; i++) fputs(i % 7 == 3 ? "ñ" : i % 7 < 3 ? "e" : "Q", f);
    CHECK(fclose(f) == 0, "%s cannot be written", path);
}

static void test_parts(void)
{
    static const struct { int n, train, valid, test; } row[] = {
        { 1000, 900, 50, 50 }, { 999, 899, 50, 50 }, { 1019, 917, 51, 51 }, { 1, 0, 0, 1 }, { 10, 9, 0, 1 }, { 40, 36, 2, 2 },
    };
    for (size_t r = 0; r < sizeof row / sizeof *row; r++) {
        write_text(row[r].n);
        Corpus c = corpus_open(path);
        EXPECT(c.n == row[r].n && strcmp(c.source, path) == 0, "%d symbols of %s", c.n, c.source);
        EXPECT(c.train.n == row[r].train && c.valid.n == row[r].valid && c.test.n == row[r].test, "%d symbols: %d, %d, %d", c.n,
               c.train.n, c.valid.n, c.test.n);
        EXPECT(c.train.ids == c.ids && c.valid.ids == c.ids + c.train.n && c.test.ids == c.ids + c.train.n + c.valid.n,
               "%d symbols: the parts are not one behind the other", c.n);
        EXPECT(c.train.n + c.valid.n + c.test.n == c.n, "%d symbols: something is left over", c.n);
        corpus_free(&c);
    }
}

static void test_symbols(void)
{
    write_text(700);
    Corpus c = corpus_open(path);
    EXPECT(c.vocab.size == 3 && c.vocab.code[0] == 'Q' && c.vocab.code[1] == 'e' && c.vocab.code[2] == 0xf1,
           "%d symbols; first Q, three in seven as e is, but before it", c.vocab.size);
    for (int i = 0; i < c.n; i++)
        EXPECT(c.ids[i] == (i % 7 == 3 ? 2 : i % 7 < 3 ? 1 : 0), "place %d: %d", i, c.ids[i]);
    corpus_free(&c);
    EXPECT(c.ids == NULL && c.vocab.code == NULL && c.train.ids == NULL, "a freed corpus holds nothing");
}

static void call_print(void)
{
    Corpus c = corpus_open(path);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    corpus_print(&c);
    fflush(stdout);
}

static void test_print(void)
{
    char said[1000], want[1000];
    write_text(1000);
    unit_child(call_print, said, sizeof said);
    snprintf(want, sizeof want, "text      %s\n          1000 symbols, 3 distinct: 900 to train on, 50 to validate, 50 to test\n",
             path);
    EXPECT(strcmp(said, want) == 0, "\"%s\"", said);
}

static void write_distinct(int n)
{
    char room[UTF8_ROOM];
    FILE *f = fopen(path, "wb");
    CHECK(f, "%s cannot be written", path);
    for (int i = 0; i < n; i++) fputs(utf8_of(0x4e00u + (uint32_t)i, room), f);
    CHECK(fclose(f) == 0, "%s cannot be written", path);
}

static void call_open(void)             { corpus_open(path); }

static void test_too_many_symbols(void)
{
    write_distinct(MOST_SYMBOLS);
    Corpus c = corpus_open(path);
    EXPECT(c.vocab.size == MOST_SYMBOLS && c.ids[c.n - 1] == MOST_SYMBOLS - 1, "%d symbols, as many as may be", c.vocab.size);
    corpus_free(&c);
    write_distinct(MOST_SYMBOLS + 1);
    EXPECT_DEATH(call_open, path);
    EXPECT_DEATH(call_open, ": 4100 distinct symbols; expected at most 4099");
}

static void call_open_nothing(void)     { corpus_open("/nowhere/at/all.txt"); }

static void test_no_text(void)
{
    EXPECT_DEATH(call_open_nothing, "/nowhere/at/all.txt");
}

int main(void)
{
    int file = mkstemp(path);
    CHECK(file >= 0 && close(file) == 0, "no file for the test");
    RUN(test_parts);
    RUN(test_symbols);
    RUN(test_print);
    RUN(test_no_text);
    RUN(test_too_many_symbols);
    unlink(path);
    return unit_result();
}
