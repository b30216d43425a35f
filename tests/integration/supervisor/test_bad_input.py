"""Whatever is wrong gives one clear line on stderr and status 128, and leaves nothing (a fixture looks)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pysc.supervisor.cgroups import hierarchies
from tests.integration.supervisor.runtime import Runtime, eventually

FILTERED = Path(__file__).parent / "filtered.py"


def _mounts(place: Path) -> set[str]:
    return {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(place) in line}


def _cgroups() -> set[Path]:
    tops = {Path(hierarchy.mount) for hierarchy in hierarchies()}
    return {found for top in tops for found in top.rglob("pysc-*")}


@pytest.fixture(autouse=True)
def nothing_is_left(runtime: Runtime) -> Iterator[None]:
    """See to it that a command which failed has left nothing, not even for ``delete --force``."""
    mounts, cgroups = _mounts(runtime.place), _cgroups()
    yield
    assert not list(runtime.state.glob("*")), "a state is left"
    assert not runtime.processes()
    assert _mounts(runtime.place) == mounts
    made = _cgroups() - cgroups  # other tests' too, while their containers live
    eventually(lambda: not any(map(Path.exists, made)), f"one of the cgroups {made} is left", 60)


def complains(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that a command failed as every command fails, and that its line holds ``words``."""
    assert done.returncode == 128, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("pysc: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", ["malformed", "truncated"]),
        (b"", ["malformed"]),
        (b"[]", ["malformed", "Expected `object`, got `array`"]),
        (b"\xff\xfe", ["malformed"]),
        (b"[" * 100_000, ["malformed"]),
        (b"{}", ["process is missing"]),
        (b'{"process": {"args": []}, "root": {"path": "rootfs"}}', ["process.args is empty"]),
        (b'{"process": {"args": ["a"]}}', ["root.path is missing"]),
        (b'{"process": {"args": "sh"}, "root": {"path": "rootfs"}}', ["$.process.args"]),
        (b'{"process": {"args": ["a"], "cwd": "x"}, "root": {"path": "rootfs"}}', ["cwd", "absolute"]),
        (b'{"process": {"args": ["a\\u0000b"]}, "root": {"path": "rootfs"}}', ["NUL"]),
        (b'{"process": {"args": ["a"], "user": {"uid": -1}}, "root": {"path": "rootfs"}}', ["$.process.user.uid"]),
        (b'{"process": {"args": ["a"], "user": {"uid": 4294967296}}, "root": {"path": "rootfs"}}', ["uid"]),
        (b'{"process": {"args": ["a"], "capabilities": ["CAP_FLY"]}, "root": {"path": "rootfs"}}', ["CAP_FLY"]),
        (b'{"process": {"args": ["a"], "rlimits": [{"type": "RLIMIT_LUCK", "hard": 1, "soft": 1}]},'
         b' "root": {"path": "rootfs"}}', ["RLIMIT_LUCK"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "mounts": [{"destination": "x"}]}', ["absolute"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "windows": {}}', ["Linux"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "nowhere"}}', ["root file system", "nowhere", "no such file"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "config.json"}}', ["not a directory"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"},'
         b' "mounts": [{"destination": "/x", "type": "bind", "source": "/nowhere"}]}', ["mount source /nowhere"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"},'
         b' "mounts": [{"destination": "/x", "type": "bind", "source": "/dev/null"}]}', ["device"]),
        (b'{"process": {"args": ["a"], "rlimits": [{"type": "RLIMIT_AS", "hard": 18446744073709551616, "soft": 1}]},'
         b' "root": {"path": "rootfs"}}', ["RLIMIT_AS", "2**64-1"]),
        (b'{"process": {"args": ["a"], "rlimits": [{"type": "RLIMIT_AS", "hard": 1, "soft": 2}]},'
         b' "root": {"path": "rootfs"}}', ["RLIMIT_AS", "soft must be at most hard"]),
        (b'{"process": {"args": ["a"], "rlimits": [{"type": "RLIMIT_AS", "hard": 2, "soft": 2},'
         b' {"type": "RLIMIT_AS", "hard": 2, "soft": 2}]}, "root": {"path": "rootfs"}}', ["RLIMIT_AS twice"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"},'
         b' "mounts": [{"destination": "/x", "type": "tmpfs", "options": ["a\\u0000b"]}]}', ["NUL"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "linux": {"cgroupsPath": "/a\\u0000b"}}', ["NUL"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "hooks": {"poststop": [{"path": "/a\\u0000"}]}}',
         ["NUL"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "hooks": {"prestart": [{"path": "/a",'
         b' "timeout": 1000000000000}]}}', ["$.hooks.prestart[0].timeout"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "linux": {"cgroupsPath": "' + b"/a" * 17 + b'"}}',
         ["cgroupsPath", "16 parts"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "linux": {"resources": {"memory":'
         b' {"limit": 4096}}}}', ["memory.limit", "4096 bytes are too few"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "linux": {"resources": {"memory":'
         b' {"limit": 1e30}}}}', ["malformed"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "mounts": ['
         + b",".join([b'{"destination": "/x", "type": "bind", "source": "/etc"}'] * 250) + b"]}",
         ["250 bind mounts", "249"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "domainname": "'
         + b"d" * 65 + b'"}', ["domainname"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "linux": {"namespaces": [{"type": "net"}]}}',
         ["'net'", "$.linux.namespaces[0].type"]),
        (b'{"process": {"args": ["a"]}, "root": {"path": "rootfs"}, "hooks": {"prestart": [{"path": "/bin/sh",'
         b' "args": ["sh", "-c", "kill -9 $$"]}]}}', ["prestart hook /bin/sh was killed by SIGKILL"]),
        (b'{"process": {"args": ["a"], "terminal": true}, "root": {"path": "rootfs"}}', ["terminal"]),
    ],
)  # fmt: skip
def test_a_bad_config(runtime: Runtime, text: bytes, words: list[str]) -> None:
    bundle = runtime.bundle("exit", "0")
    (bundle / "config.json").write_bytes(text)
    complains(runtime.run("run", "-b", bundle, "box"), *words)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("run", ["box"]), ("run", ["--detach", "box"]), ("create", ["box"]), ("supervise", ["--restart=always"])],
    ids=["run", "run-detach", "create", "supervise"],
)
@pytest.mark.parametrize("what", ["gofer", "sentry", "program", "hook", "pid file"])
def test_what_fails_late_leaves_as_little(runtime: Runtime, command: str, arguments: list[str], what: str) -> None:
    """There are daemons, a cgroup and a state by then."""
    runtime.modes = ["real-gofer"]
    program, changes, words = {
        "gofer": (["exit", "0"], {"root": {"path": "/proc"}}, ["cannot serve /proc"]),
        "sentry": (["refuse"], {}, ["no platform here"]),
        "program": (["missing"], {}, ["no such file or directory"]),
        "hook": (["exit", "0"], {"hooks": {"createRuntime": [{"path": "/nowhere"}]}}, ["/nowhere"]),
        "pid file": (["exit", "0"], {}, ["cannot write the pid file", "Is a directory", "--pid-file"]),
    }[what]  # type: ignore[var-annotated]
    if (what, command) == ("program", "create") or (what, command) == ("pid file", "supervise"):
        return
    pid_file = runtime.place / "pid"
    flags = [] if command == "supervise" else ["--pid-file", str(pid_file)]
    if what == "pid file":
        pid_file.mkdir()
    limits = {"resources": {"pids": {"limit": 1000}}}
    bundle = str(runtime.bundle(*program, linux=limits, **changes))
    where = [*arguments, bundle] if command == "supervise" else ["-b", bundle, *flags, *arguments]
    complains(runtime.run(command, *where), *words)
    assert [path.name for path in runtime.place.iterdir() if path.name.startswith("pid")] == ["pid"] * pid_file.is_dir()


def test_an_id_in_use_keeps_its_pid_file(runtime: Runtime) -> None:
    pid_file = runtime.place / "pid"
    bundle = runtime.bundle("sleep")
    runtime.run("create", "-b", bundle, "--pid-file", pid_file, "box", capture_output=False, stdout=subprocess.DEVNULL)
    pid = pid_file.read_text()
    complains(runtime.run("run", "-b", bundle, "--pid-file", pid_file, "box"), "already exists")
    assert pid_file.read_text() == pid
    assert runtime.run("delete", "--force", "box").returncode == 0


def test_a_config_that_is_no_file(runtime: Runtime) -> None:
    bundle = runtime.bundle("exit", "0")
    (bundle / "config.json").unlink()
    os.mkfifo(bundle / "config.json")
    complains(runtime.run("run", "-b", bundle, "box", timeout=10), "config.json is no regular file")


def test_a_huge_config(runtime: Runtime) -> None:
    bundle = runtime.bundle("exit", "0")
    with (bundle / "config.json").open("r+b") as file:
        file.truncate(1 << 40)
    complains(runtime.run("run", "-b", bundle, "box"), "MiB")


def test_no_bundle(runtime: Runtime) -> None:
    complains(runtime.run("run", "-b", runtime.place / "nowhere", "box"), "does not exist", "--bundle")
    complains(runtime.run("run", "-b", runtime.place, "box"), "no config.json", "pysc spec")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense", "list"], ["unknown flag --nonsense", "pysc --help"]),
        (["--debgu", "list"], ["did you mean --debug?"]),
        (["run", "--nonsense", "box"], ["unknown flag --nonsense", "pysc run --help"]),
        (["do", "--strace", "--", "exit", "0"], ["flag --strace is global", "before the command: pysc --strace do"]),
        (["run", "-root=/x", "box"], ["flag -root is global", "pysc -root run"]),
        (["--bundle", ".", "run", "box"], ["flag --bundle stands after its command: pysc run or create or spec"]),
        (["--restart=always", "supervise", "x"], ["flag --restart stands after its command: pysc supervise;"]),
        (["state", "box", "--format=json"], ["(2): pysc state ID; flags stand before them; see"]),
        (["debug", "box", "--manifest"], ["(2): pysc debug ID; flags stand before them; see"]),
        (["run"], ["wrong number of arguments", "pysc run ID; see"]),
        (["rnu", "box"], ['unknown command "rnu"', "did you mean run?"]),
        (["--log"], ["flag needs a value"]),
        (["---x"], ["bad flag syntax"]),
        (["--debug=maybe", "list"], ["invalid boolean"]),
        (["--network=host", "list"], ["--network=none"]),
        (["--overlay", "--file-access=shared", "list"], ["--file-access"]),
        (["kill", "box", "BOGUS"], ['unknown signal "BOGUS"']),
        (["kill", "--all", "--pid=1", "box"], ["invalid to specify both"]),
        (["state", "../x"], ["invalid container ID format"]),
        (["state", "nothing"], ["container does not exist"]),
        (["delete", "nothing"], ["container does not exist"]),
        (["--log=/nowhere/log", "list"], ["cannot open the log", "name another with --log"]),
        (["--platform=kvm", "list"], ["--platform=kvm is not there yet", "systrap"]),
        (["--host-uds", "list"], ["--host-uds is not there yet"]),
        (["debug", "box"], ["--confinement"]),
        (["do", "--user=me", "--", "exit", "0"], ["invalid user"]),
        (["do", "--user=4294967295", "--", "exit", "0"], ["invalid user", "4294967294"]),
        (["do", "--env==x", "--", "exit", "0"], ["invalid variable", "NAME=VALUE"]),
        (["do", "--cwd=/nowhere", "--", "exit", "0"], ["--cwd /nowhere", "no such directory"]),
        (["do", "--root=", "--", "exit", "0"], ["--root is empty"]),
        (["--strace-syscalls=read,raed", "do", "--", "exit", "0"], ["no system call named raed", "pysc syscalls"]),
        (["--strace-log-size=-1", "list"], ["-strace-log-size", "out of range"]),
        (["supervise", "--health-interval=nan", "x"], ["-health-interval", "out of range"]),
        (["help", "run", "do"], ["wrong number of arguments"]),
        (["--root=/nowhere", "list"], ["state directory /nowhere"]),
    ],
)
def test_a_bad_command_line(runtime: Runtime, arguments: list[str], words: list[str]) -> None:
    complains(runtime.run(*arguments), *words)


def test_a_map_of_owners_for_root(runtime: Runtime, root_user: None) -> None:
    complains(runtime.run("--map-owners", "list"), "--map-owners is for callers without root", "file system itself")


def test_an_id_in_use(runtime: Runtime) -> None:
    runtime.run("create", "-b", runtime.bundle("sleep"), "box", capture_output=False, stdout=subprocess.DEVNULL)
    bundle = str(runtime.bundle("sleep"))
    for command in (["create", "-b", bundle, "box"], ["run", "-b", bundle, "box"], ["run", "-d", "-b", bundle, "box"],
                    ["supervise", "--restart=always", "--id=box", bundle]):  # fmt: skip
        complains(runtime.run(*command), "container with given ID already exists", "delete it first")
    assert json.loads(runtime.run("state", "box").stdout)["status"] == "created"
    assert runtime.run("delete", "--force", "box").returncode == 0


def test_a_missing_program(runtime: Runtime) -> None:
    complains(runtime.run("run", "-b", runtime.bundle("missing"), "box"), "no such file or directory", '"missing"')
    runtime.run("create", "-b", runtime.bundle("missing"), "box", capture_output=False, stdout=subprocess.DEVNULL)
    complains(runtime.run("start", "box"), "no such file or directory")
    assert runtime.run("delete", "box").returncode == 0


def test_a_sentry_that_cannot_work_here(runtime: Runtime) -> None:
    complains(runtime.run("run", "-b", runtime.bundle("refuse"), "box"), "no platform here: try another")


@pytest.mark.parametrize("what", ["junk", "empty", "answer", "long", "status"])
def test_a_hostile_sentry_ends_its_own_container_only(runtime: Runtime, what: str) -> None:
    complains(runtime.run("run", "-b", runtime.bundle("hostile", what), "box"), "the sentry")


def test_a_sentry_that_floods_does_not_keep_the_supervisor_from_ending(runtime: Runtime) -> None:
    process = runtime.start("run", "-b", runtime.bundle("hostile", "flood"), "box")
    eventually(
        lambda: runtime.state.exists() and '"running"' in runtime.run("state", "box").stdout, "it does not start"
    )
    assert runtime.run("kill", "box", "KILL").returncode == 0
    process.communicate(timeout=15)
    assert process.returncode == 137


def test_nothing_steers_the_terminal(runtime: Runtime) -> None:
    done = runtime.run("run", "-b", runtime.bundle("escape"), "box")
    complains(done, "\\x1b]0;title\\x07 second line")


def test_a_sentry_with_a_bug(runtime: Runtime) -> None:
    complains(runtime.run("run", "-b", runtime.bundle("crash"), "box"), "ValueError: a bug on purpose")


@pytest.fixture
def small_disk(tmp_path: Path, root_user: None) -> Iterator[Path]:
    """Return a directory on a file system of two pages, of which one is taken."""
    place = tmp_path / "full"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", str(place)], check=True)
    try:
        (place / "filler").write_bytes(b"x" * 4096)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("left", [0, 4096], ids=["full at first", "full later"])
@pytest.mark.parametrize("command", ["do", "run", "run -d", "create", "supervise"])
def test_a_full_disk(runtime: Runtime, small_disk: Path, command: str, left: int) -> None:
    runtime.state = small_disk
    (small_disk / "filler").write_bytes(b"x" * (8192 - left))
    bundle = str(runtime.bundle("exit", "0"))
    arguments = {"do": ["--", "exit", "0"], "supervise": ["--restart=always", bundle]}
    done = runtime.run(*command.split(), *arguments.get(command, ["-b", bundle, "box"]))
    complains(done, "No space left on device", "--root")
    assert os.listdir(small_disk) == ["filler"]
    runtime.state = runtime.place / "state"


def test_a_state_directory_of_others(runtime: Runtime, root_user: None) -> None:
    runtime.state.mkdir()
    runtime.state.chmod(0o777)
    done = runtime.run("run", "-b", runtime.bundle("exit", "0"), "box")
    complains(done, "can be changed by others", "--root")
    runtime.state.chmod(0o755)
    os.chown(runtime.state, 1, 1)
    complains(runtime.run("run", "-b", runtime.bundle("exit", "0"), "box"), "can be changed by others", "uid 1")


def test_a_container_of_another(runtime: Runtime, root_user: None) -> None:
    theirs = runtime.state / "theirs"
    theirs.mkdir(parents=True)
    runtime.state.chmod(0o1777)  # as /tmp
    (theirs / "state.json").write_text("{}")
    os.chown(theirs, 1, 1)
    for command in (["state"], ["delete", "--force"], ["kill"]):
        complains(runtime.run(*command, "theirs"), "is another user's (uid 1)", "--root")
    assert (theirs / "state.json").exists()
    (theirs / "state.json").unlink()
    theirs.rmdir()


def test_a_bug_is_one_line(runtime: Runtime) -> None:
    runtime.modes = ["bug"]
    complains(runtime.run("list"), "list: a bug of pysc, ZeroDivisionError: on purpose", "--debug")
    runtime.flags = ["--debug"]
    done = runtime.run("list")
    assert done.returncode == 128
    assert "Traceback" in done.stderr


def test_a_state_directory_that_cannot_be_made(runtime: Runtime) -> None:
    (runtime.place / "file").touch()
    runtime.state = runtime.place / "file" / "state"
    complains(runtime.run("run", "-b", runtime.bundle("exit", "0"), "box"), "state directory", "--root")
    runtime.state = runtime.place / "state"


def filtered(runtime: Runtime, answers: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command where some calls of the host's have other answers."""
    return subprocess.run(
        [sys.executable, str(FILTERED), answers, "--", *runtime.command(*arguments)],
        env=runtime.environment(), stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=40, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ("unshare=EPERM", ["namespaces", "--unsafe-no-namespaces"]),
        ("unshare=ENOSYS", ["namespaces"]),
        ("unshare=ENOSPC", ["namespaces"]),
        ("pivot_root=ENOSYS", ["failed", "pivot_root(2)", "Linux 5.19"]),
        ("seccomp=ENOSYS", ["spawner cannot work here", "Linux 5.19", "seccomp(2)"]),
        ("prctl=EINVAL", ["spawner cannot work here", "prctl(2)"]),
        ("flock=ENOLCK", ["cannot lock", "--root"]),
        ("memfd_create=ENOSYS", ["memfd_create"]),
        ("pidfd_open=ENOSYS", ["pidfd_open", "Linux 5.3"]),
        ("open_tree=ENOSYS", ["cannot serve", "open_tree(2): Function not implemented", "Linux 5.19"]),
        ("mount_setattr=ENOSYS", ["cannot serve", "mount_setattr(2): Function not implemented", "Linux 5.19"]),
        ("openat2=ENOSYS", ["cannot start the daemons", "openat2(2): Function not implemented", "Linux 5.19"]),
        ("openat2=EPERM", ["cannot start the daemons", "openat2(2)", "policy"]),
        ("statx=ENOSYS", ["cannot start the daemons", "statx(2)", "Linux 5.19"]),
        ("clone3=ENOSYS", ["cannot start the daemons", "clone3(2)", "Linux 5.19"]),
        ("execveat=ENOSYS", ["cannot start the daemons", "execveat(2)", "Linux 5.19"]),
        ("close_range=ENOSYS", ["cannot start the daemons", "close_range(2)", "Linux 5.19"]),
        ("getrandom=ENOSYS", ["cannot start the daemons", "getrandom(2)", "Linux 5.19"]),
        ("clock_nanosleep=ENOSYS", ["cannot start the daemons", "clock_nanosleep(2)", "Linux 5.19"]),
        ("epoll_create1=ENOSYS", ["cannot start the daemons", "epoll_create1(2)", "Linux 5.19"]),
        ("ioctl=ENOTTY", ["cannot start the daemons", "ioctl(2): Inappropriate ioctl", "policy"]),
        ("prlimit64=EPERM", ["cannot start the daemons", "prlimit64(2)", "policy"]),
        ("pwritev2=EPERM", ["cannot start the daemons", "pwritev2(2)", "policy"]),
        ("sysinfo=ENOSYS", ["cannot start the daemons", "sysinfo(2)", "policy"]),
        ("sigaltstack=EPERM", ["cannot start the daemons", "sigaltstack(2)", "policy"]),
        ("socket=EPERM", ["run: system call: Operation not permitted", "policy"]),
        ("sendmsg=EPERM", ["cannot start the daemons", "sendmsg(2)", "policy"]),
        ("capset=EPERM", ["failed", "capset(2)", "policy"]),
        ("mount=EPERM", ["failed", "mount(2)", "policy"]),
        ("socketpair=EMFILE", ["RLIMIT_NOFILE"]),
        ("clone=EAGAIN", ["RLIMIT_NPROC", "pids limit"]),
    ],
)
def test_a_kernel_without_what_is_needed(runtime: Runtime, answers: str, words: list[str]) -> None:
    runtime.modes = ["real-gofer"]
    complains(filtered(runtime, answers, "run", "-b", runtime.bundle("exit", "0"), "x"), *words)
    assert not runtime.processes()


def test_limits_that_a_policy_hides(runtime: Runtime) -> None:
    complains(
        filtered(runtime, "prlimit64=EPERM", "do", "--", "exit", "0"),
        "cannot read the resource limits: prlimit64(2): Operation not permitted",
        "policy",
    )


def test_a_kernel_without_time_namespaces(runtime: Runtime) -> None:
    done = filtered(runtime, "unshare&0x80=EINVAL", "run", "-b", runtime.bundle("exit", "3"), "x")
    assert (done.returncode, done.stderr) == (3, "")


def test_a_bundle_that_the_caller_may_not_read(open_runtime: Runtime, root_user: None) -> None:
    bundle = open_runtime.bundle("exit", "0")
    bundle.chmod(0o700)
    open_runtime.modes = ["as-nobody"]
    for command in (["run", "-b", bundle, "box"], ["create", "-b", bundle, "box"], ["supervise", bundle]):
        complains(open_runtime.run(*command), "Permission denied", "config.json", "let this user read it")
    bundle.chmod(0o755)
    (bundle / "config.json").chmod(0o644)
    (bundle / "rootfs").chmod(0o700)
    for command in (
        ["run", "-b", bundle, "box"],
        ["do", "--root", bundle / "rootfs", "--", "x"],
        ["supervise", bundle],
    ):
        complains(
            open_runtime.run(*command), f"root file system {bundle}/rootfs: permission denied", "let this user read it"
        )


@pytest.mark.parametrize("modes", [["as-nobody"], ["real-gofer", "as-nobody"]], ids=["double", "real gofer"])
def test_without_root(open_runtime: Runtime, root_user: None, modes: list[str]) -> None:
    open_runtime.state.mkdir()
    os.chown(open_runtime.state, 54321, 54321)
    open_runtime.modes = modes
    done = open_runtime.run("run", "-b", open_runtime.bundle("echo", "hello"), "box")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_errors_in_the_log_are_one_json_object(runtime: Runtime) -> None:
    log = runtime.place / "log.json"
    runtime.flags = ["--log", str(log), "--log-format=json"]
    done = runtime.run("run", "-b", runtime.place / "nowhere", "box")
    entry: dict[str, Any] = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert done.stderr == entry["msg"] + "\n"
