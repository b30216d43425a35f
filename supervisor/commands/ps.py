"""``pysc ps``: the processes of a container."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import msgspec

from pysc.supervisor.control import ask
from pysc.supervisor.failure import Failure
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.reaping import children_by_inner_pid
from pysc.supervisor.remote import answered
from pysc.supervisor.state import Store
from pysc.urpc.schema import supervisor as protocol


class Options(msgspec.Struct, frozen=True):
    """Flags of ps."""

    format: Annotated[Literal["table", "json"], Help("json: pids of the host only", aliases=("f",))] = "table"


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Print the processes of ``ID``."""
    (container,) = arguments
    store = Store(state_root(options))
    state = store.load(container)
    if state.status == "stopped":
        raise Failure("container not running")
    with answered(container):
        processes = ask(store.control(container), protocol.Processes()).processes
    if own.format == "json":
        pids = children_by_inner_pid(state.daemons.get("sentry", 0))  # the sentry sees its own pid namespace only
        print(json.dumps([pids[process.host_pid] for process in processes if process.host_pid in pids]))
        return 0
    print(f"{'UID':>6} {'PID':>6} {'PPID':>6} S COMMAND")
    for process in processes:
        letter, command = (text.encode("unicode_escape").decode() for text in (process.state, process.command))
        print(f"{process.uid:>6} {process.pid:>6} {process.ppid:>6} {letter} {command}")
    return 0
