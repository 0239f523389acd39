/* How esrun gives up: one line on stderr, exit status 1 (bad input) or 2 (bad usage). */
#ifndef FATAL_H
#define FATAL_H

#include <stddef.h>

__attribute__((noreturn, format(printf, 1, 2))) void fatal(const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2))) void bad_usage(const char *format, ...);

/* Zeroed memory for count elements, never NULL; lives until the program ends. */
void *allocate(size_t count, size_t size_bytes);

#endif
