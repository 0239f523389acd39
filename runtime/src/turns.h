/* Threads that take turns, in the order in which they come. A mutex would not do: who gives one back and
 * wants it again at once has it before a sleeper is awake, and the sleeper starves. */
#ifndef ES_TURNS_H
#define ES_TURNS_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#include "format.h"

typedef struct es_turns {
    alignas(ES_DATA_ALIGN) _Atomic uint32_t drawn; /* tickets so far, modulo 2^32 */
    _Atomic uint32_t served;                       /* the ticket whose turn it is */
    _Atomic uint32_t sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
} es_turns;

void es_turns_start(es_turns *turns);

/* Waits for the caller's turn: spins for `spin_ns`, and then sleeps. Returns its ticket. */
uint32_t es_turns_take(es_turns *turns, uint64_t spin_ns);

/* Ends the turn of that ticket. */
void es_turns_give(es_turns *turns, uint32_t ticket);

/* Ends what es_turns_start began, while nobody waits. */
void es_turns_stop(es_turns *turns);

#endif
