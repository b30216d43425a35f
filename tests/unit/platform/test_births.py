"""Who becomes a space: the process that speaks first on its socket, as the host says."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from pysc.cabi._dispatch import lib
from pysc.sentry.platform.interface import Kind, PlatformError
from pysc.sentry.platform.space import SystrapSpace
from pysc.sentry.platform.systrap import Systrap
from pysc.sentry.platform.thread import SystrapThread


@pytest.fixture
def platform() -> Iterator[Systrap]:
    """A platform without a zygote's help: its blank is of no interest."""
    platform = Systrap()
    platform.start()
    try:
        wait(platform, lambda: not platform.unborn)
        yield platform
    finally:
        platform.stop()


def wait(platform: Systrap, condition: Callable[[], bool]) -> list[tuple[Kind, object]]:
    """Run the loop until it is so; return the events."""
    deadline = time.monotonic() + 10
    events: list[tuple[Kind, object]] = []
    while not condition():
        assert time.monotonic() < deadline
        events += [(event.kind, event.thread.owner) for event in platform.wait(10**8)]
    return events


def told_of(platform: Systrap) -> SystrapSpace:
    """Return a space with a thread that a task of the kernel's is told of."""
    blank = next(iter(platform.spaces.values()))
    space = platform.copy_of(blank)
    thread = SystrapThread(space, 0, next(iter(blank.threads.values())))
    thread.owner = "child"
    return space


def speaker(space: SystrapSpace, *, speaks: bool = True) -> int:
    """Fork a child with the guest's end, which speaks there, or ends at once."""
    pid = os.fork()
    if pid == 0:
        if speaks:
            end = socket.socket(fileno=os.dup(space.guest_socket))
            end.send(bytes(8), socket.MSG_DONTWAIT)
            space.close_guest_ends()
            signal.pause()
        os._exit(0)
    space.close_guest_ends()
    return pid


def test_who_speaks_is_the_process(platform: Systrap) -> None:
    """The pid is the host's word, and the end of that process is the space's."""
    space = told_of(platform)
    pid = speaker(space)
    assert wait(platform, lambda: space.host_pid != 0) == []
    assert space.host_pid == pid
    space.kill()
    assert (Kind.GONE, "child") in wait(platform, lambda: space.dead)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_killed_before_it_has_spoken(platform: Systrap) -> None:
    """SIGKILL is not lost."""
    space = told_of(platform)
    space.kill()
    pid = speaker(space)
    wait(platform, lambda: space.dead)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_nobody_speaks(platform: Systrap) -> None:
    """A child that ends without a word is gone, and reaped."""
    space = told_of(platform)
    pid = speaker(space, speaks=False)
    assert (Kind.GONE, "child") in wait(platform, lambda: space.dead)

    wait(platform, lambda: ended(pid))


def test_nobody_speaks_and_who_was_told_has_not_said_so(platform: Systrap) -> None:
    """A fork that fails leaves a socket that nobody has: whether there was a child is what the parent's report says."""
    space = told_of(platform)
    (child,) = space.threads.values()
    parent = child.maker
    assert parent is not None
    parent.child = child
    space.close_guest_ends()
    assert wait(platform, lambda: space.silent) == []
    assert not space.dead
    parent.made()
    assert space.dead
    assert not platform.unborn
    assert [(event.kind, event.thread.owner) for event in platform.wait(0)] == [(Kind.GONE, "child")]


def ended(pid: int) -> bool:
    """Whether the child is no more, and reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def test_a_child_that_is_hidden(platform: Systrap, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that never speaks, and holds its socket, is ended when patience is."""
    monkeypatch.setattr("pysc.sentry.platform.strays.PERIOD_NS", 10_000_000)
    platform.strays.patience = 3
    space = told_of(platform)
    pid = os.fork()
    if pid == 0:
        signal.pause()
    space.close_guest_ends()
    assert (Kind.GONE, "child") in wait(platform, lambda: space.dead)
    wait(platform, lambda: ended(pid))


def test_a_process_that_is_a_space_speaks_for_no_other(platform: Systrap) -> None:
    """A parent that speaks on its child's socket makes it nobody's; the parent lives."""
    space, other = told_of(platform), told_of(platform)
    pid = os.fork()
    if pid == 0:
        ends = [socket.socket(fileno=os.dup(each.guest_socket)) for each in (space, other)]
        for end in ends:
            end.send(bytes(8), socket.MSG_DONTWAIT)
        signal.pause()
    for each in (space, other):
        each.close_guest_ends()
    wait(platform, lambda: not platform.unborn)
    assert sorted([space.dead, other.dead]) == [False, True]
    left = other if space.dead else space
    assert left.host_pid == pid
    left.kill()
    wait(platform, lambda: left.dead)


def test_the_zygote_is_killed(platform: Systrap) -> None:
    """Without it no program can be started: that is said, and not shown by each exec to come."""
    os.kill(platform.zygote_pid, signal.SIGKILL)
    with pytest.raises(PlatformError, match="was killed"):
        wait(platform, lambda: False)


def test_a_socket_never_fills_up(platform: Systrap) -> None:
    """What is in the socket is taken now and then: it can be rung any number of times."""
    space = told_of(platform)
    end = socket.socket(fileno=os.dup(space.guest_socket))
    pid = speaker(space)
    wait(platform, lambda: space.host_pid != 0)
    for _ in range(500):  # more than the socket holds
        end.send(bytes(8), socket.MSG_DONTWAIT)
        sleeps = lib.pysc_engine_counters(platform.engine).sleeps
        platform.wait(10**6)
        assert lib.pysc_engine_counters(platform.engine).sleeps > sleeps
    end.close()
    os.kill(pid, signal.SIGKILL)
    wait(platform, lambda: space.dead)
