#define _DEFAULT_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "edgesparse_profile.h"
#include "energy.h"
#include "histogram.h"
#include "clock.h"
#include "sampler.h"
#include "state.h"

enum { IDLE = (ES_PROFILE_WINDOWS - ES_PROFILE_BUSY) / 2 /* windows before, and as many behind */ };

static const uint64_t NEWS_NS = 500000000; /* between calls of go_on */
static const char ENDED[] = "the measurement was ended";
static const char EXTERNAL[] = "external";
static const double MOST_SECONDS = 1e6;
static const double MOST_HZ = 1e6;
static const double MOST_SAMPLE_HZ = 1e3;

/* The arguments of a run. */
typedef struct call {
    es_session *session;
    const es_input *inputs;
    size_t input_count;
    const es_output *outputs;
    size_t output_count;
} call;

/* All that a measurement needs; too much for a stack. */
typedef struct recorder {
    es_histogram all;
    es_histogram slot;
    es_histogram window;
    es_histogram first; /* of the first tenth of the time */
    es_histogram last;
    double at[4][ES_PROFILE_BUSY]; /* p10, median, p90 and p99 of each window */
    size_t windows;                /* of them, those that are over */
    uint64_t slot_begin_ns[ES_PROFILE_SLOTS + 1];
    uint64_t begin_ns;
    uint64_t next_news_ns;
    es_meter meter;
    es_sampler sampler;
    es_profile profile;
} recorder;

static const double shares[] = {0.1, 0.5, 0.9, 0.99};

static es_status run_once(const call *run, uint64_t *ns, es_error *error)
{
    const uint64_t begin_ns = es_now_ns();
    const es_status status =
        es_session_run(run->session, run->inputs, run->input_count, run->outputs, run->output_count, error);
    *ns = es_now_ns() - begin_ns;
    return status;
}

static void begin_window(es_profile *profile, bool busy, uint64_t now_ns)
{
    profile->windows[profile->window_count] = (es_profile_window){
        .busy = busy, .begin_ns = now_ns, .begin_unix_ns = es_clock_ns(CLOCK_REALTIME), .joules = NAN};
}

static void end_window(es_profile *profile, uint64_t now_ns)
{
    es_profile_window *const window = &profile->windows[profile->window_count++];
    window->end_ns = now_ns;
    window->end_unix_ns = es_clock_ns(CLOCK_REALTIME);
}

/* Tells now and then the share of the time that is over; false if the measurement is to end. */
static bool goes_on(recorder *record, const es_profile_options *options, double share)
{
    const uint64_t now_ns = es_now_ns();
    if (options->go_on == NULL || now_ns < record->next_news_ns) {
        return true;
    }
    record->next_news_ns = now_ns + NEWS_NS;
    return options->go_on(options->context, share);
}

/* Waits until a time; false if the measurement is to end before. */
static bool wait_until(recorder *record, const es_profile_options *options, double share, uint64_t ns)
{
    for (uint64_t now_ns = es_now_ns(); now_ns < ns; now_ns = es_now_ns()) {
        if (!goes_on(record, options, share)) {
            return false;
        }
        es_sleep_until(ns - now_ns < NEWS_NS ? ns : now_ns + NEWS_NS);
    }
    return true;
}

/* Waits while nothing runs, in windows. */
static es_status stand_idle(recorder *record, const es_profile_options *options, double share, es_error *error)
{
    const double window_s = options->seconds / (double)(ES_PROFILE_BUSY * IDLE);
    uint64_t now_ns = es_now_ns();
    for (size_t i = 0; i < IDLE; i++) {
        begin_window(&record->profile, false, now_ns);
        const uint64_t end_ns = now_ns + (uint64_t)(window_s * 1e9);
        ES_REQUIRE(wait_until(record, options, share, end_ns), error, ES_ERR_BUSY, ENDED);
        now_ns = es_now_ns();
        end_window(&record->profile, now_ns);
    }
    return ES_OK;
}

