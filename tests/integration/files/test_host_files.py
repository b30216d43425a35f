"""Files of the host through gofer and sentry, whole: a writable root, bind mounts, a gofer that is killed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.files.bundles import Bundle
from tests.support.builds import compile_guest
from tests.support.sandbox import run

GOFER_CAPABILITIES = 0x1F
"""CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID: no other daemon has these and only these."""


@pytest.fixture(params=["on", "off"])
def direct(request: pytest.FixtureRequest) -> list[str]:
    """Read below donated trees, or through the gofer."""
    return [f"--file-access-direct={request.param}"]


CHANGES = """
set -e
b=/bin/busybox
echo hello > a; $b ln a b; $b ln -s a c; $b cat c; $b mkdir -p d/e; $b mv a d/a
$b chown 5:6 d/a; $b chmod 4711 d/a; $b stat -c '%a %u %g %s %h' d/a
$b mkfifo p; ($b echo through > p &) ; $b cat p
$b truncate -s 12 b; $b touch -d '2001-01-01 00:00:00' b; $b stat -c '%s %Y' b
$b rm -r d p; $b ls
exec 3>gone; $b rm gone; echo x >&3
"""


def test_changes_reach_the_host(bundle: Bundle, direct: list[str]) -> None:
    outcome = bundle.run(CHANGES, direct)
    assert (outcome.text.split("\n"), outcome.status) == (
        ["hello", "4711 5 6 6 2", "through", "12 978307200", "b", "c", ""],
        0,
    ), outcome.explain()
    tree = bundle.root / "tmp"
    assert sorted(os.listdir(tree)) == ["b", "c"]
    there = os.stat(tree / "b")
    assert (there.st_size, there.st_mtime, there.st_uid, there.st_mode & 0o7777) == (12, 978307200, 5, 0o4711)
    assert os.readlink(tree / "c") == "a"


def test_bind_mounts(bundle: Bundle, direct: list[str], tmp_path: Path) -> None:
    volume, fixed = tmp_path / "volume", tmp_path / "fixed"
    for made in (volume, fixed):
        made.mkdir()
        (made / "file").write_text(made.name + "\n")
    single = tmp_path / "single"
    single.write_text("single\n")
    bundle.bind(volume, "/volume", "rw")
    bundle.bind(fixed, "/fixed", "ro")
    bundle.bind(single, "/tmp/single", "rw")
    bundle.bind(single, "/tmp/fixed", "ro")
    script = """
b=/bin/busybox
$b cat /volume/file /fixed/file single fixed
echo new > /volume/new
echo new > /fixed/new || $b rm /fixed/file || $b chmod 0 /fixed/file
echo longer >> single
echo no >> fixed
$b cat single
"""
    outcome = bundle.run(script, direct)
    assert outcome.text.split() == ["volume", "fixed", "single", "single", "single", "longer"], outcome.explain()
    assert outcome.stderr.count(b"Read-only file system") == 4
    assert (volume / "new").read_text() == "new\n"
    assert (os.listdir(fixed), (fixed / "file").read_text()) == (["file"], "fixed\n")
    assert single.read_text() == "single\nlonger\n"


LOCKER = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

int main(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_start = 5, .l_len = 10}, found = lock;
    int held = open("/volume/held", O_RDWR), file = open("/volume/file", O_RDWR);
    char byte;
    setlinebuf(stdout);
    printf("%d", flock(held, LOCK_EX | LOCK_NB));
    printf(" %d", fcntl(file, F_SETLK, &lock));
    fcntl(file, F_GETLK, &found);
    printf(" %d %ld %ld\n", found.l_type == F_WRLCK, (long)found.l_start, (long)found.l_len);
    printf("%d\n", fcntl(file, F_SETLKW, &lock));
    return read(0, &byte, 1) != 0;
}
"""


