"""Supervisor and sentry: what a sentry is born with, and what the two say to each other afterwards.

:class:`Boot` is never on a wire: the spawner builds it and forks, and the child hands it to
``pysc.sentry.main.serve(control, boot)``.  Everything else travels over the control socket as :data:`CONTROL`, whose
server is the sentry.  It reports :class:`Ready` once it is locked down, waits for :class:`Start`, and sends
:class:`Exited` as its last message.  EOF on the control socket means that the supervisor is gone: the sentry exits.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pysc.urpc.fds import SocketFd
from pysc.urpc.message import U16, Event, Message, Request, Service, Text

Uid = Annotated[int, Meta(ge=0, le=0xFFFF_FFFE)]
Pid = Annotated[int, Meta(ge=0, le=1 << 22)]
Signo = Annotated[int, Meta(ge=0, le=64)]
Status = Annotated[int, Meta(ge=0, le=0xFFFF)]
Count = Annotated[int, Meta(ge=0, le=1 << 30)]

# --- Boot: handed over by fork ---------------------------------------------------------------------------------


class Capabilities(msgspec.Struct, frozen=True):
    """The five sets of capabilities(7) as bit masks; they mean something inside the sandbox only."""

    bounding: int = 0
    effective: int = 0
    inheritable: int = 0
    permitted: int = 0
    ambient: int = 0


class Mount(msgspec.Struct, frozen=True):
    """One mount of the container, in the order of the spec, after the root."""

    target: bytes
    """Absolute, inside; its symbolic links are not resolved yet."""
    type: str
    """``bind`` (served by the gofer) or a type of the sentry's own: tmpfs, proc, sysfs, devpts, mqueue, cgroup ..."""
    source: bytes = b""
    options: tuple[str, ...] = ()
    """What is left for the file system itself (``size=64m``, ``mode=755``)."""
    readonly: bool = False
    noexec: bool = False
    nosuid: bool = False
    nodev: bool = False
    noatime: bool = False
    gofer_mount: int = -1
    """For binds: the gofer's number of the mount (the root is 0) and the key in :attr:`Descriptors.trees`."""
    shared: bool = True
    """The host may change it at any time: revalidate (``--file-access-mounts``)."""


class Root(msgspec.Struct, frozen=True):
    """The root file system: the gofer's mount 0."""

    readonly: bool = False
    overlay: bool = False
    """Put a memory file system above; the host's files are never changed."""
    shared: bool = False
    """The host may change it at any time: revalidate (``--file-access``)."""


class Flags(msgspec.Struct, frozen=True):
    """The global flags that the sentry looks at."""

    platform: str = "systrap"
    fastpath: bool = True
    strace: bool = False
    strace_syscalls: tuple[str, ...] = ()
    """Empty: all."""
    strace_log_size: int = 1024
    debug: bool = False
    log_format: str = "text"
    """text or json: how each line in the log descriptor looks."""
    file_access_direct: bool = True
    """Read below the trees; false: everything through the gofer, ``trees`` is empty."""
    network: str = "none"


class Descriptors(msgspec.Struct, frozen=True):
    """Host descriptors that the sentry owns from the fork on."""

    gofer: int
    """SEQPACKET, uRPC."""
    netstack: int
    """SEQPACKET, uRPC; -1 without."""
    trees: dict[int, int]
    """By gofer mount: a detached, read-only, no-symlink clone; missing where the gofer must serve reads."""
    stdio: tuple[int, int, int]
    log: int
    """Append lines here, each by one write(2)."""
    guest: int
    """The guest half's executable (``pysc.cabi/guest.elf``): the root is empty, so it is run by execveat(2)."""
    counters: int
    """A page that the supervisor reads: struct pysc_counters."""
    spawner: int = -1
    """Where it was told how to start; last words go there, nothing is read."""


