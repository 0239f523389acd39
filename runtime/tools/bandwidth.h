/* How fast a device reads its main memory. */
#ifndef BANDWIDTH_H
#define BANDWIDTH_H

#include "served.h"

/* Answers how many bytes a second threads read of a buffer, the best of its passes: see serve.h. */
void answer_bandwidth(served *work, const json_object *request);

#endif