def test_locks_on_a_shared_mount_are_the_hosts_too(bundle: Bundle, direct: list[str], tmp_path: Path) -> None:
    source, volume = tmp_path / "locker.c", tmp_path / "volume"
    source.write_text(LOCKER)
    volume.mkdir()
    shutil.copy(compile_guest(source, "static", tmp_path), bundle.root / "bin" / "locker")
    for name in ("file", "held"):
        (volume / name).write_text("x")
    bundle.bind(volume, "/volume", "rw")
    with open(volume / "file", "r+") as ours, open(volume / "held", "r+") as theirs:
        fcntl.lockf(ours, fcntl.LOCK_EX, 6, 6)
        command = bundle.command("exec /bin/locker", direct)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            try:
                assert running.stdout.readline() == "0 -1 1 6 6\n"
                with pytest.raises(BlockingIOError):
                    fcntl.lockf(theirs, fcntl.LOCK_SH | fcntl.LOCK_NB)
                fcntl.lockf(ours, fcntl.LOCK_UN, 6, 6)
                assert running.stdout.readline() == "0\n"
                with pytest.raises(BlockingIOError):
                    fcntl.lockf(ours, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 14)
                fcntl.lockf(ours, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 15)
                running.stdin.close()
                assert running.wait(30) == 0
            finally:
                running.kill()
        fcntl.lockf(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_program_of_the_host_is_not_written_while_it_runs(bundle: Bundle, direct: list[str], tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    bundle.bind(volume, "/volume", "rw")
    script = """
b=/bin/busybox
for place in /tmp /volume; do
    $b cp $b $place/sleep
    $place/sleep 100 & child=$!
    until [ "$($b readlink /proc/$child/exe)" = $place/sleep ]; do :; done
    (echo x >> $place/sleep) && echo written
    $b ln $place/sleep $place/other
    (echo x >> $place/other) && echo written
    $b kill $child; wait $child
    (exec 3>> $place/other; $place/sleep 0; echo $?)
    $place/sleep 0 && echo fine
done
"""
    outcome = bundle.run(script, direct)
    assert outcome.text.split() == ["126", "fine"] * 2, outcome.explain()
    assert outcome.stderr.count(b"Text file busy") == 6


def test_links_of_the_root_lead_nowhere_outside(bundle: Bundle, direct: list[str], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for name, target in (("absolute", tmp_path / "secret"), ("up", "../../../secret"), ("shadow", "/etc/shadow")):
        (bundle.root / "tmp" / name).symlink_to(target)
    outcome = bundle.run("for f in absolute up shadow; do /bin/busybox cat $f && echo READ; done; true", direct)
    assert outcome.stdout == b"", outcome.explain()
    assert outcome.stderr.count(b"No such file") == 3


def descendants(pid: int) -> Iterator[int]:
    """Give ``pid`` and all that come from it."""
    yield pid
    try:
        tasks = list(Path(f"/proc/{pid}/task").glob("*/children"))
    except OSError:
        return  # it has ended
    for task in tasks:
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from descendants(int(child))


def gofer_of(pid: int) -> int | None:
    for descendant in descendants(pid):
        try:
            status = Path(f"/proc/{descendant}/status").read_text()
        except OSError:
            continue
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        if int(fields["CapEff"], 16) == GOFER_CAPABILITIES and fields["Seccomp"].strip() == "2":
            return descendant
    return None


def test_a_killed_gofer_is_replaced_under_load(bundle: Bundle, direct: list[str]) -> None:
    """Open files, also unlinked ones, go on; what was being asked fails with EIO; then everything works again."""
    script = """
b=/bin/busybox
exec 4<>open; $b rm open
echo started
while ! [ -e stop ]; do echo x > file 2>/dev/null; $b rm -f file 2>/dev/null; done
echo still >&4
$b cat /proc/self/fd/4 >/dev/null
echo after > after; $b cat after
"""
    with subprocess.Popen(
        bundle.command(script, [*direct, "--file-access=shared"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            killed: set[int] = set()
            deadline = time.monotonic() + 20
            while len(killed) < 3 and time.monotonic() < deadline:
                gofer = gofer_of(process.pid)
                if gofer is not None and gofer not in killed:
                    os.kill(gofer, signal.SIGKILL)
                    killed.add(gofer)
                time.sleep(0.05)
            while gofer_of(process.pid) in (None, *killed) and time.monotonic() < deadline:
                time.sleep(0.05)
            (bundle.root / "tmp" / "stop").touch()
            stdout, stderr = process.communicate(timeout=20)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert len(killed) == 3
    assert (stdout, process.returncode) == (b"after\n", 0), stderr


HARD_LIMIT = 1024


@pytest.mark.parametrize("fastpath", ["on", "off"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR])
def test_open_files_leave_descriptors_for_everything_else(
    bundle: Bundle, direct: list[str], shared_folder: Path, fastpath: str, flags: int
) -> None:
    """The sentry has no more than the host gives it: ENFILE, after those that nobody uses any more are closed."""
    program = compile_guest(Path(__file__).parent / "crowd.c", "static", shared_folder)
    shutil.copy(program, bundle.root / "bin" / "crowd")
    (bundle.root / "tmp" / "crowd").mkdir()
    for number in range(2000):
        (bundle.root / "tmp" / "crowd" / str(number)).touch()
    command = bundle.command(f"exec /bin/crowd {flags}", [*direct, f"--fastpath={fastpath}"])
    shell = f'ulimit -n {HARD_LIMIT} && exec "$@"'
    outcome = run(["sh", "-c", shell, "sh", *command])
    lines = outcome.text.splitlines()
    assert (outcome.status, lines[1:]) == (0, ["3", "1 1"]), outcome.explain()
    opened, error = map(int, lines[0].split())
    assert error == errno.ENFILE
    assert HARD_LIMIT // 2 - 100 < opened <= HARD_LIMIT // 2


@pytest.mark.parametrize("fastpath", ["on", "off"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_any_more_is_not_read(
    bundle: Bundle, direct: list[str], tmp_path: Path, fastpath: str, make: Callable[[Path], None]
) -> None:
    """Nobody else changes names on an exclusive mount; if somebody does, no FIFO is taken for the file."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("text\n")
    bundle.bind(volume, "/volume", "ro")
    flags = [*direct, f"--fastpath={fastpath}", "--file-access-mounts=exclusive"]
    script = "b=/bin/busybox; $b ls /volume; $b stat -c %s /volume/file; read go; $b cat /volume/file"
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(bundle.command(script, flags), text=True, **pipes) as process:
        try:
            assert process.stdout is not None
            assert [process.stdout.readline() for _ in range(2)] == ["file\n", "5\n"]
            (volume / "file").unlink()
            make(volume / "file")
            stdout, stderr = process.communicate("\n", timeout=20)
        finally:
            process.kill()
    assert (stdout, stderr) == ("", "cat: can't open '/volume/file': Stale file handle\n")


PIDFD_GETFD = 438


@contextmanager
def sockets_of(pid: int) -> Iterator[list[socket.socket]]:
    """The sockets of another process."""
    libc, pidfd = ctypes.CDLL(None, use_errno=True), os.pidfd_open(pid)
    paths = Path(f"/proc/{pid}/fd").iterdir()
    numbers = [int(path.name) for path in paths if "socket:" in os.readlink(path)]
    held = [socket.socket(fileno=libc.syscall(PIDFD_GETFD, pidfd, number, 0)) for number in numbers]
    os.close(pidfd)
    yield held
    for sock in held:
        sock.close()


def cut_off(pid: int) -> None:
    """Let a process find that its peers have hung up."""
    with sockets_of(pid) as held:
        for sock in held:
            sock.shutdown(socket.SHUT_RDWR)


def test_a_gofer_that_was_cut_off_is_replaced(bundle: Bundle, direct: list[str]) -> None:
    """As the sentry does with one that breaks the protocol: it ends, and well, as if the sandbox had."""
    script = """
b=/bin/busybox
echo started; read go
$b mkdir first; $b mkdir second && echo made
"""
    with subprocess.Popen(
        bundle.command(script, direct), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"started\n"
            gofer = gofer_of(process.pid)
            assert gofer is not None
            cut_off(gofer)
            stdout, stderr = process.communicate(b"\n", timeout=20)
        finally:
            process.kill()
    assert (stdout, process.returncode) == (b"made\n", 0), stderr
    assert b"the gofer died and was restarted" in stderr


HANGS = """
b=/bin/busybox
echo started; read go
$b mkdir /volume/first; $b mkdir /volume/second && echo made
"""


def test_a_gofer_that_hangs_is_told_of_and_killed_once_it_is_cut_off(
    bundle: Bundle, direct: list[str], tmp_path: Path
) -> None:
    """It says what no gofer should, and does not end when the sentry hangs up."""
    volume = tmp_path / "volume"
    volume.mkdir()
    bundle.bind(volume, "/volume", "rw")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(bundle.command(HANGS, direct), **pipes) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == b"started\n"
            gofer = gofer_of(process.pid)
            assert gofer is not None
            os.kill(gofer, signal.SIGSTOP)
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert select.select([process.stderr], [], [], 20)[0], "nothing is told"
            told = process.stderr.readline().decode()
            assert " of /volume/first has not been answered for 5 s: the gofer is connected and silent" in told
            with sockets_of(gofer) as held:
                for sock in held:
                    sock.send(b"nonsense")
            stdout, stderr = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (stdout, process.returncode) == (b"made\n", 0), stderr
    assert stderr.count(b"has not been answered") == 0
    assert b"restarted: it had been cut off, did not end, and was killed" in stderr
    assert not Path(f"/proc/{gofer}").exists()


NAMELESS = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void)
{
    const char *names[] = {"/tmp/written", "/tmp/read", "/volume/written", "/volume/read"};
    int fds[4];
    char byte;
    for (int i = 0; i < 4; i++) {
        close(open(names[i], O_RDWR | O_CREAT, 0600));
        fds[i] = open(names[i], i & 1 ? O_RDONLY : O_RDWR);
        unlink(names[i]);
    }
    puts("ready");
    fflush(stdout);
    if (read(0, &byte, 1) < 0)
        return 1;
    for (int i = 0; i < 4; i++) {
        struct timespec times[2] = {{1, 2}, {3, 4}};
        struct stat st;
        printf("%d %d %d ", fchmod(fds[i], 0640), fchown(fds[i], 5, 6), ftruncate(fds[i], 100));
        printf("%d", futimens(fds[i], times));
        fstat(fds[i], &st);
        printf(" %o %d %d %ld %ld %ld.%ld\n", (unsigned)st.st_mode, (int)st.st_uid, (int)st.st_gid, (long)st.st_nlink,
               (long)st.st_size, (long)st.st_mtim.tv_sec, (long)st.st_mtim.tv_nsec);
    }
    return 0;
}
"""


@pytest.mark.parametrize("restarted", [False, True], ids=["same", "restarted"])
def test_files_without_a_name_can_be_changed(
    bundle: Bundle, direct: list[str], tmp_path: Path, restarted: bool
) -> None:
    """By whoever has them open, for writing or not, and by a gofer that has never seen them."""
    source, volume = tmp_path / "nameless.c", tmp_path / "volume"
    source.write_text(NAMELESS)
    volume.mkdir()
    shutil.copy(compile_guest(source, "static", tmp_path), bundle.root / "bin" / "nameless")
    bundle.bind(volume, "/volume", "rw")
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(bundle.command("exec /bin/nameless", direct), **pipes) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            if restarted:
                gofer = gofer_of(process.pid)
                assert gofer is not None
                os.kill(gofer, signal.SIGKILL)
                deadline = time.monotonic() + 20
                while gofer_of(process.pid) in (None, gofer) and time.monotonic() < deadline:
                    time.sleep(0.02)
            stdout, stderr = process.communicate(b"\n", timeout=20)
        finally:
            process.kill()
    written, read = "0 0 0 0 100640 5 6 0 100 3.4", "0 0 -1 0 100640 5 6 0 0 3.4"
    assert stdout.decode().splitlines() == [written, read] * 2, stderr


@pytest.mark.parametrize("where", ["overlay", "volume"])
def test_who_reads_by_itself_sees_what_is_written(
    bundle: Bundle, direct: list[str], tmp_path: Path, where: str
) -> None:
    """On an overlay the bytes are elsewhere from then on."""
    program = compile_guest(Path(__file__).parent / "lent.c", "static", tmp_path)
    shutil.copy(program, bundle.root / "bin" / "lent")
    volume = tmp_path / "volume"
    for folder in (volume, bundle.root / "tmp"):
        folder.mkdir(exist_ok=True)
        (folder / "file").write_bytes(b"l" * 100_000)
    bundle.bind(volume, "/volume", "rw")
    file, flags = ("/volume/file", []) if where == "volume" else ("/tmp/file", ["--overlay"])
    outcome = run(bundle.command(f"exec /bin/lent {file}", [*direct, *flags]))
    assert (outcome.status, outcome.text) == (0, "w\n"), outcome.explain()
    assert (b"written" in (volume / "file").read_bytes()) is (where == "volume")
    assert b"written" not in (bundle.root / "tmp/file").read_bytes()


def test_what_the_host_has_bound_inside(bundle: Bundle, direct: list[str], tmp_path: Path) -> None:
    """A directory that is mounted below itself: what is there is what the host shows there, and has an end."""
    volume = tmp_path / "volume"
    (volume / "a" / "b" / "below").mkdir(parents=True)
    (volume / "a" / "file").write_text("file\n")
    subprocess.run(["mount", "--bind", volume / "a", volume / "a" / "b"], check=True)
    try:
        bundle.bind(volume, "/volume", "rw")
        script = (
            "b=/bin/busybox; cd /volume; $b find . | $b sort; echo more >> a/b/file; $b cat a/file; $b mkdir a/b/new"
        )
        for access in ("shared", "exclusive"):
            outcome = bundle.run(script, [*direct, f"--file-access-mounts={access}"])
            found = [".", "./a", "./a/b", "./a/b/b", "./a/b/b/below", "./a/b/file", "./a/file", "file", "more"]
            assert outcome.text.splitlines() == found, outcome.explain()
            assert not os.listdir(volume / "a" / "new")
            (volume / "a" / "new").rmdir()
            (volume / "a" / "file").write_text("file\n")
    finally:
        subprocess.run(["umount", volume / "a" / "b"], check=True)


ODD_NAMES = r"""
b=/bin/busybox
long=$($b printf 'n%.0s' $($b seq 255))
$b mkdir odd && cd odd
for name in "$long" "$($b printf '\377\376')" "a b" "$($b printf 'x\ny')" '\' '*' '...' '-'; do
    echo content > "./$name" && $b cat "./$name" >/dev/null || echo "lost: $name"
done
echo x > "n$long" 2>/dev/null && echo "too long"
$b ls | $b wc -l
half() { i=0; d=$1; while [ $i -lt 14 ]; do i=$((i+1)); d=$d/$($b printf "$1%.0s" $($b seq 200)); done; echo $d; }
upper=$(half a) lower=$(half b)
$b mkdir -p $upper $lower && echo bottom > $lower/file && $b mv b $upper && cd $upper || echo lost
$b cat $lower/file; $b stat -c %s $lower/file; $b ls $lower
$b ln $lower/file $lower/link && $b chmod 640 $lower/link && $b stat -c '%h %a' $lower/file
$b mv $lower/file top && $b rm -r b && $b cat top
cd /tmp && $b rm -r odd && $b ls
"""


def test_names_of_any_kind(bundle: Bundle, direct: list[str]) -> None:
    """255 bytes, no UTF-8, newlines; a path that is longer than one that the host's kernel takes."""
    outcome = bundle.run(ODD_NAMES, direct)
    expected = ["7", "bottom", "7", "file", "2", "640", "bottom"]
    assert (outcome.text.split(), outcome.status) == (expected, 0), outcome.explain()


def test_a_large_directory(bundle: Bundle, direct: list[str]) -> None:
    large = bundle.root / "tmp" / "large"
    large.mkdir()
    for number in range(1000):
        (large / f"file-{number}-{'x' * (number % 100)}").touch()
    script = """
b=/bin/busybox
$b ls large | $b wc -l; $b ls -l large | $b grep -c rw-
$b rm -r large; $b ls | $b wc -l
"""
    outcome = bundle.run(script, direct)
    assert (outcome.text.split(), outcome.status) == (["1000", "1000", "0"], 0), outcome.explain()
    assert not large.exists()


def test_fsync(bundle: Bundle, direct: list[str]) -> None:
    script = """
b=/bin/busybox
$b dd if=/bin/busybox of=copy bs=64k conv=fsync 2>/dev/null && $b cmp copy /bin/busybox && $b sync && echo same
"""
    outcome = bundle.run(script, direct)
    assert (outcome.stdout, outcome.status) == (b"same\n", 0), outcome.explain()


def test_files_mean_what_they_do_on_the_host(bundle: Bundle, direct: list[str], tmp_path: Path) -> None:
    """One program, on the host and in a sandbox whose folder is the host's; equal outputs."""
    interpreter = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    program = Path(__file__).parent / "semantics.py"
    native, volume = tmp_path / "native", tmp_path / "volume"
    native.mkdir()
    volume.mkdir()
    expected = run([interpreter, "-I", "-S", program], cwd=native)
    assert expected.status == 0, expected.explain()
    bundle.bind(Path("/usr"), "/usr", "ro")
    bundle.bind(Path("/lib").resolve(), "/lib", "ro")
    bundle.bind(Path("/lib64").resolve(), "/lib64", "ro")
    bundle.bind(Path(sys.base_prefix), "/python", "ro")
    bundle.bind(program, "/semantics.py", "ro")
    bundle.bind(volume, "/volume", "rw")
    command = f"cd /volume && PYTHONHOME=/python exec /python/bin/{interpreter.name} -S /semantics.py"
    outcome = bundle.run(command, direct)
    assert outcome.text.splitlines() == expected.text.splitlines(), outcome.explain()
    assert outcome.status == 0
    assert tree_of(volume) == tree_of(native)


def tree_of(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return type, mode, owner and size of all that is below ``root``."""
    found = {}
    for path in sorted(root.rglob("*")):
        there = path.lstat()
        size = 0 if path.is_dir() and not path.is_symlink() else there.st_size
        found[str(path.relative_to(root))] = (there.st_mode, there.st_uid, size)
    return found


def test_a_shared_mount_shows_what_the_host_changes(bundle: Bundle, direct: list[str], tmp_path: Path) -> None:
    """As kubelet does with a ConfigMap: a link ``..data`` is swapped by rename; and all else that can happen there."""
    volume = tmp_path / "volume"
    (volume / "v1").mkdir(parents=True)
    (volume / "v1" / "key").write_text("old\n")
    (volume / "..data").symlink_to("v1")
    (volume / "key").symlink_to("..data/key")
    (volume / "log").write_text("1\n")
    bundle.bind(volume, "/volume", "rw")
    script = """
b=/bin/busybox
cd /volume
look() { $b cat key log; [ -e made ] && echo made; [ -d dir ] && $b ls dir; [ -e gone ] && echo there; echo --; }
echo x > gone
look
echo > ready
while ! [ -e go ]; do :; done
look
echo mine >> log; $b cat log
"""
    with subprocess.Popen(
        bundle.command(script, direct), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while not (volume / "ready").exists():
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
            (volume / "v2").mkdir()
            (volume / "v2" / "key").write_text("new\n")
            (volume / "..new").symlink_to("v2")
            (volume / "..new").rename(volume / "..data")
            shutil.rmtree(volume / "v1")
            with (volume / "log").open("a") as log:
                log.write("2\n")
            (volume / "made").touch()
            (volume / "dir").mkdir()
            (volume / "dir" / "inside").touch()
            (volume / "gone").unlink()
            (volume / "go").touch()
            stdout, stderr = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert stdout.split() == b"old 1 there -- new 1 2 made inside -- 1 2 mine".split(), stderr
    assert (volume / "log").read_text() == "1\n2\nmine\n"
