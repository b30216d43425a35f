"""siginfo_t: what a signal says of its cause (sigaction(2))."""

from __future__ import annotations

from typing import Literal

import msgspec

from pysc.cabi.linux import signals as abi

Layout = Literal["kill", "rt", "timer", "child", "fault", "poll", "sys"]


class SigInfo(msgspec.Struct, frozen=True):
    """A signal with its cause; ``layout`` says which fields count."""

    signo: int
    code: int = abi.SI_USER
    layout: Layout = "kill"
    pid: int = 0
    uid: int = 0
    value: int = 0
    """si_value as u64; the timer's for ``timer``."""
    status: int = 0
    utime: int = 0
    stime: int = 0
    address: int = 0
    """si_addr, or si_call_addr."""
    band: int = 0
    fd: int = 0
    """si_fd, or si_syscall."""
    timer: int = 0
    overrun: int = 0
    errno: int = 0
    raw: bytes | None = None
    """The whole structure as a user gave it (rt_sigqueueinfo)."""

    @classmethod
    def kill(cls, signo: int, pid: int, uid: int, code: int = abi.SI_USER) -> SigInfo:
        """Sent by a process: kill(2), or tgkill(2) with SI_TKILL."""
        return cls(signo, code, "kill", pid, uid)

    @classmethod
    def kernel(cls, signo: int) -> SigInfo:
        """Sent by the kernel, without further cause."""
        return cls(signo, abi.SI_KERNEL)

    @classmethod
    def fault(cls, signo: int, code: int, address: int) -> SigInfo:
        """A fault of the CPU."""
        return cls(signo, code, "fault", address=address)

    @classmethod
    def poll(cls, signo: int, code: int, band: int, fd: int) -> SigInfo:
        """Readiness of a descriptor (F_SETSIG)."""
        return cls(signo, code, "poll", band=band, fd=fd)

    @classmethod
    def from_user(cls, data: bytes, signo: int) -> SigInfo:
        """Parse what a user queued (rt_sigqueueinfo(2)): ``data`` is 128 bytes; signo replaces si_signo."""
        _, errno, code, _ = abi.SIGINFO_HEAD.unpack_from(data)
        pid, uid, value = abi.SIGINFO_RT.unpack_from(data, 16)
        raw = abi.SIGINFO_HEAD.pack(signo, errno, code, 0) + data[16:]
        return cls(signo, code, "rt", pid, uid, value, errno=errno, raw=raw)

    def pack(self) -> bytes:
        """Return the siginfo_t, 128 bytes."""
        if self.raw is not None:
            return self.raw
        match self.layout:
            case "kill":
                union = abi.SIGINFO_KILL.pack(self.pid, self.uid)
            case "rt":
                union = abi.SIGINFO_RT.pack(self.pid, self.uid, self.value)
            case "timer":
                union = abi.SIGINFO_TIMER.pack(self.timer, self.overrun, self.value)
            case "child":
                union = abi.SIGINFO_CHLD.pack(self.pid, self.uid, self.status, self.utime, self.stime)
            case "fault":
                union = abi.SIGINFO_FAULT.pack(self.address)
            case "poll":
                union = abi.SIGINFO_POLL.pack(self.band, self.fd)
            case "sys":
                union = abi.SIGINFO_SYS.pack(self.address, self.fd, 0xC000_003E)
        head = abi.SIGINFO_HEAD.pack(self.signo, self.errno, self.code, 0)
        return (head + union).ljust(abi.SIGINFO_SIZE, b"\0")
