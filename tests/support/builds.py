"""Compiling guest programs: every kind of executable that a loader meets, once a session."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

LINKING = {
    "static": ("-static", "-no-pie", "-fno-pie"),
    "static-pie": ("-static-pie", "-fpie"),
    "dynamic": ("-pie", "-fpie"),
}
FLAGS = ("-std=gnu11", "-O1", "-g0", "-Wall", "-Wextra", "-Werror", "-pthread")


def compile_guest(source: Path, build: str, folder: Path) -> Path:
    """Return the executable of ``source``; workers of one session share ``folder``, and rename into it."""
    target = folder / f"{source.stem}.{build}"
    if not target.exists():
        partial = folder / f".{target.name}.{os.getpid()}"
        command: list[str | Path] = ["cc", *FLAGS, *LINKING[build], "-o", partial, source, "-lutil", "-lrt"]
        subprocess.run(command, check=True, capture_output=True, timeout=50)
        partial.rename(target)
    return target
