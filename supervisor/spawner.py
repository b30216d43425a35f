"""The spawner: forks the daemons, restarts the gofer, and cleans up after a supervisor that is killed.

It is forked from the supervisor before that has a loop or a state directory, stays single-threaded, and is a subreaper,
so that the first processes of the daemons' pid namespaces become its children.  It stays outside of the container's
cgroup, in a session of its own: nothing that ends the container ends it, and a terminal's signals pass by.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import time
from typing import Final

import msgspec

from pysc.cabi import confine
from pysc.cabi.build_id import BUILD
from pysc.cabi.linux.errors import EIO
from pysc.cabi.linux.prctl import PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS
from pysc.cabi.remedies import explained
from pysc.supervisor import cgroups, reaping
from pysc.supervisor.console import Terminal
from pysc.supervisor.daemon import close_all_but, preload, set_limits, silence_stdio
from pysc.supervisor.failure import Failure
from pysc.supervisor.launch import Donation, Launcher, Starting
from pysc.supervisor.peer import Loop, Peer
from pysc.supervisor.plan import Plan
from pysc.supervisor.restarts import Restarts
from pysc.supervisor.state import Store
from pysc.urpc.codec import Asked
from pysc.urpc.fds import EventFd, SocketFd
from pysc.urpc.message import Event
from pysc.urpc.schema import spawner as protocol
from pysc.urpc.schema.spawner import Role

ORPHANS_SECONDS: Final = 5
"""How long guests that have lost their sentry may take to end."""
MAX_RESTARTS: Final = 8
RESTARTS_SECONDS: Final = 60.0
"""A gofer that dies more often within this time will not get better."""
END_SECONDS: Final = 1.0
"""How long the end of the sentry, or of the gofer, may take once its sockets are closed."""


def run(sock: socket.socket, supervisor: int) -> None:
    """Be a spawner, in a process that was forked for it by ``supervisor``, until that finishes or is gone."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    close_all_but({sock.fileno()})
    silence_stdio(None)
    confine.prctl(PR_SET_CHILD_SUBREAPER, 1)
    confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
    confine.refuse_io_uring()
    set_limits()
    gc.disable()  # what is imported stays
    _preload()
    gc.freeze()  # else a collection would write to each page that the daemons share
    gc.enable()
    Spawner(sock, supervisor).run()


def _preload() -> None:
    """Import what daemons need once for all of them; what does not import is reported by the daemon that needs it."""
    for name in ("pysc.sentry.main", "pysc.gofer.main", "pysc.netstackd.main"):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    preload()


