"""The kernels of tests as rows, and kernels of rows."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from pysc.sentry.hostfds import Held, HostFd, hold, what
from pysc.sentry.kernel.delivery import freeze
from pysc.sentry.kernel.kernel import Kernel
from pysc.sentry.loader.hwcap import read_processor
from pysc.sentry.platform.interface import Registers
from pysc.sentry.state.forms import BadState
from pysc.sentry.state.kinds import Kinds
from pysc.sentry.state.load import load_untrusted
from pysc.sentry.state.save import save
from pysc.sentry.syscalls.x86_64 import X86_64
from tests.unit.sentry.kernel.kernel_world import FakeLog, FakePlatform, FakeSpace, FakeThread, World


class Describer:
    """Says what is of this process: memory and the state of threads, numbers of descriptors that a child inherits."""

    def __init__(self) -> None:
        self.descriptors: set[int] = set()
        self._known: list[Any] = []

    def __call__(self, kind: str, it: Any) -> bytes:
        if kind == "hostfds.HostFd":
            self.descriptors.add(it)
            return msgspec.msgpack.encode((it, what(it)))
        return msgspec.msgpack.encode((self._number(it), self._parts(it)))

    def _number(self, it: Any) -> int:
        if not any(it is known for known in self._known):
            self._known.append(it)
        return next(number for number, known in enumerate(self._known) if it is known)

    def _parts(self, it: Any) -> Any:
        match it:
            case FakeSpace():
                return zlib.compress(it.memory, 1)
            case FakeThread():
                registers = [getattr(it.regs, name) for name in sorted(Registers.__struct_fields__)]
                return it.stopped, it.sigmask, registers, self("platform.interface.Space", it.space)
            case _:
                return None


class Restorer:
    """Makes it again."""

    def __init__(self) -> None:
        self.platform = FakePlatform()
        self._made: dict[bytes, Any] = {}

    def __call__(self, kind: str, description: bytes) -> Any:
        if description not in self._made:
            try:
                self._made[description] = self._make(kind, msgspec.msgpack.decode(description))
            except (
                ValueError,
                TypeError,
                KeyError,
                OverflowError,
                AssertionError,
                zlib.error,
            ) as error:
                raise BadState(f"a strange {kind}: {error}") from None
        return self._made[description]

    def _make(self, kind: str, described: Any) -> Any:
        number, parts = described
        match kind:
            case "hostfds.HostFd":
                return hold(number, msgspec.convert(parts, Held)) if what(number) is None else HostFd(number)
            case "platform.interface.Platform":
                return self.platform
            case "platform.interface.Space":
                return FakeSpace(bytearray(zlib.decompress(parts)))
            case "platform.interface.Thread":
                stopped, sigmask, registers, space = parts
                thread = FakeThread(self("platform.interface.Space", space), self.platform)
                thread.stopped, thread.sigmask = stopped, sigmask
                thread.regs = Registers(**dict(zip(sorted(Registers.__struct_fields__), registers, strict=True)))
                return thread
            case "syscalls.table.SyscallTable":
                return X86_64
            case "loader.hwcap.Processor":
                return read_processor()
            case _:
                return FakeLog()


def save_world(kinds: Kinds, world: World, describer: Describer) -> bytes:
    """Freeze a kernel, and return its rows."""
    if not world.kernel.frozen:
        freeze(world.kernel)
        world.settle()
    return save(kinds, world.kernel, describer)


def load_world(kinds: Kinds, rows: bytes) -> World:
    """Return a frozen kernel of rows."""
    restorer = Restorer()
    world = World.__new__(World)
    world.kernel = load_untrusted(kinds, rows, Kernel, restorer)
    world.platform = restorer.platform
    if world.kernel.init is None:
        raise BadState("nobody has begun")
    world.init = world.kernel.init.leader
    world.namespace = world.init.fs.namespace
    return world
