/* What text.h promises: bytes become code points or the program says at which byte they cannot; letters mode folds as its
 * one sentence says; a vocabulary numbers by frequency and back; the corpus is looked for in one order.
 *
 * Where a function has many inputs, all of them are tried: every code point goes through the decoder and utf8_of, and every
 * one of them through text_letters, against tables that are written out here.                                             */
#include "rng.h"
#include "text.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

extern const unsigned char pastiche[];
extern const size_t pastiche_size;

enum { CODES = 0x110000 };

static Text text(const char *s)
{
    return text_of_utf8(s, strlen(s), "given.txt");
}

static bool is_surrogate(uint32_t c)       { return c >= 0xd800 && c <= 0xdfff; }

/* UTF-8 from its definition, RFC 3629 section 3: the table there, row by row. */
static size_t encode(uint32_t c, unsigned char *to)
{
    unsigned char last = (unsigned char)(0x80 + c % 64), third = (unsigned char)(0x80 + c / 64 % 64);
    if (c < 0x80) return to[0] = (unsigned char)c, (size_t)1;
    if (c < 0x800) return to[0] = (unsigned char)(0xc0 + c / 64), to[1] = last, (size_t)2;
    if (c < 0x10000) return to[0] = (unsigned char)(0xe0 + c / 4096), to[1] = third, to[2] = last, (size_t)3;
    to[0] = (unsigned char)(0xf0 + c / 262144), to[1] = (unsigned char)(0x80 + c / 4096 % 64), to[2] = third, to[3] = last;
    return 4;
}

static void expect_codes(const Text *t, const uint32_t *want, int n, const char *what)
{
    EXPECT(t->n == n, "%s: %d code points, not %d", what, t->n, n);
    if (t->n == n) EXPECT_SAME_BYTES(t->code, want, (size_t)n * sizeof *want, "%s", what);
}

/* ---- decoding ------------------------------------------------------------------------------------------------------ */

static void test_every_code_point(void)
{
    unsigned char *bytes = malloc(4 * CODES), one[4];
    uint32_t *want = malloc(CODES * sizeof *want);
    char room[UTF8_ROOM];
    size_t size = 0;
    int n = 0, wrong = 0;
    for (uint32_t c = 1; c < CODES; c++) {
        if (is_surrogate(c)) continue;
        size_t length = encode(c, one);
        const char *got = utf8_of(c, room);
        wrong += strlen(got) != length || memcmp(got, one, length) != 0;
        memcpy(bytes + size, one, length);
        size += length;
        want[n++] = c;
    }
    EXPECT(wrong == 0, "utf8_of is wrong for %d code points", wrong);
    Text t = text_of_utf8((const char *)bytes, size, "all of them");
    expect_codes(&t, want, n, "all code points in order");
    EXPECT(strcmp(t.source, "all of them") == 0, "source is \"%s\"", t.source);
    text_free(&t);
    EXPECT(t.code == NULL && t.n == 0, "text_free leaves nothing to use, n = %d", t.n);
    free(bytes), free(want);
}

static void test_line_ends_and_mark(void)
{
    static const struct { const char *bytes; const uint32_t *want; int n; } cases[] = {
        { "a\r\nb\rc\n\r\r\nd", U"a\nb\rc\n\r\nd", 9 },
        { "\r\n", U"\n", 1 },
        { "a\r", U"a\r", 2 },
        { "\xef\xbb\xbf" "ñ", U"ñ", 1 },
        { "\xef\xbb\xbf\r\nx", U"\nx", 2 },
        { "\xef\xbb\xbf\xef\xbb\xbf", U"\xfeff", 1 },          /* only the first is a mark */
        { "x\xef\xbb\xbf", U"x\xfeff", 2 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[32];
        snprintf(name, sizeof name, "case %zu", i);
        Text t = text(cases[i].bytes);
        expect_codes(&t, cases[i].want, cases[i].n, name);
        text_free(&t);
    }
}

/* ---- what is refused ----------------------------------------------------------------------------------------------- */

static struct { const char *bytes; size_t size; const char *path; } given;

static void call_decode(void)   { text_of_utf8(given.bytes, given.size, "given.txt"); }
static void call_open(void)     { text_open(given.path); }
static void call_vocab(void)    { vocab_of_utf8(given.bytes, "given.txt"); }

/* LeakSanitizer asks this at the end of a process. One that dies does not tidy up before, and need not. */
static bool dies;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return dies; }

