/* Parts of the profiler that need no board: a histogram of the numbers on stdin, and the answer of a Raspberry
 * Pi's firmware, which is what stdin holds. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "histogram.h"
#include "pmic.h"

static char answer[4096];

static int tell_histogram(void)
{
    static es_histogram histogram;
    static const double shares[] = {0, 0.1, 0.5, 0.9, 0.99};
    es_profile_bar bars[ES_PROFILE_BARS];
    uint64_t ns;
    while (scanf("%" SCNu64, &ns) == 1) {
        es_histogram_add(&histogram, ns);
    }
    printf("{\"at\": [");
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        printf("%s%.6f", i > 0 ? ", " : "", es_histogram_at(&histogram, shares[i]));
    }
    printf("], \"worst\": %" PRIu64 ", \"bars\": [", histogram.worst);
    const size_t count = es_histogram_bars(&histogram, bars);
    for (size_t i = 0; i < count; i++) {
        printf("%s[%.6f, %.6f, %" PRIu64 "]", i > 0 ? ", " : "", bars[i].begin_ns, bars[i].end_ns, bars[i].runs);
    }
    printf("]}\n");
    return 0;
}

static int tell_power(void)
{
    char names[4][ES_RAIL_BYTES];
    double watts;
    const size_t size = fread(answer, 1, sizeof answer - 1, stdin);
    answer[size] = '\0';
    const size_t count = es_pmic_parse(answer, &watts, names, 4);
    printf("{\"watts\": %.9f, \"count\": %zu}\n", watts, count);
    return 0;
}

int main(int count, char **arguments)
{
    return count == 2 && strcmp(arguments[1], "pmic") == 0 ? tell_power() : tell_histogram();
}
