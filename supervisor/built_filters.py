"""The filters that the processes of a sandbox install: what is shown where the kernel's own copies cannot be read."""

from __future__ import annotations

import struct
from typing import Final

from pysc.cabi import filters
from pysc.cabi.bpf_reach import ALLOW
from pysc.gofer import confinement as gofer
from pysc.netstackd import confinement as netstackd
from pysc.sentry import confinement as sentry
from pysc.sentry.platform import keyhole
from pysc.supervisor import lockdown

_INSTRUCTION: Final = struct.Struct("<HBBI")
_LISTENED: Final = b"".join(
    _INSTRUCTION.pack(*one)
    for one in ((0x20, 0, 0, 0), (0x15, 0, 1, 56), (0x06, 0, 0, 0x7FC0_0000), (0x06, 0, 0, ALLOW))
)
"""The guest half's filter: clone(2), number 56, goes to the sentry (SECCOMP_RET_USER_NOTIF)."""


def built(role: str) -> list[bytes]:
    """Return the filters that a process of this role installs for itself."""
    match role:
        case "sentry":
            return [filters.load(role, sentry.ALLOWED, sentry.RULES)]
        case "gofer":
            return [filters.load(role, gofer.ALLOWED, gofer.RULES)]
        case "netstackd":
            return [filters.load(role, netstackd.ALLOWED, netstackd.RULES)]
        case "supervisor":
            return [filters.load_refusing(role, lockdown.REFUSED)]
        case "guest":
            return [keyhole.build(), _LISTENED]
        case "zygote":
            return [filters.build_refusing(()), _LISTENED]
    return [filters.build_refusing(())]  # the spawner's: io_uring alone
