"""The systrap platform: guest code traps into the guest half, which talks to the sentry through shared memory.

How to drive it::

    platform = Systrap(fastpath=False)
    platform.start()                                  # before lock-down: forks and execs the zygote
    scheduler.start(boot(), None, on_exit)            # boot awaits platform.first_thread(image), then thread.resume()
    while not finished:
        for event in platform.wait(timeout_ns):       # resolves completions, calls callbacks, returns reports
            scheduler.start(handle(event), task, on_exit)   # handlers end in exactly one verdict on event.thread
        scheduler.run_ready()                         # continues who awaited a copy, a fork, ...
    platform.stop()

``timeout_ns`` must respect ``scheduler.deadline()``: 0 when routines are ready.  Nothing here blocks but ``wait``.
tests/integration/engine/kernel.py is a complete small kernel on it.  Spaces and threads are in space.py and thread.py.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from pysc.cabi import GUEST, objects
from pysc.cabi._dispatch import ffi, lib
from pysc.cabi.linux.errors import EAGAIN, LinuxError
from pysc.cabi.linux.limits import PAGE
from pysc.sentry.fs import hostproc
from pysc.sentry.fs.file import referenced
from pysc.sentry.hostfds import NONE, Held, HostFd, Of, close, hold, let_go
from pysc.sentry.platform import keyhole
from pysc.sentry.platform.interface import Event, Image, Kind, PlatformError, Stall, ThreadGone
from pysc.sentry.platform.space import SystrapSpace
from pysc.sentry.platform.strays import Strays
from pysc.sentry.platform.thread import SystrapThread
from pysc.sentry.platform.zygote import Zygote, check_host

_EVENT: Final = struct.Struct("<IIq6Q")
_BATCH: Final = 64
_EPOLLIN: Final = 1
_READY: Final[int] = lib.PYSC_READY
_BORN: Final[int] = lib.PYSC_BORN
_STALLED: Final[int] = lib.PYSC_STALLED
_KINDS: Final = (None, *Kind)
_FOR_KERNEL: Final = frozenset({*range(lib.PYSC_KIND_SYSCALL, lib.PYSC_KIND_GONE), lib.PYSC_RESUMED, lib.PYSC_UNDONE})
VDSO: Final = lib.PYSC_VDSO
"""Our own vDSO image in every guest process: what AT_SYSINFO_EHDR says, where fast paths are on."""
_PUT_OFF: Final = 16
_POOL: Final = 1
"""Blanks kept ready: execve does not wait for one."""


def _raise_limit() -> None:
    """Take all descriptors that we may have: each guest process costs three."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    objects.ask_descriptors()


def _proc_file(name: str) -> HostFd:
    try:
        return hold(os.open(f"/proc/{name}", os.O_RDONLY | os.O_CLOEXEC), Held(Of.OWN))
    except OSError:
        return NONE


def _ignore(_stall: Stall) -> None:
    """Do nothing about it."""


def _installed() -> bytes:
    with open(GUEST, "rb") as file:
        return file.read()


