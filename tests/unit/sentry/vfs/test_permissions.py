"""Who may do what: discretionary access, sticky and setgid directories, the rules of chmod(2) and chown(2)."""

from __future__ import annotations

import pytest

from pysc.cabi.linux.errors import EACCES, EPERM
from pysc.cabi.linux.fcntl import AT_FDCWD, O_CREAT, O_NOATIME
from tests.support.vfs_world import BUFFER, World

NO_ID = 0xFFFF_FFFF


@pytest.mark.parametrize(
    ("bits", "owner", "group", "granted"),
    [
        (0o700, 1000, 0, 7),
        (0o070, 1000, 0, 0),
        (0o007, 1000, 0, 0),
        (0o070, 0, 1000, 7),
        (0o070, 0, 2000, 7),
        (0o707, 0, 2000, 0),
        (0o005, 0, 0, 5),
        (0o640, 0, 2000, 4),
    ],
)
def test_classes(root: World, user: World, bits: int, owner: int, group: int, granted: int) -> None:
    """The owner's bits are for the owner, the group's for members, and no other class helps out."""
    root.put_file(b"/f")
    root.call("chown", b"/f", owner, group)
    root.call("chmod", b"/f", bits)
    for wanted in range(8):
        expected = 0 if wanted & ~granted == 0 else -EACCES.errno
        assert user.call("access", b"/f", wanted) == expected, wanted


def test_root_may_all_but_execute_what_nobody_can(root: World) -> None:
    root.put_file(b"/f", mode=0o000)
    assert root.call("access", b"/f", 6) == 0
    assert root.call("access", b"/f", 1) == -EACCES.errno
    root.call("chmod", b"/f", 0o001)
    assert root.call("access", b"/f", 1) == 0


def test_writing_a_directory(root: World, user: World) -> None:
    root.call("mkdir", b"/d", 0o755)
    root.put_file(b"/d/f")
    assert user.open(b"/d/new", O_CREAT) == -EACCES.errno
    assert user.call("mkdir", b"/d/new", 0o755) == -EACCES.errno
    assert user.call("mkdir", b"/d/f", 0o755) == -17  # what is there comes first
    assert user.call("unlink", b"/d/f") == -EACCES.errno
    assert user.call("rename", b"/d/f", b"/d/g") == -EACCES.errno
    assert user.call("symlink", b"x", b"/d/l") == -EACCES.errno


def test_links_to_what_others_own(root: World, user: World) -> None:
    """fs.protected_hardlinks: what a user could not write, or what runs as another, gets no name of the user's."""
    root.call("mkdir", b"/mine", 0o755)
    root.call("chown", b"/mine", 1000, 1000)
    for number, (mode, answer) in enumerate(
        [(0o644, -EPERM.errno), (0o666, 0), (0o4666, -EPERM.errno), (0o2676, -EPERM.errno), (0o2666, 0)]
    ):
        name = b"/f%d" % number
        root.put_file(name)
        root.call("chmod", name, mode)
        assert user.call("link", name, b"/mine" + name) == answer, oct(mode)
    root.call("chown", b"/f0", 1000, 0)
    assert user.call("link", b"/f0", b"/mine/own") == 0
    assert user.call("link", b"/f1", b"/elsewhere") == -EACCES.errno
    root.put_file(b"/theirs")
    assert user.call("link", b"/theirs", b"/elsewhere") == -EPERM.errno  # before the directory is looked at
    assert root.call("link", b"/theirs", b"/elsewhere") == 0


def test_sticky(root: World, user: World) -> None:
    root.call("mkdir", b"/tmp", 0o777)
    root.call("chmod", b"/tmp", 0o1777)
    root.put_file(b"/tmp/theirs")
    user.put_file(b"/tmp/mine")
    assert user.call("unlink", b"/tmp/theirs") == -EPERM.errno
    assert user.call("rename", b"/tmp/theirs", b"/tmp/x") == -EPERM.errno
    assert user.call("rename", b"/tmp/mine", b"/tmp/theirs") == -EPERM.errno
    assert user.call("unlink", b"/tmp/mine") == 0


