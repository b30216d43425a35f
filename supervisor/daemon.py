"""The child's side of starting a daemon: namespaces, an empty root, ids, capabilities, the lifeline.

Order, and each step has its reason:

1. :func:`enter_namespaces` in an intermediate process, whose parent writes the id maps; its child is pid 1 of the new
   pid namespace, and the spawner, a subreaper, inherits that when the intermediate exits.
2. Mounts and imports, while there is a root to import from.
3. :func:`become`: groups, ids, capabilities, no_new_privs.
4. :func:`hold_lifeline`, last: a change of ids clears PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import socket
from collections.abc import Callable
from typing import Final

import msgspec

from pysc.cabi import confine
from pysc.cabi.linux.mount import (
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
)
from pysc.cabi.linux.prctl import PR_CAPBSET_DROP, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG
from pysc.cabi.linux.sched import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from pysc.supervisor.failure import Failure

NAMESPACES: Final = (
    CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWTIME
)
"""Pid and time namespaces take in the children of who makes them, not itself."""

SANDBOX_UID: Final = 65534
"""Who the sentry and netstackd are inside their user namespace."""

FULL_RANGE: Final = 0xFFFF_FFFF
STAGE: Final = b"/proc"
"""Where the empty root is put together: the one directory that exists in every root that a program can run in."""

Range = tuple[int, int, int]
"""Inside, outside, size: a line of uid_map (user_namespaces(7))."""


class Identity(msgspec.Struct, frozen=True):
    """Who a daemon becomes."""

    uids: tuple[Range, ...]
    gids: tuple[Range, ...]
    uid: int
    """Inside."""
    gid: int
    capabilities: int
    """What it keeps, a mask."""
    one_id: bool
    """The caller has no privilege: setgroups(2) has to be given up, and there is one id only."""


def own_ranges() -> list[tuple[int, int]]:
    """Return the ids that exist in the caller's own user namespace, as (first, size)."""
    with open("/proc/self/uid_map", "rb") as file:
        return [(int(first), int(size)) for first, _, size in map(bytes.split, file)]


def identity_map(ranges: list[tuple[int, int]], kuid: int | None) -> tuple[Range, ...]:
    """Map every id to itself, but :data:`SANDBOX_UID` to ``kuid``, which then has no other name."""
    holes = [] if kuid is None else sorted((SANDBOX_UID, kuid))
    lines: list[Range] = []
    for first, size in ranges:
        start, end = first, first + size
        for hole in holes:
            if start <= hole < end:
                lines.append((start, start, hole - start))
                start = hole + 1
        lines.append((start, start, end - start))
    if kuid is not None:
        lines.append((SANDBOX_UID, kuid, 1))
    return tuple(line for line in lines if line[2] > 0)


def identity(kuid: int, capabilities: int, *, sandboxed: bool, namespaces: bool = True) -> Identity:
    """Return the identity of the gofer, or (``sandboxed``) of a daemon that runs as the sandbox's own id.

    Without namespaces it is what the host itself calls so, and an ordinary user has nothing but its own.
    """
    if os.geteuid() != 0:
        if not namespaces:
            return Identity((), (), os.geteuid(), os.getegid(), 0, True)
        # One id can be mapped, and files must show the same owner to the sentry as to the gofer.
        return Identity(((0, os.geteuid(), 1),), ((0, os.getegid(), 1),), 0, 0, capabilities, True)
    ranges = own_ranges()
    usable = any(first <= kuid < first + size for first, size in ranges)
    inside = SANDBOX_UID if namespaces or not usable else kuid
    lines = identity_map(ranges, kuid if sandboxed and usable else None)
    own = inside if sandboxed else 0
    return Identity(lines, lines, own, own, capabilities, False)


def write_maps(pid: int, who: Identity) -> None:
    """Write the id maps of a process that has just entered a user namespace."""
    if who.one_id:
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/gid_map", _lines(who.gids))
    _write(f"/proc/{pid}/uid_map", _lines(who.uids))


def _lines(ranges: tuple[Range, ...]) -> str:
    return "".join(f"{inside} {outside} {size}\n" for inside, outside, size in ranges)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def enter_namespaces() -> None:
    """Leave the caller's namespaces, that of time where the kernel has such (CONFIG_TIME_NS).

    Raises:
        Failure: they are not to be had; the text names the setting.
    """
    try:
        try:
            confine.unshare(NAMESPACES)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            confine.unshare(NAMESPACES & ~CLONE_NEWTIME)
    except OSError as error:
        raise Failure(f"this host gives no namespaces ({error.strerror}): {_remedy()}") from None


