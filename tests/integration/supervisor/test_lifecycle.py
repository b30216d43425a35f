"""The life of a container, in the foreground and detached, with the texts and files that clients rely on."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pysc import __version__
from tests.integration.supervisor.runtime import Runtime, eventually


@pytest.mark.parametrize(("program", "status"), [(["exit", "5"], 5), (["killed", "9"], 137), (["echo", "x"], 0)])
def test_run_exits_with_the_programs_status(runtime: Runtime, program: list[str], status: int) -> None:
    done = runtime.run("run", "--bundle", runtime.bundle(*program), "box")
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout == ("x\n" if program[0] == "echo" else "")


def test_run_leaves_nothing(runtime: Runtime) -> None:
    runtime.run("run", "--bundle", runtime.bundle("exit", "0"), "box")
    assert not runtime.processes()
    assert not list(runtime.state.iterdir())
    assert not runtime.cgroups("box")


def test_do_runs_on_the_host_root_with_everything_inherited(runtime: Runtime) -> None:
    done = runtime.run("do", "--", "echo", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_the_sentry_is_pid_1_nobody_and_has_a_tree(runtime: Runtime) -> None:
    assert runtime.run("do", "--", "identity").stdout == "1 65534 65534 [0]\n"


def test_direct_access_off_means_no_trees(runtime: Runtime) -> None:
    runtime.flags = ["--file-access-direct=off"]
    assert runtime.run("do", "--", "identity").stdout == "1 65534 65534 []\n"


def test_create_start_kill_delete(runtime: Runtime) -> None:
    pid_file = runtime.place / "pid"
    bundle = runtime.bundle("sleep")
    log = runtime.place / "out"
    with log.open("w") as out:
        created = runtime.run("create", "-b", bundle, "--pid-file", pid_file, "box", capture_output=False, stdout=out)
    assert created.returncode == 0
    assert pid_file.read_text() == str(runtime.read_state("box")["pid"])

    state = json.loads(runtime.run("state", "box").stdout)
    assert (state["id"], state["status"], state["pid"]) == ("box", "created", int(pid_file.read_text()))
    assert log.read_text() == ""

    assert runtime.run("start", "box").returncode == 0
    assert log.read_text() == "running\n"
    again = runtime.run("start", "box")
    assert (again.returncode, again.stderr) == (128, "pysc: cannot start an already running container\n")
    refused = runtime.run("delete", "box")
    assert "cannot delete container box that is not stopped: running" in refused.stderr

    assert runtime.run("kill", "box", "TERM").returncode == 0
    eventually(lambda: json.loads(runtime.run("state", "box").stdout)["status"] == "stopped", "it does not stop")
    stopped = json.loads(runtime.run("state", "box").stdout)
    assert (stopped["pid"], stopped["exitStatus"]) == (0, 7)
    assert "container not running" in runtime.run("kill", "box").stderr
    assert runtime.run("kill", "--all", "box", "9").returncode == 0
    assert runtime.run("delete", "box").returncode == 0
    assert "container does not exist" in runtime.run("state", "box").stderr


def test_the_supervisor_exits_with_the_status_for_its_reaper(runtime: Runtime) -> None:
    reaper = (
        "import ctypes,os,subprocess,sys; ctypes.CDLL(None).prctl(36,1,0,0,0);"
        "subprocess.check_call(sys.argv[2:]); pid=int(open(sys.argv[1]).read());"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))"
    )
    pid_file = str(runtime.place / "pid")
    command = runtime.command("run", "-d", "-b", runtime.bundle("exit", "9"), "--pid-file", pid_file, "box")
    done = subprocess.run(
        ["python3", "-c", reaper, pid_file, *command],
        env=runtime.environment(), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "9\n", done.stderr


def test_only_the_sentry_holds_the_callers_pipes(runtime: Runtime) -> None:
    reader, writer = os.pipe()
    pipe = os.readlink(f"/proc/self/fd/{writer}")
    # As buildah does, a third descriptor of it is left open.
    created = runtime.run(
        "create", "-b", runtime.bundle("sleep"), "box",
        capture_output=False, stdout=writer, stderr=writer, pass_fds=(writer,),
    )  # fmt: skip
    os.close(writer)
    assert created.returncode == 0
    holders = [
        pid
        for pid in runtime.processes()
        if any(os.readlink(entry) == pipe for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink())
    ]
    assert holders == [runtime.read_state("box")["daemons"]["sentry"]]
    runtime.run("delete", "-f", "box")
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_kill_of_a_created_container_ends_it(runtime: Runtime) -> None:
    runtime.run("create", "-b", runtime.bundle("sleep"), "box", capture_output=False)
    assert "container not running" in runtime.run("kill", "box", "TERM").stderr
    assert runtime.run("kill", "box", "KILL").returncode == 0
    eventually(lambda: not runtime.processes(), "processes are left")
    assert json.loads(runtime.run("state", "box").stdout)["exitStatus"] == 128 + signal.SIGKILL


def test_list(runtime: Runtime) -> None:
    runtime.state.mkdir()
    assert runtime.run("list", "--format", "json").stdout == "null\n"
    runtime.run("create", "-b", runtime.bundle("sleep"), "one", capture_output=False)
    runtime.run("create", "-b", runtime.bundle("sleep"), "two", capture_output=False)
    assert runtime.run("list", "-q").stdout == "one\ntwo\n"
    header, first, _ = runtime.run("list").stdout.splitlines()
    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert first.split()[0] == "one"
    assert first.split()[2] == "created"
    assert first.split()[-1] == pwd.getpwuid(os.geteuid()).pw_name
    assert not runtime.run("state", "one").stdout.endswith("\n")  # as runc and runsc write it
    assert [entry["id"] for entry in json.loads(runtime.run("list", "--format=json").stdout)] == ["one", "two"]


def test_delete_force_of_nothing_is_fine_without_an_environment(runtime: Runtime) -> None:
    command = runtime.command("delete", "--force", "nothing")
    for _ in range(2):
        done = subprocess.run(command, env={"XDG_RUNTIME_DIR": ""}, capture_output=True, timeout=20, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("state", [None, "{"], ids=["no state", "damaged"])
def test_delete_force_ends_what_nobody_can_read(runtime: Runtime, state: str | None) -> None:
    runtime.run("run", "-d", "-b", runtime.bundle("sleep"), "box", capture_output=False)
    file = runtime.state / "box" / "state.json"
    file.unlink() if state is None else file.write_text(state)
    refused = runtime.run("delete", "box")
    assert refused.returncode == 128
    assert refused.stderr.endswith(": pysc delete --force box\n")
    (runtime.state / "box" / "sub").mkdir()
    assert "cannot remove all of" in runtime.run("delete", "--force", "box").stderr
    assert not runtime.processes()
    (runtime.state / "box" / "sub").rmdir()
    assert runtime.run("delete", "--force", "box").returncode == 0


def test_spec(runtime: Runtime) -> None:
    bundle = runtime.bundle(name="made")
    (bundle / "config.json").unlink()
    assert runtime.run("spec", "-b", bundle, "sleep", "--for=ever").returncode == 0
    written = (bundle / "config.json").read_bytes()
    process = json.loads(written)["process"]
    assert process["args"] == ["sleep", "--for=ever"]
    assert process["user"] == {"uid": 0, "gid": 0}
    assert process["cwd"] == "/"  # without it runc refuses the bundle
    again = runtime.run("spec", "-b", bundle)
    assert (again.returncode, again.stdout) == (128, "")
    assert "already exists" in again.stderr
    assert (bundle / "config.json").read_bytes() == written
    made = runtime.bundle("sleep", process=process | {"terminal": False, "args": ["exit", "3"]}, name="made")
    assert runtime.run("run", "-b", made, "box").returncode == 3


def test_ps(runtime: Runtime) -> None:
    runtime.run("run", "-d", "-b", runtime.bundle("sleep"), "box", capture_output=False)
    assert runtime.run("ps", "box").stdout.splitlines()[1].split() == ["0", "1", "0", "S", "sleep"]
    assert json.loads(runtime.run("ps", "--format=json", "box").stdout) == []  # the double says 1, which is no guest


def test_signals_to_a_foreground_run_reach_the_program(runtime: Runtime) -> None:
    process = runtime.start("run", "-b", runtime.bundle("sleep"), "box")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (7, "signal 15\n")


def test_run_in_the_foreground_obeys_other_commands(runtime: Runtime) -> None:
    process = runtime.start("run", "-b", runtime.bundle("sleep"), "box")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    assert runtime.run("kill", "box", "USR1").returncode == 0
    process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGUSR1


def test_hooks_get_the_state_and_can_refuse(runtime: Runtime) -> None:
    seen = runtime.place / "seen"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {seen}"]}
    bundle = runtime.bundle("exit", "0", hooks={"prestart": [hook]})
    assert runtime.run("run", "-b", bundle, "box").returncode == 0
    state = json.loads(seen.read_text())
    assert (state["id"], state["status"]) == ("box", "creating")
    assert state["pid"] > 0

    bundle = runtime.bundle(
        "exit", "0", hooks={"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo no; exit 3"]}]}
    )
    done = runtime.run("run", "-b", bundle, "box")
    assert done.returncode == 128
    assert done.stderr == "pysc: createRuntime hook /bin/sh failed with status 3: no\n"


def test_each_hook_has_its_time(runtime: Runtime) -> None:
    seen = runtime.place / "seen"
    kinds = {
        "prestart": "creating", "createRuntime": "creating", "createContainer": "creating",
        "startContainer": "created", "poststart": "running", "poststop": "stopped",
    }  # fmt: skip
    note = 'grep -o \'"status": *"[a-z]*"\' | cut -d\'"\' -f4'
    hooks = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind} $({note}) >>{seen}"]}] for kind in reversed(kinds)
    }
    hooks["poststart"].insert(0, {"path": "/bin/false", "args": ["false"]})  # which keeps the next from being run
    hooks["poststop"].append({"path": "/bin/false", "args": ["false"]})
    done = runtime.run("run", "-b", runtime.bundle("exit", "3", hooks=hooks), "box")
    assert done.returncode == 3
    assert done.stderr.count("hook /bin/false failed with status 1") == 2
    del kinds["poststart"]
    assert seen.read_text().splitlines() == [f"{kind} {status}" for kind, status in kinds.items()]


def test_others_cannot_ask_a_supervisor(runtime: Runtime, root_user: None) -> None:
    """Twice: by the mode of its socket, and by who they are."""
    runtime.run("create", "-b", runtime.bundle("sleep"), "box", capture_output=False, stdout=subprocess.DEVNULL)
    control = runtime.state / "box" / "control"
    assert control.stat().st_mode & 0o777 == 0o600
    control.chmod(0o666)
    ask = (
        "import os, socket, sys; directory = os.open(sys.argv[1], os.O_PATH); os.setresuid(54321, 54321, 54321);"
        "sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); sock.settimeout(10);"
        "sock.connect(f'/proc/self/fd/{directory}/control'); print(sock.recv(4096))"
    )
    done = subprocess.run([sys.executable, "-c", ask, str(control.parent)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("b''\n", "")


def test_supervise_restarts_by_policy_and_notifies(runtime: Runtime) -> None:
    address = str(runtime.place / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(10)
        done = subprocess.run(
            runtime.command("supervise", "--restart=on-failure", "--max-restarts=2", runtime.bundle("exit", "3")),
            env=runtime.environment() | {"NOTIFY_SOCKET": address},
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        told = [sock.recv(4096).decode() for _ in range(6)]
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):  # STOPPING=1 once
            sock.recv(4096)
    assert done.returncode == 3
    assert [text.partition("\n")[0] for text in told] == [
        "READY=1", "STATUS=restarting after status 3",
        "READY=1", "STATUS=restarting after status 3",
        "READY=1", "STOPPING=1",
    ]  # fmt: skip


@pytest.mark.parametrize("full", [False, True], ids=["", "nobody reads"])
def test_a_service_manager_that_does_not_read_stops_nobody(runtime: Runtime, full: bool) -> None:
    """And what it is told does not grow with the command line: a datagram has its limit."""
    address = str(runtime.place / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        sock.bind(address)
        other.setblocking(False)
        try:
            while full:
                other.sendto(b"", address)
        except BlockingIOError:
            pass
        done = subprocess.run(
            runtime.command("supervise", "--id=box", runtime.bundle("echo", *["x" * 100_000] * 3)),
            env=runtime.environment() | {"NOTIFY_SOCKET": address},
            capture_output=True, timeout=20, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
        assert full or sock.recv(4096).startswith(b"READY=1\nSTATUS=running box\nMAINPID=")


def test_a_restart_costs_no_descriptor(runtime: Runtime) -> None:
    seen = runtime.place / "seen"
    script = f"sleep 0.3; ls /proc/$PPID/fd | wc -l >>{seen}"  # until the hook's own pipes are as they stay
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
    bundle = runtime.bundle("exit", "3", hooks={"poststart": [hook]})
    assert runtime.run("supervise", "--restart=always", "--max-restarts=2", bundle).returncode == 3
    first, second, third = map(int, seen.read_text().split())
    assert first == second == third


def test_term_between_two_runs_ends_supervise(runtime: Runtime) -> None:
    """A program that fails at once is restarted ever more slowly; the signal comes in the longest pauses."""
    address = str(runtime.place / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(address)
        sock.settimeout(20)
        process = subprocess.Popen(
            runtime.command("supervise", "--restart=always", "--id=box", runtime.bundle("exit", "3")),
            env=runtime.environment() | {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"},
        )
        told: list[str] = []
        while told.count("STATUS=restarting after status 3") < 3:
            told.append(sock.recv(4096).decode())
        fed = told.count("WATCHDOG=1")
        while told.count("WATCHDOG=1") < fed + 1:  # in the pause of .4 s
            told.append(sock.recv(4096).decode())
        process.send_signal(signal.SIGTERM)
        while told[-1] != "STOPPING=1":
            told.append(sock.recv(4096).decode())
    assert process.wait(10) in (3, 128 + signal.SIGTERM)
    assert fed >= 3


@pytest.mark.parametrize("command", [["kill", "box", "KILL"], ["delete", "--force", "box"]], ids=["kill", "delete"])
def test_supervise_does_not_restart_what_somebody_ended(runtime: Runtime, command: list[str]) -> None:
    process = runtime.start("supervise", "--restart=always", "--id=box", runtime.bundle("sleep"))
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    assert runtime.run(*command).returncode == 0
    assert process.communicate(timeout=10)[0] == ""
    assert process.returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize("end", ["delete", "killed"])
def test_between_two_runs_the_place_is_kept(runtime: Runtime, end: str) -> None:
    """Nobody else gets the ID, the last end is shown, and the service can be ended; nothing is left of it."""
    process = runtime.start("supervise", "--restart=always", "--id=box", runtime.bundle("exit", "3"))

    def in_a_long_pause() -> bool:
        shown = runtime.run("state", "box")
        state = json.loads(shown.stdout) if shown.returncode == 0 else {}
        return (state.get("status"), state.get("exitStatus")) == ("creating", 3) and state.get("restarts", 0) >= 3

    eventually(in_a_long_pause, "no pause is seen")
    taken = runtime.run("create", "-b", runtime.bundle("exit", "0", name="other"), "box")
    assert taken.returncode != 0
    assert "box" in taken.stderr
    assert "--force" in runtime.run("delete", "box").stderr
    if end == "delete":
        assert runtime.run("delete", "--force", "box").returncode == 0
    else:
        process.kill()
    process.communicate(timeout=10)
    eventually(lambda: not runtime.processes() and not list(runtime.state.glob("*")), "something is left")


def test_supervise_does_not_restart_success(runtime: Runtime) -> None:
    assert runtime.run("supervise", "--restart=on-failure", runtime.bundle("exit", "0")).returncode == 0


def test_supervise_shows_health_and_stops_on_term(runtime: Runtime) -> None:
    process = runtime.start(
        "supervise", "--restart=always", "--id=box", "--health-cmd=echo ill; exit 1", "--health-interval=0.05",
        "--health-retries=2", runtime.bundle("sleep"),
    )  # fmt: skip

    def unhealthy() -> bool:
        shown = runtime.run("state", "box")
        return shown.returncode == 0 and json.loads(shown.stdout).get("health", {}).get("status") == "unhealthy"

    eventually(unhealthy, "it does not become unhealthy")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 7
    assert out == "running\nsignal 15\n"


def test_one_failed_check_after_another_makes_unhealthy(runtime: Runtime) -> None:
    """Here each second one fails."""
    ill, seen = runtime.place / "ill", runtime.place / "seen"
    check = f"echo >>{seen}; if [ -e {ill} ]; then rm {ill}; exit 1; else touch {ill}; fi"
    process = runtime.start(
        "supervise", f"--health-cmd={check}", "--health-interval=0.02", "--health-retries=2", runtime.bundle("sleep")
    )
    eventually(lambda: seen.exists() and seen.stat().st_size > 8, "nothing is checked")
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=10)
    assert "unhealthy" not in told


def test_supervise_restarts_what_does_not_answer_in_time(runtime: Runtime) -> None:
    done = runtime.run(
        "supervise", "--restart=on-failure", "--max-restarts=1", "--restart-unhealthy", "--health-cmd=sleep 300; true",
        "--health-interval=0.05", "--health-timeout=0.1", "--health-retries=1", runtime.bundle("sleep"),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (128 + signal.SIGKILL, "running\n" * 2)
    assert done.stderr.count("is unhealthy: no answer within 0.1 seconds") == 2


def test_what_only_says_something(runtime: Runtime) -> None:
    assert runtime.run("--version").stdout == f"pysc version {__version__}\nspec: 1.0.2\n"
    assert runtime.run("syscalls", "--format=json", "read").stdout == (
        '[{"number":0,"name":"read","support":"full","note":""}]\n'
    )
    assert "no system call named raed" in runtime.run("syscalls", "raed").stderr
    assert runtime.run("help", "run").stdout == runtime.run("run", "-h").stdout != ""


def test_confinement_is_what_the_documents_say(runtime: Runtime, root_user: None) -> None:
    runtime.modes = ["real-gofer"]
    runtime.run("create", "-b", runtime.bundle("sleep"), "box", capture_output=False, stdout=subprocess.DEVNULL)
    shown = json.loads(runtime.run("debug", "--confinement", "--format=json", "box").stdout)
    processes = {process["role"]: process for process in shown}
    own = {"user", "mnt", "pid", "net", "ipc", "uts", *(("time",) if os.path.lexists("/proc/self/ns/time") else ())}
    for role in ("sentry", "gofer", "netstackd"):
        process = processes[role]
        assert {kind for kind, whose in process["namespaces"].items() if whose == "own"} == own
        assert process["no_new_privs"]
        assert process["seccomp"] == "filter"
        assert process["source"].startswith("the kernel")
        assert process["allowed"] + process["allowed_by_argument"] < 140
        assert not any("io_uring" in kind for kind in process["descriptors"])
        assert not process["groups"]
    assert (processes["sentry"]["held"], processes["sentry"]["unknown"]) == ({"trees": 1}, [77])
    assert processes["gofer"]["held"] is None
    text = runtime.run("debug", "--confinement", "box").stdout
    assert "  held by it as     1 trees\n  HELD BY NOBODY    77\n" in text
    for role in ("sentry", "netstackd"):
        assert not any(processes[role]["capabilities"].values())
        assert processes[role]["uids"] == processes["sentry"]["uids"] != ["0"] * 4
    caps = ["CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID"]
    gofer = processes["gofer"]["capabilities"]
    assert gofer["effective"] == gofer["permitted"] == gofer["bounding"] == caps
    assert processes["sentry"]["root"] == ["proc"]
    assert processes["supervisor"]["seccomp"] == "off"  # nothing hostile has been heard yet
    assert processes["gofer"]["root"] == processes["netstackd"]["root"] == []


def test_the_supervisor_gives_up_what_it_does_not_need(runtime: Runtime, root_user: None) -> None:
    runtime.run("run", "-d", "-b", runtime.bundle("sleep"), "box", capture_output=False, stdout=subprocess.DEVNULL)
    shown = json.loads(runtime.run("debug", "--confinement", "--format=json", "box").stdout)
    (supervisor,) = [process for process in shown if process["role"] == "supervisor"]
    assert supervisor["no_new_privs"]
    assert supervisor["seccomp"] == "filter"
    assert supervisor["capabilities"]["effective"] == ["DAC_OVERRIDE", "DAC_READ_SEARCH", "KILL"]


def test_sandboxes_that_start_together_have_an_identity_each(runtime: Runtime, root_user: None) -> None:
    bundle = runtime.bundle("sleep")
    names = [f"box{number}" for number in range(6)]
    null = subprocess.DEVNULL
    starts = [runtime.start("create", "-b", bundle, name, stdout=null, stderr=null) for name in names]
    assert [process.wait(30) for process in starts] == [0] * len(names)
    kuids = {runtime.read_state(name)["kuid"] for name in names}
    assert len(kuids) == len(names)
    assert os.geteuid() not in kuids


def test_hardened_daemons_share_no_layout(root_user: None, namespaces: None) -> None:
    """With the real daemons: a stand-in does not survive an exec."""
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "pysc", "--hardened", "do", "--", "/bin/sh", "-c", "echo hard"],
        capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "hard\n"), ran.stderr


def test_without_namespaces_if_told_so(runtime: Runtime, root_user: None) -> None:
    runtime.flags = ["--unsafe-no-namespaces"]
    runtime.modes = ["real-gofer"]
    done = runtime.run("run", "-b", runtime.bundle("exit", "4"), "box")
    assert (done.returncode, done.stderr) == (4, "")
