"""The objects of cabi/objects.py as records, which mean the same in another process (cabi/dispatch/saved.c).

What is saved has nothing of this process: no descriptor, nobody who waits, no key.  Faces of what was loaded give it
that anew: descriptors by ``pysc_data_set_file`` and ``pysc_dcache_set_tree``; and they listen, and watch, again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import ENOMEM
from pysc.cabi.objects import OBJECTS, answered

FIRST_ROOM: Final = 4096
"""Bytes: more are had for a record that is longer."""


def dump_objects(objects: Any = OBJECTS) -> Iterator[bytes]:
    """Give the record of each object.  Nothing may happen to any before the last was given."""
    room, buffer = FIRST_ROOM, ffi.new("uint8_t[]", FIRST_ROOM)
    for kind in range(lib.PYSC_OBJECT_KINDS):
        index = lib.pysc_saved_next(objects, kind, 0)
        while index >= 0:
            size = answered(lib.pysc_object_dump(objects, kind, index, buffer, room))
            if size > room:
                room, buffer = size, ffi.new("uint8_t[]", size)
                continue
            yield ffi.buffer(buffer, size)[:]
            index = lib.pysc_saved_next(objects, kind, index + 1)


def load_objects(records: Iterable[bytes], objects: Any = OBJECTS) -> None:
    """Make the objects that hostile records tell of, where there are none yet but such as have the same names.

    If that fails there are none at all: a process whose faces had some is of no more use.

    Raises:
        ValueError: they do not come from :func:`dump_objects`.
        ENOMEM: memory is out.
    """
    for number, record in enumerate(records):
        _accept(lib.pysc_object_load(objects, ffi.from_buffer(record), len(record)), f"record {number} is none")
    refusal = ffi.new("struct pysc_refusal *")
    result = lib.pysc_objects_check(objects, refusal)
    if result < 0:
        expected = ffi.string(refusal.expected).decode() if refusal.expected else ""
        _accept(result, f"object {refusal.index} of kind {refusal.kind} is not sound: {expected}")


def _accept(result: int, otherwise: str) -> None:
    if result == -ENOMEM.errno:
        raise ENOMEM
    if result < 0:
        raise ValueError(otherwise)
