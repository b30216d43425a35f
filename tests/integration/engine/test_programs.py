"""Guests on the small kernel: what the engine's first two layers must do."""

from __future__ import annotations

import pytest

from tests.integration.engine.conftest import Compile
from tests.integration.engine.kernel import TestKernel


def test_hello(kernel: TestKernel, compile_guest: Compile) -> None:
    """Arguments arrive, results return, bad buffers are EFAULT, the status is the guest's."""
    assert kernel.run(compile_guest("hello"), [b"hello", b"hi\n"]) == 7
    assert kernel.output == b"hi\n"


def test_forks(kernel: TestKernel, compile_guest: Compile) -> None:
    """Fifty children and a grandchild: memory copied, registers and FPU state the parent's."""
    assert kernel.run(compile_guest("forks"), [b"forks"]) == 0
    assert sorted(kernel.output.split()) == [b"child", b"grandchild", b"parent"]


@pytest.mark.parametrize("name", ["libc", "signals", "preempt"])
def test_program(kernel: TestKernel, compile_guest: Compile, name: str) -> None:
    """Programs with a C library that check themselves."""
    assert kernel.run(compile_guest(name, libc=True), [name.encode()]) == 0, kernel.output
