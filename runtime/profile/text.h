/* Lines of text, and how a function of the profiler fails: a status, and a line in the caller's es_error. */
#ifndef ES_TEXT_H
#define ES_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "edgesparse.h"

/* Forwards a failure. */
#define ES_TRY(call)                                  \
    do {                                              \
        const es_status es_try_status = (call);       \
        if (es_try_status != ES_OK) {                 \
            return es_try_status;                     \
        }                                             \
    } while (0)

/* Rejects: ES_REQUIRE(condition, error, status, format, ...). */
#define ES_REQUIRE(condition, error, status, ...)             \
    do {                                                      \
        if (!(condition)) {                                   \
            es_text_fail((error), (status), __VA_ARGS__);     \
            return (status);                                  \
        }                                                     \
    } while (0)

/* Formats what fits; the rest is lost. */
__attribute__((format(printf, 2, 3))) void es_text(char line[ES_ERROR_BYTES], const char *format, ...);

/* Writes the message of an error, in printable ASCII, unless it is NULL, and returns `status`. */
__attribute__((format(printf, 3, 4))) es_status es_text_fail(es_error *error, es_status status,
                                                             const char *format, ...);

/* Copies what fits, in printable ASCII. */
void es_text_copy(char *to, size_t size_bytes, const char *from);

/* Whether a text holds another, in any case. */
bool es_text_has(const char *text, const char *word);

#endif
