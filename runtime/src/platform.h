/* What the runtime asks of the system. A port is one file that implements this header. */
#ifndef ES_PLATFORM_H
#define ES_PLATFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "memory.h"

/* Maps a regular file, readable and shared with every other process that maps it.
 * Returns ES_OK, ES_ERR_IO, ES_ERR_TRUNCATED (the file is empty), ES_ERR_LIMIT (it does not fit the
 * address space) or ES_ERR_NO_MEMORY. */
es_status es_map_file(const char *path, es_block *block, es_error *error);

/* Returns ES_OK, or ES_ERR_NO_MEMORY. The pages are zero and cost memory once they are touched; they
 * are huge where the system has such pages and the block fills them. A page that nobody may touch lies
 * before and behind them. */
es_status es_alloc_pages(size_t size_bytes, es_block *block, es_error *error);

/* Gives a block back and empties it. */
void es_release(es_block *block);

/* Makes a page that tells this process from those that are forked off it.
 * Returns ES_OK or ES_ERR_NO_MEMORY. */
es_status es_mark_process(es_block *mark, es_error *error);

/* Whether this process was forked, at once or by way of others, off the one that made `mark`. */
bool es_is_forked(const es_block *mark);

/* Makes a range inside a block executable and no longer writable; false if the system refuses. */
bool es_allow_execution(const uint8_t *data, size_t size_bytes);

/* Makes freshly written instructions visible to the instruction fetch. */
void es_flush_instructions(void *data, size_t size_bytes);

/* A clock that never goes back. */
uint64_t es_now_ns(void);

/* CPUs that may run threads of this process; at least 1. */
uint32_t es_cpu_count(void);

/* Lets another thread run on this CPU. */
void es_yield(void);

/* Lets the calling thread run on these CPUs and on no others.
 * Returns ES_OK, ES_ERR_ARGUMENT (one of them is not there, or not for this process), ES_ERR_THREAD (the
 * system refuses) or ES_ERR_UNSUPPORTED. */
es_status es_bind_thread(const uint32_t *cores, size_t core_count, es_error *error);

/* Adds `more` to the nice value of the calling thread alone; the system stops at its largest.
 * Returns ES_OK, ES_ERR_THREAD (the system refuses) or ES_ERR_UNSUPPORTED. */
es_status es_make_nicer(uint32_t more, es_error *error);

/* The ES_CPU(...) bits that this CPU has and the system has enabled. */
uint64_t es_cpu_features(void);

/* What the core that calls is: MIDR_EL1 without variant, architecture and revision on aarch64; 0 where
 * nobody tells. */
uint32_t es_cpu_core(void);

/* The floating-point mode in which kernels run: rounds to nearest, keeps denormals, traps nothing. */
#if defined(__x86_64__)
#define ES_FLOAT_MODE 0x1f80u
#else
#define ES_FLOAT_MODE 0u
#endif

/* How the calling thread rounds, whether it flushes denormals, and what it traps. Not by <fenv.h>, which
 * knows nothing of denormals and needs a library of its own. */
static inline uint32_t es_float_mode(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_stmxcsr();
#elif defined(__aarch64__)
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode) : : "memory");
    return (uint32_t)mode;
#elif defined(__arm__)
    uint32_t mode;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(mode) : : "memory");
    return mode;
#endif
}

static inline void es_set_float_mode(uint32_t mode)
{
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(mode);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)mode) : "memory");
#elif defined(__arm__)
    __asm__ volatile("vmsr fpscr, %0" : : "r"(mode) : "memory");
#endif
}

/* Tells the CPU that this is a spin loop. */
static inline void es_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

#if defined(__x86_64__)
#define ES_THIS_ISA ES_ISA_x86_64
#elif defined(__aarch64__)
#define ES_THIS_ISA ES_ISA_aarch64
#elif defined(__arm__)
#define ES_THIS_ISA ES_ISA_armv7
#else
#error "no artifact can hold code for this CPU"
#endif

#endif
