/* Proofs about arrays of indices, made once when an artifact is opened: kernels follow them as they are. */
#ifndef ES_INDICES_H
#define ES_INDICES_H

#include "error.h"
#include "format.h"
#include "memory.h"

/* Checks that the arrays of a plan lie in `section`, ascending and disjoint, and that every index is
 * in bounds; in time linear in the section.
 * table: `count` records of the file.
 * Returns ES_OK, ES_ERR_INVALID or ES_ERR_UNSUPPORTED. */
es_status es_indices_check(const uint8_t *table, size_t count, es_bytes section, es_error *error);

#endif
