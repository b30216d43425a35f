"""CPUID and XGETBV of the processor that this process runs on."""

from __future__ import annotations

from pysc.cabi._shim import ffi, lib


def cpuid(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    """Return EAX, EBX, ECX and EDX.  A leaf above the highest one gives anything."""
    registers = ffi.new("uint32_t[4]")
    lib.pysc_cpuid(leaf, subleaf, registers)
    eax, ebx, ecx, edx = registers
    return eax, ebx, ecx, edx


def xcr0() -> int:
    """Return which components of XSAVE are enabled.  Where CPUID does not say OSXSAVE it is SIGILL."""
    return int(lib.pysc_xcr0())
