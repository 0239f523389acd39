#include <math.h>
#include <stdio.h>

#include "profile_report.h"
#include "report.h"

/* Prints a figure in a unit, and its interval where it has one. */
static void print_figure(const char *name, const es_figure *figure, double scale, const char *unit)
{
    printf("%s %.4g %s", name, figure->value * scale, unit);
    if (!isnan(figure->low)) {
        printf(" (%.4g to %.4g)", figure->low * scale, figure->high * scale);
    }
}

/* Prints a percentile, or that there are too few runs for it. */
static void print_percentile(const es_profile *profile, const char *name, double share, const es_figure *figure)
{
    if (!print_too_few(name, share, profile->runs)) {
        print_figure(name, figure, 1e-6, "ms");
    }
}

static void print_latency_lines(const es_profile *profile, uint64_t opened_ns, double rate_hz)
{
    printf("cold start: open %.3f ms, first run %.3f ms\n", (double)opened_ns / 1e6, profile->first_ns / 1e6);
    print_percentile(profile, "latency: median", 0.5, &profile->median_ns);
    print_percentile(profile, ", p10", 0.1, &profile->p10_ns);
    print_percentile(profile, ", p90", 0.9, &profile->p90_ns);
    print_percentile(profile, ", p99", 0.99, &profile->p99_ns);
    printf(", worst %.4g ms; %llu runs in %.1f s\n", profile->worst_ns / 1e6, (unsigned long long)profile->runs,
           profile->seconds);
    if (!isnan(profile->burst_ns) && !isnan(profile->sustained_ns)) {
        printf("over time: median %.4g ms in the first tenth of the time, %.4g ms in the last: %.2fx\n",
               profile->burst_ns / 1e6, profile->sustained_ns / 1e6, profile->sustained_ns / profile->burst_ns);
    }
    if (rate_hz > 0) {
        printf("deadlines: %llu missed at %g runs a second\n", (unsigned long long)profile->missed, rate_hz);
    }
}

static void print_memory_line(const es_profile *profile, const es_model_info *info)
{
    printf("memory: ");
    if (profile->resident.peak_bytes > 0) {
        printf("peak %.0f KiB resident, ", profile->resident.peak_bytes / 1024);
    }
    printf("arena %zu KiB, weights %zu KiB; page faults: %llu minor, %llu major\n", info->arena_bytes / 1024,
           info->weights_bytes / 1024, (unsigned long long)profile->minor_faults,
           (unsigned long long)profile->major_faults);
}

static void print_energy_lines(const es_profile *profile, double battery_wh)
{
    if (isnan(profile->gross_j.value)) {
        printf("energy: unavailable: %s\n", profile->energy_how);
    } else {
        print_figure("energy: gross", &profile->gross_j, 1e3, "mJ a run");
        print_figure("; net of idle", &profile->net_j, 1e3, "mJ a run");
        print_figure("\npower: running", &profile->mean_w, 1, "W");
        print_figure(", idle", &profile->idle_w, 1, "W");
        printf("\nmeter: %s", profile->energy_how);
        for (size_t i = 0; i < profile->rail_count; i++) {
            printf("%s%s", i == 0 ? "; rails: " : ", ", profile->rails[i].name);
            if (!isnan(profile->rails[i].shunt_ohm)) {
                printf(" (shunt %g ohm)", profile->rails[i].shunt_ohm);
            }
        }
        putchar('\n');
    }
    if (battery_wh > 0 && !isnan(profile->mean_w.value)) {
        printf("battery: %g Wh last %.2f h at this rate\n", battery_wh, battery_wh / profile->mean_w.value);
    } else if (battery_wh > 0) {
        printf("battery: unavailable without a figure of power\n");
    }
}

static void print_state(const char *when, const es_device_state *state)
{
    printf("%s", when);
    if (!isnan(state->temperature_c)) {
        printf(" %.1f C,", state->temperature_c);
    }
    if (!isnan(state->clock_hz)) {
        printf(" %.0f MHz,", state->clock_hz / 1e6);
    }
    if (state->throttled > 0) {
        printf(" throttled 0x%llx,", (unsigned long long)state->throttled);
    }
    printf(" governor %s", state->governor[0] != '\0' ? state->governor : "unknown");
}

void print_profile(const es_profile *profile, const es_model_info *info, uint64_t opened_ns, double rate_hz,
                   double battery_wh)
{
    print_latency_lines(profile, opened_ns, rate_hz);
    print_memory_line(profile, info);
    print_energy_lines(profile, battery_wh);
    print_state("device: before", &profile->before);
    print_state("; after", &profile->after);
    putchar('\n');
}
