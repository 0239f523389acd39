/* A model under test: what it is given, and what it gives on one thread. */
#ifndef SUBJECT_H
#define SUBJECT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgesparse.h"

typedef struct subject {
    es_model *model;
    es_input inputs[2];
    es_output expected[2];
    es_model_info info;
} subject;

/* Ends the program with `what`, unless it is so. */
static inline void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        _Exit(1); /* in a forked child too */
    }
}

static inline void make_outputs(const subject *of, es_output outputs[2])
{
    es_tensor_info info;
    memset(outputs, 0, 2 * sizeof outputs[0]);
    for (size_t i = 0; es_model_output(of->model, i, &info) == ES_OK; i++) {
        outputs[i] = (es_output){.data = calloc(1, info.size_bytes), .size_bytes = info.size_bytes};
    }
}

static inline void free_outputs(es_output outputs[2])
{
    for (size_t i = 0; i < 2; i++) {
        free(outputs[i].data);
    }
}

static inline es_status run_subject(const subject *of, es_session *session,
                                    const es_output outputs[2], es_error *error)
{
    return es_session_run(session, of->inputs, of->info.input_count, outputs, of->info.output_count,
                          error);
}

static inline void open_subject(subject *made, const char *path)
{
    es_error error;
    es_session *session;
    es_tensor_info info;
    require(es_model_open_file(path, 0, &made->model, &error) == ES_OK, error.message);
    es_model_describe(made->model, &made->info);
    for (size_t i = 0; es_model_input(made->model, i, &info) == ES_OK; i++) {
        uint8_t *const data = malloc(info.size_bytes);
        for (size_t at = 0; at < info.size_bytes; at++) {
            data[at] = (uint8_t)(at * 37 % 61);
        }
        made->inputs[i] = (es_input){.data = data, .size_bytes = info.size_bytes};
    }
    make_outputs(made, made->expected);
    require(es_session_open(made->model, 1, &session, &error) == ES_OK, error.message);
    require(run_subject(made, session, made->expected, &error) == ES_OK, error.message);
    es_session_close(session);
}

static inline void require_expected(const subject *of, const es_output outputs[2])
{
    for (size_t i = 0; i < of->info.output_count; i++) {
        require(memcmp(outputs[i].data, of->expected[i].data, outputs[i].size_bytes) == 0,
                "a run on several threads gives other bytes than one on a single thread");
    }
}

/* Runs `session` to its end, with the right outputs. */
static inline void require_run(const subject *of, es_session *session, const es_output outputs[2])
{
    es_error error;
    require(run_subject(of, session, outputs, &error) == ES_OK, error.message);
    require_expected(of, outputs);
}

#endif
