#include "answers.h"

#include <string.h>

#include "model.h"
#include "platform.h"
#include "session.h"
#include "sha256.h"

/* A record is a seed, then a digest for each output; one of zeros says nothing. */
enum { SEED_BYTES = 8 };

static size_t record_bytes(const es_plan *plan)
{
    return SEED_BYTES + plan->output_count * ES_SHA256_BYTES;
}

es_status es_answers_check(es_bytes section, const es_plan *plan, es_error *error)
{
    ES_REQUIRE(section.size % record_bytes(plan) == 0, error, ES_ERR_INVALID,
               "answers section: %llu bytes, expected a multiple of %llu: a seed and %llu digests", ES_U(section.size),
               ES_U(record_bytes(plan)), ES_U(plan->output_count));
    return ES_OK;
}

/* SplitMix64: Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators". */
static uint64_t drawn(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* The float16 of `byte` / 32. */
static uint16_t half_of(int byte)
{
    enum { BIAS = 15, MANTISSA_BITS = 10, SCALE_BITS = 5 };
    const uint32_t size = (uint32_t)(byte < 0 ? -byte : byte);
    if (size == 0) {
        return 0;
    }
    uint32_t highest = 0;
    while (size >> (highest + 1) != 0) {
        highest++;
    }
    const uint32_t exponent = highest + BIAS - SCALE_BITS;
    const uint32_t mantissa = size << (MANTISSA_BITS - highest) & 0x3FF;
    return (uint16_t)((byte < 0 ? 0x8000U : 0U) | exponent << MANTISSA_BITS | mantissa);
}

/* Fills one element of a tensor with what a number of 64 random bits stands for. */
static void fill(es_dtype dtype, uint64_t random, uint8_t *element, size_t size_bytes)
{
    const uint8_t byte = (uint8_t)(random >> 56);
    const int number = byte < 128 ? byte : byte - 256;
    const float real = (float)number / 32.0F;
    const double wide = (double)real;
    const uint16_t half = half_of(number);
    const uint64_t bit = random >> 63;
    switch (dtype) {
    case ES_FLOAT16: memcpy(element, &half, sizeof half); break;
    case ES_FLOAT32: memcpy(element, &real, sizeof real); break;
    case ES_FLOAT64: memcpy(element, &wide, sizeof wide); break;
    case ES_INT8:
    case ES_UINT8: *element = byte; break;
    default: memcpy(element, &bit, size_bytes); break; /* little-endian */
    }
}

static void fill_tensor(const es_tensor_info *info, uint64_t *state, uint8_t *data)
{
    size_t count = 1;
    for (uint32_t axis = 0; axis < info->rank; axis++) {
        count *= info->dims[axis]; /* the size in bytes fits, so this does */
    }
    for (size_t i = 0; i < count; i++) {
        const size_t size = info->size_bytes / count;
        fill(info->dtype, drawn(state), data + i * size, size);
    }
}

/* Tensors of one run, in memory of its own. */
typedef struct trial {
    es_input *inputs;
    es_output *outputs;
    uint8_t *data; /* that of the inputs, one after the other */
    es_block memory;
} trial;

static es_status start_trial(const es_plan *plan, trial *made, es_error *error)
{
    const size_t count = plan->input_count + plan->output_count;
    es_layout layout = {.size_bytes = 0};
    const size_t inputs_at = es_layout_add(&layout, plan->input_count, sizeof *made->inputs);
    const size_t outputs_at = es_layout_add(&layout, plan->output_count, sizeof *made->outputs);
    const size_t data_at = layout.size_bytes;
    for (size_t i = 0; i < count; i++) {
        es_layout_add(&layout, plan->tensors[i].info.size_bytes, 1);
    }
    ES_REQUIRE(!layout.overflow, error, ES_ERR_NO_MEMORY, "es_session_verify: the tensors do not fit the address space");
    trial found = {.inputs = NULL};
    ES_TRY(es_alloc_pages(layout.size_bytes + 1, &found.memory, error));
    uint8_t *const memory = found.memory.data;
    found.inputs = (es_input *)(void *)(memory + inputs_at);
    found.outputs = (es_output *)(void *)(memory + outputs_at);
    found.data = memory + data_at;
    uint8_t *place = found.data;
    for (size_t i = 0; i < count; i++) {
        const size_t size = plan->tensors[i].info.size_bytes;
        if (i < plan->input_count) {
            found.inputs[i] = (es_input){.data = place, .size_bytes = size};
        } else {
            found.outputs[i - plan->input_count] = (es_output){.data = place, .size_bytes = size};
        }
        place += size;
    }
    *made = found;
    return ES_OK;
}

/* Compares what came out with a record's digests. */
static es_status compare(const es_plan *plan, const trial *made, const uint8_t *record, size_t *checked,
                         es_error *error)
{
    static const uint8_t nothing[ES_SHA256_BYTES];
    for (size_t i = 0; i < plan->output_count; i++) {
        const uint8_t *const expected = record + SEED_BYTES + i * ES_SHA256_BYTES;
        if (memcmp(expected, nothing, sizeof nothing) == 0) {
            continue;
        }
        uint8_t digest[ES_SHA256_BYTES];
        es_sha256 hash;
        es_sha256_start(&hash);
        es_sha256_add(&hash, made->outputs[i].data, made->outputs[i].size_bytes);
        es_sha256_finish(&hash, digest);
        ES_REQUIRE(memcmp(digest, expected, sizeof digest) == 0, error, ES_ERR_ANSWER,
                   "output '%s': other bits than those that the artifact promises; this machine computes wrongly, or "
                   "the weights are damaged",
                   plan->tensors[plan->input_count + i].info.name);
        ++*checked;
    }
    return ES_OK;
}

static es_status try_record(es_session *session, const es_plan *plan, const trial *made, const uint8_t *record,
                            size_t *checked, es_error *error)
{
    uint64_t state;
    memcpy(&state, record, sizeof state);
    uint8_t *place = made->data;
    for (size_t i = 0; i < plan->input_count; i++) {
        fill_tensor(&plan->tensors[i].info, &state, place);
        place += made->inputs[i].size_bytes;
    }
    ES_TRY(es_session_run(session, made->inputs, plan->input_count, made->outputs, plan->output_count, error));
    return compare(plan, made, record, checked, error);
}

es_status es_session_verify(es_session *session, size_t *checked, es_error *error)
{
    ES_REQUIRE(session != NULL && checked != NULL, error, ES_ERR_ARGUMENT, "es_session_verify: an argument is NULL");
    const es_model *const model = es_session_model(session);
    trial made;
    size_t found = 0;
    ES_TRY(start_trial(&model->plan, &made, error));
    es_status status = ES_OK;
    for (size_t at = 0; at < model->answers.size && status == ES_OK; at += record_bytes(&model->plan)) {
        status = try_record(session, &model->plan, &made, model->answers.data + at, &found, error);
    }
    es_release(&made.memory);
    if (status == ES_OK) {
        *checked = found;
    }
    return status;
}
