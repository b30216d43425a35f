"""The page that the sentry counts in."""

from __future__ import annotations

import os

import pytest

from pysc.cabi._dispatch import ffi, lib
from pysc.supervisor import counters
from pysc.urpc.schema.supervisor import Counted


def test_what_is_read_is_what_an_engine_counts() -> None:
    assert [name for name, _ in ffi.typeof("struct pysc_counters").fields] == list(Counted.__struct_fields__)
    writable, readable = counters.make()
    engine = lib.pysc_engine_new()
    assert lib.pysc_engine_count_in(engine, writable.fileno()) == 0
    values = list(range(11, 11 + len(Counted.__struct_fields__)))
    for name, value in zip(Counted.__struct_fields__, values, strict=True):
        setattr(lib.pysc_engine_counters(engine), name, value)
    assert counters.read(readable) == Counted(*values)
    lib.pysc_engine_free(engine)


def test_neither_side_can_take_it_away() -> None:
    writable, readable = counters.make()
    for size in (0, counters.SIZE * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(writable.fileno(), size)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(readable.fileno(), b"x")
