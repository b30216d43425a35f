"""config.json: the part of the OCI runtime specification that a Linux container uses, as msgspec structs.

Unknown fields are ignored, as the specification demands; ``null`` is what Go writes for an empty list or map.
:func:`load` validates and makes paths absolute, so that everybody after it can believe a :class:`Spec`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from pysc.supervisor.failure import Failure

OCI_VERSION: Final = "1.0.2"
MAX_CONFIG: Final = 4 << 20
"""Bytes of a config.json that are read; real ones have 10,000 to 100,000."""

LEAST_MEMORY: Final = 16 << 20
"""Bytes in which a sandbox starts; what its daemons share with their parent is not counted."""
MAX_CGROUPS_PATH: Final = 512
MAX_CGROUPS: Final = 16
"""Of a cgroupsPath: those of engines have less than 300 bytes and ten parts."""

Id32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFE)]
U64 = Annotated[int, Meta(ge=0)]
I64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Environment = list[Annotated[str, Meta(min_length=1)]]


class Part(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """Base of all parts: camelCase in JSON."""


class Box(Part, frozen=True):
    """Size of a terminal in characters."""

    height: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    width: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0


class User(Part, frozen=True):
    """Who the process is, inside."""

    uid: Id32 = 0
    gid: Id32 = 0
    umask: Annotated[int, Meta(ge=0, le=0o7777)] | None = None
    additional_gids: list[Id32] | None = None


class CapabilityNames(Part, frozen=True):
    """The five sets by name."""

    bounding: list[str] | None = None
    effective: list[str] | None = None
    inheritable: list[str] | None = None
    permitted: list[str] | None = None
    ambient: list[str] | None = None


class Rlimit(Part, frozen=True):
    """One resource limit; 2**64-1 is unlimited."""

    type: str
    hard: U64
    soft: U64


class Process(Part, frozen=True):
    """What to run."""

    args: list[str] | None = None
    env: Environment | None = None
    cwd: str = "/"
    terminal: bool = False
    console_size: Box | None = None
    user: User = User()
    capabilities: CapabilityNames | list[str] | None = None
    rlimits: list[Rlimit] | None = None
    no_new_privileges: bool = False
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] | None = None
    selinux_label: str = ""
    apparmor_profile: str = ""


class Root(Part, frozen=True):
    """The root file system."""

    path: str = ""
    readonly: bool = False


class Mount(Part, frozen=True):
    """One mount."""

    destination: str
    type: str = ""
    source: str = ""
    options: list[str] | None = None


class Hook(Part, frozen=True):
    """A program of the host to run at a point in the life of the container."""

    path: str
    args: list[str] | None = None
    env: list[str] | None = None
    timeout: Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)] | None = None


class Hooks(Part, frozen=True):
    """All hooks."""

    prestart: list[Hook] | None = None
    create_runtime: list[Hook] | None = None
    create_container: list[Hook] | None = None
    start_container: list[Hook] | None = None
    poststart: list[Hook] | None = None
    poststop: list[Hook] | None = None


class Namespace(Part, frozen=True):
    """A namespace of the host's, which no program inside is ever in: the sentry has namespaces of its own."""

    type: Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]
    path: str = ""


class IdMapping(Part, frozen=True):
    """A range of ids."""

    container_id: Id32 = msgspec.field(name="containerID", default=0)
    host_id: Id32 = msgspec.field(name="hostID", default=0)
    size: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)] = 0


class Memory(Part, frozen=True):
    """Limits in bytes; -1 is unlimited."""

    limit: I64 | None = None
    reservation: I64 | None = None
    swap: I64 | None = None


class Cpu(Part, frozen=True):
    """Processor time."""

    shares: U64 | None = None
    quota: I64 | None = None
    period: U64 | None = None
    cpus: str = ""
    mems: str = ""


class Pids(Part, frozen=True):
    """Number of tasks; of the host, so daemons count."""

    limit: I64 = 0


