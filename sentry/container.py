"""The container of a sandbox: its mounts, its standard descriptors, its first process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

from msgspec.structs import replace

from pysc.cabi.linux.errors import EACCES, EBUSY, ELOOP, ENODEV, ENOENT, ENOTDIR, LinuxError
from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.cabi.linux.mount import MS_NOATIME, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY
from pysc.cabi.linux.resource import DEFAULT_LIMITS
from pysc.cabi.linux.stat import PERMISSIONS, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG
from pysc.sentry.fs.context import FsContext
from pysc.sentry.fs.devfs import Devtmpfs
from pysc.sentry.fs.hostfile import open_host_file
from pysc.sentry.fs.hostfs import HostFilesystem
from pysc.sentry.fs.hosttty import HostTerminal, open_console
from pysc.sentry.fs.inode import Filesystem, Owner
from pysc.sentry.fs.mounting import bind_at, is_directory, make, mount_at, namespace_of, parse_options
from pysc.sentry.fs.namei import make_directory, make_node
from pysc.sentry.fs.open import open_exec
from pysc.sentry.fs.overlay import Overlay
from pysc.sentry.fs.path import Dentry, MountNamespace, Path
from pysc.sentry.fs.tmpfs import Tmpfs
from pysc.sentry.fs.tree import Tree
from pysc.sentry.fs.walk import DIRECTORY, FOLLOW, resolve
from pysc.sentry.hostfds import NONE, Held, Of, duplicate, hold
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.exec import start_program
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.memory import Memory
from pysc.sentry.kernel.task import Task
from pysc.sentry.kernel.thread_group import ThreadGroup

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.fs.tree import Caller
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.platform.interface import Space, Thread
    from pysc.urpc.schema.sentry import Boot
    from pysc.urpc.schema.sentry import Mount as MountRequest

DEFAULT_PATH: Final = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_LINKS: Final = 40
ROOT: Final = Credentials.of(0, 0, caps=(1 << 41) - 1)


class Container:
    """What :class:`~pysc.urpc.schema.sentry.Boot` says, made real."""

    __slots__ = ("_boot", "_gofer", "_kernel", "_stdio", "_terminal", "_trees")

    def __init__(self, kernel: Kernel, boot: Boot, gofer: Caller) -> None:
        self._kernel = kernel
        self._boot = boot
        self._gofer = gofer
        self._stdio = [hold(fd, Held(Of.STANDARD, number)) for number, fd in enumerate(boot.fds.stdio)]
        self._trees = {number: hold(fd, Held(Of.TREE, number)) for number, fd in boot.fds.trees.items()}
        self._terminal: HostTerminal | None = None
        if boot.terminal:
            self._terminal = HostTerminal(duplicate(self._stdio[0]), kernel.platform, boot.window)
        kernel.uts.hostname = boot.hostname or kernel.uts.hostname
        kernel.uts.domainname = boot.domainname or kernel.uts.domainname

    async def start(self) -> None:
        """Mount everything and start the first process.

        Raises:
            LinuxError: what execve(2) or mount(2) would answer; the detail names the file.
        """
        boot, kernel = self._boot, self._kernel
        namespace = MountNamespace.of(await self._root(), 0, b"rootfs")
        setup = _setup_task(kernel, FsContext(namespace.root_path))
        for request in boot.mounts:
            with _mounting(request.target):
                await self._mount(setup, request)
        for path in boot.readonly_paths:
            with _mounting(path):
                await _protect(setup, path)
        for path in boot.masked_paths:
            with _mounting(path):
                await self._mask(setup, path)
        context = FsContext(namespace.root_path, umask=boot.umask)
        context.cwd = await self._working_directory(setup)
        if boot.root.readonly:
            namespace.root.flags |= MS_RDONLY
        creds = self._credentials()
        path = await self._find_program(setup, context, creds)
        fds = FDTable()
        files = self._standard_files(namespace)
        if self._terminal is not None and files[0].path is not None:
            await self._show_console(setup, files[0].path)
        for number, file in enumerate(files):
            assert fds.install(file, 3) == number
        limits = list(DEFAULT_LIMITS)
        for resource, pair in boot.rlimits.items():
            limits[resource] = pair
        group = await start_program(kernel, boot.args, boot.env, creds, context, fds, limits, path)
        group.oom_score_adj = boot.oom_score_adj
        group.unprotected = boot.ordinary
        if self._terminal is not None:
            self._terminal.tty.control(group.leader)

    def foreground(self) -> list[ThreadGroup]:
        """Return the members of the terminal's foreground group; [] without."""
        group = self._terminal.tty.foreground if self._terminal is not None else None
        return [] if group is None else list(group.members.values())

    def finish(self) -> None:
        """The last program has ended: let the outer terminal have its output."""
        if self._terminal is not None:
            self._terminal.finish()

    def resize(self, rows: int, columns: int) -> None:
        """The outer terminal has a new size."""
        if self._terminal is not None:
            self._terminal.resize(rows, columns)

    def targets(self) -> dict[int, bytes]:
        """Return the mount points of what the gofer serves, by its numbers."""
        return {0: b"/"} | {mount.gofer_mount: mount.target for mount in self._boot.mounts if mount.gofer_mount >= 0}

    # Files
    async def _root(self) -> Filesystem:
        root = self._boot.root
        lower = await HostFilesystem.attach(self._tree(0), shared=root.shared, readonly=root.readonly or root.overlay)
        if root.overlay or (root.readonly and await self._lacks_mount_points(lower)):
            overlay = Overlay(lower, Tmpfs(self._kernel.machine.budget, mode=lower.root.mode & PERMISSIONS))
            overlay.serve()
            return overlay
        lower.serve()
        return lower

    async def _lacks_mount_points(self, root: HostFilesystem) -> bool:
        """Whether directories would have to be made in a root that must not change."""
        probe = _setup_task(self._kernel, FsContext(MountNamespace.of(root).root_path))
        try:
            for request in self._boot.mounts:
                await resolve(probe, AT_FDCWD, request.target)
        except LinuxError:
            return True
        return False

    def _tree(self, number: int) -> Tree:
        return Tree(number, self._trees.get(number, NONE), self._gofer, self._kernel.workers)

    async def _mount(self, setup: Task, request: MountRequest) -> None:
        flags = 0
        for wanted, flag in (
            (request.readonly, MS_RDONLY),
            (request.noexec, MS_NOEXEC),
            (request.nosuid, MS_NOSUID),
            (request.nodev, MS_NODEV),
            (request.noatime, MS_NOATIME),
        ):
            flags |= flag if wanted else 0
        try:
            fs = await self._filesystem(request)
        except ENODEV:
            kind = request.type or "none"
            self._kernel.log.warning(f'mount "{_shown(request.target)}": type {kind} is not supported, skipped')
            return
        place = await _mount_point(setup, request.target, fs.root.mode & S_IFMT)
        mount_at(fs, place, flags, request.source or request.type.encode())

    async def _mask(self, setup: Task, path: bytes) -> None:
        """Have an empty directory that nobody can write to there, or the null device, if it exists."""
        place = await _existing(setup, path)
        if place is None:
            return
        namespace = namespace_of(place)
        if place == namespace.root_path:
            raise EBUSY
        budget = self._kernel.machine.budget
        if is_directory(place):
            mount_at(Tmpfs(budget, mode=0o755), place, MS_RDONLY, b"tmpfs")
            return
        fs = Devtmpfs(budget)
        null = Dentry(b"/", None, fs.root).add(b"null", fs.root.children[b"null"])
        namespace.attach(namespace.new_mount(fs, null, 0, fs.name), place)

    async def _filesystem(self, request: MountRequest) -> Filesystem:
        if request.gofer_mount >= 0:
            return await HostFilesystem.attach(
                self._tree(request.gofer_mount), shared=request.shared, readonly=request.readonly
            )
        # The OCI's default devices are the runtime's to supply where /dev is a tmpfs.
        kind = "devtmpfs" if request.target == b"/dev" and request.type == "tmpfs" else request.type
        options = parse_options(",".join(request.options).encode())
        return make(self._kernel, kind.encode(), request.source, options)

    async def _working_directory(self, setup: Task) -> Path:
        cwd = self._boot.cwd or b"/"
        try:
            try:
                return await resolve(setup, AT_FDCWD, cwd, FOLLOW | DIRECTORY)
            except ENOENT:
                return await _mount_point(setup, cwd)  # runc makes it, too
        except LinuxError as error:
            raise type(error)(f'working directory "{_shown(cwd)}": {_said(error)}') from None

    def _credentials(self) -> Credentials:
        boot = self._boot
        caps = boot.capabilities
        creds = Credentials.of(boot.uid, boot.gid, boot.groups)
        return replace(
            creds,
            permitted=caps.permitted,
            effective=caps.effective,
            inheritable=caps.inheritable,
            bounding=caps.bounding,
            ambient=caps.ambient,
            no_new_privs=boot.no_new_privileges,
        )

    async def _find_program(self, setup: Task, context: FsContext, creds: Credentials) -> bytes:
        name = self._boot.args[0]
        if not name:
            raise ENOENT('exec: "": executable file not found in $PATH')
        probe = _setup_task(self._kernel, context, creds)
        if b"/" in name:
            await _check_program(probe, name)
            return name
        search = next((entry[5:] for entry in self._boot.env if entry.startswith(b"PATH=")), DEFAULT_PATH)
        denied = False
        for directory in search.split(b":"):
            candidate = (directory or b".") + b"/" + name
            try:
                await _check_program(probe, candidate)
            except EACCES:
                denied = True
            except (ENOENT, ENOTDIR):
                continue
            else:
                return candidate
        if denied:
            raise EACCES(f'exec: "{_shown(name)}": permission denied')
        raise ENOENT(f'exec: "{_shown(name)}": executable file not found in $PATH')

    async def _show_console(self, setup: Task, terminal: Path) -> None:
        """Have the container's terminal at /dev/console, too, as the OCI wants it."""
        if await _existing(setup, b"/dev") is None:
            return
        try:
            bind_at(terminal, await _mount_point(setup, b"/dev/console", S_IFREG), recursive=False)
        except LinuxError as error:
            self._kernel.log.warning(f"no /dev/console: {_said(error)}")

    def _standard_files(self, namespace: MountNamespace) -> list[FileDescription]:
        owner = Owner(self._boot.uid, self._boot.gid)
        if self._terminal is not None:
            return [open_console(self._terminal, namespace, owner)] * 3
        kernel = self._kernel
        return [open_host_file(duplicate(fd), kernel.platform, owner, kernel.workers) for fd in self._stdio]


