"""Waiting for the end of processes that are about to end, and seeing to it."""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from typing import Final

GUESTS: Final = ("pysc-guest", "memfd:pysc-gues")
"""What the host calls guest processes, before and after their guest half has begun."""


def reap(pid: int, seconds: float) -> None:
    """Reap a child that is about to exit; it is killed if it takes longer than ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        try:
            reaped, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return
        if reaped:
            return
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def exit_code(pid: int, seconds: float) -> int:
    """Reap a child that is about to exit, and return with what; 0 if it was killed or does not exit."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            reaped, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        if reaped:
            return max(0, os.waitstatus_to_exitcode(status))
        time.sleep(0.001)
    return 0


def await_ends(pidfds: list[int], seconds: float) -> None:
    """Wait for processes that are dying, whoever their parent is, and close their pidfds; kill those that linger."""
    for pidfd in pidfds:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            except OSError:
                pass
        os.close(pidfd)


def end_orphans(seconds: float) -> None:
    """Kill and reap guests that became children of this process, a subreaper, when their sentry died.

    In a pid namespace of their own the kernel does that; these are of a sandbox without namespaces.
    """
    end = time.monotonic() + seconds
    while (orphans := _orphans()) and time.monotonic() < end:
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
        for pid in orphans:
            os.waitpid(pid, 0)


def _orphans() -> list[int]:
    return [pid for pid, name in children(os.getpid()) if name.startswith(GUESTS)]


def children(pid: int) -> list[tuple[int, str]]:
    """Return pid and name of each child of a process's main thread; no name: it has ended meanwhile."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [(child, _name(child)) for child in map(int, file.read().split())]
    except OSError:
        return []  # it has ended, or a kernel without CONFIG_PROC_CHILDREN


def children_by_inner_pid(pid: int) -> dict[int, int]:
    """Return the pids of a process's children by what they are called in their own pid namespace."""
    found = {}
    for child, _ in children(pid):
        with suppress(OSError), open(f"/proc/{child}/status", encoding="utf-8", errors="replace") as file:
            found.update({int(row.split()[-1]): child for row in file if row.startswith("NSpid:")})
    return found


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
