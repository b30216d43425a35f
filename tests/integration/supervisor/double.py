"""``pysc`` with stand-ins for the sentry and the gofer, so that the supervisor can be tested alone.

The sentry of this command has a handful of programs: ``exit N``, ``killed N``, ``echo WORD...``, ``sleep`` (until a
signal N arrives, then 128+N; TERM ends it with 7), ``identity``, ``crash`` (an exception), ``missing`` (ENOENT),
``window`` (waits for a window size), ``forked`` (with two children in its pid namespace), ``hostile WHAT`` and
``escape`` (messages that no sentry should send).
"""

from __future__ import annotations

import importlib
import os
import pathlib
import signal
import socket
import sys
import time
import types
from typing import Any, NoReturn

import pysc.supervisor
from pysc.cabi import confine
from pysc.cabi.build_id import BUILD
from pysc.cabi.linux.errors import ENOENT
from pysc.cabi.linux.prctl import PR_SET_DUMPABLE
from pysc.sentry import confinement
from pysc.supervisor.cli import main
from pysc.supervisor.daemon import preload
from pysc.supervisor.prefork import prefork
from pysc.supervisor.state import Store
from pysc.urpc.blocking import Connection
from pysc.urpc.codec import Asked, Codec
from pysc.urpc.schema import sentry

NOBODY = 54321


class Sentry:
    """Reads requests, one at a time, and does as the program says."""

    def __init__(self, control: socket.socket, boot: sentry.Boot) -> None:
        self.boot = boot
        self.codec = Codec(sentry.CONTROL, serves=True, build=BUILD)
        self.connection = Connection(control, self.codec)
        self.started = False
        self.gofer = boot.fds.gofer

    def serve(self) -> NoReturn:
        arguments = [os.fsdecode(argument) for argument in self.boot.args]
        if arguments[0] == "crash":
            raise ValueError("a bug on purpose")
        if arguments[0] == "escape":
            self.connection.send(self.codec.hello())
            self.connection.send(self.codec.tell(sentry.Failed("\x1b]0;title\x07\nsecond line")))
            os._exit(1)
        if arguments[0] == "refuse":
            self.connection.send(self.codec.hello())
            self.connection.send(self.codec.tell(sentry.Failed("no platform here: try another")))
            os._exit(1)
        if arguments[0] == "forked":
            for _ in range(2):
                if os.fork() == 0:
                    time.sleep(300)
                    os._exit(0)
        confinement.lock_down()
        self.connection.send(self.codec.hello())
        self.connection.send(self.codec.tell(sentry.Ready()))
        while (received := self.connection.receive_untrusted()) is not None:
            if isinstance(received, Asked):
                self.on_request(received, arguments)
        os._exit(0)

    def on_request(self, asked: Asked, arguments: list[str]) -> None:
        request = asked.request
        if isinstance(request, sentry.Start):
            if arguments[0] == "missing":
                self.connection.send(self.codec.fail(asked.id, ENOENT("missing")))
                return
            self.connection.send(self.codec.answer(asked.id, sentry.Empty()))
            self.run(arguments)
            return
        if isinstance(request, sentry.Processes):
            process = sentry.Process(1, 0, 0, "S", "sleep", os.getpid())
            self.connection.send(self.codec.answer(asked.id, sentry.ProcessList([process], 1)))
            return
        if isinstance(request, sentry.HostDescriptors):
            kept = sentry.KeptList([sentry.Kept("trees", 1)], [77])
            self.connection.send(self.codec.answer(asked.id, kept))
            return
        if isinstance(request, sentry.NewGofer):
            self.gofer = request.socket.take()
        self.connection.send(self.codec.answer(asked.id, sentry.Empty()))
        if isinstance(request, sentry.Signal) and request.signo:
            self.say(f"signal {request.signo}\n")
            self.end(7 << 8 if request.signo == signal.SIGTERM else request.signo)
        elif isinstance(request, sentry.WindowSize):
            self.say(f"window {request.rows} {request.columns}\n")
            self.end(0)

    def run(self, arguments: list[str]) -> None:
        match arguments:
            case ["exit", number]:
                self.end(int(number) << 8)
            case ["killed", number]:
                self.end(int(number))
            case ["echo", *words]:
                self.say(" ".join(words) + "\n")
                self.end(0)
            case ["identity"]:
                self.say(f"{os.getpid()} {os.getuid()} {os.getgid()} {sorted(self.boot.fds.trees)}\n")
                self.end(0)
            case ["hostile", what]:
                self.attack(what)
            case _:
                self.say("running\n")

    def attack(self, what: str) -> None:
        """Send what no sentry should."""
        sock = self.connection.sock
        if what == "status":
            self.end(0x7F)
        elif what == "flood":
            while True:
                self.connection.send(self.codec.tell(sentry.Ready()))
        else:
            sock.send(
                {"junk": b"\xff" * 100, "empty": b"", "answer": b"\x03\0\0\0\x63\0\0\0\xc0", "long": b"\x05" * 60_000}[
                    what
                ]
            )
            while sock.recv(100):
                pass
            os._exit(0)

    def say(self, text: str) -> None:
        os.write(self.boot.fds.stdio[1], text.encode())

    def end(self, status: int) -> None:
        self.connection.send(self.codec.tell(sentry.Exited(status)))
        os._exit(0)


def serve_files(sock: socket.socket, mounts: Any) -> NoReturn:
    while sock.recv(100):
        pass
    os._exit(0)


def set_up(exports: Any, *, trees: bool, **_options: bool) -> tuple[Any, dict[int, int]]:
    return None, {0: os.open("/", os.O_PATH)} if trees else {}


def leave(_mounts: Any) -> list[int]:
    return [os.memfd_create("left")]


def take_up(_left: Any, **_options: bool) -> Any:
    return None


def module(name: str, **functions: Any) -> None:
    made = types.ModuleType(name)
    made.__dict__.update(functions)
    sys.modules[name] = made
    package, _, attribute = name.rpartition(".")
    setattr(importlib.import_module(package), attribute, made)


def fail(_store: Store) -> list[str]:
    raise ZeroDivisionError("on purpose")


def become_nobody() -> None:
    """Go on as an ordinary user, who may not be able to read the interpreter's files: load all that is needed first."""
    for path in sorted(pathlib.Path(pysc.supervisor.__path__[0]).glob("**/*.py")):
        if path.stem not in ("__init__", "export_filters"):
            folder = "commands." if path.parent.name == "commands" else ""
            importlib.import_module(f"pysc.supervisor.{folder}{path.stem}")
    importlib.import_module("pysc.gofer.main")
    importlib.import_module("pysc.gofer.tree")
    importlib.import_module("pysc.netstackd.main")
    preload()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    confine.prctl(PR_SET_DUMPABLE, 1)


if __name__ == "__main__":
    module("pysc.sentry.main", serve=lambda control, boot: Sentry(control, boot).serve())
    arguments = sys.argv[1:]
    if arguments[0] == "real-gofer":
        del arguments[0]
    else:
        module("pysc.gofer.main", serve=serve_files, set_up=set_up, leave=leave, take_up=take_up)
    if arguments[0] == "as-nobody":
        del arguments[0]
        become_nobody()
    if arguments[0] == "bug":
        del arguments[0]
        Store.ids = fail  # type: ignore[method-assign]
    prefork(arguments)
    sys.exit(main(arguments))
