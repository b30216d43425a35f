"""Memory that comes from an image behaves as the anonymous memory that it was: side by side in one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pysc.cabi.linux import mman
from pysc.cabi.linux.errors import EFAULT, ENOEXEC
from pysc.sentry.platform.interface import MapEntry
from tests.integration.engine.conftest import Compile
from tests.integration.engine.kernel import Task, TestKernel
from tests.integration.engine.served import PAGE, Seen, Served

NR_MMAP, NR_MPROTECT, NR_MUNMAP, NR_MREMAP, NR_MADVISE = 9, 10, 11, 25, 28
SAVED, PLAIN = 0x2000_0000_0000, 0x2100_0000_0000
"""Where what comes from an image is tried, and where what is anonymous."""
PAGES = 24
SIZE = PAGES * PAGE
SEEN = PAGES + 12
"""As far as what grows where it is can reach."""
READ, WRITE, EXEC = 1, 2, 4
RW = READ | WRITE
PRIVATE, FIXED, ANONYMOUS = mman.MAP_PRIVATE, mman.MAP_FIXED, mman.MAP_ANONYMOUS
MAYMOVE, MOVE_FIXED, DONTUNMAP = 1, 2, 4
DONTNEED, FREE, DONTFORK, DOFORK, WIPEONFORK, KEEPONFORK, DONTNEED_LOCKED = 4, 8, 10, 11, 18, 19, 24
ADVICE = (0, 1, 2, DONTNEED, FREE, DONTFORK, DOFORK, 14, 15, 16, 17, WIPEONFORK, KEEPONFORK, 20, 21, 22, 23, 24)
PROTECTIONS = (0, READ, RW, RW, RW, READ | EXEC)


def content(page: int) -> bytes:
    """What a page of the image holds; those behind what is mapped are others, and none is empty."""
    return b"%07d " % page * (PAGE // 8)


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Saved memory: a file with more than any test maps."""
    path = tmp_path_factory.mktemp("image") / "memory"
    path.write_bytes(b"".join(map(content, range(4 * PAGES))))
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def served(kernel: TestKernel, compile_guest: Compile) -> Iterator[Served]:
    with Served(kernel, compile_guest("served")) as process:
        yield process


@dataclass
class Operation:
    """One call in both places, on ``size`` pages from ``at`` on."""

    kind: str
    at: int
    size: int
    argument: int = 0
    new_size: int = 0
    to: int = 0


def operations(pages: int = PAGES) -> st.SearchStrategy[Operation]:
    at, size = st.integers(0, pages - 1), st.integers(1, 8)
    return st.one_of(
        st.builds(Operation, st.just("map"), at, size, st.sampled_from(PROTECTIONS)),
        st.builds(Operation, st.just("unmap"), at, size),
        st.builds(Operation, st.just("protect"), at, size, st.sampled_from(PROTECTIONS)),
        st.builds(Operation, st.just("advise"), at, size, st.sampled_from(ADVICE)),
        st.builds(Operation, st.just("advise"), at, size, st.sampled_from((DONTNEED, DONTNEED, FREE, WIPEONFORK))),
        st.builds(Operation, st.just("store"), at, size, st.integers(1, 255)),
        st.builds(Operation, st.just("remap"), at, size, st.integers(0, 7), st.integers(0, 12), at),
        st.builds(Operation, st.just("remap"), at, size, st.sampled_from((0, 1, 1, 3)), st.integers(1, 12), at),
    )


@dataclass
class Piece:
    """Of what was one mapping: pages from the image, somewhere in it, or none that had been touched."""

    size: int
    page: int
    is_hole: bool


pieces = st.lists(
    st.builds(Piece, st.integers(1, 9), st.integers(0, 2 * PAGES), st.sampled_from((False, False, True))), min_size=1
)


