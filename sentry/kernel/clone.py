"""Making tasks (clone(2)): what is shared, what is copied, who is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from pysc.cabi.linux.capability import CAP_SYS_ADMIN, CAP_SYS_RESOURCE
from pysc.cabi.linux.errors import EAGAIN, EINVAL, EPERM, LinuxError
from pysc.cabi.linux.resource import RLIM_INFINITY, RLIMIT_NPROC
from pysc.cabi.linux.sched import (
    CLONE_CHILD_CLEARTID,
    CLONE_CHILD_SETTID,
    CLONE_CLEAR_SIGHAND,
    CLONE_FILES,
    CLONE_FS,
    CLONE_NEWNS,
    CLONE_PARENT,
    CLONE_PARENT_SETTID,
    CLONE_PIDFD,
    CLONE_SETTLS,
    CLONE_SIGHAND,
    CLONE_SYSVSEM,
    CLONE_THREAD,
    CLONE_VFORK,
    CLONE_VM,
    NEW_NAMESPACES,
)
from pysc.sentry.ipc.sem import UndoList
from pysc.sentry.kernel.delivery import return_to_guest
from pysc.sentry.kernel.exit import exit_task, reap
from pysc.sentry.kernel.limits import watch_cpu
from pysc.sentry.kernel.mapped_files import hear_of_mapped
from pysc.sentry.kernel.scheduler import Completion
from pysc.sentry.kernel.task import Return, Task, TaskState
from pysc.sentry.kernel.thread_group import ThreadGroup
from pysc.sentry.syscalls.table import Prepared

if TYPE_CHECKING:
    from pysc.sentry.platform.interface import Thread


class CloneArgs(msgspec.Struct, frozen=True):
    """What clone(2) and clone3(2) ask for."""

    flags: int
    exit_signal: int = 0
    stack: int = 0
    """The new stack pointer; 0: the parent's."""
    parent_tid: int = 0
    child_tid: int = 0
    tls: int = 0
    pidfd: int = 0
    """Where to store the descriptor of CLONE_PIDFD."""


def check(task: Task, flags: int) -> None:
    """Refuse what Linux refuses.  EINVAL, EPERM, EAGAIN."""
    if flags & CLONE_THREAD and not flags & CLONE_SIGHAND:
        raise EINVAL("CLONE_THREAD without CLONE_SIGHAND")
    if flags & CLONE_SIGHAND and not flags & CLONE_VM:
        raise EINVAL("CLONE_SIGHAND without CLONE_VM")
    if flags & CLONE_SIGHAND and flags & CLONE_CLEAR_SIGHAND:
        raise EINVAL("CLONE_SIGHAND with CLONE_CLEAR_SIGHAND")
    if flags & CLONE_NEWNS and flags & CLONE_FS:
        raise EINVAL("CLONE_NEWNS with CLONE_FS")
    if flags & CLONE_PARENT and task.group.is_init:
        raise EINVAL("CLONE_PARENT by init")
    if flags & NEW_NAMESPACES:
        if not task.creds.has_capability(CAP_SYS_ADMIN):
            raise EPERM("a namespace without CAP_SYS_ADMIN")
        if flags & NEW_NAMESPACES & ~CLONE_NEWNS:
            raise EINVAL("only mount namespaces")
    limit = task.group.limit(RLIMIT_NPROC)
    creds = task.creds
    if limit != RLIM_INFINITY and creds.uid != 0 and not creds.has_capability(CAP_SYS_RESOURCE):
        count = sum(1 for other in task.kernel.tasks.values() if other.creds.uid == creds.uid)
        if count >= limit:
            raise EAGAIN("RLIMIT_NPROC")


