/* What the processor says of itself, to any program. */

/* CPUID: EAX, EBX, ECX and EDX of a leaf that exists. */
void pysc_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *registers);

/* XCR0, the components of XSAVE that are enabled; CPUID must have said OSXSAVE. */
uint64_t pysc_xcr0(void);