class Resources(Part, frozen=True):
    """What a cgroup limits."""

    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None


class Linux(Part, frozen=True):
    """What only Linux has."""

    namespaces: list[Namespace] | None = None
    uid_mappings: list[IdMapping] | None = None
    gid_mappings: list[IdMapping] | None = None
    cgroups_path: str = ""
    resources: Resources | None = None
    rootfs_propagation: str = ""
    seccomp: dict[str, Any] | None = None
    devices: list[Any] | None = None
    sysctl: dict[str, str] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None


class Spec(Part, frozen=True):
    """A whole config.json."""

    oci_version: str = ""
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: list[Mount] | None = None
    hooks: Hooks | None = None
    annotations: dict[str, str] | None = None
    linux: Linux | None = None
    solaris: Any = None
    windows: Any = None

    @property
    def command(self) -> Process:
        """The process; :func:`load` has checked that there is one."""
        assert self.process is not None
        return self.process

    @property
    def rootfs(self) -> Root:
        """The root; :func:`load` has checked that there is one."""
        assert self.root is not None
        return self.root


class Bundle(msgspec.Struct, frozen=True):
    """What a container is made from."""

    directory: str
    spec: Spec
    """Checked and completed."""
    text: bytes
    """The specification as it was given."""


def load(bundle: str) -> Bundle:
    """Read, check and complete ``bundle``/config.json.

    Raises:
        Failure: it cannot be read, is no specification, or asks for what does not exist here.
    """
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Failure(f"{path} is no regular file: put the specification there")
            text = file.read(MAX_CONFIG + 1)
    except FileNotFoundError:
        what = "has no config.json" if os.path.isdir(bundle) else "does not exist"
        raise Failure(f"bundle {bundle} {what}: name a bundle with --bundle, or make one by pysc spec") from None
    except OSError as error:
        remedy = ": let this user read it, or be another" if isinstance(error, PermissionError) else ""
        raise Failure(f"cannot read {path}: {error.strerror}{remedy}") from None
    if len(text) > MAX_CONFIG:
        raise Failure(f"{path} has more than {MAX_CONFIG >> 20} MiB: that is no config.json")
    try:
        spec = msgspec.json.decode(text, type=Spec)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Failure(f"{path} is malformed: {error}") from None
    try:
        _check(spec)
    except Failure as error:
        raise Failure(f"{path}: {error}") from None
    return Bundle(bundle, _absolute(spec, bundle), text)


def encode(spec: Spec) -> bytes:
    """Return a specification as JSON."""
    try:
        return msgspec.json.encode(spec)
    except UnicodeEncodeError:  # bytes of arguments or paths that are no UTF-8 (PEP 383): rare
        import json

        return json.dumps(msgspec.to_builtins(spec)).encode()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # of a FIFO, for a writer


def _check(spec: Spec) -> None:
    if spec.process is None:
        raise Failure("process is missing")
    if not spec.process.args:
        raise Failure("process.args is empty: name the program to run")
    if spec.root is None or not spec.root.path:
        raise Failure("root.path is missing: name the directory with the root file system")
    if spec.solaris is not None or spec.windows is not None:
        raise Failure("it is for another operating system: only Linux containers can be run")
    if spec.process.selinux_label:
        raise Failure("process.selinuxLabel is set, but there is no SELinux inside: remove it")
    if not spec.process.cwd.startswith("/"):
        raise Failure(f"process.cwd {spec.process.cwd!r} must be absolute")
    for text in _strings(spec):
        if "\0" in text:
            raise Failure(f"{text!r} holds a NUL character")
    _check_limits(spec.process.rlimits or ())
    resources = (spec.linux.resources if spec.linux else None) or Resources()
    limit = (resources.memory.limit if resources.memory else None) or 0
    if 0 < limit < LEAST_MEMORY:
        raise Failure(f"linux.resources.memory.limit: {limit} bytes are too few, pysc itself needs {LEAST_MEMORY}")
    for mount in spec.mounts or ():
        _check_mount(mount)
    linux = spec.linux or Linux()
    for name, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        for place in paths or ():
            if not place.startswith("/"):
                raise Failure(f"linux.{name}: {place!r} must be absolute")
    for hook in _all_hooks(spec):
        if not hook.path.startswith("/"):
            raise Failure(f"path of hook {hook.path!r} must be absolute")
    for name, text in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if len(text.encode()) > 64:
            raise Failure(f"{name} has more than 64 bytes")
    path = spec.linux.cgroups_path if spec.linux else ""
    if len(path.encode()) > MAX_CGROUPS_PATH or path.count("/") > MAX_CGROUPS:
        raise Failure(f"linux.cgroupsPath has more than {MAX_CGROUPS_PATH} bytes or {MAX_CGROUPS} parts")


