#include "checkpoint.h"
#include "output.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *copy_of(const char *s, size_t length)
{
    char *copy = allocate(length + 1, 1);
    memcpy(copy, s, length);
    return copy;
}

/* ---- filling ------------------------------------------------------------------------------------------------------- */

void checkpoint_set(Checkpoint *c, const char *key, const char *fmt, ...)
{
    CHECK(c->metas < MOST_META, "%s is one entry more than %d", key, MOST_META);
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, fmt, args);
    char *text = allocate((size_t)length + 1, 1);
    vsnprintf(text, (size_t)length + 1, fmt, again);
    va_end(again);
    va_end(args);
    c->meta[c->metas].key = copy_of(key, strlen(key));
    c->meta[c->metas++].text = text;
}

void checkpoint_set_vocab(Checkpoint *c, const Vocab *vocab)
{
    char *symbols = allocate((size_t)vocab->size * UTF8_ROOM + 1, 1), room[UTF8_ROOM];
    for (int v = 0, at = 0; v < vocab->size; v++) at += sprintf(symbols + at, "%s", utf8_of(vocab->code[v], room));
    checkpoint_set(c, "vocab", "%s", symbols);
    free(symbols);
}

static float *new_tensor(Checkpoint *c, const char *name, size_t length, int rows, int cols)
{
    CHECK(c->tensors < MOST_TENSORS, "more than %d tensors", MOST_TENSORS);
    float *at = allocate((size_t)rows * (size_t)cols, sizeof *at);
    c->tensor[c->tensors].name = copy_of(name, length);
    c->tensor[c->tensors].rows = rows;
    c->tensor[c->tensors].cols = cols;
    c->tensor[c->tensors++].at = at;
    return at;
}

void checkpoint_add(Checkpoint *c, const char *name, Matrix m)
{
    float *at = new_tensor(c, name, strlen(name), m.rows, m.cols);
    for (int r = 0; r < m.rows; r++)
        for (int j = 0; j < m.cols; j++) *at++ = (float)mat_row(m, r)[j];
}

void checkpoint_add_params(Checkpoint *c, const Params *p)
{
    for (int i = 0; i < p->count; i++) checkpoint_add(c, p->item[i]->name, p->item[i]->var.value);
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

static void json_string(FILE *f, const char *s)
{
    fputc('"', f);
    for (; *s; s++)
        if ((unsigned char)*s < 0x20) fprintf(f, "\\u%04x", (unsigned)*s);
        else fprintf(f, "%s%c", *s == '"' || *s == '\\' ? "\\" : "", *s);
    fputc('"', f);
}

static void json_header(FILE *f, const Checkpoint *c)
{
    size_t offset = 0;
    fputs("{\"__metadata__\":{", f);
    for (int i = 0; i < c->metas; i++) {
        if (i) fputc(',', f);
        json_string(f, c->meta[i].key);
        fputc(':', f);
        json_string(f, c->meta[i].text);
    }
    fputc('}', f);
    for (int i = 0; i < c->tensors; i++) {
        size_t size = 4 * (size_t)c->tensor[i].rows * (size_t)c->tensor[i].cols;
        fputc(',', f);
        json_string(f, c->tensor[i].name);
        fprintf(f, ":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[%zu,%zu]}", c->tensor[i].rows, c->tensor[i].cols,
                offset, offset + size);
        offset += size;
    }
    fputc('}', f);
}

static void put_little_endian(FILE *f, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++) fputc((int)(x >> 8 * i & 0xff), f);
}

static void put_floats(FILE *f, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        put_little_endian(f, bits, 4);
    }
}

void checkpoint_write(const Checkpoint *c, const char *folder, const char *name)
{
    char *header = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&header, &length);
    if (!memory) die("%s: out of memory while writing", name);
    json_header(memory, c);
    if (fclose(memory) != 0) die("%s: out of memory while writing", name);
    size_t blanks = (8 - length % 8) % 8;

    Output *out = output_open(folder, name);
    FILE *f = output_file(out);
    put_little_endian(f, length + blanks, 8);
    fwrite(header, 1, length, f);
    for (size_t i = 0; i < blanks; i++) fputc(' ', f);
    for (int i = 0; i < c->tensors; i++) put_floats(f, c->tensor[i].at, (size_t)c->tensor[i].rows * (size_t)c->tensor[i].cols);
    output_close(out);
    free(header);
}

/* ---- reading: just as much JSON as the header may hold -------------------------------------------------------------- */

typedef struct {
    const char *at, *end, *path;
    const unsigned char *data;             /* behind the header …         */
    size_t size, used;                     /* … how many bytes of it, and how far the tensors reach */
} Reader;