static void expect_death(void (*call)(void), const char *named, const char *also)
{
    char said[1024];
    dies = true;
    int status = unit_child(call, said, sizeof said);
    dies = false;
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 2, "status 0x%x, \"%s\"", (unsigned)status, said);
    EXPECT(strstr(said, named), "\"%s\" has no \"%s\"", said, named);
    EXPECT(strstr(said, also), "\"%s\" has no \"%s\"", said, also);
    EXPECT(strchr(said, '\n') && strchr(said, '\n')[1] == '\0', "\"%s\" is not one line", said);
}

/* `bad` between good text: the message must name the byte where bad begins, and none before or after. */
static void expect_bad(const char *bad, size_t size, const char *before, const char *after)
{
    char bytes[64], byte[32];
    int n = snprintf(bytes, sizeof bytes, "%s", before);
    memcpy(bytes + n, bad, size);
    snprintf(bytes + (size_t)n + size, sizeof bytes - (size_t)n - size, "%s", after);
    snprintf(byte, sizeof byte, "byte %d ", n);
    given.bytes = bytes, given.size = (size_t)n + size + strlen(after);
    expect_death(call_decode, "given.txt", byte);
}

static void test_invalid_utf8(void)
{
    static const struct { const char *bytes; size_t size; } bad[] = {
        { "\x80", 1 }, { "\xbf", 1 }, { "\x80\x80", 2 },                           /* no start               */
        { "\xc0\xaf", 2 }, { "\xc0\x80", 2 }, { "\xc1\xbf", 2 },                   /* two bytes for one      */
        { "\xe0\x80\xaf", 3 }, { "\xe0\x9f\xbf", 3 },                              /* three for two          */
        { "\xf0\x80\x80\xaf", 4 }, { "\xf0\x8f\xbf\xbf", 4 },                      /* four for three         */
        { "\xed\xa0\x80", 3 }, { "\xed\xbf\xbf", 3 }, { "\xed\xaf\xbf", 3 },       /* surrogates             */
        { "\xed\xa0\xbd\xed\xb8\x80", 6 },                                         /* … in a pair (CESU-8)   */
        { "\xf4\x90\x80\x80", 4 }, { "\xf7\xbf\xbf\xbf", 4 },                      /* over U+10FFFF          */
        { "\xf8\x88\x80\x80\x80", 5 }, { "\xfc\x84\x80\x80\x80\x80", 6 },          /* five, six bytes        */
        { "\xfe", 1 }, { "\xff", 1 },
        { "\xc3", 1 }, { "\xe2\x82", 2 }, { "\xe2", 1 },                           /* cut, then other text   */
        { "\xf0\x9f\x98", 3 }, { "\xf0\x9f", 2 }, { "\xf0", 1 },
        { "\xc3\xc3\xb1", 3 }, { "\xe2\x82\xc3\xb1", 4 },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        expect_bad(bad[i].bytes, bad[i].size, "", "");
        expect_bad(bad[i].bytes, bad[i].size, "año ", " y más");
        expect_bad(bad[i].bytes, bad[i].size, "€", "x");
        expect_bad(bad[i].bytes, bad[i].size, "\r\n\r\n", "");      /* bytes of the file are counted, not of the text */
    }
}

static void test_binary_and_empty(void)
{
    expect_bad("\0", 1, "", "");
    expect_bad("\0", 1, "a", "b");
    given.bytes = "a\0", given.size = 2;
    expect_death(call_decode, "given.txt", "binary");
    given.bytes = "", given.size = 0;
    expect_death(call_decode, "given.txt", "empty");
    given.bytes = "\xef\xbb\xbf", given.size = 3;
    expect_death(call_decode, "given.txt", "empty");
}

/* ---- letters ------------------------------------------------------------------------------------------------------- */

static const uint32_t capitals[] = U"ABCDEFGHIJKLMNOPQRSTUVWXYZÁÉÍÓÚÑÜ", smalls[] = U"abcdefghijklmnopqrstuvwxyzáéíóúñü";

