"""The modes of a sandbox that every test must pass in: fast paths and direct file access, each on and off; freezes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """One point of the product of modes."""

    fastpath: bool = True
    direct: bool = True
    frozen: str = ""
    """How it is frozen and thawed all the time (tests/support/frozen.py), if it is."""

    @property
    def name(self) -> str:
        """Name it as it stands in a test's id."""
        words = [
            word
            for word, on in (
                ("slowpath", not self.fastpath),
                ("rpc", not self.direct),
                (f"frozen-{self.frozen}", self.frozen),
            )
            if on
        ]
        return "-".join(words) or "default"

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the flags of ``pysc`` that select it; none for what is the default anyway."""
        flags = []
        if not self.fastpath:
            flags.append("--fastpath=off")
        if not self.direct:
            flags.append("--file-access-direct=off")
        return tuple(flags)


DEFAULT = Mode()
EVERY_MODE = tuple(Mode(fastpath, direct) for fastpath in (True, False) for direct in (True, False))
FROZEN = Mode(fastpath=False, frozen="park")
"""Guest programs run in it wherever they run in every mode."""
FROZEN_MODES = (FROZEN, Mode(frozen="park"), Mode(frozen="beat"), Mode(fastpath=False, frozen="beat"))
"""More of that, for the run of everything."""
