"""Guests on the small kernel: what the engine's first two layers must do."""

from __future__ import annotations

import os
import re
import resource
import signal
import struct
import time
from pathlib import Path

import pytest

from pysc.cabi import objects
from pysc.cabi._dispatch import lib
from pysc.cabi.linux.errors import E2BIG, EFAULT, ENAMETOOLONG
from pysc.sentry.kernel.scheduler import park
from pysc.sentry.platform.systrap import Systrap
from tests.integration.engine.conftest import Compile
from tests.integration.engine.kernel import Handler, Task, TestKernel, load


def test_hello(kernel: TestKernel, compile_guest: Compile) -> None:
    """Arguments arrive, results return, bad buffers are EFAULT, the status is the guest's."""
    assert kernel.run(compile_guest("hello"), [b"hello", b"hi\n"]) == 7
    assert kernel.output == b"hi\n"


def test_forks(kernel: TestKernel, compile_guest: Compile) -> None:
    """Fifty children and a grandchild: memory copied, registers and FPU state the parent's, nothing else."""
    looks = []

    async def look(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        space = task.thread.space
        files = Path(f"/proc/{space.host_pid}/fd")
        left = [os.readlink(file).partition(":")[0] for file in files.iterdir()]
        maps = re.split(r"^(?=[0-9a-f]+-)", Path(f"/proc/{space.host_pid}/smaps").read_text(), flags=re.M)
        channels = [entry for entry in maps if "memfd:pysc-channel" in entry]
        places = [int(entry.partition("-")[0], 16) for entry in channels]
        looks.append(
            (left, places == [space.base], all(" dc " in entry.rpartition("VmFlags:")[2] for entry in channels))
        )
        return 0

    kernel.calls[603] = look
    assert kernel.run(compile_guest("forks"), [b"forks"]) == 0
    assert sorted(kernel.output.split()) == [b"child", b"grandchild", b"parent"]
    assert looks == [(["socket"], True, True)] * 2  # one channel, which is not inherited


def test_crowd(kernel: TestKernel, compile_guest: Compile) -> None:
    """More busy spaces than are polled: no request is overlooked when one stops being polled."""
    assert kernel.run(compile_guest("crowd"), [b"crowd"]) == 0
    assert kernel.output == b"." * 12


@pytest.mark.parametrize("name", ["libc", "signals", "preempt", "many", "robust", "fire", "frames"])
def test_program(kernel: TestKernel, compile_guest: Compile, name: str) -> None:
    """Programs with a C library that check themselves."""
    assert kernel.run(compile_guest(name, libc=True), [name.encode()]) == 0, kernel.output


def test_register_states(kernel: TestKernel, compile_guest: Compile) -> None:
    """Calls with AC and DF set, no valid stack, the red zone in use; foreign call conventions are ENOSYS."""
    assert kernel.run(compile_guest("flags"), [b"flags"]) == 0, kernel.output


def test_clocks(kernel: TestKernel, compile_guest: Compile) -> None:
    """Clocks by the vDSO image and by call; with fast paths on, none reaches the kernel."""
    calls = []
    kernel.on_event = lambda event: calls.append(event.nr)

    async def clock_gettime(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        task.thread.put(args[1], struct.pack("<QQ", *divmod(time.clock_gettime_ns(args[0]), 10**9)))
        return 0

    async def gettimeofday(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        task.thread.put(args[0], struct.pack("<QQ", *divmod(time.time_ns() // 1000, 10**6)))
        return 0

    async def time_(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        return int(time.time())

    kernel.calls |= {228: clock_gettime, 96: gettimeofday, 201: time_}
    assert kernel.run(compile_guest("clocks", libc=True), [b"clocks"]) == 0, kernel.output
    seen = {228, 96, 201} & set(calls)
    assert not seen if kernel.platform.fastpath else seen


def test_own_calls(kernel: TestKernel, compile_guest: Compile) -> None:
    """Ids, memory and futexes stay in the guest process with fast paths on, and reach the kernel without."""
    calls = []
    kernel.on_event = lambda event: calls.append(event.nr)

    async def set_ids(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        task.thread.set_ids(42, 42, 1, 1000, 1001, 1002, 1003)
        return 0

    kernel.calls[500] = set_ids
    for nr, value in ((102, 1000), (107, 1001), (104, 1002), (108, 1003), (186, 42)):
        kernel.calls[nr] = answer(value)
    assert kernel.run(compile_guest("own"), [b"own"]) == 0, kernel.output
    native = {39, 102, 107, 104, 108, 186, 9, 10, 11, 25, 28, 202, 24}
    if kernel.platform.fastpath:
        assert sorted(nr for nr in calls if nr in native) == [9, 11]  # those below the limit are the kernel's to refuse
    else:
        assert native <= set(calls)


def answer(value: int) -> Handler:
    async def handler(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        return value

    return handler


def test_patched_sites(kernel: TestKernel, compile_guest: Compile) -> None:
    """The three forms are patched, and nothing else; every entry into the middle still does what it did."""
    writable = []

    async def look(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        writable.extend(re.findall(r"^.* rwx.*$", Path(f"/proc/{task.thread.space.host_pid}/maps").read_text(), re.M))
        return 0

    kernel.calls[601] = look
    argv = [b"patch", b"fast" if kernel.platform.fastpath else b"general"]
    assert kernel.run(compile_guest("patch"), argv) == 0, kernel.output
    assert not writable


def test_patched_text_is_unmapped(kernel: TestKernel, compile_guest: Compile) -> None:
    """New text where patched text was, however that went, is not taken for it: its faults are the guest's own."""
    files = []
    for call in (b"\x0f\x05", b"\x06\x90"):
        code = b"\x90" * 80 + b"\xb8\x27\0\0\0" + call + b"\xc3"
        files.append(os.memfd_create("code"))
        os.write(files[-1], code.ljust(4096, b"\xcc"))

    async def map_code(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        return await task.thread.map_file(args[1], 4096, 5, args[2], files[args[0]], 0)

    kernel.calls[600] = map_code
    argv = [b"unmap", b"fast" if kernel.platform.fastpath else b"general"]
    try:
        assert kernel.run(compile_guest("unmap", libc=True), argv) == 0, kernel.output
    finally:
        for file in files:
            os.close(file)


def test_patching_race(kernel: TestKernel, compile_guest: Compile) -> None:
    """400 sites are patched while three threads call through them and signals arrive: no crash, no wrong result."""
    assert kernel.run(compile_guest("race", libc=True), [b"race"]) == 0, (kernel.output, kernel.faults)


def test_odd_calls(kernel: TestKernel, compile_guest: Compile) -> None:
    """The vsyscall page is a call like any other; SIGSTOP and SIGCONT during a native sleep end as restart_syscall."""

    async def page(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        return 1234567890

    async def stop_later(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        pid = task.thread.space.host_pid
        start = time.monotonic_ns()
        kernel.scheduler.call_at(start + 50_000_000, lambda: os.kill(pid, signal.SIGSTOP))
        kernel.scheduler.call_at(start + 100_000_000, lambda: os.kill(pid, signal.SIGCONT))
        return 0

    kernel.calls |= {201: page, 600: stop_later}
    assert kernel.run(compile_guest("odd"), [b"odd"]) == 0, (kernel.output, kernel.faults)


def test_idle_costs_nothing(compile_guest: Compile) -> None:
    """While its only guest sleeps the sentry sleeps, too: no turns of the loop, no time."""
    kernel = TestKernel(fastpath=True)
    used: list[float] = []

    async def measure(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        used.append(time.process_time())
        return 0

    kernel.calls[600] = measure
    assert kernel.run(compile_guest("idle"), [b"idle"]) == 0
    assert used[1] - used[0] < 0.05


def test_donated_files(kernel: TestKernel, compile_guest: Compile) -> None:
    """Each thread gets the file that it asked for, and keeps no descriptor."""
    files = []
    for content in (b"first\0", b"second\0"):
        files.append(os.memfd_create("content"))
        os.write(files[-1], content)

    ways = set()

    async def map_it(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int | None:
        file = files[args[0] != 0]
        prepared = task.thread.prepare_map_file(0, 4096, 1, 2, file, 0)
        ways.add(prepared)
        if prepared:
            task.thread.reply_prepared()
            return None
        return await task.thread.map_file(0, 4096, 1, 2, file, 0)

    async def look(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        left = sorted(os.listdir(f"/proc/{task.thread.space.host_pid}/fd"))
        return 0 if left == ["0"] else 2

    kernel.calls |= {600: map_it, 601: look}
    try:
        assert kernel.run(compile_guest("files", libc=True), [b"files"]) == 0
    finally:
        for file in files:
            os.close(file)
    assert ways == {False, True}  # while there is one thread it is told with the verdict


def test_fork_bomb(compile_guest: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of descriptors a fork is refused with EAGAIN, and nothing is lost."""
    kernel = TestKernel(fastpath=True)

    async def block(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        await park()
        return 0

    kernel.calls[600] = block
    program = compile_guest("bomb")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = len(os.listdir("/proc/self/fd"))
    kernel.platform.start()
    few = (before + 60, limits[1])

    def limit(pair: tuple[int, int]) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, pair)
        objects.ask_descriptors()

    monkeypatch.setattr(Systrap, "start", lambda _platform: limit(few))
    try:
        assert kernel.run(program, [b"bomb"]) == 0, kernel.output
    finally:
        limit(limits)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_exec(kernel: TestKernel, compile_guest: Compile) -> None:
    """A program replaces itself: a fresh space, the old one killed."""
    hello = compile_guest("hello")

    async def execve(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> None:
        assert await task.thread.copy_in_string(args[0], 100) == b"/hello"
        reports = lib.pysc_engine_counters(kernel.platform.engine).reports
        argv = await task.thread.copy_in_strings(args[1], 1000)
        assert reports == lib.pysc_engine_counters(kernel.platform.engine).reports  # they came with the call
        assert argv == [b"hello", b"x" * 300 + b"\n"]
        image, heap = load(hello, argv)
        old = task.thread
        thread = await old.exec(image)
        for file in image.files:
            os.close(file)
        old.owner = None
        old.space.kill()
        task.thread, task.heap = thread, heap
        thread.owner = task
        thread.resume()

    kernel.calls[59] = execve
    assert kernel.run(compile_guest("exec"), [b"exec"]) == 7, kernel.output
    assert kernel.output == b"x" * 300 + b"\n"


def test_kill_of_running(kernel: TestKernel, compile_guest: Compile) -> None:
    """A space that computes for ever ends when it is killed, and says so."""
    kernel.calls[500] = kill_later
    assert kernel.run(compile_guest("loop"), [b"loop"]) == 137
    assert all(task.gone for task in kernel.tasks)


async def kill_later(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
    kernel.scheduler.call_at(time.monotonic_ns() + 20_000_000, lambda: kernel.kill_all(137))
    return 0


def test_copies(kernel: TestKernel, compile_guest: Compile) -> None:
    """Copies of all sizes, at page ends, into what cannot be read or written."""

    async def check(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        thread, (area, hole) = task.thread, args[:2]  # area: 1 MiB, then a page that cannot be touched
        data = bytes(range(256)) * 4096
        await thread.copy_out(area, data)
        assert await thread.copy_in(area, len(data)) == data
        assert await thread.copy_in(hole - 3, 3) == data[-3:]
        for address, size in ((hole - 3, 4), (hole, 1), (0x20000, 8), (0x30000, 8), (0, 1), (2**63, 8), (2**64 - 4, 8)):
            with pytest.raises(EFAULT):
                await thread.copy_in(address, size)
            with pytest.raises(EFAULT):
                await thread.copy_out(address, bytes(size))
        await thread.copy_out(hole - 4, b"abc\0")
        assert await thread.copy_in_string(hole - 4, 4) == b"abc"
        await thread.copy_out(hole - 4, b"abcd")
        with pytest.raises(EFAULT):
            await thread.copy_in_string(hole - 4, 100)
        with pytest.raises(ENAMETOOLONG):
            await thread.copy_in_string(hole - 4, 4)
        await thread.copy_out(area, b"y" * 100_000 + b"\0")
        assert await thread.copy_in_string(area, 200_000) == b"y" * 100_000
        await thread.copy_out(hole - 32, struct.pack("<4Q", area, area + 99_990, area, 0))
        with pytest.raises(E2BIG):
            await thread.copy_in_strings(hole - 32, 150_000)
        assert await thread.copy_in_strings(hole - 32, 300_000) == [b"y" * 100_000, b"y" * 10, b"y" * 100_000]
        thread.put(area, b"first")
        await thread.copy_in(area + 8, 8)
        thread.put(area + 64, b"second")
        with pytest.raises(ValueError, match="60 KiB"):
            thread.put(area, bytes(61 * 1024))
        return 0

    async def bad_put(kernel: TestKernel, task: Task, args: tuple[int, ...]) -> int:
        task.thread.put(args[0], b"x")
        if args[1]:
            await task.thread.copy_in(args[1], 8)
        return 5

    kernel.calls[500] = check
    kernel.calls[501] = bad_put
    assert kernel.run(compile_guest("copies"), [b"copies"]) == 0, kernel.output