def _remedy() -> str:
    for setting, wrong, right in (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "1"),
        ("/proc/sys/user/max_user_namespaces", "0", "10000"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ):
        try:
            with open(setting, encoding="ascii") as file:
                if file.read().strip() == wrong:
                    name = setting.removeprefix("/proc/sys/").replace("/", ".")
                    return f"run sysctl {name}={right}, or pass --unsafe-no-namespaces"
        except OSError:
            continue
    return "allow unshare(CLONE_NEWUSER) in the container or policy around it, or pass --unsafe-no-namespaces"


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor that is not in ``keep``; 0, 1 and 2 stay as they are."""
    previous = 2
    for fd in sorted(fd for fd in keep if fd > 2):
        os.closerange(previous + 1, fd)
        previous = fd
    os.closerange(previous + 1, 1 << 20)


def silence_stdio(stderr: int | None) -> None:
    """Make 0 and 1 /dev/null, and 2 as well unless crashes are to be seen in ``stderr``."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(null if stderr is None else stderr, 2)
    if null > 2:
        os.close(null)


def private_mounts() -> None:
    """Let no mount of this process be seen outside, nor the other way."""
    confine.mount(b"none", b"/", flags=MS_REC | MS_PRIVATE)


def empty_root(*, procfs: bool) -> None:
    """Change to a root that holds nothing, or nothing but /proc of the own pid namespace."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    confine.mount(b"pysc", STAGE, b"tmpfs", flags, b"mode=755,size=4k,nr_inodes=4")
    if procfs:
        os.mkdir(STAGE + b"/proc", 0o555)
        confine.mount(b"proc", STAGE + b"/proc", b"proc", flags)
    os.chdir(STAGE)
    confine.pivot_root(b".", b".")
    confine.umount(b".", MNT_DETACH)
    os.chdir("/")
    confine.mount(b"none", b"/", flags=flags | MS_REMOUNT | MS_BIND | MS_RDONLY)


def become(who: Identity, last_capability: int) -> None:
    """Take on an identity for good; ``last_capability`` is /proc/sys/kernel/cap_last_cap of the host."""
    # The bounding set can only be emptied while CAP_SETPCAP is there, ids be changed with CAP_SETUID.
    os.umask(0)
    if os.geteuid() == 0:  # else there is none, and no_new_privs lets nothing bring one
        for capability in range(last_capability + 1):
            if not who.capabilities >> capability & 1:
                confine.prctl(PR_CAPBSET_DROP, capability)
    if not who.one_id:
        os.setgroups([])
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    confine.set_capabilities(who.capabilities)
    confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
    confine.prctl(PR_SET_DUMPABLE, 0)


def hold_lifeline(lifeline: socket.socket) -> None:
    """Die with the spawner from now on; exit at once if it is gone already."""
    confine.prctl(PR_SET_PDEATHSIG, 9)
    poll = select.poll()
    poll.register(lifeline, select.POLLRDHUP)
    if poll.poll(0):
        os._exit(1)


_FREED: Final = (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE)


def set_limits() -> None:
    """Leave the caller's resource limits: they are the container's, which the sentry enforces.

    But no core of a daemon or a guest may reach the host's core pattern: a limit of 1 stops a pipe, too (core(5)).
    """
    for kind in _FREED:
        try:
            resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        except ValueError:  # an ordinary user's
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (hard, hard))
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    except ValueError:
        pass  # the hard limit is 0: see warn_of_cores()


def warn_of_cores(warn: Callable[[str], None]) -> None:
    """Say so where that limit cannot be had, and matters."""
    if os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        return
    with open("/proc/sys/kernel/core_pattern", "rb") as file:
        if file.read(1) == b"|":
            warn("the host's core pattern, a pipe, may be fed with what guests were: raise `ulimit -H -c` from 0 to 1")


def last_capability() -> int:
    """Return the number of the host kernel's last capability."""
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        return int(file.read())


def preload() -> None:
    """Import what the interpreter itself loads late: to show a traceback, to encode text."""
    import encodings.ascii
    import encodings.latin_1
    import errno
    import linecache
    import struct
    import traceback

    assert all((encodings.ascii, encodings.latin_1, errno, linecache, struct, traceback))
