/* libFuzzer target: opening any bytes returns a status, and what opens can be described. */
#include <string.h>

#include "edgesparse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    es_error error;
    es_model *model;
    if (es_model_open_memory(data, size, ES_OPEN_VERIFY_WEIGHTS, &model, &error) != ES_OK) {
        return strlen(error.message) == 0 ? -1 : 0;
    }
    es_step_info step;
    for (size_t i = 0; es_model_step(model, i, &step) == ES_OK; i++) {
        if (strlen(step.name) + strlen(step.op) + strlen(step.kernel) > size) {
            __builtin_trap();
        }
    }
    es_model_info described;
    es_model_describe(model, &described);
    size_t labels_bytes = 0;
    for (size_t i = 0; i < 64 && es_model_label(model, i) != NULL; i++) {
        labels_bytes += strlen(es_model_label(model, i)) + 1;
    }
    if (labels_bytes > described.labels_bytes ||
        es_model_label(model, described.label_count) != NULL) {
        __builtin_trap();
    }
    es_session *session;
    es_model_info info;
    es_model_describe(model, &info);
    if (info.arena_bytes < (1 << 24) && info.scratch_bytes < (1 << 20) &&
        es_session_open(model, 1, &session, &error) == ES_OK) {
        es_session_close(session);
    }
    es_model_close(model);
    return 0;
}
