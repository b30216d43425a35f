"""``pysc`` with a kernel that freezes and thaws all the time, as a checkpoint does once: no guest may notice.

Arguments: which way, then those of pysc.  ``park`` freezes the caller of each system call once it waits, and begins the
call again; ``beat`` freezes all that runs for a millisecond out of four.

Meanwhile it must be known of every descriptor that the sentry has what it is of, and all that fast paths share with
Python must be such as can be saved and loaded.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pysc.sentry import hostfds
from pysc.sentry import main as sentry
from pysc.sentry.fs.hostproc import prepare
from pysc.sentry.kernel.delivery import freeze, thaw
from pysc.sentry.kernel.scheduler import Reason, Routine, now
from pysc.sentry.kernel.signals import pending_interrupt
from pysc.sentry.kernel.task import Task, TaskState
from pysc.sentry.state.kinds import Kinds
from pysc.sentry.state.save import save
from pysc.urpc.schema import sentry as schema

sys.path.append(str(Path(__file__).parents[2]))  # run as a program, with -P, it would not find its neighbours
from tests.support.saved import check_objects

if TYPE_CHECKING:
    from pysc.sentry.kernel.kernel import Kernel

MILLISECOND: Final = 1_000_000
PATIENCE: Final = 5
SELDOM: Final = 4
"""Looks for one at the objects, which takes longer."""


class FreezeAtEachPark:
    """Stands for pending_interrupt(): each park is frozen once, and that of the call begun again is left alone."""

    def __init__(self) -> None:
        self._frozen: dict[int, Routine] = {}
        """The last frozen routine of a task, by tid, until its call waits again."""

    def __call__(self, task: Task) -> Reason | None:
        reason = pending_interrupt(task)
        if reason is not None:
            return reason
        frozen = self._frozen.pop(task.tid, None)
        if frozen is None:
            task.kernel.scheduler.call_at(0, lambda: self._freeze(task))
            return None
        if frozen is not task.routine:
            return None
        self._frozen[task.tid] = frozen  # it went on to wait instead of ending
        return Reason.FREEZE

    def _freeze(self, task: Task) -> None:
        routine = task.routine
        if routine is not None and routine.interrupt(Reason.FREEZE):
            self._frozen[task.tid] = routine


class Beat:
    """Freezes and thaws a whole kernel, and makes rows of it, all too seldom to take long."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._kinds = Kinds()
        self._saved = 0
        self._beats = 0
        self._go_on()

    def _go_on(self) -> None:
        if self._kernel.frozen and all(task.state is TaskState.HELD for task in self._kernel.tasks.values()):
            self._beats += 1
            if self._beats >= 2 * self._saved:
                self._saved = self._beats
                rows = save(self._kinds, self._kernel, lambda kind, _it: kind.encode())
                self._kinds.decoder.decode(rows)
                self._kernel.log.debug(f"{len(rows)} bytes of rows")
        thaw(self._kernel)
        self._kernel.scheduler.call_at(now() + 3 * MILLISECOND, self._stop)

    def _stop(self) -> None:
        freeze(self._kernel)
        self._kernel.scheduler.call_at(now() + MILLISECOND, self._go_on)


class Accounts:
    """Looks at the sentry's descriptors and objects once in a while."""

    def __init__(self, watched: sentry.Sentry) -> None:
        self._sentry = watched
        self._unknown: Counter[int] = Counter()
        """How often in a row a descriptor was there that nobody holds: some are on their way to who will."""
        self._looks = 0
        self._look()

    def _look(self) -> None:
        kept = self._sentry._on_host_descriptors(schema.HostDescriptors())
        self._unknown = Counter({fd: self._unknown[fd] + 1 for fd in kept.unknown})
        lost = {fd: os.readlink(f"{fd}", dir_fd=prepare()) for fd, often in self._unknown.items() if often > PATIENCE}
        assert not lost, f"held by nobody: {lost}"
        for fd in hostfds._held:
            fcntl.fcntl(fd, fcntl.F_GETFD)
        if self._looks % SELDOM == 0:
            check_objects()
        self._looks += 1
        self._sentry.kernel.scheduler.call_at(now() + 10 * MILLISECOND, self._look)


class FrozenAtEachPark(sentry.Sentry):
    """A sentry whose every park is frozen."""

    def run(self) -> int:
        Accounts(self)
        self.kernel.scheduler.pending_interrupt = FreezeAtEachPark()
        return super().run()


class Beating(sentry.Sentry):
    """A sentry that is frozen as a whole, again and again."""

    def run(self) -> int:
        Accounts(self)
        Beat(self.kernel)
        return super().run()


if __name__ == "__main__":
    from pysc.supervisor.cli import main
    from pysc.supervisor.prefork import prefork

    way, *arguments = sys.argv[1:]
    sentry.Sentry = {"park": FrozenAtEachPark, "beat": Beating}[way]  # type: ignore[misc]
    prefork(arguments)
    sys.exit(main(arguments))
