/* Threads share the tiles of jobs.
 *
 *   claims turns TURNS   jobs of several callers follow each other in one pool of more threads than there are
 *                        CPUs, which are stopped between any two instructions while many jobs run. Every tile
 *                        must run once, and for the caller whose turn it is. What a job is about is gone as
 *                        soon as it ends
 *   claims order         callers get their turns in the order in which they come
 *   claims slow          a caller waits for a thread that is slow */
#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>

#include "platform.h"
#include "pool.h"
#include "subject.h"

enum { CALLERS = 3, THREADS = 8, MAX_TILES = 64, RUNS = 10, NAP_US = 20000 };

static es_pool *pool;
static size_t turn_count;

/* What the tiles of a job belong to. */
typedef struct owner {
    atomic_bool has_turn;
    uint32_t number; /* of its job */
    atomic_uint ran[MAX_TILES];
} owner;

static void run_tiles(void *context, uint32_t job, uint32_t worker, uint32_t begin, uint32_t end)
{
    owner *const of = context;
    require(atomic_load(&of->has_turn) && of->number == job, "a tile runs for another job");
    require(worker < THREADS && begin < end && end <= MAX_TILES, "a tile is none");
    for (uint32_t i = begin; i < end; i++) {
        atomic_fetch_add(&of->ran[i], 1);
    }
}

/* Runs one job, in memory of its own. */
static void run_job(uint32_t number, uint32_t tiles, uint32_t chunk)
{
    owner *const of = calloc(1, sizeof *of);
    es_pool_job *const job = malloc(sizeof *job);
    *job = es_pool_plan_job(pool, run_tiles, of, number, tiles);
    job->chunk = chunk;
    of->number = number;
    atomic_store(&of->has_turn, true);
    es_pool_run(pool, job);
    atomic_store(&of->has_turn, false);
    for (uint32_t i = 0; i < MAX_TILES; i++) {
        require(atomic_load(&of->ran[i]) == (i < tiles), "a tile does not run once");
    }
    memset(job, 0xff, sizeof *job);
    free(job);
    free(of);
}

static void *take_turns(void *argument)
{
    uint32_t random = 2463534242u + (uint32_t)(uintptr_t)argument;
    for (size_t turn = 0; turn < turn_count; turn++) {
        const uint32_t ticket = es_turns_take(&pool->turns, pool->spin_ns);
        for (int i = 0; i < 4; i++) {
            random ^= random << 13; /* xorshift */
            random ^= random >> 17;
            random ^= random << 5;
            const uint32_t tiles = random % 4 != 0 ? 16 : 2 + random / 4 % (MAX_TILES - 1);
            run_job(random, tiles, 1 + random / 1024 % 5); /* the same tiles often, and other chunks */
        }
        es_turns_give(&pool->turns, ticket);
    }
    return NULL;
}

static void open_pool(uint32_t threads)
{
    es_error error;
    es_pool_options options = ES_POOL_OPTIONS;
    options.threads = threads;
    require(es_pool_open(&options, &pool, &error) == ES_OK, error.message);
}

static void run_turns(void)
{
    pthread_t callers[CALLERS];
    open_pool(THREADS);
    for (size_t i = 0; i < CALLERS; i++) {
        require(pthread_create(&callers[i], NULL, take_turns, (void *)i) == 0, "no thread");
    }
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(callers[i], NULL);
    }
}

static uint32_t order[CALLERS]; /* who had a turn, one after the other */
static atomic_size_t had_turn;

static void *wait_for_turn(void *argument)
{
    const uint32_t ticket = es_turns_take(&pool->turns, 0);
    order[atomic_fetch_add(&had_turn, 1)] = (uint32_t)(uintptr_t)argument;
    es_turns_give(&pool->turns, ticket);
    return NULL;
}

/* One who wants another turn as soon as it has given one back comes after those who wait. */
static void wait_in_order(void)
{
    pthread_t callers[CALLERS];
    open_pool(1);
    const uint32_t ticket = es_turns_take(&pool->turns, 0);
    for (size_t i = 0; i < CALLERS; i++) {
        require(pthread_create(&callers[i], NULL, wait_for_turn, (void *)i) == 0, "no thread");
        while (atomic_load(&pool->turns.drawn) != i + 2) {
            usleep(100);
        }
    }
    usleep(NAP_US); /* they sleep now */
    es_turns_give(&pool->turns, ticket);
    const uint32_t again = es_turns_take(&pool->turns, 0);
    require(atomic_load(&had_turn) == CALLERS, "a caller has two turns while others wait");
    for (uint32_t i = 0; i < CALLERS; i++) {
        require(order[i] == i, "a caller is served before another that came first");
    }
    es_turns_give(&pool->turns, again);
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(callers[i], NULL);
    }
}

static atomic_bool begun;

/* One of two tiles, each on a thread of its own. */
static void nap(void *context, uint32_t job, uint32_t worker, uint32_t begin, uint32_t end)
{
    require(context == NULL && job == 0 && end == begin + 1, "a tile is none");
    if (worker > 0) {
        atomic_store(&begun, true);
        usleep(NAP_US);
        return;
    }
    while (!atomic_load(&begun)) {
        usleep(10); /* or this thread takes the other tile too */
    }
}

static uint64_t own_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* It may spin for a while, but not for as long as it waits. */
static void wait_for_slow(void)
{
    open_pool(2);
    const es_pool_job job = es_pool_plan_job(pool, nap, NULL, 0, 2);
    const uint64_t before = own_cpu_ns();
    for (int i = 0; i < RUNS; i++) {
        atomic_store(&begun, false);
        es_pool_run(pool, &job);
    }
    require(own_cpu_ns() - before < RUNS * (uint64_t)NAP_US * 1000 / 4, "a caller does not sleep");
}

int main(int count, char **arguments)
{
    const char *const command = count > 1 ? arguments[1] : "";
    if (strcmp(command, "turns") == 0 && count == 3) {
        turn_count = strtoul(arguments[2], NULL, 10);
        run_turns();
    } else if (strcmp(command, "order") == 0) {
        wait_in_order();
    } else if (strcmp(command, "slow") == 0) {
        wait_for_slow();
    } else {
        return 2;
    }
    es_pool_close(pool);
    return 0;
}
