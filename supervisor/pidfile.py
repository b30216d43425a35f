"""The file that tells clients the pid of a container."""

from __future__ import annotations

import os

from pysc.supervisor.failure import Failure


def write_pid_file(path: str, pid: int) -> None:
    """Write digits and no newline, complete or not at all.

    Raises:
        Failure: it cannot be written.
    """
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="ascii") as file:
            file.write(str(pid))
        os.rename(temporary, path)
    except OSError as error:
        remove_pid_file(temporary)
        raise Failure(f"cannot write the pid file {path}: {error.strerror}; name another with --pid-file") from None


def remove_pid_file(path: str) -> None:
    """Remove it, as far as there is one."""
    try:
        os.unlink(path)
    except OSError:
        pass
