"""How the value of a slot stands in a row, by the type that the schema says it has.

A form has a ``wire``, the type that the decoder checks, and goes both ways.  Objects are named by the numbers of their
rows, so no form nests deeper than its type does, whatever guests have made of the objects.
"""

from __future__ import annotations

import weakref
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import count
from typing import Annotated, Any, Final, Literal, Protocol

from msgspec import Meta, Struct

from pysc.cabi.linux.errors import BY_NUMBER, LinuxError

OBJECTS_MAX: Final = 1 << 24
Number = Annotated[int, Meta(ge=0, le=OBJECTS_MAX)]
"""That of a row; 0: no object."""
Index = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]


class BadState(ValueError):
    """Rows that no kernel has written.

    It has what was made of them, since half an object comes to no good end: the process should end first.
    """

    def __init__(self, what: str, made: Sequence[object] = ()) -> None:
        super().__init__(what)
        self.made = made


class Saver(Protocol):
    """What forms ask of who saves."""

    def number(self, it: object) -> int:
        """Return the number of an object's row."""

    def describe(self, kind: str, it: Any) -> bytes:
        """Say how another process comes by what is of this one."""


class Loader(Protocol):
    """What forms ask of who loads."""

    def object(self, number: int) -> Any:
        """Return the object of a row."""

    def restore(self, kind: str, description: bytes) -> Any:
        """Return what was described."""

    def own(self, kind: str, index: int) -> None:
        """One object owns this structure.  BadState: two do."""


class Form:
    """One that stands for itself."""

    __slots__ = ("wire",)

    def __init__(self, wire: Any) -> None:
        self.wire = wire

    def save(self, value: Any, saver: Saver) -> Any:
        """Return what stands in the row."""
        return value

    def load(self, value: Any, loader: Loader) -> Any:
        """Return the value.  BadState."""
        return value

    def take(self, it: object, slot: str, saver: Saver) -> Any:
        """Return what stands in the row of an object."""
        return self.save(getattr(it, slot), saver)

    def put(self, it: object, slot: str, value: Any, loader: Loader) -> None:
        """Let an object have what stands in its row, and do nothing else that its class does then.  BadState."""
        put = setattr if isinstance(it, Struct) else object.__setattr__
        put(it, slot, self.load(value, loader))


class Buffer(Form):
    """Bytes that change."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(bytes)

    def save(self, value: bytes | bytearray, saver: Saver) -> bytes:
        return bytes(value)

    def load(self, value: bytes, loader: Loader) -> bytearray:
        return bytearray(value)


class Elements(Form):
    """A container of any length."""

    __slots__ = ("_element", "_kind")

    def __init__(self, kind: Callable[[Iterable[Any]], Any], element: Form) -> None:
        super().__init__(list[element.wire])  # type: ignore[name-defined]  # a type that is made
        self._kind = kind
        self._element = element

    def save(self, value: Iterable[Any], saver: Saver) -> list[Any]:
        return [self._element.save(element, saver) for element in value]

    def load(self, value: list[Any], loader: Loader) -> Any:
        return self._kind(self._element.load(element, loader) for element in value)


class Items(Form):
    """A mapping, in its order."""

    __slots__ = ("_key", "_kind", "_value")

    def __init__(self, kind: Callable[[], Any], key: Form, value: Form) -> None:
        super().__init__(list[tuple[key.wire, value.wire]])  # type: ignore[name-defined]  # a type that is made
        self._kind = kind
        self._key = key
        self._value = value

    def save(self, value: Any, saver: Saver) -> list[Any]:
        return [(self._key.save(key, saver), self._value.save(item, saver)) for key, item in value.items()]

    def load(self, value: list[tuple[Any, Any]], loader: Loader) -> Any:
        made = self._kind()
        for key, item in value:
            made[self._key.load(key, loader)] = self._value.load(item, loader)
        if len(made) != len(value):
            raise BadState("a key stands twice")
        return made


class Fields(Form):
    """A tuple, or what has fields and never changes: it stands in the rows of those that have it."""

    __slots__ = ("_forms", "_kind", "_names")

    def __init__(self, kind: Callable[..., Any] | None, names: Sequence[str], forms: Sequence[Form]) -> None:
        super().__init__(tuple[tuple(form.wire for form in forms)])  # type: ignore[misc]  # a type that is made
        self._kind = kind
        self._names = names
        self._forms = forms

    def save(self, value: Any, saver: Saver) -> tuple[Any, ...]:
        values = [getattr(value, name) for name in self._names] if self._kind else value
        return tuple(form.save(item, saver) for form, item in zip(self._forms, values, strict=True))

    def load(self, value: tuple[Any, ...], loader: Loader) -> Any:
        values = [form.load(item, loader) for form, item in zip(self._forms, value, strict=True)]
        return self._kind(*values) if self._kind else tuple(values)


class Choice(Form):
    """A member of an enumeration."""

    __slots__ = ("_kind",)

    def __init__(self, kind: type[Enum]) -> None:
        super().__init__(Literal[tuple(member.value for member in kind)])
        self._kind = kind

    def save(self, value: Enum, saver: Saver) -> Any:
        return value.value

    def load(self, value: Any, loader: Loader) -> Enum:
        return self._kind(value)


class ErrorClass(Form):
    """The class of an error, by its number."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(int)

    def save(self, value: type[LinuxError], saver: Saver) -> int:
        return value.errno

    def load(self, value: int, loader: Loader) -> type[LinuxError]:
        if value not in BY_NUMBER:
            raise BadState(f"{value} is no error")
        return BY_NUMBER[value]


class Array(Form):
    """An array of small integers."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(tuple[Literal["H", "i"], list[int]])

    def save(self, value: array[int], saver: Saver) -> tuple[str, list[int]]:
        return value.typecode, list(value)

    def load(self, value: tuple[str, list[int]], loader: Loader) -> array[int]:
        try:
            return array(*value)
        except OverflowError:
            raise BadState("a number is too large for its array") from None


class Count(Form):
    """The next of numbers that are never used again."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(Annotated[int, Meta(ge=0, le=1 << 62)])

    def save(self, value: count[int], saver: Saver) -> int:
        return int(value.__reduce__()[1][0])  # without taking it

    def load(self, value: int, loader: Loader) -> count[int]:
        return count(value)


class Maybe(Form):
    """None, or what has a form."""

    __slots__ = ("_form",)

    def __init__(self, form: Form) -> None:
        super().__init__(form.wire | None)
        self._form = form

    def save(self, value: Any, saver: Saver) -> Any:
        return None if value is None else self._form.save(value, saver)

    def load(self, value: Any, loader: Loader) -> Any:
        return None if value is None else self._form.load(value, loader)


CONTAINERS: Final[tuple[type, ...]] = (list, set, frozenset, deque, tuple)
MAPPINGS: Final[tuple[type, ...]] = (dict, OrderedDict, weakref.WeakValueDictionary)
