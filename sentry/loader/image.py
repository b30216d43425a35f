"""Placing a program: where its segments, interpreter, stack and heap go, as the list of maps that makes them.

Everything lies where no host mapping of a fresh process does: below the host's mmap area and stack.  Interpreter, stack
and the engine's channel (platform/space.py) are above 0x7E80_0000_0000: ThreadSanitizer, and so Go's race detector,
refuses a process that has anything between there and its own heap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from pysc.cabi.linux.errors import ENOEXEC, ENOMEM, EPERM
from pysc.cabi.linux.limits import PAGE
from pysc.cabi.linux.mman import (
    MAP_ANONYMOUS,
    MAP_FIXED,
    MAP_NORESERVE,
    MAP_PRIVATE,
    PROT_EXEC,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
)
from pysc.sentry.chance import below
from pysc.sentry.loader.elf import U64_MAX, Elf, Segment, page_up
from pysc.sentry.platform.interface import LIMIT, MapEntry

PIE_BASE: Final = 0x5555_5555_4000
PIE_SPREAD: Final = 1 << 38
INTERPRETER_BASE: Final = 0x7E80_0000_0000
INTERPRETER_SPREAD: Final = 1 << 37
STACK_TOP: Final = 0x7EB0_0000_0000
STACK_SPREAD: Final = 1 << 34
STACK_MIN: Final = 128 << 10
STACK_MAX: Final = 1 << 30
STACK_DEFAULT: Final = 8 << 20
"""Of an unlimited RLIMIT_STACK: the mapping is made whole, since it cannot grow."""
BRK_SPREAD: Final = 32 << 20
HIGHEST: Final = 0x7B00_0000_0000
"""Programs with fixed addresses end below this."""


class Placed(msgspec.Struct, frozen=True):
    """A program or interpreter at ``base`` (what is added to its own addresses)."""

    elf: Elf
    base: int

    @property
    def entry(self) -> int:
        """The address of its first instruction, wherever a hostile header says that it is."""
        return self.elf.entry + self.base & U64_MAX

    @property
    def end(self) -> int:
        """The end of its last page."""
        return self.elf.end + self.base


def place_program(elf: Elf) -> Placed:
    """Choose an address for a program.  EPERM below the lowest that guests have, ENOEXEC above the highest."""
    if elf.relocatable:
        return Placed(elf, _random(PIE_BASE, PIE_SPREAD, elf.alignment) - elf.start)
    if elf.start < LIMIT:
        raise EPERM("a program below vm.mmap_min_addr")
    if elf.end > HIGHEST:
        raise ENOEXEC("a program above the user's space")
    return Placed(elf, 0)


def place_interpreter(elf: Elf) -> Placed:
    """Choose an address for an interpreter.  ENOEXEC if it is not relocatable."""
    if not elf.relocatable:
        raise ENOEXEC("an interpreter with fixed addresses")
    return Placed(elf, _random(INTERPRETER_BASE, INTERPRETER_SPREAD, elf.alignment) - elf.start)


def random_stack_top() -> int:
    """Choose where the stack ends."""
    return _random(STACK_TOP - STACK_SPREAD, STACK_SPREAD, PAGE)


def random_brk(program_end: int) -> int:
    """Choose where the heap starts."""
    return page_up(program_end) + below(BRK_SPREAD // PAGE) * PAGE


def program_maps(placed: Placed, file: int) -> list[MapEntry]:
    """Return the maps of a program: a reservation of all, then the segments over it."""
    elf, base = placed.elf, placed.base
    entries = [
        MapEntry(
            elf.start + base, elf.end - elf.start, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE
        )
    ]
    for segment in elf.segments:
        entries.extend(_segment_maps(segment, base, file))
    return entries


def _segment_maps(segment: Segment, base: int, file: int) -> Sequence[MapEntry]:
    start = segment.start + base
    file_end = segment.vaddr + segment.filesz + base
    file_pages = page_up(file_end)
    end = segment.end + base
    entries = []
    if segment.filesz:
        has_bss = segment.memsz > segment.filesz and file_end % PAGE and segment.prot & PROT_WRITE
        entries.append(
            MapEntry(
                start,
                file_pages - start,
                segment.prot,
                MAP_PRIVATE | MAP_FIXED,
                file,
                segment.offset & -PAGE,
                file_end if has_bss else 0,
            )
        )
    else:
        file_pages = start
    if end > file_pages:
        entries.append(MapEntry(file_pages, end - file_pages, segment.prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED))
    return entries


def stack_map(top: int, size: int, *, executable: bool) -> MapEntry:
    """Return the map of a stack of ``size`` bytes."""
    prot = PROT_READ | PROT_WRITE | (PROT_EXEC if executable else 0)
    return MapEntry(top - size, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE)


def stack_size(limit: int, image_size: int) -> int:
    """Return how large a stack is under RLIMIT_STACK.  ENOMEM if what it starts with does not fit."""
    size = STACK_DEFAULT if limit >= 1 << 62 else min(max(page_up(limit), STACK_MIN), STACK_MAX)
    if image_size + STACK_MIN > size:
        size = page_up(image_size + STACK_MIN)
    if size > STACK_MAX:
        raise ENOMEM
    return size


def _random(base: int, spread: int, alignment: int) -> int:
    address = base + below(spread // PAGE) * PAGE
    return (address + alignment - 1) & -alignment
