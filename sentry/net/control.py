"""Control messages (cmsg(3)): descriptors and credentials that go with a message (unix(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import socket as abi
from pysc.cabi.linux.capability import CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from pysc.cabi.linux.errors import EBADF, EINVAL, EMFILE, EPERM, ESRCH, ETOOMANYREFS
from pysc.cabi.linux.resource import RLIMIT_NOFILE
from pysc.sentry.net.message import Message, PeerCredentials, Received

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task

FD: Final = 4
HEADER: Final = abi.CMSGHDR.size


def parse_control(task: Task, control: bytes, message: Message) -> None:
    """Fill ``message`` with what its control messages carry, taking a reference to each file.

    Raises:
        EINVAL, EBADF, EPERM (credentials of others), ESRCH, ETOOMANYREFS.
    """
    files: list[FileDescription] = []
    offset = 0
    while len(control) - offset >= HEADER:
        length, level, kind = abi.CMSGHDR.unpack_from(control, offset)
        if length < HEADER or length > len(control) - offset:
            raise EINVAL
        data = control[offset + HEADER : offset + length]
        offset += abi.cmsg_align(length)
        if level != abi.SOL_SOCKET:
            continue
        if kind == abi.SCM_RIGHTS:
            if len(files) + len(data) // FD > abi.SCM_MAX_FD:
                raise EINVAL
            files += (_sendable(task, fd) for (fd,) in abi.INT.iter_unpack(data[: len(data) // FD * FD]))
        elif kind == abi.SCM_CREDENTIALS:
            if len(data) != abi.UCRED.size:
                raise EINVAL
            message.credentials = _checked(task, *abi.UCRED.unpack(data))
        else:
            raise EINVAL
    if files:
        _check_in_flight(task)
    for file in files:
        file.get()
    message.files = tuple(files)


def _sendable(task: Task, fd: int) -> FileDescription:
    if fd < 0:
        raise EBADF
    return task.fds.get_raw(fd)


def _checked(task: Task, pid: int, uid: int, gid: int) -> PeerCredentials:
    creds = task.creds
    if pid != task.group.tgid:
        if not creds.has_capability(CAP_SYS_ADMIN):
            raise EPERM
        if pid not in task.kernel.groups:
            raise ESRCH
    if uid not in (creds.uid, creds.euid, creds.suid) and not creds.has_capability(CAP_SETUID):
        raise EPERM
    if gid not in (creds.gid, creds.egid, creds.sgid) and not creds.has_capability(CAP_SETGID):
        raise EPERM
    return PeerCredentials(pid, uid, gid)


def _check_in_flight(task: Task) -> None:
    limit = task.group.limit(RLIMIT_NOFILE)
    creds = task.creds
    if len(task.kernel.net.in_flight) > limit and not (
        creds.has_capability(CAP_SYS_RESOURCE) or creds.has_capability(CAP_SYS_ADMIN)
    ):
        raise ETOOMANYREFS


def build_control(task: Task, received: Received, room: int, *, passcred: bool, cloexec: bool) -> bytes:
    """Return the control messages for a receiver with ``room`` bytes, installing the files; sets MSG_CTRUNC."""
    control = b""
    if passcred:
        creds = received.credentials
        data = abi.UCRED.pack(0, 65534, 65534) if creds is None else abi.UCRED.pack(creds.pid, creds.uid, creds.gid)
        if room < HEADER:
            received.flags |= abi.MSG_CTRUNC
        else:
            if room < HEADER + len(data):
                received.flags |= abi.MSG_CTRUNC
                data = data[: room - HEADER]
            control = _pad(abi.CMSGHDR.pack(HEADER + len(data), abi.SOL_SOCKET, abi.SCM_CREDENTIALS) + data, room)
    if received.files:
        control += _install_files(task, received, room - len(control), cloexec=cloexec)
    return control


def _install_files(task: Task, received: Received, room: int, *, cloexec: bool) -> bytes:
    limit = task.group.limit(RLIMIT_NOFILE)
    fits = max(0, (room - HEADER) // FD)
    numbers = []
    for file in received.files[:fits]:
        try:
            numbers.append(task.fds.install(file, limit, cloexec=cloexec))
        except EMFILE:
            break
    if len(numbers) < len(received.files):
        received.flags |= abi.MSG_CTRUNC
    received.drop_files()
    if not numbers:
        return b""
    data = b"".join(map(abi.INT.pack, numbers))
    return _pad(abi.CMSGHDR.pack(HEADER + len(data), abi.SOL_SOCKET, abi.SCM_RIGHTS) + data, room)


def _pad(message: bytes, room: int) -> bytes:
    """Pad to the next header, as far as the receiver has room."""
    return message.ljust(min(abi.cmsg_align(len(message)), room), b"\0")
