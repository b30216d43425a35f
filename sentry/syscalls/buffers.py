"""The memory that a read or write moves: one range or an iovec, copied in steps so that nothing else waits long."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EFAULT, EINVAL
from pysc.cabi.linux.limits import PAGE
from pysc.cabi.linux.socket import UIO_MAXIOV

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pysc.sentry.kernel.task import Task

STEP: Final = 1 << 18
"""Bytes moved at a time."""
PUT_MAX: Final = 60 << 10
"""What may travel with the reply."""
MAX_RW_COUNT: Final = 0x7FFF_F000
TASK_SIZE_MAX: Final = 1 << 47
_IOVEC: Final = struct.Struct("<QQ")

Range = tuple[int, int]


def single(address: int, size: int) -> list[Range]:
    """Return one range, cut to what one call moves.  EFAULT if no guest has such memory."""
    if size > TASK_SIZE_MAX or address > TASK_SIZE_MAX:
        raise EFAULT
    return [(address, min(size, MAX_RW_COUNT))]


async def vector(task: Task, address: int, count: int, *, whole: bool = False, foreign: bool = False) -> list[Range]:
    """Copy an iovec in (readv(2)), without empty parts unless it is to be ``whole``.  EINVAL, EFAULT.

    ``foreign`` addresses are of another process: what lies there is seen when it is used.
    """
    if count > UIO_MAXIOV:
        raise EINVAL
    if not count:
        return []
    data = await task.copy_in(address, count * _IOVEC.size)
    ranges = []
    left = MAX_RW_COUNT
    for base, size in _IOVEC.iter_unpack(data):
        if size >> 63:
            raise EINVAL
        if not foreign and (size > TASK_SIZE_MAX or (size and base > TASK_SIZE_MAX)):
            raise EFAULT
        size = min(size, left)
        left -= size
        if size or whole:
            ranges.append((base, size))
    return ranges


def total(ranges: list[Range]) -> int:
    """Return the bytes in all ranges."""
    return ranges[0][1] if len(ranges) == 1 else sum(size for _base, size in ranges)


def part(ranges: list[Range], offset: int, size: int) -> list[Range]:
    """Return the ranges of ``size`` bytes from ``offset`` on."""
    found = []
    for base, length in ranges:
        if offset >= length:
            offset -= length
            continue
        take = min(length - offset, size)
        found.append((base + offset, take))
        size -= take
        offset = 0
        if not size:
            break
    return found


def _pages(address: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield where a piece of each page begins, counted from the start, and where it ends."""
    start = 0
    while start < size:
        end = min(size, start + PAGE - (address + start) % PAGE)
        yield start, end
        start = end


async def gather(task: Task, ranges: list[Range], offset: int, size: int, *, partial: bool = False) -> bytes:
    """Copy ``size`` bytes of the ranges in; if ``partial``, those before what cannot be read.  EFAULT."""
    parts: list[bytes] = []
    for base, length in part(ranges, offset, size):
        try:
            parts.append(await task.copy_in(base, length))
        except EFAULT:
            if partial:
                await _gather_pages(task, base, length, parts)
            if not (parts and partial):
                raise
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _gather_pages(task: Task, address: int, size: int, parts: list[bytes]) -> None:
    """Copy in what can be read of a range where not all can."""
    with suppress(EFAULT):
        for start, end in _pages(address, size):
            parts.append(await task.copy_in(address + start, end - start))


async def _scatter_pages(task: Task, address: int, data: bytes) -> int:
    """Copy out as much as a range takes that cannot take all, and return how much."""
    taken = 0
    with suppress(EFAULT):
        for start, end in _pages(address, len(data)):
            await task.copy_out(address + start, data[start:end])
            taken = end
    return taken


async def give(task: Task, address: int, data: bytes, *, spent: int = 0) -> None:
    """Copy out what ends a call: with the reply, if there is room beside the ``spent`` bytes of it.  EFAULT."""
    if len(data) <= PUT_MAX - spent:
        task.put(address, data)
    else:
        await task.copy_out(address, data)


async def scatter(
    task: Task, ranges: list[Range], offset: int, data: bytes, *, last: bool = False, partial: bool = False
) -> int:
    """Copy ``data`` out to the ranges, and return how much they took; in the ``last`` step one may go with the reply.

    If ``partial`` a range takes what comes before a page that cannot be written.  EFAULT if nothing was taken.
    """
    if not data:
        return 0
    if last and len(ranges) == 1:
        await give(task, ranges[0][0] + offset, data)
        return len(data)
    position = 0
    for address, size in part(ranges, offset, len(data)):
        piece = data[position : position + size]
        try:
            await task.copy_out(address, piece)
        except EFAULT:
            if partial:
                position += await _scatter_pages(task, address, piece)
            if position:
                return position
            raise
        position += size
    return position
