"""A terminal with a program on it: type, expect, resize; every wait has a deadline and none is a sleep."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

DEADLINE = 20.0


class Terminal:
    """The user's side of a pseudo terminal whose other side is the controlling terminal of ``command``."""

    def __init__(self, command: Sequence[str | bytes | Path], rows: int = 24, columns: int = 80) -> None:
        self._master, slave = pty.openpty()
        self.resize(rows, columns)
        self.initial = self.attributes()
        """The modes before the program began."""
        self.output = b""
        """Everything that was shown and not yet expected."""
        self.transcript = b""
        environment = {**os.environ, "TERM": "vt100", "PS1": "", "LC_ALL": "C"}

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal, env=environment
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)
        os.close(self._master)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def expect(self, pattern: str, deadline: float = DEADLINE) -> re.Match[bytes]:
        """Wait until ``pattern`` has been shown; forget what was shown up to its end."""
        wanted = re.compile(pattern.encode(), re.DOTALL)
        end = time.monotonic() + deadline
        while True:
            match = wanted.search(self.output)
            if match is not None:
                self.output = self.output[match.end() :]
                return match
            if not self._read(end - time.monotonic()):
                raise AssertionError(
                    f"{pattern!r} was not shown; all of it:\n{self.transcript.decode(errors='replace')}"
                )

    def finish(self, deadline: float = DEADLINE) -> int:
        """Wait for the program's end; return its status as a shell would."""
        end = time.monotonic() + deadline
        while self._read(end - time.monotonic()):
            pass
        status = self.process.wait(max(0.1, end - time.monotonic()))
        return 128 - status if status < 0 else status

    def attributes(self) -> list[object]:
        """Return the terminal's modes."""
        return list(termios.tcgetattr(self._master))

    def _read(self, seconds: float) -> bool:
        poll = select.poll()  # select(2) knows no descriptor beyond 1023
        poll.register(self._master, select.POLLIN)
        if seconds <= 0 or not poll.poll(1000 * seconds):
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: nobody holds the other side any more
            return False
        self.output += data
        self.transcript += data
        return bool(data)
