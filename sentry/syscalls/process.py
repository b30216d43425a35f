"""Birth of tasks and their identity: clone(2), fork(2), vfork(2), getpid(2), gettid(2), set_tid_address(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.capability import CAP_SYS_ADMIN
from pysc.cabi.linux.errors import E2BIG, EINVAL, EPERM, ESRCH
from pysc.cabi.linux.limits import PAGE
from pysc.cabi.linux.sched import (
    CLONE_ARGS,
    CLONE_ARGS_SIZE_VER0,
    CLONE_CLEAR_SIGHAND,
    CLONE_DETACHED,
    CLONE_FILES,
    CLONE_FS,
    CLONE_INTO_CGROUP,
    CLONE_NEWNS,
    CLONE_PARENT,
    CLONE_PARENT_SETTID,
    CLONE_PIDFD,
    CLONE_SIGHAND,
    CLONE_SYSVSEM,
    CLONE_THREAD,
    CLONE_VFORK,
    CLONE_VM,
    CSIGNAL,
    NEW_NAMESPACES,
)
from pysc.cabi.linux.signals import NSIG, SIGCHLD
from pysc.sentry.ipc.sem import exit_sem
from pysc.sentry.kernel.clone import CloneArgs
from pysc.sentry.kernel.clone import clone as make_task
from pysc.sentry.kernel.ptrace import may_read
from pysc.sentry.syscalls.table import U32, U64, Addr, Pid, Prepared, Size

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task

ROBUST_LIST_HEAD_SIZE: Final = 24


async def clone(task: Task, flags: U64, stack: Addr, parent_tid: Addr, child_tid: Addr, tls: Addr) -> int | Prepared:
    """Make a task; the low byte of ``flags`` is the exit signal.  EINVAL, EPERM, EAGAIN, ENOMEM."""
    flags &= 0xFFFF_FFFF
    if flags & CLONE_PIDFD and flags & (CLONE_PARENT_SETTID | CLONE_DETACHED):
        raise EINVAL("the descriptor and the tid share an address")
    args = CloneArgs(
        flags & ~CSIGNAL,
        exit_signal=flags & CSIGNAL,
        stack=stack,
        parent_tid=parent_tid,
        child_tid=child_tid,
        tls=tls,
        pidfd=parent_tid,
    )
    return await make_task(task, args)


async def fork(task: Task) -> int | Prepared:
    """Make a process that is a copy of this one."""
    return await make_task(task, CloneArgs(0, exit_signal=SIGCHLD))


async def vfork(task: Task) -> int | Prepared:
    """Make a process that borrows this one's memory until it executes or exits."""
    return await make_task(task, CloneArgs(CLONE_VM | CLONE_VFORK, exit_signal=SIGCHLD))


async def clone3(task: Task, address: Addr, size: Size) -> int | Prepared:
    """Make a task as a struct clone_args says.  E2BIG, EINVAL, EPERM."""
    if size < CLONE_ARGS_SIZE_VER0:
        raise EINVAL
    if size > PAGE:
        raise E2BIG
    data = await task.copy_in(address, size)
    if any(data[CLONE_ARGS.size :]):
        raise E2BIG("fields that are not known")
    fields = CLONE_ARGS.unpack(data[: CLONE_ARGS.size].ljust(CLONE_ARGS.size, b"\0"))
    flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, _cgroup = fields
    if flags & (CSIGNAL | CLONE_DETACHED) or flags >> 34:
        raise EINVAL
    if flags & CLONE_INTO_CGROUP:
        raise EINVAL("no cgroup hierarchy to clone into")
    if exit_signal > NSIG or (flags & (CLONE_THREAD | CLONE_PARENT) and exit_signal):
        raise EINVAL
    if flags & CLONE_CLEAR_SIGHAND and flags & CLONE_SIGHAND:
        raise EINVAL
    if bool(stack) != bool(stack_size):
        raise EINVAL
    if set_tid or set_tid_size:
        if not task.creds.has_capability(CAP_SYS_ADMIN):
            raise EPERM
        raise EINVAL("tids are not chosen by guests")
    args = CloneArgs(
        flags,
        exit_signal=exit_signal,
        stack=stack + stack_size,
        parent_tid=parent_tid,
        child_tid=child_tid,
        tls=tls,
        pidfd=pidfd,
    )
    return await make_task(task, args)


def unshare(task: Task, flags: U64) -> int:
    """Stop sharing.  Namespaces other than mount namespaces are refused with EINVAL, without CAP_SYS_ADMIN EPERM."""
    known = CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | NEW_NAMESPACES
    if flags & ~known:
        raise EINVAL
    if flags & (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM) and len(task.group.tasks) > 1:
        raise EINVAL
    if flags & NEW_NAMESPACES:
        if not task.creds.has_capability(CAP_SYS_ADMIN):
            raise EPERM
        if flags & NEW_NAMESPACES & ~CLONE_NEWNS:
            raise EINVAL("only mount namespaces")
    if flags & (CLONE_FS | CLONE_NEWNS) and task.fs.users > 1:
        task.fs.users -= 1
        task.fs = task.fs.copy()
    if flags & CLONE_NEWNS:
        task.fs.unshare_namespace()
    if flags & CLONE_FILES and task.fds.users > 1:
        shared, task.fds = task.fds, task.fds.copy()
        shared.leave(task)
    if flags & CLONE_SYSVSEM:
        exit_sem(task)
    return 0


def getpid(task: Task) -> int:
    """Return the tgid."""
    return task.group.tgid


def gettid(task: Task) -> int:
    """Return the tid."""
    return task.tid


def getppid(task: Task) -> int:
    """Return the parent's tgid; 0 for init and what was started from outside."""
    parent = task.group.parent
    return 0 if parent is None else parent.tgid


def set_tid_address(task: Task, address: Addr) -> int:
    """Set the word that is cleared and woken when the thread ends."""
    task.thread.clear_tid = address
    return task.tid


def set_robust_list(task: Task, head: Addr, size: Size) -> int:
    """Set the head of the list of robust futexes that the thread holds."""
    if size != ROBUST_LIST_HEAD_SIZE:
        raise EINVAL
    task.thread.robust_list = head
    return 0


def get_robust_list(task: Task, pid: Pid, head: Addr, size: Addr) -> int:
    """Return a thread's robust list.  ESRCH, EPERM."""
    other = task if pid == 0 else task.kernel.tasks.get(pid)
    if other is None:
        raise ESRCH
    if not may_read(task, other):
        raise EPERM
    task.put(size, ROBUST_LIST_HEAD_SIZE.to_bytes(8, "little"))
    task.put(head, other.thread.robust_list.to_bytes(8, "little"))
    return 0


def personality(task: Task, persona: U32) -> int:
    """Set the execution domain, unless it is 0xffffffff; return what it was.  No mapping is placed or made by it."""
    before = task.personality
    if persona != 0xFFFF_FFFF:
        task.personality = persona
    return before
