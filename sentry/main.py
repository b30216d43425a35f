"""The sentry's process: from the fork to the container's end.

Order: everything is imported and opened, the platform starts what needs execve(2), the filter is installed, and only
then is anything of the container, the supervisor's Start included, looked at.
"""

from __future__ import annotations

import encodings.ascii
import encodings.latin_1
import encodings.unicode_escape  # noqa: F401  # codecs are looked up by name, when no file can be opened any more
import gc
import linecache  # noqa: F401  # so does traceback
import os
import socket
import traceback
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from pysc.cabi.build_id import BUILD
from pysc.cabi.linux.errors import EBUSY, EINVAL, ESRCH, LinuxError
from pysc.cabi.remedies import explained
from pysc.sentry import confinement, hostfds
from pysc.sentry.container import Container
from pysc.sentry.fs import dcache, hostproc
from pysc.sentry.hostfds import Held, Of, hold
from pysc.sentry.kernel.delivery import freeze, thaw
from pysc.sentry.kernel.dispatch import on_event
from pysc.sentry.kernel.kernel import Kernel
from pysc.sentry.kernel.machine import Machine
from pysc.sentry.kernel.scheduler import Completion, now
from pysc.sentry.kernel.signals import SigInfo, send_signal
from pysc.sentry.kernel.workers import WorkerClient
from pysc.sentry.log import FdLog
from pysc.sentry.net import unix_gc  # noqa: F401  # sockets name it in a function, since it knows them
from pysc.sentry.platform.interface import Kind, PlatformError, Stall
from pysc.sentry.platform.systrap import Systrap
from pysc.sentry.silence import described
from pysc.sentry.strace import Strace
from pysc.sentry.syscalls.x86_64 import X86_64
from pysc.urpc import report
from pysc.urpc.blocking import Connection
from pysc.urpc.codec import Codec
from pysc.urpc.loop import Client, Server, Silence
from pysc.urpc.schema import sentry as schema
from pysc.urpc.schema.gofer import GOFER

YOUNG: Final = 20_000
"""Objects made since the last collection that are worth looking through while nothing else is to be done."""
MANY_YOUNG: Final = 60_000
"""So many that to look through more would take too long at once."""


