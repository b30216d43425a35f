"""devpts and pseudo-terminals (pts(4)): /dev/pts, /dev/ptmx.

Each mount is an instance of its own with numbers of its own, as always since Linux 4.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from pysc.cabi.linux import termios as abi
from pysc.cabi.linux.errors import EAGAIN, EINVAL, EIO, ENOENT, ENOSPC, ENOTTY, EPERM
from pysc.cabi.linux.fcntl import O_ACCMODE, O_CLOEXEC, O_NOCTTY, O_NONBLOCK
from pysc.cabi.linux.poll import IN, OUT, POLLHUP, POLLPRI
from pysc.cabi.linux.stat import PERMISSIONS, S_IFCHR, S_IFDIR, makedev
from pysc.sentry.fs import mounting, special
from pysc.sentry.fs.bytequeue import ByteQueue
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.fs.inode import Attributes, Changes, Entry, Filesystem, Inode, clock
from pysc.sentry.fs.path import Dentry, Path
from pysc.sentry.fs.ttyfile import TtyFile, opened, tty_ioctl
from pysc.sentry.kernel.scheduler import WaitQueue, park
from pysc.sentry.kernel.tty import PTS_MAJOR, Tty
from pysc.sentry.syscalls.descriptors import install

if TYPE_CHECKING:
    from pysc.sentry.fs.path import MountNamespace
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.task import Task

DEVPTS_MAGIC: Final = 0x1CD1
MAX: Final = 4096
"""kernel.pty.max."""
OUTPUT: Final = 65536
"""Bytes that wait for whoever has the controlling side."""
PTMX_INO: Final = 2
_OPPOSITES: Final = {
    abi.PKT_STOP: abi.PKT_START,
    abi.PKT_START: abi.PKT_STOP,
    abi.PKT_NOSTOP: abi.PKT_DOSTOP,
    abi.PKT_DOSTOP: abi.PKT_NOSTOP,
}


class PtsInode(Inode):
    """A terminal in an instance, from the opening of its controlling side to the end of that."""

    __slots__ = ("changed", "index", "locked", "tty")

    cacheable: ClassVar[bool] = False  # the number is given again
    fs: DevPts

    def __init__(self, fs: DevPts, index: int, mode: int, uid: int, gid: int, tty: Tty, *, locked: bool) -> None:
        super().__init__(fs, index + 3, S_IFCHR | mode, uid, gid)
        self.index = index
        self.tty = tty
        self.locked = locked
        """Not to be opened yet (unlockpt(3))."""
        self.changed = clock()

    async def attributes(self) -> Attributes:
        times = self.changed
        return Attributes(
            self.fs.dev,
            self.ino,
            self.mode,
            1,
            self.uid,
            self.gid,
            makedev(PTS_MAJOR, self.index),
            blksize=1024,
            atime=times,
            mtime=times,
            ctime=times,
        )

    async def set_attributes(self, changes: Changes) -> None:
        _change(self, changes)

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription:
        """Open the terminal's side.  EIO: locked, or gone."""
        if self.locked or self.tty.hung_up:
            raise EIO
        opened(task, self.tty, flags)
        return Slave(self, flags, path)


class Slave(TtyFile):
    """The terminal's side of a pseudo-terminal, which counts its openings: the other side knows the last one's end."""

    __slots__ = ("_master",)

    def __init__(self, inode: PtsInode, flags: int, path: Path) -> None:
        super().__init__(inode.tty, flags, path)
        driver = inode.tty.driver
        self._master = driver if isinstance(driver, Master) else None
        if self._master is not None:
            self._master.slave_opened()

    async def reopen(self, flags: int) -> FileDescription:
        assert self.path is not None
        inode = self.path.inode
        assert isinstance(inode, PtsInode)
        return Slave(inode, flags, self.path)

    def release(self) -> None:
        if self._master is not None:
            self._master.slave_closed()


