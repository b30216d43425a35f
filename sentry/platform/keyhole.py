"""The keyhole: the host calls that a guest process can make, and with which arguments.  docs/keyhole.md says why.

A guest can issue each of these itself, with any registers, at any time: it can put its own code where the filter
trusts the instruction pointer.  So the boundary is architecture, then number, then arguments; the instruction pointer,
tested last, only makes the calls of honest guests trap.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pysc.sentry.platform.bpf import (
    ARCH,
    AUDIT_ARCH_X86_64,
    IP,
    JEQ,
    JGE,
    JGT,
    JSET,
    NR,
    RET_ALLOW,
    RET_TRAP,
    Item,
    argument,
    assemble,
    give,
    load,
    test,
)
from pysc.sentry.platform.interface import LIMIT


class Equals(NamedTuple):
    """The 64-bit argument is one of ``values`` (all below 2**32)."""

    arg: int
    values: tuple[int, ...]


class Within(NamedTuple):
    """The 64-bit argument has no bit outside of ``mask`` (below 2**32)."""

    arg: int
    mask: int


class AtLeast(NamedTuple):
    """The 64-bit argument is ``least`` or more, or, if ``or_zero``, 0."""

    arg: int
    least: int
    or_zero: bool = False


class LowWord(NamedTuple):
    """The argument is an int to the kernel: its low word is one of ``values``."""

    arg: int
    values: tuple[int, ...]


Rule = Equals | Within | AtLeast | LowWord

_PROT: Final = 0x7
_MAP_FLAGS: Final = (
    0x01 | 0x02 | 0x10 | 0x20  # SHARED PRIVATE FIXED ANONYMOUS; SHARED_VALIDATE (3) brings no flag that is not here
    | 0x0100 | 0x0800 | 0x1000 | 0x4000 | 0x8000  # GROWSDOWN DENYWRITE EXECUTABLE NORESERVE POPULATE
    | 0x1_0000 | 0x2_0000 | 0x10_0000  # NONBLOCK STACK FIXED_NOREPLACE
)  # fmt: skip
_MADVICE: Final = (
    0, 1, 2, 3, 4, 8,  # NORMAL RANDOM SEQUENTIAL WILLNEED DONTNEED FREE
    10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,  # DONTFORK DOFORK [NO]HUGEPAGE [NO]DUMP WIPE/KEEPONFORK ...
)  # fmt: skip
_PRIVATE: Final = 128
_REALTIME: Final = 256
_FUTEX_OPS: Final = tuple(
    sorted(
        [op | private for op in (0, 1, 3, 4, 9, 10) for private in (0, _PRIVATE)]
        + [9 | _REALTIME, 9 | _PRIVATE | _REALTIME]
    )
)
_MEMBARRIER: Final = (0, 8, 16, 32, 64, 128, 256)  # QUERY and PRIVATE_EXPEDITED with its SYNC_CORE and RSEQ, REGISTER_*
_ARCH_SET_FS: Final = 0x1002
_RING_FLAGS: Final = 0x40 | 0x4000  # MSG_DONTWAIT, MSG_NOSIGNAL

RULES: Final[dict[int, tuple[str, tuple[Rule, ...]]]] = {
    3: ("close", ()),
    9: ("mmap", (AtLeast(0, LIMIT, or_zero=True), Within(2, _PROT), Within(3, _MAP_FLAGS))),
    10: ("mprotect", (AtLeast(0, LIMIT), Within(2, _PROT))),
    11: ("munmap", (AtLeast(0, LIMIT),)),
    15: ("rt_sigreturn", ()),
    17: ("pread64", ()),
    24: ("sched_yield", ()),
    25: ("mremap", (AtLeast(0, LIMIT), Within(3, 0x7), AtLeast(4, LIMIT, or_zero=True))),
    28: ("madvise", (AtLeast(0, LIMIT), LowWord(2, _MADVICE))),
    44: ("sendto", (Equals(2, (8,)), LowWord(3, (_RING_FLAGS,)), Equals(4, (0,)))),
    47: ("recvmsg", ()),
    56: ("clone", ()),
    60: ("exit", ()),
    131: ("sigaltstack", ()),
    158: ("arch_prctl", (LowWord(0, (_ARCH_SET_FS,)),)),
    202: ("futex", (LowWord(1, _FUTEX_OPS),)),
    219: ("restart_syscall", ()),
    230: ("clock_nanosleep", ()),
    231: ("exit_group", ()),
    324: ("membarrier", (LowWord(0, _MEMBARRIER),)),
}
"""The whole keyhole by call number: name, and the rules that all must hold."""


def _check(rule: Rule, good: str) -> list[Item]:
    """Fall through to the label ``good`` if the rule holds, else go to ``trap``."""
    match rule:
        case Equals(arg, values):
            return [argument(arg, high=True), test(JEQ, 0, None, "trap"), argument(arg), *_any(values, good)]
        case LowWord(arg, values):
            return [argument(arg), *_any(values, good)]
        case Within(arg, mask):
            return [
                argument(arg, high=True),
                test(JEQ, 0, None, "trap"),
                argument(arg),
                test(JSET, ~mask & 0xFFFF_FFFF, "trap", good),
            ]
        case AtLeast(arg, least, or_zero):
            zero: list[Item] = [test(JEQ, 0, good, None)] if or_zero else []
            return [
                argument(arg, high=True),
                test(JGT, 0, good, None),
                argument(arg),
                *zero,
                test(JGE, least, good, "trap"),
            ]


def _any(values: tuple[int, ...], good: str) -> list[Item]:
    return [*(test(JEQ, value, good, None) for value in values[:-1]), test(JEQ, values[-1], good, "trap")]


def build(text_end: int = LIMIT) -> bytes:
    """Return the filter as an array of struct sock_filter: architecture, number, arguments, instruction pointer."""
    items: list[Item] = [load(ARCH), test(JEQ, AUDIT_ARCH_X86_64, "number", "foreign"), "foreign", give(RET_TRAP)]
    items += ["number", load(NR)]
    for number, (name, rules) in RULES.items():
        items.append(test(JEQ, number, f"{name}.0", f"not {name}"))
        for i, rule in enumerate(rules):
            items.append(f"{name}.{i}")
            items += [
                item._replace(
                    yes=f"{name}.trap" if item.yes == "trap" else item.yes,
                    no=f"{name}.trap" if item.no == "trap" else item.no,
                )
                if not isinstance(item, str)
                else item
                for item in _check(rule, f"{name}.{i + 1}")
            ]
        items += [f"{name}.{len(rules)}", *_ours(name, text_end)]
        items += [f"{name}.trap", give(RET_TRAP), f"not {name}"]
    items.append(give(RET_TRAP))
    return assemble(items)


def _ours(name: str, text_end: int) -> list[Item]:
    """Allow if the instruction pointer is in the guest half."""
    return [
        load(IP + 4),
        test(JEQ, 0, None, f"{name}.trap"),
        load(IP),
        test(JGE, text_end, f"{name}.trap", None),
        give(RET_ALLOW),
    ]
