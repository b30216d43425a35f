"""The supervisor with the real sentry: programs that end, fail to start, are signalled and killed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pysc.cabi.bpf_reach import reach
from pysc.cabi.linux.elf import EHDR, ELF_IDENT, EM_X86_64, ET_EXEC, PHDR, PT_LOAD
from pysc.supervisor.built_filters import built
from tests.integration.supervisor.late import DAEMONS
from tests.integration.supervisor.runtime import RealRuntime, eventually
from tests.support.builds import compile_guest

LATE = Path(__file__).parent / "late.py"


def test_what_a_program_writes_and_its_status_come_out(real: RealRuntime) -> None:
    done = real.run("do", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 42")
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_stdin_goes_in(real: RealRuntime) -> None:
    assert real.run("do", "--", "/bin/cat", stdin=None, input="hello").stdout == "hello"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_files_that_the_caller_has_closed_are_null(real: RealRuntime, closed: str) -> None:
    seen = real.place / "seen"
    script = f"{shlex.join(real.command('do', '--', '/bin/sh', '-c', 'cat; echo out; echo err >&2; exit 4'))} {closed}"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{{ {script}; }} >{seen} 2>{seen}.err"],
        env=real.environment(), timeout=30, input=b"in\n", check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert seen.read_text() == ("" if ">&-" in closed.split() else "out\n" if "<&-" in closed else "in\nout\n")
    assert Path(f"{seen}.err").read_text() == ("" if "2>&-" in closed else "err\n")


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_who_writes_to_nobody_is_signalled(real: RealRuntime, kind: str) -> None:
    ours, theirs = map(socket.socket.detach, socket.socketpair()) if kind == "socket" else os.pipe()
    with open(ours, "rb") as reader:
        process = real.start("do", "--", "/usr/bin/yes", stdout=theirs)
        os.close(theirs)
        assert reader.read(4) == b"y\ny\n"
    assert process.communicate(timeout=15)[1] == ""
    assert process.returncode == 128 + signal.SIGPIPE


def test_where_and_who_a_command_is(real: RealRuntime) -> None:
    flags = ["-e", "A=1", "--env=A=2", "-e", "B=", "--cwd=/usr", "-u", "7:8"]
    done = real.run("do", *flags, "--", "/bin/sh", "-c", 'echo "$A,$B,$(pwd),$(id -u),$(id -g),$(id -G),$INHERITED"')
    assert done.stdout == "2,,/usr,7,8,8,\n"
    assert real.run("do", "-u", "7", "--", "/usr/bin/id", "-g").stdout == "0\n"


TRAPPING = """
trap 'echo first; exit 3' TERM
trap 'echo both' USR2
sh -c 'trap "echo second" USR1; trap "echo both" USR2; echo ready; while :; do sleep 0.02; done' &
while :; do sleep 0.02; done
"""


def test_kill_reaches_the_first_process_or_another_or_all(real: RealRuntime) -> None:
    process = real.start("do", "--", "/bin/sh", "-c", TRAPPING)
    container, out = f"do-{process.pid}", process.stdout
    assert out is not None
    assert out.readline() == "ready\n"
    assert "no such process" in real.run("kill", "--pid=4000000", container).stderr
    assert real.run("kill", "--pid", "2", container, "usr1").returncode == 0
    assert out.readline() == "second\n"
    assert real.run("kill", "--all", container, "SIGUSR2").returncode == 0
    assert (out.readline(), out.readline()) == ("both\n", "both\n")
    assert real.run("kill", container).returncode == 0
    assert out.read() == "first\n"
    assert process.wait(15) == 3
    process.communicate()


def test_init_is_safe_from_all_but_its_runtime(real: RealRuntime, need: Callable[[str], str]) -> None:
    script = "kill $$; kill -9 $$; (kill -9 1); echo lives; while :; do read x </dev/zero; done"
    bundle = busybox_bundle(real, need, script, mounts=[{"destination": "/dev", "type": "tmpfs"}])
    process = real.start("run", "-b", bundle, "box")
    assert process.stdout is not None
    assert process.stdout.readline() == "lives\n"
    assert real.run("kill", "box", "INT").returncode == 0
    assert json.loads(real.run("state", "box").stdout)["status"] == "running"
    for signo, state in (("STOP", "T"), ("CONT", "R")):
        assert real.run("kill", "box", signo).returncode == 0
        eventually(lambda state=state: real.run("ps", "box").stdout.split()[8] == state, f"{signo} does nothing")
    assert real.run("kill", "--pid=1", "box", "KILL").returncode == 0
    assert process.wait(15) == 128 + signal.SIGKILL
    process.communicate()


def test_a_service_that_does_not_stop_is_killed(real: RealRuntime, need: Callable[[str], str]) -> None:
    script = "trap '' TERM; echo running; while :; do read x </dev/zero; done"
    bundle = busybox_bundle(real, need, script, mounts=[{"destination": "/dev", "type": "tmpfs"}])
    process = real.start("supervise", "--restart=always", "--stop-timeout=0.3", bundle)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    begun = time.monotonic()
    process.terminate()
    assert process.wait(20) == 128 + signal.SIGKILL
    assert time.monotonic() - begun >= 0.3
    process.communicate()


def test_the_log_is_appended_to(real: RealRuntime) -> None:
    log = real.place / "log"
    log.write_text("of others\n")
    real.flags = [f"--log={log}", "--strace", "--strace-syscalls=write"]
    assert real.run("do", "--", "/bin/echo", "hello").stderr == ""
    real.flags += ["--log-format=json", "--debug"]
    assert real.run("do", "--", "/nowhere").stderr.count("\n") == 1
    lines = log.read_text().splitlines()
    assert lines[0] == "of others"
    assert any('level=info msg="[    1] echo write(' in line for line in lines)
    told = [json.loads(line) for line in lines if line.startswith("{")]
    assert [one["msg"] for one in told if one["level"] == "error"] == [
        'unable to start container process: exec: "/nowhere": no such file or directory'
    ]
    debug = [one["msg"] for one in told if one["level"] == "debug"]
    assert '"args":["/nowhere"]' in debug[0]
    assert debug[1].startswith("made: pid ")
    assert ", gofer " in debug[1]


def test_the_niceness_is_the_callers(real: RealRuntime) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    done = real.run("do", "--", "/usr/bin/nice", preexec_fn=lambda: os.nice(3))
    assert int(done.stdout) == min(own + 3, 19)


def test_attributes_of_users_are_copied_up(real: RealRuntime) -> None:
    directory = real.place / "directory"
    directory.mkdir()
    (directory / "file").touch()
    for path in (directory, directory / "file"):
        os.setxattr(path, "user.color", b"red")
    look = "import os, sys; [(os.chmod(p, 0o700), print(os.getxattr(p, 'user.color'))) for p in sys.argv[1:]]"
    done = real.run("do", "--", sys.executable, "-c", look, directory, directory / "file")
    assert (done.stdout, done.stderr) == ("b'red'\n" * 2, "")


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
        ("nowhere-in-path", ["nowhere-in-path", "executable file not found in $PATH"]),
        ("/etc/passwd/", ["/etc/passwd/", "not a directory"]),
        ("/etc", ["/etc", "is a directory"]),
        ("/etc/passwd", ["/etc/passwd", "permission denied"]),
    ],
)
def test_what_cannot_be_executed(real: RealRuntime, program: str, words: list[str]) -> None:
    done = real.run("do", "--", program)
    assert done.returncode == 128
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line


SH = Path("/bin/sh").read_bytes()
BEYOND = EHDR.pack(ELF_IDENT, ET_EXEC, EM_X86_64, 1, 1 << 36, EHDR.size, 0, 0, EHDR.size, PHDR.size, 1, 0, 0, 0)
BEYOND += PHDR.pack(PT_LOAD, 7, 0, 1 << 36, 0, 0x1800, 0x2000, 0x1000)
"""Its segment goes on behind the end of the file."""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "exec format error: it begins with neither ELF nor #!"),
        (b"echo hello\n", "exec format error: it begins with neither ELF nor #!"),
        (b"MZ" + b"\0" * 100, "exec format error: it begins with neither ELF nor #!"),
        (b"#!\n", "exec format error: no interpreter after #!"),
        (b"\x7fELF", "exec format error: it is cut off in its header"),
        (b"\x7fELF" + b"\xff" * 500, "exec format error: it is no program for x86-64"),
        (SH[:100], "exec format error: it is cut off in its program headers"),
        (BEYOND, "exec format error: it cannot be mapped: its segments are malformed or cut off"),
        (
            SH.replace(b"/lib64/ld-linux", b"/lib64/no-linux"),
            'no such file or directory: its interpreter is "/lib64/no',
        ),
        (b"#!/nowhere\n", 'no such file or directory: its interpreter is "/nowhere"'),
    ],
)
@pytest.mark.parametrize("command", ["do", "run", "supervise"])
def test_what_is_no_program(real: RealRuntime, command: str, content: bytes, words: str) -> None:
    bundle = real.bundle("/program", root={"path": "rootfs", "readonly": True})
    program = bundle / "rootfs" / "program"
    program.write_bytes(content)
    program.chmod(0o755)
    root = ["--root", str(program.parent), "--", "/program"]
    how = {"do": root, "run": ["-b", str(bundle), "box"], "supervise": ["--restart=always", str(bundle)]}
    done = real.run(command, *how[command])
    assert (done.returncode, done.stdout) == (128, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'pysc: unable to start container process: exec: "/program": {words}')
    assert list(real.state.iterdir()) == []


@pytest.mark.parametrize("flag", ["--hardened", "--unsafe-no-namespaces"])
@pytest.mark.parametrize("role", ["supervisor", "spawner", "sentry", "netstackd"])
def test_no_guest_survives(real: RealRuntime, role: str, flag: str) -> None:
    real.flags = [flag]
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


def test_without_namespaces_the_hosts_kernel_is_not_shown(real: RealRuntime, root_user: None) -> None:
    """Nothing can be covered there: what lies below a mount of the guest's is the host's own."""
    real.flags = ["--unsafe-no-namespaces"]
    script = (
        "umount /proc /sys; for f in /proc/version /proc/1/cmdline /sys/kernel/uevent_seqnum; do cat $f; done; ls /proc"
    )
    done = real.run("do", "--", "/bin/sh", "-c", script)
    assert done.stdout == ""
    assert done.stderr.count("Permission denied") == 4, done.stderr
    refused = real.run("do", "--root=/proc", "--", "true")
    assert refused.stderr == "pysc: cannot serve /proc: it is the host kernel's own file system\n"


@pytest.mark.parametrize(
    "flags", [[], ["--hardened"], ["--unsafe-no-namespaces"], ["--hardened", "--map-owners"]], ids=" ".join
)
def test_an_ordinary_user(real: RealRuntime, need: Callable[[str], str], flags: list[str]) -> None:
    """In a user namespace without root, so that this user may read the interpreter's files."""
    mapped = [need("unshare"), "--user", "--map-user=1000", "--map-group=1000"]
    bundle = busybox_bundle(real, need, "touch /f; chown 5:6 /f; stat -c %u:%g /f")
    done = subprocess.run(
        [*mapped, *real.command(*flags, "run", "-b", bundle, "box")],
        env=real.environment(), stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=40, check=False,
    )  # fmt: skip
    if "--unsafe-no-namespaces" in flags:
        complaint = f"pysc: without root and without namespaces no file can get an owner in {bundle}/rootfs: "
        assert done.returncode == 128
        assert done.stderr.startswith(complaint), done.stderr
        done = subprocess.run(
            [*mapped, *real.command(*flags, "--overlay", "run", "-b", bundle, "box")],
            env=real.environment(), stdin=subprocess.DEVNULL, text=True, capture_output=True, timeout=40, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "5:6\n", "")
        return
    mapped_owners = "--map-owners" in flags
    assert (done.returncode, done.stderr) == (0, "" if mapped_owners else "chown: /f: Operation not permitted\n")
    assert done.stdout == ("5:6\n" if mapped_owners else "0:0\n")


