"""The sentry's log: lines to the descriptor that the supervisor donated."""

from __future__ import annotations

import os
from typing import Final

from pysc.urpc.schema.log import line

MAX_MESSAGE: Final = 16384
"""What a guest can cause to be logged has an end."""


class FdLog:
    """The kernel's log (pysc.sentry.kernel.kernel.Log); ``fd`` stays the caller's."""

    __slots__ = ("_debug", "_fd", "_json")

    def __init__(self, fd: int, *, debug: bool, as_json: bool) -> None:
        self._fd = fd
        self._debug = debug
        self._json = as_json

    def debug(self, message: str) -> None:
        """Log what helps a developer; dropped without --debug."""
        if self._debug:
            self.write("debug", message)

    def info(self, message: str) -> None:
        """Log what a user may want to know; dropped without --debug, as stderr is the program's."""
        if self._debug:
            self.write("info", message)

    def warning(self, message: str) -> None:
        """Log what a user should know."""
        self.write("warning", message)

    def error(self, message: str) -> None:
        """Log a bug or a loss."""
        self.write("error", message)

    def write(self, level: str, message: str) -> None:
        """Append one line; one that cannot be written is lost."""
        try:
            os.write(self._fd, line(level, message[:MAX_MESSAGE], as_json=self._json))
        except OSError:
            pass

    def told(self, level: str, message: str) -> None:
        """Log what uRPC reports."""
        if level == "debug":
            self.debug(message)
        else:
            self.write(level, message)
