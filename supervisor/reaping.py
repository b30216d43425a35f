"""Waiting for the end of processes that are about to end, and seeing to it."""

from __future__ import annotations

import os
import select
import signal
import time


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
