"""``pysc do``: one program on the host's own files, which it cannot change."""

from __future__ import annotations

import os
import resource
import socket
from typing import Annotated, Final

import msgspec

from pysc.cabi.remedies import explained
from pysc.supervisor import foreground
from pysc.supervisor.failure import Failure
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.names import CAPABILITIES
from pysc.supervisor.options import GlobalOptions
from pysc.supervisor.spec import Bundle, CapabilityNames, Mount, Process, Rlimit, Root, Spec, User, encode

LIMITS: Final = tuple(f"RLIMIT_{name}" for name in ("CPU", "FSIZE", "DATA", "STACK", "CORE", "NPROC", "NOFILE", "AS"))
UNLIMITED: Final = 0xFFFF_FFFF_FFFF_FFFF
MAX_ID: Final = 0xFFFF_FFFE


class Options(msgspec.Struct, frozen=True):
    """Flags of do."""

    root: Annotated[str, Help("the directory that becomes the root", "DIR")] = "/"
    cwd: Annotated[str, Help("where the program starts (default: here, as far as the root has it)", "DIR")] = ""
    env: Annotated[list[str], Help("set a variable, on top of the caller's", "NAME=VALUE", aliases=("e",))] = (
        msgspec.field(default_factory=list)
    )
    user: Annotated[str, Help("who the program is, in numbers", "UID[:GID]", aliases=("u",))] = "0:0"


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Run a command."""
    terminal = os.isatty(0) and os.isatty(1)
    container = f"do-{os.getpid()}"
    try:
        here = os.getcwd()
    except FileNotFoundError:
        raise Failure("the current directory has been removed: change to another one") from None
    made = _spec(own, arguments, terminal)
    bundle = Bundle(here, made, encode(made))
    sandbox = foreground.prepare(container, bundle, options, log, overlay=True, ordinary=True)
    return foreground.run(sandbox, options, log)


def _spec(own: Options, arguments: list[str], terminal: bool) -> Spec:
    if not own.root:
        raise Failure("--root is empty: name the directory that becomes the root, or leave it out")
    root = os.path.abspath(own.root)
    names = [f"CAP_{name}" for name in CAPABILITIES]
    environment = dict(os.environ)
    for entry in own.env:
        name, equals, value = entry.partition("=")
        if not equals or not name or "\0" in entry:
            raise Failure(f"invalid variable {entry!r}: write NAME=VALUE")
        environment[name] = value
    return Spec(
        process=Process(
            args=arguments,
            env=[f"{name}={value}" for name, value in environment.items()],
            cwd=_cwd(root, own.cwd),
            terminal=terminal,
            user=_user(own.user),
            capabilities=CapabilityNames(names, names, [], names, []),
            rlimits=_limits(),
        ),
        root=Root(root),
        hostname=socket.gethostname()[:64],
        mounts=[
            Mount("/proc", "proc", "proc"),
            Mount("/sys", "sysfs", "sysfs", ["ro"]),
            Mount("/dev", "tmpfs", "tmpfs"),
            Mount("/dev/pts", "devpts", "devpts"),
            Mount("/dev/shm", "tmpfs", "shm", ["mode=1777"]),
            Mount("/dev/mqueue", "mqueue", "mqueue"),
        ],
    )


def _limits() -> list[Rlimit]:
    """Return the caller's limits: the program has them as if it were run here."""
    try:
        limits = [(name, resource.getrlimit(getattr(resource, name))) for name in LIMITS]
    except OSError as error:
        raise Failure(f"cannot read the resource limits: prlimit64(2): {explained(error)}") from None
    return [Rlimit(name, soft=soft & UNLIMITED, hard=hard & UNLIMITED) for name, (soft, hard) in limits]


def _cwd(root: str, wanted: str) -> str:
    place = os.path.abspath(wanted)
    top, found = os.path.realpath(root), os.path.realpath(root + place)
    leads_out = os.path.commonpath((found, top)) != top  # inside, a link there leads elsewhere: the sandbox will see
    if os.path.isdir(found) or (wanted and leads_out):
        return place
    if wanted:
        raise Failure(f"--cwd {place}: there is no such directory in {root}")
    return "/"


def _user(text: str) -> User:
    uid, _, gid = text.partition(":")
    for number in (uid, gid or "0"):
        if not (number.isascii() and number.isdecimal() and len(number) <= 10 and int(number) <= MAX_ID):
            raise Failure(f"invalid user {text!r}: write UID or UID:GID, in numbers of at most {MAX_ID}")
    return User(uid=int(uid), gid=int(gid or 0))
