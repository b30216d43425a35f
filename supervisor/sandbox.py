"""One sandbox, seen from its supervisor: start the daemons through the spawner, start the program, watch, end.

Life: ``create`` (daemons up and locked down), ``start`` (the program runs), ``wait``, ``end``.  ``end`` may be called
at any point and leaves no process, no cgroup and, but of one whose state is kept, no file behind.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Final

import msgspec

from pysc.cabi import confine
from pysc.cabi.build_id import BUILD
from pysc.cabi.linux.errors import LinuxError
from pysc.cabi.linux.prctl import PR_SET_CHILD_SUBREAPER
from pysc.cabi.remedies import explained
from pysc.supervisor import cgroups, counters, hooks, names, prefork, reaping
from pysc.supervisor.console import Terminal
from pysc.supervisor.daemon import warn_of_cores
from pysc.supervisor.failure import Failure
from pysc.supervisor.lockdown import lock_down
from pysc.supervisor.log import Log
from pysc.supervisor.peer import Loop, Peer
from pysc.supervisor.plan import Plan
from pysc.supervisor.spec import Bundle, Hooks, encode, left_out
from pysc.supervisor.state import ALL, Health, State, Status, Store, new
from pysc.urpc.fds import RegularFd, SocketFd, StdioFd
from pysc.urpc.message import Event
from pysc.urpc.schema import sentry
from pysc.urpc.schema import spawner as protocol
from pysc.urpc.schema.supervisor import Counted

START_SECONDS: Final = 30
END_SECONDS: Final = 10
SILENCE_SECONDS: Final = 10
"""A sentry that does not take a signal for so long is beyond help."""
PATIENCE: Final = 2
"""Seconds that the two witnesses of the sentry's death, its socket and the spawner, may be apart."""
FORWARDED: Final = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
)  # fmt: skip


