#include "session.h"

#include <string.h>

#include "engine.h"
#include "platform.h"
#include "pool.h"

struct es_session {
    atomic_bool running;
    es_model *model;
    es_pool *pool;
    es_engine *engine;
    uint64_t *step_ns;
    es_block self; /* holds this struct and the times of the steps */
};

static const es_engine_kind *const engine_kinds[ES_ENGINE_END] = {[ES_ENGINE_CPU] = &es_engine_cpu};

static es_status alloc_session(const es_plan *plan, es_session **session, es_error *error)
{
    es_layout layout = {0};
    es_layout_add(&layout, 1, sizeof(es_session));
    const size_t step_ns = es_layout_add(&layout, plan->step_count, sizeof(uint64_t));
    ES_REQUIRE(!layout.overflow, error, ES_ERR_NO_MEMORY,
               "es_session_open: the model does not fit the address space");
    es_block self;
    ES_TRY(es_alloc_pages(layout.size_bytes, &self, error));
    es_session *const allocated = self.data;
    allocated->self = self;
    allocated->step_ns = (void *)((uint8_t *)self.data + step_ns);
    atomic_init(&allocated->running, false);
    *session = allocated;
    return ES_OK;
}

static void release_session(es_session *session)
{
    es_block self = session->self;
    es_release(&self);
}

es_status es_session_open_in(es_model *model, es_pool *pool, es_session **session, es_error *error)
{
    ES_REQUIRE(model != NULL && pool != NULL && session != NULL, error, ES_ERR_ARGUMENT,
               "es_session_open_in: an argument is NULL");
    ES_REQUIRE(!es_pool_is_inherited(pool), error, ES_ERR_FORKED,
               "es_session_open_in: the pool was opened before this process was forked, and a fork "
               "copies no threads; open one here");
    es_session *opened;
    ES_TRY(alloc_session(&model->plan, &opened, error));
    opened->model = model;
    opened->pool = pool;
    const es_status status =
        engine_kinds[model->plan.engine]->open(model, pool, &opened->engine, error);
    if (status != ES_OK) {
        release_session(opened);
        return status;
    }
    es_model_retain(model);
    es_pool_retain(pool);
    *session = opened;
    return ES_OK;
}

es_status es_session_open(es_model *model, uint32_t threads, es_session **session, es_error *error)
{
    ES_REQUIRE(model != NULL && session != NULL, error, ES_ERR_ARGUMENT,
               "es_session_open: an argument is NULL");
    es_pool_options options = ES_POOL_OPTIONS;
    options.threads = threads;
    es_pool *pool;
    ES_TRY(es_pool_open(&options, &pool, error));
    const es_status status = es_session_open_in(model, pool, session, error);
    es_pool_close(pool); /* the session keeps it */
    return status;
}

void es_session_close(es_session *session)
{
    if (session == NULL) {
        return;
    }
    session->engine->kind->close(session->engine);
    es_pool_close(session->pool);
    es_model_close(session->model);
    release_session(session);
}

const es_model *es_session_model(const es_session *session)
{
    return session->model;
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

static void copy_in(const es_session *session, const es_input *inputs)
{
    const es_plan *const plan = &session->model->plan;
    es_engine *const engine = session->engine;
    for (size_t i = 0; i < plan->input_count; i++) {
        if (inputs[i].size_bytes > 0) {
            engine->kind->write(engine, plan->tensors[i].offset, inputs[i].data,
                                inputs[i].size_bytes);
        }
    }
}

static void copy_out(const es_session *session, const es_output *outputs, uint64_t *step_ns)
{
    const es_plan *const plan = &session->model->plan;
    const es_tensor *const tensors = plan->tensors + plan->input_count;
    const es_engine *const engine = session->engine;
    for (size_t i = 0; i < plan->output_count; i++) {
        if (outputs[i].data != NULL) {
            engine->kind->read(engine, tensors[i].offset, outputs[i].data, outputs[i].size_bytes);
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
    es_engine *const engine = session->engine;
    const es_plan *const plan = &session->model->plan;
    ES_TRY(engine->kind->check(engine, error));
    ES_TRY(check_tensors(plan, inputs, input_count, outputs, output_count, error));
    ES_REQUIRE(!atomic_exchange_explicit(&session->running, true, memory_order_acquire), error,
               ES_ERR_BUSY, "es_session_run: another thread is running this session");
    copy_in(session, inputs);
    const es_status status = engine->kind->run(engine, 0, (uint32_t)plan->step_count,
                                               step_ns != NULL ? session->step_ns : NULL, error);
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
