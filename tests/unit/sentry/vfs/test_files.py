"""Reading, writing, positions and descriptors, on tmpfs."""

from __future__ import annotations

import os
import struct

import pytest

from pysc.cabi.linux.errors import (
    EAGAIN,
    EBADF,
    EFAULT,
    EFBIG,
    EINVAL,
    EISDIR,
    EMFILE,
    ENOENT,
    ENOSPC,
    ENXIO,
    EOPNOTSUPP,
    EPERM,
)
from pysc.cabi.linux.fcntl import (
    F_ADD_SEALS,
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_GET_SEALS,
    F_GETFD,
    F_GETFL,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    F_SETFD,
    F_SETFL,
    O_APPEND,
    O_CLOEXEC,
    O_CREAT,
    O_LARGEFILE,
    O_NONBLOCK,
    O_RDWR,
    O_TMPFILE,
    SEEK_DATA,
    SEEK_END,
    SEEK_HOLE,
    SEEK_SET,
)
from pysc.sentry.fs.tmpfs import Tmpfs
from tests.support.vfs_world import BASE, BUFFER, World

BAD = 8


def iovec(world: World, *sizes: int) -> int:
    """Put an iovec over consecutive parts of the buffer."""
    at, parts = BUFFER + 4096, b""
    for size in sizes:
        parts += struct.pack("<QQ", at, size)
        at += size
    return world.poke(parts)


@pytest.mark.parametrize("size", [0, 1, 4096, 65536, 65537, 300_000])
def test_roundtrip(root: World, size: int) -> None:
    data = os.urandom(size)
    root.put_file(b"/f", data)
    assert root.get_file(b"/f") == data
    assert root.stat(b"/f")[7] == size


def test_reads_and_writes_of_a_megabyte_go_in_one_call(root: World) -> None:
    fd = root.open(b"/f", O_RDWR | O_CREAT)
    data = os.urandom(1 << 20)
    assert root.call("write", fd, root.poke(data), len(data)) == len(data)
    assert root.call("pread64", fd, BUFFER, len(data), 0) == len(data)
    assert root.peek(len(data)) == data


def test_holes(root: World) -> None:
    fd = root.open(b"/f", O_RDWR | O_CREAT)
    root.call("pwrite64", fd, root.poke(b"end"), 3, 1 << 20)
    assert root.stat(b"/f")[7] == (1 << 20) + 3
    assert root.stat(b"/f")[9] <= 16
    assert root.call("lseek", fd, 0, SEEK_DATA) == 1 << 20
    assert root.call("lseek", fd, 0, SEEK_HOLE) == 0
    assert root.call("lseek", fd, (1 << 20) + 3, SEEK_DATA) == -ENXIO.errno
    assert root.call("lseek", fd, -1, SEEK_SET) == -EINVAL.errno
    assert root.call("lseek", fd, -3, SEEK_END) == 1 << 20
    assert root.read(fd) == b"end"


def test_append(root: World) -> None:
    root.put_file(b"/f", b"one")
    fd = root.open(b"/f", O_RDWR | O_APPEND)
    root.write(fd, b"two")
    root.call("pwrite64", fd, root.poke(b"three"), 5, 0)
    assert root.get_file(b"/f") == b"onetwothree"


def test_vectors(root: World) -> None:
    fd = root.open(b"/f", O_RDWR | O_CREAT)
    root.poke(b"abcdefghij", BUFFER + 4096)
    assert root.call("writev", fd, iovec(root, 1, 0, 4, 5), 4) == 10
    assert root.get_file(b"/f") == b"abcdefghij"
    root.poke(bytes(32), BUFFER + 4096)
    assert root.call("preadv", fd, iovec(root, 2, 20), 2, 1, 0) == 9
    assert root.peek(9, BUFFER + 4096) == b"bcdefghij"
    assert root.call("readv", fd, BUFFER, 1025) == -EINVAL.errno
    assert root.call("preadv2", fd, BUFFER, 1, 0, 0, 0x8000) == -EOPNOTSUPP.errno


def test_order_of_errors(root: World) -> None:
    """A bad descriptor comes before a bad address."""
    assert root.call("read", 9, BAD, 10) == -EBADF.errno
    fd = root.open(b"/f", 1 | O_CREAT)
    assert root.call("read", fd, BAD, 10) == -EBADF.errno
    assert root.call("write", fd, BAD, 10) == -EFAULT.errno
    assert root.call("write", fd, BAD, 0) == 0
    assert root.call("read", root.open(b"/"), BUFFER, 10) == -EISDIR.errno
    assert root.call("pread64", fd, BUFFER, 1, -1) == -EINVAL.errno


def test_write_stops_at_the_first_bad_page(root: World) -> None:
    """What could be copied is written, to the byte."""
    fd = root.open(b"/f", 1 | O_CREAT)
    end = BASE + len(root.memory)
    step = 1 << 18
    assert root.call("write", fd, end - step - 100, 2 * step) == step + 100


