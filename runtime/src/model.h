/* An open model, as its sessions see it. */
#ifndef ES_MODEL_H
#define ES_MODEL_H

#include <stdatomic.h>

#include "labels.h"
#include "memory.h"
#include "plan.h"

struct es_model {
    atomic_size_t references; /* the caller of es_model_open_*, and each session */
    es_plan plan;
    size_t number; /* of the plan, among those of the artifact */
    size_t plan_count;
    es_bytes code; /* executable */
    es_bytes weights;
    es_bytes indices;
    es_bytes manifest;
    es_labels labels;
    es_bytes answers;
    es_block file;         /* empty if the artifact is in the caller's memory */
    es_block code_copy;    /* empty if the code runs where the file is mapped */
    es_block weights_copy; /* empty if the weights are used in place */
    es_block indices_copy; /* empty if the indices are used in place */
    es_block self;         /* holds this struct and the arrays of the plan */
};

/* Keeps the model open until es_model_close is called once more. */
void es_model_retain(es_model *model);

#endif
