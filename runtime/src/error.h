/* How a function of the runtime fails: a status, and a line of text in the caller's es_error. */
#ifndef ES_ERROR_H
#define ES_ERROR_H

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
#define ES_REQUIRE(condition, error, status, ...)     \
    do {                                              \
        if (!(condition)) {                           \
            es_fail((error), (status), __VA_ARGS__);  \
            return (status);                          \
        }                                             \
    } while (0)

/* An integer as `%llu` wants it. */
#define ES_U(value) ((unsigned long long)(value))

/* An integer as `%lld` wants it. */
#define ES_I(value) ((long long)(value))

/* Writes the message and returns `status`. Knows `%s`, `%llu`, `%lld` and `%g` (of six digits, always
 * with an exponent if it is not an integer below a million). Where the text does not fit, long strings
 * lose their middle; control characters become '?', since names in a file may hold anything. */
__attribute__((format(printf, 3, 4))) es_status es_fail(es_error *error, es_status status,
                                                        const char *format, ...);

#endif
