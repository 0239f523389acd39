/* edgesparse profiler: runs a model for a while, and tells latency, energy, temperature and clock.
 *
 * Part of the same library as edgesparse.h. Latency needs nothing; energy needs a meter that the system
 * shows, and is unavailable without one. */
#ifndef EDGESPARSE_PROFILE_H
#define EDGESPARSE_PROFILE_H

#include <stdbool.h>

#include "edgesparse.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ES_PROFILE_SLOTS = 60,   /* of the time that is measured */
    ES_PROFILE_BARS = 48,    /* of the histogram */
    ES_PROFILE_WINDOWS = 12, /* three idle ones, six busy ones, three idle ones */
    ES_PROFILE_BUSY = 6,
    ES_MAX_RAILS = 16,
    ES_RAIL_BYTES = 48
};

/* Memory of the process; NaN where the system does not tell. */
typedef struct es_resident {
    double peak_bytes;      /* of the resident set */
    double mapped_bytes;    /* resident pages of files */
    double anonymous_bytes; /* resident, of no file */
} es_resident;

/* A value, and the interval that holds the true one with a confidence of 95 %. NaN is unknown. */
typedef struct es_figure {
    double value;
    double low;
    double high;
} es_figure;

/* A bar of the histogram: runs that took at least begin_ns and less than end_ns. */
typedef struct es_profile_bar {
    double begin_ns;
    double end_ns;
    uint64_t runs;
} es_profile_bar;

/* A sixtieth of the time. NaN where there were no runs or nothing could be read. */
typedef struct es_profile_slot {
    uint64_t runs;
    double p10_ns;
    double median_ns;
    double p90_ns;
    double worst_ns;
    double watts;
    double temperature_c;
    double clock_hz;
} es_profile_slot;

/* A time for which energy was measured. */
typedef struct es_profile_window {
    uint32_t busy; /* 1: the model ran */
    uint32_t samples; /* that the meter gave */
    uint64_t begin_ns; /* of CLOCK_MONOTONIC */
    uint64_t end_ns;
    uint64_t begin_unix_ns; /* of the wall clock */
    uint64_t end_unix_ns;
    uint64_t runs;
    double joules; /* NaN: not known */
    double doubt_j; /* what the steps that the meter counts in leave open */
} es_profile_window;

/* The device at one moment. */
typedef struct es_device_state {
    double temperature_c; /* of the hottest sensor; NaN */
    double clock_hz;      /* of the fastest core; NaN */
    char governor[24];    /* of core 0; "" */
    int64_t throttled; /* bits of the firmware of a Raspberry Pi, vcgencmd get_throttled; -1: not known */
} es_device_state;

/* A supply that the meter reads. */
typedef struct es_rail {
    char name[ES_RAIL_BYTES];
    char reads[24];   /* "energy", "power", or "voltage and current" */
    double shunt_ohm; /* that the driver was told, by which all readings scale; NaN */
} es_rail;

typedef struct es_profile {
    double seconds;   /* that the model ran */
    uint64_t runs;    /* the first one and one after it left out */
    uint64_t missed;  /* of those that were due, by the rate: late, for the next was due, or not done at all */
    double first_ns;  /* the session's next run */
    es_figure p10_ns; /* of a run; within 0.2 %; NaN with fewer runs than es_profile_least_runs says */
    es_figure median_ns;
    es_figure p90_ns;
    es_figure p99_ns;
    double worst_ns;
    double burst_ns;     /* the median of the first tenth of the time */
    double sustained_ns; /* of the last tenth */
    es_resident resident;
    uint64_t minor_faults; /* page faults of the process */
    uint64_t major_faults;
    uint64_t bar_count;
    es_profile_bar bars[ES_PROFILE_BARS];
    es_profile_slot slots[ES_PROFILE_SLOTS];
    es_device_state before;
    es_device_state after;
    char meter[ES_RAIL_BYTES]; /* its name; "" without one */
    char energy_how[ES_ERROR_BYTES]; /* how energy was measured, or why it was not */
    uint64_t rail_count;
    es_rail rails[ES_MAX_RAILS];
    uint64_t window_count;
    es_profile_window windows[ES_PROFILE_WINDOWS];
    es_figure idle_w; /* while the model does not run */
    es_figure mean_w; /* while it runs */
    es_figure gross_j; /* of one run */
    es_figure net_j;   /* of one run, without idle_w */
} es_profile;

typedef struct es_profile_options {
    double seconds;     /* that the model runs: more than 0, at most 1e6 */
    double rate_hz;     /* how often a run is due; 0: one right after the other */
    const char *meter;  /* "auto", "none", or a meter: pmic, jetson, hwmon, hwmon:NAME, rapl or battery; with
                           "external" the joules of the windows are for the caller to fill in */
    const char *root;   /* where /sys, /proc and /dev are; NULL: in / */
    double sample_hz;   /* how often the meter is read; 0: as often as it has something new */
    double shortest_window_s; /* a shorter one makes no figure; 0: 10 s, as MLPerf has it */
    /* Called about twice a second with the share of the time that is over; false ends the measurement. May be
     * NULL. */
    bool (*go_on)(void *context, double share);
    void *context;
} es_profile_options;

/* Runs the model for so many seconds, and with a meter stands idle a sixth of it before and after.
 * profile: written on success only.
 * Returns ES_OK; ES_ERR_ARGUMENT if an option is none or the named meter is not there, with the reason;
 * ES_ERR_BUSY if go_on ended it; ES_ERR_NO_MEMORY; ES_ERR_THREAD; and what es_session_run returns. */
ES_API es_status es_session_measure(es_session *session, const es_input *inputs, size_t input_count,
                                    const es_output *outputs, size_t output_count,
                                    const es_profile_options *options, es_profile *profile,
                                    es_error *error);

/* The fewest runs that tell the time which `share` of them do not exceed: with one fewer it would be that of the
 * shortest or longest of them by itself. 100 for 0.99, 10 for 0.1 and 0.9; the median of one run is its time. */
ES_API uint64_t es_profile_least_runs(double share);

/* Reads the memory of this process. */
ES_API void es_resident_read(es_resident *resident);

/* Computes idle_w, mean_w, gross_j, net_j and energy_how from the windows of a profile, after the joules and
 * samples of the windows were filled in from a meter elsewhere. */
ES_API void es_profile_weigh(es_profile *profile, double shortest_window_s);

#ifdef __cplusplus
}
#endif

#endif
