"""What is refused of records that nobody saved so, and by what."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.saved import dump_objects, load_objects
from tests.support.saved import copy_objects
from tests.unit.cabi.object_world import DCACHES, DENTRIES, HEADER, KINDS, World, named, of, refused, resized


def test_a_record_is_of_its_length_version_and_kind(world: World) -> None:
    for record in dump_objects(world.objects):
        version, kind, index, generation, size = HEADER.unpack_from(record)
        assert size == len(record)
        for header in ((version + 1, kind, index, generation), (version, len(KINDS), index, generation),
                       (version, kind, 1 << 20, generation), (version, kind, index, generation + 1)):  # fmt: skip
            assert "is none" in refused([HEADER.pack(*header, size) + record[HEADER.size :]])
        for end in {*range(min(size, 200)), size - 1}:
            assert "is none" in refused([record[:end]])
            if end >= HEADER.size and kind not in (DENTRIES, lib.PYSC_OBJECT_PIPE) and (size - end) % 4:
                assert "is none" in refused([resized(record[:end])])
        if kind not in (DENTRIES, lib.PYSC_OBJECT_PIPE):
            assert "is none" in refused([resized(record + b"\1")])


def test_a_name_is_one(world: World) -> None:
    records = list(dump_objects(world.objects))
    at = [of(record) for record in records].index((DENTRIES, world.below))
    for name in (b"", b".", b"..", b"a/b", b"/", b"a\0", b"n" * 256):
        assert "is none" in refused([named(records[at], name)])
    top = [of(record) for record in records].index((DENTRIES, world.top))
    assert "is none" in refused([named(records[top], b"name")])
    for name in (b"...", b".a", b"..a", b"n" * 255, b"\xff"):
        objects = lib.pysc_objects_new()
        load_objects([*records[:at], named(records[at], name), *records[at + 1 :]], objects)
        assert lib.pysc_dentry_enter(objects, world.name, name, len(name)) == world.below
        lib.pysc_objects_free(objects)


RANGES = [
    ("table", "limit", (1 << 20) + 1), ("table", "bounded", 2),
    ("file", "references", 1 << 31), ("file", "flags", 1 << 23), ("file", "offset", -1),
    ("file", "type", 8), ("file", "faced", 2), ("file", "flushes", 2), ("file", "owns", 2),
    ("small", "seals", 64), ("small", "writes_here", 2), ("host", "length", 1 << 63),
    ("small", "charged", (1 << 40) + 1), ("small", "modified", -1), ("small", "uncertain", 2),
    ("pipe", "capacity", 1 << 32), ("pipe", "readers", 1 << 31),
    ("pipe", "writers", 1 << 31), ("pipe", "packets", 2),
    ("counter", "semaphore", 2), ("budget", "limit", -1), ("budget", "used", -1), ("budget", "limit", (1 << 62) + 1),
    ("inode", "mode", 1 << 16), ("inode", "withdrawn", 2), ("item", "ready", 2), ("super", "remote", 2),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "value"), RANGES)
def test_a_field_is_in_its_range(world: World, kind: str, field: str, value: int) -> None:
    c = {"file": world.files[3], "item": world.items[0]}.get(kind) or getattr(world, kind)
    setattr(c, field, value)
    assert "is none" in refused(list(dump_objects(world.objects)))


@pytest.mark.parametrize(("capacity", "fits"), [(4096, False), (8192, True)])
def test_no_more_comes_back_to_a_pipe_than_one_read_takes(world: World, capacity: int, fits: bool) -> None:
    world.pipe.capacity = capacity
    size = 4096 + lib.PYSC_DATA_SIZE + 1 - world.pipe.size
    assert lib.pysc_pipe_put(world.objects, world.pipe, ffi.new("uint8_t[]", size), size) == 0
    if fits:
        lib.pysc_objects_free(copy_objects(world.objects))
    else:
        assert "is none" in refused(list(dump_objects(world.objects)))


def unfaced(world: World) -> None:
    world.files[3].faced = 0
    lib.pysc_file_place(world.objects, world.files[3], world.below, 1)


def listing(world: World) -> None:
    file = world.files[3]
    unfaced(world)
    file.type, file.object, file.generation, file.offset = lib.PYSC_FILE_DIRECTORY, 0, 0, 1 << 32


def pipe_unfaced(world: World) -> None:
    world.files[0].faced = 0
    lib.pysc_file_place(world.objects, world.files[0], world.below, 1)


def owned_twice(world: World) -> None:
    world.inode.data, world.inode.data_generation = world.owned.header.index + 1, world.owned.header.generation


def chained(world: World, length: int) -> None:
    last = world.small
    for _ in range(length):
        data = world.new("data")
        data.file = data.donable = -1
        data.where = lib.PYSC_DATA_OTHER
        data.target, data.target_generation = last.header.index, last.header.generation
        last = data


def below_budgets(world: World, depth: int) -> None:
    last = world.above
    for _ in range(depth):
        budget = world.new("budget")
        budget.parent = last.header.index + 1
        last = budget


def circular_budgets(world: World) -> None:
    world.small.charged = 0
    world.above.parent = world.budget.header.index + 1


def locks(*ranges: tuple[int, int, int, int]) -> Callable[[World], None]:
    """Have these: whose (0 the table's, else the description's), start, end, exclusive."""

    def change(world: World) -> None:
        owners = (lib.pysc_table_lock_owner(world.table), lib.pysc_file_lock_owner(world.files[3]))
        records = [(owners[owner], start, end, 1, exclusive) for owner, start, end, exclusive in ranges]
        lib.pysc_locks_set(world.locks, ffi.new("struct pysc_lock[]", records), len(records))

    return change


def values(kind: str, **fields: Any) -> Callable[[World], None]:
    """Set fields of a structure: a number, or what the world says."""

    def change(world: World) -> None:
        name, _, number = kind.partition(" ")
        c = getattr(world, name)[int(number)] if number else getattr(world, name)
        for field, value in fields.items():
            setattr(c, field, value(world) if callable(value) else value)

    return change


def action(signo: int, field: str, value: int) -> Callable[[World], None]:
    """Set a field of what a signal does."""
    return lambda world: setattr(world.handlers.actions[signo - 1], field, value)


UNSOUND: list[tuple[Callable[[World], None], str]] = [
    (values("files 0", references=0), "file->references >="),
    (lambda world: lib.pysc_table_put(world.table, 9, 3, 0), "file->references >="),
    (values("files 3", faced=0), "file->references && file->dentry"),
    (pipe_unfaced, "file->type == "),
    (listing, "file->offset <= "),
    (values("files 4", faced=1), "!file->faced && file->generation"),
    (owned_twice, "->count == 1"),
    (values("small", stored=2), "data->stored"),
    (lambda world: chained(world, 5), "i < MAX_REDIRECTIONS"),
    (values("other", target=lambda world: world.other.header.index, target_generation=1), "i < MAX_REDIRECTIONS"),
    (values("pipe", capacity=8192 + 4096), "pipe->capacity >="),
    (values("pipe", readers=0), "pipe->readers >="),
    (values("pipe", writers=0), "pipe->readers >="),
    (values("budget", used=0), "budget->used >="),
    (values("above", used=0), "budget->used >="),
    (lambda world: below_budgets(world, 8), "i < MAX_BUDGET_DEPTH"),
    (circular_budgets, "i < MAX_BUDGET_DEPTH"),
    (values("items 1", next=lambda world: world.items[1].header.index + 1), "item->ready &&"),
    (values("items 2", ready=0), "item->ready &&"),
    (values("items 0", ready=1), "item->ready == "),
    (values("items 0", next=2), "item->ready || !item->next"),
    (action(9, "handler", 1), "!action->handler"),
    (action(19, "handler", 0x1000), "!action->handler"),
    (action(2, "mask", 1 << 8), "action->mask"),
    (action(2, "mask", 1 << 18), "action->mask"),
    (locks((0, 5, 4, 0)), "lock->start <= lock->end"),
    (locks((0, 5, 1 << 63, 0)), "lock->end <= "),
    (locks((0, 5, 6, 0), (1, 4, 4, 0)), "lock->start >= last"),
    (locks((0, 5, 6, 2)), "lock->exclusive <= 1"),
    (locks((0, 5, 9, 0), (1, 9, 9, 1)), "free_from"),
    (locks((0, 5, 9, 1), (1, 9, 9, 0)), "free_from"),
    (locks((1, 1, 20, 0), (1, 21, 22, 1), (0, 22, 22, 0)), "free_from"),
    (locks((0, 5, 9, 0), (1, 6, 7, 0), (0, 9, 10, 0)), "apart"),
    (locks((0, 5, 9, 0), (1, 6, 7, 0), (0, 10, 11, 0)), "apart"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), UNSOUND, ids=lambda value: value if isinstance(value, str) else "")
def test_the_whole_is_sound(world: World, change: Callable[[World], None], expected: str) -> None:
    change(world)
    assert expected in refused(list(dump_objects(world.objects)))


def test_what_is_just_sound_is_taken(world: World) -> None:
    chained(world, 4)
    below_budgets(world, 7)
    unfaced(world)
    locks((0, 0, 4, 0), (0, 5, 9, 1), (0, 10, 11, 0), (1, 11, 11, 0), (1, 13, (1 << 63) - 1, 0))(world)
    lib.pysc_objects_free(copy_objects(world.objects))


PLACES = [
    ("FILE", 3, 20), ("FILE", 4, 36), ("FILE", 3, 52), ("DATA", 2, 24), ("DATA", 0, 56), ("DATA", 1, 4),
    ("BUDGET", 0, 16), ("CONTEXT", 0, 0), ("CONTEXT", 0, 4), ("DCACHE", 0, 0), ("DCACHE", 0, 20), ("DENTRY", 3, 0),
    ("DENTRY", 3, 4),
    ("DENTRY", 3, 16), ("INODE", 0, 12), ("EPOLL", 0, 0), ("ITEM", 2, 12), ("ITEM", 2, 20),
]  # fmt: skip
"""Where records name others: kind and index of one that has such a name, and where it stands behind the header."""


@pytest.mark.parametrize(("kind", "index", "at"), PLACES)
def test_each_name_is_looked_for(world: World, kind: str, index: int, at: int) -> None:
    number = getattr(lib, f"PYSC_OBJECT_{kind}")
    records = {of(record): record for record in dump_objects(world.objects)}
    record = records[number, index]
    records[number, index] = record[: HEADER.size + at] + struct.pack("<I", 77) + record[HEADER.size + at + 4 :]
    assert f"of kind {number} is not sound: it names" in refused([*records.values()])


def test_what_is_named_is_there(world: World) -> None:
    """Without any of the records that another one names, that one is refused."""
    records = list(dump_objects(world.objects))
    nobody_s = {(lib.PYSC_OBJECT_CONTEXT, 0), (lib.PYSC_OBJECT_HANDLERS, 0), (lib.PYSC_OBJECT_ITEM, 0),
                (lib.PYSC_OBJECT_DATA, 2), (DENTRIES, world.in_tree)}  # fmt: skip
    for without, record in enumerate(records):
        if of(record) not in nobody_s:
            assert "lives" in refused(records[:without] + records[without + 1 :]).replace("pysc_file_at", "lives")


def test_contents_are_as_long_as_they_say(world: World) -> None:
    record = next(record for record in dump_objects(world.objects) if of(record) == (lib.PYSC_OBJECT_DATA, 0))
    assert record.endswith(b"bytes")
    for wrong in (record[:-1], record + b"s", record[:-5]):
        assert "is none" in refused([resized(wrong)])
    large = (1 << 16) + 1
    at = record.index((5).to_bytes(8, "little"), HEADER.size)
    assert "is none" in refused(
        [resized(record[:at] + large.to_bytes(8, "little") + record[at + 8 : -5] + bytes(large))]
    )


def test_open_numbers_ascend(world: World) -> None:
    record = next(record for record in dump_objects(world.objects) if of(record)[0] == lib.PYSC_OBJECT_TABLE)
    start = HEADER.size + 8
    numbers = [record[at : at + 12] for at in range(start, len(record), 12)]
    assert [struct.unpack("<III", number) for number in numbers[:2]] == [(0, 0, 0), (4, 1, 1)]
    for wrong in (struct.pack("<III", 0, 1, 0), struct.pack("<III", 1 << 20, 1, 0), struct.pack("<III", 4, 1 << 20, 0),
                  struct.pack("<III", 4, 0xFFFFFFFF, 0), struct.pack("<III", 4, 1, 2)):  # fmt: skip
        assert "is none" in refused([resized(record[:start] + numbers[0] + wrong)])


def test_contents_whose_descriptor_is_missing_say_so(world: World) -> None:
    """Nothing reads from a descriptor that is not there: what had one is nowhere, and missing it."""
    record = next(record for record in dump_objects(world.objects) if of(record) == (lib.PYSC_OBJECT_DATA, 2))
    where, missing = HEADER.size, HEADER.size + 28
    assert (record[where], record[missing]) == (lib.PYSC_DATA_NONE, lib.PYSC_DATA_HOST)
    for values_, expected in (((lib.PYSC_DATA_HOST, 0), "where != PYSC_DATA_HOST"), ((1, 1), "where != PYSC_DATA_HOST"),
                              ((lib.PYSC_DATA_OTHER, 0), "data->target_generation"), ((3, 2), "!data->missing"),
                              ((0, 3), "is none"), ((4, 0), "is none")):  # fmt: skip
        changed = bytearray(record)
        changed[where], changed[missing] = values_
        supers = [record for record in dump_objects(world.objects) if of(record)[0] == lib.PYSC_OBJECT_SUPER]
        assert expected in refused([bytes(changed), *supers])


def test_locks_are_of_who_lives(world: World) -> None:
    records = list(dump_objects(world.objects))
    at = next(at for at, record in enumerate(records) if of(record)[0] == lib.PYSC_OBJECT_LOCKS)
    owner = HEADER.size
    for stranger in (1 << 32 | 1 << 1, 3 << 32, 0, 1 << 32 | 77 << 1 | 1):
        changed = records[at][:owner] + struct.pack("<Q", stranger) + records[at][owner + 8 :]
        assert "pysc_owner_lives" in refused([*records[:at], changed, *records[at + 1 :]])
    assert "is none" in refused([resized(records[at][:owner] + bytes(32 * (2 * 65536 + 1)))])


def dentries(world: World, changes: dict[int, dict[str, Any]]) -> list[bytes]:
    """Return all records, those of some dentries changed."""
    return [
        named(record, **changes[index]) if kind == DENTRIES and index in changes else record
        for record, (kind, index) in ((record, of(record)) for record in dump_objects(world.objects))
    ]


def test_dentries_are_trees(world: World) -> None:
    for changes, expected in (
        ({world.name: {"parent": world.below}}, "++steps < "),
        ({world.name: {"parent": world.name, "name": b""}}, "is_top == "),
        ({world.top: {"parent": world.name, "name": b"top"}}, "is_top == "),
        ({world.below: {"parent": world.top, "name": b"name"}}, "pysc_dentry_link"),
        ({world.below: {"cache": world.cache}}, ".cache == dentry->cache"),
        ({world.below: {"users": 1}}, "dentry->users >="),
        ({world.below: {"cache": 77}}, "names what lives"),
        ({world.below: {"parent": 77}}, "names what lives"),
        ({world.below: {"inode": 77, "inode_generation": 1}}, "names what lives"),
        ({world.below: {"inode": 0, "inode_generation": 3}}, "names what lives"),
        ({world.below: {"inode": 1, "inode_generation": 0}}, "names what lives"),
        ({world.below: {"parent": 1 << 20}}, "is none"),
        ({world.below: {"users": 1 << 31}}, "is none"),
        ({world.below: {"withdrawn": 8}}, "is none"),
        ({world.below: {"merged": 2}}, "is none"),
        ({world.below: {"shown": 3}}, "is none"),
        ({world.below: {"covered": 2}}, "is none"),
        ({world.below: {"mode": 1 << 16}}, "is none"),
    ):
        assert expected in refused(dentries(world, changes)), changes


def test_a_cache_is_overlaid_disabled_or_without_its_tree_or_not(world: World) -> None:
    record = next(record for record in dump_objects(world.objects) if of(record)[0] == DCACHES)
    assert struct.unpack_from("<IQIIII", record, HEADER.size)[1:] == (7, 1, 0, 1, 1)
    for at in (12, 16, 24):
        changed = bytearray(record)
        changed[HEADER.size + at] = 2
        assert "is none" in refused([bytes(changed)])


def test_a_cache_has_its_own_top(world: World) -> None:
    records = list(dump_objects(world.objects))
    at = [of(record) for record in records].index((DCACHES, world.bare))
    top = struct.unpack_from("<I", records[at], HEADER.size)[0]
    theirs = records[at][: HEADER.size] + struct.pack("<I", world.top) + records[at][HEADER.size + 4 :]
    without = [theirs if record is records[at] else record for record in records if of(record) != (DENTRIES, top)]
    assert "top->cache == " in refused(without)
