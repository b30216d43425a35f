"""A blank process: what is in it before the first program."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

from pysc.sentry.fs import hostproc
from pysc.sentry.platform.interface import LIMIT
from pysc.sentry.platform.space import SystrapSpace
from pysc.sentry.platform.systrap import Systrap


def mappings(pid: int) -> list[tuple[int, int, str, str]]:
    """Start, end, mode, name of each mapping."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    found = [re.match(r"(\w+)-(\w+) (\S+) \S+ \S+ \S+ *(.*)", line) for line in lines]
    return [(int(m[1], 16), int(m[2], 16), m[3], m[4]) for m in found if m]


def test_low_region(blank_space: SystrapSpace) -> None:
    """From 0x10000 to the limit there is no hole and nothing writable; the guest half is the lowest."""
    low = [entry for entry in mappings(blank_space.host_pid) if entry[0] < LIMIT]
    assert low[0][0] == 0x10000
    assert low[-1][1] == LIMIT
    for (_, end, _, _), (start, _, _, _) in pairwise(low):
        assert end == start
    assert all("w" not in mode for _, _, mode, _ in low)
    assert {mode for start, _, mode, _ in low if start in (0x20000, 0x40000, 0x80000)} == {"r-xp"}
    assert [mode for start, _, mode, _ in low if start == blank_space.table] == ["r--p"]


def test_nothing_of_the_host(blank: int) -> None:
    """No stdio, no stack or heap of the exec, no memory of an interpreter."""
    assert sorted(os.listdir(f"/proc/{blank}/fd")) == ["0"]
    names = {name for _, _, _, name in mappings(blank)}
    assert {name for name in names if "python" in name or name in ("[stack]", "[heap]")} == set()
    assert os.readlink(f"/proc/{blank}/fd/0").startswith("socket:")
    assert Path(f"/proc/{blank}/environ").read_bytes() in (b"", b"\0")


def test_what_is_hidden(blank_space: SystrapSpace) -> None:
    """All memory above the limit that is there before a program is, but what the host maps, is no part of the guest."""
    first, last = blank_space.hidden
    high = [entry for entry in mappings(blank_space.host_pid) if entry[0] >= LIMIT and not entry[3].startswith("[v")]
    assert len(high) == 4  # the guest half's own page, the shared one, the channel, the stacks
    assert (high[0][0], high[-1][1]) == (first, last)


def test_no_child_inherits_the_channel(blank: int) -> None:
    """It is the memory of one space."""
    areas = re.split(r"^(?=[0-9a-f]+-)", Path(f"/proc/{blank}/smaps").read_text(), flags=re.M)
    channels = [area for area in areas if "memfd:pysc-channel" in area]
    assert len(channels) == 1
    assert "dc" in channels[0].partition("VmFlags:")[2].split()


def test_confined(blank: int) -> None:
    """No new privileges, two filters, empty signal mask, small limits."""
    status, own = (
        dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
        for pid in (blank, os.getpid())
    )
    assert status["NoNewPrivs"] == "1"
    assert int(status["Seccomp_filters"]) == int(own["Seccomp_filters"]) + 2  # the listener's, the keyhole
    assert status["SigBlk"] == "0" * 16
    limits = Path(f"/proc/{blank}/limits").read_text()
    assert re.search(r"Max open files +64 +64 ", limits)
    assert re.search(r"Max locked memory +0 +0 ", limits)
    assert re.search(r"Max core file size +1 +1 ", limits)


def test_layouts_differ() -> None:
    """Two blanks share neither the channel's place nor the host's, and some of eight not the table's."""
    platform = Systrap()
    platform.start()
    try:
        platform._order()
        while len([space for space in platform.spaces.values() if space.born.done]) < 2:
            platform.wait(10**9)
        one, other = platform.spaces.values()
        assert one.base != other.base
        vdso = [next(start for start, _, _, name in mappings(s.host_pid) if name == "[vdso]") for s in (one, other)]
        assert vdso[0] != vdso[1]
        spaces = [SystrapSpace(platform) for _ in range(8)]
        for space in spaces:
            space.be_blank()
        assert len({space.table for space in spaces}) > 1  # one of thirteen places each
        for space in spaces:
            space.close()
    finally:
        platform.stop()


def test_stop_without_start() -> None:
    """What the constructor opened is closed."""
    before = set(os.listdir("/proc/self/fd"))
    Systrap().stop()
    assert set(os.listdir("/proc/self/fd")) == before


def test_stop_leaves_nothing() -> None:
    """No process and no descriptor survives stop()."""
    hostproc.prepare()  # what it opens is kept for as long as this process is
    before = set(os.listdir("/proc/self/fd"))
    platform = Systrap()
    platform.start()
    platform.wait(10**9)
    platform.stop()
    assert set(os.listdir("/proc/self/fd")) == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if Path(f"/proc/{pid}/comm").read_text().startswith(("pysc", "zygote", "4"))]
