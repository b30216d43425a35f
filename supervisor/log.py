"""The log and stderr: lines for people, and for the clients of OCI runtimes that parse them.

A command that fails writes exactly one line of level ``error``: podman wants one object, containerd takes the last.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from pysc.supervisor.failure import Failure
from pysc.supervisor.options import GlobalOptions
from pysc.urpc.schema.log import line

LEVELS: Final = {"debug": 0, "info": 1, "warning": 2, "error": 3}


class Log:
    """Where log lines go; owns its descriptor unless that is stderr."""

    def __init__(self, options: GlobalOptions) -> None:
        """Open the log.

        Raises:
            Failure: the file cannot be opened.
        """
        self._json = options.log_format == "json"
        self.to_file = bool(options.log)
        self._least = LEVELS["debug" if options.debug else "info" if options.log else "warning"]
        self.fd = 2
        if options.log:
            try:
                # Docker and containerd read the file: append, never truncate, and it must be there at once.
                self.fd = os.open(options.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise Failure(f"cannot open the log {options.log}: {error.strerror}; name another with --log") from None

    def debug(self, message: str) -> None:
        """For those who look for a bug."""
        self._write("debug", message)

    def info(self, message: str) -> None:
        """What happened."""
        self._write("info", message)

    def warning(self, message: str) -> None:
        """What is not as it should be, but went on."""
        self._write("warning", message)

    def failure(self, message: str) -> None:
        """The one line that a command fails with, to the log and to stderr."""
        if self.to_file:
            self._write("error", message)
            text = message
        else:
            text = f"pysc: {message}"
        try:
            os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
        except OSError:
            pass  # nobody listens

    def _write(self, level: str, message: str) -> None:
        if LEVELS[level] < self._least:
            return
        try:
            os.write(self.fd, line(level, message, as_json=self._json))
        except OSError:
            pass  # a full disk must not stop a container


def plain_stderr(message: str) -> None:
    """Report a failure that happened before there was a log."""
    print(f"pysc: {message}", file=sys.stderr)
