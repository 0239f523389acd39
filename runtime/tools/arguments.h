/* What the values of options are. */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include <stddef.h>
#include <stdint.h>

/* A number from `minimum` to `maximum`; anything else is bad usage of the option. */
unsigned long parse_number(const char *text, const char *option, unsigned long minimum,
                           unsigned long maximum);

/* A number above 0, with a point or without, and maybe its unit behind it; anything else is bad usage. */
double parse_amount(const char *text, const char *option, const char *unit, double maximum);

/* A list of numbers and ranges below `limit`, such as 0,4-7; anything else is bad usage of the option.
 * Stores at most `limit` numbers, and returns how many. */
size_t parse_list(const char *text, const char *option, uint32_t *numbers, size_t limit);

#endif
