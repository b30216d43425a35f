"""SIGKILL of any one process of a sandbox, at any moment: drawn at random, so more seeds find more (PYSC_SWEEPS).

The real thing, not the double: command, supervisor, spawner, the intermediates of the daemons, the daemons, the blank
processes of the engine, and guests, while they are born, run and end.  Each draw kills one process that lives at a
moment between the start of a command and a while after its end.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.supervisor.runtime import RealRuntime, eventually

SWEEPS = int(os.environ.get("PYSC_SWEEPS", "3"))
"""Draws of each way to start a sandbox."""
LONGEST = 0.9
"""Seconds: a start takes .3 to .6 on the machines of CI, the program .2."""
LIMITS: dict[str, Any] = {"resources": {"pids": {"limit": 300}}}
SCRIPT = "sleep 0.1 & sleep 0.1; /bin/busybox true; wait"


class Living:
    """One process, told from later ones of the same pid."""

    def __init__(self, pid: int, parent: int, begun: str, name: str) -> None:
        self.pid, self.parent, self.begun, self.name = pid, parent, begun, name

    @property
    def lives(self) -> bool:
        found = look(self.pid)
        return found is not None and found.begun == self.begun


def look(pid: int) -> Living | None:
    """Return a process that is no zombie."""
    try:
        head, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return None
    fields = rest.split()
    return None if fields[0] in "ZX" else Living(pid, int(fields[1]), fields[19], head.partition("(")[2])


def family(runtime: RealRuntime) -> list[Living]:
    """Return every process of a runtime: those with its mark, and all that descend from them."""
    known = set(runtime.processes())
    everybody = [found for entry in os.listdir("/proc") if entry.isdecimal() and (found := look(int(entry)))]
    grown = True
    while grown:
        more = {process.pid for process in everybody if process.parent in known} - known
        known |= more
        grown = bool(more)
    return [process for process in everybody if process.pid in known]


def mounts(place: Path) -> list[str]:
    """Return the mounts of this namespace that could be a sandbox's."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if " pysc " in line or str(place) in line]


@pytest.fixture
def bundle(real: RealRuntime, need: Callable[[str], str]) -> Path:
    """Return a bundle with a program of several short-lived processes, and a cgroup."""
    args = ["/bin/sh", "-c", SCRIPT]
    made = real.bundle(*args, linux=LIMITS, process={"args": args, "cwd": "/", "env": ["PATH=/bin"]})
    (made / "rootfs" / "bin").mkdir()
    shutil.copy(need("busybox"), made / "rootfs" / "bin" / "busybox")
    for name in ("sh", "sleep"):
        (made / "rootfs" / "bin" / name).symlink_to("busybox")
    return made


WAYS: dict[str, tuple[str, ...]] = {
    "do": ("do", "--", "/bin/sh", "-c", SCRIPT.replace("/bin/busybox ", "")),
    "run": ("run", "-b", "BUNDLE", "ID"),
    "detached": ("run", "-d", "-b", "BUNDLE", "ID"),
    "create": ("create", "-b", "BUNDLE", "ID"),
    "hardened": ("--hardened", "do", "--", "/bin/sh", "-c", SCRIPT.replace("/bin/busybox ", "")),
    "no-namespaces": ("--unsafe-no-namespaces", "do", "--", "/bin/sh", "-c", SCRIPT.replace("/bin/busybox ", "")),
    "supervise": ("supervise", "--restart=always", "--id=ID", "BUNDLE"),
}


@pytest.mark.parametrize("seed", range(SWEEPS))
@pytest.mark.parametrize("way", WAYS)
def test_whatever_is_killed_nothing_is_left(real: RealRuntime, bundle: Path, way: str, seed: int) -> None:
    chance = random.Random(f"{way} {seed}")
    before = mounts(real.place)
    files = set(real.place.iterdir())
    container = f"sweep-{os.getpid()}-{seed}"
    command = [word.replace("BUNDLE", str(bundle)).replace("ID", container) for word in WAYS[way]]
    process = real.start(*command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(chance.uniform(0.0, LONGEST))
    present = family(real)
    if present:
        victim = chance.choice(present)
        try:
            os.kill(victim.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    if way == "supervise":
        time.sleep(chance.uniform(0.0, 0.2))
        process.terminate()
    process.wait(20)
    if way == "create":
        shown = real.run("state", container)
        if shown.returncode == 0 and json.loads(shown.stdout)["status"] == "created":
            assert real.run("start", container).returncode in (0, 128)
    if way in ("create", "detached"):
        eventually(lambda: not real.processes(), f"processes are left: {family(real)}")
        assert real.run("delete", "--force", container).returncode == 0
    what = f"after the death of {victim.name} ({victim.pid})" if present else "after nobody's death"
    eventually(
        lambda: not any(one.lives for one in present) and not family(real),
        f"{what} are left: {[(one.pid, one.name) for one in [*present, *family(real)] if one.lives]}",
    )
    eventually(lambda: not real.cgroups(container), f"{what} is left: {real.cgroups('box')}")
    eventually(lambda: not real.state.exists() or not list(real.state.iterdir()), f"{what} is left: a state")
    assert mounts(real.place) == before
    assert set(real.place.iterdir()) - {real.state} == files - {real.state}
