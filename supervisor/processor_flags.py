"""What Linux calls the processor's features, the flags in /proc/cpuinfo, and whose registers XSAVE's components are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

_FLAGS: Final[Mapping[str, Mapping[int, str]]] = {
    "1.0.ecx": {
        0: "pni", 1: "pclmulqdq", 9: "ssse3", 12: "fma", 13: "cx16", 19: "sse4_1", 20: "sse4_2", 22: "movbe",
        23: "popcnt", 25: "aes", 26: "xsave", 28: "avx", 29: "f16c", 30: "rdrand",
    },
    "1.0.edx": {
        0: "fpu", 4: "tsc", 8: "cx8", 15: "cmov", 19: "clflush", 23: "mmx", 24: "fxsr", 25: "sse", 26: "sse2",
    },
    "7.0.ebx": {
        0: "fsgsbase", 3: "bmi1", 4: "hle", 5: "avx2", 8: "bmi2", 9: "erms", 11: "rtm", 16: "avx512f", 17: "avx512dq",
        18: "rdseed", 19: "adx", 21: "avx512ifma", 23: "clflushopt", 24: "clwb", 28: "avx512cd", 29: "sha_ni",
        30: "avx512bw", 31: "avx512vl",
    },
    "7.0.ecx": {
        1: "avx512vbmi", 3: "pku", 4: "ospke", 5: "waitpkg", 6: "avx512_vbmi2", 8: "gfni", 9: "vaes",
        10: "vpclmulqdq", 11: "avx512_vnni", 12: "avx512_bitalg", 14: "avx512_vpopcntdq", 22: "rdpid",
        25: "cldemote", 27: "movdiri", 28: "movdir64b",
    },
    "7.0.edx": {
        4: "fsrm", 8: "avx512_vp2intersect", 14: "serialize", 16: "tsxldtrk", 22: "amx_bf16", 23: "avx512_fp16",
        24: "amx_tile", 25: "amx_int8",
    },
    "7.1.eax": {4: "avx_vnni", 5: "avx512_bf16"},
    "d.1.eax": {0: "xsaveopt", 1: "xsavec", 2: "xgetbv1"},
    "80000001.0.ecx": {
        0: "lahf_lm", 5: "abm", 6: "sse4a", 7: "misalignsse", 8: "3dnowprefetch", 11: "xop", 16: "fma4", 21: "tbm",
        29: "mwaitx",
    },
    "80000001.0.edx": {
        11: "syscall", 22: "mmxext", 25: "fxsr_opt", 27: "rdtscp", 29: "lm", 30: "3dnowext", 31: "3dnow",
    },
    "80000008.0.ebx": {0: "clzero", 2: "xsaveerptr", 4: "rdpru"},
}  # fmt: skip
"""By word and bit; only names that all kernels show that pysc runs on."""

_COMPONENTS: Final = {
    0: "x87", 1: "SSE", 2: "AVX", 3: "MPX (bounds)", 4: "MPX (configuration)", 5: "AVX-512 (masks)",
    6: "AVX-512 (upper halves)", 7: "AVX-512 (upper registers)", 9: "PKRU", 17: "AMX (configuration)",
    18: "AMX (tiles)", 19: "APX",
}  # fmt: skip


def flag_names(word: str, bits: int) -> Iterator[str]:
    """Give the names of some bits of a word, in their order; one that has no name is said by its place."""
    names = _FLAGS.get(word, {})
    for bit in range(bits.bit_length()):
        if bits >> bit & 1:
            yield names.get(bit) or f"cpuid:{word}.{bit}"


def component_name(number: int) -> str:
    """Return whose registers a component of XSAVE has."""
    return _COMPONENTS.get(number, f"component {number}")