static uint32_t folded(uint32_t c)
{
    for (int i = 0; smalls[i]; i++)
        if (c == capitals[i] || c == smalls[i]) return smalls[i];
    return ' ';
}

/* The same as text_letters, the slow way: fold each, then copy whatever is no second space. */
static void expect_letters(const Text *before, const char *what)
{
    Text got = { .code = malloc((size_t)before->n * sizeof *got.code), .n = before->n };
    uint32_t *want = malloc((size_t)before->n * sizeof *want);
    int n = 0;
    memcpy(got.code, before->code, (size_t)before->n * sizeof *got.code);
    for (int i = 0; i < before->n; i++)
        if (folded(before->code[i]) != ' ' || i == 0 || folded(before->code[i - 1]) != ' ')
            want[n++] = folded(before->code[i]);
    text_letters(&got);
    expect_codes(&got, want, n, what);
    text_letters(&got);
    expect_codes(&got, want, n, "folded twice");
    free(got.code), free(want);
}

static void test_letters(void)
{
    static const char *const tricky[] = {
        "¡Válame Dios! —dijo Sancho", "ÁÉÍÓÚÑÜ áéíóúñü", "À la carte, È Ì Ò Ù Ç Ý ß ÿ × ÷ à è ì ò ù ç ý",
        "1605, 2ª parte; nº 3", "...", " ", "\n\n\nx\n\n\n", "x", "--a--b--", "a\tb\r\nc\u00a0d\u2003e",
        "naïve Öl ÅÄ æ Ñandú ñu pingüe PINGÜE",
        "@[`{Z[a`z{", "ﬁ Ａ ａ Α α А а İ ı ſ K Å", "a\u0301 n\u0303", "1a1",
        "á!é?í.ó,ú", "Mancha, de cuyo nombre",
    };
    for (size_t i = 0; i < sizeof tricky / sizeof *tricky; i++) {
        Text t = text(tricky[i]);
        expect_letters(&t, tricky[i]);
        text_free(&t);
    }
    Text known = text("  ¡Válame  Dios, Ñuño! "), want = text(" válame dios ñuño ");
    text_letters(&known);
    expect_codes(&known, want.code, want.n, "by hand");
    text_free(&known), text_free(&want);

    Text every = { .code = malloc(2 * CODES * sizeof *every.code) };
    for (uint32_t c = 1; c < CODES; c++) every.code[every.n++] = c, every.code[every.n++] = 'x';
    expect_letters(&every, "every code point before an x");
    free(every.code);

    Text book = text_of_utf8((const char *)pastiche, pastiche_size, "pastiche");
    expect_letters(&book, "the pastiche");
    text_free(&book);
}

