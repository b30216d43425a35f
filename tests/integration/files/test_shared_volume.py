"""A volume that several write to at once, and one whose gofers are killed."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from pysc.cabi import host
from pysc.cabi.linux.fcntl import RENAME_EXCHANGE
from tests.integration.files.bundles import Bundle
from tests.integration.files.test_host_files import gofer_of
from tests.support.builds import compile_guest

ROUNDS = 40
ON_THE_HOST = 10 * ROUNDS
FLIPPED = 100
SWAPPED = 60
KILLS = 6


@pytest.fixture
def program(shared_folder: Path) -> Callable[[str], Path]:
    """Return a function that compiles a program of this folder."""
    return lambda name: compile_guest(Path(__file__).parent / f"{name}.c", "static", shared_folder)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    made = tmp_path / "volume"
    made.mkdir()
    return made


@pytest.mark.parametrize("flag", ["--file-access-direct=on", "--file-access-direct=off"])
def test_two_sandboxes_and_the_host_at_once(
    need: Callable[[str], str],
    namespaces: None,
    root_user: None,
    tmp_path: Path,
    volume: Path,
    program: Callable[[str], Path],
    flag: str,
) -> None:
    """Names, locks, mappings and appended lines are everybody's: no call fails that would not on the host."""
    together = program("together")
    for name in ("counter", "entered"):
        (volume / name).write_bytes(bytes(8))
    with ExitStack() as stack:

        def start(command: list[str]) -> subprocess.Popen[str]:
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            return process

        processes = []
        for name in ("one", "two"):
            bundle = Bundle(tmp_path / name, need("busybox"), tmp_path / "state")
            shutil.copy(together, bundle.root / "bin" / "together")
            bundle.bind(volume, "/volume", "rw")
            processes.append(start(bundle.command(f"exec /bin/together /volume {name} {ROUNDS}", [flag])))
        while not (volume / "log").exists() and processes[0].poll() is None:
            time.sleep(0.02)
        processes.append(start([str(together), str(volume), "host", str(ON_THE_HOST)]))
        outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    counter, entered = (int.from_bytes((volume / name).read_bytes(), "little") for name in ("counter", "entered"))
    lines = (volume / "log").read_text().splitlines()
    assert counter == len(lines) == len(set(lines)) == 2 * ROUNDS + ON_THE_HOST
    assert entered == sum(map(int, outputs))
    assert sorted(os.listdir(volume)) == ["counter", "current", "entered", "log"]


@pytest.mark.parametrize("flag", ["--file-access-direct=on", "--file-access-direct=off"])
def test_a_name_that_is_given_to_other_files_without_pause(bundle: Bundle, volume: Path, flag: str) -> None:
    """Most tries to open what was just found come too late: the call begins again until one does not."""
    bundle.bind(volume, "/volume", "rw")
    opens = 'for i in $(seq 300); do : < /volume/current && : >> /volume/current || exit; done; echo "$i"'
    (volume / "current").touch()
    with subprocess.Popen(bundle.command(opens, [flag]), stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            (volume / "new").touch()
            (volume / "new").replace(volume / "current")
        assert process.communicate() == ("300\n", None)


@pytest.mark.parametrize("flag", ["--file-access-direct=on", "--file-access-direct=off"])
@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [("files", "file", "file"), ("files", "file", "link"), ("all", "file", "dir"), ("directories", "dir", "dirlink")],
    ids=["files", "link-or-file", "file-or-directory", "link-or-directory"],
)
def test_a_name_that_changes_its_kind_without_pause(
    bundle: Bundle, volume: Path, program: Callable[[str], Path], kind: str, one: str, other: str, flag: str
) -> None:
    """What was found when the path was walked may be of another kind when it is asked: no call fails for that."""

    def make(path: Path, kind: str) -> None:
        if kind == "dir":
            path.mkdir()
            (path / "f").touch()
        elif kind == "file":
            path.write_text("hello")
        else:
            path.symlink_to("a_directory" if kind == "dirlink" else "a_file")

    make(volume / "a_file", "file")
    make(volume / "a_directory", "dir")
    make(volume / "one", one)
    make(volume / "other", other)
    shutil.copy(program("flipped"), bundle.root / "bin" / "flipped")
    bundle.bind(volume, "/volume", "rw")
    command = bundle.command(f"exec /bin/flipped /volume/one {kind} {FLIPPED}", [flag])
    fd = os.open(volume, os.O_PATH)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            host.rename(fd, b"one", fd, b"other", RENAME_EXCHANGE)
        assert (process.communicate()[0], process.returncode) == ("", 0)
    os.close(fd)


