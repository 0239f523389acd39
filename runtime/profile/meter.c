#define _GNU_SOURCE
#include "meter.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "files.h"
#include "clock.h"

static const es_meter_reader *const readers[] = {&es_meter_pmic, &es_meter_jetson, &es_meter_hwmon,
                                                 &es_meter_rapl, &es_meter_battery};

enum { READERS = sizeof readers / sizeof readers[0] };

bool es_meter_add(es_meter *meter, const char *root, const char *name, const char *reads, const char *path,
                  const char *current_path, double scale, char why[ES_ERROR_BYTES])
{
    if (meter->count == ES_MAX_RAILS) {
        es_text(why, "%s: there are more than %d rails, and none that feeds all; name a device: hwmon:NAME", meter->name,
                ES_MAX_RAILS);
        meter->is_cut = true;
        return false;
    }
    const char *const paths[] = {path, current_path};
    es_channel channel = {.files = {-1, -1}, .scale = scale, .step = {1, 1}};
    for (size_t i = 0; i < 2 && paths[i] != NULL; i++) {
        channel.files[i] = es_file_open(root, paths[i]);
        if (channel.files[i] < 0) {
            es_text(why, "%s/%s: %s", root, paths[i],
                      errno == EACCES || errno == EPERM
                          ? "may not be read; remedy: run as root, or let everybody read it (chmod a+r)"
                          : "cannot be opened");
            if (channel.files[0] >= 0) {
                close(channel.files[0]);
            }
            return false;
        }
    }
    es_rail *const rail = &meter->rails[meter->count];
    es_text_copy(rail->name, sizeof rail->name, name);
    es_text_copy(rail->reads, sizeof rail->reads, reads);
    rail->shunt_ohm = NAN;
    meter->channels[meter->count++] = channel;
    meter->total = meter->count;
    return true;
}

/* Whether `name` is that of this reader, perhaps with a colon behind it. */
static bool is_of(const es_meter_reader *reader, const char *name)
{
    const size_t size = strlen(reader->name);
    return strncmp(name, reader->name, size) == 0 && (name[size] == '\0' || name[size] == ':');
}

/* Whether `name` asks for this reader; `*which` is what stands behind its colon. */
static bool is_named(const es_meter_reader *reader, const char *name, const char **which)
{
    const size_t size = strlen(reader->name);
    *which = "";
    if (strcmp(name, "auto") == 0) {
        return true;
    }
    if (!is_of(reader, name) || (name[size] == ':' && (!reader->takes_device || name[size + 1] == '\0'))) {
        return false;
    }
    *which = name[size] == ':' ? name + size + 1 : "";
    return true;
}

/* Appends to names with commas between. */
static void append(char names[ES_ERROR_BYTES], const char *name)
{
    char before[ES_ERROR_BYTES];
    memcpy(before, names, sizeof before);
    es_text(names, "%s%s%s", before, before[0] != '\0' ? ", " : "", name);
}

/* Writes the names of all readers. */
static void list_readers(char names[ES_ERROR_BYTES])
{
    names[0] = '\0';
    for (size_t i = 0; i < READERS; i++) {
        append(names, readers[i]->name);
    }
}

/* Writes the names of the readers that find something. */
static void list_found(const char *root, char names[ES_ERROR_BYTES])
{
    names[0] = '\0';
    for (size_t i = 0; i < READERS; i++) {
        char why[ES_ERROR_BYTES] = "";
        es_meter meter = {.device = -1};
        if (readers[i]->find(root, "", &meter, why)) {
            append(names, readers[i]->name);
        }
        es_meter_close(&meter);
    }
}

/* Says what is there in place of the meter that `name` asks for. */
static void explain(const char *root, const char *name, char why[ES_ERROR_BYTES])
{
    char names[ES_ERROR_BYTES];
    for (size_t i = 0; i < READERS; i++) {
        const char *which;
        if (is_of(readers[i], name) && readers[i]->explain != NULL) {
            readers[i]->explain(root, name, why);
            return;
        }
        if (is_named(readers[i], name, &which)) {
            list_found(root, names);
            es_text(why, names[0] != '\0' ? "meter %s: there is none here, but %s"
                                          : "meter %s: there is none here, nor another%s; an external meter would make it "
                                            "available", name, names);
            return;
        }
    }
    list_readers(names);
    es_text(why, "meter: got '%.60s', expected auto, none, or one of %s", name, names);
}

