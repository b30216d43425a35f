"""Hypothesis strategies for messages, made from what their types declare."""

from __future__ import annotations

from typing import Any

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
