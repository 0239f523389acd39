#include "strings.h"

#include <string.h>

#include "utf8.h"

static uint32_t start_of(const uint8_t *starts, size_t number)
{
    uint32_t start;
    memcpy(&start, starts + number * sizeof start, sizeof start);
    return start;
}

/* Where string `number` lies; its NUL, which the size does not count, is the last byte before the next. */
static es_status find(const uint8_t *starts, size_t count, es_bytes blob, size_t number,
                      es_bytes *text, es_error *error)
{
    const size_t begin = start_of(starts, number);
    const size_t end = number + 1 < count ? start_of(starts, number + 1) : blob.size;
    ES_REQUIRE(begin < end && end <= blob.size && (number > 0 || begin == 0), error, ES_ERR_INVALID,
               "plan: string %llu is from byte %llu to %llu, which is not inside the blob",
               ES_U(number), ES_U(begin), ES_U(end));
    *text = (es_bytes){.data = blob.data + begin, .size = end - begin - 1};
    ES_REQUIRE(text->data[text->size] == '\0', error, ES_ERR_INVALID,
               "plan: string %llu does not end with NUL", ES_U(number));
    ES_REQUIRE(text->size <= ES_MAX_STRING_BYTES, error, ES_ERR_LIMIT,
               "plan: string %llu has %llu bytes, at most %llu are allowed", ES_U(number),
               ES_U(text->size), ES_U(ES_MAX_STRING_BYTES));
    return ES_OK;
}

/* Whether two strings, each followed by NUL and without NUL inside, ascend. */
static bool ascend(es_bytes left, es_bytes right)
{
    const size_t common = left.size < right.size ? left.size : right.size;
    return memcmp(left.data, right.data, common + 1) < 0;
}

es_status es_strings_read(const uint8_t *starts, size_t count, es_bytes blob, es_strings *strings,
                          es_error *error)
{
    ES_REQUIRE(count > 0 || blob.size == 0, error, ES_ERR_INVALID,
               "plan: has %llu bytes of no string", ES_U(blob.size));
    es_bytes before = {.size = 0};
    for (size_t i = 0; i < count; i++) {
        es_bytes text;
        ES_TRY(find(starts, count, blob, i, &text, error));
        ES_REQUIRE(es_utf8_is_text(text.data, text.size), error, ES_ERR_INVALID,
                   "plan: string %llu is not UTF-8 text", ES_U(i));
        ES_REQUIRE(i == 0 || ascend(before, text), error, ES_ERR_INVALID,
                   "plan: string %llu is not behind the one before it in order", ES_U(i));
        before = text;
    }
    *strings = (es_strings){.starts = starts, .blob = (const char *)blob.data, .count = count};
    return ES_OK;
}

const char *es_strings_at(const es_strings *strings, uint32_t number)
{
    return number < strings->count ? strings->blob + start_of(strings->starts, number) : NULL;
}
