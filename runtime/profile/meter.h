/* Meters of energy that the system shows. A reader finds the rails of its kind; then all are read alike. */
#ifndef ES_METER_H
#define ES_METER_H

#include "edgesparse_profile.h"
#include "text.h"

/* How a rail is read: a counter of energy, power, or voltage and current. */
typedef struct es_channel {
    int files[2];   /* the second is of the current; -1 */
    double scale;   /* of what is read, or of the product, to J or W */
    double step[2]; /* of what is read: the smallest that it changes by */
    double range;   /* of a counter of energy: where it begins again, in J; 0 if nobody says */
    bool counts;    /* energy, not power */
    bool either_way; /* which way current flows is not told alike: the size counts */
    double last;    /* of a counter, in J */
} es_channel;

typedef struct es_meter es_meter;

struct es_meter {
    char name[ES_RAIL_BYTES];
    double hz;             /* how often there is something new to read */
    bool only_changes;     /* a reading that equals the last is no new one */
    size_t count;
    size_t total;          /* the rail that has all others in it, or `count`: their sum is the device */
    es_rail rails[ES_MAX_RAILS];
    es_channel channels[ES_MAX_RAILS];
    int device;            /* of a reader of its own; -1 */
    /* Reads the watts of all rails; NULL: the channels are read. */
    bool (*watts)(const es_meter *meter, double *watts, double *doubt);
    bool broken;           /* a counter went backwards, or a file is gone */
    bool is_cut;           /* there are more rails than there is room for */
    bool has_read;
    uint64_t last_ns;
    double last_watts;
    double joules;         /* since it was opened */
    double doubt_j;        /* of a counter */
    double doubt_w;        /* of power */
};

/* A kind of meter. */
typedef struct es_meter_reader {
    const char *name;
    /* Finds the rails. `which`: behind the colon of the name, or "". False if there is nothing, and in `why`
     * the reason if there nearly was. */
    bool (*find)(const char *root, const char *which, es_meter *meter, char why[ES_ERROR_BYTES]);
    bool takes_device; /* its name may have one behind a colon */
    /* Says what is there in place of what `name`, as the caller wrote it, asks for; NULL if that is nothing. */
    void (*explain)(const char *root, const char *name, char why[ES_ERROR_BYTES]);
} es_meter_reader;

extern const es_meter_reader es_meter_pmic;
extern const es_meter_reader es_meter_jetson;
extern const es_meter_reader es_meter_hwmon;
extern const es_meter_reader es_meter_rapl;
extern const es_meter_reader es_meter_battery;

/* Opens the meter of that name, or with "auto" the first of the readers that finds one.
 * Returns false and says why in `why` if there is none. */
bool es_meter_open(const char *root, const char *name, es_meter *meter, char why[ES_ERROR_BYTES]);

/* Reads it: adds to its joules what was consumed since the last time. False if nothing new could be read. */
bool es_meter_read(es_meter *meter);

void es_meter_close(es_meter *meter);

/* Adds a rail; false if there is no room, or a file cannot be opened, which `why` says.
 * power or energy: one path; voltage and current: two. */
bool es_meter_add(es_meter *meter, const char *root, const char *name, const char *reads, const char *path,
                  const char *current_path, double scale, char why[ES_ERROR_BYTES]);

#endif
