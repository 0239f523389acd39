#include "error.h"

#include <stdarg.h>
#include <string.h>

typedef struct text {
    char *data;
    size_t capacity; /* without the terminating NUL */
    size_t size;
} text;

static void put(text *out, char character)
{
    if (out->size < out->capacity) {
        const unsigned char code = (unsigned char)character;
        out->data[out->size++] = (code < 0x20 || code == 0x7f) ? '?' : character;
    }
}

static void put_string(text *out, const char *string)
{
    for (; *string != '\0'; string++) {
        put(out, *string);
    }
}

static void put_number(text *out, unsigned long long number)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    while (count > 0) {
        put(out, digits[--count]);
    }
}

/* Drops a UTF-8 sequence that the end of the buffer cut in two. */
static void trim_partial_character(text *out)
{
    size_t start = out->size;
    while (start > 0 && ((unsigned char)out->data[start - 1] & 0xC0) == 0x80) {
        start--;
    }
    if (start > 0 && ((unsigned char)out->data[start - 1] & 0xC0) == 0xC0) {
        out->size = start - 1;
    }
}

es_status es_fail(es_error *error, es_status status, const char *format, ...)
{
    if (error == NULL) {
        return status;
    }
    text out = {.data = error->message, .capacity = sizeof error->message - 1};
    va_list arguments;
    va_start(arguments, format);
    for (const char *at = format; *at != '\0'; at++) {
        if (strncmp(at, "%s", 2) == 0) {
            put_string(&out, va_arg(arguments, const char *));
            at += 1;
        } else if (strncmp(at, "%llu", 4) == 0) {
            put_number(&out, va_arg(arguments, unsigned long long));
            at += 3;
        } else {
            put(&out, *at);
        }
    }
    va_end(arguments);
    if (out.size == out.capacity) {
        trim_partial_character(&out);
    }
    out.data[out.size] = '\0';
    return status;
}

const char *es_status_name(es_status status)
{
    switch (status) {
#define CASE(name, value, message) \
    case name:                     \
        return #name;
        ES_STATUS_LIST(CASE)
#undef CASE
    }
    return "ES_ERR_UNKNOWN";
}

const char *es_status_message(es_status status)
{
    switch (status) {
#define CASE(name, value, message) \
    case name:                     \
        return message;
        ES_STATUS_LIST(CASE)
#undef CASE
    }
    return "unknown status";
}
