"""Signals: sigaction(2), sigprocmask(2), kill(2), sigqueue(3), sigwait(3), sigaltstack(2) and kin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.capability import CAP_KILL
from pysc.cabi.linux.clock import TIMESPEC
from pysc.cabi.linux.errors import EAGAIN, EINTR, EINVAL, ENOMEM, EPERM, ESRCH, LinuxError
from pysc.cabi.linux.signals import (
    MINSIGSTKSZ,
    NSIG,
    SA_KNOWN,
    SI_TKILL,
    SIG_BLOCK,
    SIG_SETMASK,
    SIG_UNBLOCK,
    SIGACTION,
    SIGCONT,
    SIGINFO_SIZE,
    SIGSEGV,
    SS_DISABLE,
    SS_ONSTACK,
    STACK_T,
    UNBLOCKABLE,
)
from pysc.sentry.kernel.pending import ALL_SIGNALS
from pysc.sentry.kernel.scheduler import Interrupted, Reason, now, park
from pysc.sentry.kernel.signals import (
    SigAction,
    SigInfo,
    force_signal,
    send_signal,
    set_mask,
    set_temporary_mask,
    take_signal,
)
from pysc.sentry.kernel.task import AltStack
from pysc.sentry.syscalls.table import I32, Addr, Pid, Restart, Size, restarts
from pysc.sentry.syscalls.waiting import timespec_ns

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.thread_group import ThreadGroup

_BY_DEFAULT_STACK = (0, SS_DISABLE, 0)


def _check_signo(signo: int) -> None:
    if not 1 <= signo <= NSIG:
        raise EINVAL("no such signal")


async def rt_sigaction(task: Task, signo: I32, new: Addr, old: Addr, size: Size) -> int:
    """Set and return what a signal does."""
    if size != 8:
        raise EINVAL
    action = None
    if new:
        handler, flags, restorer, mask = SIGACTION.unpack(await task.copy_in(new, SIGACTION.size))
        action = SigAction(handler, flags & SA_KNOWN, restorer, mask & ~UNBLOCKABLE)
    _check_signo(signo)
    if action is not None and UNBLOCKABLE >> (signo - 1) & 1:
        raise EINVAL
    before = task.handlers[signo]
    if action is not None:
        task.handlers[signo] = action
        if task.handlers.ignores(signo):
            bit = 1 << (signo - 1)
            task.group.pending.remove(bit)
            for other in task.group.tasks.values():
                other.pending.remove(bit)
    if old:
        task.put(old, SIGACTION.pack(before.handler, before.flags, before.restorer, before.mask))
    return 0


async def rt_sigprocmask(task: Task, how: I32, new: Addr, old: Addr, size: Size) -> int:
    """Change the set of blocked signals."""
    if size != 8:
        raise EINVAL
    before = task.mask
    if new:
        signals = int.from_bytes(await task.copy_in(new, 8), "little")
        if how == SIG_BLOCK:
            set_mask(task, before | signals)
        elif how == SIG_UNBLOCK:
            set_mask(task, before & ~signals)
        elif how == SIG_SETMASK:
            set_mask(task, signals)
        else:
            raise EINVAL
    if old:
        task.put(old, before.to_bytes(8, "little"))
    return 0


def rt_sigpending(task: Task, address: Addr, size: Size) -> int:
    """Return the blocked signals that are pending."""
    if size > 8:
        raise EINVAL
    pending = (task.pending.mask | task.group.pending.mask) & task.mask
    task.put(address, pending.to_bytes(8, "little")[:size])
    return 0


@restarts(Restart.NOHAND)
async def rt_sigsuspend(task: Task, address: Addr, size: Size) -> int:
    """Wait for a signal with another mask."""
    if size != 8:
        raise EINVAL
    set_temporary_mask(task, int.from_bytes(await task.copy_in(address, 8), "little"))
    while True:
        await park()


@restarts(Restart.NOHAND)
async def pause(task: Task) -> int:
    """Wait for a signal that is handled."""
    del task
    while True:
        await park()


async def rt_sigtimedwait(task: Task, signals: Addr, info: Addr, timeout: Addr, size: Size) -> int:
    """Take one of a set of blocked signals, or wait for one.  EAGAIN at the timeout; EINTR by another's handler."""
    if size != 8:
        raise EINVAL
    wanted = int.from_bytes(await task.copy_in(signals, 8), "little") & ~UNBLOCKABLE & ALL_SIGNALS
    deadline = None
    if timeout:
        deadline = task.deadline(timespec_ns(await task.copy_in(timeout, TIMESPEC.size)))
    found = take_signal(task, wanted)
    if found is None and (deadline is None or deadline > now()):
        task.sigwait = wanted
        try:
            await park(deadline=deadline)
        except Interrupted as interrupt:
            found = take_signal(task, wanted)
            if found is None:
                if interrupt.reason is Reason.SIGNAL:
                    raise EINTR from None
                raise
        finally:
            task.sigwait = 0
    if found is None:
        raise EAGAIN
    if info:
        task.put(info, found.pack())
    return found.signo


def sigreturn_by_syscall(task: Task) -> int:
    """rt_sigreturn(2) of which the guest half could not make sense: a bad frame is SIGSEGV."""
    force_signal(task, SigInfo.kernel(SIGSEGV))
    return 0


sigreturn_by_syscall.__name__ = "rt_sigreturn"


def restart_syscall(task: Task) -> int:
    """Nothing is to be continued: the kernel runs interrupted calls again by itself."""
    del task
    raise EINTR


