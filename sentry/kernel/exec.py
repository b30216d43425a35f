"""Executing programs (execve(2)), and the first program of a container.

The new space is made before anything is given up, so a program that cannot be started is an errno.  After that point
the process is the new program's, and a failure kills it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from pysc.cabi.linux.errors import EAGAIN
from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.cabi.linux.personality import PER_CLEAR_ON_SETID, READ_IMPLIES_EXEC
from pysc.cabi.linux.resource import RLIM_INFINITY, RLIMIT_AS, RLIMIT_DATA
from pysc.cabi.linux.signals import SIGCHLD
from pysc.sentry.fs.open import open_exec
from pysc.sentry.kernel.delivery import return_to_guest
from pysc.sentry.kernel.exit import kill_task, note_usage
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.limits import limit_space, watch_cpu
from pysc.sentry.kernel.mapped_files import note_mapped
from pysc.sentry.kernel.memory import Memory
from pysc.sentry.kernel.scheduler import Completion
from pysc.sentry.kernel.session import Session
from pysc.sentry.kernel.task import Return, Task
from pysc.sentry.kernel.thread_group import ThreadGroup
from pysc.sentry.loader.load import Program, load
from pysc.sentry.platform.interface import ThreadGone

if TYPE_CHECKING:
    from pysc.sentry.fs.context import FsContext
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.platform.interface import Space, Thread


async def execute(
    task: Task,
    file: FileDescription,
    filename: bytes,
    argv: Sequence[bytes],
    envp: Sequence[bytes],
    *,
    lasting: bool = True,
) -> None:
    """Replace the task's process by the program in ``file``, and let it run; ``lasting``: see :func:`load`.

    Raises:
        LinuxError: what loading raises; the process goes on as it was.
    """
    program = await load(task, file, filename, argv, envp, lasting=lasting)
    try:
        thread = await task.thread.exec(program.image)
        if task.killed:
            _discard(thread)
            raise EAGAIN("being killed")
        await _become(task, program, thread)
    finally:
        program.close()
    return_to_guest(task, Return())


async def start_program(
    kernel: Kernel,
    argv: Sequence[bytes],
    envp: Sequence[bytes],
    creds: Credentials,
    fs: FsContext,
    fds: FDTable,
    limits: Sequence[tuple[int, int]] | None = None,
    path: bytes | None = None,
) -> ThreadGroup:
    """Start a program from outside: the first becomes init, later ones are processes without a parent (`pysc exec`).

    It leads a session of its own.  ``fds`` is taken over.  ``path`` defaults to argv[0], resolved from ``fs``.

    Raises:
        LinuxError: as execve(2).
    """
    tid = kernel.allocate_pid()
    group = ThreadGroup(kernel, tid, None)
    if limits is not None:
        group.limits = list(limits)
    task = Task(kernel, tid, group, cast("Thread", None), creds, fs, fds, Memory(cast("Space", None)))
    group.leader = task
    task.scheduling = kernel.scheduling
    filename = argv[0] if path is None else path
    file = await open_exec(task, AT_FDCWD, filename)
    file.get()
    try:
        program = await load(task, file, filename, argv, envp)
    finally:
        file.put()
    try:
        thread = await kernel.platform.first_thread(program.image)
        session = Session(group)
        session.new_group(kernel, tid).join(group)
        group.tasks[tid] = task
        kernel.tasks[tid] = task
        kernel.groups[tid] = group
        if kernel.init is None:
            kernel.init = group
            group.is_init = True
        _adopt(task, program, thread)
        watch_cpu(group)
    finally:
        program.close()
    task.fds.close_on_exec(task)
    return_to_guest(task, Return())
    return group


async def _become(task: Task, program: Program, thread: Thread) -> None:
    """Pass the point of no return: the rest of the old process ends, the task gets the new space."""
    group, kernel = task.group, task.kernel
    old, old_thread, mask = task.memory, task.thread, task.mask
    siblings = [other for other in group.tasks.values() if other is not task]
    sharers = sum(other.memory is old for other in group.tasks.values())
    sole = old.users == sharers
    if siblings:
        if sole and not old.shares:
            note_usage(group, old)
            old.ended = True
            old_thread.owner = None  # its end is not this task's
            old.space.kill()
        group.dethreaded = Completion()
        for other in siblings:
            kill_task(other)
        if len(group.tasks) > 1:
            await group.dethreaded
        group.dethreaded = None
        _take_leadership(task)
    if not old.ended:
        if sole:
            note_usage(group, old)
        old_thread.exit(0 if sole else old_thread.clear_tid)
    if task.fds.users > 1:
        shared, task.fds = task.fds, task.fds.copy()
        shared.leave(task)
    if task.fs.users > 1:
        task.fs.users -= 1
        task.fs = task.fs.copy()
    old.leave(group.tgid)
    _adopt(task, program, thread)
    task.mask = mask
    for timer in group.posix_timers.values():
        timer.disarm()
    group.posix_timers.clear()
    task.handlers = task.handlers.after_exec()
    task.fds.close_on_exec(task)
    if task.vfork is not None:
        task.vfork.resolve(None)
        task.vfork = None
    if kernel.strace is not None:
        kernel.strace.on_exec(task)


def _take_leadership(task: Task) -> None:
    """The one task left has the process's number, whoever had it."""
    group, kernel = task.group, task.kernel
    if task.tid == group.tgid:
        return
    del kernel.tasks[task.tid]
    del group.tasks[task.tid]
    task.tid = group.tgid
    kernel.tasks[task.tid] = task
    group.tasks[task.tid] = task
    group.leader = task


def _adopt(task: Task, program: Program, thread: Thread) -> None:
    """Give the task its new memory, credentials and name."""
    memory = Memory(thread.space, program.exe)
    stack = program.stack
    memory.brk_start = program.brk
    memory.space.set_heap(program.brk)
    memory.space.limit_heap(task.group.limit(RLIMIT_DATA))
    memory.arg_start, memory.arg_end = stack.arg_start, stack.arg_end
    memory.env_start, memory.env_end = stack.env_start, stack.env_end
    memory.auxv = stack.auxv
    memory.stack_top = stack.top
    privileged = (program.creds.euid, program.creds.egid) != (task.creds.euid, task.creds.egid)
    memory.dumpable = not program.secure
    for file, fd in zip((program.exe, program.interpreter), program.image.files, strict=False):
        if file is not None:
            note_mapped(task, memory, file, fd)
    task.memory = memory
    task.thread = thread
    task.creds = program.creds
    task.comm = program.comm
    task.altstack = None
    task.personality &= ~READ_IMPLIES_EXEC
    if privileged:
        task.pdeath_signal = 0
        task.personality &= ~PER_CLEAR_ON_SETID
    if task.group.limit(RLIMIT_AS) != RLIM_INFINITY:
        limit_space(task.group, memory)
    task.group.did_exec = True
    task.group.exec_id += 1
    task.group.threaded = False
    task.group.exit_signal = SIGCHLD
    task.attach(thread)


def _discard(thread: Thread) -> None:
    """End a fresh space that nobody will use."""
    try:
        thread.space.kill()
    except ThreadGone:
        return