def busybox_bundle(real: RealRuntime, need: Callable[[str], str], script: str, **changes: Any) -> Path:
    """Return a bundle of busybox that runs a script with every capability that it may need."""
    caps = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"]
    process = {
        "args": ["/bin/sh", "-c", script],
        "cwd": "/",
        "env": ["PATH=/bin"],
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
    }
    bundle = real.bundle(**{"process": process, **changes})
    binaries = bundle / "rootfs" / "bin"
    binaries.mkdir()
    shutil.copy(need("busybox"), binaries / "sh")
    for name in ("touch", "chown", "stat", "ls", "cat"):
        (binaries / name).symlink_to("sh")
    return bundle


@pytest.mark.parametrize("readonly", [True, False])
def test_the_default_devices_need_no_mount(real: RealRuntime, need: Callable[[str], str], readonly: bool) -> None:
    script = "echo gone > /dev/null && ls -d /dev/zero /dev/full /dev/random /dev/urandom /dev/tty"
    bundle = busybox_bundle(real, need, script, root={"path": "rootfs", "readonly": readonly})
    done = real.run("run", "-b", bundle, "box")
    assert (done.returncode, len(done.stdout.split()), done.stderr) == (0, 5, "")
    assert (bundle / "rootfs/dev").exists() == (not readonly)


