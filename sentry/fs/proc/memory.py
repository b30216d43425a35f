"""What /proc/PID shows of memory: maps, cmdline, environ.  The host's own view, without the guest half.

Guests' memory is read where it lies, so what a program does to its arguments shows (setproctitle).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple

from pysc.cabi.linux.errors import LinuxError
from pysc.cabi.linux.limits import PAGE
from pysc.sentry.fs import hostproc
from pysc.sentry.kernel.mapped_files import hear_of_mapped
from pysc.sentry.kernel.memory import IMAGE
from pysc.sentry.kernel.scheduler import yield_now
from pysc.sentry.platform.interface import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pysc.sentry.kernel.task import Task

STRINGS_MAX: Final = 1 << 17
MAPS_MAX: Final = 1 << 24
"""More than the host gives for all the ranges that a process may have."""
AT_ONCE: Final = 256
"""Lines that are looked at between two yields."""
NAME_COLUMN: Final = 73
OURS: Final = (b"/memfd:pysc-channel", b"/memfd:pysc-guest", b"/memfd:pysc-shared")
"""What the host calls the engine's own memory, which may for a moment lie elsewhere."""
KEPT_NAMES: Final = (b"[vdso]", b"[vvar]", b"[vvar_vclock]")


async def _read(task: Task, name: bytes, size: int, offset: int = 0) -> bytes:
    """Return what the host's file of a process says; b"" if the process is gone."""
    memory = task.memory
    if task.group.exited or memory.ended:
        return b""
    try:
        found = await hostproc.read_file(task.kernel.workers, b"%d/%s" % (memory.space.host_pid, name), size, offset)
    except LinuxError:
        return b""
    return b"" if memory.ended else found  # its number may be another's


async def _strings(task: Task, start: int, end: int) -> bytes:
    return await _read(task, b"mem", min(end - start, STRINGS_MAX), start) if start < end else b""


async def command_line(task: Task) -> bytes:
    """Return argv, each with its NUL; or the title that the program has written over the last one's (setproctitle)."""
    start, end = task.memory.arg_start, task.memory.arg_end
    text = await _strings(task, start, end)
    if not text or len(text) < end - start or text.endswith(b"\0"):
        return text
    title, nul, _rest = (await _strings(task, start, start + PAGE)).partition(b"\0")
    return title + nul


async def environment(task: Task) -> bytes:
    """Return envp, each with its NUL."""
    return await _strings(task, task.memory.env_start, task.memory.env_end)


class Range(NamedTuple):
    """One line of maps."""

    start: int
    end: int
    rights: bytes
    offset: int
    device: int
    inode: int
    name: bytes
    image: bool = False
    """Some of it was saved: it is anonymous, but the host has it from a file."""

    def line(self) -> bytes:
        """Return it as /proc/PID/maps has it."""
        head = b"%08x-%08x %s %08x %02x:%02x %d " % (
            self.start,
            self.end,
            self.rights,
            self.offset,
            os.major(self.device),
            os.minor(self.device),
            self.inode,
        )
        return head.ljust(NAME_COLUMN) + self.name if self.name else head


async def ranges(task: Task) -> AsyncIterator[Range]:
    """Read the host's maps and say what each range is to the guest."""
    async for found, _sizes in _look(task, b"maps"):
        yield found


async def _look(task: Task, name: bytes) -> AsyncIterator[tuple[Range, dict[bytes, int]]]:
    """Read the host's maps or smaps: yield each range as it is to the guest, and the sizes that are said of it.

    Of saved memory the host has several where the guest has one.
    """
    found: Range | None = None
    sizes: dict[bytes, int] = {}
    async for following, more in _look_at_each(task, name):
        if found is not None and _is_one(found, following, task.memory.brk_start):
            found = found._replace(end=following.end, image=True)
            sizes = {key: sizes.get(key, 0) + more.get(key, 0) for key in sizes | more}
            continue
        if found is not None:
            yield _named(task, found), sizes
        found, sizes = following, more
    if found is not None:
        yield _named(task, found), sizes


def _is_one(first: Range, second: Range, brk_start: int) -> bool:
    return (
        (first.image or second.image)
        and first.end == second.start != brk_start
        and first.rights == second.rights
        and not (first.name or second.name)
    )