bool es_meter_open(const char *root, const char *name, es_meter *meter, char why[ES_ERROR_BYTES])
{
    char reason[ES_ERROR_BYTES] = "";
    for (size_t i = 0; i < READERS; i++) {
        const char *which;
        if (!is_named(readers[i], name, &which)) {
            continue;
        }
        *meter = (es_meter){.hz = 10, .device = -1};
        es_text_copy(meter->name, sizeof meter->name, readers[i]->name);
        char found[ES_ERROR_BYTES] = "";
        if (readers[i]->find(root, which, meter, found)) {
            return true;
        }
        es_meter_close(meter);
        if (reason[0] == '\0') {
            es_text_copy(reason, sizeof reason, found);
        }
    }
    char names[ES_ERROR_BYTES];
    if (reason[0] != '\0') {
        es_text_copy(why, ES_ERROR_BYTES, reason);
    } else if (strcmp(name, "auto") == 0) {
        list_readers(names);
        es_text(why, "nothing here measures power (looked for %s); an external meter would make it available", names);
    } else {
        explain(root, name, why);
    }
    return false;
}

static const double MOST_WATTS = 1e5; /* of a board; what reads more is broken */

/* What a channel reads: J since its counter was 0, or W; and by how much that may be wrong. */
static bool read_channel(const es_channel *channel, double *value, double *doubt)
{
    double read[2] = {0, 1};
    for (size_t i = 0; i < 2 && channel->files[i] >= 0; i++) {
        if (!es_file_number(channel->files[i], &read[i])) {
            return false;
        }
    }
    const bool is_product = channel->files[1] >= 0;
    *value = read[0] * read[1] * channel->scale;
    *value = channel->either_way && *value < 0 ? -*value : *value;
    *doubt = is_product ? (read[1] * channel->step[0] + read[0] * channel->step[1]) * channel->scale / 2
                        : channel->step[0] * channel->scale / 2;
    *doubt = *doubt > 0 ? *doubt : -*doubt;
    return channel->counts || (*value < MOST_WATTS && *value > -MOST_WATTS);
}

/* What a counter has counted since the last time; false if it went backwards and nobody says where it begins
 * again. */
static bool advance(es_channel *channel, double now, double *joules)
{
    *joules = now - channel->last;
    if (*joules < 0) {
        if (channel->range <= 0) {
            return false;
        }
        *joules += channel->range;
        if (*joules > channel->range / 2) {
            return false; /* it was set back: no half of the range passes between two readings */
        }
    }
    channel->last = now;
    return *joules >= 0;
}

/* Adds up all rails that make the whole. */
static bool read_rails(es_meter *meter, double *joules, double *watts, double *doubt_w)
{
    for (size_t i = 0; i < meter->count; i++) {
        es_channel *const channel = &meter->channels[i];
        if (meter->total < meter->count && i != meter->total) {
            continue;
        }
        double value;
        double doubt;
        double passed = 0;
        if (!read_channel(channel, &value, &doubt)) {
            return false;
        }
        if (!channel->counts) {
            *watts += value;
            *doubt_w += doubt;
        } else if (!meter->has_read) {
            channel->last = value;
            meter->doubt_j += 2 * doubt;
        } else if (advance(channel, value, &passed)) {
            *joules += passed;
        } else {
            meter->broken = true;
            return false;
        }
    }
    return true;
}

bool es_meter_read(es_meter *meter)
{
    double joules = 0;
    double watts = 0;
    double doubt_w = 0;
    const uint64_t before_ns = es_now_ns();
    const bool is_read = meter->watts != NULL ? meter->watts(meter, &watts, &doubt_w)
                                              : read_rails(meter, &joules, &watts, &doubt_w);
    const uint64_t now_ns = before_ns + (es_now_ns() - before_ns) / 2;
    if (!is_read || meter->broken) {
        return false;
    }
    if (meter->has_read) {
        joules += (watts + meter->last_watts) / 2 * (double)(now_ns - meter->last_ns) / 1e9;
    }
    const bool is_new = !meter->has_read || !meter->only_changes || watts != meter->last_watts;
    meter->joules += joules;
    meter->doubt_w = doubt_w > meter->doubt_w ? doubt_w : meter->doubt_w;
    meter->last_watts = watts;
    meter->last_ns = now_ns;
    meter->has_read = true;
    return is_new;
}

void es_meter_close(es_meter *meter)
{
    for (size_t i = 0; i < meter->count; i++) {
        for (size_t j = 0; j < 2; j++) {
            if (meter->channels[i].files[j] >= 0) {
                close(meter->channels[i].files[j]);
            }
        }
    }
    meter->count = 0;
    if (meter->device >= 0) {
        close(meter->device);
    }
    meter->device = -1;
}
