"""What the kernel's objects have, slot by slot: rows for a checkpoint, or how another process comes by it."""

from __future__ import annotations

import importlib
import re

from pysc.sentry.state.kinds import Kinds, found
from pysc.sentry.state.schema import CLASSES, VALUES
from tests.lint.test_state import ALLOWED
from tests.support import state_schema
from tests.support.kernel_classes import kernel_classes

GUESTS = {
    "fs.epoll.EpollItem.fd", "fs.fasync.Notice._fd", "fs.proc.descriptors.FdLink._fd", "fs.proc.descriptors.FdInfo._fd",
    "kernel.siginfo.SigInfo.fd",
}  # fmt: skip
"""Numbers of descriptors that are a guest's."""
SLOTS = {
    f"{name}.{slot}": text
    for name, slots in (*VALUES.items(), *((name, described.slots) for name, described in CLASSES.items()))
    for slot, text in slots.items()
}


def test_the_schema_is_that_of_the_classes() -> None:
    """A new slot is in it, or is said to be transient: ``python -m tests.support.state_schema`` writes it anew."""
    assert state_schema.written() == state_schema.SCHEMA.read_text()


def test_each_row_has_a_tag_of_its_own() -> None:
    tags = [described.tag for described in CLASSES.values()]
    assert len(tags) == len(set(tags))
    assert 0 not in tags  # what is in a table
    assert len(Kinds().by_row) == len(CLASSES)


def test_no_slot_is_a_number_of_the_hosts() -> None:
    """Descriptors of the host's stand in their table; its processes are the platform's, all of which is transient."""
    descriptors = {slot for slot in SLOTS if re.search(r"(^|_)(fd|pidfd)$", slot.rpartition(".")[2])}
    assert {slot for slot in descriptors if SLOTS[slot] == "int"} == GUESTS
    assert [slot for slot in SLOTS if re.search(r"host_?(pid|tid)", slot)] == []


def test_what_is_said_to_be_transient_is_there() -> None:
    names = {state_schema.short(kind) for kind in kernel_classes()}
    for name in (*state_schema.OTHERS, *state_schema.GIVEN):
        if name != "hostfds.HostFd":  # which is a number
            assert any(f"{other}.".startswith(f"{name}.") for other in names), name
    assert state_schema.BEGUN.keys() <= CLASSES.keys()
    assert state_schema.SLOTS.keys() <= SLOTS.keys()
    for name in state_schema.REBUILT:
        cls = found(name.rpartition(".")[0])
        assert name.rpartition(".")[2] in vars(cls)["__slots__"]
        assert "rebuild" in vars(cls)


def test_modules_have_what_is_loaded_into_them() -> None:
    for name in state_schema.GLOBALS:
        module, _, word = name.rpartition(".")
        assert hasattr(importlib.import_module(f"pysc.{module}"), word)
        assert name in ALLOWED or name.startswith("cabi.")
    assert set(state_schema.FIXED) <= ALLOWED
