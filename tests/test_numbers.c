/* What numbers.h promises: the words of a number are those of the Academia, and only the number's own.
 *
 * Two witnesses. A table written by hand has the boundaries. And a reader, which goes the other way on another principle: it
 * knows no hundreds, tens and units of a number, only words, each with a value and with the kinds of words that may follow
 * it. All million numbers are read back. The sentences that the reader's grammar allows are counted too, and are a million:
 * so it takes what number_words writes and nothing else, and a wrong word could pass only if both had it.                 */
#include "numbers.h"
#include "unit.h"

#include <signal.h>
#include <string.h>

/* ---- by hand ------------------------------------------------------------------------------------------------------- */

static const struct { int n; const char *words; } pairs[] = {
    { 0, "cero" }, { 1, "uno" }, { 2, "dos" }, { 3, "tres" }, { 4, "cuatro" }, { 5, "cinco" }, { 6, "seis" }, { 7, "siete" },
    { 8, "ocho" }, { 9, "nueve" }, { 10, "diez" }, { 11, "once" }, { 12, "doce" }, { 13, "trece" }, { 14, "catorce" },
    { 15, "quince" }, { 16, "dieciséis" }, { 17, "diecisiete" }, { 18, "dieciocho" }, { 19, "diecinueve" }, { 20, "veinte" },
    { 21, "veintiuno" }, { 22, "veintidós" }, { 23, "veintitrés" }, { 24, "veinticuatro" }, { 25, "veinticinco" },
    { 26, "veintiséis" }, { 27, "veintisiete" }, { 28, "veintiocho" }, { 29, "veintinueve" }, { 30, "treinta" },
    { 31, "treinta y uno" }, { 32, "treinta y dos" }, { 33, "treinta y tres" }, { 36, "treinta y seis" }, { 40, "cuarenta" },
    { 41, "cuarenta y uno" }, { 50, "cincuenta" }, { 55, "cincuenta y cinco" }, { 60, "sesenta" }, { 67, "sesenta y siete" },
    { 70, "setenta" }, { 76, "setenta y seis" }, { 80, "ochenta" }, { 88, "ochenta y ocho" }, { 90, "noventa" },
    { 99, "noventa y nueve" },
    { 100, "cien" }, { 101, "ciento uno" }, { 102, "ciento dos" }, { 110, "ciento diez" }, { 111, "ciento once" },
    { 116, "ciento dieciséis" }, { 120, "ciento veinte" }, { 121, "ciento veintiuno" }, { 131, "ciento treinta y uno" },
    { 199, "ciento noventa y nueve" }, { 200, "doscientos" }, { 201, "doscientos uno" }, { 222, "doscientos veintidós" },
    { 300, "trescientos" }, { 323, "trescientos veintitrés" }, { 400, "cuatrocientos" },
    { 444, "cuatrocientos cuarenta y cuatro" }, { 500, "quinientos" }, { 501, "quinientos uno" },
    { 555, "quinientos cincuenta y cinco" }, { 600, "seiscientos" }, { 626, "seiscientos veintiséis" }, { 700, "setecientos" },
    { 714, "setecientos catorce" }, { 800, "ochocientos" }, { 890, "ochocientos noventa" }, { 900, "novecientos" },
    { 999, "novecientos noventa y nueve" },
    { 1000, "mil" }, { 1001, "mil uno" }, { 1002, "mil dos" }, { 1016, "mil dieciséis" }, { 1021, "mil veintiuno" },
    { 1031, "mil treinta y uno" }, { 1100, "mil cien" }, { 1101, "mil ciento uno" }, { 1605, "mil seiscientos cinco" },
    { 1999, "mil novecientos noventa y nueve" }, { 2000, "dos mil" }, { 2001, "dos mil uno" }, { 2100, "dos mil cien" },
    { 9999, "nueve mil novecientos noventa y nueve" }, { 10000, "diez mil" }, { 11000, "once mil" }, { 15000, "quince mil" },
    { 16000, "dieciséis mil" }, { 20000, "veinte mil" }, { 20001, "veinte mil uno" }, { 21000, "veintiún mil" },
    { 21001, "veintiún mil uno" }, { 21021, "veintiún mil veintiuno" }, { 22000, "veintidós mil" },
    { 23023, "veintitrés mil veintitrés" }, { 30000, "treinta mil" }, { 31000, "treinta y un mil" },
    { 31031, "treinta y un mil treinta y uno" }, { 41101, "cuarenta y un mil ciento uno" },
    { 99999, "noventa y nueve mil novecientos noventa y nueve" },
    { 100000, "cien mil" }, { 100001, "cien mil uno" }, { 100100, "cien mil cien" }, { 101000, "ciento un mil" },
    { 101101, "ciento un mil ciento uno" }, { 102000, "ciento dos mil" }, { 111000, "ciento once mil" },
    { 121000, "ciento veintiún mil" }, { 131000, "ciento treinta y un mil" }, { 200000, "doscientos mil" },
    { 200001, "doscientos mil uno" }, { 201000, "doscientos un mil" }, { 203004, "doscientos tres mil cuatro" },
    { 221000, "doscientos veintiún mil" }, { 454454, "cuatrocientos cincuenta y cuatro mil cuatrocientos cincuenta y cuatro" },
    { 500000, "quinientos mil" }, { 521021, "quinientos veintiún mil veintiuno" },
    { 700777, "setecientos mil setecientos setenta y siete" },
    { 891891, "ochocientos noventa y un mil ochocientos noventa y uno" }, { 901901, "novecientos un mil novecientos uno" },
    { 999000, "novecientos noventa y nueve mil" },
    { 999999, "novecientos noventa y nueve mil novecientos noventa y nueve" },
};