def test_mounts_below_links_that_lead_nowhere_stay_inside(real: RealRuntime, need: Callable[[str], str]) -> None:
    outside = real.place / "outside"
    mounts = [
        {"destination": "/var/run/secrets", "type": "tmpfs"},
        {"destination": "/out/there", "type": "bind", "source": "/etc/hostname", "options": ["bind", "ro"]},
        {"destination": "/up/file", "type": "bind", "source": "/etc/hostname", "options": ["bind", "ro"]},
    ]
    bundle = busybox_bundle(real, need, "ls /run; ls /out/ /file; stat -c %n /var/run/secrets", mounts=mounts)
    root = bundle / "rootfs"
    (root / "var").mkdir()
    (root / "var" / "run").symlink_to("../run")
    (root / "out").symlink_to(outside)
    (root / "up").symlink_to("../../../..")
    done = real.run("run", "-b", bundle, "box")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "secrets\n/file\n\n/out/:\nthere\n/var/run/secrets\n"
    assert not outside.exists()
    (root / "loop").symlink_to("loop")
    config = json.loads((bundle / "config.json").read_text())
    config["mounts"] = [{"destination": "/loop/x", "type": "tmpfs"}]
    (bundle / "config.json").write_text(json.dumps(config))
    refused = real.run("run", "-b", bundle, "box")
    assert refused.stderr == (
        'pysc: unable to start container process: mount "/loop/x": too many levels of symbolic links\n'
    )


