"""Which build of pysc this is: the daemons of one sandbox are of one install, and compare it (uRPC's hello)."""

from __future__ import annotations

import os
import struct
from errno import ENOEXEC
from typing import Final

from pysc.cabi import GUEST
from pysc.cabi._shim import ffi, lib
from pysc.cabi.linux.elf import EHDR, NHDR, NT_GNU_BUILD_ID, PHDR, PT_NOTE

BUILD: Final[str] = ffi.string(lib.pysc_build_id()).decode("ascii")
"""A digest of all sources at the time when the C was compiled."""

GUEST_BUILD_SIZE: Final = 20
_PAGE: Final = 4096


def guest_build() -> bytes:
    """Return the build ID of the guest half, a digest by the linker: compilers make different ones of one source.

    Raises:
        OSError: it cannot be read, or has none: pysc was not built by its own build steps.
    """
    fd = os.open(GUEST, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(fd, _PAGE, 0)
        header = EHDR.unpack_from(head)
        at, count = header[5], header[10]
        for kind, _, offset, _, _, size, *_ in PHDR.iter_unpack(head[at : at + count * PHDR.size]):
            if kind == PT_NOTE and size < _PAGE:
                note = os.pread(fd, size, offset)
                name, length, what = NHDR.unpack_from(note)
                if (length, what) == (GUEST_BUILD_SIZE, NT_GNU_BUILD_ID):
                    return note[NHDR.size + name :][:length]
    except struct.error:
        pass
    finally:
        os.close(fd)
    raise OSError(ENOEXEC, "it has no build ID", GUEST)
