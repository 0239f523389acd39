/* Sessions that share a pool.
 *
 *   shared crowd MODEL MODEL RUNS   four threads open, run and close sessions of two models in one pool
 *   shared order MODEL              closes a model, a pool and two sessions in every order
 *   shared options                  options that are refused
 *   shared fork MODEL               forks beside runs
 *   shared cancel MODEL             cancels a thread that waits for its turn
 *   shared refuse                   the system refuses cores and priorities (the linker wraps its functions)
 *
 * A child that hangs is ended by its alarm. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.h"

enum { CALLERS = 4, THREADS = 3, FORKS = 10, PATIENCE_S = 20 };

static subject subjects[2];
static es_output outputs[2][2];
static es_pool *pool;
static size_t run_count;
static atomic_bool done;
static atomic_int refusal; /* the errno with which the system refuses; 0 if it does not */

int __real_sched_setaffinity(pid_t thread, size_t size, const cpu_set_t *set);
int __real_setpriority(__priority_which_t which, id_t who, int value);

int __wrap_sched_setaffinity(pid_t thread, size_t size, const cpu_set_t *set)
{
    errno = atomic_load(&refusal);
    return errno != 0 ? -1 : __real_sched_setaffinity(thread, size, set);
}

int __wrap_setpriority(__priority_which_t which, id_t who, int value)
{
    errno = atomic_load(&refusal);
    return errno != 0 ? -1 : __real_setpriority(which, who, value);
}

static es_pool_options with_threads(uint32_t threads)
{
    es_pool_options options = ES_POOL_OPTIONS;
    options.threads = threads;
    return options;
}

static es_pool *open_pool(void)
{
    const es_pool_options options = with_threads(THREADS);
    es_error error;
    es_pool *opened;
    require(es_pool_open(&options, &opened, &error) == ES_OK, error.message);
    return opened;
}

static es_session *open_session(size_t number)
{
    es_error error;
    es_session *session;
    require(es_session_open_in(subjects[number].model, pool, &session, &error) == ES_OK, error.message);
    return session;
}

static void *hammer(void *argument)
{
    es_output own[2][2];
    make_outputs(&subjects[0], own[0]);
    make_outputs(&subjects[1], own[1]);
    for (size_t run = 0; run < run_count; run++) {
        es_session *const sessions[2] = {open_session(0), open_session(1)};
        for (size_t i = 0; i < 8; i++) {
            require_run(&subjects[i % 2], sessions[i % 2], own[i % 2]);
        }
        es_session_close(sessions[run % 2]);
        es_session_close(sessions[1 - run % 2]);
    }
    free_outputs(own[0]);
    free_outputs(own[1]);
    return argument;
}

static void crowd(void)
{
    pthread_t threads[CALLERS];
    es_session *const kept = open_session(0);
    for (size_t i = 0; i < CALLERS; i++) {
        require(pthread_create(&threads[i], NULL, hammer, NULL) == 0, "no thread");
    }
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
    }
    es_pool_close(pool); /* the session keeps it */
    require_run(&subjects[0], kept, outputs[0]);
    es_session_close(kept);
}

/* Closes what is open in the order of the digits, and runs the sessions that are left. */
static void close_in_order(const char *order, const char *path)
{
    subject opened = {.model = NULL};
    open_subject(&opened, path);
    es_output own[2];
    make_outputs(&opened, own);
    es_error error;
    es_pool *const made = open_pool();
    es_session *sessions[2];
    for (size_t i = 0; i < 2; i++) {
        require(es_session_open_in(opened.model, made, &sessions[i], &error) == ES_OK, error.message);
    }
    for (; *order != '\0'; order++) {
        if (*order == '0') {
            es_model_close(opened.model);
        } else if (*order == '1') {
            es_pool_close(made);
        } else {
            es_session_close(sessions[*order - '2']);
            sessions[*order - '2'] = NULL;
        }
        for (size_t i = 0; i < 2; i++) {
            if (sessions[i] != NULL) {
                require_run(&opened, sessions[i], own);
            }
        }
    }
    free_outputs(own);
    free_outputs(opened.expected);
    free((void *)(uintptr_t)opened.inputs[0].data);
    free((void *)(uintptr_t)opened.inputs[1].data);
}

