"""From a specification and the flags to what the daemons are started with.

A :class:`Plan` is made before the spawner is forked, which inherits it; descriptors come later.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Final

import msgspec

from pysc.supervisor import names
from pysc.supervisor.failure import Failure
from pysc.supervisor.options import GlobalOptions
from pysc.supervisor.spec import CapabilityNames, Mount, Process, Spec, is_bind
from pysc.urpc.schema import sentry

_SWITCHES: Final = {
    "ro": ("readonly", True), "rw": ("readonly", False),
    "noexec": ("noexec", True), "exec": ("noexec", False),
    "nosuid": ("nosuid", True), "suid": ("nosuid", False),
    "nodev": ("nodev", True), "dev": ("nodev", False),
    "noatime": ("noatime", True), "atime": ("noatime", False),
}  # fmt: skip

MAX_EXPORTS: Final = 250
"""Their descriptors go in one message, with a description, and that takes 253 (unix(7), SCM_MAX_FD)."""

_SILENT: Final = frozenset({
    "defaults", "bind", "rbind", "async", "sync", "dirsync", "diratime", "nodiratime", "relatime", "norelatime",
    "strictatime", "nostrictatime", "mand", "nomand", "silent", "loud", "acl", "noacl", "iversion", "noiversion",
    "remount", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable",
})  # fmt: skip
"""Options of mount(2) that make no difference inside; propagation of the host's mounts is seen by nobody there."""

_VIRTUAL: Final = {"proc": "proc", "sysfs": "sysfs", "cgroup": "cgroup", "cgroup2": "cgroup"}
"""File systems of the host that a guest must never see: the sentry's own stand in for them."""


class Export(msgspec.Struct, frozen=True):
    """One tree of the host that the gofer serves; its number is its place in :attr:`Plan.exports`, the root is 0."""

    source: bytes
    readonly: bool


class Plan(msgspec.Struct, frozen=True):
    """What the spawner needs to know."""

    boot: sentry.Boot
    """Without descriptors."""
    exports: tuple[Export, ...]
    unsafe_no_namespaces: bool
    hardened: bool
    map_owners: bool


NO_DESCRIPTORS: Final = sentry.Descriptors(
    gofer=-1, netstack=-1, trees={}, stdio=(-1, -1, -1), log=-1, guest=-1, counters=-1
)


def make(
    container: str,
    spec: Spec,
    options: GlobalOptions,
    *,
    overlay: bool,
    window: tuple[int, int],
    ordinary: bool = False,
) -> Plan:
    """Work everything out that does not depend on the host's state.

    Raises:
        Failure: the specification asks for what does not exist.
    """
    process = spec.command
    traced = tuple(filter(None, options.strace_syscalls.split(",")))
    if traced:
        from pysc.supervisor.commands.syscalls import check_names  # for those who trace

        check_names(traced)
    exports = [Export(_existing(spec.rootfs.path, directory=True), spec.rootfs.readonly or overlay)]
    wanted = list(spec.mounts or ())
    if all(os.path.normpath(mount.destination) != "/dev" for mount in wanted):
        # The default devices are there whatever the bundle says (OCI runtime specification, config-linux.md).
        wanted.insert(0, Mount("/dev", "tmpfs", "tmpfs", ["nosuid"]))
    mounts = tuple(_mount(mount, options, exports) for mount in wanted)
    if len(exports) > MAX_EXPORTS:
        raise Failure(f"{len(exports) - 1} bind mounts are more than the {MAX_EXPORTS - 1} that can be served")
    writable = [os.fsdecode(export.source) for export in exports if not export.readonly]
    if options.unsafe_no_namespaces and os.geteuid() != 0 and writable:
        raise Failure(
            f"without root and without namespaces no file can get an owner in {writable[0]}: "
            "use --overlay, and bind mounts with ro"
        )
    resources = spec.linux.resources if spec.linux else None
    memory = resources.memory if resources else None
    boot = sentry.Boot(
        id=container,
        args=tuple(os.fsencode(text) for text in process.args or ()),
        env=tuple(os.fsencode(text) for text in process.env or ()),
        cwd=os.fsencode(process.cwd),
        uid=process.user.uid,
        gid=process.user.gid,
        groups=tuple(process.user.additional_gids or ()),
        umask=0o022 if process.user.umask is None else process.user.umask,
        capabilities=_capabilities(process),
        no_new_privileges=process.no_new_privileges,
        ordinary=ordinary,
        rlimits={names.rlimit_number(limit.type): (limit.soft, limit.hard) for limit in process.rlimits or ()},
        oom_score_adj=process.oom_score_adj or 0,
        hostname=(spec.hostname or socket.gethostname()).encode()[:64],
        domainname=spec.domainname.encode()[:64],
        terminal=process.terminal,
        window=window,
        root=sentry.Root(spec.rootfs.readonly, overlay and not spec.rootfs.readonly, options.file_access == "shared"),
        mounts=mounts,
        masked_paths=_paths(spec.linux.masked_paths if spec.linux else None),
        readonly_paths=_paths(spec.linux.readonly_paths if spec.linux else None),
        memory_limit=max(0, memory.limit or 0) if memory else 0,
        cpus=0,
        flags=sentry.Flags(
            platform=options.platform,
            fastpath=options.fastpath == "on",
            strace=options.strace,
            strace_syscalls=traced,
            strace_log_size=options.strace_log_size,
            debug=options.debug,
            log_format=options.log_format,
            file_access_direct=options.file_access_direct == "on",
            network=options.network,
        ),
        annotations=dict(spec.annotations or {}),
        fds=NO_DESCRIPTORS,
    )
    return Plan(
        boot=boot,
        exports=tuple(exports),
        unsafe_no_namespaces=options.unsafe_no_namespaces,
        hardened=options.hardened,
        map_owners=options.map_owners,
    )


