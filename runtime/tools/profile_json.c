#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>

#include "clock.h"
#include "json.h"
#include "profile_report.h"

/* Begins a field of an object: with a comma, unless it is the first. */
static void print_name(const char *name, const char **before)
{
    printf("%s\"%s\": ", *before, name);
    *before = ", ";
}

static void print_double(double value)
{
    if (isfinite(value)) {
        printf("%.12g", value);
    } else {
        printf("null");
    }
}

static void print_number(const char *name, double value, const char **before)
{
    print_name(name, before);
    print_double(value);
}

static void print_count(const char *name, uint64_t value, const char **before)
{
    print_name(name, before);
    printf("%llu", (unsigned long long)value);
}

static void print_text_field(const char *name, const char *text, const char **before)
{
    print_name(name, before);
    json_print_text(text);
}

/* [value, low, high] */
static void print_figure(const char *name, const es_figure *figure, const char **before)
{
    const double values[] = {figure->value, figure->low, figure->high};
    print_name(name, before);
    for (size_t i = 0; i < 3; i++) {
        printf(i == 0 ? "[" : ", ");
        print_double(values[i]);
    }
    putchar(']');
}

static void print_state(const char *name, const es_device_state *state, const char **before)
{
    const char *first = "";
    print_name(name, before);
    putchar('{');
    print_number("temperature_c", state->temperature_c, &first);
    print_number("clock_hz", state->clock_hz, &first);
    print_text_field("governor", state->governor, &first);
    print_number("throttled", state->throttled < 0 ? NAN : (double)state->throttled, &first);
    putchar('}');
}

static void print_bars(const es_profile *profile, const char **before)
{
    print_name("bars", before);
    for (size_t i = 0; i < profile->bar_count; i++) {
        const es_profile_bar *const bar = &profile->bars[i];
        printf("%s[%.9g, %.9g, %llu]", i == 0 ? "[" : ", ", bar->begin_ns, bar->end_ns,
               (unsigned long long)bar->runs);
    }
    printf(profile->bar_count == 0 ? "[]" : "]");
}

static void print_slots(const es_profile *profile, const char **before)
{
    print_name("slots", before);
    for (size_t i = 0; i < ES_PROFILE_SLOTS; i++) {
        const es_profile_slot *const slot = &profile->slots[i];
        const char *first = "";
        printf(i == 0 ? "[{" : ", {");
        print_count("runs", slot->runs, &first);
        print_number("p10_ns", slot->p10_ns, &first);
        print_number("median_ns", slot->median_ns, &first);
        print_number("p90_ns", slot->p90_ns, &first);
        print_number("worst_ns", slot->worst_ns, &first);
        print_number("watts", slot->watts, &first);
        print_number("temperature_c", slot->temperature_c, &first);
        print_number("clock_hz", slot->clock_hz, &first);
        putchar('}');
    }
    putchar(']');
}

static void print_windows(const es_profile *profile, const char **before)
{
    print_name("windows", before);
    putchar('[');
    for (size_t i = 0; i < profile->window_count; i++) {
        const es_profile_window *const window = &profile->windows[i];
        const char *first = "";
        printf(i == 0 ? "{" : ", {");
        print_count("busy", window->busy, &first);
        print_count("begin_ns", window->begin_ns, &first);
        print_count("end_ns", window->end_ns, &first);
        print_count("begin_unix_ns", window->begin_unix_ns, &first);
        print_count("end_unix_ns", window->end_unix_ns, &first);
        print_count("runs", window->runs, &first);
        print_count("samples", window->samples, &first);
        print_number("joules", window->joules, &first);
        print_number("doubt_j", window->doubt_j, &first);
        putchar('}');
    }
    putchar(']');
}

static void print_rails(const es_profile *profile, const char **before)
{
    print_name("rails", before);
    putchar('[');
    for (size_t i = 0; i < profile->rail_count; i++) {
        const char *first = "";
        printf(i == 0 ? "{" : ", {");
        print_text_field("name", profile->rails[i].name, &first);
        print_text_field("reads", profile->rails[i].reads, &first);
        print_number("shunt_ohm", profile->rails[i].shunt_ohm, &first);
        putchar('}');
    }
    putchar(']');
}

void print_resident_json(const es_resident *resident)
{
    const char *before = "";
    putchar('{');
    print_number("peak_bytes", resident->peak_bytes, &before);
    print_number("mapped_bytes", resident->mapped_bytes, &before);
    print_number("anonymous_bytes", resident->anonymous_bytes, &before);
    putchar('}');
}

void print_profile_json(const es_profile *profile, const es_model_info *info, uint64_t opened_ns)
{
    const char *before = "";
    putchar('{');
    print_number("seconds", profile->seconds, &before);
    print_count("runs", profile->runs, &before);
    print_count("missed", profile->missed, &before);
    print_count("opened_ns", opened_ns, &before);
    print_number("first_ns", profile->first_ns, &before);
    print_figure("p10_ns", &profile->p10_ns, &before);
    print_figure("median_ns", &profile->median_ns, &before);
    print_figure("p90_ns", &profile->p90_ns, &before);
    print_figure("p99_ns", &profile->p99_ns, &before);
    print_number("worst_ns", profile->worst_ns, &before);
    print_number("burst_ns", profile->burst_ns, &before);
    print_number("sustained_ns", profile->sustained_ns, &before);
    print_bars(profile, &before);
    print_slots(profile, &before);
    print_name("resident", &before);
    print_resident_json(&profile->resident);
    print_count("arena_bytes", info->arena_bytes, &before);
    print_count("weights_bytes", info->weights_bytes, &before);
    print_count("minor_faults", profile->minor_faults, &before);
    print_count("major_faults", profile->major_faults, &before);
    print_text_field("meter", profile->meter, &before);
    print_text_field("energy_how", profile->energy_how, &before);
    print_rails(profile, &before);
    print_windows(profile, &before);
    print_figure("idle_w", &profile->idle_w, &before);
    print_figure("mean_w", &profile->mean_w, &before);
    print_figure("gross_j", &profile->gross_j, &before);
    print_figure("net_j", &profile->net_j, &before);
    print_state("before", &profile->before, &before);
    print_state("after", &profile->after, &before);
    print_count("now_unix_ns", es_clock_ns(CLOCK_REALTIME), &before); /* for who reads a meter by another clock */
    printf("}\n");
}
