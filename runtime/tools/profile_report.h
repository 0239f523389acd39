/* What esrun tells of a profile: as text, and as JSON for who asked for it over a pipe. */
#ifndef PROFILE_REPORT_H
#define PROFILE_REPORT_H

#include "edgesparse_profile.h"

/* Prints a profile in lines.
 * opened_ns: how long opening took; battery_wh: of a battery, 0 if there is none. */
void print_profile(const es_profile *profile, const es_model_info *info, uint64_t opened_ns, double rate_hz,
                   double battery_wh);

/* Prints an object of JSON with what is known of the memory of this process; null where something is not. */
void print_resident_json(const es_resident *resident);

/* Prints one line of JSON: the fields of es_profile by their names; null where something is not known. */
void print_profile_json(const es_profile *profile, const es_model_info *info, uint64_t opened_ns);

#endif