@pytest.mark.parametrize("fastpath", ["on", "off"])
def test_paths_are_masked_and_protected(real: RealRuntime, need: Callable[[str], str], fastpath: str) -> None:
    """Whatever they are: files and directories of the root, its link, a mount's, a mount, and nothing at all."""
    script = """
        cat /secret /link /proc/version; ls -A /hidden; echo x >/secret && echo written; touch /hidden/new
        cat /kept/file /kept/mount/file; echo x >/kept/file; touch /kept/mount/new && echo made
        echo x >/proc/sys/kernel/hostname; touch /mounted/new; touch /new && ls /new
    """
    linux = {
        "maskedPaths": ["/secret", "/link", "/hidden", "/proc/version", "/absent", "/secret/absent", "/hidden/inner"],
        "readonlyPaths": ["/kept", "/proc/sys", "/mounted", "/absent"],
    }
    mounts = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/mounted", "type": "tmpfs"},
        {"destination": "/kept/mount", "type": "bind", "source": "inner", "options": ["bind", "rw"]},
    ]
    bundle = busybox_bundle(real, need, script, linux=linux, mounts=mounts)
    for path in ("secret", "target", "hidden/inner/file", "kept/file", "../inner/file"):
        (bundle / "rootfs" / path).parent.mkdir(parents=True, exist_ok=True)
        (bundle / "rootfs" / path).write_text(f"content of {path}\n")
    (bundle / "rootfs" / "link").symlink_to("target")
    real.flags = [f"--fastpath={fastpath}"]
    done = real.run("run", "-b", bundle, "box")
    assert done.stdout == "written\ncontent of kept/file\ncontent of ../inner/file\nmade\n/new\n"
    assert done.stderr.splitlines() == [
        "touch: /hidden/new: Read-only file system",
        "/bin/sh: can't create /kept/file: Read-only file system",
        "/bin/sh: can't create /proc/sys/kernel/hostname: Read-only file system",
        "touch: /mounted/new: Read-only file system",
    ]
    assert (bundle / "rootfs" / "secret").read_text() == "content of secret\n"
    assert (bundle / "inner" / "new").exists()