static void test_by_hand(void)
{
    char room[NUMBER_ROOM];
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        number_words(pairs[i].n, room);
        EXPECT(strcmp(room, pairs[i].words) == 0, "%d: expected \"%s\", got \"%s\"", pairs[i].n, pairs[i].words, room);
    }
}

/* ---- the reader ---------------------------------------------------------------------------------------------------- */

/* Kinds of words, as bits. ONE and UN stand apart from the other digits, for UN must have mil behind it and ONE may not. */
enum {
    ZERO = 1, ONE = 2, UN = 4, DIGIT = 8, ONE_20 = 16, UN_20 = 32, TEEN = 64, TENS = 128, AND = 256, CIEN = 512, CIENTO = 1024,
    HUNDREDS = 2048, MIL = 4096, END = 8192,
    BELOW_100 = ONE | DIGIT | ONE_20 | UN_20 | TEEN | TENS,    /* what may begin a number below 100; un begins none */
    BELOW_1000 = BELOW_100 | CIEN | CIENTO | HUNDREDS,
    START = ZERO | BELOW_1000 | MIL,
};

static const struct { const char *word; int value, kind, next; } dictionary[] = {
    { "mil", 1000, MIL, BELOW_1000 | END },
    { "y", 0, AND, ONE | UN | DIGIT },
    { "novecientos", 900, HUNDREDS, BELOW_100 | UN | MIL | END }, { "ochocientos", 800, HUNDREDS, BELOW_100 | UN | MIL | END },
    { "setecientos", 700, HUNDREDS, BELOW_100 | UN | MIL | END }, { "seiscientos", 600, HUNDREDS, BELOW_100 | UN | MIL | END },
    { "quinientos", 500, HUNDREDS, BELOW_100 | UN | MIL | END },  { "cuatrocientos", 400, HUNDREDS, BELOW_100 | UN | MIL | END },
    { "trescientos", 300, HUNDREDS, BELOW_100 | UN | MIL | END }, { "doscientos", 200, HUNDREDS, BELOW_100 | UN | MIL | END },
    { "ciento", 100, CIENTO, BELOW_100 | UN },                    { "cien", 100, CIEN, MIL | END },
    { "noventa", 90, TENS, AND | MIL | END },   { "ochenta", 80, TENS, AND | MIL | END },
    { "setenta", 70, TENS, AND | MIL | END },   { "sesenta", 60, TENS, AND | MIL | END },
    { "cincuenta", 50, TENS, AND | MIL | END }, { "cuarenta", 40, TENS, AND | MIL | END },
    { "treinta", 30, TENS, AND | MIL | END },
    { "veintinueve", 29, TEEN, MIL | END },     { "veintiocho", 28, TEEN, MIL | END },    { "veintisiete", 27, TEEN, MIL | END },
    { "veintiséis", 26, TEEN, MIL | END },      { "veinticinco", 25, TEEN, MIL | END },   { "veinticuatro", 24, TEEN, MIL | END },
    { "veintitrés", 23, TEEN, MIL | END },      { "veintidós", 22, TEEN, MIL | END },     { "veintiuno", 21, ONE_20, END },
    { "veintiún", 21, UN_20, MIL },             { "veinte", 20, TEEN, MIL | END },
    { "diecinueve", 19, TEEN, MIL | END },      { "dieciocho", 18, TEEN, MIL | END },     { "diecisiete", 17, TEEN, MIL | END },
    { "dieciséis", 16, TEEN, MIL | END },       { "quince", 15, TEEN, MIL | END },        { "catorce", 14, TEEN, MIL | END },
    { "trece", 13, TEEN, MIL | END },           { "doce", 12, TEEN, MIL | END },          { "once", 11, TEEN, MIL | END },
    { "diez", 10, TEEN, MIL | END },
    { "nueve", 9, DIGIT, MIL | END },           { "ocho", 8, DIGIT, MIL | END },          { "siete", 7, DIGIT, MIL | END },
    { "seis", 6, DIGIT, MIL | END },            { "cinco", 5, DIGIT, MIL | END },         { "cuatro", 4, DIGIT, MIL | END },
    { "tres", 3, DIGIT, MIL | END },            { "dos", 2, DIGIT, MIL | END },
    { "uno", 1, ONE, END },                     { "un", 1, UN, MIL },                     { "cero", 0, ZERO, END },
};
enum { WORDS = sizeof dictionary / sizeof *dictionary };

