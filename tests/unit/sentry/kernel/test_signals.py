"""Signals: sending, masks, queues, delivery, restart of interrupted calls."""

from __future__ import annotations

import struct

import pytest

from pysc.cabi.linux.errors import EAGAIN, EBADF, EINTR, EINVAL, ENOMEM, EPERM, ESRCH
from pysc.cabi.linux.signals import (
    SA_NODEFER,
    SA_ONSTACK,
    SA_RESETHAND,
    SA_RESTART,
    SA_SIGINFO,
    SI_QUEUE,
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIG_UNBLOCK,
    SIGACTION,
    SIGCHLD,
    SIGCONT,
    SIGHUP,
    SIGINT,
    SIGKILL,
    SIGSEGV,
    SIGSTOP,
    SIGTERM,
    SIGTSTP,
    SIGUSR1,
    SIGUSR2,
    STACK_T,
    sigmask,
)
from pysc.sentry.fs.pipe import PipeFile
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.delivery import freeze, thaw
from pysc.sentry.kernel.jobs import begin_stop
from pysc.sentry.kernel.signals import SigInfo, send_signal
from pysc.sentry.kernel.task import Task
from pysc.sentry.platform.interface import Kind
from tests.unit.sentry.kernel.kernel_world import BASE, NUMBERS, World

HANDLER = 0x5000
RESTORER = 0x6000
SCRATCH = BASE + 0x8000


@pytest.fixture
def child(world: World) -> Task:
    return world.fork(world.init)


def handle(world: World, task: Task, signo: int, flags: int = 0, mask: int = 0, handler: int = HANDLER) -> None:
    world.write(task, 0x8000, SIGACTION.pack(handler, flags | 0x0400_0000, RESTORER, mask))
    assert world.call(task, "rt_sigaction", signo, SCRATCH, 0, 8) == 0


def block(world: World, task: Task, how: int, *signals: int) -> None:
    world.write(task, 0x8000, sigmask(*signals).to_bytes(8, "little"))
    assert world.call(task, "rt_sigprocmask", how, SCRATCH, 0, 8) == 0


def kill(world: World, task: Task, signo: int) -> None:
    assert world.call(world.init, "kill", task.tid, signo) == 0


def test_a_handler_is_entered_with_its_cause_and_mask(world: World, child: Task) -> None:
    handle(world, child, SIGUSR1, SA_SIGINFO, sigmask(SIGUSR2))
    block(world, child, SIG_BLOCK, SIGHUP)
    kill(world, child, SIGUSR1)
    assert child.thread.preempted  # type: ignore[attr-defined]
    world.event(child, Kind.PREEMPTED)
    frame = child.thread.frame  # type: ignore[attr-defined]
    assert (frame.signo, frame.handler, frame.restorer, frame.on_stack) == (SIGUSR1, HANDLER, RESTORER, 0)
    assert struct.unpack_from("<iii4xiI", frame.info) == (SIGUSR1, 0, 0, world.init.tid, 0)
    assert frame.mask == sigmask(SIGHUP)
    assert child.mask == sigmask(SIGHUP, SIGUSR1, SIGUSR2)
    world.event(child, Kind.SIGRETURN, 0, frame.mask)
    assert child.mask == sigmask(SIGHUP)


def test_nodefer_and_resethand(world: World, child: Task) -> None:
    handle(world, child, SIGUSR1, SA_NODEFER | SA_RESETHAND)
    kill(world, child, SIGUSR1)
    world.event(child, Kind.PREEMPTED)
    assert child.mask == 0
    assert child.handlers[SIGUSR1].handler == SIG_DFL


def test_pending_signals_become_frames_before_the_first_handler_runs(world: World, child: Task) -> None:
    handle(world, child, SIGUSR1)
    handle(world, child, SIGUSR2)
    block(world, child, SIG_BLOCK, SIGUSR1, SIGUSR2)
    kill(world, child, SIGUSR2)
    kill(world, child, SIGUSR1)
    before = child.thread.preempted  # type: ignore[attr-defined]
    block(world, child, SIG_SETMASK)
    assert child.thread.frame.signo == SIGUSR1  # type: ignore[attr-defined]
    assert child.thread.preempted > before  # type: ignore[attr-defined]
    world.event(child, Kind.PREEMPTED)
    assert child.thread.frame.signo == SIGUSR2  # type: ignore[attr-defined]