static void end_slot(recorder *record, size_t slot)
{
    es_profile_slot *const told = &record->profile.slots[slot];
    const es_histogram *const times = &record->slot;
    told->runs = times->count;
    told->p10_ns = es_histogram_at(times, 0.1);
    told->median_ns = es_histogram_at(times, 0.5);
    told->p90_ns = es_histogram_at(times, 0.9);
    told->worst_ns = times->count > 0 ? (double)times->worst : NAN;
    es_histogram_clear(&record->slot);
}

static void end_busy_window(recorder *record, uint64_t now_ns)
{
    es_profile *const profile = &record->profile;
    profile->windows[profile->window_count].runs = record->window.count;
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        record->at[i][record->windows] = es_histogram_at(&record->window, shares[i]);
    }
    record->windows++;
    es_histogram_clear(&record->window);
    end_window(profile, now_ns);
}

/* Closes the slots and windows that are over at `now_ns`, which belongs to slot `until`. */
static void advance(recorder *record, size_t *slot, size_t until, uint64_t now_ns)
{
    enum { SLOTS_A_WINDOW = ES_PROFILE_SLOTS / ES_PROFILE_BUSY };
    while (*slot < until) {
        end_slot(record, *slot);
        ++*slot;
        record->slot_begin_ns[*slot] = now_ns;
        if (*slot % SLOTS_A_WINDOW == 0) {
            end_busy_window(record, now_ns);
            if (*slot < ES_PROFILE_SLOTS) {
                begin_window(&record->profile, true, now_ns);
            }
        }
    }
}

static void count_run(recorder *record, size_t slot, uint64_t ns)
{
    es_histogram_add(&record->all, ns);
    es_histogram_add(&record->slot, ns);
    es_histogram_add(&record->window, ns);
    if (slot < ES_PROFILE_SLOTS / 10) {
        es_histogram_add(&record->first, ns);
    } else if (slot >= ES_PROFILE_SLOTS - ES_PROFILE_SLOTS / 10) {
        es_histogram_add(&record->last, ns);
    }
}

/* When the next run is due, after one that was due at `due_ns` has ended. Counts it if it ended after the next
 * was due, and those that were due meanwhile, which nobody does. */
static uint64_t next_due(recorder *record, const es_profile_options *options, uint64_t due_ns, uint64_t now_ns)
{
    if (options->rate_hz <= 0) {
        return now_ns;
    }
    const double period_ns = 1e9 / options->rate_hz;
    uint64_t periods = 1;
    if (now_ns > due_ns && (double)(now_ns - due_ns) > period_ns) {
        periods += (uint64_t)((double)(now_ns - due_ns) / period_ns);
        record->profile.missed += periods;
    }
    return due_ns + (uint64_t)((double)periods * period_ns);
}

/* Runs the model until the time is over. A run belongs to the slot and window in which it begins. */
static es_status keep_busy(recorder *record, const call *run, const es_profile_options *options, double share,
                           es_error *error)
{
    const double slot_ns = options->seconds * 1e9 / (double)ES_PROFILE_SLOTS;
    const double busy_share = 1 - 2 * share;
    size_t slot = 0;
    uint64_t ns;
    uint64_t due_ns = record->begin_ns = record->slot_begin_ns[0] = es_now_ns();
    const uint64_t end_ns = due_ns + (uint64_t)(options->seconds * 1e9) + 1;
    begin_window(&record->profile, true, due_ns);
    for (;;) {
        const double over = share + busy_share * (double)slot / (double)ES_PROFILE_SLOTS;
        ES_REQUIRE(goes_on(record, options, over), error, ES_ERR_BUSY, ENDED);
        ES_REQUIRE(wait_until(record, options, over, due_ns < end_ns ? due_ns : end_ns), error, ES_ERR_BUSY, ENDED);
        const uint64_t now_ns = es_now_ns();
        const double at = (double)(now_ns - record->begin_ns) / slot_ns;
        advance(record, &slot, at < (double)ES_PROFILE_SLOTS ? (size_t)at : ES_PROFILE_SLOTS, now_ns);
        if (slot == ES_PROFILE_SLOTS) {
            break;
        }
        ES_TRY(run_once(run, &ns, error));
        count_run(record, slot, ns);
        due_ns = next_due(record, options, due_ns, now_ns + ns);
    }
    record->profile.seconds = (double)(es_now_ns() - record->begin_ns) / 1e9;
    return ES_OK;
}

