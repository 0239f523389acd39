/* Faults: what a kernel says when data hold a value that it cannot use. */
#ifndef ES_FAULT_H
#define ES_FAULT_H

#include <stdalign.h>
#include <stdatomic.h>

#include "error.h"
#include "format.h"
#include "plan.h"

/* What one thread met in the step that runs. A fault is found by whichever thread has its tile; of
 * all that were found in a step the one with the lowest element counts, so that the message does not
 * depend on the threads. */
typedef struct es_faults {
    alignas(ES_DATA_ALIGN) es_fault last; /* where kernels write */
    es_fault first; /* the one of the lowest element */
    int32_t status; /* of the kernel that found it; 0 if none did */
} es_faults;

/* Keeps faults->last, which a kernel returned with `status`, if it is the lowest so far. */
void es_faults_keep(es_faults *faults, int32_t status);

/* Describes the lowest fault of all threads, and forgets them.
 * Returns ES_ERR_INPUT, or ES_ERR_UNSUPPORTED if a kernel returned what this runtime does not know. */
es_status es_faults_report(es_faults *faults, uint32_t threads, const es_plan *plan, size_t step,
                           es_error *error);

#endif
