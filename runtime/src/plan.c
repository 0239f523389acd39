#include "plan.h"

#include <string.h>

#include "arg.h"
#include "platform.h"
#include "utf8.h"

/* Where the tables of a plan start; they follow its header without gaps. */
typedef struct tables {
    const uint8_t *tensors;
    const uint8_t *steps;
    const uint8_t *args;
    es_bytes strings;
} tables;

static es_status check_header(const es_file_plan *header, es_error *error)
{
    const uint64_t max_arena =
        ES_MAX_ARENA_BYTES < SIZE_MAX / 4 ? ES_MAX_ARENA_BYTES : SIZE_MAX / 4;
    ES_REQUIRE(header->arena_bytes <= max_arena, error, ES_ERR_LIMIT,
               "plan: an arena of %llu bytes, at most %llu are allowed", ES_U(header->arena_bytes),
               ES_U(max_arena));
    ES_REQUIRE(header->scratch_bytes <= ES_MAX_SCRATCH_BYTES, error, ES_ERR_LIMIT,
               "plan: %llu bytes of scratch, at most %llu are allowed", ES_U(header->scratch_bytes),
               ES_U(ES_MAX_SCRATCH_BYTES));
    ES_REQUIRE(header->input_count <= ES_MAX_TENSORS && header->output_count <= ES_MAX_TENSORS,
               error, ES_ERR_LIMIT,
               "plan: %llu inputs and %llu outputs, at most %llu of each are allowed",
               ES_U(header->input_count), ES_U(header->output_count), ES_U(ES_MAX_TENSORS));
    ES_REQUIRE(header->step_count <= ES_MAX_STEPS, error, ES_ERR_LIMIT,
               "plan: %llu steps, at most %llu are allowed", ES_U(header->step_count),
               ES_U(ES_MAX_STEPS));
    ES_REQUIRE(header->reserved0 == 0 && es_is_zero(header->reserved1, sizeof header->reserved1),
               error, ES_ERR_INVALID, "plan: a reserved byte is not zero");
    return ES_OK;
}

es_status es_plan_read_header(es_bytes section, es_plan *plan, es_error *error)
{
    es_file_plan header;
    ES_REQUIRE(section.size >= sizeof header, error, ES_ERR_INVALID,
               "plan: has %llu bytes, its header alone has %llu", ES_U(section.size),
               ES_U(sizeof header));
    memcpy(&header, section.data, sizeof header);
    ES_TRY(check_header(&header, error));
    const uint64_t expected =
        sizeof header +
        ((uint64_t)header.input_count + header.output_count) * sizeof(es_file_tensor) +
        (uint64_t)header.step_count * sizeof(es_file_step) +
        (uint64_t)header.arg_count * sizeof(es_file_arg) + header.string_bytes;
    ES_REQUIRE(section.size == expected, error, ES_ERR_INVALID,
               "plan: has %llu bytes, its tables need %llu", ES_U(section.size), ES_U(expected));
    *plan = (es_plan){
        .isa = (es_isa)header.isa,
        .cpu_features = header.cpu_features,
        .arena_bytes = (size_t)header.arena_bytes,
        .scratch_bytes = (size_t)header.scratch_bytes,
        .input_count = header.input_count,
        .output_count = header.output_count,
        .step_count = header.step_count,
        .arg_count = header.arg_count,
    };
    return ES_OK;
}

static tables find_tables(es_bytes section, const es_plan *plan)
{
    tables found;
    found.tensors = section.data + sizeof(es_file_plan);
    found.steps =
        found.tensors + (plan->input_count + plan->output_count) * sizeof(es_file_tensor);
    found.args = found.steps + plan->step_count * sizeof(es_file_step);
    found.strings.data = found.args + plan->arg_count * sizeof(es_file_arg);
    found.strings.size = (size_t)(section.data + section.size - found.strings.data);
    return found;
}

/* `owner` and `index` name what the string belongs to, such as "step" 3. */
static es_status read_string(es_file_string reference, es_bytes strings, const char *owner,
                             size_t index, const char **string, es_error *error)
{
    ES_REQUIRE(es_range_fits(reference.offset, (uint64_t)reference.size + 1, strings.size), error,
               ES_ERR_INVALID, "%s %llu: a string of %llu bytes at byte %llu is outside the blob",
               owner, ES_U(index), ES_U(reference.size), ES_U(reference.offset));
    const uint8_t *const text = strings.data + reference.offset;
    ES_REQUIRE(text[reference.size] == '\0', error, ES_ERR_INVALID,
               "%s %llu: a string does not end with NUL", owner, ES_U(index));
    ES_REQUIRE(es_utf8_is_text(text, reference.size), error, ES_ERR_INVALID,
               "%s %llu: a string is not UTF-8 text", owner, ES_U(index));
    *string = (const char *)text;
    return ES_OK;
}

