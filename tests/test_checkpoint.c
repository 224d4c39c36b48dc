/* Files that are written and read: a checkpoint comes back bit for bit; one that somebody else wrote in another order is
 * read as well; one that is cut, wrong or garbage ends the program with one line and status 2, never with a crash; output
 * files are there whole or not at all; and numbers in a CSV look as they should.
 *
 *     test_checkpoint              the tests
 *     test_checkpoint write PATH   a file for another reader of the format; tests/safetensors.sh drives these two
 *     test_checkpoint read PATH    the same contents from another writer                                                  */
#include "checkpoint.h"
#include "output.h"
#include "rng.h"
#include "unit.h"

#include <float.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifdef __has_feature
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif

/* A child takes ten times as long under the sanitizers. */
#if defined __SANITIZE_ADDRESS__ || HAS_FEATURE(address_sanitizer)
enum { MUTATIONS = 400 };
#else
enum { MUTATIONS = 2500 };
#endif

enum { FILE_ROOM = 1 << 17, PATH_ROOM = 256 };

static char folder[] = "/tmp/test_checkpoint.XXXXXX";

/* The path of a file in the folder of this run; good until the fourth call after it. */
static const char *in_folder(const char *name)
{
    static char room[4][PATH_ROOM];
    static int turn;
    char *path = room[turn++ % 4];
    snprintf(path, PATH_ROOM, "%s/%s", folder, name);
    return path;
}

static void write_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0, "%s cannot be written", path);
}

static size_t read_bytes(const char *path, unsigned char *bytes, size_t room)
{
    FILE *f = fopen(path, "rb");
    CHECK(f, "%s cannot be read", path);
    size_t size = fread(bytes, 1, room, f);
    fclose(f);
    return size;
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void expect_contents(const char *name, const char *want)
{
    unsigned char got[256];
    size_t size = exists(in_folder(name)) ? read_bytes(in_folder(name), got, sizeof got) : 0;
    EXPECT(size == strlen(want) && memcmp(got, want, size) == 0, "%s holds %zu bytes, not \"%s\"", name, size, want);
}

static void expect_absent(const char *name)
{
    EXPECT(!exists(in_folder(name)), "%s is there", name);
}

/* ---- children that die --------------------------------------------------------------------------------------------- */

/* LeakSanitizer asks this at the end of a process. One that dies does not tidy up before, and need not. */
static bool dies;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void) { return dies; }

static bool one_line(const char *said)
{
    const char *end = strchr(said, '\n');
    return end && end > said && end[1] == '\0';
}

static void expect_death(void (*call)(void), const char *text, const char *what)
{
    char said[9000];
    dies = true;
    int status = unit_child(call, said, sizeof said);
    dies = false;
    EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%s: status 0x%x, \"%.200s\"", what, (unsigned)status, said);
    EXPECT(one_line(said), "%s: \"%.200s\" is not one line", what, said);
    EXPECT(strstr(said, text), "%s: \"%.200s\" has no \"%s\"", what, said, text);
}

/* ---- a file with everything in it ---------------------------------------------------------------------------------- */

static const struct { const char *key, *text; } metas[] = {
    { "model", "test" }, { "hidden", "192" }, { "empty", "" }, { "quotes", "say \"hi\", 'now'" },
    { "slashes", "C:\\dir\\ a/b" },
    { "lines", "a\nb\tc\rd\x01\x1f\x7f" }, { "spanish", "ñandú — «¿Qué?» 😀" }, { "key \"with\\ ñ", "{}[],:" },
};
static const struct { const char *name; int rows, cols; } tensors[] = {
    { "embedding", 3, 5 }, { "lstm.Wx", 2, 8 }, { "row", 1, 7 }, { "column", 4, 1 }, { "one", 1, 1 }, { "special", 1, 8 },
};
enum { METAS = sizeof metas / sizeof *metas, TENSORS = sizeof tensors / sizeof *tensors };

/* Number i of tensor k; tests/safetensors_check.py has the same ones. */
static float number(int k, int i)
{
    const float special[] = { 0, -0.0f, 0x1p-149f, FLT_MAX, -FLT_MAX, INFINITY, -INFINITY, 1.0f / 3 };
    return k == TENSORS - 1 ? special[i] : (float)((37 * i + 11 * k) % 101 - 50) / 8;
}

