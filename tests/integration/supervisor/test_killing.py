"""SIGKILL of any one process of a sandbox, at any moment, leaves nothing behind."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time

import pytest

from pysc.supervisor.control import BACKLOG
from pysc.supervisor.spawner import MAX_RESTARTS
from tests.integration.supervisor.runtime import Runtime, eventually

ROLES = ("supervisor", "spawner", "sentry", "netstackd")
REASONS = {
    "spawner": "the spawner died",
    "sentry": "the sentry was killed by SIGKILL",
    "netstackd": "the netstackd was killed by SIGKILL",
}


def running(runtime: Runtime, *flags: str) -> tuple[subprocess.Popen[str], dict[str, int]]:
    process = runtime.start(*flags, "run", "-b", runtime.bundle("forked"), "box")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    state = runtime.read_state("box")
    return process, state["daemons"] | {"supervisor": state["pid"]}


@pytest.mark.parametrize("role", ROLES)
def test_foreground(runtime: Runtime, role: str) -> None:
    process, pids = running(runtime)
    assert len(runtime.processes()) == 5 + 2  # the program has two children
    os.kill(pids[role], signal.SIGKILL)
    _, errors = process.communicate(timeout=10)
    if role == "supervisor":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128
        assert errors.startswith(f"pysc: {REASONS[role]}")
        assert errors.count("\n") == 1
        assert not runtime.processes()  # all is gone when the command is
        assert not runtime.cgroups("box")
    eventually(lambda: not runtime.processes(), "processes are left")
    eventually(lambda: not runtime.cgroups("box"), "a cgroup is left")
    eventually(lambda: not list(runtime.state.iterdir()), "the state is left")


def test_daemons_that_cannot_notice_anything_die_with_the_spawner(runtime: Runtime) -> None:
    """They are stopped, and nobody is left who would kill them: PR_SET_PDEATHSIG does."""
    process, pids = running(runtime)
    for role in ("sentry", "gofer", "netstackd", "supervisor"):
        os.kill(pids[role], signal.SIGSTOP)
    os.kill(pids["spawner"], signal.SIGKILL)
    eventually(lambda: runtime.processes() == [pids["supervisor"]], "daemons are left")
    os.kill(pids["supervisor"], signal.SIGCONT)
    process.communicate(timeout=10)
    eventually(lambda: not list(runtime.state.iterdir()), "the state is left")


@pytest.mark.parametrize("delay", [-1, 0, 0.002, 0.004, 0.008, 0.016, 0.03])
def test_the_supervisor_is_killed_while_it_ends(runtime: Runtime, delay: float) -> None:
    """At the end of the spawner (-1), or so many seconds after that of the sentry."""
    process, pids = running(runtime)
    last = os.pidfd_open(pids["spawner" if delay < 0 else "sentry"])
    process.terminate()
    select.select([last], [], [])
    os.close(last)
    time.sleep(max(0, delay))
    process.kill()
    process.communicate(timeout=10)
    eventually(lambda: not runtime.processes(), "processes are left")
    assert not list(runtime.state.iterdir())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("started", [False, True], ids=["created", "started"])
def test_detached(runtime: Runtime, role: str, started: bool) -> None:
    runtime.run("create", "-b", runtime.bundle("forked"), "box", capture_output=False, stdout=subprocess.DEVNULL)
    if started:
        assert runtime.run("start", "box").returncode == 0
    state = runtime.read_state("box")
    pids = state["daemons"] | {"supervisor": state["pid"]}
    os.kill(pids[role], signal.SIGKILL)
    eventually(lambda: not runtime.processes(), "processes are left")
    eventually(lambda: not runtime.cgroups("box"), "a cgroup is left")
    shown = json.loads(runtime.run("state", "box").stdout)
    assert (shown["status"], shown["pid"]) == ("stopped", 0)
    assert REASONS.get(role, "") in shown.get("reason", "")
    assert runtime.run("delete", "box").returncode == 0


def test_a_frozen_sentry_is_ended_when_it_takes_no_signal(runtime: Runtime) -> None:
    process, pids = running(runtime)
    os.kill(pids["sentry"], signal.SIGSTOP)
    process.terminate()
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (128, "pysc: the sentry does not answer, and was killed\n")
    assert not runtime.processes()


@pytest.mark.parametrize("command", [["delete", "--force", "box"], ["kill", "box", "KILL"]], ids=["delete", "kill"])
@pytest.mark.parametrize("waiting", [0, 2 * BACKLOG], ids=["", "with a queue"])
def test_a_frozen_supervisor_is_ended_by_force(runtime: Runtime, command: list[str], waiting: int) -> None:
    """A shim cuts ``delete --force`` off after five seconds."""
    runtime.run("run", "-d", "-b", runtime.bundle("forked"), "box", capture_output=False, stdout=subprocess.DEVNULL)
    os.kill(runtime.read_state("box")["pid"], signal.SIGSTOP)
    assert json.loads(runtime.run("state", "box").stdout)["status"] == "running"
    assert runtime.run("list", "-q").stdout == "box\n"
    queue = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK) for _ in range(waiting)]
    for sock in queue:
        try:
            sock.connect(str(runtime.state / "box" / "control"))
        except BlockingIOError:
            break
    else:
        assert not queue
    done = runtime.run(*command, timeout=9)  # two and a half, on a machine that has nothing else to do
    assert (done.returncode, done.stderr) == (0, "")
    eventually(lambda: not runtime.processes(), "processes are left")
    for sock in queue:
        sock.close()
    if command[0] == "kill":
        assert json.loads(runtime.run("state", "box").stdout)["status"] == "stopped"


def test_the_gofer_is_restarted(runtime: Runtime) -> None:
    process, pids = running(runtime)
    for _ in range(2):
        before = runtime.read_state("box")["daemons"]["gofer"]
        os.kill(before, signal.SIGKILL)
        eventually(lambda before=before: runtime.read_state("box")["daemons"]["gofer"] != before, "no new gofer")
    assert process.poll() is None
    assert len(runtime.processes()) == 5 + 2
    assert runtime.run("kill", "box", "TERM").returncode == 0
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 7
    assert errors.count("the gofer died and was restarted") == 2
    assert pids["gofer"] not in runtime.processes()


def test_a_gofer_that_does_not_get_better_ends_the_sandbox(runtime: Runtime) -> None:
    process, pids = running(runtime)
    gofer = pids["gofer"]
    for _ in range(MAX_RESTARTS):
        os.kill(gofer, signal.SIGKILL)
        eventually(lambda gofer=gofer: runtime.read_state("box")["daemons"]["gofer"] != gofer, "no new gofer")
        gofer = runtime.read_state("box")["daemons"]["gofer"]
    os.kill(gofer, signal.SIGKILL)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 128
    assert errors.count("the gofer died and was restarted") == MAX_RESTARTS
    assert errors.splitlines()[-1].startswith("pysc: the gofer was killed by SIGKILL")


@pytest.mark.parametrize("delay", [0.05, 0.08, 0.11, 0.14, 0.17, 0.2, 0.25, 0.3])
@pytest.mark.parametrize("command", ["run", "create"])
def test_the_command_is_killed_while_it_starts(runtime: Runtime, command: str, delay: float) -> None:
    process = runtime.start(
        command, "-b", runtime.bundle("sleep"), "box", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(delay)
    process.kill()
    process.wait(10)
    if command == "create" and runtime.run("state", "box").stdout.find('"created"') > 0:
        return  # it was faster: the fixture deletes the container
    eventually(lambda: not runtime.processes(), "processes are left")
    eventually(lambda: not runtime.cgroups("box"), "a cgroup is left")
    left = runtime.state.exists() and list(runtime.state.iterdir())
    assert not left or command == "create"


def test_term_while_it_starts_ends_it(runtime: Runtime) -> None:
    slow = {"prestart": [{"path": "/bin/sleep", "args": ["sleep", "0.5"]}]}
    process = runtime.start("run", "-b", runtime.bundle("sleep", hooks=slow), "box")
    eventually(lambda: bool(runtime.state.exists() and list(runtime.state.glob("box"))), "it does not start")
    time.sleep(0.2)
    process.terminate()
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors == "pysc: stopped by SIGTERM\n"
