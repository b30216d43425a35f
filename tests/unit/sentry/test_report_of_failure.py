"""What a sentry that cannot work says instead of that it is ready."""

from __future__ import annotations

import socket

import pytest

from pysc.cabi.build_id import BUILD
from pysc.sentry import main
from pysc.urpc.blocking import Client, Disconnected
from pysc.urpc.schema.sentry import CONTROL, Failed


def told(message: str, build: str) -> object:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        main._report_failure(theirs, message)
        return Client(ours, CONTROL, build=build).wait_event()


def test_a_failure_is_told_to_a_supervisor_of_the_same_build() -> None:
    assert told("no platform here", BUILD) == Failed("no platform here")
    assert told("no" * 3000, BUILD) == Failed("no" * 2000)


@pytest.mark.parametrize("build", ["", "of yesterday"])
def test_to_one_of_another_build_nothing_is_told(build: str) -> None:
    with pytest.raises(Disconnected, match="the peer is sentry"):
        told("no platform here", build)