def test_unlinked_file_lives_on(root: World) -> None:
    fd = root.open(b"/f", O_RDWR | O_CREAT)
    root.call("unlink", b"/f")
    root.write(fd, b"still here")
    assert root.call("pread64", fd, BUFFER, 100, 0) == 10
    assert root.call("fstat", fd, BUFFER) == 0
    assert root.open(b"/f") == -ENOENT.errno


def test_unnamed_file(root: World) -> None:
    fd = root.open(b"/", O_RDWR | O_TMPFILE)
    assert root.write(fd, b"x") == 1
    assert root.listdir(b"/") == []
    root.call("fstat", fd, BUFFER)
    assert int.from_bytes(root.peek(8, BUFFER + 16), "little") == 0


def test_size_limit() -> None:
    world = World(Tmpfs(size=1 << 20, mode=0o755))
    fd = world.open(b"/f", O_RDWR | O_CREAT)
    data = world.poke(os.urandom(1 << 19))
    written = 0
    while (got := world.call("write", fd, data, 1 << 18)) > 0:
        written += got
    assert got == -ENOSPC.errno
    assert (1 << 20) - 8192 <= written <= 1 << 20
    assert world.call("ftruncate", fd, 0) == 0
    assert world.call("write", fd, data, 1 << 18) == 1 << 18


def test_memory_comes_back(root: World) -> None:
    budget = root.namespace.root.fs.budget
    root.put_file(b"/small", b"x" * 10_000)
    root.put_file(b"/big", b"x" * 200_000)
    assert budget.used >= 3 + 49
    root.call("unlink", b"/small")
    root.call("unlink", b"/big")
    assert budget.used == 0


def test_fallocate(root: World) -> None:
    fd = root.open(b"/f", O_RDWR | O_CREAT)
    root.write(fd, b"x" * 100)
    assert root.call("fallocate", fd, 0, 50, 100) == 0
    assert root.stat(b"/f")[7] == 150
    assert root.call("fallocate", fd, 3, 10, 20) == 0
    assert root.get_file(b"/f")[:40] == b"x" * 10 + bytes(20) + b"x" * 10
    assert root.call("fallocate", fd, 1, 0, 1000) == 0
    assert root.stat(b"/f")[7] == 150
    assert root.call("fallocate", fd, 2, 0, 10) == -EOPNOTSUPP.errno
    assert root.call("fallocate", fd, 0, 0, 0) == -EINVAL.errno
    assert root.call("fallocate", fd, 0, 1, (1 << 63) - 1) == -EFBIG.errno


