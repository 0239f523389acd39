/* esrun: runs an artifact on .npy files and pictures. */
#define _DEFAULT_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "edgesparse.h"
#include "fatal.h"
#include "npy.h"
#include "npz.h"
#include "options.h"
#include "placement.h"
#include "ppm.h"
#include "profile_report.h"
#include "report.h"
#include "serve.h"

enum {
    TUNE_RUNS = 200,
    STEP_RUNS = 20, /* of a profile */
    FILLER = 0x3f /* each byte of a made-up float32: 0.747, and no denormal number */
};

/* A model and the buffers of its inputs and outputs. */
typedef struct job {
    es_model *model;
    es_session *session;
    size_t input_count;
    size_t output_count;
    es_tensor_info *input_infos;
    es_tensor_info *output_infos;
    es_input *inputs;
    es_output *outputs;
    uint64_t opened_ns; /* how long opening took */
    uint64_t first_ns;  /* and the first run; 0: there was none */
} job;

static void require(es_status status, const char *path, const es_error *error)
{
    if (status == ES_ERR_IO) {
        fatal("%s", error->message); /* names the path already */
    }
    if (status != ES_OK) {
        fatal("%s: %s (%s)", path, error->message, es_status_name(status));
    }
}

/* Splits [NAME=]PATH; finds NAME among the tensors, or the first tensor if there is no name. */
static const char *split_target(const char *text, const es_tensor_info *infos, size_t count,
                                size_t *index)
{
    const char *const equals = strchr(text, '=');
    *index = 0;
    for (size_t i = 0; equals != NULL && i < count; i++) {
        const size_t name_bytes = strlen(infos[i].name);
        if (strncmp(text, infos[i].name, name_bytes) == 0 && text[name_bytes] == '=') {
            *index = i;
            return text + name_bytes + 1;
        }
    }
    if (count == 0 || equals != NULL) {
        fatal("'%s': the model has no such tensor; run esrun with the model alone to list them",
              text);
    }
    return text;
}

/* The number of the only input that takes pictures. */
static size_t only_picture(const char *path, const job *work)
{
    size_t found = work->input_count;
    for (size_t i = 0; i < work->input_count; i++) {
        if (work->input_infos[i].picture != ES_NO_PICTURE && found < work->input_count) {
            fatal("'%s': several inputs take pictures; say which with --image NAME=FILE.ppm", path);
        }
        found = work->input_infos[i].picture != ES_NO_PICTURE ? i : found;
    }
    return found < work->input_count ? found : 0; /* whose reader says what is wrong with it */
}

static void describe_tensors(job *work)
{
    es_model_info info;
    es_model_describe(work->model, &info);
    work->input_count = info.input_count;
    work->output_count = info.output_count;
    work->input_infos = allocate(info.input_count, sizeof *work->input_infos);
    work->output_infos = allocate(info.output_count, sizeof *work->output_infos);
    work->inputs = allocate(info.input_count, sizeof *work->inputs);
    work->outputs = allocate(info.output_count, sizeof *work->outputs);
    for (size_t i = 0; i < info.input_count; i++) {
        es_model_input(work->model, i, &work->input_infos[i]);
    }
    for (size_t i = 0; i < info.output_count; i++) {
        es_model_output(work->model, i, &work->output_infos[i]);
        const size_t size_bytes = work->output_infos[i].size_bytes;
        work->outputs[i] = (es_output){.data = allocate(size_bytes, 1), .size_bytes = size_bytes};
    }
}

