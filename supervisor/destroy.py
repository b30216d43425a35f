"""The end of a container that another process supervises: asked for politely, then by force."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Final

from pysc.cabi.linux.errors import LinuxError
from pysc.supervisor import cgroups
from pysc.supervisor.control import END_ANSWER_SECONDS, ask
from pysc.supervisor.failure import Failure
from pysc.supervisor.state import State, Store, alive, boot_id
from pysc.urpc.blocking import Disconnected
from pysc.urpc.schema import supervisor as protocol

SECONDS: Final = 4
"""A shim cuts ``delete --force`` off after five."""


def end(store: Store, state: State) -> None:
    """End a container's processes; its state stays.

    Raises:
        Failure: they do not end.
    """
    if alive(state):
        politely(store, state.id)
    by_force(store, state)


def politely(store: Store, container: str) -> None:
    """Ask the supervisor, if there is one, to end everything."""
    try:
        ask(store.control(container), protocol.Destroy(), END_ANSWER_SECONDS)
    except (Disconnected, LinuxError):
        pass


def by_force(store: Store, state: State) -> None:
    """Kill the supervisor if it still lives, and wait for the spawner's cleaning up; then clean up ourselves.

    Raises:
        Failure: something is still there afterwards.
    """
    supervisor = _pidfd(state.pid) if alive(state) else -1
    if supervisor >= 0:
        cgroups.thaw(state.cgroups)
        if not _ended(supervisor, 0.5):  # it is about to exit with its status, if it answered
            _kill(supervisor)
        gone = _ended(supervisor, SECONDS)
        os.close(supervisor)
        if not gone:
            raise Failure(f"process {state.pid}, the supervisor of {state.id}, does not die: it waits for the host")
    if state.boot_id == boot_id():
        cgroups.kill(state.cgroups)
        end = time.monotonic() + 1
        while any(os.path.isdir(directory) for directory in state.cgroups) and time.monotonic() < end:
            cgroups.remove(state.cgroups, 0.05)


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        pass


def _ended(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
