/* Runs the kernels of an artifact between guard pages, with other inputs, weights and indices than it came
 * with: whatever the loader accepts must not lead a kernel astray.
 *
 *   steer FILE SEED TURNS    once as it is, and TURNS times with some indices, and all else, changed
 *
 * Prints how often the loader accepted and how often it refused the changed file. Ends with 9 and a line
 * about the step when a kernel touched what it may not. */
#include "guarded.h"

static uint64_t random_state;

/* splitmix64 */
static uint64_t random_below(uint64_t limit)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return limit > 0 ? z % limit : z;
}

static void fill_randomly(uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
        const uint64_t number = random_below(0);
        memcpy(data + i, &number, size - i < sizeof number ? size - i : sizeof number);
    }
}

/* Numbers that any model takes: float32 of [-1, 1), other floats 0, and integers that are 0 or 1. */
static void fill_mildly(const region *to, const es_tensor_info *info)
{
    memset(to->data, 0, to->size);
    size_t count = 1;
    for (size_t i = 0; i < info->rank; i++) {
        count *= info->dims[i];
    }
    const size_t width = count > 0 ? to->size / count : 0;
    const bool is_real = info->dtype == ES_FLOAT64 || info->dtype == ES_FLOAT16;
    for (size_t i = 0; i < count && !is_real; i++) {
        const float number = (float)random_below(1 << 20) / (float)(1 << 19) - 1;
        const bool bit = random_below(2) == 0;
        if (info->dtype == ES_FLOAT32) {
            memcpy(to->data + i * width, &number, width);
        } else {
            memcpy(to->data + i * width, &bit, sizeof bit);
        }
    }
}

/* Inputs and weights of any bits, or what the artifact holds and mild inputs; indices as the artifact has them. */
static void prepare(const artifact *of, size_t placement, bool wild)
{
    for (size_t i = 0; i < of->model->plan.input_count; i++) {
        const region *const input = tensor_region(of, i, placement);
        if (wild) {
            fill_randomly(input->data, input->size);
        } else {
            fill_mildly(input, &of->model->plan.tensors[i].info);
        }
    }
    for (size_t i = 0; i < region_counts[placement]; i++) {
        const region *const found = &regions[placement][i];
        if (!is_constant(found)) {
            continue;
        }
        fill(found, of);
        if (wild && found->space == ES_SPACE_WEIGHTS) {
            protect(found, PROT_READ | PROT_WRITE);
            fill_randomly(found->data, found->size);
            protect(found, PROT_READ);
        }
    }
}

/* Runs the steps up to one that refuses what it reads, and returns how many ran. */
static size_t run_steps(const artifact *of, size_t placement)
{
    es_fault fault;
    size_t ran = 0;
    while (ran < of->model->plan.step_count && run_step(of, ran, placement, &fault) == 0) {
        ran++;
    }
    return ran;
}

/* Opens the file and, if that works, runs it in both placements, which must make no difference. */
static bool run_file(content file, bool wild)
{
    es_error error;
    artifact opened;
    if (!open_artifact(file, &opened, &error)) {
        require(wild, error.message);
        return false;
    }
    const es_plan *const plan = &opened.model->plan;
    const uint64_t seed = random_below(0);
    size_t ran[PLACEMENTS];
    for (size_t placement = 0; placement < PLACEMENTS; placement++) {
        random_state = seed;
        prepare(&opened, placement, wild);
        ran[placement] = run_steps(&opened, placement);
    }
    require(ran[0] == ran[1], "the place of an operand matters");
    require(wild || ran[0] == plan->step_count, "a step refuses inputs that any model takes");
    for (size_t i = 0; i < plan->output_count && ran[0] == plan->step_count; i++) {
        const region *const first = tensor_region(&opened, plan->input_count + i, 0);
        const region *const second = tensor_region(&opened, plan->input_count + i, 1);
        require(memcmp(first->data, second->data, first->size) == 0,
                "the place of an operand changes a result");
    }
    es_model_close(opened.model);
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
static void change(content file, const artifact *of)
{
    es_file_array array;
    const size_t number = (size_t)random_below(of->tables.counts.array_count);
    memcpy(&array, of->tables.arrays + number * sizeof array, sizeof array);
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
        file.data + (es_container_find(&of->container, ES_SECTION_INDICES).data - file.data) + array.offset;
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
    start_guarding();
    random_state = strtoul(arguments[2], NULL, 10);
    const unsigned long turns = strtoul(arguments[3], NULL, 10);
    const content original = read_file(arguments[1]);
    const content copy = aligned_copy(original);
    run_file(copy, false);

    /* Other indices than the compiler's may lead to lanes that hold what lies behind an operand, and no further. */
    surroundings[0] = surroundings[1];
    memset(region_counts, 0, sizeof region_counts);
    es_error error;
    artifact opened;
    require(open_artifact(copy, &opened, &error), error.message);
    require(turns == 0 || opened.tables.counts.array_count > 0, "the artifact holds no indices");
    size_t accepted = 0;
    for (unsigned long turn = 1; turn <= turns; turn++) {
        memcpy(copy.data, original.data, original.size);
        for (uint64_t left = 1 + random_below(3); left > 0; left--) {
            change(copy, &opened);
        }
        rehash(copy);
        accepted += run_file(copy, true);
    }
    printf("accepted %zu refused %zu\n", accepted, (size_t)turns - accepted);
    return 0;
}
