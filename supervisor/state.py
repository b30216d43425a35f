"""The state of containers: a directory each below the root, locked, and written by rename.

``ROOT/ID/state.json`` is an OCI state with more fields; ``ROOT/ID/control`` is the supervisor's socket;
``ROOT/ID/manifest`` says what it was made from and on.  A lock is an flock on ``ROOT/.ID.lock``; who gets one
compares the inode with the path, since the file may have been removed while it waited.  A container whose supervisor
is gone is *stopped*, whatever the file says: a pid counts only together with the start time and the boot that it was
seen in.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pysc.supervisor.failure import Failure
from pysc.supervisor.spec import OCI_VERSION

_ID: Final = re.compile(r"[A-Za-z0-9_+.\-]{1,128}", re.ASCII)
_STATE: Final = "state.json"
FIRST_KUID: Final = 2_000_000_000
KUIDS: Final = 65_536
"""The range of host ids that sandboxes run as, one each, when they are started by root."""
ALL: Final = ".all"
"""What to lock, after an id, while one of those is chosen until it stands in a state file; no container has this id."""

Status = Literal["creating", "created", "running", "paused", "stopped"]


class NoContainer(Failure):
    """There is no container of that id."""


class Damaged(Failure):
    """There is one, but its state file cannot be understood."""


class Health(msgspec.Struct, rename="camel"):
    """What the health command of ``supervise`` said last."""

    status: Literal["starting", "healthy", "unhealthy"] = "starting"
    failures: int = 0
    output: str = ""


class State(msgspec.Struct, rename="camel", omit_defaults=False):
    """A state file.  The first six fields are OCI's."""

    oci_version: str
    id: str
    status: Status
    pid: int
    """The supervisor's; 0 when stopped."""
    bundle: str
    annotations: dict[str, str]
    created: str
    owner: str
    rootfs: str
    start_time: int = 0
    """Of ``pid``, in clock ticks (proc_pid_stat(5), field 22)."""
    boot_id: str = ""
    kuid: int = -1
    """The host id of the sentry and its guests."""
    cgroups: list[str] = msgspec.field(default_factory=list)
    daemons: dict[str, int] = msgspec.field(default_factory=dict)
    """Host pids by role: spawner, sentry, gofer, netstackd."""
    exit_status: Annotated[int, Meta(ge=0, le=255)] | None = None
    reason: str = ""
    """Why it stopped, where that was no exit of the program."""
    restarts: int = 0
    health: Health | None = None


def check_id(container: str) -> None:
    """Refuse what is no id.

    Raises:
        Failure: with runc's text.
    """
    if not _is_id(container):
        raise Failure(
            f"invalid container ID format: {container[:140]!r}: use at most 128 letters, digits and _ + - ., no . first"
        )


def _is_id(name: str) -> bool:
    return bool(_ID.fullmatch(name)) and not name.startswith(".")


def _ours(uid: int) -> bool:
    """Whether what a user has written may be believed."""
    return uid in (0, os.geteuid())


def boot_id() -> str:
    """Return what tells this boot of the host from another."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def process_start(pid: int) -> int:
    """Return the start time of a process, 0 if there is none or it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def alive(state: State) -> bool:
    """Whether the supervisor of the state file lives."""
    return state.pid > 0 and state.boot_id == boot_id() and process_start(state.pid) == state.start_time != 0


