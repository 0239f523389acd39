/* Pages from the system, overflow-safe ranges, and the layout of one block for many things. */
#ifndef ES_MEMORY_H
#define ES_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format.h"

/* Whole pages of the system. An empty block has no data and may be released. */
typedef struct es_block {
    void *data;
    size_t size_bytes;
    size_t guard_bytes; /* before and behind it, of pages that nobody may touch */
} es_block;

/* A read-only range of bytes inside a block or the caller's memory. */
typedef struct es_bytes {
    const uint8_t *data;
    size_t size;
} es_bytes;

/* Whether [offset, offset + size) lies in [0, total). */
static inline bool es_range_fits(uint64_t offset, uint64_t size, uint64_t total)
{
    return offset <= total && size <= total - offset;
}

static inline bool es_is_zero(const void *data, size_t size_bytes)
{
    const uint8_t *bytes = data;
    uint8_t any = 0;
    for (size_t i = 0; i < size_bytes; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

/* Places arrays one after another in a block that does not exist yet. */
typedef struct es_layout {
    size_t size_bytes;
    bool overflow; /* the block would not fit the address space */
} es_layout;

/* Reserves count * size bytes, aligned to ES_DATA_ALIGN, and returns their offset in the block. */
static inline size_t es_layout_add(es_layout *layout, size_t count, size_t size)
{
    const size_t offset = layout->size_bytes;
    size_t bytes;
    size_t end;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(offset, bytes, &end) ||
        __builtin_add_overflow(end, ES_DATA_ALIGN - 1, &end)) {
        layout->overflow = true;
        return 0;
    }
    layout->size_bytes = end & ~(size_t)(ES_DATA_ALIGN - 1);
    return offset;
}

#endif
