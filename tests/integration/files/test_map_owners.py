"""``--map-owners``: an ordinary user's sandbox in which files have owners, whole."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pysc import cabi
from tests.integration.files.bundles import Bundle
from tests.support.needs import missing
from tests.support.ordinary_user import USER
from tests.support.sandbox import Outcome, run

DRIVER = Path(__file__).parents[2] / "support" / "ordinary_user.py"
OWNER = "user.pysc.owner"


class Home:
    """What an ordinary user needs for sandboxes: a state directory, a bundle, the guest half in reach."""

    def __init__(self, path: Path, busybox: str) -> None:
        self.path = path
        self.state = path / "state"
        self.state.mkdir()
        self.guest = path / "guest.elf"
        shutil.copy(Path(cabi.__path__[0]) / "guest.elf", self.guest)
        self.bundle = Bundle(path / "bundle", busybox, self.state)
        self.tmp = self.bundle.root / "tmp"

    def pysc(self, *arguments: str | Path) -> Outcome:
        """Run pysc as that user."""
        for folder, folders, files in os.walk(self.path):
            for name in (".", *folders, *files):
                if os.lstat(os.path.join(folder, name)).st_uid == 0:
                    os.lchown(os.path.join(folder, name), USER, USER)
        return run([sys.executable, "-P", DRIVER, self.guest, "--root", self.state, *arguments], cwd=self.path)

    def run(self, script: str, *flags: str, user: str = "") -> Outcome:
        """Run a shell script in the bundle, as root or as somebody without any capability."""
        command = self.bundle.command(script)
        if user:
            file = self.bundle.path / "config.json"
            config = json.loads(file.read_text())
            uid, _, gid = user.partition(":")
            config["process"] |= {"user": {"uid": int(uid), "gid": int(gid)}, "capabilities": {}}
            file.write_text(json.dumps(config))
        return self.pysc(*flags, *command[command.index("run") :])


@pytest.fixture
def home(need: Callable[[str], str], namespaces: None, root_user: None, reachable: Path) -> Home:
    busybox = need("busybox")
    try:
        os.setxattr(reachable, OWNER, b"")
    except OSError:
        missing("needs a file system with user attributes under the temporary directory")
    return Home(reachable, busybox)


def on_the_host(path: Path) -> tuple[int, int, bytes | None]:
    """Return owner, mode and attribute of a file."""
    found = path.lstat()
    try:
        value = os.getxattr(path, OWNER, follow_symlinks=False)
    except OSError:
        value = None
    return found.st_uid, found.st_mode & 0o7777, value


CHANGES = """
b=/bin/busybox
show() { $b stat -c '%n %a %u %g' "$@"; }
echo content > a; $b chown 5:6 a; $b chmod 4711 a; show a
echo more >> a; show a; $b wc -c < a
$b mkdir -m 2770 d; $b chown 1000:1001 d; $b mkdir d/sub; echo > d/f; show d d/sub d/f
$b mkdir closed; echo secret > closed/f; $b chown 7:7 closed closed/f; $b chmod 0 closed closed/f
show closed closed/f; $b cat closed/f; $b ls closed
$b ln a b; $b chown 9 b; show a; $b mv b d/b; show d/b
$b ln -s a link; $b chown -h 8:8 link; show link
$b mkfifo p; $b chown 3:3 p; show p
$b touch plain; $b chmod 644 plain; show plain
$b chmod 1777 .; show .
"""
SHOWN = """a 4711 5 6
a 4711 5 6
13
d 2770 1000 1001
d/sub 2755 0 1001
d/f 644 0 1001
closed 0 7 7
closed/f 0 7 7
secret
f
a 711 9 6
d/b 711 9 6
link 777 8 8
p 644 3 3
plain 644 0 0
. 1777 0 0
"""
ANOTHER = """
b=/bin/busybox
umask 077; echo mine > own; $b cat own; $b ln -s own ownlink; $b mkfifo ownpipe
(echo through > ownpipe &); $b cat ownpipe; $b stat -c '%n %a %u %g' own ownlink ownpipe; $b rm ownlink ownpipe
$b cat closed/f; $b rm -f plain; $b chmod 777 a; echo yes > d/yes; $b stat -c '%n %a %u %g' d/yes; $b chown 0 own
"""
ANOTHER_SHOWN = """mine
through
own 600 1000 1001
ownlink 777 1000 1001
ownpipe 600 1000 1001
d/yes 600 1000 1001
"""


@pytest.mark.parametrize("access", ["exclusive", "shared"])
def test_owners_inside_and_on_the_host(home: Home, access: str) -> None:
    """What root does, what another user does in the next sandbox, what is kept; and that a third one sees it."""
    outcome = home.run(CHANGES, "--map-owners", f"--file-access={access}")
    assert (outcome.text, outcome.stderr) == (SHOWN, b""), outcome.explain()
    outcome = home.run(ANOTHER, "--map-owners", f"--file-access={access}", user="1000:1001")
    assert outcome.text == ANOTHER_SHOWN, outcome.explain()
    assert outcome.stderr.decode().splitlines() == [
        "cat: can't open 'closed/f': Permission denied",
        "rm: can't remove 'plain': Operation not permitted",
        "chmod: a: Operation not permitted",
        "chown: own: Operation not permitted",
    ]
    for name, mode, value in (
        ("a", 0o711, b"9:6:0711"),
        ("d", 0o750, b"1000:1001:2770"),
        ("d/sub", 0o755, b"0:1001:2755"),
        ("d/b", 0o711, b"9:6:0711"),
        ("closed", 0o700, b"7:7:0000"),
        ("closed/f", 0o600, b"7:7:0000"),
        ("link", 0o777, None),
        ("p", 0o644, None),
        ("plain", 0o644, None),
        ("own", 0o600, b"1000:1001:0600"),
        (".", 0o755, b"0:0:1777"),
    ):
        assert on_the_host(home.tmp / name) == (USER, mode, value), name
    script = "/bin/busybox stat -c '%n %a %u %g' a d closed/f link p own ."
    expected = "a 711 9 6,d 2770 1000 1001,closed/f 0 7 7,link 777 0 0,p 644 0 0,own 600 1000 1001,. 1777 0 0,"
    for flags in (["--map-owners"], ["--map-owners", "--overlay"], ["--map-owners", "--fastpath=off"]):
        again = home.run(script, *flags)
        assert again.text.replace("\n", ",") == expected, again.explain()
    without = home.run("/bin/busybox stat -c '%a %u %g' a")
    assert without.text == "711 0 0\n"


def test_without_the_flag_there_is_one_owner(home: Home) -> None:
    outcome = home.run("b=/bin/busybox; echo > a; $b chown 5 a; $b mkdir d; $b chown 0:5 d; $b stat -c '%a %u %g' a d")
    assert outcome.text == "644 0 0\n755 0 0\n"
    assert outcome.stderr.decode() == "chown: a: Operation not permitted\nchown: d: Operation not permitted\n"
    assert on_the_host(home.tmp / "a") == (USER, 0o644, None)


def test_bind_mounts_and_the_overlay_of_do(home: Home) -> None:
    """Writable mounts keep owners, read-only ones show them; ``pysc do`` shows them below its overlay."""
    volume = home.path / "volume"
    volume.mkdir()
    home.bundle.bind(volume, "/volume", "rw")
    home.bundle.bind(volume, "/fixed", "ro")
    script = """