def test_the_paths_that_engines_name(real: RealRuntime, need: Callable[[str], str]) -> None:
    linux = {
        "maskedPaths": [
            "/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    }  # fmt: skip
    mounts = [{"destination": f"/{kind}", "type": f"{kind}fs".replace("procfs", "proc")} for kind in ("proc", "sys")]
    script = "stat -c %t:%T:%a /proc/kcore /sys/firmware; echo b >/proc/sysrq-trigger; cat /proc/mounts"
    done = real.run("run", "-b", busybox_bundle(real, need, script, linux=linux, mounts=mounts), "box")
    assert done.stderr.endswith("can't create /proc/sysrq-trigger: Read-only file system\n")
    null, firmware, *lines = done.stdout.splitlines()
    assert (null, firmware) == ("1:3:666", "0:0:755")
    shown = {line.split()[1]: line.split()[2:4] for line in lines}
    assert {place: what for place, what in shown.items() if place.count("/") > 1} == {
        **{place: ["proc", "ro"] for place in linux["readonlyPaths"]},
        **{f"/proc/{name}": ["devtmpfs", "rw"] for name in ("kcore", "keys", "latency_stats", "timer_list")},
        "/sys/firmware": ["tmpfs", "ro"],
    }


def test_what_a_specification_does_not_get_is_a_warning(real: RealRuntime, need: Callable[[str], str]) -> None:
    asked: dict[str, Any] = {"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}
    bundle = busybox_bundle(real, need, "", **asked)
    log = real.place / "log"
    real.flags = [f"--log={log}", "--log-format=json"]
    assert real.run("run", "-b", bundle, "box").returncode == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["msg"] for line in lines if line["level"] == "warning"] == ["linux.seccomp is ignored"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"linux": {"maskedPaths": ["/.."]}}, 'mount "/..": device or resource busy'),
        ({"mounts": [{"destination": "/m", "type": "tmpfs", "options": ["size=x"]}]}, 'mount "/m": invalid argument: bad size x'),  # noqa: E501
        ({"mounts": [{"destination": "/bin/sh/x", "type": "tmpfs"}]}, 'mount "/bin/sh/x": not a directory'),
        ({"process": {"args": ["sh"], "cwd": "/bin/sh"}}, 'working directory "/bin/sh": not a directory'),
        ({"process": {"args": [""], "cwd": "/"}}, 'exec: "": executable file not found in $PATH'),
    ],
)  # fmt: skip
def test_what_the_sentry_refuses_is_named(
    real: RealRuntime, need: Callable[[str], str], changes: dict[str, Any], words: str
) -> None:
    done = real.run("run", "-b", busybox_bundle(real, need, "", **changes), "box")
    assert (done.returncode, done.stderr) == (128, f"pysc: unable to start container process: {words}\n")


def test_buffers_are_traced(real: RealRuntime) -> None:
    real.flags = ["--strace", "--strace-syscalls=write", "--strace-log-size=4"]
    done = real.run("do", "--", "/bin/sh", "-c", "printf 'a\"\\n'; printf 12345")
    assert done.stdout == 'a"\n12345'
    assert r"write(1<HostStream>, \"a\\\"\\n\", 3) = 3" in done.stderr
    assert r"write(1<HostStream>, \"1234\"..., 5) = 5" in done.stderr


TRACED = """
import os, select, signal, socket
fd = os.open("/tmp/file", os.O_RDWR | os.O_CREAT | os.O_SYNC, 0o640)
os.writev(fd, [b"one", b"two"])
os.lseek(fd, 0, os.SEEK_END)
os.stat("/tmp/file")
os.setxattr("/tmp/file", "user.name", b"")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
signal.signal(signal.SIGUSR2, signal.SIG_IGN)
poll = select.poll()
poll.register(os.pipe()[0], select.POLLIN | select.POLLHUP)
poll.poll(1)
try:
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).connect("/tmp/none")
except OSError:
    pass
if os.fork() == 0:
    os.execve("/bin/sh", ["sh", "-c", "exit 3"], {"A": "b"})
os.wait()
os.access("/tmp/file", os.F_OK)
"""


