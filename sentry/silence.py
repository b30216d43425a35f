"""What is said of a gofer that does not answer: which call waits, on what file, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pysc.urpc.loop import Silence
from pysc.urpc.message import Request
from pysc.urpc.schema import gofer

LONGEST: Final = 256
"""Of a path, which a guest has chosen, so much is shown: its end."""


def described(silence: Silence, targets: Mapping[int, bytes]) -> str:
    """Return a line for the log; ``targets`` are the mount points by the gofer's numbers."""
    others = f" ({silence.others} more wait, too)" if silence.others else ""
    why = (
        "the gofer is connected and silent, so the host's file system there may hang"
        if silence.connected
        else "the last gofer is gone, and no other has come"
    )
    return f"{_what(silence.request, targets)} has not been answered for {silence.seconds:.0f} s{others}: {why}"


def _what(request: Request[Any], targets: Mapping[int, bytes]) -> str:
    kind, file = type(request).__name__, getattr(request, "file", None)
    directory = getattr(request, "directory", getattr(request, "old_directory", None))
    if isinstance(file, gofer.File):
        return f"{kind} of {_shown(targets, file.mount, file.path)}"
    if isinstance(directory, gofer.File):
        names = getattr(request, "names", [getattr(request, "name", getattr(request, "old_name", b""))])
        return f"{kind} of {_shown(targets, directory.mount, directory.path, *names)}"
    of = "an open file below " if file is not None else ""
    return f"{kind} of {of}{_shown(targets, getattr(request, 'mount', 0))}"


def _shown(targets: Mapping[int, bytes], mount: int, *parts: bytes) -> str:
    path = b"/".join([targets.get(mount, b"?").rstrip(b"/"), *filter(None, parts)]) or b"/"
    text = path[-LONGEST:].decode("utf-8", "backslashreplace")
    return text if len(path) <= LONGEST else f"...{text}"
