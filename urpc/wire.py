"""One frame through a SOCK_SEQPACKET socket: sendmsg and recvmsg with SCM_RIGHTS (unix(7)), nothing more."""

from __future__ import annotations

import array
import socket
from collections.abc import Sequence
from typing import Final

from pysc.urpc.codec import BadFrame, Frame
from pysc.urpc.fds import close_all
from pysc.urpc.message import MAX_FRAME

_INT: Final = array.array("i").itemsize


def send_frame(sock: socket.socket, data: bytes, fds: Sequence[int], flags: int = 0) -> None:
    """Send one frame with borrowed descriptors.

    Raises:
        OSError: the socket's; BlockingIOError if it would block, BrokenPipeError if the peer is gone.
    """
    flags |= socket.MSG_NOSIGNAL
    if fds:
        sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))], flags)
    else:
        sock.send(data, flags)


def numbers(frame: Frame) -> list[int]:
    """Return the raw descriptors of a frame, borrowed."""
    return [fd.fileno() for fd in frame[1]]


def release(frame: Frame) -> None:
    """Close what a frame carries and owns: it has been sent, or never will be."""
    for fd in frame[1]:
        fd.close()


def receive_frame(sock: socket.socket, max_fds: int, flags: int = 0) -> tuple[bytes, list[int]] | None:
    """Receive one frame and its descriptors, which the caller then owns; None at the end of the stream.

    Raises:
        BadFrame: it was longer than a frame may be, or carried more descriptors than expected.
        OSError: the socket's; BlockingIOError if there is none.
    """
    flags |= socket.MSG_CMSG_CLOEXEC
    # CMSG_LEN, not CMSG_SPACE: the padding would let one descriptor more in.
    space = socket.CMSG_LEN(max_fds * _INT) if max_fds else 0
    try:
        data, ancillary, result, _ = sock.recvmsg(MAX_FRAME, space, flags)
    except ConnectionResetError:  # said once, if the peer left without reading all: what it sent is still there
        data, ancillary, result, _ = sock.recvmsg(MAX_FRAME, space, flags)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % _INT])
    received = fds.tolist()
    if result & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        close_all(received)
        raise BadFrame("a frame that does not fit")
    if not data:  # an empty message looks like the end, and is treated as one
        close_all(received)
        return None
    return data, received
