"""Rules that every schema keeps: bounds on every int, lengths on every container, descriptors and replies counted."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import msgspec.inspect as inspect
import pytest

import pysc.urpc.schema
from pysc.cabi.linux.attributes import ATTRIBUTES_SIZE
from pysc.urpc.codec import HEADER
from pysc.urpc.fds import OwnedFd
from pysc.urpc.message import BARE, CREDITS, MAX_FRAME, MAX_QUEUE, Event, Failure, Hello, Message, Request, Service
from pysc.urpc.schema import gofer
from tests.support.schema_strategies import largest
from tests.unit.urpc.sample_service import SAMPLE


def services() -> Iterator[Service]:
    for module in pkgutil.iter_modules(pysc.urpc.schema.__path__):
        for value in vars(importlib.import_module(f"pysc.urpc.schema.{module.name}")).values():
            if isinstance(value, Service):
                yield value


def types() -> list[Any]:
    found: list[Any] = [Hello, Failure]
    for service in services():
        found += [*service.requests, *service.events, *service.client_events]
        found += [request.reply_type for request in service.requests if request.reply_type is not None]
    return found


def unbounded(info: inspect.Type, where: str) -> Iterator[str]:
    if isinstance(info, inspect.IntType):
        if info.ge is None or (info.le is None and info.ge != 0):  # msgpack has no larger ints than a U64
            yield where
    elif isinstance(info, inspect.BytesType | inspect.StrType):
        if info.max_length is None:
            yield where
    elif isinstance(info, inspect.ListType | inspect.VarTupleType):
        if info.max_length is None:
            yield where
        yield from unbounded(info.item_type, where)
    elif isinstance(info, inspect.DictType):
        if info.max_length is None:
            yield where
        yield from unbounded(info.key_type, where)
        yield from unbounded(info.value_type, where)
    elif isinstance(info, inspect.TupleType):
        for item in info.item_types:
            yield from unbounded(item, where)
    elif isinstance(info, inspect.UnionType):
        for item in info.types:
            yield from unbounded(item, where)
    elif isinstance(info, inspect.StructType):
        if not info.forbid_unknown_fields:
            yield f"{where}: accepts unknown fields"
        for field in info.fields:
            yield from unbounded(field.type, f"{where}.{field.name}")
    elif isinstance(info, inspect.AnyType | inspect.FloatType | inspect.RawType):
        yield where


@pytest.mark.parametrize("kind", types(), ids=lambda kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}")
def test_everything_is_bounded(kind: Any) -> None:
    assert list(unbounded(inspect.type_info(kind), kind.__name__)) == []


@pytest.mark.parametrize("service", list(services()), ids=lambda service: service.name)
def test_tags_are_ints_and_differ(service: Service) -> None:
    for group in (service.requests, (*service.events,), (*service.client_events,)):
        tags = [kind.__struct_config__.tag for kind in group]
        assert len(set(tags)) == len(tags)
        assert all(isinstance(tag, int) for tag in tags)


@pytest.mark.parametrize("kind", [kind for kind in types() if issubclass(kind, Request | Event)])
def test_what_is_sent_says_what_it_is(kind: type) -> None:
    assert kind.__doc__


def descriptors(info: inspect.Type) -> int:
    """Return how many descriptors a value can carry."""
    if isinstance(info, inspect.CustomType):
        return int(issubclass(info.cls, OwnedFd))
    if isinstance(info, inspect.StructType):
        return sum(descriptors(field.type) for field in info.fields)
    if isinstance(info, inspect.UnionType):
        return max(descriptors(member) for member in info.types)
    if isinstance(info, inspect.TupleType):
        return sum(descriptors(member) for member in info.item_types)
    if isinstance(info, inspect.ListType | inspect.VarTupleType):
        each = descriptors(info.item_type)
        assert not each or info.max_length is not None
        return each * (info.max_length or 0)
    return 0


def most(kinds: Iterable[Any]) -> int:
    return max((descriptors(inspect.type_info(kind)) for kind in kinds if kind is not None), default=0)


@pytest.mark.parametrize("service", [*services(), SAMPLE], ids=lambda service: service.name)
def test_descriptors_are_counted(service: Service) -> None:
    assert service.request_fds == most((*service.requests, *service.client_events))
    assert service.reply_fds == most((*(kind.reply_type for kind in service.requests), *service.events))


def length(message: Message | None) -> int:
    """Return that of the frame."""
    return HEADER.size + len(msgspec.msgpack.encode(message, enc_hook=lambda fd: 0))


def replies(*services: Service) -> list[type[Message]]:
    kinds = dict.fromkeys(kind.reply_type for service in services for kind in service.requests)
    return [kind for kind in kinds if issubclass(kind, Message)]


@pytest.mark.parametrize("kind", [Failure, *replies(*services(), SAMPLE)], ids=lambda kind: kind.__name__)
def test_replies_are_as_long_as_they_say(kind: type[Message]) -> None:
    assert kind.max_frame == min(length(largest(kind)), MAX_FRAME)


def test_a_bare_reply_is_as_long_as_it_says() -> None:
    assert gofer.Rename.longest_reply == BARE == length(None)


@pytest.mark.parametrize("service", [*services(), SAMPLE], ids=lambda service: service.name)
def test_the_longest_answer_is_known(service: Service) -> None:
    longest = [kind.max_frame for kind in replies(service)]
    assert service.max_reply == max(Failure.max_frame, *longest)
    assert service.max_reply * 2 <= MAX_QUEUE, "one is served while another is read"
    assert Failure.max_frame * CREDITS <= MAX_QUEUE, "as many small requests as there are credits are served"


ROOT = gofer.File(0, b"")


@pytest.mark.parametrize("names", [1, 15, 16, gofer.MAX_NAMES])
def test_a_walk_is_answered_as_far_as_it_goes(names: int) -> None:
    reply = gofer.Walked([bytes(ATTRIBUTES_SIZE)] * names, bytes(4095), 4095)
    assert 0 <= gofer.Walk(ROOT, [b"x"] * names).max_reply() - length(reply) <= 2  # a long array's length


@pytest.mark.parametrize("size", [512, 4096, gofer.MAX_LISTING])
def test_a_listing_is_as_long_as_is_asked(size: int) -> None:
    reply = gofer.Listing(bytes(size), (1 << 63) - 1, end=True)
    assert gofer.ListDirectory(ROOT, 0, size).max_reply() == length(reply)
