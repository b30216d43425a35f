"""Starting the daemons from the spawner: forks, the conversation with each child, and what each is given.

All three start at once and are taken through the same steps; the conversation is one word a message over a socket pair,
which stays open as the place for last words (:func:`_last_words`)::

    child: unshared      spawner: mapped      (its ids)
    child: pid N         spawner: go          (pid 1 of the new namespace; the intermediate is reaped)
    gofer: trees + fds   spawner to sentry: trees + fds
    gofer: left + fds    (what the spawner keeps for the next gofer, who gets it with "go")
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

import msgspec

from pysc.cabi import GUEST, confine
from pysc.cabi.linux.capability import CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID
from pysc.cabi.linux.prctl import PR_SET_DUMPABLE
from pysc.cabi.remedies import explained
from pysc.supervisor import daemon
from pysc.supervisor.daemon import Identity, write_maps
from pysc.supervisor.failure import Failure
from pysc.supervisor.plan import Plan
from pysc.urpc.fds import MAX_FDS
from pysc.urpc.schema import sentry as sentry_schema
from pysc.urpc.schema.log import line
from pysc.urpc.schema.spawner import Role

GOFER_CAPABILITIES: Final = confine.mask(CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID)
START_SECONDS: Final = 20
WORD: Final = 4096
FIRST_DONATED: Final = 10
"""Donated descriptors are moved above what a shell would use."""


class Donation(msgspec.Struct, frozen=True):
    """Descriptors that the spawner inherits for the sentry."""

    stdio: tuple[int, int, int]
    log: int
    counters: int
    crashes_to_log: bool
    """Tracebacks of daemons may be written to the log."""

    def descriptors(self) -> set[int]:
        """All of them."""
        return {*self.stdio, self.log, self.counters}


class Starting:
    """A daemon, from its fork on; ``pid`` is the intermediate's until the conversation is over."""

    def __init__(self, role: Role, pid: int, sync: socket.socket, identity: Identity) -> None:
        self.role = role
        self.pid = pid
        self.sync = sync
        self.identity = identity
        self.pidfd = -1
        self.end: socket.socket | None = None
        """Of the gofer's socket, its own: here it is seen when the sentry hangs up."""
        self.reason = ""
        """Why it was killed."""
        sync.settimeout(START_SECONDS)

    def hear(self, word: bytes, fds: int = 0) -> tuple[bytes, list[int]]:
        """Wait for ``word`` and return what follows it.

        Raises:
            Failure: it said that it failed, died, or is silent.
        """
        try:
            data, received, flags, _ = socket.recv_fds(self.sync, WORD, fds, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            raise Failure(f"the {self.role} is silent: run with --debug to see more") from None
        if flags & socket.MSG_CTRUNC:
            _close(received)
            raise Failure(f"cannot take the descriptors of the {self.role}: raise ulimit -n")
        if data.startswith(b"fail "):
            raise Failure(_printable(data[5:]))
        if not data.startswith(word):
            raise Failure(f"the {self.role} died while it was being started: run with --debug to see more")
        return data[len(word) + 1 :], list(received)

    def say(self, word: bytes, fds: Sequence[int] = ()) -> None:
        """Send a word."""
        try:
            socket.send_fds(self.sync, [word], fds, socket.MSG_NOSIGNAL)
        except OSError:
            pass  # it is gone: the next hear() says so

    def kill(self) -> None:
        """Send SIGKILL."""
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def reap(self) -> tuple[int, str]:
        """Wait for its end; return its wait status and its last words."""
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            status = 0
        self.sync.setblocking(False)
        try:
            words = self.sync.recv(WORD)
        except OSError:
            words = b""
        self.sync.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self.end is not None:  # with this, the sentry sees that the gofer is gone
            self.end.close()
        return status, _printable(words.removeprefix(b"fail "))


def _printable(words: bytes) -> str:
    """Make one clean line of what a daemon said: it may be hostile by then."""
    return "".join(c if c.isprintable() else " " for c in words[:1024].decode("utf-8", "replace")).strip()


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


class Order(msgspec.Struct, frozen=True):
    """What a daemon that was executed needs to know."""

    role: Role
    plan: Plan
    donation: Donation
    who: Identity
    sync: int
    sockets: list[int]


def obey(fd: int) -> NoReturn:
    """Be the daemon that the memfd ``fd`` describes; called in a fresh interpreter."""
    with open(fd, "rb") as file:
        file.seek(0)
        order = msgspec.msgpack.decode(file.read(), type=Order)
    given = order.donation.descriptors() if order.role is Role.SENTRY else set()
    for number in (order.sync, *order.sockets, *given):
        os.set_inheritable(number, False)  # a guest half is executed later, and must not inherit them
    sockets = tuple(socket.socket(fileno=number) for number in order.sockets)
    launcher = Launcher(order.plan, order.donation)
    launcher.become(order.role, socket.socket(fileno=order.sync), order.who, sockets)


class Launcher:
    """Knows what each daemon is given."""

    def __init__(self, plan: Plan, donation: Donation) -> None:
        self._plan = plan
        self._donation = donation
        self._last_capability = daemon.last_capability()
        self._stderr = donation.log if donation.crashes_to_log else None
        self._left: list[int] = []
        """What the first gofer has left for the next ones."""

    def start(self, kuid: int) -> tuple[dict[Role, Starting], socket.socket]:
        """Start all three; return them and the supervisor's end of the sentry's control socket.

        Raises:
            Failure: one could not be started; those that were are killed and reaped.
        """
        control, sentry_control = _pair()
        to_gofer, gofer_end = _pair()
        to_netstackd, netstackd_end = _pair()
        who = self._identity(kuid, 0, sandboxed=True)
        children: dict[Role, Starting] = {}
        try:
            children[Role.SENTRY] = self._fork(Role.SENTRY, who, sentry_control, to_gofer, to_netstackd)
            children[Role.GOFER] = self._fork_gofer(kuid, gofer_end)
            children[Role.NETSTACKD] = self._fork(Role.NETSTACKD, who, netstackd_end)
            # The gofer first: the sentry waits for its trees.
            order = [children[Role.GOFER], children[Role.SENTRY], children[Role.NETSTACKD]]
            for child in order:
                self._converse(child)
            trees, fds = children[Role.GOFER].hear(b"trees", MAX_FDS)
            children[Role.SENTRY].say(b"trees " + trees, fds)
            _close(fds)
            _, self._left = children[Role.GOFER].hear(b"left", MAX_FDS)
        except Failure:
            control.close()
            _abandon(children)
            raise
        finally:
            for sock in (sentry_control, to_gofer, to_netstackd, netstackd_end):
                sock.close()
            self._forget_donation()
        return children, control

    def restart_gofer(self, kuid: int) -> tuple[Starting, socket.socket]:
        """Start a gofer in place of one that died, for the same trees; return it and the sentry's end of its socket.

        Raises:
            Failure: it could not be started.
        """
        to_gofer, gofer_end = _pair()
        child = self._fork_gofer(kuid, gofer_end)
        try:
            self._converse(child, self._left)
            child.hear(b"trees")  # none: the sentry goes on with those it has
        except Failure:
            to_gofer.close()
            _abandon({Role.GOFER: child})
            raise
        return child, to_gofer

    def _forget_donation(self) -> None:
        """Hold nothing of the caller's; a log that crashes are written to is kept for the next gofer."""
        given = self._donation
        _close([fd for fd in given.descriptors() if fd != given.log or not given.crashes_to_log])

    def _converse(self, child: Starting, left: Sequence[int] = ()) -> None:
        if not self._plan.unsafe_no_namespaces:
            child.hear(b"unshared")
            try:
                write_maps(child.pid, child.identity)
            except OSError as error:
                raise Failure(
                    f"cannot map the ids of the {child.role}: {explained(error)}; see user_namespaces(7)"
                ) from None
            child.say(b"mapped")
            number, _ = child.hear(b"pid")
            os.waitpid(child.pid, 0)
            child.pid = int(number)
        try:
            child.pidfd = os.pidfd_open(child.pid)
        except OSError as error:
            raise Failure(f"pidfd_open(2): {error.strerror}; Linux 5.3 or newer is needed") from None
        child.say(b"go", left)

    def _fork_gofer(self, kuid: int, end: socket.socket) -> Starting:
        child = self._fork(Role.GOFER, self._identity(kuid, GOFER_CAPABILITIES, sandboxed=False), end)
        child.end = end
        return child

    def _identity(self, kuid: int, capabilities: int, *, sandboxed: bool) -> Identity:
        namespaces = not self._plan.unsafe_no_namespaces
        return daemon.identity(kuid, capabilities, sandboxed=sandboxed, namespaces=namespaces)

    def _fork(self, role: Role, who: Identity, *sockets: socket.socket) -> Starting:
        sync, theirs = _pair()
        try:
            pid = os.fork()
        except OSError as error:
            sync.close()
            theirs.close()
            raise Failure(f"cannot start the {role}: {explained(error)}") from None
        if pid == 0:
            self._child(role, theirs, who, sockets)
        theirs.close()
        return Starting(role, pid, sync, who)

    def _child(self, role: Role, sync: socket.socket, who: Identity, sockets: tuple[socket.socket, ...]) -> NoReturn:
        try:
            keep = {sync.fileno(), *(sock.fileno() for sock in sockets)}
            if role is Role.SENTRY:
                keep |= self._donation.descriptors()
            if self._stderr is not None:
                keep.add(self._donation.log)
            daemon.close_all_but(keep)
            if self._plan.hardened:
                self._execute(role, sync, who, sockets, keep)
            self.become(role, sync, who, sockets)
        except BaseException as error:
            self._last_words(role, sync, error)
        finally:
            os._exit(70)  # EX_SOFTWARE

    def _execute(
        self, role: Role, sync: socket.socket, who: Identity, sockets: tuple[socket.socket, ...], keep: set[int]
    ) -> NoReturn:
        """Go on as a fresh interpreter, with a layout that no other process has (``--hardened``)."""
        order = Order(role, self._plan, self._donation, who, sync.fileno(), [sock.fileno() for sock in sockets])
        fd = os.memfd_create("order")
        with open(fd, "wb", closefd=False) as file:
            file.write(msgspec.msgpack.encode(order))
        for inherited in (fd, *keep):
            os.set_inheritable(inherited, True)
        program = f"import sys; sys.path[:] = {sys.path!r}; from pysc.supervisor.launch import obey; obey({fd})"
        os.execv(sys.executable, [sys.executable, "-I", "-c", program])  # noqa: S606

    def become(self, role: Role, sync: socket.socket, who: Identity, sockets: tuple[socket.socket, ...]) -> NoReturn:
        """Be a daemon: new namespaces, in them a child that is pid 1, and in that whatever the role is."""
        try:
            if not self._plan.unsafe_no_namespaces:
                daemon.enter_namespaces()
                sync.send(b"unshared")
                _await(sync, b"mapped")
                # Ids first: whatever is made from here on must have an owner that exists.
                os.setresgid(0, 0, 0)
                os.setresuid(0, 0, 0)
                pid = os.fork()
                if pid:
                    sync.send(b"pid %d" % pid)
                    os._exit(0)
            _, left = _await(sync, b"go", MAX_FDS)
            daemon.preload()
            match role:
                case Role.SENTRY:
                    self._sentry(sync, who, *sockets)
                case Role.GOFER:
                    self._gofer(sync, who, left, *sockets)
                case Role.NETSTACKD:
                    self._netstackd(sync, who, *sockets)
        except BaseException as error:
            self._last_words(role, sync, error)
        finally:
            os._exit(70)  # EX_SOFTWARE

    def _last_words(self, role: Role, sync: socket.socket, error: BaseException) -> None:
        """Say why, in one line, to whoever reads: the spawner, and with a log also the traceback."""
        if self._stderr is not None:
            text = "".join(traceback.format_exception(error))
            as_json = self._plan.boot.flags.log_format == "json"
            os.write(2, line("error" if as_json else "warning", f"{role}: {text}", as_json=as_json))
        match error:
            case Failure():
                said = str(error)
            case OSError() if error.errno:
                said = f"the {role} failed: {explained(error)}"
            case _:
                said = f"the {role} failed: {type(error).__name__}: {error}"
        sync.send(b"fail " + said.encode("utf-8", "replace")[:1024])

    # What each daemon does as pid 1, until it serves

    def _root(self, *, procfs: bool) -> None:
        if not self._plan.unsafe_no_namespaces:
            daemon.private_mounts()
            daemon.empty_root(procfs=procfs)

    def _sentry(
        self,
        sync: socket.socket,
        who: Identity,
        control: socket.socket,
        gofer: socket.socket,
        netstack: socket.socket,
    ) -> NoReturn:
        from pysc.sentry import main

        guest = _open_guest()
        self._root(procfs=True)
        daemon.become(who, self._last_capability)
        # Its own /proc/self has become root's; lock_down() closes it again.
        confine.prctl(PR_SET_DUMPABLE, 1)
        data, fds = _await(sync, b"trees", MAX_FDS)
        numbers = [int(number) for number in data.split()]
        descriptors = sentry_schema.Descriptors(
            gofer=gofer.detach(),
            netstack=netstack.detach(),
            trees=dict(zip(numbers, fds, strict=True)),
            stdio=self._donation.stdio,
            log=self._donation.log,
            guest=guest,
            counters=self._donation.counters,
            spawner=sync.fileno(),
        )
        daemon.hold_lifeline(control)
        main.serve(control, msgspec.structs.replace(self._plan.boot, fds=descriptors))

    def _netstackd(self, sync: socket.socket, who: Identity, end: socket.socket) -> NoReturn:
        from pysc.netstackd import main

        self._root(procfs=False)
        daemon.become(who, self._last_capability)
        daemon.hold_lifeline(sync)
        main.serve(end)

    def _gofer(self, sync: socket.socket, who: Identity, left: list[int], end: socket.socket) -> NoReturn:
        from pysc.gofer import main, tree

        direct, private = self._plan.boot.flags.file_access_direct, not self._plan.unsafe_no_namespaces
        map_owners = self._plan.map_owners
        trees: dict[int, int] = {}
        try:
            if left:
                mounts = main.take_up(left, map_owners=map_owners)
            else:
                mounts, trees = main.set_up(self._plan.exports, trees=direct, private=private, map_owners=map_owners)
        except tree.SetUpError as error:
            raise Failure(str(error)) from None
        self._root(procfs=False)
        daemon.become(who, self._last_capability)
        socket.send_fds(sync, [b"trees " + b" ".join(b"%d" % number for number in trees)], list(trees.values()))
        _close(list(trees.values()))
        if not left:
            leaves = main.leave(mounts)
            socket.send_fds(sync, [b"left"], leaves)
            os.close(leaves[0])
        daemon.hold_lifeline(sync)
        main.serve(end, mounts)


def _open_guest() -> int:
    try:
        return os.open(GUEST, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"cannot open the guest half {GUEST}: {error.strerror}; build it with make") from None


def _await(sync: socket.socket, word: bytes, fds: int = 0) -> tuple[bytes, list[int]]:
    data, received, _, _ = socket.recv_fds(sync, WORD, fds, socket.MSG_CMSG_CLOEXEC)
    if not data.startswith(word):
        sys.exit(1)  # the spawner gave up
    return data[len(word) + 1 :], list(received)


def _abandon(children: dict[Role, Starting]) -> None:
    for child in children.values():
        child.kill()
        child.reap()


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