class Sentry:
    """The kernel with its peers: the supervisor on the control socket, and the gofer."""

    __slots__ = ("_control", "_control_socket", "container", "gofer", "kernel", "platform")

    def __init__(self, control: socket.socket, boot: schema.Boot) -> None:
        """Make everything that needs what lock-down takes away.

        Raises:
            PlatformError: this host cannot run guests; the text is one line with the remedy.
        """
        flags = boot.flags
        for fd in (0, 1, 2, boot.fds.log):  # the first three are /dev/null, or the log
            hold(fd, Held(Of.OWN))
        for fd in (boot.fds.netstack, boot.fds.spawner):
            hold(fd, Held(Of.PEER))
        log = FdLog(boot.fds.log, debug=flags.debug, as_json=flags.log_format == "json")
        report.send_to(log.told)
        fastpath = flags.fastpath and not flags.strace
        self.platform = Systrap(fastpath=fastpath, guest=_read_all(boot.fds.guest), oom_score_adj=boot.oom_score_adj)
        self.platform.count_in(boot.fds.counters)
        self.platform.start()
        machine = Machine(boot.memory_limit, boot.cpus, one_owner=_has_one_id())
        self.kernel = Kernel(self.platform, X86_64, log, machine=machine)
        self.kernel.workers = WorkerClient(self.platform, self.kernel.scheduler)
        self.platform.on_stalled = self._on_stalled
        if flags.strace:
            self.kernel.strace = Strace(log.write, frozenset(flags.strace_syscalls) or None, flags.strace_log_size)
        scheduler = self.kernel.scheduler
        self.gofer = Client(GOFER, self.platform, scheduler, Completion, build=BUILD, on_silence=self._on_silent_gofer)
        self.gofer.connect(socket.socket(fileno=boot.fds.gofer))
        self.container = Container(self.kernel, boot, self.gofer)
        self._control_socket = control
        self._control: Server | None = None

    def run(self) -> int:
        """Serve until the container has ended; return its wait(2) status."""
        handlers: dict[Any, Any] = {
            schema.Start: self._on_start,
            schema.Signal: self._on_signal,
            schema.WindowSize: self._on_window_size,
            schema.Processes: self._on_processes,
            schema.State: self._on_state,
            schema.Pause: self._on_pause,
            schema.Resume: self._on_resume,
            schema.NewGofer: self._on_new_gofer,
            schema.HostDescriptors: self._on_host_descriptors,
        }
        control = self._control = Server(
            self._control_socket,
            schema.CONTROL,
            handlers,
            self.platform,
            self.kernel.scheduler,
            build=BUILD,
            on_lost=_on_supervisor_lost,
        )
        control.tell(schema.Ready())
        kernel, platform, scheduler = self.kernel, self.platform, self.kernel.scheduler
        while kernel.exit_status is None or kernel.tasks:
            scheduler.run_ready()
            deadline = scheduler.deadline()
            timeout = None if deadline is None else max(0, deadline - now()) if deadline else 0
            if gc.get_count()[0] > (YOUNG if timeout != 0 else MANY_YOUNG):
                gc.collect(0)
            for event in platform.wait(timeout):
                on_event(kernel, event)
        status = kernel.exit_status
        self.container.finish()
        control.tell(schema.Exited(status))
        while control.queued and control.connected:
            platform.wait(None)
        return status

    def _on_stalled(self, stall: Stall) -> None:
        rows = self.kernel.table.rows
        handled = [event.nr for event in stall.handled if event.kind in (Kind.SYSCALL, Kind.RESUMED)]
        names = ", ".join(rows[nr].name if nr in rows else str(nr) for nr in handled)
        waited = f", {stall.blocked / 1e6:.0f} of them in a call of the host's" if stall.blocked else ""
        where = " on a file" if stall.blocked and stall.on_file else ""
        self.kernel.log.info(
            f"the loop was away for {stall.ns / 1e6:.0f} ms{waited}{where}, after: {names or 'no call'}"
        )

    def _on_silent_gofer(self, silence: Silence) -> None:
        self.kernel.log.warning(described(silence, self.container.targets()))

    # What the supervisor asks
    async def _on_start(self, _request: schema.Start) -> schema.Empty:
        if self.kernel.init is not None:
            raise EBUSY("already started")
        await self.container.start()
        return schema.Empty()

    def _on_signal(self, request: schema.Signal) -> schema.Empty:
        kernel = self.kernel
        if kernel.init is None:
            raise ESRCH("not started")
        info = SigInfo.kernel(request.signo) if request.signo else None
        match request.target:
            case schema.Target.ALL:
                targets = [group for group in kernel.groups.values() if not group.exited]
            case schema.Target.FOREGROUND:
                targets = self.container.foreground() or [kernel.init]
            case _:
                group = kernel.groups.get(request.pid) if request.pid else kernel.init
                if group is None or group.exited:
                    raise ESRCH
                targets = [group]
        if info is not None:
            for target in targets:
                send_signal(target, info, outside=True)
        return schema.Empty()

    def _on_window_size(self, request: schema.WindowSize) -> schema.Empty:
        self.container.resize(request.rows, request.columns)
        return schema.Empty()

    def _on_processes(self, _request: schema.Processes) -> schema.ProcessList:
        living = sorted((group for group in self.kernel.groups.values() if not group.exited), key=lambda g: g.tgid)
        listed = [
            schema.Process(
                pid=group.tgid,
                ppid=group.parent.tgid if group.parent is not None else 0,
                uid=group.leader.creds.uid,
                state=group.leader.state.value,
                command=group.leader.comm.decode("utf-8", "replace"),
                host_pid=group.leader.memory.space.host_pid,
            )
            for group in living[:512]
        ]
        return schema.ProcessList(listed, len(living))

    def _on_state(self, _request: schema.State) -> schema.StateReply:
        return schema.StateReply(
            running=self.kernel.init is not None and self.kernel.exit_status is None,
            processes=len(self.kernel.groups),
        )

    def _on_pause(self, _request: schema.Pause) -> schema.Empty:
        freeze(self.kernel)
        return schema.Empty()

    def _on_resume(self, _request: schema.Resume) -> schema.Empty:
        thaw(self.kernel)
        return schema.Empty()

    def _on_new_gofer(self, request: schema.NewGofer) -> schema.Empty:
        # Family, type and protocol are said, not asked for: the filter is installed.
        self.gofer.connect(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, request.socket.take()))
        return schema.Empty()

    def _on_host_descriptors(self, _request: schema.HostDescriptors) -> schema.KeptList:
        kinds, unknown = hostfds.account(hostproc.prepare(), self._descriptors())
        return schema.KeptList([schema.Kept(of.value, kinds[of]) for of in Of if kinds[of]], unknown[:64])

    def _descriptors(self) -> Iterator[tuple[int, Of]]:
        """Give those of the host's that are not in the table of hostfds.py."""
        yield from ((fd, Of.ENGINE) for fd in self.platform.descriptors())
        yield from ((fd, Of.FILE) for fd in dcache.opened())
        for peer in (self.gofer, self._control):
            if peer is not None and peer.descriptor >= 0:
                yield peer.descriptor, Of.PEER


def serve(control: socket.socket, boot: schema.Boot) -> NoReturn:
    """Be the sentry.  Takes the sockets and descriptors over; never returns."""
    status = 1
    try:
        try:
            sentry = Sentry(control, boot)
        except OSError as error:
            _report_failure(control, explained(error))
            os._exit(1)
        except (PlatformError, LinuxError) as error:
            _report_failure(control, str(error) or type(error).__name__)
            os._exit(1)
        confinement.lock_down(hostproc.prepare())
        gc.collect()
        gc.freeze()
        gc.disable()
        sentry.run()
        status = 0
    except BaseException as error:  # the outermost loop of the process
        message = str(error) if isinstance(error, PlatformError) else _traceback(error)
        FdLog(boot.fds.log, debug=True, as_json=boot.flags.log_format == "json").error(message)
    finally:
        os._exit(status)


def _report_failure(control: socket.socket, message: str) -> None:
    connection = Connection(control, Codec(schema.CONTROL, serves=True, build=BUILD))
    connection.send(connection.codec.hello())
    connection.send(connection.codec.tell(schema.Failed(message[:4000])))


def _traceback(error: BaseException) -> str:
    return "the sentry failed: " + "".join(traceback.format_exception(error))


def _on_supervisor_lost(_reason: str) -> None:
    os._exit(1)


def _has_one_id() -> bool:
    """Whether one user alone has a number in this user namespace: who started the sandbox without root."""
    lines = hostproc.read("self/uid_map").splitlines()
    return len(lines) == 1 and lines[0].split()[2] == b"1"


def _read_all(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    if not 0 < size < 1 << 24:
        raise EINVAL("the guest half has an odd size")
    data = os.pread(fd, size, 0)
    os.close(fd)
    return data
