#include "state.h"

#include <math.h>
#include <string.h>

#include "files.h"

enum { ZONES = 32, CORES = 64 };

/* The highest of the numbers that files of one name hold, whose numbers follow each other; NaN if there is none.
 * Those that are no temperature or clock are left out. */
static double highest(const char *root, const char *before, const char *after, unsigned count, double least,
                      double most)
{
    double found = NAN;
    for (unsigned i = 0; i < count; i++) {
        char path[ES_ERROR_BYTES];
        double number;
        es_text(path, "%s%u%s", before, i, after);
        if (es_file_number_at(root, path, &number) && number >= least && number <= most && !(number <= found)) {
            found = number;
        }
    }
    return found;
}

void es_state_read_now(const char *root, double *temperature_c, double *clock_hz)
{
    *temperature_c = highest(root, "sys/class/thermal/thermal_zone", "/temp", ZONES, -60e3, 200e3) / 1e3;
    *clock_hz = highest(root, "sys/devices/system/cpu/cpu", "/cpufreq/scaling_cur_freq", CORES, 1, 1e8) * 1e3;
}

static int64_t read_throttled(const char *root)
{
    char line[ES_LINE_BYTES];
    if (!es_file_line(root, "sys/devices/platform/soc/soc:firmware/get_throttled", line)) {
        return -1;
    }
    int64_t bits = 0;
    const char *at = strncmp(line, "0x", 2) == 0 ? line + 2 : line;
    for (size_t i = 0; at[i] != '\0'; i++) {
        const char digit = at[i];
        const int value = digit >= '0' && digit <= '9'   ? digit - '0'
                          : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                                         : -1;
        if (value < 0 || i >= 8) {
            return -1;
        }
        bits = bits * 16 + value;
    }
    return bits;
}

void es_state_read(const char *root, es_device_state *state)
{
    char line[ES_LINE_BYTES];
    es_state_read_now(root, &state->temperature_c, &state->clock_hz);
    if (!es_file_line(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", line)) {
        line[0] = '\0';
    }
    es_text_copy(state->governor, sizeof state->governor, line);
    state->throttled = read_throttled(root);
}
