"""From config.json to what the daemons are started with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysc.supervisor import names, plan, spec
from pysc.supervisor.commands.spec import template
from pysc.supervisor.failure import Failure
from pysc.supervisor.options import GlobalOptions
from pysc.urpc.schema import sentry


def bundle(place: Path, **changes: Any) -> str:
    (place / "rootfs").mkdir(exist_ok=True)
    config = {"process": {"args": ["sh", "-c", "é"], "cwd": "/"}, "root": {"path": "rootfs"}, **changes}
    (place / "config.json").write_text(json.dumps(config))
    return str(place)


def make(place: Path, options: GlobalOptions | None = None, *, overlay: bool = False, **changes: Any) -> plan.Plan:
    loaded = spec.load(bundle(place, **changes)).spec
    return plan.make("box", loaded, options or GlobalOptions(), overlay=overlay, window=(0, 0))


def test_the_least_bundle(tmp_path: Path) -> None:
    made = make(tmp_path)
    assert made.exports == (plan.Export(os.fsencode(tmp_path / "rootfs"), readonly=False),)
    boot = made.boot
    assert boot.args == (b"sh", b"-c", "é".encode())
    assert (boot.uid, boot.gid, boot.groups, boot.umask) == (0, 0, (), 0o022)
    assert boot.capabilities == sentry.Capabilities()
    assert boot.root == sentry.Root(readonly=False, overlay=False, shared=False)
    assert [(mount.target, mount.type) for mount in boot.mounts] == [(b"/dev", "devtmpfs")]


def test_the_template_is_a_valid_bundle(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(template([])))
    made = plan.make("x", spec.load(str(tmp_path)).spec, GlobalOptions(), overlay=False, window=(24, 80))
    assert made.boot.terminal
    assert made.boot.rlimits == {7: (1024, 1024)}
    assert [(mount.target, mount.type) for mount in made.boot.mounts][:3] == [
        (b"/proc", "proc"), (b"/dev", "devtmpfs"), (b"/dev/pts", "devpts"),
    ]  # fmt: skip


def test_null_is_what_go_writes_for_nothing(tmp_path: Path) -> None:
    process = {"args": ["sh"], "cwd": "/", "env": None, "capabilities": None, "rlimits": None, "consoleSize": None}
    made = make(tmp_path, process=process, mounts=None, hooks=None, annotations=None, linux=None)
    assert made.boot.env == ()


def test_capabilities_in_both_forms(tmp_path: Path) -> None:
    flat = make(tmp_path, process={"args": ["sh"], "capabilities": ["CAP_KILL", "chown"]}).boot.capabilities
    assert flat == sentry.Capabilities(33, 33, 33, 33, 0)
    sets = {"bounding": ["CAP_KILL"], "ambient": ["CAP_CHECKPOINT_RESTORE"]}
    made = make(tmp_path, process={"args": ["sh"], "capabilities": sets}).boot.capabilities
    assert made == sentry.Capabilities(bounding=32, ambient=1 << 40)


def test_binds_are_exported_in_order_and_options_understood(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mounts = [
        {"destination": "/a/../b", "type": "bind", "source": "data", "options": ["rbind", "ro", "nosuid", "rprivate"]},
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=64m", "mode=755", "noexec", "rw"]},
        {"destination": "/c", "type": "none", "source": str(tmp_path), "options": ["bind"]},
    ]
    made = make(tmp_path, mounts=mounts)
    _dev, first, second, third = made.boot.mounts
    assert (first.target, first.type, first.readonly, first.nosuid) == (b"/b", "bind", True, True)
    assert (first.gofer_mount, second.gofer_mount, third.gofer_mount) == (1, -1, 2)
    assert (second.options, second.noexec, second.readonly) == (("size=64m", "mode=755"), True, False)
    assert [(export.source, export.readonly) for export in made.exports[1:]] == [
        (os.fsencode(tmp_path / "data"), True),
        (os.fsencode(tmp_path), False),
    ]


def test_what_shows_the_host_is_replaced_by_the_sentrys_own(tmp_path: Path) -> None:
    made = make(tmp_path, mounts=[{"destination": "/p", "type": "bind", "source": "/proc/sys"}])
    assert made.boot.mounts[1].type == "proc"
    assert made.boot.mounts[1].gofer_mount == -1
    assert len(made.exports) == 1


def test_an_unknown_option_of_a_bind_is_refused(tmp_path: Path) -> None:
    mounts = [{"destination": "/b", "type": "bind", "source": "/usr", "options": ["upside-down"]}]
    with pytest.raises(Failure, match="unknown option 'upside-down' of bind mount /b"):
        make(tmp_path, mounts=mounts)


@pytest.mark.parametrize(
    ("readonly", "overlay", "root", "export"),
    [
        (False, False, sentry.Root(False, False), False),
        (True, False, sentry.Root(True, False), True),
        (False, True, sentry.Root(False, True), True),
        (True, True, sentry.Root(True, False), True),
    ],
)
def test_root_and_overlay(tmp_path: Path, readonly: bool, overlay: bool, root: sentry.Root, export: bool) -> None:
    made = make(tmp_path, overlay=overlay, root={"path": "rootfs", "readonly": readonly})
    assert made.boot.root == root
    assert made.exports[0].readonly is export


def test_flags_reach_the_sentry(tmp_path: Path) -> None:
    options = GlobalOptions(
        fastpath="off", strace=True, strace_syscalls="read,,write", file_access="shared",
        file_access_mounts="exclusive", file_access_direct="off", log_format="json",
    )  # fmt: skip
    boot = make(tmp_path, options).boot
    assert not boot.flags.fastpath
    assert boot.flags.strace_syscalls == ("read", "write")
    assert boot.root.shared
    assert not boot.flags.file_access_direct
    assert boot.flags.log_format == "json"
    assert make(tmp_path, GlobalOptions(map_owners=True)).map_owners


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    asked = {
        "process": {"args": ["sh"], "apparmorProfile": "docker-default"},
        "linux": {
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO"},
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
            "sysctl": {"net.ipv4.ip_forward": "1"},
            "rootfsPropagation": "rshared",
        },
    }
    assert list(spec.left_out(spec.load(bundle(tmp_path, **asked)).spec)) == [
        "process.apparmorProfile 'docker-default' is ignored",
        "linux.seccomp is ignored",
        "linux.devices is ignored",
        "linux.sysctl is ignored",
        "linux.rootfsPropagation 'rshared' is ignored: no mount inside shows outside",
    ]
    nothing = {"seccomp": None, "devices": [], "sysctl": {}, "rootfsPropagation": "rslave"}
    assert not list(spec.left_out(spec.load(bundle(tmp_path, linux=nothing)).spec))


def test_paths_that_are_masked_or_protected(tmp_path: Path) -> None:
    boot = make(tmp_path, linux={"maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys", "/é"]}).boot
    assert (boot.masked_paths, boot.readonly_paths) == ((b"/proc/kcore",), (b"/proc/sys", "/é".encode()))
    for name in ("maskedPaths", "readonlyPaths"):
        with pytest.raises(Failure, match=f"linux.{name}: 'proc' must be absolute"):
            make(tmp_path, linux={name: ["proc"]})


KEYS = ["process", "args", "root", "path", "mounts", "destination", "linux", "hooks", "cwd", "env", "user"]
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
CONFIGS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(CONFIGS)
def test_no_config_raises_anything_but_a_failure(tmp_path_factory: pytest.TempPathFactory, config: Any) -> None:
    place = tmp_path_factory.mktemp("bundle", numbered=True)
    (place / "config.json").write_text(json.dumps(config))
    said = ""
    try:
        spec.load(str(place))
    except Failure as failure:
        said = str(failure)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "number"), [("KILL", 9), ("sigterm", 15), ("15", 15), ("SIGRTMIN+3", 37), ("34", 34), ("Usr1", 10)]
)
def test_signals(text: str, number: int) -> None:
    assert names.signal_number(text) == number


@pytest.mark.parametrize("text", ["", "0", "-1", "65", "BOGUS", "SIG", "SIG_IGN", "9 ", "٩", "RTMIN+31"])
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(Failure, match="unknown signal"):
        names.signal_number(text)


def test_capability_names_are_in_the_kernels_order() -> None:
    assert names.capability_mask(["CAP_SYS_ADMIN"]) == 1 << 21
    assert names.capability_mask(["CAP_BPF"]) == 1 << 39
    assert names.capability_names(1 << 21 | 1) == ["CHOWN", "SYS_ADMIN"]