class Boot(msgspec.Struct, frozen=True):
    """All that the sentry needs to know about the container."""

    id: str
    args: tuple[bytes, ...]
    env: tuple[bytes, ...]
    cwd: bytes
    uid: int
    gid: int
    groups: tuple[int, ...]
    umask: int
    capabilities: Capabilities
    no_new_privileges: bool
    ordinary: bool
    """The first process is a command like any other (``do``): signals act on it by default, too."""
    rlimits: dict[int, tuple[int, int]]
    """By RLIMIT_* number: soft, hard (2**64-1 is unlimited); only those that the spec names."""
    oom_score_adj: int
    hostname: bytes
    domainname: bytes
    terminal: bool
    """The three stdio descriptors are one terminal: it becomes the controlling one of the first process."""
    window: tuple[int, int]
    """Rows and columns of the terminal; (0, 0): ask the descriptor."""
    root: Root
    mounts: tuple[Mount, ...]
    masked_paths: tuple[bytes, ...]
    """Where they exist, there is nothing to read; as of :attr:`readonly_paths`, links are not resolved yet."""
    readonly_paths: tuple[bytes, ...]
    """Where they exist, nothing can be changed below them."""
    memory_limit: int
    """Bytes that the sandbox may use, 0 for no limit: what /proc/meminfo tells, half of it for tmpfs."""
    cpus: int
    """Processors to show; 0: the host's."""
    flags: Flags
    annotations: dict[str, str]
    fds: Descriptors


# --- Requests of the supervisor --------------------------------------------------------------------------------


class Target(IntEnum):
    """Whom a signal is for."""

    PROCESS = 0
    """The process ``pid``; 0 is the container's first."""
    ALL = 1
    """Every process of the container."""
    FOREGROUND = 2
    """The foreground process group of the terminal; the first process if there is none."""


class Empty(Message):
    """It is done."""

    max_frame = 9


class Start(Request[Empty], tag=1):
    """Run the container's process.  ENOENT, EACCES, ENOEXEC ...: it could not be executed; the detail names it."""


class Signal(Request[Empty], tag=2):
    """Send a signal as if from outside of the container.  ESRCH: no such process; 0 only asks."""

    signo: Signo
    target: Target = Target.PROCESS
    pid: Pid = 0


class WindowSize(Request[Empty], tag=3):
    """The outer terminal has a new size: SIGWINCH for the foreground group."""

    rows: U16
    columns: U16


class Process(Message):
    """One process of a guest."""

    pid: Pid
    ppid: Pid
    uid: Uid
    state: Annotated[str, Meta(max_length=1)]
    command: Annotated[str, Meta(max_length=15)]
    host_pid: Count = 0
    """In the sentry's pid namespace."""


class ProcessList(Message):
    """Processes in order of pid; at most 512 of ``total``, so that a frame holds them."""

    max_frame = 45073

    processes: Annotated[list[Process], Meta(max_length=512)]
    total: Count


class Processes(Request[ProcessList], tag=4):
    """Ask for all processes."""


class StateReply(Message):
    """How the sentry is."""

    max_frame = 15

    running: bool
    """Started and not exited."""
    processes: Count


class State(Request[StateReply], tag=5):
    """Ask how the sentry is; that it answers is an answer, too."""


class Pause(Request[Empty], tag=6):
    """Stop all guests until :class:`Resume`."""


class Resume(Request[Empty], tag=7):
    """Let them go on."""


class NewGofer(Request[Empty], tag=8):
    """The gofer died and was restarted: requests in flight have failed with EIO, further ones go here."""

    socket: SocketFd


class Kept(Message):
    """How many descriptors a sentry holds of one kind."""

    kind: Annotated[str, Meta(max_length=32)]
    count: Count


class KeptList(Message):
    """All kinds of which there are any, and the numbers of those of which it does not know what they are."""

    max_frame = 4687

    kinds: Annotated[list[Kept], Meta(max_length=32)]
    unknown: Annotated[list[Count], Meta(max_length=64)]


class HostDescriptors(Request[KeptList], tag=9):
    """Ask what the sentry's own descriptors are of."""


# --- Events of the sentry --------------------------------------------------------------------------------------


class Ready(Event, tag=32):
    """Locked down, waiting for :class:`Start`."""


class Failed(Event, tag=33):
    """Instead of Ready: the sentry cannot work here; it exits.  ``message`` is one line with cause and remedy."""

    message: Text


class Exited(Event, tag=34):
    """The container's first process has ended and with it all others; ``status`` is wait(2)'s.  The sentry exits."""

    status: Status


CONTROL: Final = Service(
    "sentry",
    requests=(Start, Signal, WindowSize, Processes, State, Pause, Resume, NewGofer, HostDescriptors),
    events=(Ready, Failed, Exited),
    request_fds=1,
)
