"""Looking at processes that end meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from pysc.cabi import confine
from pysc.supervisor.confinement import read_filters


def test_a_process_that_ends_while_its_filters_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_filter(pid: int, _index: int) -> bytes | None:
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        raise ProcessLookupError(3, "No such process")

    monkeypatch.setattr(confine, "get_filter", get_filter)
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        try:
            assert read_filters(process.pid) == ([], "No such process")
        finally:
            process.kill()