class Pair:
    """The two places of one process."""

    def __init__(self, served: Served, image: int) -> None:
        self.served = served
        self.image = image

    def map_image(self, address: int, pages: int, prot: int, first: int) -> int:
        thread = self.served.task.thread
        return self.served.run(thread.map_image(address, pages * PAGE, prot, self.image, first * PAGE))

    def begin(self, mapped: list[Piece]) -> None:
        """Map pieces in one place, and what they hold in the other; some room is left."""
        for start in (SAVED, PLAIN):
            assert self.served.call(NR_MUNMAP, start - SIZE, 3 * SIZE) == 0
        total = min(sum(piece.size for piece in mapped), PAGES - 6)
        assert self.served.call(NR_MMAP, PLAIN, total * PAGE, RW, PRIVATE | FIXED | ANONYMOUS, -1, 0) == PLAIN
        at = 0
        for piece in mapped:
            size = min(piece.size, total - at)
            if size and piece.is_hole:
                where = SAVED + at * PAGE
                assert self.served.call(NR_MMAP, where, size * PAGE, RW, PRIVATE | FIXED | ANONYMOUS, -1, 0) == where
            elif size:
                assert self.map_image(SAVED + at * PAGE, size, RW, piece.page) == SAVED + at * PAGE
                for page in range(size):
                    self.served.store(PLAIN + (at + page) * PAGE, content(piece.page + page))
            at += size
        self.compare()

    def both(self, nr: int, at: int, *args: int) -> tuple[int, int]:
        return tuple(self.served.call(nr, start + at * PAGE, *args) for start in (PLAIN, SAVED))  # type: ignore[return-value]

    def look(self, start: int) -> list[Seen | None]:
        return self.served.pages(start, SEEN)

    def compare(self) -> None:
        for page, (plain, saved) in enumerate(zip(self.look(PLAIN), self.look(SAVED), strict=True)):
            assert plain == saved, f"page {page}"

    def do(self, operation: Operation) -> None:
        """Do it in both places: same results, same memory."""
        o = operation
        if o.kind == "store":
            for page in range(o.at, min(o.at + o.size, PAGES)):
                data = bytes([o.argument]) * 64
                plain, saved = (self.served.store(start + page * PAGE + 8, data) for start in (PLAIN, SAVED))
                assert plain == saved
        elif o.kind == "remap":
            self.remap(o)
        elif o.kind == "advise" and o.argument == FREE:
            self.free(o)
        else:
            size = min(o.size, PAGES - o.at) * PAGE
            if o.kind == "map":
                flags = PRIVATE | FIXED | ANONYMOUS
                plain, saved = self.both(NR_MMAP, o.at, size, o.argument, flags, -1, 0)
                plain, saved = plain - PLAIN, saved - SAVED
            elif o.kind == "unmap":
                plain, saved = self.both(NR_MUNMAP, o.at, size)
            else:
                plain, saved = self.both(NR_MPROTECT if o.kind == "protect" else NR_MADVISE, o.at, size, o.argument)
            assert plain == saved
        self.compare()

    def free(self, o: Operation) -> None:
        """What is freed may stay, or be empty."""
        size = min(o.size, PAGES - o.at)
        before = self.look(SAVED)
        assert len(set(self.both(NR_MADVISE, o.at, size * PAGE, FREE))) == 1
        for page, (old, new) in enumerate(zip(before, self.look(SAVED), strict=True)):
            assert old == new or (
                o.at <= page < o.at + size and new and old and new == Seen(old.rights, bytes(PAGE))
            ), f"page {page}"
        self.both(NR_MADVISE, o.at, size * PAGE, DONTNEED)

    def remap(self, o: Operation) -> None:
        """What the host moves away is looked at there, and goes."""
        size, new_size = min(o.size, PAGES - o.at), min(o.new_size, PAGES - o.to)
        to = o.to if o.argument & MOVE_FIXED else None
        rest = (size * PAGE, new_size * PAGE, o.argument)
        if o.argument & (MOVE_FIXED | DONTUNMAP) and not self.served.is_one(PLAIN + o.at * PAGE, size):
            return  # since Linux 6.17 several can be moved, as long as they keep their sizes
        plain = self.served.call(NR_MREMAP, PLAIN + o.at * PAGE, *rest, 0 if to is None else PLAIN + to * PAGE)
        if plain == -EFAULT.errno:
            # Part of it is not mapped, or apart there by what has been done to it; one that is fixed may have unmapped.
            for start in (PLAIN, SAVED):
                self.served.call(NR_MUNMAP, start + o.to * PAGE, max(new_size, 1) * PAGE)
            return
        saved = self.served.call(NR_MREMAP, SAVED + o.at * PAGE, *rest, 0 if to is None else SAVED + to * PAGE)
        if plain < 0 or PLAIN <= plain < PLAIN + SIZE:
            assert saved - plain == (0 if plain < 0 else SAVED - PLAIN), (plain, saved)
            return
        assert saved > 0
        assert not SAVED <= saved < SAVED + SIZE
        assert self.served.pages(plain, new_size) == self.served.pages(saved, new_size)
        for start in (plain, saved):
            assert self.served.call(NR_MADVISE, start, new_size * PAGE, DONTNEED) == 0
        assert self.served.pages(plain, new_size) == self.served.pages(saved, new_size)
        for start in (plain, saved):
            assert self.served.call(NR_MUNMAP, start, new_size * PAGE) == 0

    def fork(self) -> None:
        """A child has the same in both places, and goes on so."""
        child = self.served.fork()
        for advice in (0, DONTNEED):
            for start in (PLAIN, SAVED):
                self.served.call(NR_MADVISE, start, SIZE, advice, task=child)
            plain, saved = (self.served.pages(start, SEEN, child) for start in (PLAIN, SAVED))
            assert plain == saved
        self.served.end(child)


