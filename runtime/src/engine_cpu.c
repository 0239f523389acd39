#include <string.h>

#include "engine.h"
#include "fault.h"
#include "platform.h"

/* What the compiler emits for a step: computes tiles [begin, end) of it. Returns 0, or 1 when it met
 * a value that it cannot use and filled in `fault`. */
typedef int32_t es_kernel(void *const *args, int32_t begin, int32_t end, es_fault *fault);

typedef struct cpu_engine {
    es_engine base;
    es_pool *pool;
    atomic_bool failed; /* a thread met a fault in the step that runs */
    const es_model *model;
    es_block arena;
    es_block *scratches; /* one for each thread of the pool */
    void **args; /* the arguments of all steps, once for each thread, whose scratch they name */
    es_faults *faults; /* one for each thread */
    es_pool_job *jobs; /* one for each step */
    es_block self; /* holds this struct and the arrays */
} cpu_engine;

/* Where the parts of an engine lie in its block. What kernels write lies elsewhere: between pages that
 * nobody may touch. */
typedef struct engine_layout {
    size_t args;
    size_t jobs;
    size_t faults;
    size_t scratches;
    es_layout layout;
} engine_layout;

static engine_layout plan_engine(const es_plan *plan, uint32_t threads)
{
    engine_layout parts = {0};
    es_layout *const layout = &parts.layout;
    es_layout_add(layout, 1, sizeof(cpu_engine));
    parts.args = es_layout_add(layout, plan->arg_count * (size_t)threads, sizeof(void *));
    parts.jobs = es_layout_add(layout, plan->step_count, sizeof(es_pool_job));
    parts.faults = es_layout_add(layout, threads, sizeof(es_faults));
    parts.scratches = es_layout_add(layout, threads, sizeof(es_block));
    return parts;
}

/* Turns the arguments of the plan into addresses for the thread whose scratch buffer is given. */
static void resolve_args(const cpu_engine *engine, const es_block *scratch, void **addresses)
{
    const es_model *const model = engine->model;
    const es_plan *const plan = &model->plan;
    /* Kernels only read weights and indices, which the file maps read-only. */
    uint8_t *const bases[] = {[ES_SPACE_ARENA] = engine->arena.data,
                              [ES_SPACE_WEIGHTS] = (uint8_t *)(uintptr_t)model->weights.data,
                              [ES_SPACE_SCRATCH] = scratch->data,
                              [ES_SPACE_INDICES] = (uint8_t *)(uintptr_t)model->indices.data};
    for (size_t i = 0; i < plan->arg_count; i++) {
        addresses[i] = bases[plan->args[i].space] + plan->args[i].offset;
    }
}

static void run_tiles(void *context, uint32_t job, uint32_t worker, uint32_t begin, uint32_t end)
{
    cpu_engine *const engine = context;
    const es_plan *const plan = &engine->model->plan;
    const es_step *const step = &plan->steps[job];
    es_kernel *const kernel = (es_kernel *)(uintptr_t)(engine->model->code.data + step->code_offset);
    void *const *const args = engine->args + worker * plan->arg_count + step->first_arg;
    es_faults *const faults = &engine->faults[worker];
    const int32_t status = kernel(args, (int32_t)begin, (int32_t)end, &faults->last);
    if (status != 0) {
        es_faults_keep(faults, status);
        atomic_store_explicit(&engine->failed, true, memory_order_relaxed);
    }
}

static void place_parts(cpu_engine *engine, const engine_layout *parts)
{
    uint8_t *const base = engine->self.data;
    engine->args = (void *)(base + parts->args);
    engine->faults = (void *)(base + parts->faults);
    engine->scratches = (void *)(base + parts->scratches);
    engine->jobs = (void *)(base + parts->jobs);
    atomic_init(&engine->failed, false);
}

/* Allocates what kernels write; after a failure release_memory releases what there is. */
static es_status alloc_memory(cpu_engine *engine, es_error *error)
{
    const es_plan *const plan = &engine->model->plan;
    ES_TRY(es_alloc_pages(plan->arena_bytes, &engine->arena, error));
    for (uint32_t i = 0; i < engine->pool->threads; i++) {
        ES_TRY(es_alloc_pages(plan->scratch_bytes, &engine->scratches[i], error));
        resolve_args(engine, &engine->scratches[i], engine->args + i * plan->arg_count);
    }
    return ES_OK;
}

