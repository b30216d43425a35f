"""Names of unix sockets: paths in the file system, and abstract ones (unix(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.errors import EADDRINUSE, ECONNREFUSED, EEXIST, EINVAL, EPROTOTYPE
from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.cabi.linux.stat import S_IFSOCK
from pysc.sentry.fs.namei import check_node, make_node
from pysc.sentry.fs.permissions import MAY_WRITE, check
from pysc.sentry.fs.walk import resolve

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.net.unix import UnixSocket


def normalize(address: bytes) -> bytes:
    """Return the name in a sockaddr_un: a path without its NUL, an abstract name with the leading one, b"".  EINVAL."""
    if not 2 <= len(address) <= 2 + abi.SUN_PATH or int.from_bytes(address[:2], "little") != abi.AF_UNIX:
        raise EINVAL
    name = address[2:]
    if not name or name[:1] == b"\0":
        return name
    return name.split(b"\0", 1)[0]


def sockaddr(name: bytes) -> bytes:
    """Return the sockaddr_un of a name."""
    family = abi.U16.pack(abi.AF_UNIX)
    if not name or name[:1] == b"\0":
        return family + name
    return family + name + b"\0"


async def bind_name(task: Task, socket: UnixSocket, name: bytes) -> None:
    """Give ``socket`` a name.  EADDRINUSE, what making a file can fail with, then EINVAL: it has one."""
    if not name:
        if not socket.address:
            socket.address = socket.net.claim_any(socket)
        return
    if name[:1] == b"\0":
        if socket.address:
            raise EINVAL
        socket.net.claim(name, socket)
        socket.address = name
        return
    try:
        if socket.address:  # Linux sees that when it has made the file
            await check_node(task, AT_FDCWD, name)
            raise EINVAL
        place = await make_node(task, AT_FDCWD, name, S_IFSOCK | 0o777, 0)
    except EEXIST:
        raise EADDRINUSE from None
    if socket.address:  # another thread was faster
        raise EINVAL
    place.inode.special = socket
    socket.bound_inode = place.inode
    socket.address = name


async def find(task: Task, seeker: UnixSocket, name: bytes) -> UnixSocket:
    """Return the socket of a name.  ECONNREFUSED, EPROTOTYPE, EINVAL (no name), ENOENT, EACCES …"""
    from pysc.sentry.net.unix import UnixSocket

    if not name:
        raise EINVAL
    if name[:1] == b"\0":
        found = seeker.net.abstract.get(name)
    else:
        place = await resolve(task, AT_FDCWD, name)
        check(task.creds, place.inode, MAY_WRITE)
        special = place.inode.special
        found = special if isinstance(special, UnixSocket) else None
    if found is None or found.dead:
        raise ECONNREFUSED
    if found.type != seeker.type:
        raise EPROTOTYPE
    return found
