"""A terminal as an open file, and /dev/tty (tty(4))."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.cabi.linux import termios as abi
from pysc.cabi.linux.capability import CAP_SYS_ADMIN
from pysc.cabi.linux.errors import EBUSY, EINVAL, EIO, ENOTTY, ENXIO, EPERM, ESRCH
from pysc.cabi.linux.fcntl import O_NOCTTY, O_RDWR
from pysc.cabi.linux.signals import SIGCONT, SIGHUP, SIGTTOU
from pysc.cabi.linux.stat import S_IFCHR
from pysc.sentry.fs import special
from pysc.sentry.fs.anonymous import ROOT, AnonymousFile, next_ino
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.kernel.line_discipline import Termios
from pysc.sentry.kernel.scheduler import WaitQueue, current_owner
from pysc.sentry.kernel.signals import SigInfo

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Attributes, Owner
    from pysc.sentry.fs.path import Path
    from pysc.sentry.kernel.task import Task
    from pysc.sentry.kernel.tty import Tty

_TERMIO_SETS = {abi.TCSETA, abi.TCSETAW, abi.TCSETAF}
_GETS = {abi.TCGETS, abi.TCGETS2, abi.TCGETA}
_SETS = {abi.TCSETS, abi.TCSETSW, abi.TCSETSF, abi.TCSETS2, abi.TCSETSW2, abi.TCSETSF2} | _TERMIO_SETS

_FLUSHING = {abi.TCSETSF, abi.TCSETSF2, abi.TCSETAF}
_TERMIOS2 = {abi.TCGETS2, abi.TCSETS2, abi.TCSETSW2, abi.TCSETSF2}
_CHANGING = _SETS | {abi.TCSBRK, abi.TCSBRKP, abi.TCXONC, abi.TCFLSH, abi.TIOCSPGRP}
"""What a background process group is stopped for."""


class TtyFile(AnonymousFile):
    """An open terminal."""

    __slots__ = ("tty",)

    tells = True
    mode = S_IFCHR | 0o620

    def __init__(self, tty: Tty, flags: int, path: Path | None = None, owner: Owner = ROOT) -> None:
        super().__init__(flags, owner, next_ino())
        self.path = path
        self.tty = tty

    @property
    def link(self) -> bytes:
        """The target of the link in /proc/PID/fd, without a devpts that has it."""
        return b"/dev/console"

    async def attributes(self) -> Attributes:
        if self.path is not None:
            return await self.path.inode.attributes()
        shown = await super().attributes()
        shown.rdev = self.tty.rdev
        return shown

    async def reopen(self, flags: int) -> FileDescription:
        return TtyFile(self.tty, flags, self.path, self.owner)

    async def read(self, size: int) -> bytes:
        if self.tty.hung_up:
            return b""
        return await self.tty.read(await current_owner(), size, nonblock=self.nonblock)

    async def write(self, data: bytes) -> int:
        return await self.tty.write(await current_owner(), data, nonblock=self.nonblock)

    def poll(self) -> int:
        return self.tty.poll()

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.tty.poll_wait,)

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        tty = self.tty
        if tty.hung_up:
            raise ENOTTY if request == abi.TIOCSPGRP else EIO
        if request in _CHANGING:
            tty.check_background(task, SIGTTOU)
        return await tty_ioctl(task, tty, request, argument)


async def tty_ioctl(task: Task, tty: Tty, request: int, argument: int) -> int:
    """ioctl_tty(2), for either side of a pseudo-terminal.  ENOTTY for what is none of it."""
    discipline = tty.discipline
    if request in _GETS:
        task.put(argument, _pack(discipline.termios, request))
    elif request in _SETS:
        await _set_termios(task, tty, request, argument)
    elif request == abi.TIOCGWINSZ:
        task.put(argument, abi.WINSIZE.pack(*tty.winsize))
    elif request == abi.TIOCSWINSZ:
        tty.resize(abi.WINSIZE.unpack(await task.copy_in(argument, abi.WINSIZE.size)))
    elif request == abi.FIONREAD:
        task.put(argument, len(discipline).to_bytes(4, "little"))
    elif request == abi.TIOCOUTQ:
        task.put(argument, bytes(4))
    elif request == abi.TCFLSH:
        _flush(tty, argument)
    elif request == abi.TCXONC:
        _flow(tty, argument)
    elif request in (abi.TCSBRK, abi.TCSBRKP):
        pass  # there is no line to be quiet, and what was written is with the driver already
    elif request == abi.TIOCEXCL:
        tty.exclusive = True
    elif request == abi.TIOCNXCL:
        tty.exclusive = False
    elif request == abi.TIOCGEXCL:
        task.put(argument, int(tty.exclusive).to_bytes(4, "little"))
    elif request == abi.TIOCSTI:
        raise EIO  # as with dev.tty.legacy_tiocsti=0
    elif request == abi.TIOCGETD:
        task.put(argument, bytes(4))
    elif request == abi.TIOCSETD:
        if await task.copy_in(argument, 4) != bytes(4):
            raise EINVAL
    else:
        return await _session_ioctl(task, tty, request, argument)
    return 0


async def _session_ioctl(task: Task, tty: Tty, request: int, argument: int) -> int:
    session = task.group.session
    if request == abi.TIOCSCTTY:
        set_controlling(task, tty, steal=argument == 1)
        return 0
    if request not in (abi.TIOCNOTTY, abi.TIOCGPGRP, abi.TIOCSPGRP, abi.TIOCGSID):
        raise ENOTTY
    if session.tty is not tty:
        raise ENOTTY
    if request == abi.TIOCGPGRP:
        foreground = tty.foreground
        task.put(argument, (0 if foreground is None else foreground.pgid).to_bytes(4, "little"))
    elif request == abi.TIOCGSID:
        task.put(argument, session.sid.to_bytes(4, "little"))
    elif request == abi.TIOCSPGRP:
        pgid = int.from_bytes(await task.copy_in(argument, 4), "little", signed=True)
        if pgid < 0:
            raise EINVAL
        group = task.kernel.process_groups.get(pgid)
        if group is None:
            raise ESRCH
        if group.session is not session:
            raise EPERM
        session.foreground = group
    elif session.leader is task.group:
        foreground = tty.foreground
        tty.release_session()
        if foreground is not None:
            foreground.send(SigInfo.kernel(SIGHUP))
            foreground.send(SigInfo.kernel(SIGCONT))
    return 0


def set_controlling(task: Task, tty: Tty, *, steal: bool = False) -> None:
    """TIOCSCTTY.  EPERM: no leader, has one already, or somebody else has this one."""
    session = task.group.session
    if session.tty is tty and session.leader is task.group:
        return
    if session.leader is not task.group or session.tty is not None:
        raise EPERM
    if tty.session is not None and not (steal and task.creds.has_capability(CAP_SYS_ADMIN)):
        raise EPERM
    tty.control(task)


def opened(task: Task, tty: Tty, flags: int) -> None:
    """A session leader without a terminal gets the one it opens, unless O_NOCTTY.  EBUSY (TIOCEXCL)."""
    if tty.exclusive and not task.creds.has_capability(CAP_SYS_ADMIN):
        raise EBUSY
    session = task.group.session
    if flags & O_NOCTTY or session.leader is not task.group or session.tty is not None or tty.session is not None:
        return
    if flags & 3 in (0, O_RDWR):
        tty.control(task)


async def _set_termios(task: Task, tty: Tty, request: int, argument: int) -> None:
    old = tty.discipline.termios
    if request in _TERMIOS2:
        iflag, oflag, cflag, lflag, line, cc, ispeed, ospeed = abi.TERMIOS2.unpack(
            await task.copy_in(argument, abi.TERMIOS2.size)
        )
    elif request in _TERMIO_SETS:
        *flags, line, cc = abi.TERMIO.unpack(await task.copy_in(argument, abi.TERMIO.size))
        before = (old.iflag, old.oflag, old.cflag, old.lflag)
        iflag, oflag, cflag, lflag = (high & ~0xFFFF | low for high, low in zip(before, flags, strict=True))
        cc += old.cc[len(cc) :]
        ispeed, ospeed = old.ispeed, old.ospeed
    else:
        iflag, oflag, cflag, lflag, line, cc = abi.TERMIOS.unpack(await task.copy_in(argument, abi.TERMIOS.size))
        ispeed, ospeed = old.ispeed, old.ospeed
    cflag = cflag & ~abi.CSIZE | abi.CS8 | abi.CREAD  # pseudo-terminals have no other
    if request in _FLUSHING:
        tty.flush_input()
    tty.set_termios(Termios(iflag, oflag, cflag, lflag, line, cc, ispeed, ospeed))


def _pack(termios: Termios, request: int) -> bytes:
    flags = (termios.iflag, termios.oflag, termios.cflag, termios.lflag)
    if request == abi.TCGETA:
        return abi.TERMIO.pack(*(flag & 0xFFFF for flag in flags), termios.line, termios.cc[:8])
    fields = (*flags, termios.line, termios.cc)
    if request in _TERMIOS2:
        return abi.TERMIOS2.pack(*fields, termios.ispeed, termios.ospeed)
    return abi.TERMIOS.pack(*fields)


def _flush(tty: Tty, which: int) -> None:
    if which not in (abi.TCIFLUSH, abi.TCOFLUSH, abi.TCIOFLUSH):
        raise EINVAL
    if which != abi.TCOFLUSH:
        tty.flush_input()
    if which != abi.TCIFLUSH:
        tty.flush_output()


def _flow(tty: Tty, what: int) -> None:
    if what in (abi.TCOOFF, abi.TCOON):
        tty.hold_output(what == abi.TCOOFF)
    elif what not in (abi.TCIOFF, abi.TCION):
        raise EINVAL


async def open_current(task: Task, path: Path, flags: int) -> FileDescription:
    """Open /dev/tty: the controlling terminal.  ENXIO without one."""
    tty = task.group.session.tty
    if tty is None:
        raise ENXIO
    return TtyFile(tty, flags, path)


special.devices[5, 0] = open_current
