"""``pysc state``: what the specification says to print about a container."""

from __future__ import annotations

import sys

import msgspec

from pysc.supervisor.hooks import oci_state
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.state import Store


class Options(msgspec.Struct, frozen=True):
    """No flags."""


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Print the state of ``ID``."""
    state = Store(state_root(options)).load(arguments[0])
    shown = msgspec.json.decode(oci_state(state))
    shown |= {"rootfs": state.rootfs, "created": state.created, "owner": state.owner}
    if state.exit_status is not None:
        shown["exitStatus"] = state.exit_status
    if state.reason:
        shown["reason"] = state.reason
    if state.restarts:
        shown["restarts"] = state.restarts
    if state.health is not None:
        shown["health"] = msgspec.to_builtins(state.health)
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())  # no newline, as runc
    return 0
