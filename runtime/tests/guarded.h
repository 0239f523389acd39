/* The kernels of an artifact, run with each operand alone between pages that nobody may touch.
 *
 * A kernel may read OVERREAD bytes past an operand, which change no result, and touch nothing else. Every
 * operand is there twice: close behind a guard page, and close before one. A program ends with 9 and a line about the step when a
 * kernel touches what it may not. */
#ifndef GUARDED_H
#define GUARDED_H

#define _DEFAULT_SOURCE
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "artifact.h"
#include "container.h"
#include "edgesparse.h"
#include "model.h"
#include "tables.h"

enum { OVERREAD = 256, MAX_REGIONS = 16384, PLACEMENTS = 2, TOUCHED_WRONG = 9 };

typedef int32_t es_kernel(void *const *args, int32_t begin, int32_t end, es_fault *fault);

/* An operand in memory of its own; its content is kept from step to step. */
typedef struct region {
    uint32_t space;
    size_t offset;
    size_t size;
    uint8_t around; /* what the bytes before and behind it are */
    uint8_t *data;
} region;

/* An open artifact, and its parts as they are stored. */
typedef struct artifact {
    es_model *model;
    es_container container;
    es_tables tables;
} artifact;

static region regions[PLACEMENTS][MAX_REGIONS];
static size_t region_counts[PLACEMENTS];
static uint8_t surroundings[PLACEMENTS] = {0xCD, 0xFF}; /* of regions that are made from now on */
static size_t page_bytes;
static const char *running = "no step"; /* what a signal is about */

static inline void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "%s\n", what);
        _Exit(2);
    }
}

static void on_signal(int number)
{
    fprintf(stderr, "step '%s' touches what it may not (signal %d)\n", running, number);
    _exit(TOUCHED_WRONG);
}

static inline void start_guarding(void)
{
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    signal(SIGFPE, on_signal);
}

static inline size_t round_up(size_t size, size_t multiple)
{
    return (size + multiple - 1) / multiple * multiple;
}

/* Memory whose first byte follows, or whose OVERREAD-th byte behind the end precedes, a guard page; all
 * bytes around it are `around`. */
static inline uint8_t *between_guards(size_t size, bool at_end, uint8_t around)
{
    const size_t middle = round_up(size + OVERREAD + ES_DATA_ALIGN, page_bytes);
    uint8_t *const all = mmap(NULL, middle + 2 * page_bytes, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(all != MAP_FAILED, "no memory");
    require(mprotect(all + page_bytes, middle, PROT_READ | PROT_WRITE) == 0, "no memory");
    const size_t before = at_end ? (middle - size - OVERREAD) / ES_DATA_ALIGN * ES_DATA_ALIGN : 0;
    memset(all + page_bytes, around, middle);
    uint8_t *const data = all + page_bytes + before;
    memset(data, 0, size);
    return data;
}

/* Whether what lies behind an operand, and before it, is as it was. */
static inline bool is_intact(const region *of)
{
    const uint8_t *const start = of->data - (uintptr_t)of->data % page_bytes;
    const uint8_t *const end = of->data + of->size + OVERREAD;
    bool intact = true;
    for (const uint8_t *at = start; at < of->data; at++) {
        intact = intact && *at == of->around;
    }
    for (const uint8_t *at = of->data + of->size; at < end; at++) {
        intact = intact && *at == of->around;
    }
    return intact;
}

static inline void protect(const region *of, int how)
{
    uint8_t *const start = (uint8_t *)((uintptr_t)of->data / page_bytes * page_bytes);
    const size_t size = (size_t)(of->data - start) + of->size + OVERREAD;
    require(mprotect(start, size, how) == 0, "mprotect failed");
}

static inline bool is_constant(const region *of)
{
    return of->space == ES_SPACE_WEIGHTS || of->space == ES_SPACE_INDICES;
}

/* Copies weights or indices in, which kernels only read. */
static inline void fill(const region *of, const artifact *from)
{
    const bool weights = of->space == ES_SPACE_WEIGHTS;
    const es_bytes section =
        es_container_find(&from->container, weights ? ES_SECTION_WEIGHTS : ES_SECTION_INDICES);
    protect(of, PROT_READ | PROT_WRITE);
    memcpy(of->data, section.data + of->offset, of->size);
    protect(of, PROT_READ);
}

static inline region *find_region(const artifact *of, uint32_t space, size_t offset, size_t size,
                                  size_t placement)
{
    region *const all = regions[placement];
    for (size_t i = 0; i < region_counts[placement]; i++) {
        if (all[i].space == space && all[i].offset == offset && all[i].size == size) {
            return &all[i];
        }
    }
    require(region_counts[placement] < MAX_REGIONS, "too many operands");
    region *const made = &all[region_counts[placement]++];
    const uint8_t around = surroundings[placement];
    *made = (region){space, offset, size, around, between_guards(size, placement == 1, around)};
    if (is_constant(made)) {
        fill(made, of);
    }
    return made;
}

static inline region *tensor_region(const artifact *of, size_t tensor, size_t placement)
{
    const es_tensor *const found = &of->model->plan.tensors[tensor];
    return find_region(of, ES_SPACE_ARENA, found->offset, found->info.size_bytes, placement);
}

/* Opens an artifact in memory; false if the runtime refuses it. */
static inline bool open_artifact(content file, artifact *opened, es_error *error)
{
    const es_bytes bytes = {.data = file.data, .size = file.size};
    if (es_model_open_memory(file.data, file.size, 0, &opened->model, error) != ES_OK) {
        return false;
    }
    require(es_container_read(bytes, 0, &opened->container, error) == ES_OK, error->message);
    require(es_tables_find(opened->model->plan.section, &opened->tables, error) == ES_OK,
            error->message);
    return true;
}

/* The bytes of a file where an artifact may be opened. */
static inline content aligned_copy(content file)
{
    const size_t size = round_up(file.size, ES_DATA_ALIGN);
    content copy = {.data = aligned_alloc(ES_DATA_ALIGN, size), .size = file.size};
    require(copy.data != NULL, "no memory");
    memcpy(copy.data, file.data, file.size);
    return copy;
}

/* Runs a step and returns what its kernel returns; its tiles are cut in two. */
static inline int32_t run_step(const artifact *of, size_t index, size_t placement, es_fault *fault)
{
    const es_step *const step = &of->model->plan.steps[index];
    void *args[ES_MAX_STEP_ARGS];
    const region *operands[ES_MAX_STEP_ARGS];
    for (size_t i = 0; i < step->arg_count; i++) {
        es_file_arg arg;
        memcpy(&arg, of->tables.args + (step->first_arg + i) * sizeof arg, sizeof arg);
        operands[i] = find_region(of, arg.space, (size_t)arg.offset, (size_t)arg.size, placement);
        args[i] = operands[i]->data;
    }
    es_kernel *const kernel = (es_kernel *)(uintptr_t)(of->model->code.data + step->code_offset);
    running = step->info.name;
    const int32_t tiles = (int32_t)step->info.tiles;
    int32_t status = tiles > 1 ? kernel(args, 0, tiles / 2, fault) : 0;
    if (status == 0) {
        status = kernel(args, tiles / 2, tiles, fault);
    }
    for (size_t i = 0; i < step->arg_count; i++) {
        if (!is_intact(operands[i])) {
            on_signal(0);
        }
    }
    running = "no step";
    return status;
}

#endif
