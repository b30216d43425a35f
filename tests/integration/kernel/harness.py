"""The kernel on the real platform, in this process, without daemons: the host's files read-only, a tmpfs on /tmp."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.sentry.fs.context import FsContext
from pysc.sentry.fs.hostfile import open_host_file
from pysc.sentry.fs.hostfs import HostFilesystem
from pysc.sentry.fs.mounting import make, mount_at
from pysc.sentry.fs.path import MountNamespace
from pysc.sentry.fs.tree import Tree
from pysc.sentry.fs.walk import resolve
from pysc.sentry.hostfds import Held, Of, hold
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.dispatch import on_event
from pysc.sentry.kernel.exec import start_program
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.kernel import Kernel
from pysc.sentry.kernel.scheduler import now
from pysc.sentry.platform.systrap import Systrap
from pysc.sentry.strace import Strace
from pysc.sentry.syscalls.x86_64 import X86_64


class StderrLog:
    """A log that a failing test shows."""

    def _say(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    debug = info = warning = error = _say


def run(
    argv: Sequence[bytes],
    stdio: Sequence[int] = (0, 1, 2),
    *,
    strace: bool = False,
    fastpath: bool = False,
    timeout: float = 15,
    caps: int = (1 << 41) - 1,
) -> int:
    """Run a program as init; return its wait(2) status."""
    platform = Systrap(fastpath=fastpath)
    kernel = Kernel(platform, X86_64, StderrLog())
    if strace:
        kernel.strace = Strace(lambda _level, line: print(line, file=sys.stderr, flush=True))
    platform.start()
    failures: list[BaseException] = []

    async def boot() -> None:
        try:
            tree = Tree(0, os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), None)
            root = await HostFilesystem.attach(tree, shared=False, readonly=True)
            root.serve()
            namespace = MountNamespace.of(root)
            context = FsContext(namespace.root_path)
            fds = FDTable()
            for fd in stdio:
                fds.install(open_host_file(hold(os.dup(fd), Held(Of.STANDARD)), platform), 1024)
            from pysc.sentry.container import _setup_task

            setup = _setup_task(kernel, context)
            for target, kind in ((b"/tmp", b"tmpfs"), (b"/proc", b"proc"), (b"/dev", b"devtmpfs")):
                place = await resolve(setup, AT_FDCWD, target)
                mount_at(make(kernel, kind, kind, {}), place, 0, kind)
            env = [b"PATH=/bin:/usr/bin", b"HOME=/tmp", b"LANG=C"]
            await start_program(kernel, argv, env, Credentials.of(0, 0, caps=caps), context, fds)
        except BaseException as error:
            failures.append(error)

    kernel.spawn(boot())
    end = time.monotonic() + timeout
    try:
        while (kernel.exit_status is None or kernel.tasks) and not failures:
            if time.monotonic() > end:
                raise TimeoutError(f"{argv!r} still runs: {dump(kernel)}")
            kernel.scheduler.run_ready()
            deadline = kernel.scheduler.deadline()
            wait = 500_000_000 if deadline is None else min(500_000_000, max(0, deadline - now()) if deadline else 0)
            for event in platform.wait(wait):
                on_event(kernel, event)
    finally:
        platform.stop()
    if failures:
        raise failures[0]
    assert kernel.exit_status is not None
    return kernel.exit_status


def dump(kernel: Kernel) -> str:
    """Say what all tasks are doing."""
    return "; ".join(
        f"{task.tid} of {task.group.tgid} {task.comm!r} {task.state.name} routine={task.routine is not None}"
        f" parked={task.routine is not None and task.routine.parked} attention={task.attention} killed={task.killed}"
        for task in kernel.tasks.values()
    ) + "".join(_host_state(pid) for pid in {task.memory.space.host_pid for task in kernel.tasks.values()})


def _host_state(pid: int) -> str:
    threads = sorted(Path(f"/proc/{pid}/task").glob("*"))
    return "".join(f"\n{path}: {(path / 'syscall').read_text().strip()}" for path in threads)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    tracing = "--strace" in arguments[:2]
    fast = "--fast" in arguments[:2]
    arguments = [a for i, a in enumerate(arguments) if i >= 2 or a not in ("--strace", "--fast")]
    status = run([os.fsencode(a) for a in arguments], strace=tracing, fastpath=fast)
    sys.exit(status >> 8 if not status & 0x7F else 128 + (status & 0x7F))
