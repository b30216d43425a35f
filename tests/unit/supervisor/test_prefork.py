"""Whose spawner a spawner is."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from pysc.supervisor import prefork, spawner


def test_a_spawner_that_runs_late_knows_a_supervisor_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    killed_read, killed_write = os.pipe()  # closed by all others: whoever reads it learns that the supervisor is gone

    def run(sock: socket.socket, supervisor: int) -> None:
        os.close(killed_write)
        os.read(killed_read, 1)
        os.write(write, b"%d" % supervisor)

    monkeypatch.setattr(spawner, "run", run)
    supervisor = os.fork()
    if supervisor == 0:
        try:
            prefork.fork_spawner()
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.close(killed_write)
    os.close(write)
    assert os.waitpid(supervisor, 0)[1] == signal.SIGKILL
    assert os.read(read, 100) == b"%d" % supervisor
    os.close(read)
    os.close(killed_read)
