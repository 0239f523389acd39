/* Tries values in the inputs of an artifact, each in a process of its own, between guard pages.
 *
 *   trial FILE INPUTS TRIALS    INPUTS: the bytes of all inputs; TRIALS: records, see below
 *
 * Writes to stdout, for every trial: an i32 (0, what a kernel that failed returned, or -1 where the process
 * died or did not end), the es_fault, and with 0 the bytes of the output. */
#include "guarded.h"

#include <sys/resource.h>
#include <sys/wait.h>

enum { PATIENCE_S = 5 };

/* Steps [first, end) without `skipped`, for an input of which `width` bytes at `at` are `value`. */
typedef struct trial {
    uint32_t first;
    uint32_t end;
    uint32_t skipped;
    uint32_t input;
    uint32_t output;
    uint32_t width;
    uint64_t at;
    uint8_t value[8];
} trial;

typedef struct result {
    int32_t status;
    es_fault fault;
} result;

static void set_inputs(const artifact *of, content inputs, size_t placement)
{
    const uint8_t *from = inputs.data;
    for (size_t i = 0; i < of->model->plan.input_count; i++) {
        const region *const input = tensor_region(of, i, placement);
        memcpy(input->data, from, input->size);
        from += input->size;
    }
    require(from == inputs.data + inputs.size, "the inputs have another size");
}

static int32_t run(const artifact *of, content inputs, const trial *what, size_t placement,
                   es_fault *fault)
{
    set_inputs(of, inputs, placement);
    memcpy(tensor_region(of, what->input, placement)->data + (size_t)what->at,
           what->value, what->width);
    int32_t status = 0;
    for (size_t i = what->first; i < what->end && status == 0; i++) {
        status = i == what->skipped ? 0 : run_step(of, i, placement, fault);
    }
    return status;
}

static void put(const void *data, size_t size)
{
    require(write(STDOUT_FILENO, data, size) == (ssize_t)size, "cannot write");
}

static void try_it(const artifact *of, content inputs, const trial *what)
{
    result results[PLACEMENTS] = {0};
    for (size_t placement = 0; placement < PLACEMENTS; placement++) {
        results[placement].status = run(of, inputs, what, placement, &results[placement].fault);
    }
    const size_t number = of->model->plan.input_count + what->output;
    const region *const output = tensor_region(of, number, 0);
    require(results[0].status == results[1].status, "the place of an operand matters");
    require(results[0].status != 0 ||
                memcmp(output->data, tensor_region(of, number, 1)->data, output->size) == 0,
            "the place of an operand changes the result");
    put(&results[0], sizeof results[0]);
    if (results[0].status == 0) {
        put(output->data, output->size);
    }
}

int main(int count, char **arguments)
{
    require(count == 4, "expected FILE INPUTS TRIALS");
    start_guarding();
    const content file = aligned_copy(read_file(arguments[1]));
    const content inputs = read_file(arguments[2]);
    const content trials = read_file(arguments[3]);
    es_error error;
    artifact opened;
    require(open_artifact(file, &opened, &error), error.message);
    for (size_t at = 0; at + sizeof(trial) <= trials.size; at += sizeof(trial)) {
        trial what;
        memcpy(&what, trials.data + at, sizeof what);
        const pid_t child = fork();
        if (child == 0) {
            const struct rlimit limit = {PATIENCE_S, PATIENCE_S};
            setrlimit(RLIMIT_CPU, &limit);
            try_it(&opened, inputs, &what);
            _exit(0);
        }
        int status = 0;
        require(child > 0 && waitpid(child, &status, 0) == child, "no child");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            const result died = {.status = -1};
            put(&died, sizeof died);
        }
    }
    return 0;
}