/* The word at s, up to a space or the end, and in *length its bytes; WORDS where the dictionary has it not. */
static int word_at(const char *s, size_t *length)
{
    for (int w = 0; w < WORDS; w++) {
        size_t i = 0;
        while (dictionary[w].word[i] && dictionary[w].word[i] == s[i]) i++;
        if (dictionary[w].word[i] == '\0' && (s[i] == ' ' || s[i] == '\0')) return *length = i, w;
    }
    return WORDS;
}

/* The number that s says, or -1. Values add up; mil multiplies what came before it, or 1, and comes once. */
static int number_read(const char *s)
{
    int thousands = 0, sum = 0, allowed = START;
    for (size_t length;; s += length + 1) {
        int w = word_at(s, &length);
        if (w == WORDS || !(dictionary[w].kind & allowed)) return -1;
        allowed = dictionary[w].next;
        if (dictionary[w].kind != MIL) sum += dictionary[w].value;
        else if (thousands > 0) return -1;
        else thousands = 1000 * (sum > 0 ? sum : 1), sum = 0;
        if (s[length] == '\0') return allowed & END ? thousands + sum : -1;
    }
}

/* How many sentences go on from here: words of the kinds that are allowed, and the end where it is. */
static long count_sentences(int allowed, bool mil_was)
{
    long count = (allowed & END) != 0;
    for (int w = 0; w < WORDS; w++) {
        bool mil = dictionary[w].kind == MIL;
        if (dictionary[w].kind & allowed && !(mil && mil_was)) count += count_sentences(dictionary[w].next, mil_was || mil);
    }
    return count;
}

static void test_read_back(void)
{
    char room[NUMBER_ROOM];
    for (int n = 0; n < NUMBERS; n++) {
        number_words(n, room);
        int read = number_read(room);
        EXPECT(read == n, "%d is \"%s\", which reads as %d", n, room, read);
    }
    long sentences = count_sentences(START, false);
    EXPECT(sentences == NUMBERS, "the reader takes %ld sentences", sentences);
}

