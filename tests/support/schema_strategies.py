"""Hypothesis strategies for messages, and the largest messages, made from what their types declare."""

from __future__ import annotations

from typing import Any

import msgspec
import msgspec.inspect as inspect
from hypothesis import strategies as st

from pysc.urpc.fds import OwnedFd


def messages(kind: type, *, names: st.SearchStrategy[bytes], fds: st.SearchStrategy[OwnedFd]) -> st.SearchStrategy[Any]:
    """Return a strategy for a message type; its bytes are often ``names``, its descriptors come from ``fds``."""
    return _of(inspect.type_info(kind), names, fds)


def _of(info: inspect.Type, names: st.SearchStrategy[bytes], fds: st.SearchStrategy[OwnedFd]) -> st.SearchStrategy[Any]:
    if isinstance(info, inspect.IntType):
        low = info.ge if info.ge is not None else -(1 << 63)
        high = info.le if info.le is not None else (1 << 64) - 1
        return st.integers(low, min(high, low + 1)) | st.integers(low, min(high, low + 8)) | st.integers(low, high)
    if isinstance(info, inspect.BytesType):
        shortest = info.min_length or 0
        longest = min(info.max_length or 300, 300)
        return names.filter(lambda name: shortest <= len(name) <= longest) | st.binary(
            min_size=shortest, max_size=max(shortest, longest)
        )
    if isinstance(info, inspect.StrType):
        return st.text(max_size=min(info.max_length or 50, 50))
    if isinstance(info, inspect.EnumType):
        return st.sampled_from(list(info.cls))
    if isinstance(info, inspect.BoolType):
        return st.booleans()
    if isinstance(info, inspect.NoneType):
        return st.none()
    if isinstance(info, inspect.CustomType):
        return fds
    if isinstance(info, inspect.ListType):
        return st.lists(
            _of(info.item_type, names, fds), min_size=info.min_length or 0, max_size=min(info.max_length or 5, 5)
        )
    if isinstance(info, inspect.UnionType):
        return st.one_of([_of(member, names, fds) for member in info.types])
    if isinstance(info, inspect.StructType):
        fields = {field.name: _of(field.type, names, fds) for field in info.fields}
        for field in info.fields:
            if not field.required:
                fields[field.name] = st.just(field.default) | fields[field.name]
        return st.builds(info.cls, **fields)
    raise NotImplementedError(info)


def largest(kind: type) -> Any:
    """Return a message that no other of its type is longer than."""
    return _largest(inspect.type_info(kind))


def _largest(info: inspect.Type) -> Any:
    if isinstance(info, inspect.IntType):
        return _longest([info.ge, (1 << 64) - 1 if info.le is None else info.le])
    if isinstance(info, inspect.BytesType):
        return bytes(info.max_length or 0)
    if isinstance(info, inspect.StrType):
        return "\U0010ffff" * (info.max_length or 0)
    if isinstance(info, inspect.EnumType):
        return _longest(list(info.cls))
    if isinstance(info, inspect.BoolType):
        return True
    if isinstance(info, inspect.NoneType):
        return None
    if isinstance(info, inspect.CustomType):
        assert issubclass(info.cls, OwnedFd)
        return info.cls.lend(0)
    if isinstance(info, inspect.ListType):
        return [_largest(info.item_type) for _ in range(info.max_length or 0)]
    if isinstance(info, inspect.UnionType):
        return _longest([_largest(member) for member in info.types])
    if isinstance(info, inspect.StructType):
        return info.cls(*(_largest(field.type) for field in info.fields))
    raise NotImplementedError(info)


def _longest(values: list[Any]) -> Any:
    return max(values, key=lambda value: len(msgspec.msgpack.encode(value, enc_hook=lambda fd: 0)))
