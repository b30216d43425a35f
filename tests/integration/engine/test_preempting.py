"""The preempt signal at every instruction of the guest half's ways in and out, one after the other.

Races hardly ever show what becomes of it there: a breakpoint of the processor's holds the thread at the instruction
until the signal has been sent.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pysc.sentry.platform.interface import Event
from tests.integration.engine.conftest import Compile
from tests.integration.engine.kernel import Task, TestKernel
from tests.support.needs import missing

POKEUSER, CONT, PEEKUSER, SEIZE, INTERRUPT = 6, 7, 3, 0x4206, 0x4207
RIP = 16 * 8
DEBUG = 848  # u_debugreg in struct user
EVERY_NS = 200_000
WALL = 0x40000000
LEAVING = 6
GETPID = 39
WAYS = {
    "trapping": (1, 10, ["signal_entry", "exit_end"]),
    "patched": (2, 40, ["trampolines", 512, "patched_entry", "patched_end"]),
    "patched-cmp": (3, 40, ["trampolines", 512, "patched_entry", "patched_end"]),
    "patched-cmp-1": (4, 40, ["trampolines", 512, "patched_entry", "patched_end"]),
    "patched-behind": (7, 10, ["signal_entry", "exit_end", "patched_leave_compare", 9]),
    "patched-behind-1": (8, 10, ["signal_entry", "exit_end", "patched_leave_compare_1", 9]),
    "native": (5, 12, ["block_syscall", "block_end"]),
    "leaving": (LEAVING, 5, ["signal_exit", "exit_end"]),
}
"""Calls of stepped.c, how many instructions at least they execute of these, and from where to where that is."""


def instructions(image: Path, spans: list[str | int]) -> list[int]:
    """Return where the instructions are in spans from a symbol to another, or of so many bytes."""
    symbols = {}
    for line in subprocess.run(["nm", image], check=True, capture_output=True, text=True).stdout.splitlines():
        address, _kind, name = line.split()
        symbols[name] = int(address, 16)
    found = []
    for first, last in zip(spans[::2], spans[1::2], strict=True):
        start = symbols[str(first)]
        end = start + last if isinstance(last, int) else symbols[last]
        command = ["objdump", "-d", f"--start-address={start}", f"--stop-address={end}", image]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found += [int(match, 16) for match in re.findall(r"^ +([0-9a-f]+):\t(?:[0-9a-f]{2} )+ *\t", text, re.M)]
    return found


class Stepper:
    """Traces the only thread of a guest, and sends it a signal when it is at an instruction."""

    def __init__(self, kernel: TestKernel, places: list[tuple[int, int]]) -> None:
        self.kernel = kernel
        self.places = places
        self.task: Task | None = None
        self.sent = 0
        self.hit: set[tuple[int, int]] = set()
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self.libc.ptrace.restype = ctypes.c_long

    def ptrace(self, request: int, address: int = 0, data: int = 0) -> int:
        assert self.task is not None
        result: int = self.libc.ptrace(request, self.task.thread.host_tid, address, data)
        return result

    def stopped_by(self, options: int) -> int:
        """Return the signal that the thread stands before, 0 if it is stopped for us; -1: it is not stopped."""
        assert self.task is not None
        try:
            found = os.waitid(os.P_PID, self.task.thread.host_tid, os.WSTOPPED | WALL | options)
        except ChildProcessError:
            return -1
        if found is None:
            return -1
        return 0 if found.si_status >> 8 else found.si_status

    def stop(self) -> None:
        """Have the thread stopped, which is in the guest half."""
        assert self.task is not None
        self.ptrace(INTERRUPT)
        while (signo := self.stopped_by(0)) > 0:
            self.ptrace(CONT, 0, signo)

    def arm(self, address: int) -> None:
        """Set the breakpoint; 0: none."""
        self.stop()
        self.ptrace(POKEUSER, DEBUG + 7 * 8, 0)
        if address and (self.ptrace(POKEUSER, DEBUG, address) != 0 or self.ptrace(POKEUSER, DEBUG + 7 * 8, 1) != 0):
            missing("no hardware breakpoints here")
        self.ptrace(CONT)

    async def begin(self, kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        """Call 600: the next place."""
        if self.task is None:
            self.task = task
            if self.ptrace(SEIZE) != 0:
                missing("ptrace is not allowed here")
            self.poll()
        if not self.places:
            return 0
        self.sent = 0
        which, address = self.places[0]
        if which != LEAVING:
            self.arm(address)
        return which

    def see(self, event: Event) -> None:
        """Of the last kind only what comes after the call has been reported is looked at."""
        if self.task is not None and event.nr == GETPID and self.places and self.places[0][0] == LEAVING:
            self.arm(self.places[0][1])

    async def end(self, kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        """Call 601: whether the place was come by."""
        self.arm(0)
        place = self.places.pop(0)
        if self.sent:
            self.hit.add(place)
        return self.sent

    def poll(self) -> None:
        """Look at what the thread was stopped by, and let it go on."""
        assert self.task is not None
        if self.task.thread.gone:
            return
        self.kernel.scheduler.call_at(time.monotonic_ns() + EVERY_NS, self.poll)
        signo = self.stopped_by(os.WNOHANG)
        if signo < 0:
            return
        if signo == signal.SIGTRAP and self.places and self.ptrace(PEEKUSER, RIP) == self.places[0][1]:
            self.ptrace(POKEUSER, DEBUG + 7 * 8, 0)
            if not self.task.thread.stopped:
                self.sent = 1
                self.kernel.send(self.task, signal.SIGUSR1)
            signo = 0
        self.ptrace(CONT, 0, signo)


PAIRS = [(name, fastpath) for fastpath in (False, True) for name in WAYS if fastpath or not name.startswith("patched")]


@pytest.mark.parametrize(("name", "fastpath"), PAIRS, ids=[f"{name}-{on}" for name, on in PAIRS])
def test_everywhere(compile_guest: Compile, guest_half: Path, name: str, *, fastpath: bool) -> None:
    """The call does what it does, and the handler has run when it returns."""
    kernel = TestKernel(fastpath=fastpath)
    which, least, spans = WAYS[name]
    stepper = Stepper(kernel, [(which, address) for address in instructions(guest_half, spans)])
    kernel.calls |= {600: stepper.begin, 601: stepper.end}
    kernel.on_event = stepper.see
    assert kernel.run(compile_guest("stepped"), [b"stepped"], 60) == 0, (kernel.output, stepper.places[:1])
    assert len(stepper.hit) >= least
