#include "model.h"

#include <string.h>

#include "answers.h"
#include "choice.h"
#include "platform.h"

/* Allocates the block that holds the model and the arrays of its plan. */
static es_status alloc_model(const es_choice *choice, es_model **model, es_error *error)
{
    const es_plan *const plan = &choice->plan;
    es_layout layout = {0};
    const size_t tensor_count = plan->input_count + plan->output_count;
    es_layout_add(&layout, 1, sizeof(es_model));
    const size_t tensors = es_layout_add(&layout, tensor_count, sizeof(es_tensor));
    const size_t steps = es_layout_add(&layout, plan->step_count, sizeof(es_step));
    const size_t args = es_layout_add(&layout, plan->arg_count, sizeof(es_arg));
    const size_t named = es_layout_add(&layout, plan->string_count, sizeof(uint8_t));
    ES_REQUIRE(!layout.overflow, error, ES_ERR_LIMIT, "plan: does not fit the address space");

    es_block self;
    ES_TRY(es_alloc_pages(layout.size_bytes, &self, error));
    uint8_t *const base = self.data;
    es_model *const allocated = self.data;
    *allocated = (es_model){
        .self = self, .plan = *plan, .number = choice->number, .plan_count = choice->count};
    atomic_init(&allocated->references, 1);
    allocated->plan.tensors = (void *)(base + tensors);
    allocated->plan.steps = (void *)(base + steps);
    allocated->plan.args = (void *)(base + args);
    allocated->plan.named = base + named;
    *model = allocated;
    return ES_OK;
}

/* Makes the code executable where it is, or else in a copy: a file system may be mounted noexec. */
static es_status load_code(es_bytes code, bool in_own_pages, es_model *model, es_error *error)
{
    model->code = code;
    if (in_own_pages && es_allow_execution(code.data, code.size)) {
        return ES_OK;
    }
    ES_TRY(es_alloc_pages(code.size, &model->code_copy, error));
    memcpy(model->code_copy.data, code.data, code.size);
    es_flush_instructions(model->code_copy.data, code.size);
    model->code.data = model->code_copy.data;
    ES_REQUIRE(es_allow_execution(model->code.data, code.size), error, ES_ERR_EXECUTE,
               "code section: the system does not let it be executed");
    return ES_OK;
}

/* Uses a section of arrays in place, or a copy of it where it is not aligned. */
static es_status load_arrays(es_bytes section, es_bytes *used, es_block *copy, es_error *error)
{
    *used = section;
    if (section.size == 0 || (uintptr_t)section.data % ES_DATA_ALIGN == 0) {
        return ES_OK;
    }
    ES_TRY(es_alloc_pages(section.size, copy, error));
    memcpy(copy->data, section.data, section.size);
    used->data = copy->data;
    return ES_OK;
}

static es_status load(const es_container *container, bool in_own_pages, es_model *model,
                      es_error *error)
{
    const es_bytes weights = es_container_find(container, ES_SECTION_WEIGHTS);
    const es_bytes indices = es_container_find(container, ES_SECTION_INDICES);
    const es_bytes labels = es_container_find(container, ES_SECTION_LABELS);
    model->manifest = es_container_find(container, ES_SECTION_MANIFEST);
    model->answers = es_container_find(container, ES_SECTION_ANSWERS);
    ES_TRY(es_plan_read_tables(container, &model->plan, error));
    ES_TRY(es_labels_read(labels, &model->plan, &model->labels, error));
    ES_TRY(es_answers_check(model->answers, &model->plan, error));
    ES_TRY(load_arrays(weights, &model->weights, &model->weights_copy, error));
    ES_TRY(load_arrays(indices, &model->indices, &model->indices_copy, error));
    return load_code(model->plan.code, in_own_pages, model, error);
}

static es_status open_plan(const es_container *container, const es_choice *choice,
                           bool in_own_pages, es_model **model, es_error *error)
{
    es_model *opened;
    ES_TRY(alloc_model(choice, &opened, error));
    const es_status status = load(container, in_own_pages, opened, error);
    if (status != ES_OK) {
        es_model_close(opened);
        return status;
    }
    *model = opened;
    return ES_OK;
}

/* Opens the best plan of which this runtime knows all; one that asks for a newer one leaves the others. */
static es_status open_container(const es_container *container, bool in_own_pages, es_model **model,
                                es_error *error)
{
    es_choice choice;
    es_error why;
    uint64_t refused = 0;
    es_status first = ES_OK; /* that refused a plan which this machine can run */
    for (;;) {
        const es_status chosen = es_choose_plan(container, refused, &choice, &why);
        if (chosen != ES_OK) {
            return first != ES_OK ? first : es_fail(error, chosen, "%s", why.message);
        }
        const es_status status = open_plan(container, &choice, in_own_pages, model, &why);
        if (status == ES_OK) {
            return ES_OK;
        }
        if (!es_asks_for_more(container, status)) {
            return es_fail(error, status, "%s", why.message);
        }
        if (first == ES_OK) {
            first = es_fail(error, status, "%s", why.message);
        }
        refused |= (uint64_t)1 << choice.number;
    }
}