def _existing(path: str, *, directory: bool = False) -> bytes:
    what = "root file system" if directory else "mount source"
    try:
        found = os.stat(path)
    except OSError as error:
        raise Failure(f"{what} {path}: {(error.strerror or '').lower()}; name another") from None
    mode = found.st_mode
    if directory and not stat.S_ISDIR(mode):
        raise Failure(f"{what} {path} is not a directory; name another")
    if directory and found.st_uid != os.geteuid() and not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
        raise Failure(f"{what} {path}: permission denied; let this user read it, or name another")
    if not directory and not (stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)):
        raise Failure(f"{what} {path} is a device: only files and directories can be mounted")
    return os.fsencode(path)


def _paths(paths: list[str] | None) -> tuple[bytes, ...]:
    return tuple(os.fsencode(path) for path in paths or ())


def _capabilities(process: Process) -> sentry.Capabilities:
    given = process.capabilities
    if given is None:
        return sentry.Capabilities()
    if isinstance(given, list):  # the form before specification 1.0
        given = CapabilityNames(given, given, given, given)
    return sentry.Capabilities(
        bounding=names.capability_mask(given.bounding),
        effective=names.capability_mask(given.effective),
        inheritable=names.capability_mask(given.inheritable),
        permitted=names.capability_mask(given.permitted),
        ambient=names.capability_mask(given.ambient),
    )


def _mount(mount: Mount, options: GlobalOptions, exports: list[Export]) -> sentry.Mount:
    switches: dict[str, bool] = {}
    rest = []
    for option in mount.options or ():
        if option in _SWITCHES:
            switch, value = _SWITCHES[option]
            switches[switch] = value
        elif option not in _SILENT:
            rest.append(option)
    kind, number = mount.type, -1
    if is_bind(mount):
        if rest:
            raise Failure(f"unknown option {rest[0]!r} of bind mount {mount.destination}")
        source = _existing(mount.source)
        kind = _VIRTUAL.get(_host_type(source), "bind")
        if kind == "bind":
            number = len(exports)
            exports.append(Export(source, switches.get("readonly", False)))
    elif mount.destination.rstrip("/") == "/dev":
        kind, rest = "devtmpfs", []
    return sentry.Mount(
        target=os.fsencode(os.path.normpath(mount.destination)),
        type=kind,
        source=os.fsencode(mount.source),
        options=tuple(rest),
        gofer_mount=number,
        shared=options.file_access_mounts == "shared",
        **switches,
    )


def _host_type(path: bytes) -> str:
    """Return the file system type that ``path`` lies on, as /proc/self/mountinfo names it (proc(5))."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    with open("/proc/self/mountinfo", "rb") as mountinfo:
        for line in mountinfo:
            fields = line.split()
            if fields[2] == number:
                return fields[fields.index(b"-") + 1].decode()
    return ""
