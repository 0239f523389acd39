/* esrun: runs an artifact on .npy files and pictures. */
#define _DEFAULT_SOURCE
#include <errno.h>
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
#include "ppm.h"
#include "report.h"
#include "serve.h"

static const char usage[] =
    "usage: esrun MODEL.esp [options]\n"
    "  --input [NAME=]FILE.npy    an input; the name may be left out if the model has one\n"
    "  --image [NAME=]FILE.ppm    a picture (P6, P5) for an input that takes frames\n"
    "  --top N                    print the N largest elements of an output, with their labels;\n"
    "                             5 with --image and without --output\n"
    "  --output [NAME=]FILE.npy   where to write an output; without a name, the first\n"
    "  --output FILE.npz          where to write all outputs\n"
    "  --threads N                threads, the main one included (1)\n"
    "  --repeat K                 run K times after a first run and print the latency\n"
    "  --profile                  print the time of each layer\n"
    "  --check                    also verify the checksum of the weights\n"
    "  --tune                     run on made-up inputs and print the time of each layer as JSON,\n"
    "                             for edgesparse tune --measured; 200 runs without --repeat\n"
    "  --version                  print the version\n"
    "  --serve                    alone: answer requests on stdin, for edgesparse --on\n"
    "Without inputs, prints the inputs and outputs of the model.\n";

enum {
    MAX_FILES = 64,
    MAX_TOP = 100,
    USUAL_TOP = 5,
    TUNE_RUNS = 200,
    FILLER = 0x3f /* each byte of a made-up float32: 0.747, and no denormal number */
};

typedef struct options {
    const char *model;
    const char *inputs[MAX_FILES];
    bool is_image[MAX_FILES]; /* of each input */
    const char *outputs[MAX_FILES];
    size_t input_count;
    size_t output_count;
    uint32_t threads;
    size_t top;    /* 0: print none */
    size_t repeat; /* 0: run once, print no latency */
    bool profile;
    bool check;
    bool tune;
} options;

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
} job;

static unsigned long parse_number(const char *text, const char *option, unsigned long maximum)
{
    char *end;
    errno = 0;
    const unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || number < 1 ||
        number > maximum) {
        bad_usage("%s: got '%s', expected a number from 1 to %lu", option, text, maximum);
    }
    return number;
}

static void add_file(const char **files, size_t *count, const char *file, const char *option)
{
    if (*count == MAX_FILES) {
        bad_usage("%s: is given more than %d times", option, MAX_FILES);
    }
    files[(*count)++] = file;
}

/* Takes one option with a value; false if `name` is none. */
static bool take_option(options *chosen, const char *name, const char *value)
{
    if (strcmp(name, "--input") == 0) {
        add_file(chosen->inputs, &chosen->input_count, value, name);
    } else if (strcmp(name, "--image") == 0) {
        add_file(chosen->inputs, &chosen->input_count, value, name);
        chosen->is_image[chosen->input_count - 1] = true;
    } else if (strcmp(name, "--top") == 0) {
        chosen->top = parse_number(value, name, MAX_TOP);
    } else if (strcmp(name, "--output") == 0) {
        add_file(chosen->outputs, &chosen->output_count, value, name);
    } else if (strcmp(name, "--threads") == 0) {
        chosen->threads = (uint32_t)parse_number(value, name, ES_MAX_THREADS);
    } else if (strcmp(name, "--repeat") == 0) {
        chosen->repeat = parse_number(value, name, 1000000);
    } else {
        return false;
    }
    return true;
}

static options parse_arguments(int count, char **arguments)
{
    options chosen = {.threads = 1};
    for (int i = 1; i < count; i++) {
        const char *const argument = arguments[i];
        if (strcmp(argument, "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        } else if (strcmp(argument, "--version") == 0) {
            printf("esrun %s\n", es_version());
            exit(0);
        } else if (strcmp(argument, "--profile") == 0) {
            chosen.profile = true;
        } else if (strcmp(argument, "--check") == 0) {
            chosen.check = true;
        } else if (strcmp(argument, "--tune") == 0) {
            chosen.tune = true;
        } else if (strncmp(argument, "--", 2) == 0) {
            if (!take_option(&chosen, argument, i + 1 < count ? arguments[i + 1] : "")) {
                bad_usage("unknown option '%s'; see esrun --help", argument);
            }
            if (++i == count) {
                bad_usage("%s: its value is missing", argument);
            }
        } else if (chosen.model == NULL) {
            chosen.model = argument;
        } else {
            bad_usage("got '%s' besides the model '%s'; see esrun --help", argument, chosen.model);
        }
    }
    if (chosen.model == NULL) {
        bad_usage("no model is given; see esrun --help");
    }
    for (size_t i = 0; i < chosen.input_count && chosen.output_count == 0 && chosen.top == 0; i++) {
        chosen.top = chosen.is_image[i] ? USUAL_TOP : 0;
    }
    return chosen;
}

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
    const es_status status =
        step_ns == NULL ? es_session_run(work->session, work->inputs, work->input_count,
                                         work->outputs, work->output_count, &error)
                        : es_session_profile(work->session, work->inputs, work->input_count,
                                             work->outputs, work->output_count, step_ns, &error);
    require(status, "run", &error);
}

static timings run_repeatedly(const options *chosen, job *work)
{
    es_model_info info;
    es_model_describe(work->model, &info);
    const size_t run_count = chosen->repeat > 0 ? chosen->repeat : chosen->tune ? TUNE_RUNS : 1;
    timings times = {.run_count = run_count, .step_count = info.step_count};
    times.run_ns = allocate(run_count, sizeof *times.run_ns);
    if (chosen->profile || chosen->tune) {
        times.step_ns = allocate(run_count * info.step_count, sizeof *times.step_ns);
    }
    for (size_t run = 0; run < run_count; run++) {
        const uint64_t start = clock_ns();
        run_once(work, times.step_ns == NULL ? NULL : times.step_ns + run * info.step_count);
        times.run_ns[run] = clock_ns() - start;
    }
    return times;
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

int main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "--serve") == 0) {
        return serve();
    }
    const options chosen = parse_arguments(count, arguments);
    job work = {.model = NULL};
    es_error error;
    const uint64_t start = clock_ns();
    const uint32_t flags = chosen.check ? ES_OPEN_VERIFY_WEIGHTS : 0;
    require(es_model_open_file(chosen.model, flags, &work.model, &error), chosen.model, &error);
    require(es_session_open(work.model, chosen.threads, &work.session, &error), chosen.model, &error);
    const uint64_t opened = clock_ns();
    if (chosen.check) {
        printf("%s: all checksums match\n", chosen.model);
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
        const uint64_t first = clock_ns();
        run_once(&work, NULL);
        printf("open %.3f ms, first run %.3f ms\n", (double)(opened - start) / 1e6,
               (double)(clock_ns() - first) / 1e6);
    }
    timings times = run_repeatedly(&chosen, &work);
    if (chosen.repeat > 0) {
        print_latency(&times, chosen.threads);
    }
    if (chosen.top > 0) {
        print_top(work.model, work.outputs, chosen.top);
    }
    if (chosen.profile) {
        print_profile(work.model, &times);
    }
    write_outputs(&chosen, &work);
    es_session_close(work.session);
    es_model_close(work.model);
    return 0;
}