static void read_inputs(const options *chosen, job *work)
{
    for (size_t i = 0; i < chosen->input_count; i++) {
        size_t index;
        const char *const path =
            split_target(chosen->inputs[i], work->input_infos, work->input_count, &index);
        if (path == chosen->inputs[i] && chosen->is_image[i]) {
            index = only_picture(path, work);
        } else if (path == chosen->inputs[i] && work->input_count != 1) {
            fatal("'%s': the model has %zu inputs; say which with --input NAME=FILE.npy", path,
                  work->input_count);
        }
        if (work->inputs[index].data != NULL) {
            fatal("'%s': input '%s' is given twice", path, work->input_infos[index].name);
        }
        const es_tensor_info *const info = &work->input_infos[index];
        work->inputs[index] = chosen->is_image[i] ? ppm_read(path, info) : npy_read(path, info);
    }
    for (size_t i = 0; i < work->input_count; i++) {
        if (work->inputs[i].data == NULL) {
            fatal("input '%s' is missing; give it with --input %s=FILE.npy",
                  work->input_infos[i].name, work->input_infos[i].name);
        }
    }
}

static void fill_inputs(job *work)
{
    for (size_t i = 0; i < work->input_count; i++) {
        const size_t size_bytes = work->input_infos[i].size_bytes;
        void *const data = allocate(size_bytes, 1);
        memset(data, work->input_infos[i].dtype == ES_FLOAT32 ? FILLER : 0, size_bytes);
        work->inputs[i] = (es_input){.data = data, .size_bytes = size_bytes};
    }
}

static void run_once(job *work, uint64_t *step_ns)
{
    es_error error;
    const uint64_t start_ns = es_now_ns();
    const es_status status =
        step_ns == NULL ? es_session_run(work->session, work->inputs, work->input_count,
                                         work->outputs, work->output_count, &error)
                        : es_session_profile(work->session, work->inputs, work->input_count,
                                             work->outputs, work->output_count, step_ns, &error);
    require(status, "run", &error);
    work->first_ns = work->first_ns == 0 ? es_now_ns() - start_ns : work->first_ns;
}

static timings run_repeatedly(const options *chosen, job *work)
{
    es_model_info info;
    es_model_describe(work->model, &info);
    const size_t run_count = chosen->repeat > 0 ? chosen->repeat
                             : chosen->tune     ? TUNE_RUNS
                             : chosen->profile  ? STEP_RUNS
                                                : 1;
    timings times = {.run_count = run_count, .step_count = info.step_count};
    times.run_ns = allocate(run_count, sizeof *times.run_ns);
    if (chosen->profile || chosen->tune) {
        times.step_ns = allocate(run_count * info.step_count, sizeof *times.step_ns);
    }
    for (size_t run = 0; run < run_count; run++) {
        const uint64_t start = es_now_ns();
        run_once(work, times.step_ns == NULL ? NULL : times.step_ns + run * info.step_count);
        times.run_ns[run] = es_now_ns() - start;
    }
    return times;
}

/* Measures for a while, and prints what came of it. */
static void print_measured(const options *chosen, job *work)
{
    static es_profile profile;
    es_model_info info;
    es_error error;
    const es_profile_options wanted = {
        .seconds = chosen->seconds, .rate_hz = chosen->rate_hz, .meter = chosen->meter};
    es_model_describe(work->model, &info);
    require(es_session_measure(work->session, work->inputs, work->input_count, work->outputs, work->output_count,
                               &wanted, &profile, &error),
            "profile", &error);
    profile.first_ns = work->first_ns > 0 ? (double)work->first_ns : profile.first_ns;
    print_profile(&profile, &info, work->opened_ns, chosen->rate_hz, chosen->battery_wh);
    const timings steps = run_repeatedly(chosen, work);
    print_steps(work->model, &steps);
}

static bool ends_with(const char *text, const char *end)
{
    const size_t size = strlen(text);
    return size >= strlen(end) && strcmp(text + size - strlen(end), end) == 0;
}

static bool same_file(const char *path, const struct stat *file)
{
    struct stat other;
    return stat(path, &other) == 0 && other.st_dev == file->st_dev && other.st_ino == file->st_ino;
}