def test_memfd_seals(root: World) -> None:
    fd = root.call("memfd_create", root.poke(b"name\0"), 2)
    root.write(fd, b"0123456789")
    assert root.call("fcntl", fd, F_GET_SEALS, 0) == 0
    assert root.call("fcntl", fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0
    assert root.call("ftruncate", fd, 5) == -EPERM.errno
    assert root.call("ftruncate", fd, 20) == -EPERM.errno
    assert root.call("pwrite64", fd, BUFFER, 5, 0) == 5
    assert root.call("pwrite64", fd, BUFFER, 5, 8) == -EPERM.errno
    assert root.call("fcntl", fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SEAL) == 0
    assert root.call("pwrite64", fd, BUFFER, 5, 0) == -EPERM.errno
    assert root.call("fcntl", fd, F_ADD_SEALS, F_SEAL_WRITE) == -EPERM.errno
    plain = root.call("memfd_create", root.poke(b"name\0"), 0)
    assert root.call("fcntl", plain, F_ADD_SEALS, F_SEAL_WRITE) == -EPERM.errno


def test_mapping_descriptors(root: World) -> None:
    """Who opened for reading gets a descriptor that cannot write, of the same file."""
    root.put_file(b"/f", b"data")
    fd = root.open(b"/f")
    host = root.run(root.fds.get(fd).mapping_fd(1, 1))
    assert os.pread(host, 10, 0) == b"data"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(host, b"x", 0)
    writable = root.open(b"/f", O_RDWR)
    shared = root.run(root.fds.get(writable).mapping_fd(3, 1))
    os.pwrite(shared, b"D", 0)
    assert root.get_file(b"/f") == b"Data"
    assert os.pread(host, 10, 0) == b"Data"


def test_flags(root: World) -> None:
    fd = root.open(b"/f", O_RDWR | O_CREAT | O_CLOEXEC)
    assert root.call("fcntl", fd, F_GETFD, 0) == 1
    root.call("fcntl", fd, F_SETFD, 0)
    assert root.call("fcntl", fd, F_GETFD, 0) == 0
    assert root.call("fcntl", fd, F_GETFL, 0) == O_RDWR | O_LARGEFILE
    assert root.call("fcntl", fd, F_SETFL, O_NONBLOCK | O_APPEND | 1) == 0
    assert root.call("fcntl", fd, F_GETFL, 0) == O_RDWR | O_LARGEFILE | O_NONBLOCK | O_APPEND
    assert root.call("fcntl", fd, 9999, 0) == -EINVAL.errno


def test_duplicates_share_the_offset(root: World) -> None:
    root.put_file(b"/f", b"abcdef")
    fd = root.open(b"/f")
    other = root.call("dup", fd)
    root.read(fd, 2)
    assert root.read(other, 2) == b"cd"
    assert root.call("fcntl", fd, F_DUPFD, 100) == 100
    assert root.call("fcntl", fd, F_DUPFD_CLOEXEC, 100) == 101
    assert root.call("fcntl", 101, F_GETFD, 0) == 1
    assert root.call("dup2", fd, 50) == 50
    assert root.call("dup2", fd, fd) == fd
    assert root.call("dup3", fd, fd, 0) == -EINVAL.errno
    assert root.call("dup2", 99, 50) == -EBADF.errno
    assert root.call("dup2", fd, 5000) == -EBADF.errno


def test_close_range(root: World) -> None:
    root.put_file(b"/f")
    fds = [root.open(b"/f") for _ in range(6)]
    assert root.call("close_range", fds[1], fds[3], 0) == 0
    assert [fd in root.fds for fd in fds] == [True, False, False, False, True, True]
    assert root.call("close_range", 0, 0xFFFF_FFFF, 4) == 0
    assert all(root.fds.cloexec(fd) for fd in root.fds)
    assert root.call("close_range", 2, 1, 0) == -EINVAL.errno


def test_too_many_files(root: World) -> None:
    root.put_file(b"/f")
    while (fd := root.open(b"/f")) >= 0:
        pass
    assert fd == -EMFILE.errno
    assert len(root.fds) == 1024


def test_copies(root: World) -> None:
    root.put_file(b"/from", b"0123456789")
    source, target = root.open(b"/from"), root.open(b"/to", O_RDWR | O_CREAT)
    assert root.call("sendfile", target, source, 0, 4) == 4
    offset = root.poke((7).to_bytes(8, "little"))
    assert root.call("sendfile", target, source, offset, 100) == 3
    assert int.from_bytes(root.peek(8, offset), "little") == 10
    assert root.call("copy_file_range", source, 0, target, 0, 2, 0) == 2
    assert root.get_file(b"/to") == b"012378945"
    assert root.call("copy_file_range", source, 0, target, 0, 2, 1) == -EINVAL.errno


def test_splice_through_a_pipe(root: World) -> None:
    root.put_file(b"/from", b"0123456789")
    source, target = root.open(b"/from"), root.open(b"/to", O_RDWR | O_CREAT)
    root.call("pipe", BUFFER)
    reader, writer = struct.unpack("<ii", root.peek(8))
    assert root.call("splice", source, 0, writer, 0, 6, 0) == 6
    assert root.call("splice", reader, 0, target, 0, 100, 0) == 6
    assert root.get_file(b"/to") == b"012345"
    assert root.call("splice", source, 0, target, 0, 6, 0) == -EINVAL.errno
    assert root.call("splice", reader, 0, target, 0, 6, 2) == -EAGAIN.errno


def test_attributes_of_users(root: World) -> None:
    root.put_file(b"/f")
    name = root.poke(b"user.key\0", BUFFER + 1000)
    assert root.call("setxattr", b"/f", name, root.poke(b"value"), 5, 0) == 0
    assert root.call("setxattr", b"/f", name, BUFFER, 5, 1) == -17
    assert root.call("getxattr", b"/f", name, 0, 0) == 5
    assert root.call("getxattr", b"/f", name, BUFFER, 3) == -34
    assert root.call("getxattr", b"/f", name, BUFFER, 100) == 5
    assert root.peek(5) == b"value"
    assert root.call("listxattr", b"/f", BUFFER, 100) == 9
    assert root.peek(9) == b"user.key\0"
    assert root.call("removexattr", b"/f", name) == 0
    assert root.call("getxattr", b"/f", name, 0, 0) == -61
    assert root.call("getxattr", b"/f", root.poke(b"strange.key\0"), 0, 0) == -95


def test_listing_in_small_pieces(root: World) -> None:
    names = sorted(b"%04d" % number for number in range(1000))
    root.call("mkdir", b"/d", 0o755)
    for name in names:
        root.put_file(b"/d/" + name)
    assert root.listdir(b"/d") == names
    fd = root.open(b"/d")
    assert root.call("getdents64", fd, BUFFER, 10) == -EINVAL.errno
    assert root.call("getdents", fd, BUFFER, 4096) > 0
    length = int.from_bytes(root.peek(2, BUFFER + 16), "little")
    assert root.peek(1, BUFFER + 18) == b"."
    assert root.peek(1, BUFFER + length - 1) == b"\x04"


def test_removing_while_listing(root: World) -> None:
    """rm -r: each name comes once, though those before are gone."""
    root.call("mkdir", b"/d", 0o755)
    for number in range(300):
        root.put_file(b"/d/%d" % number)
    fd = root.open(b"/d")
    removed = 0
    while (size := root.call("getdents64", fd, BUFFER, 1024)) > 0:
        data, at = root.peek(size), 0
        while at < size:
            length = int.from_bytes(data[at + 16 : at + 18], "little")
            name = data[at + 19 : at + length].partition(b"\0")[0]
            if name not in (b".", b".."):
                assert root.call("unlink", b"/d/" + name) == 0
                removed += 1
            at += length
    assert removed == 300
    assert root.call("rmdir", b"/d") == 0
