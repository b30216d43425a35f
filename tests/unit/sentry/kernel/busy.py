"""A kernel that has one of everything, in which somebody waits in every way."""

from __future__ import annotations

import struct
from typing import NamedTuple

from pysc.sentry.fs.path import Path
from pysc.sentry.fs.proc.filesystem import make_proc
from pysc.sentry.kernel.task import Task
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


def open_everything(world: World, task: Task) -> tuple[int, int]:
    """Let the task have one description of each kind, watched by epoll; return the epoll's, and an eventfd's."""
    call = world.call
    epoll = call(task, "epoll_create1", 0)
    watched = []
    call(task, "pipe", BASE)
    watched += descriptors(world, task)
    call(task, "socketpair", 1, 1, 0, BASE)
    watched += descriptors(world, task)
    event = call(task, "eventfd2", 0, 0)
    watched.append(event)
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
    return epoll, event


class Busy(NamedTuple):
    """Who waits, by the call, and descriptors of init's: both ends of two pipes, an epoll and an eventfd in it."""

    waiting: dict[str, Task]
    empty: tuple[int, int]
    full: tuple[int, int]
    file: int
    event: int


def make_busy(world: World) -> Busy:
    """Open everything, and let children of init wait."""
    task = world.init
    world.call(task, "mkdir", path(world, task, b"/proc"), 0o755)
    root = world.namespace.root_path
    proc = world.namespace.new_mount(make_proc(world.kernel), None, 0, b"proc")
    world.namespace.attach(proc, Path(root.mount, root.dentry.children[b"proc"]))
    epoll, event = open_everything(world, task)
    world.write(task, 0x100, struct.pack("<qq", 1000, 0))
    world.call(task, "pipe", BASE)
    empty = descriptors(world, task)
    world.call(task, "pipe", BASE)
    full = descriptors(world, task)
    file = world.call(task, "open", path(world, task, b"/file"), 2, 0)
    assert world.call(task, "write", file, path(world, task, b"kept"), 4) == 4
    assert world.call(task, "epoll_wait", epoll, BASE, 64, 0) >= 0  # what is ready is told once
    lock = struct.pack("<hhqqi4x", 1, 0, 0, 0, 0)
    world.write(task, 0x200, lock)
    assert world.call(task, "fcntl", file, 7, BASE + 0x200) == 0
    waiting: dict[str, Task] = {}
    waits = (
        ("nanosleep", BASE + 0x100, 0),
        ("read", empty[0], BASE, 1),
        ("write", full[1], BASE, 100_000),
        ("epoll_wait", epoll, BASE, 8, 100_000),
        ("poll", world.write(task, 0x300, struct.pack("<ihh", empty[0], 1, 0)), 1, 100_000),
        ("fcntl", file, 7, BASE + 0x200),
        ("pause",),
        ("wait4", (1 << 64) - 1, 0, 0, 0),
    )
    for name, *args in waits:
        child = waiting[name] = world.fork(task)
        if name == "wait4":
            world.fork(child)
        thread = world.begin(child, name, *args)
        assert thread.stopped, f"{name} does not wait"
    return Busy(waiting, empty, full, file, event)
