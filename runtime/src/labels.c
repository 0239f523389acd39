#include "labels.h"

#include <string.h>

#include "utf8.h"

/* Whether a terminal would take a byte sequence of the text for something else than characters. */
static bool has_control_characters(const uint8_t *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const bool is_c1 = text[i] == 0xC2 && i + 1 < size && text[i + 1] < 0xA0;
        if (text[i] < 0x20 || text[i] == 0x7F || is_c1) {
            return true;
        }
    }
    return false;
}

static size_t element_count(const es_tensor_info *info)
{
    size_t count = 1;
    for (uint32_t axis = 0; axis < info->rank; axis++) {
        count *= info->dims[axis]; /* the size in bytes fits, so this does */
    }
    return count;
}

static es_status check_label(es_bytes text, size_t index, es_error *error)
{
    ES_REQUIRE(text.size <= ES_MAX_LABEL_BYTES, error, ES_ERR_LIMIT,
               "labels section: label %llu has %llu bytes, at most %llu are allowed", ES_U(index),
               ES_U(text.size), ES_U(ES_MAX_LABEL_BYTES));
    ES_REQUIRE(es_utf8_is_text(text.data, text.size) && !has_control_characters(text.data, text.size),
               error, ES_ERR_INVALID, "labels section: label %llu is not UTF-8 text of one line",
               ES_U(index));
    return ES_OK;
}

es_status es_labels_read(es_bytes section, const es_plan *plan, es_labels *labels, es_error *error)
{
    es_labels found = {.text = section};
    for (size_t at = 0; at < section.size; found.count++) {
        const uint8_t *const text = section.data + at;
        const uint8_t *const end = memchr(text, '\0', section.size - at);
        ES_REQUIRE(end != NULL, error, ES_ERR_INVALID,
                   "labels section: label %llu does not end with NUL", ES_U(found.count));
        const es_bytes label = {.data = text, .size = (size_t)(end - text)};
        ES_TRY(check_label(label, found.count, error));
        at += label.size + 1;
    }
    const es_tensor *const outputs = plan->tensors + plan->input_count;
    while (found.count > 0 && found.output < plan->output_count &&
           element_count(&outputs[found.output].info) != found.count) {
        found.output++;
    }
    ES_REQUIRE(found.count == 0 || found.output < plan->output_count, error, ES_ERR_INVALID,
               "labels section: has %llu labels, and no output has as many elements",
               ES_U(found.count));
    *labels = found;
    return ES_OK;
}