b=/bin/busybox
echo > /volume/f; $b chown 5:6 /volume/f; $b stat -c '%u %g' /volume/f /fixed/f
$b chown 7 /fixed/f
"""
    outcome = home.run(script, "--map-owners")
    assert outcome.text == "5 6\n5 6\n", outcome.explain()
    assert b"Read-only file system" in outcome.stderr
    assert on_the_host(volume / "f") == (USER, 0o644, b"5:6:0644")
    look = "b=/bin/busybox; $b stat -c '%u %g' /f; $b chown 8:9 /f; $b chmod 6755 /f; $b stat -c '%a %u %g' /f"
    shutil.copytree(home.bundle.root / "bin", volume / "bin")
    done = home.pysc("--map-owners", "do", "--root", volume, "--", "/bin/busybox", "sh", "-c", look)
    assert done.text == "5 6\n6755 8 9\n", done.explain()
    assert on_the_host(volume / "f") == (USER, 0o644, b"5:6:0644")


ATTRIBUTES = """
import os

open("file", "w").close()
os.chown("file", 5, 6)
os.setxattr("file", "user.mine", b"x")
for place in ("file", "/lower/file"):
    print(os.stat(place).st_uid, os.listxattr(place))
    for call in (
        lambda: os.getxattr(place, "user.pysc.owner"),
        lambda: os.setxattr(place, "user.pysc.owner", b"0:0:4755"),
        lambda: os.removexattr(place, "user.pysc.owner"),
    ):
        try:
            print(call())
        except OSError as error:
            print(error.strerror)
