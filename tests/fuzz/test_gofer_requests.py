"""Any request at all, from a sentry that was taken over; and any listing, from a gofer that was."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pysc.cabi import host
from pysc.cabi.linux.errors import LinuxError
from pysc.gofer.handlers import handlers
from pysc.gofer.mounts import ServedMount
from pysc.gofer.owners import MAPPED
from pysc.urpc.blocking import Client, serve
from pysc.urpc.codec import HEADER, BadFrame, Codec, Type
from pysc.urpc.fds import FileFd
from pysc.urpc.schema import gofer
from pysc.urpc.schema.gofer import GOFER
from tests.support.schema_strategies import messages

NAMES = st.sampled_from(
    [
        b"", b"a", b"a/b", b"file", b"link", b"link/x", b"fifo", b"..", b"../canary", b"a/../..", b"/etc", b".",
        b"a//b", b"n" * 255, b"n" * 256, b"\xff", b"a\0b", b"user.x", b"trusted.x", b"security.capability",
    ]
)  # fmt: skip
NEVER = {gofer.Connect}
LARGEST_ALLOCATION = 1 << 20


class Tree:
    """A served tree next to a canary, and a gofer on a thread."""

    def __init__(self, base: Path) -> None:
        self.canary = base / "canary"
        self.canary.mkdir()
        (self.canary / "file").write_bytes(b"secret")
        self.root = base / "root"
        self.root.mkdir()
        self.reset()
        self.fd = os.open(self.root, os.O_PATH)
        self.file = os.open(self.root / "file", os.O_RDWR)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mapped = ServedMount(2, self.fd, readonly=False)
        mapped.owners = MAPPED
        table = handlers([ServedMount(0, self.fd, readonly=False), ServedMount(1, self.fd, readonly=True), mapped])
        self.thread = threading.Thread(target=serve, args=(theirs, GOFER, table))
        self.thread.start()
        self.client = Client(ours, GOFER)

    def reset(self) -> None:
        for name in ("a", "a/b"):
            (self.root / name).mkdir(exist_ok=True)
        for name, target in (("link", self.canary), ("up", "../canary")):
            (self.root / name).unlink(missing_ok=True)
            (self.root / name).symlink_to(target)
        if not (self.root / "file").exists():
            (self.root / "file").touch()
        if not (self.root / "fifo").exists():
            os.mkfifo(self.root / "fifo")

    def close(self) -> None:
        self.client.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        os.close(self.fd)
        os.close(self.file)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tree]:
    made = Tree(tmp_path_factory.mktemp("fuzzed"))
    yield made
    made.close()


@pytest.mark.parametrize("kind", [kind for kind in GOFER.requests if kind not in NEVER], ids=lambda kind: kind.__name__)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_request_leaves_the_tree_or_breaks_the_server(fuzzed: Tree, kind: Any, data: st.DataObject) -> None:
    before = os.stat(fuzzed.canary), os.stat(fuzzed.canary / "file")
    request = data.draw(messages(kind, names=NAMES, fds=st.builds(lambda: FileFd(os.dup(fuzzed.file)))))
    if isinstance(request, gofer.Allocate):
        assume(request.length <= LARGEST_ALLOCATION)  # else it takes the whole disk
    refused = ""
    try:
        fuzzed.client.call(request)
    except LinuxError as error:
        refused = str(error)
    assert "a bug" not in refused
    after = os.stat(fuzzed.canary), os.stat(fuzzed.canary / "file")
    assert [(s.st_ctime_ns, s.st_mode, s.st_nlink) for s in before] == [
        (s.st_ctime_ns, s.st_mode, s.st_nlink) for s in after
    ]
    del request
    fuzzed.reset()


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(records=st.binary(max_size=400))
def test_any_listing_is_parsed_or_refused(records: bytes) -> None:
    try:
        host.parse_listing_untrusted(records)
    except OSError:
        pass


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4), cut=st.integers(0, 2000))
def test_a_mutated_listing_is_parsed_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    fd = os.open("/usr", os.O_RDONLY)
    records = bytearray(host.list_packed(fd, 0, 2000, attributes=True)[0])
    os.close(fd)
    for at, value in changes:
        records[at % len(records)] = value
    del records[len(records) - cut % len(records) :]
    try:
        entries = host.parse_listing_untrusted(bytes(records))
    except OSError:
        return
    assert all(entry.name and b"/" not in entry.name and entry.name not in (b".", b"..") for entry in entries)


def test_the_codec_refuses_what_the_schema_does_not_have() -> None:
    server, client = Codec(GOFER, serves=True), Codec(GOFER, serves=False)
    server.receive_untrusted(client.hello()[0], [])
    with pytest.raises(BadFrame):
        server.receive_untrusted(HEADER.pack(Type.EVENT, 0) + b"\x91\x01", [])