static void close_in_every_order(const char *path)
{
    for (int number = 0; number < 256; number++) {
        char order[5] = {0};
        int seen = 0;
        for (int i = 0; i < 4; i++) {
            const int digit = number >> 2 * i & 3;
            order[i] = (char)('0' + digit);
            seen |= 1 << digit;
        }
        if (seen == 15) {
            close_in_order(order, path);
        }
    }
}

static void require_refusal(const es_pool_options *options, es_status expected, const char *words)
{
    es_error error;
    es_pool *untouched = pool;
    require(es_pool_open(options, &untouched, &error) == expected, words);
    require(strstr(error.message, words) != NULL, error.message);
    require(untouched == pool, "a refused pool is set");
    require(es_pool_open(options, &untouched, NULL) == expected, words);
}

static void refuse_options(void)
{
    struct {
        es_pool_options known;
        uint64_t unknown;
    } newer = {.known = with_threads(2)};
    const uint32_t many[] = {0, 1023};
    const uint32_t beyond[] = {1024};
    const uint32_t twice[] = {0, 0};
    const struct {
        es_pool_options options;
        const char *words;
    } wrong[] = {
        {{.size_bytes = 0}, "start from ES_POOL_OPTIONS"},
        {{.size_bytes = sizeof(es_pool_options) - 1, .threads = 1}, "start from ES_POOL_OPTIONS"},
        {with_threads(0), "0 threads, expected 1 to 64"},
        {with_threads(65), "65 threads, expected 1 to 64"},
        {with_threads(UINT32_MAX), "4294967295 threads, expected 1 to 64"},
        {{sizeof(es_pool_options), 2, 1000001, 0, NULL, 0}, "spins for 1000001 us, expected 0 to 1000000"},
        {{sizeof(es_pool_options), 2, 0, 20, NULL, 0}, "a priority of 20, expected 0 to 19"},
        {{sizeof(es_pool_options), 2, 0, 0, NULL, 1}, "1 cores, but their list is NULL"},
        {{sizeof(es_pool_options), 2, 0, 0, beyond, 1}, "core 1024, expected 0 to 1023"},
        {{sizeof(es_pool_options), 2, 0, 0, twice, 2}, "core 0 is named twice"},
        {{sizeof(es_pool_options), 2, 0, 0, many, 2}, "core 1023 is not there, or this process may not use it"},
        {{sizeof(es_pool_options), 9, 0, 0, many + 1, 1}, "core 1023 is not there, or this process"},
        {{sizeof(es_pool_options), 1, 0, 0, many, 1}, "place it with es_place_thread"},
        {{sizeof(es_pool_options), 1, 0, 3, NULL, 0}, "place it with es_place_thread"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        require_refusal(&wrong[i].options, ES_ERR_ARGUMENT, wrong[i].words);
    }
    require_refusal(NULL, ES_ERR_ARGUMENT, "an argument is NULL");
    newer.known.size_bytes = sizeof newer;
    es_pool *opened;
    es_error error;
    require(es_pool_open(&newer.known, &opened, &error) == ES_OK, "zeroed options of later versions are refused");
    es_pool_close(opened);
    newer.unknown = 1;
    require_refusal(&newer.known, ES_ERR_UNSUPPORTED, "install a newer runtime");
    es_pool_close(NULL);
    require(es_place_thread(twice, 2, 0, &error) == ES_ERR_ARGUMENT &&
                es_place_thread(many + 1, 1, 0, &error) == ES_ERR_ARGUMENT &&
                strstr(error.message, "core 1023 is not there") != NULL,
            "a thread goes where no core is");
}

/* In a process of its own: a child inherits a pool whose threads it has not. */
static void fork_once(es_session *session)
{
    const pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE_S);
        es_error error;
        es_session *other = NULL;
        require(run_subject(&subjects[0], session, outputs[0], &error) == ES_ERR_FORKED, "it runs");
        require(es_session_open_in(subjects[0].model, pool, &other, &error) == ES_ERR_FORKED, "it opens");
        require(other == NULL && strstr(error.message, "forked") != NULL, error.message);
        es_pool_close(pool);
        pool = open_pool();
        es_session *const own = open_session(0);
        require_run(&subjects[0], own, outputs[0]);
        es_session_close(session);
        es_session_close(own);
        es_pool_close(pool);
        _exit(0);
    }
    int status = 0;
    require(child > 0 && waitpid(child, &status, 0) == child, "no child");
    require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a child failed or hangs");
}

