/* numbers: 203004 → "doscientos tres mil cuatro". A million pairs, digits and Spanish words, each with one right answer.  */
#ifndef WORKBOOK_NUMBERS_H
#define WORKBOOK_NUMBERS_H

enum { NUMBERS = 1000000, NUMBER_ROOM = 70 };      /* 69 bytes the longest, 454454, and its final 0 */

/* number_words: the cardinal of 0 ≤ n < NUMBERS in room, UTF-8 with a final 0: lower case, one space between words, none
 * around them. No two numbers have the same words. Returns how many bytes, the 0 not counted. Aborts outside the range.
 *
 * The number stands alone, so it is masculine and ends in full: uno, veintiuno, ciento uno. Before mil, as before a noun, uno
 * loses its o: veintiún mil, treinta y un mil, ciento un mil. 1000 is mil, never "un mil". 100 is cien, and ciento when less
 * than a hundred comes behind it: cien mil, ciento dos mil.
 *
 * Source: Real Academia Española and ASALE, Ortografía de la lengua española (2010), chapter VIII, section 3.1. Where it
 * admits two spellings from 31 on, treinta y uno and treintaiuno, this is the one in three words.                         */
int number_words(int n, char room[NUMBER_ROOM]);

#endif
