"""``pysc debug --manifest``: of what is being made, runs or has ended, and of files that somebody has tampered with."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import stat
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pysc.cabi.build_id import BUILD, guest_build
from tests.integration.supervisor.runtime import Runtime, eventually


def shown(runtime: Runtime, container: str) -> dict[str, Any]:
    done = runtime.run("debug", "--manifest", "--format=json", container)
    assert (done.returncode, done.stderr) == (0, ""), done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def create(runtime: Runtime, container: str, bundle: Path) -> None:
    runtime.run("create", "-b", bundle, container, capture_output=False, stdout=subprocess.DEVNULL)


def test_a_created_container_has_one(runtime: Runtime) -> None:
    (runtime.place / "volume").mkdir()
    mounts = [{"destination": "/v", "type": "bind", "source": str(runtime.place / "volume"), "options": ["ro"]}]
    bundle = runtime.bundle("sleep", mounts=mounts, unknown={"to": ["pysc"]})
    create(runtime, "box", bundle)
    file = runtime.state / "box/manifest"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = shown(runtime, "box")
    text = (bundle / "config.json").read_bytes()
    assert found["specSha256"] == hashlib.sha256(text).hexdigest()
    assert found["spec"] == json.loads(text)
    assert (found["build"], found["guestBuild"]) == (BUILD, guest_build().hex())
    assert found["bundle"] == str(bundle)
    assert [source["path"] for source in found["sources"]] == [str(bundle / "rootfs"), str(runtime.place / "volume")]
    for source in found["sources"]:
        there = os.stat(source["path"])
        assert (source["device"], source["inode"]) == (there.st_dev, there.st_ino)
    assert found["misfit"] is None
    before = file.read_bytes()
    runtime.run("start", "box")
    runtime.run("kill", "box", "KILL")
    assert shown(runtime, "box") == found  # also of one that has ended
    assert file.read_bytes() == before
    runtime.run("delete", "--force", "box")
    assert not list(runtime.state.iterdir())


def test_features_are_those_that_linux_shows(runtime: Runtime) -> None:
    create(runtime, "box", runtime.bundle("sleep"))
    (line, *_) = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")]
    processor = shown(runtime, "box")["processor"]
    named = {name for name in processor["features"] if not name.startswith("cpuid:")}
    assert {"sse2", "lm", "syscall"} <= named <= set(line.split())
    numbers = [component["number"] for component in processor["components"]]
    assert numbers == [number for number in range(2, 63) if processor["xcr0"] >> number & 1]
    assert ("avx" in named) == (2 in numbers)


def test_it_is_a_table_for_people(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    create(runtime, "box", runtime.bundle("sleep"))
    text = runtime.run("debug", "--manifest", "box").stdout
    assert f"build        {BUILD}\n" in text
    assert text.endswith("this host    can run it\n")
    ours, theirs = pty.openpty()
    runtime.run("debug", "--manifest", "box", capture_output=False, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    assert b"\x1b[32mcan run it" in os.read(ours, 1 << 16)
    os.close(ours)


def test_another_host_cannot_run_it(runtime: Runtime) -> None:
    create(runtime, "box", runtime.bundle("sleep"))
    file = runtime.state / "box/manifest"
    made = msgspec.msgpack.decode(file.read_bytes())
    made["processor"]["features"]["7.1.eax"] |= 1 << 9  # a bit that means nothing yet
    file.write_bytes(msgspec.msgpack.encode(made))
    why = "the processor here has no cpuid:7.1.eax.9: use a host like the one that it was made on"
    assert shown(runtime, "box")["misfit"] == why
    assert f"this host    {why}\n" in runtime.run("debug", "--manifest", "box").stdout


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "damaged"),
        (b"\x91" * 100_000, "damaged"),
        (b"\x81\xa7version\x02", "version 2"),
        (b"\x82\xa7version\x01\xa3\x1b[2", "damaged"),
        (None, "has no manifest"),
    ],
)
@pytest.mark.parametrize("how", ["json", "table"])
def test_a_damaged_one_is_one_line(runtime: Runtime, data: bytes | None, word: str, how: str) -> None:
    create(runtime, "box", runtime.bundle("sleep"))
    file = runtime.state / "box/manifest"
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)
    done = runtime.run("debug", "--manifest", "--format", how, "box")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (128, "", 1)
    assert word in done.stderr
    assert "\x1b" not in done.stderr


def test_what_cannot_be_shown(runtime: Runtime) -> None:
    for arguments, words in (
        (["--manifest", "nothing"], "container does not exist: nothing"),
        (["--manifest", "--counters", "nothing"], "say what to show: --confinement, --counters or --manifest"),
    ):
        done = runtime.run("debug", *arguments)
        assert (done.returncode, done.stdout) == (128, "")
        assert words in done.stderr


def test_a_program_of_the_host_s_has_one(runtime: Runtime) -> None:
    process = runtime.start("do", "-e", "NAME=\udcff", "--", "sleep")
    container = f"do-{process.pid}"
    try:
        file = runtime.state / container / "manifest"
        eventually(file.exists, "it has no manifest")
        found = shown(runtime, container)
        assert found["spec"]["process"]["args"] == ["sleep"]
        assert "NAME=\udcff" in found["spec"]["process"]["env"]
        assert [source["path"] for source in found["sources"]] == ["/"]
    finally:
        process.terminate()
        process.communicate(timeout=15)
    assert not (runtime.state / container).exists()
