"""What the daemons' filters really do, tried by a process that has one installed."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable

import pytest

from pysc.cabi import bpf_reach, confine, filters
from pysc.cabi.linux.prctl import PR_SET_NO_NEW_PRIVS
from pysc.gofer import confinement as gofer
from pysc.netstackd import confinement as netstackd
from pysc.sentry import confinement as sentry
from pysc.supervisor import lockdown

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
NUMBERS = {
    "socket": 41,
    "execve": 59,
    "openat": 257,
    "newfstatat": 262,
    "readlinkat": 267,
    "statx": 332,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "clone3": 435,
    "openat2": 437,
}
DAEMONS = {"gofer": gofer, "netstackd": netstackd, "sentry": sentry}


def locked(action: Callable[[], int], lock: Callable[[], None] = sentry.lock_down) -> int:
    """Fork, lock the child down, return what ``action`` returned (0 to 254), or -n for death by signal n."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
            lock()
            status = action()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def call(name: str, *arguments: object) -> int:
    """Make a raw system call; its errno, 0 for success."""
    converted = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    return ctypes.get_errno() if LIBC.syscall(ctypes.c_long(NUMBERS[name]), *converted) < 0 else 0


@pytest.mark.parametrize("name", DAEMONS)
def test_no_program_no_socket(name: str) -> None:
    lock = DAEMONS[name].lock_down
    assert locked(lambda: call("execve", b"/bin/true", None, None), lock) == -signal.SIGSYS
    assert locked(lambda: call("socket", 1, 1, 0), lock) == errno.EACCES
    assert locked(lambda: call("clone3", None, 0), lock) == errno.ENOSYS


@pytest.mark.parametrize(
    "lock",
    [sentry.lock_down, gofer.lock_down, netstackd.lock_down, lockdown.lock_down, confine.refuse_io_uring],
    ids=["sentry", "gofer", "netstackd", "supervisor", "spawner"],
)
@pytest.mark.parametrize("name", ["io_uring_setup", "io_uring_enter", "io_uring_register"])
def test_no_ring(lock: Callable[[], None], name: str) -> None:
    """Not even one from before: what a ring is told to do no filter sees."""
    assert locked(lambda: call(name, 8, None), lock) == errno.ENOSYS
    assert locked(lambda: call(name, -1, 1, 0, 0, None, 0), lock) == errno.ENOSYS


@pytest.mark.parametrize("name", DAEMONS)
def test_no_name_from_here(name: str) -> None:
    """A traceback that looks for its source finds nothing, and the daemon lives."""
    assert (
        locked(lambda: call("openat", AT_FDCWD, b"/etc/passwd", os.O_RDONLY), DAEMONS[name].lock_down) == errno.EACCES
    )


@pytest.mark.parametrize("name", DAEMONS)
def test_nothing_becomes_executable(name: str) -> None:
    import mmap

    def action() -> int:
        try:
            mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        except OSError as error:
            return error.errno or 0
        return 0

    assert locked(action, DAEMONS[name].lock_down) == errno.EACCES


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (os.O_RDONLY | os.O_NOFOLLOW, 0),
        (os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0),
        (os.O_PATH | os.O_NOFOLLOW, 0),
        (os.O_RDONLY, errno.EACCES),
        (os.O_WRONLY | os.O_NOFOLLOW, errno.EACCES),
        (os.O_RDWR | os.O_NOFOLLOW, errno.EACCES),
        (os.O_RDONLY | os.O_NOFOLLOW | os.O_TRUNC, errno.EACCES),
        (os.O_RDONLY | os.O_NOFOLLOW | os.O_CREAT, errno.EACCES),
        (os.O_TMPFILE | os.O_RDWR | os.O_NOFOLLOW, errno.EACCES),
        (os.O_RDONLY | 3 | os.O_NOFOLLOW, errno.EACCES),
    ],
)
def test_the_sentry_opens_for_reading_below_a_descriptor(tmp_path: os.PathLike[str], flags: int, expected: int) -> None:
    with open(os.path.join(tmp_path, "file"), "w"):
        directory = os.open(tmp_path, os.O_PATH)
    assert locked(lambda: call("openat", directory, b"file", flags)) == expected
    assert locked(lambda: call("openat", directory | 1 << 31, b"file", flags)) == errno.EACCES
    assert locked(lambda: call("openat2", directory, b"file", None, 0)) == errno.EACCES
    os.close(directory)


