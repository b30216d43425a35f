"""The global flags: those that stand before the command, and hold for everything that it starts."""

from __future__ import annotations

import os
from typing import Annotated, Final, Literal

import msgspec

from pysc.supervisor.failure import UsageError
from pysc.supervisor.flags import Help

OnOff = Literal["on", "off"]
Access = Literal["exclusive", "shared"]

NOT_YET: Final = {"sandbox": "the sandbox's own stack", "host": "the host's network"}


class GlobalOptions(msgspec.Struct, frozen=True):
    """Field by field what ``pysc --help`` says."""

    root: Annotated[
        str, Help("keep the state of containers here (default $XDG_RUNTIME_DIR/pysc or /run/pysc)", "DIR")
    ] = ""
    log: Annotated[str, Help("append the log to FILE instead of writing it to stderr", "FILE")] = ""
    log_format: Annotated[Literal["text", "json"], Help("how a line of the log looks")] = "text"
    debug: Annotated[bool, Help("log everything that helps to find a bug")] = False
    version: Annotated[bool, Help("print the version and exit")] = False
    strace: Annotated[
        bool, Help("log each system call of the sandbox, decoded; everything goes through the sentry")
    ] = False
    strace_syscalls: Annotated[str, Help("with --strace: only these, separated by commas", "NAMES")] = ""
    strace_log_size: Annotated[int, Help("with --strace: show at most N bytes of a buffer", "N", least=0)] = 64
    platform: Annotated[Literal["systrap", "ptrace", "kvm"], Help("how guest code is run")] = "systrap"
    network: Annotated[Literal["none", "sandbox", "host"], Help("only none exists so far: no network at all")] = "none"
    file_access: Annotated[Access, Help("who may change the root's files: the sandbox alone, or others as well")] = (
        "exclusive"
    )
    file_access_mounts: Annotated[Access, Help("the same for the bind mounts")] = "shared"
    file_access_direct: Annotated[OnOff, Help("let the sentry read files by itself below read-only clones")] = "on"
    overlay: Annotated[bool, Help("put a memory file system over the root: the host's files are never changed")] = False
    fastpath: Annotated[OnOff, Help("off: serve every call by the general path in Python")] = "on"
    hardened: Annotated[bool, Help("start each daemon as a program of its own, so that no two share a layout")] = False
    map_owners: Annotated[bool, Help("without root: keep owners and modes in the attribute user.pysc.owner")] = False
    unsafe_no_namespaces: Annotated[
        bool, Help("go on where namespaces are not allowed; the daemons then see the host's processes and mounts")
    ] = False
    host_uds: Annotated[bool, Help("let the sandbox connect to Unix sockets of mounts; not there yet")] = False
    systemd_cgroup: Annotated[bool, Help("accepted for containerd; cgroups are made without systemd", hidden=True)] = (
        False
    )
    rootless: Annotated[str, Help("accepted for clients of runc; pysc finds out by itself", hidden=True)] = ""


def state_root(options: GlobalOptions) -> str:
    """Return the absolute directory of the containers' states."""
    if options.root:
        return os.path.abspath(options.root)
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):  # else it is none, as the XDG base directory specification has it
        return os.path.join(runtime, "pysc")
    if os.geteuid() != 0:
        return f"/tmp/pysc-{os.geteuid()}"
    return "/run/pysc"


def check(options: GlobalOptions) -> None:
    """Refuse what parses but does not exist or does not go together.

    Raises:
        UsageError: with the remedy.
    """
    if options.network != "none":
        raise UsageError(
            f"--network={options.network} ({NOT_YET[options.network]}) is not there yet: use --network=none"
        )
    if options.overlay and options.file_access == "shared":
        raise UsageError("--overlay needs a root that nobody else changes: drop --file-access=shared")
    if options.platform != "systrap":
        raise UsageError(f"--platform={options.platform} is not there yet: use --platform=systrap")
    if options.host_uds:
        raise UsageError("--host-uds is not there yet: Unix sockets of the host refuse connections")
    if options.map_owners and os.geteuid() == 0:
        raise UsageError("--map-owners is for callers without root: owners are kept in the file system itself here")