class Spawner:
    """The spawner's life: launch, watch, finish, and stay until the supervisor has removed its files, or is killed."""

    def __init__(self, sock: socket.socket, supervisor: int) -> None:
        self._supervisor = supervisor
        self._launcher: Launcher | None = None
        self._reserved: protocol.Reserve | None = None
        self._terminal: Terminal | None = None
        self._children: dict[Role, Starting] = {}
        self._cgroups: list[str] = []
        self._joined: list[str] = []
        self._kuid = 0
        self._keep = False
        self._restarts = Restarts(MAX_RESTARTS, RESTARTS_SECONDS)
        self._done = False
        self._loop = Loop()
        self._peer = Peer(
            self._loop,
            sock,
            protocol.SPAWNER,
            serves=True,
            build=BUILD,
            on_request=self._on_request,
            on_event=self._on_event,
            on_end=self._on_orphaned,
        )

    def run(self) -> None:
        """Serve until the supervisor is gone, or needs nobody any more to clean up after it."""
        self._loop.run(lambda: self._done)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, protocol.Keep):
            self._keep = True
        elif isinstance(event, protocol.Reserve):
            self._reserved = event
            self._cgroups = [os.fsdecode(directory) for directory in event.cgroups]

    def _on_request(self, peer: Peer, asked: Asked) -> None:
        if isinstance(asked.request, protocol.Launch):
            try:
                peer.answer(asked, self._launch(asked.request))
            except Failure as failure:
                self._kill_all()
                peer.answer(asked, error=EIO(str(failure)))
            except OSError as error:
                self._kill_all()
                peer.answer(asked, error=EIO(f"cannot start the daemons: {explained(error)}"))
        else:
            self._kill_all()
            cgroups.remove(self._cgroups)
            self._cgroups = []  # whose they are next is not known here
            peer.answer(asked)

    def _launch(self, request: protocol.Launch) -> protocol.Launched:
        with open(request.plan.take(), "rb") as file:
            file.seek(0)
            plan = msgspec.msgpack.decode(file.read(), type=Plan)
        first, second, third = (fd.take() for fd in request.stdio)
        donation = Donation((first, second, third), request.log.take(), request.counters.take(), request.crashes_to_log)
        if request.terminal:
            self._terminal = Terminal(first)
        if request.crashes_to_log:
            os.dup2(donation.log, 2)
        self._kuid = request.kuid
        self._joined = [os.fsdecode(directory) for directory in request.cgroups]
        self._launcher = Launcher(plan, donation)
        with cgroups.inside(self._joined):
            self._children, control = self._launcher.start(self._kuid)
        for role in self._children:
            self._watch(role)
        daemons = [self._daemon(role) for role in self._children]
        return protocol.Launched(SocketFd(control.detach()), daemons)

    def _daemon(self, role: Role) -> protocol.Daemon:
        child = self._children[role]
        return protocol.Daemon(role, child.pid, EventFd.lend(child.pidfd))

    def _watch(self, role: Role) -> None:
        child = self._children[role]
        self._loop.watch(child.pidfd, lambda: self._on_death(role, child))
        if child.end is not None:
            self._loop.watch_end(child.end.fileno(), lambda: self._on_cut_off(child))

    def _unwatch(self, child: Starting) -> None:
        self._loop.unwatch(child.pidfd)
        if child.end is not None:
            self._loop.unwatch(child.end.fileno())

    def _on_cut_off(self, gofer: Starting) -> None:
        """The sentry has hung up: because it ends, or because of what the gofer said.  A gofer ends by itself then."""
        assert gofer.end is not None
        self._loop.unwatch(gofer.end.fileno())
        self._loop.after(END_SECONDS, lambda: self._end_gofer(gofer))

    def _end_gofer(self, gofer: Starting) -> None:
        if self._children.get(Role.GOFER) is gofer and self._sentry_lives():
            gofer.reason = "it had been cut off, did not end, and was killed"
            gofer.kill()

    def _on_death(self, role: Role, child: Starting) -> None:
        self._unwatch(child)
        status, words = child.reap()
        words = child.reason or words
        if self._children.get(role) is child:
            del self._children[role]
        if role is Role.GOFER and status == 0:  # it saw the sentry's end, or that the sentry has cut it off
            self._loop.after(END_SECONDS, lambda: self._replace_gofer(status, words))
        elif role is Role.GOFER:
            self._replace_gofer(status, words)
        elif role is Role.SENTRY or (status != 0 and self._sentry_lives()):  # else the sentry's end is told by itself
            self._peer.tell(protocol.Died(role, status, words))

    def _replace_gofer(self, status: int, words: str) -> None:
        if not self._sentry_lives():
            return
        if self._restarts.may(time.monotonic()):
            assert self._launcher is not None
            try:
                with cgroups.inside(self._joined):
                    self._children[Role.GOFER], sock = self._launcher.restart_gofer(self._kuid)
            except Failure as failure:
                words = str(failure)
            else:
                self._watch(Role.GOFER)
                self._peer.tell(protocol.Restarted(self._daemon(Role.GOFER), SocketFd(sock.detach()), words))
                return
        self._peer.tell(protocol.Died(Role.GOFER, status, words))

    def _sentry_lives(self) -> bool:
        child = self._children.get(Role.SENTRY)
        if child is None:
            return False
        poll = select.poll()
        poll.register(child.pidfd, select.POLLIN)
        return not poll.poll(0)

    def _kill_all(self) -> None:
        for child in self._children.values():
            self._unwatch(child)
            child.kill()
        for child in self._children.values():
            child.reap()
        self._children = {}
        reaping.end_orphans(ORPHANS_SECONDS)
        if not self._peer.open:  # else the supervisor is in there
            cgroups.kill(self._cgroups)

    def _on_orphaned(self) -> None:
        self._done = True
        self._kill_all()
        cgroups.remove(self._cgroups)
        if self._reserved is not None and not self._keep:
            store = Store(os.fsdecode(self._reserved.root))
            store.remove_of(self._reserved.container, self._supervisor)
        if self._terminal is not None:
            self._terminal.restore()  # this session has no controlling terminal: no SIGTTOU
