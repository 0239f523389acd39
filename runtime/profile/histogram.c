#include "histogram.h"

#include <math.h>
#include <string.h>

void es_histogram_clear(es_histogram *histogram)
{
    memset(histogram, 0, sizeof *histogram);
}

/* The bucket of a time: its octave, and the bits behind its first. */
static uint32_t bucket_of(uint64_t ns)
{
    const uint32_t octave = ns > 1 ? 63u - (uint32_t)__builtin_clzll(ns) : 0;
    if (octave < ES_BUCKET_BITS + 1 && octave < ES_FIRST_OCTAVE) {
        return 0;
    }
    if (octave >= ES_FIRST_OCTAVE + ES_OCTAVES) {
        return ES_BUCKETS - 1;
    }
    const uint64_t part = octave >= ES_BUCKET_BITS ? ns >> (octave - ES_BUCKET_BITS) : ns << (ES_BUCKET_BITS - octave);
    return (octave - ES_FIRST_OCTAVE) << ES_BUCKET_BITS | ((uint32_t)part & ((1u << ES_BUCKET_BITS) - 1));
}

/* The shortest time of a bucket. */
static double begin_of(uint32_t bucket)
{
    const uint32_t octave = (bucket >> ES_BUCKET_BITS) + ES_FIRST_OCTAVE;
    const uint32_t part = bucket & ((1u << ES_BUCKET_BITS) - 1);
    return (double)(1ull << octave) * (1 + (double)part / (1u << ES_BUCKET_BITS));
}

void es_histogram_add(es_histogram *histogram, uint64_t ns)
{
    histogram->buckets[bucket_of(ns)]++;
    histogram->count++;
    histogram->worst = ns > histogram->worst ? ns : histogram->worst;
}

uint64_t es_profile_least_runs(double share)
{
    const double tail = share < 0.5 ? share : 1 - share;
    return tail > 0 && tail < 0.5 ? (uint64_t)(1 / tail + 0.5) : 1;
}

double es_histogram_at(const es_histogram *histogram, double share)
{
    if (histogram->count < es_profile_least_runs(share)) {
        return NAN;
    }
    const double exact = share * (double)histogram->count;
    uint64_t rank = (uint64_t)exact;
    rank += (double)rank < exact;
    rank = rank > 0 ? rank : 1;
    uint64_t seen = 0;
    uint32_t bucket = 0;
    while ((seen += histogram->buckets[bucket]) < rank) {
        bucket++;
    }
    const double middle = (begin_of(bucket) + begin_of(bucket + 1)) / 2;
    return middle < (double)histogram->worst ? middle : (double)histogram->worst;
}

size_t es_histogram_bars(const es_histogram *histogram, es_profile_bar bars[ES_PROFILE_BARS])
{
    if (histogram->count == 0) {
        return 0;
    }
    uint32_t first = 0;
    uint32_t last = 0;
    const uint64_t most = histogram->count - histogram->count / 200; /* 99.5 % have bars of their own */
    uint64_t seen = 0;
    for (uint32_t bucket = 0; bucket < ES_BUCKETS && seen < most; bucket++) {
        first = seen == 0 ? bucket : first;
        seen += histogram->buckets[bucket];
        last = bucket;
    }
    const uint32_t width = (last - first) / (ES_PROFILE_BARS - 1) + 1; /* in buckets */
    uint32_t bucket = first;
    size_t count = 0;
    while (count < ES_PROFILE_BARS && bucket <= last) {
        es_profile_bar *const bar = &bars[count++];
        bar->begin_ns = begin_of(bucket);
        const uint32_t end = bucket + width < ES_BUCKETS ? bucket + width : ES_BUCKETS;
        bar->end_ns = begin_of(end);
        for (bar->runs = 0; bucket < end; bucket++) {
            bar->runs += histogram->buckets[bucket];
        }
    }
    if (bucket < ES_BUCKETS) {
        es_profile_bar tail = {.begin_ns = begin_of(bucket), .end_ns = (double)histogram->worst + 1};
        for (; bucket < ES_BUCKETS; bucket++) {
            tail.runs += histogram->buckets[bucket];
        }
        if (tail.runs > 0 && count < ES_PROFILE_BARS) {
            bars[count++] = tail;
        } else if (tail.runs > 0) {
            bars[count - 1].end_ns = tail.end_ns;
            bars[count - 1].runs += tail.runs;
        }
    }
    return count;
}
