"""Host calls that set a process up and lock it down: namespaces, mounts, capabilities, filters.

Thin faces over ``cabi/shim/confine.c``: they raise OSError and know nothing of pysc.
"""

from __future__ import annotations

import os
from typing import Final

from pysc.cabi._shim import ffi, lib
from pysc.cabi.linux.fcntl import AT_EMPTY_PATH, AT_FDCWD
from pysc.cabi.linux.prctl import PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL

AT_RECURSIVE: Final = 0x8000
OPEN_TREE_CLONE: Final = 1
OPEN_TREE_CLOEXEC: Final = 0o2000000
MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4
MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOSYMFOLLOW: Final = 0x200000

_SOCK_FILTER_SIZE: Final = 8


def _checked(result: int, call: str, what: object = None) -> int:
    if result < 0:
        raise OSError(-result, f"{call}(2): {os.strerror(-result)}", what)
    return result


def try_calls() -> None:
    """Try those calls without which no program can run, and whose failure would be told of late, or without a name.

    The kernel itself has them all: an OSError is a policy's, or ENOSYS a kernel's that is too old.
    """
    name = ffi.new("char **")
    result = lib.pysc_try_calls(name)
    if result < 0:
        _checked(result, ffi.string(name[0]).decode())


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(lib.pysc_unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """setns(2): enter the namespace (or, for a pidfd, all namespaces in ``kind``)."""
    _checked(lib.pysc_setns(fd, kind), "setns")


def mount(source: bytes, target: bytes, kind: bytes = b"", flags: int = 0, data: bytes = b"") -> None:
    """mount(2)."""
    _checked(lib.pysc_mount(source, target, kind or ffi.NULL, flags, data or ffi.NULL), "mount", target)


def umount(target: bytes, flags: int = 0) -> None:
    """umount2(2)."""
    _checked(lib.pysc_umount2(target, flags), "umount2", target)


def pivot_root(new_root: bytes, put_old: bytes) -> None:
    """pivot_root(2)."""
    _checked(lib.pysc_pivot_root(new_root, put_old), "pivot_root", new_root)


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> int:
    """prctl(2) of calls that take at most two integers."""
    return _checked(lib.pysc_prctl(option, arg2, arg3), "prctl")


def auxiliary(kind: int) -> int:
    """Return an entry of this process's auxiliary vector (AT_*), 0 if there is none; needs no /proc."""
    return int(lib.pysc_auxiliary(kind))


def mask(*capabilities: int) -> int:
    """Return the bit mask of some CAP_* numbers."""
    return sum(1 << capability for capability in capabilities)


def set_capabilities(keep: int) -> None:
    """Make ``keep`` the effective and permitted set, and nothing inheritable or ambient."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _checked(lib.pysc_capset(keep, keep, 0), "capset")


def load_filter(program: bytes) -> None:
    """Install a seccomp filter, as exported to BPF by libseccomp."""
    _checked(lib.pysc_load_filter(ffi.from_buffer(program), len(program) // _SOCK_FILTER_SIZE), "seccomp")


def refuse_io_uring() -> None:
    """Answer ENOSYS to io_uring_* in this process and all its children, for ever."""
    _checked(lib.pysc_refuse_io_uring(), "seccomp")


def get_filter(pid: int, index: int) -> bytes | None:
    """Return filter ``index`` (0 is the newest) of a stopped tracee; None if there is no such filter."""
    count = lib.pysc_get_filter(pid, index, ffi.NULL)
    if count == -2:  # ENOENT
        return None
    program = ffi.new("unsigned char[]", _checked(count, "ptrace") * _SOCK_FILTER_SIZE)
    _checked(lib.pysc_get_filter(pid, index, program), "ptrace")
    return bytes(ffi.buffer(program))


def open_tree(path: bytes, flags: int) -> int:
    """open_tree(2) of an absolute path; with OPEN_TREE_CLONE a detached copy, which lives as long as the descriptor."""
    return _checked(lib.pysc_open_tree(AT_FDCWD, path, flags), "open_tree", path)


def move_mount(fd: int, target: bytes) -> None:
    """move_mount(2): attach a detached tree at an absolute path."""
    _checked(lib.pysc_move_mount(fd, b"", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH), "move_mount", target)


def mount_setattr(fd: int, attributes: int) -> None:
    """mount_setattr(2): set MOUNT_ATTR_* for a whole detached tree."""
    _checked(lib.pysc_mount_setattr(fd, b"", AT_EMPTY_PATH | AT_RECURSIVE, attributes, 0), "mount_setattr")
