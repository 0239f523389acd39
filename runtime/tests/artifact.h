/* Bytes of an artifact that a test program changes. */
#ifndef ES_TESTS_ARTIFACT_H
#define ES_TESTS_ARTIFACT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "memory.h"
#include "sha256.h"

typedef struct content {
    uint8_t *data;
    size_t size;
} content;

static inline content read_file(const char *path)
{
    FILE *const file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    const size_t size = (size_t)ftell(file);
    content found = {.data = malloc(size > 0 ? size : 1), .size = size};
    rewind(file);
    if (found.data == NULL || fread(found.data, 1, size, file) != size) {
        exit(2);
    }
    fclose(file);
    return found;
}

static inline void hash(const uint8_t *data, size_t size, uint8_t digest[32])
{
    es_sha256 state;
    es_sha256_start(&state);
    es_sha256_add(&state, data, size);
    es_sha256_finish(&state, digest);
}

/* Makes all checksums match whatever the file now holds. */
static inline void rehash(content file)
{
    es_file_preamble preamble;
    memcpy(&preamble, file.data, sizeof preamble);
    size_t table_bytes = 0;
    for (uint32_t i = 0; i < preamble.section_count && i < ES_MAX_SECTIONS; i++) {
        es_file_section section;
        const size_t at = sizeof preamble + i * sizeof section;
        if (!es_range_fits(at, sizeof section, file.size)) {
            break;
        }
        memcpy(&section, file.data + at, sizeof section);
        if (es_range_fits(section.offset, section.size, file.size)) {
            hash(file.data + section.offset, (size_t)section.size, section.sha256);
            memcpy(file.data + at, &section, sizeof section);
        }
        table_bytes += sizeof section;
    }
    es_sha256 state;
    es_sha256_start(&state);
    es_sha256_add(&state, file.data, ES_PREAMBLE_HASHED_BYTES);
    es_sha256_add(&state, file.data + sizeof preamble, table_bytes);
    es_sha256_finish(&state, preamble.sha256);
    memcpy(file.data, &preamble, sizeof preamble);
}

#endif
