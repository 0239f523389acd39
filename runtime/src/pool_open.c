#define _DEFAULT_SOURCE
#include <errno.h>
#include <signal.h>

#include "placement.h"
#include "platform.h"
#include "pool.h"
#include "waiting.h"

enum {
    RUN_SPIN_NS = 50000,     /* longer than a short serial step between two parallel ones */
    STACK_BYTES = 256 * 1024 /* address space; kernels touch a few KiB */
};

/* What glibc cuts from the stack of a new thread, before its first frame: the thread-local variables
 * of the whole process, megabytes in some. No header declares it; other systems add to the stack what
 * they need and have no such function. */
size_t __pthread_get_minstack(const pthread_attr_t *attributes) __attribute__((weak));

/* Puts the calling worker where the options want it, and tells es_pool_open. */
static void place_worker(es_pool *pool)
{
    const es_pool_options *const options = pool->options;
    pthread_mutex_lock(&pool->mutex);
    es_error error;
    const es_status status =
        es_place_thread(options->cores, options->core_count, options->priority, &error);
    if (status != ES_OK && pool->placing == ES_OK) {
        pool->placing = status;
        pool->placing_error = error;
    }
    pool->placed++;
    pthread_cond_signal(&pool->finished);
    pthread_mutex_unlock(&pool->mutex);
}

static void *worker_main(void *argument)
{
    es_worker *const worker = argument;
    es_set_float_mode(ES_FLOAT_MODE); /* it inherits that of the thread which opened the pool */
    if (worker->pool->options != NULL) {
        place_worker(worker->pool);
    }
    es_pool_work(worker->pool, worker);
    return NULL;
}

/* The signals that a worker takes: those of its own faults, which end the process unseen while they
 * are blocked, and the profiler's. All others belong to the application's own threads. */
static void block_signals(sigset_t *previous)
{
    static const int taken[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGPROF};
    sigset_t blocked;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        sigdelset(&blocked, taken[i]);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, previous);
}

static es_status fail_start(const es_pool *pool, int failure, size_t stack_bytes, es_error *error)
{
    switch (failure) {
    case EAGAIN:
        return es_fail(error, ES_ERR_THREAD,
                       "thread %llu of %llu cannot be started: the system has no memory for it, or a "
                       "limit of threads is reached",
                       ES_U(pool->started + 1), ES_U(pool->threads));
    case EINVAL:
        return es_fail(error, ES_ERR_THREAD,
                       "thread %llu of %llu cannot be started: a stack of %llu bytes is too small for "
                       "the thread-local variables of this process",
                       ES_U(pool->started + 1), ES_U(pool->threads), ES_U(stack_bytes));
    default:
        return es_fail(error, ES_ERR_THREAD, "thread %llu of %llu cannot be started (error %llu)",
                       ES_U(pool->started + 1), ES_U(pool->threads), ES_U(failure));
    }
}

/* Starts the workers of `pool`; pool->started counts the caller and those that run. */
static es_status start_workers(es_pool *pool, es_error *error)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    const size_t stack_bytes =
        STACK_BYTES + (__pthread_get_minstack != NULL ? __pthread_get_minstack(&attributes) : 0);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    sigset_t previous;
    block_signals(&previous);

    int failure = 0;
    for (pool->started = 1; pool->started < pool->threads; pool->started++) {
        es_worker *const worker = &pool->workers[pool->started];
        failure = pthread_create(&worker->thread, &attributes, worker_main, worker);
        if (failure != 0) {
            break;
        }
    }
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    pthread_attr_destroy(&attributes);
    return failure == 0 ? ES_OK : fail_start(pool, failure, stack_bytes, error);
}

/* Waits until all workers are where the options want them. */
static es_status wait_until_placed(es_pool *pool, es_error *error)
{
    if (pool->options == NULL) {
        return ES_OK;
    }
    pthread_mutex_lock(&pool->mutex);
    while (pool->placed + 1 < pool->threads) {
        es_wait(&pool->finished, &pool->mutex);
    }
    pool->options = NULL;
    pthread_mutex_unlock(&pool->mutex);
    return pool->placing == ES_OK ? ES_OK
                                  : es_fail(error, pool->placing, "%s", pool->placing_error.message);
}

