/* The strings of a plan: each once, in the order of their bytes, so that numbers compare as they do. */
#ifndef ES_STRINGS_H
#define ES_STRINGS_H

#include "error.h"
#include "memory.h"

typedef struct es_strings {
    const uint8_t *starts; /* u32 of each, in the file */
    const char *blob;
    size_t count;
} es_strings;

/* Checks all strings, in time linear in their bytes.
 * starts: one u32 for each of `count` strings; blob: what they point into.
 * strings: set on success only.
 * Returns ES_OK, ES_ERR_INVALID or ES_ERR_LIMIT. */
es_status es_strings_read(const uint8_t *starts, size_t count, es_bytes blob, es_strings *strings,
                          es_error *error);

/* A string by its number, NUL-terminated; NULL if there is none. */
const char *es_strings_at(const es_strings *strings, uint32_t number);

#endif
