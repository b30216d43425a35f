"""ELF executables (elf(5)), read as hostile: what cannot be run is ENOEXEC, whatever it claims."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from pysc.cabi.linux.elf import (
    EHDR,
    ELF_IDENT,
    ELF_MAGIC,
    EM_X86_64,
    ET_DYN,
    ET_EXEC,
    PF_R,
    PF_W,
    PF_X,
    PHDR,
    PT_GNU_STACK,
    PT_INTERP,
    PT_LOAD,
)
from pysc.cabi.linux.errors import ENOEXEC
from pysc.cabi.linux.limits import PAGE, PATH_MAX
from pysc.cabi.linux.mman import PROT_EXEC, PROT_READ, PROT_WRITE
from pysc.sentry.platform.interface import TASK_SIZE

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription

PHDRS_MAX: Final = 65536 // PHDR.size
U64_MAX: Final = (1 << 64) - 1
SPAN_MAX: Final = 1 << 40
"""More address space than this no program of one file needs."""


class Segment(msgspec.Struct, frozen=True):
    """A PT_LOAD: page-congruent, ``filesz <= memsz``, within the address space."""

    vaddr: int
    offset: int
    filesz: int
    memsz: int
    prot: int

    @property
    def start(self) -> int:
        """The first page."""
        return self.vaddr & -PAGE

    @property
    def end(self) -> int:
        """The end of the last page."""
        return page_up(self.vaddr + self.memsz)


class Elf(msgspec.Struct, frozen=True):
    """A program or interpreter.  ``segments`` ascend and do not share pages' starts; there is at least one."""

    relocatable: bool
    """ET_DYN: it may be placed anywhere."""
    entry: int
    phoff: int
    phnum: int
    segments: tuple[Segment, ...]
    interpreter: bytes | None
    stack_executable: bool
    alignment: int
    """Of the load address, a power of two."""

    @property
    def start(self) -> int:
        """The lowest page."""
        return self.segments[0].start

    @property
    def end(self) -> int:
        """The end of the highest page."""
        return max(segment.end for segment in self.segments)

    @property
    def phdr_address(self) -> int:
        """Where the program headers are in memory before relocation; 0 if no segment has them."""
        for segment in self.segments:
            if segment.offset <= self.phoff < segment.offset + segment.filesz:
                return self.phoff - segment.offset + segment.vaddr
        return 0


def page_up(value: int) -> int:
    """Round up to a page."""
    return (value + PAGE - 1) & -PAGE


async def read_elf(file: FileDescription, head: bytes = b"") -> Elf:
    """Read and check the headers of ``file``, whose first page is ``head`` if the caller has it.

    Raises:
        ENOEXEC: it is no ELF program for x86-64, or is malformed; and what reading raises.
    """
    head = head or await file.pread(PAGE, 0)
    phoff, phnum, entry, relocatable = _parse_header(head)
    table = await _read(file, head, PHDR.size * phnum, phoff)
    if len(table) < PHDR.size * phnum:
        raise ENOEXEC("it is cut off in its program headers")
    loaded = _parse_table(table)
    interpreter = None
    if loaded.interpreter is not None:
        offset, size = loaded.interpreter
        if not 2 <= size <= PATH_MAX or offset >= 1 << 62:
            raise ENOEXEC("bad PT_INTERP")
        interpreter = _parse_interpreter(await _read(file, head, size, offset), size)
    return Elf(
        relocatable=relocatable,
        entry=entry,
        phoff=phoff,
        phnum=phnum,
        segments=loaded.segments,
        interpreter=interpreter,
        stack_executable=loaded.stack_executable,
        alignment=loaded.alignment,
    )


async def _read(file: FileDescription, head: bytes, size: int, offset: int) -> bytes:
    """Read from the file, or out of its beginning, where the headers mostly are."""
    if offset + size <= len(head):
        return head[offset : offset + size]
    return await file.pread(size, offset)


def _parse_header(head: bytes) -> tuple[int, int, int, bool]:
    if not head.startswith(ELF_MAGIC):
        raise ENOEXEC("it begins with neither ELF nor #!")
    if len(head) < EHDR.size:
        raise ENOEXEC("it is cut off in its header")
    ident, kind, machine, _, entry, phoff, _, _, _, phentsize, phnum, _, _, _ = EHDR.unpack_from(head)
    if not ident.startswith(ELF_IDENT) or machine != EM_X86_64 or kind not in (ET_EXEC, ET_DYN):
        raise ENOEXEC("it is no program for x86-64")
    if phentsize != PHDR.size or not 1 <= phnum <= PHDRS_MAX or phoff >= 1 << 62:
        raise ENOEXEC("bad program headers")
    return phoff, phnum, entry, kind == ET_DYN


class _Loaded(msgspec.Struct, frozen=True):
    """What a table of program headers says."""

    segments: tuple[Segment, ...]
    interpreter: tuple[int, int] | None
    """Offset and size of PT_INTERP."""
    stack_executable: bool
    alignment: int


@lru_cache(maxsize=32)  # by its bytes: the same few programs and the same interpreter are started again and again
def _parse_table(table: bytes) -> _Loaded:
    segments: list[Segment] = []
    interpreter: tuple[int, int] | None = None
    stack_executable = False
    alignment = PAGE
    for type_, flags, offset, vaddr, _, filesz, memsz, align in PHDR.iter_unpack(table):
        if type_ == PT_LOAD and memsz:
            segments.append(_segment(flags, offset, vaddr, filesz, memsz))
            if align > PAGE and align & (align - 1) == 0 and align <= 1 << 30:
                alignment = max(alignment, align)
        elif type_ == PT_INTERP and interpreter is None:
            interpreter = (offset, filesz)
        elif type_ == PT_GNU_STACK:
            stack_executable = bool(flags & PF_X)
    if not segments:
        raise ENOEXEC("nothing to load")
    for lower, higher in pairwise(segments):
        if higher.vaddr < lower.vaddr + lower.memsz:
            raise ENOEXEC("segments overlap or descend")
    if segments[-1].end - segments[0].start > SPAN_MAX:
        raise ENOEXEC("too large")
    return _Loaded(tuple(segments), interpreter, stack_executable, alignment)


def _segment(flags: int, offset: int, vaddr: int, filesz: int, memsz: int) -> Segment:
    if filesz > memsz or vaddr >= TASK_SIZE or memsz > TASK_SIZE - vaddr or offset >= 1 << 62:
        raise ENOEXEC("a segment beyond the address space")
    if (vaddr - offset) % PAGE:
        raise ENOEXEC("a segment not congruent with its offset")
    prot = (PROT_READ if flags & PF_R else 0) | (PROT_WRITE if flags & PF_W else 0) | (PROT_EXEC if flags & PF_X else 0)
    return Segment(vaddr, offset, filesz, memsz, prot)


def _parse_interpreter(data: bytes, size: int) -> bytes:
    if len(data) != size or data[-1] != 0:
        raise ENOEXEC("bad PT_INTERP")
    return data[: data.index(b"\0")]
