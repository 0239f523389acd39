/* The power management chip of the Raspberry Pi 5, asked as `vcgencmd pmic_read_adc` asks it.
 * The board is the sum of the rails of which both voltage and current are told; what EXT5V feeds outside of
 * them, such as USB devices, is not in it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "files.h"
#include "meter.h"
#include "pmic.h"

/* A message to the firmware: words, in which one tag asks for the answer to a command. */
enum {
    ANSWER_BYTES = 1024,
    HEAD_WORDS = 6,
    WORDS = HEAD_WORDS + ANSWER_BYTES / 4 + 1,
    GET_GENCMD_RESULT = 0x00030080
};

#define MAILBOX _IOWR(100, 0, char *)

#ifdef __GLIBC__
typedef unsigned long request;
#else
typedef int request; /* as POSIX has it */
#endif

static bool ask(int device, char answer[ANSWER_BYTES])
{
    static const char command[] = "pmic_read_adc";
    uint32_t message[WORDS] = {sizeof message, 0, GET_GENCMD_RESULT, ANSWER_BYTES, 0, 0};
    memcpy(message + HEAD_WORDS, command, sizeof command);
    if (ioctl(device, (request)MAILBOX, message) < 0 || message[HEAD_WORDS - 1] != 0) {
        return false;
    }
    memcpy(answer, message + HEAD_WORDS, ANSWER_BYTES);
    answer[ANSWER_BYTES - 1] = '\0';
    return true;
}

static double read_decimal(const char *text)
{
    double value = 0;
    double scale = 1;
    bool behind_point = false;
    for (; (*text >= '0' && *text <= '9') || (*text == '.' && !behind_point); text++) {
        if (*text == '.') {
            behind_point = true;
            continue;
        }
        value = value * 10 + (*text - '0');
        scale *= behind_point ? 10 : 1;
    }
    return value / scale;
}

/* A line such as "   3V3_SYS_A current(1)=0.13364412A": the name without its unit, the unit, the value. */
typedef struct reading {
    const char *name;
    size_t size;
    char unit; /* 'A' or 'V' */
    double value;
} reading;

static bool parse_line(const char *line, size_t size, reading *found)
{
    while (size > 0 && *line == ' ') {
        line++;
        size--;
    }
    const char *const space = memchr(line, ' ', size);
    const char *const equals = memchr(line, '=', size);
    if (space == NULL || equals == NULL || space - line < 3 || space[-2] != '_') {
        return false;
    }
    *found = (reading){.name = line, .size = (size_t)(space - line) - 2, .unit = space[-1],
                       .value = read_decimal(equals + 1)};
    return found->unit == 'A' || found->unit == 'V';
}

static bool next_line(const char **text, reading *found)
{
    while (**text != '\0') {
        const size_t size = strcspn(*text, "\n");
        const bool is_reading = parse_line(*text, size, found);
        *text += size + ((*text)[size] == '\n');
        if (is_reading) {
            return true;
        }
    }
    return false;
}

size_t es_pmic_parse(const char *answer, double *watts, char names[][ES_RAIL_BYTES], size_t room)
{
    reading current;
    reading voltage;
    size_t count = 0;
    *watts = 0;
    for (const char *at = answer; next_line(&at, &current);) {
        if (current.unit != 'A') {
            continue;
        }
        for (const char *other = answer; next_line(&other, &voltage);) {
            if (voltage.unit == 'V' && voltage.size == current.size &&
                memcmp(voltage.name, current.name, current.size) == 0) {
                *watts += current.value * voltage.value;
                if (count < room) {
                    const size_t size = current.size < ES_RAIL_BYTES ? current.size : ES_RAIL_BYTES - 1;
                    memcpy(names[count], current.name, size);
                    names[count][size] = '\0';
                }
                count++;
                break;
            }
        }
    }
    return count;
}

static bool read_watts(const es_meter *meter, double *watts, double *doubt)
{
    char answer[ANSWER_BYTES];
    *doubt = 0; /* of eight digits */
    return ask(meter->device, answer) && es_pmic_parse(answer, watts, NULL, 0) > 0;
}

static bool find(const char *root, const char *which, es_meter *meter, char why[ES_ERROR_BYTES])
{
    (void)which;
    char model[ES_LINE_BYTES];
    char answer[ANSWER_BYTES];
    char names[ES_MAX_RAILS][ES_RAIL_BYTES];
    double watts;
    if (!es_file_line(root, "proc/device-tree/model", model) || !es_text_has(model, "raspberry pi")) {
        return false;
    }
    char path[ES_ERROR_BYTES];
    es_text(path, "%s/dev/vcio", root);
    meter->device = open(path, O_RDWR | O_CLOEXEC);
    const size_t count = meter->device >= 0 && ask(meter->device, answer)
                             ? es_pmic_parse(answer, &watts, names, ES_MAX_RAILS)
                             : 0;
    if (count == 0) {
        es_text(why, "%s: %s", model,
                  meter->device < 0 ? "/dev/vcio may not be opened; remedy: add the user to the group video"
                                    : "has no chip that measures power; an external meter would make it available");
        return false;
    }
    for (size_t i = 0; i < count && i < ES_MAX_RAILS; i++) {
        es_rail *const rail = &meter->rails[i];
        memcpy(rail->name, names[i], sizeof rail->name);
        memcpy(rail->reads, "voltage and current", sizeof "voltage and current");
        rail->shunt_ohm = __builtin_nan("");
        meter->channels[i] = (es_channel){.files = {-1, -1}};
    }
    meter->count = count < ES_MAX_RAILS ? count : ES_MAX_RAILS;
    meter->total = meter->count;
    meter->watts = read_watts;
    return true;
}

const es_meter_reader es_meter_pmic = {"pmic", find, .takes_device = false};
