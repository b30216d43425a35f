"""Who may do what to an inode (path_resolution(7), capabilities(7), fs/namei.c and fs/attr.c of Linux)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.capability import (
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_DAC_READ_SEARCH,
    CAP_FOWNER,
    CAP_FSETID,
)
from pysc.cabi.linux.errors import EACCES, EPERM
from pysc.cabi.linux.stat import S_IFDIR, S_IFMT, S_ISGID, S_ISUID, S_ISVTX, S_IXGRP
from pysc.sentry.fs.inode import Owner

if TYPE_CHECKING:
    from pysc.sentry.fs.inode import Inode
    from pysc.sentry.kernel.credentials import Credentials

MAY_EXEC: Final = 1
MAY_WRITE: Final = 2
MAY_READ: Final = 4


def permitted(creds: Credentials, inode: Inode, wanted: int) -> bool:
    """Whether ``creds`` may read, write, execute (search): MAY_* bits."""
    mode = inode.mode
    if creds.fsuid == inode.uid:
        granted = mode >> 6
    elif creds.in_group(inode.gid):
        granted = mode >> 3
    else:
        granted = mode
    if not wanted & ~granted:
        return True
    is_directory = mode & S_IFMT == S_IFDIR
    if creds.has_capability(CAP_DAC_OVERRIDE) and (is_directory or mode & 0o111 or not wanted & MAY_EXEC):
        return True
    if creds.has_capability(CAP_DAC_READ_SEARCH):
        return wanted == MAY_READ or (is_directory and not wanted & MAY_WRITE)
    return False


def check(creds: Credentials, inode: Inode, wanted: int) -> None:
    """EACCES unless :func:`permitted`."""
    if not permitted(creds, inode, wanted):
        raise EACCES


def owns(creds: Credentials, inode: Inode) -> bool:
    """Whether ``creds`` are the owner's or CAP_FOWNER stands in."""
    return creds.fsuid == inode.uid or creds.has_capability(CAP_FOWNER)


def check_owner(creds: Credentials, inode: Inode) -> None:
    """EPERM unless :func:`owns`."""
    if not owns(creds, inode):
        raise EPERM


def check_removal(creds: Credentials, directory: Inode, child: Inode) -> None:
    """Whether an entry may be removed or renamed: EACCES by the directory, EPERM by its sticky bit."""
    check(creds, directory, MAY_WRITE | MAY_EXEC)
    if (
        directory.mode & S_ISVTX
        and creds.fsuid not in (child.uid, directory.uid)
        and not creds.has_capability(CAP_FOWNER)
    ):
        raise EPERM


def new_owner(creds: Credentials, directory: Inode, mode: int, umask: int) -> tuple[Owner, int]:
    """Return whose a new entry of ``directory`` is, and its mode: a setgid directory hands down its group.

    Who is not in that group does not get setgid by asking for it, nor if ``umask`` takes S_IXGRP away.
    """
    if not directory.mode & S_ISGID:
        return Owner(creds.fsuid, creds.fsgid), mode & ~umask
    if mode & S_IFMT == S_IFDIR:
        mode |= S_ISGID
    elif (
        mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP
        and not creds.in_group(directory.gid)
        and not creds.has_capability(CAP_FSETID)
    ):
        mode &= ~S_ISGID
    return Owner(creds.fsuid, directory.gid), mode & ~umask


def mode_for_chmod(creds: Credentials, inode: Inode, mode: int) -> int:
    """Return the mode that chmod(2) may set.  EPERM."""
    check_owner(creds, inode)
    if not creds.in_group(inode.gid) and not creds.has_capability(CAP_FSETID):
        mode &= ~S_ISGID
    return mode


def check_chown(creds: Credentials, inode: Inode, uid: int | None, gid: int | None) -> None:
    """EPERM unless ``creds`` may give the file to ``uid`` and ``gid``."""
    if creds.has_capability(CAP_CHOWN):
        return
    if uid is not None and (creds.fsuid != inode.uid or uid != inode.uid):
        raise EPERM
    if gid is not None and (creds.fsuid != inode.uid or (gid != inode.gid and not creds.in_group(gid))):
        raise EPERM


def without_suid(mode: int) -> int:
    """Return ``mode`` as a change of owner, or of contents by the unprivileged, leaves it."""
    mode &= ~S_ISUID
    if mode & S_IXGRP:
        mode &= ~S_ISGID
    return mode


def clears_suid(creds: Credentials, inode: Inode) -> bool:
    """Whether a write by ``creds`` takes setuid and setgid away (file_remove_privs)."""
    return without_suid(inode.mode) != inode.mode and not creds.has_capability(CAP_FSETID)
