"""What the dispatcher counts: a page that the sentry writes to, and the supervisor reads however that one is."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import Final

from pysc.urpc.fds import RegularFd
from pysc.urpc.schema.supervisor import Counted

SIZE: Final = 4096
_COUNTED: Final = struct.Struct(f"={len(Counted.__struct_fields__)}Q")
"""struct pysc_counters in cabi/dispatch/dispatch.h."""


def make() -> tuple[RegularFd, RegularFd]:
    """Return a page to count in and the same to read: its size cannot be changed by either.  OSError."""
    writable = RegularFd(os.memfd_create("pysc-counters", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    os.ftruncate(writable.fileno(), SIZE)
    fcntl.fcntl(writable.fileno(), fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return writable, RegularFd(os.open(f"/proc/self/fd/{writable.fileno()}", os.O_RDONLY | os.O_CLOEXEC))


def read(page: RegularFd) -> Counted:
    """Return what has been counted so far, by the sentry's word."""
    return Counted(*_COUNTED.unpack(os.pread(page.fileno(), _COUNTED.size, 0)))
