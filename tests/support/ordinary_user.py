"""``pysc`` as an ordinary user, also where that user may not read the interpreter's files: they are loaded before.

Arguments: a copy of the guest half that everybody may read, then those of pysc.  Not started as root it is plain pysc.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import sys

import pysc
from pysc.cabi import confine
from pysc.cabi.linux.prctl import PR_SET_DUMPABLE
from pysc.supervisor import launch
from pysc.supervisor.cli import main
from pysc.supervisor.daemon import preload
from pysc.supervisor.prefork import prefork

USER = 54321


def load_everything() -> None:
    """Import what a sandbox may need later."""
    for component in ("supervisor", "supervisor/commands", "gofer", "netstackd", "sentry"):
        for path in sorted((pathlib.Path(pysc.__path__[0]) / component).rglob("*.py")):
            if path.stem not in ("__init__", "export_filters"):
                below = path.relative_to(pysc.__path__[0]).with_suffix("")
                importlib.import_module(".".join(("pysc", *below.parts)))
    preload()


def become_ordinary() -> None:
    """Give root up for good."""
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    confine.prctl(PR_SET_DUMPABLE, 1)


if __name__ == "__main__":
    guest, *arguments = sys.argv[1:]
    launch._open_guest = lambda: os.open(guest, os.O_RDONLY | os.O_CLOEXEC)
    if os.geteuid() == 0:
        load_everything()
        become_ordinary()
    prefork(arguments)
    sys.exit(main(arguments))
