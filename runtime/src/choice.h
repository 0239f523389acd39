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
 * refused: a bit for each plan, by its number, that is not to be taken.
 * choice: set on success only.
 * Returns ES_OK; ES_ERR_CPU or ES_ERR_UNSUPPORTED if it runs none; ES_ERR_INVALID or ES_ERR_LIMIT. */
es_status es_choose_plan(const es_container *container, uint64_t refused, es_choice *choice,
                         es_error *error);

/* Whether a plan that fails so only asks for another runtime, so that another plan may be taken. */
bool es_asks_for_more(const es_container *container, es_status status);

/* The name of an instruction set. Never NULL. */
const char *es_isa_name(es_isa isa);

#endif
