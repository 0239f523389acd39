/* Which cores this process runs on, how urgent it is, and how its idle threads wait. */
#ifndef PLACEMENT_H
#define PLACEMENT_H

#include <stdbool.h>

#include "edgesparse.h"
#include "json.h"

/* Takes --cores, --spin-us or --priority; false if `name` is none of them. A wrong value is fatal. */
bool take_placement(es_pool_options *options, const char *name, const char *value);

/* Opens a session, all of whose threads, the calling one included, are as the options say. Without cores they
 * run where the program might when it started.
 * Returns the same as es_pool_open and es_session_open_in. */
es_status open_placed(es_model *model, const es_pool_options *options, es_session **session,
                      es_error *error);

/* The same, with the "threads" and the "cores" of a request. */
es_status open_requested(es_model *model, const json_object *request, es_session **session,
                         es_error *error);

#endif
