#include "fatal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void print_line(const char *format, va_list arguments)
{
    fputs("esrun: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void fatal(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(format, arguments);
    va_end(arguments);
    exit(1);
}

void bad_usage(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_line(format, arguments);
    va_end(arguments);
    exit(2);
}

void *allocate(size_t count, size_t size_bytes)
{
    void *const memory = calloc(count > 0 ? count : 1, size_bytes > 0 ? size_bytes : 1);
    if (memory == NULL) {
        fatal("no memory for %zu times %zu bytes", count, size_bytes);
    }
    return memory;
}
