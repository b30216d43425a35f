"""The zygote: the guest half as its own small process, started before lock-down, which makes blank processes.

The sentry cannot exec; the zygote can, and no memory of an interpreter ever reaches a guest.  Orders go over a socket
pair; a blank announces itself on its space's socket.  The filter's listener (seccomp_unotify(2)) is inherited by all
guests: their ``clone`` comes to the sentry.
"""

from __future__ import annotations

import array
import errno
import os
import signal
import socket
import struct
from collections.abc import Sequence
from typing import Final

from pysc.cabi import confine
from pysc.sentry.hostfds import NONE, Held, Of, close, hold
from pysc.sentry.platform.interface import PlatformError

_ANSWER: Final = struct.Struct("<q")
_HWCAP2: Final = 26
_FSGSBASE: Final = 1 << 1
OOM_SCORE_ADJ_MAX: Final = 1000
OFFERED: Final = 500
"""How much more readily than the daemons guests are killed when memory is short."""


def check_host() -> None:
    """Fail in one line where user code may not set FS and GS bases.

    Raises:
        PlatformError: it may not.
    """
    if not confine.auxiliary(_HWCAP2) & _FSGSBASE:
        raise PlatformError("systrap needs FSGSBASE: boot Linux 5.9 or later, without nofsgsbase")


class Zygote:
    """A running zygote.  ``listener`` is ours."""

    __slots__ = ("_image", "_oom_score_adj", "_theirs", "listener", "pid", "socket")

    def __init__(self, image: bytes, oom_score_adj: int) -> None:
        self._oom_score_adj = oom_score_adj
        self.pid = 0
        self.listener = NONE
        self.socket, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._image = hold(os.memfd_create("pysc-guest", os.MFD_CLOEXEC), Held(Of.ENGINE))
        os.write(self._image, image)

    def start(self) -> None:
        """Fork, exec, and take the listener.

        Raises:
            PlatformError: the host refused.
        """
        self.pid = os.fork()
        if self.pid == 0:
            self._become()
        self._close_theirs()
        data, files, _flags, _address = socket.recv_fds(self.socket, _ANSWER.size, 1)
        if len(data) != _ANSWER.size:
            raise PlatformError("the guest half did not start: is the host's /proc/sys/kernel/seccomp there?")
        (answer,) = _ANSWER.unpack(data)
        if answer < 0 or not files:
            name = errno.errorcode.get(-answer, str(-answer))
            raise PlatformError(
                f"systrap needs seccomp listeners ({name}): boot Linux 5.19 or later, or allow seccomp(2)"
            )
        self.listener = hold(files[0], Held(Of.ENGINE))
        self.socket.setblocking(False)

    def _close_theirs(self) -> None:
        self._theirs.close()
        close(self._image)
        self._image = NONE

    def _become(self) -> None:
        """In the child: nothing but the socket (3) and the image (4) crosses the exec."""
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            self._offer()
            high = [os.dup(fd) for fd in (self._theirs.fileno(), self._image) for _ in range(6)]
            os.dup2(high[5], 3)
            os.dup2(high[11], 4)
            os.set_inheritable(3, True)
            os.set_inheritable(4, True)
            for fd in (0, 1, 2):
                os.close(fd)
            os.execve(4, ["zygote"], {})  # noqa: S606
        finally:
            os._exit(127)

    def _offer(self) -> None:
        """Let the host that runs out of memory kill guests, not daemons; what a guest writes there is the sentry's."""
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
            wanted = max(self._oom_score_adj, int(file.read()) + OFFERED)
            file.seek(0)
            file.write(str(min(wanted, OOM_SCORE_ADJ_MAX)))

    def order(self, files: Sequence[int]) -> None:
        """Ask for a blank with socket, channel, shared page (borrowed).  BlockingIOError: too many orders."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))]
        self.socket.sendmsg([bytes(8)], rights)

    def stop(self) -> None:
        """End it and reap it."""
        self.socket.close()
        if self._image >= 0:
            self._close_theirs()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
        if self.listener >= 0:
            close(self.listener)
            self.listener = NONE