class Systrap:
    """Invariant: ``threads`` are those that the engine knows, by number; ``spaces`` have a host process, by pid."""

    __slots__ = (
        "_callbacks",
        "_ended",
        "_events",
        "_handled",
        "_pool",
        "_proc",
        "_put_off",
        "_raw",
        "_shared",
        "_spare",
        "_view",
        "_wants_blank",
        "_wants_spare",
        "_watchdog",
        "_zygote",
        "engine",
        "fastpath",
        "filter",
        "on_stalled",
        "overhead",
        "spaces",
        "strays",
        "threads",
        "unborn",
    )

    def __init__(self, *, fastpath: bool = True, guest: bytes | None = None, oom_score_adj: int = 0) -> None:
        """``guest`` is the guest half's executable, for who cannot read it from the package any more.

        ``oom_score_adj`` is what guests have for the host at least (proc_pid_oom_score_adj(5)).
        """
        self.fastpath = fastpath
        self.filter: Final = keyhole.build()
        self.engine: Any = lib.pysc_engine_new()
        if not self.engine:
            raise PlatformError("no memory or descriptors for the dispatcher: raise ulimit -n")
        if fastpath:
            lib.pysc_engine_serve(self.engine, objects.OBJECTS)
        self.threads: dict[int, SystrapThread] = {}
        self.spaces: dict[int, SystrapSpace] = {}
        self.unborn: dict[int, SystrapSpace] = {}
        """Those that have none yet, by their own numbers."""
        self._zygote = Zygote(guest or _installed(), oom_score_adj)
        self._shared = hold(os.memfd_create("pysc-shared", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), Held(Of.ENGINE))
        self._pool: deque[SystrapSpace] = deque()
        """Blanks that nobody has taken, made or being made."""
        self._spare: SystrapSpace | None = None
        """For the next fork."""
        self._wants_blank = self._wants_spare = False
        self._ended: deque[SystrapSpace] = deque()
        """Spaces whose processes have ended, which nobody has been told."""
        self._put_off = 0
        """How often in a row chores had to wait."""
        self.strays: Final = Strays(self)
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self.overhead = 0
        """Bytes of address space that the guest half takes of each space; known when a blank has been looked at."""
        self._events: list[Event] = []
        self._watchdog: Any = None
        self._proc: tuple[HostFd, ...] = ()
        """What the watchdog reads, and closes."""
        self._handled: Sequence[Event] = ()
        """What :meth:`wait` returned last."""
        self.on_stalled: Callable[[Stall], None] = _ignore
        """Told when the loop has been away for long."""
        self._raw = ffi.new("struct pysc_event[]", _BATCH)
        self._view = memoryview(ffi.buffer(self._raw))

    @property
    def vdso_address(self) -> int:
        """What AT_SYSINFO_EHDR says: our own image.  Who reads a clock there makes no system call, in any mode."""
        return VDSO

    def start(self) -> None:
        """Start the zygote.

        Raises:
            PlatformError: this host cannot; its text is one line with the remedy.
        """
        check_host()
        _raise_limit()
        self._share()
        self._zygote.start()
        failed = lib.pysc_listen(self.engine, self._zygote.listener)
        if failed:
            raise PlatformError(f"cannot watch a descriptor: {os.strerror(-failed)}")
        self.watch(self._zygote.socket.fileno(), select.EPOLLIN, self._on_zygote_end)
        try:
            self._order()
        except LinuxError:
            raise PlatformError("cannot make a guest process: raise ulimit -n, or ulimit -f") from None
        self._watch_over()

    def _on_zygote_end(self, _ready: int) -> None:
        """It says nothing, so it has ended: no program could be started any more."""
        raise PlatformError("the process that makes guest processes was killed: is the host out of memory?")

    def count_in(self, page: int) -> None:
        """Keep the counters in a page of a file, which is closed.

        Raises:
            PlatformError: it cannot be mapped.
        """
        failed = lib.pysc_engine_count_in(self.engine, page)
        os.close(page)
        if failed:
            raise PlatformError(f"cannot map a page: {os.strerror(-failed)}")

    def _share(self) -> None:
        """Map the page that guests can only read: sealed once it is mapped for writing here."""
        import fcntl

        os.ftruncate(self._shared, 4096)
        failed = lib.pysc_engine_share(self.engine, self._shared)
        if failed:
            raise PlatformError(f"cannot map a page: {os.strerror(-failed)}")
        future_write = 0x10
        fcntl.fcntl(self._shared, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | future_write)

    def _watch_over(self) -> None:
        """Have the watchdog look at this thread from now on."""
        status, memory = self._proc = _proc_file("thread-self/stat"), _proc_file("self/statm")
        error = ffi.new("int32_t *")
        self._watchdog = lib.pysc_watchdog_start(self.engine, objects.OBJECTS, status, memory, error)
        if not self._watchdog:
            raise PlatformError(f"cannot start a thread: {os.strerror(error[0])}")

    @property
    def zygote_pid(self) -> int:
        """The zygote's host pid."""
        return self._zygote.pid

    # Blanks
    def copy_of(self, parent: SystrapSpace) -> SystrapSpace:
        """Return a space without a process, for a copy of ``parent``.  EAGAIN, ENOMEM."""
        space, self._spare = self._spare or SystrapSpace(self), None
        space.be_copy_of(parent)
        self._wants_spare = True
        return space

    def _order(self) -> None:
        """Have one more blank made.  EAGAIN, ENOMEM."""
        space = SystrapSpace(self)
        space.be_blank()
        try:
            SystrapThread(space, 0)
            self._zygote.order([space.guest_socket, space.memory, self._shared])
        except (OSError, LinuxError):
            space.abandon()
            raise EAGAIN from None
        space.close_guest_ends()
        self._pool.append(space)

    async def first_thread(self, image: Image, *, checked: bool = True) -> SystrapThread:
        """Start ``image`` in a fresh space (the first program of a container); as :meth:`Thread.exec`.

        ``checked``: what cannot be mapped is ENOMEM, ENOEXEC here.
        """
        if not self._pool:
            self._order()
        space = self._pool.popleft()
        try:
            thread = await space.born
            if not self.overhead:
                self.overhead = int(hostproc.read(f"{space.host_pid}/statm").split()[0]) * PAGE
            self._wants_blank = True
            await thread.load(image, checked=checked)
        except ThreadGone:
            raise EAGAIN from None
        except LinuxError:
            space.abandon()
            raise
        return thread

    # Chores: what is done when everybody has been served, one at a time
    def ended(self, space: SystrapSpace) -> None:
        """The space's process has ended: it will be told."""
        self._ended.append(space)

    def _has_chores(self) -> bool:
        return self._wants_blank or self._wants_spare or bool(self._ended)

    def _do_chore(self) -> bool:
        """Return whether somebody may have waited for it."""
        try:
            if self._wants_blank:
                self._wants_blank = False
                if len(self._pool) < _POOL:
                    self._order()
            elif self._ended:
                self._ended.popleft().end()
                return True
            else:
                self._wants_spare = False
                if self._spare is None:
                    self._spare = SystrapSpace(self)
        except LinuxError:
            pass  # who needs it next asks again
        return False

    # The loop
    def wait(self, timeout_ns: int | None) -> Sequence[Event]:
        """Sleep until there are events, a watched descriptor is ready or ``timeout_ns`` has passed; return the events.

        Callbacks of watched descriptors and completions of awaited operations are made from inside.
        """
        events = self._events
        count = 0
        while not count and self._has_chores():
            count = self._look(0)
            if count and self._put_off < _PUT_OFF:
                self._put_off += 1
            else:
                self._put_off = 0
                if self._do_chore():
                    timeout_ns = 0
        if not count:
            timeout_ns = 0 if events else timeout_ns
            if self.unborn or self.strays.alert:
                timeout_ns = self.strays.timeout(timeout_ns)
            count = self._look(-1 if timeout_ns is None else timeout_ns)
        threads = self.threads
        for record in _EVENT.iter_unpack(self._view[: count * _EVENT.size]):
            number, kind = record[0], record[1]
            if kind == _READY:
                callback = self._callbacks.get(number)
                if callback is not None:
                    callback(record[3])
                continue
            if kind == _STALLED:
                self.on_stalled(Stall(record[3], record[4], number != 0, self._handled))
                continue
            if kind == _BORN:
                space = self.unborn.pop(number, None)
                if space is not None:
                    space.born_as(record[2])
                continue
            if kind == lib.PYSC_MOVED:
                objects.on_moved(record[2], number, record[3])
                continue
            if kind == lib.PYSC_LEFT:
                referenced[number].put()
                continue
            thread = threads.get(number)
            if thread is None:
                continue
            if kind == lib.PYSC_DONATED:
                thread.space.donation.taken()
                continue
            if kind in _FOR_KERNEL:
                thread.stopped = True
                thread.maker = None
                if thread.child is not None:
                    thread.made()
                events.append(Event(thread, _KINDS[kind], record[2], record[3:]))
            elif not self._on_report(thread, kind):
                thread.space.kill()
        if events:
            self._events = []
            self._handled = events
        return events

    def _look(self, timeout_ns: int) -> int:
        count: int = lib.pysc_wait(self.engine, timeout_ns, self._raw, _BATCH)
        if count < 0:
            raise OSError(-count, os.strerror(-count))
        return count

    def _on_report(self, thread: SystrapThread, kind: int) -> bool:
        """Take a report that is not the kernel's; false if it makes no sense."""
        if kind == lib.PYSC_KIND_DONE:
            thread.done()
            return True
        if thread.busy:
            return False
        if kind == lib.PYSC_KIND_BORN:
            return self._on_born(thread)
        if kind == lib.PYSC_KIND_FRAME_FAULT:
            thread.frame_failed()
            return True
        return False

    def _on_born(self, thread: SystrapThread) -> bool:
        space = thread.space
        if not space.blank or not space.host_pid:
            return False
        space.blank = False
        thread.stopped = True
        space.born.resolve(thread)
        return True

    def tell(self, thread: SystrapThread, kind: Kind, error: int = 0) -> None:
        """Queue an event of a thread, if the kernel has ever seen it."""
        if thread.owner is not None:
            self._events.append(Event(thread, kind, 0, (error, 0, 0, 0, 0, 0)))

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call ``callback(ready)`` from :meth:`wait` whenever ``fd`` has one of EPOLL* ``events`` (level-triggered)."""
        failed = lib.pysc_watch(self.engine, fd, events)
        if failed:
            raise OSError(-failed, os.strerror(-failed))
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Undo :meth:`watch`."""
        if self._callbacks.pop(fd, None) is not None:
            lib.pysc_unwatch(self.engine, fd)

    def descriptors(self) -> list[int]:
        """Return those of the host's that stand in no table of Python's: the engine's, and the zygote's socket."""
        count = lib.pysc_engine_descriptors(self.engine, ffi.NULL, 0)
        files = ffi.new("int32_t[]", count)
        lib.pysc_engine_descriptors(self.engine, files, count)
        return [*files, self._zygote.socket.fileno()]

    def stop(self) -> None:
        """Kill all spaces and free everything."""
        if self._watchdog:
            lib.pysc_watchdog_stop(self._watchdog)
            self._watchdog = None
            for fd in self._proc:
                if fd >= 0:
                    let_go(fd)
        self.unwatch(self._zygote.socket.fileno())
        self._zygote.stop()
        for space in list(self.spaces.values()):
            try:
                signal.pidfd_send_signal(space.pidfd, signal.SIGKILL)
                os.waitid(os.P_PIDFD, space.pidfd, os.WEXITED)
            except (ProcessLookupError, ChildProcessError):
                pass
            space.close()
        for space in [*self.unborn.values(), *([self._spare] if self._spare is not None else ())]:
            space.close()
        self._spare = None
        self._ended.clear()
        self._pool.clear()
        if self._shared >= 0:
            close(self._shared)
            self._shared = NONE
            lib.pysc_engine_free(self.engine)
            self.engine = ffi.NULL
