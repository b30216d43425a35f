"""Where changes of files are announced to inotify(7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.stat import S_IFDIR, S_IFMT

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Inode
    from pysc.sentry.fs.path import Dentry

IN_ACCESS: Final = 0x001
IN_MODIFY: Final = 0x002
IN_ATTRIB: Final = 0x004
IN_CLOSE_WRITE: Final = 0x008
IN_CLOSE_NOWRITE: Final = 0x010
IN_OPEN: Final = 0x020
IN_MOVED_FROM: Final = 0x040
IN_MOVED_TO: Final = 0x080
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_ISDIR: Final = 0x4000_0000

Sink = Callable[["Inode", int, int, bytes], None]

sinks: Final[dict[int, Sink]] = {}
"""Who wants to know: called with the inode watched, IN_* bits, a cookie that joins moves, and the name in it."""

_cookies = 0


def listen(key: int, sink: Sink) -> None:
    """Tell ``sink`` of everything from now on; fast paths leave writing to us meanwhile."""
    sinks[key] = sink
    lib.pysc_objects_watch(objects.OBJECTS, True)


def unlisten(key: int) -> None:
    """Undo :func:`listen`."""
    sinks.pop(key, None)
    if not sinks:
        lib.pysc_objects_watch(objects.OBJECTS, False)


def announce(dentry: Dentry, events: int) -> None:
    """Something was done with a file: tell who watches it, or its directory."""
    if sinks:
        bits = events | (IN_ISDIR if dentry.inode.mode & S_IFMT == S_IFDIR else 0)
        for sink in list(sinks.values()):
            if dentry.parent is not dentry:
                sink(dentry.parent.inode, bits, 0, dentry.name)
            sink(dentry.inode, bits, 0, b"")


def created(directory: Dentry, child: Dentry) -> None:
    """A name was made."""
    _tell(directory, child, IN_CREATE, 0, child.name)


def removed(directory: Dentry, child: Dentry) -> None:
    """A name was removed."""
    if sinks:
        for sink in list(sinks.values()):
            sink(child.inode, IN_ATTRIB, 0, b"")  # one link less
            sink(child.inode, IN_DELETE_SELF, 0, b"")
        _tell(directory, child, IN_DELETE, 0, child.name)


def moved(old: Dentry, old_name: bytes, new: Dentry, child: Dentry, replaced: Dentry | None) -> None:
    """A name was changed."""
    global _cookies
    if sinks:
        _cookies += 1
        _tell(old, child, IN_MOVED_FROM, _cookies, old_name)
        _tell(new, child, IN_MOVED_TO, _cookies, child.name)
        for sink in list(sinks.values()):
            sink(child.inode, IN_MOVE_SELF, 0, b"")
            if replaced is not None:
                sink(replaced.inode, IN_DELETE_SELF, 0, b"")


def _tell(directory: Dentry, child: Dentry, events: int, cookie: int, name: bytes) -> None:
    if sinks:
        bits = events | (IN_ISDIR if child.inode.mode & S_IFMT == S_IFDIR else 0)
        for sink in list(sinks.values()):
            sink(directory.inode, bits, cookie, name)
