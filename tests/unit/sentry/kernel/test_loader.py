"""Programs: headers as hostile input, scripts, the first stack, execve(2) as a whole."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysc.cabi.linux.elf import AT_BASE, AT_ENTRY, AT_EXECFN, AT_NULL, AT_PHDR, AT_RANDOM, AT_SECURE, EHDR, PHDR
from pysc.cabi.linux.errors import E2BIG, EACCES, ELIBBAD, ELOOP, ENOENT, ENOEXEC, EPERM, LinuxError
from pysc.cabi.linux.mman import MAP_ANONYMOUS, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE
from pysc.cabi.linux.signals import SIG_IGN, SIGUSR1, SIGUSR2
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.kernel.credentials import Credentials
from pysc.sentry.kernel.signals import SigAction
from pysc.sentry.kernel.task import Task
from pysc.sentry.loader.elf import read_elf
from pysc.sentry.loader.image import place_program, program_maps
from pysc.sentry.loader.script import parse_script_untrusted
from pysc.sentry.loader.stack import build_stack, check_size
from pysc.sentry.platform.interface import LIMIT, TASK_SIZE
from tests.unit.sentry.kernel.kernel_world import BASE, INIT_ELF, World

IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
Load = tuple[int, int, int, int, int]


class Bytes(FileDescription):
    """A file of these bytes."""

    __slots__ = ("data", "reads")

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self.data = data
        self.reads = 0

    async def pread(self, size: int, offset: int) -> bytes:
        self.reads += 1
        return self.data[offset : offset + size]


def run(coroutine: Any) -> Any:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


def program(
    *loads: Load, kind: int = 2, entry: int = 0x400078, interpreter: bytes | None = None, machine: int = 62
) -> bytes:
    """Return an ELF file with segments (flags, offset, vaddr, filesz, memsz)."""
    headers = b"".join(
        PHDR.pack(1, flags, offset, vaddr, vaddr, filesz, memsz, 4096) for flags, offset, vaddr, filesz, memsz in loads
    )
    count = len(loads)
    tail = b""
    if interpreter is not None:
        count += 1
        at = EHDR.size + PHDR.size * count
        headers += PHDR.pack(3, 4, at, 0, 0, len(interpreter), len(interpreter), 1)
        tail = interpreter
    return EHDR.pack(IDENT, kind, machine, 1, entry, 64, 0, 0, 64, 56, count, 0, 0, 0) + headers + tail


GOOD: Load = (5, 0, 0x400000, 0x1000, 0x1000)


def test_segments_and_what_lies_between() -> None:
    elf = run(read_elf(Bytes(program(GOOD, (6, 0x1F00, 0x402F00, 0x200, 0x5000)))))
    maps = program_maps(place_program(elf), 0)
    assert [(entry.address, entry.length, entry.prot) for entry in maps] == [
        (0x400000, 0x8000, PROT_NONE),
        (0x400000, 0x1000, PROT_READ | PROT_EXEC),
        (0x402000, 0x2000, PROT_READ | PROT_WRITE),
        (0x404000, 0x4000, PROT_READ | PROT_WRITE),
    ]
    assert maps[2].zero_from == 0x403100
    assert maps[3].flags & MAP_ANONYMOUS


def test_headers_are_read_with_the_first_page_or_from_where_they_are() -> None:
    """The usual program costs one read; headers and interpreter's name beyond the first page are found, too."""
    near = Bytes(program(GOOD, interpreter=b"/lib/ld.so\0"))
    first = run(read_elf(near))
    assert (first.interpreter, near.reads) == (b"/lib/ld.so", 1)
    data = bytearray(near.data.ljust(5000, b"\0"))
    table = data[EHDR.size : EHDR.size + first.phnum * PHDR.size]
    struct.pack_into("<Q", data, 32, 5000)  # e_phoff
    far = Bytes(bytes(data + table))
    assert run(read_elf(far)).segments == first.segments
    assert far.reads == 2