@pytest.mark.parametrize("flag", ["--file-access-direct=on", "--file-access-direct=off"])
def test_directories_that_are_swapped_without_pause(
    bundle: Bundle, volume: Path, program: Callable[[str], Path], flag: str
) -> None:
    """What one process has found of them is wrong for the next, and for itself a moment later."""
    for name in ("one", "two"):
        (volume / name / "below").mkdir(parents=True)
        (volume / name / "file").touch()
        (volume / name / "below" / "file").touch()
    shutil.copy(program("swapped"), bundle.root / "bin" / "swapped")
    bundle.bind(volume, "/volume", "rw")
    command = bundle.command(f"cd /volume && exec /bin/swapped 3 {SWAPPED}", [flag])
    fd = os.open(volume, os.O_PATH)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            for below in ("", "/below", "/file"):
                host.rename(fd, os.fsencode("one" + below), fd, os.fsencode("two" + below), RENAME_EXCHANGE)
        assert (process.communicate()[0], process.returncode) == ("", 0)
    os.close(fd)


@pytest.mark.parametrize("flag", ["--file-access-direct=on", "--file-access-direct=off"])
@pytest.mark.parametrize("access", ["exclusive", "shared"])
def test_what_was_answered_is_done_and_nothing_is_done_twice(
    bundle: Bundle, volume: Path, program: Callable[[str], Path], flag: str, access: str
) -> None:
    """Gofers are killed: what was being asked fails with EIO, is logged, and is not asked again."""
    shutil.copy(program("told"), bundle.root / "bin" / "told")
    bundle.bind(volume, "/volume", "rw")
    command = bundle.command("cd /volume && exec /bin/told", [flag, f"--file-access-mounts={access}"])
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, bufsize=0, **pipes) as process:
        try:
            assert process.stdout is not None
            begin = process.stdout.readline()  # with a buffer communicate() would miss what is in there
            killed: set[int] = set()
            deadline = time.monotonic() + 60
            while len(killed) < KILLS and time.monotonic() < deadline and process.poll() is None:
                gofer = gofer_of(process.pid)
                if gofer is not None and gofer not in killed:
                    time.sleep(random.uniform(0.05, 0.3))
                    os.kill(gofer, signal.SIGKILL)
                    killed.add(gofer)
                time.sleep(0.02)
            stdout, stderr = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (len(killed), process.returncode) == (KILLS, 0), stderr
    told = [
        (int(number), step, int(error))
        for number, step, error in map(str.split, (begin + stdout).decode().splitlines())
    ]
    assert {error for _, step, error in told if step != "-"} <= {errno.EIO}, stdout[-500:]
    failed = sum(step != "-" for _, step, _ in told)
    assert len(told) > failed
    assert failed <= sum(map(int, re.findall(r"; (\d+) requests fail", stderr.decode())))
    written = []
    for number, step, _ in told:
        text = f"{number:08}\n"
        first, second = volume / f"first.{number}", volume / f"second.{number}"
        there = {path.name: path.read_text() for path in (first, second) if path.exists()}
        if step in ("mkdir", "create"):
            assert there in ({}, {first.name: ""})
            continue
        written.append(text)
        if step == "rename":
            assert there in ({first.name: text}, {second.name: text})
        elif step == "truncate":
            assert there in ({second.name: text}, {second.name: text[:8]})
        elif step in ("chmod", "link"):
            assert there == {first.name: text}
        else:
            assert there == {second.name: text[:8]}
        assert all((volume / name).stat().st_mode & 0o777 == 0o600 for name in there if step != "chmod")
    assert (volume / "log").read_text() == "".join(written)
    # The directory stays where the program is stopped before it could clean up.
    assert {path.name.partition(".")[0] for path in volume.iterdir()} <= {"first", "second", "log", "directory"}
