"""The one exception that a command ends with: a line for people, naming the cause and the remedy."""

from __future__ import annotations

from typing import Final

EXIT_FAILURE: Final = 128
"""Status of every command that fails by itself; a program's own statuses are passed through."""


def printable(text: str) -> str:
    """Return a text of which nothing can steer the terminal that shows it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Failure(Exception):
    """A command cannot go on.  The text is one line; it goes to stderr and, once, to the log."""

    def __init__(self, message: str, status: int = EXIT_FAILURE) -> None:
        super().__init__(printable(" ".join(message.split())))  # daemons and guests have a say in it
        self.status = status


class UsageError(Failure):
    """The command line is wrong."""
