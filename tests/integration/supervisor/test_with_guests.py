"""The supervisor with the real sentry: programs that end, fail to start, are signalled and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.supervisor.runtime import RealRuntime, eventually


def test_what_a_program_writes_and_its_status_come_out(real: RealRuntime) -> None:
    done = real.run("do", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_stdin_goes_in(real: RealRuntime) -> None:
    assert real.run("do", "--", "/bin/cat", stdin=None, input="hello").stdout == "hello"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138)])
def test_a_signal_ends_a_command_as_it_would_outside(real: RealRuntime, number: int, status: int) -> None:
    # No shell: on the host too, dash outlives a SIGINT that comes while it waits for a child.
    process = real.start("do", "--", "/bin/cat", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("running\n")
    process.stdin.flush()
    assert process.stdout.readline() == "running\n"
    process.send_signal(number)
    assert process.wait(timeout=15) == status
    process.communicate()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("/nowhere", ["/nowhere", "no such file or directory"]),
        ("nowhere-in-path", ["nowhere-in-path"]),
        ("/etc", ["/etc", "permission denied"]),
        ("/etc/passwd", ["/etc/passwd", "permission denied"]),
    ],
)
def test_what_cannot_be_executed(real: RealRuntime, program: str, words: list[str]) -> None:
    done = real.run("do", "--", program)
    assert done.returncode == 128
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF" + b"\xff" * 500, b"MZ" + b"\0" * 100, b"#!/nowhere\n"])
def test_what_is_no_program(real: RealRuntime, content: bytes) -> None:
    program = real.place / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    done = real.run("do", "--", program)
    assert done.returncode == 128
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize("role", ["supervisor", "spawner", "sentry", "netstackd"])
def test_no_guest_survives(real: RealRuntime, role: str) -> None:
    script = "echo running; sleep 301 & sleep 302 & wait"
    process = real.start("do", "--", "/bin/sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    state = real.read_state(f"do-{process.pid}")
    guests = Path(f"/proc/{state['daemons']['sentry']}/task/{state['daemons']['sentry']}/children").read_text().split()
    assert len(guests) >= 3
    os.kill((state["daemons"] | {"supervisor": state["pid"]})[role], signal.SIGKILL)
    process.communicate(timeout=15)
    eventually(lambda: not any(Path(f"/proc/{guest}").exists() for guest in guests), "guests are left")
    eventually(lambda: not list(real.state.iterdir()), "the state is left")


def test_the_program_goes_on_when_the_gofer_dies(real: RealRuntime) -> None:
    script = "echo running; read x; cat /etc/hostname >/dev/null && ls /usr >/dev/null && echo $x"
    process = real.start("do", "--", "/bin/sh", "-c", script, stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "running\n"
    container = f"do-{process.pid}"
    before = real.read_state(container)["daemons"]["gofer"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: real.read_state(container)["daemons"]["gofer"] != before, "no new gofer")
    out, _ = process.communicate("on\n", timeout=15)
    assert (process.returncode, out) == (0, "on\n")


def test_pause_and_resume(real: RealRuntime) -> None:
    out = real.place / "out"
    with out.open("w") as file:
        process = real.start("do", "--", "/bin/sh", "-c", "while :; do echo tick; sleep 0.02; done", stdout=file)
    eventually(lambda: out.stat().st_size > 0, "it does not start")
    container = f"do-{process.pid}"
    assert "container not paused" in real.run("resume", container).stderr
    assert real.run("pause", container).returncode == 0
    assert json.loads(real.run("state", container).stdout)["status"] == "paused"
    size = out.stat().st_size
    time.sleep(0.3)
    assert out.stat().st_size == size
    assert real.run("resume", container).returncode == 0
    assert json.loads(real.run("state", container).stdout)["status"] == "running"
    eventually(lambda: out.stat().st_size > size, "it does not go on")
    process.terminate()
    process.communicate(timeout=15)
    assert process.returncode == 128 + signal.SIGTERM


HOLDER = """
exec 3</etc/hosts 4>/tmp/written 5</usr/bin
cat /etc/passwd >&4
mkfifo /tmp/fifo
sleep 100 | sleep 100 &
echo ready
read _ </tmp/fifo
"""


@pytest.mark.parametrize("flags", [[], ["--fastpath=off"], ["--file-access-direct=off"]])
def test_the_sentry_knows_what_its_descriptors_are_of(real: RealRuntime, flags: list[str]) -> None:
    real.flags = flags
    process = real.start("do", "--", "/bin/bash", "-c", HOLDER)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (box,) = [container["id"] for container in json.loads(real.run("list", "--format=json").stdout)]
    shown = json.loads(real.run("debug", "--confinement", "--format=json", box).stdout)
    process.kill()
    process.communicate()
    (sentry,) = [process for process in shown if process["role"] == "sentry"]
    assert sentry["unknown"] == []
    assert sum(sentry["held"].values()) == sum(sentry["descriptors"].values())
    assert sentry["held"]["standard files"] == 6  # as they were given, and the program's
    assert sentry["held"].get("trees", 0) == (0 if flags == ["--file-access-direct=off"] else 1)
    assert sentry["held"]["files"] >= 3
    assert sentry["held"]["guest processes"] >= 4
