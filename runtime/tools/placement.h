/* Which cores this process runs on, how urgent it is, and how its idle threads wait. */
#ifndef PLACEMENT_H
#define PLACEMENT_H

#include <stdbool.h>

#include "edgesparse.h"
#include "json.h"

/* Takes --cores, --spin-us or --priority; false if `name` is none of them. A wrong value is fatal. */
bool take_placement(es_pool_options *options, const char *name, const char *value);

/* An artifact that is ready to run. */
typedef struct opened {
    es_model *model;
    es_session *session;
    uint64_t ns; /* that it took: the file is mapped and checked, a plan is chosen, and its threads start */
} opened;

/* Opens an artifact and a session, all of whose threads, the calling one included, are as the options say. Without
 * cores they run where the program might when it started.
 * Returns the same as es_model_open_file, es_pool_open and es_session_open_in; `made` may then hold a model. */
es_status open_placed(const char *path, uint32_t flags, const es_pool_options *options, opened *made, es_error *error);

/* The same, with the "threads" and the "cores" of a request. */
es_status open_requested(const char *path, const json_object *request, opened *made, es_error *error);

#endif
