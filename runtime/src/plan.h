/* The plan of an artifact, checked: its tensors, its kernel calls and what they may touch. */
#ifndef ES_PLAN_H
#define ES_PLAN_H

#include "container.h"
#include "error.h"
#include "memory.h"

typedef struct es_tensor {
    es_tensor_info info;
    size_t offset; /* in the arena */
} es_tensor;

typedef struct es_arg {
    es_space space;
    size_t offset;
    const char *name; /* what a message calls it; may be empty */
} es_arg;

typedef struct es_step {
    es_step_info info;
    size_t code_offset;
    size_t first_arg;
    size_t arg_count;
} es_step;

/* Offsets are multiples of ES_DATA_ALIGN and inside their space. Strings point into the file. */
typedef struct es_plan {
    es_bytes section; /* that it is read from */
    es_bytes code;    /* the section of its image */
    es_engine_id engine;
    es_isa isa;
    uint64_t cpu_features;
    uint32_t core; /* that it was tuned for; 0: any */
    size_t arena_bytes;
    size_t scratch_bytes;
    size_t input_count;
    size_t output_count;
    size_t step_count;
    size_t arg_count;
    size_t string_count;
    es_tensor *tensors; /* the inputs, then the outputs */
    es_step *steps;
    es_arg *args;
    uint8_t *named; /* of each string, whether a tensor is called so; while tensors are read */
} es_plan;

/* Checks the header of a plan, the extents of its tables, and its engine and image.
 * section: one of the container's.
 * plan: all but the four arrays; set on success only.
 * Returns ES_OK, ES_ERR_INVALID, ES_ERR_UNSUPPORTED or ES_ERR_LIMIT. */
es_status es_plan_read_header(const es_container *container, es_bytes section, es_plan *plan,
                              es_error *error);

/* Checks every record, and every index that a kernel will follow, and fills the arrays.
 * plan: as es_plan_read_header left it, with arrays for as many elements as it counts; `named` is zero.
 * Returns ES_OK, ES_ERR_INVALID, ES_ERR_UNSUPPORTED or ES_ERR_LIMIT. */
es_status es_plan_read_tables(const es_container *container, es_plan *plan, es_error *error);

#endif
