"""Donated descriptors: at most one message of them is on its way to a space."""

from __future__ import annotations

import errno
import os
import socket

from pysc.cabi._dispatch import lib


def test_one_message_at_a_time() -> None:
    """The next is refused until the last has been received; what arrives is what was sent."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read, write = os.pipe()
    with ours, theirs:
        assert lib.pysc_donate(ours.fileno(), [read, write], 2) == 0
        assert lib.pysc_donate(ours.fileno(), [read], 1) == -errno.EBUSY
        _data, files, _flags, _address = socket.recv_fds(theirs, 1, 4)
        assert [os.fstat(fd).st_ino for fd in files] == [os.fstat(fd).st_ino for fd in (read, write)]
        assert lib.pysc_donate(ours.fileno(), [read], 1) == 0
    for fd in (read, write, *files):
        os.close(fd)


def test_number_of_files() -> None:
    """None, or more than fit, are refused."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert lib.pysc_donate(ours.fileno(), [], 0) == -errno.EINVAL
        assert lib.pysc_donate(ours.fileno(), [0] * 5, 5) == -errno.EINVAL