static es_status open_bytes(es_bytes file, bool in_own_pages, uint32_t flags, es_model **model,
                            es_error *error)
{
    es_container container;
    es_error why = {.message = ""};
    ES_TRY(es_container_read(file, flags, &container, error));
    const es_status status = open_container(&container, in_own_pages, model, &why);
    const bool is_newer = container.minor > ES_FORMAT_MINOR;
    if (is_newer && status != ES_ERR_CPU && es_asks_for_more(&container, status)) {
        return es_fail(error, ES_ERR_UNSUPPORTED,
                       "the artifact has version %llu.%llu, this runtime knows %llu.%llu (%s); "
                       "install a newer runtime",
                       ES_U(ES_FORMAT_MAJOR), ES_U(container.minor), ES_U(ES_FORMAT_MAJOR),
                       ES_U(ES_FORMAT_MINOR), why.message);
    }
    return status == ES_OK ? ES_OK : es_fail(error, status, "%s", why.message);
}

static es_status check_call(const void *source, uint32_t flags, es_model **model, es_error *error)
{
    ES_REQUIRE(source != NULL && model != NULL, error, ES_ERR_ARGUMENT,
               "es_model_open: an argument is NULL");
    ES_REQUIRE((flags & ~(uint32_t)ES_OPEN_VERIFY_WEIGHTS) == 0, error, ES_ERR_ARGUMENT,
               "es_model_open: unknown flags %llu", ES_U(flags));
    return ES_OK;
}

es_status es_model_open_file(const char *path, uint32_t flags, es_model **model, es_error *error)
{
    ES_TRY(check_call(path, flags, model, error));
    es_block file;
    ES_TRY(es_map_file(path, &file, error));
    const es_bytes bytes = {.data = file.data, .size = file.size_bytes};
    es_model *opened;
    const es_status status = open_bytes(bytes, true, flags, &opened, error);
    if (status != ES_OK) {
        es_release(&file);
        return status;
    }
    opened->file = file;
    *model = opened;
    return ES_OK;
}

es_status es_model_open_memory(const void *data, size_t size_bytes, uint32_t flags,
                               es_model **model, es_error *error)
{
    ES_TRY(check_call(data, flags, model, error));
    return open_bytes((es_bytes){.data = data, .size = size_bytes}, false, flags, model, error);
}

void es_model_retain(es_model *model)
{
    atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
}

void es_model_close(es_model *model)
{
    if (model == NULL ||
        atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    es_release(&model->file);
    es_release(&model->code_copy);
    es_release(&model->weights_copy);
    es_release(&model->indices_copy);
    es_block self = model->self;
    es_release(&self);
}

void es_model_describe(const es_model *model, es_model_info *info)
{
    const es_plan *const plan = &model->plan;
    *info = (es_model_info){
        .input_count = plan->input_count,
        .output_count = plan->output_count,
        .step_count = plan->step_count,
        .arena_bytes = plan->arena_bytes,
        .scratch_bytes = plan->scratch_bytes,
        .weights_bytes = model->weights.size + model->indices.size,
        .code_bytes = model->code.size,
        .plan = model->number,
        .plan_count = model->plan_count,
        .isa = es_isa_name(plan->isa),
        .manifest = (const char *)model->manifest.data,
        .manifest_bytes = model->manifest.size,
        .labels = (const char *)model->labels.text.data,
        .labels_bytes = model->labels.text.size,
        .label_count = model->labels.count,
        .labels_output = model->labels.output,
    };
}

es_status es_model_input(const es_model *model, size_t index, es_tensor_info *info)
{
    if (index >= model->plan.input_count) {
        return ES_ERR_ARGUMENT;
    }
    *info = model->plan.tensors[index].info;
    return ES_OK;
}

es_status es_model_output(const es_model *model, size_t index, es_tensor_info *info)
{
    if (index >= model->plan.output_count) {
        return ES_ERR_ARGUMENT;
    }
    *info = model->plan.tensors[model->plan.input_count + index].info;
    return ES_OK;
}

es_status es_model_step(const es_model *model, size_t index, es_step_info *info)
{
    if (index >= model->plan.step_count) {
        return ES_ERR_ARGUMENT;
    }
    *info = model->plan.steps[index].info;
    return ES_OK;
}

const char *es_version(void)
{
    return ES_VERSION;
}

const char *es_model_label(const es_model *model, size_t index)
{
    if (index >= model->labels.count) {
        return NULL;
    }
    const char *label = (const char *)model->labels.text.data;
    for (size_t i = 0; i < index; i++) {
        label += strlen(label) + 1;
    }
    return label;
}
