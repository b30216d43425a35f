"""``pysc supervise``: a bundle as a service in the foreground, for a terminal or a service manager."""

from __future__ import annotations

import os
import signal
import time
from typing import Annotated, Literal

import msgspec

from pysc.supervisor import foreground, spec
from pysc.supervisor.failure import Failure
from pysc.supervisor.flags import Help
from pysc.supervisor.health import Check, Monitor
from pysc.supervisor.log import Log
from pysc.supervisor.notify import notify, watchdog_interval
from pysc.supervisor.options import GlobalOptions, state_root
from pysc.supervisor.peer import Loop
from pysc.supervisor.sandbox import Sandbox
from pysc.supervisor.service import Service
from pysc.supervisor.state import Store

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
GOOD_RUN = 10.0
"""Seconds after which a run counts as a success, and the next pause is short again."""
STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class Options(msgspec.Struct, frozen=True):
    """Flags of supervise."""

    restart: Annotated[Literal["never", "on-failure", "always"], Help("what to do when the program has ended")] = (
        "never"
    )
    max_restarts: Annotated[int, Help("give up after N restarts; 0 is never", "N", least=0)] = 0
    id: Annotated[str, Help("the container's ID (default: the name of the bundle's directory)", "ID")] = ""
    health_cmd: Annotated[
        str, Help("a command of the host that says by its status whether the service is well", "COMMAND")
    ] = ""
    health_interval: Annotated[float, Help("between two checks", "SECONDS", least=0.01)] = 30.0
    health_timeout: Annotated[float, Help("after which a check has failed", "SECONDS", least=0.01)] = 10.0
    health_retries: Annotated[int, Help("failed checks in a row until it is unhealthy", "N", least=1)] = 3
    restart_unhealthy: Annotated[bool, Help("kill it when it is unhealthy, so that the policy restarts it")] = False
    stop_timeout: Annotated[float, Help("from the signal to stop until it is killed", "SECONDS", least=0)] = 10.0


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Run ``BUNDLE`` until the policy says that it is over."""
    return _Supervision(options, own, os.path.abspath(arguments[0]), log).run()


class _Supervision:
    def __init__(self, options: GlobalOptions, own: Options, bundle: str, log: Log) -> None:
        self._options = options
        self._own = own
        self._bundle = bundle
        self._log = log
        self._id = own.id or os.path.basename(bundle)
        self._restarts = 0
        self._stopping = False
        self._told = False
        """The service manager knows."""
        self._sandbox: Sandbox | None = None
        self._monitor: Monitor | None = None
        self._watchdog = watchdog_interval()

    def run(self) -> int:
        # Held back but for the time that a sandbox listens: none is lost between two of them.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
        try:
            return self._run()
        finally:
            self._tell_stopping()

    def _tell_stopping(self) -> None:
        if not self._told:
            self._told = True
            notify("STOPPING=1")

    def _run(self) -> int:
        pause = FIRST_PAUSE
        while True:
            begun = time.monotonic()
            try:
                status, reason = self._run_once()
                self._log.info(f"{self._id} ended: {reason or f'status {status}'}")
                if not self._again(status):
                    if reason:
                        raise Failure(reason)
                    return status
                if time.monotonic() - begun > GOOD_RUN:
                    pause = FIRST_PAUSE
                notify(f"STATUS=restarting after {reason or f'status {status}'}")
                if self._interrupted(pause):
                    return status
            finally:
                if self._sandbox is not None:
                    self._sandbox.give_up_place()
            pause = min(pause * 2, LONGEST_PAUSE)
            self._restarts += 1

    def _again(self, status: int) -> bool:
        own = self._own
        if self._stopping or own.restart == "never" or (own.restart == "on-failure" and status == 0):
            return False
        return not own.max_restarts or self._restarts < own.max_restarts

    def _interrupted(self, seconds: float) -> bool:
        """Pause; whether a signal to stop has come since the last sandbox listened."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if signal.sigtimedwait(STOP, min(left, self._watchdog or left)) is not None:
                return True
            self._feed()
        return False

    def _feed(self) -> None:
        if self._watchdog:
            notify("WATCHDOG=1")

    def _feed_in(self, loop: Loop) -> None:
        if self._watchdog:
            self._feed()
            loop.after(self._watchdog, lambda: self._feed_in(loop))

    def _run_once(self) -> tuple[int, str]:
        """Run the program once; return its status and, if the sandbox broke down, why.

        Raises:
            Failure: it never started, and will not at the next try either.
        """
        bundle = spec.load(self._bundle)
        options = self._options
        sandbox = foreground.prepare(self._id, bundle, options, self._log, overlay=options.overlay)
        self._sandbox = sandbox
        sandbox.on_signal = self._on_signal
        sandbox.keeps_privileges = True
        service = None
        self._feed_in(sandbox.loop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
        try:
            sandbox.create()
            assert sandbox.state is not None
            sandbox.state.restarts = self._restarts
            service = Service(sandbox, Store(state_root(options)).control(self._id))
            sandbox.start()
            sandbox.comes_back = True
            self._watch_health(sandbox)
            notify(f"READY=1\nSTATUS=running {self._id}\nMAINPID={os.getpid()}")
            try:
                return sandbox.wait(), ""
            except Failure as failure:
                return failure.status, str(failure)
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
            sandbox.loop.catch_up()
            if self._monitor is not None:
                self._monitor.stop()
                self._monitor = None
            sandbox.end()
            if service is not None:
                service.close()
                self._stopping = self._stopping or service.destroyed
            sandbox.close()

    def _watch_health(self, sandbox: Sandbox) -> None:
        own = self._own
        if own.health_cmd:
            check = Check(own.health_cmd, own.health_interval, own.health_timeout, own.health_retries)
            environment = {"PYSC_ID": self._id, "PYSC_PID": str(os.getpid())}
            self._monitor = Monitor(sandbox.loop, check, environment, self._on_health)
            self._on_health()

    def _on_health(self) -> None:
        sandbox, monitor = self._sandbox, self._monitor
        assert sandbox is not None
        assert monitor is not None
        sandbox.set_health(monitor.health)
        notify(f"STATUS={monitor.health.status}")
        if monitor.health.status == "unhealthy":
            self._log.warning(f"{self._id} is unhealthy: {monitor.health.output}")
            if self._own.restart_unhealthy:
                sandbox.loop.after(0, sandbox.kill)

    def _on_signal(self, number: int) -> None:
        sandbox = self._sandbox
        assert sandbox is not None
        if number in STOP and not self._stopping:
            self._stopping = True
            self._tell_stopping()
            sandbox.loop.after(self._own.stop_timeout, sandbox.kill)
        sandbox.forward(number)
