"""The terminal that the container was given, as the screen and keyboard of a terminal inside.

The supervisor has put it into raw mode: the line discipline is the one in here.  It stays blocking, since others share
it; so it is written in small parts, each after the host has said that there is room.
"""

from __future__ import annotations

import os
import select
import struct
from fcntl import ioctl
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux import termios as abi
from pysc.cabi.linux.fcntl import O_RDWR
from pysc.cabi.linux.poll import EPOLLET, IN, OUT, UNASKED
from pysc.sentry.fs.bytequeue import ByteQueue
from pysc.sentry.fs.devpts import find_instance
from pysc.sentry.fs.path import Path
from pysc.sentry.fs.ttyfile import TtyFile
from pysc.sentry.hostfds import HostFd
from pysc.sentry.kernel.scheduler import now
from pysc.sentry.kernel.tty import Tty

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Owner
    from pysc.sentry.fs.path import MountNamespace
    from pysc.sentry.platform.interface import Platform

OUTPUT: Final = 16384
INPUT: Final = 4096
PATIENCE: Final = 2_000_000_000
"""Nanoseconds that a terminal which takes nothing can delay the end."""
PART: Final = 256
"""Bytes that a terminal takes at once when it says that it takes any."""


class HostTerminal:
    """The driver of a terminal that is the host's; owns ``fd``."""

    __slots__ = ("_output", "_platform", "_poller", "fd", "tty")

    def __init__(self, fd: HostFd, platform: Platform, window: tuple[int, int]) -> None:
        self.fd = fd
        self._platform = platform
        self._output = ByteQueue()
        self.tty = Tty(self, 0, (*(window if window != (0, 0) else _window_of(fd)), 0, 0))
        self.rebuild()

    def rebuild(self) -> None:
        """Make what is of this process (pysc.sentry.state)."""
        self._poller = select.poll()
        self._poller.register(self.fd, IN | OUT)
        self._platform.watch(self.fd, IN | OUT | UNASKED | EPOLLET, self._on_ready)

    def resize(self, rows: int, columns: int) -> None:
        """The window has a new size."""
        self.tty.resize((rows, columns, 0, 0))

    def finish(self) -> None:
        """Show the last output: the container has ended, and there is no loop any more that would."""
        deadline = now() + PATIENCE
        while self._output and now() < deadline:
            self._poller.poll(100)
            self._write()

    # As the terminal's driver
    @property
    def room(self) -> int:
        """Bytes of output that it takes now."""
        return OUTPUT - len(self._output)

    def show(self, data: bytes) -> None:
        """Take output."""
        self._output.append(data)
        self._write()

    def drop_output(self) -> None:
        """Drop output that the host has not taken."""
        self._output.clear()

    def input_wanted(self) -> None:
        """Go on with input: the edge that told of it may be past."""
        self._read()

    def tell(self, status: int) -> None:
        """There is nobody to tell: the host's terminal has no packet mode here."""

    # The host's side
    def _ready(self) -> int:
        found = self._poller.poll(0)
        return found[0][1] if found else 0

    def _on_ready(self, events: int) -> None:
        if events & (IN | UNASKED):
            self._read()
        if self._output:
            self._write()
            if self.room > 1:
                self.tty.output_wanted()

    def _read(self) -> None:
        tty = self.tty
        while not tty.hung_up:
            room = min(tty.input_room, INPUT)
            ready = self._ready()
            if not room or not ready & (IN | UNASKED):
                return
            try:
                data = os.read(self.fd, room)
            except OSError:
                data = b""
            if not data:
                self._end()
                return
            tty.input(data)

    def _write(self) -> None:
        output = self._output
        while output and self._ready() & (OUT | UNASKED):
            try:
                output.drop(os.write(self.fd, output.peek(PART)))
            except OSError:
                self._end()
                return

    def _end(self) -> None:
        self._output.clear()
        if not self.tty.hung_up:
            self._platform.unwatch(self.fd)
            self.tty.hang_up()


def _window_of(fd: int) -> tuple[int, int]:
    try:
        rows, columns, _, _ = struct.unpack("HHHH", ioctl(fd, abi.TIOCGWINSZ, bytes(8)))
    except OSError:
        return 0, 0
    return rows, columns


def open_console(terminal: HostTerminal, namespace: MountNamespace, owner: Owner) -> TtyFile:
    """Return a description of the terminal; under a name in the container's devpts, if there is one."""
    found = find_instance(namespace)
    if found is None:
        return TtyFile(terminal.tty, O_RDWR, owner=owner)
    fs, root = found
    inode = fs.adopt(terminal.tty, owner.uid)
    dentry = root.dentry.add(b"%d" % inode.index, inode)
    return TtyFile(terminal.tty, O_RDWR, Path(root.mount, dentry), owner)