def left_out(spec: Spec) -> Iterator[str]:
    """Return a line for each thing that it asks for and does not get.

    It would act on what the program can do to the host's kernel, which it never reaches.
    """
    linux = spec.linux or Linux()
    if spec.command.apparmor_profile:
        yield f"process.apparmorProfile {spec.command.apparmor_profile!r} is ignored"
    for name, value in (("seccomp", linux.seccomp), ("devices", linux.devices), ("sysctl", linux.sysctl)):
        if value:
            yield f"linux.{name} is ignored"
    if "shared" in linux.rootfs_propagation:
        yield f"linux.rootfsPropagation {linux.rootfs_propagation!r} is ignored: no mount inside shows outside"


def _strings(spec: Spec) -> Iterator[str]:
    """Return what becomes a path, a name or an argument."""
    process, linux = spec.command, spec.linux or Linux()
    yield from (process.cwd, spec.rootfs.path, spec.hostname, spec.domainname, linux.cgroups_path)
    yield from (*(process.args or ()), *(process.env or ()))
    yield from (*(linux.masked_paths or ()), *(linux.readonly_paths or ()))
    for mount in spec.mounts or ():
        yield from (mount.destination, mount.source, mount.type, *(mount.options or ()))
    for hook in _all_hooks(spec):
        yield from (hook.path, *(hook.args or ()), *(hook.env or ()))


def _check_limits(limits: Sequence[Rlimit]) -> None:
    seen = set()
    for limit in limits:
        if limit.type in seen:
            raise Failure(f"process.rlimits has {limit.type} twice")
        seen.add(limit.type)
        if not limit.soft <= limit.hard < 1 << 64:
            raise Failure(f"process.rlimits: {limit.type}: soft must be at most hard, and hard at most 2**64-1")


def _check_mount(mount: Mount) -> None:
    if not mount.destination.startswith("/"):
        raise Failure(f"destination of mount {mount.destination!r} must be absolute")
    if is_bind(mount) and not mount.source:
        raise Failure(f"bind mount {mount.destination} has no source")


def _all_hooks(spec: Spec) -> list[Hook]:
    hooks = spec.hooks or Hooks()
    kinds = (
        hooks.prestart, hooks.create_runtime, hooks.create_container,
        hooks.start_container, hooks.poststart, hooks.poststop,
    )  # fmt: skip
    return [hook for kind in kinds for hook in kind or ()]


def is_bind(mount: Mount) -> bool:
    """Whether the mount shows files of the host."""
    return mount.type == "bind" or "bind" in (mount.options or ()) or "rbind" in (mount.options or ())


def _absolute(spec: Spec, bundle: str) -> Spec:
    root = msgspec.structs.replace(spec.rootfs, path=os.path.normpath(os.path.join(bundle, spec.rootfs.path)))
    mounts = [
        msgspec.structs.replace(mount, source=os.path.normpath(os.path.join(bundle, mount.source)))
        if is_bind(mount)
        else mount
        for mount in spec.mounts or ()
    ]
    return msgspec.structs.replace(spec, root=root, mounts=mounts)
