"""Kernel and engine together, without daemons: static busybox with and without fast paths."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BUSYBOX = "/bin/busybox"

SCRIPTS = {
    "status": ("exit 7", 7, ""),
    "forks": ("i=0; while [ $i -lt 30 ]; do busybox true; i=$((i+1)); done; echo $i", 0, "30\n"),
    "pipes": ("seq 1000 | grep 7 | sort -rn | head -2; echo abc | cat | cat", 0, "997\n987\nabc\n"),
    "statuses": ("(exit 3); echo $?; false || echo or; busybox sh -c 'kill -9 $$'; echo $?", 0, "3\nor\n137\n"),
    "traps": ("trap 'echo caught' USR1; kill -USR1 $$; trap 'echo bye' EXIT; exit 4", 4, "caught\nbye\n"),
    "children": ("for i in 1 2 3; do (exit $i) & done; wait; (exit 9) & wait $!; echo $?", 0, "9\n"),
    "kills": ("sleep 100 & kill -TERM $!; wait $!; echo $?; sleep 100 & kill -STOP $!; kill -9 $!; wait $!; echo $?", 0,
              "143\n137\n"),
    "scripts": ("printf '#!/bin/busybox sh\\necho $0 $1\\n' >/tmp/s; chmod +x /tmp/s; /tmp/s x", 0, "/tmp/s x\n"),
    "missing": ("/nothing; echo $?; /tmp; echo $?", 0, "127\n126\n"),
    "init": ("echo $$ $PPID; kill -TERM 1; kill -KILL 1; echo here", 0, "1 0\nhere\n"),
    "timers": ("busybox timeout 0.1 sleep 9; echo $?", 0, "143\n"),
}  # fmt: skip


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own: the engine forks and takes SIGCHLD's place."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, env=environment, check=False)


PROGRAM = """
import os, sys
from tests.integration.kernel.harness import run
status = run([os.fsencode(a) for a in sys.argv[2:]], fastpath=sys.argv[1] == "on")
sys.exit(status >> 8 if not status & 0x7F else 128 + (status & 0x7F))
"""


@pytest.mark.root
@pytest.mark.parametrize("fastpath", ["off", "on"])
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts(name: str, fastpath: str, need: Callable[[str], str]) -> None:
    need("busybox")
    script, status, output = SCRIPTS[name]
    ran = run(PROGRAM, fastpath, BUSYBOX, "sh", "-c", script)
    assert (ran.returncode, ran.stdout) == (status, output), ran.stderr


CYCLES = """
import collections, gc, sys
from tests.integration.kernel import harness

def stop(self, stop=harness.Systrap.stop):
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    kinds = {"Task", "ThreadGroup", "Memory", "SystrapThread", "Routine"}
    print(sorted({type(o).__name__ for o in gc.garbage} & kinds))
    stop(self)

harness.Systrap.stop = stop
gc.collect()
gc.disable()
harness.run([b"/bin/busybox", b"sh", b"-c", b"for i in 1 2 3 4 5; do busybox true | busybox cat; done"])
"""


@pytest.mark.root
def test_processes_that_have_ended_leave_no_cycles(need: Callable[[str], str]) -> None:
    need("busybox")
    ran = run(CYCLES)
    assert ran.stdout.splitlines()[-1:] == ["[]"], ran.stdout + ran.stderr
