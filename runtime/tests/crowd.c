/* Four threads run two models at once: crowd A.esp B.esp RUNS. Prints how often a session was busy. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edgesparse.h"

enum { THREADS = 4, SESSION_THREADS = 3 };

/* A model, the bytes of its input, and the outputs of a run on one thread. */
typedef struct subject {
    es_model *model;
    es_session *shared; /* all threads try to run it */
    es_input inputs[2];
    es_output expected[2];
    es_model_info info;
} subject;

static subject subjects[2];
static size_t run_count;
static atomic_size_t busy_count;

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "crowd: %s\n", what);
        exit(1);
    }
}

static void make_outputs(const subject *of, es_output outputs[2])
{
    es_tensor_info info;
    for (size_t i = 0; es_model_output(of->model, i, &info) == ES_OK; i++) {
        outputs[i] = (es_output){.data = calloc(1, info.size_bytes), .size_bytes = info.size_bytes};
    }
}

static void prepare(subject *made, const char *path)
{
    es_error error;
    es_session *session;
    es_tensor_info info;
    require(es_model_open_file(path, 0, &made->model, &error) == ES_OK, "open failed");
    es_model_describe(made->model, &made->info);
    for (size_t i = 0; es_model_input(made->model, i, &info) == ES_OK; i++) {
        uint8_t *const data = malloc(info.size_bytes);
        for (size_t at = 0; at < info.size_bytes; at++) {
            data[at] = (uint8_t)(at * 37 % 61);
        }
        made->inputs[i] = (es_input){.data = data, .size_bytes = info.size_bytes};
    }
    make_outputs(made, made->expected);
    require(es_session_open(made->model, 1, &session, &error) == ES_OK, "session failed");
    require(es_session_run(session, made->inputs, made->info.input_count, made->expected,
                           made->info.output_count, &error) == ES_OK,
            "run failed");
    es_session_close(session);
    require(es_session_open(made->model, 2, &made->shared, &error) == ES_OK, "session failed");
}

static void run_and_compare(const subject *of, es_session *session, es_output outputs[2])
{
    es_error error;
    const es_status status = es_session_run(session, of->inputs, of->info.input_count, outputs,
                                            of->info.output_count, &error);
    if (status == ES_ERR_BUSY && session == of->shared) {
        atomic_fetch_add(&busy_count, 1);
        return;
    }
    require(status == ES_OK, error.message);
    for (size_t i = 0; i < of->info.output_count; i++) {
        require(memcmp(outputs[i].data, of->expected[i].data, outputs[i].size_bytes) == 0,
                "a run on several threads gives other bytes than one on a single thread");
    }
}

static void *hammer(void *argument)
{
    es_session *sessions[2];
    es_output outputs[2][2];
    es_error error;
    for (size_t i = 0; i < 2; i++) {
        require(es_session_open(subjects[i].model, SESSION_THREADS, &sessions[i], &error) == ES_OK,
                error.message);
        make_outputs(&subjects[i], outputs[i]);
    }
    for (size_t run = 0; run < run_count; run++) {
        for (size_t i = 0; i < 2; i++) {
            run_and_compare(&subjects[i], sessions[i], outputs[i]);
            run_and_compare(&subjects[i], subjects[i].shared, outputs[i]);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        es_session_close(sessions[i]);
    }
    return argument;
}

int main(int count, char **arguments)
{
    if (count != 4) {
        return 2;
    }
    run_count = strtoul(arguments[3], NULL, 10);
    prepare(&subjects[0], arguments[1]);
    prepare(&subjects[1], arguments[2]);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        require(pthread_create(&threads[i], NULL, hammer, NULL) == 0, "no thread");
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < 2; i++) {
        es_model_close(subjects[i].model); /* its session keeps it */
        es_session_close(subjects[i].shared);
    }
    printf("%zu\n", atomic_load(&busy_count));
    return 0;
}
