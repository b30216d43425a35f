"""Descriptors in messages: a field of an :class:`OwnedFd` type travels by SCM_RIGHTS (unix(7)).

On the wire the field is the index of the descriptor in the frame; every received descriptor is claimed by exactly
one field, and its kind is verified by fstat before the message is seen.  An ``int`` is a borrowed descriptor.
"""

from __future__ import annotations

import os
import stat
from types import TracebackType
from typing import ClassVar, Final, TypeVar

MAX_FDS: Final = 253
"""SCM_MAX_FD: what the kernel passes with one message."""

ANONYMOUS: Final = 0
"""The S_IFMT of anon inodes: eventfd, epoll, pidfd."""

Self = TypeVar("Self", bound="OwnedFd")


class OwnedFd:
    """A descriptor with one owner, who closes or takes it; dropped, it closes itself.

    Subclasses declare the file types that are accepted from a peer (``kinds``; empty: any).
    """

    __slots__ = ("_fd", "_lent")

    kinds: ClassVar[frozenset[int]] = frozenset()

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lent = False

    @classmethod
    def lend(cls: type[Self], fd: int) -> Self:
        """Wrap a descriptor that stays the caller's: nothing here will close it."""
        lent = cls(fd)
        lent._lent = True
        return lent

    @property
    def lent(self) -> bool:
        """Whether somebody else closes it."""
        return self._lent

    def fileno(self) -> int:
        """Return the descriptor, still owned by this object."""
        assert self._fd >= 0, "the descriptor was closed or taken"
        return self._fd

    def take(self) -> int:
        """Return the descriptor and give it up: the caller owns it now."""
        fd, self._fd = self.fileno(), -1
        return fd

    def close(self) -> None:
        """Close it unless it is lent; closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and not self._lent:
            os.close(fd)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._fd})"


class RegularFd(OwnedFd):
    """A regular file (also a memfd)."""

    __slots__ = ()
    kinds = frozenset({stat.S_IFREG})


class DirectoryFd(OwnedFd):
    """A directory."""

    __slots__ = ()
    kinds = frozenset({stat.S_IFDIR})


class FileFd(OwnedFd):
    """Anything that a file system holds but devices and links."""

    __slots__ = ()
    kinds = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFSOCK})


class SocketFd(OwnedFd):
    """A socket."""

    __slots__ = ()
    kinds = frozenset({stat.S_IFSOCK})


class EventFd(OwnedFd):
    """An eventfd or another anonymous inode."""

    __slots__ = ()
    kinds = frozenset({ANONYMOUS})


class StdioFd(OwnedFd):
    """What a caller may have as its standard input or output; no directory, below which the sentry could read."""

    __slots__ = ()
    kinds = frozenset({stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR})


class WrongDescriptor(ValueError):
    """A descriptor is missing, claimed twice or of another kind: the message does not decode."""


class Claims:
    """The descriptors of one received frame, until the fields of its message have claimed them."""

    __slots__ = ("_fds",)

    def __init__(self, fds: list[int]) -> None:
        self._fds = fds

    def claim(self, kind: type, index: object) -> object:
        """Give descriptor ``index`` to a field of type ``kind``: msgspec's dec_hook."""
        if not issubclass(kind, OwnedFd):
            raise NotImplementedError(f"{kind} is no type of a message")
        fds = self._fds
        if type(index) is not int or not 0 <= index < len(fds) or fds[index] < 0:
            raise WrongDescriptor("no such descriptor in the frame")
        if kind.kinds and stat.S_IFMT(os.fstat(fds[index]).st_mode) not in kind.kinds:
            raise WrongDescriptor(f"the descriptor is no {kind.__name__}")
        owned = kind(fds[index])
        fds[index] = -1
        return owned

    @property
    def unclaimed(self) -> bool:
        """Whether the sender passed more than its message names."""
        return any(fd >= 0 for fd in self._fds)

    def close(self) -> None:
        """Close what nobody claimed."""
        for index, fd in enumerate(self._fds):
            if fd >= 0:
                self._fds[index] = -1
                os.close(fd)


def close_all(fds: list[int]) -> None:
    """Close raw descriptors that no message owns."""
    Claims(fds).close()
