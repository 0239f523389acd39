#define _DEFAULT_SOURCE
#include "sampler.h"

#include <math.h>
#include <signal.h>

#include "clock.h"
#include "state.h"

enum { STATES_A_RUN = 240 };

static void sample(es_sampler *sampler)
{
    const uint64_t now_ns = es_now_ns();
    if (sampler->meter != NULL && sampler->count < ES_MAX_SAMPLES && es_meter_read(sampler->meter)) {
        sampler->samples[sampler->count++] =
            (es_sample){.ns = sampler->meter->last_ns, .joules = sampler->meter->joules};
    }
    if (now_ns >= sampler->next_state_ns && sampler->state_count < ES_MAX_STATES) {
        es_state_sample *const state = &sampler->states[sampler->state_count++];
        state->ns = now_ns;
        es_state_read_now(sampler->root, &state->temperature_c, &state->clock_hz);
        sampler->next_state_ns = now_ns + sampler->state_period_ns;
    }
}

static void *sampler_main(void *argument)
{
    es_sampler *const sampler = argument;
    uint64_t next_ns = es_now_ns();
    while (!atomic_load(&sampler->stop)) {
        next_ns += sampler->period_ns;
        const uint64_t now_ns = es_now_ns();
        next_ns = next_ns < now_ns ? now_ns : next_ns; /* what was slept through is not made up for */
        es_sleep_until(next_ns);
        sample(sampler);
    }
    return NULL;
}

es_status es_sampler_start(es_sampler *sampler, const char *root, es_meter *meter, double seconds,
                           es_error *error)
{
    const double least_s = seconds * 2 / (double)ES_MAX_SAMPLES;
    const double wanted_s = 1 / (meter != NULL ? meter->hz : 4);
    const double state_s = seconds / (double)STATES_A_RUN;
    sampler->root = root;
    sampler->meter = meter;
    sampler->period_ns = (uint64_t)(1e9 * (wanted_s > least_s ? wanted_s : least_s));
    sampler->state_period_ns = (uint64_t)(1e9 * (state_s > 0.05 ? state_s : 0.05));
    sampler->count = sampler->state_count = 0;
    sampler->next_state_ns = 0;
    atomic_init(&sampler->stop, false);
    sample(sampler);
    sigset_t all;
    sigset_t previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    const int failure = pthread_create(&sampler->thread, NULL, sampler_main, sampler);
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    ES_REQUIRE(failure == 0, error, ES_ERR_THREAD, "the thread that reads meters cannot be started (error %d)",
               failure);
    return ES_OK;
}

void es_sampler_stop(es_sampler *sampler)
{
    atomic_store(&sampler->stop, true);
    pthread_join(sampler->thread, NULL);
}

/* How many samples are not behind a time. */
static size_t count_until(const es_sampler *sampler, uint64_t ns)
{
    size_t low = 0;
    size_t high = sampler->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (sampler->samples[middle].ns <= ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

double es_sampler_joules(const es_sampler *sampler, uint64_t ns)
{
    const size_t behind = count_until(sampler, ns);
    if (behind == 0 || behind == sampler->count) {
        return NAN;
    }
    const es_sample *const left = &sampler->samples[behind - 1];
    const es_sample *const right = left + 1;
    const double share = (double)(ns - left->ns) / (double)(right->ns - left->ns);
    return left->joules + share * (right->joules - left->joules);
}

uint32_t es_sampler_count(const es_sampler *sampler, uint64_t begin_ns, uint64_t end_ns)
{
    return (uint32_t)(count_until(sampler, end_ns) - count_until(sampler, begin_ns));
}

void es_sampler_state(const es_sampler *sampler, uint64_t begin_ns, uint64_t end_ns, double *temperature_c,
                      double *clock_hz)
{
    double sums[2] = {0, 0};
    size_t counts[2] = {0, 0};
    for (size_t i = 0; i < sampler->state_count; i++) {
        const es_state_sample *const state = &sampler->states[i];
        const double values[] = {state->temperature_c, state->clock_hz};
        for (size_t j = 0; j < 2 && state->ns >= begin_ns && state->ns < end_ns; j++) {
            if (!isnan(values[j])) {
                sums[j] += values[j];
                counts[j]++;
            }
        }
    }
    *temperature_c = counts[0] > 0 ? sums[0] / (double)counts[0] : NAN;
    *clock_hz = counts[1] > 0 ? sums[1] / (double)counts[1] : NAN;
}
