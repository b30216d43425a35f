"""``pysc list``: all containers of a state directory."""

from __future__ import annotations

import os
import pwd
from typing import Annotated, Literal

import msgspec

from pysc.supervisor.failure import Failure
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.state import State, Store

HEADER = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


class Options(msgspec.Struct, frozen=True):
    """Flags of list."""

    quiet: Annotated[bool, Help("print ids only", aliases=("q",))] = False
    format: Annotated[Literal["table", "text", "json"], Help("how to print", aliases=("f",))] = "table"


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Print a line for each container."""
    store = Store(state_root(options))
    ids = store.ids()
    if options.root and not os.path.isdir(store.root):
        raise Failure(f"cannot read the state directory {store.root}: there is none; see --root")
    if own.quiet:
        print("".join(f"{container}\n" for container in ids), end="")
        return 0
    states = []
    for container in ids:
        try:
            states.append(store.load(container))
        except Failure as failure:
            log.warning(str(failure))
    if own.format == "json":
        print(msgspec.json.encode([_row(state) for state in states]).decode() if states else "null")
    else:
        _print_table(states)
    return 0


def _row(state: State) -> dict[str, object]:
    return {
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": state.pid,
        "status": state.status,
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": state.created,
        "annotations": state.annotations,
        "owner": _name(state.owner),
    }


def _name(uid: str) -> str:
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, ValueError):
        return uid


def _print_table(states: list[State]) -> None:
    rows = [HEADER]
    rows += [(s.id, str(s.pid), s.status, s.bundle, s.created, _name(s.owner)) for s in states]
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(HEADER))]
    for row in rows:
        print("".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
