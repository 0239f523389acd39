#define _GNU_SOURCE
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "clock.h"
#include "edgesparse.h"
#include "json.h"
#include "memory_use.h"

enum {
    MAX_LINE_BYTES = 1 << 16,
    MAX_NUMBERS = 8192, /* of a request; inputs are at most 4096 */
    MAX_REPEAT = 100000,
    MAX_OWNER_BYTES = 64
};

/* An open artifact, and memory for its inputs and outputs. */
typedef struct served {
    es_model *model;
    es_session *session;
    es_model_info info;
    es_input *inputs;
    es_output *outputs;
    bool ran; /* the inputs are those of a run */
    int lock; /* a file that only one owner has while it measures; 0 if there is none */
    char owner[MAX_OWNER_BYTES];
} served;

static void answer_error(const char *message, es_status status)
{
    printf("{\"error\": ");
    json_print_text(message);
    printf(", \"status\": \"%s\"}\n", es_status_name(status));
}

static void release(served *work)
{
    for (size_t i = 0; work->inputs != NULL && i < work->info.input_count; i++) {
        free((void *)(uintptr_t)work->inputs[i].data);
    }
    for (size_t i = 0; work->outputs != NULL && i < work->info.output_count; i++) {
        free(work->outputs[i].data);
    }
    free(work->inputs);
    free(work->outputs);
    if (work->lock > 0) {
        close(work->lock);
    }
    es_session_close(work->session);
    es_model_close(work->model);
    *work = (served){.model = NULL};
}

/* Allocates what inputs and outputs need; false if there is no memory. */
static bool allocate_tensors(served *work)
{
    work->inputs = calloc(work->info.input_count + 1, sizeof *work->inputs);
    work->outputs = calloc(work->info.output_count + 1, sizeof *work->outputs);
    bool enough = work->inputs != NULL && work->outputs != NULL;
    es_tensor_info tensor;
    for (size_t i = 0; enough && es_model_input(work->model, i, &tensor) == ES_OK; i++) {
        work->inputs[i] = (es_input){.data = malloc(tensor.size_bytes + 1), .size_bytes = tensor.size_bytes};
        enough = work->inputs[i].data != NULL;
    }
    for (size_t i = 0; enough && es_model_output(work->model, i, &tensor) == ES_OK; i++) {
        work->outputs[i] = (es_output){.data = malloc(tensor.size_bytes + 1), .size_bytes = tensor.size_bytes};
        enough = work->outputs[i].data != NULL;
    }
    return enough;
}

static void print_tensor(const es_tensor_info *tensor)
{
    static const char *const pictures[] = {
#define PICTURE_NAME(name, value, text) [name] = text,
        ES_PICTURE_LIST(PICTURE_NAME)
#undef PICTURE_NAME
    };
    printf("{\"name\": ");
    json_print_text(tensor->name);
    printf(", \"dtype\": \"%s\", \"picture\": \"%s\", \"shape\": [", tensor->dtype_name,
           pictures[tensor->picture]);
    for (uint32_t axis = 0; axis < tensor->rank; axis++) {
        printf("%s%lu", axis > 0 ? ", " : "", (unsigned long)tensor->dims[axis]);
    }
    printf("]}");
}

/* Opens the file that says who measures; false if it cannot be. */
static bool open_lock(served *work, const json_object *request)
{
    const char *const path = json_text(request, "lock");
    const char *const owner = json_text(request, "owner");
    work->lock = path == NULL ? 0 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    snprintf(work->owner, sizeof work->owner, "%s", owner == NULL ? "" : owner);
    return work->lock >= 0;
}

/* Takes the lock; false if another owner has it. Sessions of one owner share it: they take turns. */
static bool take_lock(served *work)
{
    char owner[MAX_OWNER_BYTES] = "";
    if (work->lock == 0) {
        return true;
    }
    if (flock(work->lock, LOCK_EX | LOCK_NB) == 0) {
        return pwrite(work->lock, work->owner, sizeof work->owner, 0) == sizeof work->owner;
    }
    return pread(work->lock, owner, sizeof owner - 1, 0) > 0 && strcmp(owner, work->owner) == 0;
}

static void print_opened(const served *work)
{
    es_tensor_info tensor;
    printf("{\"version\": \"%s\", \"plan\": %zu, \"inputs\": [", es_version(), work->info.plan);
    for (size_t i = 0; es_model_input(work->model, i, &tensor) == ES_OK; i++) {
        printf(i > 0 ? ", " : "");
        print_tensor(&tensor);
    }
    printf("], \"outputs\": [");
    for (size_t i = 0; es_model_output(work->model, i, &tensor) == ES_OK; i++) {
        printf(i > 0 ? ", " : "");
        print_tensor(&tensor);
    }
    printf("]}\n");
}

