#include "plan.h"

#include <string.h>

#include "indices.h"
#include "platform.h"
#include "strings.h"
#include "tables.h"

/* What the records of a plan are checked against. */
typedef struct reading {
    es_tables tables;
    es_strings strings;
    uint64_t space_bytes[ES_SPACE_END];
    size_t code_bytes;
} reading;

/* What an arena may take of the address space. Plans for other machines may have larger ones. */
#define MAX_ADDRESSABLE (SIZE_MAX / 4)

static const char *const space_names[ES_SPACE_END] = {[ES_SPACE_ARENA] = "arena",
                                                      [ES_SPACE_WEIGHTS] = "weights section",
                                                      [ES_SPACE_SCRATCH] = "scratch buffer",
                                                      [ES_SPACE_INDICES] = "indices section"};

static es_status read_engine(const es_tables *tables, es_plan *plan, es_error *error)
{
    es_file_engine engine;
    ES_REQUIRE(tables->counts.engine_count == 1, error, ES_ERR_UNSUPPORTED,
               "plan: needs %llu engines, this runtime runs one; install a newer runtime",
               ES_U(tables->counts.engine_count));
    memcpy(&engine, tables->engines, sizeof engine);
    ES_REQUIRE(engine.kind < ES_ENGINE_END, error, ES_ERR_UNSUPPORTED,
               "plan: needs an engine of the unknown kind %llu; install a newer runtime",
               ES_U(engine.kind));
    ES_REQUIRE(engine.reserved0 == 0 && es_is_zero(engine.reserved1, sizeof engine.reserved1),
               error, ES_ERR_INVALID, "plan: a reserved byte of an engine is not zero");
    ES_REQUIRE(engine.arena_bytes <= ES_MAX_ARENA_BYTES, error, ES_ERR_LIMIT,
               "plan: an arena of %llu bytes, at most %llu are allowed", ES_U(engine.arena_bytes),
               ES_U(ES_MAX_ARENA_BYTES));
    ES_REQUIRE(engine.scratch_bytes <= ES_MAX_SCRATCH_BYTES, error, ES_ERR_LIMIT,
               "plan: %llu bytes of scratch, at most %llu are allowed", ES_U(engine.scratch_bytes),
               ES_U(ES_MAX_SCRATCH_BYTES));
    plan->engine = (es_engine_id)engine.kind;
    plan->arena_bytes = engine.arena_bytes <= MAX_ADDRESSABLE ? (size_t)engine.arena_bytes : SIZE_MAX;
    plan->scratch_bytes = (size_t)engine.scratch_bytes;
    return ES_OK;
}

static es_status read_image(const es_tables *tables, const es_container *container, es_plan *plan,
                            es_error *error)
{
    es_file_image image;
    ES_REQUIRE(tables->counts.image_count == 1, error, ES_ERR_UNSUPPORTED,
               "plan: has %llu images of code, this runtime runs one; install a newer runtime",
               ES_U(tables->counts.image_count));
    memcpy(&image, tables->images, sizeof image);
    ES_REQUIRE(image.engine == 0, error, ES_ERR_INVALID,
               "plan: its code is for engine %llu, which it does not have", ES_U(image.engine));
    const es_section *const code =
        image.section < container->section_count ? &container->sections[image.section] : NULL;
    ES_REQUIRE(code != NULL && code->kind == ES_SECTION_CODE && code->content.size > 0, error,
               ES_ERR_INVALID, "plan: its code is in section %llu, which is no code section",
               ES_U(image.section));
    ES_REQUIRE(es_is_zero(image.reserved, sizeof image.reserved), error, ES_ERR_INVALID,
               "plan: a reserved byte of an image is not zero");
    plan->code = code->content;
    plan->isa = (es_isa)image.isa;
    plan->cpu_features = image.features;
    plan->core = image.core;
    return ES_OK;
}

es_status es_plan_read_header(const es_container *container, es_bytes section, es_plan *plan,
                              es_error *error)
{
    es_tables tables;
    ES_TRY(es_tables_find(section, &tables, error));
    es_plan found = {
        .section = section,
        .input_count = tables.counts.input_count,
        .output_count = tables.counts.output_count,
        .step_count = tables.counts.step_count,
        .arg_count = tables.counts.arg_count,
        .string_count = tables.counts.string_count,
    };
    ES_TRY(read_engine(&tables, &found, error));
    ES_TRY(read_image(&tables, container, &found, error));
    *plan = found;
    return ES_OK;
}

