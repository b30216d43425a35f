"""Signals of x86-64: numbers, flags and the layouts of their structures (signal(7), sigaction(2), asm/siginfo.h)."""

from __future__ import annotations

import struct
from typing import Final

SIGHUP: Final = 1
SIGINT: Final = 2
SIGQUIT: Final = 3
SIGILL: Final = 4
SIGTRAP: Final = 5
SIGABRT: Final = 6
SIGBUS: Final = 7
SIGFPE: Final = 8
SIGKILL: Final = 9
SIGUSR1: Final = 10
SIGSEGV: Final = 11
SIGUSR2: Final = 12
SIGPIPE: Final = 13
SIGALRM: Final = 14
SIGTERM: Final = 15
SIGSTKFLT: Final = 16
SIGCHLD: Final = 17
SIGCONT: Final = 18
SIGSTOP: Final = 19
SIGTSTP: Final = 20
SIGTTIN: Final = 21
SIGTTOU: Final = 22
SIGURG: Final = 23
SIGXCPU: Final = 24
SIGXFSZ: Final = 25
SIGVTALRM: Final = 26
SIGPROF: Final = 27
SIGWINCH: Final = 28
SIGIO: Final = 29
SIGPWR: Final = 30
SIGSYS: Final = 31
SIGRTMIN: Final = 32
NSIG: Final = 64

NAMES: Final = {
    number: name
    for name, number in sorted(globals().items())
    if name.startswith("SIG") and isinstance(number, int) and number < SIGRTMIN
}
"""The names of the classic signals."""


def sigmask(*signals: int) -> int:
    """Return the sigset_t of these signals."""
    mask = 0
    for signo in signals:
        mask |= 1 << (signo - 1)
    return mask


UNBLOCKABLE: Final = sigmask(SIGKILL, SIGSTOP)
STOP_SIGNALS: Final = sigmask(SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
IGNORED_BY_DEFAULT: Final = sigmask(SIGCONT, SIGCHLD, SIGWINCH, SIGURG)
CORE_BY_DEFAULT: Final = sigmask(SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGSEGV, SIGBUS, SIGSYS, SIGXCPU, SIGXFSZ)
SYNCHRONOUS: Final = sigmask(SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGFPE, SIGSYS)
"""Taken before all others, so that a handler sees the registers of the fault."""

SIG_DFL: Final = 0
SIG_IGN: Final = 1

SIG_BLOCK: Final = 0
SIG_UNBLOCK: Final = 1
SIG_SETMASK: Final = 2

SA_NOCLDSTOP: Final = 0x1
SA_NOCLDWAIT: Final = 0x2
SA_SIGINFO: Final = 0x4
SA_UNSUPPORTED: Final = 0x400
SA_EXPOSE_TAGBITS: Final = 0x800
SA_RESTORER: Final = 0x0400_0000
SA_ONSTACK: Final = 0x0800_0000
SA_RESTART: Final = 0x1000_0000
SA_NODEFER: Final = 0x4000_0000
SA_RESETHAND: Final = 0x8000_0000
SA_KNOWN: Final = (
    SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_RESTORER | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND
)

SS_ONSTACK: Final = 1
SS_DISABLE: Final = 2
SS_AUTODISARM: Final = 0x8000_0000
MINSIGSTKSZ: Final = 2048

SI_USER: Final = 0
SI_KERNEL: Final = 0x80
SI_QUEUE: Final = -1
SI_TIMER: Final = -2
SI_MESGQ: Final = -3
SI_ASYNCIO: Final = -4
SI_SIGIO: Final = -5
SI_TKILL: Final = -6

CLD_EXITED: Final = 1
CLD_KILLED: Final = 2
CLD_DUMPED: Final = 3
CLD_TRAPPED: Final = 4
CLD_STOPPED: Final = 5
CLD_CONTINUED: Final = 6

POLL_IN: Final = 1
POLL_OUT: Final = 2
SEGV_MAPERR: Final = 1
SEGV_ACCERR: Final = 2

SIGACTION: Final = struct.Struct("<QQQQ")
"""struct sigaction of the kernel: handler, flags, restorer, mask."""
STACK_T: Final = struct.Struct("<Qi4xQ")
"""stack_t: sp, flags, padding, size."""
SIGINFO_SIZE: Final = 128
SIGINFO_HEAD: Final = struct.Struct("<iiii")
"""si_signo, si_errno, si_code, padding."""
SIGINFO_KILL: Final = struct.Struct("<iI")
"""si_pid, si_uid."""
SIGINFO_RT: Final = struct.Struct("<iIQ")
"""si_pid, si_uid, si_value."""
SIGINFO_TIMER: Final = struct.Struct("<iiQ")
"""si_timerid, si_overrun, si_value."""
SIGINFO_CHLD: Final = struct.Struct("<iIi4xqq")
"""si_pid, si_uid, si_status, si_utime, si_stime."""
SIGINFO_FAULT: Final = struct.Struct("<Q")
"""si_addr."""
SIGINFO_POLL: Final = struct.Struct("<qi")
"""si_band, si_fd."""
SIGINFO_SYS: Final = struct.Struct("<QiI")
"""si_call_addr, si_syscall, si_arch."""
