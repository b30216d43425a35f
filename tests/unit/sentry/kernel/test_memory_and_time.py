"""Memory calls become host calls of the keyhole, or are refused; clocks and timers."""

from __future__ import annotations

import struct

import pytest

from pysc.cabi.linux import mman
from pysc.cabi.linux.errors import EAGAIN, EBADF, EINVAL, ENOMEM, ENOSYS, EPERM, LinuxError
from pysc.cabi.linux.signals import SIGALRM, SIGUSR1, sigmask
from pysc.sentry import strace_arguments
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.siginfo import SigInfo
from pysc.sentry.loader.hwcap import read_processor
from pysc.sentry.platform.interface import LIMIT, TASK_SIZE
from pysc.sentry.platform.keyhole import RULES, Within
from pysc.sentry.strace import Strace, show_siginfo
from tests.unit.sentry.kernel.kernel_world import BASE, World

PRIVATE = mman.MAP_PRIVATE | mman.MAP_ANONYMOUS
RW = mman.PROT_READ | mman.PROT_WRITE
MINUS_ONE = (1 << 64) - 1


@pytest.mark.parametrize(
    ("address", "length", "prot", "flags", "passed"),
    [
        (0, 5000, RW, PRIVATE, (0, 8192, RW, PRIVATE)),
        (0x1234, 4096, RW, PRIVATE, (0, 4096, RW, PRIVATE)),
        (0x50000123, 1, RW, PRIVATE, (0x50000000, 4096, RW, PRIVATE)),
        (0, 4096, RW | 8, PRIVATE | mman.MAP_LOCKED | mman.MAP_DENYWRITE, (0, 4096, RW, PRIVATE)),
        (BASE, 4096, 0, PRIVATE | mman.MAP_FIXED, (BASE, 4096, 0, PRIVATE | mman.MAP_FIXED)),
    ],
)
def test_anonymous_maps_are_the_thread_s_own(
    world: World, address: int, length: int, prot: int, flags: int, passed: tuple[int, ...]
) -> None:
    thread = world.begin(world.init, "mmap", address, length, prot, flags, MINUS_ONE, 0)
    assert thread.log[-1] == ("native", 9, *passed, MINUS_ONE, 0)


@pytest.mark.parametrize(
    ("address", "length", "flags", "error"),
    [
        (0, 0, PRIVATE, EINVAL),
        (0, 4096, mman.MAP_ANONYMOUS, EINVAL),
        (0x10000, 4096, PRIVATE | mman.MAP_FIXED, EPERM),
        (BASE + 1, 4096, PRIVATE | mman.MAP_FIXED, EINVAL),
        (TASK_SIZE - 4096, 8192, PRIVATE | mman.MAP_FIXED, ENOMEM),
        (0, 1 << 63, PRIVATE, ENOMEM),
        (0, 4096, PRIVATE | mman.MAP_HUGETLB, ENOMEM),
        (0, 4096, mman.MAP_SHARED_VALIDATE | mman.MAP_SYNC, EBADF),
        (0, 4096, mman.MAP_PRIVATE, EBADF),
    ],
)
def test_maps_that_are_refused(world: World, address: int, length: int, flags: int, error: type[LinuxError]) -> None:
    assert world.call(world.init, "mmap", address, length, RW, flags, 99, 0) == -error.errno


def test_whatever_is_passed_fits_through_the_keyhole(world: World) -> None:
    flag_rule = next(rule for rule in RULES[9][1] if isinstance(rule, Within) and rule[0] == 3)
    for bit in range(27):
        flags = PRIVATE | 1 << bit
        world.init.thread.host_results[9] = BASE  # type: ignore[attr-defined]
        thread = world.begin(world.init, "mmap", 0x5000_0000, 4096, 7, flags, MINUS_ONE, 0)
        calls = [verdict[1:] for verdict in thread.log[-1:] if verdict[0] == "native"] + thread.host_calls
        thread.host_calls = []
        assert all(not call[4] & ~flag_rule.mask for call in calls), bit


