"""``pysc spec``: a config.json to start from."""

from __future__ import annotations

import os
from typing import Annotated, Final

import msgspec

from pysc.supervisor.failure import Failure
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions
from pysc.supervisor.spec import (
    OCI_VERSION,
    CapabilityNames,
    Linux,
    Mount,
    Namespace,
    Process,
    Rlimit,
    Root,
    Spec,
)

_NAMESPACES: Final = ("pid", "network", "ipc", "uts", "mount")
_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


class Options(msgspec.Struct, frozen=True):
    """Flags of spec."""

    bundle: Annotated[str, Help("where to write it", "DIR", aliases=("b",))] = "."
    rootless: Annotated[bool, Help("accepted for users of runc: every bundle runs without root", hidden=True)] = False


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Write ``config.json``."""
    path = os.path.join(own.bundle, "config.json")
    spec = msgspec.to_builtins(template(arguments))
    spec["process"] |= {"user": {"uid": 0, "gid": 0}, "cwd": "/"}  # runc wants them, though they are the defaults
    text = msgspec.json.format(msgspec.json.encode(spec), indent=4)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o664)
    except FileExistsError:
        raise Failure(f"{path} already exists: remove it first, or choose another --bundle") from None
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}; name a directory with --bundle") from None
    with os.fdopen(fd, "wb") as file:
        file.write(text + b"\n")
    return 0


def template(arguments: list[str]) -> Spec:
    """Return a specification of a shell."""
    return Spec(
        oci_version=OCI_VERSION,
        process=Process(
            terminal=True,
            args=arguments or ["sh"],
            env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            cwd="/",
            capabilities=CapabilityNames(_CAPABILITIES, _CAPABILITIES, [], _CAPABILITIES, []),
            rlimits=[Rlimit("RLIMIT_NOFILE", 1024, 1024)],
            no_new_privileges=True,
        ),
        root=Root("rootfs", readonly=True),
        hostname="pysc",
        mounts=[
            Mount("/proc", "proc", "proc"),
            Mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            Mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            Mount("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            Mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
            Mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
        ],
        linux=Linux(namespaces=[Namespace(kind) for kind in _NAMESPACES]),
    )