static Checkpoint full_checkpoint(void)
{
    Checkpoint c = { 0 };
    for (int i = 0; i < METAS; i++) checkpoint_set(&c, metas[i].key, "%s", metas[i].text);
    for (int k = 0; k < TENSORS; k++) {
        Matrix m = mat_new(tensors[k].rows, tensors[k].cols);
        for (int i = 0; i < m.rows * m.cols; i++) m.at[i] = (real)number(k, i);
        checkpoint_add(&c, tensors[k].name, m);
        mat_free(&m);
    }
    return c;
}

static void write_full(const char *path)
{
    Checkpoint c = full_checkpoint();
    checkpoint_write(&c, NULL, path);
    checkpoint_free(&c);
}

static void expect_full(const char *path)
{
    Checkpoint c = checkpoint_read(path);
    EXPECT(c.metas == METAS && c.tensors == TENSORS, "%d metadata, %d tensors", c.metas, c.tensors);
    for (int i = 0; i < METAS; i++) {
        const char *text = checkpoint_text(&c, metas[i].key);
        EXPECT(strcmp(text, metas[i].text) == 0, "%s: \"%s\", not \"%s\"", metas[i].key, text, metas[i].text);
    }
    for (int k = 0; k < TENSORS; k++) {
        Matrix m = mat_new(tensors[k].rows, tensors[k].cols);
        checkpoint_get(&c, tensors[k].name, m);
        for (int i = 0; i < m.rows * m.cols; i++) {
            float got = (float)m.at[i], want = number(k, i);
            EXPECT_SAME_BYTES(&got, &want, sizeof got, "%s, number %d", tensors[k].name, i);
        }
        mat_free(&m);
    }
    EXPECT(checkpoint_int(&c, "hidden", 1, 192) == 192, "hidden");
    checkpoint_expect_model(&c, "test");
    checkpoint_free(&c);
    EXPECT(c.tensors == 0 && c.metas == 0 && !c.path, "checkpoint_free leaves an empty one");
}

static void test_round_trip(void)
{
    static unsigned char first[FILE_ROOM], second[FILE_ROOM];
    write_full(in_folder("full"));
    expect_full(in_folder("full"));
    expect_absent("full.partial");
    size_t size = read_bytes(in_folder("full"), first, sizeof first);
    Checkpoint c = checkpoint_read(in_folder("full"));
    checkpoint_write(&c, folder, "again");                       /* what was read is written as the same file */
    checkpoint_free(&c);
    EXPECT(read_bytes(in_folder("again"), second, sizeof second) == size, "its size");
    EXPECT_SAME_BYTES(second, first, size, "written again");
    EXPECT(first[0] % 8 == 0 && first[8] == '{', "the header is a multiple of 8 and begins with {");
}

static void test_views_and_params(void)
{
    Params p = { 0 }, q = { 0 };
    Params *both[] = { &p, &q };
    for (int i = 0; i < 2; i++) {
        param(both[i], "a", 3, 4, init_normal(1));
        param(both[i], "b.c", 1, 5, init_uniform(2));
        params_allocate(both[i], (uint64_t)i + 1);
    }
    for (size_t i = 0; i < p.size; i++) p.value[i] = (real)(float)p.value[i];        /* F32 is what the file holds */
    Checkpoint c = { 0 };
    checkpoint_add_params(&c, &p);
    checkpoint_add(&c, "columns", mat_cols(p.item[0]->var.value, 1, 2));
    checkpoint_write(&c, folder, "params");
    checkpoint_free(&c);
    c = checkpoint_read(in_folder("params"));
    checkpoint_get_params(&c, &q);
    EXPECT_SAME_BYTES(q.value, p.value, p.size * sizeof *p.value, "parameters");
    Matrix wide = mat_new(3, 6), part = mat_cols(wide, 2, 2);
    checkpoint_get(&c, "columns", part);
    for (int r = 0; r < 3; r++)
        for (int j = 0; j < 6; j++) {
            real want = j == 2 || j == 3 ? mat_row(p.item[0]->var.value, r)[j - 1] : 0;
            EXPECT(mat_row(wide, r)[j] == want, "view at %d, %d", r, j);
        }
    mat_free(&wide);
    checkpoint_free(&c);
    params_free(&p), params_free(&q);
}

