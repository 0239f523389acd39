/* The outer layer of an artifact: preamble, section table, checksums. */
#ifndef ES_CONTAINER_H
#define ES_CONTAINER_H

#include "error.h"
#include "memory.h"

typedef struct es_section {
    uint32_t kind;
    es_bytes content;
} es_section;

/* The sections of an artifact, as its table lists them. */
typedef struct es_container {
    uint16_t minor; /* version */
    uint32_t section_count;
    es_section sections[ES_MAX_SECTIONS];
} es_container;

/* Checks the preamble and the table, and finds the sections.
 * flags: ES_OPEN_*.
 * container: points into `file`; set on success only.
 * Returns ES_OK, ES_ERR_TRUNCATED, ES_ERR_BAD_MAGIC, ES_ERR_VERSION, ES_ERR_CORRUPT, ES_ERR_INVALID,
 * ES_ERR_UNSUPPORTED or ES_ERR_LIMIT. */
es_status es_container_read(es_bytes file, uint32_t flags, es_container *container,
                            es_error *error);

/* The first section of a kind; of size 0 if there is none. */
es_bytes es_container_find(const es_container *container, es_section_kind kind);

#endif