print(os.stat("file").st_uid)
"""


def python_for_all() -> tuple[Path, Path]:
    """Return an interpreter that every user may run, and its prefix."""
    for prefix in (Path(sys.base_prefix), Path("/usr")):
        interpreter = (prefix / "bin" / "python3").resolve()
        if interpreter.exists() and all(folder.stat().st_mode & 1 for folder in interpreter.parents):
            return interpreter, prefix
    return missing("needs a python that every user may run")


def bind_python(home: Home, program: Path, volume: Path) -> tuple[Path, str]:
    """Mount what an interpreter needs; return it, and the command that runs ``program`` in /volume."""
    interpreter, prefix = python_for_all()
    volume.mkdir()
    for folder in ("/usr", "/lib", "/lib64"):
        home.bundle.bind(Path(folder).resolve(), folder, "ro")
    home.bundle.bind(prefix, "/python", "ro")
    home.bundle.bind(program, "/program.py", "ro")
    home.bundle.bind(volume, "/volume", "rw")
    return interpreter, f"cd /volume && PYTHONHOME=/python exec /python/bin/{interpreter.name} -S /program.py"


def test_guests_cannot_see_or_set_the_attribute(home: Home, reachable: Path) -> None:
    program = reachable / "program.py"
    program.write_text(ATTRIBUTES)
    lower = home.path / "lower"
    lower.mkdir()
    (lower / "file").touch()
    os.setxattr(lower / "file", OWNER, b"5:6:0644")
    home.bundle.bind(lower, "/lower", "rw")
    _, command = bind_python(home, program, reachable / "volume")
    outcome = home.run(command, "--map-owners")
    refused = ["Operation not supported", "Operation not permitted", "Operation not permitted"]
    assert outcome.text.splitlines() == ["5 ['user.mine']", *refused, "5 []", *refused, "5"], outcome.explain()


def test_files_mean_what_they_do_for_root(home: Home, reachable: Path) -> None:
    """The program of test_host_files.py, as root on the host and in an ordinary user's sandbox; equal outputs."""
    program = Path(__file__).parent / "semantics.py"
    interpreter, command = bind_python(home, program, reachable / "volume")
    native = reachable / "native"
    native.mkdir()
    expected = run([interpreter, "-I", "-S", program], cwd=native)
    assert expected.status == 0, expected.explain()
    for flags in (["--map-owners"], ["--map-owners", "--file-access-mounts=exclusive"]):
        shutil.rmtree(reachable / "volume")
        (reachable / "volume").mkdir()
        outcome = home.run(command, *flags)
        assert outcome.text.splitlines() == expected.text.splitlines(), outcome.explain()
    assert not any(path.lstat().st_mode & 0o6000 for path in (reachable / "volume").rglob("*"))


def test_a_file_system_without_attributes_is_told(home: Home) -> None:
    volume = home.path / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", str(volume)], check=True)
    try:
        for mode, words in (
            ("rw", f"pysc: --map-owners: the file system of {volume} has no user attributes"),
            ("ro", ""),
        ):
            home.bundle._mounts.clear()
            home.bundle.bind(volume, "/volume", mode)
            outcome = home.run("echo started", "--map-owners")
            assert outcome.stderr.decode().startswith(words), outcome.explain()
            assert (outcome.status, outcome.stderr.count(b"\n")) == ((128, 1) if words else (0, 0)), outcome.explain()
    finally:
        subprocess.run(["umount", str(volume)], check=True)


@pytest.mark.parametrize("flags", [[], ["--map-owners"], ["--file-access-direct=off"]], ids=" ".join)
def test_who_is_not_in_the_namespace_sets_nobodys_id(home: Home, need: Callable[[str], str], flags: list[str]) -> None:
    """mount(8) is root's: it would run as 65534, and refuse."""
    assert os.stat(need("mount")).st_mode & stat.S_ISUID
    done = home.pysc(*flags, "do", "--", "/bin/sh", "-c", "mount -t tmpfs x /mnt && touch /mnt/here && ls /mnt")
    assert (done.status, done.text) == (0, "here\n"), done.explain()
