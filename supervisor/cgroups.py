"""Cgroups of a sandbox: limits and a sure kill, v1 and v2, where they can be written.

One cgroup holds the supervisor, the daemons and the guests.  It is made where the specification names a path or a
limit: to move a process costs 10 to 30 ms, and its death ends a sandbox in other ways, too.  What cannot be made is one
warning, and rlimits remain.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from pysc.supervisor.failure import Failure
from pysc.supervisor.spec import Resources, Spec

ROOT: Final = "/sys/fs/cgroup"
V1: Final = ("memory", "cpu", "cpuset", "pids", "freezer")


class Hierarchy(msgspec.Struct, frozen=True):
    """A mounted hierarchy: v1 with one of our controllers, or the unified one (controller is empty)."""

    mount: str
    controller: str
    own: str
    """Where this process is in it."""


def hierarchies() -> list[Hierarchy]:
    """Return those that are mounted (cgroups(7))."""
    own: dict[str, str] = {}
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            own.update(dict.fromkeys(controllers.split(","), path))
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            kind, _, options = rest.split()[:3]
            mount = fields.split()[4]
            if kind == "cgroup2" and "" in own:
                found.append(Hierarchy(mount, "", own[""]))
            elif kind == "cgroup":
                found += [
                    Hierarchy(mount, name, own[name]) for name in options.split(",") if name in own and name in V1
                ]
    return found


class Cgroups:
    """The cgroups of one container.

    ``directories`` are those that were not there and that are to be removed, parents first; they are known before any
    is made, so that whoever cleans up can be told in time.  ``joined`` are those that hold its processes.
    """

    def __init__(self) -> None:
        self.directories: list[str] = []
        self.joined: list[str] = []
        self._wanted: list[tuple[Hierarchy, str]] = []
        self._resources = Resources()
        self._origin: list[str] = []

    def plan(self, container: str, spec: Spec) -> None:
        """Work out which there are to be.  The container's id must be reserved: nobody else may make the same ones."""
        linux = spec.linux
        self._resources = limits = (linux.resources if linux else None) or Resources()
        path = linux.cgroups_path if linux else ""
        if not path and not any((limits.memory, limits.cpu, limits.pids)):
            return
        for hierarchy in hierarchies():
            # Two state directories may hold the same id: the pid tells them apart.
            name = path or f"pysc-{container}-{os.getpid()}"
            place = path if path.startswith("/") else f"{_parent(hierarchy)}/{name}"
            directory = os.path.normpath(hierarchy.mount + os.path.normpath(f"/{place.lstrip('/')}"))
            self._wanted.append((hierarchy, directory))
            self.directories += _missing(directory, hierarchy.mount)

    def create(self, warn: Callable[[str], None]) -> None:
        """Make them, set the limits, and move this process in.

        Raises:
            Failure: the host's kernel refuses a limit as such.
        """
        problem = ""
        limits = self._resources
        for hierarchy, directory in self._wanted:
            try:
                self._make(directory, hierarchy.mount)
                _fill_cpuset(hierarchy, directory)
                for setting, value in _settings(hierarchy.controller, limits):
                    _limit(directory, setting, value)
                _put(os.path.join(directory, "cgroup.procs"), "0")
                self.joined.append(directory)
                self._origin.append(hierarchy.mount + hierarchy.own)
            except OSError as error:
                problem = f"{error.filename or directory}: {error.strerror}"
        if problem and any((limits.memory, limits.cpu, limits.pids)):
            warn(f"limits are not all in force, no cgroup could be set up ({problem})")

    def _make(self, directory: str, mount: str) -> None:
        missing = _missing(directory, mount)
        made: list[str] = []
        try:
            for path in missing:
                os.mkdir(path, 0o755)
                made.append(path)
        except OSError:
            remove(made, 0)
            self.directories = [path for path in self.directories if path not in missing]  # nobody's, or another's
            raise

    def leave(self) -> None:
        """Move this process back to where it came from, so that the cgroups can be removed."""
        _enter(self._origin)
        self._origin = []


@contextmanager
def inside(directories: list[str]) -> Iterator[None]:
    """Be in these cgroups for a while: what is forked meanwhile stays in them."""
    origins = [
        hierarchy.mount + hierarchy.own
        for hierarchy in (hierarchies() if directories else ())
        if any(directory.startswith(hierarchy.mount + "/") for directory in directories)
    ]
    _enter(directories)
    try:
        yield
    finally:
        _enter(origins)


def _enter(directories: list[str]) -> None:
    for directory in directories:
        try:
            _put(os.path.join(directory, "cgroup.procs"), "0")
        except OSError:
            continue  # it is gone, or was never ours to enter


def kill(directories: list[str]) -> None:
    """Kill whatever is in them."""
    own = str(os.getpid())
    for directory in directories:
        try:
            _put(os.path.join(directory, "cgroup.kill"), "1")
            continue
        except OSError:
            pass  # v1, or a kernel before 5.14
        thaw([directory])
        for pid in _members(directory):
            if pid != own:
                try:
                    os.kill(int(pid), 9)
                except OSError:
                    continue