@pytest.mark.parametrize("code", [0x1001, 0x1004, 0x1022, 0x5001])
def test_gs_and_what_more_a_thread_has_are_not_the_guest_s(world: World, code: int) -> None:
    """ARCH_SET_GS, ARCH_GET_GS, ARCH_REQ_XCOMP_PERM (AMX), ARCH_SHSTK_ENABLE; the first has a flag that says so."""
    assert world.call(world.init, "arch_prctl", code, BASE) == -EINVAL.errno


def test_programs_are_not_told_of_fsgsbase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pysc.sentry.loader.hwcap.confine.auxiliary", lambda _kind: 0xFFFF)
    assert read_processor().hwcap2 & 3 == 0  # RING3MWAIT, FSGSBASE


def test_the_guest_half_is_out_of_reach(world: World) -> None:
    thread = world.begin(world.init, "munmap", 0, LIMIT + 4096)
    assert thread.log[-1] == ("native", 11, LIMIT, 4096)
    assert world.call(world.init, "munmap", 0x10000, 4096) == 0
    assert world.call(world.init, "mprotect", 0x10000, 4096, 7) == -ENOMEM.errno
    assert world.call(world.init, "madvise", 0x10000, 4096, 4) == -ENOMEM.errno
    assert world.call(world.init, "mremap", BASE, 4096, 4096, 3, 0x10000) == -EINVAL.errno


@pytest.mark.parametrize("advice", [9, 12, 100, 101, -1])
def test_advice_that_is_not_built_in(world: World, advice: int) -> None:
    assert world.call(world.init, "madvise", BASE, 4096, advice) == -EINVAL.errno


def test_locking_obeys_the_limit(world: World) -> None:
    child = world.fork(world.init)
    child.creds = Credentials.of(1000, 1000)
    assert world.call(child, "mlock", BASE, 4096) == 0
    assert world.call(child, "mlock", BASE, 1 << 20) == -ENOMEM.errno
    child.group.limits[8] = (0, 0)
    assert world.call(child, "mlock", BASE, 4096) == -EPERM.errno


@pytest.mark.parametrize("op", [2, 6, 7, 8, 11, 12, 13, 1 | 256, 5 | 256, 99])
def test_futex_operations_outside_the_keyhole(world: World, op: int) -> None:
    assert world.call(world.init, "futex", BASE, op, 1, 0, 0, 0) == -ENOSYS.errno


def test_clocks(world: World) -> None:
    assert world.call(world.init, "clock_gettime", 1, BASE) == 0
    seconds, nanoseconds = struct.unpack("<qq", world.read(world.init, 0, 16))
    assert seconds >= 0
    assert 0 <= nanoseconds < 1_000_000_000
    assert world.call(world.init, "clock_gettime", 99, BASE) == -EINVAL.errno
    world.write(world.init, 0, struct.pack("<qq", 0, 0))
    assert world.call(world.init, "clock_settime", 0, BASE) == -EPERM.errno
    world.write(world.init, 0, struct.pack("<qq", 0, 1_000_000_000))
    assert world.call(world.init, "nanosleep", BASE, 0) == -EINVAL.errno


def test_sleeping_takes_its_time(world: World) -> None:
    world.write(world.init, 0, struct.pack("<qq", 0, 2_000_000))
    world.begin(world.init, "clock_nanosleep", 1, 0, BASE, 0)
    assert world.waits(world.init)
    world.wait_until(lambda: not world.waits(world.init))
    assert world.result(world.init) == 0


def test_interval_timers_send_their_signal_again_and_again(world: World) -> None:
    init = world.init
    init.mask = sigmask(SIGALRM)
    world.write(init, 0, struct.pack("<4q", 0, 2000, 0, 1000))
    assert world.call(init, "setitimer", 0, BASE, 0) == 0
    for _ in range(2):
        world.wait_until(lambda: init.group.pending.has(SIGALRM))
        init.group.pending.remove(sigmask(SIGALRM))
    assert world.call(init, "alarm", 100) in (0, 1)
    assert world.call(init, "alarm", 0) == 100
    assert world.call(init, "getitimer", 0, BASE) == 0
    assert struct.unpack("<4q", world.read(init, 0, 32)) == (0, 0, 0, 0)


