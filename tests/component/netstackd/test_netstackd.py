"""netstackd in a process of its own, behind its filter."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Iterator

import pytest

from pysc.cabi import confine
from pysc.cabi.build_id import BUILD
from pysc.cabi.linux.prctl import PR_SET_NO_NEW_PRIVS
from pysc.netstackd import main
from pysc.urpc.blocking import Client, Disconnected
from pysc.urpc.schema import netstack


class Netstackd:
    """The process and its client."""

    def __init__(self, build: str = BUILD) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            try:
                ours.close()
                confine.prctl(PR_SET_NO_NEW_PRIVS, 1)
                main.serve(theirs)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(9)
        theirs.close()
        self.client = Client(ours, netstack.NETSTACK, build=build)

    def wait_end(self) -> int:
        """Hang up; return how the process ended."""
        self.client.close()
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 0


@pytest.fixture
def start() -> Iterator[Callable[..., Netstackd]]:
    """Return a function that starts one; what the test has not ended ends with it."""
    started: list[Netstackd] = []

    def starter(build: str = BUILD) -> Netstackd:
        started.append(Netstackd(build))
        return started[-1]

    yield starter
    for made in started:
        made.wait_end()


def test_there_is_no_link_and_it_ends_with_its_peer(start: Callable[..., Netstackd]) -> None:
    made = start()
    assert made.client.call(netstack.ListLinks()) == netstack.Links([])
    assert made.wait_end() == 0


@pytest.mark.parametrize("build", ["", "of yesterday"])
def test_a_peer_of_another_build_is_cut_off(start: Callable[..., Netstackd], build: str) -> None:
    """Daemons of one sandbox are of one install."""
    made = start(build)
    with pytest.raises(Disconnected):
        made.client.call(netstack.ListLinks())
    assert made.wait_end() == 1
