"""Numbers that nobody can guess: all that is drawn in the sentry is drawn here, or for a guest that asks (fast_self.c).

The module secrets would do as well, but loads OpenSSL: 3.5 MB of each sandbox.
"""

from __future__ import annotations

import os
import uuid
from typing import Final

from pysc.cabi._dispatch import lib
from pysc.cabi.objects import OBJECTS

_SPARE: Final = 8
"""Bytes drawn beyond what a number needs: so small is the preference for low numbers."""


def draw(size: int) -> bytes:
    """Return that many bytes."""
    return os.urandom(size)


def below(limit: int) -> int:
    """Return a number from 0 to ``limit`` - 1."""
    size = (limit.bit_length() + 7) // 8 + _SPARE
    return int.from_bytes(draw(size), "little") % limit


def identifier() -> bytes:
    """Return a UUID (version 4), as text."""
    return str(uuid.UUID(bytes=draw(16), version=4)).encode()


class Secrets:
    """What is drawn once for a sandbox, and kept: a second one that began as a copy must have its own.

    All else is drawn when it is needed, and known to the guest alone.
    """

    __slots__ = ("boot_id",)

    def __init__(self) -> None:
        self.boot_id = identifier()
        """/proc/sys/kernel/random/boot_id."""
        draw_names_key()


def draw_names_key() -> None:
    """Draw by what fast paths scatter names over their table of them, which is still empty.  They keep it."""
    lib.pysc_names_key(OBJECTS, int.from_bytes(draw(8), "little"))