@pytest.fixture
def pair(served: Served, image: int) -> Pair:
    return Pair(served, image)


PROGRAMS = {
    "dropped": [Operation("store", 0, 9, 7), Operation("advise", 2, 3, DONTNEED)],
    "dropped, locked": [Operation("store", 0, 9, 7), Operation("advise", 2, 3, DONTNEED_LOCKED)],
    "dropped, not all mapped": [Operation("unmap", 3, 2), Operation("advise", 1, 8, DONTNEED)],
    "dropped, protected": [Operation("protect", 2, 3, READ), Operation("advise", 1, 8, DONTNEED)],
    "freed": [Operation("store", 0, 9, 7), Operation("advise", 2, 3, FREE), Operation("advise", 0, 9, DONTNEED)],
    "unmapped": [Operation("unmap", 2, 3), Operation("map", 3, 1, RW), Operation("advise", 0, 9, DONTNEED)],
    "protected": [Operation("protect", 1, 6, 0), Operation("protect", 2, 2, READ), Operation("advise", 0, 9, DONTNEED)],
    "protected up to a hole": [
        Operation("unmap", 4, 1), Operation("protect", 1, 6, READ), Operation("advise", 0, 9, DONTNEED),
    ],
    "same size": [Operation("remap", 2, 3, 0, 3), Operation("remap", 2, 3, MAYMOVE, 3)],
    "shrunk": [Operation("remap", 2, 7, 0, 4), Operation("advise", 0, 9, DONTNEED)],
    "shrunk to nothing": [Operation("remap", 2, 7, 0, 0)],
    "shrunk behind the end": [Operation("unmap", 5, 4), Operation("remap", 2, 7, 0, 2)],
    "none of it mapped": [Operation("unmap", 2, 3), Operation("remap", 2, 3, 0, 1), Operation("remap", 2, 3, 1, 4)],
    "grown": [Operation("unmap", 9, 15), Operation("remap", 5, 4, 0, 8), Operation("advise", 0, 13, DONTNEED)],
    "grown from what is anonymous": [
        Operation("unmap", 9, 15), Operation("advise", 8, 1, DONTNEED), Operation("store", 8, 1, 3),
        Operation("remap", 5, 4, 0, 8),
    ],
    "grown, protected": [Operation("unmap", 9, 15), Operation("protect", 5, 4, READ), Operation("remap", 5, 4, 0, 8)],
    "no room to grow": [Operation("remap", 2, 2, 0, 4)],
    "grown elsewhere": [Operation("remap", 2, 3, MAYMOVE, 9)],
    "grown elsewhere from what is anonymous": [
        Operation("advise", 4, 1, DONTNEED), Operation("store", 3, 2, 3), Operation("remap", 2, 3, MAYMOVE, 9),
    ],
    "grown elsewhere from several": [
        *[o for page in (3, 5, 4) for o in (Operation("advise", page, 1, DONTNEED), Operation("store", page, 1, 9))],
        Operation("remap", 2, 4, MAYMOVE, 9),
    ],
    "nothing of it is left": [
        *[o for page in (3, 5, 4) for o in (Operation("advise", page, 1, DONTNEED), Operation("store", page, 1, 9))],
        Operation("remap", 3, 3, MAYMOVE, 9),
    ],
    "nothing at all is left": [
        Operation("unmap", 0, 3), Operation("unmap", 6, 18),
        *[o for page in (3, 5, 4) for o in (Operation("advise", page, 1, DONTNEED), Operation("store", page, 1, 9))],
        Operation("remap", 3, 3, 0, 6), Operation("store", 5, 4, 8), Operation("remap", 3, 6, 3, 9, 12),
    ],
    "moved": [
        Operation("store", 3, 1, 7), Operation("unmap", 12, 12), Operation("remap", 2, 5, 3, 5, 13),
        Operation("advise", 14, 2, DONTNEED), Operation("map", 2, 5, RW), Operation("advise", 0, 9, DONTNEED),
    ],
    "moved over what was protected": [
        Operation("protect", 8, 3, READ), Operation("advise", 3, 1, DONTNEED), Operation("store", 3, 1, 9),
        Operation("remap", 2, 3, 3, 3, 8), Operation("advise", 8, 3, DONTNEED),
    ],
    "moved over another": [Operation("remap", 2, 3, 3, 3, 6), Operation("advise", 5, 2, DONTNEED)],
    "moved and grown": [Operation("remap", 0, 3, 3, 8, 12), Operation("advise", 0, 24, DONTNEED)],
    "moved and shrunk": [Operation("remap", 0, 7, 3, 2, 12), Operation("advise", 0, 24, DONTNEED)],
    "moved into itself": [Operation("remap", 2, 4, 3, 4, 3)],
    "moved in pieces": [
        Operation("advise", 3, 1, DONTNEED), Operation("store", 3, 1, 9), Operation("advise", 5, 1, DONTNEED),
        Operation("remap", 1, 8, 3, 8, 13), Operation("advise", 14, 3, DONTNEED),
    ],
    "pages moved": [
        Operation("store", 2, 2, 7), Operation("remap", 2, 3, 7, 3, 14), Operation("store", 2, 2, 8),
        Operation("advise", 2, 1, DONTNEED), Operation("advise", 14, 2, DONTNEED),
    ],
    "pages moved, growing": [Operation("remap", 2, 3, 7, 4, 14)],
    "fixed but not to be moved": [Operation("remap", 2, 3, 2, 3, 14)],
    "something moved over it": [
        Operation("protect", 3, 3, READ), Operation("map", 14, 3, RW), Operation("store", 14, 3, 5),
        Operation("remap", 14, 3, 3, 3, 3), Operation("advise", 0, 9, DONTNEED),
    ],
    "not forked": [Operation("advise", 2, 3, DONTFORK), Operation("advise", 3, 1, DONTNEED)],
    "forked after all": [Operation("advise", 2, 3, DONTFORK), Operation("advise", 3, 1, DOFORK)],
    "wiped": [Operation("store", 1, 4, 5), Operation("advise", 2, 3, WIPEONFORK), Operation("advise", 3, 1, DONTNEED),
              Operation("store", 3, 1, 5)],
    "wiped, protected": [Operation("advise", 2, 3, WIPEONFORK), Operation("protect", 1, 3, READ)],
    "wiped after it was dropped": [
        Operation("advise", 3, 1, DONTNEED), Operation("store", 1, 4, 5), Operation("advise", 2, 3, WIPEONFORK),
    ],
    "kept": [Operation("advise", 2, 3, WIPEONFORK), Operation("advise", 3, 1, KEEPONFORK)],
    "wiped, grown": [
        Operation("unmap", 9, 15), Operation("advise", 5, 4, WIPEONFORK), Operation("remap", 5, 4, 0, 8),
        Operation("store", 5, 8, 5),
    ],
    "wiped, moved": [Operation("advise", 5, 4, WIPEONFORK), Operation("remap", 5, 4, 3, 4, 14)],
    "touched": [Operation("advise", 0, 12, advice) for advice in (14, 15, 16, 17, 20, 21, 22, 23)],
}  # fmt: skip


