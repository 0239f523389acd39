/* Threads that share the tiles of one job at a time.
 *
 * Each thread has a share of a job's tiles, which are neighbours and the same in every run: what it wrote
 * and read before may still be in its core's caches. One 64-bit word of the thread, its claim, says which
 * tiles of the share are free, [next, end); one that is done takes tiles from the words of others.
 *
 * Sessions take turns, and their jobs have nothing in common but these words. A thread that slept through
 * jobs of any number of sessions still takes no wrong tile:
 *
 *   1. A word offers tiles only while its job runs: es_pool_run returns once all its tiles are done, so
 *      that all words are empty before the next job fills them.
 *   2. What a compare-and-swap took is decided by the word alone, which names no job: if a word came to
 *      hold the same bits again in a later job, those tiles are free in that job, and are what is taken.
 *      `chunk`, read beside the word, may be an older job's: it only says how many of them.
 *   3. Which job that is a thread reads after its compare-and-swap, which acquires what was written before
 *      the word was filled. While it has tiles that are not counted as done, the job cannot end, and
 *      nobody writes there.
 *
 * So a thread looks at nothing of a session unless it has tiles of its current job, and a session that is not
 * running may be closed whatever the threads do. */
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
#include "turns.h"

/* Runs tiles [begin, end) of a job on thread `worker`, 0 being the caller of es_pool_run. */
typedef void es_pool_body(void *context, uint32_t job, uint32_t worker, uint32_t begin,
                          uint32_t end);

typedef struct es_pool_job {
    es_pool_body *body;
    void *context;
    uint32_t number; /* which job of the context */
    uint32_t tiles;
    uint32_t chunk; /* tiles that a thread takes at once; at least 1 */
} es_pool_job;

typedef struct es_worker {
    alignas(ES_DATA_ALIGN) _Atomic uint64_t claim; /* next free tile << 32 | end of its share */
    _Atomic uint32_t chunk;
    const es_pool_job *job; /* that of the tiles in `claim` */
    es_pool *pool;
    uint32_t index;
    pthread_t thread; /* not of the caller, which is worker 0 */
} es_worker;

/* A caller's turn to run jobs. */
typedef struct es_turn {
    bool is_shared; /* others wait for its end, or may come to */
    uint32_t ticket;
} es_turn;

struct es_pool {
    alignas(ES_DATA_ALIGN) _Atomic uint32_t done; /* finished tiles of the current job */
    atomic_bool caller_sleeps;                    /* until they are all of them */
    alignas(ES_DATA_ALIGN) _Atomic uint32_t sleepers;
    atomic_bool stop;
    atomic_bool running;  /* it is somebody's turn: the next job is near */
    uint64_t spin_ns;     /* how long an idle thread spins before it sleeps, between runs */
    uint64_t run_spin_ns; /* the same in a run */
    uint32_t threads; /* the caller included */
    uint32_t started; /* of these, the ones to join */
    es_worker *workers;
    es_turns turns; /* of the sessions */
    pthread_mutex_t mutex;
    pthread_cond_t wake;     /* for workers: there are tiles, or it is time to stop */
    pthread_cond_t finished; /* for the caller: all tiles are done, or a worker is in its place */
    atomic_size_t references; /* the caller of es_pool_open, and each session */
    const es_pool_options *options; /* while es_pool_open waits for the workers; NULL if it does not */
    uint32_t placed;                /* workers that have done what the options say, or failed to */
    es_status placing;              /* the first of their failures */
    es_error placing_error;
    es_block mark; /* of the process that has the workers */
    es_block self; /* holds this struct and the workers */
};

/* A job whose chunk is small enough that threads which start late still find work. */
es_pool_job es_pool_plan_job(const es_pool *pool, es_pool_body *body, void *context, uint32_t number,
                             uint32_t tiles);

/* Waits until no other session runs in this pool. */
es_turn es_pool_take_turn(es_pool *pool);
void es_pool_end_turn(es_pool *pool, es_turn turn);

/* Runs all tiles of a job and returns when they are done. One caller at a time: whose turn it is.
 * job: must stay as it is until then. */
void es_pool_run(es_pool *pool, const es_pool_job *job);

/* What a worker does until the pool stops. */
void es_pool_work(es_pool *pool, es_worker *worker);

/* Wakes the workers that sleep, to look what there is. */
void es_pool_wake(es_pool *pool);

/* Keeps the pool open until es_pool_close is called once more. */
void es_pool_retain(es_pool *pool);

/* Whether this process was forked after the pool was opened, and has none of the workers. */
bool es_pool_is_inherited(const es_pool *pool);

#endif
