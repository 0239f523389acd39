/* Engines: what runs the steps of a plan, in memory of its own. session.c knows one by this table alone. */
#ifndef ES_ENGINE_H
#define ES_ENGINE_H

#include "error.h"
#include "model.h"

typedef struct es_engine_kind es_engine_kind;

/* The engine of one session; each kind keeps what it needs behind this. */
typedef struct es_engine {
    const es_engine_kind *kind;
} es_engine;

struct es_engine_kind {
    /* Starts an engine for `model`, which must stay open until the engine is closed.
     * threads: 1 to ES_MAX_THREADS, the caller of `run` being one of them.
     * engine: set on success only.
     * Returns ES_OK, ES_ERR_NO_MEMORY or ES_ERR_THREAD. */
    es_status (*open)(const es_model *model, uint32_t threads, es_engine **engine, es_error *error);

    /* Stops an engine that is not running, and gives back its memory. */
    void (*close)(es_engine *engine);

    /* Returns ES_OK, or ES_ERR_FORKED if it was started by the process that this one was forked off. */
    es_status (*check)(const es_engine *engine, es_error *error);

    /* Copy to and from its arena: a range that is inside it. */
    void (*write)(es_engine *engine, size_t offset, const void *data, size_t size_bytes);
    void (*read)(const es_engine *engine, size_t offset, void *data, size_t size_bytes);

    /* Runs steps [begin, end) one after another, up to the first that fails.
     * step_ns: how long each step of the plan took, by its number; NULL if nobody asks.
     * Returns ES_OK, ES_ERR_INPUT or ES_ERR_UNSUPPORTED. */
    es_status (*run)(es_engine *engine, uint32_t begin, uint32_t end, uint64_t *step_ns,
                     es_error *error);
};

/* Threads of this machine. */
extern const es_engine_kind es_engine_cpu;

#endif