static es_status check_options(const es_pool_options *options, es_error *error)
{
    ES_REQUIRE(options->size_bytes >= sizeof *options, error, ES_ERR_ARGUMENT,
               "es_pool_open: options of %llu bytes, expected %llu: start from ES_POOL_OPTIONS",
               ES_U(options->size_bytes), ES_U(sizeof *options));
    ES_REQUIRE(es_is_zero(options + 1, options->size_bytes - sizeof *options), error,
               ES_ERR_UNSUPPORTED, "es_pool_open: options that this runtime does not know; install a "
               "newer runtime");
    ES_REQUIRE(options->threads >= 1 && options->threads <= ES_MAX_THREADS, error, ES_ERR_ARGUMENT,
               "%llu threads, expected 1 to %llu", ES_U(options->threads), ES_U(ES_MAX_THREADS));
    ES_REQUIRE(options->spin_us <= ES_MAX_SPIN_US, error, ES_ERR_ARGUMENT,
               "es_pool_open: spins for %llu us, expected 0 to %llu", ES_U(options->spin_us),
               ES_U(ES_MAX_SPIN_US));
    ES_REQUIRE(options->threads > 1 || (options->core_count == 0 && options->priority == 0), error,
               ES_ERR_ARGUMENT, "es_pool_open: cores or a priority for 1 thread, which is the caller's "
               "and stays as it is: place it with es_place_thread");
    return es_check_placement(options->cores, options->core_count, options->priority, error);
}

static void init_pool(es_pool *pool, const es_pool_options *options)
{
    const size_t cpus = options->core_count > 0 ? options->core_count : es_cpu_count();
    const bool is_placed = options->core_count > 0 || options->priority > 0;
    const uint64_t spin_ns = (uint64_t)options->spin_us * 1000;
    pool->spin_ns = options->threads <= cpus ? spin_ns : 0;
    pool->run_spin_ns = options->threads > cpus ? 0 : spin_ns > RUN_SPIN_NS ? spin_ns : RUN_SPIN_NS;
    pool->threads = options->threads;
    pool->options = is_placed ? options : NULL;
    for (uint32_t i = 0; i < pool->threads; i++) {
        pool->workers[i] = (es_worker){.pool = pool, .index = i};
        atomic_init(&pool->workers[i].claim, 0);
        atomic_init(&pool->workers[i].chunk, 1);
    }
    atomic_init(&pool->done, 0);
    atomic_init(&pool->caller_sleeps, false);
    atomic_init(&pool->sleepers, 0);
    atomic_init(&pool->stop, false);
    atomic_init(&pool->running, false);
    atomic_init(&pool->references, 1);
    es_turns_start(&pool->turns);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->finished, NULL);
}

/* Stops the workers, if this process has them: a fork copies no threads, but what they held, a mutex that
 * nobody unlocks and a condition that still waits for its sleepers. */
static void stop_workers(es_pool *pool)
{
    if (es_pool_is_inherited(pool)) {
        return;
    }
    atomic_store(&pool->stop, true);
    es_pool_wake(pool);
    for (uint32_t i = 1; i < pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    es_turns_stop(&pool->turns);
}

static es_status alloc_pool(uint32_t threads, es_pool **pool, es_error *error)
{
    es_layout layout = {0};
    es_layout_add(&layout, 1, sizeof(es_pool));
    const size_t workers = es_layout_add(&layout, threads, sizeof(es_worker));
    es_block self;
    ES_TRY(es_alloc_pages(layout.size_bytes, &self, error));
    es_pool *const allocated = self.data;
    allocated->self = self;
    allocated->workers = (void *)((uint8_t *)self.data + workers);
    const es_status status = es_mark_process(&allocated->mark, error);
    if (status != ES_OK) {
        es_release(&self);
        return status;
    }
    *pool = allocated;
    return ES_OK;
}

static void release_pool(es_pool *pool)
{
    es_release(&pool->mark);
    es_block self = pool->self;
    es_release(&self);
}

es_status es_pool_open(const es_pool_options *options, es_pool **pool, es_error *error)
{
    ES_REQUIRE(options != NULL && pool != NULL, error, ES_ERR_ARGUMENT,
               "es_pool_open: an argument is NULL");
    ES_TRY(check_options(options, error));
    es_pool *opened;
    ES_TRY(alloc_pool(options->threads, &opened, error));
    init_pool(opened, options);
    es_status status = start_workers(opened, error);
    if (status == ES_OK) {
        status = wait_until_placed(opened, error);
    }
    if (status != ES_OK) {
        stop_workers(opened);
        release_pool(opened);
        return status;
    }
    *pool = opened;
    return ES_OK;
}

void es_pool_retain(es_pool *pool)
{
    atomic_fetch_add_explicit(&pool->references, 1, memory_order_relaxed);
}

void es_pool_close(es_pool *pool)
{
    if (pool == NULL ||
        atomic_fetch_sub_explicit(&pool->references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    stop_workers(pool);
    release_pool(pool);
}

bool es_pool_is_inherited(const es_pool *pool)
{
    return es_is_forked(&pool->mark);
}
