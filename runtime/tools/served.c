#define _GNU_SOURCE
#include "served.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "clock.h"
#include "placement.h"

void answer_error(const char *message, es_status status)
{
    printf("{\"error\": ");
    json_print_text(message);
    printf(", \"status\": \"%s\"}\n", es_status_name(status));
}

void release(served *work)
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

bool open_lock(served *work, const json_object *request)
{
    const char *const path = json_text(request, "lock");
    const char *const owner = json_text(request, "owner");
    work->lock = path == NULL ? 0 : open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    snprintf(work->owner, sizeof work->owner, "%s", owner == NULL ? "" : owner);
    return work->lock >= 0;
}

bool take_lock(served *work)
{
    char owner[MAX_OWNER_BYTES] = "";
    if (work->lock == 0) {
        return true;
    }
    const bool is_ours =
        flock(work->lock, LOCK_EX | LOCK_NB) == 0
            ? pwrite(work->lock, work->owner, sizeof work->owner, 0) == sizeof work->owner
            : pread(work->lock, owner, sizeof owner - 1, 0) > 0 && strcmp(owner, work->owner) == 0;
    if (!is_ours) {
        answer_error("somebody else measures on this device; wait until they are done", ES_ERR_BUSY);
    }
    return is_ours;
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

void open_artifact(served *work, const json_object *request)
{
    const char *const path = json_text(request, "artifact");
    es_error error = {.message = "open: names no artifact"};
    release(work);
    opened made = {.model = NULL};
    es_status status = path == NULL ? ES_ERR_ARGUMENT : open_requested(path, request, &made, &error);
    work->model = made.model;
    work->session = made.session;
    work->opened_ns = made.ns;
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

es_status run_once(served *work, uint64_t *step_ns, es_error *error)
{
    const es_model_info *const info = &work->info;
    const uint64_t start_ns = es_now_ns();
    const es_status status =
        step_ns == NULL
            ? es_session_run(work->session, work->inputs, info->input_count, work->outputs,
                             info->output_count, error)
            : es_session_profile(work->session, work->inputs, info->input_count, work->outputs,
                                 info->output_count, step_ns, error);
    if (work->first_ns == 0 && status == ES_OK) {
        work->first_ns = es_now_ns() - start_ns;
    }
    return status;
}
