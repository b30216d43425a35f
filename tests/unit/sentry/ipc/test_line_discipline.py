"""The line discipline, beside the host's own in a pseudo-terminal."""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios as host

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pysc.cabi.linux import termios as abi
from pysc.cabi.linux.signals import SIGINT, SIGQUIT, SIGTSTP
from pysc.sentry.kernel.line_discipline import LineDiscipline, Termios

PATIENCE_MS = 500
"""How long the host may take for what it is expected to do: it works in the background."""


class Screen:
    """A terminal that only takes notes."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    def signal(self, signo: int) -> None:
        self.signals.append(signo)

    def flush_output(self) -> None:
        pass

    def tell(self, status: int) -> None:
        assert status == abi.PKT_FLUSHREAD

    def set_stopped(self, stopped: bool) -> None:
        pass


def discipline(**modes: int) -> LineDiscipline:
    return LineDiscipline(Screen(), Termios(**modes))


def typed(line: LineDiscipline, keys: bytes) -> bytes:
    """Type, and return what is shown."""
    line.receive(keys)
    shown = bytes(line.echoes)
    line.echoes.clear()
    return shown


def lines_of(line: LineDiscipline) -> list[bytes]:
    found = []
    while line.readable(1):
        found.append(line.take(4096))
    return found


def test_editing() -> None:
    line = discipline()
    assert typed(line, b"helo\x7flo wrld\x17world\r") == b"helo\b \blo wrld\b \b\b \b\b \b\b \bworld\r\n"
    assert lines_of(line) == [b"hello world\n"]
    assert typed(line, b"gone\x15") == b"gone\b \b\b \b\b \b\b \b"
    assert not line.readable(1)


def test_eof_ends_a_line_without_being_in_it() -> None:
    line = discipline()
    typed(line, b"ab\x04\x04cd\n")
    assert line.take(2) == b"ab"
    assert lines_of(line) == [b"", b"cd\n"]


def test_signals_flush() -> None:
    line = discipline()
    assert typed(line, b"lost\x03") == b"^C"
    typed(line, b"x\x1c\x1a\n")
    assert line.terminal.signals == [SIGINT, SIGQUIT, SIGTSTP]  # type: ignore[attr-defined]
    assert lines_of(line) == [b"\n"]


def test_a_full_line_keeps_its_end() -> None:
    line = discipline(lflag=abi.ICANON)
    typed(line, b"x" * 5000 + b"\n")
    (data,) = lines_of(line)
    assert len(data) == 4095
    assert data[-1:] == b"\n"
    assert line.room == 4095


def test_raw_input_is_bounded_by_room() -> None:
    line = discipline(lflag=0)
    typed(line, b"x" * 4095)
    assert line.room == 0


def test_modes_change_with_input_waiting() -> None:
    line = discipline()
    typed(line, b"one\ntwo")
    line.set_termios(Termios(lflag=0))
    assert len(line) == 7
    line.set_termios(Termios())
    assert lines_of(line) == [b"one\ntwo"]


LFLAGS = [abi.ECHO, abi.ECHOE, abi.ECHOK, abi.ECHONL, abi.ECHOCTL, abi.ECHOPRT, abi.ECHOKE, abi.IEXTEN, abi.ICANON]
IFLAGS = [abi.ICRNL, abi.IGNCR, abi.ISTRIP, abi.IUTF8, abi.PARMRK, abi.IUCLC]
OFLAGS = [abi.OPOST, abi.ONLCR, abi.OCRNL, abi.ONOCR, abi.ONLRET, abi.XTABS, abi.OLCUC]
KEYS = st.lists(
    st.sampled_from([b"a", b"B_9", b"-", b" ", b"\t", b"\xc3\xa4", b"\xff", b"\x01", b"\n", b"\r"])
    | st.sampled_from([b"\x7f", b"\x15", b"\x17", b"\x12", b"\x16", b"\x04", b"\x08"]),
    max_size=25,
).map(b"".join)


def union(flags: list[int]) -> st.SearchStrategy[int]:
    return st.sets(st.sampled_from(flags)).map(sum)


def read_expected(fd: int, expected: int) -> bytes:
    """Read until as much has come as was expected, and nothing more is there."""
    found = b""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while poller.poll(PATIENCE_MS if len(found) < expected else 0):
        found += os.read(fd, 65536)
    return found


@given(
    union(LFLAGS) | st.just(abi.ICANON | abi.ECHO | abi.ECHOE | abi.ECHOK | abi.ECHOKE | abi.ECHOCTL | abi.IEXTEN),
    union(IFLAGS),
    union(OFLAGS) | st.just(abi.OPOST | abi.ONLCR),
    KEYS,
)
@example(abi.ICANON | abi.ECHO | abi.ECHOE | abi.IEXTEN, 0, abi.OPOST | abi.ONLCR, b"ab\tc\td\x7f\x7f\x7f\x7f")
@example(abi.ICANON | abi.ECHO | abi.ECHOE | abi.ECHOCTL | abi.IEXTEN, 0, 0, b"a\x12\x7f\t\x7f")
@example(abi.ICANON | abi.ECHO | abi.ECHOK | abi.ECHONL | abi.IEXTEN, 0, abi.OPOST | abi.ONLCR, b"a\x17")
@settings(max_examples=250)
def test_same_as_the_host(lflag: int, iflag: int, oflag: int, keys: bytes) -> None:
    """What is shown, and what can be read, for any modes and keys."""
    keys += b"xx\n"
    ours = discipline(iflag=iflag, oflag=oflag, lflag=lflag)
    shown = typed(ours, keys)
    master, slave = os.openpty()
    try:
        modes = host.tcgetattr(slave)
        modes[0], modes[1], modes[3] = iflag, oflag, lflag
        modes[6] = [bytes([char]) for char in abi.DEFAULT_CC] + modes[6][len(abi.DEFAULT_CC) :]
        host.tcsetattr(slave, host.TCSANOW, modes)
        os.set_blocking(slave, False)
        os.write(master, keys)
        assert read_expected(master, len(shown)) == shown
        poller = select.poll()
        poller.register(slave, select.POLLIN)
        for data in lines_of(ours):
            assert poller.poll(PATIENCE_MS)
            assert os.read(slave, 4096) == data
        assert not poller.poll(0)
    finally:
        os.close(master)
        os.close(slave)


@given(union(OFLAGS) | st.just(abi.OPOST | abi.ONLCR), st.lists(KEYS, max_size=4))
@settings(max_examples=100)
def test_output_same_as_the_host(oflag: int, writes: list[bytes]) -> None:
    ours = discipline(oflag=oflag, lflag=abi.ICANON)
    expected = b"".join(map(ours.process_output, writes))
    master, slave = os.openpty()
    try:
        modes = host.tcgetattr(slave)
        modes[0], modes[1], modes[3] = 0, oflag, abi.ICANON
        host.tcsetattr(slave, host.TCSANOW, modes)
        for data in writes:
            os.write(slave, data)
        assert read_expected(master, len(expected)) == expected
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_reading_parts_of_a_line_same_as_the_host(size: int) -> None:
    ours = discipline()
    typed(ours, b"abc\x04de\n")
    master, slave = os.openpty()
    try:
        os.write(master, b"abc\x04de\n")
        count = array.array("i", [0])
        while count[0] < len(ours):
            fcntl.ioctl(slave, host.FIONREAD, count)
        while ours.readable(1):
            assert os.read(slave, size) == ours.take(size)
    finally:
        os.close(master)
        os.close(slave)
