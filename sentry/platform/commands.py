"""Commands to the guest half of one thread, which it obeys in batches, and the memory that comes and goes with them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import E2BIG, EFAULT, ENAMETOOLONG
from pysc.sentry.kernel.scheduler import Completion
from pysc.sentry.platform.interface import ThreadGone

MASK: Final = 0xFFFF_FFFF_FFFF_FFFF
_HINT: Final = struct.Struct("<QII")
_STRINGS: Final = struct.Struct("<II")
"""What precedes copied strings: their size, whether the array's end was reached."""
_MAX_PUT: Final = 60 * 1024
_SLOT_HINTS: Final[int] = ffi.offsetof("struct pysc_slot", "n_hints")
_SLOT_HINTS_LIST: Final[int] = ffi.offsetof("struct pysc_slot", "hints")
_SLOT_DATA: Final[int] = ffi.offsetof("struct pysc_slot", "data")
_ENOBUFS: Final = -105


class Commands:
    """Of a thread that is stopped: one batch at a time, whose end is awaited."""

    __slots__ = ("_completion", "_memory", "_put_bytes", "_put_failed", "_puts", "engine", "gone", "number")

    def __init__(self, engine: Any, number: int, slot: Any) -> None:
        """``number`` is the thread's in the engine, ``slot`` its struct pysc_slot."""
        self.engine = engine
        self.number = number
        self.gone = False
        """The host thread is no more."""
        self._memory: Any = ffi.buffer(slot, ffi.sizeof("struct pysc_slot"))
        self._completion: Completion[None] | None = None
        self._puts: list[int] = []
        self._put_bytes = 0
        self._put_failed = False

    def _command(
        self,
        op: int,
        a0: int = 0,
        a1: int = 0,
        a2: int = 0,
        a3: int = 0,
        a4: int = 0,
        a5: int = 0,
        extra: int = 0,
        *,
        flags: int = 0,
    ) -> int:
        index = lib.pysc_command(
            self.engine,
            self.number,
            op,
            flags,
            a0 & MASK,
            a1 & MASK,
            a2 & MASK,
            a3 & MASK,
            a4 & MASK,
            a5 & MASK,
            extra & MASK,
        )
        if index < 0:
            if self.gone:
                raise ThreadGone
            raise RuntimeError(f"command {op} for a thread that is not stopped, or too many: {index}")
        return index

    async def _batch(self) -> None:
        """Hand the commands over and wait until they are done."""
        if self.gone:
            raise ThreadGone
        if self._completion is not None:
            raise RuntimeError("two operations on one thread at a time")
        completion: Completion[None] = Completion()
        self._completion = completion
        lib.pysc_flush(self.engine, self.number)
        await completion

    async def _reserve(self, size: int) -> int:
        if self.gone:
            raise ThreadGone
        offset = lib.pysc_reserve(self.engine, self.number, size)
        if offset == _ENOBUFS:
            await self._batch()
            offset = lib.pysc_reserve(self.engine, self.number, size)
        if offset < 0:
            raise RuntimeError("memory operation on a thread that is not stopped")
        return offset

    def _data(self, offset: int, size: int) -> bytes:
        start = _SLOT_DATA + offset
        data: bytes = self._memory[start : start + size]
        return data

    def _result(self, index: int) -> int:
        return lib.pysc_result(self.engine, self.number, index)

    # Memory
    def _hints(self, kind: int = 0) -> Iterator[tuple[int, int, int]]:
        if self._memory is None:
            return
        count = int.from_bytes(self._memory[_SLOT_HINTS : _SLOT_HINTS + 4], "little")
        if count:
            hints = self._memory[_SLOT_HINTS_LIST : _SLOT_HINTS_LIST + _HINT.size * min(count, lib.PYSC_HINTS)]
            for start, length, offset in _HINT.iter_unpack(hints):
                length ^= kind  # too long with it: of the other kind
                if offset + length <= lib.PYSC_DATA_SIZE:
                    yield start, length, offset

    def prefetched(self, address: int, size: int) -> bytes | None:
        """Return guest bytes that came with the request, or None.  Never waits."""
        for start, length, offset in self._hints():
            if address - start >= 0 and address - start + size <= length:
                return self._data(offset + address - start, size)
        return None

    def _prefetched_string(self, address: int) -> bytes | None:
        for start, length, offset in self._hints():
            if start == address:
                string, nul, _ = self._data(offset, length).partition(b"\0")
                if nul:
                    return string
        return None

    def _prefetched_strings(self, address: int) -> list[bytes] | None:
        for start, length, offset in self._hints(lib.PYSC_HINT_STRINGS):
            if start == address:
                return self._data(offset, length).split(b"\0")[:-1]
        return None

    async def copy_in(self, address: int, size: int) -> bytes:
        """Copy ``size`` bytes from the guest.  EFAULT if any is unreadable."""
        hint = self.prefetched(address, size)
        if hint is not None:
            return hint
        parts = []
        while size > 0:
            part = min(size, lib.PYSC_DATA_ROOM)
            offset = await self._reserve(part)
            index = self._command(lib.PYSC_CMD_COPY_IN, address, part, offset)
            await self._batch()
            if self._result(index) != part:
                raise EFAULT
            parts.append(self._data(offset, part))
            address += part
            size -= part
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def copy_in_string(self, address: int, limit: int) -> bytes:
        """Copy a NUL-terminated string without its NUL.  ENAMETOOLONG if no NUL within ``limit`` bytes; EFAULT."""
        hint = self._prefetched_string(address)
        if hint is not None and len(hint) < limit:
            return hint
        parts = b""
        while True:
            part = min(limit - len(parts), lib.PYSC_DATA_ROOM)
            if part <= 0:
                raise ENAMETOOLONG
            offset = await self._reserve(part)
            index = self._command(lib.PYSC_CMD_STRING_IN, address + len(parts), part, offset)
            await self._batch()
            length = self._result(index)
            if 0 <= length < part:
                return parts + self._data(offset, length)
            if length != -ENAMETOOLONG.errno:
                raise EFAULT
            parts += self._data(offset, part)

    async def copy_in_strings(self, address: int, limit: int) -> list[bytes]:
        """Copy a NULL-terminated array of strings (argv, envp).  E2BIG over ``limit`` bytes in all; EFAULT."""
        hint = self._prefetched_strings(address)
        if hint is not None:
            if sum(map(len, hint)) + len(hint) > limit:
                raise E2BIG
            return hint
        strings: list[bytes] = []
        total = 0
        while True:
            offset = await self._reserve(lib.PYSC_DATA_ROOM)
            index = self._command(lib.PYSC_CMD_STRINGS_IN, address, len(strings), lib.PYSC_DATA_ROOM, offset)
            await self._batch()
            count = self._result(index)
            if not 0 <= count < lib.PYSC_DATA_ROOM:
                raise EFAULT
            used, done = _STRINGS.unpack(self._data(offset, _STRINGS.size))
            if used > lib.PYSC_DATA_ROOM - _STRINGS.size:
                raise EFAULT
            strings += self._data(offset + _STRINGS.size, used).split(b"\0")[:-1]
            total += used
            if total > limit:
                raise E2BIG
            if done:
                return strings
            if count == 0:  # one that does not fit
                pointer = int.from_bytes(await self.copy_in(address + 8 * len(strings), 8), "little")
                try:
                    strings.append(await self.copy_in_string(pointer, limit - total))
                except ENAMETOOLONG:
                    raise E2BIG from None
                total += len(strings[-1]) + 1

    async def copy_out(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` to the guest now.  EFAULT if any of it is unwritable (a prefix may have been written)."""
        view = memoryview(data).cast("B")
        while len(view):
            part = view[: lib.PYSC_DATA_ROOM]
            offset = await self._reserve(len(part))
            start = _SLOT_DATA + offset
            self._memory[start : start + len(part)] = part
            index = self._command(lib.PYSC_CMD_COPY_OUT, address, len(part), offset)
            await self._batch()
            if self._result(index) != len(part):
                raise EFAULT
            address += len(part)
            view = view[len(part) :]

    def put(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy ``data`` to the guest together with the verdict; a fault there makes the syscall's result -EFAULT.

        The data of all puts of one verdict together is at most 60 KiB: more raises ValueError (use copy_out).
        """
        size = len(data) if isinstance(data, (bytes, bytearray)) else data.nbytes
        if self.gone or size == 0:
            return
        if self._put_bytes + size > _MAX_PUT:
            raise ValueError("more than 60 KiB for one verdict")
        source = data if isinstance(data, bytes) else ffi.from_buffer(data)
        index = lib.pysc_put(self.engine, self.number, lib.PYSC_CMD_PUT, address & MASK, source, size)
        if index < 0:
            raise RuntimeError(f"put on a thread that is not stopped, or no room: {index}")
        self._puts.append(index)
        self._put_bytes += size

    # Host calls
    async def host_call(self, nr: int, *args: int) -> int:
        """Let the thread make one host call of the keyhole, and return its result, maybe -errno."""
        a = (*args, 0, 0, 0, 0, 0, 0)
        index = self._command(lib.PYSC_CMD_HOST, nr, a[0], a[1], a[2], a[3], a[4], a[5])
        await self._batch()
        return self._result(index)

    async def move_heap(self, end: int) -> int:
        """Move the end of the heap, and return where it is now, changed or not."""
        index = self._command(lib.PYSC_CMD_BRK, end)
        await self._batch()
        return self._result(index)

    async def futex_wake_op(self, uaddr: int, op: int, wake: int, wake2: int, uaddr2: int, operation: int) -> int:
        """futex(2) with FUTEX_WAKE_OP, which the keyhole lacks: the number of the woken, or -errno."""
        index = self._command(lib.PYSC_CMD_WAKE_OP, uaddr, op, wake, wake2, uaddr2, operation)
        await self._batch()
        return self._result(index)
