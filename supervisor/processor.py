"""The processor as guests have it: CPUID is not trapped, so the host's is theirs (Intel SDM vol. 2, AMD APM vol. 3).

What counts is what a program can use: of words that are full the bits that it can, of those that still grow all but
the ones that only a kernel can.  Registers of XSAVE are told by component, with the place that each has in memory:
signal frames in a guest's memory have them there.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pysc.cabi.processor import cpuid, xcr0
from pysc.urpc.message import U32, U64

OSXSAVE: Final = 1 << 27
AVX10: Final = 1 << 19
LEGACY: Final = 2
"""Components that XSAVE has always had, at a fixed place: x87 and SSE."""
COMPONENTS: Final = 63
_SHOWN: Final = 8
"""Names of features in a line."""


def _only(*bits: int) -> int:
    return sum(1 << bit for bit in bits)


def _but(*bits: int) -> int:
    return 0xFFFF_FFFF & ~_only(*bits)


_EXTENDED: Final = 0x8000_0000
"""Leaves from here on are those that every processor of 64 bits has; below, the first one says how many there are."""
_SUBLEAVES: Final = 7
"""The leaf whose first subleaf says in EAX how many there are."""
_EAX, _EBX, _ECX, _EDX = range(4)
REGISTERS: Final = ("eax", "ebx", "ecx", "edx")
_COUNTS: Final[dict[tuple[int, int], dict[int, int]]] = {
    (1, 0): {
        _ECX: _only(0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30),
        _EDX: _only(0, 4, 8, 15, 19, 23, 24, 25, 26),
    },
    (7, 0): {
        _EBX: _but(1, 2, 6, 7, 10, 12, 13, 15, 20, 22, 25),
        _ECX: _but(2, 7, 13, 16, 17, 18, 19, 20, 21, 23, 24, 29, 30, 31),
        _EDX: _but(0, 1, 5, 9, 10, 11, 12, 13, 15, 17, 18, 19, 20, 26, 27, 28, 29, 30, 31),
    },
    (7, 1): {_EAX: _but(6, 8, 17, 18, 19, 20, 22, 26, 27, 30), _EDX: _but(13, 15, 17, 18, 23)},
    (0xD, 1): {_EAX: _only(0, 1, 2)},
    (0x8000_0001, 0): {_ECX: _only(0, 5, 6, 7, 8, 11, 16, 21, 29), _EDX: _only(11, 22, 25, 27, 29, 30, 31)},
    (0x8000_0008, 0): {_EBX: _only(0, 2, 4)},
}  # fmt: skip
"""By leaf and subleaf, of each register the bits that count."""


class Component(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the processor's state, above the first two."""

    number: Annotated[int, Meta(ge=LEGACY, le=COMPONENTS)]
    offset: U32
    """In the standard format."""
    size: U32
    aligned: bool
    """To 64 bytes, in the compacted format."""


class Processor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a program may have found out."""

    vendor: Annotated[str, Meta(max_length=12)]
    signature: U32
    """Family, model and stepping: EAX of leaf 1."""
    features: Annotated[dict[Annotated[str, Meta(max_length=16)], U32], Meta(max_length=32)]
    """By leaf (in hexadecimal), subleaf and register, ``7.0.ebx``: the bits that count."""
    avx10: U32
    """The version of AVX10, 0 without."""
    xcr0: U64
    components: Annotated[tuple[Component, ...], Meta(max_length=COMPONENTS)]


def read() -> Processor:
    """Ask the processor.  In a virtual machine each question may take tens of microseconds: there are some twelve."""
    highest, *name = cpuid(0)
    asked: dict[tuple[int, int], tuple[int, int, int, int]] = {}
    for leaf, subleaf in _COUNTS:
        if highest < leaf < _EXTENDED or (subleaf and leaf == _SUBLEAVES and subleaf > asked[leaf, 0][_EAX]):
            continue
        asked[leaf, subleaf] = cpuid(leaf, subleaf)
    features = {
        word(*place, register): registers[register] & bits
        for place, registers in asked.items()
        for register, bits in _COUNTS[place].items()
    }
    enabled = xcr0() if asked[1, 0][_ECX] & OSXSAVE else 0
    return Processor(
        vendor=b"".join(name[register].to_bytes(4, "little") for register in (0, 2, 1)).decode("ascii", "replace"),
        signature=asked[1, 0][_EAX],
        features=features,
        avx10=cpuid(0x24)[_EBX] & 0xFF if features.get(word(7, 1, _EDX), 0) & AVX10 else 0,
        xcr0=enabled,
        components=tuple(_component(number) for number in range(LEGACY, COMPONENTS) if enabled >> number & 1),
    )


def word(leaf: int, subleaf: int, register: int) -> str:
    """Return what a register of a leaf is called in :attr:`Processor.features`."""
    return f"{leaf:x}.{subleaf}.{REGISTERS[register]}"


def _component(number: int) -> Component:
    size, offset, how, _ = cpuid(0xD, number)
    return Component(number, offset, size, bool(how & 2))


def misfit(made_on: Processor, here: Processor) -> str | None:
    """Return what a program that has run on the one lacks on the other, in a few words; None: nothing."""
    from pysc.supervisor.processor_flags import component_name, flag_names  # a start does without

    missing = [
        name
        for place, bits in made_on.features.items()
        for name in flag_names(place, bits & ~here.features.get(place, 0))
    ]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        return f"the processor here has no {', '.join(missing[:_SHOWN])}{more}"
    if made_on.avx10 > here.avx10:
        return f"the processor here has AVX10 of version {here.avx10}, not {made_on.avx10}"
    off = made_on.xcr0 & ~here.xcr0
    if off:
        return f"registers are not enabled here: {', '.join(component_name(n) for n in range(64) if off >> n & 1)}"
    places = {component.number: component for component in here.components}
    for component in made_on.components:
        if places.get(component.number) != component:
            return f"XSAVE has other places here for the registers of {component_name(component.number)}"
    return None
