#define _DEFAULT_SOURCE
#include "pool.h"

#include <errno.h>
#include <signal.h>

#include "platform.h"

enum {
    CHUNKS_PER_THREAD = 4,
    SPIN_NS = 50000,         /* longer than a short serial step between two parallel ones */
    SPINS_PER_CLOCK_READ = 64,
    SPINS_BEFORE_YIELD = 4096,
    STACK_BYTES = 256 * 1024 /* address space; kernels touch a few KiB */
};

#define NO_JOB UINT32_MAX

/* What glibc cuts from the stack of a new thread, before its first frame: the thread-local variables
 * of the whole process, megabytes in some. No header declares it; other systems add to the stack what
 * they need and have no such function. */
size_t __pthread_get_minstack(const pthread_attr_t *attributes) __attribute__((weak));

static uint64_t pack_claim(uint32_t job, uint32_t tile)
{
    return (uint64_t)job << 32 | tile;
}

/* The first tile of a worker's share, and the end of the share before it: tiles are cut evenly. */
static uint32_t share_begin(const es_pool *pool, uint32_t job, uint32_t worker)
{
    const uint64_t tiles = pool->jobs[job].tiles;
    return (uint32_t)((worker * tiles + pool->threads - 1) / pool->threads);
}

/* How many tiles a claim word of `worker` still offers. */
static uint32_t free_tiles(const es_pool *pool, uint32_t worker, uint64_t claim)
{
    const uint32_t job = (uint32_t)(claim >> 32);
    return job == NO_JOB ? 0 : share_begin(pool, job, worker + 1) - (uint32_t)claim;
}

/* Takes one chunk of the share of `owner` and runs it on `worker`; false when no tile is free. */
static bool run_chunk(es_pool *pool, uint32_t worker, uint32_t owner)
{
    _Atomic uint64_t *const word = &pool->workers[owner].claim;
    uint64_t claim = atomic_load_explicit(word, memory_order_acquire);
    uint32_t left;
    while ((left = free_tiles(pool, owner, claim)) > 0) {
        const uint32_t job = (uint32_t)(claim >> 32);
        const uint32_t begin = (uint32_t)claim;
        const uint32_t taken = left < pool->jobs[job].chunk ? left : pool->jobs[job].chunk;
        if (atomic_compare_exchange_weak_explicit(word, &claim, pack_claim(job, begin + taken),
                                                  memory_order_acq_rel, memory_order_acquire)) {
            pool->body(pool->context, job, worker, begin, begin + taken);
            atomic_fetch_add_explicit(&pool->done, taken, memory_order_release);
            return true;
        }
    }
    return false;
}

/* Runs the share of `worker`, then what is left of the others'; false if nothing was. */
static bool run_tiles(es_pool *pool, uint32_t worker)
{
    bool ran = false;
    for (uint32_t i = 0; i < pool->threads; i++) {
        while (run_chunk(pool, worker, (worker + i) % pool->threads)) {
            ran = true;
        }
    }
    return ran;
}

/* Sequentially consistent, as is the store that publishes a job: of a worker about to sleep and a
 * caller about to look for sleepers, at least one sees the other. */
static bool must_wake(es_pool *pool, const es_worker *worker)
{
    return atomic_load(&pool->stop) ||
           free_tiles(pool, worker->index, atomic_load(&worker->claim)) > 0;
}

static bool spin_for_work(es_pool *pool, const es_worker *worker)
{
    const uint64_t start = es_now_ns();
    do {
        for (int i = 0; i < SPINS_PER_CLOCK_READ; i++) {
            if (must_wake(pool, worker)) {
                return true;
            }
            es_relax();
        }
    } while (es_now_ns() - start < pool->spin_ns);
    return false;
}

static void sleep_for_work(es_pool *pool, const es_worker *worker)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!must_wake(pool, worker)) {
        pthread_cond_wait(&pool->wake, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
}

static void wake_sleepers(es_pool *pool)
{
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void *worker_main(void *argument)
{
    const es_worker *const worker = argument;
    es_pool *const pool = worker->pool;
    es_set_float_mode(ES_FLOAT_MODE); /* it inherits that of the thread which opened the session */
    while (!atomic_load(&pool->stop)) {
        if (!run_tiles(pool, worker->index) && !spin_for_work(pool, worker)) {
            sleep_for_work(pool, worker);
        }
    }
    return NULL;
}

es_pool_job es_pool_plan_job(uint32_t tiles, uint32_t threads)
{
    const uint32_t chunk = tiles / (threads * CHUNKS_PER_THREAD);
    return (es_pool_job){.tiles = tiles, .chunk = chunk > 0 ? chunk : 1};
}

static void wait_until_done(es_pool *pool, uint32_t tiles)
{
    uint32_t patience = pool->spin_ns > 0 ? SPINS_BEFORE_YIELD : 0;
    while (atomic_load_explicit(&pool->done, memory_order_acquire) != tiles) {
        if (patience > 0) {
            patience--;
            es_relax();
        } else {
            es_yield();
        }
    }
}

void es_pool_run(es_pool *pool, uint32_t job)
{
    const uint32_t tiles = pool->jobs[job].tiles;
    if (pool->threads == 1 || tiles == 1) {
        pool->body(pool->context, job, 0, 0, tiles);
        return;
    }
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    for (uint32_t i = pool->threads; i-- > 0;) { /* its own last: the others begin meanwhile */
        atomic_store(&pool->workers[i].claim, pack_claim(job, share_begin(pool, job, i)));
    }
    wake_sleepers(pool);
    run_tiles(pool, 0);
    wait_until_done(pool, tiles);
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

es_status es_pool_start(es_pool *pool, uint32_t threads, const es_pool_job *jobs,
                        es_worker *workers, es_pool_body *body, void *context, es_error *error)
{
    ES_TRY(es_mark_process(&pool->mark, error));
    pool->jobs = jobs;
    pool->workers = workers;
    pool->body = body;
    pool->context = context;
    pool->spin_ns = threads <= es_cpu_count() ? SPIN_NS : 0;
    pool->threads = threads;
    for (uint32_t i = 0; i < threads; i++) {
        workers[i] = (es_worker){.pool = pool, .index = i};
        atomic_init(&workers[i].claim, pack_claim(NO_JOB, 0));
    }
    atomic_init(&pool->done, 0);
    atomic_init(&pool->sleepers, 0);
    atomic_init(&pool->stop, false);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);

    const es_status status = start_workers(pool, error);
    if (status != ES_OK) {
        es_pool_stop(pool);
    }
    return status;
}

bool es_pool_is_inherited(const es_pool *pool)
{
    return es_is_forked(&pool->mark);
}

void es_pool_stop(es_pool *pool)
{
    /* A fork copies no threads, but what they held: a mutex that nobody unlocks, a condition that still
     * waits for its sleepers. */
    if (!es_pool_is_inherited(pool)) {
        atomic_store(&pool->stop, true);
        wake_sleepers(pool);
        for (uint32_t i = 1; i < pool->started; i++) {
            pthread_join(pool->workers[i].thread, NULL);
        }
        pthread_cond_destroy(&pool->wake);
        pthread_mutex_destroy(&pool->mutex);
    }
    es_release(&pool->mark);
}
