"""How what is an object of its own, or of this process, stands in a row."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from types import MethodType
from typing import Any

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.sentry.hostfds import NONE, HostFd
from pysc.sentry.kernel.scheduler import Timer
from pysc.sentry.state.forms import BadState, Elements, Form, Index, Loader, Number, Saver


class Reference(Form):
    """An object of one of ``kinds``, or None, if that is said."""

    __slots__ = ("_kinds", "_members", "_optional")

    def __init__(self, kinds: tuple[type, ...] = (object,), *, optional: bool = False) -> None:
        super().__init__(Number)
        self._kinds = kinds
        self._optional = optional
        self._members: tuple[str, ...] = ()
        if getattr(kinds[0], "_is_protocol", False):
            (protocol,), self._kinds = kinds, (object,)
            self._members = tuple(name for name in vars(protocol) if not name.startswith("_"))

    def save(self, value: object, saver: Saver) -> int:
        return 0 if value is None else saver.number(value)

    def load(self, value: int, loader: Loader) -> Any:
        if not value and self._optional:
            return None
        it = loader.object(value)
        if not isinstance(it, self._kinds) or not all(hasattr(type(it), name) for name in self._members):
            raise BadState(f"row {value} is a {type(it).__name__}, which does not belong there")
        return it


class Deletable(Reference):
    """An object; a slot that was deleted stays so."""

    __slots__ = ()

    def take(self, it: object, slot: str, saver: Saver) -> int:
        return self.save(getattr(it, slot, None), saver)

    def put(self, it: object, slot: str, value: int, loader: Loader) -> None:
        if value:
            super().put(it, slot, value, loader)


class Callback(Form):
    """What is called back: an object, or one of these methods of one."""

    __slots__ = ("_methods",)

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__(tuple[Number, str])
        self._methods = methods

    def save(self, value: Any, saver: Saver) -> tuple[int, str]:
        if not isinstance(value, MethodType):
            return saver.number(value), ""
        if value.__name__ not in self._methods:
            raise TypeError(f"{value.__qualname__} is not among what is called back")
        return saver.number(value.__self__), value.__name__

    def load(self, value: tuple[int, str], loader: Loader) -> Any:
        number, method = value
        it = loader.object(number)
        if method not in (*self._methods, "") or not callable(called := getattr(it, method) if method else it):
            raise BadState(f"row {number} is not called back")
        return called


class WeakElements(Elements):
    """Weak references to what is still there."""

    __slots__ = ()

    def save(self, value: Iterable[weakref.ref[Any]], saver: Saver) -> list[Any]:
        return super().save((it for reference in value if (it := reference()) is not None), saver)

    def load(self, value: list[Any], loader: Loader) -> Any:
        return self._kind(weakref.ref(it) for it in super().load(value, loader))


class Timers(Elements):
    """Those of the kernel's: its connections have others."""

    __slots__ = ()

    def save(self, value: Iterable[Timer], saver: Saver) -> list[Any]:
        return super().save((timer for timer in value if self._is_the_kernels(timer.callback)), saver)

    @staticmethod
    def _is_the_kernels(callback: Any) -> bool:
        owner = callback.__self__ if isinstance(callback, MethodType) else callback
        return type(owner).__module__.startswith("pysc.sentry.")


class Face(Form):
    """The structure of a kind (cabi/objects.py), by its index, which no other object owns; or the pulse."""

    __slots__ = ("_kind", "owned")

    def __init__(self, kind: str, *, owned: bool) -> None:
        super().__init__(Index)
        self._kind = kind
        self.owned = owned

    def save(self, value: Any, saver: Saver) -> int:
        return 0 if self._kind == "pulse" else int(value.header.index)

    def load(self, value: int, loader: Loader) -> Any:
        if self._kind == "pulse":
            return lib.pysc_objects_pulse(objects.OBJECTS)
        if self.owned:
            loader.own(self._kind, value)
        found = getattr(lib, f"pysc_{self._kind}_at")(objects.OBJECTS, value)
        if not found:
            raise BadState(f"there is no {self._kind} {value}")
        return found


class Given(Form):
    """What is of this process: who saves describes it, who loads knows what that is there."""

    __slots__ = ("_kind",)

    def __init__(self, kind: str) -> None:
        super().__init__(bytes)
        self._kind = kind

    def save(self, value: Any, saver: Saver) -> bytes:
        return saver.describe(self._kind, value)

    def load(self, value: bytes, loader: Loader) -> Any:
        return loader.restore(self._kind, value)


class Descriptor(Given):
    """One of the host's, or NONE."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("hostfds.HostFd")
        self.wire = bytes | None

    def save(self, value: HostFd, saver: Saver) -> Any:
        return None if value < 0 else super().save(value, saver)

    def load(self, value: bytes | None, loader: Loader) -> Any:
        return NONE if value is None else super().load(value, loader)


class Either(Form):
    """Bytes, or an object, or nothing."""

    __slots__ = ("_reference",)

    def __init__(self, reference: Reference) -> None:
        super().__init__(bytes | reference.wire)
        self._reference = reference

    def save(self, value: Any, saver: Saver) -> Any:
        return value if isinstance(value, bytes) else self._reference.save(value, saver)

    def load(self, value: Any, loader: Loader) -> Any:
        return value if isinstance(value, bytes) else self._reference.load(value, loader)
