"""``pysc create``: everything of a container but its program."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec

from pysc.supervisor import spec
from pysc.supervisor.detached import Detachment
from pysc.supervisor.detached import create as create_detached
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions


class Options(msgspec.Struct, frozen=True):
    """Flags of create."""

    bundle: Annotated[str, Help("directory with config.json", "DIR", aliases=("b",))] = "."
    pid_file: Annotated[str, Help("write the pid of the container to FILE", "FILE")] = ""
    console_socket: Annotated[str, Help("send the master of a new pty to this Unix socket", "SOCKET")] = ""
    preserve_fds: Annotated[int, Help("accepted for podman; no further descriptors are passed", hidden=True)] = 0
    no_pivot: Annotated[bool, Help("accepted for clients of runc", hidden=True)] = False
    no_new_keyring: Annotated[bool, Help("accepted for clients of runc", hidden=True)] = False


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Create ``ID``."""
    bundle = spec.load(os.path.abspath(own.bundle))
    how = Detachment(own.pid_file, own.console_socket, start=False)
    return create_detached(arguments[0], bundle, options, how, log)
