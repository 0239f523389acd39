/* Sensors of power by Linux's hwmon, such as INA219, INA226, INA260 and INA3221.
 * Source: Documentation/hwmon/sysfs-interface.rst of Linux: mV, mA, uW, uJ, ms; shunts in uOhm. */
#include "hwmon.h"

#include <math.h>
#include <string.h>

#include "files.h"

enum {
    DEVICES = 64,
    CHANNELS = 8,
    INA3221_CHANNELS = 3 /* those behind are voltages of its shunts, and a sum */
};

static bool exists(const char *root, const char *path)
{
    char line[ES_LINE_BYTES];
    return es_file_line(root, path, line);
}

/* The shunt of a channel, as the driver was told; NaN if it does not say. */
static double shunt_ohm(const char *root, const char *folder, unsigned channel)
{
    char path[ES_ERROR_BYTES];
    double micro;
    es_text(path, "%s/shunt%u_resistor", folder, channel);
    if (es_file_number_at(root, path, &micro)) {
        return micro * 1e-6;
    }
    es_text(path, "%s/shunt_resistor", folder);
    return es_file_number_at(root, path, &micro) ? micro * 1e-6 : NAN;
}

/* What the board calls a channel, or else the device and its number. */
static void label_of(const char *root, const char *folder, const char *device, unsigned channel,
                     char label[ES_ERROR_BYTES])
{
    static const char *const kinds[] = {"power", "curr", "in", "energy"};
    char path[ES_ERROR_BYTES];
    char line[ES_LINE_BYTES];
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        es_text(path, "%s/%s%u_label", folder, kinds[i], channel);
        if (es_file_line(root, path, line)) {
            es_text(label, "%s", line);
            return;
        }
    }
    es_text(label, "%s %u", device, channel);
}

/* Adds what a channel offers: the best of energy, power, and voltage with current. */
static bool add_channel(es_meter *meter, const char *root, const char *folder, const char *label, unsigned channel,
                        char why[ES_ERROR_BYTES])
{
    char path[ES_ERROR_BYTES];
    char current[ES_ERROR_BYTES];
    es_text(path, "%s/energy%u_input", folder, channel);
    if (exists(root, path)) {
        const bool added = es_meter_add(meter, root, label, "energy", path, NULL, 1e-6, why);
        if (added) {
            meter->channels[meter->count - 1].counts = true;
        }
        return added;
    }
    es_text(path, "%s/power%u_input", folder, channel);
    if (exists(root, path)) {
        return es_meter_add(meter, root, label, "power", path, NULL, 1e-6, why);
    }
    es_text(path, "%s/in%u_input", folder, channel);
    es_text(current, "%s/curr%u_input", folder, channel);
    return exists(root, path) && exists(root, current) &&
           es_meter_add(meter, root, label, "voltage and current", path, current, 1e-6, why);
}

void es_hwmon_add(es_meter *meter, const char *root, const char *folder, const char *device,
                  char why[ES_ERROR_BYTES])
{
    char path[ES_ERROR_BYTES];
    char label[ES_ERROR_BYTES];
    double interval_ms;
    const unsigned channels = strcmp(device, "ina3221") == 0 ? INA3221_CHANNELS : CHANNELS;
    for (unsigned channel = 1; channel <= channels; channel++) {
        label_of(root, folder, device, channel, label);
        if (add_channel(meter, root, folder, label, channel, why)) {
            meter->rails[meter->count - 1].shunt_ohm = shunt_ohm(root, folder, channel);
        }
    }
    es_text(path, "%s/update_interval", folder);
    if (es_file_number_at(root, path, &interval_ms) && interval_ms > 0) {
        meter->hz = interval_ms < 10 ? 100 : interval_ms > 1000 ? 1 : 1000 / interval_ms;
    }
}

/* Whether the last word of a label, between underscores or blanks, is that one. */
static bool ends_with_word(const char *label, const char *word)
{
    const size_t size = strlen(word);
    const size_t length = strlen(label);
    if (length < size || !es_text_has(label + length - size, word)) {
        return false;
    }
    return length == size || label[length - size - 1] == '_' || label[length - size - 1] == ' ';
}

void es_hwmon_choose_total(es_meter *meter)
{
    for (size_t i = 0; i < meter->count; i++) {
        const char *const name = meter->rails[i].name;
        if (ends_with_word(name, "in") || ends_with_word(name, "total") || ends_with_word(name, "system")) {
            meter->total = i;
            return;
        }
    }
}

bool es_hwmon_find(const char *root, const char *device, es_meter *meter, char why[ES_ERROR_BYTES])
{
    for (unsigned number = 0; number < DEVICES; number++) {
        char folder[ES_ERROR_BYTES];
        char name[ES_LINE_BYTES];
        es_text(folder, "sys/class/hwmon/hwmon%u", number);
        if (es_file_device(root, folder, name) && strncmp(name, device, strlen(device)) == 0) {
            es_hwmon_add(meter, root, folder, name, why);
        }
    }
    es_hwmon_choose_total(meter);
    return meter->count > 0 && (!meter->is_cut || meter->total < meter->count);
}

/* By itself only what is made to measure supplies; any device by its name. */
static bool find(const char *root, const char *which, es_meter *meter, char why[ES_ERROR_BYTES])
{
    return es_hwmon_find(root, which[0] != '\0' ? which : "ina", meter, why);
}

/* Writes the names of the devices that measure power, or of the others, with commas between. Returns how many. */
static size_t list(const char *root, bool measures, char names[ES_ERROR_BYTES])
{
    char before[ES_ERROR_BYTES];
    size_t count = 0;
    names[0] = '\0';
    for (unsigned number = 0; number < DEVICES; number++) {
        char folder[ES_ERROR_BYTES];
        char name[ES_LINE_BYTES];
        char why[ES_ERROR_BYTES] = "";
        es_meter one = {.device = -1};
        es_text(folder, "sys/class/hwmon/hwmon%u", number);
        if (!es_file_device(root, folder, name)) {
            continue;
        }
        es_hwmon_add(&one, root, folder, name, why);
        if ((one.count > 0) == measures) {
            memcpy(before, names, sizeof before);
            es_text(names, "%s%s%.40s", before, count++ > 0 ? ", " : "", name);
        }
        es_meter_close(&one);
    }
    return count;
}

static void explain(const char *root, const char *name, char why[ES_ERROR_BYTES])
{
    char names[ES_ERROR_BYTES];
    if (list(root, true, names) > 0) {
        es_text(why, "meter: got '%.60s', expected hwmon:NAME with one of %s", name, names);
        return;
    }
    const bool others = list(root, false, names) > 0;
    es_text(why, "meter: got '%.60s', but no device of hwmon measures power here%s%.60s%s; an external meter would make it "
                 "available", name, others ? " (there is " : "", names, others ? ")" : "");
}

const es_meter_reader es_meter_hwmon = {"hwmon", find, .takes_device = true, .explain = explain};
