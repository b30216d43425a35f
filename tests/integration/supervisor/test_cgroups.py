"""Limits: one cgroup for supervisor, daemons and guests, the spawner outside, and nothing left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pysc.supervisor.cgroups import hierarchies
from tests.integration.supervisor.runtime import Runtime, eventually
from tests.support.needs import missing


@pytest.fixture
def place(root_user: None) -> tuple[str, Path]:
    """Return the path of a cgroup that does not exist, for a specification, and its memory directory."""
    mount = next((h.mount for h in hierarchies() if h.controller in ("memory", "")), None)
    if mount is None:
        missing("no memory controller")
    try:
        probe = Path(mount + f"/pysc-probe-{os.getpid()}")
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        missing(f"cgroups cannot be made: {error}")
    path = f"/pysc-test-{os.getpid()}/inner"
    return path, Path(mount + path)


def everywhere(path: str) -> list[Path]:
    """Return a cgroup's directories in all hierarchies."""
    return [Path(h.mount + path) for h in hierarchies() if Path(h.mount + path).exists()]


def limited(runtime: Runtime, path: str) -> Path:
    resources = {"memory": {"limit": 512 << 20}, "pids": {"limit": 200}, "cpu": {"shares": 512}}
    return runtime.bundle("forked", linux={"cgroupsPath": path, "resources": resources})


def test_everybody_but_the_spawner_is_inside(runtime: Runtime, place: tuple[str, Path]) -> None:
    path, memory = place
    runtime.run("create", "-b", limited(runtime, path), "box", capture_output=False, stdout=subprocess.DEVNULL)
    state = runtime.read_state("box")
    members = {int(line) for line in (memory / "cgroup.procs").read_text().split()}
    daemons = state["daemons"]
    assert {state["pid"], daemons["sentry"], daemons["gofer"], daemons["netstackd"]} <= members
    assert daemons["spawner"] not in members
    assert len(members) == 4 + 2  # the program's children, too
    limit = memory / ("memory.limit_in_bytes" if (memory / "memory.limit_in_bytes").exists() else "memory.max")
    assert limit.read_text().strip() == str(512 << 20)
    assert runtime.run("delete", "--force", "box").returncode == 0
    assert not everywhere(path)
    assert not everywhere(os.path.dirname(path))


def test_gone_if_the_supervisor_dies_while_it_makes_them(runtime: Runtime, place: tuple[str, Path]) -> None:
    _, memory = place
    script = f"""
import os
from pysc.cabi.build_id import BUILD
from pysc.supervisor import prefork
from pysc.supervisor.peer import Loop, Peer
from pysc.urpc.schema import spawner as protocol
pid, sock = prefork.fork_spawner()
peer = Peer(Loop(), sock, protocol.SPAWNER, serves=False, build=BUILD, on_end=lambda: None)
made = [{os.fsencode(memory.parent)!r}, {os.fsencode(memory)!r}]
peer.tell(protocol.Reserve({os.fsencode(runtime.state)!r}, "box", made))
for directory in made:
    os.mkdir(directory)
peer.close()
os.waitpid(pid, 0)
"""
    subprocess.run([sys.executable, "-P", "-c", script], check=True, timeout=30)
    assert not memory.parent.exists()


def test_a_limit_that_the_host_refuses(runtime: Runtime, place: tuple[str, Path]) -> None:
    path, memory = place
    bundle = runtime.bundle("exit", "0", linux={"cgroupsPath": path, "resources": {"cpu": {"cpus": "many"}}})
    done = runtime.run("run", "-b", bundle, "box")
    assert done.returncode == 128
    assert done.stderr.startswith("pysc: linux.resources: this host takes no 'many' as cpuset.cpus")
    assert not memory.parent.exists()


def test_a_path_of_many_parts(runtime: Runtime, place: tuple[str, Path]) -> None:
    path, memory = place
    deep = path + "/a" * 8
    done = runtime.run("run", "-b", runtime.bundle("exit", "5", linux={"cgroupsPath": deep}), "box")
    assert (done.returncode, done.stderr) == (5, "")
    assert not memory.parent.exists()


@pytest.mark.parametrize("role", ["supervisor", "spawner", "sentry"])
def test_gone_after_a_kill(runtime: Runtime, place: tuple[str, Path], role: str) -> None:
    path, _ = place
    process = runtime.start("run", "-b", limited(runtime, path), "box")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    state = runtime.read_state("box")
    os.kill((state["daemons"] | {"supervisor": state["pid"]})[role], signal.SIGKILL)
    process.communicate(timeout=15)
    eventually(lambda: not everywhere(path), "a cgroup is left")
    eventually(lambda: not everywhere(os.path.dirname(path)), "a cgroup is left")


def test_a_gofer_in_place_of_a_dead_one_is_inside(runtime: Runtime, place: tuple[str, Path]) -> None:
    path, memory = place
    process = runtime.start("run", "-b", limited(runtime, path), "box")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    before = runtime.read_state("box")["daemons"]["gofer"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: runtime.read_state("box")["daemons"]["gofer"] != before, "no new gofer")
    members = (memory / "cgroup.procs").read_text().split()
    assert str(runtime.read_state("box")["daemons"]["gofer"]) in members
    assert runtime.run("kill", "box", "TERM").returncode == 0
    process.communicate(timeout=15)
    assert process.returncode == 7


def test_without_limits_there_is_no_cgroup(runtime: Runtime) -> None:
    runtime.run("create", "-b", runtime.bundle("sleep"), "box", capture_output=False, stdout=subprocess.DEVNULL)
    assert runtime.read_state("box")["cgroups"] == []
