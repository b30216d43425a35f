"""Process descriptors: pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EBADF, EINVAL, EPERM, ESRCH
from pysc.cabi.linux.fcntl import O_NONBLOCK
from pysc.cabi.linux.resource import RLIMIT_NOFILE
from pysc.cabi.linux.signals import NSIG, SI_TKILL, SIGINFO_SIZE
from pysc.sentry.fs.directory import DirectoryFile
from pysc.sentry.fs.proc.process import ProcessDirectory
from pysc.sentry.kernel.pidfd import PidFile, install_pidfd, process_of
from pysc.sentry.kernel.ptrace import may_attach
from pysc.sentry.kernel.signals import SigInfo, send_signal
from pysc.sentry.syscalls.signal import may_signal
from pysc.sentry.syscalls.table import I32, U32, Addr, Fd, Pid

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

PIDFD_NONBLOCK: Final = O_NONBLOCK


def pidfd_open(task: Task, pid: Pid, flags: U32) -> int:
    """Open a descriptor of a process.  EINVAL, ESRCH, EMFILE."""
    if flags & ~PIDFD_NONBLOCK or pid <= 0:
        raise EINVAL
    group = task.kernel.groups.get(pid)
    if group is None:
        raise EINVAL if pid in task.kernel.tasks else ESRCH
    return install_pidfd(task, group, nonblock=bool(flags & PIDFD_NONBLOCK))


async def pidfd_send_signal(task: Task, pidfd: Fd, signo: I32, info: Addr, flags: U32) -> int:
    """Send a signal to the process of a descriptor, or of its directory in /proc.  EBADF, EINVAL, EPERM, ESRCH."""
    if flags:
        raise EINVAL
    group = _signalled(task, pidfd)
    if not 0 <= signo <= NSIG:
        raise EINVAL
    sent = SigInfo.kill(signo, task.group.tgid, task.creds.uid)
    if info:
        data = await task.copy_in(info, SIGINFO_SIZE)
        if int.from_bytes(data[:4], "little", signed=True) != signo:
            raise EINVAL
        sent = SigInfo.from_user(data, signo)
        if (sent.code >= 0 or sent.code == SI_TKILL) and group is not task.group:
            raise EPERM
    if group.reaped:
        raise ESRCH
    if not may_signal(task, group, signo):
        raise EPERM
    if signo:
        send_signal(group, sent)
    return 0


def _signalled(task: Task, fd: int) -> ThreadGroup:
    file = task.fds.get(fd)
    if isinstance(file, PidFile):
        return file.group
    if isinstance(file, DirectoryFile) and isinstance(file.inode, ProcessDirectory):
        group = file.inode.process
        if group is None:
            raise ESRCH
        return group
    raise EBADF


def pidfd_getfd(task: Task, pidfd: Fd, target: Fd, flags: U32) -> int:
    """Duplicate a descriptor of another process.  EBADF, EINVAL, EPERM, ESRCH."""
    if flags:
        raise EINVAL
    group = process_of(task, pidfd)
    if not group.tasks:
        raise ESRCH
    other = next(iter(group.tasks.values()))
    if not may_attach(task, other):
        raise EPERM
    if target < 0:
        raise EBADF
    return task.fds.install(other.fds.get_raw(target), task.group.limit(RLIMIT_NOFILE), cloexec=True)
