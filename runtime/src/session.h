/* What other parts of the runtime ask of a session. */
#ifndef ES_SESSION_H
#define ES_SESSION_H

#include "model.h"

/* The model that a session runs. */
const es_model *es_session_model(const es_session *session);

#endif