def test_relocatable_programs_are_placed_at_random() -> None:
    elf = run(read_elf(Bytes(program((5, 0, 0, 0x1000, 0x1000), kind=3, entry=0x80))))
    bases = {place_program(elf).base for _ in range(20)}
    assert len(bases) > 10
    assert all(base % 4096 == 0 and LIMIT < base < TASK_SIZE for base in bases)


def test_programs_below_the_lowest_address_are_refused() -> None:
    elf = run(read_elf(Bytes(program((5, 0, 0x10000, 0x1000, 0x1000)))))
    with pytest.raises(EPERM):
        place_program(elf)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x7fELF",
        program(GOOD)[:70],
        program(GOOD, machine=3),
        program(GOOD, kind=1),
        program(),
        program((5, 0, 0x400000, 0x2000, 0x1000)),
        program((5, 1, 0x400000, 0x1000, 0x1000)),
        program((5, 0, TASK_SIZE, 0x1000, 0x1000)),
        program((5, 0, 0x400000, 0, 1 << 63)),
        program((5, 0, 0xFFFF_FFFF_FFFF_F000, 0x1000, 0x1000)),
        program(GOOD, GOOD),
        program((5, 0, 0x500000, 0x1000, 0x1000), GOOD),
        program(GOOD, (5, 0, 1 << 46, 0x1000, 0x1000)),
        program(GOOD, interpreter=b"no end"),
        program(GOOD, interpreter=b"\0"),
        program(GOOD, interpreter=bytes(5000)),
    ],
)
def test_malformed_programs_are_enoexec(bad: bytes) -> None:
    with pytest.raises(ENOEXEC):
        run(read_elf(Bytes(bad)))


def test_addresses_of_relocated_programs_wrap() -> None:
    high = (1 << 47) - (1 << 20)
    placed = place_program(run(read_elf(Bytes(program((5, 0, high, 0x1000, 0x1000), kind=3, entry=(1 << 64) - 1)))))
    assert placed.base < 0
    assert placed.entry == placed.base + (1 << 64) - 1
    placed = place_program(run(read_elf(Bytes(program((5, 0, 0, 0x1000, 0x1000), kind=3, entry=(1 << 64) - 1)))))
    assert placed.entry == placed.base - 1
    image = build_stack(1 << 40, [], [], b"x", [(AT_ENTRY, -1), (AT_BASE, 1 << 64)], bytes(16))
    assert struct.pack("<4Q", AT_ENTRY, (1 << 64) - 1, AT_BASE, 0) in image.data


@given(st.binary(max_size=400), st.integers(0, 200), st.integers(0, 255))
def test_no_header_breaks_the_reader(noise: bytes, where: int, byte: int) -> None:
    good = bytearray(program(GOOD, (6, 0x1000, 0x401000, 0x200, 0x400), interpreter=b"/ld\0"))
    good[where % len(good)] = byte
    for data in (noise, bytes(good), IDENT + noise):
        try:
            elf = run(read_elf(Bytes(data)))
            placed = place_program(elf)
            maps = program_maps(placed, 0)
        except (ENOEXEC, EPERM):
            continue
        assert 0 <= placed.entry < 1 << 64
        assert all(entry.address >= LIMIT and entry.address + entry.length <= TASK_SIZE for entry in maps)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"#!/bin/sh\n", (b"/bin/sh", None)),
        (b"#! \t/bin/sh -e  -x \nrest", (b"/bin/sh", b"-e  -x")),
        (b"#!/bin/sh", (b"/bin/sh", None)),
        (b"#!/bin/sh\t-x\n", (b"/bin/sh", b"-x")),
        (b"#!/bin/sh " + b"a" * 300, (b"/bin/sh", b"a" * 245)),
        (b"\x7fELF", None),
        (b"#", None),
        (b"#!/" + b"a" * 300 + b" x", ENOEXEC),
        (b"#!\n/bin/sh", ENOEXEC),
        (b"#!   \n", ENOEXEC),
    ],
)
def test_scripts(head: bytes, expected: Any) -> None:
    head = head[:256]
    if expected is ENOEXEC:
        with pytest.raises(ENOEXEC):
            parse_script_untrusted(head)
    else:
        assert parse_script_untrusted(head) == expected


