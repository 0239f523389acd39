/* How a thread of the runtime sleeps. */
#ifndef ES_WAITING_H
#define ES_WAITING_H

#include <pthread.h>

/* As pthread_cond_wait, and no cancellation point: a thread that is cancelled meanwhile would leave what it
 * waits for half done. Android has no cancellation. */
static inline void es_wait(pthread_cond_t *until, pthread_mutex_t *mutex)
{
#ifndef __ANDROID__
    int previous;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &previous);
#endif
    pthread_cond_wait(until, mutex);
#ifndef __ANDROID__
    pthread_setcancelstate(previous, &previous);
#endif
}

#endif
