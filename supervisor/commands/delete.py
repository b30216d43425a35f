"""``pysc delete``: remove containers that are stopped, or (``--force``) whatever they are."""

from __future__ import annotations

from typing import Annotated

import msgspec

from pysc.supervisor import destroy
from pysc.supervisor.failure import Failure
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.state import Damaged, NoContainer, Store, check_id


class Options(msgspec.Struct, frozen=True):
    """Flags of delete."""

    force: Annotated[bool, Help("kill it first if it runs; an unknown ID is fine", aliases=("f",))] = False


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Delete each ``ID``; the first failure is reported after all have been tried."""
    store = Store(state_root(options))
    failures = []
    for container in arguments:
        try:
            _delete(store, container, force=own.force)
        except Failure as failure:
            failures.append(failure)
    if failures:
        raise Failure("; ".join(str(failure) for failure in failures))
    return 0


def _delete(store: Store, container: str, *, force: bool) -> None:
    check_id(container)
    try:
        state, written = store.load(container), store.raw(container)
    except NoContainer:
        if force:
            return
        raise
    except Damaged:
        if not force:
            raise
        destroy.politely(store, container)  # nothing in the file can be believed
    else:
        if state.status not in ("stopped", "created") and not force:
            raise Failure(f"cannot delete container {container} that is not stopped: {state.status}; use --force")
        destroy.end(store, written)
    with store.locked(container):
        store.remove(container)
        if store.has(container):
            raise Failure(f"cannot remove all of {store.directory(container)}: see what is in there")