@given(st.binary(max_size=256))
def test_no_first_line_breaks_the_parser(noise: bytes) -> None:
    try:
        found = parse_script_untrusted(b"#!" + noise)
    except ENOEXEC:
        return
    assert found is not None
    assert found[0]


@given(
    st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\0", b"x")), max_size=20),
    st.lists(st.binary(max_size=40).map(lambda text: text.replace(b"\0", b"x")), max_size=20),
)
def test_the_stack_says_what_it_was_given(argv: list[bytes], envp: list[bytes]) -> None:
    top = 0x7E00_0000_0000
    image = build_stack(top, argv, envp, b"/file", [(AT_PHDR, 0x1234)], b"r" * 16)
    assert image.sp % 16 == 0
    base = top - len(image.data)
    assert base == image.sp

    def word(address: int) -> int:
        return int(struct.unpack_from("<Q", image.data, address - base)[0])

    def string(address: int) -> bytes:
        return image.data[address - base :].partition(b"\0")[0]

    at = image.sp
    assert word(at) == len(argv)
    assert [string(word(at + 8 + 8 * i)) for i in range(len(argv))] == argv
    at += 8 * (len(argv) + 1)
    assert word(at) == 0
    assert [string(word(at + 8 + 8 * i)) for i in range(len(envp))] == envp
    at += 8 * (len(envp) + 1)
    assert word(at) == 0
    auxv = dict(struct.iter_unpack("<QQ", image.auxv))
    assert auxv[AT_PHDR] == 0x1234
    assert string(auxv[AT_EXECFN]) == b"/file"
    assert image.data[auxv[AT_RANDOM] - base :][:16] == b"r" * 16
    assert image.auxv.endswith(struct.pack("<QQ", AT_NULL, 0))
    assert image.data[image.arg_start - base : image.arg_end - base] == b"".join(arg + b"\0" for arg in argv)


def test_arguments_are_bounded() -> None:
    check_size([b"x" * ((128 << 10) - 1)], [], 8 << 20)
    with pytest.raises(E2BIG):
        check_size([b"x" * (128 << 10)], [], 8 << 20)
    with pytest.raises(E2BIG):
        check_size([b"x" * 1000] * 3000, [], 8 << 20)
    with pytest.raises(E2BIG):
        check_size([], [b""] * 1_000_000, 1 << 62)


# execve as a whole
def strings(world: World, task: Task, offset: int, texts: list[bytes]) -> int:
    """Put an array of strings into the task's memory; return its address."""
    at = offset + 8 * (len(texts) + 1)
    pointers = []
    for text in texts:
        pointers.append(world.write(task, at, text + b"\0"))
        at += len(text) + 1
    return world.write(task, offset, struct.pack(f"<{len(pointers) + 1}Q", *pointers, 0))


def execute(world: World, task: Task, path: bytes, argv: list[bytes]) -> Any:
    name = world.write(task, 0x100, path + b"\0")
    return world.begin(task, "execve", name, strings(world, task, 0x1000, argv), 0)


def test_exec_replaces_memory_and_handlers(world: World) -> None:
    child = world.fork(world.init)
    child.handlers[SIGUSR1] = SigAction(0x5000)
    child.handlers[SIGUSR2] = SigAction(SIG_IGN)
    old, old_thread = child.memory, child.thread
    execute(world, child, b"/init", [b"one", b"two"])
    assert child.memory is not old
    assert child.thread is not old_thread
    assert old_thread.log[-1][0] == "exit"  # type: ignore[attr-defined]
    assert child.thread.log == [("resume",)]  # type: ignore[attr-defined]
    assert child.handlers.caught == 0
    assert child.handlers[SIGUSR2].handler == SIG_IGN
    assert child.comm == b"init"
    image = world.platform.images[-1]
    assert image.registers.rip == 0x400078
    auxv = dict(struct.iter_unpack("<QQ", child.memory.auxv))
    assert (auxv[AT_ENTRY], auxv[AT_PHDR], auxv[AT_SECURE]) == (0x400078, 0x400040, 0)
    assert child.memory.exe is not None
    assert child.memory.exe.references >= 1


