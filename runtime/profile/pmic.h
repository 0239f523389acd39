/* What the firmware of a Raspberry Pi 5 answers to pmic_read_adc. */
#ifndef ES_PMIC_H
#define ES_PMIC_H

#include "edgesparse_profile.h"

/* Adds up the rails that tell both voltage and current; stores the names of the first `room`, and returns how many
 * there are.
 * answer: NUL-terminated, may hold anything. */
size_t es_pmic_parse(const char *answer, double *watts, char names[][ES_RAIL_BYTES], size_t room);

#endif
