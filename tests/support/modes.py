"""The modes of a sandbox that every test must pass in: fast paths and direct file access, each on and off."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mode:
    """One point of the product of modes."""

    fastpath: bool = True
    direct: bool = True

    @property
    def name(self) -> str:
        """Name it as it stands in a test's id."""
        words = [word for word, on in (("slowpath", not self.fastpath), ("rpc", not self.direct)) if on]
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
