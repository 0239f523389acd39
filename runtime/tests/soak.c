/* Opens, runs and closes models while the system refuses what they ask of it.
 *
 *   soak sweep MODEL...                   lets each call to the system fail, one at a time
 *   soak run SECONDS LIMIT_MIB MODEL...   four threads, calls that fail by chance, and at most so much
 *                                         address space more than at the start (0: no limit)
 *
 * A use that fails must say why, one that does not must give the right outputs, and neither may leave
 * anything behind. Prints how often each status came. The linker puts the functions __wrap_* before the
 * system's (WRAPPED in test_soak.py). */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "subject.h"

enum {
    MODELS = 4,
    SOAKERS = 4,
    STACK_BYTES = 256 * 1024,
    WAYS = 40,
    OWN_POOLS = 32, /* the ways from here on run in a pool that all share */
    LAST_FAULT = 64, /* beyond the calls of any use */
    STATUS_END = ES_ERR_FORKED + 1
};

/* What the runtime holds of the system. */
static atomic_long held_bytes;
static atomic_long held_files;
static atomic_long held_threads;

static _Thread_local long calls_to_fault; /* the call that fails; 0 when none will */

static bool refuse(int number)
{
    if (calls_to_fault == 0 || --calls_to_fault > 0) {
        return false;
    }
    errno = number;
    return true;
}

int __real_open64(const char *path, int flags, ...);
int __real_fstat64(int descriptor, struct stat *facts);
int __real_close(int descriptor);
void *__real_mmap64(void *at, size_t size, int protection, int flags, int descriptor, off_t offset);
int __real_munmap(void *data, size_t size);
int __real_mprotect(void *data, size_t size, int protection);
int __real_madvise(void *data, size_t size, int advice);
int __real_posix_madvise(void *data, size_t size, int advice);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument);
int __real_pthread_join(pthread_t thread, void **result);

int __wrap_open64(const char *path, int flags, ...)
{
    const int descriptor = refuse(EMFILE) ? -1 : __real_open64(path, flags);
    atomic_fetch_add(&held_files, descriptor >= 0);
    return descriptor;
}

int __wrap_fstat64(int descriptor, struct stat *facts)
{
    return refuse(EIO) ? -1 : __real_fstat64(descriptor, facts);
}

int __wrap_close(int descriptor)
{
    atomic_fetch_sub(&held_files, 1);
    return __real_close(descriptor);
}

void *__wrap_mmap64(void *at, size_t size, int protection, int flags, int descriptor, off_t offset)
{
    void *const data =
        refuse(ENOMEM) ? MAP_FAILED : __real_mmap64(at, size, protection, flags, descriptor, offset);
    atomic_fetch_add(&held_bytes, data != MAP_FAILED ? (long)size : 0);
    return data;
}

int __wrap_munmap(void *data, size_t size)
{
    atomic_fetch_sub(&held_bytes, (long)size);
    return __real_munmap(data, size);
}

int __wrap_mprotect(void *data, size_t size, int protection)
{
    return refuse(ENOMEM) ? -1 : __real_mprotect(data, size, protection);
}

int __wrap_madvise(void *data, size_t size, int advice)
{
    return refuse(EINVAL) ? -1 : __real_madvise(data, size, advice);
}

int __wrap_posix_madvise(void *data, size_t size, int advice)
{
    return refuse(EINVAL) ? EINVAL : __real_posix_madvise(data, size, advice);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument)
{
    const int failure =
        refuse(EAGAIN) ? EAGAIN : __real_pthread_create(thread, attributes, start, argument);
    atomic_fetch_add(&held_threads, failure == 0);
    return failure;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
    atomic_fetch_sub(&held_threads, 1);
    return __real_pthread_join(thread, result);
}

/* An artifact, open and as bytes. */
typedef struct artifact {
    const char *path;
    uint8_t *data; /* aligned as the runtime wants it, and once more at an odd address */
    uint8_t *odd_data;
    size_t size;
    subject opened;
} artifact;

