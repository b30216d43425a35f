"""What uRPC has to say to people: losses, and bugs of handlers.  To stderr, until the process names another place.

The place is the process's, as stderr is: reports come from where no object of a daemon is known, and nothing depends on
them.  The module logging would do as well, but costs each start 10 ms and each sandbox 1 MB.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

Sink = Callable[[str, str], None]
"""Takes a level (debug, warning, error) and a text."""


def _to_stderr(level: str, text: str) -> None:
    if level != "debug":
        print(text, file=sys.stderr, flush=True)


_sink: Sink = _to_stderr


def send_to(sink: Sink) -> None:
    """Send all reports of this process to ``sink`` from now on."""
    global _sink
    _sink = sink


def report(level: str, text: str, error: BaseException | None = None) -> None:
    """Report something, with the traceback of ``error``."""
    if error is not None:
        text = f"{text}\n{''.join(traceback.format_exception(error))}".rstrip()
    _sink(level, text)
