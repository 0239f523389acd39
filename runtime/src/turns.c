#include "turns.h"

#include <stdbool.h>

#include "platform.h"
#include "waiting.h"

enum { SPINS_PER_CLOCK_READ = 64 };

void es_turns_start(es_turns *turns)
{
    atomic_init(&turns->drawn, 0);
    atomic_init(&turns->served, 0);
    atomic_init(&turns->sleepers, 0);
    pthread_mutex_init(&turns->mutex, NULL);
    pthread_cond_init(&turns->changed, NULL);
}

static bool spin_for_turn(es_turns *turns, uint32_t ticket, uint64_t spin_ns)
{
    const uint64_t start = es_now_ns();
    do {
        for (int i = 0; i < SPINS_PER_CLOCK_READ; i++) {
            if (atomic_load_explicit(&turns->served, memory_order_acquire) == ticket) {
                return true;
            }
            es_relax();
        }
    } while (es_now_ns() - start < spin_ns);
    return false;
}

uint32_t es_turns_take(es_turns *turns, uint64_t spin_ns)
{
    const uint32_t ticket = atomic_fetch_add_explicit(&turns->drawn, 1, memory_order_relaxed);
    if (atomic_load_explicit(&turns->served, memory_order_acquire) == ticket ||
        spin_for_turn(turns, ticket, spin_ns)) {
        return ticket;
    }
    pthread_mutex_lock(&turns->mutex);
    atomic_fetch_add(&turns->sleepers, 1);
    while (atomic_load(&turns->served) != ticket) {
        es_wait(&turns->changed, &turns->mutex);
    }
    atomic_fetch_sub(&turns->sleepers, 1);
    pthread_mutex_unlock(&turns->mutex);
    return ticket;
}

void es_turns_give(es_turns *turns, uint32_t ticket)
{
    /* Sequentially consistent, as is what a sleeper does: at least one of the two sees the other. */
    atomic_store(&turns->served, ticket + 1);
    if (atomic_load(&turns->sleepers) > 0) {
        pthread_mutex_lock(&turns->mutex);
        pthread_cond_broadcast(&turns->changed);
        pthread_mutex_unlock(&turns->mutex);
    }
}

void es_turns_stop(es_turns *turns)
{
    pthread_cond_destroy(&turns->changed);
    pthread_mutex_destroy(&turns->mutex);
}