def test_classic_signals_merge_and_real_time_ones_queue(world: World, child: Task) -> None:
    block(world, child, SIG_BLOCK, SIGUSR1, 34)
    for value in (1, 2):
        kill(world, child, SIGUSR1)
        info = struct.pack("<iii4xiIQ", 34, 0, SI_QUEUE, world.init.tid, 0, value).ljust(128, b"\0")
        world.write(world.init, 0x9000, info)
        assert world.call(world.init, "rt_sigqueueinfo", child.tid, 34, BASE + 0x9000) == 0
    assert len(child.group.pending) == 3
    world.write(child, 0x8000, sigmask(34).to_bytes(8, "little"))
    for value in (1, 2):
        assert world.call(child, "rt_sigtimedwait", SCRATCH, BASE, 0, 8) == 34
        assert struct.unpack_from("<Q", world.read(child, 24, 8))[0] == value


def test_the_queue_is_bounded(world: World, child: Task) -> None:
    block(world, child, SIG_BLOCK, 34)
    child.group.limits[11] = (2, 2)
    world.write(world.init, 0x9000, struct.pack("<iii", 34, 0, SI_QUEUE).ljust(128, b"\0"))
    results = [world.call(world.init, "rt_sigqueueinfo", child.tid, 34, BASE + 0x9000) for _ in range(3)]
    assert results == [0, 0, -EAGAIN.errno]


def test_only_the_kernel_may_forge(world: World, child: Task) -> None:
    world.write(world.init, 0x9000, bytes(128))  # SI_USER
    assert world.call(world.init, "rt_sigqueueinfo", child.tid, SIGTERM, BASE + 0x9000) == -EPERM.errno


@pytest.mark.parametrize("signo", [SIGCHLD, SIGUSR1])
def test_ignored_signals_are_not_queued(world: World, child: Task, signo: int) -> None:
    if signo == SIGUSR1:
        handle(world, child, signo, handler=SIG_IGN)
    kill(world, child, signo)
    assert not child.group.pending.mask
    block(world, child, SIG_BLOCK, signo)
    kill(world, child, signo)
    assert child.group.pending.mask == sigmask(signo)
    handle(world, child, signo, handler=SIG_IGN)
    assert not child.group.pending.mask


def test_default_is_death(world: World, child: Task) -> None:
    kill(world, child, SIGTERM)
    world.event(child, Kind.PREEMPTED)
    assert child.group.exit_status == SIGTERM


def test_faults_kill_though_blocked(world: World, child: Task) -> None:
    handle(world, child, SIGSEGV)
    block(world, child, SIG_BLOCK, SIGSEGV)
    world.event(child, Kind.FAULT, 0, SIGSEGV, 1, 0x1234)
    assert child.group.exit_status == SIGSEGV


def test_faults_are_handled(world: World, child: Task) -> None:
    handle(world, child, SIGSEGV, SA_SIGINFO)
    world.event(child, Kind.FAULT, 0, SIGSEGV, 2, 0x1234)
    frame = child.thread.frame  # type: ignore[attr-defined]
    assert struct.unpack_from("<iii4xQ", frame.info) == (SIGSEGV, 0, 2, 0x1234)


def test_a_fault_ends_init_too(world: World) -> None:
    world.event(world.init, Kind.FAULT, 0, SIGSEGV, 1, 0)
    assert world.kernel.exit_status == SIGSEGV


def test_a_frame_that_cannot_be_written_is_sigsegv(world: World, child: Task) -> None:
    handle(world, child, SIGUSR1)
    kill(world, child, SIGUSR1)
    world.event(child, Kind.PREEMPTED)
    child.thread.fail_frame()  # type: ignore[attr-defined]
    assert child.group.exit_status == SIGSEGV


@pytest.mark.parametrize(
    ("flags", "verdict"),
    [(SA_RESTART, ("restart", NUMBERS["wait4"])), (0, ("reply", -EINTR.errno))],
)
def test_interrupted_calls_with_a_handler(world: World, child: Task, flags: int, verdict: tuple[str, int]) -> None:
    world.fork(child)
    handle(world, child, SIGUSR1, flags)
    thread = world.begin(child, "wait4", (1 << 64) - 1, 0, 0, 0)
    assert thread.stopped
    kill(world, child, SIGUSR1)
    assert thread.log[-1] == verdict
    assert thread.frame is not None
    assert thread.frame.signo == SIGUSR1