static void open_artifact(served *work, const json_object *request)
{
    const char *const path = json_text(request, "artifact");
    const uint64_t threads = json_number(request, "threads", 1);
    es_error error = {.message = "open: names no artifact"};
    release(work);
    es_status status = path == NULL ? ES_ERR_ARGUMENT : es_model_open_file(path, 0, &work->model, &error);
    if (status == ES_OK) {
        const uint32_t count = threads <= ES_MAX_THREADS ? (uint32_t)threads : 0;
        status = es_session_open(work->model, count, &work->session, &error);
    }
    if (status == ES_OK && !open_lock(work, request)) {
        status = ES_ERR_IO;
        snprintf(error.message, sizeof error.message, "open: the lock cannot be made: %s", strerror(errno));
    }
    if (status == ES_OK) {
        es_model_describe(work->model, &work->info);
        if (!allocate_tensors(work)) {
            status = ES_ERR_NO_MEMORY;
            snprintf(error.message, sizeof error.message, "open: no memory for inputs and outputs");
        }
    }
    if (status != ES_OK) {
        release(work);
        answer_error(error.message, status);
        return;
    }
    print_opened(work);
}

/* Reads and forgets bytes, so that the next line is a request; false at the end of the pipe. */
static bool skip(uint64_t size)
{
    char unwanted[4096];
    while (size > 0) {
        const size_t part = size < sizeof unwanted ? (size_t)size : sizeof unwanted;
        if (fread(unwanted, 1, part, stdin) != part) {
            return false;
        }
        size -= part;
    }
    return true;
}

/* Whether the sizes that a request announces are those of the inputs. */
static bool sizes_fit(const served *work, const json_field *sizes)
{
    bool fits = work->session != NULL && sizes->count == work->info.input_count;
    for (size_t i = 0; fits && i < sizes->count; i++) {
        fits = sizes->numbers[i] == work->inputs[i].size_bytes;
    }
    return fits;
}

/* Reads the inputs that follow a request; false at the end of the pipe. `*fit` says if they are the model's. */
static bool read_inputs(served *work, const json_field *sizes, bool *fit)
{
    *fit = sizes_fit(work, sizes);
    for (size_t i = 0; i < sizes->count; i++) {
        const size_t size = *fit ? work->inputs[i].size_bytes : 0;
        void *const data = *fit ? (void *)(uintptr_t)work->inputs[i].data : NULL;
        if (*fit ? fread(data, 1, size, stdin) != size : !skip(sizes->numbers[i])) {
            return false;
        }
    }
    return true;
}

static es_status run_once(served *work, uint64_t *step_ns, es_error *error)
{
    const es_model_info *const info = &work->info;
    return step_ns == NULL
               ? es_session_run(work->session, work->inputs, info->input_count, work->outputs,
                                info->output_count, error)
               : es_session_profile(work->session, work->inputs, info->input_count, work->outputs,
                                    info->output_count, step_ns, error);
}

/* Runs the inputs that follow; false at the end of the pipe. */
static bool run(served *work, const json_object *request)
{
    static const json_field none = {.name = "bytes"};
    const json_field *const found = json_list(request, "bytes");
    es_error error;
    bool fit;
    work->ran = false;
    if (!read_inputs(work, found != NULL ? found : &none, &fit)) {
        return false;
    }
    if (!fit) {
        answer_error("run: the bytes are not those of the inputs of an open artifact", ES_ERR_TENSOR);
        return true;
    }
    const es_status status = run_once(work, NULL, &error);
    if (status != ES_OK) {
        answer_error(error.message, status);
        return true;
    }
    work->ran = true;
    printf("{\"bytes\": [");
    for (size_t i = 0; i < work->info.output_count; i++) {
        printf("%s%zu", i > 0 ? ", " : "", work->outputs[i].size_bytes);
    }
    printf("]}\n");
    for (size_t i = 0; i < work->info.output_count; i++) {
        fwrite(work->outputs[i].data, 1, work->outputs[i].size_bytes, stdout);
    }
    return true;
}

/* Whether the other side of the pipe is gone: then nobody waits for what is measured. */
static bool is_left_alone(void)
{
    struct pollfd pipe = {.fd = STDIN_FILENO, .events = 0};
    return poll(&pipe, 1, 0) > 0 && (pipe.revents & (POLLHUP | POLLERR)) != 0;
}

/* Runs once, and then `repeat` times; stores how long each took, or with `step_ns` how long each step of
 * each took. */
static es_status measure(served *work, size_t repeat, uint64_t *run_ns, uint64_t *step_ns, es_error *error)
{
    es_status status = run_once(work, NULL, error);
    for (size_t i = 0; status == ES_OK && i < repeat; i++) {
        if (is_left_alone()) {
            exit(1);
        }
        const uint64_t start = clock_ns();
        status = run_once(work, step_ns != NULL ? step_ns + i * work->info.step_count : NULL, error);
        if (run_ns != NULL) {
            run_ns[i] = clock_ns() - start;
        }
    }
    return status;
}