def test_exec_ends_the_other_threads_and_keeps_the_pid(world: World) -> None:
    from pysc.sentry.platform.interface import Kind

    child = world.fork(world.init)
    number = child.tid
    thread = world.kernel.tasks[world.call(child, "clone", 0x10F00, BASE + 0x4000)]
    other = world.kernel.tasks[world.call(child, "clone", 0x10F00, BASE + 0x4000)]
    world.begin(other, "pause")
    execute(world, thread, b"/init", [b"x"])
    assert thread.memory.space.killed or thread.group.dethreaded is not None  # type: ignore[attr-defined]
    world.event(child, Kind.GONE)
    assert thread.tid == number
    assert thread.group.leader is thread
    assert list(thread.group.tasks) == [number]
    assert thread.thread.log == [("resume",)]  # type: ignore[attr-defined]
    assert thread.thread.ids[:2] == (number, number)  # type: ignore[attr-defined]
    assert not thread.group.exiting


def test_exec_releases_a_vfork_parent(world: World) -> None:
    world.begin(world.init, "vfork")
    child = next(iter(world.init.group.children.values())).leader
    execute(world, child, b"/init", [b"x"])
    assert world.result(world.init) == child.tid
    assert child.memory is not world.init.memory


def test_scripts_run_their_interpreter(world: World) -> None:
    world.add_program(b"script", b"#!/init -a b\n")
    world.add_program(b"again", b"#!/script\n")
    execute(world, world.init, b"/again", [b"again", b"argument"])
    assert world.init.comm == b"again"
    memory = world.init.memory
    assert memory.arg_end - memory.arg_start == len(b"/init\0-a b\0/script\0/again\0argument\0")


def test_scripts_of_scripts_end(world: World) -> None:
    world.add_program(b"loop", b"#!/loop\n")
    assert execute(world, world.init, b"/loop", [b"x"]).log[-1] == ("reply", -ELOOP.errno)


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (b"/nothing", ENOENT),
        (b"/plain", EACCES),
        (b"/text", ENOEXEC),
        (b"/", EACCES),
        (b"/lost", ENOENT),
        (b"/bad", ELIBBAD),
    ],
)
def test_what_cannot_be_executed_leaves_the_process_alone(world: World, path: bytes, error: type[LinuxError]) -> None:
    world.add_program(b"plain", INIT_ELF, 0o644)
    world.add_program(b"text", b"hello\n")
    world.add_program(b"lost", program(GOOD, interpreter=b"/lib/none\0"))
    world.add_program(b"bad", program(GOOD, interpreter=b"/init\0"))
    before = world.init.memory
    assert execute(world, world.init, path, [b"x"]).log[-1] == ("reply", -error.errno)
    assert world.init.memory is before
    assert world.call(world.init, "getpid") == 1


def test_setuid_programs_change_credentials_and_say_so(world: World) -> None:
    world.add_program(b"su", INIT_ELF, 0o4755)
    child = world.fork(world.init)
    child.creds = Credentials.of(1000, 1000)
    execute(world, child, b"/su", [b"su"])
    assert (child.creds.uid, child.creds.euid, child.creds.suid) == (1000, 0, 0)
    assert dict(struct.iter_unpack("<QQ", child.memory.auxv))[AT_SECURE] == 1
    assert not child.memory.dumpable


def test_no_new_privs_holds(world: World) -> None:
    world.add_program(b"su", INIT_ELF, 0o4755)
    child = world.fork(world.init)
    child.creds = Credentials.of(1000, 1000)
    assert world.call(child, "prctl", 38, 1, 0, 0, 0) == 0
    execute(world, child, b"/su", [b"su"])
    assert child.creds.euid == 1000
