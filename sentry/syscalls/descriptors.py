"""Installing what a call has made."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import LinuxError
from pysc.cabi.linux.resource import RLIMIT_NOFILE

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.task import Task

PAIR: Final = Struct("<ii")


def check_room(task: Task) -> None:
    """Whether there is a number for a description, before what makes or changes a file does.  EMFILE."""
    task.fds.check_room(task.group.limit(RLIMIT_NOFILE))


def install(task: Task, file: FileDescription, *, cloexec: bool) -> int:
    """Give a new description a number; it is released if there is none.  EMFILE."""
    file.get()
    try:
        return task.fds.install(file, task.group.limit(RLIMIT_NOFILE), cloexec=cloexec)
    finally:
        file.put()


async def install_pair(
    task: Task, files: tuple[FileDescription, FileDescription], address: int, *, cloexec: bool
) -> None:
    """Give two new descriptions numbers and write these to the guest; neither stays if that fails.  EMFILE, EFAULT."""
    first, second = files
    first.get()
    second.get()
    numbers: list[int] = []
    try:
        for file in files:
            numbers.append(task.fds.install(file, task.group.limit(RLIMIT_NOFILE), cloexec=cloexec))
        await task.copy_out(address, PAIR.pack(*numbers))
    except LinuxError:
        for number in numbers:
            task.fds.close(task, number)
        raise
    finally:
        first.put()
        second.put()