static void tell_latency(recorder *record)
{
    es_profile *const profile = &record->profile;
    es_figure *const figures[] = {&profile->p10_ns, &profile->median_ns, &profile->p90_ns, &profile->p99_ns};
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        *figures[i] = es_figure_of(record->at[i], record->windows);
        figures[i]->value = es_histogram_at(&record->all, shares[i]);
    }
    profile->runs = record->all.count;
    profile->worst_ns = record->all.count > 0 ? (double)record->all.worst : NAN;
    profile->burst_ns = es_histogram_at(&record->first, 0.5);
    profile->sustained_ns = es_histogram_at(&record->last, 0.5);
    profile->bar_count = es_histogram_bars(&record->all, profile->bars);
}

/* Fills in what the sampler saw. */
static void tell_samples(recorder *record)
{
    es_profile *const profile = &record->profile;
    const es_sampler *const sampler = &record->sampler;
    const es_meter *const meter = &record->meter;
    for (size_t i = 0; i < ES_PROFILE_SLOTS; i++) {
        const uint64_t begin_ns = record->slot_begin_ns[i];
        const uint64_t end_ns = record->slot_begin_ns[i + 1];
        es_profile_slot *const slot = &profile->slots[i];
        es_sampler_state(sampler, begin_ns, end_ns, &slot->temperature_c, &slot->clock_hz);
        const double joules = es_sampler_joules(sampler, end_ns) - es_sampler_joules(sampler, begin_ns);
        slot->watts = end_ns > begin_ns ? joules / ((double)(end_ns - begin_ns) / 1e9) : NAN;
    }
    for (size_t i = 0; i < profile->window_count && sampler->meter != NULL; i++) {
        es_profile_window *const window = &profile->windows[i];
        const double seconds = (double)(window->end_ns - window->begin_ns) / 1e9;
        window->joules = es_sampler_joules(sampler, window->end_ns) - es_sampler_joules(sampler, window->begin_ns);
        window->samples = es_sampler_count(sampler, window->begin_ns, window->end_ns);
        window->doubt_j = meter->doubt_j + meter->doubt_w * seconds;
    }
}

static es_status check_options(const es_profile_options *options, es_error *error)
{
    ES_REQUIRE(options->seconds > 0 && options->seconds <= MOST_SECONDS, error, ES_ERR_ARGUMENT,
               "seconds: got %g, expected more than 0 and at most %g", options->seconds, MOST_SECONDS);
    ES_REQUIRE(options->rate_hz >= 0 && options->rate_hz <= MOST_HZ, error, ES_ERR_ARGUMENT,
               "rate: got %g a second, expected 0 to %g", options->rate_hz, MOST_HZ);
    ES_REQUIRE(options->sample_hz >= 0 && options->sample_hz <= MOST_SAMPLE_HZ, error, ES_ERR_ARGUMENT,
               "samples: got %g a second, expected 0 to %g", options->sample_hz, MOST_SAMPLE_HZ);
    return ES_OK;
}

/* Opens the meter that is asked for, if there is one, and tells of it. One that is named must be there. */
static es_status open_meter(recorder *record, const es_profile_options *options, const char *root, es_error *error)
{
    const char *const name = options->meter != NULL ? options->meter : "auto";
    char why[ES_ERROR_BYTES] = "no meter was asked for";
    es_profile *const profile = &record->profile;
    if (strcmp(name, EXTERNAL) == 0) {
        es_text_copy(profile->meter, sizeof profile->meter, EXTERNAL);
        return ES_OK;
    }
    const bool found = strcmp(name, "none") != 0 && es_meter_open(root, name, &record->meter, why);
    es_text_copy(profile->energy_how, sizeof profile->energy_how, found ? "" : why);
    if (found) {
        record->meter.hz = options->sample_hz > 0 ? options->sample_hz : record->meter.hz;
        memcpy(profile->meter, record->meter.name, sizeof profile->meter);
        memcpy(profile->rails, record->meter.rails, sizeof profile->rails);
        profile->rail_count = record->meter.count;
        return ES_OK;
    }
    ES_REQUIRE(strcmp(name, "auto") == 0 || strcmp(name, "none") == 0, error, ES_ERR_ARGUMENT, "%s", why);
    return ES_OK;
}

