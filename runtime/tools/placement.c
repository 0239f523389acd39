#define _GNU_SOURCE
#include "placement.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "clock.h"

bool take_placement(es_pool_options *options, const char *name, const char *value)
{
    static uint32_t cores[ES_MAX_CORES];
    if (strcmp(name, "--cores") == 0) {
        options->core_count = parse_list(value, name, cores, ES_MAX_CORES);
        options->cores = cores;
    } else if (strcmp(name, "--spin-us") == 0) {
        options->spin_us = (uint32_t)parse_number(value, name, 0, ES_MAX_SPIN_US);
    } else if (strcmp(name, "--priority") == 0) {
        options->priority = (uint32_t)parse_number(value, name, 0, ES_MAX_PRIORITY);
    } else {
        return false;
    }
    return true;
}

/* Places the calling thread and all that it starts from now on. */
static es_status place(const es_pool_options *options, es_error *error)
{
    static cpu_set_t home;
    static bool was_bound;
    if (was_bound) {
        (void)sched_setaffinity(0, sizeof home, &home); /* it was allowed before */
    } else if (options->core_count > 0) {
        was_bound = sched_getaffinity(0, sizeof home, &home) == 0;
    }
    return es_place_thread(options->cores, options->core_count, options->priority, error);
}

es_status open_placed(const char *path, uint32_t flags, const es_pool_options *options, opened *made, es_error *error)
{
    es_pool_options inherited = *options; /* the others have what the calling thread has */
    inherited.core_count = 0;
    inherited.priority = 0;
    es_pool *pool = NULL;
    es_status status = place(options, error);
    const uint64_t start_ns = es_now_ns();
    if (status == ES_OK) {
        status = es_model_open_file(path, flags, &made->model, error);
    }
    if (status == ES_OK) {
        status = es_pool_open(&inherited, &pool, error);
    }
    if (status == ES_OK) {
        status = es_session_open_in(made->model, pool, &made->session, error);
    }
    made->ns = es_now_ns() - start_ns;
    es_pool_close(pool); /* the session keeps it */
    return status;
}

es_status open_requested(const char *path, const json_object *request, opened *made, es_error *error)
{
    static uint32_t cores[ES_MAX_CORES];
    const uint64_t threads = json_number(request, "threads", 1);
    es_pool_options options = ES_POOL_OPTIONS;
    options.threads = threads <= ES_MAX_THREADS ? (uint32_t)threads : 0;
    const json_field *const asked = json_field_of(request, "cores");
    if (asked != NULL && (!asked->is_list || asked->count < 1 || asked->count > ES_MAX_CORES)) {
        snprintf(error->message, sizeof error->message, "cores: expected a list of 1 to %d numbers",
                 (int)ES_MAX_CORES);
        return ES_ERR_ARGUMENT;
    }
    options.cores = cores;
    options.core_count = asked != NULL ? asked->count : 0;
    for (size_t i = 0; i < options.core_count; i++) {
        cores[i] = asked->numbers[i] < UINT32_MAX ? (uint32_t)asked->numbers[i] : UINT32_MAX;
    }
    return open_placed(path, 0, &options, made, error);
}