static void print_numbers(const uint64_t *numbers, size_t count)
{
    putchar('[');
    for (size_t i = 0; i < count; i++) {
        printf("%s%llu", i > 0 ? ", " : "", (unsigned long long)numbers[i]);
    }
    putchar(']');
}

static void print_steps(const served *work)
{
    es_step_info step;
    printf("{\"steps\": [");
    for (size_t i = 0; es_model_step(work->model, i, &step) == ES_OK; i++) {
        printf("%s{\"name\": ", i > 0 ? ", " : "");
        json_print_text(step.name);
        printf(", \"op\": ");
        json_print_text(step.op);
        printf(", \"kernel\": ");
        json_print_text(step.kernel);
        printf(", \"tiles\": %lu}", (unsigned long)step.tiles);
    }
    printf("], ");
}

static void answer_times(served *work, const json_object *request, bool by_step)
{
    es_error error = {.message = "there are no inputs yet: run once first"};
    const uint64_t repeat = json_number(request, "repeat", 10);
    const size_t each = by_step ? work->info.step_count : 1;
    if (!work->ran || repeat < 1 || repeat > MAX_REPEAT) {
        answer_error(work->ran ? "repeat: expected 1 to 100000" : error.message, ES_ERR_ARGUMENT);
        return;
    }
    if (!take_lock(work)) {
        answer_error("somebody else measures on this device; wait until they are done", ES_ERR_BUSY);
        return;
    }
    uint64_t *const ns = calloc((size_t)repeat * each + 1, sizeof *ns);
    es_status status = ES_ERR_NO_MEMORY;
    snprintf(error.message, sizeof error.message, "no memory for the times of %llu runs",
             (unsigned long long)repeat);
    if (ns != NULL) {
        status = measure(work, (size_t)repeat, by_step ? NULL : ns, by_step ? ns : NULL, &error);
    }
    if (status != ES_OK) {
        answer_error(error.message, status);
    } else if (by_step) {
        print_steps(work);
        printf("\"ns\": [");
        for (size_t i = 0; i < repeat; i++) {
            printf(i > 0 ? ", " : "");
            print_numbers(ns + i * each, each);
        }
        printf("]}\n");
    } else {
        printf("{\"ns\": ");
        print_numbers(ns, (size_t)repeat);
        printf("}\n");
    }
    free(ns);
}

/* What the system tells of the memory of this process. */
static void answer_meters(void)
{
    static const char *const lines[][2] = {
        {"VmHWM:", "peak_bytes"}, {"RssFile:", "mapped_bytes"}, {"RssAnon:", "anonymous_bytes"}};
    const char *before = "";
    putchar('{');
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        unsigned long kib;
        if (memory_use_kib(lines[i][0], &kib)) {
            printf("%s\"%s\": %llu", before, lines[i][1], (unsigned long long)kib * 1024);
            before = ", ";
        }
    }
    printf("}\n");
}

/* Answers one request; false if there is nothing more to answer. */
static bool answer(served *work, const json_object *request)
{
    const char *const what = json_text(request, "do");
    if (what == NULL) {
        answer_error("a request says with \"do\" what to do", ES_ERR_ARGUMENT);
    } else if (strcmp(what, "open") == 0) {
        open_artifact(work, request);
    } else if (strcmp(what, "run") == 0) {
        return run(work, request);
    } else if (strcmp(what, "time") == 0 || strcmp(what, "profile") == 0) {
        answer_times(work, request, *what == 'p');
    } else if (strcmp(what, "meters") == 0) {
        answer_meters();
    } else if (strcmp(what, "quit") == 0) {
        return false;
    } else {
        answer_error("this is not known: expected open, run, time, profile, meters or quit", ES_ERR_ARGUMENT);
    }
    return true;
}

int serve(void)
{
    static char line[MAX_LINE_BYTES];
    static uint64_t numbers[MAX_NUMBERS];
    served work = {.model = NULL};
    json_object request;
    bool more = true;
    printf("{\"esrun\": \"%s\"}\n", es_version());
    fflush(stdout);
    while (more && fgets(line, sizeof line, stdin) != NULL) {
        if (strchr(line, '\n') == NULL) {
            answer_error("a request is longer than 65535 bytes, or ends without a newline", ES_ERR_ARGUMENT);
            more = false; /* nobody knows where the next begins */
        } else {
            const char *const wrong = json_read(line, numbers, MAX_NUMBERS, &request);
            if (wrong == NULL) {
                more = answer(&work, &request);
            } else {
                answer_error(wrong, ES_ERR_ARGUMENT);
            }
        }
        fflush(stdout);
    }
    release(&work);
    return ferror(stdout) != 0;
}