@pytest.mark.parametrize("name", ["newfstatat", "statx", "readlinkat"])
def test_the_sentry_looks_below_a_descriptor(
    tmp_path: os.PathLike[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.symlink("target", os.path.join(tmp_path, "link"))
    directory = os.open(tmp_path, os.O_PATH)
    buffer = ctypes.create_string_buffer(512)

    def look(where: int) -> int:
        if name == "statx":
            return call(name, where, b"link", 0x100, 0x7FF, buffer)
        return call(name, where, b"link", buffer, 0x100)

    assert locked(lambda: look(directory)) == 0
    monkeypatch.chdir(tmp_path)
    assert locked(lambda: look(AT_FDCWD)) == errno.EACCES
    os.close(directory)


def test_the_sentry_can_do_what_it_must(tmp_path: os.PathLike[str]) -> None:
    def action() -> int:
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(a, [b"x"], [os.memfd_create("x")])
        socket.recv_fds(b, 10, 1)
        a.setblocking(False)
        os.eventfd(0)
        epoll = __import__("select").epoll()
        epoll.register(b)
        epoll.poll(0)
        read, write = os.pipe2(os.O_CLOEXEC)
        os.dup(read)
        os.pwrite(os.memfd_create("y"), b"x", 0)
        os.sched_setaffinity(0, os.sched_getaffinity(0))
        os.kill(os.getpid(), 0)
        os.urandom(8)
        bytearray(16 << 20)
        try:
            raise ValueError("a bug")
        except ValueError as error:
            __import__("traceback").format_exception(error)
        os.close(write)
        return 7

    import select
    import traceback

    assert select
    assert traceback
    assert locked(action) == 7


def test_links_are_followed_below_its_own_descriptors_only() -> None:
    proc = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    memory = os.memfd_create("x")
    name = str(memory).encode()
    lock = lambda: sentry.lock_down(proc)  # noqa: E731
    other = os.dup(proc)
    own = os.open("/proc/self", os.O_PATH)

    def reopen(directory: int, flags: int) -> int:
        return locked(lambda: call("openat", directory, name, flags), lock)

    assert reopen(other, os.O_RDONLY) == errno.EACCES
    assert reopen(own, os.O_RDONLY) == errno.EACCES
    assert reopen(proc, os.O_RDWR) == errno.EACCES
    assert locked(lambda: call("openat", proc, name, os.O_RDONLY)) == errno.EACCES  # without being told which
    for fd in (proc, memory, other, own):
        os.close(fd)


@pytest.mark.parametrize("name", DAEMONS)
def test_the_exported_filter_is_used_only_while_it_is_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = DAEMONS[name]
    built = filters.build(daemon.ALLOWED, daemon.RULES)
    assert filters.load(name, daemon.ALLOWED, daemon.RULES) == built
    assert filters.load(name, (*daemon.ALLOWED, "acct2"), daemon.RULES) == built  # stale: compiled, no such call
    assert filters.load("nowhere", daemon.ALLOWED, daemon.RULES) == built


def test_what_a_filter_reaches_is_computed_as_the_kernel_runs_it() -> None:
    program = filters.build(sentry.ALLOWED, sentry.RULES)
    always, sometimes = bpf_reach.reach([program])
    assert {0, 1, 232} <= set(always)  # read, write, epoll_wait
    assert NUMBERS["openat"] in sometimes
    assert 9 in sometimes  # mmap
    assert not {NUMBERS["socket"], NUMBERS["execve"], NUMBERS["openat2"]} & {*always, *sometimes}
    everything, some = bpf_reach.reach([struct.pack("<HBBI", 6, 0, 0, bpf_reach.ALLOW)])
    assert len(everything) == bpf_reach.LAST_SYSCALL + 1
    assert some == []
