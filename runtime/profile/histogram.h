/* How long runs took, in 256 buckets for each doubling: as many runs as there are, in one piece of memory. */
#ifndef ES_HISTOGRAM_H
#define ES_HISTOGRAM_H

#include "edgesparse_profile.h"

enum {
    ES_BUCKET_BITS = 8, /* of an octave */
    ES_FIRST_OCTAVE = 6,
    ES_OCTAVES = 36, /* 64 ns to an hour */
    ES_BUCKETS = ES_OCTAVES << ES_BUCKET_BITS
};

typedef struct es_histogram {
    uint64_t count;
    uint64_t worst;
    uint32_t buckets[ES_BUCKETS];
} es_histogram;

void es_histogram_clear(es_histogram *histogram);
void es_histogram_add(es_histogram *histogram, uint64_t ns);

/* The time that `share` of the runs do not exceed, by the nearest rank, within 0.2 %; NaN with fewer runs than
 * es_profile_least_runs says. */
double es_histogram_at(const es_histogram *histogram, double share);

/* Bars of equal width on a logarithmic scale; the last holds all that is longer. Returns how many. */
size_t es_histogram_bars(const es_histogram *histogram, es_profile_bar bars[ES_PROFILE_BARS]);

#endif
