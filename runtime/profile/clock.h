/* A clock that never goes back, and waiting for it. */
#ifndef ES_CLOCK_H
#define ES_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t es_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t es_now_ns(void)
{
    return es_clock_ns(CLOCK_MONOTONIC);
}

/* Returns when es_now_ns() has reached that time, or earlier when a signal comes. */
static inline void es_sleep_until(uint64_t ns)
{
    const struct timespec when = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
}

#endif
