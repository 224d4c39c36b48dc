/* check: the two ways in which a program of this workbook stops.
 *
 *     CHECK      the programmer is wrong: a shape does not fit. Prints file, line, the condition and the values; aborts.
 *     die        the user is wrong: a file is missing, a number is out of range. One line on stderr, exit status 2.
 *
 * A third ending, memory that cannot be had, is die's too: allocate() never returns NULL.                                */
#ifndef WORKBOOK_CHECK_H
#define WORKBOOK_CHECK_H

#include <stddef.h>

#define STRING_OF_(x) #x
#define STRING_OF(x)  STRING_OF_(x)
#define HERE          __FILE__ ":" STRING_OF(__LINE__)     /* "chapters/…/name.c:123" */

#ifdef __GNUC__
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#else
#define PRINTF_LIKE(f, a)
#endif

/* CHECK(cond, fmt, …): go on if cond holds, else abort with the message. CHECK_AT names another place: the caller's.      */
#define CHECK(cond, ...)           CHECK_AT(HERE, cond, __VA_ARGS__)
#define CHECK_AT(where, cond, ...) ((cond) ? (void)0 : check_failed(where, #cond, __VA_ARGS__))

_Noreturn void check_failed(const char *where, const char *cond, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* die: "program: message" on stderr, exit status 2. Unfinished output files are removed on the way out (output.h).        */
_Noreturn void die(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* program_name: what die puts in front of its line; the last part of path is kept. path must outlive the program.         */
void program_name(const char *path);

/* allocate: count × size bytes, zeroed, aligned to 64. Dies when there are none. The caller owns them and calls free.        */
void *allocate(size_t count, size_t size);

#endif
