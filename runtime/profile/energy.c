#include "energy.h"

#include <math.h>

#include "text.h"

enum {
    LEAST_SAMPLES = 20, /* of a busy window */
    IDLE_PARTS = 3,     /* of the time before, and of that behind, which are as long as a busy window */
    LEAST_RUNS = 10
};

static const double USUAL_WINDOW_S = 10;

es_figure es_figure_of(double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i])) {
            return (es_figure){NAN, NAN, NAN};
        }
        for (size_t j = i; j > 0 && values[j - 1] > values[j]; j--) {
            const double swapped = values[j];
            values[j] = values[j - 1];
            values[j - 1] = swapped;
        }
    }
    if (count == 0) {
        return (es_figure){NAN, NAN, NAN};
    }
    return (es_figure){(values[(count - 1) / 2] + values[count / 2]) / 2, values[0], values[count - 1]};
}

static double seconds_of(const es_profile_window *window)
{
    return (double)(window->end_ns - window->begin_ns) / 1e9;
}

/* Whether the windows allow figures; says in `energy_how` why not. */
static bool is_enough(es_profile *profile, double shortest_window_s)
{
    char *const why = profile->energy_how;
    size_t busy = 0;
    for (size_t i = 0; i < profile->window_count && i < ES_PROFILE_WINDOWS; i++) {
        busy += profile->windows[i].busy != 0;
    }
    if (profile->window_count != ES_PROFILE_WINDOWS || busy != ES_PROFILE_BUSY) {
        es_text(why, "the measurement was too short for six windows; remedy: measure for longer");
        return false;
    }
    const double window_s = seconds_of(&profile->windows[profile->window_count / 2]);
    if (window_s < shortest_window_s * 0.99) {
        es_text(why, "windows of %.1f s are too short for a figure, expected %g s or more; remedy: measure for %g s",
                window_s, shortest_window_s, (double)ES_PROFILE_BUSY * shortest_window_s);
        return false;
    }
    for (size_t i = 0; i < profile->window_count; i++) {
        const es_profile_window *const window = &profile->windows[i];
        const double seconds = seconds_of(window);
        if (!isfinite(window->joules) && window->samples == 0) {
            es_text(why, "%s gave no readings of the time of the measurement", profile->meter);
            return false;
        }
        if (window->joules <= 0) {
            es_text(why, "%s tells no energy, or less than none: it stands still, or its shunt is the wrong way round",
                    profile->meter);
            return false;
        }
        if (!isfinite(window->joules) || !isfinite(window->doubt_j) || window->end_ns <= window->begin_ns || window->samples * (window->busy ? 1 : IDLE_PARTS) < LEAST_SAMPLES) {
            es_text(why, "%s gave %u readings in a window of %.1f s, expected %d or more; remedy: measure for "
                           "longer", profile->meter, window->samples, seconds, LEAST_SAMPLES);
            return false;
        }
        if (window->busy && window->runs < LEAST_RUNS) {
            es_text(why, "the model ran %lu times in a window, expected %d or more; remedy: measure for longer",
                    (unsigned long)window->runs, LEAST_RUNS);
            return false;
        }
    }
    return true;
}

/* Watts of the windows that are busy or idle, and by how much they may be wrong at most. */
static es_figure watts_of(const es_profile *profile, bool busy)
{
    double watts[ES_PROFILE_WINDOWS];
    double doubt = 0;
    size_t count = 0;
    for (size_t i = 0; i < profile->window_count; i++) {
        const es_profile_window *const window = &profile->windows[i];
        if (window->busy == busy) {
            watts[count++] = window->joules / seconds_of(window);
            const double wrong = window->doubt_j / seconds_of(window);
            doubt = wrong > doubt ? wrong : doubt;
        }
    }
    es_figure figure = es_figure_of(watts, count);
    figure.low -= doubt;
    figure.high += doubt;
    return figure;
}

/* J of one run in the busy windows, after `idle_w` is taken away. */
static es_figure joules_of(const es_profile *profile, double idle_w, double idle_doubt_w)
{
    double joules[ES_PROFILE_WINDOWS];
    double doubt = 0;
    size_t count = 0;
    for (size_t i = 0; i < profile->window_count; i++) {
        const es_profile_window *const window = &profile->windows[i];
        if (window->busy) {
            const double runs = (double)window->runs;
            joules[count++] = (window->joules - idle_w * seconds_of(window)) / runs;
            const double wrong = (window->doubt_j + idle_doubt_w * seconds_of(window)) / runs;
            doubt = wrong > doubt ? wrong : doubt;
        }
    }
    es_figure figure = es_figure_of(joules, count);
    figure.low -= doubt;
    figure.high += doubt;
    return figure;
}

void es_profile_weigh(es_profile *profile, double shortest_window_s)
{
    const es_figure unknown = {NAN, NAN, NAN};
    if (profile == NULL) {
        return;
    }
    const double shortest = shortest_window_s > 0 ? shortest_window_s : USUAL_WINDOW_S;
    profile->idle_w = profile->mean_w = profile->gross_j = profile->net_j = unknown;
    if (profile->meter[0] == '\0' || !is_enough(profile, shortest)) {
        return;
    }
    profile->idle_w = watts_of(profile, false);
    profile->mean_w = watts_of(profile, true);
    profile->gross_j = joules_of(profile, 0, 0);
    const double idle_doubt_w = (profile->idle_w.high - profile->idle_w.low) / 2;
    profile->net_j = joules_of(profile, profile->idle_w.value, idle_doubt_w);
    es_text(profile->energy_how, "median of six windows of %.1f s, and the lowest and highest of them; meter: %s",
            seconds_of(&profile->windows[ES_PROFILE_BUSY / 2]), profile->meter);
}