/* `owner` and `index` name what the string belongs to, such as "step" 3. */
static es_status read_name(const es_strings *strings, uint32_t number, const char *owner,
                           size_t index, const char **name, es_error *error)
{
    const char *const found = es_strings_at(strings, number);
    ES_REQUIRE(found != NULL, error, ES_ERR_INVALID,
               "%s %llu: is called by string %llu, the plan has %llu", owner, ES_U(index),
               ES_U(number), ES_U(strings->count));
    *name = found;
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

static es_status read_shape(const es_file_tensor *record, const char *owner, es_tensor_info *info,
                            es_error *error)
{
    size_t element_bytes;
    ES_REQUIRE(read_dtype(record->dtype, info, &element_bytes) == ES_OK, error, ES_ERR_UNSUPPORTED,
               "%s '%s': has the unknown element type %llu; install a newer runtime", owner,
               info->name, ES_U(record->dtype));
    ES_REQUIRE(record->rank <= ES_MAX_RANK, error, ES_ERR_LIMIT,
               "%s '%s': has %llu dimensions, at most %llu are allowed", owner, info->name,
               ES_U(record->rank), ES_U(ES_MAX_RANK));
    info->rank = record->rank;
    memcpy(info->dims, record->dims, sizeof info->dims);
    const size_t unused_bytes = (ES_MAX_RANK - record->rank) * sizeof info->dims[0];
    ES_REQUIRE(es_is_zero(info->dims + record->rank, unused_bytes), error, ES_ERR_INVALID,
               "%s '%s': a dimension past its rank is not zero", owner, info->name);
    ES_REQUIRE(dense_size(info, element_bytes) == record->size, error, ES_ERR_INVALID,
               "%s '%s': has %llu bytes, which is not what its shape needs", owner, info->name,
               ES_U(record->size));
    info->size_bytes = (size_t)record->size;
    return ES_OK;
}

/* Reads what the pixels of a tensor mean, which says of what type and shape it is. */
static es_status read_picture(uint32_t code, const char *owner, es_tensor_info *info, es_error *error)
{
    switch (code) {
#define CASE(picture_code, value, text)  \
    case picture_code:                   \
        info->picture = picture_code;    \
        break;
        ES_PICTURE_LIST(CASE)
#undef CASE
    default:
        return es_fail(error, ES_ERR_UNSUPPORTED,
                       "%s '%s': is a picture of the unknown kind %llu; install a newer runtime",
                       owner, info->name, ES_U(code));
    }
    if (info->picture == ES_NO_PICTURE) {
        return ES_OK;
    }
    const bool planes = info->picture == ES_RGB_PLANES || info->picture == ES_BGR_PLANES;
    const bool fits = info->picture == ES_GREY
                          ? info->rank == 2
                          : info->rank == 3 && info->dims[planes ? 0 : 2] == 3;
    ES_REQUIRE(fits && info->dtype == ES_UINT8, error, ES_ERR_INVALID,
               "%s '%s': has neither the shape nor the type of a picture", owner, info->name);
    return ES_OK;
}

static es_status read_tensor(const reading *from, const es_file_tensor *record, size_t index,
                             const char *owner, es_tensor *tensor, es_error *error)
{
    es_tensor_info info = {.rank = 0};
    ES_TRY(read_name(&from->strings, record->name, owner, index, &info.name, error));
    ES_TRY(read_shape(record, owner, &info, error));
    ES_TRY(read_picture(record->picture, owner, &info, error));
    ES_REQUIRE(record->engine == 0 && es_is_zero(record->reserved, sizeof record->reserved), error,
               ES_ERR_INVALID, "%s '%s': a reserved byte is not zero", owner, info.name);
    ES_REQUIRE(record->offset % ES_DATA_ALIGN == 0, error, ES_ERR_INVALID,
               "%s '%s': starts at byte %llu, which is not a multiple of %llu", owner, info.name,
               ES_U(record->offset), ES_U(ES_DATA_ALIGN));
    const uint64_t arena_bytes = from->space_bytes[ES_SPACE_ARENA];
    ES_REQUIRE(es_range_fits(record->offset, record->size, arena_bytes), error, ES_ERR_INVALID,
               "%s '%s': has %llu bytes at byte %llu, past the end of the arena (%llu bytes)", owner,
               info.name, ES_U(record->size), ES_U(record->offset), ES_U(arena_bytes));
    *tensor = (es_tensor){.info = info, .offset = (size_t)record->offset};
    return ES_OK;
}

/* Reads the inputs or the outputs, whose names differ; `mark` tells the two in `named`. */
static es_status read_tensors(const reading *from, const uint8_t *table, size_t count,
                              const char *owner, uint8_t mark, es_plan *plan, es_tensor *tensors,
                              es_error *error)
{
    for (size_t i = 0; i < count; i++) {
        es_file_tensor record;
        memcpy(&record, table + i * sizeof record, sizeof record);
        ES_TRY(read_tensor(from, &record, i, owner, &tensors[i], error));
        ES_REQUIRE((plan->named[record.name] & mark) == 0, error, ES_ERR_INVALID,
                   "%s %llu '%s': has the name of another %s", owner, ES_U(i),
                   tensors[i].info.name, owner);
        plan->named[record.name] |= mark;
    }
    return ES_OK;
}

static es_status read_step_names(const reading *from, const es_file_step *record, size_t index,
                                 es_step_info *info, es_error *error)
{
    ES_TRY(read_name(&from->strings, record->name, "step", index, &info->name, error));
    ES_TRY(read_name(&from->strings, record->op, "step", index, &info->op, error));
    return read_name(&from->strings, record->kernel, "step", index, &info->kernel, error);
}

/* Reads one step; its arguments must follow those of the step before it. */
static es_status read_step(const reading *from, size_t index, const es_plan *plan,
                           size_t first_arg, es_step *step, es_error *error)
{
    es_file_step record;
    memcpy(&record, from->tables.steps + index * sizeof record, sizeof record);
    es_step_info info = {.tiles = record.tiles};
    ES_TRY(read_step_names(from, &record, index, &info, error));
    ES_REQUIRE(record.kind == ES_STEP_CALL, error, ES_ERR_UNSUPPORTED,
               "step %llu '%s': is of the unknown kind %llu; install a newer runtime", ES_U(index),
               info.name, ES_U(record.kind));
    ES_REQUIRE(record.image == 0 && es_is_zero(record.reserved, sizeof record.reserved), error,
               ES_ERR_INVALID, "step %llu '%s': a reserved byte is not zero", ES_U(index),
               info.name);
    const size_t code_align = plan->isa == ES_ISA_x86_64 ? 1 : 4;
    ES_REQUIRE(record.code_offset < from->code_bytes && record.code_offset % code_align == 0, error,
               ES_ERR_INVALID,
               "step %llu '%s': its kernel is at byte %llu, which is no instruction of the code "
               "section (%llu bytes)",
               ES_U(index), info.name, ES_U(record.code_offset), ES_U(from->code_bytes));
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
    *step = (es_step){.info = info,
                      .code_offset = (size_t)record.code_offset,
                      .first_arg = first_arg,
                      .arg_count = record.arg_count};
    return ES_OK;
}

#define SITE "step %llu '%s': argument %llu "

/* An argument in the indices is a whole array of them, about which everything is proved. */
static es_status check_array(const reading *from, const es_file_arg *arg, const es_step *step,
                             size_t step_index, size_t index, es_error *error)
{
    es_file_array array = {.kind = 0};
    if (arg->space != ES_SPACE_INDICES) {
        ES_REQUIRE(arg->array == 0, error, ES_ERR_INVALID,
                   SITE "names index array %llu, but is not in the indices", ES_U(step_index),
                   step->info.name, ES_U(index), ES_U(arg->array));
        return ES_OK;
    }
    const bool exists = arg->array < from->tables.counts.array_count;
    if (exists) {
        memcpy(&array, from->tables.arrays + arg->array * sizeof array, sizeof array);
    }
    ES_REQUIRE(exists && array.offset == arg->offset && array.size == arg->size, error,
               ES_ERR_INVALID, SITE "is not index array %llu, of which it must be all",
               ES_U(step_index), step->info.name, ES_U(index), ES_U(arg->array));
    return ES_OK;
}

static es_status read_arg(const reading *from, const es_step *step, size_t step_index,
                          size_t index, es_arg *arg, es_error *error)
{
    es_file_arg record;
    memcpy(&record, from->tables.args + (step->first_arg + index) * sizeof record, sizeof record);
    ES_REQUIRE(record.space < ES_SPACE_END, error, ES_ERR_UNSUPPORTED,
               SITE "is in the unknown space %llu; install a newer runtime", ES_U(step_index),
               step->info.name, ES_U(index), ES_U(record.space));
    ES_REQUIRE(es_is_zero(record.reserved, sizeof record.reserved), error, ES_ERR_INVALID,
               SITE "has a reserved byte that is not zero", ES_U(step_index), step->info.name,
               ES_U(index));
    ES_REQUIRE(record.offset % ES_DATA_ALIGN == 0, error, ES_ERR_INVALID,
               SITE "starts at byte %llu, which is not a multiple of %llu", ES_U(step_index),
               step->info.name, ES_U(index), ES_U(record.offset), ES_U(ES_DATA_ALIGN));
    const uint64_t space_bytes = from->space_bytes[record.space];
    ES_REQUIRE(es_range_fits(record.offset, record.size, space_bytes), error, ES_ERR_INVALID,
               SITE "has %llu bytes at byte %llu, past the end of the %s (%llu bytes)",
               ES_U(step_index), step->info.name, ES_U(index), ES_U(record.size),
               ES_U(record.offset), space_names[record.space], ES_U(space_bytes));
    ES_TRY(check_array(from, &record, step, step_index, index, error));
    const char *name;
    ES_TRY(read_name(&from->strings, record.name, "step", step_index, &name, error));
    *arg = (es_arg){
        .space = (es_space)record.space, .offset = (size_t)record.offset, .name = name};
    return ES_OK;
}

static es_status read_steps(const reading *from, es_plan *plan, es_error *error)
{
    size_t arg_count = 0;
    for (size_t i = 0; i < plan->step_count; i++) {
        es_step *const step = &plan->steps[i];
        ES_TRY(read_step(from, i, plan, arg_count, step, error));
        for (size_t index = 0; index < step->arg_count; index++) {
            ES_TRY(read_arg(from, step, i, index, &plan->args[arg_count + index], error));
        }
        arg_count += step->arg_count;
    }
    ES_REQUIRE(arg_count == plan->arg_count, error, ES_ERR_INVALID,
               "plan: has %llu arguments, its steps use %llu", ES_U(plan->arg_count),
               ES_U(arg_count));
    return ES_OK;
}

es_status es_plan_read_tables(const es_container *container, es_plan *plan, es_error *error)
{
    ES_REQUIRE(plan->arena_bytes <= MAX_ADDRESSABLE, error, ES_ERR_LIMIT,
               "plan: its arena is larger than a quarter of the address space");
    const es_bytes indices = es_container_find(container, ES_SECTION_INDICES);
    reading from = {.code_bytes = plan->code.size};
    from.space_bytes[ES_SPACE_ARENA] = plan->arena_bytes;
    from.space_bytes[ES_SPACE_SCRATCH] = plan->scratch_bytes;
    from.space_bytes[ES_SPACE_WEIGHTS] = es_container_find(container, ES_SECTION_WEIGHTS).size;
    from.space_bytes[ES_SPACE_INDICES] = indices.size;

    ES_TRY(es_tables_find(plan->section, &from.tables, error));
    const es_file_plan *const counts = &from.tables.counts;
    ES_TRY(es_strings_read(from.tables.string_starts, counts->string_count, from.tables.strings,
                           &from.strings, error));
    ES_TRY(es_indices_check(from.tables.arrays, counts->array_count, indices, error));
    ES_TRY(read_tensors(&from, from.tables.tensors, plan->input_count, "input", 1, plan,
                        plan->tensors, error));
    const uint8_t *const outputs =
        from.tables.tensors + plan->input_count * sizeof(es_file_tensor);
    ES_TRY(read_tensors(&from, outputs, plan->output_count, "output", 2, plan,
                        plan->tensors + plan->input_count, error));
    return read_steps(&from, plan, error);
}
