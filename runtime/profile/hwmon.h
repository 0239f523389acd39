/* Devices of Linux's hwmon as rails of a meter; boards that have them under other names use these. */
#ifndef ES_HWMON_H
#define ES_HWMON_H

#include "meter.h"

/* Adds all channels of power of the devices whose name begins with `device`; false if there are none. */
bool es_hwmon_find(const char *root, const char *device, es_meter *meter, char why[ES_ERROR_BYTES]);

/* Adds the channels of one device, which lies in `folder`. */
void es_hwmon_add(es_meter *meter, const char *root, const char *folder, const char *device,
                  char why[ES_ERROR_BYTES]);

/* Finds the rail that feeds all others, by its label. */
void es_hwmon_choose_total(es_meter *meter);

#endif
