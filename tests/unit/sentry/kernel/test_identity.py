"""Credentials, capabilities, process groups, sessions, limits."""

from __future__ import annotations

import struct

import pytest
from msgspec.structs import replace

from pysc.cabi.linux.capability import CAP_CHOWN, CAP_KILL, CAP_NET_RAW, CAP_SETUID, CAPABILITY_VERSION_3
from pysc.cabi.linux.errors import EACCES, EINVAL, EPERM, ESRCH
from pysc.cabi.linux.signals import SIGCONT, SIGHUP, SIGSTOP
from pysc.sentry.kernel.credentials import NO_ID, Credentials
from pysc.sentry.platform.interface import Kind
from tests.unit.sentry.kernel.kernel_world import ALL_CAPS, BASE, World


def test_root_gives_everything_up_by_setuid(world: World) -> None:
    child = world.fork(world.init)
    assert world.call(child, "setuid", 1000) == 0
    creds = child.creds
    assert (creds.uid, creds.euid, creds.suid, creds.fsuid) == (1000,) * 4
    assert (creds.permitted, creds.effective) == (0, 0)
    assert world.call(child, "setuid", 0) == -EPERM.errno
    assert child.thread.ids[3:5] == (1000, 1000)  # type: ignore[attr-defined]


def test_seteuid_and_back(world: World) -> None:
    child = world.fork(world.init)
    assert world.call(child, "setresuid", NO_ID, 1000, NO_ID) == 0
    assert child.creds.effective == 0
    assert child.creds.permitted == ALL_CAPS
    assert world.call(child, "setresuid", NO_ID, 0, NO_ID) == 0
    assert child.creds.effective == ALL_CAPS


def test_keepcaps(world: World) -> None:
    child = world.fork(world.init)
    assert world.call(child, "prctl", 8, 1) == 0
    assert world.call(child, "setuid", 1000) == 0
    assert child.creds.permitted == ALL_CAPS
    assert child.creds.effective == 0


