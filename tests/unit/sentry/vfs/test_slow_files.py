"""What may take long is a worker's: which calls, when, and what happens to descriptors and offsets meanwhile."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from pysc.cabi.workers import Buffer, Op
from pysc.sentry.fs.hostfile import open_host_file
from pysc.sentry.fs.hostfs import HostFilesystem, HostLink
from pysc.sentry.fs.hostregular import HostRegular
from pysc.sentry.fs.regular import RegularFile
from pysc.sentry.fs.superblock import DATA, NAMES, REMOTE, Superblock
from pysc.sentry.fs.tree import Tree
from pysc.sentry.hostfds import Held, Of, duplicate, hold
from pysc.sentry.kernel.scheduler import Completion, Interrupted, Reason, now
from pysc.sentry.kernel.workers import Lane, WorkerClient
from tests.support.kernel_loop import Loop

FUSE = 0x65735546
EXT4 = 0xEF53


class Watched(WorkerClient):
    """Notes what it is asked for, and holds answers back while it is told to."""

    def __init__(self, kernel: Loop) -> None:
        super().__init__(kernel, kernel.scheduler, 1)
        self.asked: list[Op] = []
        self.held: Completion[None] | None = None

    async def _call(self, op: Op, fd: int, buffer: Buffer = b"", lane: Lane | None = None, **how: Any) -> int:
        self.asked.append(op)
        if self.held is not None:
            await self.held
        return await super()._call(op, fd, buffer, lane, **how)


class Slow:
    """A file system with one file, ``file``, and a link to it."""

    def __init__(self, kernel: Loop, workers: Watched, path: Path) -> None:
        self.kernel = kernel
        self.workers = workers
        (path / "file").write_bytes(b"0123456789")
        (path / "link").symlink_to("file")
        self.tree_fd = os.open(path, os.O_PATH | os.O_DIRECTORY)
        self.fs: HostFilesystem = self.run(HostFilesystem.attach(Tree(0, self.tree_fd, None, workers), shared=False))
        self.superblock = self.fs.root.superblock
        workers.asked.clear()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        [result] = self.kernel.run(coroutine)
        if isinstance(result, BaseException):
            raise result
        return result

    def file(self) -> HostRegular:
        return cast(HostRegular, self.run(self.fs.root.lookup(b"file")))


@pytest.fixture
def kernel() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def slow(kernel: Loop, tmp_path: Path) -> Iterator[Slow]:
    workers = Watched(kernel)
    made = Slow(kernel, workers, tmp_path)
    yield made
    made.workers.stop()
    os.close(made.tree_fd)


def test_kinds() -> None:
    assert FUSE in REMOTE
    assert Superblock(FUSE).remote
    assert not Superblock(EXT4).remote
    assert Superblock(FUSE).is_slow(NAMES)
    assert not Superblock(EXT4).is_slow(DATA)


def test_marks_are_of_one_kind_and_expire() -> None:
    superblock = Superblock(EXT4)
    superblock.c.slow_until[DATA] = now() + 10**9
    assert superblock.is_slow(DATA)
    assert not superblock.is_slow(NAMES)
    superblock.c.slow_until[DATA] = now() - 1
    assert not superblock.is_slow(DATA)


def test_who_is_quick_again_is_called_again() -> None:
    """And who turns out to be slow soon after has to be quick for longer; a slow call begins that anew."""
    superblock = Superblock(EXT4)
    needed = []
    for _ in range(3):
        superblock.c.slow_until[NAMES] = superblock.c.slow_until[DATA] = now() + 10**12
        superblock.lane.note(Op.STAT, 1_000)
        superblock.lane.note(Op.STAT, 10_000_000)
        needed.append(0)
        while superblock.is_slow(NAMES):
            superblock.lane.note(Op.STAT, 1_000)
            needed[-1] += 1
        assert superblock.is_slow(DATA)
    assert needed == [4, 8, 16]


def everything(slow: Slow) -> list[object]:
    """Do all that there is to be done, and return what was seen."""

    async def run() -> list[object]:
        root = slow.fs.root
        entries = await root.entries()
        file, link = await root.lookup(b"file"), await root.lookup(b"link")
        assert isinstance(file, HostRegular)
        assert isinstance(link, HostLink)
        seen: list[object] = [sorted(entry.name for entry in entries), await link.readlink(cast(Any, None))]
        await file.open_data(False)
        seen += [await file.read_at(4, 2), await file.seek_data(0, True), (await slow.fs.statistics()).magic]
        file.adopt(os.open(file.path(), os.O_RDWR, dir_fd=slow.tree_fd))
        seen += [await file.write_at(b"xy", 3), await file.write_at(b"z", None), await file.read_at(20, 0)]
        await file.refresh()
        seen.append(file.host.size)
        await file.sync(False)
        file.close_data(False)
        return seen

    return cast(list[object], slow.run(run()))


def test_what_is_remote_is_never_called_here(slow: Slow) -> None:
    slow.superblock.found(FUSE)
    seen = everything(slow)
    assert seen == [
        [b"file", b"link"], b"file", b"2345", 10, 0x01021997, (2, 5), (1, 11), b"012xy56789z", 11,
    ]  # fmt: skip
    assert slow.workers.asked == [
        Op.OPEN_READ, Op.LIST, Op.STAT, Op.STAT, Op.READ_LINK, Op.OPEN_READ, Op.PREAD, Op.SEEK, Op.STATFS,
        Op.PWRITE, Op.PWRITE, Op.STAT, Op.PREAD, Op.STAT, Op.FSYNC,
    ]  # fmt: skip


def test_what_is_quick_is_called_here(slow: Slow) -> None:
    seen = everything(slow)
    assert seen[-1] == 11
    assert set(slow.workers.asked) <= {Op.FSYNC, Op.PREAD}, "where RWF_NOWAIT works nobody is asked without it"


def test_a_file_system_that_was_found_slow(slow: Slow) -> None:
    slow.superblock.c.slow_until[NAMES] = now() + 10**10
    slow.file()
    assert slow.workers.asked == [Op.STAT]
    slow.superblock.c.slow_until[NAMES] = 0
    slow.file()
    assert slow.workers.asked == [Op.STAT]


def test_a_mount_below_is_of_its_own_kind(slow: Slow) -> None:
    """What was not there when it was attached is looked at when it is met."""
    file = slow.file()
    slow.run(slow.fs.meet(file.host, b"file"))
    assert slow.workers.asked == [], "it is known"
    other = replace(file.host, dev=99)
    slow.run(slow.fs.meet(other, b"file"))
    assert slow.workers.asked == [Op.LOOK]
    assert slow.fs.superblocks[99] is not slow.superblock


def test_descriptors_outlive_who_is_killed(slow: Slow) -> None:
    file = slow.file()
    slow.run(file.open_data(False))
    slow.superblock.found(FUSE)
    ended: list[object] = []
    slow.workers.held = Completion()
    waiting = slow.kernel.scheduler.start(file.read_at(10, 0), "task", lambda *how: ended.append(how[1]))
    assert waiting.interrupt(Reason.KILL)
    slow.kernel.run_until(lambda: bool(ended))
    assert isinstance(ended[0], Interrupted)
    reader = file.read_fd
    file.close_data(False)
    file.places.clear()
    file.close_idle()
    file.adopt(os.dup(reader))
    file._set_write_fd(duplicate(reader))
    os.fstat(reader)  # still open
    slow.workers.held.resolve(None)
    slow.kernel.run_until(lambda: not file.users)
    slow.kernel.run_until(lambda: not os.path.exists(f"/proc/self/fd/{reader}"))


def test_an_offset_moves_once(slow: Slow) -> None:
    inode = slow.file()
    slow.run(inode.open_data(False))
    file = RegularFile(inode, os.O_RDONLY, None)
    slow.superblock.found(FUSE)
    inode._refuses = True  # as FUSE does
    slow.workers.held = Completion()
    parts: list[bytes] = []
    for _ in range(3):
        slow.kernel.scheduler.start(file.read(3), None, lambda data, _error: parts.append(data))
    assert file._c.moving, "fast paths leave it alone"
    assert file.offset == 0
    slow.workers.held.resolve(None)
    slow.kernel.run_until(lambda: len(parts) == 3)
    assert parts == [b"012", b"345", b"678"]
    assert (file.offset, file._c.moving) == (9, 0)
    file.release()


def test_standard_output_on_a_slow_file(slow: Slow, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "output", os.O_RDWR | os.O_CREAT)
    file = open_host_file(hold(fd, Held(Of.STANDARD)), cast(Any, slow.kernel), workers=slow.workers)
    file.get()
    file._superblock.found(FUSE)  # type: ignore[attr-defined]

    async def use() -> list[object]:
        return [
            await file.write(b"hello"),
            await file.pwrite(b"J", 0),
            await file.pread(9, 0),
            await file.seek(0, os.SEEK_SET),
            await file.read(9),
            (await file.attributes()).size,
            await file.sync(True),
        ]

    assert slow.run(use()) == [5, 1, b"Jello", 0, b"Jello", 5, None]
    assert slow.workers.asked == [Op.PWRITE, Op.PWRITE, Op.PREAD, Op.SEEK, Op.PREAD, Op.STAT, Op.FDATASYNC]
    file.put()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)
