#include <string.h>

#include "fault.h"
#include "model.h"
#include "platform.h"
#include "pool.h"

/* What the compiler emits for a step: computes tiles [begin, end) of it. Returns 0, or 1 when it met
 * a value that it cannot use and filled in `fault`. */
typedef int32_t es_kernel(void *const *args, int32_t begin, int32_t end, es_fault *fault);

struct es_session {
    es_pool pool;
    atomic_bool running;
    atomic_bool failed; /* a thread met a fault in the step that runs */
    es_model *model;
    es_block arena;
    es_block *scratches; /* one for each thread */
    void **args; /* the arguments of all steps, once for each thread, whose scratch they name */
    es_faults *faults; /* one for each thread */
    uint64_t *step_ns;
    es_block self; /* holds this struct and the arrays */
};

/* Where the parts of a session lie in its block. What kernels write lies elsewhere: between pages that
 * nobody may touch. */
typedef struct session_layout {
    size_t args;
    size_t jobs;
    size_t workers;
    size_t faults;
    size_t step_ns;
    size_t scratches;
    es_layout layout;
} session_layout;

static session_layout plan_session(const es_plan *plan, uint32_t threads)
{
    session_layout parts = {0};
    es_layout *const layout = &parts.layout;
    es_layout_add(layout, 1, sizeof(es_session));
    parts.args = es_layout_add(layout, plan->arg_count * (size_t)threads, sizeof(void *));
    parts.jobs = es_layout_add(layout, plan->step_count, sizeof(es_pool_job));
    parts.workers = es_layout_add(layout, threads, sizeof(es_worker));
    parts.faults = es_layout_add(layout, threads, sizeof(es_faults));
    parts.step_ns = es_layout_add(layout, plan->step_count, sizeof(uint64_t));
    parts.scratches = es_layout_add(layout, threads, sizeof(es_block));
    return parts;
}

/* Turns the arguments of the plan into addresses for the thread whose scratch buffer is given. */
static void resolve_args(const es_session *session, const es_block *scratch, void **addresses)
{
    const es_model *const model = session->model;
    const es_plan *const plan = &model->plan;
    /* Kernels only read weights and indices, which the file maps read-only. */
    uint8_t *const bases[] = {[ES_SPACE_ARENA] = session->arena.data,
                              [ES_SPACE_WEIGHTS] = (uint8_t *)(uintptr_t)model->weights.data,
                              [ES_SPACE_SCRATCH] = scratch->data,
                              [ES_SPACE_INDICES] = (uint8_t *)(uintptr_t)model->indices.data};
    for (size_t i = 0; i < plan->arg_count; i++) {
        addresses[i] = bases[plan->args[i].space] + plan->args[i].offset;
    }
}

static void run_tiles(void *context, uint32_t job, uint32_t worker, uint32_t begin, uint32_t end)
{
    es_session *const session = context;
    const es_plan *const plan = &session->model->plan;
    const es_step *const step = &plan->steps[job];
    es_kernel *const kernel = (es_kernel *)(uintptr_t)(session->model->code.data + step->code_offset);
    void *const *const args = session->args + worker * plan->arg_count + step->first_arg;
    es_faults *const faults = &session->faults[worker];
    const int32_t status = kernel(args, (int32_t)begin, (int32_t)end, &faults->last);
    if (status != 0) {
        es_faults_keep(faults, status);
        atomic_store_explicit(&session->failed, true, memory_order_relaxed);
    }
}

static void place_parts(es_session *session, const session_layout *parts)
{
    uint8_t *const base = session->self.data;
    session->args = (void *)(base + parts->args);
    session->faults = (void *)(base + parts->faults);
    session->step_ns = (void *)(base + parts->step_ns);
    session->scratches = (void *)(base + parts->scratches);
    atomic_init(&session->running, false);
    atomic_init(&session->failed, false);
}

