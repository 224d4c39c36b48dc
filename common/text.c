#include "text.h"
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const unsigned char pastiche[];     /* common/corpus/pastiche.txt, turned into C by the Makefile */
extern const size_t pastiche_size;

/* ---- UTF-8 (RFC 3629) ---------------------------------------------------------------------------------------------- */

/* The code point at s, of which `left` bytes remain, and in *length how many it takes; 0 of them where the bytes are wrong:
 * a stray continuation, a cut sequence, a longer form than needed, a surrogate, or more than U+10FFFF. */
static uint32_t utf8_decode(const unsigned char *s, size_t left, size_t *length)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    uint32_t code = s[0];
    size_t n = code < 0x80 ? 1 : code >= 0xc2 && code < 0xe0 ? 2 : code >= 0xe0 && code < 0xf0 ? 3
             : code >= 0xf0 && code < 0xf5 ? 4 : 0;
    *length = 0;
    if (n == 0 || n > left) return 0;
    if (n > 1) code &= 0x7fu >> n;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    if (code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return 0;
    *length = n;
    return code;
}

const char *utf8_of(uint32_t code, char room[UTF8_ROOM])
{
    int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    room[n] = '\0';
    for (int i = n - 1; i > 0; i--, code >>= 6) room[i] = (char)(0x80 | (code & 0x3f));
    room[0] = (char)(n == 1 ? code : (0xf00u >> n & 0xffu) | code);
    return room;
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

Text text_of_symbols(const char *bytes, size_t size, const char *source)
{
    const unsigned char *s = (const unsigned char *)bytes;
    Text text = { .code = allocate(size, sizeof *text.code) };
    snprintf(text.source, sizeof text.source, "%s", source);
    if (size >= INT32_MAX) die("%s: %zu bytes; expected less than 2^31", source, size);
    for (size_t i = 0, length; i < size; i += length) {
        uint32_t code = utf8_decode(s + i, size - i, &length);
        if (length == 0) die("%s: expected UTF-8 text, but byte %zu (value %u) is none", source, i, s[i]);
        if (code == 0) die("%s: expected a text, but byte %zu is 0, so this is a binary file", source, i);
        text.code[text.n++] = code;
    }
    if (text.n == 0) die("%s: expected a text, but it is empty", source);
    return text;
}

Text text_of_utf8(const char *bytes, size_t size, const char *source)
{
    Text text = text_of_symbols(bytes, size, source);
    int n = 0;
    for (int i = 0; i < text.n; i++) {
        bool mark = text.code[i] == 0xfeff && i == 0, half = text.code[i] == '\r' && i + 1 < text.n && text.code[i + 1] == '\n';
        if (!mark && !half) text.code[n++] = text.code[i];
    }
    if ((text.n = n) == 0) die("%s: expected a text, but it is empty", source);
    return text;
}

static Text read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) die("%s: this text cannot be opened: %s", path, strerror(errno));
    size_t size = 0, room = 1 << 20, got;
    char *bytes = allocate(room, 1);
    errno = 0;
    while ((got = fread(bytes + size, 1, room - size, f)) > 0) {
        size += got;
        if (size < room) continue;
        if (room > INT32_MAX) die("%s: expected less than 2^31 bytes", path);
        char *more = realloc(bytes, room *= 2);
        if (!more) die("%s: out of memory after %zu bytes", path, size);
        bytes = more;
    }
    if (ferror(f)) die("%s: this text cannot be read: %s", path, strerror(errno));
    fclose(f);
    Text text = text_of_utf8(bytes, size, path);
    free(bytes);
    return text;
}

Text text_open(const char *path)
{
    const char *downloaded = "data/quijote.txt", *named = getenv("QUIJOTE");
    if (path) return read_file(path);
    if (named && *named) return read_file(named);
    FILE *f = fopen(downloaded, "rb");
    if (f) {
        fclose(f);
        return read_file(downloaded);
    }
    return text_of_utf8((const char *)pastiche, pastiche_size, "the embedded pastiche (make quijote gets the book)");
}

void text_free(Text *text)
{
    free(text->code);
    *text = (Text){ .code = NULL };
}