class Master(FileDescription):
    """The controlling side: what is written here was typed, what is read here was shown."""

    __slots__ = (
        "_output",
        "_packet",
        "_slave_gone",
        "_slaves",
        "_status",
        "inode",
        "poll_wait",
        "read_wait",
        "write_wait",
    )

    def __init__(self, fs: DevPts, index: int, uid: int, flags: int, path: Path | None) -> None:
        super().__init__(flags, path)
        tty = Tty(self, index)
        self.inode = PtsInode(fs, index, fs.mode, fs.uid if fs.uid is not None else uid, fs.gid, tty, locked=True)
        self._output = ByteQueue()
        self._packet = False
        """Packet mode (TIOCPKT): each read begins with a byte that is 0 before output, or says what happened."""
        self._status = 0
        self._slaves = 0
        self._slave_gone = False
        self.read_wait = WaitQueue()
        self.write_wait = WaitQueue()
        self.poll_wait = WaitQueue()

    # As the terminal's driver
    @property
    def room(self) -> int:
        """Bytes of output that it takes now."""
        return OUTPUT - len(self._output)

    def show(self, data: bytes) -> None:
        """Take output."""
        self._output.append(data)
        self.read_wait.wake_all()
        self.poll_wait.wake_all(IN)

    def drop_output(self) -> None:
        """Drop output that nobody has read."""
        self._output.clear()

    def input_wanted(self) -> None:
        """Go on with input."""
        self.write_wait.wake_all()
        self.poll_wait.wake_all(OUT)

    def tell(self, status: int) -> None:
        """Say it at the next read, in packet mode; of two opposites (tcflow(3), ^S as a key) the later one."""
        if self._packet:
            self._status = self._status & ~_OPPOSITES.get(status, 0) | status
            self.read_wait.wake_all()
            self.poll_wait.wake_all(IN | POLLPRI)

    def slave_opened(self) -> None:
        """One opening more."""
        self._slaves += 1
        self._slave_gone = False

    def slave_closed(self) -> None:
        """One less."""
        self._slaves -= 1
        if not self._slaves:
            self._slave_gone = True
            self.read_wait.wake_all()
            self.poll_wait.wake_all(IN | OUT | POLLHUP)

    # As a file
    def release(self) -> None:
        self.inode.fs.remove(self.inode)
        self.inode.tty.hang_up()

    async def attributes(self) -> Attributes:
        assert self.path is not None
        return await self.path.inode.attributes()

    async def read(self, size: int) -> bytes:
        """Read what was shown; EIO once nobody has the terminal open any more."""
        while not self._output and not self._status:
            if self._slave_gone:
                raise EIO
            if self.nonblock:
                raise EAGAIN
            await park(self.read_wait)
        if self._status:
            status, self._status = self._status, 0
            return bytes([status])
        data = bytes(1) + self._output.take(size - 1) if self._packet else self._output.take(size)
        self.inode.tty.output_wanted()
        return data

    async def write(self, data: bytes) -> int:
        """Type; waits while the terminal takes no more."""
        tty, done = self.inode.tty, 0
        while done < len(data):
            room = tty.input_room
            if room:
                part = data[done : done + room]
                done += len(part)
                tty.input(part)
            elif done:
                break
            elif self.nonblock:
                raise EAGAIN
            else:
                await park(self.write_wait)
        return done

    def poll(self) -> int:
        events = IN if self._output else 0
        if self._status:
            events |= IN | POLLPRI
        if self._slave_gone:
            events |= POLLHUP
        if self.inode.tty.input_room:
            events |= OUT
        return events

    def queues(self) -> tuple[WaitQueue, ...]:
        return (self.poll_wait,)

    async def ioctl(self, task: Task, request: int, argument: int) -> int:
        tty = self.inode.tty
        match request:
            case abi.TIOCGPTN:
                task.put(argument, self.inode.index.to_bytes(4, "little"))
            case abi.TIOCSPTLCK:
                self.inode.locked = await task.copy_in(argument, 4) != bytes(4)
            case abi.TIOCGPTLCK:
                task.put(argument, int(self.inode.locked).to_bytes(4, "little"))
            case abi.TIOCPKT:
                packet = await task.copy_in(argument, 4) != bytes(4)
                if packet != self._packet:
                    self._packet, self._status = packet, 0
            case abi.TIOCGPKT:
                task.put(argument, int(self._packet).to_bytes(4, "little"))
            case abi.TIOCGPTPEER:
                return self._open_peer(task, argument)
            case abi.FIONREAD:
                task.put(argument, len(self._output).to_bytes(4, "little"))
            case abi.TIOCGPGRP:
                foreground = tty.foreground
                task.put(argument, (0 if foreground is None else foreground.pgid).to_bytes(4, "little"))
            case abi.TIOCGSID:
                if tty.session is None:
                    raise ENOTTY
                task.put(argument, tty.session.sid.to_bytes(4, "little"))
            case abi.TIOCSCTTY | abi.TIOCNOTTY | abi.TIOCSPGRP:
                raise ENOTTY
            case _:
                return await tty_ioctl(task, tty, request, argument)
        return 0

    def _open_peer(self, task: Task, flags: int) -> int:
        if flags & ~(O_ACCMODE | O_NOCTTY | O_NONBLOCK | O_CLOEXEC):
            raise EINVAL
        assert self.path is not None
        opened(task, self.inode.tty, flags)
        directory = self.path.dentry.parent
        place = Path(self.path.mount, Dentry(b"%d" % self.inode.index, directory, self.inode))
        return install(task, Slave(self.inode, flags & ~O_CLOEXEC, place), cloexec=bool(flags & O_CLOEXEC))


class PtmxInode(Inode):
    """ptmx: each opening makes a pseudo-terminal."""

    __slots__ = ()

    fs: DevPts

    async def attributes(self) -> Attributes:
        shown = await super().attributes()
        shown.rdev = makedev(5, 2)
        return _since(self.fs.made, shown)

    async def set_attributes(self, changes: Changes) -> None:
        _change(self, changes)

    async def open(self, task: Task, path: Path, flags: int) -> FileDescription:
        return self.fs.open_master(task.creds.fsuid, path, flags)


