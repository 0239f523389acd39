/* The outer layer of an artifact: preamble, section table, checksums. */
#ifndef ES_CONTAINER_H
#define ES_CONTAINER_H

#include "error.h"
#include "memory.h"

/* The sections of an artifact, by kind; those it lacks have size 0. */
typedef struct es_container {
    es_bytes sections[ES_SECTION_KIND_END];
    uint32_t numbers[ES_SECTION_KIND_END]; /* their places in the table */
} es_container;

/* Checks the preamble and the table, and finds the sections.
 * flags: ES_OPEN_*.
 * container: points into `file`; set on success only.
 * Returns ES_OK, ES_ERR_TRUNCATED, ES_ERR_BAD_MAGIC, ES_ERR_VERSION, ES_ERR_CORRUPT, ES_ERR_INVALID,
 * ES_ERR_UNSUPPORTED or ES_ERR_LIMIT. */
es_status es_container_read(es_bytes file, uint32_t flags, es_container *container,
                            es_error *error);

#endif
