"""The stack that a program starts with: argc, argv, envp, the auxiliary vector, and what they point to.

Layout, from the top: 8 zero bytes, the file name, envp's strings, argv's strings, the platform's name, 16 random bytes,
then (16-aligned) auxv, envp, argv, argc.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from pysc.cabi.linux.elf import AT_EXECFN, AT_NULL, AT_PLATFORM, AT_RANDOM
from pysc.cabi.linux.errors import E2BIG
from pysc.cabi.linux.limits import PAGE
from pysc.sentry.loader.elf import U64_MAX

STRING_MAX: Final = 32 * PAGE
"""MAX_ARG_STRLEN: 128 KiB for one argument."""
STRINGS_FLOOR: Final = 32 * PAGE
STRINGS_CEILING: Final = 6 << 20
"""Three quarters of _STK_LIM."""


class StackImage(msgspec.Struct, frozen=True):
    """``data`` belongs right below ``top``, from ``sp`` on."""

    data: bytes
    top: int
    sp: int
    arg_start: int
    arg_end: int
    env_start: int
    env_end: int
    auxv: bytes


def check_size(argv: Sequence[bytes], envp: Sequence[bytes], stack_limit: int) -> None:
    """Refuse arguments beyond the limits of execve(2).  E2BIG."""
    room = min(max(stack_limit // 4, STRINGS_FLOOR), STRINGS_CEILING)
    total = 8 * (len(argv) + len(envp))
    for string in (*argv, *envp):
        if len(string) + 1 > STRING_MAX:
            raise E2BIG
        total += len(string) + 1
    if total > room:
        raise E2BIG


def build_stack(
    top: int,
    argv: Sequence[bytes],
    envp: Sequence[bytes],
    filename: bytes,
    auxv: Sequence[tuple[int, int]],
    random: bytes,
) -> StackImage:
    """Lay out the stack below ``top`` (page-aligned); AT_RANDOM, AT_EXECFN, AT_PLATFORM are added to ``auxv``."""
    arg_block = b"".join(string + b"\0" for string in argv)
    env_block = b"".join(string + b"\0" for string in envp)
    name_block = filename + b"\0"
    name_at = top - 8 - len(name_block)
    env_start = name_at - len(env_block)
    arg_start = env_start - len(arg_block)
    platform_at = arg_start - 7 - 16 & -16
    random_at = platform_at - 16

    whole_auxv = [*auxv, (AT_RANDOM, random_at), (AT_EXECFN, name_at), (AT_PLATFORM, platform_at), (AT_NULL, 0)]
    auxv_block = b"".join(struct.pack("<QQ", key, value & U64_MAX) for key, value in whole_auxv)
    words = [len(argv), *_addresses(arg_start, argv), 0, *_addresses(env_start, envp), 0]
    vector = struct.pack(f"<{len(words)}Q", *words) + auxv_block
    sp = random_at - len(vector) & -16

    data = bytearray(top - sp)
    for address, block in (
        (sp, vector),
        (random_at, random[:16]),
        (platform_at, b"x86_64\0"),
        (arg_start, arg_block),
        (env_start, env_block),
        (name_at, name_block),
    ):
        data[address - sp : address - sp + len(block)] = block
    return StackImage(
        data=bytes(data),
        top=top,
        sp=sp,
        arg_start=arg_start,
        arg_end=arg_start + len(arg_block),
        env_start=env_start,
        env_end=env_start + len(env_block),
        auxv=auxv_block,
    )


def _addresses(start: int, strings: Sequence[bytes]) -> list[int]:
    addresses = []
    for string in strings:
        addresses.append(start)
        start += len(string) + 1
    return addresses
