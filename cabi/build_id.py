"""Which build of pysc this is: the daemons of one sandbox are of one install, and compare it (uRPC's hello)."""

from __future__ import annotations

from typing import Final

from pysc.cabi._shim import ffi, lib

BUILD: Final[str] = ffi.string(lib.pysc_build_id()).decode("ascii")
"""A digest of all sources at the time when the C was compiled."""