class Sandbox:
    """The supervisor's work.  Made before there is a loop or a state directory: ``__init__`` takes or forks
    the spawner."""

    def __init__(
        self,
        plan: Plan,
        bundle: Bundle,
        store: Store,
        log: Log,
        stdio: tuple[int, int, int],
        terminal: Terminal | None,
    ) -> None:
        """Fork the spawner.

        Raises:
            Failure: it cannot be.
        """
        self._plan = plan
        self._spec = bundle.spec
        self._bundle = bundle
        self._store = store
        self._log = log
        self._terminal = terminal
        self._window = plan.boot.window
        self._sentry: Peer | None = None
        self._counters: RegularFd | None = None
        self._ready = False
        self._failed = ""
        self._death = ""
        self._pidfds: list[int] = []
        self._cgroups = cgroups.Cgroups()
        self._ended = False
        self._gave_up = False
        self._keeps_state = False
        self.started = False
        self.status: int | None = None
        """wait(2)'s, once the program has ended."""
        self.reason = ""
        """Why the sandbox is at its end without a status of the program."""
        self.state: State | None = None
        self.keeps_privileges = False
        """This process has more to do than to watch this sandbox."""
        self.cancelled = 0
        """A signal that arrived before there was a program to get it."""
        self.comes_back = False
        """After the end its place stays, to be given up later: somebody may begin another in it."""
        self.on_signal: Callable[[int], None] = self.forward
        """What to do with a signal of the host."""
        self._stdio = stdio
        if plan.unsafe_no_namespaces:  # if the spawner is killed, it is for this process to find guests
            confine.prctl(PR_SET_CHILD_SUBREAPER, 1)
        _try_calls()
        try:
            self._spawner_pid, sock = prefork.take()
        except OSError as error:
            raise Failure(f"cannot start a process: {explained(error)}") from None
        self.loop = Loop()
        self._signals = self._catch_signals()
        self._spawner = Peer(
            self.loop,
            sock,
            protocol.SPAWNER,
            serves=False,
            build=BUILD,
            on_event=self._on_spawner_event,
            on_end=lambda: self._lost(self._spawners_end()),
        )

    # --- create -------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Reserve the id, start the daemons, wait until they are locked down.

        Raises:
            Failure: something did not work; call :meth:`end`.
        """
        plan, spec = self._plan, self._spec
        container = plan.boot.id
        if plan.boot.flags.debug:
            self._log.debug(f"{container}, of {self._bundle.directory}: {encode(spec).decode()}")
        self._store.create_root()
        self._reserve()
        with self._store.locked(container), self._store.locked(ALL):
            kuid = self._store.allocate_kuid() if os.geteuid() == 0 else os.geteuid()
            state = new(container, self._bundle.directory, spec.rootfs.path, dict(spec.annotations or {}), kuid)
            self._store.create(state)
            self.state = state
        self._cgroups.plan(container, spec)
        if self._cgroups.directories:
            self._reserve()
        self._cgroups.create(self._log.warning)
        state.cgroups = self._cgroups.directories
        warn_of_cores(self._log.warning)
        try:
            launched = self._spawner.call(self._launch_request(kuid), START_SECONDS, self._write_manifest)
        except LinuxError as error:
            raise self._failure(self.reason or str(error)) from None
        state.daemons = {"spawner": self._spawner_pid}
        for daemon in launched.daemons:
            state.daemons[daemon.role.value] = daemon.pid
            self._pidfds.append(daemon.pidfd.take())
        self._sentry = Peer(
            self.loop,
            socket.socket(fileno=launched.control.take()),
            sentry.CONTROL,
            serves=False,
            build=BUILD,
            on_event=self._on_sentry_event,
            on_end=self._on_sentry_end,
        )
        self.loop.run(lambda: self._ready or self.over or bool(self.cancelled), START_SECONDS)
        if not self._ready:
            self._check_cancelled()
            raise self._failure(self._failed or self.reason or f"the sentry was not ready within {START_SECONDS} s")
        wanted = spec.hooks or Hooks()
        hooks.run("prestart", wanted.prestart, state)
        hooks.run("createRuntime", wanted.create_runtime, state)
        hooks.run("createContainer", wanted.create_container, state)
        self.set_status("created")
        self._log.debug(f"made: pid {state.pid}, {', '.join(f'{who} {pid}' for who, pid in state.daemons.items())}")
        for line in left_out(spec):  # not earlier: of a log with a failure in it, engines want to read nothing else
            self._log.warning(line)

    def _write_manifest(self) -> None:
        """Write down what all this is made from, while the spawner is busy.  Failure."""
        from pysc.supervisor import manifest  # its import, too, costs a start nothing here

        made = manifest.make(self._bundle, self._plan)
        self._store.save_manifest(self.id, manifest.encode(made))

    def _reserve(self) -> None:
        """Tell the spawner what is about to be made, so that it goes even if this process is killed right then."""
        made = [os.fsencode(directory) for directory in self._cgroups.directories]
        self._spawner.tell(protocol.Reserve(os.fsencode(self._store.root), self.id, made))

    def _launch_request(self, kuid: int) -> protocol.Launch:
        try:
            plan = os.memfd_create("plan", os.MFD_CLOEXEC)
            page, self._counters = counters.make()
        except OSError as error:
            raise Failure(f"memfd_create(2): {error.strerror}; Linux 3.17 or newer is needed") from None
        with open(plan, "wb", closefd=False) as file:
            file.write(msgspec.msgpack.encode(self._plan))
        return protocol.Launch(
            plan=RegularFd(plan),
            kuid=kuid,
            cgroups=[os.fsencode(directory) for directory in self._cgroups.joined],
            stdio=[StdioFd.lend(fd) for fd in self._stdio],
            log=StdioFd.lend(self._log.fd),
            counters=page,
            terminal=self._terminal is not None,
            crashes_to_log=self._log.to_file or self._plan.boot.flags.debug,
        )

    def keep_state(self) -> None:
        """The state is to outlive this process, even if it is killed."""
        self._keeps_state = True
        self._spawner.tell(protocol.Keep())

    # --- start and run ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Run the program.

        Raises:
            Failure: it cannot be executed.
        """
        self._check_cancelled()
        wanted = self._spec.hooks or Hooks()
        assert self.state is not None
        hooks.run("startContainer", wanted.start_container, self.state)
        assert self._sentry is not None
        if self._terminal is not None:
            self._terminal.raw()
        try:
            self._sentry.call(sentry.Start(), START_SECONDS)
        except LinuxError as error:
            told = self._failed or self.reason or self._execution_error(error)
            raise self._failure(f"unable to start container process: {told}") from None
        self.started = True
        # What came between the request and its answer:
        self._pass_window()
        if self.cancelled:
            self.forward(self.cancelled)
        self.set_status("running")
        try:
            hooks.run("poststart", wanted.poststart, self.state)
        except Failure as failure:
            self._log.warning(str(failure))
        if not self.keeps_privileges and not wanted.poststop:
            lock_down()

    def _execution_error(self, error: LinuxError) -> str:
        """Say it as runc does, for clients look for these words."""
        detail = str(error)
        if detail.startswith(("exec: ", "mount ", "working directory ")):
            return detail
        program = os.fsdecode(self._plan.boot.args[0])
        return f'exec: "{program}": {os.strerror(error.errno).lower()}' + (f": {detail}" if detail else "")

    def _failure(self, message: str) -> Failure:
        """Return the failure that ``message`` describes, unless it comes from a lack of memory."""
        if cgroups.oom_kills(self._cgroups.joined):
            return Failure(self._exhausted(), 128 + signal.SIGKILL)
        return Failure(message)

    def _exhausted(self) -> str:
        return f"out of memory: the sandbox used up its limit of {self._plan.boot.memory_limit} bytes"

    @property
    def id(self) -> str:
        """The container's id."""
        return self._plan.boot.id

    @property
    def over(self) -> bool:
        """Whether nothing runs any more."""
        return self.status is not None or bool(self.reason)

    def wait(self) -> int:
        """Wait for the end of the program; return its exit status, 128+n for a signal.

        Raises:
            Failure: the sandbox broke down.
        """
        self.loop.run(lambda: self.over)
        if self.status is None:
            raise self._failure(self.reason)
        if self.status == signal.SIGKILL and cgroups.oom_kills(self._cgroups.joined):
            self._log.warning(f"the program was killed: {self._exhausted()}")
        return (
            os.waitstatus_to_exitcode(self.status) % 256
            if os.WIFEXITED(self.status)
            else 128 + os.WTERMSIG(self.status)
        )

    def send_signal(
        self,
        signo: int,
        target: sentry.Target = sentry.Target.PROCESS,
        pid: int = 0,
        answer: Callable[[object, LinuxError | None], None] = lambda value, error: None,
    ) -> None:
        """Send a signal inside; ``answer`` is told what came of it."""
        assert self._sentry is not None
        self._sentry.ask(sentry.Signal(signo, target, pid), answer)

    @property
    def sentry(self) -> Peer:
        """The sentry; :meth:`create` must have succeeded."""
        assert self._sentry is not None
        return self._sentry

    def counters(self) -> Counted:
        """Return what the sentry has counted; :meth:`create` must have succeeded."""
        assert self._counters is not None
        return counters.read(self._counters)

    def set_health(self, health: Health) -> None:
        """Show a health in the state."""
        assert self.state is not None
        self.state.health = health
        self.set_status(self.state.status)

    def kill(self) -> None:
        """End everything at once, as by SIGKILL to the program."""
        if self.status is None:
            self.status = signal.SIGKILL
        self.end()

    # --- end ----------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End all processes and remove everything but a state that is kept."""
        if self._ended:
            return
        self._ended = True
        try:
            self._end_processes()
        finally:
            if self.comes_back and self.state is not None:
                self._note_end(self.state)
                self.set_status("creating")
            else:
                self.give_up_place()
        self._run_poststop()

    def give_up_place(self) -> None:
        """After the end, remove the state that is not kept, and let the spawner go."""
        if not self._gave_up:
            self._gave_up = True
            self._settle_state()
            self._dismiss_spawner()

    def close(self) -> None:
        """After the end, hold nothing any more, for a process that goes on; signals of the host are heard no longer."""
        signal.set_wakeup_fd(-1)
        for fd in self._signals:
            os.close(fd)
        if self._counters is not None:
            self._counters.close()

    def _end_processes(self) -> None:
        self._cgroups.leave()
        try:
            self._spawner.call(protocol.Finish(), END_SECONDS)
        except LinuxError:
            self._dismiss_spawner()  # its death is its daemons'
        if self._sentry is not None:
            self._sentry.close()
        # Not needed where the spawner did its work; it may have been killed.
        reaping.await_ends(self._pidfds, END_SECONDS)
        self._pidfds = []
        if self._plan.unsafe_no_namespaces:
            reaping.end_orphans(END_SECONDS)
        cgroups.kill(self._cgroups.directories)
        cgroups.remove(self._cgroups.directories)
        if self._terminal is not None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            self._terminal.restore()

    def _dismiss_spawner(self) -> None:
        """Let the spawner go, not before nothing is left for it to clean up if this process is killed."""
        self._spawner.close()
        reaping.reap(self._spawner_pid, END_SECONDS)

    def _settle_state(self) -> None:
        if self.state is None:
            return
        if not self._keeps_state:
            self._store.remove(self.state.id)
        else:
            self._note_end(self.state)
            self.state.pid = 0
            self.set_status("stopped")

    def _note_end(self, state: State) -> None:
        state.reason = self.reason
        if self.status is not None:
            code = os.waitstatus_to_exitcode(self.status)
            state.exit_status = code if code >= 0 else 128 - code

    def _run_poststop(self) -> None:
        if self.state is None:
            return
        wanted = self._spec.hooks or Hooks()
        try:
            self.state.status = "stopped"
            hooks.run("poststop", wanted.poststop, self.state)
        except Failure as failure:
            self._log.warning(str(failure))

    def set_status(self, status: Status) -> None:
        """Write another status to the state file."""
        assert self.state is not None
        self.state.status = status
        try:
            self._store.save(self.state)
        except Failure as failure:
            if status == "created":
                raise
            self._log.warning(str(failure))

    # --- what is heard ------------------------------------------------------------------------------------------

    def _on_sentry_event(self, event: Event) -> None:
        if isinstance(event, sentry.Ready):
            self._ready = True
        elif isinstance(event, sentry.Failed):
            self._failed = f"the sentry cannot work here: {event.message}"
        elif isinstance(event, sentry.Exited):
            if os.WIFEXITED(event.status) or os.WIFSIGNALED(event.status):
                self.status = event.status
            else:
                self._lost("the sentry told an impossible status")

    def _on_sentry_end(self) -> None:
        if self.status is None and not self.reason:
            # The spawner knows more: wait for it a moment.
            self.loop.run(lambda: bool(self._death or self.reason), PATIENCE)
            self._lost(self._failed or self._death or "the sentry closed its connection; run with --debug to see more")

    def _on_spawner_event(self, event: Event) -> None:
        if isinstance(event, protocol.Died):
            reason = event.reason or f"the {event.role} {_how(event.status)}; run with --debug to see more"
            if event.role is protocol.Role.SENTRY and self._sentry is not None and self._sentry.open:
                self._death = reason  # its last message is still to be read
                self.loop.after(PATIENCE, lambda: self._lost(reason))
            else:
                self._lost(reason)
        elif isinstance(event, protocol.Restarted):
            reason = f": {event.reason}" if event.reason else ""
            self._log.warning(f"the gofer died and was restarted{reason}")
            self._pidfds.append(event.daemon.pidfd.take())
            if self.state is not None:
                self.state.daemons["gofer"] = event.daemon.pid
                self.set_status(self.state.status)
            if self._sentry is not None:
                self._sentry.ask(sentry.NewGofer(SocketFd(event.socket.take())), lambda value, error: None)

    def _spawners_end(self) -> str:
        code = reaping.exit_code(self._spawner_pid, PATIENCE)
        if not code:
            return "the spawner died"
        error = OSError(code, os.strerror(code))
        return f"the spawner cannot work here: {explained(error)}; it needs seccomp(2) and prctl(2)"

    def _lost(self, reason: str) -> None:
        if not self.reason and self.status is None:
            self.reason = reason

    def _check_cancelled(self) -> None:
        self.loop.catch_up()
        if self.cancelled:
            raise Failure(f"stopped by {names.signal_name(self.cancelled)}", 128 + self.cancelled)

    # --- signals of the host ------------------------------------------------------------------------------------

    def _catch_signals(self) -> tuple[int, int]:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (*FORWARDED, signal.SIGWINCH):
            signal.signal(number, lambda *_: None)
        self.loop.watch(reader, lambda: self._on_signals(reader))
        return reader, writer

    def _on_signals(self, reader: int) -> None:
        for number in os.read(reader, 256):
            if number == signal.SIGWINCH:
                self._pass_window()
            elif number in FORWARDED:
                self.on_signal(number)

    def _pass_window(self) -> None:
        if self._terminal is not None and self.started and self._terminal.window() != self._window:
            self._window = self._terminal.window()
            self.sentry.ask(sentry.WindowSize(*self._window), lambda value, error: None)

    def forward(self, number: int) -> None:
        """Pass a signal of the host on to the program; before there is one, it ends the start."""
        if not self.started:
            self.cancelled = number
            return
        answers: list[object] = []
        self.send_signal(number, answer=lambda value, error: answers.append(error))
        silent = "the sentry does not answer, and was killed"
        self.loop.after(SILENCE_SECONDS, lambda: None if answers else self._lost(silent))


def _try_calls() -> None:
    """Find out, and say in time, if a parent's filter leaves no way to run a program."""
    try:
        confine.try_calls()
    except OSError as error:
        remedy = explained(error)
        if remedy == error.strerror:  # such an answer the kernel itself never gives
            remedy += ": a container or policy around pysc forbids it"
        raise Failure(f"cannot start the daemons: {remedy}") from None


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {names.signal_name(os.WTERMSIG(status))}"
    return f"exited with status {os.waitstatus_to_exitcode(status)}"
