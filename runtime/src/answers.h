/* What a model answers to made-up inputs, as hashes in its artifact: the same bits on every machine. */
#ifndef ES_ANSWERS_H
#define ES_ANSWERS_H

#include "error.h"
#include "memory.h"
#include "plan.h"

/* Checks the answers section of an artifact, which may be empty, against the outputs of its plan.
 * Returns ES_OK or ES_ERR_INVALID. */
es_status es_answers_check(es_bytes section, const es_plan *plan, es_error *error);

#endif
