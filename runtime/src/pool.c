#include "pool.h"

#include "platform.h"
#include "waiting.h"

enum {
    CHUNKS_PER_THREAD = 4,
    SPINS_PER_CLOCK_READ = 64,
    SPINS_BEFORE_YIELD = 4096,
    YIELDS_BEFORE_SLEEP = 256 /* without a sleep, a caller would keep a worker of lower priority from its CPU */
};

static uint64_t pack_claim(uint32_t next, uint32_t end)
{
    return (uint64_t)next << 32 | end;
}

/* How many tiles a claim still offers. */
static uint32_t free_tiles(uint64_t claim)
{
    return (uint32_t)claim - (uint32_t)(claim >> 32);
}

/* The first tile of a worker's share, and the end of the share before it: tiles are cut evenly. */
static uint32_t share_begin(uint64_t tiles, uint32_t threads, uint32_t worker)
{
    return (uint32_t)((worker * tiles + threads - 1) / threads);
}

/* Sequentially consistent, as is what a caller does that is about to sleep: at least one of the two sees
 * the other. */
static void count_done(es_pool *pool, uint32_t taken, uint32_t tiles)
{
    if (atomic_fetch_add(&pool->done, taken) + taken == tiles &&
        atomic_load(&pool->caller_sleeps)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_signal(&pool->finished);
        pthread_mutex_unlock(&pool->mutex);
    }
}

/* Takes one chunk of the share of `owner` and runs it on `worker`; false when no tile is free. */
static bool run_chunk(es_pool *pool, uint32_t worker, es_worker *owner)
{
    uint64_t claim = atomic_load_explicit(&owner->claim, memory_order_acquire);
    uint32_t left;
    while ((left = free_tiles(claim)) > 0) {
        const uint32_t chunk = atomic_load_explicit(&owner->chunk, memory_order_relaxed);
        const uint32_t begin = (uint32_t)(claim >> 32);
        const uint32_t taken = left < chunk ? left : chunk;
        if (atomic_compare_exchange_weak_explicit(&owner->claim, &claim,
                                                  pack_claim(begin + taken, (uint32_t)claim),
                                                  memory_order_acq_rel, memory_order_acquire)) {
            const es_pool_job *const job = owner->job;
            const uint32_t tiles = job->tiles; /* the job may be gone once its last tile is counted */
            job->body(job->context, job->number, worker, begin, begin + taken);
            count_done(pool, taken, tiles);
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
        while (run_chunk(pool, worker, &pool->workers[(worker + i) % pool->threads])) {
            ran = true;
        }
    }
    return ran;
}

/* Sequentially consistent, as is the store that publishes a job: of a worker about to sleep and a
 * caller about to look for sleepers, at least one sees the other. */
static bool must_wake(es_pool *pool, const es_worker *worker)
{
    return atomic_load(&pool->stop) || free_tiles(atomic_load(&worker->claim)) > 0;
}

/* How long it pays to spin: in a run, over a short serial step between two parallel ones. */
static uint64_t patience_ns(const es_pool *pool)
{
    return atomic_load_explicit(&pool->running, memory_order_relaxed) ? pool->run_spin_ns
                                                                      : pool->spin_ns;
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
    } while (es_now_ns() - start < patience_ns(pool));
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

void es_pool_wake(es_pool *pool)
{
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

void es_pool_work(es_pool *pool, es_worker *worker)
{
    while (!atomic_load(&pool->stop)) {
        if (!run_tiles(pool, worker->index) && !spin_for_work(pool, worker)) {
            sleep_for_work(pool, worker);
        }
    }
}

es_pool_job es_pool_plan_job(const es_pool *pool, es_pool_body *body, void *context, uint32_t number,
                             uint32_t tiles)
{
    const uint32_t chunk = tiles / (pool->threads * CHUNKS_PER_THREAD);
    return (es_pool_job){.body = body,
                         .context = context,
                         .number = number,
                         .tiles = tiles,
                         .chunk = chunk > 0 ? chunk : 1};
}

static void sleep_until_done(es_pool *pool, uint32_t tiles)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->done) != tiles) {
        es_wait(&pool->finished, &pool->mutex);
    }
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

static void wait_until_done(es_pool *pool, uint32_t tiles)
{
    uint32_t spins = pool->run_spin_ns > 0 ? SPINS_BEFORE_YIELD : 0;
    uint32_t yields = YIELDS_BEFORE_SLEEP;
    while (atomic_load_explicit(&pool->done, memory_order_acquire) != tiles) {
        if (spins > 0) {
            spins--;
            es_relax();
        } else if (yields > 0) {
            yields--;
            es_yield();
        } else {
            sleep_until_done(pool, tiles);
        }
    }
}

void es_pool_run(es_pool *pool, const es_pool_job *job)
{
    const uint32_t tiles = job->tiles;
    if (pool->threads == 1 || tiles == 1) {
        job->body(job->context, job->number, 0, 0, tiles);
        return;
    }
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    uint32_t end = tiles;
    for (uint32_t i = pool->threads; i-- > 0;) { /* its own last: the others begin meanwhile */
        es_worker *const worker = &pool->workers[i];
        const uint32_t begin = share_begin(tiles, pool->threads, i);
        worker->job = job;
        atomic_store_explicit(&worker->chunk, job->chunk, memory_order_relaxed);
        atomic_store(&worker->claim, pack_claim(begin, end));
        end = begin;
    }
    es_pool_wake(pool);
    run_tiles(pool, 0);
    wait_until_done(pool, tiles);
}

es_turn es_pool_take_turn(es_pool *pool)
{
    /* To open a session in a pool takes one who holds it: a session that is alone with it stays so. */
    es_turn turn = {.is_shared = atomic_load_explicit(&pool->references, memory_order_acquire) > 1};
    if (turn.is_shared) {
        turn.ticket = es_turns_take(&pool->turns, pool->spin_ns);
    }
    atomic_store_explicit(&pool->running, true, memory_order_relaxed);
    return turn;
}

void es_pool_end_turn(es_pool *pool, es_turn turn)
{
    atomic_store_explicit(&pool->running, false, memory_order_relaxed);
    if (turn.is_shared) {
        es_turns_give(&pool->turns, turn.ticket);
    }
}
