"""Clocks and timers (clock_gettime(2), timer_create(2)): numbers and layouts."""

from __future__ import annotations

import struct
from typing import Final

CLOCK_REALTIME: Final = 0
CLOCK_MONOTONIC: Final = 1
CLOCK_PROCESS_CPUTIME_ID: Final = 2
CLOCK_THREAD_CPUTIME_ID: Final = 3
CLOCK_MONOTONIC_RAW: Final = 4
CLOCK_REALTIME_COARSE: Final = 5
CLOCK_MONOTONIC_COARSE: Final = 6
CLOCK_BOOTTIME: Final = 7
CLOCK_REALTIME_ALARM: Final = 8
CLOCK_BOOTTIME_ALARM: Final = 9
CLOCK_TAI: Final = 11

CPUCLOCK_MASK: Final = 3
CPUCLOCK_PROF, CPUCLOCK_VIRT, CPUCLOCK_SCHED = CPUCLOCKS = range(3)
CPUCLOCK_PERTHREAD: Final = 4

TIMER_ABSTIME: Final = 1
SIGEV_SIGNAL: Final = 0
SIGEV_NONE: Final = 1
SIGEV_THREAD: Final = 2
SIGEV_THREAD_ID: Final = 4

TIMESPEC: Final = struct.Struct("<qq")
TICK: Final = 10_000_000
"""USER_HZ of times(2) and /proc/PID/stat, in nanoseconds."""
SECOND: Final = 1_000_000_000
"""In nanoseconds."""

ITIMERSPEC: Final = struct.Struct("<qqqq")
"""it_interval, it_value."""
ITIMERVAL: Final = struct.Struct("<qqqq")
SIGEVENT: Final = struct.Struct("<Qiii")
"""sigev_value, sigev_signo, sigev_notify, the thread."""
SIGEVENT_SIZE: Final = 64
TMS: Final = struct.Struct("<qqqq")

ADJ_ADJTIME: Final = 0x8000
ADJ_OFFSET_SINGLESHOT: Final = 0x8001
ADJ_OFFSET_SS_READ: Final = 0xA001
STA_UNSYNC: Final = 0x40
TIME_ERROR: Final = 5
NTP_MAX_ERROR: Final = 16_000_000
NTP_TOLERANCE: Final = 500 << 16
TIMEX: Final = struct.Struct("<I4xqqqqi4xqqqqqq112x")
"""modes, offset, freq, maxerror, esterror, status, constant, precision, tolerance, time, tick; zeros."""
