"""Rules that every schema keeps: bounds on every int, lengths on every container, descriptors counted."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec.inspect as inspect
import pytest

import pysc.urpc.schema
from pysc.urpc.fds import OwnedFd
from pysc.urpc.message import Event, Failure, Hello, Request, Service
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
