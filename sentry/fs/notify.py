"""Where changes of files are announced to inotify(7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol
from weakref import finalize

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import LinuxError
from pysc.cabi.linux.stat import S_IFDIR, S_IFMT

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Filesystem, Inode
    from pysc.sentry.fs.path import Dentry, Path

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
IN_EXCL_UNLINK: Final = 0x0400_0000
"""With an event: it happened by a name that is no more."""
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


def watch_reads(more: int) -> None:
    """So many more want to be told of reads, too."""
    lib.pysc_reads_watch(objects.OBJECTS, more)


def announce(dentry: Dentry, events: int) -> None:
    """Something was done with a file: tell who watches it, or its directory."""
    inode = dentry.inode
    if inode.fs.watchers:
        bits = events | (IN_ISDIR if inode.mode & S_IFMT == S_IFDIR else 0)
        for watcher in list(inode.fs.watchers):
            if dentry.parent is not dentry:
                watcher.on_event(dentry.parent.inode, bits, 0, dentry.name)
            watcher.on_event(inode, bits, 0, b"")


def used(place: Path | None, events: int) -> None:
    """As :func:`announce`, of something done by a description that was opened at ``place``."""
    if place is not None and place.dentry.inode.fs.watchers:
        announce(place.dentry, events | (IN_EXCL_UNLINK if place.dentry.deleted else 0))


def created(directory: Dentry, child: Dentry) -> None:
    """A name was made."""
    _tell(directory, child, IN_CREATE, 0, child.name)


def linked(directory: Dentry, child: Dentry) -> None:
    """A file got one more name."""
    _tell_itself(child.inode, IN_ATTRIB)
    created(directory, child)


async def removed(directory: Dentry, child: Dentry) -> None:
    """A name was removed."""
    if child.inode.fs.watchers:
        await _unlinked(child)
        _tell(directory, child, IN_DELETE, 0, child.name)


async def moved(old: Dentry, old_name: bytes, new: Dentry, child: Dentry, replaced: Dentry | None) -> None:
    """A name was changed, in place of another one or not."""
    fs = child.inode.fs
    if fs.watchers:
        cookie = fs.next_cookie()
        _tell(old, child, IN_MOVED_FROM, cookie, old_name)
        _tell(new, child, IN_MOVED_TO, cookie, child.name)
        if replaced is not None:
            await _unlinked(replaced)
        _tell_itself(child.inode, IN_MOVE_SELF)


async def _unlinked(child: Dentry) -> None:
    """One link less; with the last one the file goes as soon as nobody has it open by this name."""
    directory = child.inode.mode & S_IFMT == S_IFDIR
    if not directory:
        _tell_itself(child.inode, IN_ATTRIB)
    try:
        links = 0 if directory else (await child.inode.attributes()).nlink
    except LinuxError:
        links = 0
    if not links:
        finalize(child, _tell_itself, child.inode, IN_DELETE_SELF).atexit = False


def _tell_itself(inode: Inode, events: int) -> None:
    for watcher in list(inode.fs.watchers):
        watcher.on_event(inode, events, 0, b"")


def _tell(directory: Dentry, child: Dentry, events: int, cookie: int, name: bytes) -> None:
    watchers = directory.inode.fs.watchers
    if watchers:
        bits = events | (IN_ISDIR if child.inode.mode & S_IFMT == S_IFDIR else 0)
        for watcher in list(watchers):
            watcher.on_event(directory.inode, bits, cookie, name)
