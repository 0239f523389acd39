/* On which cores a thread runs, and how urgent it is. */
#ifndef ES_PLACEMENT_H
#define ES_PLACEMENT_H

#include "error.h"

/* Returns ES_OK, or ES_ERR_ARGUMENT if es_place_thread would for any thread. */
es_status es_check_placement(const uint32_t *cores, size_t core_count, uint32_t priority,
                             es_error *error);

#endif
