/* What esrun prints about a model and its timings. */
#ifndef REPORT_H
#define REPORT_H

#include <stdbool.h>

#include "edgesparse.h"

/* Nanoseconds of every run, and of every step of every run. */
typedef struct timings {
    size_t run_count;
    size_t step_count;
    uint64_t *run_ns;  /* [run_count] */
    uint64_t *step_ns; /* [run_count][step_count], or NULL */
} timings;

void print_signature(const char *path, const es_model *model);

/* Where there are too few runs for a percentile, prints that in its place, and returns true. */
bool print_too_few(const char *name, double share, uint64_t runs);

/* Prints median, p10 and p90 of the runs; sorts them. */
void print_latency(timings *times, uint32_t threads);

/* Prints a row for each step with its median time. */
void print_steps(const es_model *model, const timings *times);

/* Prints the tenth percentile of each step as JSON: {"steps": [{"name": ..., "p10_us": ...}, ...]}. */
void print_step_times(const es_model *model, const timings *times);

/* Prints the largest elements of the output that the labels name, or of the first, one a line. */
void print_top(const es_model *model, const es_output *outputs, size_t count);

#endif
