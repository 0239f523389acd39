#define _GNU_SOURCE
#include "bandwidth.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

enum {
    LEAST_BYTES = 1 << 20,
    MOST_BYTES = 1 << 30,
    SUMS = 8, /* that do not wait for each other */
    LEAST_PASSES = 3
};

/* What all readers have in common. */
typedef struct passes {
    pthread_mutex_t gate; /* closed until all readers are there */
    pthread_barrier_t turn;
    bool is_over;
} passes;

/* A thread, and its part of the buffer. */
typedef struct reader {
    pthread_t thread;
    passes *common;
    uint64_t *numbers;
    size_t count;
    long core; /* -1: any */
    int failed; /* the errno of why it cannot run on its core */
    uint64_t sum;
    uint64_t begin_ns;
    uint64_t end_ns;
} reader;

/* Plain C, which compilers turn into vectors; all that is read counts, so nothing is left out. */
static uint64_t sum_of(const uint64_t *numbers, size_t count)
{
    uint64_t sums[SUMS] = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i + SUMS <= count; i += SUMS) {
        for (size_t j = 0; j < SUMS; j++) {
            sums[j] += numbers[i + j];
        }
    }
    for (size_t j = 0; j < SUMS; j++) {
        sum += sums[j];
    }
    return sum;
}

static int keep_to(long core)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)core, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0 ? 0 : errno;
}

/* Writes its part first: pages that nobody has written are one page of zeros. */
static void *read_part(void *context)
{
    reader *const self = context;
    passes *const common = self->common;
    pthread_mutex_lock(&common->gate);
    pthread_mutex_unlock(&common->gate);
    if (common->is_over) {
        return NULL;
    }
    self->failed = self->core < 0 ? 0 : keep_to(self->core);
    memset(self->numbers, 1, self->count * sizeof *self->numbers);
    for (;;) {
        pthread_barrier_wait(&common->turn);
        if (common->is_over) {
            return NULL;
        }
        self->begin_ns = es_now_ns();
        self->sum += sum_of(self->numbers, self->count);
        self->end_ns = es_now_ns();
        pthread_barrier_wait(&common->turn);
    }
}

/* From when the first reader began until the last one was done. */
static uint64_t pass_ns(const reader *readers, size_t count)
{
    uint64_t begin_ns = readers[0].begin_ns;
    uint64_t end_ns = readers[0].end_ns;
    for (size_t i = 1; i < count; i++) {
        begin_ns = readers[i].begin_ns < begin_ns ? readers[i].begin_ns : begin_ns;
        end_ns = readers[i].end_ns > end_ns ? readers[i].end_ns : end_ns;
    }
    return end_ns > begin_ns ? end_ns - begin_ns : 1;
}

/* Lets all readers read until the time is over; returns the shortest pass. */
static uint64_t shortest_pass_ns(passes *common, const reader *readers, size_t count, uint64_t milliseconds)
{
    uint64_t shortest = UINT64_MAX;
    uint64_t end_ns = 0;
    for (size_t pass = 0; pass < LEAST_PASSES || es_now_ns() < end_ns; pass++) {
        pthread_barrier_wait(&common->turn);
        end_ns = pass == 0 ? es_now_ns() + milliseconds * 1000000u : end_ns;
        pthread_barrier_wait(&common->turn);
        const uint64_t took = pass_ns(readers, count);
        shortest = took < shortest ? took : shortest;
    }
    common->is_over = true;
    pthread_barrier_wait(&common->turn);
    return shortest;
}

/* Starts the readers, and ends them; returns the shortest pass, or 0 if they cannot all be started. */
static uint64_t read_all(reader *readers, size_t count, uint64_t milliseconds)
{
    passes common = {.is_over = false};
    uint64_t shortest = 0;
    size_t started = 0;
    if (pthread_barrier_init(&common.turn, NULL, (unsigned)count + 1) != 0) {
        return 0;
    }
    pthread_mutex_init(&common.gate, NULL);
    pthread_mutex_lock(&common.gate);
    for (; started < count; started++) {
        readers[started].common = &common;
        if (pthread_create(&readers[started].thread, NULL, read_part, &readers[started]) != 0) {
            break;
        }
    }
    common.is_over = started < count;
    pthread_mutex_unlock(&common.gate);
    if (started == count) {
        shortest = shortest_pass_ns(&common, readers, count, milliseconds);
    }
    for (size_t i = 0; i < started; i++) {
        pthread_join(readers[i].thread, NULL);
    }
    pthread_mutex_destroy(&common.gate);
    pthread_barrier_destroy(&common.turn);
    return shortest;
}

/* Reads a buffer of so many numbers with `count` readers, and answers. */
static void answer_readers(reader *readers, size_t count, uint64_t *numbers, size_t each, uint64_t milliseconds)
{
    char message[128];
    for (size_t i = 0; i < count; i++) {
        readers[i].numbers = numbers + i * each;
        readers[i].count = each;
    }
    const uint64_t ns = read_all(readers, count, milliseconds);
    for (size_t i = 0; i < count; i++) {
        if (readers[i].failed != 0) {
            snprintf(message, sizeof message, "core %ld cannot be used: %s", readers[i].core,
                     strerror(readers[i].failed));
            answer_error(message, ES_ERR_ARGUMENT);
            return;
        }
    }
    if (ns == 0) {
        answer_error("bandwidth: not so many threads can be started", ES_ERR_NO_MEMORY);
        return;
    }
    const double bytes = (double)each * (double)count * (double)sizeof *numbers;
    printf("{\"bytes_per_s\": %.0f}\n", bytes / (double)ns * 1e9);
}

void answer_bandwidth(served *work, const json_object *request)
{
    reader readers[ES_MAX_THREADS] = {{.core = -1}};
    const uint64_t bytes = json_number(request, "bytes", 64 << 20);
    const uint64_t threads = json_number(request, "threads", 1);
    const uint64_t milliseconds = json_number(request, "milliseconds", 500);
    const json_field *const cores = json_list(request, "cores");
    if (bytes < LEAST_BYTES || bytes > MOST_BYTES || threads < 1 || threads > ES_MAX_THREADS ||
        milliseconds > 10000) {
        answer_error("bandwidth: expected 1 MiB to 1 GiB, 1 to 64 threads and at most 10000 milliseconds",
                     ES_ERR_ARGUMENT);
        return;
    }
    for (size_t i = 0; i < threads; i++) {
        const uint64_t core = cores != NULL && cores->count > 0 ? cores->numbers[i % cores->count] : CPU_SETSIZE;
        readers[i].core = core < CPU_SETSIZE ? (long)core : -1;
    }
    if (work->lock == 0 && !open_lock(work, request)) {
        work->lock = 0;
        answer_error("bandwidth: the lock cannot be made", ES_ERR_IO);
        return;
    }
    if (!take_lock(work)) {
        return;
    }
    const size_t each = (size_t)(bytes / threads) / (SUMS * sizeof(uint64_t)) * SUMS;
    uint64_t *const numbers = malloc(each * (size_t)threads * sizeof *numbers);
    if (numbers == NULL) {
        answer_error("bandwidth: no memory for the buffer", ES_ERR_NO_MEMORY);
        return;
    }
    answer_readers(readers, (size_t)threads, numbers, each, milliseconds);
    free(numbers);
}