def test_posix_timers_count_what_they_missed(world: World) -> None:
    init = world.init
    init.mask = sigmask(SIGUSR1)
    event = world.write(init, 0, struct.pack("<Qii", 77, SIGUSR1, 0).ljust(64, b"\0"))
    assert world.call(init, "timer_create", 1, event, BASE + 64) == 0
    number = int.from_bytes(world.read(init, 64, 4), "little")
    world.write(init, 0, struct.pack("<4q", 0, 100_000, 0, 100_000))
    assert world.call(init, "timer_settime", number, 0, BASE, 0) == 0
    timer = init.group.posix_timers[number]
    world.wait_until(lambda: timer._overrun > 3)
    signals = world.write(init, 128, sigmask(SIGUSR1).to_bytes(8, "little"))
    assert world.call(init, "rt_sigtimedwait", signals, BASE + 256, 0, 8) == SIGUSR1
    signo, _, code, timer_id, overrun, value = struct.unpack("<iii4xiiQ", world.read(init, 256, 32))
    assert (signo, code, timer_id, value) == (SIGUSR1, -2, number, 77)
    assert overrun > 3
    assert world.call(init, "timer_getoverrun", number) == overrun
    assert world.call(init, "timer_delete", number) == 0
    assert world.call(init, "timer_gettime", number, BASE) == -EINVAL.errno
    world.write(init, 128, sigmask(SIGUSR1).to_bytes(8, "little") + bytes(16))
    assert world.call(init, "rt_sigtimedwait", signals, 0, signals + 8, 8) == -EAGAIN.errno


def test_who_does_not_trace_collects_no_names() -> None:
    """That takes milliseconds, and each start imports the module."""
    tables = {name: value for name, value in vars(strace_arguments).items() if isinstance(value, dict)}
    assert not [name for name, table in tables.items() if len(table) > 8 and not name.startswith("__")]


def test_strace_lines_name_what_happened(world: World) -> None:
    lines: list[str] = []
    world.kernel.strace = Strace(lambda _level, line: lines.append(line))
    world.write(world.init, 0, b"/nothing\0")
    world.call(world.init, "openat", -100, BASE, 0o2000000, 0)
    world.call(world.init, "kill", 999, SIGUSR1)
    world.begin(world.init, "mmap", 0, 4096, RW, PRIVATE, MINUS_ONE, 0)
    assert 'openat(AT_FDCWD, "/nothing", O_RDONLY|O_CLOEXEC, 0o0) = -2 ENOENT' in lines[0]
    assert "kill(999, SIGUSR1) = -3 ESRCH" in lines[1]
    assert "PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS" in lines[2]
    assert lines[0].startswith("[    1] init ")


@pytest.mark.parametrize(
    ("info", "shown"),
    [
        (SigInfo.kill(15, 7, 1000), "{si_signo=SIGTERM, si_code=SI_USER, si_pid=7, si_uid=1000}"),
        (SigInfo.kill(15, 7, 0, -6), "{si_signo=SIGTERM, si_code=SI_TKILL, si_pid=7, si_uid=0}"),
        (SigInfo.kernel(14), "{si_signo=SIGALRM, si_code=SI_KERNEL}"),
        (SigInfo.fault(11, 1, 0x1000), "{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x1000}"),
        (
            SigInfo(17, 2, "child", 9, 0, status=9),
            "{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=9, si_uid=0, si_status=SIGKILL, si_utime=0, si_stime=0}",
        ),
        (
            SigInfo(17, 1, "child", 9, 0, status=9),
            "{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=9, si_uid=0, si_status=9, si_utime=0, si_stime=0}",
        ),
    ],
)
def test_strace_shows_the_cause_of_a_signal(info: SigInfo, shown: str) -> None:
    assert show_siginfo(info) == shown


def test_strace_can_be_narrowed(world: World) -> None:
    lines: list[str] = []
    world.kernel.strace = Strace(lambda _level, line: lines.append(line), frozenset({"getpgrp"}))
    world.call(world.init, "getsid", 0)
    world.call(world.init, "getpgrp")
    assert len(lines) == 1