def test_what_calls_say_is_decoded(real: RealRuntime) -> None:
    names = "openat writev lseek newfstatat setxattr rt_sigprocmask rt_sigaction poll pipe2 connect socket execve"
    real.flags = ["--strace", f"--strace-syscalls={','.join(names.split())},wait4,access"]
    done = real.run("do", "--", "/usr/bin/python3", "-ISc", TRACED)
    lines = re.findall(r'^time=\S+ level=info msg="\[ +\d+\] \S+ (.*?)(?: <\d+\.\d+>)?"$', done.stderr, re.M)
    lines = [re.sub(r"0x[0-9a-f]{9,}", "POINTER", line.replace('\\"', '"')) for line in lines]
    for expected in (
        'openat(AT_FDCWD, "/tmp/file", O_RDWR|O_SYNC|O_CREAT|O_CLOEXEC, 0o640) = 3',
        'writev(3<"/tmp/file">, [{iov_base="one", iov_len=3}, {iov_base="two", iov_len=3}], 2) = 6',
        'lseek(3<"/tmp/file">, 0, SEEK_END) = 6',
        'newfstatat(AT_FDCWD, "/tmp/file", {mode=S_IFREG|0o640, size=6, ...}, 0) = 0',
        "pipe2([4, 5], O_CLOEXEC) = 0",
        "poll([{fd=4, events=POLLIN|POLLHUP}], 1, 1) = 0",
        "rt_sigprocmask(SIG_BLOCK, [USR1 TERM], [], 8) = 0",
        "socket(AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC, 0) = 6",
        'connect(6<UnixSocket>, {sa_family=AF_UNIX, sun_path="/tmp/none"}, 12) = -2 ENOENT',
        'execve("/bin/sh", ["sh", "-c", "exit 3"], POINTER /* 1 strings */) = 0',
        "wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, 0) = 2",
        'access("/tmp/file", F_OK) = 0',
    ):
        assert expected in lines, done.stderr
    assert any(line.startswith('setxattr("/tmp/file", "user.name", ') for line in lines)
    assert any(line.startswith("rt_sigaction(SIGUSR2, {sa_handler=SIG_IGN, sa_mask=[], sa_flags=SA_") for line in lines)


def test_out_of_memory(real: RealRuntime, need: Callable[[str], str], root_user: None) -> None:
    """The host kills the guest, not a daemon, and the command says why."""
    limits = {"resources": {"memory": {"limit": 48 << 20}}}
    hog = "x=0123456789abcdef; while :; do x=$x$x; done"
    done = real.run("run", "-b", busybox_bundle(real, need, f"sh -c '{hog}'; echo $?", linux=limits), "box")
    assert (done.returncode, done.stdout) == (0, "137\n"), done.stderr
    shutil.rmtree(real.place / "bundle")
    done = real.run("run", "-b", busybox_bundle(real, need, hog, linux=limits), "box")
    assert done.returncode == 137
    assert f"the program was killed: out of memory: the sandbox used up its limit of {48 << 20} bytes" in done.stderr


@pytest.mark.parametrize("fastpath", ["on", "off"])
def test_out_of_processes(real: RealRuntime, root_user: None, fastpath: str) -> None:
    """A fork that the host refuses has never been, and the sandbox goes on."""
    bundle = real.bundle("/refused", linux={"resources": {"pids": {"limit": 60}}})
    program = compile_guest(Path(__file__).parent / "refused.c", "static", real.place)
    shutil.copy(program, bundle / "rootfs" / "refused")
    real.flags = [f"--fastpath={fastpath}"]
    done = real.run("run", "-b", bundle, "box")
    assert (done.returncode, done.stdout, done.stderr) == (0, "EXIT-SUCCESS\n", "")


