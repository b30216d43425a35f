"""Supervisor and spawner: start the daemons, hear of their ends, finish.

The spawner is forked from the supervisor and trusted by it; EOF on this socket means that the supervisor is gone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from msgspec import Meta

from pysc.urpc.fds import EventFd, RegularFd, SocketFd, StdioFd
from pysc.urpc.message import I32, Event, Message, Request, Service, Text

HostPid = Annotated[int, Meta(ge=1, le=1 << 30)]
HostId = Annotated[int, Meta(ge=0, le=0xFFFF_FFFE)]
Directory = Annotated[bytes, Meta(max_length=4096)]


class Role(StrEnum):
    """The daemons of a sandbox."""

    SENTRY = "sentry"
    GOFER = "gofer"
    NETSTACKD = "netstackd"


class Daemon(Message):
    """A started daemon; the pidfd tells its end, whoever its parent is by then."""

    role: Role
    pid: HostPid
    pidfd: EventFd


class Launched(Message):
    """Everything is on its way; the sentry tells by itself when it is ready."""

    max_frame = 62

    control: SocketFd
    """To the sentry: ``pysc.urpc.schema.sentry.CONTROL``."""
    daemons: Annotated[list[Daemon], Meta(max_length=3)]


class Launch(Request[Launched], tag=1):
    """Start all daemons.  Whatever fails is an error reply whose detail is one line with cause and remedy."""

    plan: RegularFd
    """A memfd with a ``pysc.supervisor.plan.Plan`` in msgpack: larger than a frame if the environment is."""
    kuid: HostId
    """The host id that the sentry and netstackd run as."""
    cgroups: Annotated[list[Directory], Meta(max_length=16)]
    """Directories of cgroups that the daemons join."""
    stdio: Annotated[list[StdioFd], Meta(min_length=3, max_length=3)]
    log: StdioFd
    counters: RegularFd
    """A page for the sentry to count in (``pysc.supervisor.counters``)."""
    terminal: bool
    """The first of ``stdio`` is a terminal that is to be restored if the supervisor is killed."""
    crashes_to_log: bool
    """Daemons may write tracebacks to the log."""


class Finish(Request[None], tag=2):
    """Kill and reap every daemon, remove the cgroups; the spawner exits after its answer."""


class Died(Event, tag=32):
    """A daemon has ended by itself, and will not be restarted; ``status`` is wait(2)'s."""

    role: Role
    status: I32
    reason: Text
    """Its last words; empty if it could not say any."""


class Keep(Event, tag=34):
    """Of the supervisor: the container is created, its state is to outlive a supervisor that is killed."""


class Reserve(Event, tag=35):
    """Of the supervisor: what it is about to make, and the spawner is to remove if it is killed."""

    root: Directory
    """The directory of all states."""
    container: Text
    cgroups: Annotated[list[Directory], Meta(max_length=256)]
    """Directories of cgroups that are not there yet: what is in them at the end is killed."""


class Restarted(Event, tag=33):
    """The gofer had died, and there is a new one; its socket is for the sentry."""

    daemon: Daemon
    socket: SocketFd
    reason: Text


SPAWNER: Final = Service(
    "spawner",
    requests=(Launch, Finish),
    events=(Died, Restarted),
    client_events=(Keep, Reserve),
    request_fds=6,
    reply_fds=4,
)
