"""Bundles with a writable root of the host's."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.support.sandbox import PYSC, Outcome, run

CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD"]


class Bundle:
    """A root with busybox, writable, and what is mounted into it."""

    def __init__(self, path: Path, busybox: str, state: Path) -> None:
        self.path = path
        self.root = path / "rootfs"
        for name in ("bin", "tmp", "proc", "dev"):
            (self.root / name).mkdir(parents=True)
        shutil.copy(busybox, self.root / "bin" / "busybox")
        self._state = state
        self._mounts: list[dict[str, object]] = []

    def bind(self, source: Path, target: str, *options: str) -> None:
        self._mounts.append(
            {"destination": target, "type": "bind", "source": str(source), "options": ["bind", *options]}
        )

    def command(self, script: str, flags: Sequence[str] = ()) -> list[str]:
        sets = ("bounding", "effective", "inheritable", "permitted", "ambient")
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "args": ["/bin/busybox", "sh", "-c", script],
                "env": ["PATH=/bin"],
                "cwd": "/tmp",
                "user": {"uid": 0, "gid": 0},
                "capabilities": dict.fromkeys(sets, CAPABILITIES),
            },
            "root": {"path": "rootfs", "readonly": False},
            "hostname": "files",
            "mounts": [
                {"destination": "/proc", "type": "proc"},
                {"destination": "/dev", "type": "tmpfs"},
                *self._mounts,
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
        }
        (self.path / "config.json").write_text(json.dumps(config))
        identity = f"files-{uuid.uuid4().hex[:12]}"
        return [*PYSC, "--root", str(self._state), *flags, "run", "--bundle", str(self.path), identity]

    def run(self, script: str, flags: Sequence[str] = ()) -> Outcome:
        return run(self.command(script, flags))