/* Symbols that mean something to a reader of JSON or of a text come back, each with its id. */
static void test_vocab(void)
{
    static const uint32_t symbols[] = U"\nñ\"\\\r/€😀\xfeff\1 a";
    enum { V = sizeof symbols / sizeof *symbols - 1 };
    Vocab vocab = vocab_of_symbols(symbols, V);
    Checkpoint c = { 0 };
    checkpoint_set_vocab(&c, &vocab);
    checkpoint_write(&c, folder, "vocab");
    checkpoint_free(&c);
    vocab_free(&vocab);
    c = checkpoint_read(in_folder("vocab"));
    EXPECT(strcmp(checkpoint_text(&c, "vocab"), "\nñ\"\\\r/€😀\xef\xbb\xbf\1 a") == 0, "\"%s\"", checkpoint_text(&c, "vocab"));
    vocab = checkpoint_vocab(&c);
    EXPECT(vocab.size == V, "%d symbols, not %d", vocab.size, V);
    if (vocab.size == V) EXPECT_SAME_BYTES(vocab.code, symbols, V * sizeof *symbols, "symbols");
    checkpoint_free(&c);
    EXPECT(vocab_id(&vocab, 0x20ac) == 6, "it outlives the checkpoint, where € is %d", vocab_id(&vocab, 0x20ac));
    vocab_free(&vocab);
}

/* ---- files written by hand ----------------------------------------------------------------------------------------- */

/* A file with this header and `size` bytes of data, 0, 1, 2, …; its length is said to be `lie` more than it is. */
static const char *by_hand(const char *json, size_t size, long lie)
{
    static unsigned char bytes[FILE_ROOM];
    const char *path = in_folder("by_hand");
    size_t length = strlen(json);
    uint64_t said = (uint64_t)((long)length + lie);
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(said >> 8 * i);
    CHECK(8 + length + size <= sizeof bytes, "%zu bytes are too many", length + size);
    memcpy(bytes + 8, json, length);
    for (size_t i = 0; i < size; i++) bytes[8 + length + i] = (unsigned char)i;
    write_bytes(path, bytes, 8 + length + size);
    return path;
}

static void expect_number(const Checkpoint *c, const char *name, int rows, int cols, unsigned first_byte)
{
    Matrix m = mat_new(rows, cols);
    checkpoint_get(c, name, m);
    for (int i = 0; i < rows * cols; i++) {
        float got = (float)m.at[i];
        unsigned char want[4], *bytes = (unsigned char *)&got;
        for (unsigned b = 0; b < 4; b++) want[b] = (unsigned char)(first_byte + 4 * (unsigned)i + b);
        uint32_t bits = (uint32_t)want[0] | (uint32_t)want[1] << 8 | (uint32_t)want[2] << 16 | (uint32_t)want[3] << 24;
        EXPECT(memcmp(bytes, &bits, 4) == 0, "%s, number %d is %g", name, i, (double)got);
    }
    mat_free(&m);
}

