"""The keyhole: its rules by cases on the assembled filter, its document, and the filter that is really installed."""

from __future__ import annotations

import ctypes
import os
import random
import re
import signal
import socket
import struct
from pathlib import Path

import pytest

from pysc.cabi.linux import mman
from pysc.sentry.platform import bpf, keyhole
from pysc.sentry.platform.interface import LIMIT
from tests.support.needs import missing

X86_64 = bpf.AUDIT_ARCH_X86_64
INSIDE = 0x21000
FILTER = list(struct.iter_unpack("<HBBI", keyhole.build()))
DOCUMENT = Path(__file__).parents[3] / "docs" / "keyhole.md"


def run(nr: int, *args: int, arch: int = X86_64, ip: int = INSIDE) -> int:
    """Interpret the filter on one call."""
    data = struct.pack("<iIQ6Q", nr, arch, ip, *[arg % 2**64 for arg in (*args, 0, 0, 0, 0, 0, 0)[:6]])
    at = accumulator = 0
    while True:
        code, yes, no, k = FILTER[at]
        at += 1
        if code == bpf.LD_W_ABS:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == bpf.RET:
            return k
        else:
            tests = {
                bpf.JEQ: accumulator == k,
                bpf.JGT: accumulator > k,
                bpf.JGE: accumulator >= k,
                bpf.JSET: bool(accumulator & k),
            }
            at += yes if tests[code] else no


GOOD = {
    3: [()],
    9: [(0, 1, 7, 0x22), (LIMIT, 1, 0, 0x11), (2**40, 1, 5, 0x12)],
    10: [(LIMIT, 1, 7)],
    11: [(LIMIT, 1), (2**64 - 4096, 1)],
    15: [()],
    17: [()],
    24: [()],
    25: [(LIMIT, 1, 1, 3, LIMIT), (LIMIT, 1, 1, 1, 0)],
    28: [(LIMIT, 1, 4), (2**40, 1, 21)],
    44: [(0, 0x7000, 8, 0x4040, 0, 0), (63, 0, 8, 0x4040, 0, 5)],
    47: [()],
    56: [(0x208000,), (1,)],
    60: [()],
    131: [()],
    158: [(0x1002, 5)],
    202: [(0, 0), (0, 129), (0, 9 | 256), (0, 9 | 128 | 256), (0, 3), (0, 4), (0, 10)],
    219: [()],
    230: [()],
    231: [()],
    324: [(0,), (32,), (64,)],
}
BAD = {
    9: [
        (LIMIT - 4096, 1, 3, 0x32),
        (1, 1, 3, 0x32),
        (0, 1, 8, 0x22),
        (0, 1, 2**32 | 3, 0x22),
        (0, 1, 3, 0x40022),  # HUGETLB
        (0, 1, 3, 0x2022),  # LOCKED
        (0, 1, 3, 0x80003),  # SYNC
        (0, 1, 3, 2**40),
    ],
    10: [(0, 1, 3), (LIMIT - 1, 1, 3), (LIMIT, 1, 0x1000003)],
    11: [(0, 2**40), (0x10000, 1)],
    25: [(0, 1, 1, 3, LIMIT), (LIMIT, 1, 1, 3, 0x20000), (LIMIT, 1, 1, 8, 0)],
    28: [(0, 1, 4), (LIMIT, 1, 9), (LIMIT, 1, 12), (LIMIT, 1, 100), (LIMIT, 1, 101)],
    44: [
        (0, 0, 9, 0x4040, 0, 0),
        (0, 0, 2**32 | 8, 0x4040, 0, 0),
        (0, 0, 8, 0x40, 0, 0),
        (0, 0, 8, 0x4041, 0, 0),
        (0, 0, 8, 0x4040, 0x7000, 16),
        (0, 0, 8, 0x4040, 2**32, 16),
    ],
    158: [(0x1001,), (0x1003,), (0x2002,)],
    202: [(0, 2), (0, 5), (0, 6), (0, 7), (0, 8), (0, 11), (0, 12), (0, 256), (0, 1 | 256), (0, 512)],
    324: [(1,), (2,), (4,)],
}


def test_every_call_has_cases() -> None:
    """A new entry needs cases here."""
    assert GOOD.keys() == keyhole.RULES.keys()
    assert BAD.keys() == {number for number, (_, rules) in keyhole.RULES.items() if rules}


@pytest.mark.parametrize("nr", GOOD)
def test_good(nr: int) -> None:
    """Allowed from the guest half's text; from anywhere else a trap."""
    for args in GOOD[nr]:
        assert run(nr, *args) == bpf.RET_ALLOW, args
        for ip in (LIMIT, 2**32 + INSIDE, 0x7FFF_0000_0000, 0xFFFF_FFFF_FF60_0000):
            assert run(nr, *args, ip=ip) == bpf.RET_TRAP, args


@pytest.mark.parametrize("nr", BAD)
def test_bad(nr: int) -> None:
    """Refused wherever it comes from."""
    for args in BAD[nr]:
        assert run(nr, *args) == bpf.RET_TRAP, args


def test_everything_else_traps() -> None:
    """Other numbers, x32 and 32-bit calls."""
    for nr in range(-1, 600):
        if nr not in GOOD:
            assert run(nr, LIMIT, LIMIT, 0, 0) == bpf.RET_TRAP
        assert run(nr | 0x4000_0000, 2, LIMIT) == bpf.RET_TRAP
        assert run(nr, *GOOD.get(nr, [()])[0], arch=0x4000_0003) == bpf.RET_TRAP


