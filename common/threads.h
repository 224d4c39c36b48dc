/* threads: a few workers that share out a loop.
 *
 * Threads here split work and never a sum: each piece of a parallel loop owns the outputs it writes, so the bits of a
 * result depend neither on the number of threads nor on which of them did what.                                          */
#ifndef WORKBOOK_THREADS_H
#define WORKBOOK_THREADS_H

void threads_start(int count);             /* count ≥ 1, the caller's own thread included; 0 = one a processor */
void threads_stop(void);                   /* joins the workers; loops then run on the caller alone            */
int  threads_count(void);

/* parallel_for: body(begin, end, arg) over pieces that together cover 0 … n-1, and returns when all are done. With several
 * threads a piece has at most `grain` items; one thread alone, or a loop inside a loop, takes them all at once. One thread
 * of the program may call it at a time.                                                                                   */
typedef void LoopBody(int begin, int end, void *arg);
void parallel_for(int n, int grain, LoopBody *body, void *arg);

#endif