static void test_other_writers(void)
{
    Checkpoint c = checkpoint_read(by_hand(
        " {\n\t\"second\" : { \"data_offsets\" : [ 8 , 32 ],\r\n \"shape\":[ 2,3 ] , \"dtype\" : \"F32\" } ,"
        "\"vector\":{\"shape\":[2],\"dtype\":\"F32\",\"data_offsets\":[0,8]},"
        "\"__metadata__\" : { \"a\" : \"\\u00f1\\u00D1\\ud83d\\uDE00\\u20ac\\/\\b\\f\\n\\r\\t\\\"\\\\\" ,"
        " \"\\u0061b\":\"\" } ,"
        "\"single\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[32,36]},\"none\":{\"dtype\":\"F32\",\"shape\":[0,3],"
        "\"data_offsets\":[36,36]} } \n ", 36, 0));
    expect_number(&c, "second", 2, 3, 8);
    expect_number(&c, "vector", 1, 2, 0);
    expect_number(&c, "single", 1, 1, 32);
    EXPECT(strcmp(checkpoint_text(&c, "a"), "ñÑ😀€/\b\f\n\r\t\"\\") == 0, "escapes: \"%s\"", checkpoint_text(&c, "a"));
    EXPECT(checkpoint_text(&c, "ab")[0] == '\0', "an escape in a key");
    EXPECT(c.tensors == 4, "%d tensors", c.tensors);
    checkpoint_free(&c);
    c = checkpoint_read(by_hand("{\"__metadata__\":{},"
        "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, 0));
    EXPECT(c.metas == 0 && c.tensors == 1, "empty metadata");
    checkpoint_free(&c);
}

/* ---- what is refused ----------------------------------------------------------------------------------------------- */

static struct { const char *path, *name; int rows, cols, low, high; } asked;

static void call_read(void)     { checkpoint_read(asked.path); }

static void call_get(void)
{
    Checkpoint c = checkpoint_read(asked.path);
    checkpoint_get(&c, asked.name, mat_new(asked.rows, asked.cols));
}

static void call_text(void)
{
    Checkpoint c = checkpoint_read(asked.path);
    checkpoint_text(&c, asked.name);
}

static void call_model(void)
{
    Checkpoint c = checkpoint_read(asked.path);
    checkpoint_expect_model(&c, asked.name);
}

static void call_int(void)
{
    Checkpoint c = checkpoint_read(asked.path);
    checkpoint_int(&c, asked.name, asked.low, asked.high);
}

static void call_vocab(void)
{
    Checkpoint c = checkpoint_read(asked.path);
    checkpoint_vocab(&c);
}

static void expect_refused(const char *json, size_t size, long lie, const char *what)
{
    asked.path = by_hand(json, size, lie);
    expect_death(call_read, asked.path, what);
}

static void test_asking_for_what_is_not_there(void)
{
    static const struct { const char *name; int rows, cols; const char *text; } wrong[] = {
        { "embeddin", 3, 5, "embeddin" }, { "embedding2", 3, 5, "embedding2" }, { "", 1, 1, "another model" },
        { "embedding", 5, 3, "(3,5); expected (5,3)" }, { "embedding", 3, 4, "(3,4)" }, { "embedding", 1, 15, "(1,15)" },
    };
    static const struct { int low, high; } ranges[] = { { 1, 191 }, { 193, 400 } };
    static const char *const keys[] = { "empty", "quotes", "spanish" };
    asked.path = in_folder("full");
    write_full(asked.path);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        asked.name = wrong[i].name, asked.rows = wrong[i].rows, asked.cols = wrong[i].cols;
        expect_death(call_get, wrong[i].text, wrong[i].name);
        expect_death(call_get, folder, "the file is named");
    }
    asked.name = "nothing";
    expect_death(call_text, "'nothing'", "unknown key");
    for (int i = 0; i < 3; i++) {
        asked.name = (const char *const[]){ "tes", "test2", "" }[i];
        expect_death(call_model, "full: this is a checkpoint of 'test'; expected ", "another model");
        expect_death(call_model, asked.name, "the model that was expected");
    }
    asked.name = "hidden";
    for (int i = 0; i < 2; i++) {
        asked.low = ranges[i].low, asked.high = ranges[i].high;
        expect_death(call_int, "hidden is '192'", "out of range");
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        asked.name = keys[i];
        expect_death(call_int, keys[i], "no number");
    }
    asked.name = "lines";
    expect_death(call_int, "lines", "a text of several lines in the message");
    expect_death(call_vocab, "'vocab'", "no vocabulary");
    asked.path = by_hand("{\"__metadata__\":{\"task\":\"test\"}}", 0, 0), asked.name = "test";
    expect_death(call_model, "'model'", "of no model");
    asked.path = by_hand("{\"__metadata__\":{\"vocab\":\"\"}}", 0, 0);
    expect_death(call_vocab, asked.path, "an empty vocabulary");
}

#define TENSOR(dtype, shape, span) "{\"x\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" span "}}"

static void test_wrong_headers(void)
{
    static const char *const wrong[] = {
        TENSOR("\"F64\"", "[1,1]", "[0,8]"), TENSOR("\"BF16\"", "[1,2]", "[0,4]"), TENSOR("\"f32\"", "[1,1]", "[0,4]"),
        TENSOR("\"\"", "[1,1]", "[0,4]"), TENSOR("\"F3\\n2\"", "[1,1]", "[0,4]"), TENSOR("32", "[1,1]", "[0,4]"),
        TENSOR("\"F32\"", "[1,2,1]", "[0,8]"), TENSOR("\"F32\"", "[3,1]", "[0,8]"), TENSOR("\"F32\"", "[2,1]", "[0,12]"),
        TENSOR("\"F32\"", "[2,1]", "[8,0]"), TENSOR("\"F32\"", "[2,1]", "[64,72]"), TENSOR("\"F32\"", "[2,1]", "[60,68]"),
        TENSOR("\"F32\"", "[2,1]", "[8]"), TENSOR("\"F32\"", "[2,1]", "[]"), TENSOR("\"F32\"", "[2,1]", "[0,8,8]"),
        TENSOR("\"F32\"", "[-1,1]", "[0,4]"), TENSOR("\"F32\"", "[1.0,1]", "[0,4]"), TENSOR("\"F32\"", "[1,]", "[0,4]"),
        TENSOR("\"F32\"", "[2147483648,2]", "[0,0]"), TENSOR("\"F32\"", "[4294967296,4294967296]", "[0,0]"),
        TENSOR("\"F32\"", "[1073741824,1073741824]", "[0,0]"), TENSOR("\"F32\"", "[2147483647,2147483647]", "[0,4]"),
        TENSOR("\"F32\"", "[0,4294967296]", "[0,0]"), TENSOR("\"F32\"", "[99999999999999999999999999,1]", "[0,4]"),
        TENSOR("\"F32\"", "[1,1]", "[0,18446744073709551620]"), TENSOR("\"F32\"", "[1,1]", "[18446744073709551612,0]"),
        TENSOR("\"F32\"", "null", "[0,4]"), TENSOR("\"F32\"", "[1,1", "[0,4]"), TENSOR("\"F32\"", "1,1]", "[0,4]"),
        "{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1]}}", "{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}",
        "{\"x\":{\"shape\":[1,1],\"data_offsets\":[0,4]}}", "{\"x\":{}}", "{\"x\":3}", "{\"x\"}", "{x:{}}", "[]", "null",
        "{{}}", "{\"__metadata__\":{\"a\":1}}", "{\"__metadata__\":{\"a\"}}", "{\"__metadata__\":\"a\"}",
        "{\"__metadata__\":{\"a\":\"b\",}}",
        "{\"__metadata__\":{\"a\":\"\\u12\"}}", "{\"__metadata__\":{\"a\":\"\\uzzzz\"}}", "{\"__metadata__\":{\"a\":\"b",
        "{\"__metadata__\":{\"a\":\"b\\", "{\"__metadata__\":{\"a\":\"b\\u", "{\"__metadata__\":{\"a\":\"\\ud800\\u\"}}",
        "          ",
        "{", "{\"", "{\"x", "{\"x\":", "{\"x\":{", "{\"x\":{\"shape\":[", "{\"x\":{\"shape\":[1", "{}", "}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) expect_refused(wrong[i], 64, 0, wrong[i]);
}

/* The header's length is not what is said: the data would be read from the wrong place. */
static void test_length_lies(void)
{
    static const char json[] = "{\"x\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}}    ";
    long length = (long)strlen(json);
    char what[64];
    for (long lie = -length; lie <= 12; lie++) {
        snprintf(what, sizeof what, "a length of %ld, not %ld", length + lie, length);
        if (lie) expect_refused(json, 8, lie, what);
    }
    static const long far[] = { 1L << 30, INT32_MAX, LONG_MAX / 2, -1000000, LONG_MAX - 100 };
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) expect_refused(json, 8, far[i], "a length from elsewhere");
}

static void test_every_cut(void)
{
    static unsigned char bytes[FILE_ROOM];
    write_full(in_folder("full"));
    size_t size = read_bytes(in_folder("full"), bytes, sizeof bytes);
    asked.path = in_folder("cut");
    for (size_t left = 0; left < size; left++) {
        char what[64];
        snprintf(what, sizeof what, "cut to %zu of %zu bytes", left, size);
        write_bytes(asked.path, bytes, left);
        expect_death(call_read, "/cut", what);
    }
}

static void test_no_file(void)
{
    asked.path = in_folder("nowhere");
    expect_death(call_read, "nowhere", "no such file");
    asked.path = folder;
    expect_death(call_read, folder, "a folder");
    asked.path = "/dev/null";
    expect_death(call_read, "/dev/null", "a device");
}

/* One more than there is room for. */
static void test_too_many(void)
{
    static char json[64 * (MOST_TENSORS + 1)];                                /* no entry is longer than 64 bytes */
    size_t n = (size_t)snprintf(json, sizeof json, "{\"__metadata__\":{");
    for (int i = 0; i <= MOST_META; i++) n += (size_t)snprintf(json + n, sizeof json - n, "%s\"%d\":\"\"", i ? "," : "", i);
    snprintf(json + n, sizeof json - n, "}}");
    expect_refused(json, 0, 0, "metadata");
    n = (size_t)snprintf(json, sizeof json, "{");
    for (int i = 0; i <= MOST_TENSORS; i++)
        n += (size_t)snprintf(json + n, sizeof json - n, "%s\"%d\":{\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "", i);
    snprintf(json + n, sizeof json - n, "}");
    expect_refused(json, 0, 0, "tensors");
}

/* ---- random damage ------------------------------------------------------------------------------------------------- */

static void call_use_all(void)
{
    Checkpoint c = checkpoint_read(asked.path);
    for (int k = 0; k < c.tensors; k++) {
        Matrix m = mat_new(c.tensor[k].rows, c.tensor[k].cols);
        checkpoint_get(&c, c.tensor[k].name, m);
        mat_free(&m);
    }
    for (int k = 0; k < TENSORS; k++) {
        Matrix m = mat_new(tensors[k].rows, tensors[k].cols);
        checkpoint_get(&c, tensors[k].name, m);
        mat_free(&m);
    }
    for (int i = 0; i < METAS; i++) checkpoint_text(&c, metas[i].key);
    checkpoint_int(&c, "hidden", 1, 4096);
    checkpoint_free(&c);
}

/* Changes, inserts or removes a few bytes, most of them in the header. Returns the new size. */
static size_t damage(unsigned char *bytes, size_t size, size_t header, Rng *rng)
{
    static const char telling[] = "{}[]\",:\\u0129-.nF\n ";
    for (int times = 1 + rng_below(rng, 4); times > 0; times--) {
        size_t at = (size_t)rng_below(rng, (int)(rng_below(rng, 8) ? header : size));
        int any = rng_below(rng, 256), one = telling[rng_below(rng, (int)sizeof telling - 1)], how = rng_below(rng, 10);
        if (how == 0) memmove(bytes + at + 1, bytes + at, size++ - at);
        if (how == 1) memmove(bytes + at, bytes + at + 1, --size - at);
        else bytes[at] = (unsigned char)(rng_below(rng, 2) ? any : one);
    }
    return size;
}

static void test_random_damage(void)
{
    static unsigned char whole[FILE_ROOM], bytes[FILE_ROOM];
    char said[9000];
    int refused = 0;
    write_full(in_folder("full"));
    size_t size = read_bytes(in_folder("full"), whole, sizeof whole), header = 8 + whole[0] + 256u * whole[1];
    Rng rng = rng_new(17, 0);
    asked.path = in_folder("damaged");
    for (int i = 0; i < MUTATIONS; i++) {
        memcpy(bytes, whole, size);
        write_bytes(in_folder("damaged"), bytes, damage(bytes, size, header, &rng));
        dies = true;
        int status = unit_child(call_use_all, said, sizeof said), code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        dies = false;
        refused += code == 2;
        EXPECT(code == 0 || code == 2, "damage %d: status 0x%x, \"%.500s\"", i, (unsigned)status, said);
        EXPECT(code == 2 ? one_line(said) : !*said, "damage %d: code %d, \"%.500s\"", i, code, said);
    }
    EXPECT(refused > MUTATIONS / 4 && refused < MUTATIONS, "%d of %d refused", refused, MUTATIONS);
}

/* ---- output files -------------------------------------------------------------------------------------------------- */

static const char *out_name;

static void call_die_while_writing(void)
{
    Output *first = output_open(folder, out_name), *second = output_open(folder, "second");
    fputs("new", output_file(first)), fputs("new", output_file(second));
    fflush(output_file(first));
    die("enough");
}

static void call_exit_while_writing(void)
{
    fputs("new", output_file(output_open(folder, out_name)));
    exit(2);
}

static void write_out(const char *name, const char *text)
{
    Output *out = output_open(folder, name);
    fputs(text, output_file(out));
    output_close(out);
}

static void test_whole_or_not_at_all(void)
{
    char said[512], partial[32];
    static const char *const names[] = { "fresh", "earlier" };
    write_out("earlier", "old");
    for (int i = 0; i < 2; i++) {
        out_name = names[i];
        snprintf(partial, sizeof partial, "%s.partial", out_name);
        expect_death(call_die_while_writing, "enough", "die while two are open");
        expect_absent(partial), expect_absent("second.partial"), expect_absent("second");
        dies = true;
        unit_child(call_exit_while_writing, said, sizeof said);
        dies = false;
        expect_absent(partial);
    }
    expect_absent("fresh");
    expect_contents("earlier", "old");
    Output *out = output_open(NULL, in_folder("earlier"));
    fputs("new", output_file(out));
    expect_contents("earlier", "old");
    output_close(out);
    expect_contents("earlier", "new");
    expect_absent("earlier.partial");
    output_try(folder, "earlier"), output_try(folder, "fresh");
    expect_contents("earlier", "new");
    expect_absent("fresh"), expect_absent("fresh.partial"), expect_absent("earlier.partial");
}

static void test_many_at_once(void)
{
    Output *out[16];
    char name[16][16];
    for (int i = 0; i < 16; i++) {
        snprintf(name[i], sizeof name[i], "many%d", i);
        out[i] = output_open(folder, name[i]);
        fputs(name[i], output_file(out[i]));
    }
    for (int i = 15; i >= 0; i--) output_close(out[i]);
    for (int i = 0; i < 16; i++) expect_contents(name[i], name[i]);
}

static struct { const char *folder, *name; bool only_try; } place;

static void call_write_there(void)
{
    if (place.only_try) output_try(place.folder, place.name);
    else output_close(output_open(place.folder, place.name));
}

static void expect_unwritable(const char *where, const char *name, const char *text)
{
    place.folder = where, place.name = name;
    for (int i = 0; i < 2; i++) {
        place.only_try = i;
        expect_death(call_write_there, text, place.only_try ? "output_try" : "output_open and output_close");
    }
}

static void test_folders(void)
{
    static char deep[PATH_ROOM], name[5000];
    snprintf(deep, sizeof deep, "%s/a/b//c/", folder);
    for (int i = 0; i < 2; i++) {                                /* made, and there already */
        Output *out = output_open(deep, "file");
        fputs("x", output_file(out));
        output_close(out);
        expect_contents("a/b/c/file", "x");
    }
    write_bytes(in_folder("plain"), "x", 1);
    snprintf(deep, sizeof deep, "%s/plain", folder);
    expect_unwritable(deep, "file", "plain");
    snprintf(deep, sizeof deep, "%s/plain/below/it", folder);
    expect_unwritable(deep, "file", "plain");
    snprintf(deep, sizeof deep, "%s/plain/file", folder);
    expect_unwritable(NULL, deep, "plain/file");
    expect_unwritable(NULL, in_folder("no/such/folder/file"), "no/such/folder/file");
    mkdir(in_folder("taken"), 0777);                             /* a folder has the file's name */
    expect_unwritable(folder, "taken", "taken");
    expect_absent("taken.partial");
    expect_contents("plain", "x");
    memset(name, 'n', sizeof name - 1);
    expect_unwritable(folder, name, "nnnn");
}

/* A file size limit stands for a full disk. */
static void call_write_much(void)
{
    struct rlimit least = { 4096, 4096 };
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &least);
    Output *out = output_open(folder, "big");
    for (int i = 0; i < 100000; i++) fprintf(output_file(out), "%d\n", i);
    output_close(out);
}

static void call_write_little(void)
{
    struct rlimit least = { 512, 512 };                          /* the message on stderr is in a file, too, and shorter */
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &least);
    Output *out = output_open(folder, "big");
    for (int i = 0; i < 1000; i++) fputc('x', output_file(out));      /* nothing fails before the buffer is flushed */
    output_close(out);
}

