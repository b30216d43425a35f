"""The classes whose objects have rows, as the schema says: their forms, and what decodes their rows."""

from __future__ import annotations

import ast
import functools
import importlib
import operator
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from pysc.sentry.state import forms, references
from pysc.sentry.state.forms import Form
from pysc.sentry.state.schema import CLASSES, GLOBALS, VALUES

TAG: Final = "_tag"
PLACED: Final = 0
"""The tag of what is in a table of a module's."""
CALLED_BACK: Final = ("_fire", "_look", "_on_timer")
"""Methods by which timers call back."""

_PLAIN: Final = {kind.__name__: kind for kind in (int, bool, bytes, str, float)}
_CONTAINERS: Final = {f"{kind.__module__}.{kind.__name__}".removeprefix("builtins."): kind for kind in forms.CONTAINERS}
_MAPPINGS: Final = {f"{kind.__module__}.{kind.__name__}".removeprefix("builtins."): kind for kind in forms.MAPPINGS}


class Kind(NamedTuple):
    """A class: its slots that are state, and the type of its rows."""

    cls: type
    fields: tuple[tuple[str, Form], ...]
    row: type[msgspec.Struct]
    begun: tuple[type, ...]
    """Classes that it is of, whose other slots are as in a new object."""


class Placed(msgspec.Struct, tag=PLACED, tag_field=TAG, array_like=True, forbid_unknown_fields=True, frozen=True):
    """The row of what is in a table of a module's: where."""

    place: str


class Kinds:
    """All that the schema says."""

    __slots__ = ("_values", "by_class", "by_row", "decoder", "globals", "state")

    def __init__(self) -> None:
        self._values: dict[str, Form] = {}
        self.by_class: dict[type, Kind] = {}
        for name in CLASSES:
            self.by_class[found(name)] = self._kind(name)
        self.by_row = {kind.row: kind for kind in self.by_class.values()}
        self.globals = forms.Fields(None, [], [self.form(text) for text in GLOBALS.values()])
        rows: Any = functools.reduce(operator.or_, self.by_row, Placed)
        self.state: Any = msgspec.defstruct(
            "State",
            [
                ("structures", list[bytes]),
                ("fixed", list[forms.Number]),
                ("root", forms.Number),
                ("globals", self.globals.wire),
                ("rows", list[rows]),
            ],
            array_like=True,
            forbid_unknown_fields=True,
        )
        self.decoder = msgspec.msgpack.Decoder(self.state)

    def _kind(self, name: str) -> Kind:
        cls = found(name)
        slots: dict[str, Form] = {}
        begun = []
        for base in reversed(cls.__mro__):
            described = CLASSES.get(f"{base.__module__}.{base.__qualname__}".removeprefix("pysc.sentry."))
            if described is None:
                continue
            slots |= {slot: self.form(text) for slot, text in described.slots.items()}
            if described.begun:
                begun.append(base)
        row = msgspec.defstruct(
            cls.__name__,
            [(slot, form.wire) for slot, form in slots.items()],
            tag=CLASSES[name].tag,
            tag_field=TAG,
            array_like=True,
            forbid_unknown_fields=True,
            gc=False,
        )
        return Kind(cls, tuple(slots.items()), row, tuple(begun))

    def form(self, text: str) -> Form:
        """Return the form for what the schema says."""
        return self._form(ast.parse(text, mode="eval").body)

    def _form(self, node: ast.expr) -> Form:
        match node:
            case ast.BinOp():
                return self._union(list(_parts(node)))
            case ast.Subscript(value=value, slice=ast.Tuple(elts=elements)):
                return self._generic(ast.unparse(value), elements)
            case ast.Subscript(value=value, slice=element):
                return self._generic(ast.unparse(value), [element])
            case _:
                return self._named(ast.unparse(node))

    def _union(self, parts: list[ast.expr]) -> Form:
        names = [ast.unparse(part) for part in parts]
        optional = "None" in names
        some = [part for part, name in zip(parts, names, strict=True) if name != "None"]
        if {"bytes", "bytearray"} == set(names):
            return Form(bytes)
        if "bytes" in names and len(some) == 2:
            (other,) = (part for part in some if ast.unparse(part) != "bytes")
            return references.Either(references.Reference((found(ast.unparse(other)),), optional=optional))
        if len(some) == 1 and not isinstance(form := self._form(some[0]), references.Reference):
            return forms.Maybe(form)
        return references.Reference(tuple(_class(part) for part in some), optional=optional)

    def _generic(self, name: str, of: list[ast.expr]) -> Form:
        match name:
            case "face" | "borrowed":
                return references.Face(ast.unparse(of[0]), owned=name == "face")
            case "given":
                kind = ast.unparse(of[0])
                return references.Descriptor() if kind == "hostfds.HostFd" else references.Given(kind)
            case "deletable":
                return references.Deletable((_class(of[0]),))
            case "table":
                return references.Reference((_class(of[0]),))
            case "tuple" if not (len(of) == 2 and ast.unparse(of[1]) == "..."):
                return forms.Fields(None, [], [self._form(element) for element in of])
            case _ if name in _CONTAINERS and ast.unparse(of[0]).startswith("weakref.ref["):
                return references.WeakElements(_CONTAINERS[name], self._form(of[0].slice))  # type: ignore[attr-defined]
            case _ if name in _CONTAINERS:
                return forms.Elements(_CONTAINERS[name], self._form(of[0]))
            case _ if name in _MAPPINGS:
                return forms.Items(_MAPPINGS[name], self._form(of[0]), self._form(of[1]))
            case _:
                return self._named(name)

    def _named(self, name: str) -> Form:
        match name:
            case _ if name in _PLAIN:
                return Form(_PLAIN[name])
            case "None":
                return Form(None)
            case "bytearray":
                return forms.Buffer()
            case "callback":
                return references.Callback(CALLED_BACK)
            case "timers":
                return references.Timers(list, references.Reference((found("kernel.scheduler.Timer"),)))
            case "error":
                return forms.ErrorClass()
            case "array.array":
                return forms.Array()
            case "itertools.count":
                return forms.Count()
            case "object":
                return references.Reference()
        if name in VALUES:
            if name not in self._values:
                described = VALUES[name]
                self._values[name] = forms.Fields(
                    found(name), list(described), [self.form(text) for text in described.values()]
                )
            return self._values[name]
        cls = found(name)
        if issubclass(cls, Enum):
            return forms.Choice(cls)
        return references.Reference((cls,))


def found(name: str) -> type:
    """Return a class by its name, ``pysc.sentry`` left out."""
    if name == "typing.Mapping":
        return Mapping
    module, _, word = name.rpartition(".")
    cls: type = getattr(
        importlib.import_module(module if module.startswith("pysc.") else f"pysc.sentry.{module}"), word
    )
    return cls


def _class(node: ast.expr) -> type:
    return found(ast.unparse(node.value if isinstance(node, ast.Subscript) else node))


def _parts(node: ast.expr) -> Any:
    if isinstance(node, ast.BinOp):
        yield from _parts(node.left)
        yield from _parts(node.right)
    else:
        yield node
