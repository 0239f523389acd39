/* A battery that its gauge measures: uA, uV and uW, renewed every few seconds.
 * Source: Documentation/ABI/testing/sysfs-class-power of Linux. */
#define _GNU_SOURCE
#include <dirent.h>
#include <string.h>

#include "files.h"
#include "meter.h"

static bool is_battery(const char *root, const char *name, char status[ES_LINE_BYTES])
{
    char path[ES_ERROR_BYTES];
    char line[ES_LINE_BYTES];
    es_text(path, "sys/class/power_supply/%s/type", name);
    if (!es_file_line(root, path, line) || strcmp(line, "Battery") != 0) {
        return false;
    }
    es_text(path, "sys/class/power_supply/%s/scope", name);
    if (es_file_line(root, path, line) && strcmp(line, "Device") == 0) {
        return false; /* of a mouse or a pen */
    }
    es_text(path, "sys/class/power_supply/%s/status", name);
    if (!es_file_line(root, path, status)) {
        status[0] = '\0';
    }
    return true;
}

static bool add(es_meter *meter, const char *root, const char *name, char why[ES_ERROR_BYTES])
{
    char path[ES_ERROR_BYTES];
    char current[ES_ERROR_BYTES];
    char line[ES_LINE_BYTES];
    es_text(path, "sys/class/power_supply/%s/power_now", name);
    if (es_file_line(root, path, line)) {
        return es_meter_add(meter, root, name, "power", path, NULL, 1e-6, why);
    }
    es_text(path, "sys/class/power_supply/%s/voltage_now", name);
    es_text(current, "sys/class/power_supply/%s/current_now", name);
    return es_meter_add(meter, root, name, "voltage and current", path, current, 1e-12, why);
}

static bool find(const char *root, const char *which, es_meter *meter, char why[ES_ERROR_BYTES])
{
    (void)which;
    char path[ES_ERROR_BYTES];
    char status[ES_LINE_BYTES];
    es_text(path, "%s/sys/class/power_supply", root);
    DIR *const folder = opendir(path);
    const struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.' || !is_battery(root, entry->d_name, status)) {
            continue;
        }
        if (strcmp(status, "Discharging") != 0) {
            es_text(why, "battery %s: is %s, not discharging: what flows is not what the device consumes; "
                           "remedy: unplug it", entry->d_name, status[0] != '\0' ? status : "silent");
            continue;
        }
        if (add(meter, root, entry->d_name, why)) {
            meter->channels[meter->count - 1].either_way = true;
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    meter->hz = 4;
    meter->only_changes = true;
    return meter->count > 0;
}

const es_meter_reader es_meter_battery = {"battery", find, .takes_device = false};
