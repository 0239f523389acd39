/* Which plan of an artifact this machine takes. */
#ifndef ES_CHOICE_H
#define ES_CHOICE_H

#include "container.h"
#include "plan.h"

typedef struct es_choice {
    es_plan plan;  /* its header */
    size_t number; /* among the plans of the artifact */
    size_t count;  /* of these */
} es_choice;

/* Checks the headers of all plans, and takes one that this machine runs: the first that was tuned for
 * its core, else the first.
 * choice: set on success only.
 * Returns ES_OK; ES_ERR_CPU or ES_ERR_UNSUPPORTED if it runs none; ES_ERR_INVALID or ES_ERR_LIMIT. */
es_status es_choose_plan(const es_container *container, es_choice *choice, es_error *error);

/* The name of an instruction set. Never NULL. */
const char *es_isa_name(es_isa isa);

#endif
