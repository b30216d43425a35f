"""The C of pysc and the Linux ABI: the guest half, the dispatcher, single host calls, constants and errnos.

May import nothing of ours.  Only this package touches the compiled modules' ``lib`` and ``ffi``."""

import os
from typing import Final

if __name__ != "pysc.cabi":
    raise ImportError("import this package as pysc.cabi")

GUEST: Final = os.path.join(os.path.dirname(__file__), "guest.elf")
"""The guest half's executable."""
