"""Numbers that nobody can guess.

The module secrets would do as well, but loads OpenSSL: 3.5 MB of each sandbox.
"""

from __future__ import annotations

import os
from typing import Final

_SPARE: Final = 8
"""Bytes drawn beyond what a number needs: so small is the preference for low numbers."""


def below(limit: int) -> int:
    """Return a number from 0 to ``limit`` - 1."""
    size = (limit.bit_length() + 7) // 8 + _SPARE
    return int.from_bytes(os.urandom(size), "little") % limit