static void call_write_tensors(void)
{
    struct rlimit least = { 16384, 16384 };
    Checkpoint c = { 0 };
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &least);
    checkpoint_add(&c, "x", mat_new(100, 100));
    checkpoint_write(&c, folder, "big");
}

static void test_full_disk(void)
{
    void (*const calls[])(void) = { call_write_much, call_write_little, call_write_tensors };
    write_out("big", "old");
    for (int i = 0; i < 3; i++) {
        expect_death(calls[i], "/big: ", "the file is named");
        expect_death(calls[i], "too large", "and the reason");
        expect_contents("big", "old");
        expect_absent("big.partial");
    }
}

/* ---- numbers and curves -------------------------------------------------------------------------------------------- */

static void test_csv_number(void)
{
    static const struct { double x; const char *want; } cases[] = {
        { 0, "0" }, { 1, "1" }, { -2.5, "-2.5" }, { 1.0 / 3, "0.333333333" }, { 123456789, "123456789" }, { 1e10, "1e+10" },
        { 1e-5, "1e-05" }, { 0.1, "0.1" }, { (double)0.1f, "0.100000001" }, { 1e300, "1e+300" },
        { 0x1p-149, "1.40129846e-45" }, { 2147483647, "2.14748365e+09" },
        { INFINITY, "inf" }, { -INFINITY, "-inf" }, { NAN, "nan" }, { -NAN, "nan" }, { NONE, "" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        csv_number(f, cases[i].x);
        fclose(f);
        EXPECT(strcmp(text, cases[i].want) == 0, "%g is written \"%s\", not \"%s\"", cases[i].x, text, cases[i].want);
        free(text);
    }
    Rng rng = rng_new(5, 0);
    for (int i = 0; i < 1000; i++) {                             /* nine digits give a float back */
        float x = (float)rng_normal(&rng) * powf(10, (float)(rng_below(&rng, 60) - 30));
        char text[64] = "";
        FILE *f = fmemopen(text, sizeof text, "w");
        csv_number(f, (double)x);
        fclose(f);
        EXPECT(strtof(text, NULL) == x, "%s is not %.17g", text, (double)x);
    }
}

static void test_curve(void)
{
    Curve curve = curve_open(folder, UINT64_MAX);
    curve_add(&curve, (CurveRow){ .model = "rnn", .split = "train", .epoch = 2, .step = 30, .tokens = 3000000000, .loss = 0,
                                  .grad_norm = 0.25, .lr = 1e-3 });
    curve_add(&curve, (CurveRow){ .model = "uniform", .split = "baseline", .loss = 2 });
    curve_close(&curve);
    unsigned char got[512] = { 0 };
    char want[512];
    snprintf(want, sizeof want, "model,seed,epoch,step,tokens,split,loss,perplexity,grad_norm,learning_rate\n"
             "rnn,18446744073709551615,2,30,3000000000,train,0,1,0.25,0.001\n"
             "uniform,18446744073709551615,0,0,0,baseline,2,%.9g,,\n", perplexity(2));
    size_t size = read_bytes(in_folder("curve.csv"), got, sizeof got - 1);
    EXPECT(size == strlen(want) && memcmp(got, want, size) == 0, "curve.csv is\n%s", (char *)got);
    for (double x = -5; x < 20; x += 0.37) EXPECT_NEAR(perplexity(x) / exp(x), 1, 2e-6, "perplexity of %g", x);
}

/* ---- main ---------------------------------------------------------------------------------------------------------- */

static const char *read_path;
static void test_read(void)     { expect_full(read_path); }

static void run_all(void)
{
    RUN(test_round_trip);
    RUN(test_views_and_params);
    RUN(test_vocab);
    RUN(test_other_writers);
    RUN(test_asking_for_what_is_not_there);
    RUN(test_wrong_headers);
    RUN(test_length_lies);
    RUN(test_every_cut);
    RUN(test_no_file);
    RUN(test_too_many);
    RUN(test_random_damage);
    RUN(test_whole_or_not_at_all);
    RUN(test_many_at_once);
    RUN(test_folders);
    RUN(test_full_disk);
    RUN(test_csv_number);
    RUN(test_curve);
}

/* Every name that a test leaves in the folder. */
static void tidy(void)
{
    char command[PATH_ROOM];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0) printf("%s is left behind\n", folder);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "write") == 0) return write_full(argv[2]), 0;
    if (argc == 3 && strcmp(argv[1], "read") == 0) {
        read_path = argv[2];
        RUN(test_read);
        return unit_result();
    }
    CHECK(mkdtemp(folder), "%s cannot be made", folder);
    run_all();
    tidy();
    return unit_result();
}
