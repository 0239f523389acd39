#include "tables.h"

#include <string.h>

static es_status check_counts(const es_file_plan *counts, es_error *error)
{
    ES_REQUIRE(counts->input_count <= ES_MAX_TENSORS && counts->output_count <= ES_MAX_TENSORS,
               error, ES_ERR_LIMIT,
               "plan: %llu inputs and %llu outputs, at most %llu of each are allowed",
               ES_U(counts->input_count), ES_U(counts->output_count), ES_U(ES_MAX_TENSORS));
    ES_REQUIRE(counts->step_count <= ES_MAX_STEPS, error, ES_ERR_LIMIT,
               "plan: %llu steps, at most %llu are allowed", ES_U(counts->step_count),
               ES_U(ES_MAX_STEPS));
    ES_REQUIRE(counts->array_count <= ES_MAX_ARRAYS, error, ES_ERR_LIMIT,
               "plan: %llu index arrays, at most %llu are allowed", ES_U(counts->array_count),
               ES_U(ES_MAX_ARRAYS));
    ES_REQUIRE(counts->string_count <= ES_MAX_STRINGS, error, ES_ERR_LIMIT,
               "plan: %llu strings, at most %llu are allowed", ES_U(counts->string_count),
               ES_U(ES_MAX_STRINGS));
    ES_REQUIRE(es_is_zero(counts->reserved, sizeof counts->reserved), error, ES_ERR_INVALID,
               "plan: a reserved byte is not zero");
    return ES_OK;
}

/* Takes a table from the front of what is left; counts of 32 bits cannot overflow 64. */
static const uint8_t *take(const uint8_t *section, uint64_t *end, uint64_t count, size_t size)
{
    const uint8_t *const table = section + *end;
    *end += count * size;
    return table;
}

static uint64_t total_bytes(const es_file_plan *counts)
{
    return sizeof *counts + (uint64_t)counts->engine_count * sizeof(es_file_engine) +
           (uint64_t)counts->image_count * sizeof(es_file_image) +
           ((uint64_t)counts->input_count + counts->output_count) * sizeof(es_file_tensor) +
           (uint64_t)counts->step_count * sizeof(es_file_step) +
           (uint64_t)counts->arg_count * sizeof(es_file_arg) +
           (uint64_t)counts->array_count * sizeof(es_file_array) +
           (uint64_t)counts->string_count * sizeof(uint32_t) + counts->string_bytes;
}

es_status es_tables_find(es_bytes section, es_tables *tables, es_error *error)
{
    es_file_plan counts;
    ES_REQUIRE(section.size >= sizeof counts, error, ES_ERR_INVALID,
               "plan: has %llu bytes, its header alone has %llu", ES_U(section.size),
               ES_U(sizeof counts));
    memcpy(&counts, section.data, sizeof counts);
    ES_TRY(check_counts(&counts, error));
    ES_REQUIRE(section.size == total_bytes(&counts), error, ES_ERR_INVALID,
               "plan: has %llu bytes, its tables need %llu", ES_U(section.size),
               ES_U(total_bytes(&counts)));

    uint64_t end = sizeof counts;
    const uint8_t *const from = section.data;
    es_tables found = {.counts = counts};
    found.engines = take(from, &end, counts.engine_count, sizeof(es_file_engine));
    found.images = take(from, &end, counts.image_count, sizeof(es_file_image));
    found.tensors = take(from, &end, (uint64_t)counts.input_count + counts.output_count,
                         sizeof(es_file_tensor));
    found.steps = take(from, &end, counts.step_count, sizeof(es_file_step));
    found.args = take(from, &end, counts.arg_count, sizeof(es_file_arg));
    found.arrays = take(from, &end, counts.array_count, sizeof(es_file_array));
    found.string_starts = take(from, &end, counts.string_count, sizeof(uint32_t));
    found.strings = (es_bytes){.data = from + end, .size = counts.string_bytes};
    *tables = found;
    return ES_OK;
}
