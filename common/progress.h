/* progress: time, a line that tells how far a run is, and Ctrl-C.                                                         */
#ifndef WORKBOOK_PROGRESS_H
#define WORKBOOK_PROGRESS_H

#include <stdbool.h>

double seconds_now(void);                  /* of a clock that only goes forward */

/* progress_line: on a terminal, rewrites one line on stderr, at most ten times a second: label, part done, loss, time left.
 * Silent elsewhere. progress_end wipes the line.                                                                          */
void progress_line(const char *label, long done, long total, double loss);
void progress_end(void);

/* After interrupt_catch, Ctrl-C no longer kills the program: interrupted() turns true, and the training loop finishes its
 * step, writes what it has and ends with status 130. A second Ctrl-C kills.                                               */
void interrupt_catch(void);
bool interrupted(void);
enum { INTERRUPTED = 130 };

#endif
