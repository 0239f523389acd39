#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { HUGE_PAGE_BYTES = 2 << 20 }; /* where the system has them; data that fills them starts at one */

static es_status fail_errno(es_error *error, const char *path, int number)
{
    switch (number) {
    case ENOENT:
        return es_fail(error, ES_ERR_IO, "%s: no such file", path);
    case EACCES:
        return es_fail(error, ES_ERR_IO, "%s: permission denied", path);
    default:
        return es_fail(error, ES_ERR_IO, "%s: cannot be opened (error %llu)", path, ES_U(number));
    }
}

static es_status map_descriptor(int descriptor, const char *path, es_block *block, es_error *error)
{
    struct stat facts;
    if (fstat(descriptor, &facts) != 0) {
        return fail_errno(error, path, errno);
    }
    ES_REQUIRE(!S_ISDIR(facts.st_mode), error, ES_ERR_IO, "%s: is a directory, expected a file",
               path);
    ES_REQUIRE(S_ISREG(facts.st_mode), error, ES_ERR_IO, "%s: is not a regular file", path);
    ES_REQUIRE(facts.st_size > 0, error, ES_ERR_TRUNCATED, "%s: is empty", path);
    const uint64_t size = (uint64_t)facts.st_size;
    ES_REQUIRE(size <= PTRDIFF_MAX, error, ES_ERR_LIMIT,
               "%s: %llu bytes do not fit the address space", path, ES_U(size));
    void *const data = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    ES_REQUIRE(data != MAP_FAILED, error, ES_ERR_NO_MEMORY, "%s: cannot map %llu bytes", path,
               ES_U(size));
    posix_madvise(data, (size_t)size, POSIX_MADV_WILLNEED); /* read ahead while we check */
    *block = (es_block){.data = data, .size_bytes = (size_t)size};
    return ES_OK;
}

es_status es_map_file(const char *path, es_block *block, es_error *error)
{
    /* O_NONBLOCK: opening a pipe must fail below, not wait for a writer. */
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return fail_errno(error, path, errno);
    }
    const es_status status = map_descriptor(descriptor, path, block, error);
    close(descriptor);
    return status;
}

static size_t round_up(size_t size, size_t multiple)
{
    return (size + multiple - 1) / multiple * multiple;
}

/* Reserves `size` bytes that nobody may touch and that start `before` bytes ahead of a multiple of
 * `multiple`; NULL if there is no room. */
static uint8_t *reserve(size_t size, size_t before, size_t multiple)
{
    const size_t spare = size + multiple;
    uint8_t *const all = mmap(NULL, spare, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) {
        return NULL;
    }
    const size_t skipped = round_up((uintptr_t)all + before, multiple) - before - (uintptr_t)all;
    if (skipped > 0) {
        munmap(all, skipped);
    }
    munmap(all + skipped + size, spare - size - skipped);
    return all + skipped;
}

es_status es_alloc_pages(size_t size_bytes, es_block *block, es_error *error)
{
    const size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *start = NULL;
    if (size_bytes <= PTRDIFF_MAX - 2 * HUGE_PAGE_BYTES) {
        const size_t size = round_up(size_bytes > 0 ? size_bytes : 1, guard);
        const size_t multiple = size >= HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : guard;
        start = reserve(size + 2 * guard, guard, multiple);
        if (start != NULL && mprotect(start + guard, size, PROT_READ | PROT_WRITE) != 0) {
            munmap(start, size + 2 * guard);
            start = NULL;
        }
    }
    ES_REQUIRE(start != NULL, error, ES_ERR_NO_MEMORY, "cannot allocate %llu bytes",
               ES_U(size_bytes));
    *block = (es_block){.data = start + guard, .size_bytes = size_bytes, .guard_bytes = guard};
#ifdef MADV_HUGEPAGE
    (void)madvise(block->data, size_bytes, MADV_HUGEPAGE); /* channels lie pages apart; may be refused */
#endif
    return ES_OK;
}

void es_release(es_block *block)
{
    if (block->data != NULL) {
        const size_t guard = block->guard_bytes;
        const size_t size = guard > 0 ? round_up(block->size_bytes, guard) : block->size_bytes;
        munmap((uint8_t *)block->data - guard, (size > 0 ? size : guard) + 2 * guard);
    }
    *block = (es_block){.data = NULL};
}

