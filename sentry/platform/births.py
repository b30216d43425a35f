"""The listener: guests' clone(2) calls, held by the host until we have compared them with what we ordered.

CONTINUE is safe because all that is compared is in registers.  A preempt signal can make the answer fail or a second
notification follow: whatever is expected stays so until the child has reported or the parent's batch is done.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import EAGAIN, EPERM

if TYPE_CHECKING:
    from pysc.sentry.platform.space import SystrapSpace
    from pysc.sentry.platform.systrap import Systrap

_CONTINUE: Final = 1
_NR_CLONE: Final = 56


class Births:
    """Answers every notification at once."""

    def __init__(self, platform: Systrap) -> None:
        self._platform = platform
        self._listener = -1

    def start(self, listener: int) -> None:
        """Listen (``listener`` is borrowed)."""
        self._listener = listener
        failed = lib.pysc_listen(self._platform.engine, listener)
        if failed:
            raise OSError(-failed, os.strerror(-failed))

    def on_notified(self) -> None:
        """Answer what the dispatcher has not: births, what nobody ordered, and orders that it has no room for."""
        note = lib.pysc_notify_last(self._platform.engine)
        flags = note.args[0]
        if note.nr == _NR_CLONE and flags == lib.PYSC_CLONE_BIRTH:
            self._birth(note.id, note.pid, note.args[1])
        elif note.nr == _NR_CLONE and self._expected(note.pid, flags):
            lib.pysc_notify_answer(self._listener, note.id, 0, 0, _CONTINUE)
        else:
            self._refuse(note.id)

    def _refuse(self, note: int) -> None:
        lib.pysc_notify_answer(self._listener, note, 0, -EPERM.errno, 0)

    def _expected(self, tid: int, flags: int) -> bool:
        """Whether the thread was told to make this very clone."""
        space = self._space_of(tid)
        if space is None:
            return False
        if flags == lib.PYSC_CLONE_FORK:
            return space.forking is not None
        return flags == lib.PYSC_CLONE_THREAD and space.cloning > 0

    def _space_of(self, tid: int) -> SystrapSpace | None:
        spaces = self._platform.spaces
        space = spaces.get(tid)
        if space is not None:
            return space
        for space in spaces.values():  # a thread that is no leader
            if (space.forking is not None or space.cloning > 0) and lib.pysc_tgkill(space.host_pid, tid, 0) == 0:
                return space
        return None

    def _birth(self, note: int, pid: int, token: int) -> None:
        """A forked child's first act: give it its own socket and doorbell in its parent's places."""
        space = self._platform.births.pop(token, None)
        if pid in self._platform.spaces:
            self._refuse(note)
            return
        try:
            if space is None:
                raise EAGAIN
            space.born_as(pid)
        except EAGAIN:
            self._platform.kill_stray(pid)
            self._refuse(note)
            return
        listener = self._listener
        socket = lib.pysc_notify_add_file(listener, note, space.guest_socket, lib.PYSC_FD_SOCKET, False)
        # The last one is the answer, too: one wake-up of the child less.
        if socket != 0 or lib.pysc_notify_add_file(listener, note, space.doorbell, lib.PYSC_FD_DOORBELL, True) != 0:
            space.kill()
        space.close_guest_ends()
