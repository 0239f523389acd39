/* The names of classes that an artifact carries. */
#ifndef ES_LABELS_H
#define ES_LABELS_H

#include "error.h"
#include "memory.h"
#include "plan.h"

/* Labels that have been checked. */
typedef struct es_labels {
    es_bytes text; /* each label is followed by NUL */
    size_t count;
    size_t output; /* the first with as many elements; 0 where there are no labels */
} es_labels;

/* Checks the labels section of an artifact, which may be empty, against the outputs of its plan.
 * labels: points into `section`; set on success only.
 * Returns ES_OK, ES_ERR_INVALID or ES_ERR_LIMIT. */
es_status es_labels_read(es_bytes section, const es_plan *plan, es_labels *labels, es_error *error);

#endif
