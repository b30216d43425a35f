"""The health of a supervised container: a command of the host, run again and again, never more than once at a time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable

import msgspec

from pysc.supervisor.peer import Loop
from pysc.supervisor.state import Health

OUTPUT = 1024
"""Bytes of the command's output that are kept."""


class Check(msgspec.Struct, frozen=True):
    """How to check."""

    command: str
    """For ``sh -c``; PYSC_ID and PYSC_PID are in its environment."""
    interval: float
    timeout: float
    retries: int
    """Failures in a row that make it unhealthy."""


class Monitor:
    """Runs the check in a loop; ``changed`` is called whenever :attr:`health` has a new status."""

    def __init__(self, loop: Loop, check: Check, environment: dict[str, str], changed: Callable[[], None]) -> None:
        self.health = Health()
        self._loop = loop
        self._check = check
        self._environment = environment
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._timer: object = loop.after(check.interval, self._run)
        self._said = b""
        self._late = False

    def stop(self) -> None:
        """Stop checking, and kill a command that runs."""
        self._loop.cancel(self._timer)
        process, self._process = self._process, None
        if process is not None:
            self._kill(process)
            self._forget(process)

    def _run(self) -> None:
        self._said, self._late = b"", False
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", self._check.command],
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._conclude(False, str(error.strerror))
            return
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._loop.watch(self._process.stdout.fileno(), self._hear)
        self._timer = self._loop.after(self._check.timeout, self._too_late)

    def _hear(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        data = process.stdout.read(4096)
        if data:
            self._said = (self._said + data)[-OUTPUT:]
            return
        if data is None:
            return
        # It has closed its output; a command that does so and goes on is given its remaining time.
        if process.poll() is None and not self._late and not _ended(process.pid):
            self._loop.unwatch(process.stdout.fileno())
            self._timer_again()
            return
        self._finish(process)

    def _timer_again(self) -> None:
        self._loop.cancel(self._timer)
        self._timer = self._loop.after(0.05, self._poll)

    def _poll(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            self._timer_again()
        else:
            self._finish(process)

    def _too_late(self) -> None:
        process = self._process
        if process is not None:
            self._late = True
            self._kill(process)
            self._finish(process)

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        self._loop.cancel(self._timer)
        self._forget(process)
        said = self._said.decode("utf-8", "replace").strip()
        if self._late:
            said = f"no answer within {self._check.timeout:g} seconds"
        self._conclude(process.returncode == 0 and not self._late, said)

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._loop.unwatch(process.stdout.fileno())
        process.stdout.close()
        process.wait()

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _conclude(self, good: bool, said: str) -> None:
        health = self.health
        before = health.status
        health.output = said
        health.failures = 0 if good else health.failures + 1
        if good:
            health.status = "healthy"
        elif health.failures >= self._check.retries:
            health.status = "unhealthy"
        self._timer = self._loop.after(self._check.interval, self._run)
        if health.status != before:
            self._changed()


def _ended(pid: int) -> bool:
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(100))
    finally:
        os.close(pidfd)
