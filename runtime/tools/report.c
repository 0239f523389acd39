#include "report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fatal.h"
#include "edgesparse_profile.h"
#include "json.h"
#include "npy.h"

static int compare(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left;
    const uint64_t b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* The value that `percent` of the sorted values do not exceed (nearest rank). */
static double percentile_us(const uint64_t *sorted_ns, size_t count, size_t percent)
{
    const size_t rank = (count * percent + 99) / 100;
    return (double)sorted_ns[rank > 0 ? rank - 1 : 0] / 1e3;
}

/* Prints a text as one line that moves no cursor: what a file calls something may hold anything. */
static void print_text(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        const unsigned char byte = (unsigned char)*at;
        const bool is_c1 = byte == 0xC2 && (unsigned char)at[1] < 0xA0 && at[1] != '\0';
        putchar(byte < 0x20 || byte == 0x7F || is_c1 ? '?' : byte);
        at += is_c1;
    }
}

static void print_tensor(const char *role, const es_tensor_info *info)
{
    char shape[SHAPE_TEXT_BYTES];
    format_shape(info->dims, info->rank, shape);
    printf("%-6s  ", role);
    print_text(info->name);
    printf("  %s %s\n", info->dtype_name, shape);
}

void print_signature(const char *path, const es_model *model)
{
    es_model_info info;
    es_model_describe(model, &info);
    printf("%s: %s, %zu steps, weights %zu bytes, code %zu bytes, arena %zu bytes, scratch %zu "
           "bytes a thread\n",
           path, info.isa, info.step_count, info.weights_bytes, info.code_bytes, info.arena_bytes,
           info.scratch_bytes);
    if (info.plan_count > 1) {
        printf("plan %zu of %zu\n", info.plan + 1, info.plan_count);
    }
    es_tensor_info tensor;
    for (size_t i = 0; es_model_input(model, i, &tensor) == ES_OK; i++) {
        print_tensor("input", &tensor);
    }
    for (size_t i = 0; es_model_output(model, i, &tensor) == ES_OK; i++) {
        print_tensor("output", &tensor);
    }
}

bool print_too_few(const char *name, double share, uint64_t runs)
{
    const uint64_t least = es_profile_least_runs(share);
    if (runs < least) {
        printf("%s of %llu runs: too few, at least %llu", name, (unsigned long long)runs, (unsigned long long)least);
    }
    return runs < least;
}

static void print_percentile(const char *name, size_t percent, const timings *times)
{
    if (!print_too_few(name, (double)percent / 100, times->run_count)) {
        printf("%s %.3f ms", name, percentile_us(times->run_ns, times->run_count, percent) / 1e3);
    }
}

void print_latency(timings *times, uint32_t threads)
{
    qsort(times->run_ns, times->run_count, sizeof times->run_ns[0], compare);
    print_percentile("latency: median", 50, times);
    print_percentile(", p10", 10, times);
    print_percentile(", p90", 90, times);
    printf(" (%zu runs, %u threads)\n", times->run_count, (unsigned)threads);
    es_resident resident;
    es_resident_read(&resident);
    if (resident.peak_bytes > 0) {
        printf("memory: peak %.0f KiB resident\n", resident.peak_bytes / 1024);
    }
}

static double step_percentile_us(const timings *times, size_t step, size_t percent, uint64_t *buffer)
{
    for (size_t run = 0; run < times->run_count; run++) {
        buffer[run] = times->step_ns[run * times->step_count + step];
    }
    qsort(buffer, times->run_count, sizeof buffer[0], compare);
    return percentile_us(buffer, times->run_count, percent);
}

