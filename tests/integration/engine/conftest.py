"""Fixtures of the engine's tests: guests compiled on demand, a small kernel."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from tests.integration.engine.kernel import TestKernel

GUESTS = Path(__file__).parents[2] / "guests" / "engine"
NOLIBC = ["-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fno-builtin", "-O1"]

Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_guest(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compile tests/guests/engine/NAME.c once, statically; with libc only if asked."""
    folder = tmp_path_factory.mktemp("guests")

    def compile_one(name: str, *, libc: bool = False, flags: tuple[str, ...] = ()) -> Path:
        output = folder / (name + ("-libc" if libc else ""))
        if not output.exists():
            kind = ["-O1", "-pthread"] if libc else NOLIBC
            command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-static", "-no-pie", "-mno-red-zone"]
            subprocess.run(
                [*command, *kind, *flags, "-o", output, GUESTS / f"{name}.c", *(["-lm"] if libc else [])], check=True
            )
        return output

    return compile_one


@pytest.fixture(scope="module")
def guest_half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guest half as a file of its own."""
    image = tmp_path_factory.mktemp("image") / "guest.elf"
    image.write_bytes(files("pysc.cabi").joinpath("guest.elf").read_bytes())
    return image


@pytest.fixture(params=[False, True], ids=["general", "fastpath"])
def kernel(request: pytest.FixtureRequest) -> TestKernel:
    """A kernel that has not started, with the guest half's own answers off and on."""
    return TestKernel(fastpath=request.param)
