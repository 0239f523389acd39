/* Runs the kernels of an artifact, each operand alone between pages that nobody may touch, with other
 * indices than it came with: whatever the loader accepts must not lead a kernel astray.
 *
 *   steer FILE SEED TURNS    TURNS times with some indices changed, and once as it is
 *
 * A kernel may read OVERREAD bytes past an operand and touch nothing else. Prints how often the loader
 * accepted and how often it refused the changed file. Ends with 9 and a line about the step when a
 * kernel touched what it may not. */
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

enum { OVERREAD = 256, UNTOUCHED = 0xCD, MAX_REGIONS = 65536, PLACEMENTS = 2 };

typedef int32_t es_kernel(void *const *args, int32_t begin, int32_t end, es_fault *fault);

/* An operand in memory of its own. */
typedef struct region {
    uint32_t space;
    uint64_t offset;
    uint64_t size;
    uint8_t *data;
} region;

static region regions[PLACEMENTS][MAX_REGIONS];
static size_t region_counts[PLACEMENTS];
static size_t page_bytes;
static uint64_t random_state;
static const char *running = "no step"; /* what a signal is about */
static unsigned long running_turn;

static void require(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "steer: %s\n", what);
        exit(2);
    }
}

static void on_fault(int number)
{
    fprintf(stderr, "steer: turn %lu: step '%s' touches what it may not (signal %d)\n", running_turn,
            running, number);
    _exit(9);
}

/* splitmix64 */
static uint64_t random_below(uint64_t limit)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return limit > 0 ? z % limit : z;
}

static uint64_t round_up(uint64_t size, uint64_t multiple)
{
    return (size + multiple - 1) / multiple * multiple;
}

