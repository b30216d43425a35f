"""Objects of every kind in a set of their own, and their records taken apart."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.fcntl import O_RDONLY, O_RDWR, O_WRONLY
from pysc.cabi.linux.poll import POLLIN
from pysc.cabi.saved import load_objects

HEADER = struct.Struct("<IIIIQ")
DENTRY = struct.Struct("<IIIBBBBIIIIIII")
"""cache, parent, users, withdrawn, merged, shown, covered, inode and its generation, two eras, mode, uid, gid."""
NAMES = (
    "cache", "parent", "users", "withdrawn", "merged", "shown", "covered", "inode", "inode_generation", "era",
    "absent_era", "mode", "uid", "gid",
)  # fmt: skip
KINDS = range(lib.PYSC_OBJECT_KINDS)
DCACHES, DENTRIES = lib.PYSC_OBJECT_DCACHE, lib.PYSC_OBJECT_DENTRY


class World:
    """Objects of every kind, which name each other as those of a kernel do."""

    def __init__(self, tree: int) -> None:
        self.objects = objects = lib.pysc_objects_new()
        self.table, self.files, self.locks = self.new("table"), [self.new("file") for _ in range(6)], self.new("locks")
        self.budget, self.above = self.new("budget"), self.new("budget")
        self.small, self.other, self.host, self.owned = (self.new("data") for _ in range(4))
        self.pipe, self.counter, self.epoll = self.new("pipe"), self.new("counter"), self.new("epoll")
        self.items = [self.new("item") for _ in range(3)]
        self.context, self.handlers, self.inode = self.new("context"), self.new("handlers"), self.new("inode")
        self.super = self.new("super")
        self._make_data()
        self._make_names(tree)
        self._make_files()
        lib.pysc_pipe_put(objects, self.pipe, b"x" * 5000, 5000)
        lib.pysc_pipe_drop(self.pipe, 4000)
        lib.pysc_pipe_put(objects, self.pipe, bytes(range(256)) * 28, 7168)  # around the end of the ring
        self.counter.count, self.counter.semaphore = 1 << 63, 1
        self.handlers.actions[1] = (0x1000, 4, 0x2000, 1 << 63)
        self.super.remote = 1

    def new(self, kind: str) -> Any:
        """Return a new object of a kind."""
        index = lib.pysc_object_new(self.objects, getattr(lib, f"PYSC_OBJECT_{kind.upper()}"))
        return getattr(lib, f"pysc_{kind}_at")(self.objects, index)

    def _make_data(self) -> None:
        self.budget.limit, self.above.limit = 100, 1 << 62
        self.budget.parent = self.above.header.index + 1
        for data in (self.small, self.other, self.host, self.owned):
            data.file = data.donable = -1
        small, other, host = self.small, self.other, self.host
        small.where = lib.PYSC_DATA_MEMORY
        lib.pysc_data_grow(small, 5)
        ffi.memmove(small.small, b"bytes", 5)
        small.length, small.stored, small.charged = 5, 1, 1
        small.budget, small.budget_generation = self.budget.header.index, self.budget.header.generation
        lib.pysc_budget_note(self.objects, self.budget, 1)
        other.where = lib.PYSC_DATA_OTHER
        other.target, other.target_generation = small.header.index, small.header.generation
        host.where, host.file, host.super = lib.PYSC_DATA_HOST, 5, self.super.header.index + 1
        lib.pysc_data_donate(self.objects, host, 6)
        lib.pysc_data_keep(self.objects, host, b"s" * 144)
        host.refuses, host.version, host.served, host.seals = 1, 9, 9, 1
        self.inode.mode, self.inode.data, self.inode.data_generation = 0o100644, other.header.index + 1, 1

    def _make_names(self, tree: int) -> None:
        objects = self.objects
        self.cache = lib.pysc_dcache_new(objects, tree, self.super.header.index + 1, 7, True)
        self.shown = lib.pysc_dcache_new(objects, -1, 0, 8, False)
        self.bare = lib.pysc_dcache_new(objects, -1, 0, 9, False)
        self.top = lib.pysc_dcache_top(objects, self.shown)
        self.name = lib.pysc_dentry_enter(objects, self.top, b"name", 4)
        self.below = lib.pysc_dentry_enter(objects, self.name, b"below", 5)
        lib.pysc_dentry_show(objects, self.name, self.inode.header.index)
        lib.pysc_dentry_cover(objects, self.name)
        lib.pysc_dentry_withdraw(objects, self.below, lib.PYSC_WITHDRAWN_INODE)
        lib.pysc_dentry_show_absent(objects, self.name, b"absent", 6)
        self.in_tree = lib.pysc_dentry_enter(objects, lib.pysc_dcache_top(objects, self.cache), b"directory", 9)
        lib.pysc_dentry_ask(objects, self.in_tree)
        lib.pysc_dentry_merge(objects, self.in_tree, 0o40711, 3, 4)
        lib.pysc_context_set(objects, self.context, self.below, 1, lib.pysc_dcache_top(objects, self.cache), 2)

    def _make_files(self) -> None:
        kinds = ("PIPE", "PIPE", "EPOLL", "REGULAR", "REGULAR", "COUNTER")
        of = (self.pipe, self.pipe, self.epoll, self.small, self.owned, self.counter)
        for fd, (file, kind, it) in enumerate(zip(self.files, kinds, of, strict=True)):
            file.type = getattr(lib, f"PYSC_FILE_{kind}")
            file.object, file.generation = it.header.index, it.header.generation
            file.faced, file.references, file.flags, file.offset = 1, 1, O_RDWR, fd
            lib.pysc_table_put(self.table, fd * fd * 4, file.header.index, fd % 2)
        self.files[0].flags, self.files[1].flags = O_RDONLY, O_WRONLY
        self.pipe.readers = self.pipe.writers = 1
        self.pipe.capacity = 65536
        opened, locked = self.files[4], self.files[3]
        opened.faced, opened.owns = 0, 1
        lib.pysc_file_place(self.objects, opened, self.below, 1)
        locked.locks, locked.locks_generation = self.locks.header.index + 1, self.locks.header.generation
        self.lock(lib.pysc_table_lock_owner(self.table), 0, 9, exclusive=True)
        self.lock(lib.pysc_file_lock_owner(locked), 20, 29)
        self.lock(lib.pysc_table_lock_owner(self.table), 25, 40)
        for item, file in zip(self.items, self.files, strict=False):
            item.file, item.generation = file.header.index, file.header.generation
            item.events, item.data = POLLIN, 1 << 63
        for item in reversed(self.items[1:]):
            lib.pysc_epoll_add(self.objects, self.epoll, item)

    def lock(self, owner: int, start: int, end: int, *, exclusive: bool = False) -> None:
        """Take a lock."""
        wanted = ffi.new("struct pysc_lock *", (owner, start, end, 77, exclusive))
        assert lib.pysc_locks_change(self.locks, wanted, True) == 0

    def copy_of(self, copy: Any, kind: str) -> Any:
        """Return what one of ours is in another set."""
        return getattr(lib, f"pysc_{kind}_at")(copy, getattr(self, kind).header.index)


def refused(records: list[bytes]) -> str:
    """Return why records are refused; nothing is left of them then."""
    objects = lib.pysc_objects_new()
    with pytest.raises(ValueError, match=r"^(record|object) ") as error:
        load_objects(records, objects)
    assert [lib.pysc_object_count(objects, kind) for kind in KINDS] == [0] * len(KINDS)
    lib.pysc_objects_free(objects)
    return str(error.value)


def of(record: bytes) -> tuple[int, int]:
    """Return kind and index."""
    _, kind, index, _, _ = HEADER.unpack_from(record)
    return kind, index


def renamed(record: bytes, index: int) -> bytes:
    """Return the record of another that is the same."""
    version, kind, _, generation, size = HEADER.unpack_from(record)
    return HEADER.pack(version, kind, index, generation, size) + record[HEADER.size :]


def resized(record: bytes) -> bytes:
    """Return a record that says how long it is."""
    version, kind, index, generation, _ = HEADER.unpack_from(record)
    return HEADER.pack(version, kind, index, generation, len(record)) + record[HEADER.size :]


def fields(record: bytes) -> dict[str, int]:
    """Return what a dentry's record says."""
    return dict(zip(NAMES, DENTRY.unpack_from(record, HEADER.size), strict=True))


def named(record: bytes, name: bytes | None = None, **values: int) -> bytes:
    """Return a dentry's record with another name, or other values."""
    rest = record[HEADER.size + DENTRY.size :] if name is None else name
    return resized(record[: HEADER.size] + DENTRY.pack(*(fields(record) | values).values()) + rest)
