/* A program whose thread-local variables are larger than the stack of a worker: tls MODEL. */
#include "subject.h"

enum { THREADS = 4, BALLAST_BYTES = 5 * 1024 * 1024 };

static _Thread_local volatile char ballast[BALLAST_BYTES];

int main(int count, char **arguments)
{
    subject tested;
    es_session *session;
    es_output outputs[2];
    es_error error;
    require(count == 2, "usage: tls MODEL");
    ballast[BALLAST_BYTES - 1] = 1;
    open_subject(&tested, arguments[1]);
    make_outputs(&tested, outputs);
    require(es_session_open(tested.model, THREADS, &session, &error) == ES_OK, error.message);
    require_run(&tested, session, outputs);
    es_session_close(session);
    es_model_close(tested.model);
    return 0;
}
