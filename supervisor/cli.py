"""The ``pysc`` command: global flags, the command, its flags, its arguments; every failure one line and status 128.

Commands live one a module in ``pysc.supervisor.commands`` and are imported when they are called: a container's start
must not pay for ``--help``.
"""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from pysc.cabi.remedies import explained
from pysc.supervisor import flags, prefork
from pysc.supervisor.failure import EXIT_FAILURE, Failure, UsageError
from pysc.supervisor.flags import HelpRequested
from pysc.supervisor.log import Log, plain_stderr
from pysc.supervisor.options import GlobalOptions, check


class Command(msgspec.Struct, frozen=True):
    """One command: its module has ``Options`` and ``main(options, own options, arguments, log)``."""

    module: str
    arguments: str
    about: str
    least: int
    most: int
    """Number of arguments; -1 is any."""


COMMANDS: Final = {
    "do": Command("do", "COMMAND...", "run a program on the host's files, read-only under a memory overlay", 1, -1),
    "run": Command("run", "ID", "run a bundle in the foreground, until its program ends", 1, 1),
    "supervise": Command("supervise", "BUNDLE", "run a bundle as a service: restarts, health, sd_notify", 1, 1),
    "create": Command("create", "ID", "make a container: everything but its program runs", 1, 1),
    "start": Command("start", "ID", "start the program of a created container", 1, 1),
    "kill": Command("kill", "ID [SIGNAL]", "send a signal (default TERM) to a container", 1, 2),
    "delete": Command("delete", "ID...", "remove stopped containers", 1, -1),
    "state": Command("state", "ID", "print the OCI state of a container", 1, 1),
    "list": Command("list", "", "list containers", 0, 0),
    "pause": Command("pause", "ID", "stop all processes of a container", 1, 1),
    "resume": Command("resume", "ID", "let a paused container go on", 1, 1),
    "ps": Command("ps", "ID", "list the processes in a container", 1, 1),
    "spec": Command("spec", "[COMMAND...]", "write a config.json to start from", 0, -1),
    "syscalls": Command("syscalls", "[NAME...]", "print what the kernel inside implements", 0, -1),
    "debug": Command("debug", "ID", "look into a sandbox", 1, 1),
    "help": Command("help", "[COMMAND]", "explain pysc, or a command", 0, 1),
}

Main = Callable[[GlobalOptions, Any, list[str], Log], int]


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit status."""
    _ensure_stdio()
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that flushing at exit does not complain again
        return 141
    finally:
        prefork.discard()


def _main(arguments: Sequence[str]) -> int:
    try:
        options, rest = _parse_global(arguments)
        if options.version:
            return _version()
        check(options)
        log = Log(options)
    except HelpRequested:
        return _help([])
    except Failure as failure:
        plain_stderr(_hint(failure, ""))
        return failure.status
    name = rest.pop(0) if rest else "help"
    try:
        return _run(name, options, rest, log)
    except HelpRequested:
        return _help([name])
    except Failure as failure:
        log.failure(_hint(failure, name))
        return failure.status
    except BrokenPipeError:
        raise
    except MemoryError:
        log.failure("out of memory")
    except OSError as error:
        log.failure(f"{name}: {error.filename or 'system call'}: {explained(error)}")
        _show_where(options)
    except Exception as error:
        log.failure(str(Failure(f"{name}: a bug of pysc, {type(error).__name__}: {error}; --debug shows where")))
        _show_where(options)
    return EXIT_FAILURE


def _parse_global(arguments: Sequence[str]) -> tuple[GlobalOptions, list[str]]:
    try:
        return flags.parse(GlobalOptions, arguments)
    except flags.UnknownFlag as unknown:
        owners = [name for name in COMMANDS if name != "help" and unknown.name in flags.table(_module(name).Options)]
        if owners:
            raise UsageError(f"flag {unknown.argument} stands after its command: pysc {' or '.join(owners)}") from None
        raise


def _parse_own(name: str, arguments: list[str]) -> tuple[Any, list[str]]:
    try:
        return flags.parse(_module(name).Options, arguments)
    except flags.UnknownFlag as unknown:
        if unknown.name in flags.table(GlobalOptions):
            argument = unknown.argument
            raise UsageError(
                f"flag {argument} is global, it stands before the command: pysc {argument} {name}"
            ) from None
        raise


def _module(name: str) -> Any:
    return importlib.import_module(f"pysc.supervisor.commands.{COMMANDS[name].module}")


def _show_where(options: GlobalOptions) -> None:
    if options.debug:
        import traceback

        traceback.print_exc()


def _run(name: str, options: GlobalOptions, rest: list[str], log: Log) -> int:
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(f"unknown command {flags.quoted(name)}{_meant(name)}")
    if name == "help":
        _count(name, command, rest)
        return _help(rest)
    own, rest = _parse_own(name, rest)
    _count(name, command, rest)
    gc.enable()
    entry: Main = _module(name).main
    return entry(options, own, rest, log)


def _count(name: str, command: Command, rest: list[str]) -> None:
    if len(rest) < command.least or 0 <= command.most < len(rest):
        wants = f"{name} {command.arguments}".strip()
        late = "; flags stand before them" if any(argument[:1] == "-" < argument for argument in rest) else ""
        raise UsageError(f"wrong number of arguments ({len(rest)}): pysc {wants}{late}")


def _meant(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _hint(failure: Failure, name: str) -> str:
    if not isinstance(failure, UsageError):
        return str(failure)
    topic = f"pysc {name} --help" if name in COMMANDS else "pysc --help"
    return f"{failure}; see {topic}"


def _help(topic: list[str]) -> int:
    from pysc.supervisor.help import show

    return show(topic[0] if topic else "")


def _version() -> int:
    from pysc import __version__
    from pysc.supervisor.spec import OCI_VERSION

    print(f"pysc version {__version__}\nspec: {OCI_VERSION}")
    return 0


def _ensure_stdio() -> None:
    """Open /dev/null where 0, 1 or 2 is closed, so that no file of ours gets that number."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)
