"""``pysc run``: a bundle in the foreground."""

from __future__ import annotations

import os
from typing import Annotated

import msgspec

from pysc.supervisor import foreground, spec
from pysc.supervisor.detached import Detachment, create
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions


class Options(msgspec.Struct, frozen=True):
    """Flags of run."""

    bundle: Annotated[str, Help("directory with config.json", "DIR", aliases=("b",))] = "."
    detach: Annotated[bool, Help("return as soon as the program runs", aliases=("d",))] = False
    pid_file: Annotated[str, Help("write the pid of the container to FILE", "FILE")] = ""
    console_socket: Annotated[str, Help("send the master of a new pty to this Unix socket", "SOCKET")] = ""
    preserve_fds: Annotated[int, Help("accepted for podman; no further descriptors are passed", hidden=True)] = 0
    no_pivot: Annotated[bool, Help("accepted for clients of runc", hidden=True)] = False
    keep: Annotated[bool, Help("accepted for clients of runc", hidden=True)] = False


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Run ``ID``."""
    (container,) = arguments
    bundle = spec.load(os.path.abspath(own.bundle))
    if own.detach:
        detachment = Detachment(own.pid_file, own.console_socket, start=True)
        return create(container, bundle, options, detachment, log)
    sandbox = foreground.prepare(container, bundle, options, log, overlay=options.overlay)
    return foreground.run(sandbox, options, log, own.pid_file)