bool text_from(Text *text, const char *mark)
{
    Text wanted = text_of_utf8(mark, strlen(mark), "mark");
    bool found = false;
    for (int i = 0; i + wanted.n <= text->n && !found; i++) {
        found = memcmp(text->code + i, wanted.code, (size_t)wanted.n * sizeof *text->code) == 0;
        if (!found) continue;
        text->n -= i;
        memmove(text->code, text->code + i, (size_t)text->n * sizeof *text->code);
    }
    text_free(&wanted);
    return found;
}

/* The lower-case letter, or a space for anything that is no letter of Spanish. */
static uint32_t letter_of(uint32_t c)
{
    uint32_t lower = (c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde) ? c + 32 : c;   /* À … Þ lie 32 before à … þ, too */
    if (lower >= 'a' && lower <= 'z') return lower;
    switch (lower) {
    case 0xe1: case 0xe9: case 0xed: case 0xf3: case 0xfa: case 0xf1: case 0xfc: return lower;   /* á é í ó ú ñ ü */
    default: return ' ';
    }
}

void text_letters(Text *text)
{
    int n = 0;
    for (int i = 0; i < text->n; i++) {
        uint32_t c = letter_of(text->code[i]);
        if (c != ' ' || n == 0 || text->code[n - 1] != ' ') text->code[n++] = c;
    }
    text->n = n;
}

/* ---- vocabulary ---------------------------------------------------------------------------------------------------- */

typedef struct { uint32_t code; int count; } Count;

static int more_frequent_first(const void *a, const void *b)
{
    const Count *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return x->code < y->code ? -1 : x->code > y->code;
}

Vocab vocab_of_symbols(const uint32_t *code, int n)
{
    Vocab v = { .size = n, .code = allocate((size_t)n, sizeof *code) };
    for (int i = 0; i < n; i++) if (code[i] > v.highest) v.highest = code[i];
    v.id = allocate(v.highest + 1, sizeof *v.id);
    for (uint32_t c = 0; c <= v.highest; c++) v.id[c] = -1;
    for (int i = 0; i < n; i++) {
        v.code[i] = code[i];
        v.id[code[i]] = i;
    }
    return v;
}

Vocab vocab_of_utf8(const char *symbols, const char *source)
{
    Text text = text_of_symbols(symbols, strlen(symbols), source);
    Vocab vocab = vocab_of_symbols(text.code, text.n);
    text_free(&text);
    return vocab;
}

Vocab vocab_new(const uint32_t *code, int n)
{
    uint32_t highest = 0;
    for (int i = 0; i < n; i++) if (code[i] > highest) highest = code[i];
    Count *counts = allocate(highest + 1, sizeof *counts);
    for (uint32_t c = 0; c <= highest; c++) counts[c].code = c;
    for (int i = 0; i < n; i++) counts[code[i]].count++;
    qsort(counts, highest + 1, sizeof *counts, more_frequent_first);
    uint32_t *symbols = allocate(highest + 1, sizeof *symbols);
    int size = 0;
    for (; (uint32_t)size <= highest && counts[size].count > 0; size++) symbols[size] = counts[size].code;
    Vocab v = vocab_of_symbols(symbols, size);
    free(symbols);
    free(counts);
    return v;
}

void vocab_free(Vocab *vocab)
{
    free(vocab->code);
    free(vocab->id);
    *vocab = (Vocab){ 0 };
}

int vocab_id(const Vocab *vocab, uint32_t code)
{
    return code <= vocab->highest ? vocab->id[code] : -1;
}

int *vocab_encode(const Vocab *vocab, const Text *text)
{
    int *ids = allocate((size_t)text->n, sizeof *ids);
    char room[UTF8_ROOM];
    for (int i = 0; i < text->n; i++) {
        ids[i] = vocab_id(vocab, text->code[i]);
        if (ids[i] < 0) die("%s: symbol %d, '%s', is not among the %d that the model knows", text->source, i + 1,
                            utf8_of(text->code[i], room), vocab->size);
    }
    return ids;
}

int *vocab_encode_utf8(const Vocab *vocab, const char *utf8, const char *source, int *n)
{
    Text text = text_of_utf8(utf8, strlen(utf8), source);
    int *ids = vocab_encode(vocab, &text);
    *n = text.n;
    text_free(&text);
    return ids;
}

void window_batch(const int *ids, const int *start, int B, int T, int *x, int *y)
{
    for (int t = 0; t < T; t++)
        for (int b = 0; b < B; b++) {
            x[t * B + b] = ids[start[b] + t];
            y[t * B + b] = ids[start[b] + t + 1];
        }
}
