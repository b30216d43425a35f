"""What tests/conformance says of a suite, of which one test passes everywhere, one on the host only, and so on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.ltp import Ltp
from tests.conformance.suite import Call, Suite
from tests.integration.supervisor.runtime import eventually
from tests.support.sources import ROOT

PROGRAMS = {"pass": "exit 0", "differ": "! uname -v | grep -q pysc", "skip": "echo TCONF: not here; exit 32"}


def run(*options: str | Path) -> tuple[int, dict[str, str]]:
    """Return the status of the run, and what it said of each test."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", "tests/conformance", *options]
    wide = os.environ | {"COLUMNS": "1000"}
    done = subprocess.run(command, cwd=ROOT, env=wide, text=True, capture_output=True, timeout=50, check=False)
    said = re.findall(r"^(PASSED|FAILED|XFAIL|SKIPPED)\b.*?(?:\[ltp-(\w+)\]|: )(.*)$", done.stdout, re.MULTILINE)
    return done.returncode, {name or verdict: f"{verdict}{rest}" for verdict, name, rest in said}


def test_verdicts(tmp_path: Path, root_user: None, namespaces: None) -> None:
    differences = Ltp.differences()
    first, second, *_ = sorted(name for name, difference in differences.items() if not difference.by_chance)
    lines = {"one": "pass", "other": "differ", "third": "skip", first: "pass", second: "differ", "missing": "not-built"}
    (tmp_path / "runtest").mkdir()
    text = "".join(f"{name} {program}\n" for name, program in lines.items())
    (tmp_path / "runtest/syscalls").write_text(f"#DESCRIPTION: some\n\n{text}")
    (tmp_path / "runtest/syscalls-ipc").write_text("")
    (tmp_path / "testcases").mkdir()
    for name, script in PROGRAMS.items():
        program = tmp_path / "testcases" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    status, said = run("--ltp", tmp_path)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert said.pop("one") == "PASSED"
    assert said.pop("other").startswith("FAILED")
    assert said.pop("SKIPPED").endswith("the host does not pass it: status 32 TCONF: not here")
    assert f"passes now: take it off the list of differences ({differences[first].reason})" in said.pop(first)
    assert said.pop(second) == f"XFAIL - {differences[second].reason}"
    assert not said


def test_nothing_is_run_that_nobody_has(tmp_path: Path) -> None:
    assert run() == (pytest.ExitCode.NO_TESTS_COLLECTED, {})
    assert run("--ltp", tmp_path) == (pytest.ExitCode.USAGE_ERROR, {})
    assert run("--cpython", tmp_path) == (pytest.ExitCode.USAGE_ERROR, {})


class Careless(Suite):
    name, what, seconds = "careless", "nothing", 4

    def tests(self) -> list[str]:
        return ["leaves", "hangs"]

    def call(self, test: str) -> Call:
        """What would stay: a setting, a file in shared memory, a mount, processes."""
        leaves = f"""
            echo 51 >/proc/sys/vm/overcommit_ratio
            : >/dev/shm/{self.place.name}
            mount -t tmpfs {self.place.name} {self.place}
            setsid sleep 98.7 & """
        return Call(["sh", "-c", leaves if test == "leaves" else f"{leaves}\nsleep 98.7"])


@pytest.mark.parametrize("test", ["leaves", "hangs"])
def test_nothing_is_left_behind(test: str, reachable: Path, root_user: None) -> None:
    setting = Path("/proc/sys/vm/overcommit_ratio").read_text()
    suite = Careless(reachable)
    for outcome in (suite.on_host(test, reachable), suite.inside(test, reachable)):
        assert outcome.status == (0 if test == "leaves" else 128 + signal.SIGKILL), outcome.explain()
    assert Path("/proc/sys/vm/overcommit_ratio").read_text() == setting
    assert not Path("/dev/shm", reachable.name).exists()
    assert reachable.name not in Path("/proc/mounts").read_text()
    eventually(lambda: not sleepers(), "processes are left")


def sleepers() -> list[str]:
    found = []
    for path in Path("/proc").glob("[1-9]*/cmdline"):
        try:
            found += [path.parent.name] if path.read_bytes() == b"sleep\098.7\0" else []
        except OSError:
            continue
    return found
