"""The caller's terminal: raw while the program runs, its size, and the pty that a console socket asks for."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from typing import Any, Final

from pysc.supervisor.failure import Failure

_WINSIZE: Final = struct.Struct("HHHH")
_NO_WINDOW: Final = (0, 0)


class Terminal:
    """A terminal and how it was; a copy of the descriptor is held, so that it can be put back whatever happens."""

    def __init__(self, fd: int) -> None:
        self.fd = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
        self._attributes: list[Any] = termios.tcgetattr(self.fd)

    def raw(self) -> None:
        """Pass every key to the program: the line discipline is the sentry's."""
        attributes = termios.tcgetattr(self.fd)
        _make_raw(attributes)
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)

    def restore(self) -> None:
        """Set it as it was.  SIGTTOU must be blocked, or this be another session's process."""
        try:
            termios.tcsetattr(self.fd, termios.TCSANOW, self._attributes)
        except termios.error:
            pass  # it hung up

    def window(self) -> tuple[int, int]:
        """Return rows and columns."""
        return window_of(self.fd)


def _make_raw(attributes: list[Any]) -> None:
    """cfmakeraw(3), which the module tty has from Python 3.12 on."""
    attributes[0] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    attributes[1] &= ~termios.OPOST
    attributes[2] = attributes[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    attributes[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    attributes[6][termios.VMIN] = 1
    attributes[6][termios.VTIME] = 0


def window_of(fd: int) -> tuple[int, int]:
    """Return rows and columns of a terminal; (0, 0) if it has none."""
    try:
        rows, columns, _, _ = _WINSIZE.unpack(fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(_WINSIZE.size)))
    except OSError:
        return _NO_WINDOW
    return rows, columns


def open_pty(console_socket: str, window: tuple[int, int]) -> int:
    """Make a pty, send its master to the socket (data ``/dev/ptmx``, one descriptor), return the slave.

    Raises:
        Failure: the socket does not take it.
    """
    master, slave = os.openpty()
    try:
        if window != _NO_WINDOW:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, _WINSIZE.pack(*window, 0, 0))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(console_socket)
            socket.send_fds(sock, [b"/dev/ptmx"], [master])
    except OSError as error:
        os.close(slave)
        raise Failure(f"console socket {console_socket}: {error.strerror or error}") from None
    finally:
        os.close(master)
    return slave