void print_steps(const es_model *model, const timings *times)
{
    uint64_t *const buffer = allocate(times->run_count, sizeof *buffer);
    double *const median_us = allocate(times->step_count, sizeof *median_us);
    double total_us = 0;
    for (size_t step = 0; step < times->step_count; step++) {
        median_us[step] = step_percentile_us(times, step, 50, buffer);
        total_us += median_us[step];
    }
    printf("%10s %6s %7s  %-20s %-40s %s\n", "median us", "share", "tiles", "op", "kernel", "layer");
    es_step_info info;
    for (size_t step = 0; es_model_step(model, step, &info) == ES_OK; step++) {
        char row[2 * ES_ERROR_BYTES];
        snprintf(row, sizeof row, "%10.1f %5.1f%% %7lu  %-20.200s %-40.200s ", median_us[step],
                 total_us > 0 ? 100 * median_us[step] / total_us : 0, (unsigned long)info.tiles,
                 info.op, info.kernel);
        print_text(row);
        print_text(info.name);
        putchar('\n');
    }
    printf("%10.1f 100.0%%          sum of the medians\n", total_us);
    free(buffer);
    free(median_us);
}

void print_step_times(const es_model *model, const timings *times)
{
    uint64_t *const buffer = allocate(times->run_count, sizeof *buffer);
    es_step_info info;
    printf("{\"steps\": [");
    for (size_t step = 0; es_model_step(model, step, &info) == ES_OK; step++) {
        printf("%s\n  {\"name\": ", step > 0 ? "," : "");
        json_print_text(info.name);
        printf(", \"p10_us\": %.3f}", step_percentile_us(times, step, 10, buffer));
    }
    printf("\n]}\n");
    free(buffer);
}

/* Half precision, which C11 has no type for. */
static double half_at(const uint16_t *data, size_t index)
{
    const uint16_t bits = data[index];
    const int exponent = bits >> 10 & 0x1f;
    const double fraction = bits & 0x3ff;
    const double sign = bits >> 15 != 0 ? -1 : 1;
    if (exponent == 0x1f) {
        return fraction != 0 ? NAN : sign * INFINITY;
    }
    return sign * (exponent == 0 ? ldexp(fraction, -24) : ldexp(fraction + 1024, exponent - 25));
}

static double element_at(const es_tensor_info *info, const void *data, size_t index)
{
    switch (info->dtype) {
    case ES_FLOAT32:
        return (double)((const float *)data)[index];
    case ES_FLOAT16:
        return half_at(data, index);
    case ES_FLOAT64:
        return ((const double *)data)[index];
    case ES_INT8:
        return ((const int8_t *)data)[index];
    case ES_UINT8:
    case ES_BOOL:
        return ((const uint8_t *)data)[index];
    case ES_INT16:
        return ((const int16_t *)data)[index];
    case ES_UINT16:
        return ((const uint16_t *)data)[index];
    case ES_INT32:
        return ((const int32_t *)data)[index];
    case ES_UINT32:
        return ((const uint32_t *)data)[index];
    case ES_INT64:
        return (double)((const int64_t *)data)[index];
    case ES_UINT64:
        return (double)((const uint64_t *)data)[index];
    }
    return NAN;
}

static size_t element_count(const es_tensor_info *info)
{
    size_t count = 1;
    for (uint32_t axis = 0; axis < info->rank; axis++) {
        count *= info->dims[axis];
    }
    return count;
}

void print_top(const es_model *model, const es_output *outputs, size_t count)
{
    es_model_info info;
    es_tensor_info output;
    es_model_describe(model, &info);
    if (es_model_output(model, info.labels_output, &output) != ES_OK) {
        return; /* there is none */
    }
    const size_t elements = element_count(&output);
    const void *const data = outputs[info.labels_output].data;
    size_t last = elements; /* what was printed last; NaN never is */
    for (size_t line = 0; line < count; line++) {
        const double limit = last < elements ? element_at(&output, data, last) : INFINITY;
        size_t best = elements;
        double most = 0;
        for (size_t i = 0; i < elements; i++) {
            const double value = element_at(&output, data, i);
            const bool is_left = value < limit || (value == limit && (last == elements || i > last));
            if (is_left && (best == elements || value > most)) {
                best = i;
                most = value;
            }
        }
        if (best == elements) {
            return;
        }
        const char *const label = es_model_label(model, best);
        if (label != NULL) {
            printf("%10.6g  %s\n", most, label);
        } else {
            printf("%10.6g  %zu\n", most, best);
        }
        last = best;
    }
}
