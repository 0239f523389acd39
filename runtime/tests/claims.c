/* Jobs of several callers follow each other in one pool of more threads than there are CPUs: claims TURNS.
 *
 * Threads are stopped between any two instructions, and many jobs run until they go on. Every tile must run
 * once, and for the caller whose turn it is. What a job is about is gone as soon as it ends. */
#include "platform.h"
#include "pool.h"
#include "subject.h"

enum { CALLERS = 3, THREADS = 8, MAX_TILES = 64 };

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

int main(int count, char **arguments)
{
    pthread_t callers[CALLERS];
    es_error error;
    es_pool_options options = ES_POOL_OPTIONS;
    options.threads = THREADS;
    require(count == 2, "expected TURNS");
    turn_count = strtoul(arguments[1], NULL, 10);
    require(es_pool_open(&options, &pool, &error) == ES_OK, error.message);
    for (size_t i = 0; i < CALLERS; i++) {
        require(pthread_create(&callers[i], NULL, take_turns, (void *)i) == 0, "no thread");
    }
    for (size_t i = 0; i < CALLERS; i++) {
        pthread_join(callers[i], NULL);
    }
    es_pool_close(pool);
    return 0;
}
