"""The zygote: hosts that cannot run guests say so in one line, with the remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pysc.sentry.platform import zygote
from pysc.sentry.platform.interface import PlatformError

FILTERED = Path(__file__).parents[2] / "integration" / "supervisor" / "filtered.py"
START = """
from pysc.sentry.platform.interface import PlatformError
from pysc.sentry.platform.systrap import Systrap
platform = Systrap()
try:
    platform.start()
except PlatformError as error:
    print(error)
finally:
    platform.stop()
"""


def test_a_host_without_fsgsbase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zygote.confine, "auxiliary", lambda _kind: ~(1 << 1))
    with pytest.raises(PlatformError, match="FSGSBASE: boot"):
        zygote.check_host()


def test_a_host_without_listeners() -> None:
    command = [sys.executable, str(FILTERED), "seccomp=EINVAL", "--", sys.executable, "-c", START]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.startswith("systrap needs seccomp listeners (EINVAL): boot Linux 5.19"), done.stderr
    assert done.stdout.count("\n") == 1
