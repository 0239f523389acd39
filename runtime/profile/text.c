#define _GNU_SOURCE
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Leaves printable ASCII: what files and callers hold may be anything, and may have been cut in the middle of a
 * character. */
static void make_plain(char *text)
{
    for (; *text != '\0'; text++) {
        *text = *text >= 0x20 && *text < 0x7f ? *text : '?';
    }
}

void es_text(char line[ES_ERROR_BYTES], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, ES_ERROR_BYTES, format, arguments);
    va_end(arguments);
}

es_status es_text_fail(es_error *error, es_status status, const char *format, ...)
{
    if (error != NULL) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        make_plain(error->message);
    }
    return status;
}

void es_text_copy(char *to, size_t size_bytes, const char *from)
{
    snprintf(to, size_bytes, "%s", from);
    make_plain(to);
}

bool es_text_has(const char *text, const char *word)
{
    return strcasestr(text, word) != NULL;
}