/* An output replaces neither what is read nor a file of another kind. */
static void require_writable(const char *path, const options *chosen, const job *work)
{
    struct stat file;
    if (stat(path, &file) != 0 || !S_ISREG(file.st_mode)) {
        return; /* nothing is lost there */
    }
    bool is_read = same_file(chosen->model, &file);
    for (size_t i = 0; i < chosen->input_count; i++) {
        size_t index;
        is_read = is_read || same_file(split_target(chosen->inputs[i], work->input_infos,
                                                    work->input_count, &index),
                                       &file);
    }
    if (is_read) {
        fatal("%s: is read by this run; name another file to write", path);
    }
    const bool zipped = ends_with(path, ".npz");
    const char *const magic = zipped ? "PK" : "\x93NUMPY";
    char head[sizeof "\x93NUMPY" - 1];
    FILE *const held = fopen(path, "rb");
    const size_t size = held == NULL ? 0 : fread(head, 1, strlen(magic), held);
    if (held != NULL) {
        fclose(held);
    }
    if (size > 0 && (size < strlen(magic) || memcmp(head, magic, size) != 0)) {
        fatal("%s: holds something other than %s; remove it, or name another file to write", path,
              zipped ? "an .npz file" : "an .npy file");
    }
}

static void require_outputs(const options *chosen, const job *work)
{
    for (size_t i = 0; i < chosen->output_count; i++) {
        size_t index;
        require_writable(split_target(chosen->outputs[i], work->output_infos, work->output_count,
                                      &index),
                         chosen, work);
    }
}

static void write_outputs(const options *chosen, const job *work)
{
    for (size_t i = 0; i < chosen->output_count; i++) {
        const char *const target = chosen->outputs[i];
        size_t index;
        const char *const path =
            split_target(target, work->output_infos, work->output_count, &index);
        if (ends_with(path, ".npz")) {
            npz_write(path, work->output_infos, work->outputs, work->output_count);
        } else {
            npy_write(path, &work->output_infos[index], work->outputs[index].data);
        }
    }
}

/* Compares the outputs for made-up inputs with what the artifact promises. */
static void verify(const char *path, es_session *session)
{
    es_error error;
    size_t checked;
    require(es_session_verify(session, &checked, &error), path, &error);
    if (checked == 0) {
        printf("%s: promises no bits: its outputs depend on floats, which machines round apart\n", path);
    } else {
        printf("%s: %zu output%s the bits that were promised\n", path, checked, checked == 1 ? " has" : "s have");
    }
}

int main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "--serve") == 0) {
        return serve();
    }
    const options chosen = parse_arguments(count, arguments);
    es_error error;
    const uint32_t flags = chosen.check ? ES_OPEN_VERIFY_WEIGHTS : 0;
    opened made = {.model = NULL};
    require(open_placed(chosen.model, flags, &chosen.pool, &made, &error), chosen.model, &error);
    job work = {.model = made.model, .session = made.session, .opened_ns = made.ns};
    if (chosen.check) {
        printf("%s: all checksums match\n", chosen.model);
    }
    if (chosen.verify) {
        verify(chosen.model, work.session);
        return 0;
    }
    describe_tensors(&work);
    if (chosen.tune) {
        fill_inputs(&work);
        const timings times = run_repeatedly(&chosen, &work);
        print_step_times(work.model, &times);
        return 0;
    }
    if (chosen.input_count == 0 && work.input_count > 0) {
        print_signature(chosen.model, work.model);
        return 0;
    }
    require_outputs(&chosen, &work);
    read_inputs(&chosen, &work);

    if (chosen.repeat > 0) {
        run_once(&work, NULL);
        printf("open %.3f ms, first run %.3f ms\n", (double)work.opened_ns / 1e6, (double)work.first_ns / 1e6);
    }
    if (chosen.profile) {
        print_measured(&chosen, &work);
    } else {
        timings times = run_repeatedly(&chosen, &work);
        if (chosen.repeat > 0) {
            print_latency(&times, chosen.pool.threads);
        }
    }
    if (chosen.top > 0) {
        print_top(work.model, work.outputs, chosen.top);
    }
    write_outputs(&chosen, &work);
    es_session_close(work.session);
    es_model_close(work.model);
    return 0;
}