static void release_memory(cpu_engine *engine)
{
    for (uint32_t i = 0; i < engine->pool->threads; i++) {
        es_release(&engine->scratches[i]);
    }
    es_release(&engine->arena);
    es_block self = engine->self;
    es_release(&self);
}

static void plan_jobs(cpu_engine *engine)
{
    const es_plan *const plan = &engine->model->plan;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        engine->jobs[i] =
            es_pool_plan_job(engine->pool, run_tiles, engine, i, plan->steps[i].info.tiles);
    }
}

static es_status open_engine(const es_model *model, es_pool *pool, es_engine **engine,
                             es_error *error)
{
    const engine_layout parts = plan_engine(&model->plan, pool->threads);
    ES_REQUIRE(!parts.layout.overflow, error, ES_ERR_NO_MEMORY,
               "es_session_open: %llu threads of this model do not fit the address space",
               ES_U(pool->threads));
    es_block self;
    ES_TRY(es_alloc_pages(parts.layout.size_bytes, &self, error));
    cpu_engine *const opened = self.data;
    opened->base.kind = &es_engine_cpu;
    opened->self = self;
    opened->model = model;
    opened->pool = pool;
    place_parts(opened, &parts);
    plan_jobs(opened);
    const es_status status = alloc_memory(opened, error);
    if (status != ES_OK) {
        release_memory(opened);
        return status;
    }
    *engine = &opened->base;
    return ES_OK;
}

static void close_engine(es_engine *engine)
{
    release_memory((cpu_engine *)engine);
}

static es_status check_engine(const es_engine *engine, es_error *error)
{
    const cpu_engine *const self = (const cpu_engine *)engine;
    ES_REQUIRE(!es_pool_is_inherited(self->pool), error, ES_ERR_FORKED,
               "es_session_run: opened before this process was forked, and a fork copies no threads; "
               "open it again here");
    return ES_OK;
}

static void write_arena(es_engine *engine, size_t offset, const void *data, size_t size_bytes)
{
    uint8_t *const arena = ((cpu_engine *)engine)->arena.data;
    memcpy(arena + offset, data, size_bytes);
}

static void read_arena(const es_engine *engine, size_t offset, void *data, size_t size_bytes)
{
    const uint8_t *const arena = ((const cpu_engine *)engine)->arena.data;
    memcpy(data, arena + offset, size_bytes);
}

static es_status run_steps(cpu_engine *engine, uint32_t begin, uint32_t end, uint64_t *step_ns,
                           es_error *error)
{
    const es_plan *const plan = &engine->model->plan;
    uint64_t start = step_ns != NULL ? es_now_ns() : 0;
    for (uint32_t i = begin; i < end; i++) {
        es_pool_run(engine->pool, &engine->jobs[i]);
        if (atomic_load_explicit(&engine->failed, memory_order_relaxed)) {
            atomic_store_explicit(&engine->failed, false, memory_order_relaxed);
            return es_faults_report(engine->faults, engine->pool->threads, plan, i, error);
        }
        if (step_ns != NULL) {
            const uint64_t now = es_now_ns();
            step_ns[i] = now - start;
            start = now;
        }
    }
    return ES_OK;
}

static es_status run_engine(es_engine *engine, uint32_t begin, uint32_t end, uint64_t *step_ns,
                            es_error *error)
{
    cpu_engine *const self = (cpu_engine *)engine;
    es_pool *const pool = self->pool;
    const es_turn turn = es_pool_take_turn(pool);
    /* Which thread computes an element is chance: all must compute alike, whatever the caller set. */
    const uint32_t callers_mode = es_float_mode();
    es_set_float_mode(ES_FLOAT_MODE);
    const es_status status = run_steps(self, begin, end, step_ns, error);
    es_set_float_mode(callers_mode);
    es_pool_end_turn(pool, turn);
    return status;
}

const es_engine_kind es_engine_cpu = {.open = open_engine,
                                      .close = close_engine,
                                      .check = check_engine,
                                      .write = write_arena,
                                      .read = read_arena,
                                      .run = run_engine};