SIGNATURES = {
    "mmap": "address length prot flags file offset",
    "mprotect": "address length prot",
    "munmap": "address length",
    "mremap": "address length wanted flags new_address",
    "madvise": "address length advice:int",
    "sendto": "socket data count flags:int destination",
    "arch_prctl": "code:int address",
    "futex": "word operation:int",
    "membarrier": "command:int",
}
"""Of an int the kernel sees the low word only."""
FLAGS = {
    "NULL": 0,
    "ARCH_SET_FS": 0x1002,
    "MSG_DONTWAIT": socket.MSG_DONTWAIT,
    "MSG_NOSIGNAL": socket.MSG_NOSIGNAL,
    "FUTEX_WAIT": 0,
    "FUTEX_WAKE": 1,
    "FUTEX_REQUEUE": 3,
    "FUTEX_CMP_REQUEUE": 4,
    "FUTEX_WAIT_BITSET": 9,
    "FUTEX_WAKE_BITSET": 10,
    "FUTEX_PRIVATE_FLAG": 128,
    "FUTEX_CLOCK_REALTIME": 256,
    "MEMBARRIER_CMD_QUERY": 0,
    "MEMBARRIER_CMD_PRIVATE_EXPEDITED": 1 << 3,
    "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED": 1 << 4,
    "MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE": 1 << 5,
    "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE": 1 << 6,
    "MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ": 1 << 7,
    "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ": 1 << 8,
}


def value(words: str) -> int:
    """The number that a sum of names, or a number, is."""
    known = {**vars(mman), **FLAGS}
    return sum(known[word] if word in known else int(word, 0) for word in words.split(" + "))


def understand(name: str, clause: str) -> keyhole.Rule:
    """The rule that a clause of the document says."""
    argument, relation, rest = re.fullmatch(r"([a-z ]+?) (is one of|is|within) (.*)", clause).groups()  # type: ignore[union-attr]
    arguments = SIGNATURES[name].split()
    short = f"{argument.replace(' ', '_')}:int" in arguments
    index = arguments.index(argument.replace(" ", "_") + short * ":int")
    rest, either, _ = rest.partition(", with FUTEX_PRIVATE_FLAG or without")
    if "≥" in rest:
        zero, _, least = rest.rpartition("≥ ")
        assert zero in ("", "0 or ")
        return keyhole.AtLeast(index, int(least, 16), or_zero=bool(zero))
    values = [value(words) for words in rest.split(", ")]
    if relation == "within":
        return keyhole.Within(index, sum(values))
    values += [one | FLAGS["FUTEX_PRIVATE_FLAG"] for one in values if either]
    return (keyhole.LowWord if short else keyhole.Equals)(index, tuple(sorted(values)))


def test_document() -> None:
    """docs/keyhole.md has a row for each entry, in order, that says its rules, why it is there and harmless."""
    rows = re.findall(r"^\| (\w+) \| (\d+) \| ([^|]*) \| ([^|]+) \| ([^|]+) \|$", DOCUMENT.read_text(), re.M)
    said = {
        int(number): (name, () if text.startswith("none") else tuple(understand(name, c) for c in text.split("; ")))
        for name, number, text, _why, _harmless in rows
    }
    assert list(said) == list(keyhole.RULES)
    for number, (name, rules) in said.items():
        assert (name, list(map(repr, rules))) == (keyhole.RULES[number][0], list(map(repr, keyhole.RULES[number][1])))


def holds(rule: keyhole.Rule, args: tuple[int, ...]) -> bool:
    """What each kind of rule means."""
    arg = args[rule.arg]
    match rule:
        case keyhole.Equals(_, values):
            return arg in values
        case keyhole.LowWord(_, values):
            return arg & 0xFFFF_FFFF in values
        case keyhole.Within(_, mask):
            return not arg & ~mask
        case keyhole.AtLeast(_, least, or_zero):
            return arg >= least or (or_zero and arg == 0)


def test_filter_is_the_rules() -> None:
    """What the filter says of arguments around the edges of all rules is what these mean."""
    edges = [0, 1, 3, 4, 7, 8, 9, 0x22, 0x1002, 0x4040, 2**31, 2**32, 2**32 + 8, 2**63, 2**64 - 1]
    edges += [LIMIT + d for d in (-4096, -1, 0, 1)] + [1 << bit for bit in range(10, 31)]
    chance = random.Random(1)
    for number, (name, rules) in keyhole.RULES.items():
        for _ in range(300):
            args = tuple(chance.choice(edges) for _ in range(6))
            for good in ((), GOOD[number][0], GOOD[number][-1]):  # most of it right, so that each rule decides
                mixed = tuple(
                    a if i < len(good) and chance.random() < 0.8 else args[i]
                    for i, a in enumerate([*good, *args[len(good) :]])
                )
                wanted = bpf.RET_ALLOW if all(holds(rule, mixed) for rule in rules) else bpf.RET_TRAP
                assert run(number, *mixed) == wanted, (name, mixed)


def test_installed(blank: int) -> None:
    """The filter that a blank process really has is this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    ptrace = libc.ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    ptrace.restype = ctypes.c_long
    if ptrace(0x4206, blank, None, None) != 0:  # SEIZE
        missing("ptrace is not allowed here")
    try:
        ptrace(0x4207, blank, None, None)  # INTERRUPT
        os.waitpid(blank, 0x40000000)
        size = ptrace(0x420C, blank, ctypes.c_void_p(1), None)  # SECCOMP_GET_FILTER; 0 is the listener
        if size < 0:
            missing("PTRACE_SECCOMP_GET_FILTER needs CAP_SYS_ADMIN in the first user namespace")
        buffer = ctypes.create_string_buffer(size * 8)
        assert ptrace(0x420C, blank, ctypes.c_void_p(1), buffer) == size
        assert buffer.raw == keyhole.build()
    finally:
        os.kill(blank, signal.SIGKILL)
