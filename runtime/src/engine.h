/* Engines: what runs the steps of a plan, in memory of its own. session.c knows one by this table alone. */
#ifndef ES_ENGINE_H
#define ES_ENGINE_H

#include "error.h"
#include "model.h"
#include "pool.h"

typedef struct es_engine_kind es_engine_kind;

/* The engine of one session; each kind keeps what it needs behind this. */
typedef struct es_engine {
    const es_engine_kind *kind;
} es_engine;

struct es_engine_kind {
    /* Starts an engine for `model` on the threads of `pool`; both must stay open until it is closed.
     * engine: set on success only.
     * Returns ES_OK or ES_ERR_NO_MEMORY. */
    es_status (*open)(const es_model *model, es_pool *pool, es_engine **engine, es_error *error);

    /* Gives back the memory of an engine that is not running. */
    void (*close)(es_engine *engine);

    /* Returns ES_OK, or ES_ERR_FORKED if its pool was opened by the process that this one was forked off. */
    es_status (*check)(const es_engine *engine, es_error *error);

    /* Copy to and from its arena: a range that is inside it. */
    void (*write)(es_engine *engine, size_t offset, const void *data, size_t size_bytes);
    void (*read)(const es_engine *engine, size_t offset, void *data, size_t size_bytes);

    /* Runs steps [begin, end) one after another, up to the first that fails, once it is their turn in the
     * pool.
     * step_ns: how long each step of the plan took, by its number; NULL if nobody asks.
     * Returns ES_OK, ES_ERR_INPUT or ES_ERR_UNSUPPORTED. */
    es_status (*run)(es_engine *engine, uint32_t begin, uint32_t end, uint64_t *step_ns,
                     es_error *error);
};

/* Threads of this machine. */
extern const es_engine_kind es_engine_cpu;

#endif
