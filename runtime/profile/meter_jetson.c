/* The INA3221s of NVIDIA's Jetson boards: hwmon on Jetson Linux 34 and newer, iio before.
 * Source: Jetson Linux Developer Guide, "Power Management", which names the paths and rails; mV, mA, mW. */
#include <string.h>

#include "files.h"
#include "hwmon.h"

enum { BUSES = 10, FIRST_ADDRESS = 40, ADDRESSES = 6, CHANNELS = 3, IIO_DEVICES = 4 };

static bool is_jetson(const char *root)
{
    char model[ES_LINE_BYTES];
    return (es_file_line(root, "proc/device-tree/model", model) && es_text_has(model, "jetson")) ||
           (es_file_line(root, "proc/device-tree/compatible", model) && es_text_has(model, "tegra"));
}

/* The rails of one device of older kernels. */
static void add_iio(es_meter *meter, const char *root, const char *folder, char why[ES_ERROR_BYTES])
{
    for (unsigned channel = 0; channel < CHANNELS; channel++) {
        char path[ES_ERROR_BYTES];
        char name[ES_LINE_BYTES];
        es_text(path, "%s/rail_name_%u", folder, channel);
        if (es_file_line(root, path, name)) {
            es_text(path, "%s/in_power%u_input", folder, channel);
            es_meter_add(meter, root, name, "power", path, NULL, 1e-3, why);
        }
    }
}

static bool find(const char *root, const char *which, es_meter *meter, char why[ES_ERROR_BYTES])
{
    (void)which;
    if (!is_jetson(root)) {
        return false;
    }
    if (es_hwmon_find(root, "ina3221", meter, why)) {
        return true;
    }
    for (unsigned bus = 0; bus < BUSES; bus++) {
        for (unsigned address = FIRST_ADDRESS; address < FIRST_ADDRESS + ADDRESSES; address++) {
            for (unsigned device = 0; device < IIO_DEVICES; device++) {
                char folder[ES_ERROR_BYTES];
                es_text(folder, "sys/bus/i2c/drivers/ina3221x/%u-00%u/iio:device%u", bus,
                          address, device);
                add_iio(meter, root, folder, why);
            }
        }
    }
    es_hwmon_choose_total(meter);
    return meter->count > 0 && (!meter->is_cut || meter->total < meter->count);
}

const es_meter_reader es_meter_jetson = {"jetson", find, .takes_device = false};