def test_new_files_belong_to_their_maker(root: World, user: World) -> None:
    root.call("mkdir", b"/d", 0o777)
    root.call("chmod", b"/d", 0o777)
    user.put_file(b"/d/f")
    assert user.stat(b"/d/f")[4:6] == (1000, 1000)


def test_setgid_directory_hands_its_group_down(root: World, user: World) -> None:
    root.call("mkdir", b"/d", 0o777)
    root.call("chown", b"/d", 0, 3000)
    root.call("chmod", b"/d", 0o2777)
    user.call("mkdir", b"/d/e", 0o755)
    user.put_file(b"/d/f", mode=0o2755)
    assert user.stat(b"/d/e")[3] & 0o7777 == 0o2755
    assert user.stat(b"/d/e")[5] == 3000
    assert user.stat(b"/d/f")[3] & 0o7777 == 0o755  # no setgid for a group one is not in
    assert user.stat(b"/d/f")[5] == 3000


def test_chmod(root: World, user: World) -> None:
    root.put_file(b"/f")
    assert user.call("chmod", b"/f", 0o777) == -EPERM.errno
    root.call("chown", b"/f", 1000, 3000)
    assert user.call("chmod", b"/f", 0o2755) == 0
    assert user.stat(b"/f")[3] & 0o7777 == 0o755
    root.call("chown", b"/f", 1000, 2000)
    assert user.call("chmod", b"/f", 0o2755) == 0
    assert user.stat(b"/f")[3] & 0o7777 == 0o2755


def test_chown(root: World, user: World) -> None:
    root.put_file(b"/f")
    root.call("chown", b"/f", 1000, 1000)
    assert user.call("chown", b"/f", 0, NO_ID) == -EPERM.errno
    assert user.call("chown", b"/f", NO_ID, 3000) == -EPERM.errno
    assert user.call("chown", b"/f", 1000, 2000) == 0
    root.call("chmod", b"/f", 0o6755)
    assert user.call("chown", b"/f", NO_ID, 1000) == 0
    assert user.stat(b"/f")[3] & 0o7777 == 0o755


def test_writing_takes_setuid_away(root: World, user: World) -> None:
    root.put_file(b"/f")
    root.call("chown", b"/f", 1000, 1000)
    root.call("chmod", b"/f", 0o6755)
    fd = root.open(b"/f", 1)
    root.write(fd, b"x")
    assert root.stat(b"/f")[3] & 0o7777 == 0o6755  # CAP_FSETID
    fd = user.open(b"/f", 1)
    user.write(fd, b"x")
    assert user.stat(b"/f")[3] & 0o7777 == 0o755


def test_times(root: World, user: World) -> None:
    root.put_file(b"/f")
    root.call("chmod", b"/f", 0o666)
    explicit = user.poke((1).to_bytes(8, "little") + bytes(8) + (2).to_bytes(8, "little") + bytes(8))
    path = user.poke(b"/f\0", BUFFER + 100)
    assert user.call("utimensat", AT_FDCWD, path, explicit, 0) == -EPERM.errno
    assert user.call("utimensat", AT_FDCWD, path, 0, 0) == 0  # now: who may write may
    root.call("chmod", b"/f", 0o644)
    assert user.call("utimensat", AT_FDCWD, path, 0, 0) == -EACCES.errno
    root.poke(b"/f\0", BUFFER + 100)
    root.poke((1).to_bytes(8, "little") + bytes(8) + (2).to_bytes(8, "little") + bytes(8))
    assert root.call("utimensat", AT_FDCWD, path, explicit, 0) == 0
    assert root.stat(b"/f")[10] == 1
    assert root.stat(b"/f")[12] == 2


def test_noatime_is_the_owners(root: World, user: World) -> None:
    root.put_file(b"/f")
    assert user.open(b"/f", O_NOATIME) == -EPERM.errno
    assert root.open(b"/f", O_NOATIME) >= 0


def test_access_asks_for_the_real_user(root: World) -> None:
    """access(2) of a setuid program sees what its caller may."""
    root.put_file(b"/f", mode=0o600)
    root.creds = root.creds.with_uids(1000, 0, 0)
    assert root.call("access", b"/f", 4) == -EACCES.errno
    assert root.call("faccessat2", AT_FDCWD, b"/f", 4, 0x200) == 0
