/* Opens damaged artifacts under sanitizers.
 *
 *   probe open FILE...               one line each: status, tab, message
 *   probe flip FILE BEGIN END MODE   opens FILE with every bit of [BEGIN, END) flipped, one at a time;
 *                                    MODE `plain`, or `rehash` to make the checksums match again
 *   probe cut FILE SIZE...           opens the first SIZE bytes of FILE
 *
 * `flip` and `cut` print how often each status came. A finding ends the program. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "artifact.h"
#include "edgesparse.h"

/* Uses everything that a caller can reach without running code of the artifact. */
static void use(es_model *model)
{
    es_tensor_info tensor;
    es_step_info step;
    es_session *session = NULL;
    size_t characters = 0;
    for (size_t i = 0; es_model_input(model, i, &tensor) == ES_OK; i++) {
        characters += strlen(tensor.name);
    }
    for (size_t i = 0; es_model_output(model, i, &tensor) == ES_OK; i++) {
        characters += strlen(tensor.name);
    }
    for (size_t i = 0; es_model_step(model, i, &step) == ES_OK; i++) {
        characters += strlen(step.name) + strlen(step.op) + strlen(step.kernel);
    }
    if (es_session_open(model, 1, &session, NULL) == ES_OK) {
        es_session_close(session);
    }
    if (characters == SIZE_MAX) {
        puts("unreachable, but the compiler does not know");
    }
}

static es_status open_content(const uint8_t *data, size_t size, es_error *error)
{
    es_model *model = NULL;
    const es_status status = es_model_open_memory(data, size, 0, &model, error);
    if (status == ES_OK) {
        use(model);
        es_model_close(model);
    }
    return status;
}

enum { STATUS_END = ES_ERR_FORKED + 1 };

static void print_counts(const size_t counts[STATUS_END])
{
    for (int status = 0; status < STATUS_END; status++) {
        if (counts[status] > 0) {
            printf("%s\t%zu\n", es_status_name((es_status)status), counts[status]);
        }
    }
}

/* Counts the status, and insists that a failure says something. */
static void try_content(const uint8_t *data, size_t size, size_t counts[STATUS_END])
{
    es_error error = {.message = ""};
    const es_status status = open_content(data, size, &error);
    if (status != ES_OK && error.message[0] == '\0') {
        fprintf(stderr, "probe: %s without a message\n", es_status_name(status));
        exit(3);
    }
    counts[status]++;
}

static void flip(const char *path, size_t begin, size_t end, bool fix_checksums)
{
    const content original = read_file(path);
    content copy = {.data = malloc(original.size), .size = original.size};
    size_t counts[STATUS_END] = {0};
    if (copy.data == NULL || end > original.size) {
        exit(2);
    }
    for (size_t at = begin; at < end; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            memcpy(copy.data, original.data, original.size);
            copy.data[at] ^= (uint8_t)(1u << bit);
            if (fix_checksums) {
                rehash(copy);
            }
            try_content(copy.data, copy.size, counts);
        }
    }
    print_counts(counts);
    free(copy.data);
    free(original.data);
}

static void cut(const char *path, int count, char **sizes)
{
    const content original = read_file(path);
    size_t counts[STATUS_END] = {0};
    for (int i = 0; i < count; i++) {
        const size_t size = strtoul(sizes[i], NULL, 10);
        uint8_t *const part = malloc(size > 0 ? size : 1); /* exact, so that over-reads show */
        if (part == NULL || size > original.size) {
            exit(2);
        }
        memcpy(part, original.data, size);
        try_content(part, size, counts);
        free(part);
    }
    print_counts(counts);
    free(original.data);
}

static void open_files(int count, char **paths)
{
    for (int i = 0; i < count; i++) {
        es_error error = {.message = ""};
        es_model *model = NULL;
        const es_status status =
            es_model_open_file(paths[i], ES_OPEN_VERIFY_WEIGHTS, &model, &error);
        printf("%s\t%s\n", es_status_name(status), error.message);
        if (status == ES_OK) {
            use(model);
        }
        es_model_close(model);
    }
}

int main(int count, char **arguments)
{
    if (count >= 3 && strcmp(arguments[1], "open") == 0) {
        open_files(count - 2, arguments + 2);
    } else if (count == 6 && strcmp(arguments[1], "flip") == 0) {
        flip(arguments[2], strtoul(arguments[3], NULL, 10), strtoul(arguments[4], NULL, 10),
             strcmp(arguments[5], "rehash") == 0);
    } else if (count >= 4 && strcmp(arguments[1], "cut") == 0) {
        cut(arguments[2], count - 3, arguments + 3);
    } else {
        return 2;
    }
    return 0;
}
