"""What all tests share: the modes that they run in, and the probes for what they need."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.builds import LINKING, compile_guest
from tests.support.modes import DEFAULT, EVERY_MODE, FROZEN, FROZEN_MODES, Mode
from tests.support.needs import missing
from tests.support.sandbox import Sandbox

GUESTS = Path(__file__).parent / "guests"

# Whoever is started in the background of a shell ignores these, and so would all programs under test.
for _number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

settings.register_profile("untimed", settings.default, deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--modes",
        choices=("default", "guests", "all"),
        default="default",
        help="which tests run in every mode of a sandbox: none, the guest programs, or all",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "mode" not in metafunc.fixturenames:
        return
    wanted = metafunc.config.getoption("--modes")
    of_guests = metafunc.definition.get_closest_marker("every_mode") is not None
    modes: tuple[Mode, ...] = EVERY_MODE if wanted == "all" or (wanted == "guests" and of_guests) else (DEFAULT,)
    if wanted == "all" and of_guests:
        modes += FROZEN_MODES
    elif wanted == "guests" and "build" in metafunc.fixturenames:
        modes += (FROZEN,)
    if "build" not in metafunc.fixturenames:
        metafunc.parametrize("mode", modes, ids=[mode.name for mode in modes], scope="session")
        return
    pairs = [(mode, build) for mode in modes for build in LINKING]
    if wanted != "all":  # the other modes see one build each: what differs between builds is the loader's
        pairs = [(mode, build) for mode, build in pairs if mode == DEFAULT or build == "static"]
    ids = [f"{mode.name}-{build}" for mode, build in pairs]
    metafunc.parametrize(("mode", "build"), pairs, ids=ids, scope="session")


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """Return a function that finds a program of the host, or skips the test."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            missing(f"{program} is not installed")
        return path

    return find


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Probe for the namespaces that a sandbox is made of."""
    unshare = shutil.which("unshare")
    if unshare is None:
        missing("unshare (util-linux) is not installed")
    probe = [unshare, "--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "true"]
    tried = subprocess.run(probe, capture_output=True, timeout=20, check=False)
    if tried.returncode:
        missing(f"no namespaces here: {tried.stderr.decode().strip()}")


@pytest.fixture(scope="session")
def root_user() -> None:
    """Probe for root, which some comparisons with the host need."""
    if os.geteuid() != 0:
        missing("needs root")


@pytest.fixture(scope="session")
def sandbox(namespaces: None, mode: Mode) -> Sandbox:
    """Return what runs commands under ``pysc do`` in the mode of the test."""
    return Sandbox(mode)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one folder for all workers of this session, open to every user as the guests' identities need it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def guest_binary(need: Callable[[str], str], shared_folder: Path) -> Callable[[str, str], Path]:
    """Return a function that compiles a guest program: ``guest_binary("fork", "static")``."""
    need("cc")
    return lambda name, build: compile_guest(GUESTS / f"{name}.c", build, shared_folder)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that other users get to.  pytest's own are made private again by each session that begins."""
    with tempfile.TemporaryDirectory(prefix="pysc-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
