"""From a file to an image that a platform can start: scripts, interpreters, credentials, stack."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from pysc.cabi.linux.elf import (
    AT_BASE,
    AT_CLKTCK,
    AT_EGID,
    AT_ENTRY,
    AT_EUID,
    AT_FLAGS,
    AT_GID,
    AT_HWCAP,
    AT_HWCAP2,
    AT_MINSIGSTKSZ,
    AT_PAGESZ,
    AT_PHDR,
    AT_PHENT,
    AT_PHNUM,
    AT_SECURE,
    AT_SYSINFO_EHDR,
    AT_UID,
    PHDR,
)
from pysc.cabi.linux.errors import (
    EACCES,
    EINVAL,
    ELIBBAD,
    ELOOP,
    ENOENT,
    ENOEXEC,
    LinuxError,
)
from pysc.cabi.linux.fcntl import AT_FDCWD
from pysc.cabi.linux.limits import PAGE
from pysc.cabi.linux.mman import MAP_PRIVATE, PROT_EXEC, PROT_READ
from pysc.cabi.linux.mount import MS_NOSUID
from pysc.cabi.linux.resource import RLIMIT_STACK
from pysc.sentry.chance import draw
from pysc.sentry.fs.open import open_exec
from pysc.sentry.loader.elf import read_elf
from pysc.sentry.loader.image import (
    Placed,
    place_interpreter,
    place_program,
    program_maps,
    random_brk,
    random_stack_top,
    stack_map,
    stack_size,
)
from pysc.sentry.loader.script import HEAD_SIZE, parse_script_untrusted
from pysc.sentry.loader.stack import StackImage, build_stack, check_size
from pysc.sentry.platform.interface import Image, Registers

if TYPE_CHECKING:
    from pysc.sentry.fs.file import FileDescription
    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.kernel.task import Task

SCRIPTS_MAX: Final = 5
"""Interpreters of interpreters (execve(2): ELOOP beyond)."""
CLOCK_TICKS: Final = 100
UNKNOWN: Final = 65534
"""The owner, and the group, of what belongs to ids that have no number in the sentry's user namespace."""


class Program(msgspec.Struct):
    """A loaded program.  Owns one reference of each file until :meth:`close`."""

    image: Image
    exe: FileDescription
    interpreter: FileDescription | None
    creds: Credentials
    secure: bool
    stack: StackImage
    brk: int
    comm: bytes

    def close(self) -> None:
        """Give up what it holds; the image is of no more use."""
        self.exe.put()
        if self.interpreter is not None:
            self.interpreter.put()


async def load(
    task: Task,
    file: FileDescription,
    filename: bytes,
    argv: Sequence[bytes],
    envp: Sequence[bytes],
    *,
    lasting: bool = True,
) -> Program:
    """Make a program of ``file`` (a reference is taken); ``filename`` is what it was called by.

    ``lasting``: whether a script's interpreter can open it by that name.

    Raises:
        ENOEXEC, ELIBBAD, E2BIG, ELOOP, ENOMEM, ENOENT (no such name), and what opening and reading interpreters raises.
    """
    file.get()
    try:
        interpreter: FileDescription | None = None
        name = filename
        arguments = list(argv) or [b""]
        for _ in range(SCRIPTS_MAX + 1):
            head = await file.pread(PAGE, 0)
            script = parse_script_untrusted(head[:HEAD_SIZE])
            if script is None:
                break
            if not lasting:
                raise ENOENT("the descriptor of the script is closed")
            path, argument = script
            arguments[:1] = [path, name] if argument is None else [path, argument, name]
            name = path
            opened = await _open_interpreter(task, path)
            file.put()
            file = opened
        else:
            raise ELOOP("scripts run by scripts")
        check_size(arguments, envp, task.group.limit(RLIMIT_STACK))
        program = place_program(await read_elf(file, head))
        linker: Placed | None = None
        try:
            if program.elf.interpreter is not None:
                interpreter = await _open_interpreter(task, program.elf.interpreter)
                linker = await _place_linker(interpreter)
            return await _build(task, file, program, interpreter, linker, filename, arguments, envp)
        except BaseException:
            if interpreter is not None:
                interpreter.put()
            raise
    except BaseException:
        file.put()
        raise