def test_each_call(pair: Pair) -> None:
    """One thing at a time."""
    for mapped in (
        [Piece(12, 0, False)],
        [Piece(4, 0, False), Piece(3, 9, False), Piece(3, 0, True), Piece(2, 20, False)],
    ):
        for name, program in PROGRAMS.items():
            print(name, mapped)
            pair.begin(mapped)
            for operation in program:
                pair.do(operation)
            pair.fork()
            pair.compare()


def test_not_one(pair: Pair) -> None:
    """What is apart is not moved or made larger, and what is not there not made smaller."""
    pair.begin([Piece(12, 0, False)])
    for start in (PLAIN, SAVED):
        for at in (3, 10):
            assert pair.served.call(NR_MPROTECT, start + at * PAGE, PAGE, READ) == 0
        assert pair.served.call(NR_MUNMAP, start + 8 * PAGE, PAGE) == 0
    ranges = ((2, 2, 4, 1), (7, 2, 4, 1), (7, 3, 4, 1), (8, 2, 1, 0), (8, 2, 2, 0), (8, 1, 2, 1), (10, 2, 4, 0))
    for at, size, new_size, flags in ranges:
        assert pair.both(NR_MREMAP, at, size * PAGE, new_size * PAGE, flags) == (-EFAULT.errno, -EFAULT.errno)
        pair.compare()
    for at in (2, 7):
        for start in (PLAIN, SAVED):
            to = start + 14 * PAGE
            assert pair.served.call(NR_MREMAP, start + at * PAGE, 2 * PAGE, 3 * PAGE, 3, to) == -EFAULT.errno
        pair.compare()


