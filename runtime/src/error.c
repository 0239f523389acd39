#include "error.h"

#include <float.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { SHORTEST = 16 /* bytes that are left of a string when its middle is cut out */ };

typedef struct text {
    char *data;
    size_t capacity; /* without the terminating NUL */
    size_t size;     /* more than the capacity where something is lost */
    size_t longest;  /* bytes of a string; one that has more loses its middle */
} text;

static void put(text *out, char character)
{
    if (out->size < out->capacity) {
        const unsigned char code = (unsigned char)character;
        out->data[out->size] = (code < 0x20 || code == 0x7f) ? '?' : character;
    }
    out->size++;
}

static void put_bytes(text *out, const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        put(out, bytes[i]);
    }
}

/* Whether a byte of UTF-8 belongs to the character before it. */
static bool continues(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

static void put_string(text *out, const char *string)
{
    const size_t size = strlen(string);
    if (size <= out->longest) {
        put_bytes(out, string, size);
        return;
    }
    size_t head = (out->longest - 3) / 2;
    size_t tail = size - head;
    while (head > 0 && continues(string[head])) {
        head--;
    }
    while (tail < size && continues(string[tail])) {
        tail++;
    }
    put_bytes(out, string, head);
    put_bytes(out, "...", 3);
    put_bytes(out, string + tail, size - tail);
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

static void put_signed(text *out, long long number)
{
    if (number < 0) {
        put(out, '-');
    }
    put_number(out, number < 0 ? 0 - (unsigned long long)number : (unsigned long long)number);
}

/* Six digits are enough to recognize a number; the last may be off by one. */
static void put_real(text *out, double number)
{
    if (number < 0) {
        put(out, '-');
    }
    double rest = number < 0 ? -number : number;
    if (!(rest <= DBL_MAX)) {
        put_string(out, number != number ? "NaN" : "infinity");
        return;
    }
    if (rest < 1e6 && rest == (double)(uint32_t)rest) {
        put_number(out, (uint32_t)rest);
        return;
    }
    int exponent = 0;
    for (; rest >= 10; exponent++) {
        rest /= 10;
    }
    for (; rest < 1; exponent--) {
        rest *= 10;
    }
    const uint32_t digits = (uint32_t)(rest * 1e5 + 0.5);
    put_number(out, digits / 100000);
    put(out, '.');
    for (uint32_t scale = 10000; scale > 0; scale /= 10) {
        put(out, (char)('0' + digits / scale % 10));
    }
    put(out, 'e');
    put_signed(out, exponent);
}

/* Drops a UTF-8 sequence that the end of the buffer cut in two. */
static void trim_partial_character(text *out)
{
    size_t start = out->size;
    while (start > 0 && continues(out->data[start - 1])) {
        start--;
    }
    if (start > 0 && ((unsigned char)out->data[start - 1] & 0xC0) == 0xC0) {
        out->size = start - 1;
    }
}

static void put_message(text *out, const char *format, va_list arguments)
{
    out->size = 0;
    for (const char *at = format; *at != '\0'; at++) {
        if (strncmp(at, "%s", 2) == 0) {
            put_string(out, va_arg(arguments, const char *));
            at += 1;
        } else if (strncmp(at, "%llu", 4) == 0) {
            put_number(out, va_arg(arguments, unsigned long long));
            at += 3;
        } else if (strncmp(at, "%lld", 4) == 0) {
            put_signed(out, va_arg(arguments, long long));
            at += 3;
        } else if (strncmp(at, "%g", 2) == 0) {
            put_real(out, va_arg(arguments, double));
            at += 1;
        } else {
            put(out, *at);
        }
    }
}

es_status es_fail(es_error *error, es_status status, const char *format, ...)
{
    if (error == NULL) {
        return status;
    }
    text out = {.data = error->message, .capacity = sizeof error->message - 1};
    out.longest = out.capacity;
    va_list arguments;
    va_start(arguments, format);
    for (;;) {
        va_list again;
        va_copy(again, arguments);
        put_message(&out, format, again);
        va_end(again);
        if (out.size <= out.capacity || out.longest == SHORTEST) {
            break;
        }
        out.longest = out.longest * 7 / 8 > SHORTEST ? out.longest * 7 / 8 : SHORTEST;
    }
    va_end(arguments);
    if (out.size > out.capacity) {
        out.size = out.capacity;
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