def oom_kills(directories: list[str]) -> int:
    """Return how many processes in them the host killed for want of memory."""
    found = 0
    for directory in directories:
        for name in ("memory.events", "memory.oom_control"):
            try:
                with open(os.path.join(directory, name), encoding="ascii") as file:
                    found += sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
            except OSError:
                continue
    return found


def thaw(directories: list[str]) -> None:
    """Let frozen processes go on: under v1 they ignore SIGKILL until then."""
    for directory in directories:
        for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            try:
                _put(os.path.join(directory, name), value)
            except OSError:
                continue


def remove(directories: list[str], seconds: float = 5.0) -> None:
    """Remove them, deepest first; EBUSY is tried again, since the kernel counts dying processes for a moment."""
    end = time.monotonic() + seconds
    for directory in sorted(directories, key=len, reverse=True):
        while True:
            try:
                os.rmdir(directory)
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > end:
                    break
                time.sleep(0.002)
            else:
                break


def _members(directory: str) -> list[str]:
    try:
        with open(os.path.join(directory, "cgroup.procs"), encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def _parent(hierarchy: Hierarchy) -> str:
    # v2 forbids processes in inner groups that hand controllers on: a sibling of our own group it is.
    return os.path.dirname(hierarchy.own.rstrip("/")) if not hierarchy.controller else hierarchy.own.rstrip("/")


def _missing(directory: str, mount: str) -> list[str]:
    """Return a directory and its parents as far as they are not there, parents first."""
    missing = []
    while directory != mount and not os.path.isdir(directory):
        missing.append(directory)
        directory = os.path.dirname(directory)
    return missing[::-1]


def _fill_cpuset(hierarchy: Hierarchy, directory: str) -> None:
    """A new v1 cpuset is empty and takes no process: copy from above, level by level."""
    if hierarchy.controller != "cpuset":
        return
    path = hierarchy.mount
    for part in os.path.relpath(directory, hierarchy.mount).split("/"):
        above, path = path, os.path.join(path, part)
        for name in ("cpuset.cpus", "cpuset.mems"):
            with open(os.path.join(path, name), encoding="ascii") as file:
                if file.read().strip():
                    continue
            with open(os.path.join(above, name), encoding="ascii") as file:
                _put(os.path.join(path, name), file.read().strip())


def _settings(controller: str, resources: Resources) -> list[tuple[str, str]]:
    memory, cpu, pids = resources.memory, resources.cpu, resources.pids
    rows: list[tuple[str, str]] = []

    def add(name: str, value: object, wanted: object = True) -> None:
        if wanted and value not in (None, 0, ""):
            rows.append((name, str(value)))

    if controller == "memory" and memory:
        add("memory.limit_in_bytes", memory.limit)
        add("memory.soft_limit_in_bytes", memory.reservation)
        add("memory.memsw.limit_in_bytes", memory.swap)
    if controller == "cpu" and cpu:
        add("cpu.shares", cpu.shares)
        add("cpu.cfs_period_us", cpu.period)
        add("cpu.cfs_quota_us", cpu.quota)
    if controller == "cpuset" and cpu:
        add("cpuset.cpus", cpu.cpus)
        add("cpuset.mems", cpu.mems)
    if controller == "pids" and pids:
        add("pids.max", pids.limit if pids.limit > 0 else "max")
    if controller == "":
        rows += _unified(resources)
    return rows


def _unified(resources: Resources) -> list[tuple[str, str]]:
    memory, cpu, pids = resources.memory, resources.cpu, resources.pids
    rows: list[tuple[str, str]] = []
    if os.path.exists(f"{ROOT}/memory"):
        return rows  # a hybrid set-up: the controllers are on v1
    if memory and memory.limit:
        rows.append(("memory.max", "max" if memory.limit < 0 else str(memory.limit)))
        if memory.swap and memory.swap > memory.limit > 0:
            rows.append(("memory.swap.max", str(memory.swap - memory.limit)))
    if memory and memory.reservation:
        rows.append(("memory.low", str(memory.reservation)))
    if cpu and (cpu.quota or cpu.period):
        quota = "max" if not cpu.quota or cpu.quota < 0 else str(cpu.quota)
        rows.append(("cpu.max", f"{quota} {cpu.period or 100_000}"))
    if cpu and cpu.shares:
        rows.append(("cpu.weight", str(1 + (cpu.shares - 2) * 9999 // 262_142)))
    if cpu and cpu.cpus:
        rows.append(("cpuset.cpus", cpu.cpus))
    if pids and pids.limit:
        rows.append(("pids.max", str(pids.limit) if pids.limit > 0 else "max"))
    return rows


def _limit(directory: str, setting: str, value: str) -> None:
    try:
        _put(os.path.join(directory, setting), value)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ERANGE):
            raise Failure(f"linux.resources: this host takes no {value!r} as {setting}: {error.strerror}") from None
        raise


def _put(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)