static void *keep_running(void *session)
{
    while (!atomic_load(&done)) {
        require_run(&subjects[0], session, outputs[1]);
    }
    return NULL;
}

static void fork_beside_runs(void)
{
    es_session *const sessions[2] = {open_session(0), open_session(0)};
    make_outputs(&subjects[0], outputs[1]);
    fork_once(sessions[0]);
    pthread_t thread;
    require(pthread_create(&thread, NULL, keep_running, sessions[1]) == 0, "no thread");
    for (int i = 0; i < FORKS; i++) {
        usleep((useconds_t)(i * 37 % 11) * 100);
        fork_once(sessions[0]);
    }
    atomic_store(&done, true);
    pthread_join(thread, NULL);
    require_run(&subjects[0], sessions[0], outputs[0]);
    es_session_close(sessions[0]);
    es_session_close(sessions[1]);
    es_pool_close(pool);
}

static void *run_cancelled(void *session)
{
    pthread_cancel(pthread_self());
    for (int i = 0; i < 100; i++) {
        require_run(&subjects[0], session, outputs[0]);
    }
    atomic_store(&done, true);
    pthread_testcancel();
    return NULL;
}

/* Where both wait for each other again and again. */
static void cancel_beside_runs(void)
{
    es_session *const sessions[2] = {open_session(0), open_session(0)};
    pthread_t threads[2];
    void *result;
    make_outputs(&subjects[0], outputs[1]);
    require(pthread_create(&threads[0], NULL, run_cancelled, sessions[0]) == 0, "no thread");
    require(pthread_create(&threads[1], NULL, keep_running, sessions[1]) == 0, "no thread");
    pthread_join(threads[0], &result);
    require(result == PTHREAD_CANCELED && atomic_load(&done), "a run was cancelled");
    pthread_join(threads[1], NULL);
    es_session_close(sessions[0]);
    es_session_close(sessions[1]);
    es_pool_close(pool);
}

static void refuse_placement(void)
{
    const uint32_t core = (uint32_t)sched_getcpu();
    es_pool_options options = {sizeof(es_pool_options), THREADS, 0, 0, &core, 1};
    atomic_store(&refusal, EPERM);
    require_refusal(&options, ES_ERR_THREAD, "does not let a thread choose its cores (error 1)");
    options.core_count = 0;
    options.priority = 19;
    require_refusal(&options, ES_ERR_THREAD, "does not let a thread lower its priority (error 1)");
    atomic_store(&refusal, 0);
    options.core_count = 1;
    es_error error;
    es_pool *opened;
    require(es_pool_open(&options, &opened, &error) == ES_OK, error.message);
    es_pool_close(opened);
}

int main(int count, char **arguments)
{
    const char *const command = count > 1 ? arguments[1] : "";
    for (int i = 2; i < count && i < 4; i++) {
        open_subject(&subjects[i - 2], arguments[i]);
        make_outputs(&subjects[i - 2], outputs[i - 2]);
    }
    if (strcmp(command, "options") == 0) {
        refuse_options();
        return 0;
    }
    if (strcmp(command, "refuse") == 0) {
        refuse_placement();
        return 0;
    }
    if (strcmp(command, "order") == 0) {
        close_in_every_order(arguments[2]);
        return 0;
    }
    pool = open_pool();
    if (strcmp(command, "crowd") == 0 && count == 5) {
        run_count = strtoul(arguments[4], NULL, 10);
        crowd();
    } else if (strcmp(command, "fork") == 0) {
        fork_beside_runs();
    } else if (strcmp(command, "cancel") == 0) {
        cancel_beside_runs();
    } else {
        return 2;
    }
    return 0;
}