def test_ps_names_processes_as_the_host_does(real: RealRuntime) -> None:
    process = real.start("do", "--", "/bin/sh", "-c", "sleep 300 & echo running; wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    container = f"do-{process.pid}"
    assert [row.split()[1] for row in real.run("ps", container).stdout.splitlines()[1:]] == ["1", "2"]
    pids = json.loads(real.run("ps", "--format=json", container).stdout)
    assert len(set(pids)) == 2
    for pid in pids:
        assert Path(f"/proc/{pid}/comm").read_text() == "pysc-guest\n"
        sentry = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        spawner = Path(f"/proc/{sentry}/stat").read_text().rpartition(")")[2].split()[1]
        assert Path(f"/proc/{spawner}/stat").read_text().rpartition(")")[2].split()[1] == str(process.pid)
    process.terminate()
    process.communicate(timeout=15)


def test_what_guests_have(real: RealRuntime, root_user: None) -> None:
    process = real.start("do", "--", "/bin/sh", "-c", "echo running; sleep 300 & wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    container = f"do-{process.pid}"
    shown = json.loads(real.run("debug", "--confinement", "--format=json", container).stdout)
    seen = {found["role"]: found for found in shown}
    guests = [found for found in shown if found["role"] == "guest"]
    assert len(guests) >= 2
    assert len([found for found in shown if found["role"] == "zygote"]) == 1
    for guest in guests:
        assert not any(guest["capabilities"].values())
        assert guest["uids"] == seen["sentry"]["uids"]
        assert guest["root"] == ["proc"]
        assert guest["namespaces"] == seen["sentry"]["namespaces"]
        assert guest["allowed"] + guest["allowed_by_argument"] < 25
        score = int(Path(f"/proc/{guest['pid']}/oom_score_adj").read_text())
        assert score == int(Path(f"/proc/{process.pid}/oom_score_adj").read_text()) + 500
    for found in shown:
        # What an ordinary user is shown instead is the same.
        always, sometimes = reach(built(found["role"]))
        assert (len(always), len(sometimes)) == (found["allowed"], found["allowed_by_argument"]), found["role"]
    text = real.run("debug", "--confinement", container).stdout
    assert text.count("guest (pid ") <= len(guests)
    process.terminate()
    process.communicate(timeout=15)


@pytest.mark.parametrize("flags", [[], ["--hardened"]], ids=" ".join)
def test_what_the_dispatcher_counts(real: RealRuntime, flags: list[str]) -> None:
    real.flags = flags
    process = real.start("do", "--", "/bin/cat", stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None

    def counted() -> dict[str, int]:
        shown: dict[str, int] = json.loads(real.run("debug", "--counters", "--format=json", container).stdout)
        return shown

    container, seen = f"do-{process.pid}", [{"reports": 0, "sleeps": 0}]
    for _ in range(2):
        process.stdin.write("line\n")
        process.stdin.flush()
        assert process.stdout.readline() == "line\n"
        seen.append(counted())
    for before, after in pairwise(seen):
        assert before["reports"] < after["reports"]
        assert before["sleeps"] < after["sleeps"]
    assert seen[-1]["served"] <= seen[-1]["reports"]
    sentry = real.read_state(container)["daemons"]["sentry"]
    os.kill(sentry, signal.SIGSTOP)  # it is not asked
    assert counted()["reports"] >= seen[-1]["reports"]
    assert f"reports  {counted()['reports']:>16}\n" in real.run("debug", "--counters", container).stdout
    os.kill(sentry, signal.SIGCONT)
    process.communicate(timeout=15)


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


BROAD = r"""
cd /tmp; umask 022
printf 'a\377b' > file; cat file > copy; ln -s file link; ls -la /tmp /proc/self /proc/self/fd /sys >/dev/null
mkfifo fifo; (echo through > fifo &); read x < fifo; cat /nowhere; cat "$(printf 'no\377such')"
cat /proc/self/maps /proc/self/status /proc/meminfo /proc/mounts /proc/stat /proc/cpuinfo /proc/self/stat >/dev/null
sleep 0.01 & wait; kill -9 999999; (kill -TERM $BASHPID); (ulimit -f 1; head -c 9999 /dev/zero > big)
mv file d; rm -f copy link fifo d; mkdir -p a/b; rmdir a/b a; timeout 0.05 sleep 5
touch /usr/x; chmod 600 /etc/hosts; stat -f / >/dev/null; df / >/dev/null; flock /tmp -c true; date >/dev/null
[ -t 0 ]; stty; exec 3<>/dev/tcp/127.0.0.1/1; setsid true; nice true; ionice true; taskset 1 true; unshare -m true
"""


@pytest.mark.parametrize(
    "flags",
    [[], ["--fastpath=off", "--file-access-direct=off"], ["--strace"], ["--overlay"], ["--debug", "--log-format=json"]],
    ids=" ".join,
)
def test_daemons_import_nothing_once_they_are_locked_down(real: RealRuntime, flags: list[str]) -> None:
    """No module, no codec: in a sandbox that was taken over nothing could be imported but by mistake of ours."""
    log = real.place / "log"
    command = [sys.executable, "-P", str(LATE), "--root", str(real.state), f"--log={log}", *flags, "do", "--"]
    for late in ("", "1"):
        log.write_bytes(b"")
        done = subprocess.run(
            [*command, "/bin/bash", "-c", "true" if late else BROAD + "echo done"],
            env=real.environment() | ({"PYSC_LATE": late} if late else {}),
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = {line for line in log.read_text(errors="replace").splitlines() if line.startswith("late import")}
        assert told == {f"late import of the {daemon}: colorsys" for daemon in DAEMONS if late}
    assert done.stdout.endswith(b"done\n") or late


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
