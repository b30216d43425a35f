"""Sessions and process groups (credentials(7), setsid(2), setpgid(2)).

A session lives as long as a process group of it, a process group as long as a member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux.errors import LinuxError
from pysc.cabi.linux.signals import SIGCONT, SIGHUP

if TYPE_CHECKING:
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.signals import SigInfo
    from pysc.sentry.kernel.thread_group import ThreadGroup
    from pysc.sentry.kernel.tty import Tty


class Session:
    """A session: its process groups by pgid, and its controlling terminal."""

    __slots__ = ("foreground", "groups", "leader", "sid", "tty")

    def __init__(self, leader: ThreadGroup) -> None:
        self.sid = leader.tgid
        self.leader: ThreadGroup | None = leader
        """None once it has exited."""
        self.groups: dict[int, ProcessGroup] = {}
        self.tty: Tty | None = None
        """The controlling terminal, if any."""
        self.foreground: ProcessGroup | None = None
        """The terminal's foreground process group; it stays that when its last member is gone."""

    def new_group(self, kernel: Kernel, pgid: int) -> ProcessGroup:
        """Make a process group in this session."""
        group = ProcessGroup(pgid, self)
        self.groups[pgid] = group
        kernel.process_groups[pgid] = group
        return group


class ProcessGroup:
    """A process group.  Invariant: registered in its session and the kernel while it has members."""

    __slots__ = ("members", "pgid", "session")

    def __init__(self, pgid: int, session: Session) -> None:
        self.pgid = pgid
        self.session = session
        self.members: dict[int, ThreadGroup] = {}
        """By tgid; zombies too, until they are reaped."""

    @property
    def orphaned(self) -> bool:
        """Whether no member has a parent in another group of the session (POSIX: nobody would continue it)."""
        return not self._has_tie(None)

    def _has_tie(self, leaving: ThreadGroup | None) -> bool:
        for member in self.members.values():
            parent = member.parent
            if member is leaving or member.exited or parent is None:
                continue
            if parent.process_group is not self and parent.process_group.session is self.session:
                return True
        return False

    def hang_up_if_orphaned(self, parent: ThreadGroup | None, leaving: ThreadGroup | None = None) -> None:
        """Send SIGHUP and SIGCONT to a group with stopped members that loses its tie to ``parent``, an exiting process
        or the parent of the exiting member ``leaving``.
        """
        from pysc.sentry.kernel.signals import SigInfo

        if parent is None or parent.process_group is self or parent.process_group.session is not self.session:
            return
        if self._has_tie(leaving) or not any(member.stopped for member in self.members.values()):
            return
        self.send(SigInfo.kernel(SIGHUP))
        self.send(SigInfo.kernel(SIGCONT))

    def join(self, group: ThreadGroup) -> None:
        """Make ``group`` a member."""
        group.process_group = self
        self.members[group.tgid] = group

    def leave(self, kernel: Kernel, group: ThreadGroup) -> None:
        """Remove a member; the last one ends the group."""
        self.members.pop(group.tgid, None)
        if not self.members:
            kernel.process_groups.pop(self.pgid, None)
            self.session.groups.pop(self.pgid, None)

    def send(self, info: SigInfo) -> None:
        """Send a signal to every member, unconditionally (terminals, the kernel)."""
        from pysc.sentry.kernel.signals import send_signal

        for member in list(self.members.values()):
            try:
                send_signal(member, info)
            except LinuxError:  # a full queue of one member does not concern the others
                continue
