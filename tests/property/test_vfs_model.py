"""Operations on our file systems give the results and the trees that the same operations give on the host."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pysc.gofer import tree as gofer_tree
from pysc.gofer.handlers import handlers
from pysc.sentry.fs.hostfs import HostFilesystem
from pysc.sentry.fs.inode import Filesystem
from pysc.sentry.fs.overlay import Overlay
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.fs.tree import Tree
from tests.support.vfs_world import BUFFER, World

NAMES = [b"a", b"b", b"c", b"low", b"low/x", b"low/d", b"low/d/y", b"a/a", b"a/b", b"b/a", b"a/a/a", b"link", b"low/l"]
ODD = [b"a/", b"low/", b"low/..", b"a/.", b"./b", b"low/d/../x", b"link/a", b"", b"a/b/", b"."]
names = st.sampled_from([*NAMES, *ODD])
targets = st.sampled_from([b"a", b"low", b"nowhere", b"/nonexistent/x", b"link", b"low/d/"])
plain = st.sampled_from(NAMES)

operations = st.one_of(
    st.tuples(st.just("mkdir"), names, st.sampled_from([0o755, 0o700, 0o2775])),
    st.tuples(st.just("write"), names, st.binary(max_size=20), st.sampled_from([0, 0o1000, 0o2000, 0o200])),
    st.tuples(st.just("big"), plain, st.integers(60_000, 140_000)),
    st.tuples(st.just("unlink"), names),
    st.tuples(st.just("rmdir"), names),
    st.tuples(st.just("rename"), names, names),
    st.tuples(st.just("link"), names, names),
    st.tuples(st.just("symlink"), targets, names),
    st.tuples(st.just("truncate"), names, st.sampled_from([0, 5, 100, 100_000])),
    st.tuples(st.just("chmod"), names, st.sampled_from([0o600, 0o755, 0o4755])),
    st.tuples(st.just("readlink"), names),
    st.tuples(st.just("stat"), names),
    st.tuples(st.just("list"), names),
)


class HostWorld:
    """The same operations on a directory of the host, by chdir (absolute link targets lead nowhere in both)."""

    def __init__(self, root: str) -> None:
        self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self.root)

    def do(self, operation: tuple[Any, ...]) -> object:
        try:
            return self._do(*operation)
        except OSError as error:
            return -(error.errno or 0)

    def _do(self, kind: str, *args: Any) -> object:
        at = self.root
        match kind, *args:
            case "mkdir", path, mode:
                os.mkdir(path, mode, dir_fd=at)
            case "write", path, data, flags:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644, dir_fd=at)
                os.write(fd, data)
                os.close(fd)
            case "big", path, size:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=at)
                os.pwrite(fd, b"big!" * (size // 4), 0)
                os.close(fd)
            case "unlink", path:
                os.unlink(path, dir_fd=at)
            case "rmdir", path:
                os.rmdir(path, dir_fd=at)
            case "rename", old, new:
                os.rename(old, new, src_dir_fd=at, dst_dir_fd=at)
            case "link", old, new:
                os.link(old, new, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
            case "symlink", target, path:
                os.symlink(target, path, dir_fd=at)
            case "truncate", path, size:
                os.chdir(at)
                os.truncate(path, size)
            case "chmod", path, mode:
                os.chmod(path, mode, dir_fd=at)
            case "readlink", path:
                return os.readlink(path, dir_fd=at)
            case "stat", path:
                status = os.stat(path, dir_fd=at)
                return status.st_mode, status.st_size if status.st_mode & 0o170000 == 0o100000 else 0
            case "list", path:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
                found = sorted(os.fsencode(name) for name in os.listdir(fd))
                os.close(fd)
                return found
        return 0


class OurWorld(World):
    """The operations, as system calls of ours."""

    def do(self, operation: tuple[Any, ...]) -> object:
        kind, *args = operation
        match kind, *args:
            case "write", path, data, flags:
                fd = self.open(path, 0o101 | flags)
                if fd < 0:
                    return fd
                assert self.write(fd, data) == len(data)
                return self.call("close", fd)
            case "big", path, size:
                fd = self.open(path, 0o101)
                if fd < 0:
                    return fd
                data = b"big!" * (size // 4)
                assert self.call("pwrite64", fd, self.poke(data), len(data), 0) == len(data)
                return self.call("close", fd)
            case "symlink", target, path:
                return self.call("symlink", target, path)
            case "readlink", path:
                size = self.call("readlink", path, BUFFER, 4096)
                return size if size < 0 else self.peek(size)
            case "stat", path:
                if (result := self.call("stat", path, BUFFER)) < 0:
                    return result
                status = self.stat(path)
                return status[3], status[7] if status[3] & 0o170000 == 0o100000 else 0
            case "list", path:
                try:
                    return self.listdir(path)
                except OSError as error:
                    return -(error.errno or 0)
        return self.call(kind, *args)

    def dump(self, path: bytes = b"") -> Iterator[tuple[bytes, object]]:
        for name in self.listdir(b"/" + path):
            below = path + b"/" + name if path else name
            status = self.stat(b"/" + below, follow=False)
            match status[3] & 0o170000:
                case 0o040000:
                    yield below, status[3]
                    yield from self.dump(below)
                case 0o120000:
                    yield below, self.do(("readlink", b"/" + below))
                case _:
                    yield below, (status[3], status[2], self.get_file(b"/" + below) if status[3] & 0o444 else b"")


def dump_host(root: str, path: str = "") -> Iterator[tuple[bytes, object]]:
    for name in sorted(os.listdir(os.path.join(root, path))):
        below = os.path.join(path, name)
        whole = os.path.join(root, below)
        status = os.lstat(whole)
        key = os.fsencode(below)
        if os.path.islink(whole):
            yield key, os.fsencode(os.readlink(whole))
        elif os.path.isdir(whole):
            yield key, status.st_mode
            yield from dump_host(root, below)
        else:
            yield key, (status.st_mode, status.st_nlink, Path(whole).read_bytes())


class LocalGofer:
    """The gofer's handlers, called in place."""

    def __init__(self, root: bytes) -> None:
        class Export:
            source = root
            readonly = False

        self.mounts = gofer_tree.plain([Export])
        self._handlers = handlers(self.mounts.mounts)

    async def call(self, request: Any) -> Any:
        return self._handlers[type(request)](request)

    def close(self) -> None:
        for mount in self.mounts.mounts:
            os.close(mount.root)


