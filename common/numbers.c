/* Every word is written with a space behind it, and the last space of all makes way for the final 0: so nothing below has to
 * know whether it writes first, or last. `mil` says that the word mil comes next: then uno is un.                         */
#include "numbers.h"
#include "check.h"

#include <stdbool.h>

static const char *const low[30] = {
    "cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve",
    "diez", "once", "doce", "trece", "catorce", "quince", "dieciséis", "diecisiete", "dieciocho", "diecinueve",
    "veinte", "veintiuno", "veintidós", "veintitrés", "veinticuatro", "veinticinco", "veintiséis", "veintisiete", "veintiocho",
    "veintinueve",
};

static const char *const tens[10] = {      /* the first three are in low */
    [3] = "treinta", "cuarenta", "cincuenta", "sesenta", "setenta", "ochenta", "noventa",
};

static const char *const hundreds[10] = {
    [1] = "ciento", "doscientos", "trescientos", "cuatrocientos", "quinientos", "seiscientos", "setecientos", "ochocientos",
    "novecientos",
};

static char *put(char *to, const char *word)
{
    while (*word) *to++ = *word++;
    *to++ = ' ';
    return to;
}

static char *put_below_100(char *to, int n, bool mil)
{
    if (mil && n == 1) return put(to, "un");
    if (mil && n == 21) return put(to, "veintiún");
    if (n < 30) return put(to, low[n]);
    to = put(to, tens[n / 10]);
    return n % 10 == 0 ? to : put_below_100(put(to, "y"), n % 10, mil);
}

static char *put_below_1000(char *to, int n, bool mil)
{
    if (n == 100) return put(to, "cien");
    if (n < 100) return put_below_100(to, n, mil);
    to = put(to, hundreds[n / 100]);
    return n % 100 == 0 ? to : put_below_100(to, n % 100, mil);
}

int number_words(int n, char room[NUMBER_ROOM])
{
    CHECK(n >= 0 && n < NUMBERS, "%d has no words here: expected 0 to %d", n, NUMBERS - 1);
    char *end = room;
    if (n >= 2000) end = put_below_1000(end, n / 1000, true);
    if (n >= 1000) end = put(end, "mil");
    if (n < 1000 || n % 1000 > 0) end = put_below_1000(end, n % 1000, false);
    *--end = '\0';
    return (int)(end - room);
}