class PtsDirectory(Inode):
    """The root of an instance."""

    __slots__ = ()

    fs: DevPts

    async def attributes(self) -> Attributes:
        return _since(self.fs.made, await super().attributes())

    async def lookup(self, name: bytes) -> Inode:
        if name == b"ptmx":
            return self.fs.ptmx
        if not name.isdigit() or len(name) > 8 or (name[:1] == b"0" and name != b"0"):
            raise ENOENT
        inode = self.fs.terminals.get(int(name))
        if inode is None:
            raise ENOENT
        return inode

    async def entries(self) -> list[Entry]:
        found = [Entry(b"ptmx", PTMX_INO, S_IFCHR)]
        found += (Entry(b"%d" % index, inode.ino, S_IFCHR) for index, inode in sorted(self.fs.terminals.items()))
        return found


class DevPts(Filesystem):
    """An instance.  ``uid`` None: whoever opens ptmx owns the terminal."""

    __slots__ = ("gid", "limit", "made", "mode", "ptmx", "shown", "terminals", "uid")

    name = b"devpts"
    magic = DEVPTS_MAGIC

    def __init__(
        self, mode: int = 0o600, ptmx_mode: int = 0, uid: int | None = None, gid: int = 0, limit: int = MAX
    ) -> None:
        super().__init__()
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.limit = limit
        self.made = clock()
        self.terminals: dict[int, PtsInode] = {}
        self.root = PtsDirectory(self, 1, S_IFDIR | 0o755)
        self.ptmx = PtmxInode(self, PTMX_INO, S_IFCHR | ptmx_mode)
        self.shown = b",gid=%d,mode=%o,ptmxmode=%03o" % (gid, mode, ptmx_mode)

    @classmethod
    def with_options(cls, options: Mapping[bytes, bytes]) -> DevPts:
        """Make one from mount options (mount(8)).  EINVAL."""
        mode, ptmx_mode, uid, gid, limit = 0o600, 0, None, 0, MAX
        for key, value in options.items():
            if key == b"newinstance":
                continue
            if not value.isdigit() or len(value) > 10:
                raise EINVAL(f"bad option {key.decode('ascii', 'backslashreplace')}")
            if key in (b"mode", b"ptmxmode"):
                if not set(value) <= set(b"01234567"):
                    raise EINVAL(f"bad option {key.decode('ascii', 'backslashreplace')}")
                if key == b"mode":
                    mode = int(value, 8) & PERMISSIONS
                else:
                    ptmx_mode = int(value, 8) & PERMISSIONS
            elif key == b"uid":
                uid = int(value)
            elif key == b"gid":
                gid = int(value)
            elif key == b"max":
                limit = min(int(value), MAX)
            else:
                raise EINVAL(f"unknown option {key.decode('ascii', 'backslashreplace')}")
        return cls(mode, ptmx_mode, uid, gid, limit)

    def options(self) -> bytes:
        return self.shown

    def _free_index(self) -> int:
        if len(self.terminals) >= self.limit:
            raise ENOSPC
        index = 0
        while index in self.terminals:
            index += 1
        return index

    def open_master(self, uid: int, path: Path, flags: int) -> Master:
        """Make a pseudo-terminal.  ENOSPC."""
        index = self._free_index()
        master = Master(self, index, uid, flags, path)
        self.terminals[index] = master.inode
        return master

    def adopt(self, tty: Tty, uid: int) -> PtsInode:
        """Show a terminal that exists already (the container's console)."""
        index = self._free_index()
        tty.rdev = makedev(PTS_MAJOR, index)
        inode = PtsInode(self, index, self.mode, uid, self.gid, tty, locked=False)
        self.terminals[index] = inode
        return inode

    def remove(self, inode: PtsInode) -> None:
        """The controlling side is closed: the name is gone."""
        if self.terminals.get(inode.index) is inode:
            del self.terminals[inode.index]


def _since(time: int, shown: Attributes) -> Attributes:
    shown.atime = shown.mtime = shown.ctime = time
    return shown


def _change(inode: PtsInode | PtmxInode, changes: Changes) -> None:
    if changes.size is not None:
        raise EPERM
    if changes.mode is not None:
        inode.mode = inode.mode & ~PERMISSIONS | changes.mode
    if changes.uid is not None:
        inode.uid = changes.uid
    if changes.gid is not None:
        inode.gid = changes.gid


def find_instance(namespace: MountNamespace) -> tuple[DevPts, Path] | None:
    """Return the devpts that a namespace has mounted first, and where its root is."""
    for mount in namespace.mounts.values():
        if isinstance(mount.fs, DevPts):
            return mount.fs, Path(mount, mount.root)
    return None


async def open_ptmx(task: Task, path: Path, flags: int) -> FileDescription:
    """Open a ptmx node outside of devpts: of the instance that the namespace has."""
    found = find_instance(task.fs.namespace)
    if found is None:
        raise ENOENT
    fs, root = found
    place = Path(root.mount, Dentry(b"ptmx", root.dentry, fs.ptmx))
    return fs.open_master(task.creds.fsuid, place, flags)


def _make(kernel: Kernel, source: bytes, options: mounting.Options) -> Filesystem:
    return DevPts.with_options(options)


special.devices[5, 2] = open_ptmx
mounting.types[b"devpts"] = _make
