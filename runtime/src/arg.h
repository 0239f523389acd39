/* Proofs about the arguments of kernels, made once when an artifact is opened. */
#ifndef ES_ARG_H
#define ES_ARG_H

#include "error.h"
#include "format.h"
#include "memory.h"

/* The memory that arguments point into. */
typedef struct es_spaces {
    uint64_t arena_bytes;
    uint64_t scratch_bytes;
    es_bytes weights;
} es_spaces;

/* An argument and the words that name it in messages. */
typedef struct es_arg_site {
    const char *step_name;
    size_t step;
    size_t arg;
} es_arg_site;

/* Checks that an argument is aligned and inside its space, and that its indices are in range.
 * Returns ES_OK, ES_ERR_INVALID or ES_ERR_UNSUPPORTED. */
es_status es_arg_check(const es_file_arg *arg, const es_spaces *spaces, es_arg_site site,
                       es_error *error);

#endif