static void test_reader_rejects(void)
{
    static const char *const wrong[] = {
        "", " ", "un", "y", "ciento", "veintiún", "treinta y", "ciento un", "mil un", "mil veintiún", "mil ciento",
        "un mil", "uno mil", "veintiuno mil", "treinta y uno mil", "ciento mil", "ciento uno mil", "cien un mil", "cero mil",
        "mil mil", "dos mil mil", "mil dos mil", "mil cero", "cero uno", "cien uno", "cien dos mil", "mil y uno", "ciento y uno",
        "treinta uno", "treinta y once", "treinta y veintiuno", "treinta y y uno", "veinte y uno", "veinte uno", "diez y seis",
        "dos tres", "dos ciento", "dos cientos", "tres doscientos", "doscientos cien", "doscientos ciento uno", "uno dos",
        "y dos", " dos", "dos ", "dos  mil", "dos\tmil", "Dos", "dosmil", "treintaiuno", "dieciseis", "veintidos", "veintiun mil",
        "veintiûn mil", "seicientos", "nuevecientos", "sietecientos", "cincocientos", "doscientas", "una", "dos millones", "mi",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int read = number_read(wrong[i]);
        EXPECT(read == -1, "\"%s\" reads as %d", wrong[i], read);
    }
}

/* ---- the bytes ----------------------------------------------------------------------------------------------------- */

/* Letters of a-z and áéíóúñ in words with one space between two; how many characters, or -1. */
static int characters(const char *s)
{
    int count = 0;
    bool letter = false;
    for (; *s; s++, count++) {
        if (*s == ' ' ? !letter : !(*s >= 'a' && *s <= 'z') && !(*s == '\xc3' && *++s && strchr("\xa1\xa9\xad\xb3\xba\xb1", *s)))
            return -1;
        letter = *s != ' ';
    }
    return letter ? count : -1;
}

static void test_spelling_and_room(void)
{
    EXPECT(characters("ñu áéíóú z") == 10 && characters("") < 0 && characters("ü") < 0 && characters("A") < 0 &&
           characters(" a") < 0 && characters("a ") < 0 && characters("a  a") < 0 && characters("\xc3") < 0, "characters counts");
    char room[NUMBER_ROOM + 1];
    room[NUMBER_ROOM] = '!';
    int longest = 0, most = 0, at = -1, at_most = -1, as_long = 0;
    for (int n = 0; n < NUMBERS; n++) {
        int length = number_words(n, room), count = characters(room);
        EXPECT((size_t)length == strlen(room), "%d: %d bytes told, \"%s\" has %zu", n, length, room, strlen(room));
        EXPECT(count > 0, "%d: \"%s\" has wrong characters", n, room);
        as_long = length > longest ? 1 : as_long + (length == longest);
        if (length > longest) longest = length, at = n;
        if (count > most) most = count, at_most = n;
    }
    EXPECT(room[NUMBER_ROOM] == '!', "a byte beyond the room was written");
    EXPECT(longest + 1 == NUMBER_ROOM, "the longest, %d, has %d bytes and a 0, in a room of %d", at, longest, NUMBER_ROOM);
    EXPECT(at == 454454 && as_long == 1, "454454 alone is the longest: %d is, and %d are as long", at, as_long);
    EXPECT(at_most == at && most == longest, "in characters too: %d has %d, and %d bytes", at_most, most, longest);
}

/* ---- the range ----------------------------------------------------------------------------------------------------- */

static int outside;

static void call_outside(void)
{
    char room[NUMBER_ROOM];
    number_words(outside, room);
}

static void test_range(void)
{
    static const int numbers[] = { -1, NUMBERS, -2147483647 - 1, 2147483647 };
    for (int i = 0; i < 4; i++) {
        char said[512], name[16];
        outside = numbers[i];
        snprintf(name, sizeof name, ": %d has", outside);
        int status = unit_child(call_outside, said, sizeof said);
        EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%d: status 0x%x, \"%s\"", outside, (unsigned)status, said);
        EXPECT(strstr(said, "check failed") && strstr(said, name), "\"%s\" has no \"%s\"", said, name);
    }
}

int main(void)
{
    RUN(test_by_hand);
    RUN(test_read_back);
    RUN(test_reader_rejects);
    RUN(test_spelling_and_room);
    RUN(test_range);
    return unit_result();
}