@pytest.mark.timeout(300)  # where it fails, and a short program is looked for that does
def test_as_anonymous(pair: Pair) -> None:
    """Whatever a program does, it cannot tell the two apart."""

    @settings(
        max_examples=int(os.environ.get("PYSC_EXAMPLES", "60")),
        derandomize=os.environ.get("CI") == "true",
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(pieces, st.lists(operations(), min_size=1, max_size=12))
    def run(mapped: list[Piece], program: list[Operation]) -> None:
        pair.begin(mapped)
        for operation in program:
            pair.do(operation)
        pair.fork()
        pair.compare()

    run()


def test_threads(kernel: TestKernel, compile_guest: Compile, tmp_path: Path) -> None:
    """Others change their own part of it meanwhile, and nobody ever meets a hole."""
    saved = tmp_path / "memory"
    saved.write_bytes(b"".join((1000 + page).to_bytes(PAGE, "little") for page in range(16)))
    fd = os.open(saved, os.O_RDONLY)

    async def map_image(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        return await task.thread.map_image(args[0], 16 * PAGE, RW, fd, 0)  # type: ignore[no-any-return]

    kernel.calls[600] = map_image
    try:
        assert kernel.run(compile_guest("images", libc=True), [b"images"]) == 0, kernel.output
    finally:
        os.close(fd)


def test_with_the_program(kernel: TestKernel, compile_guest: Compile, image: int) -> None:
    """It is mapped with all else of a new process."""
    entry = MapEntry(SAVED, 4 * PAGE, RW, PRIVATE | FIXED, 1, 2 * PAGE, image=True)
    with Served(kernel, compile_guest("served"), [entry], image) as served:
        assert served.pages(SAVED, 4) == [Seen("rw-p", content(page)) for page in range(2, 6)]
        assert served.call(NR_MADVISE, SAVED + PAGE, PAGE, DONTNEED) == 0
        assert served.pages(SAVED, 2) == [Seen("rw-p", content(2)), Seen("rw-p", bytes(PAGE))]


def test_never_shared(kernel: TestKernel, compile_guest: Compile, image: int) -> None:
    entry = MapEntry(SAVED, PAGE, READ, mman.MAP_SHARED | FIXED, 1, 0, image=True)
    with pytest.raises(ENOEXEC), Served(kernel, compile_guest("served"), [entry], image):
        pass
