"""ELF for x86-64 and the auxiliary vector (elf(5), getauxval(3))."""

from __future__ import annotations

import struct
from typing import Final

EHDR: Final = struct.Struct("<16sHHIQQQIHHHHHH")
"""e_ident, type, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum, shentsize, shnum, shstrndx."""
PHDR: Final = struct.Struct("<IIQQQQQQ")
"""p_type, flags, offset, vaddr, paddr, filesz, memsz, align."""
NHDR: Final = struct.Struct("<III")
"""Sizes of name and description, type."""
NT_GNU_BUILD_ID: Final = 3

ELF_MAGIC: Final = b"\x7fELF"
ELF_IDENT: Final = ELF_MAGIC + b"\x02\x01\x01"
"""Magic, ELFCLASS64, ELFDATA2LSB, EV_CURRENT."""
ET_EXEC: Final = 2
ET_DYN: Final = 3
EM_X86_64: Final = 62

PT_LOAD: Final = 1
PT_INTERP: Final = 3
PT_NOTE: Final = 4
PT_PHDR: Final = 6
PT_GNU_STACK: Final = 0x6474_E551
PF_X: Final = 1
PF_W: Final = 2
PF_R: Final = 4

AT_NULL: Final = 0
AT_PHDR: Final = 3
AT_PHENT: Final = 4
AT_PHNUM: Final = 5
AT_PAGESZ: Final = 6
AT_BASE: Final = 7
AT_FLAGS: Final = 8
AT_ENTRY: Final = 9
AT_UID: Final = 11
AT_EUID: Final = 12
AT_GID: Final = 13
AT_EGID: Final = 14
AT_PLATFORM: Final = 15
AT_HWCAP: Final = 16
AT_CLKTCK: Final = 17
AT_SECURE: Final = 23
AT_RANDOM: Final = 25
AT_HWCAP2: Final = 26
AT_EXECFN: Final = 31
AT_SYSINFO_EHDR: Final = 33
AT_MINSIGSTKSZ: Final = 51

HWCAP2_RING3MWAIT: Final = 1
HWCAP2_FSGSBASE: Final = 2
