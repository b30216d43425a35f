"""Terminals: a line discipline with readers, writers and a session (ioctl_tty(2), credentials(7))."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from pysc.cabi.linux import termios as abi
from pysc.cabi.linux.errors import EAGAIN, EIO
from pysc.cabi.linux.poll import IN, OUT, POLLERR, POLLHUP
from pysc.cabi.linux.signals import SIGCONT, SIGHUP, SIGTTIN, SIGTTOU, SIGWINCH
from pysc.cabi.linux.stat import makedev
from pysc.sentry.kernel.line_discipline import LineDiscipline, Termios
from pysc.sentry.kernel.scheduler import Interrupted, Reason, WaitQueue, now, park
from pysc.sentry.kernel.signals import SigInfo, send_signal

if TYPE_CHECKING:
    from pysc.sentry.kernel.session import ProcessGroup, Session
    from pysc.sentry.kernel.task import Task

PTS_MAJOR: Final = 136
HELD: Final = 65536
"""Bytes of input that wait while the discipline has no room."""
ECHO_MAX: Final = 4096
DECISECOND: Final = 100_000_000


class Driver(Protocol):
    """Where output goes: the controlling side of a pseudo-terminal, or the host's terminal."""

    @property
    def room(self) -> int:
        """Bytes that it takes now."""

    def show(self, data: bytes) -> None:
        """Take output; never refuses (echo goes beyond ``room``, a little)."""

    def drop_output(self) -> None:
        """Drop the output that it has not passed on."""

    def input_wanted(self) -> None:
        """There is room for input again."""

    def tell(self, status: int) -> None:
        """Something happened that packet mode tells of (PKT_*)."""


class Nowhere:
    """What stands for the driver, and for whom the discipline tells, once a terminal has hung up."""

    __slots__ = ()

    room = 0

    def show(self, data: bytes) -> None:
        """Drop it."""

    def drop_output(self) -> None:
        """There is none."""

    def input_wanted(self) -> None:
        """Nobody types."""

    def signal(self, signo: int) -> None:
        """Nobody is told."""

    def flush_output(self) -> None:
        """There is none."""

    def set_stopped(self, stopped: bool) -> None:
        """Nothing moves."""

    def tell(self, status: int) -> None:
        """Nobody listens."""


NOWHERE: Final = Nowhere()


