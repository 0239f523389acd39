#define _GNU_SOURCE
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "profile_report.h"
#include "served.h"

enum {
    MAX_REPEAT = 100000,
    SECONDS_BETWEEN_NEWS = 5 /* of a measurement that goes on */
};

/* Whether the other side of the pipe is gone: then nobody waits for what is measured. */
static bool is_left_alone(void)
{
    struct pollfd pipe = {.fd = STDIN_FILENO, .events = 0};
    return poll(&pipe, 1, 0) > 0 && (pipe.revents & (POLLHUP | POLLERR)) != 0;
}

/* Runs once, and then `repeat` times; stores how long each took, or with `step_ns` how long each step of
 * each took. */
static es_status measure(served *work, size_t repeat, uint64_t *run_ns, uint64_t *step_ns, es_error *error)
{
    es_status status = run_once(work, NULL, error);
    for (size_t i = 0; status == ES_OK && i < repeat; i++) {
        if (is_left_alone()) {
            exit(1);
        }
        const uint64_t start = es_now_ns();
        status = run_once(work, step_ns != NULL ? step_ns + i * work->info.step_count : NULL, error);
        if (run_ns != NULL) {
            run_ns[i] = es_now_ns() - start;
        }
    }
    return status;
}

static void print_numbers(const uint64_t *numbers, size_t count)
{
    putchar('[');
    for (size_t i = 0; i < count; i++) {
        printf("%s%llu", i > 0 ? ", " : "", (unsigned long long)numbers[i]);
    }
    putchar(']');
}

static void print_steps(const served *work)
{
    es_step_info step;
    printf("{\"steps\": [");
    for (size_t i = 0; es_model_step(work->model, i, &step) == ES_OK; i++) {
        printf("%s{\"name\": ", i > 0 ? ", " : "");
        json_print_text(step.name);
        printf(", \"op\": ");
        json_print_text(step.op);
        printf(", \"kernel\": ");
        json_print_text(step.kernel);
        printf(", \"tiles\": %lu}", (unsigned long)step.tiles);
    }
    printf("], ");
}

void answer_times(served *work, const json_object *request, bool by_step)
{
    es_error error = {.message = "there are no inputs yet: run once first"};
    const uint64_t repeat = json_number(request, "repeat", 10);
    const size_t each = by_step ? work->info.step_count : 1;
    if (!work->ran || repeat < 1 || repeat > MAX_REPEAT) {
        answer_error(work->ran ? "repeat: expected 1 to 100000" : error.message, ES_ERR_ARGUMENT);
        return;
    }
    if (!take_lock(work)) {
        return;
    }
    uint64_t *const ns = calloc((size_t)repeat * each + 1, sizeof *ns);
    es_status status = ES_ERR_NO_MEMORY;
    snprintf(error.message, sizeof error.message, "no memory for the times of %llu runs",
             (unsigned long long)repeat);
    if (ns != NULL) {
        status = measure(work, (size_t)repeat, by_step ? NULL : ns, by_step ? ns : NULL, &error);
    }
    if (status != ES_OK) {
        answer_error(error.message, status);
    } else if (by_step) {
        print_steps(work);
        printf("\"ns\": [");
        for (size_t i = 0; i < repeat; i++) {
            printf(i > 0 ? ", " : "");
            print_numbers(ns + i * each, each);
        }
        printf("]}\n");
    } else {
        printf("{\"ns\": ");
        print_numbers(ns, (size_t)repeat);
        printf("}\n");
    }
    free(ns);
}

void answer_meters(void)
{
    es_resident resident;
    es_resident_read(&resident);
    print_resident_json(&resident);
    putchar('\n');
}

/* Tells now and then how far a measurement is; ends it when nobody listens any more.
 * context: when it tells next, a uint64_t. */
static bool tell_share(void *context, double share)
{
    uint64_t *const next_ns = context;
    if (is_left_alone()) {
        exit(1);
    }
    if (es_now_ns() >= *next_ns) {
        printf("{\"share\": %.4f}\n", share);
        fflush(stdout);
        *next_ns = es_now_ns() + SECONDS_BETWEEN_NEWS * 1000000000ull;
    }
    return true;
}

void answer_measurement(served *work, const json_object *request)
{
    static es_profile profile;
    es_error error;
    uint64_t next_ns = 0;
    const double every_us = (double)json_number(request, "every_us", 0);
    const es_profile_options options = {
        .seconds = (double)json_number(request, "milliseconds", 10000) / 1e3,
        .rate_hz = every_us > 0 ? 1e6 / every_us : 0,
        .meter = json_text(request, "meter"),
        .root = json_text(request, "root"),
        .shortest_window_s = (double)json_number(request, "shortest_window_ms", 0) / 1e3,
        .go_on = tell_share,
        .context = &next_ns};
    if (!work->ran) {
        answer_error("there are no inputs yet: run once first", ES_ERR_ARGUMENT);
        return;
    }
    if (!take_lock(work)) {
        return;
    }
    const es_model_info *const info = &work->info;
    const es_status status = es_session_measure(work->session, work->inputs, info->input_count, work->outputs,
                                                info->output_count, &options, &profile, &error);
    if (status != ES_OK) {
        answer_error(error.message, status);
        return;
    }
    profile.first_ns = (double)work->first_ns;
    print_profile_json(&profile, info, work->opened_ns);
}
