/* RAPL: counters of the processor's own, in uJ, which wrap.
 * Source: Documentation/power/powercap/powercap.rst of Linux. */
#include <string.h>

#include "files.h"
#include "meter.h"

enum { PACKAGES = 16, PARTS = 8 };

/* Adds one counter; false if it cannot be read, which `why` says. */
static bool add(es_meter *meter, const char *root, const char *folder, const char *name, char why[ES_ERROR_BYTES])
{
    char path[ES_ERROR_BYTES];
    double range = 0;
    es_text(path, "%s/max_energy_range_uj", folder);
    const bool has_range = es_file_number_at(root, path, &range);
    es_text(path, "%s/energy_uj", folder);
    if (!es_meter_add(meter, root, name, "energy", path, NULL, 1e-6, why)) {
        return false;
    }
    es_channel *const channel = &meter->channels[meter->count - 1];
    channel->counts = true;
    channel->range = has_range ? range * 1e-6 : 0;
    return true;
}

/* The memory's counter of a package is not in the package's. */
static bool add_memory(es_meter *meter, const char *root, unsigned package, char why[ES_ERROR_BYTES])
{
    for (unsigned part = 0; part < PARTS; part++) {
        char folder[ES_ERROR_BYTES];
        char name[ES_LINE_BYTES];
        es_text(folder, "sys/class/powercap/intel-rapl:%u:%u", package, part);
        if (es_file_device(root, folder, name) && strcmp(name, "dram") == 0 &&
            !add(meter, root, folder, "dram", why)) {
            return false;
        }
    }
    return true;
}

static bool find(const char *root, const char *which, es_meter *meter, char why[ES_ERROR_BYTES])
{
    (void)which;
    for (unsigned package = 0; package < PACKAGES; package++) {
        char folder[ES_ERROR_BYTES];
        char name[ES_LINE_BYTES];
        es_text(folder, "sys/class/powercap/intel-rapl:%u", package);
        if (!es_file_device(root, folder, name)) {
            continue;
        }
        if (!add(meter, root, folder, name, why) || !add_memory(meter, root, package, why)) {
            return false;
        }
    }
    for (size_t i = 0; i < meter->count; i++) {
        meter->total = strcmp(meter->rails[i].name, "psys") == 0 ? i : meter->total; /* the whole platform */
    }
    return meter->count > 0;
}

const es_meter_reader es_meter_rapl = {"rapl", find, .takes_device = false};