static void test_from(void)
{
    static const struct { const char *text, *mark, *rest; bool found; } cases[] = {
        { "Prólogo. En un lugar de", "En un lugar", "En un lugar de", true },
        { "En un lugar", "En un lugar", "En un lugar", true },
        { "ñañaña", "aña", "añaña", true },                       /* the first of several */
        { "aaab", "aab", "aab", true },                           /* a false start        */
        { "xyz", "z", "z", true },
        { "xyz", "zy", "xyz", false },
        { "xy", "xyz", "xy", false },
        { "árbol", "arbol", "árbol", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Text t = text(cases[i].text), rest = text(cases[i].rest);
        bool found = text_from(&t, cases[i].mark);
        EXPECT(found == cases[i].found, "\"%s\" in \"%s\": found is %d", cases[i].mark, cases[i].text, found);
        expect_codes(&t, rest.code, rest.n, cases[i].text);
        text_free(&t), text_free(&rest);
    }
}

/* ---- vocabulary and windows ---------------------------------------------------------------------------------------- */

static void test_vocab_by_hand(void)
{
    Text t = text("señor año ñu añil oso"), other = text("ñoño");
    static const uint32_t want[] = U" oñaseilru";                 /* 4 4 4 times, 2 2, and once each */
    Vocab v = vocab_new(t.code, t.n);
    EXPECT(v.size == 10, "%d symbols", v.size);
    for (int i = 0; want[i]; i++)
        EXPECT(vocab_id(&v, want[i]) == i && v.code[i] == want[i], "U+%04X has id %d, not %d", (unsigned)want[i],
               vocab_id(&v, want[i]), i);
    int *ids = vocab_encode(&v, &other);
    EXPECT(ids[0] == 2 && ids[1] == 1 && ids[2] == 2 && ids[3] == 1, "ñoño is %d %d %d %d", ids[0], ids[1], ids[2], ids[3]);
    EXPECT(vocab_id(&v, 'z') == -1 && vocab_id(&v, 0) == -1, "unknown below the highest");
    EXPECT(vocab_id(&v, v.highest + 1) == -1 && vocab_id(&v, UINT32_MAX) == -1, "and above it");
    free(ids);
    text_free(&t), text_free(&other);
    vocab_free(&v);
}

/* Any text: ids go down in frequency, up in code point among equals, and back to the same text. */
static void expect_vocab(const Text *t, const char *what)
{
    Vocab v = vocab_new(t->code, t->n);
    int *ids = vocab_encode(&v, t), *count = calloc((size_t)v.size, sizeof *count), wrong = 0;
    for (int i = 0; i < t->n; i++) {
        if (ids[i] < 0 || ids[i] >= v.size || v.code[ids[i]] != t->code[i]) wrong++;
        else count[ids[i]]++;
    }
    EXPECT(wrong == 0, "%s: %d of %d symbols do not come back", what, wrong, t->n);
    for (int i = 0; i < v.size; i++) {
        EXPECT(vocab_id(&v, v.code[i]) == i && count[i] > 0, "%s: id %d, count %d", what, i, count[i]);
        bool in_order = i == 0 || count[i] < count[i - 1] || (count[i] == count[i - 1] && v.code[i] > v.code[i - 1]);
        EXPECT(in_order, "%s: id %d is out of order", what, i);
    }
    free(ids), free(count);
    vocab_free(&v);
}

static void test_vocab_of_anything(void)
{
    Text book = text_of_utf8((const char *)pastiche, pastiche_size, "pastiche"), noise = { .n = 5000 }, top = { .n = 1 };
    expect_vocab(&book, "the pastiche");
    text_letters(&book);
    expect_vocab(&book, "its letters");
    text_free(&book);
    noise.code = malloc(5000 * sizeof *noise.code);
    Rng rng = rng_new(3, 0);
    for (int i = 0; i < noise.n; i++) noise.code[i] = 1 + (uint32_t)rng_below(&rng, 1 + rng_below(&rng, 1000));
    expect_vocab(&noise, "noise");
    top.code = noise.code, top.code[0] = 0x10ffff;
    expect_vocab(&top, "the highest code point");
    free(noise.code);
}

/* Symbols that text_of_utf8 would drop or melt into one are symbols here. */
static void test_vocab_of_utf8(void)
{
    static const uint32_t want[] = U"\xfeffñ\r\n😀\1a";
    Vocab v = vocab_of_utf8("\xef\xbb\xbfñ\r\n😀\1a", "given.txt");
    EXPECT(v.size == 7, "%d symbols", v.size);
    for (int i = 0; i < v.size && i < 7; i++)
        EXPECT(v.code[i] == want[i] && vocab_id(&v, want[i]) == i, "id %d is U+%04X", i, (unsigned)v.code[i]);
    EXPECT(vocab_id(&v, 'b') == -1, "b is none of them");
    vocab_free(&v);
    given.bytes = "";
    expect_death(call_vocab, "given.txt", "empty");
    given.bytes = "ab\xf1";
    expect_death(call_vocab, "given.txt", "byte 2 ");
}

static void test_encode_utf8(void)
{
    Vocab v = vocab_of_utf8("\naño", "a vocabulary");
    int n = -1, *ids = vocab_encode_utf8(&v, "año\r\nñañ", "a text", &n);
    EXPECT(n == 7, "%d ids", n);
    if (n == 7) EXPECT_SAME_BYTES(ids, ((int[]){ 1, 2, 3, 0, 2, 1, 2 }), sizeof(int[7]), "ids");
    free(ids);
    vocab_free(&v);
}

static void call_encode(void)
{
    Text known = text("la mancha"), other = text("la maña");
    Vocab v = vocab_new(known.code, known.n);
    vocab_encode(&v, &other);
}

static void call_encode_utf8(void)
{
    Vocab v = vocab_of_utf8("la mnch", "a vocabulary");
    int n;
    vocab_encode_utf8(&v, given.bytes, "given.txt", &n);
}

static void test_unknown_symbol(void)
{
    expect_death(call_encode, "'ñ'", "given.txt");
    expect_death(call_encode, "symbol 6", "7 that the model knows");
    given.bytes = "la maña";
    expect_death(call_encode_utf8, "given.txt: symbol 6, 'ñ'", "7 that the model knows");
    given.bytes = "";
    expect_death(call_encode_utf8, "given.txt", "empty");
    given.bytes = "la\xf1";
    expect_death(call_encode_utf8, "given.txt", "byte 2 ");
}

static void test_window_batch(void)
{
    enum { B = 3, T = 4, N = 12, GUARD = -7 };
    static const int start[B] = { 7, 0, 3 };                     /* the first one ends with the last id */
    int ids[N], x[B * T + 1], y[B * T + 1];
    for (int i = 0; i < N; i++) ids[i] = 100 + i * i;
    x[B * T] = y[B * T] = GUARD;
    window_batch(ids, start, B, T, x, y);
    for (int t = 0; t < T; t++)
        for (int b = 0; b < B; b++) {
            EXPECT(x[t * B + b] == ids[start[b] + t], "x of place %d, window %d", t, b);
            EXPECT(y[t * B + b] == ids[start[b] + t + 1], "y of place %d, window %d", t, b);
        }
    EXPECT(x[B * T] == GUARD && y[B * T] == GUARD, "nothing is written behind");
    window_batch(ids, (int[]){ 5 }, 1, 1, x, y);
    EXPECT(x[0] == 125 && y[0] == 136, "one window of one symbol");
}

/* ---- where the text comes from ------------------------------------------------------------------------------------- */

static void write_file(const char *path, const char *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0, "%s cannot be written", path);
}

