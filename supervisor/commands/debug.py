"""``pysc debug``: look into a sandbox."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pysc.cabi.linux.errors import LinuxError
from pysc.supervisor.control import ask
from pysc.supervisor.failure import Failure, UsageError
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.remote import answered
from pysc.supervisor.state import State, Store
from pysc.urpc.blocking import Disconnected
from pysc.urpc.schema import supervisor as protocol


class Options(msgspec.Struct, frozen=True):
    """Flags of debug."""

    confinement: Annotated[bool, Help("show what each process of the sandbox has and may do")] = False
    counters: Annotated[bool, Help("show what its kernel has counted of calls and waits")] = False
    manifest: Annotated[bool, Help("show what it was made from and on, and whether this host is like that")] = False
    format: Annotated[Literal["table", "json"], Help("how to print", aliases=("f",))] = "table"


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Print what is asked for about ``ID``."""
    if own.confinement + own.counters + own.manifest != 1:
        raise UsageError("say what to show: --confinement, --counters or --manifest")
    (container,) = arguments
    store = Store(state_root(options))
    state = store.load(container)
    if own.manifest:
        return _show_manifest(store, container, own.format)
    if not state.pid:
        raise Failure("container not running")
    if own.counters:
        with answered(container):
            return _show_counters(ask(store.control(container), protocol.Counters()), own.format)
    return _show_confinement(store, state, own.format, log)


def _show_counters(counted: protocol.Counted, how: str) -> int:
    values = msgspec.structs.asdict(counted)
    print(_json(values) if how == "json" else "\n".join(f"{name:8} {value:>16}" for name, value in values.items()))
    return 0


def _show_confinement(store: Store, state: State, how: str, log: Log) -> int:
    from pysc.supervisor import confinement

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
        held = ask(store.control(state.id), protocol.HostDescriptors())
    except (LinuxError, Disconnected) as error:
        log.warning(f"the sentry does not say what its descriptors are: {error}")
    else:
        for process in processes:
            if process.role == "sentry":
                process.held = {kept.kind: kept.count for kept in held.kinds}
                process.unknown = held.unknown
    print(_json(processes) if how == "json" else confinement.show(processes))
    return 0


def _show_manifest(store: Store, container: str, how: str) -> int:
    from pysc.supervisor import manifest, manifest_view

    found = manifest.decode_untrusted(store.manifest(container, manifest.MAX_MANIFEST))
    misfit = found.misfit(manifest.here())
    if how == "json":
        print(manifest_view.as_json(found, misfit))
    else:
        manifest_view.show(found, misfit)
    return 0


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
