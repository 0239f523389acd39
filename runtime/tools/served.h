/* What esrun --serve has open, and the requests about it. */
#ifndef SERVED_H
#define SERVED_H

#include <stdbool.h>

#include "edgesparse.h"
#include "json.h"

enum { MAX_OWNER_BYTES = 64 };

/* An open artifact, and memory for its inputs and outputs. */
typedef struct served {
    es_model *model;
    es_session *session;
    es_model_info info;
    es_input *inputs;
    es_output *outputs;
    uint64_t opened_ns; /* how long opening took */
    uint64_t first_ns;  /* and the first run; 0: there was none */
    bool ran; /* the inputs are those of a run */
    int lock; /* a file that only one owner has while it measures; 0 if there is none */
    char owner[MAX_OWNER_BYTES];
} served;

/* Answers that something failed. */
void answer_error(const char *message, es_status status);

/* Opens an artifact in place of the one that is open, and answers what it takes and gives. */
void open_artifact(served *work, const json_object *request);

/* Closes what is open. */
void release(served *work);

/* Opens the "lock" of a request, a file that says who measures, for its "owner"; false if it cannot be made. */
bool open_lock(served *work, const json_object *request);

/* Takes the lock of the device; if another owner has it, answers that and returns false. Sessions of one owner
 * share it: they take turns. */
bool take_lock(served *work);

/* Runs the inputs once. step_ns: gets the time of each step, unless it is NULL. */
es_status run_once(served *work, uint64_t *step_ns, es_error *error);

/* Answer how long runs took, or with `by_step` each step of each; what a measurement of some seconds tells; and
 * what the system tells of the memory of this process. */
void answer_times(served *work, const json_object *request, bool by_step);
void answer_measurement(served *work, const json_object *request);
void answer_meters(void);

#endif
