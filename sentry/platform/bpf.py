"""Assembler of classic BPF programs for seccomp(2): tests of call number, arguments and instruction pointer.

libseccomp cannot say what the keyhole needs (64-bit ranges of arguments, the instruction pointer), hence our own.
A program is a list of items: instructions and labels; jumps name labels and only go forward, as BPF's do.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

LD_W_ABS: Final = 0x20
JMP: Final = 0x05
JEQ: Final = 0x15
JGT: Final = 0x25
JGE: Final = 0x35
JSET: Final = 0x45
ALU_AND: Final = 0x54
RET: Final = 0x06

RET_ALLOW: Final = 0x7FFF_0000
RET_TRAP: Final = 0x0003_0000

NR: Final = 0  # offsets in struct seccomp_data
ARCH: Final = 4
IP: Final = 8
ARGS: Final = 16
AUDIT_ARCH_X86_64: Final = 0xC000_003E


class Instruction(NamedTuple):
    """One instruction; ``yes`` and ``no`` are labels, or None for the next instruction."""

    code: int
    k: int
    yes: str | None = None
    no: str | None = None


Item = Instruction | str
"""An instruction, or a label: it names the instruction that follows."""


def load(offset: int) -> Instruction:
    """Load the 32-bit word at ``offset`` of struct seccomp_data."""
    return Instruction(LD_W_ABS, offset)


def argument(index: int, *, high: bool = False) -> Instruction:
    """Load one half of an argument."""
    return load(ARGS + 8 * index + 4 * high)


def test(code: int, k: int, yes: str | None, no: str | None) -> Instruction:
    """Jump by a comparison of the accumulator with ``k``."""
    return Instruction(code, k, yes, no)


def give(action: int) -> Instruction:
    """End with a SECCOMP_RET_* action."""
    return Instruction(RET, action)


def assemble(items: list[Item]) -> bytes:
    """Return the program as an array of struct sock_filter.

    Raises:
        ValueError: an unknown label, a jump backwards, or one over more than 255 instructions.
    """
    places: dict[str, int] = {}
    count = 0
    for item in items:
        if isinstance(item, str):
            places[item] = count
        else:
            count += 1

    def distance(label: str | None, at: int) -> int:
        if label is None:
            return 0
        if label not in places:
            raise ValueError(f"unknown label {label}")
        result = places[label] - at - 1
        if not 0 <= result <= 255:
            raise ValueError(f"jump to {label} over {result} instructions")
        return result

    program = bytearray()
    at = 0
    for item in items:
        if isinstance(item, str):
            continue
        program += struct.pack("<HBBI", item.code, distance(item.yes, at), distance(item.no, at), item.k)
        at += 1
    return bytes(program)