static artifact artifacts[MODELS];
static es_pool *shared_pool;
static long shared_threads; /* those it holds */
static size_t artifact_count;
static atomic_size_t status_counts[STATUS_END];

static void read_artifact(artifact *made, const char *path)
{
    struct stat facts;
    FILE *const file = fopen(path, "rb");
    require(file != NULL && __real_fstat64(fileno(file), &facts) == 0, "cannot read an artifact");
    const size_t size = (size_t)facts.st_size;
    *made = (artifact){.path = path, .size = size};
    made->data = aligned_alloc(64, (size + 63) / 64 * 64);
    made->odd_data = aligned_alloc(64, (size + 1 + 63) / 64 * 64);
    require(fread(made->data, 1, size, file) == size, "cannot read an artifact");
    memcpy(++made->odd_data, made->data, size);
    fclose(file);
    open_subject(&made->opened, path);
}

/* Opens in one of four ways: the last shares a model with the other threads. */
static es_status open_model(const artifact *of, unsigned way, es_model **model, es_error *error)
{
    switch (way % 4) {
    case 0:
        return es_model_open_file(of->path, ES_OPEN_VERIFY_WEIGHTS, model, error);
    case 1:
        return es_model_open_memory(of->data, of->size, 0, model, error);
    case 2:
        return es_model_open_memory(of->odd_data, of->size, 0, model, error);
    default:
        *model = of->opened.model;
        return ES_OK;
    }
}

/* Opens, runs twice and closes, in one of WAYS ways. */
static es_status use(const artifact *of, unsigned way, const es_output outputs[2], es_error *error)
{
    const bool shared = way % 4 == 3;
    const bool model_first = (way / 4 & 1) != 0;
    es_model *model = NULL;
    es_session *session = NULL;
    es_status status = open_model(of, way, &model, error);
    if (status == ES_OK) {
        status = way < OWN_POOLS ? es_session_open(model, 1 + way / 8, &session, error)
                                 : es_session_open_in(model, shared_pool, &session, error);
    }
    if (model_first && !shared) {
        es_model_close(model);
    }
    for (int i = 0; i < 2 && status == ES_OK; i++) {
        status = run_subject(&of->opened, session, outputs, error);
        require(status == ES_OK, error->message); /* it asks the system for nothing */
        require_expected(&of->opened, outputs);
    }
    es_session_close(session);
    if (!model_first && !shared) {
        es_model_close(model);
    }
    return status;
}

/* Uses an artifact and lets one call fail, the `fault`-th; whether it came to that call. */
static bool try_use(const artifact *of, unsigned way, long fault, const es_output outputs[2])
{
    es_error error = {.message = ""};
    calls_to_fault = fault;
    const es_status status = use(of, way, outputs, &error);
    require(status == ES_OK || error.message[0] != '\0', es_status_name(status));
    atomic_fetch_add(&status_counts[status], 1);
    const bool reached = calls_to_fault == 0;
    calls_to_fault = 0;
    return reached;
}

static void require_nothing_held(long bytes)
{
    require(atomic_load(&held_bytes) == bytes, "memory is left");
    require(atomic_load(&held_files) == 0, "a file is left open");
    require(atomic_load(&held_threads) == shared_threads, "a thread is left");
}

static void sweep(void)
{
    const long bytes = atomic_load(&held_bytes);
    for (size_t i = 0; i < artifact_count; i++) {
        es_output outputs[2];
        make_outputs(&artifacts[i].opened, outputs);
        for (unsigned way = 0; way < WAYS; way++) {
            for (long fault = 1; try_use(&artifacts[i], way, fault, outputs); fault++) {
                require_nothing_held(bytes);
            }
            require_nothing_held(bytes);
        }
        free_outputs(outputs);
    }
}

/* One of the threads that soak; its outputs are allocated before there is a limit. */
typedef struct soaker {
    pthread_t thread;
    uint32_t random;
    es_output outputs[MODELS][2];
} soaker;

static soaker soakers[SOAKERS];
static atomic_bool done;