class Tty:
    """A terminal.  It has a session while that session's ``tty`` is this one."""

    __slots__ = (
        "_held",
        "_session",
        "discipline",
        "driver",
        "exclusive",
        "hung_up",
        "output_off",
        "poll_wait",
        "rdev",
        "read_wait",
        "winsize",
        "write_wait",
    )

    def __init__(self, driver: Driver, index: int, winsize: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:
        self.driver: Driver = driver
        self.rdev = makedev(PTS_MAJOR, index)
        self.discipline = LineDiscipline(self, Termios())
        self.winsize = winsize
        """Rows, columns, and the same in pixels."""
        self.hung_up = False
        self.exclusive = False
        self.output_off = False
        """tcflow(TCOOFF)."""
        self._held = bytearray()
        self._session: Session | None = None
        self.read_wait = WaitQueue()
        self.write_wait = WaitQueue()
        self.poll_wait = WaitQueue()

    # The session
    @property
    def session(self) -> Session | None:
        """The session that it controls."""
        session = self._session
        return session if session is not None and session.tty is self else None

    @property
    def foreground(self) -> ProcessGroup | None:
        """The process group that the keys' signals go to."""
        session = self.session
        return None if session is None else session.foreground

    def control(self, task: Task) -> None:
        """Become the controlling terminal of the task's session."""
        session = task.group.session
        self.release_session()
        session.tty = self
        session.foreground = task.group.process_group
        self._session = session

    def release_session(self) -> None:
        """Control nobody any more."""
        session = self.session
        if session is not None:
            session.tty = session.foreground = None
        self._session = None

    def signal(self, signo: int) -> None:
        """Signal the foreground process group."""
        foreground = self.foreground
        if foreground is not None:
            foreground.send(SigInfo.kernel(signo))

    def check_background(self, task: Task, signo: int) -> None:
        """Stop a background process group that reads (SIGTTIN) or changes (SIGTTOU) its controlling terminal.

        Raises:
            Interrupted: the signal was sent.
            EIO: it could not stop anybody (ignored, blocked, or the group is orphaned).
        """
        session = task.group.session
        if session.tty is not self:
            return
        group = task.group.process_group
        if session.foreground is None or session.foreground is group:
            return
        if task.mask >> (signo - 1) & 1 or task.handlers[signo].handler == 1:
            if signo == SIGTTIN:
                raise EIO
            return
        if group.orphaned:
            raise EIO
        group.send(SigInfo.kernel(signo))
        raise Interrupted(Reason.SIGNAL)

    def hang_up(self) -> None:
        """The other side is gone: readers see the end, writers EIO, the session leader SIGHUP."""
        if self.hung_up:
            return
        self.hung_up = True
        session = self.session
        if session is not None:
            if session.leader is not None:
                send_signal(session.leader, SigInfo.kernel(SIGHUP))
                send_signal(session.leader, SigInfo.kernel(SIGCONT))
            foreground = session.foreground
            if foreground is not None:
                foreground.send(SigInfo.kernel(SIGHUP))
            self.release_session()
        self.discipline.flush_input()
        self._held.clear()
        self.driver = NOWHERE
        self.discipline.terminal = NOWHERE
        self._wake_all()

    def _wake_all(self) -> None:
        self.read_wait.wake_all()
        self.write_wait.wake_all()
        self.poll_wait.wake_all(IN | OUT | POLLHUP | POLLERR)

    # Input
    @property
    def input_room(self) -> int:
        """Bytes of input that it takes now."""
        return HELD - len(self._held)

    def input(self, data: bytes) -> None:
        """Take what was typed (no more than ``input_room``)."""
        self._held += data
        self._pump()

    def _pump(self) -> None:
        discipline, held = self.discipline, self._held
        while held:
            room = discipline.room
            if not room:
                break
            discipline.receive(bytes(held[:room]))
            del held[:room]
        self._show_echo()
        if discipline.readable(self._poll_least()):
            self.read_wait.wake_all()
            self.poll_wait.wake_all(IN)
        elif len(discipline):
            self.read_wait.wake_all()

    def _show_echo(self) -> None:
        echoes = self.discipline.echoes
        if len(echoes) > ECHO_MAX:
            del echoes[:-ECHO_MAX]
        if echoes and not self.held_back and self.driver.room > -ECHO_MAX:
            self.driver.show(bytes(echoes))
            echoes.clear()

    def _poll_least(self) -> int:
        cc = self.discipline.termios.cc
        return max(1, cc[abi.VMIN]) if not cc[abi.VTIME] else 1

    async def read(self, task: Task, size: int, *, nonblock: bool) -> bytes:
        """Read a line, or as VMIN and VTIME say (termios(3)); b"" at the end."""
        self.check_background(task, SIGTTIN)
        discipline = self.discipline
        cc = discipline.termios.cc
        least, time = (1, 0) if discipline.canonical else (cc[abi.VMIN], cc[abi.VTIME] * DECISECOND)
        taken: bytes = task.take_back() or b""
        parts, have = [taken], len(taken)
        deadline = task.deadline(time) if time and (have or not least) else None
        try:
            while True:
                if discipline.readable(1):
                    part = discipline.take(size - have)
                    parts.append(part)
                    have += len(part)
                    self._took()
                    if discipline.canonical or have >= min(least or 1, size):
                        break
                    if time:
                        deadline = now() + time
                    continue
                if self.hung_up or (not least and not time):
                    break
                if nonblock:
                    if have:
                        break
                    raise EAGAIN
                if not await park(self.read_wait, deadline=deadline):
                    break
                self.check_background(task, SIGTTIN)
        except Interrupted as interrupted:
            if interrupted.reason is Reason.FREEZE:
                record = task.recorded()
                record.taken, record.deadline = b"".join(parts), deadline
                raise
            if not have:
                raise
        return b"".join(parts)

    def _took(self) -> None:
        if self._held:
            self._pump()
        self.driver.input_wanted()
        if self.discipline.readable(1):
            self.read_wait.wake_all()

    # Output
    @property
    def held_back(self) -> bool:
        """Whether output must wait for ^Q, or for tcflow(TCOON)."""
        return self.discipline.stopped or self.output_off

    async def write(self, task: Task, data: bytes, *, nonblock: bool) -> int:
        """Write all.  EIO once it has hung up."""
        if self.discipline.termios.lflag & abi.TOSTOP:
            self.check_background(task, SIGTTOU)
        done = 0
        try:
            while done < len(data):
                if self.hung_up:
                    raise EIO
                room = 0 if self.held_back else self.driver.room
                if room > 1:
                    part = data[done : done + room // 2]  # a newline takes two
                    self.driver.show(self.discipline.process_output(part))
                    done += len(part)
                    continue
                if nonblock:
                    raise EAGAIN
                await park(self.write_wait)
        except Interrupted as interrupted:
            interrupted.moved = done
            raise
        except EAGAIN:
            if not done:
                raise
        return done

    def output_wanted(self) -> None:
        """The driver has room again."""
        self._show_echo()
        if not self.held_back:
            self.write_wait.wake_all()
            self.poll_wait.wake_all(OUT)

    def flush_output(self) -> None:
        """Drop what was written and not passed on."""
        self.driver.drop_output()
        self.tell(abi.PKT_FLUSHWRITE)
        self.output_wanted()

    def flush_input(self) -> None:
        """Drop what was typed and not read."""
        self.discipline.flush_input()
        self._held.clear()
        self.tell(abi.PKT_FLUSHREAD)
        self.driver.input_wanted()

    def tell(self, status: int) -> None:
        """Tell the driver of what happened (PKT_*)."""
        self.driver.tell(status)

    def set_stopped(self, stopped: bool) -> None:
        """Hold output, or let it go on (the discipline knows already)."""
        self.tell(abi.PKT_STOP if stopped else abi.PKT_START)
        if not stopped:
            self.output_wanted()

    def hold_output(self, off: bool) -> None:
        """tcflow(3)."""
        if self.output_off != off:
            self.output_off = off
            self.set_stopped(off)

    # The rest
    def set_termios(self, termios: Termios) -> None:
        """Change the modes, and wake who waits by other ones."""
        old = self.discipline.termios.keys_stop_output
        self.discipline.set_termios(termios)
        if termios.keys_stop_output != old:
            self.tell(abi.PKT_NOSTOP if old else abi.PKT_DOSTOP)
        self._pump()
        self.read_wait.wake_all()
        self.output_wanted()

    def resize(self, winsize: tuple[int, int, int, int]) -> None:
        """Change the window's size; SIGWINCH if it is another."""
        if winsize != self.winsize:
            self.winsize = winsize
            self.signal(SIGWINCH)

    def poll(self) -> int:
        """Return the POLL* bits that hold."""
        if self.hung_up:
            return IN | OUT | POLLERR | POLLHUP
        events = IN if self.discipline.readable(self._poll_least()) else 0
        if not self.held_back and self.driver.room > 1:
            events |= OUT
        return events
