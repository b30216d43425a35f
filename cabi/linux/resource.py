"""Resource limits and usage (getrlimit(2), getrusage(2))."""

from __future__ import annotations

import struct
from typing import Final

RLIMIT_CPU: Final = 0
RLIMIT_FSIZE: Final = 1
RLIMIT_DATA: Final = 2
RLIMIT_STACK: Final = 3
RLIMIT_CORE: Final = 4
RLIMIT_RSS: Final = 5
RLIMIT_NPROC: Final = 6
RLIMIT_NOFILE: Final = 7
RLIMIT_MEMLOCK: Final = 8
RLIMIT_AS: Final = 9
RLIMIT_LOCKS: Final = 10
RLIMIT_SIGPENDING: Final = 11
RLIMIT_MSGQUEUE: Final = 12
RLIMIT_NICE: Final = 13
RLIMIT_RTPRIO: Final = 14
RLIMIT_RTTIME: Final = 15
RLIM_NLIMITS: Final = 16
RLIM_INFINITY: Final = (1 << 64) - 1

NAMES: Final = {
    number: name for name, number in sorted(globals().items()) if name.startswith("RLIMIT_") and isinstance(number, int)
}

RLIMIT: Final = struct.Struct("<QQ")
"""struct rlimit64: soft, hard."""
RUSAGE: Final = struct.Struct("<qqqq14q")
"""struct rusage: utime, stime, maxrss and 13 more."""
RUSAGE_SELF: Final = 0
RUSAGE_CHILDREN: Final = -1
RUSAGE_THREAD: Final = 1

DEFAULT_LIMITS: Final = (
    (RLIM_INFINITY, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (8 << 20, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (1048576, 1048576),
    (65536, 65536),
    (RLIM_INFINITY, RLIM_INFINITY),
    (RLIM_INFINITY, RLIM_INFINITY),
    (16384, 16384),
    (819200, 819200),
    (0, 0),
    (0, 0),
    (RLIM_INFINITY, RLIM_INFINITY),
)
"""(soft, hard) by number: what a container has that says nothing about its limits."""
