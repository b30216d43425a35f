"""What another command's supervisor said, as a failure of this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pysc.cabi.linux.errors import ESRCH, LinuxError
from pysc.supervisor.failure import Failure
from pysc.urpc.blocking import Disconnected


@contextmanager
def answered(container: str) -> Iterator[None]:
    """Turn error replies, and no reply at all, into failures with the texts that clients know."""
    try:
        yield
    except ESRCH as error:
        raise Failure(str(error) or "no such process") from None
    except LinuxError as error:
        raise Failure(str(error) or type(error).__name__) from None
    except Disconnected as error:
        raise Failure(
            f"the supervisor of {container} does not answer ({error}): end it with pysc delete --force {container}"
        ) from None
