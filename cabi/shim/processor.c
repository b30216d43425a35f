/* CPUID and XGETBV (Intel SDM, volume 2; AMD APM, volume 3). */

#include <cpuid.h>
#include <stdint.h>

#include "processor.cdef.h"

void
pysc_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *registers)
{
    __cpuid_count(leaf, subleaf, registers[0], registers[1], registers[2], registers[3]);
}

uint64_t
pysc_xcr0(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}
