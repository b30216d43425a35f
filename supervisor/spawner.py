"""The spawner: forks the daemons, restarts the gofer, and cleans up after a supervisor that is killed.

It is forked from the supervisor before that has a loop, a socket or a state directory, stays single-threaded, and is a
subreaper, so that the first processes of the daemons' pid namespaces become its children.  It stays outside of the
container's cgroup, in a session of its own: nothing that ends the container ends it, and a terminal's signals pass by.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
from typing import Final, NoReturn

from pysc.cabi import confine
from pysc.cabi.linux.errors import EIO
from pysc.supervisor import cgroups
from pysc.supervisor.console import Terminal
from pysc.supervisor.daemon import write_maps
from pysc.supervisor.failure import Failure
from pysc.supervisor.launch import Donation, Launcher, Starting
from pysc.supervisor.peer import Loop, Peer
from pysc.supervisor.plan import Plan
from pysc.supervisor.state import Store
from pysc.urpc.codec import Asked
from pysc.urpc.fds import EventFd, SocketFd
from pysc.urpc.message import Event
from pysc.urpc.schema import spawner as protocol
from pysc.urpc.schema.spawner import Role

MAX_RESTARTS: Final = 8
"""A gofer that dies more often in one sandbox will not get better."""


def fork_spawner(plan: Plan, donation: Donation, store: Store, terminal: Terminal | None) -> tuple[int, socket.socket]:
    """Fork the spawner; return its pid and the socket to it.

    Raises:
        Failure: there is no process to be had.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        pid = os.fork()
    except OSError as error:
        raise Failure(f"cannot start a process: {error.strerror}") from None
    if pid == 0:
        ours.close()
        _main(plan, donation, store, terminal, theirs)
    theirs.close()
    return pid, ours


def _main(plan: Plan, donation: Donation, store: Store, terminal: Terminal | None, sock: socket.socket) -> NoReturn:
    status = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        confine.prctl(confine.PR_SET_CHILD_SUBREAPER, 1)
        confine.prctl(confine.PR_SET_NO_NEW_PRIVS, 1)
        confine.refuse_io_uring()
        gc.freeze()
        Spawner(plan, donation, store, terminal, sock).run()
        status = 0
    finally:
        os._exit(status)


class Spawner:
    """The spawner's life: launch, watch, finish."""

    def __init__(
        self, plan: Plan, donation: Donation, store: Store, terminal: Terminal | None, sock: socket.socket
    ) -> None:
        self._plan = plan
        self._store = store
        self._terminal = terminal
        self._supervisor = os.getppid()
        self._launcher = Launcher(plan, donation)
        self._children: dict[Role, Starting] = {}
        self._cgroups: list[str] = []
        self._kuid = 0
        self._keep = False
        self._restarts = 0
        self._done = False
        self._loop = Loop()
        keep = {sock.fileno(), *donation.descriptors()}
        if terminal is not None:
            keep.add(terminal.fd)
        self._launcher.settle(keep)
        self._peer = Peer(
            self._loop,
            sock,
            protocol.SPAWNER,
            serves=True,
            on_request=self._on_request,
            on_event=self._on_event,
            on_end=self._on_orphaned,
        )

    def run(self) -> None:
        """Serve until the supervisor finishes, or is gone."""
        self._loop.run(lambda: self._done)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, protocol.Keep):
            self._keep = True

    def _on_request(self, peer: Peer, asked: Asked) -> None:
        if isinstance(asked.request, protocol.Launch):
            try:
                peer.answer(asked, self._launch(asked.request))
            except Failure as failure:
                self._kill_all()
                peer.answer(asked, error=EIO(str(failure)))
            except OSError as error:
                self._kill_all()
                peer.answer(asked, error=EIO(f"cannot start the daemons: {error.strerror}"))
        else:
            self._kill_all()
            cgroups.remove(self._cgroups)
            peer.answer(asked)
            self._done = True

    def _launch(self, request: protocol.Launch) -> protocol.Launched:
        self._kuid = request.kuid
        self._cgroups = [os.fsdecode(directory) for directory in request.cgroups]
        self._children, control = self._launcher.start(self._kuid, self._place)
        for role in self._children:
            self._watch(role)
        daemons = [self._daemon(role) for role in self._children]
        return protocol.Launched(SocketFd(control.detach()), daemons)

    def _place(self, starting: Starting) -> None:
        """Put an intermediate process where its daemon is to be, and give it its ids."""
        cgroups.join(self._cgroups, starting.pid)
        if starting.identity is not None:
            write_maps(starting.pid, starting.identity)

    def _daemon(self, role: Role) -> protocol.Daemon:
        child = self._children[role]
        return protocol.Daemon(role, child.pid, EventFd.lend(child.pidfd))

    def _watch(self, role: Role) -> None:
        child = self._children[role]
        self._loop.watch(child.pidfd, lambda: self._on_death(role, child))

    def _on_death(self, role: Role, child: Starting) -> None:
        self._loop.unwatch(child.pidfd)
        status, words = child.reap()
        if self._children.get(role) is child:
            del self._children[role]
        if role is not Role.SENTRY and (status == 0 or not self._sentry_lives()):
            return  # it saw the sentry's end: that is told by itself
        if role is Role.GOFER and self._restarts < MAX_RESTARTS:
            self._restarts += 1
            try:
                self._children[role], sock = self._launcher.restart_gofer(self._kuid, self._place)
            except Failure as failure:
                words = str(failure)
            else:
                self._watch(role)
                self._peer.tell(protocol.Restarted(self._daemon(role), SocketFd(sock.detach()), words))
                return
        self._peer.tell(protocol.Died(role, status, words))

    def _sentry_lives(self) -> bool:
        child = self._children.get(Role.SENTRY)
        if child is None:
            return False
        poll = select.poll()
        poll.register(child.pidfd, select.POLLIN)
        return not poll.poll(0)

    def _kill_all(self) -> None:
        for child in self._children.values():
            self._loop.unwatch(child.pidfd)
            child.kill()
        for child in self._children.values():
            child.reap()
        self._children = {}
        if not self._peer.open:  # else the supervisor is in there
            cgroups.kill(self._cgroups)

    def _on_orphaned(self) -> None:
        self._done = True
        self._kill_all()
        cgroups.remove(self._cgroups)
        if not self._keep:
            self._store.remove_of(self._plan.boot.id, self._supervisor)
        if self._terminal is not None:
            self._terminal.restore()  # this session has no controlling terminal: no SIGTTOU