@contextmanager
def _mounting(target: bytes) -> Iterator[None]:
    """Name the place in the errors of what is mounted there."""
    try:
        yield
    except LinuxError as error:
        raise type(error)(f'mount "{_shown(target)}": {_said(error)}') from None


async def _existing(setup: Task, path: bytes) -> Path | None:
    try:
        return await resolve(setup, AT_FDCWD, path)
    except (ENOENT, ENOTDIR):
        return None


async def _protect(setup: Task, path: bytes) -> None:
    """Let nothing be changed there, if it exists."""
    place = await _existing(setup, path)
    if place is None:
        return
    mount = place.mount if place.dentry is place.mount.root else bind_at(place, place, recursive=True)
    mount.flags |= MS_RDONLY


def _shown(path: bytes) -> str:
    """Return a path as a message holds it."""
    return path.decode("utf-8", "backslashreplace")


def _said(error: LinuxError) -> str:
    """Return what strerror(3) calls an error, and its detail."""
    name, detail = os.strerror(error.errno).lower(), str(error)
    return f"{name}: {detail}" if detail else name


def _setup_task(kernel: Kernel, context: FsContext, creds: Credentials = ROOT) -> Task:
    """Return a task that walks paths and runs nothing."""
    group = ThreadGroup(kernel, 0, None)
    return Task(kernel, 0, group, cast("Thread", None), creds, context, FDTable(), Memory(cast("Space", None)))


