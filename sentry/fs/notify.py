"""Where changes of files are announced to inotify(7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.stat import S_IFDIR, S_IFMT

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Filesystem, Inode
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


class Watcher(Protocol):
    """Who wants to know."""

    def on_event(self, inode: Inode, events: int, cookie: int, name: bytes, /) -> None:
        """IN_* ``events`` happened to an inode, or to the ``name`` in it; a cookie joins the two of a move."""


def listen(fs: Filesystem, watcher: Watcher) -> None:
    """Tell ``watcher`` of everything in a file system from now on; fast paths leave writing to us meanwhile."""
    fs.watchers[watcher] = None
    lib.pysc_objects_watch(objects.OBJECTS, 1)


def unlisten(fs: Filesystem, watcher: Watcher) -> None:
    """Undo :func:`listen`."""
    del fs.watchers[watcher]
    lib.pysc_objects_watch(objects.OBJECTS, -1)


def announce(dentry: Dentry, events: int) -> None:
    """Something was done with a file: tell who watches it, or its directory."""
    inode = dentry.inode
    if inode.fs.watchers:
        bits = events | (IN_ISDIR if inode.mode & S_IFMT == S_IFDIR else 0)
        for watcher in list(inode.fs.watchers):
            if dentry.parent is not dentry:
                watcher.on_event(dentry.parent.inode, bits, 0, dentry.name)
            watcher.on_event(inode, bits, 0, b"")


def created(directory: Dentry, child: Dentry) -> None:
    """A name was made."""
    _tell(directory, child, IN_CREATE, 0, child.name)


def removed(directory: Dentry, child: Dentry) -> None:
    """A name was removed."""
    watchers = child.inode.fs.watchers
    if watchers:
        for watcher in list(watchers):
            watcher.on_event(child.inode, IN_ATTRIB, 0, b"")  # one link less
            watcher.on_event(child.inode, IN_DELETE_SELF, 0, b"")
        _tell(directory, child, IN_DELETE, 0, child.name)


def moved(old: Dentry, old_name: bytes, new: Dentry, child: Dentry, replaced: Dentry | None) -> None:
    """A name was changed."""
    fs = child.inode.fs
    if fs.watchers:
        cookie = fs.next_cookie()
        _tell(old, child, IN_MOVED_FROM, cookie, old_name)
        _tell(new, child, IN_MOVED_TO, cookie, child.name)
        for watcher in list(fs.watchers):
            watcher.on_event(child.inode, IN_MOVE_SELF, 0, b"")
            if replaced is not None:
                watcher.on_event(replaced.inode, IN_DELETE_SELF, 0, b"")


def _tell(directory: Dentry, child: Dentry, events: int, cookie: int, name: bytes) -> None:
    watchers = directory.inode.fs.watchers
    if watchers:
        bits = events | (IN_ISDIR if child.inode.mode & S_IFMT == S_IFDIR else 0)
        for watcher in list(watchers):
            watcher.on_event(directory.inode, bits, cookie, name)
