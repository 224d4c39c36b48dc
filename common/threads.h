/* threads: a few workers that share out a loop.
 *
 * Threads here split work and never a sum: each piece of a parallel loop owns the outputs it writes, so the bits of a
 * result depend neither on the number of threads nor on which of them did what.                                          */
#ifndef WORKBOOK_THREADS_H
#define WORKBOOK_THREADS_H

void threads_start(int count);             /* count ≥ 1, the caller's own thread included; 0 = one a processor */
void threads_stop(void);                   /* joins the workers; loops then run on the caller alone            */
int  threads_count(void);

/* parallel_for: body(begin, end, arg) over pieces of at most `grain` items that together cover 0 … n-1. Returns when all
 * are done. Runs on the caller alone when one piece is enough, and inside another parallel_for.                           */
typedef void LoopBody(int begin, int end, void *arg);
void parallel_for(int n, int grain, LoopBody *body, void *arg);

#endif
