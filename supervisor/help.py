"""``pysc --help`` and ``pysc COMMAND --help``: text that teaches; on a terminal it is set by rich."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Final

from pysc.supervisor import flags
from pysc.supervisor.cli import COMMANDS
from pysc.supervisor.failure import UsageError
from pysc.supervisor.options import GlobalOptions

INTRODUCTION: Final = """\
pysc runs programs in a sandbox with a Linux kernel of its own, written in Python, in user space.
The program's system calls never reach the host's kernel: the sentry answers them, a gofer
serves the files, and each of them is confined.  No daemon, and no root needed.
"""

EXAMPLES: Final = """\
  pysc do -- bash                      a shell on your own files; what it writes is gone afterwards
  pysc do -- sh -c 'rm -rf /tmp/*'     try it out
  pysc spec && pysc run box            run the bundle in this directory (config.json, rootfs/)
  pysc --strace do -- ls               see every system call, decoded
  pysc --debug --log=x.log run box     find out why it does not work
  pysc debug --confinement box         what each process of the sandbox may do
"""

NOTES: Final = """\
Flags follow Go's rules: -flag and --flag are the same, a value follows = or is the next argument,
and parsing stops at the first argument that is no flag, so the program's own flags are its own.
The exit status is the program's, 128+n if signal n killed it, and 128 if pysc itself failed.
"""

DETAILS: Final = {
    "do": "The sandbox sees the whole file system of the host, but not its processes, devices and network, and\n"
    "writes to memory.  With a terminal as stdin and stdout the program gets one, with job control.",
    "run": "The bundle is a directory with an OCI config.json and a root file system.  The container and its\n"
    "state are gone when the command ends, but with --detach stay until pysc delete.",
    "create": "The pid of the container, which is its supervisor's, ends with the container's exit status.",
    "kill": "SIGNAL is a number or a name, with or without SIG.  Flags stand before the ID.",
    "supervise": "Ends when the program has ended and the policy does not restart it.  $NOTIFY_SOCKET is told\n"
    "READY=1, STATUS= and STOPPING=1 (sd_notify(3)); pysc state shows the health.",
}


def show(topic: str) -> int:
    """Print help on pysc or on one command; return the exit status."""
    if topic and topic not in COMMANDS:
        raise UsageError(f"no help on {flags.quoted(topic)}: there is no such command")
    sections = _command(topic) if topic else _overview()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        _rich(sections)
    else:
        for title, body in sections:
            text = body if isinstance(body, str) else _columns(body)
            print(f"{title}:\n{text}" if title else text)
    return 0


Section = tuple[str, str | list[tuple[str, str]]]


def _overview() -> list[Section]:
    commands = [(f"{name} {command.arguments}".rstrip(), command.about) for name, command in COMMANDS.items()]
    return [
        ("", INTRODUCTION),
        ("Usage", "  pysc [flags] COMMAND [flags of the command] [arguments]\n"),
        ("Try", EXAMPLES),
        ("Commands", commands),
        ("Flags", flags.describe(GlobalOptions)),
        ("", NOTES),
    ]


def _command(name: str) -> list[Section]:
    command = COMMANDS[name]
    rows = []
    if name != "help":
        module = importlib.import_module(f"pysc.supervisor.commands.{command.module}")
        rows = flags.describe(module.Options)
    usage = f"  pysc [global flags] {name} {'[flags] ' if rows else ''}{command.arguments}".rstrip()
    sections: list[Section] = [
        ("Usage", usage + "\n"),
        ("", f"{command.about[0].upper()}{command.about[1:]}.  {DETAILS.get(name, '')}".rstrip() + "\n"),
    ]
    if rows:
        sections.append(("Flags", rows))
    return sections


def _columns(rows: list[tuple[str, str]]) -> str:
    return "".join(
        f"  {left:30} {right}\n" if len(left) <= 30 else f"  {left}\n  {'':30} {right}\n" for left, right in rows
    )


def _rich(sections: list[Section]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for title, body in sections:
        if title:
            console.print(Text(title, style="bold"))
        if isinstance(body, str):
            console.print(Text(body.rstrip("\n")))
        else:
            table = Table.grid(padding=(0, 2))
            table.add_column(max_width=36)
            table.add_column()
            for left, right in body:
                table.add_row(Text(left, style="cyan"), Text(right))
            console.print(Padding(table, (0, 0, 0, 2)))
        console.print()
