"""The Linux Test Project's tests of system calls, built (``make -C testcases/kernel/syscalls``) or installed."""

from __future__ import annotations

import os
import shlex
from functools import cached_property
from pathlib import Path

from tests.conformance.suite import Call, Suite


class Ltp(Suite):
    """A test is a line of runtest/syscalls: a name and a command."""

    name = "ltp"
    what = "a built tree, or an installation, of the Linux Test Project"
    seconds = 120
    passing = frozenset({0, 4})  # 4: with warnings, one of which is of the device below

    @cached_property
    def _commands(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for scenario in ("syscalls", "syscalls-ipc"):
            try:
                lines = (self.place / "runtest" / scenario).read_text().splitlines()
            except FileNotFoundError:
                raise ValueError(f"{self.place} has no runtest/{scenario}: it is no tree of LTP") from None
            for line in lines:
                test, *command = shlex.split(line, comments=True) or [""]
                if command and Path(command[0]).name in self._programs:
                    found[test] = command
        return found

    @cached_property
    def _programs(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder, _, names in os.walk(self.place / "testcases"):
            for name in names:
                path = Path(folder, name)
                if "." not in name and os.access(path, os.X_OK):
                    found[name] = path
        return found

    def tests(self) -> list[str]:
        """Return those whose programs have been built."""
        return sorted(self._commands)

    def call(self, test: str) -> Call:
        """Tests find their helpers by PATH, and their files where they begin."""
        program, *arguments = self._commands[test]
        folder = self._programs[program].parent
        env = {
            "PATH": f"{folder}:{self.place / 'testcases/lib'}:{os.environ['PATH']}",
            "LTPROOT": str(self.place),
            "LTP_COLORIZE_OUTPUT": "0",
            # Tests that want a device to make file systems on, of which a sandbox has none, get none, and memory.
            "LTP_DEV": "/dev/null",
            "LTP_DEV_FS_TYPE": "tmpfs",
            "LTP_SINGLE_FS_TYPE": "tmpfs",
            "LTP_RUNTIME_MUL": "0.2",
            "LTP_TIMEOUT_MUL": "3",
            "KCONFIG_SKIP_CHECK": "1",  # a sandbox has no configuration to show, whatever it can do
        }
        return Call([self._programs[program], *arguments], folder, env)