/* The measurement itself, beside the sampler. */
static es_status measure(recorder *record, const call *run, const es_profile_options *options, es_error *error)
{
    const bool is_weighed = record->profile.meter[0] != '\0';
    const int slack_ns = prctl(PR_GET_TIMERSLACK);
    const double share = is_weighed ? 1 / (double)(ES_PROFILE_BUSY + 2) : 0; /* of the time, before and behind */
    uint64_t ns;
    if (is_weighed) {
        ES_TRY(stand_idle(record, options, 0, error));
    }
    ES_TRY(run_once(run, &ns, error)); /* after standing idle the caches are cold */
    prctl(PR_SET_TIMERSLACK, 1UL);     /* wake when a run is due, not 50 us later */
    const es_status status = keep_busy(record, run, options, share, error);
    prctl(PR_SET_TIMERSLACK, slack_ns > 0 ? (unsigned long)slack_ns : 0UL);
    ES_TRY(status);
    return is_weighed ? stand_idle(record, options, 1 - share, error) : ES_OK;
}

static es_status record_all(recorder *record, const call *run, const es_profile_options *options, es_error *error)
{
    const char *const root = options->root != NULL ? options->root : "";
    es_profile *const profile = &record->profile;
    struct rusage before;
    struct rusage after;
    uint64_t first_ns;
    ES_TRY(open_meter(record, options, root, error));
    getrusage(RUSAGE_SELF, &before);
    es_state_read(root, &profile->before);
    ES_TRY(run_once(run, &first_ns, error));
    es_meter *const meter = record->meter.count > 0 ? &record->meter : NULL;
    ES_TRY(es_sampler_start(&record->sampler, root, meter, options->seconds, error));
    const es_status status = measure(record, run, options, error);
    if (meter != NULL && status == ES_OK) {
        es_sleep_until(es_now_ns() + record->sampler.period_ns); /* for a sample behind the last window */
    }
    es_sampler_stop(&record->sampler);
    ES_TRY(status);
    es_state_read(root, &profile->after);
    getrusage(RUSAGE_SELF, &after);
    profile->first_ns = (double)first_ns;
    profile->minor_faults = (uint64_t)(after.ru_minflt - before.ru_minflt);
    profile->major_faults = (uint64_t)(after.ru_majflt - before.ru_majflt);
    es_resident_read(&profile->resident);
    tell_latency(record);
    tell_samples(record);
    es_profile_weigh(profile, options->shortest_window_s);
    return ES_OK;
}

es_status es_session_measure(es_session *session, const es_input *inputs, size_t input_count,
                             const es_output *outputs, size_t output_count, const es_profile_options *options,
                             es_profile *profile, es_error *error)
{
    ES_REQUIRE(options != NULL && profile != NULL, error, ES_ERR_ARGUMENT,
               "es_session_measure: an argument is NULL");
    ES_REQUIRE((inputs != NULL || input_count == 0) && (outputs != NULL || output_count == 0), error,
               ES_ERR_ARGUMENT, "es_session_measure: inputs or outputs are NULL");
    ES_TRY(check_options(options, error));
    const call run = {session, inputs, input_count, outputs, output_count};
    recorder *const record = calloc(1, sizeof *record);
    ES_REQUIRE(record != NULL, error, ES_ERR_NO_MEMORY, "no memory for what a measurement records");
    record->meter.device = -1;
    const es_status status = record_all(record, &run, options, error);
    es_meter_close(&record->meter);
    if (status == ES_OK) {
        *profile = record->profile;
    }
    free(record);
    return status;
}
