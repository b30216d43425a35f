"""Workers as awaitables of the kernel."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pysc.cabi.linux.errors import EBADF, ENOENT, ESRCH
from pysc.sentry.kernel.workers import WorkerClient
from tests.support.kernel_loop import Loop


@pytest.fixture
def kernel() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def workers(kernel: Loop) -> Iterator[WorkerClient]:
    made = WorkerClient(kernel, 2)
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
