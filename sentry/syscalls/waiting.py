"""What the calls that wait for files share: timeouts, temporary signal masks, what becomes of half a call."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.clock import SECOND, TIMESPEC
from pysc.cabi.linux.errors import EBADF, EINVAL, LinuxError
from pysc.sentry.kernel.scheduler import Interrupted, Reason
from pysc.sentry.kernel.signals import set_temporary_mask

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task

TIMEVAL: Final = Struct("<qq")
FOREVER: Final = 1 << 62
"""Longer than this is cut to this, as the kernel does with KTIME_MAX."""


def timespec_ns(data: bytes) -> int:
    """Return the nanoseconds of a struct timespec.  EINVAL."""
    seconds, nanoseconds = TIMESPEC.unpack(data)
    if seconds < 0 or not 0 <= nanoseconds < SECOND:
        raise EINVAL
    return min(int(seconds) * SECOND + int(nanoseconds), FOREVER)


def timeval_ns(data: bytes) -> int:
    """Return the nanoseconds of a struct timeval; more than a second of microseconds is allowed.  EINVAL."""
    seconds, microseconds = TIMEVAL.unpack(data)
    if seconds < 0 or microseconds < 0:
        raise EINVAL
    return min(int(seconds) * SECOND + int(microseconds) * 1000, FOREVER)


async def deadline_in(task: Task, address: int) -> int | None:
    """Read the struct timespec of a timeout; None (no pointer) is forever.  EFAULT, EINVAL."""
    if not address:
        return None
    return task.deadline(timespec_ns(await task.copy_in(address, TIMESPEC.size)))


async def read_sigmask(task: Task, address: int, size: int) -> int | None:
    """Read a sigset_t; None if there is none.  EFAULT, EINVAL (its size)."""
    if not address:
        return None
    if size != 8:
        raise EINVAL
    return int.from_bytes(await task.copy_in(address, 8), "little")


def use_sigmask(task: Task, mask: int | None) -> None:
    """Block ``mask``, if there is one, until the call in progress ends, or its signal handler has returned."""
    if mask is not None:
        set_temporary_mask(task, mask)


def _take(task: Task, fd: int) -> FileDescription:
    """Return what a descriptor stands for, with a reference: as it did when the call was begun.  EBADF."""
    record = task.record
    file = None if record is None else record.files.pop(fd, None)
    if file is None:
        file = task.fds.get(fd)
        file.get()
    return file


def _give_back(task: Task, fd: int, file: FileDescription, error: BaseException | None) -> None:
    """Give a reference up, or, if a freeze ends the call, keep it for when it is begun again."""
    if isinstance(error, Interrupted) and error.reason is Reason.FREEZE:
        files = task.recorded().files
        if fd not in files:
            files[fd] = file
            return
    file.put()


class Using:
    """What a descriptor stands for while a call uses it, whoever closes the number meanwhile (fdget, fdput).  EBADF.

    If the call is frozen and begun again it is the same, whatever the number means by then.
    """

    __slots__ = ("_fd", "_task", "file")

    def __init__(self, task: Task, fd: int) -> None:
        self._task = task
        self._fd = fd
        self.file = _take(task, fd)

    def __enter__(self) -> FileDescription:
        return self.file

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        _give_back(self._task, self._fd, self.file, error)


class UsingMany:
    """As :class:`Using`, of any number of descriptors."""

    __slots__ = ("_files", "_task")

    def __init__(self, task: Task) -> None:
        self._task = task
        self._files: dict[int, FileDescription] = {}

    def take_if_open(self, fd: int) -> FileDescription | None:
        """Return what a number stands for until the end of the block; None: nothing."""
        file = self._files.get(fd)
        if file is None:
            try:
                file = self._files[fd] = _take(self._task, fd)
            except EBADF:
                pass
        return file

    def __enter__(self) -> UsingMany:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        for fd, file in self._files.items():
            _give_back(self._task, fd, file, error)


def cut_short(task: Task, error: LinuxError | Interrupted, done: int) -> int:
    """Return the result of a call that could not go on after ``done`` bytes; raise ``error`` if that is none.

    A freeze is no end: the call goes on behind them when it is begun again.
    """
    if isinstance(error, Interrupted):
        done += error.moved
        if error.reason is Reason.FREEZE:
            task.recorded().done = done
            raise error
    if not done:
        raise error
    return done