/* Allocates what kernels write; after a failure release_memory releases what there is. */
static es_status alloc_memory(es_session *session, uint32_t threads, es_error *error)
{
    const es_plan *const plan = &session->model->plan;
    ES_TRY(es_alloc_pages(plan->arena_bytes, &session->arena, error));
    for (uint32_t i = 0; i < threads; i++) {
        ES_TRY(es_alloc_pages(plan->scratch_bytes, &session->scratches[i], error));
        resolve_args(session, &session->scratches[i], session->args + i * plan->arg_count);
    }
    return ES_OK;
}

static void release_memory(es_session *session, uint32_t threads)
{
    for (uint32_t i = 0; i < threads; i++) {
        es_release(&session->scratches[i]);
    }
    es_release(&session->arena);
    es_block self = session->self;
    es_release(&self);
}

static es_status start(es_session *session, const session_layout *parts, uint32_t threads,
                       es_error *error)
{
    const es_plan *const plan = &session->model->plan;
    uint8_t *const base = session->self.data;
    es_pool_job *const jobs = (void *)(base + parts->jobs);
    for (size_t i = 0; i < plan->step_count; i++) {
        jobs[i] = es_pool_plan_job(plan->steps[i].info.tiles, threads);
    }
    return es_pool_start(&session->pool, threads, jobs, (void *)(base + parts->workers), run_tiles,
                         session, error);
}

es_status es_session_open(es_model *model, uint32_t threads, es_session **session, es_error *error)
{
    ES_REQUIRE(model != NULL && session != NULL, error, ES_ERR_ARGUMENT,
               "es_session_open: an argument is NULL");
    ES_REQUIRE(threads >= 1 && threads <= ES_MAX_THREADS, error, ES_ERR_ARGUMENT,
               "es_session_open: %llu threads, expected 1 to %llu", ES_U(threads),
               ES_U(ES_MAX_THREADS));
    const es_plan *const plan = &model->plan;
    const session_layout parts = plan_session(plan, threads);
    ES_REQUIRE(!parts.layout.overflow, error, ES_ERR_NO_MEMORY,
               "es_session_open: %llu threads of this model do not fit the address space",
               ES_U(threads));
    es_block self;
    ES_TRY(es_alloc_pages(parts.layout.size_bytes, &self, error));
    es_session *const opened = self.data;
    opened->self = self;
    opened->model = model;
    place_parts(opened, &parts);
    es_status status = alloc_memory(opened, threads, error);
    if (status == ES_OK) {
        status = start(opened, &parts, threads, error);
    }
    if (status != ES_OK) {
        release_memory(opened, threads);
        return status;
    }
    es_model_retain(model);
    *session = opened;
    return ES_OK;
}

void es_session_close(es_session *session)
{
    if (session == NULL) {
        return;
    }
    es_pool_stop(&session->pool);
    es_model_close(session->model);
    release_memory(session, session->pool.threads);
}

static es_status check_tensors(const es_plan *plan, const es_input *inputs, size_t input_count,
                               const es_output *outputs, size_t output_count, es_error *error)
{
    ES_REQUIRE(input_count == plan->input_count && output_count == plan->output_count, error,
               ES_ERR_TENSOR,
               "es_session_run: got %llu inputs and %llu outputs, the model has %llu and %llu",
               ES_U(input_count), ES_U(output_count), ES_U(plan->input_count),
               ES_U(plan->output_count));
    for (size_t i = 0; i < input_count; i++) {
        const es_tensor_info *const info = &plan->tensors[i].info;
        ES_REQUIRE(inputs[i].size_bytes == info->size_bytes, error, ES_ERR_TENSOR,
                   "input '%s': got %llu bytes, expected %llu", info->name,
                   ES_U(inputs[i].size_bytes), ES_U(info->size_bytes));
        ES_REQUIRE(inputs[i].data != NULL || info->size_bytes == 0, error, ES_ERR_TENSOR,
                   "input '%s': its data is NULL", info->name);
    }
    for (size_t i = 0; i < output_count; i++) {
        const es_tensor_info *const info = &plan->tensors[input_count + i].info;
        ES_REQUIRE(outputs[i].data == NULL || outputs[i].size_bytes == info->size_bytes, error,
                   ES_ERR_TENSOR, "output '%s': got room for %llu bytes, expected %llu", info->name,
                   ES_U(outputs[i].size_bytes), ES_U(info->size_bytes));
    }
    return ES_OK;
}

