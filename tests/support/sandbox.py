"""Running commands under ``pysc do``, and beside it on the bare host, with deadlines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.modes import DEFAULT, Mode

PYSC = (sys.executable, "-P", "-m", "pysc")
"""The command, as the interpreter that runs the tests has it installed."""

FROZEN = Path(__file__).with_name("frozen.py")
"""The same, with a kernel that freezes and thaws all the time."""

Argument = str | bytes | Path


@dataclass(frozen=True)
class Outcome:
    """What a command did, as far as a test may compare it: its status and what it wrote."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Return standard output as text."""
        return self.stdout.decode(errors="backslashreplace")

    def explain(self) -> str:
        """Say all of it, for the message of a failed assertion."""
        errors = self.stderr.decode(errors="backslashreplace")
        return f"status {self.status}\n--- stdout\n{self.text[-4000:]}\n--- stderr\n{errors[-4000:]}"


def run(
    command: Sequence[Argument],
    *,
    stdin: bytes = b"",
    timeout: float = 40,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Run ``command`` to its end; its whole session is killed when the deadline passes."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(stdin, timeout)
        status = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=10)
        stderr += f"\nstill running after {timeout} s\n".encode()
        status = -signal.SIGKILL
    except BaseException:  # the test's own deadline
        os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        process.wait(10)
    return Outcome(128 - status if status < 0 else status, stdout, stderr)


@dataclass(frozen=True)
class Sandbox:
    """``pysc do`` in one mode."""

    mode: Mode = DEFAULT
    flags: tuple[str, ...] = ()

    def command(self, *command: Argument) -> list[Argument]:
        """Return the whole command line that runs ``command`` inside."""
        pysc = (sys.executable, "-P", FROZEN, self.mode.frozen) if self.mode.frozen else PYSC
        return [*pysc, *self.mode.flags, *self.flags, "do", "--", *command]

    def run(self, *command: Argument, stdin: bytes = b"", timeout: float = 40, cwd: Path | None = None) -> Outcome:
        """Run ``command`` inside, and wait for it."""
        return run(self.command(*command), stdin=stdin, timeout=timeout, cwd=cwd)

    def sh(self, script: str, *, stdin: bytes = b"", timeout: float = 40) -> Outcome:
        """Run a shell script inside."""
        return self.run("/bin/sh", "-c", script, stdin=stdin, timeout=timeout)


def on_host(*command: Argument, stdin: bytes = b"", timeout: float = 40, cwd: Path | None = None) -> Outcome:
    """Run ``command`` on the bare host: what a sandbox is compared with."""
    return run(command, stdin=stdin, timeout=timeout, cwd=cwd)
