"""Objects as records: what comes back of each kind, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import EBADF
from pysc.cabi.saved import dump_objects, load_objects
from tests.support.saved import copy_objects
from tests.unit.cabi.object_world import DCACHES, DENTRIES, HEADER, KINDS, World, fields, of, refused


def test_all_kinds_come_back(world: World) -> None:
    records = list(dump_objects(world.objects))
    assert {of(record)[0] for record in records} == set(KINDS)
    copy = copy_objects(world.objects)
    for kind in KINDS:
        assert lib.pysc_object_count(copy, kind) == lib.pysc_object_count(world.objects, kind) - (kind == DENTRIES)
    lib.pysc_objects_free(copy)


def test_what_comes_back_is_used_on(world: World) -> None:
    unused = lib.pysc_dentry_enter(world.objects, world.top, b"unused", 6)
    lib.pysc_dentry_enter(world.objects, unused, b"used", 4)
    lib.pysc_dentry_leave(world.objects, unused)
    copy = copy_objects(world.objects)
    table, pipe, locks = (world.copy_of(copy, kind) for kind in ("table", "pipe", "locks"))
    assert [lib.pysc_table_get(table, fd) for fd in (0, 4, 16, 5)] == [0, 1, 2, -EBADF.errno]
    assert (lib.pysc_table_lowest(table), table.count, lib.pysc_table_cloexec(table, 4)) == (1, 6, 1)
    content = ffi.new("uint8_t[]", 8168)
    assert lib.pysc_pipe_take(pipe, content, 9000) == 8168
    assert bytes(content) == b"x" * 1000 + bytes(range(256)) * 28
    small = lib.pysc_data_at(copy, world.small.header.index)
    assert ffi.buffer(small.small, small.length)[:] == b"bytes"
    assert lib.pysc_budget_free(copy, world.copy_of(copy, "budget")) == 99
    assert (world.copy_of(copy, "counter").count, world.copy_of(copy, "handlers").actions[1].mask) == (1 << 63, 1 << 63)
    assert [(lock.start, lock.end) for lock in locks.records[0 : locks.n]] == [(0, 9), (20, 29), (25, 40)]
    assert lib.pysc_epoll_first(world.copy_of(copy, "epoll")) == 2
    for item in (2, 1):
        lib.pysc_epoll_drop(copy, world.copy_of(copy, "epoll"), lib.pysc_item_at(copy, item))
    assert lib.pysc_epoll_first(world.copy_of(copy, "epoll")) == -1
    assert lib.pysc_dentry_enter(copy, world.name, b"below", 5) == world.below
    assert lib.pysc_dentry_parent(copy, world.below) == world.name
    lib.pysc_dentry_use(copy, unused)
    lib.pysc_dentry_leave(copy, unused)
    assert lib.pysc_dentry_uses(copy, unused) == 0, "there is a name in it"
    lib.pysc_objects_free(copy)


def test_what_was_free_is_given_again(world: World) -> None:
    first, second = world.new("counter"), world.new("counter")
    lib.pysc_object_free(world.objects, lib.PYSC_OBJECT_COUNTER, first.header.index)
    copy = copy_objects(world.objects)
    new = [lib.pysc_object_new(copy, lib.PYSC_OBJECT_COUNTER) for _ in range(2)]
    assert new == [first.header.index, second.header.index + 1]
    lib.pysc_objects_free(copy)


def test_what_is_this_process_s_stays_here(world: World) -> None:
    pipe, epoll, counter, locks = world.pipe, world.epoll, world.counter, world.locks
    pipe.waits = epoll.waits = counter.waits = locks.awaited = world.files[3].moving = 1
    pipe.reader = 8
    copy = copy_objects(world.objects)
    assert not any(world.copy_of(copy, kind).waits for kind in ("pipe", "epoll", "counter"))
    assert not world.copy_of(copy, "pipe").reader
    assert not world.copy_of(copy, "locks").awaited
    assert not lib.pysc_file_at(copy, world.files[3].header.index).moving
    host = lib.pysc_data_at(copy, world.host.header.index)
    assert (host.where, host.missing, host.file, host.donable) == (lib.PYSC_DATA_NONE, lib.PYSC_DATA_HOST, -1, -1)
    assert [host.kept, host.refuses, host.version, host.opened, host.served] == [0] * 5
    assert (host.seals, host.super) == (1, world.super.header.index + 1)
    lib.pysc_objects_free(copy)


def test_descriptors_are_given_anew(world: World, tmp_path: Path) -> None:
    top = lib.pysc_dentry_parent(world.objects, world.in_tree)
    lib.pysc_dentry_merge(world.objects, top, 0o40123, 3, 4)
    world.small.file = 9  # a memfd now
    world.small.stored = 0
    lib.pysc_data_shrink(world.small)
    copy = copy_objects(world.objects)
    for data, where in ((world.host, lib.PYSC_DATA_HOST), (world.small, lib.PYSC_DATA_MEMORY)):
        face = lib.pysc_data_at(copy, data.header.index)
        assert lib.pysc_data_set_file(face, -1) < 0
        assert lib.pysc_data_set_file(face, 11) == 0
        assert (face.where, face.file, face.missing) == (where, 11, 0)
        assert lib.pysc_data_set_file(face, 11) < 0
    assert lib.pysc_data_at(copy, world.small.header.index).length == 5
    attributes = ffi.new("uint8_t[]", 104)
    size = next(
        n for n in range(104, 0, -8) if lib.pysc_dentry_attributes(world.objects, world.in_tree, attributes, n) == 0
    )
    assert lib.pysc_dentry_ask(copy, world.in_tree) < 0, "there is no tree yet"
    file = os.open(tmp_path / "file", os.O_CREAT)
    tree = os.open(tmp_path, os.O_PATH)
    assert lib.pysc_dcache_set_tree(copy, world.cache, file) < 0
    assert lib.pysc_dcache_set_tree(copy, world.shown, tree) < 0
    assert lib.pysc_dcache_set_tree(copy, world.cache, tree) == 0
    assert lib.pysc_dcache_set_tree(copy, world.cache, tree) < 0
    assert lib.pysc_dentry_ask(copy, world.in_tree) == 0
    again = ffi.new("uint8_t[]", size)
    assert lib.pysc_dentry_attributes(copy, world.in_tree, again, size) == 0
    assert bytes(again) == bytes(attributes)[:size], "with the mode that Python has said"
    assert lib.pysc_dentry_attributes(copy, top, again, size) == 0
    assert (0o40123).to_bytes(4, "little") in bytes(again), "there, too"
    os.close(file)
    os.close(tree)
    lib.pysc_objects_free(copy)


def test_names_of_what_is_no_more_are_nothing(world: World) -> None:
    gone = world.new("data")
    world.other.target, world.other.target_generation = gone.header.index, gone.header.generation
    world.items[0].generation += 2
    world.files[3].locks_generation += 2
    world.files[5].generation += 2
    lock = world.locks.records[2]
    lock.owner += 2 << 32
    lib.pysc_object_free(world.objects, lib.PYSC_OBJECT_DATA, gone.header.index)
    copy = copy_objects(world.objects)
    other, file = lib.pysc_data_at(copy, world.other.header.index), lib.pysc_file_at(copy, world.files[3].header.index)
    assert (other.where, other.target, other.target_generation) == (lib.PYSC_DATA_NONE, 0, 0)
    assert (file.locks, file.locks_generation) == (0, 0)
    assert (lib.pysc_item_at(copy, 0).generation, lib.pysc_file_at(copy, 5).generation) == (0, 0)
    assert world.copy_of(copy, "locks").n == 2
    lib.pysc_objects_free(copy)


def test_what_does_not_count_is_not_saved(world: World) -> None:
    """Where contents were before, what a hidden name led to, what the host says of a directory."""
    before = list(dump_objects(world.objects))
    world.small.missing = lib.PYSC_DATA_HOST
    world.small.target, world.small.target_generation = world.host.header.index, world.host.header.generation
    assert list(dump_objects(world.objects)) == before
    lib.pysc_dentry_use(world.objects, world.name)
    lib.pysc_dentry_hide(world.objects, world.name)
    top = lib.pysc_dentry_parent(world.objects, world.in_tree)
    records = {of(record): record for record in dump_objects(world.objects)}
    assert fields(records[DENTRIES, world.name])["inode_generation"] == 0
    assert [fields(records[DENTRIES, top])[name] for name in ("mode", "uid", "gid")] == [0, 0, 0]
    assert [fields(records[DENTRIES, world.in_tree])[name] for name in ("mode", "uid", "gid")] == [0o40711, 3, 4]


def test_what_is_only_remembered_is_not_saved(world: World) -> None:
    """What can be looked up again is left out with all above that is there for its sake, and nothing else is."""
    chain = [world.top]
    for name in (b"a", b"b", b"c"):
        chain.append(lib.pysc_dentry_enter(world.objects, chain[-1], name, 1))
    for dentry in chain[1:3]:
        lib.pysc_dentry_leave(world.objects, dentry)
    saved = {index for kind, index in map(of, dump_objects(world.objects)) if kind == DENTRIES}
    assert set(chain) < saved
    lib.pysc_dentry_show_absent(world.objects, chain[-1], b"d", 1)
    lib.pysc_dentry_withdraw(world.objects, chain[1], 0)
    lib.pysc_dentry_leave(world.objects, chain[-1])
    assert {index for kind, index in map(of, dump_objects(world.objects)) if kind == DENTRIES} == saved - set(chain[1:])


def test_the_same_twice_is_there_once(world: World) -> None:
    records = list(dump_objects(world.objects))
    objects = lib.pysc_objects_new()
    load_objects([*records, *records], objects)
    assert list(dump_objects(objects)) == records
    lib.pysc_objects_free(objects)
    version, kind, index, generation, size = HEADER.unpack_from(records[0])
    other = HEADER.pack(version, kind, index, generation + 2, size) + records[0][HEADER.size :]
    assert "is none" in refused([*records, other])


def test_what_was_never_checked_can_be_given_up(world: World) -> None:
    leaf = lib.pysc_dentry_enter(world.objects, world.top, b"leaf", 4)
    lib.pysc_file_place(world.objects, world.files[3], leaf, 1)  # the only use
    lib.pysc_dentry_leave(world.objects, leaf)
    objects = lib.pysc_objects_new()
    for record in dump_objects(world.objects):
        if of(record)[0] != DCACHES:
            assert lib.pysc_object_load(objects, record, len(record)) == 0
    lib.pysc_objects_free(objects)
