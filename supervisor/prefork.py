"""The fork of the spawner, as early as can be: it imports the daemons while the command line is still being read.

What both need is imported first, once: that halves its cost, and they share the memory.
``python -m pysc`` calls :func:`prefork` before it imports anything else of pysc; a command that needs a spawner takes
that one, or forks another.  One that nobody needs is killed.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Sequence

COMMANDS = ("do", "run")
DETACHING = ("-d", "--detach", "-detach")
"""Then the supervisor is another process, and forks its own."""

_early: list[tuple[int, socket.socket]] = []


def prefork(arguments: Sequence[str]) -> None:
    """Fork a spawner if the command will probably need one."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if any(command in own for command in COMMANDS) and not any(flag in own for flag in DETACHING):
        try:
            _early.append(fork_spawner())
        except OSError:
            pass  # the command tries again, and says why not


def take() -> tuple[int, socket.socket]:
    """Return a spawner, as :func:`fork_spawner`."""
    return _early.pop() if _early else fork_spawner()


def discard() -> None:
    """End the spawner that was not needed."""
    while _early:
        pid, sock = _early.pop()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        sock.close()


def fork_spawner() -> tuple[int, socket.socket]:
    """Fork a spawner; return its pid and the socket to it.

    Raises:
        OSError: there is no process to be had.
    """
    from pysc.supervisor.spawner import run

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    gc.freeze()
    supervisor = os.getpid()  # the child may run only when this has been killed
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            run(theirs, supervisor)
            status = 0
        except OSError as error:
            status = error.errno or status  # the supervisor says what it means
        finally:
            os._exit(status)
    theirs.close()
    return pid, ours
