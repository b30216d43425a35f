"""The host's descriptors that the sentry holds, and what each is of: so that it can be told, and had again elsewhere.

A process has one table of descriptors, and this is what it means: who opens one, or is given it, holds it here until it
is closed, by whatever way.  What C opens stands in C's own tables (:meth:`Systrap.descriptors`, :func:`dcache.opened`).
The number of a descriptor means something in this process only: nothing that outlives it may be known by one.

Each has the lowest number that was free, so it says how many there are at least: what guests' files use leaves enough
for their processes, and these for all else.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final, NewType

import msgspec

from pysc.cabi.linux.errors import ENFILE
from pysc.cabi.objects import descriptors

HostFd = NewType("HostFd", int)
"""A descriptor that stands in the table, as its holder has it."""
NONE: Final = HostFd(-1)


class Of(Enum):
    """What it is of, and how a sandbox that begins where this one is gets it again."""

    STANDARD = "standard files"
    """The caller's stdin, stdout or stderr, by ``number``: given by the caller of the other one."""
    TREE = "trees"
    """The clone of a mount, ``number`` of the gofer's: given by the other supervisor."""
    FILE = "files"
    """``ino`` on ``dev`` of the mount ``number``: opened by the path that the inode has, or lost without one."""
    LISTING = "listings"
    """A directory that was listed in part: listed again, as after a rewind."""
    MEMORY = "files in memory"
    """The contents of an inode of the sentry's own, or of a segment of shared memory: made of its bytes."""
    GUEST = "guest processes"
    """The process of a space: made with it."""
    ENGINE = "engine"
    """What guests are made, heard and spoken to by: made by the platform."""
    PEER = "peers"
    """The gofer, the supervisor, the spawner, the network: connected anew."""
    OWN = "own"
    """Its log, its procfs, its workers': as at every start."""


class Held(msgspec.Struct, frozen=True, gc=False):
    """What one is of."""

    of: Of
    number: int = -1
    dev: int = 0
    ino: int = 0
    writable: bool = False


FILES: Final = frozenset({Of.FILE, Of.LISTING, Of.MEMORY})
"""What guests' files use."""
LEFT: Final = 16
"""One of so many is for replies that bring descriptors, and what is opened for a moment."""

_held: Final[dict[int, Held]] = {}


def hold(fd: int, held: Held) -> HostFd:
    """Take a descriptor over, whose number nobody holds.  ENFILE: files have too many, and it has been closed."""
    assert fd >= 0, "not a descriptor"
    assert fd not in _held, "closed by who does not hold it"
    if held.of in FILES and fd >= descriptors() // 2:
        os.close(fd)
        raise ENFILE
    _held[fd] = held
    return HostFd(fd)


def is_for_process(fd: int) -> bool:
    """Whether a descriptor may be a process's."""
    limit = descriptors()
    return fd < limit - limit // LEFT


def duplicate(fd: HostFd) -> HostFd:
    """Return another descriptor of the same open file.  OSError, ENFILE."""
    return hold(os.dup(fd), _held[fd])


def let_go(fd: HostFd) -> int:
    """Return it to who will close it."""
    del _held[fd]
    return fd


def close(fd: HostFd, held: dict[int, Held] = _held, close_number: Callable[[int], None] = os.close) -> None:
    """Close it; the defaults are for holders that end when modules are gone already."""
    del held[fd]
    close_number(fd)


def what(fd: int) -> Held | None:
    """Return what one is of; None: nobody holds it."""
    return _held.get(fd)


def account(directory: int, others: Iterable[tuple[int, Of]]) -> tuple[Counter[Of], list[int]]:
    """Count all by kind; return also those of which nothing is known.

    ``directory`` (borrowed) is /proc/self/fd, ``others`` are those of C and of sockets.
    """
    kinds = {fd: held.of for fd, held in _held.items()}
    kinds.update(others)
    numbers = [int(name) for name in os.listdir(directory)]
    unknown = [fd for fd in numbers if fd not in kinds and _is_open(fd)]  # to list them took one, too
    return Counter(kinds.values()), unknown


def _is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True