static _Noreturn void bad_file(const Reader *r, const char *why)
{
    die("%s: expected a safetensors file, but %s", r->path, why);
}

static void skip_space(Reader *r)
{
    while (r->at < r->end && isspace((unsigned char)*r->at)) r->at++;
}

static bool accept(Reader *r, char c)
{
    skip_space(r);
    if (r->at >= r->end || *r->at != c) return false;
    r->at++;
    return true;
}

static void expect(Reader *r, char c)
{
    char why[64];
    snprintf(why, sizeof why, "its header has no '%c' where one belongs", c);
    if (!accept(r, c)) bad_file(r, why);
}

static uint32_t hex4(Reader *r)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        if (r->at >= r->end || !isxdigit((unsigned char)*r->at)) bad_file(r, "its header has a bad \\u");
        int c = tolower((unsigned char)*r->at);
        code = code << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return code;
}

/* One character of a string, after a backslash; appends it to `to` as UTF-8. */
static char *unescape(Reader *r, char *to)
{
    static const char from[] = "nrtbf", meant[] = "\n\r\t\b\f";
    char c = *r->at++, room[UTF8_ROOM];
    const char *known = c ? strchr(from, c) : NULL;
    if (c != 'u') {
        *to++ = known ? meant[known - from] : c;
        return to;
    }
    uint32_t code = hex4(r);
    if (code >= 0xd800 && code < 0xdc00 && r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u') {
        r->at += 2;
        code = 0x10000 + ((code - 0xd800) << 10) + ((hex4(r) - 0xdc00) & 0x3ff);
    }
    size_t n = strlen(utf8_of(code, room));
    memcpy(to, room, n);
    return to + n;
}

/* A string, unescaped, in memory of its own. No escape is longer as UTF-8 than it is as JSON. */
static char *read_string(Reader *r)
{
    expect(r, '"');
    char *text = allocate((size_t)(r->end - r->at) + 1, 1), *to = text;
    while (r->at < r->end && *r->at != '"') {
        if (*r->at != '\\') *to++ = *r->at++;
        else if (++r->at < r->end) to = unescape(r, to);
    }
    expect(r, '"');
    return text;
}

static size_t read_number(Reader *r)
{
    skip_space(r);
    size_t x = 0;
    if (r->at >= r->end || !isdigit((unsigned char)*r->at)) bad_file(r, "its header has no number where one belongs");
    for (; r->at < r->end && isdigit((unsigned char)*r->at); r->at++) {
        if (x > SIZE_MAX / 20) bad_file(r, "its header has a number that is too large");
        x = 10 * x + (size_t)(*r->at - '0');
    }
    return x;
}

/* [a, b, …], at most `most` of them */
static int read_numbers(Reader *r, size_t *to, int most)
{
    int n = 0;
    expect(r, '[');
    if (accept(r, ']')) return 0;
    do {
        if (n == most) bad_file(r, "a tensor has more than two dimensions");
        to[n++] = read_number(r);
    } while (accept(r, ','));
    expect(r, ']');
    return n;
}

static void read_metadata(Reader *r, Checkpoint *c)
{
    expect(r, '{');
    if (accept(r, '}')) return;
    do {
        if (c->metas == MOST_META) bad_file(r, "it has too many metadata entries");
        c->meta[c->metas].key = read_string(r);
        expect(r, ':');
        c->meta[c->metas++].text = read_string(r);
    } while (accept(r, ','));
    expect(r, '}');
}