static es_status read_dtype(uint32_t code, es_tensor_info *info, size_t *element_bytes)
{
    switch (code) {
#define CASE(dtype_code, value, text, size_bytes) \
    case dtype_code:                              \
        info->dtype = dtype_code;                 \
        info->dtype_name = text;                  \
        *element_bytes = size_bytes;              \
        return ES_OK;
        ES_DTYPE_LIST(CASE)
#undef CASE
    default:
        return ES_ERR_UNSUPPORTED;
    }
}

/* The size of a dense tensor, or UINT64_MAX if it does not fit 64 bits. */
static uint64_t dense_size(const es_tensor_info *info, size_t element_bytes)
{
    uint64_t size = element_bytes;
    for (uint32_t axis = 0; axis < info->rank; axis++) {
        if (__builtin_mul_overflow(size, (uint64_t)info->dims[axis], &size)) {
            return UINT64_MAX;
        }
    }
    return size;
}

static es_status check_unique_name(const es_tensor *tensors, size_t index, const char *owner,
                                   es_error *error)
{
    for (size_t other = 0; other < index; other++) {
        ES_REQUIRE(strcmp(tensors[other].info.name, tensors[index].info.name) != 0, error,
                   ES_ERR_INVALID, "%s %llu '%s': has the name of %s %llu", owner, ES_U(index),
                   tensors[index].info.name, owner, ES_U(other));
    }
    return ES_OK;
}

static es_status read_tensor(const uint8_t *table, size_t index, const char *owner,
                             es_bytes strings, size_t arena_bytes, es_tensor *tensor,
                             es_error *error)
{
    es_file_tensor record;
    memcpy(&record, table + index * sizeof record, sizeof record);
    es_tensor_info info = {.rank = record.rank};
    ES_TRY(read_string(record.name, strings, owner, index, &info.name, error));
    size_t element_bytes;
    ES_REQUIRE(read_dtype(record.dtype, &info, &element_bytes) == ES_OK, error, ES_ERR_UNSUPPORTED,
               "%s '%s': has the unknown element type %llu; install a newer runtime", owner,
               info.name, ES_U(record.dtype));
    ES_REQUIRE(record.rank <= ES_MAX_RANK, error, ES_ERR_LIMIT,
               "%s '%s': has %llu dimensions, at most %llu are allowed", owner, info.name,
               ES_U(record.rank), ES_U(ES_MAX_RANK));
    memcpy(info.dims, record.dims, sizeof info.dims);
    const size_t unused_bytes = (ES_MAX_RANK - record.rank) * sizeof info.dims[0];
    ES_REQUIRE(es_is_zero(info.dims + record.rank, unused_bytes), error, ES_ERR_INVALID,
               "%s '%s': a dimension past its rank is not zero", owner, info.name);
    ES_REQUIRE(dense_size(&info, element_bytes) == record.size, error, ES_ERR_INVALID,
               "%s '%s': has %llu bytes, which is not what its shape needs", owner, info.name,
               ES_U(record.size));
    ES_REQUIRE(record.offset % ES_DATA_ALIGN == 0, error, ES_ERR_INVALID,
               "%s '%s': starts at byte %llu, which is not a multiple of %llu", owner, info.name,
               ES_U(record.offset), ES_U(ES_DATA_ALIGN));
    ES_REQUIRE(es_range_fits(record.offset, record.size, arena_bytes), error, ES_ERR_INVALID,
               "%s '%s': has %llu bytes at byte %llu, past the end of the arena (%llu bytes)", owner,
               info.name, ES_U(record.size), ES_U(record.offset), ES_U(arena_bytes));
    info.size_bytes = (size_t)record.size;
    *tensor = (es_tensor){.info = info, .offset = (size_t)record.offset};
    return ES_OK;
}

static es_status read_tensors(const uint8_t *table, size_t count, const char *owner,
                              es_bytes strings, size_t arena_bytes, es_tensor *tensors,
                              es_error *error)
{
    for (size_t i = 0; i < count; i++) {
        ES_TRY(read_tensor(table, i, owner, strings, arena_bytes, &tensors[i], error));
        ES_TRY(check_unique_name(tensors, i, owner, error));
    }
    return ES_OK;
}

