"""The attribute user.pysc.owner: what parses, and where it counts."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysc.cabi import host
from pysc.cabi.linux.attributes import HostAttributes
from pysc.cabi.linux.errors import ESTALE
from tests.support.needs import missing

WELL_FORMED = re.compile(rb"(0|[1-9][0-9]{0,9}):(0|[1-9][0-9]{0,9}):([0-7]{4})")
NO_ID = 0xFFFF_FFFF


def as_a_reader_would(text: bytes) -> host.Owner | None:
    """Parse it by another way."""
    match = WELL_FORMED.fullmatch(text)
    if match is None:
        return None
    owner = host.Owner(int(match[1]), int(match[2]), int(match[3], 8))
    return owner if max(owner.uid, owner.gid) < NO_ID else None


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        (b"0:0:0000", host.Owner(0, 0, 0)),
        (b"1000:100:4755", host.Owner(1000, 100, 0o4755)),
        (b"4294967294:4294967294:7777", host.Owner(NO_ID - 1, NO_ID - 1, 0o7777)),
    ],
)
def test_what_is_written_is_read(text: bytes, owner: host.Owner) -> None:
    assert host.parse_owner_untrusted(text) == owner
    assert owner.text() == text


@pytest.mark.parametrize(
    "text",
    [
        b"", b":", b"::", b"0:0:", b"0:0", b"0:0:644", b"0:0:00644", b"0:0:0888", b"0:0:100644", b"00:0:0644",
        b"01:0:0644", b"-1:0:0644", b"+1:0:0644", b" 1:0:0644", b"1:0:0644 ", b"1:0:0644\n", b"1:0:0644\0",
        b"0x1:0:0644", b"4294967295:0:0644", b"0:4294967295:0644", b"4294967296:0:0644", b"99999999999999999999:0:0644",
        b"1:2:3:0644", b"1:0:0644:file", b"1\0:0:0644", b"1:0:-644", b"1:0:0o44", b"\xff:0:0644", b"1:0:06440" * 1000,
    ],
)  # fmt: skip
def test_what_is_malformed_is_none(text: bytes) -> None:
    assert host.parse_owner_untrusted(text) is None
    assert as_a_reader_would(text) is None


PIECES = st.sampled_from([b"0", b"1", b"7", b"8", b":", b"::", b"4294967294", b"4294967295", b"0644", b"\0", b" "])


@given(st.one_of(st.binary(max_size=40), st.lists(PIECES, max_size=9).map(b"".join)))
def test_any_value_is_parsed_as_it_reads(text: bytes) -> None:
    assert host.parse_owner_untrusted(text) == as_a_reader_would(text)


@given(st.builds(host.Owner, st.integers(0, NO_ID - 1), st.integers(0, NO_ID - 1), st.integers(0, 0o7777)))
def test_any_owner_is_kept(owner: host.Owner) -> None:
    assert host.parse_owner_untrusted(owner.text()) == owner


# --- Files: their owner must be root, as the caller is in its own user namespace


@pytest.fixture
def tree(root_user: None, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    try:
        os.setxattr(tmp_path, host.OWNER, b"")
        os.removexattr(tmp_path, host.OWNER)
    except OSError:
        missing("no user attributes in this file system")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield tmp_path, fd
    os.close(fd)


def shown(tree: tuple[Path, int], name: str) -> tuple[int, int, int]:
    """Return owner, group and mode of a file, which must be the same in both ways to look at it."""
    path, directory = tree[0] / name, tree[1]
    fd = os.open(path, os.O_RDONLY)
    try:
        found = HostAttributes.unpack_from(host.show_owner(fd))
    finally:
        os.close(fd)
    plain = host.stat_packed_at(directory, os.fsencode(name))
    assert HostAttributes.unpack_from(host.show_owner_at(plain, directory, os.fsencode(name))) == found
    assert stat.S_IFMT(found.mode) == stat.S_IFMT(path.stat().st_mode)
    return found.uid, found.gid, stat.S_IMODE(found.mode)


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_files_and_directories_have_owners(tree: tuple[Path, int], kind: str) -> None:
    made = tree[0] / "made"
    made.touch(mode=0o755) if kind == "file" else made.mkdir(mode=0o755)
    assert shown(tree, "made") == (0, 0, 0o755)
    os.setxattr(made, host.OWNER, b"7:8:5321")
    assert shown(tree, "made") == (7, 8, 0o5321)


def test_values_that_are_malformed_are_passed_over(tree: tuple[Path, int]) -> None:
    (tree[0] / "file").touch(mode=0o640)
    for value in (b"", b"7:8", b"7:8:0644 ", b"x" * 100, b"7:8:0644" + b"\0" * 3000):
        os.setxattr(tree[0] / "file", host.OWNER, value)
        assert shown(tree, "file") == (0, 0, 0o640)


def test_what_others_could_have_written_does_not_count(tree: tuple[Path, int]) -> None:
    """Who may write to a file may write its attribute; who owns it, anyway."""
    path = tree[0] / "file"
    path.touch()
    os.setxattr(path, host.OWNER, b"0:0:4755")
    for mode in (0o664, 0o646, 0o666):
        path.chmod(mode)
        assert shown(tree, "file") == (0, 0, mode)
    path.chmod(0o644)
    assert shown(tree, "file") == (0, 0, 0o4755)
    os.chown(path, 1000, 0)
    assert shown(tree, "file") == (1000, 0, 0o644)


def test_another_file_of_the_name_is_told(tree: tuple[Path, int]) -> None:
    for file in ("one", "two"):
        (tree[0] / file).touch(mode=0o600)
    os.mkfifo(tree[0] / "fifo")
    (tree[0] / "link").symlink_to("one")
    packed = host.stat_packed_at(tree[1], b"one")
    for name in (b"two", b"link", b"fifo", b"gone"):
        with pytest.raises(OSError, match="Stale") as caught:
            host.show_owner_at(packed, tree[1], name)
        assert caught.value.errno == ESTALE.errno
