/* Threads that share the tiles of one job at a time.
 *
 * A job is a row of a table that never changes while the pool lives. Each thread has a share of its
 * tiles, which are neighbours and the same in every run: what it wrote and read before may still be
 * in its core's caches. One 64-bit word of the thread holds both the current job and the next free
 * tile of the share; one that is done takes tiles from the words of others. A thread owns the tiles that
 * its compare-and-swap took, so one that slept through a job, or through many, cannot take wrong
 * ones. */
#ifndef ES_POOL_H
#define ES_POOL_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "format.h"
#include "memory.h"

typedef struct es_pool_job {
    uint32_t tiles;
    uint32_t chunk; /* tiles that a thread takes at once */
} es_pool_job;

/* Runs tiles [begin, end) of a job on thread `worker`, 0 being the caller of es_pool_run. */
typedef void es_pool_body(void *context, uint32_t job, uint32_t worker, uint32_t begin,
                          uint32_t end);

typedef struct es_pool es_pool;

typedef struct es_worker {
    alignas(ES_DATA_ALIGN) _Atomic uint64_t claim; /* job << 32 | next free tile of its share */
    es_pool *pool;
    uint32_t index;
    pthread_t thread; /* not of the caller, which is worker 0 */
} es_worker;

struct es_pool {
    alignas(ES_DATA_ALIGN) _Atomic uint32_t done; /* finished tiles of the current job */
    alignas(ES_DATA_ALIGN) _Atomic uint32_t sleepers;
    atomic_bool stop;
    const es_pool_job *jobs;
    es_pool_body *body;
    void *context;
    uint64_t spin_ns; /* how long an idle thread spins before it sleeps */
    uint32_t threads; /* the caller included */
    uint32_t started; /* of these, the ones to join */
    es_worker *workers;
    es_block mark; /* of the process that has the workers */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
};

/* A chunk small enough that threads which start late still find work. */
es_pool_job es_pool_plan_job(uint32_t tiles, uint32_t threads);

/* Starts threads - 1 workers beside the caller.
 * jobs, workers (one for each thread): must stay where they are until es_pool_stop.
 * Returns ES_OK, ES_ERR_NO_MEMORY or ES_ERR_THREAD; after a failure no thread is left. */
es_status es_pool_start(es_pool *pool, uint32_t threads, const es_pool_job *jobs,
                        es_worker *workers, es_pool_body *body, void *context, es_error *error);

/* Runs all tiles of a job and returns when they are done. One caller at a time. */
void es_pool_run(es_pool *pool, uint32_t job);

/* Whether this process was forked after es_pool_start, and has none of the workers. */
bool es_pool_is_inherited(const es_pool *pool);

/* Stops the workers, if this process has them. */
void es_pool_stop(es_pool *pool);

#endif