async def _look_at_each(task: Task, name: bytes) -> AsyncIterator[tuple[Range, dict[bytes, int]]]:
    """Yield the host's ranges; anonymous memory has no name yet."""
    if task.group.exited or task.memory.ended:
        return
    hear_of_mapped(task)
    first, last = task.memory.space.hidden
    found: Range | None = None
    sizes: dict[bytes, int] = {}
    text = await _read(task, name, MAPS_MAX)
    if len(text) == MAPS_MAX:
        text = text[: text.rindex(b"\n")]
    for count, line in enumerate(text.splitlines(), 1):
        if count % AT_ONCE == 0:
            await yield_now()
        fields = line.split(None, 5)
        if fields[0].endswith(b":"):
            if fields[-1] == b"kB":
                sizes[fields[0]] = int(fields[1])
            continue
        if found is not None:
            yield found, _seen_sizes(found, sizes)
        found, sizes = None, {}
        start, _dash, end = fields[0].partition(b"-")
        low, high = int(start, 16), int(end, 16)
        if high <= LIMIT or low >= 1 << 47 or first <= low < last:
            continue
        if fields[-1].startswith(OURS):
            continue
        found = _range(task, low, high, fields)
    if found is not None:
        yield found, _seen_sizes(found, sizes)


def _range(task: Task, start: int, end: int, fields: list[bytes]) -> Range:
    major, _colon, minor = fields[3].partition(b":")
    key = (os.makedev(int(major, 16), int(minor, 16)), int(fields[4]))
    donated = task.memory.donated.get(key) if key[1] else None
    if donated is None or donated == IMAGE:
        name = fields[-1] if fields[-1] in KEPT_NAMES else b""
        return Range(start, end, fields[1], 0, 0, 0, name, image=donated is not None)
    return Range(start, end, fields[1], int(fields[2], 16), donated.device, donated.inode, donated.path)


def _named(task: Task, found: Range) -> Range:
    memory = task.memory
    if found.name or found.inode:
        return found
    if memory.brk_start <= found.start < max(memory.space.heap_end, memory.brk_start + 1):
        return found._replace(name=b"[heap]")
    if found.start < memory.stack_top <= found.end:
        return found._replace(name=b"[stack]")
    return found


async def maps(task: Task) -> bytes:
    """Return /proc/PID/maps."""
    return b"".join([found.line() + b"\n" async for found in ranges(task)])


async def smaps(task: Task) -> bytes:
    """Return /proc/PID/smaps, from what the host says of each range."""
    parts = []
    async for found, host in _look(task, b"smaps"):
        sizes = _complete(host) | {b"KernelPageSize:": PAGE >> 10, b"MMUPageSize:": PAGE >> 10}
        flags = b" ".join(_FLAGS[right] for right in found.rights[:3] if right in _FLAGS)
        parts.append(b"%s\n%sVmFlags: %s \n" % (found.line(), _sizes(sizes), flags))
    return b"".join(parts)


async def smaps_rollup(task: Task) -> bytes:
    """Return /proc/PID/smaps_rollup: the sums."""
    first = last = 0
    total: dict[bytes, int] = {}
    async for found, host in _look(task, b"smaps"):
        first, last = first or found.start, found.end
        for name, size in _complete(host).items():
            if name != b"Size:":
                total[name] = total.get(name, 0) + size
    if not last:
        return b""
    whole = Range(first, last, b"---p", 0, 0, 0, b"[rollup]")
    return b"%s\n%s" % (whole.line(), _sizes(total))


def _complete(host: dict[bytes, int]) -> dict[bytes, int]:
    return {name: host.get(name, 0) for name in _SIZES}


def _seen_sizes(found: Range, host: dict[bytes, int]) -> dict[bytes, int]:
    """Return what the guest sees of a range's sizes: who else has pages of a file may be other sandboxes' business."""
    if not (found.inode or found.image) or not host:
        return host
    sizes = _complete(host)
    sizes[b"Pss:"] = sizes[b"Rss:"]
    for kind in (b"Clean:", b"Dirty:"):
        sizes[b"Private_" + kind] += sizes[b"Shared_" + kind]
        sizes[b"Shared_" + kind] = 0
    if found.image:
        sizes[b"Anonymous:"] = sizes[b"Private_Dirty:"] = sizes[b"Rss:"]
        sizes[b"Private_Clean:"] = 0
    return sizes


_SIZES: Final = (
    b"Size:",
    b"Rss:",
    b"Pss:",
    b"Shared_Clean:",
    b"Shared_Dirty:",
    b"Private_Clean:",
    b"Private_Dirty:",
    b"Referenced:",
    b"Anonymous:",
    b"Swap:",
    b"Locked:",
)


def _sizes(sizes: dict[bytes, int]) -> bytes:
    return b"".join(b"%s%8d kB\n" % (name.ljust(16), size) for name, size in sizes.items())


_FLAGS: Final = {ord("r"): b"rd", ord("w"): b"wr", ord("x"): b"ex"}
