"""Collecting unix sockets that only messages hold, and only messages that wait in such sockets.

A socket sent over itself would live for ever by counting references.  A socket in flight whose references are all in
messages is a candidate; candidates that can be received, starting from a queue that somebody can read, are saved; the
queues of the others are emptied, which ends them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pysc.sentry.net.namespace import NetNamespace
    from pysc.sentry.net.unix_receive import UnixReceiver


def collect(net: NetNamespace) -> None:
    """Free what cannot be received any more."""
    candidates = {socket for socket, count in net.in_flight.items() if socket.references == count}
    inside = dict.fromkeys(candidates, 0)
    looked_at = len(net.in_flight)
    for socket in candidates:
        carries = carried_by(socket)
        looked_at += len(socket.queue) + len(carries)
        for carried in carries:
            if carried in inside:
                inside[carried] += 1
    net.collected(looked_at)
    alive = [socket for socket in candidates if inside[socket] < net.in_flight[socket]]
    saved = set(alive)
    while alive:
        for carried in carried_by(alive.pop()):
            if carried in candidates and carried not in saved:
                saved.add(carried)
                alive.append(carried)
    lost = candidates - saved
    for socket in lost:
        socket.get()
    for socket in lost:
        socket.purge()
    for socket in lost:
        socket.put()


def carried_by(socket: UnixReceiver) -> list[UnixReceiver]:
    """Return the unix sockets in the messages that wait in ``socket``, and in its backlog."""
    from pysc.sentry.net.unix import UnixSocket

    queues = [socket.queue]
    if isinstance(socket, UnixSocket):
        queues += (server.queue for server in socket.pending)
    return [file for queue in queues for packet in queue for file in packet.files if isinstance(file, UnixSocket)]
