/* Where the tables of a plan lie in its section. */
#ifndef ES_TABLES_H
#define ES_TABLES_H

#include "error.h"
#include "memory.h"

typedef struct es_tables {
    es_file_plan counts;
    const uint8_t *engines;
    const uint8_t *images;
    const uint8_t *tensors;
    const uint8_t *steps;
    const uint8_t *args;
    const uint8_t *arrays;
    const uint8_t *string_starts;
    es_bytes strings;
} es_tables;

/* Checks the header of a plan: its counts, and that the tables fill the section.
 * Returns ES_OK, ES_ERR_INVALID or ES_ERR_LIMIT. */
es_status es_tables_find(es_bytes section, es_tables *tables, es_error *error);

#endif