def test_stops_and_freezes_interrupt_no_call(world: World, child: Task) -> None:
    grandchild = world.fork(child)
    world.begin(child, "wait4", (1 << 64) - 1, 0, 0, 0)
    kill(world, child, 19)
    assert child.group.stopped
    assert world.waits(child)
    kill(world, child, 18)
    assert not child.group.stopped
    freeze(world.kernel)
    world.settle()
    assert child.routine is None
    thaw(world.kernel)
    world.settle()
    assert world.waits(child)
    world.exit(grandchild)
    assert world.result(child) == grandchild.tid


def test_a_signal_after_a_freeze_ends_a_call_that_is_half_done(world: World, child: Task) -> None:
    assert world.call(child, "pipe", BASE) == 0
    _reader, writer = struct.unpack("<ii", world.read(child, 0, 8))
    handle(world, child, SIGUSR1, SA_RESTART)
    thread = world.begin(child, "write", writer, BASE, 100_000)
    freeze(world.kernel)
    world.settle()
    assert child.routine is None
    send_signal(child, SigInfo.kernel(SIGUSR1))
    assert thread.stopped
    thaw(world.kernel)
    world.settle()
    assert thread.log[-1] == ("reply", 65536)
    assert thread.frame is not None


def test_what_was_moved_is_told_though_the_call_cannot_go_on_after_a_freeze(world: World, child: Task) -> None:
    assert world.call(child, "pipe", BASE) == 0
    _reader, writer = struct.unpack("<ii", world.read(child, 0, 8))
    world.write(child, 64, struct.pack("<QQ", BASE, 100_000))
    world.begin(child, "writev", writer, BASE + 64, 1)
    freeze(world.kernel)
    world.settle()
    world.write(child, 64, struct.pack("<QQ", BASE, 1 << 63))  # as another thread does, too late: EINVAL
    thaw(world.kernel)
    world.settle()
    assert world.result(child) == 65536


@pytest.mark.parametrize("other", [False, True], ids=["closed", "replaced"])
def test_a_call_keeps_its_file_across_a_freeze(world: World, child: Task, other: bool) -> None:
    assert world.call(child, "pipe", BASE) == 0
    reader, writer = struct.unpack("<ii", world.read(child, 0, 8))
    end = child.fds.get(reader)
    world.begin(child, "write", writer, BASE, 100_000)
    freeze(world.kernel)
    world.settle()
    child.fds.close(child, writer)  # as another thread does
    if other:
        child.fds.install(end, 1024)
    thaw(world.kernel)
    world.settle()
    assert isinstance(end, PipeFile)
    assert end.pipe.writers == 1
    assert len(end.pipe.take(65536)) == 65536
    world.settle()
    assert world.result(child) == 100_000
    assert end.pipe.writers == 0


def freeze_reader(world: World, child: Task) -> PipeFile:
    """Let the child read from a pipe, freeze it, and close the number; return the other end."""
    assert world.call(child, "pipe", BASE) == 0
    reader, writer = struct.unpack("<ii", world.read(child, 0, 8))
    file = child.fds.get(writer)
    assert isinstance(file, PipeFile)
    world.begin(child, "read", reader, BASE, 1)
    freeze(world.kernel)
    world.settle()
    child.fds.close(child, reader)
    return file


def test_a_stop_ends_a_call_that_is_frozen(world: World, child: Task) -> None:
    file = freeze_reader(world, child)
    begin_stop(child.group, SIGSTOP)  # as another thread does that takes the signal
    world.settle()
    assert file.pipe.readers == 0
    thaw(world.kernel)
    send_signal(child, SigInfo.kernel(SIGCONT))
    world.settle()
    assert world.result(child) == -EBADF.errno


def test_a_task_that_ends_while_frozen_gives_up_its_files(world: World, child: Task) -> None:
    file = freeze_reader(world, child)
    assert file.pipe.readers == 1
    send_signal(child, SigInfo.kernel(SIGKILL))
    world.settle()
    assert file.pipe.readers == 0


def test_a_freeze_lets_no_signal_through_that_a_call_blocks(world: World, child: Task) -> None:
    handle(world, child, SIGUSR1)
    world.write(child, 0, sigmask(SIGUSR1).to_bytes(8, "little"))
    thread = world.begin(child, "rt_sigsuspend", BASE, 8)
    freeze(world.kernel)
    world.settle()
    send_signal(child, SigInfo.kernel(SIGUSR1))
    thaw(world.kernel)
    world.settle()
    assert thread.stopped
    assert child.saved_mask == 0