class Store:
    """The root directory."""

    def __init__(self, root: str) -> None:
        self.root = root

    def directory(self, container: str) -> str:
        """Return where a container's files are."""
        return os.path.join(self.root, container)

    def has(self, container: str) -> bool:
        """Whether there are files of a container, or of what is left of one."""
        try:
            return stat.S_ISDIR(os.lstat(self.directory(container)).st_mode)
        except OSError:
            return False

    def control(self, container: str) -> str:
        """Return the path of its supervisor's socket."""
        return os.path.join(self.root, container, "control")

    def temporary(self, container: str, pid: int) -> str:
        """Return the path of the directory that process ``pid`` makes before it is renamed."""
        return os.path.join(self.root, f".{container}.{pid}.new")

    def create_root(self) -> None:
        """Make the root directory.

        Raises:
            Failure: it cannot be made, or is another user's.
        """
        try:
            os.makedirs(self.root, 0o711, exist_ok=True)
        except OSError as error:
            raise Failure(
                f"cannot make the state directory {self.root}: {error.strerror}; name another with --root"
            ) from None
        self._check_owner()

    def _check_owner(self) -> None:
        """Believe nothing in a directory whose entries another user can change: in /tmp anybody may make it first.

        Raises:
            Failure: it is such a one.
        """
        try:
            found = os.stat(self.root)
        except OSError:
            return  # it is not there, or who looks for something in it will say why not
        if not _ours(found.st_uid) or (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX):
            raise Failure(
                f"the state directory {self.root} can be changed by others (uid {found.st_uid}, "
                f"mode {found.st_mode & 0o7777:o}): name another with --root"
            )

    @contextmanager
    def locked(self, container: str) -> Iterator[None]:
        """Hold the lock of one id, which need not exist, or of :data:`ALL`.

        Raises:
            Failure: the lock cannot be had.
        """
        path = os.path.join(self.root, f".{container}.lock")
        fd = self._lock(path)
        try:
            yield
        finally:
            # Unlinked while it is held: waiters find another inode at the path, and try again.
            self._remove_lock(path)
            os.close(fd)

    def _remove_lock(self, path: str) -> None:
        try:
            os.unlink(path)
        except OSError:
            pass

    def _lock(self, path: str) -> int:
        while True:
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                raise Failure(
                    f"cannot lock {path}: {error.strerror}; name another state directory with --root"
                ) from None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
            except OSError as error:
                os.close(fd)
                self._remove_lock(path)
                raise Failure(
                    f"cannot lock {path}: {error.strerror}; name a state directory on another file system with --root"
                ) from None
            try:
                if os.stat(path).st_ino == os.fstat(fd).st_ino:
                    return fd
            except FileNotFoundError:
                pass
            os.close(fd)

    def create(self, state: State) -> None:
        """Make the directory of a new container, complete or not at all.  The id must be locked.

        Raises:
            Failure: the id is in use, or the directory cannot be written.
        """
        final = self.directory(state.id)
        if os.path.lexists(final):
            raise Failure(f"container with given ID already exists: {state.id}; delete it first, or choose another ID")
        temporary = self.temporary(state.id, state.pid)
        try:
            os.mkdir(temporary, 0o711)
            _write(os.path.join(temporary, _STATE), msgspec.json.encode(state), 0o640)
            os.rename(temporary, final)
        except OSError as error:
            _remove(temporary)
            raise Failure(
                f"cannot write the state of {state.id} below {self.root}: {error.strerror}; choose another --root"
            ) from None

    def save(self, state: State) -> None:
        """Replace the state file.

        Raises:
            Failure: it cannot be written; the old one is still there.
        """
        self._replace(os.path.join(self.directory(state.id), _STATE), msgspec.json.encode(state), 0o640)

    def save_manifest(self, container: str, data: bytes) -> None:
        """Write the manifest (:mod:`pysc.supervisor.manifest`): the caller's environment may be in it.

        Raises:
            Failure: it cannot be written.
        """
        self._replace(self._manifest(container), data, 0o600)

    def manifest(self, container: str, most: int) -> bytes:
        """Return the manifest's file, of at most ``most`` bytes; the state must have been loaded.

        Raises:
            Failure: there is none, or what is there is none that pysc has written.
        """
        path = self._manifest(container)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Failure(f"container {container} has no manifest: it is being made, or was by another pysc") from None
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror}") from None
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or not _ours(found.st_uid) or found.st_size > most:
                raise Damaged(f"{path} is no manifest of pysc: make the container anew")
            return os.pread(fd, most, 0)
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror}") from None
        finally:
            os.close(fd)

    def _manifest(self, container: str) -> str:
        return os.path.join(self.directory(container), "manifest")

    def _replace(self, path: str, data: bytes, mode: int) -> None:
        try:
            _write(path + ".new", data, mode)
            os.rename(path + ".new", path)
        except OSError as error:
            try:
                os.unlink(path + ".new")
            except OSError:
                pass
            raise Failure(f"cannot write {path}: {error.strerror}; choose another --root") from None

    def load(self, container: str) -> State:
        """Return the state as it is now: of a dead supervisor it is *stopped*, whatever was written.  Raises as raw."""
        state = self.raw(container)
        if not alive(state):
            state.status, state.pid = "stopped", 0
        return state

    def raw(self, container: str) -> State:
        """Return the state as it was written last.

        Raises:
            Failure: there is no such container; the text is the one that clients know.
        """
        check_id(container)
        self._check_owner()
        try:
            found = os.lstat(self.directory(container))
            if not _ours(found.st_uid):
                raise Failure(
                    f"container {container} in {self.root} is another user's (uid {found.st_uid}): use another --root"
                )
            if not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError
            with open(os.path.join(self.directory(container), _STATE), "rb") as file:
                state = msgspec.json.decode(file.read(), type=State)
        except (FileNotFoundError, NotADirectoryError):
            if self.has(container):
                raise Damaged(f"the state of {container} is incomplete: pysc delete --force {container}") from None
            raise NoContainer(f"container does not exist: {container}") from None
        except OSError as error:
            raise Failure(f"cannot read the state of {container}: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise Damaged(f"the state of {container} is damaged ({error}): pysc delete --force {container}") from None
        return state

    def ids(self) -> list[str]:
        """Return all ids in order; what else there is in the root directory is none of ours.

        Raises:
            Failure: the root directory cannot be read.
        """
        self._check_owner()
        try:
            with os.scandir(self.root) as entries:
                return sorted(e.name for e in entries if _is_id(e.name) and e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise Failure(f"cannot read the state directory {self.root}: {error.strerror}; see --root") from None

    def remove(self, container: str) -> None:
        """Remove all of a container's files as far as that goes; missing ones are fine."""
        _remove(self.directory(container))

    def remove_of(self, container: str, pid: int) -> None:
        """Remove what a supervisor that is gone has left, and nothing of another that uses the same id."""
        _remove(self.temporary(container, pid))
        try:
            with open(os.path.join(self.directory(container), _STATE), "rb") as file:
                if msgspec.json.decode(file.read(), type=State).pid == pid:
                    self.remove(container)
        except FileNotFoundError:
            self.remove(container)  # there is none, or it was being removed
        except (OSError, msgspec.DecodeError):
            pass
        self._remove_free_lock(container)
        self._remove_free_lock(ALL)

    def _remove_free_lock(self, container: str) -> None:
        path = os.path.join(self.root, f".{container}.lock")
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(fd).st_ino:
                os.unlink(path)
        except OSError:
            pass  # somebody holds it, and will remove it
        finally:
            os.close(fd)

    def allocate_kuid(self) -> int:
        """Return a host id that no other sandbox of this root has.  :data:`ALL` must be locked."""
        taken = set()
        for name in self.ids():
            try:
                taken.add(self.load(name).kuid)
            except Failure:
                continue
        return next(kuid for kuid in range(FIRST_KUID, FIRST_KUID + KUIDS) if kuid not in taken)


def new(container: str, bundle: str, rootfs: str, annotations: dict[str, str], kuid: int) -> State:
    """Return the state of a container that is being created by this process."""
    return State(
        oci_version=OCI_VERSION,
        id=container,
        status="creating",
        pid=os.getpid(),
        bundle=bundle,
        annotations=annotations,
        created=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() % 10**9:09}Z",
        owner=str(os.geteuid()),
        rootfs=rootfs,
        start_time=process_start(os.getpid()),
        boot_id=boot_id(),
        kuid=kuid,
    )


def _write(path: str, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(28, os.strerror(28))  # ENOSPC shows as a short write
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(directory: str) -> None:
    """Remove a directory that holds files only, as far as that goes; nothing of what a symbolic link names."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    for name in sorted(os.listdir(fd), key=_STATE.__eq__):  # that last: it says that there is a container
        try:
            os.unlink(name, dir_fd=fd)
        except OSError:
            continue
    os.close(fd)
    try:
        os.rmdir(directory)
    except OSError:
        pass