async def _mount_point(setup: Task, target: bytes, kind: int = S_IFDIR, links: int = 0) -> Path:
    """Return the place ``target``; directories that are missing are made, and a file for what is one, as runc does.

    So is what a link names: an image may have /var/run as a link to a /run that it lacks.
    """
    path = b""
    place = setup.fs.root
    names = [name for name in target.split(b"/") if name]
    for number, name in enumerate(names, 1):
        path += b"/" + name
        try:
            place = await resolve(setup, AT_FDCWD, path)
        except ENOENT:
            link = await _link(setup, path)
            if link:
                if links == MAX_LINKS:
                    raise ELOOP from None
                target = os.path.join(os.path.dirname(path), link, *names[number:])
                return await _mount_point(setup, target, kind, links + 1)
            if number == len(names) and kind != S_IFDIR:
                place = await make_node(setup, AT_FDCWD, path, S_IFREG | 0o755, 0)
            else:
                place = await make_directory(setup, AT_FDCWD, path, 0o755)
    return place


async def _link(setup: Task, path: bytes) -> bytes:
    """Return where the link ``path`` leads; nothing if it is none."""
    try:
        place = await resolve(setup, AT_FDCWD, path, 0)
    except ENOENT:
        return b""
    return await place.inode.readlink(setup) if place.inode.mode & S_IFMT == S_IFLNK else b""


async def _check_program(probe: Task, path: bytes) -> None:
    try:
        place = await resolve(probe, AT_FDCWD, path)
        directory = place.inode.mode & S_IFMT == S_IFDIR
        file = None if directory else await open_exec(probe, AT_FDCWD, path)
    except (ENOENT, ENOTDIR, EACCES) as error:
        raise type(error)(f'exec: "{_shown(path)}": {_said(error)}') from None
    if file is None:
        raise EACCES(f'exec: "{_shown(path)}": is a directory')
    file.get()
    file.put()
