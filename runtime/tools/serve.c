#include "serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bandwidth.h"
#include "served.h"

enum {
    MAX_LINE_BYTES = 1 << 16,
    MAX_NUMBERS = 8192 /* of a request; inputs are at most 4096 */
};

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
    } else if (strcmp(what, "measure") == 0) {
        answer_measurement(work, request);
    } else if (strcmp(what, "meters") == 0) {
        answer_meters();
    } else if (strcmp(what, "bandwidth") == 0) {
        answer_bandwidth(work, request);
    } else if (strcmp(what, "quit") == 0) {
        return false;
    } else {
        answer_error("this is not known: expected open, run, time, profile, measure, meters, bandwidth or quit",
                     ES_ERR_ARGUMENT);
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
