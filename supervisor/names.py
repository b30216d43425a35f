"""Names that specifications use for numbers: capabilities, resource limits, signals."""

from __future__ import annotations

import signal
from typing import Final

from pysc.supervisor.failure import Failure

CAPABILITIES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""In the order of their numbers (linux/capability.h)."""

ALL_CAPABILITIES: Final = (1 << len(CAPABILITIES)) - 1

RLIMITS: Final = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING",
    "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
"""In the order of their numbers (asm-generic/resource.h)."""

_SIGNALS: Final = {
    name.removeprefix("SIG"): int(number)
    for name, number in signal.__dict__.items()
    if name.startswith("SIG") and name[3:4] not in ("_", "") and isinstance(number, signal.Signals)
}


def capability_mask(names: list[str] | None) -> int:
    """Return the bit mask of CAP_* names.

    Raises:
        Failure: one is unknown.
    """
    mask = 0
    for name in names or ():
        try:
            mask |= 1 << CAPABILITIES.index(name.upper().removeprefix("CAP_"))
        except ValueError:
            raise Failure(f"unknown capability {name!r}") from None
    return mask


def capability_names(mask: int) -> list[str]:
    """Return the names of a mask, without CAP\\_."""
    return [
        CAPABILITIES[bit] if bit < len(CAPABILITIES) else str(bit)
        for bit in range(mask.bit_length())
        if mask >> bit & 1
    ]


def rlimit_number(name: str) -> int:
    """Return the number of an RLIMIT_* name.

    Raises:
        Failure: it is unknown.
    """
    try:
        return RLIMITS.index(name.upper().removeprefix("RLIMIT_"))
    except ValueError:
        raise Failure(f"unknown resource limit {name!r}") from None


def signal_number(text: str) -> int:
    """Return the number of a signal given by number or name, with or without SIG, in any case.

    Raises:
        Failure: there is none; the text is the one that containerd knows.
    """
    name = text.upper().removeprefix("SIG")
    if name in _SIGNALS:
        return _SIGNALS[name]
    if text.isascii() and text.isdecimal() and 0 < int(text) <= 64:
        return int(text)
    if name.isascii() and name.startswith("RTMIN+") and name[6:].isdecimal() and int(name[6:]) <= 30:
        return 34 + int(name[6:])
    raise Failure(f'unknown signal "{text}"')


def signal_name(number: int) -> str:
    """Return SIG... of a number."""
    for name, value in _SIGNALS.items():
        if value == number:
            return f"SIG{name}"
    return f"signal {number}"
