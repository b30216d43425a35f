"""The C worker threads, by themselves."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pysc.cabi import confine
from pysc.cabi.linux.errors import EBADF, EFAULT, EINVAL, ENOENT, ESRCH
from pysc.cabi.linux.prctl import PR_SET_NO_NEW_PRIVS
from pysc.cabi.workers import Op, Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(2)
    yield made
    made.stop()


def wait(workers: Workers, count: int = 1) -> dict[int, int]:
    results: dict[int, int] = {}
    while len(results) < count:
        assert select.select([workers.fd], [], [], 10)[0], "no result"
        results.update((id_, result) for id_, result, took in workers.reap() if took >= 0)
    return results


def test_the_calls(workers: Workers, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    directory = os.open(tmp_path, os.O_RDONLY)
    id_ = workers.submit(Op.PWRITE, fd, b"hello", offset=2)
    assert wait(workers) == {id_: 5}
    buffer = bytearray(10)
    id_ = workers.submit(Op.PREAD, fd, buffer, offset=0)
    assert wait(workers) == {id_: 7}
    assert buffer == b"\0\0hello\0\0\0"
    for op in (Op.FSYNC, Op.FDATASYNC):
        id_ = workers.submit(op, fd)
        assert wait(workers) == {id_: 0}
    id_ = workers.submit(Op.OPEN_READ, directory, path=b"file")
    opened = wait(workers)[id_]
    assert os.pread(opened, 3, 2) == b"hel"
    whole = bytearray(100)
    id_ = workers.submit(Op.READ_FILE, directory, whole, offset=3, path=b"file")
    assert wait(workers) == {id_: 4}
    assert whole[:4] == b"ello"
    for open_fd in (fd, directory, opened):
        os.close(open_fd)


def test_proc_files_and_links(workers: Workers) -> None:
    proc = os.open("/proc", os.O_PATH)
    buffer = bytearray(1 << 20)
    id_ = workers.submit(Op.READ_FILE, proc, buffer, path=b"%d/maps" % os.getpid())
    count = wait(workers)[id_]
    assert b"[stack]" in buffer[:count]
    assert buffer[:count].endswith(b"\n")
    id_ = workers.submit(Op.READ_LINK, proc, buffer, path=b"%d/exe" % os.getpid())
    count = wait(workers)[id_]
    assert os.fsdecode(bytes(buffer[:count])) == os.readlink("/proc/self/exe")
    os.close(proc)


def test_memory_of_processes(workers: Workers) -> None:
    from pysc.cabi._shim import ffi

    target = bytearray(b"secret")
    address = int(ffi.cast("uintptr_t", ffi.from_buffer(target)))
    copy = bytearray(6)
    workers.submit(Op.VM_READ, os.getpid(), copy, offset=address)
    assert [*wait(workers).values()] == [6]
    assert copy == b"secret"
    workers.submit(Op.VM_WRITE, os.getpid(), b"public", offset=address)
    wait(workers)
    assert target == b"public"


def test_errors_come_as_they_are(workers: Workers, tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    expected = {
        workers.submit(Op.FSYNC, 9999): -EBADF.errno,
        workers.submit(Op.OPEN_READ, directory, path=b"none"): -ENOENT.errno,
        workers.submit(Op.OPEN_READ, directory, path=b"../etc"): -EINVAL.errno,
        workers.submit(Op.OPEN_READ, directory, path=b"x", flags=os.O_WRONLY): -EINVAL.errno,
        workers.submit(Op.VM_READ, os.getpid(), bytearray(1), offset=8): -EFAULT.errno,
        workers.submit(Op.VM_READ, 1 << 22, bytearray(1), offset=8): -ESRCH.errno,
        workers.submit(99, directory): -EINVAL.errno,  # type: ignore[arg-type]
    }
    assert wait(workers, len(expected)) == expected
    with pytest.raises(OSError, match="Invalid"):
        workers.submit(Op.STAT, directory, bytearray(8), path=b"file")
    os.close(directory)


def test_one_that_blocks_holds_up_only_its_thread(workers: Workers) -> None:
    readable, writable = os.pipe()
    buffer = bytearray(1)
    blocked = workers.submit(Op.PREAD, readable, buffer, offset=-1)
    file = os.memfd_create("test")
    for _ in range(100):
        id_ = workers.submit(Op.FSYNC, file)
        assert wait(workers) == {id_: 0}
    os.write(writable, b"x")
    assert wait(workers) == {blocked: 1}
    for fd in (readable, writable, file):
        os.close(fd)


def test_the_queue_is_bounded_and_loses_nothing(workers: Workers) -> None:
    file = os.memfd_create("test")
    submitted = {workers.submit(Op.FDATASYNC, file) for _ in range(1024)}
    with pytest.raises(OSError, match="temporarily"):
        workers.submit(Op.FDATASYNC, file)
    assert set(wait(workers, 1024)) == submitted
    assert not select.select([workers.fd], [], [], 0)[0]
    assert workers.outstanding == 0
    os.close(file)


def test_no_python_thread_and_no_signals() -> None:
    before = threading.active_count()
    workers = Workers(3)
    tasks = {int(tid) for tid in os.listdir("/proc/self/task")} - {threading.get_native_id()}
    masks = {
        line
        for tid in tasks
        for line in Path(f"/proc/self/task/{tid}/status").read_text().splitlines()
        if line.startswith("SigBlk")
    }
    assert threading.active_count() == before
    assert any(int(mask.split()[1], 16) >> signal.SIGCHLD - 1 & 1 for mask in masks)
    workers.stop()


def test_a_filter_covers_the_workers() -> None:
    pid = os.fork()
    if not pid:
        code = 1
        try:
            workers = Workers(1)
            confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
            # struct sock_filter: load nr; if fsync(74): errno EACCES; allow
            confine.load_filter(b"\x20\0\0\0\0\0\0\0\x15\0\0\x01\x4a\0\0\0\x06\0\0\0\x0d\0\x05\0\x06\0\0\0\0\0\xff\x7f")
            workers.submit(Op.FSYNC, 0)
            code = 0 if [*wait(workers).values()] == [-13] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("count", [0, 65])
def test_the_number_of_threads_is_bounded(count: int) -> None:
    with pytest.raises(OSError, match="Invalid"):
        Workers(count)
