/* edgesparse runtime: opens model.esp and runs it. This header is the whole API.
 *
 * Opening checks everything that memory safety rests on, so any bytes may be opened. Running an
 * artifact runs the machine code inside it: run only artifacts you trust, as with any program.
 *
 * Every function may be called from any thread. A model is read-only and shared by its sessions; a
 * session runs one inference at a time. Sessions may share the threads of a pool, in which they take turns. An artifact must not be modified while it is open: replace
 * it by renaming a new file over it. A file that is made shorter takes its pages away, and touching one
 * is a SIGBUS.
 *
 * Forks: a model that was open before a fork works in the child. A session and a pool do not, since a fork
 * copies no threads: running or using one returns ES_ERR_FORKED, closing it frees its memory, and the child
 * opens one of its own.
 *
 * Signals: the threads of a pool block all but SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS and
 * SIGPROF. No function may be called from a signal handler.
 *
 * Cancellation: es_session_run has no cancellation point; es_model_open_file, es_session_close and
 * es_pool_close have, and leak when they are cancelled.
 *
 * Floating point: kernels round to nearest, keep denormals and trap nothing, whatever the caller set. */
#ifndef EDGESPARSE_H
#define EDGESPARSE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ES_API __attribute__((visibility("default")))

/* Of this header, and of all that is released with it: MAJOR.MINOR.PATCH. */
#define ES_VERSION "0.1.0"

/* Values are pinned: they never change and are never used again. */
#define ES_STATUS_LIST(X)                                                         \
    X(ES_OK, 0, "success")                                                        \
    X(ES_ERR_ARGUMENT, 1, "an argument of the call is invalid")                   \
    X(ES_ERR_IO, 2, "the file cannot be read")                                    \
    X(ES_ERR_NO_MEMORY, 3, "the system has no memory left")                       \
    X(ES_ERR_TRUNCATED, 4, "the artifact is shorter than it says")                \
    X(ES_ERR_BAD_MAGIC, 5, "the file is not an edgesparse artifact")              \
    X(ES_ERR_VERSION, 6, "the artifact has another major version")                \
    X(ES_ERR_CORRUPT, 7, "a checksum does not match")                             \
    X(ES_ERR_INVALID, 8, "the artifact contradicts itself")                       \
    X(ES_ERR_UNSUPPORTED, 9, "the artifact needs a newer runtime")                \
    X(ES_ERR_CPU, 10, "the artifact was compiled for another CPU")                \
    X(ES_ERR_LIMIT, 11, "the artifact exceeds a limit of the runtime")            \
    X(ES_ERR_BUSY, 12, "the session is already running")                          \
    X(ES_ERR_TENSOR, 13, "a tensor does not fit the model")                       \
    X(ES_ERR_THREAD, 14, "a thread cannot be started")                            \
    X(ES_ERR_EXECUTE, 15, "the system does not let the code section be executed") \
    X(ES_ERR_INPUT, 16, "a value in an input tensor is not allowed")              \
    X(ES_ERR_FORKED, 17, "the session was opened before the process was forked")  \
    X(ES_ERR_ANSWER, 18, "an output is not what the artifact promises")

typedef enum es_status {
#define ES_STATUS_ENUM(name, value, message) name = value,
    ES_STATUS_LIST(ES_STATUS_ENUM)
#undef ES_STATUS_ENUM
} es_status;

/* Element types; the name is numpy's. Values are pinned, as they are stored in artifacts. */
#define ES_DTYPE_LIST(X)              \
    X(ES_FLOAT32, 1, "float32", 4)    \
    X(ES_FLOAT16, 2, "float16", 2)    \
    X(ES_FLOAT64, 3, "float64", 8)    \
    X(ES_INT8, 4, "int8", 1)          \
    X(ES_UINT8, 5, "uint8", 1)        \
    X(ES_INT16, 6, "int16", 2)        \
    X(ES_UINT16, 7, "uint16", 2)      \
    X(ES_INT32, 8, "int32", 4)        \
    X(ES_UINT32, 9, "uint32", 4)      \
    X(ES_INT64, 10, "int64", 8)       \
    X(ES_UINT64, 11, "uint64", 8)     \
    X(ES_BOOL, 12, "bool", 1)

typedef enum es_dtype {
#define ES_DTYPE_ENUM(name, value, text, size_bytes) name = value,
    ES_DTYPE_LIST(ES_DTYPE_ENUM)
#undef ES_DTYPE_ENUM
} es_dtype;

/* What the pixels of an input mean; all but the first are of uint8. Values are pinned. */
#define ES_PICTURE_LIST(X)                 \
    X(ES_NO_PICTURE, 0, "")                \
    X(ES_RGB, 1, "rgb") /* [H, W, 3] */    \
    X(ES_BGR, 2, "bgr")                    \
    X(ES_GREY, 3, "grey") /* [H, W] */     \
    X(ES_RGB_PLANES, 4, "rgb-planes") /* [3, H, W] */ \
    X(ES_BGR_PLANES, 5, "bgr-planes")

