/* arena: memory that is handed out in order and given back all at once.
 *
 * A training step makes thousands of small matrices and needs none of them afterwards. So they are not freed one by one:
 * an arena moves a pointer forward to allocate and sets it back to reset. Both are O(1), and nothing can leak.
 *
 * Invariants: every pointer handed out is aligned to 64 bytes (a cache line, and the widest vector register); it stays
 * valid, and does not move, until arena_reset or arena_free. The memory is not cleared.                                   */
#ifndef WORKBOOK_ARENA_H
#define WORKBOOK_ARENA_H

#include <stddef.h>

typedef struct ArenaBlock ArenaBlock;

typedef struct {
    ArenaBlock *newest;      /* the block in use, with the full ones behind it */
    size_t used;             /* bytes handed out since the last reset          */
    size_t peak;             /* the most that `used` has ever been             */
} Arena;                     /* {0} is an empty arena, ready for use           */

void *arena_take(Arena *arena, size_t bytes);      /* bytes, 64-aligned, not cleared; dies when there are none */
void  arena_reset(Arena *arena);                   /* gives everything back; keeps the memory for the next step */
void  arena_free(Arena *arena);                    /* gives the memory itself back                              */

#endif