/* Reads one step; its arguments must follow those of the step before it. */
static es_status read_step(const tables *found, size_t index, size_t code_bytes,
                           const es_plan *plan, size_t first_arg, es_step *step, es_error *error)
{
    es_file_step record;
    memcpy(&record, found->steps + index * sizeof record, sizeof record);
    es_step_info info = {.tiles = record.tiles};
    ES_TRY(read_string(record.name, found->strings, "step", index, &info.name, error));
    ES_TRY(read_string(record.op, found->strings, "step", index, &info.op, error));
    ES_TRY(read_string(record.kernel, found->strings, "step", index, &info.kernel, error));
    const size_t code_align = plan->isa == ES_ISA_x86_64 ? 1 : 4;
    ES_REQUIRE(record.code_offset < code_bytes && record.code_offset % code_align == 0, error,
               ES_ERR_INVALID,
               "step %llu '%s': its kernel is at byte %llu, which is no instruction of the code "
               "section (%llu bytes)",
               ES_U(index), info.name, ES_U(record.code_offset), ES_U(code_bytes));
    ES_REQUIRE(record.tiles >= 1 && record.tiles <= INT32_MAX, error, ES_ERR_INVALID,
               "step %llu '%s': has %llu tiles, expected 1 to %llu", ES_U(index), info.name,
               ES_U(record.tiles), ES_U(INT32_MAX));
    ES_REQUIRE(record.arg_count <= ES_MAX_STEP_ARGS, error, ES_ERR_LIMIT,
               "step %llu '%s': has %llu arguments, at most %llu are allowed", ES_U(index),
               info.name, ES_U(record.arg_count), ES_U(ES_MAX_STEP_ARGS));
    ES_REQUIRE(record.first_arg == first_arg &&
                   es_range_fits(first_arg, record.arg_count, plan->arg_count),
               error, ES_ERR_INVALID,
               "step %llu '%s': has %llu arguments from %llu, expected from %llu up to %llu",
               ES_U(index), info.name, ES_U(record.arg_count), ES_U(record.first_arg),
               ES_U(first_arg), ES_U(plan->arg_count));
    ES_REQUIRE(record.reserved == 0, error, ES_ERR_INVALID,
               "step %llu '%s': a reserved byte is not zero", ES_U(index), info.name);
    *step = (es_step){.info = info,
                      .code_offset = (size_t)record.code_offset,
                      .first_arg = first_arg,
                      .arg_count = record.arg_count};
    return ES_OK;
}

static es_status read_args(const tables *found, size_t step_index, const es_step *step,
                           const es_spaces *spaces, es_arg *args, es_error *error)
{
    for (size_t i = 0; i < step->arg_count; i++) {
        const size_t index = step->first_arg + i;
        es_file_arg record;
        memcpy(&record, found->args + index * sizeof record, sizeof record);
        const es_arg_site site = {.step_name = step->info.name, .step = step_index, .arg = i};
        ES_TRY(es_arg_check(&record, spaces, site, error));
        const char *name;
        ES_TRY(read_string(record.name, found->strings, "step", step_index, &name, error));
        args[index] = (es_arg){
            .space = (es_space)record.space, .offset = (size_t)record.offset, .name = name};
    }
    return ES_OK;
}

es_status es_plan_read_tables(const es_container *container, es_plan *plan, es_error *error)
{
    const tables found = find_tables(container->sections[ES_SECTION_PLAN], plan);
    ES_TRY(read_tensors(found.tensors, plan->input_count, "input", found.strings, plan->arena_bytes,
                        plan->tensors, error));
    ES_TRY(read_tensors(found.tensors + plan->input_count * sizeof(es_file_tensor),
                        plan->output_count, "output", found.strings, plan->arena_bytes,
                        plan->tensors + plan->input_count, error));

    const size_t code_bytes = container->sections[ES_SECTION_CODE].size;
    const es_spaces spaces = {.arena_bytes = plan->arena_bytes,
                              .scratch_bytes = plan->scratch_bytes,
                              .weights = container->sections[ES_SECTION_WEIGHTS]};
    size_t arg_count = 0;
    for (size_t i = 0; i < plan->step_count; i++) {
        es_step *const step = &plan->steps[i];
        ES_TRY(read_step(&found, i, code_bytes, plan, arg_count, step, error));
        ES_TRY(read_args(&found, i, step, &spaces, plan->args, error));
        arg_count += step->arg_count;
    }
    ES_REQUIRE(arg_count == plan->arg_count, error, ES_ERR_INVALID,
               "plan: has %llu arguments, its steps use %llu", ES_U(plan->arg_count),
               ES_U(arg_count));
    return ES_OK;
}
