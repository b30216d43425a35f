"""Other projects' test suites, each in a directory that whoever runs it has: nothing of theirs is here.

A suite is a subclass of :class:`Suite` in a module of its own: what its tests are called, and how one is run.  It comes
with ``differences/NAME.toml``: by reason, the tests that the host passes and the sandbox does not.
"""

from __future__ import annotations

import tomllib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tests.support.modes import DEFAULT
from tests.support.sandbox import Argument, Outcome, Sandbox, run

DIFFERENCES = Path(__file__).with_name("differences")

PARENT = '"$@"; exit $?'
"""For sh -c: what is tested must not be the first process, to which signals do less."""

QUIET = f"""
for place in /proc/sys /sys; do mount -o bind,ro "$place" "$place" || exit; done
for place in /dev/loop*; do [ ! -e "$place" ] || mount --bind /dev/null "$place" || exit; done
mount -t tmpfs -o mode=1777 tmpfs /dev/shm || exit
{PARENT}"""
"""The same, on a host that keeps its settings, devices and shared memory."""

NAMESPACES = ("--mount", "--pid", "--mount-proc", "--ipc", "--uts")
FOREVER = ("sys_time", "sys_boot", "sys_module", "sys_rawio", "syslog")
"""Capabilities for what would outlive the test."""

ON_HOST: tuple[str, ...] = (
    "unshare", *NAMESPACES, "--fork", "--kill-child", "--",
    "setpriv", f"--bounding-set={','.join('-' + name for name in FOREVER)}", "--",
    "sh", "-c", QUIET, "sh",
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Why a test does not pass inside."""

    reason: str
    by_chance: bool = False


@dataclass(frozen=True)
class Call:
    """How one test is run."""

    command: Sequence[Argument]
    cwd: Path = Path("/")
    env: Mapping[str, str] = field(default_factory=dict)
    """On top of the caller's; TMPDIR is set for all."""


class Suite(ABC):
    """The tests of another project in a directory of this machine."""

    name: ClassVar[str]
    """As an option and a file of differences."""
    what: ClassVar[str]
    """What is to be in the directory."""
    seconds: ClassVar[int] = 60
    """That one test may take, on the host and inside each."""
    passing: ClassVar[frozenset[int]] = frozenset({0})
    """Statuses of the host that the sandbox has to have as well."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @abstractmethod
    def tests(self) -> list[str]:
        """Return the names of all tests, in an order that does not change.  ValueError: it is not that directory."""

    @abstractmethod
    def call(self, test: str) -> Call:
        """Say how a test is run."""

    @classmethod
    def differences(cls) -> dict[str, Difference]:
        """Return the tests that are known to pass on the host and not inside; those with a ``?`` do by chance."""
        listed = tomllib.loads((DIFFERENCES / f"{cls.name}.toml").read_text())
        found: dict[str, Difference] = {}
        for reason, tests in listed.items():
            for test in tests:
                name = test.removesuffix("?")
                assert name not in found, f"{cls.name}.toml has {name} twice"
                found[name] = Difference(reason, by_chance=name != test)
        return found

    def on_host(self, test: str, scratch: Path) -> Outcome:
        """Run a test on the host, in namespaces where nothing that it does to it stays, and no process."""
        return self._run(test, ON_HOST, scratch)

    def inside(self, test: str, scratch: Path) -> Outcome:
        """Run it in a sandbox whose root is the host's."""
        return self._run(test, Sandbox(DEFAULT).command("sh", "-c", PARENT, "sh"), scratch)

    def _run(self, test: str, around: Sequence[Argument], scratch: Path) -> Outcome:
        call = self.call(test)
        env = {"TMPDIR": str(scratch), **call.env}
        command = ["env", *(f"{name}={value}" for name, value in env.items()), *call.command]
        return run([*around, *command], cwd=call.cwd, timeout=self.seconds)