static void get_floats(float *to, const unsigned char *from, size_t n)
{
    for (size_t i = 0; i < n; i++, from += 4) {
        uint32_t bits = (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

static void read_tensor(Reader *r, Checkpoint *c, const char *name)
{
    size_t shape[2] = { 1, 1 }, span[2] = { 0, 0 };
    int dimensions = -1, offsets = -1, types = 0;
    expect(r, '{');
    do {
        char *key = read_string(r);
        expect(r, ':');
        if (strcmp(key, "shape") == 0) {
            dimensions = read_numbers(r, shape, 2);
        } else if (strcmp(key, "data_offsets") == 0) {
            offsets = read_numbers(r, span, 2);
        } else {
            char *dtype = read_string(r);
            if (strcmp(dtype, "F32") != 0) die("%s: tensor %s is of type %s; expected F32", r->path, name, dtype);
            free(dtype);
            types++;
        }
        free(key);
    } while (accept(r, ','));
    expect(r, '}');
    if (dimensions == 1) shape[1] = shape[0], shape[0] = 1;
    if (shape[0] > INT32_MAX || shape[1] > INT32_MAX) bad_file(r, "a tensor is too large");
    if (dimensions < 0 || offsets < 0 || types != 1) bad_file(r, "a tensor has not just one dtype, shape and data_offsets");
    if (offsets != 2 || span[0] > span[1] || span[1] > r->size || span[1] - span[0] != 4 * shape[0] * shape[1])
        bad_file(r, "a tensor's place and shape do not fit; the file may be cut short");
    if (c->tensors == MOST_TENSORS) bad_file(r, "it has too many tensors");
    if (span[1] > r->used) r->used = span[1];
    float *at = new_tensor(c, name, strlen(name), (int)shape[0], (int)shape[1]);
    get_floats(at, r->data + span[0], shape[0] * shape[1]);
}

static unsigned char *read_bytes(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) die("%s: this checkpoint cannot be opened: %s", path, strerror(errno));
    if (fseek(f, 0, SEEK_END) != 0) die("%s: this checkpoint cannot be read: %s", path, strerror(errno));
    long end = ftell(f);
    rewind(f);
    *size = end > 0 && end < INT32_MAX ? (size_t)end : 0;
    unsigned char *bytes = allocate(*size, 1);
    if (fread(bytes, 1, *size, f) != *size) die("%s: this checkpoint cannot be read: %s", path, strerror(errno));
    fclose(f);
    return bytes;
}

Checkpoint checkpoint_read(const char *path)
{
    Checkpoint c = { .path = copy_of(path, strlen(path)) };
    Reader r = { .path = path };
    size_t size, length = 0;
    unsigned char *bytes = read_bytes(path, &size);
    if (size < 10) bad_file(&r, "it has less than ten bytes");
    for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
    if (length > size - 8) bad_file(&r, "its header would be longer than the file");
    r.at = (const char *)bytes + 8;
    r.end = r.at + length;
    r.data = bytes + 8 + length;
    r.size = size - 8 - length;
    expect(&r, '{');
    do {
        char *name = read_string(&r);
        expect(&r, ':');
        if (strcmp(name, "__metadata__") == 0) read_metadata(&r, &c);
        else read_tensor(&r, &c, name);
        free(name);
    } while (accept(&r, ','));
    expect(&r, '}');
    skip_space(&r);
    if (r.at != r.end) bad_file(&r, "its header goes on behind its end");
    if (r.used != r.size) bad_file(&r, "its tensors do not reach its end");
    free(bytes);
    return c;
}

/* ---- asking -------------------------------------------------------------------------------------------------------- */

const char *checkpoint_text(const Checkpoint *c, const char *key)
{
    for (int i = 0; i < c->metas; i++)
        if (strcmp(c->meta[i].key, key) == 0) return c->meta[i].text;
    die("%s: this checkpoint says nothing of '%s'; expected one that this program wrote", c->path, key);
}

void checkpoint_expect_model(const Checkpoint *c, const char *model)
{
    const char *text = checkpoint_text(c, "model");
    if (strcmp(text, model) != 0) die("%s: this is a checkpoint of '%s'; expected %s", c->path, text, model);
}

int checkpoint_int(const Checkpoint *c, const char *key, int low, int high)
{
    const char *text = checkpoint_text(c, key);
    char *end;
    long x = strtol(text, &end, 10);
    if (end == text || *end || x < low || x > high)
        die("%s: %s is '%s'; expected a number from %d to %d", c->path, key, text, low, high);
    return (int)x;
}

Vocab checkpoint_vocab(const Checkpoint *c)
{
    return vocab_of_utf8(checkpoint_text(c, "vocab"), c->path);
}

void checkpoint_get(const Checkpoint *c, const char *name, Matrix into)
{
    for (int i = 0; i < c->tensors; i++) {
        if (strcmp(c->tensor[i].name, name) != 0) continue;
        if (c->tensor[i].rows != into.rows || c->tensor[i].cols != into.cols)
            die("%s: tensor %s is (%d,%d); expected (%d,%d), so this is a checkpoint of another model", c->path, name,
                c->tensor[i].rows, c->tensor[i].cols, into.rows, into.cols);
        const float *at = c->tensor[i].at;
        for (int r = 0; r < into.rows; r++)
            for (int j = 0; j < into.cols; j++) mat_row(into, r)[j] = (real)*at++;
        return;
    }
    die("%s: there is no tensor %s in it, so this is a checkpoint of another model", c->path, name);
}

void checkpoint_get_params(const Checkpoint *c, Params *p)
{
    for (int i = 0; i < p->count; i++) checkpoint_get(c, p->item[i]->name, p->item[i]->var.value);
}

void checkpoint_free(Checkpoint *c)
{
    for (int i = 0; i < c->tensors; i++) free(c->tensor[i].name), free(c->tensor[i].at);
    for (int i = 0; i < c->metas; i++) free(c->meta[i].key), free(c->meta[i].text);
    free(c->path);
    *c = (Checkpoint){ 0 };
}