@pytest.mark.parametrize(
    ("call", "args", "expected"),
    [
        ("setreuid", (NO_ID, 7), (5, 7, 7)),
        ("setreuid", (6, NO_ID), (6, 6, 6)),
        ("setresuid", (6, 7, 5), (6, 7, 5)),
        ("setuid", (7,), (5, 7, 7)),
    ],
)
def test_ordinary_users_move_among_their_ids(
    world: World, call: str, args: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    child = world.fork(world.init)
    child.creds = Credentials(uid=5, euid=6, suid=7, fsuid=6)
    assert world.call(child, call, *args) == 0
    assert (child.creds.uid, child.creds.euid, child.creds.suid) == expected
    assert world.call(child, call, *(99 for _ in args)) == -EPERM.errno


def test_setfsuid_answers_the_old_one_and_moves_file_capabilities() -> None:
    creds = Credentials.of(0, 0, caps=ALL_CAPS).with_fsuid(5)
    assert not creds.has_capability(CAP_CHOWN)
    assert creds.has_capability(CAP_KILL)
    assert creds.with_fsuid(0).has_capability(CAP_CHOWN)


def test_capset_never_adds(world: World) -> None:
    child = world.fork(world.init)
    header = world.write(child, 0, struct.pack("<Ii", CAPABILITY_VERSION_3, 0))
    few = 1 << CAP_NET_RAW
    data = world.write(child, 16, struct.pack("<6I", few, few, 0, 0, 0, 0))
    assert world.call(child, "capset", header, data) == 0
    assert (child.creds.permitted, child.creds.effective) == (few, few)
    world.write(child, 16, struct.pack("<6I", few, few | 1 << CAP_SETUID, 0, 0, 0, 0))
    assert world.call(child, "capset", header, data) == -EPERM.errno
    assert world.call(child, "capget", header, BASE + 64) == 0
    assert struct.unpack("<6I", world.read(child, 64, 24)) == (few, few, 0, 0, 0, 0)


def test_capget_says_which_version_it_likes(world: World) -> None:
    header = world.write(world.init, 0, struct.pack("<Ii", 1, 0))
    assert world.call(world.init, "capget", header, 0) == 0
    assert world.read(world.init, 0, 4) == CAPABILITY_VERSION_3.to_bytes(4, "little")


def test_the_bounding_set_shrinks(world: World) -> None:
    child = world.fork(world.init)
    assert world.call(child, "prctl", 23, CAP_KILL) == 1
    assert world.call(child, "prctl", 24, CAP_KILL) == 0
    assert world.call(child, "prctl", 23, CAP_KILL) == 0
    assert world.call(child, "prctl", 23, 99) == -EINVAL.errno
    fresh = replace(child.creds, inheritable=0).after_exec(0o755, 0, 0, nosuid=False)
    assert fresh.permitted == ALL_CAPS & ~(1 << CAP_KILL)


def test_ambient_capabilities_survive_exec(world: World) -> None:
    creds = Credentials(uid=5, euid=5, suid=5, fsuid=5, permitted=1, inheritable=1)
    child = world.fork(world.init)
    child.creds = creds
    assert world.call(child, "prctl", 47, 2, CAP_CHOWN, 0, 0) == 0
    after = child.creds.after_exec(0o755, 0, 0, nosuid=False)
    assert (after.permitted, after.effective, after.ambient) == (1, 1, 1)
    assert world.call(child, "prctl", 47, 2, CAP_KILL, 0, 0) == -EPERM.errno


def test_sessions_and_groups(world: World) -> None:
    child = world.fork(world.init)
    assert world.call(world.init, "setsid") == -EPERM.errno
    assert world.call(child, "getpgid", 0) == world.init.tid
    assert world.call(world.init, "setpgid", child.tid, 0) == 0
    assert world.call(child, "getpgrp") == child.tid
    assert world.call(child, "setsid") == -EPERM.errno
    other = world.fork(world.init)
    assert world.call(other, "setsid") == other.tid
    assert world.call(other, "getsid", child.tid) == world.init.tid
    assert world.call(world.init, "setpgid", other.tid, 0) == -EPERM.errno
    assert world.call(child, "setpgid", 0, other.tid) == -EPERM.errno
    assert world.call(child, "getpgid", 9999) == -ESRCH.errno
    child.group.did_exec = True
    assert world.call(world.init, "setpgid", child.tid, world.init.tid) == -EACCES.errno


def test_stopped_orphans_are_hung_up(world: World) -> None:
    shell = world.fork(world.init)
    assert world.call(shell, "setsid") == shell.tid
    job = world.fork(shell)
    assert world.call(job, "setpgid", 0, 0) == 0
    assert world.call(shell, "kill", job.tid, SIGSTOP) == 0
    world.event(job, Kind.PREEMPTED)
    assert job.group.stopped
    world.exit(shell)
    assert job.group.exit_status == SIGHUP
    assert not job.group.pending.has(SIGCONT)


def test_limits(world: World) -> None:
    child = world.fork(world.init)
    child.creds = Credentials.of(1000, 1000)
    new = world.write(child, 0, struct.pack("<QQ", 10, 20))
    assert world.call(child, "prlimit64", 0, 7, new, BASE + 32) == 0
    assert struct.unpack("<QQ", world.read(child, 32, 16)) == (1048576, 1048576)
    assert child.group.limit(7) == 10
    world.write(child, 0, struct.pack("<QQ", 10, 30))
    assert world.call(child, "setrlimit", 7, new) == -EPERM.errno
    world.write(child, 0, struct.pack("<QQ", 30, 20))
    assert world.call(child, "setrlimit", 7, new) == -EINVAL.errno
    assert world.call(child, "prlimit64", world.init.tid, 7, 0, BASE) == -EPERM.errno
    grandchild = world.fork(child)
    assert grandchild.group.limit(7) == 10


def test_names(world: World) -> None:
    world.write(world.init, 0, b"a-very-long-name-for-a-task\0")
    assert world.call(world.init, "prctl", 15, BASE) == 0
    assert world.init.comm == b"a-very-long-nam"
    world.write(world.init, 0, b"host")
    assert world.call(world.init, "sethostname", BASE, 4) == 0
    assert world.call(world.init, "uname", BASE) == 0
    assert world.read(world.init, 65, 5) == b"host\0"
    child = world.fork(world.init)
    child.creds = Credentials.of(1000, 1000)
    assert world.call(child, "sethostname", BASE, 4) == -EPERM.errno
