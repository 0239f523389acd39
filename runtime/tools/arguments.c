#include "arguments.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fatal.h"

/* Reads the digits at *text, and moves it behind them; false if there are none, or too many. */
static bool read_number(const char **text, unsigned long *number)
{
    char *end;
    errno = 0;
    if (**text < '0' || **text > '9') {
        return false;
    }
    *number = strtoul(*text, &end, 10);
    *text = end;
    return errno == 0;
}

static bool read_range(const char **text, unsigned long *first, unsigned long *last)
{
    if (!read_number(text, first)) {
        return false;
    }
    *last = *first;
    if (**text != '-') {
        return true;
    }
    (*text)++;
    return read_number(text, last) && *last >= *first;
}

unsigned long parse_number(const char *text, const char *option, unsigned long minimum,
                           unsigned long maximum)
{
    const char *end = text;
    unsigned long number;
    if (!read_number(&end, &number) || *end != '\0' || number < minimum || number > maximum) {
        bad_usage("%s: got '%s', expected a number from %lu to %lu", option, text, minimum, maximum);
    }
    return number;
}

size_t parse_list(const char *text, const char *option, uint32_t *numbers, size_t limit)
{
    const char *end = text;
    size_t count = 0;
    bool more = true;
    while (more) {
        unsigned long first;
        unsigned long last;
        if (!read_range(&end, &first, &last) || last >= limit || last - first >= limit - count ||
            (*end != ',' && *end != '\0')) {
            bad_usage("%s: got '%s', expected numbers below %zu, such as 4-7 or 0,2,3", option, text,
                      limit);
        }
        for (; first <= last; first++) {
            numbers[count++] = (uint32_t)first;
        }
        more = *end++ == ',';
    }
    return count;
}

double parse_amount(const char *text, const char *option, const char *unit, double maximum)
{
    char *end;
    const double amount = strtod(text, &end);
    if (*text < '0' || *text > '9' || (*end != '\0' && strcmp(end, unit) != 0) || !(amount > 0) ||
        amount > maximum) {
        bad_usage("%s: got '%s', expected a number above 0 and up to %g, such as 10%s", option, text, maximum,
                  unit);
    }
    return amount;
}
