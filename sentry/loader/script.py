"""Scripts: the #! line (execve(2))."""

from __future__ import annotations

from typing import Final

from pysc.cabi.linux.errors import ENOEXEC

HEAD_SIZE: Final = 256
"""How much of a file is looked at (BINPRM_BUF_SIZE)."""
_SPACE: Final = b" \t"


def parse_script_untrusted(head: bytes) -> tuple[bytes, bytes | None] | None:
    """Return the interpreter of a script and its argument, if any; None if the file does not start with #!.

    Raises:
        ENOEXEC: no interpreter, or its path is cut off by the end of ``head``.
    """
    if not head.startswith(b"#!"):
        return None
    end = head.find(b"\n")
    line = head[2:end] if end >= 0 else head[2 : HEAD_SIZE - 1]
    whole = end >= 0 or len(head) < HEAD_SIZE
    line = line.partition(b"\0")[0].lstrip(_SPACE)
    if not whole and not any(space in line for space in (b" ", b"\t")):
        raise ENOEXEC("the interpreter's path is too long")
    line = line.rstrip(_SPACE)
    if not line:
        raise ENOEXEC("no interpreter after #!")
    cut = min((at for at in (line.find(b" "), line.find(b"\t")) if at >= 0), default=-1)
    if cut < 0:
        return line, None
    return line[:cut], line[cut:].strip(_SPACE)
