/* A thread that reads the meter, temperature and clock beside the model. */
#ifndef ES_SAMPLER_H
#define ES_SAMPLER_H

#include <pthread.h>
#include <stdatomic.h>

#include "meter.h"

enum { ES_MAX_SAMPLES = 1 << 16, ES_MAX_STATES = 1 << 12 };

/* Energy since the sampler began, at a time. */
typedef struct es_sample {
    uint64_t ns;
    double joules;
} es_sample;

typedef struct es_state_sample {
    uint64_t ns;
    double temperature_c;
    double clock_hz;
} es_state_sample;

typedef struct es_sampler {
    const char *root;
    es_meter *meter; /* NULL: there is none */
    uint64_t period_ns;
    uint64_t state_period_ns;
    uint64_t next_state_ns;
    atomic_bool stop;
    pthread_t thread;
    size_t count;
    size_t state_count;
    es_sample samples[ES_MAX_SAMPLES];
    es_state_sample states[ES_MAX_STATES];
} es_sampler;

/* Takes the first sample and starts the thread. `seconds`: how long it will sample at most, so that it has room.
 * Returns ES_OK or ES_ERR_THREAD. */
es_status es_sampler_start(es_sampler *sampler, const char *root, es_meter *meter, double seconds,
                           es_error *error);

/* Ends the thread; then the samples may be read. */
void es_sampler_stop(es_sampler *sampler);

/* The energy at a time, between the samples before and behind it; NaN where there are none. */
double es_sampler_joules(const es_sampler *sampler, uint64_t ns);

/* Samples of the meter in a time. */
uint32_t es_sampler_count(const es_sampler *sampler, uint64_t begin_ns, uint64_t end_ns);

/* Means over a time; NaN without samples. */
void es_sampler_state(const es_sampler *sampler, uint64_t begin_ns, uint64_t end_ns, double *temperature_c,
                      double *clock_hz);

#endif
