"""What a seccomp filter can answer: every path through the classic BPF program, arguments unknown.

A filter is a directed acyclic graph (jumps go forward only), so following both ways of each branch that looks at
something unknown ends; the number and the architecture are known, arguments and the instruction pointer are not.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

ALLOW: Final = 0x7FFF0000
ACTIONS: Final = 0xFFFF0000

AUDIT_ARCH_X86_64: Final = 0xC000003E
LAST_SYSCALL: Final = 470
"""Numbers beyond are not looked at (Linux 6.12 has 462)."""

_INSTRUCTION: Final = struct.Struct("<HBBI")
_NR, _ARCH = 0, 4

_LD_ABS, _LD_IMM, _LD_MEM, _LDX_IMM, _LDX_MEM = 0x20, 0x00, 0x60, 0x01, 0x61
_ST, _STX, _TAX, _TXA = 0x02, 0x03, 0x07, 0x87
_JMP, _ALU, _RET = 0x05, 0x04, 0x06
_COMPARE: Final[dict[int, Callable[[int, int], bool]]] = {
    0x10: int.__eq__,
    0x20: int.__gt__,
    0x30: int.__ge__,
    0x40: lambda a, b: bool(a & b),
}

Instruction = tuple[int, int, int, int]


def parse(program: bytes) -> list[Instruction]:
    """Return the instructions of struct sock_filter[]."""
    return list(_INSTRUCTION.iter_unpack(program))


def answers(program: list[Instruction], number: int) -> set[int]:
    """Return all SECCOMP_RET_* (actions, without data) that the filter can give for a system call of x86-64."""
    found: set[int] = set()
    seen: set[tuple[int, int | None]] = set()
    todo: list[tuple[int, int | None]] = [(0, None)]
    while todo:
        place, a = state = todo.pop()
        if state in seen or place >= len(program):
            continue
        seen.add(state)
        code, yes, no, k = program[place]
        if code & 7 == _RET:
            found.add(k & ACTIONS)
        else:
            todo += _step(place, a, (code, yes, no, k), number)
    return found


def _step(place: int, a: int | None, instruction: Instruction, number: int) -> Iterator[tuple[int, int | None]]:
    code, yes, no, k = instruction
    if code & 7 == _JMP:
        comparison = _COMPARE.get(code & 0xF0)
        if comparison is None:  # always
            yield place + 1 + k, a
        elif a is None or code & 8:  # unknown, or compared with X, which we do not follow
            yield place + 1 + yes, a
            yield place + 1 + no, a
        else:
            yield place + 1 + (yes if comparison(a, k) else no), a
    elif code == _LD_ABS:
        yield place + 1, {_NR: number, _ARCH: AUDIT_ARCH_X86_64}.get(k)
    elif code == _LD_IMM:
        yield place + 1, k
    elif code in (_LD_MEM, _TXA) or code & 7 == _ALU:
        yield place + 1, None
    else:  # stores, and loads of X
        yield place + 1, a


def reach(filters: list[bytes]) -> tuple[list[int], list[int]]:
    """Return the numbers that all filters together always allow, and those that they allow with some arguments."""
    programs = [parse(program) for program in filters]
    always, sometimes = [], []
    for number in range(LAST_SYSCALL + 1):
        verdicts = [answers(program, number) for program in programs]
        if all(verdict == {ALLOW} for verdict in verdicts):
            always.append(number)
        elif all(ALLOW in verdict for verdict in verdicts):
            sometimes.append(number)
    return always, sometimes