def test_sleeps_keep_their_deadline_across_interruptions(world: World, child: Task) -> None:
    world.write(child, 0, struct.pack("<qq", 1000, 0))
    world.begin(child, "nanosleep", BASE, BASE + 32)
    first = child.record
    kill(world, child, 19)
    kill(world, child, 18)
    assert child.record == first
    assert child.routine is not None
    handle_while_waiting(child)
    kill(world, child, SIGUSR1)
    assert child.thread.log[-1] == ("reply", -EINTR.errno)  # type: ignore[attr-defined]
    assert struct.unpack("<qq", world.read(child, 32, 16))[0] == 999


def handle_while_waiting(task: Task) -> None:
    from pysc.sentry.kernel.signals import SigAction

    task.handlers[SIGUSR1] = SigAction(HANDLER, SA_RESTART)


def test_sigsuspend_waits_with_another_mask_and_gives_the_old_one_back(world: World, child: Task) -> None:
    handle(world, child, SIGUSR1)
    block(world, child, SIG_BLOCK, SIGUSR1)
    world.write(child, 0x8000, bytes(8))
    world.begin(child, "rt_sigsuspend", SCRATCH, 8)
    kill(world, child, SIGUSR1)
    frame = child.thread.frame  # type: ignore[attr-defined]
    assert child.thread.log[-1] == ("reply", -EINTR.errno)  # type: ignore[attr-defined]
    assert frame.mask == sigmask(SIGUSR1)


def test_sigtimedwait_waits_and_times_out(world: World, child: Task) -> None:
    block(world, child, SIG_BLOCK, SIGUSR1)
    world.write(child, 0x8000, sigmask(SIGUSR1).to_bytes(8, "little"))
    world.begin(child, "rt_sigtimedwait", SCRATCH, 0, 0, 8)
    assert world.waits(child)
    kill(world, child, SIGUSR1)
    assert world.result(child) == SIGUSR1
    world.write(child, 0x8000, sigmask(SIGUSR1).to_bytes(8, "little") + bytes(16))
    assert world.call(child, "rt_sigtimedwait", SCRATCH, 0, SCRATCH + 8, 8) == -EAGAIN.errno


def test_native_waits_are_restarted_or_end_with_eintr(world: World, child: Task) -> None:
    world.begin(child, "futex", BASE, 0, 0, 0, 0, 0)
    assert child.thread.log[-1][:2] == ("native", 202)  # type: ignore[attr-defined]
    kill(world, child, 19)
    world.event(child, Kind.INTERRUPTED, 202, BASE)
    assert world.waits(child)
    kill(world, child, 18)
    assert child.thread.log[-1][:2] == ("native", 202)  # type: ignore[attr-defined]
    handle_while_waiting(child)
    kill(world, child, SIGUSR1)
    world.event(child, Kind.INTERRUPTED, 202, BASE)
    assert child.thread.log[-1] == ("restart", 202)  # type: ignore[attr-defined]


def test_calls_that_do_not_wait_are_never_eintr(world: World, child: Task) -> None:
    world.begin(child, "munmap", BASE, 4096)
    from pysc.sentry.kernel.signals import SigAction

    child.handlers[SIGUSR1] = SigAction(HANDLER)
    kill(world, child, SIGUSR1)
    world.event(child, Kind.INTERRUPTED, NUMBERS["munmap"], BASE, 4096)
    assert child.thread.log[-1] == ("restart", NUMBERS["munmap"])  # type: ignore[attr-defined]


def test_what_was_made_natively_before_is_not_made_again(world: World, child: Task) -> None:
    world.begin(child, "munmap", BASE, 4096)
    kill(world, child, 19)
    world.event(child, Kind.INTERRUPTED, 202, BASE + 8)  # the thread has gone on, and asked nobody
    kill(world, child, 18)
    assert child.thread.log[-1][:3] == ("native", 202, BASE + 8)  # type: ignore[attr-defined]


def test_a_timed_futex_goes_on_with_what_is_left(world: World, child: Task) -> None:
    world.write(child, 64, struct.pack("<qq", 1000, 0))
    world.begin(child, "futex", BASE, 128, 7, BASE + 64, 0, 0)
    assert child.thread.log[-1] == ("native", 202, BASE, 128, 7, BASE + 64, 0, 0)  # type: ignore[attr-defined]
    child.thread.host_results[9] = BASE + 0x10000  # type: ignore[attr-defined]
    kill(world, child, 19)
    world.event(child, Kind.INTERRUPTED, 202, BASE, 128, 7, BASE + 64, 0, 0)
    kill(world, child, 18)
    verdict = child.thread.log[-1]  # type: ignore[attr-defined]
    assert verdict[:5] == ("native", 202, BASE, 9 | 128, 7)
    assert verdict[5] >= BASE + 0x10000