def drive(coroutine: Any) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def seed(root: str) -> None:
    os.makedirs(os.path.join(root, "low/d"))
    for name in ("low/x", "low/d/y"):
        with open(os.path.join(root, name), "wb") as file:
            file.write(name.encode() * 100)
    os.link(os.path.join(root, "low/x"), os.path.join(root, "low/hard"))
    os.symlink("x", os.path.join(root, "low/l"))


@contextmanager
def on_tmpfs(folder: str) -> Iterator[Filesystem]:
    yield Tmpfs(mode=0o755)


@contextmanager
def on_host(folder: str, *, direct: bool, shared: bool) -> Iterator[Filesystem]:
    gofer = LocalGofer(os.fsencode(folder))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY) if direct else -1
    try:
        yield drive(HostFilesystem.attach(Tree(0, fd, gofer), shared=shared))
    finally:
        gofer.close()
        if direct:
            os.close(fd)


@contextmanager
def on_overlay(folder: str) -> Iterator[Filesystem]:
    with on_host(folder, direct=True, shared=False) as lower:
        yield Overlay(lower, Tmpfs())


def _host(direct: bool, shared: bool) -> Callable[[str], Any]:
    return lambda folder: on_host(folder, direct=direct, shared=shared)


SYSTEMS: dict[str, tuple[Callable[[str], Any], bool]] = {
    "tmpfs": (on_tmpfs, False),
    "exclusive": (_host(True, False), True),
    "shared": (_host(True, True), True),
    "gofer": (_host(False, False), True),
    "overlay": (on_overlay, True),
}


@pytest.mark.parametrize("system", SYSTEMS)
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(script=st.lists(operations, max_size=25))
def test_model(system: str, script: list[tuple[Any, ...]]) -> None:
    """Every operation has the host's result or errno, and at the end both trees are equal."""
    make, seeded = SYSTEMS[system]
    old_umask = os.umask(0o022)
    base = tempfile.mkdtemp()
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        theirs, ours = os.path.join(base, "model"), os.path.join(base, "ours")
        for folder in (theirs, ours):
            os.mkdir(folder, 0o755)
            if seeded:
                seed(folder)
        host = HostWorld(theirs)
        with make(ours) as fs:
            world = OurWorld(fs)
            for operation in script:
                expected, got = host.do(operation), world.do(operation)
                if system == "overlay" and got == -18 and operation[0] == "rename":
                    undo_rename(host, world, operation, expected)
                    continue
                assert got == expected, operation
            expected_tree, tree = dict(dump_host(theirs)), dict(world.dump())
            assert tree == expected_tree
        host.close()
    finally:
        os.umask(old_umask)
        os.fchdir(here)
        os.close(here)
        shutil.rmtree(base)


def undo_rename(host: HostWorld, world: OurWorld, operation: tuple[Any, ...], expected: object) -> None:
    """A directory of the lower side stays where it is: so it does in the model, if nothing was replaced."""
    if expected == 0:
        _kind, old, new = operation
        host.do(("rename", new, old))
        if world.do(("stat", new)) == -2:
            return
        host.do(("mkdir", new, 0o755))
