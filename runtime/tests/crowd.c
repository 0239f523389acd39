/* Four threads run two models at once: crowd A.esp B.esp RUNS. Prints how often a session was busy. */
#include <pthread.h>
#include <stdatomic.h>

#include "subject.h"

enum { THREADS = 4, SESSION_THREADS = 3 };

static subject subjects[2];
static es_session *shared[2]; /* all threads try to run them */
static size_t run_count;
static atomic_size_t busy_count;

static void try_shared(size_t i, es_output outputs[2])
{
    es_error error;
    const es_status status = run_subject(&subjects[i], shared[i], outputs, &error);
    if (status == ES_ERR_BUSY) {
        atomic_fetch_add(&busy_count, 1);
        return;
    }
    require(status == ES_OK, error.message);
    require_expected(&subjects[i], outputs);
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
            require_run(&subjects[i], sessions[i], outputs[i]);
            try_shared(i, outputs[i]);
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
    for (size_t i = 0; i < 2; i++) {
        es_error error;
        open_subject(&subjects[i], arguments[1 + i]);
        require(es_session_open(subjects[i].model, 2, &shared[i], &error) == ES_OK, error.message);
    }
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        require(pthread_create(&threads[i], NULL, hammer, NULL) == 0, "no thread");
    }
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < 2; i++) {
        es_model_close(subjects[i].model); /* its session keeps it */
        es_session_close(shared[i]);
    }
    printf("%zu\n", atomic_load(&busy_count));
    return 0;
}