/* Runs one step after another up to the first that fails. */
static es_status run_steps(es_session *session, bool timed, es_error *error)
{
    const es_plan *const plan = &session->model->plan;
    uint64_t start = timed ? es_now_ns() : 0;
    for (uint32_t i = 0; i < plan->step_count; i++) {
        es_pool_run(&session->pool, i);
        if (atomic_load_explicit(&session->failed, memory_order_relaxed)) {
            atomic_store_explicit(&session->failed, false, memory_order_relaxed);
            return es_faults_report(session->faults, session->pool.threads, plan, i, error);
        }
        if (timed) {
            const uint64_t end = es_now_ns();
            session->step_ns[i] = end - start;
            start = end;
        }
    }
    return ES_OK;
}

static void copy_in(const es_session *session, const es_input *inputs)
{
    const es_plan *const plan = &session->model->plan;
    uint8_t *const arena = session->arena.data;
    for (size_t i = 0; i < plan->input_count; i++) {
        if (inputs[i].size_bytes > 0) {
            memcpy(arena + plan->tensors[i].offset, inputs[i].data, inputs[i].size_bytes);
        }
    }
}

static void copy_out(const es_session *session, const es_output *outputs, uint64_t *step_ns)
{
    const es_plan *const plan = &session->model->plan;
    const es_tensor *const tensors = plan->tensors + plan->input_count;
    const uint8_t *const arena = session->arena.data;
    for (size_t i = 0; i < plan->output_count; i++) {
        if (outputs[i].data != NULL) {
            memcpy(outputs[i].data, arena + tensors[i].offset, outputs[i].size_bytes);
        }
    }
    if (step_ns != NULL) {
        memcpy(step_ns, session->step_ns, plan->step_count * sizeof *step_ns);
    }
}

static es_status run(es_session *session, const es_input *inputs, size_t input_count,
                     const es_output *outputs, size_t output_count, uint64_t *step_ns,
                     es_error *error)
{
    ES_REQUIRE(session != NULL, error, ES_ERR_ARGUMENT, "es_session_run: the session is NULL");
    ES_REQUIRE(!es_pool_is_inherited(&session->pool), error, ES_ERR_FORKED,
               "es_session_run: opened before this process was forked, and a fork copies no threads; "
               "open it again here");
    ES_TRY(check_tensors(&session->model->plan, inputs, input_count, outputs, output_count, error));
    ES_REQUIRE(!atomic_exchange_explicit(&session->running, true, memory_order_acquire), error,
               ES_ERR_BUSY, "es_session_run: another thread is running this session");
    copy_in(session, inputs);
    /* Which thread computes an element is chance: all must compute alike, whatever the caller set. */
    const uint32_t callers_mode = es_float_mode();
    es_set_float_mode(ES_FLOAT_MODE);
    const es_status status = run_steps(session, step_ns != NULL, error);
    es_set_float_mode(callers_mode);
    if (status == ES_OK) {
        copy_out(session, outputs, step_ns);
    }
    atomic_store_explicit(&session->running, false, memory_order_release);
    return status;
}

es_status es_session_run(es_session *session, const es_input *inputs, size_t input_count,
                         const es_output *outputs, size_t output_count, es_error *error)
{
    return run(session, inputs, input_count, outputs, output_count, NULL, error);
}

es_status es_session_profile(es_session *session, const es_input *inputs, size_t input_count,
                             const es_output *outputs, size_t output_count, uint64_t *step_ns,
                             es_error *error)
{
    ES_REQUIRE(step_ns != NULL, error, ES_ERR_ARGUMENT, "es_session_profile: step_ns is NULL");
    return run(session, inputs, input_count, outputs, output_count, step_ns, error);
}
