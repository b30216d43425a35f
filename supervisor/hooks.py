"""OCI hooks: programs of the host, run with the container's state on their stdin."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from pysc.supervisor.failure import Failure
from pysc.supervisor.names import signal_name
from pysc.supervisor.spec import Hook
from pysc.supervisor.state import State


def oci_state(state: State) -> bytes:
    """Return the fields of a state that the specification knows, as JSON."""
    return msgspec.json.encode(
        {
            "ociVersion": state.oci_version,
            "id": state.id,
            "status": state.status,
            "pid": state.pid,
            "bundle": state.bundle,
            "annotations": state.annotations,
        }
    )


def run(kind: str, hooks: Sequence[Hook] | None, state: State) -> None:
    """Run the hooks of one kind in order.

    Raises:
        Failure: one could not be run, failed, or took too long; the rest is not run.
    """
    if not hooks:
        return
    import subprocess  # most containers have no hooks

    for hook in hooks:
        try:
            done = subprocess.run(
                hook.args or [hook.path],
                executable=hook.path,
                env=None if hook.env is None else dict(entry.partition("=")[::2] for entry in hook.env),
                input=oci_state(state),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=hook.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Failure(f"{kind} hook {hook.path} took longer than {hook.timeout} seconds and was killed") from None
        except OSError as error:
            raise Failure(f"{kind} hook {hook.path}: {error.strerror}") from None
        if done.returncode < 0:
            raise Failure(f"{kind} hook {hook.path} was killed by {signal_name(-done.returncode)}")
        if done.returncode:
            said = done.stdout[-1024:].decode("utf-8", "replace")
            raise Failure(f"{kind} hook {hook.path} failed with status {done.returncode}: {said or 'it said nothing'}")
