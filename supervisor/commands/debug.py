"""``pysc debug``: look into a running sandbox."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pysc.cabi.linux.errors import LinuxError
from pysc.supervisor.control import ask
from pysc.supervisor.failure import Failure, UsageError
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.state import Store
from pysc.urpc.blocking import Disconnected
from pysc.urpc.schema import supervisor as protocol


class Options(msgspec.Struct, frozen=True):
    """Flags of debug."""

    confinement: Annotated[bool, Help("show what each process of the sandbox has and may do")] = False
    format: Annotated[Literal["table", "json"], Help("how to print", aliases=("f",))] = "table"


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Print what is asked for about ``ID``."""
    if not own.confinement:
        raise UsageError("say what to show: --confinement")
    from pysc.supervisor import confinement

    store = Store(state_root(options))
    state = store.load(arguments[0])
    if not state.pid:
        raise Failure("container not running")
    processes = []
    daemons = [("supervisor", state.pid), *state.daemons.items()]
    for role, pid in [*daemons, *confinement.guests(state.daemons.get("sentry", 0))]:
        try:
            processes.append(confinement.look(role, pid))
        except OSError as error:
            if role == "guest":
                continue  # it has ended meanwhile
            log.warning(f"cannot look at the {role} (pid {pid}): {error.strerror}")
    try:
        held = ask(store.control(arguments[0]), protocol.HostDescriptors())
    except (LinuxError, Disconnected) as error:
        log.warning(f"the sentry does not say what its descriptors are: {error}")
    else:
        for process in processes:
            if process.role == "sentry":
                process.held = {kept.kind: kept.count for kept in held.kinds}
                process.unknown = held.unknown
    if own.format == "json":
        print(msgspec.json.format(msgspec.json.encode(processes), indent=2).decode())
    else:
        print(confinement.show(processes))
    return 0