typedef enum es_picture {
#define ES_PICTURE_ENUM(name, value, text) name = value,
    ES_PICTURE_LIST(ES_PICTURE_ENUM)
#undef ES_PICTURE_ENUM
} es_picture;

enum {
    ES_ERROR_BYTES = 256,
    ES_MAX_RANK = 8,
    ES_MAX_THREADS = 64,
    ES_MAX_CORES = 1024,
    ES_MAX_SPIN_US = 1000000,
    ES_MAX_PRIORITY = 19
};

/* What went wrong, in one line: where, what was found, what was expected. Filled when a function
 * that takes it fails; may be NULL. */
typedef struct es_error {
    char message[ES_ERROR_BYTES]; /* NUL-terminated UTF-8 without control characters */
} es_error;

/* A model: an artifact that has been checked and is ready to run. */
typedef struct es_model es_model;

/* Threads that run models. */
typedef struct es_pool es_pool;

/* An arena, and a scratch buffer for each thread of the pool that runs a model. */
typedef struct es_session es_session;

/* How the threads of a pool behave. Start from ES_POOL_OPTIONS, which says how large the structure is that
 * the program was compiled with: fields of later versions come at its end, and 0 is what was before. */
typedef struct es_pool_options {
    size_t size_bytes;
    uint32_t threads;  /* 1 to ES_MAX_THREADS, the caller of es_session_run being one of them */
    uint32_t spin_us;  /* how long a thread spins between two runs before it sleeps, up to ES_MAX_SPIN_US; 0
                        * sleeps at once. In a run it spins for at least 50 us, which bridges the gap between
                        * two steps. None spins where there are more threads than CPUs for them */
    uint32_t priority; /* 0 to ES_MAX_PRIORITY, added to the nice value of the thread that opens the pool:
                        * the larger, the less urgent */
    const uint32_t *cores; /* CPUs, by their numbers; read by es_pool_open only */
    size_t core_count;     /* 0: the threads run wherever that which opens the pool may */
} es_pool_options;

#define ES_POOL_OPTIONS {sizeof(es_pool_options), 1, 50, 0, NULL, 0}

/* Facts about a model. Pointers live as long as the model. */
typedef struct es_model_info {
    size_t input_count;
    size_t output_count;
    size_t step_count;
    size_t arena_bytes;   /* for each session */
    size_t scratch_bytes; /* for each thread of a session */
    size_t weights_bytes; /* mapped once for all sessions */
    size_t code_bytes;
    size_t plan;           /* that of the artifact's plans which this machine takes, counted from 0 */
    size_t plan_count;     /* more than 1 in an artifact that was compiled for several targets */
    const char *isa;       /* "x86_64", "aarch64" or "armv7" */
    const char *manifest;  /* JSON about where the model came from; not NUL-terminated */
    size_t manifest_bytes; /* 0 when the artifact has none */
    const char *labels;    /* those of es_model_label, one after the other, each with its NUL */
    size_t labels_bytes;
    size_t label_count;   /* 0 when the artifact has none */
    size_t labels_output; /* the output whose elements they name, one each */
} es_model_info;

/* An input or output: dense, row-major, in the byte order of the machine. */
typedef struct es_tensor_info {
    const char *name;
    const char *dtype_name;
    es_dtype dtype;
    uint32_t rank;
    uint32_t dims[ES_MAX_RANK]; /* the first `rank` are used, the others are 0 */
    size_t size_bytes;
    es_picture picture;
} es_tensor_info;

/* One kernel call of the plan. */
typedef struct es_step_info {
    const char *name;   /* the layer in the ONNX model */
    const char *op;     /* what it computes, such as "Conv+Relu" */
    const char *kernel; /* the symbol of the kernel */
    uint32_t tiles;     /* how many parts it has for the threads to share */
} es_step_info;

typedef struct es_input {
    const void *data; /* any alignment */
    size_t size_bytes;
} es_input;

typedef struct es_output {
    void *data; /* any alignment; NULL when this output is not wanted */
    size_t size_bytes;
} es_output;

/* Flags for es_model_open_*. */
enum {
    ES_OPEN_VERIFY_WEIGHTS = 1 /* hash all sections, not only those that memory safety rests on */
};

/* The version of the library, ES_VERSION of the header that it was compiled with. Never NULL. */
ES_API const char *es_version(void);

/* The name of a status, such as "ES_ERR_CORRUPT", and its meaning. Never NULL. */
ES_API const char *es_status_name(es_status status);
ES_API const char *es_status_message(es_status status);

/* Opens the artifact at `path`, which is mapped and not copied.
 * model: set on success only; close it with es_model_close.
 * Returns ES_OK or any ES_ERR_* but ES_ERR_BUSY, ES_ERR_TENSOR and ES_ERR_THREAD. */
ES_API es_status es_model_open_file(const char *path, uint32_t flags, es_model **model,
                                    es_error *error);

/* Opens an artifact that is in memory.
 * data: must stay unchanged until the model and its sessions are closed. The weights are used in
 *       place if `data` is aligned to 64 bytes and copied otherwise; the code is always copied.
 * model: set on success only; close it with es_model_close.
 * Returns the same as es_model_open_file. */
