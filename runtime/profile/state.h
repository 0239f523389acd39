/* Temperature, clock, governor and throttling of the device. */
#ifndef ES_STATE_H
#define ES_STATE_H

#include "edgesparse_profile.h"

/* Reads what changes while a model runs. */
void es_state_read_now(const char *root, double *temperature_c, double *clock_hz);

void es_state_read(const char *root, es_device_state *state);

#endif