static void expect_open(const char *path, const char *source, const char *begins)
{
    Text t = text_open(path), want = text(begins);
    EXPECT(strstr(t.source, source), "read from \"%s\", not \"%s\"", t.source, source);
    EXPECT(t.n >= want.n && memcmp(t.code, want.code, (size_t)want.n * sizeof *t.code) == 0, "%s is another text", source);
    text_free(&t), text_free(&want);
}

static void try_the_order(void)
{
    write_file("named.txt", "uno", 3);
    write_file("variable.txt", "dos", 3);
    setenv("QUIJOTE", "variable.txt", 1);
    expect_open("named.txt", "named.txt", "uno");
    expect_open(NULL, "variable.txt", "dos");
    unsetenv("QUIJOTE");
    expect_open(NULL, "pastiche", "El puntual escribano");
    setenv("QUIJOTE", "", 1);
    expect_open(NULL, "pastiche", "El puntual escribano");
    mkdir("data", 0777);
    write_file("data/quijote.txt", "tres", 4);
    expect_open(NULL, "data/quijote.txt", "tres");
    setenv("QUIJOTE", "variable.txt", 1);
    expect_open(NULL, "variable.txt", "dos");
    expect_open("named.txt", "named.txt", "uno");
}

static void try_bad_files(void)
{
    given.path = "nowhere.txt";
    expect_death(call_open, "nowhere.txt", "cannot be opened");
    given.path = "data";
    expect_death(call_open, "data", "directory");
    write_file("empty.txt", "", 0);
    given.path = "empty.txt";
    expect_death(call_open, "empty.txt", "empty");
    write_file("binary.txt", "ab\0c", 4);
    given.path = "binary.txt";
    expect_death(call_open, "binary.txt", "byte 2 ");
    write_file("latin1.txt", "a\xf1o", 3);
    given.path = "latin1.txt";
    expect_death(call_open, "latin1.txt", "byte 1 ");
    given.path = NULL;
    setenv("QUIJOTE", "gone/too.txt", 1);
    expect_death(call_open, "gone/too.txt", "cannot be opened");     /* no silent step to the next text */
    unsetenv("QUIJOTE");
}

