"""A container that outlives the command that makes it: ``create`` and ``run --detach``.

The supervisor is a child of the command, becomes an orphan when that ends, and exits with the container's status, so
that a client which is a subreaper (containerd's shim, conmon) reaps it.  Until the container is created the supervisor
dies with the command.
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

import msgspec

from pysc.cabi import confine
from pysc.cabi.linux.prctl import PR_SET_PDEATHSIG
from pysc.supervisor import console, plan
from pysc.supervisor.daemon import close_all_but
from pysc.supervisor.failure import EXIT_FAILURE, Failure
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.pidfile import write_pid_file
from pysc.supervisor.sandbox import Sandbox
from pysc.supervisor.service import Service
from pysc.supervisor.spec import Bundle
from pysc.supervisor.state import Store, check_id

_NO_WINDOW = (0, 0)


class Detachment(msgspec.Struct, frozen=True):
    """How a detached container is made."""

    pid_file: str
    console_socket: str
    start: bool
    """Start the program at once."""


def create(container: str, bundle: Bundle, options: GlobalOptions, how: Detachment, log: Log) -> int:
    """Make a container; return 0 when it is there.

    Raises:
        Failure: it cannot be made, and nothing of it is left.
    """
    check_id(container)
    if bundle.spec.command.terminal and not how.console_socket:
        raise Failure("process.terminal is true: a detached container needs --console-socket")
    made = plan.make(container, bundle.spec, options, overlay=options.overlay, window=_NO_WINDOW)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _supervise(made, bundle, options, how, log, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        answer = file.read().decode("utf-8", "replace")
    if answer == "created":
        return 0
    _, status = os.waitpid(pid, 0)
    Store(state_root(options)).remove_of(container, pid)
    raise Failure(answer or f"the supervisor died ({os.waitstatus_to_exitcode(status)})")


def _supervise(
    made: plan.Plan, bundle: Bundle, options: GlobalOptions, how: Detachment, log: Log, report: int
) -> NoReturn:
    """Be the supervisor: until the container is created in the name of the command, then alone."""
    status = EXIT_FAILURE
    try:
        confine.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        close_all_but({report, log.fd})  # callers leave descriptors open that are none of ours
        status = _Supervisor(made, bundle, options, how, log, report).run()
    except Failure as failure:
        try:
            os.write(report, str(failure).encode("utf-8", "replace"))
        except OSError:
            log.failure(str(failure))
        status = failure.status
    finally:
        os._exit(status)


class _Supervisor:
    def __init__(
        self, made: plan.Plan, bundle: Bundle, options: GlobalOptions, how: Detachment, log: Log, report: int
    ) -> None:
        self._how = how
        self._log = log
        self._report = report
        self._store = Store(state_root(options))
        self._container = made.boot.id
        stdio = (0, 1, 2)
        process = bundle.spec.command
        if how.console_socket and process.terminal:
            size = process.console_size
            slave = console.open_pty(how.console_socket, (size.height, size.width) if size else _NO_WINDOW)
            stdio = (slave, slave, slave)
        self._sandbox = Sandbox(made, bundle, self._store, log, stdio, None)
        self._slave = stdio[0] if stdio[0] > 2 else -1
        self._service: Service | None = None

    def run(self) -> int:
        sandbox = self._sandbox
        try:
            sandbox.create()
            if self._slave >= 0:
                os.close(self._slave)
            self._service = Service(sandbox, self._store.control(self._container))
            if self._how.start:
                sandbox.start()
            if self._how.pid_file:
                write_pid_file(self._how.pid_file, os.getpid())
            sandbox.keep_state()
            confine.prctl(PR_SET_PDEATHSIG, 0)
            self._let_go()
            return sandbox.wait()
        finally:
            sandbox.end()
            if self._service is not None:
                self._service.close()

    def _let_go(self) -> None:
        """Hold nothing of the caller's any more: a pipe that stays open would keep its reader waiting."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        os.write(self._report, b"created")
        os.close(self._report)