async def clone(task: Task, args: CloneArgs) -> int | Prepared:
    """Make a task, let it run, and return its tid; a vfork's parent waits for exec or exit first.

    The child has its verdict before it exists, and begins without asking; so may the parent go on.
    """
    flags = args.flags
    check(task, flags)
    tid = task.kernel.allocate_pid()
    thread = await _new_thread(task, args)
    child = _new_task(task, tid, args, thread)
    if flags & CLONE_CHILD_SETTID:
        child.put(args.child_tid, tid.to_bytes(4, "little"))
    if flags & CLONE_CHILD_CLEARTID:
        thread.clear_tid = args.child_tid
    if flags & CLONE_VFORK:
        child.vfork = task.vfork_wait = Completion()
    child.killed = child.killed or child.group.exiting
    child.attention = bool(child.attention or child.killed or child.group.stop_pending or task.kernel.frozen)
    strace = task.kernel.strace
    if strace is not None:
        strace.on_birth(task, child)
    # A bad address does not undo the child.
    told = (args.parent_tid, tid.to_bytes(4, "little")) if flags & CLONE_PARENT_SETTID else None
    try:
        at_once = strace is None and not flags & (CLONE_VFORK | CLONE_PIDFD)
        if at_once and task.thread.prepare_birth(told, tid):
            return_to_guest(child, Return(result=0))
            return Prepared(child)
        return_to_guest(child, Return(result=0))
        await task.thread.bear(told)
    except LinuxError:
        forget(child)
        task.vfork_wait = None
        raise
    if flags & CLONE_PIDFD:
        from pysc.sentry.kernel.pidfd import install_pidfd

        task.put(args.pidfd, install_pidfd(task, child.group).to_bytes(4, "little"))
    if task.vfork_wait is not None:
        await task.vfork_wait
        task.vfork_wait = None
    return tid


def forget(child: Task) -> None:
    """Undo a task whose thread could not be made: nobody has seen it run, but it may have been found to be gone."""
    group = child.group
    if child.state is not TaskState.DEAD:
        group.exit_signal = 0 if group.leader is child else group.exit_signal
        exit_task(child, gone=True, at_once=True)
    if group.exited and not group.reaped:
        reap(group)


async def _new_thread(task: Task, args: CloneArgs) -> Thread:
    tls = args.tls if args.flags & CLONE_SETTLS else None
    if args.flags & CLONE_VM:
        return task.thread.clone(args.stack, tls)
    thread = task.thread.fork()
    if args.stack or tls is not None:
        registers = await task.thread.registers()
        if args.stack:
            registers.rsp = args.stack
        if tls is not None:
            registers.fs_base = tls
        await thread.set_registers(registers)
    return thread


def _new_task(task: Task, tid: int, args: CloneArgs, thread: Thread) -> Task:
    flags = args.flags
    kernel = task.kernel
    group = task.group if flags & CLONE_THREAD else _new_group(task, tid, args)
    if flags & CLONE_VM:
        memory = task.memory
        memory.users += 1
    else:
        hear_of_mapped(task)
        memory = task.memory.copy(thread.space, task.group.tgid)
    if flags & CLONE_FS:
        fs = task.fs
        fs.users += 1
    else:
        fs = task.fs.copy()
        if flags & CLONE_NEWNS:
            fs.unshare_namespace()
    if flags & CLONE_FILES:
        fds = task.fds
        fds.users += 1
    else:
        fds = task.fds.copy()
    child = Task(kernel, tid, group, thread, task.creds, fs, fds, memory)
    child.attach(thread)
    child.comm = task.comm
    child.mask = task.mask if task.saved_mask is None else task.saved_mask
    child.personality = task.personality
    child.scheduling = task.scheduling.after_fork()
    child.timer_slack = child.default_timer_slack = task.timer_slack
    if flags & CLONE_SIGHAND:
        child.handlers = task.handlers
    else:
        child.handlers = task.handlers.after_exec() if flags & CLONE_CLEAR_SIGHAND else task.handlers.copy()
    if flags & CLONE_SYSVSEM:
        task.undo = child.undo = task.undo or UndoList()
        child.undo.users += 1
    if not flags & CLONE_VM or flags & CLONE_VFORK:
        child.altstack = task.altstack
    group.tasks[tid] = child
    kernel.tasks[tid] = child
    if flags & CLONE_THREAD:
        group.threaded = True
    else:
        group.leader = child
    return child


def _new_group(task: Task, tid: int, args: CloneArgs) -> ThreadGroup:
    own = task.group
    group = ThreadGroup(task.kernel, tid, own.parent if args.flags & CLONE_PARENT else own)
    group.limits = list(own.limits)
    if own.cpu_limit is not None:
        watch_cpu(group)
    group.oom_score_adj = own.oom_score_adj
    group.exit_signal = own.exit_signal if args.flags & CLONE_PARENT else args.exit_signal
    own.process_group.join(group)
    task.kernel.groups[tid] = group
    if group.parent is not None:
        group.parent.children[tid] = group
    return group