async def _open_interpreter(task: Task, path: bytes) -> FileDescription:
    """Open what a script or a program names; the caller has a reference."""
    try:
        file = await open_exec(task, AT_FDCWD, path)
    except LinuxError as error:
        raise type(error)(f'its interpreter is "{path.decode("utf-8", "backslashreplace")}"') from None
    file.get()
    return file


async def _place_linker(file: FileDescription) -> Placed:
    try:
        return place_interpreter(await read_elf(file))
    except ENOEXEC as error:
        raise ELIBBAD(str(error)) from None


async def _build(
    task: Task,
    file: FileDescription,
    program: Placed,
    interpreter: FileDescription | None,
    linker: Placed | None,
    filename: bytes,
    argv: Sequence[bytes],
    envp: Sequence[bytes],
) -> Program:
    creds, secure = await _credentials(task, file)
    top = random_stack_top()
    auxv = _auxv(task, program, linker, creds, secure)
    stack = build_stack(top, argv, envp, filename, auxv, draw(16))
    size = stack_size(task.group.limit(RLIMIT_STACK), len(stack.data))
    files = [await _host_file(file)]
    maps = program_maps(program, 0)
    if interpreter is not None and linker is not None:
        files.append(await _host_file(interpreter))
        maps += program_maps(linker, 1)
    maps.append(stack_map(top, size, executable=program.elf.stack_executable))
    entry = program.entry if linker is None else linker.entry
    return Program(
        image=Image(files, maps, Registers(rip=entry, rsp=stack.sp), (stack.sp, stack.data)),
        exe=file,
        interpreter=interpreter,
        creds=creds,
        secure=secure,
        stack=stack,
        brk=random_brk(program.end),
        comm=filename.rpartition(b"/")[2][:15],
    )


async def _credentials(task: Task, file: FileDescription) -> tuple[Credentials, bool]:
    attributes = await file.attributes()
    nosuid = file.path is not None and bool(file.path.mount.flags & MS_NOSUID)
    if task.kernel.machine.one_owner and UNKNOWN in (attributes.uid, attributes.gid):
        nosuid = True  # who is not in the user namespace gives nothing away in there (user_namespaces(7))
    creds = task.creds.after_exec(attributes.mode, attributes.uid, attributes.gid, nosuid=nosuid)
    return creds, creds.is_secure_exec(task.creds)


def _auxv(
    task: Task, program: Placed, linker: Placed | None, creds: Credentials, secure: bool
) -> list[tuple[int, int]]:
    processor = task.kernel.processor
    phdr = program.elf.phdr_address
    vector = [
        (AT_HWCAP, processor.hwcap),
        (AT_PAGESZ, PAGE),
        (AT_CLKTCK, CLOCK_TICKS),
        (AT_PHDR, phdr + program.base if phdr else 0),
        (AT_PHENT, PHDR.size),
        (AT_PHNUM, program.elf.phnum),
        (AT_BASE, 0 if linker is None else linker.base),
        (AT_FLAGS, 0),
        (AT_ENTRY, program.entry),
        (AT_UID, creds.uid),
        (AT_EUID, creds.euid),
        (AT_GID, creds.gid),
        (AT_EGID, creds.egid),
        (AT_SECURE, int(secure)),
        (AT_HWCAP2, processor.hwcap2),
        (AT_MINSIGSTKSZ, processor.minsigstksz),
    ]
    vdso = task.kernel.platform.vdso_address
    return [(AT_SYSINFO_EHDR, vdso), *vector] if vdso else vector


async def _host_file(file: FileDescription) -> int:
    try:
        fd = await file.mapping_fd(PROT_READ | PROT_EXEC, MAP_PRIVATE)
    except LinuxError:
        raise EINVAL("a program that cannot be mapped") from None
    if os.fstatvfs(fd).f_flag & os.ST_NOEXEC:
        raise EACCES("on a file system of the host's without programs")
    return fd
