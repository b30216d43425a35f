"""System V IPC (sysvipc(7)): flags, commands, limits, layouts."""

from __future__ import annotations

import struct
from typing import Final

IPC_PRIVATE: Final = 0
IPC_CREAT: Final = 0o1000
IPC_EXCL: Final = 0o2000
IPC_NOWAIT: Final = 0o4000

IPC_RMID: Final = 0
IPC_SET: Final = 1
IPC_STAT: Final = 2
IPC_INFO: Final = 3

IPCMNI: Final = 1 << 15
"""Objects of a kind at most; an id is a sequence number times this, and an index."""
IPC_SEQUENCES: Final = 1 << 16

SHM_HUGETLB: Final = 0o4000
SHM_NORESERVE: Final = 0o10000
SHM_RDONLY: Final = 0o10000
SHM_RND: Final = 0o20000
SHM_REMAP: Final = 0o40000
SHM_EXEC: Final = 0o100000
SHM_DEST: Final = 0o1000
SHM_LOCKED: Final = 0o2000
SHM_LOCK: Final = 11
SHM_UNLOCK: Final = 12
SHM_STAT: Final = 13
SHM_INFO: Final = 14
SHM_STAT_ANY: Final = 15
SHMMAX: Final = (1 << 64) - 1 - (1 << 24)
SHMALL: Final = SHMMAX
SHMMNI: Final = 4096

SEM_UNDO: Final = 0x1000
GETPID: Final = 11
GETVAL: Final = 12
GETALL: Final = 13
GETNCNT: Final = 14
GETZCNT: Final = 15
SETVAL: Final = 16
SETALL: Final = 17
SEM_STAT: Final = 18
SEM_INFO: Final = 19
SEM_STAT_ANY: Final = 20
SEMVMX: Final = 32767
SEMAEM: Final = SEMVMX
SEMMSL: Final = 32000
SEMMNI: Final = 32000
SEMMNS: Final = SEMMNI * SEMMSL
SEMOPM: Final = 500
SEMUSZ: Final = 20
"""What semctl(IPC_INFO) says that an undo takes."""

MSG_NOERROR: Final = 0o10000
MSG_EXCEPT: Final = 0o20000
MSG_COPY: Final = 0o40000
MSG_STAT: Final = 11
MSG_INFO: Final = 12
MSG_STAT_ANY: Final = 13
MSGMAX: Final = 8192
MSGMNB: Final = 16384
MSGMNI: Final = 32000
MSGSSZ: Final = 16
MSGSEG: Final = 0xFFFF

IPC_PERM: Final = struct.Struct("<iIIIIIH22x")
"""struct ipc64_perm: key, uid, gid, cuid, cgid, mode, seq."""
SHMID_DS: Final = struct.Struct("<48sQqqqiiQ16x")
"""perm, segsz, atime, dtime, ctime, cpid, lpid, nattch."""
SHMINFO: Final = struct.Struct("<5Q32x")
"""struct shminfo: shmmax, shmmin, shmmni, shmseg, shmall."""
SHM_INFO_USED: Final = struct.Struct("<i4x5Q")
"""struct shm_info: used_ids, tot, rss, swp, swap_attempts, swap_successes."""
SEMID_DS: Final = struct.Struct("<48sq8xq8xQ16x")
"""perm, otime, ctime, nsems."""
SEMINFO: Final = struct.Struct("<10i")
"""semmap, semmni, semmns, semmnu, semmsl, semopm, semume, semusz, semvmx, semaem."""
SEMBUF: Final = struct.Struct("<Hhh")
"""sem_num, sem_op, sem_flg."""
MSQID_DS: Final = struct.Struct("<48sqqqQQQii16x")
"""perm, stime, rtime, ctime, cbytes, qnum, qbytes, lspid, lrpid."""
MSGINFO: Final = struct.Struct("<7iH2x")
"""msgpool, msgmap, msgmax, msgmnb, msgmni, msgssz, msgtql, msgseg."""

_COMMANDS: Final = {IPC_RMID: "IPC_RMID", IPC_SET: "IPC_SET", IPC_STAT: "IPC_STAT", IPC_INFO: "IPC_INFO"}


def _commands(*names: str) -> dict[int, str]:
    return _COMMANDS | {globals()[name]: name for name in names}


SHM_COMMANDS: Final = _commands("SHM_LOCK", "SHM_UNLOCK", "SHM_STAT", "SHM_INFO", "SHM_STAT_ANY")
SEM_COMMANDS: Final = _commands(
    "GETPID", "GETVAL", "GETALL", "GETNCNT", "GETZCNT", "SETVAL", "SETALL", "SEM_STAT", "SEM_INFO", "SEM_STAT_ANY"
)
MSG_COMMANDS: Final = _commands("MSG_STAT", "MSG_INFO", "MSG_STAT_ANY")