/* A fork empties the page on Linux since 4.14, so that looking at it costs no system call and no number
 * of a process is trusted, which may come again: 1 in a new namespace, any after its process has ended.
 * Elsewhere the number has to do. */
typedef struct process_mark {
    pid_t maker; /* 0 in a page that a fork emptied */
    bool emptied_by_fork;
} process_mark;

static bool empty_on_fork(void *data, size_t size_bytes)
{
#ifdef MADV_WIPEONFORK
    enum { NO_ADVICE = -1 }; /* an emulator that takes this takes anything, and does nothing */
    return madvise(data, size_bytes, NO_ADVICE) != 0 &&
           madvise(data, size_bytes, MADV_WIPEONFORK) == 0;
#else
    (void)data;
    (void)size_bytes;
    return false;
#endif
}

es_status es_mark_process(es_block *mark, es_error *error)
{
    ES_TRY(es_alloc_pages(sizeof(process_mark), mark, error));
    process_mark *const made = mark->data;
    made->emptied_by_fork = empty_on_fork(mark->data, mark->size_bytes);
    made->maker = getpid();
    return ES_OK;
}

bool es_is_forked(const es_block *mark)
{
    const process_mark *const made = mark->data;
    return made->maker == 0 || (!made->emptied_by_fork && made->maker != getpid());
}

bool es_allow_execution(const uint8_t *data, size_t size_bytes)
{
    const uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t start = (uintptr_t)data & ~(page_bytes - 1);
    const size_t length = (uintptr_t)data + size_bytes - start;
    return mprotect((void *)start, length, PROT_READ | PROT_EXEC) == 0;
}

void es_flush_instructions(void *data, size_t size_bytes)
{
    char *const start = data;
    __builtin___clear_cache(start, start + size_bytes);
}

uint64_t es_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint32_t es_cpu_count(void)
{
#ifdef CPU_COUNT
    cpu_set_t allowed; /* fails on machines with more CPUs than it has bits */
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        return (uint32_t)CPU_COUNT(&allowed);
    }
#endif
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t)count : 1;
}

void es_yield(void)
{
    sched_yield();
}

#ifdef __linux__
_Static_assert(ES_MAX_CORES <= CPU_SETSIZE, "a core has no bit in a set of the system");

es_status es_bind_thread(const uint32_t *cores, size_t core_count, es_error *error)
{
    cpu_set_t wanted;
    CPU_ZERO(&wanted);
    for (size_t i = 0; i < core_count; i++) {
        CPU_SET((size_t)cores[i], &wanted);
    }
    const int failure = sched_setaffinity(0, sizeof wanted, &wanted) == 0 ? 0 : errno;
    ES_REQUIRE(failure == 0 || failure == EINVAL, error, ES_ERR_THREAD,
               "the system does not let a thread choose its cores (error %llu)", ES_U(failure));
    cpu_set_t found; /* the system leaves out what is not there, and is content if anything is left */
    CPU_ZERO(&found);
    if (failure == 0 && sched_getaffinity(0, sizeof found, &found) != 0) {
        return ES_OK; /* it has more CPUs than there are bits */
    }
    for (size_t i = 0; i < core_count; i++) {
        ES_REQUIRE(CPU_ISSET((size_t)cores[i], &found), error, ES_ERR_ARGUMENT,
                   "core %llu is not there, or this process may not use it",
                   ES_U(cores[i]));
    }
    return ES_OK;
}

es_status es_make_nicer(uint32_t more, es_error *error)
{
    /* Of the thread: Linux takes the number of one where POSIX speaks of processes. */
    const int now = getpriority(PRIO_PROCESS, 0);
    ES_REQUIRE(setpriority(PRIO_PROCESS, 0, now + (int)more) == 0, error, ES_ERR_THREAD,
               "the system does not let a thread lower its priority (error %llu)", ES_U(errno));
    return ES_OK;
}
#else
es_status es_bind_thread(const uint32_t *cores, size_t core_count, es_error *error)
{
    (void)cores;
    (void)core_count;
    return es_fail(error, ES_ERR_UNSUPPORTED, "threads do not choose their cores on this system");
}

es_status es_make_nicer(uint32_t more, es_error *error)
{
    (void)more;
    return es_fail(error, ES_ERR_UNSUPPORTED, "threads have no priority of their own on this system");
}
#endif