/* Sizes around the buffer that grows while reading. */
static void try_large_files(void)
{
    static const size_t sizes[] = { (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (2 << 20) + 5 };
    char *bytes = malloc(3 << 20);
    for (size_t i = 0; i < 3 << 20; i++) bytes[i] = (char)('a' + i % 23);
    for (int k = 0; k < 4; k++) {
        write_file("large.txt", bytes, sizes[k]);
        Text t = text_open("large.txt");
        size_t same = 0;
        while (same < (size_t)t.n && same < sizes[k] && t.code[same] == (uint32_t)bytes[same]) same++;
        EXPECT((size_t)t.n == sizes[k] && same == sizes[k], "%zu bytes: %d symbols, %zu right", sizes[k], t.n, same);
        text_free(&t);
    }
    free(bytes);
}

/* text_open looks below the working folder, so the tests go to one of their own. */
static void test_open(void)
{
    static const char *const files[] = { "named.txt", "variable.txt", "empty.txt", "binary.txt", "latin1.txt", "large.txt",
                                         "data/quijote.txt" };
    char folder[] = "/tmp/test_text.XXXXXX", back[4096];
    if (!getcwd(back, sizeof back) || !mkdtemp(folder) || chdir(folder) != 0) {
        EXPECT(false, "no folder for the test");
        return;
    }
    try_the_order();
    try_bad_files();
    try_large_files();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) unlink(files[i]);
    rmdir("data");
    EXPECT(chdir(back) == 0 && rmdir(folder) == 0, "%s is left behind", folder);
}

/* ---- the embedded text --------------------------------------------------------------------------------------------- */

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* No piece of over `longest` characters between two of `ends` comes twice: who pads a text by copying teaches copies. */
static void expect_no_copies(const char *ends, size_t longest, int least)
{
    char *copy = calloc(pastiche_size + 1, 1), **piece = malloc(pastiche_size * sizeof *piece);
    int n = 0, twice = 0;
    memcpy(copy, pastiche, pastiche_size);
    for (char *c = copy; *c; c++) if (*c == '\n' && !strchr(ends, '\n')) *c = ' ';
    for (char *p = strtok(copy, ends); p; p = strtok(NULL, ends)) {
        while (*p == ' ') p++;
        if (strlen(p) > longest) piece[n++] = p;
    }
    qsort(piece, (size_t)n, sizeof *piece, by_bytes);
    for (int i = 1; i < n; i++)
        if (strcmp(piece[i], piece[i - 1]) == 0) EXPECT(twice++ > 2, "twice: \"%.60s…\"", piece[i]);
    EXPECT(n >= least && twice == 0, "%d pieces, %d twice", n, twice);
    free(copy), free(piece);
}

static void test_pastiche(void)
{
    EXPECT(pastiche_size >= 60 * 1024, "%zu bytes", pastiche_size);
    Text t = text_of_utf8((const char *)pastiche, pastiche_size, "pastiche");
    EXPECT(t.n >= 60000, "%d symbols", t.n);
    EXPECT(t.code[t.n - 1] == '\n', "it ends with a whole line");
    for (int i = 0; i < t.n; i++)
        EXPECT((t.code[i] >= ' ' && t.code[i] != 0x7f && t.code[i] != 0xfffd) || t.code[i] == '\n', "control U+%04X at %d",
               (unsigned)t.code[i], i);
    text_letters(&t);
    Vocab v = vocab_new(t.code, t.n);
    EXPECT(v.size >= 30 && v.size <= 34, "%d letters", v.size);
    EXPECT(v.code[0] == ' ' && v.code[1] == 'e' && v.code[2] == 'a', "Spanish has the space, e and a in front");
    vocab_free(&v);
    text_free(&t);
    expect_no_copies(".?!", 40, 300);
    expect_no_copies("\n", 30, 800);
}

int main(void)
{
    RUN(test_every_code_point);
    RUN(test_line_ends_and_mark);
    RUN(test_invalid_utf8);
    RUN(test_binary_and_empty);
    RUN(test_letters);
    RUN(test_from);
    RUN(test_vocab_by_hand);
    RUN(test_vocab_of_anything);
    RUN(test_vocab_of_utf8);
    RUN(test_encode_utf8);
    RUN(test_unknown_symbol);
    RUN(test_window_batch);
    RUN(test_open);
    RUN(test_pastiche);
    return unit_result();
}
