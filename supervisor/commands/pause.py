"""``pysc pause``: stop all processes of a container."""

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
    """Pause ``ID``."""
    (container,) = arguments
    store = Store(state_root(options))
    if store.load(container).status != "running":
        raise Failure("container not running")
    with answered(container):
        ask(store.control(container), protocol.Pause())
    return 0
