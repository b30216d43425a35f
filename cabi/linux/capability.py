"""Capabilities (capabilities(7)): numbers, securebits, layouts of capget(2)."""

from __future__ import annotations

import struct
from typing import Final

CAP_CHOWN: Final = 0
CAP_DAC_OVERRIDE: Final = 1
CAP_DAC_READ_SEARCH: Final = 2
CAP_FOWNER: Final = 3
CAP_FSETID: Final = 4
CAP_KILL: Final = 5
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_SETPCAP: Final = 8
CAP_LINUX_IMMUTABLE: Final = 9
CAP_NET_BIND_SERVICE: Final = 10
CAP_NET_BROADCAST: Final = 11
CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13
CAP_IPC_LOCK: Final = 14
CAP_IPC_OWNER: Final = 15
CAP_SYS_MODULE: Final = 16
CAP_SYS_RAWIO: Final = 17
CAP_SYS_CHROOT: Final = 18
CAP_SYS_PTRACE: Final = 19
CAP_SYS_PACCT: Final = 20
CAP_SYS_ADMIN: Final = 21
CAP_SYS_BOOT: Final = 22
CAP_SYS_NICE: Final = 23
CAP_SYS_RESOURCE: Final = 24
CAP_SYS_TIME: Final = 25
CAP_SYS_TTY_CONFIG: Final = 26
CAP_MKNOD: Final = 27
CAP_LEASE: Final = 28
CAP_AUDIT_WRITE: Final = 29
CAP_AUDIT_CONTROL: Final = 30
CAP_SETFCAP: Final = 31
CAP_MAC_OVERRIDE: Final = 32
CAP_MAC_ADMIN: Final = 33
CAP_SYSLOG: Final = 34
CAP_WAKE_ALARM: Final = 35
CAP_BLOCK_SUSPEND: Final = 36
CAP_AUDIT_READ: Final = 37
CAP_PERFMON: Final = 38
CAP_BPF: Final = 39
CAP_CHECKPOINT_RESTORE: Final = 40
CAP_LAST_CAP: Final = 40
ALL_CAPS: Final = (1 << (CAP_LAST_CAP + 1)) - 1

BY_NAME: Final = {
    name: number
    for name, number in sorted(globals().items())
    if name.startswith("CAP_") and name != "CAP_LAST_CAP" and isinstance(number, int)
}
"""Numbers by the names that the OCI spec uses."""

FS_CAPS: Final = (
    1 << CAP_CHOWN
    | 1 << CAP_MKNOD
    | 1 << CAP_DAC_OVERRIDE
    | 1 << CAP_DAC_READ_SEARCH
    | 1 << CAP_FOWNER
    | 1 << CAP_FSETID
    | 1 << CAP_LINUX_IMMUTABLE
    | 1 << CAP_MAC_OVERRIDE
)
"""What setfsuid(2) turns on and off with the filesystem uid."""

SECBIT_NOROOT: Final = 0x01
SECBIT_NO_SETUID_FIXUP: Final = 0x04
SECBIT_KEEP_CAPS: Final = 0x10
SECBIT_NO_CAP_AMBIENT_RAISE: Final = 0x40
SECBITS_LOCKS: Final = 0xAA
SECBITS_ALL: Final = 0xFF

CAPABILITY_VERSION_1: Final = 0x19980330
CAPABILITY_VERSION_2: Final = 0x20071026
CAPABILITY_VERSION_3: Final = 0x20080522
CAP_HEADER: Final = struct.Struct("<Ii")
CAP_DATA: Final = struct.Struct("<III")