ES_API es_status es_model_open_memory(const void *data, size_t size_bytes, uint32_t flags,
                                      es_model **model, es_error *error);

/* Closes a model; NULL is ignored. Its open sessions stay usable and keep its memory. */
ES_API void es_model_close(es_model *model);

ES_API void es_model_describe(const es_model *model, es_model_info *info);

/* Describe one input, output or step. Return ES_OK, or ES_ERR_ARGUMENT if `index` is too large. */
ES_API es_status es_model_input(const es_model *model, size_t index, es_tensor_info *info);
ES_API es_status es_model_output(const es_model *model, size_t index, es_tensor_info *info);
ES_API es_status es_model_step(const es_model *model, size_t index, es_step_info *info);

/* The name of a class: UTF-8 of at most 1024 bytes without control characters; NULL if `index` is too
 * large. Takes time in proportion to `index`. */
ES_API const char *es_model_label(const es_model *model, size_t index);

/* Starts the threads of a pool: one less than it has, since the caller of es_session_run is one of them. That
 * one stays where it is and as urgent as it is (es_place_thread changes it); cores and priority are those of
 * the others. Each may run on all of the cores: one that is busy with other work holds nobody up.
 * pool: set on success only; close it with es_pool_close.
 * Returns ES_OK; ES_ERR_ARGUMENT if an option is out of its range, a core is not there or not for this
 * process, or there are cores or a priority for no thread but the caller's; ES_ERR_NO_MEMORY; ES_ERR_THREAD
 * if a thread cannot be started, or the system refuses it cores or priority; ES_ERR_UNSUPPORTED if it has
 * none, or this runtime does not know all of the options. */
ES_API es_status es_pool_open(const es_pool_options *options, es_pool **pool, es_error *error);

/* Closes a pool; NULL is ignored. Its open sessions stay usable and keep its threads. */
ES_API void es_pool_close(es_pool *pool);

/* Lets the calling thread, and those that it starts from now on, run on these cores only, as
 * es_pool_options says it; `core_count` 0 leaves them. Adds `priority` to its nice value.
 * Returns ES_OK, ES_ERR_ARGUMENT, ES_ERR_THREAD or ES_ERR_UNSUPPORTED, as es_pool_open does. */
ES_API es_status es_place_thread(const uint32_t *cores, size_t core_count, uint32_t priority,
                                 es_error *error);

/* Makes a session that runs on the threads of `pool`. Runs of its sessions wait for each other and take
 * turns, in the order in which they were called.
 * session: set on success only; close it with es_session_close.
 * Returns ES_OK, ES_ERR_ARGUMENT, ES_ERR_NO_MEMORY, or ES_ERR_FORKED if this process was forked after the
 * pool was opened. */
ES_API es_status es_session_open_in(es_model *model, es_pool *pool, es_session **session,
                                    es_error *error);

/* Makes a session with a pool of its own, of `threads` threads and else as ES_POOL_OPTIONS has it.
 * threads: 1 to ES_MAX_THREADS.
 * session: set on success only; close it with es_session_close.
 * Returns ES_OK, ES_ERR_ARGUMENT, ES_ERR_NO_MEMORY or ES_ERR_THREAD. */
ES_API es_status es_session_open(es_model *model, uint32_t threads, es_session **session,
                                 es_error *error);

/* Closes a session; NULL is ignored. It must not be running. A process forked after it was opened may
 * close its copy, whatever the session was doing at the fork. */
ES_API void es_session_close(es_session *session);

/* Runs the model once. Inputs and outputs are in the order of es_model_input and es_model_output.
 * outputs: written on success only. The session may be run again whatever came of it.
 * Returns ES_OK; ES_ERR_ARGUMENT if `session` is NULL; ES_ERR_TENSOR if a count or size is not the
 * model's; ES_ERR_BUSY if another thread is running this session; ES_ERR_FORKED if this process was
 * forked after its pool was opened; ES_ERR_INPUT if the inputs hold a value, such as an index, that
 * the model cannot use: the message names step, operand, element, value and limits. */
ES_API es_status es_session_run(es_session *session, const es_input *inputs, size_t input_count,
                                const es_output *outputs, size_t output_count, es_error *error);

/* As es_session_run, and stores how many nanoseconds each step took.
 * step_ns: one for each step of the model; written on success only.
 * Returns the same as es_session_run. */
ES_API es_status es_session_profile(es_session *session, const es_input *inputs, size_t input_count,
                                    const es_output *outputs, size_t output_count,
                                    uint64_t *step_ns, es_error *error);

/* Runs the model on inputs that are made up by a rule and compares its outputs, bit by bit, with what the
 * artifact promises: models of small integers give the same bits on every machine.
 * checked: how many outputs were compared; 0 where the artifact promises nothing. Written on success only.
 * Returns ES_OK, ES_ERR_ANSWER if an output differs, ES_ERR_NO_MEMORY, or the same as es_session_run. */
ES_API es_status es_session_verify(es_session *session, size_t *checked, es_error *error);

#ifdef __cplusplus
}
#endif

#endif
