"""Process descriptors (pidfd_open(2), CLONE_PIDFD): readable once the process has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.errors import EBADF
from pysc.cabi.linux.fcntl import O_NONBLOCK, O_RDWR
from pysc.cabi.linux.poll import POLLHUP, POLLIN, POLLRDNORM
from pysc.cabi.linux.resource import RLIMIT_NOFILE
from pysc.sentry.fs.anonymous import AnonymousFile

if TYPE_CHECKING:
    from pysc.sentry.kernel.scheduler import WaitQueue
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup


class PidFile(AnonymousFile):
    """A reference to a process that its number's reuse cannot redirect."""

    __slots__ = ("group",)

    kind = b"anon_inode:[pidfd]"

    def __init__(self, group: ThreadGroup, flags: int) -> None:
        super().__init__(flags)
        self.group = group

    @property
    def info(self) -> bytes:
        """More lines of /proc/PID/fdinfo."""
        pid = -1 if self.group.reaped else self.group.tgid
        return b"Pid:\t%d\nNSpid:\t%d\n" % (pid, pid)

    def poll(self) -> int:
        """Readable when it has exited, hung up too when it was waited for."""
        if not self.group.exited:
            return 0
        return POLLIN | POLLRDNORM | (POLLHUP if self.group.reaped else 0)

    def queues(self) -> tuple[WaitQueue, ...]:
        """The process's end wakes."""
        return (self.group.exit_waiters,)


def install_pidfd(task: Task, group: ThreadGroup, *, nonblock: bool = False) -> int:
    """Open a descriptor of a process in the task's table, close-on-exec.  EMFILE."""
    file = PidFile(group, O_RDWR | (O_NONBLOCK if nonblock else 0))
    return task.fds.install(file, task.group.limit(RLIMIT_NOFILE), cloexec=True)


def process_of(task: Task, fd: int) -> ThreadGroup:
    """Return the process that a descriptor refers to.  EBADF."""
    file = task.fds.get(fd)
    if not isinstance(file, PidFile):
        raise EBADF
    return file.group
