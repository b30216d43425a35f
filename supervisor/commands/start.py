"""``pysc start``: run the program of a created container."""

from __future__ import annotations

import msgspec

from pysc.supervisor.control import ask
from pysc.supervisor.failure import Failure
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.remote import answered
from pysc.supervisor.state import Store
from pysc.urpc.schema import supervisor as protocol


class Options(msgspec.Struct, frozen=True):
    """No flags."""


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Start ``ID``."""
    (container,) = arguments
    store = Store(state_root(options))
    state = store.load(container)
    if state.status == "running":
        raise Failure("cannot start an already running container")
    if state.status != "created":
        raise Failure(f"cannot start container {container} in state {state.status}: create it first")
    with answered(container):
        ask(store.control(container), protocol.Start())
    return 0
