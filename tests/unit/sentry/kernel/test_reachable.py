"""What a checkpoint would have to save: everything that a busy kernel reaches shows its state in slots."""

from __future__ import annotations

import struct
from collections import Counter

from pysc.sentry.fs.dcache import caches
from pysc.sentry.fs.file import referenced
from pysc.sentry.fs.path import Path, mounts
from pysc.sentry.fs.proc.filesystem import make_proc
from pysc.sentry.kernel.task import Task
from tests.support.reachable import is_hidden_state, reachable
from tests.unit.sentry.kernel.kernel_world import BASE, World

O_RDWR_CREAT = 0o102
IN_ALL = 0xFFF


def path(world: World, task: Task, text: bytes, offset: int = 0x8000) -> int:
    """Put a path into the task's memory."""
    return world.write(task, offset, text + b"\0")


def descriptors(world: World, task: Task) -> tuple[int, int]:
    """Return the two numbers that a call has put at BASE."""
    first, second = struct.unpack("<ii", world.read(task, 0, 8))
    return int(first), int(second)


def open_everything(world: World, task: Task) -> int:
    """Let the task have one description of each kind, watched by epoll; return the epoll's descriptor."""
    call = world.call
    epoll = call(task, "epoll_create1", 0)
    watched = []
    call(task, "pipe", BASE)
    watched += descriptors(world, task)
    call(task, "socketpair", 1, 1, 0, BASE)
    watched += descriptors(world, task)
    watched.append(call(task, "eventfd2", 0, 0))
    watched.append(call(task, "inotify_init1", 0))
    assert call(task, "inotify_add_watch", watched[-1], path(world, task, b"/"), IN_ALL) > 0
    timer = call(task, "timerfd_create", 1, 0)
    world.write(task, 64, struct.pack("<4q", 0, 0, 1000, 0))
    assert call(task, "timerfd_settime", timer, 0, BASE + 64, 0) == 0
    watched.append(timer)
    world.write(task, 64, (1 << 11).to_bytes(8, "little"))
    watched.append(call(task, "signalfd4", (1 << 64) - 1, BASE + 64, 8, 0))
    for fd in watched:
        world.write(task, 64, struct.pack("<IQ", 1 | 1 << 31, fd))
        assert call(task, "epoll_ctl", epoll, 1, fd, BASE + 64) == 0
    for name in (b"/file", b"/proc/self/maps", b"/proc/self/fdinfo/0", b"/proc/sys/kernel/panic", b"/proc/mounts"):
        assert call(task, "open", path(world, task, name), 0 if name.startswith(b"/proc") else O_RDWR_CREAT, 0o600) > 0
    assert call(task, "open", path(world, task, b"/proc/self/task"), 0o200000, 0) > 0
    world.write(task, 64, struct.pack("<4q", 0, 0, 1000, 0))
    assert call(task, "setitimer", 0, BASE + 64, 0) == 0
    assert call(task, "timer_create", 1, 0, BASE + 128) == 0
    return epoll


def hidden(world: World) -> list[str]:
    """Find state that no slot shows."""
    return [
        f"{type(holder).__module__}.{type(holder).__qualname__}.{slot} is {value!r}"
        for holder, slot, value in reachable(world.kernel, referenced, caches, mounts)
        if is_hidden_state(holder, slot, value)
    ]


def test_a_closure_is_found(world: World) -> None:
    assert not hidden(world)
    timer = world.kernel.scheduler.call_at(1 << 62, lambda: None)
    assert len(hidden(world)) == 1
    timer.cancel()
    assert not hidden(world)


def test_no_state_is_hidden_in_functions(world: World) -> None:
    task = world.init
    world.call(task, "mkdir", path(world, task, b"/proc"), 0o755)
    root = world.namespace.root_path
    proc = world.namespace.new_mount(make_proc(world.kernel), None, 0, b"proc")
    world.namespace.attach(proc, Path(root.mount, root.dentry.children[b"proc"]))
    epoll = open_everything(world, task)
    world.write(task, 0x100, struct.pack("<qq", 1000, 0))
    world.call(task, "pipe", BASE)
    quiet, _ = descriptors(world, task)
    world.call(task, "pipe", BASE)
    _, writer = descriptors(world, task)
    assert world.call(task, "epoll_wait", epoll, BASE, 64, 0) >= 0  # what is ready is told once
    lock = struct.pack("<hhqqi4x", 1, 0, 0, 0, 0)
    file = world.call(task, "open", path(world, task, b"/file"), 2, 0)
    world.write(task, 0x200, lock)
    assert world.call(task, "fcntl", file, 7, BASE + 0x200) == 0
    waits = (
        ("nanosleep", BASE + 0x100, 0),
        ("read", quiet, BASE, 1),
        ("write", writer, BASE, 100_000),
        ("epoll_wait", epoll, BASE, 8, 100_000),
        ("poll", world.write(task, 0x300, struct.pack("<ihh", quiet, 1, 0)), 1, 100_000),
        ("fcntl", file, 7, BASE + 0x200),
        ("pause",),
        ("wait4", (1 << 64) - 1, 0, 0, 0),
    )
    for name, *args in waits:
        child = world.fork(task)
        if name == "wait4":
            world.fork(child)
        thread = world.begin(child, name, *args)
        assert thread.stopped, f"{name} does not wait"
    assert not hidden(world), "\n".join(hidden(world))
    kinds = Counter(type(value).__name__ for _, _, value in reachable(world.kernel))
    for kind in ("Task", "ThreadGroup", "PipeFile", "EpollItem", "Routine", "Timer", "Dentry", "FileLocks", "Mount"):
        assert kinds[kind], f"{kind} was not reached"
