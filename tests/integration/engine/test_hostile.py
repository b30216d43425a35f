"""Guests that turn on their own guest half, channel and keyhole: others are served as before, and the sentry lives."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from pysc.sentry.kernel.scheduler import Completion
from tests.integration.engine.conftest import Compile
from tests.integration.engine.kernel import Task, TestKernel, wait_for_others
from tests.integration.kernel import harness

ATTACKS = {
    "channel": b"c",
    "record": b"r",
    "jump": b"j",
    "jump-elsewhere": b"t",
    "ring-flood": b"d",
    "hang-up": b"s",
    "forged-birth": b"b",
    "forged-nonsense": b"n",
    "forged-frame-fault": b"f",
    "forged-done": b"o",
    "forged-undone": b"u",
    "forged-call": b"y",
    "forged-meanwhile": b"w",
}

FORGED = [attack for name, attack in ATTACKS.items() if name.startswith("forged")]


@pytest.fixture(scope="module")
def gadget(guest_half: Path) -> int:
    """The address of a `syscall` in the guest half that a guest can use with its own registers."""
    symbols = subprocess.run(["nm", guest_half], check=True, capture_output=True, text=True).stdout
    return next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" block_check"))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_attack(kernel: TestKernel, compile_guest: Compile, gadget: int, attack: bytes) -> None:
    """The parent of the attacker ends well; nothing is left behind.  Who breaks the protocol is killed at once.

    A call that is reported instead of what was ordered, or for a thread whose call is being served, is none.
    """
    program: Path = compile_guest("hostile")
    before = open_files()
    released: Completion[None] = Completion()
    forged = []

    async def held(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        await released
        return 7

    async def release(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        released.resolve(None)
        return 0

    async def note(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        forged.append(args)
        return 0

    kernel.calls |= {603: nothing, 604: note, 605: copying, 606: held, 607: release}
    kernel.calls[601] = wait_for_others if attack in FORGED else nothing
    assert kernel.run(program, [b"hostile", attack, str(gadget).encode()]) == 0, kernel.output
    assert kernel.output == b"EXIT-SUCCESS\n"
    assert not forged
    assert released.done == (attack == b"w")
    del kernel
    assert open_files() < before  # the platform's own are gone, too


async def copying(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    await task.thread.copy_in(task.thread.space.base, 8)
    return 0


async def nothing(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    return 0


@pytest.mark.parametrize("attack", [b"k", b"h"], ids=["calls", "clones"])
def test_keyhole_from_inside(kernel: TestKernel, compile_guest: Compile, gadget: int, attack: bytes) -> None:
    """Host calls with hostile registers from the guest half's own text: refused, or harmless.

    Clones that are not what the sentry has just ordered are tried while it orders others: a race that most rounds win.
    """
    passed: Completion[None] = Completion()

    async def held(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        passed.resolve(None)
        return 0

    async def wait(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        await passed
        return 0

    kernel.calls |= {600: held, 601: wait}
    assert kernel.run(compile_guest("hostile"), [b"hostile", attack, str(gadget).encode()]) == 0, kernel.output
    assert kernel.output == b"EXIT-SUCCESS\n"


@pytest.mark.parametrize("fastpath", [False, True], ids=["general", "fastpath"])
def test_a_thread_that_never_reports(compile_guest: Compile, gadget: int, *, fastpath: bool) -> None:
    """It is waited for no longer than a moment: its process ends, and its parent hears so."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # the kernel has a tmpfs at /tmp
        program = Path(shutil.copy(compile_guest("stuck"), folder))
        assert harness.run([bytes(program), str(gadget).encode()], fastpath=fastpath) >> 8 == 5
