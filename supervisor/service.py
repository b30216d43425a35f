"""What a supervisor does for other commands: the requests on its socket."""

from __future__ import annotations

import signal
from typing import Any, Final

from pysc.cabi.linux.errors import EBUSY, EIO, ESRCH, LinuxError
from pysc.supervisor.control import Control
from pysc.supervisor.failure import Failure
from pysc.supervisor.sandbox import Sandbox
from pysc.supervisor.state import Status
from pysc.urpc.codec import Asked
from pysc.urpc.message import Request
from pysc.urpc.schema import sentry
from pysc.urpc.schema import supervisor as protocol

_FREEZING: Final[dict[type, tuple[Request[Any], Status]]] = {
    protocol.Pause: (sentry.Pause(), "paused"),
    protocol.Resume: (sentry.Resume(), "running"),
}
"""What the sentry is asked, and the state afterwards."""


class Service:
    """The supervisor's socket, in the loop of its sandbox."""

    def __init__(self, sandbox: Sandbox, path: str) -> None:
        """Listen at ``path``.

        Raises:
            Failure: it cannot be bound.
        """
        self._sandbox = sandbox
        self.destroyed = False
        """Somebody wanted the sandbox's end: it is not to be restarted."""
        self._control = Control(sandbox.loop, path, self._on_request)

    def close(self) -> None:
        """Stop listening."""
        self._control.close()

    def _on_request(self, control: Control, asked: Asked) -> None:
        request, sandbox = asked.request, self._sandbox
        if isinstance(request, protocol.Start):
            self._start(asked)
        elif isinstance(request, protocol.Kill):
            self._kill(asked, request)
        elif isinstance(request, protocol.Destroy):
            self._destroy(asked)
        elif isinstance(request, protocol.Processes):
            sandbox.sentry.ask(sentry.Processes(), lambda value, error: control.answer(asked, value, error))
        elif isinstance(request, protocol.HostDescriptors):
            sandbox.sentry.ask(sentry.HostDescriptors(), lambda value, error: control.answer(asked, value, error))
        elif isinstance(request, protocol.Counters):
            control.answer(asked, sandbox.counters())
        else:
            self._freeze(asked)

    def _freeze(self, asked: Asked) -> None:
        request, status = _FREEZING[type(asked.request)]

        def done(_: object, error: LinuxError | None) -> None:
            if error is None:
                self._sandbox.set_status(status)
            self._control.answer(asked, error=error)

        if self._sandbox.started:
            self._sandbox.sentry.ask(request, done)
        else:
            self._control.answer(asked, error=ESRCH("container not running"))

    def _kill(self, asked: Asked, request: protocol.Kill) -> None:
        sandbox = self._sandbox
        if request.signo == signal.SIGKILL and not request.pid:
            self._destroy(asked)  # however the sentry is
        elif not sandbox.started:
            self._control.answer(asked, error=ESRCH("container not running"))
        else:
            sandbox.send_signal(
                request.signo,
                request.target,
                request.pid,
                lambda _, error: self._control.answer(asked, error=error),
            )

    def _start(self, asked: Asked) -> None:
        sandbox = self._sandbox
        if sandbox.started:
            self._control.answer(asked, error=EBUSY("cannot start an already running container"))
            return
        try:
            sandbox.start()
        except Failure as failure:
            self._control.answer(asked, error=EIO(str(failure)))
            sandbox.reason = sandbox.reason or str(failure)
        else:
            self._control.answer(asked)

    def _destroy(self, asked: Asked) -> None:
        self.destroyed = True
        self._sandbox.kill()
        self._control.answer(asked)
