/* UTF-8 as Unicode defines it: shortest form, no surrogates, nothing above U+10FFFF. */
#ifndef ES_UTF8_H
#define ES_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the bytes are valid UTF-8 without NUL. */
bool es_utf8_is_text(const uint8_t *bytes, size_t size);

#endif