def test_the_alternate_stack(world: World, child: Task) -> None:
    world.write(child, 0, STACK_T.pack(BASE + 0x2000, 0, 0x1000))
    assert world.call(child, "sigaltstack", BASE, 0) == 0
    handle(world, child, SIGUSR1, SA_ONSTACK)
    child.thread.regs.rsp = BASE  # type: ignore[attr-defined]
    kill(world, child, SIGUSR1)
    world.event(child, Kind.PREEMPTED)
    frame = child.thread.frame  # type: ignore[attr-defined]
    assert frame.on_stack == BASE + 0x3000
    assert frame.stack == (BASE + 0x2000, 0, 0x1000)
    child.thread.regs.rsp = BASE + 0x2800  # type: ignore[attr-defined]
    assert world.call(child, "sigaltstack", BASE, 0) == -EPERM.errno
    assert world.call(child, "sigaltstack", 0, BASE + 32) == 0
    assert STACK_T.unpack(world.read(child, 32, 24)) == (BASE + 0x2000, 1, 0x1000)
    child.thread.regs.rsp = BASE  # type: ignore[attr-defined]
    world.write(child, 0, STACK_T.pack(BASE, 0, 100))
    assert world.call(child, "sigaltstack", BASE, 0) == -ENOMEM.errno


def test_who_may_signal_whom(world: World) -> None:
    world.add_program(b"other", b"#!/init\n")
    victim = world.fork(world.init)
    victim.creds = Credentials.of(1000, 1000)
    stranger = world.fork(world.init)
    stranger.creds = Credentials.of(2000, 2000)
    assert world.call(stranger, "kill", victim.tid, SIGTERM) == -EPERM.errno
    assert world.call(stranger, "kill", victim.tid, 18) == 0  # SIGCONT in the session
    friend = world.fork(world.init)
    friend.creds = Credentials.of(1000, 1000)
    assert world.call(friend, "kill", victim.tid, 0) == 0
    assert world.call(friend, "kill", 9999, 0) == -ESRCH.errno
    assert world.call(friend, "kill", victim.tid, 65) == -EINVAL.errno


def test_process_groups_and_everybody(world: World) -> None:
    first, second = world.fork(world.init), world.fork(world.init)
    for task in (first, second):
        assert world.call(task, "setpgid", 0, first.tid) == 0
    assert world.call(world.init, "kill", -first.tid, SIGINT) == 0
    assert first.group.pending.has(SIGINT)
    assert second.group.pending.has(SIGINT)
    assert world.call(world.init, "kill", -12345, SIGINT) == -ESRCH.errno
    assert world.call(world.init, "kill", -1, SIGKILL) == 0
    assert first.killed
    assert not world.init.killed


def test_terminal_stops_do_not_hit_orphans(world: World) -> None:
    child = world.fork(world.init)
    assert world.call(child, "setsid") == child.tid
    kill(world, child, SIGTSTP)
    world.event(child, Kind.PREEMPTED)
    assert not child.group.stop_pending


@pytest.mark.parametrize(("how", "expected"), [(SIG_BLOCK, 3), (SIG_UNBLOCK, 0), (SIG_SETMASK, 2)])
def test_masks(world: World, child: Task, how: int, expected: int) -> None:
    block(world, child, SIG_SETMASK, 1)
    signals = {SIG_BLOCK: (2, SIGKILL), SIG_UNBLOCK: (1,), SIG_SETMASK: (2, SIGKILL)}[how]
    block(world, child, how, *signals)
    assert child.mask == expected


def test_bugs_are_contained(world: World, child: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from pysc.cabi.linux.errors import EIO
    from pysc.sentry.syscalls import table, x86_64

    def broken(task: Task) -> int:
        raise KeyError("a bug")

    broken.__name__ = "getpgrp"
    monkeypatch.setitem(x86_64.X86_64.rows, NUMBERS["getpgrp"], table.full(broken))
    assert world.call(child, "getpgrp") == -EIO.errno
    assert any("a bug" in line for line in world.log.lines)
