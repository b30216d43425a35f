"""How each subject runs a command: the bare host, and anything that takes ``run --bundle DIR ID``."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.workloads import ENVIRONMENT, KIT

MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "mode=1777"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=1777"]},
]
NAMESPACES = ["pid", "network", "ipc", "uts", "mount"]
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETUID", "CAP_SETGID"]


@dataclass(frozen=True)
class Workshop:
    """Directories of one run: the guest program and the kit, a root for containers, an empty place to write to."""

    base: Path
    root: Path | None
    """The host's root file system, bound here; None without the privilege."""
    work: Path
    """A memory file system where there is one, as /tmp is in the containers."""

    @property
    def kit(self) -> Path:
        """Return where the guest program lies."""
        return self.base / "kit"


@dataclass(frozen=True)
class Ran:
    """The outcome of one command."""

    ok: bool
    output: str
    complaint: str


@dataclass
class Runtime:
    """One subject; an empty ``command`` is the bare host."""

    name: str
    command: list[str] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=itertools.count, repr=False)

    @property
    def bare(self) -> bool:
        """Whether it is the host itself."""
        return not self.command

    def start(self, shop: Workshop, args: Sequence[str], root: Path | None = None) -> subprocess.Popen[bytes]:
        """Start ``args`` inside."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if self.bare:
            return subprocess.Popen(args, env=ENVIRONMENT, **pipes)  # type: ignore[call-overload,no-any-return]
        identifier = f"bench-{self.name}-{os.getpid()}-{next(self._ids)}"
        bundle = shop.base / identifier
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(configuration(root or shop.root, args, shop.kit)))
        whole = [*self.command, "run", "--bundle", str(bundle), identifier]
        return subprocess.Popen(whole, **pipes)  # type: ignore[call-overload,no-any-return]

    def run(self, shop: Workshop, args: Sequence[str], root: Path | None = None, deadline: float = 600) -> Ran:
        """Run ``args`` inside to their end."""
        with self.start(shop, args, root) as process:
            try:
                output, complaint = process.communicate(timeout=deadline)
            except subprocess.TimeoutExpired:
                process.kill()
                output, complaint = process.communicate()
                return Ran(False, output.decode(), f"still running after {deadline:.0f} s")
        last = complaint.decode(errors="replace").strip().splitlines()[-1:] or [f"status {process.returncode}"]
        return Ran(process.returncode == 0, output.decode(), last[0])

    def writable(self, shop: Workshop) -> str:
        """Return the directory to write to, as the command sees it."""
        return str(shop.work) if self.bare else "/tmp"

    def kit(self, shop: Workshop) -> str:
        """Return the directory of the guest program, as the command sees it."""
        return str(shop.kit) if self.bare else "/mnt"


def configuration(root: Path | None, args: Sequence[str], kit: Path) -> dict[str, Any]:
    """Return a config.json that every OCI runtime takes."""
    assert root is not None
    bind = {"destination": "/mnt", "type": "bind", "source": str(kit), "options": ["bind", "ro"]}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "bench",
        "mounts": [*MOUNTS, bind],
        "linux": {"namespaces": [{"type": kind} for kind in NAMESPACES]},
    }


def known_runtimes(state: Path) -> list[Runtime]:
    """Return pysc, and runc and Debian's runsc where they are installed."""
    found = [Runtime("pysc", [sys.executable, "-P", "-m", "pysc", "--root", str(state / "pysc")])]
    if (runc := shutil.which("runc")) is not None:
        found.append(Runtime("runc", [runc, "--root", str(state / "runc")]))
    if (runsc := shutil.which("runsc")) is not None:
        flags = ["--platform=ptrace", "--network=none", "--ignore-cgroups", "--root", str(state / "runsc")]
        found.append(Runtime("runsc", [runsc, *flags]))
    return found


@contextlib.contextmanager
def workshop() -> Iterator[Workshop]:
    """Make the directories, compile the guest program, bind the host's root; undo all of it."""
    with contextlib.ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pysc-bench-")))
        base.chmod(0o755)
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pysc-bench-", dir=memory)))
        kit = base / "kit"
        kit.mkdir()
        source = Path(__file__).with_name("guest.c")
        subprocess.run(["cc", "-O2", "-Wall", "-static", "-pthread", "-o", kit / "guest", source], check=True)
        for name, text in KIT.items():
            (kit / name).write_text(text)
        yield Workshop(base, bound_root(base, stack), work)


def bound_root(base: Path, stack: contextlib.ExitStack) -> Path | None:
    """Bind the host's root, alone and read-only, where containers find it; None where that is not allowed."""
    root = base / "root"
    root.mkdir()
    bind = ["mount", "--bind", "--make-private", "/", str(root)]
    if subprocess.run(bind, check=False, capture_output=True).returncode:
        return None
    stack.callback(subprocess.run, ["umount", "--lazy", str(root)], check=True)
    return root


def busybox_root(shop: Workshop) -> Path | None:
    """Make a root that holds busybox and nothing else."""
    busybox = shutil.which("busybox")
    if busybox is None:
        return None
    root = shop.base / "busybox"
    if not root.exists():
        for name in ("bin", "proc", "dev", "sys", "tmp", "mnt"):
            (root / name).mkdir(parents=True)
        shutil.copy(busybox, root / "bin/busybox")
        for name in ("sh", "echo", "sleep", "true"):
            (root / "bin" / name).symlink_to("busybox")
    return root
