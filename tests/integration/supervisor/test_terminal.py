"""The caller's terminal: raw while the program runs, its size passed on, and as it was whatever happens."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import termios
from collections.abc import Iterator

import pytest

from tests.integration.supervisor.runtime import Runtime, eventually

PROCESS = {"args": ["sleep"], "cwd": "/", "terminal": True}


@pytest.fixture
def pty() -> Iterator[tuple[int, int]]:
    """Return master and slave of a terminal of 24 by 80."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    yield master, slave
    os.close(master)
    os.close(slave)


def read_until(master: int, text: bytes) -> bytes:
    """Read what is shown until ``text`` has come."""
    seen = b""
    while text not in seen:
        ready, _, _ = select.select([master], [], [], 10)
        assert ready, f"only this was shown: {seen!r}"
        seen += os.read(master, 4096)
    return seen


def in_terminal(runtime: Runtime, slave: int, *command: str) -> subprocess.Popen[str]:
    """Start a command as a shell would: in a session whose controlling terminal is ``slave``."""

    def control() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    return runtime.start(*command, stdin=slave, stdout=slave, stderr=slave, preexec_fn=control)


def raw(slave: int) -> bool:
    return not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


def test_raw_while_it_runs_and_restored_at_the_end(runtime: Runtime, pty: tuple[int, int]) -> None:
    master, slave = pty
    before = termios.tcgetattr(slave)
    runtime.bundle(process=PROCESS)
    process = in_terminal(runtime, slave, "run", "-b", str(runtime.place / "bundle"), "box")
    read_until(master, b"running")
    assert raw(slave)
    assert runtime.run("kill", "box", "TERM").returncode == 0
    assert process.wait(10) == 7
    assert termios.tcgetattr(slave) == before


@pytest.mark.parametrize("role", ["supervisor", "spawner", "sentry"])
def test_restored_after_a_kill(runtime: Runtime, pty: tuple[int, int], role: str) -> None:
    master, slave = pty
    before = termios.tcgetattr(slave)
    runtime.bundle(process=PROCESS)
    process = in_terminal(runtime, slave, "run", "-b", str(runtime.place / "bundle"), "box")
    read_until(master, b"running")
    state = runtime.read_state("box")
    os.kill((state["daemons"] | {"supervisor": state["pid"]})[role], signal.SIGKILL)
    process.wait(10)
    eventually(lambda: termios.tcgetattr(slave) == before, "the terminal is not restored")


def test_a_new_size_is_passed_on(runtime: Runtime, pty: tuple[int, int]) -> None:
    master, slave = pty
    process = in_terminal(runtime, slave, "do", "--", "window")
    read_until(master, b"running")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 132, 0, 0))
    read_until(master, b"window 50 132")
    assert process.wait(10) == 0


def test_a_terminal_is_not_used_when_output_goes_elsewhere(runtime: Runtime, pty: tuple[int, int]) -> None:
    _, slave = pty
    done = runtime.run("do", "--", "echo", "x", stdin=slave)
    assert done.stdout == "x\n"
    assert not raw(slave)


def test_console_socket(runtime: Runtime) -> None:
    runtime.bundle(process=PROCESS | {"consoleSize": {"height": 30, "width": 100}})
    path = str(runtime.place / "console.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        created = runtime.run(
            "create", "-b", runtime.place / "bundle", "--console-socket", path, "box",
            capture_output=False, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        assert created.returncode == 0
        peer, _ = listener.accept()
        with peer:
            data, fds, _, _ = socket.recv_fds(peer, 64, 4)
    assert data == b"/dev/ptmx"
    (master,) = fds
    assert struct.unpack("HHHH", fcntl.ioctl(master, termios.TIOCGWINSZ, bytes(8)))[:2] == (30, 100)
    assert runtime.run("start", "box").returncode == 0
    read_until(master, b"running")
    runtime.run("delete", "--force", "box")
    with pytest.raises(OSError, match="Input/output error"):  # nobody holds the slave
        os.read(master, 64)
    os.close(master)
