"""Workers as awaitables of the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pysc.cabi import host
from pysc.cabi.linux.errors import EBADF, ENOENT, ESRCH
from pysc.sentry.kernel.workers import Lane, WorkerClient
from tests.support.kernel_loop import Loop


@pytest.fixture
def kernel() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def workers(kernel: Loop) -> Iterator[WorkerClient]:
    made = WorkerClient(kernel, kernel.scheduler, 2)
    yield made
    made.stop()


def test_data(kernel: Loop, workers: WorkerClient, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    assert kernel.run(workers.pwrite(fd, b"hello", 0)) == [5]
    buffer = bytearray(3)
    assert kernel.run(workers.pread(fd, 100, 1), workers.pread_into(fd, buffer, 0), workers.fsync(fd)) == [
        b"ello",
        3,
        None,
    ]
    assert buffer == b"hel"
    directory = os.open(tmp_path, os.O_PATH)
    assert kernel.run(workers.read_file(directory, b"file", 4)) == [b"hell"]
    [opened] = kernel.run(workers.open_read(directory, b"file"))
    for open_fd in (fd, directory, opened):
        os.close(open_fd)


def test_errors_are_raised(kernel: Loop, workers: WorkerClient) -> None:
    proc = os.open("/proc", os.O_PATH)
    results = kernel.run(
        workers.fsync(9999),
        workers.read_file(proc, b"none/maps"),
        workers.vm_read(1 << 22, 4096, 10),
        workers.read_file(proc, b"self/" + b"x" * 100),
    )
    assert [type(result) for result in results[:3]] == [EBADF, ENOENT, ESRCH]
    assert isinstance(results[3], Exception)
    os.close(proc)


def test_more_than_the_queue_holds(kernel: Loop, workers: WorkerClient) -> None:
    file = os.memfd_create("test")
    assert kernel.run(*(workers.fsync(file, data_only=True) for _ in range(3000))) == [None] * 3000
    os.close(file)


def test_names(kernel: Loop, workers: WorkerClient, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    directory = os.open(tmp_path, os.O_RDONLY)
    status, itself, magic, statistics, listed = kernel.run(
        workers.stat(directory, b"file"),
        workers.stat(directory),
        workers.look(directory, b"file"),
        workers.statfs(directory),
        workers.list(directory, 0, 4096),
    )
    assert status == host.stat_at(directory, b"file")
    assert itself.ino == os.fstat(directory).st_ino
    assert magic == statistics[0] == host.statfs(directory)[0]
    records, _cookie, end = listed
    assert [entry.name for entry in host.parse_listing_untrusted(records)] == [b"file"]
    assert end
    [fd] = kernel.run(workers.open_read(directory, b"file"))
    assert kernel.run(workers.seek(fd, -2, os.SEEK_END)) == [3]
    workers.close(fd)
    kernel.run(workers.fsync(directory), workers.stat(directory))
    kernel.run_until(lambda: not os.path.exists(f"/proc/self/fd/{fd}"))
    [error] = kernel.run(workers.stat(directory, b"none"))
    assert isinstance(error, ENOENT)
    os.close(directory)


def test_one_lane_does_not_block_the_others(kernel: Loop, workers: WorkerClient, tmp_path: Path) -> None:
    lane = Lane(most=1)
    readable, writable = os.pipe()
    file = os.memfd_create("test")
    in_order: list[object] = []
    for _ in range(3):
        kernel.scheduler.start(workers.pread(readable, 1, -1, lane=lane), None, lambda *ended: in_order.append(ended))
    assert kernel.run(*(workers.fsync(file) for _ in range(5))) == [None] * 5
    os.write(writable, b"abc")
    kernel.run_until(lambda: len(in_order) == 3)
    assert in_order == [(b"a", None), (b"b", None), (b"c", None)]
    for fd in (readable, writable, file):
        os.close(fd)
