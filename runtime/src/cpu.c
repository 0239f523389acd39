#include "platform.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* The register states that the system saves on a context switch. */
static uint64_t enabled_states(void)
{
    uint32_t low;
    uint32_t high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static uint64_t when(uint32_t registers, unsigned bit, uint64_t feature)
{
    return (registers >> bit & 1) != 0 ? feature : 0;
}

uint64_t es_cpu_features(void)
{
    enum { OSXSAVE = 27, YMM_STATES = 0x6, ZMM_STATES = 0xe6 };
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx >> OSXSAVE & 1) == 0) {
        return 0;
    }
    const uint64_t states = enabled_states();
    if ((states & YMM_STATES) != YMM_STATES) {
        return 0;
    }
    uint64_t features = when(ecx, 12, ES_CPU(fma)) | when(ecx, 29, ES_CPU(f16c));
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) {
        return features;
    }
    features |= when(ebx, 5, ES_CPU(avx2));
    if ((states & ZMM_STATES) == ZMM_STATES) {
        features |= when(ebx, 16, ES_CPU(avx512f)) | when(ebx, 30, ES_CPU(avx512bw)) |
                    when(ebx, 17, ES_CPU(avx512dq)) | when(ebx, 31, ES_CPU(avx512vl)) |
                    when(ecx, 11, ES_CPU(avx512vnni));
    }
    if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) {
        features |= when(eax, 4, ES_CPU(avxvnni));
    }
    return features;
}

uint32_t es_cpu_core(void)
{
    return 0;
}

#elif defined(__linux__)

#include <sys/auxv.h>

static uint64_t when(unsigned long capabilities, unsigned bit, uint64_t feature)
{
    return (capabilities >> bit & 1) != 0 ? feature : 0;
}

/* The bits are those of the kernel's <asm/hwcap.h>. */
uint64_t es_cpu_features(void)
{
    const unsigned long capabilities = getauxval(AT_HWCAP);
#if defined(__aarch64__)
    enum { ASIMD = 1, ASIMDHP = 10, ASIMDDP = 20 };
    return when(capabilities, ASIMD, ES_CPU(neon)) | when(capabilities, ASIMDHP, ES_CPU(fp16)) |
           when(capabilities, ASIMDDP, ES_CPU(dotprod));
#else
    enum { NEON = 12, VFPV4 = 16 };
    return when(capabilities, NEON, ES_CPU(neon)) | when(capabilities, VFPV4, ES_CPU(vfp4));
#endif
}

uint32_t es_cpu_core(void)
{
#if defined(__aarch64__)
    enum { CPUID = 11 }; /* the system lets programs read the registers that identify the CPU */
    const uint64_t implementer_and_part = 0xff00fff0;
    uint64_t midr = 0;
    if ((getauxval(AT_HWCAP) >> CPUID & 1) != 0) {
        __asm__ volatile("mrs %0, midr_el1" : "=r"(midr));
    }
    return (uint32_t)(midr & implementer_and_part);
#else
    return 0;
#endif
}

#else
#error "es_cpu_features is missing for this system"
#endif
