"""Reading what is on the disk only: a worker waits for it, not the loop."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from pysc.sentry.fs.hostfs import HostFilesystem
from pysc.sentry.fs.hostregular import HostRegular
from pysc.sentry.fs.regular import RegularFile
from pysc.sentry.fs.tree import Tree
from pysc.sentry.kernel.workers import Lane, WorkerClient
from tests.support.kernel_loop import Loop

CONTENT = os.urandom(300_000)


class Watched(WorkerClient):
    """Counts what it is asked to read."""

    def __init__(self, kernel: Loop) -> None:
        super().__init__(kernel, kernel.scheduler, 1)
        self.reads: list[tuple[int, int]] = []

    async def pread(self, fd: int, size: int, offset: int, flags: int = 0, *, lane: Lane | None = None) -> bytes:
        self.reads.append((size, offset))
        return await super().pread(fd, size, offset, flags, lane=lane)


@pytest.fixture
def kernel() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def workers(kernel: Loop) -> Iterator[Watched]:
    made = Watched(kernel)
    yield made
    made.stop()


def evict(path: Path) -> None:
    """Drop the file from the host's cache, or skip where that is not possible."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.preadv(fd, [bytearray(4096)], 0, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return
        pytest.skip("this file system has no RWF_NOWAIT")
    finally:
        os.close(fd)
    pytest.skip("the cache cannot be emptied")


def test_cold_reads(kernel: Loop, workers: Watched, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    evict(path)
    tree_fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    file: RegularFile | None = None

    async def scenario() -> None:
        nonlocal file
        fs = await HostFilesystem.attach(Tree(0, tree_fd, None, workers), shared=False)
        inode = cast(HostRegular, await fs.root.lookup(b"file"))
        await inode.open_data(False)
        file = RegularFile(inode, os.O_RDONLY, None)
        assert await file.read(100_000) == CONTENT[:100_000]
        assert workers.reads == [(100_000, 0)]
        assert await file.pread(100_000, 0) == CONTENT[:100_000]
        assert workers.reads == [(100_000, 0)], "warm bytes need no worker"
        rest = b""
        while part := await file.read(70_000):
            rest += part
        assert rest == CONTENT[100_000:]
        assert await file.pread(10, len(CONTENT)) == b""

    [outcome] = kernel.run(scenario())
    assert outcome is None, outcome
    assert file is not None
    file.release()
    os.close(tree_fd)
