"""What the host's processor offers, as the auxiliary vector tells programs."""

from __future__ import annotations

import msgspec

from pysc.cabi import confine
from pysc.cabi.linux.elf import AT_HWCAP, AT_HWCAP2, AT_MINSIGSTKSZ, HWCAP2_FSGSBASE, HWCAP2_RING3MWAIT


class Processor(msgspec.Struct, frozen=True):
    """AT_HWCAP, AT_HWCAP2 without what the engine keeps for itself, AT_MINSIGSTKSZ."""

    hwcap: int = 0
    hwcap2: int = 0
    minsigstksz: int = 2048


def read_processor() -> Processor:
    """Look into this process's own auxiliary vector; what is missing has the architecture's default."""
    hwcap2 = confine.auxiliary(AT_HWCAP2) & ~(HWCAP2_FSGSBASE | HWCAP2_RING3MWAIT)
    return Processor(confine.auxiliary(AT_HWCAP), hwcap2, confine.auxiliary(AT_MINSIGSTKSZ) or 2048)
