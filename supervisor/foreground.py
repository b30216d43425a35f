"""A sandbox in the foreground: what ``do``, ``run`` and ``supervise`` have in common."""

from __future__ import annotations

import os
import time

from pysc.supervisor import plan
from pysc.supervisor.console import Terminal
from pysc.supervisor.failure import Failure
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.pidfile import remove_pid_file, write_pid_file
from pysc.supervisor.sandbox import Sandbox
from pysc.supervisor.service import Service
from pysc.supervisor.spec import Bundle
from pysc.supervisor.state import Store, check_id

_NO_WINDOW = (0, 0)


def prepare(
    container: str, bundle: Bundle, options: GlobalOptions, log: Log, *, overlay: bool, ordinary: bool = False
) -> Sandbox:
    """Make the plan of a foreground sandbox and fork its spawner.

    Raises:
        Failure: the specification, or the terminal, does not fit.
    """
    check_id(container)
    terminal = None
    if bundle.spec.command.terminal:
        if not os.isatty(0):
            raise Failure("process.terminal is true, but stdin is no terminal: run it in one, or set it to false")
        terminal = Terminal(0)
    window = terminal.window() if terminal else _NO_WINDOW
    made = plan.make(container, bundle.spec, options, overlay=overlay, window=window, ordinary=ordinary)
    return Sandbox(made, bundle, Store(state_root(options)), log, (0, 1, 2), terminal)


def run(sandbox: Sandbox, options: GlobalOptions, log: Log, pid_file: str = "") -> int:
    """Take a sandbox through its whole life; return the exit status.  Of one that did not start no pid file stays.

    Raises:
        Failure: it did not start, or broke down.
    """
    begun = time.monotonic()
    service = None
    written = ""
    try:
        sandbox.create()
        service = Service(sandbox, Store(state_root(options)).control(sandbox.id))
        if pid_file:
            write_pid_file(pid_file, os.getpid())
            written = pid_file
        sandbox.start()
        written = ""
        log.debug(f"started after {time.monotonic() - begun:.3f} s")
        return sandbox.wait()
    finally:
        sandbox.end()
        if written:
            remove_pid_file(written)
        if service is not None:
            service.close()
