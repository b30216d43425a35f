"""What a sandbox may use belongs to its kernel: two kernels in one process know nothing of each other."""

from __future__ import annotations

from typing import Any, cast

from pysc.cabi.linux.errors import ENOSPC
from pysc.cabi.linux.limits import PAGE
from pysc.sentry.fs.mounting import make
from pysc.sentry.kernel.kernel import Kernel
from pysc.sentry.kernel.machine import Machine
from pysc.sentry.syscalls.x86_64 import X86_64

MEGABYTE = 1 << 20


def kernel_of(memory: int, cpus: int) -> Kernel:
    return Kernel(cast(Any, None), X86_64, machine=Machine(memory, cpus))


def test_each_kernel_has_its_own_memory() -> None:
    small, large = kernel_of(8 * MEGABYTE, 3), kernel_of(64 * MEGABYTE, 0)
    assert (small.machine.memory, small.machine.cpus) == (8 * MEGABYTE, 3)
    assert (large.machine.memory, large.machine.cpus > 0) == (64 * MEGABYTE, True)
    shared = cast(Any, make(small, b"tmpfs", options={b"size": b"0"})).budget
    shared.charge(1024)
    assert (small.machine.shared, large.machine.shared) == (1024 * PAGE, 0)
    for budget in (small.machine.shmem.budget, cast(Any, make(small, b"devtmpfs")).budget):
        try:
            budget.charge(1)
        except ENOSPC:
            continue
        raise AssertionError("half of the memory is all there is")
    large.machine.shmem.budget.charge(1025)
    shared.charge(-1024)
    large.machine.shmem.budget.charge(-1025)
