/* A chain of blocks, each at least twice the size of the one before. arena_reset melts a chain of several into one block
 * of their common size, so that from the second step on a step that needs as much as the last runs in a single block.     */
#include "arena.h"
#include "check.h"

#include <stdint.h>
#include <stdlib.h>

enum { LINE = 64, FIRST_BLOCK = 1 << 20 };

struct ArenaBlock {
    ArenaBlock *older;
    size_t size, used;       /* bytes behind this header, and how many of them are taken */
};

static size_t round_up(size_t bytes)
{
    return (bytes + LINE - 1) / LINE * LINE;
}

static ArenaBlock *block_new(size_t size, ArenaBlock *older)
{
    ArenaBlock *block = size < SIZE_MAX / 2 ? aligned_alloc(LINE, LINE + size) : NULL;
    if (!block) die("out of memory: a block of %zu bytes could not be had", size);
    *block = (ArenaBlock){ .older = older, .size = size, .used = 0 };
    return block;
}

void *arena_take(Arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 4) die("out of memory: %zu bytes asked for at once", bytes);
    bytes = round_up(bytes);
    ArenaBlock *block = arena->newest;
    if (!block || block->size - block->used < bytes) {
        size_t size = block ? 2 * block->size : FIRST_BLOCK;
        block = arena->newest = block_new(size > bytes ? size : bytes, block);
    }
    void *p = (char *)block + LINE + block->used;      /* the header fills the first line, so p stays aligned */
    block->used += bytes;
    arena->used += bytes;
    if (arena->used > arena->peak) arena->peak = arena->used;
    return p;
}

void arena_reset(Arena *arena)
{
    ArenaBlock *block = arena->newest;
    if (block && block->older) {
        size_t total = 0;
        for (ArenaBlock *b = block; b; b = b->older) total += b->size;
        size_t peak = arena->peak;
        arena_free(arena);
        block = arena->newest = block_new(total, NULL);
        arena->peak = peak;
    }
    if (block) block->used = 0;
    arena->used = 0;
}

void arena_free(Arena *arena)
{
    for (ArenaBlock *b = arena->newest, *older; b; b = older) {
        older = b->older;
        free(b);
    }
    *arena = (Arena){ 0 };
}