async def sigaltstack(task: Task, new: Addr, old: Addr) -> int:
    """Set and return the alternate signal stack.  EPERM on it, ENOMEM if it is too small."""
    wanted = None
    if new:
        sp, flags, size = STACK_T.unpack(await task.copy_in(new, STACK_T.size))
        wanted = (sp, flags, size)
    before = task.altstack
    on_it = False
    if before is not None:
        rsp = (await task.thread.registers()).rsp
        on_it = before.sp < rsp <= before.sp + before.size
    if wanted is not None:
        sp, flags, size = wanted
        if on_it:
            raise EPERM
        if flags == SS_DISABLE:
            task.altstack = None
        elif flags in (0, SS_ONSTACK):
            if size < MINSIGSTKSZ:
                raise ENOMEM
            task.altstack = AltStack(sp, 0, size)
        else:
            raise EINVAL
    if old:
        if before is None:
            task.put(old, STACK_T.pack(*_BY_DEFAULT_STACK))
        else:
            task.put(old, STACK_T.pack(before.sp, SS_ONSTACK if on_it else 0, before.size))
    return 0


def may_signal(task: Task, group: ThreadGroup, signo: int) -> bool:
    """Whether the task may send this signal to a process (kill(2))."""
    if group is task.group or task.creds.has_capability(CAP_KILL):
        return True
    theirs = group.leader.creds
    if task.creds.euid in (theirs.uid, theirs.suid) or task.creds.uid in (theirs.uid, theirs.suid):
        return True
    return signo == SIGCONT and group.session is task.group.session


def _find(task: Task, pid: int) -> ThreadGroup:
    group = task.kernel.groups.get(pid)
    if group is None:
        thread = task.kernel.tasks.get(pid)
        if thread is None:
            raise ESRCH
        group = thread.group
    return group


def kill(task: Task, pid: Pid, signo: I32) -> int:
    """Send a signal to a process, a process group, or all that may be sent it.  EINVAL, ESRCH, EPERM."""
    info = SigInfo.kill(signo, task.group.tgid, task.creds.uid)
    kernel = task.kernel
    if pid > 0:
        target = _find(task, pid)  # ESRCH comes before EINVAL
        if not 0 <= signo <= NSIG:
            raise EINVAL
        _send(task, target, signo, info)
        return 0
    if pid == -1:
        targets = [group for group in kernel.groups.values() if not group.is_init and group is not task.group]
    elif pid == -0x8000_0000:
        raise ESRCH
    else:
        process_group = task.group.process_group if pid == 0 else kernel.process_groups.get(-pid)
        targets = [] if process_group is None else list(process_group.members.values())
    if not targets:
        raise ESRCH
    if not 0 <= signo <= NSIG:
        raise EINVAL
    refusal: LinuxError | None = None
    sent = False
    for group in targets:
        try:
            _send(task, group, signo, info)
            sent = True
        except LinuxError as error:
            refusal = error
    if not sent and refusal is not None and (pid != -1 or not isinstance(refusal, EPERM)):
        raise refusal
    return 0


def _send(task: Task, group: ThreadGroup, signo: int, info: SigInfo) -> None:
    if not may_signal(task, group, signo):
        raise EPERM
    if signo:
        send_signal(group, info)


def tgkill(task: Task, tgid: Pid, tid: Pid, signo: I32) -> int:
    """Send a signal to a thread of a process.  EINVAL, ESRCH, EPERM."""
    if tgid <= 0 or tid <= 0:
        raise EINVAL
    return _send_to_thread(task, tgid, tid, SigInfo.kill(signo, task.group.tgid, task.creds.uid, SI_TKILL))


def tkill(task: Task, tid: Pid, signo: I32) -> int:
    """Send a signal to a thread.  EINVAL, ESRCH, EPERM."""
    if tid <= 0:
        raise EINVAL
    return _send_to_thread(task, 0, tid, SigInfo.kill(signo, task.group.tgid, task.creds.uid, SI_TKILL))


def _send_to_thread(task: Task, tgid: int, tid: int, info: SigInfo) -> int:
    target = task.kernel.tasks.get(tid)
    if target is not None and tgid in (0, target.group.tgid):
        group = target.group
    elif tid in task.kernel.groups and tgid in (0, tid):
        group = task.kernel.groups[tid]  # a zombie, or its leader has ended
    else:
        raise ESRCH
    if not 0 <= info.signo <= NSIG:
        raise EINVAL
    if not may_signal(task, group, info.signo):
        raise EPERM
    if info.signo and target is not None:
        send_signal(target, info)
    return 0


async def rt_sigqueueinfo(task: Task, pid: Pid, signo: I32, address: Addr) -> int:
    """Queue a signal with data to a process.  EPERM for what only the kernel may say."""
    data = await task.copy_in(address, SIGINFO_SIZE)
    info = SigInfo.from_user(data, signo)
    if (info.code >= 0 or info.code == SI_TKILL) and pid != task.group.tgid:
        raise EPERM
    target = _find(task, pid)
    if not 0 <= signo <= NSIG:
        raise EINVAL
    _send(task, target, signo, info)
    return 0


async def rt_tgsigqueueinfo(task: Task, tgid: Pid, tid: Pid, signo: I32, address: Addr) -> int:
    """Queue a signal with data to a thread."""
    data = await task.copy_in(address, SIGINFO_SIZE)
    if tgid <= 0 or tid <= 0:
        raise EINVAL
    info = SigInfo.from_user(data, signo)
    if (info.code >= 0 or info.code == SI_TKILL) and tgid != task.group.tgid:
        raise EPERM
    return _send_to_thread(task, tgid, tid, info)