static void *soak(void *argument)
{
    soaker *const self = argument;
    uint32_t random = self->random;
    while (!atomic_load(&done)) {
        random ^= random << 13; /* xorshift */
        random ^= random >> 17;
        random ^= random << 5;
        const long fault = random % 2 == 0 ? 0 : (long)(1 + random / 2 % LAST_FAULT);
        const size_t chosen = random / 64 % artifact_count;
        try_use(&artifacts[chosen], random / 4096 % WAYS, fault, self->outputs[chosen]);
    }
    self->random = random;
    return NULL;
}

static void make_soakers(void)
{
    for (uint32_t i = 0; i < SOAKERS; i++) {
        soakers[i].random = 2463534242u + i;
        for (size_t j = 0; j < artifact_count; j++) {
            make_outputs(&artifacts[j].opened, soakers[i].outputs[j]);
        }
    }
}

static void soak_for(unsigned milliseconds)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES); /* has to fit the limit */
    atomic_store(&done, false);
    for (size_t i = 0; i < SOAKERS; i++) {
        require(__real_pthread_create(&soakers[i].thread, &attributes, soak, &soakers[i]) == 0,
                "no thread");
    }
    const struct timespec pause = {.tv_sec = milliseconds / 1000,
                                   .tv_nsec = milliseconds % 1000 * 1000000L};
    nanosleep(&pause, NULL);
    atomic_store(&done, true);
    for (size_t i = 0; i < SOAKERS; i++) {
        __real_pthread_join(soakers[i].thread, NULL);
    }
}

/* How many entries a directory of /proc/self has. */
static long count_entries(const char *path)
{
    DIR *const directory = opendir(path);
    long count = 0;
    require(directory != NULL, path);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

/* Bytes of address space that this process has. */
static size_t address_space(void)
{
    size_t pages = 0;
    FILE *const file = fopen("/proc/self/statm", "r");
    require(file != NULL && fscanf(file, "%zu", &pages) == 1, "no statm");
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void limit_address_space(size_t more_mib)
{
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = address_space() + more_mib * 1024 * 1024;
    require(setrlimit(RLIMIT_AS, &limit) == 0, "no limit");
}

/* Soaks, and compares with a first tenth what the process has when it is over. */
static void run(unsigned seconds, size_t limit_mib)
{
    const long bytes = atomic_load(&held_bytes);
    make_soakers();
    if (limit_mib > 0) {
        limit_address_space(limit_mib);
    }
    soak_for(seconds * 100);
    const long files = count_entries("/proc/self/fd");
    const size_t space = address_space();
    soak_for(seconds * 900);
    require_nothing_held(bytes);
    require(count_entries("/proc/self/fd") == files, "a descriptor is left");
    require(limit_mib == 0 || address_space() < space + limit_mib * 1024 * 1024 / 4,
            "address space is left");
}

static void print_counts(void)
{
    for (int status = 0; status < STATUS_END; status++) {
        if (atomic_load(&status_counts[status]) > 0) {
            printf("%s\t%zu\n", es_status_name((es_status)status), status_counts[status]);
        }
    }
}

static void open_shared_pool(void)
{
    es_pool_options options = ES_POOL_OPTIONS;
    options.threads = 3;
    require(es_pool_open(&options, &shared_pool, NULL) == ES_OK, "no pool");
    shared_threads = atomic_load(&held_threads);
}

int main(int count, char **arguments)
{
    const bool sweeps = count > 2 && strcmp(arguments[1], "sweep") == 0;
    const int first = sweeps ? 2 : 4;
    if (count <= first || count - first > MODELS) {
        return 2;
    }
    for (; first + (int)artifact_count < count; artifact_count++) {
        read_artifact(&artifacts[artifact_count], arguments[first + (int)artifact_count]);
    }
    open_shared_pool();
    if (sweeps) {
        sweep();
    } else {
        run((unsigned)strtoul(arguments[2], NULL, 10), strtoul(arguments[3], NULL, 10));
    }
    print_counts();
    return 0;
}