/* Memory whose first byte follows, or whose OVERREAD-th byte behind the end precedes, a guard page. */
static uint8_t *between_guards(uint64_t size, bool at_end)
{
    const uint64_t middle = round_up(size + OVERREAD + ES_DATA_ALIGN, page_bytes);
    uint8_t *const all = mmap(NULL, (size_t)(middle + 2 * page_bytes), PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(all != MAP_FAILED, "no memory");
    require(mprotect(all + page_bytes, (size_t)middle, PROT_READ | PROT_WRITE) == 0, "no memory");
    const uint64_t before = at_end ? (middle - size - OVERREAD) / ES_DATA_ALIGN * ES_DATA_ALIGN : 0;
    memset(all + page_bytes, UNTOUCHED, (size_t)middle);
    uint8_t *const data = all + page_bytes + before;
    memset(data, 0, (size_t)size);
    return data;
}

/* Whether what lies behind an operand, and before it, is as it was. */
static bool is_intact(const region *of)
{
    const uint8_t *const start = of->data - (uintptr_t)of->data % page_bytes;
    const uint8_t *const end = of->data + of->size + OVERREAD;
    bool intact = true;
    for (const uint8_t *at = start; at < of->data; at++) {
        intact = intact && *at == UNTOUCHED;
    }
    for (const uint8_t *at = of->data + of->size; at < end; at++) {
        intact = intact && *at == UNTOUCHED;
    }
    return intact;
}

static void protect(const region *of, int how)
{
    uint8_t *const start = (uint8_t *)((uintptr_t)of->data / page_bytes * page_bytes);
    const size_t size = (size_t)(of->data - start) + of->size + OVERREAD;
    require(mprotect(start, size, how) == 0, "mprotect failed");
}

/* The region of an operand; its content is kept from step to step, and from turn to turn. */
static region *find_region(const es_file_arg *arg, size_t placement)
{
    region *const all = regions[placement];
    for (size_t i = 0; i < region_counts[placement]; i++) {
        if (all[i].space == arg->space && all[i].offset == arg->offset && all[i].size == arg->size) {
            return &all[i];
        }
    }
    require(region_counts[placement] < MAX_REGIONS, "too many operands");
    region *const made = &all[region_counts[placement]++];
    *made = (region){arg->space, arg->offset, arg->size,
                     between_guards(arg->size, placement == 1)};
    return made;
}

/* Copies weights and indices in, which kernels only read. */
static void fill(const region *of, es_bytes section)
{
    protect(of, PROT_READ | PROT_WRITE);
    memcpy(of->data, section.data + of->offset, of->size);
    protect(of, PROT_READ);
}

static void run_step(const es_model *model, const es_container *container, const es_tables *tables,
                     size_t index, size_t placement, bool first)
{
    const es_step *const step = &model->plan.steps[index];
    void *args[ES_MAX_STEP_ARGS];
    const region *operands[ES_MAX_STEP_ARGS];
    for (size_t i = 0; i < step->arg_count; i++) {
        es_file_arg arg;
        memcpy(&arg, tables->args + (step->first_arg + i) * sizeof arg, sizeof arg);
        region *const operand = find_region(&arg, placement);
        if (arg.space == ES_SPACE_INDICES || (first && arg.space == ES_SPACE_WEIGHTS)) {
            fill(operand, container->sections[arg.space == ES_SPACE_INDICES ? ES_SECTION_INDICES
                                                                            : ES_SECTION_WEIGHTS]);
        }
        operands[i] = operand;
        args[i] = operand->data;
    }
    es_kernel *const kernel = (es_kernel *)(uintptr_t)(model->code.data + step->code_offset);
    es_fault fault;
    running = step->info.name;
    const int32_t middle = (int32_t)(step->info.tiles / 2);
    if (middle > 0) {
        kernel(args, 0, middle, &fault);
    }
    kernel(args, middle, (int32_t)step->info.tiles, &fault);
    for (size_t i = 0; i < step->arg_count; i++) {
        if (!is_intact(operands[i])) {
            on_fault(0);
        }
    }
    running = "no step";
}

/* Opens the file and, if that works, runs all its steps in both placements. */
static bool run_file(content file, bool first)
{
    es_error error;
    es_model *model;
    if (es_model_open_memory(file.data, file.size, 0, &model, &error) != ES_OK) {
        require(!first, error.message);
        return false;
    }
    es_container container;
    es_tables tables;
    const es_bytes bytes = {.data = file.data, .size = file.size};
    require(es_container_read(bytes, 0, &container, &error) == ES_OK, error.message);
    require(es_tables_find(container.sections[ES_SECTION_PLAN], &tables, &error) == ES_OK,
            error.message);
    for (size_t placement = 0; placement < PLACEMENTS; placement++) {
        for (size_t i = 0; i < model->plan.step_count; i++) {
            run_step(model, &container, &tables, i, placement, first);
        }
    }
    es_model_close(model);
    return true;
}

/* A number that may be accepted, or just not. */
static int64_t likely_value(const es_file_array *array, int64_t other)
{
    switch (random_below(8)) {
    case 0:
        return array->lowest;
    case 1:
        return (int64_t)array->limit - (int64_t)random_below(2);
    case 2:
        return (int64_t)array->part_limit - (int64_t)random_below(2);
    case 3:
        return (int64_t)(array->part * random_below(8)) - (int64_t)random_below(2);
    case 4:
        return other ^ (int64_t)1 << random_below(32);
    case 5:
        return other - 1 + (int64_t)random_below(3);
    default:
        return (int64_t)random_below(array->limit + 1);
    }
}

/* Changes a few neighbours in one array. */
static void change(content file, const es_container *container, const es_tables *tables)
{
    es_file_array array;
    const size_t number = (size_t)random_below(tables->counts.array_count);
    memcpy(&array, tables->arrays + number * sizeof array, sizeof array);
    const size_t width = array.dtype == ES_UINT16 ? 2 : array.dtype == ES_INT32 ? 4 : 8;
    const uint64_t count = array.size / width;
    if (count == 0) {
        return;
    }
    const bool at_edge = array.part < count && random_below(4) == 0;
    const uint64_t begin = at_edge ? array.part : random_below(count);
    const uint64_t longest = random_below(4) == 0 ? count : 3;
    const uint64_t end = begin + 1 + random_below(longest);
    uint8_t *const data =
        file.data + (container->sections[ES_SECTION_INDICES].data - file.data) + array.offset;
    int64_t other = 0;
    memcpy(&other, data + (random_below(2) == 0 ? begin : random_below(count)) * width, width);
    const int64_t value = likely_value(&array, other); /* little-endian: its first bytes are it */
    for (uint64_t i = begin; i < end && i < count; i++) {
        memcpy(data + i * width, &value, width);
    }
}

int main(int count, char **arguments)
{
    require(count == 4, "expected FILE SEED TURNS");
    page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    random_state = strtoul(arguments[2], NULL, 10);
    const unsigned long turns = strtoul(arguments[3], NULL, 10);
    const content original = read_file(arguments[1]);
    content copy = {.data = aligned_alloc(ES_DATA_ALIGN, round_up(original.size, ES_DATA_ALIGN)),
                    .size = original.size};
    require(copy.data != NULL, "no memory");
    memcpy(copy.data, original.data, original.size);
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    run_file(copy, true);

    es_error error;
    es_container container;
    es_tables tables;
    const es_bytes bytes = {.data = copy.data, .size = copy.size};
    require(es_container_read(bytes, 0, &container, &error) == ES_OK, error.message);
    require(es_tables_find(container.sections[ES_SECTION_PLAN], &tables, &error) == ES_OK,
            error.message);
    require(turns == 0 || tables.counts.array_count > 0, "the artifact holds no indices");
    size_t accepted = 0;
    for (running_turn = 1; running_turn <= turns; running_turn++) {
        memcpy(copy.data, original.data, original.size);
        for (uint64_t left = 1 + random_below(3); left > 0; left--) {
            change(copy, &container, &tables);
        }
        rehash(copy);
        accepted += run_file(copy, false);
    }
    printf("accepted %zu refused %zu\n", accepted, (size_t)turns - accepted);
    return 0;
}
