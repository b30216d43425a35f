"""Command line and supervisor: what other commands ask of the supervisor of a container.

The socket lies in the container's state directory, and only its owner gets in.  The two may be of different builds:
the hello carries :data:`VERSION`, not a build id.
"""

from __future__ import annotations

from typing import Final

from pysc.urpc.message import U64, Message, Request, Service
from pysc.urpc.schema.sentry import KeptList, Pid, ProcessList, Signo, Target

VERSION: Final = "1"


class Start(Request[None], tag=1):
    """Run the program of a created container.  EBUSY: it runs already; otherwise why it could not be executed."""


class Kill(Request[None], tag=2):
    """Send a signal.  ESRCH: no such process; KILL for all kills the sandbox, however the sentry is."""

    signo: Signo
    target: Target = Target.PROCESS
    pid: Pid = 0


class Processes(Request[ProcessList], tag=3):
    """Ask for all processes of the container."""


class Destroy(Request[None], tag=4):
    """Kill everything; the answer comes when all is gone but the state, which is *stopped*."""


class Pause(Request[None], tag=5):
    """Stop all guests."""


class Resume(Request[None], tag=6):
    """Let them go on."""


class HostDescriptors(Request[KeptList], tag=7):
    """Ask what the sentry's descriptors are of, as it says itself."""


class Counted(Message):
    """struct pysc_counters: what the sentry has to do with guests' calls."""

    max_frame = 63

    reports: U64
    """That guests have made, system calls for the most part."""
    served: U64
    """Of these, answered by fast paths."""
    spins: U64
    """That ended with a report."""
    vain: U64
    """Spins that did not."""
    sleeps: U64
    wakes: U64
    """Threads of guests that had to be woken."""


class Counters(Request[Counted], tag=8):
    """Ask what the dispatcher has counted; the sentry is not asked."""


COMMANDS: Final = Service(
    "supervisor", requests=(Start, Kill, Processes, Destroy, Pause, Resume, HostDescriptors, Counters)
)
