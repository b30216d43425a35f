"""``pysc kill``: send a signal to a container.  KILL works whatever has become of its processes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pysc.supervisor import destroy
from pysc.supervisor.control import ANSWER_SECONDS, END_ANSWER_SECONDS, ask
from pysc.supervisor.failure import Failure
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.names import signal_number
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.remote import answered
from pysc.supervisor.state import Store
from pysc.urpc.schema import supervisor as protocol
from pysc.urpc.schema.sentry import Target

KILL = 9


class Options(msgspec.Struct, frozen=True):
    """Flags of kill."""

    all: Annotated[bool, Help("to every process of the container", aliases=("a",))] = False
    pid: Annotated[int, Help("to this process, as the container numbers them", "PID", least=0)] = 0


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Send ``SIGNAL`` to ``ID``."""
    container = arguments[0]
    if own.all and own.pid:
        raise Failure("it is invalid to specify both --all and --pid")
    signo = signal_number(arguments[1] if len(arguments) > 1 else "TERM")
    store = Store(state_root(options))
    state = store.load(container)
    if state.status == "stopped":
        if own.all:  # containerd does this to containers that are dead already
            return 0
        raise Failure("container not running")
    target = Target.ALL if own.all else Target.PROCESS
    ends = signo == KILL and not own.pid
    try:
        with answered(container):
            request = protocol.Kill(signo, target, own.pid)
            ask(store.control(container), request, END_ANSWER_SECONDS if ends else ANSWER_SECONDS)
    except Failure:
        if not ends or store.load(container).status == "stopped":
            raise
        destroy.by_force(store, state)
    return 0
