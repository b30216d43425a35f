"""uRPC in the supervisor's poll loop."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pysc.cabi.linux.errors import EIO, ESRCH, ETIMEDOUT, LinuxError
from pysc.supervisor.peer import Loop, Peer
from pysc.urpc.codec import Asked
from pysc.urpc.schema import sentry


class Pair:
    """A client and a server in one loop."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.ended: list[str] = []
        self.asked: list[Asked] = []
        self.told: list[Any] = []
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.client = Peer(
            self.loop, ours, sentry.CONTROL, serves=False, on_event=self.told.append,
            on_end=lambda: self.ended.append("client"),
        )  # fmt: skip
        self.server = Peer(
            self.loop, theirs, sentry.CONTROL, serves=True, on_request=lambda _, asked: self.asked.append(asked),
            on_end=lambda: self.ended.append("server"),
        )  # fmt: skip

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def pair() -> Any:
    made = Pair()
    yield made
    made.close()


def test_an_answer_may_come_later_and_out_of_order(pair: Pair) -> None:
    answers: list[tuple[str, object]] = []
    pair.client.ask(sentry.State(), lambda value, error: answers.append(("state", value)))
    pair.client.ask(sentry.Signal(9), lambda value, error: answers.append(("signal", type(error))))
    assert pair.loop.run(lambda: len(pair.asked) == 2, 5)
    pair.server.answer(pair.asked[1], error=ESRCH())
    pair.server.answer(pair.asked[0], sentry.StateReply(True, 3))
    assert pair.loop.run(lambda: len(answers) == 2, 5)
    assert answers == [("signal", ESRCH), ("state", sentry.StateReply(True, 3))]


def test_an_answer_that_is_too_long_is_a_bug_and_the_server_goes_on(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[object] = []
    for request, answer in ((sentry.Pause(), sentry.StateReply(True, 7)), (sentry.Resume(), sentry.Empty())):
        pair.client.ask(request, lambda value, error: answers.append(value if error is None else type(error)))
        assert pair.loop.run(lambda: bool(pair.asked), 5)
        pair.server.answer(pair.asked.pop(), answer)
    assert pair.loop.run(lambda: len(answers) == 2, 5)
    assert answers == [EIO, sentry.Empty()]
    assert "a bug while serving Pause" in capsys.readouterr().err


def test_a_server_that_says_more_than_it_was_asked_for_is_cut_off(pair: Pair) -> None:
    pair.client.ask(sentry.Pause(), lambda value, error: None)
    pair.loop.run(lambda: bool(pair.asked), 5)
    pair.server.sock.send(b"\x03\0\0\0\0\0\0\0\xdc\0\0")  # an empty list, with its length in two bytes
    assert pair.loop.run(lambda: "client" in pair.ended, 5)


def test_events(pair: Pair) -> None:
    pair.server.tell(sentry.Exited(256))
    assert pair.loop.run(lambda: bool(pair.told), 5)
    assert pair.told == [sentry.Exited(256)]


def test_who_goes_away_fails_what_is_outstanding(pair: Pair) -> None:
    errors: list[LinuxError | None] = []
    pair.client.ask(sentry.State(), lambda value, error: errors.append(error))
    pair.server.close()
    assert pair.loop.run(lambda: bool(pair.ended), 5)
    assert pair.ended == ["client"]
    assert [type(error) for error in errors] == [EIO]
    with pytest.raises(EIO):
        pair.client.call(sentry.State(), 1)


def test_silence_times_out(pair: Pair) -> None:
    with pytest.raises(ETIMEDOUT):
        pair.client.call(sentry.State(), 0.01)


@pytest.mark.parametrize(
    "frame", [b"x", b"\x09" * 8, b"\x03\0\0\0\x07\0\0\0\x90", b"\x05\0\0\0\0\0\0\0\xc1", b"\xff" * 60000]
)
def test_a_peer_that_breaks_the_protocol_is_cut_off(pair: Pair, frame: bytes) -> None:
    pair.loop.run(lambda: False, 0.01)  # the hellos
    pair.server.sock.send(frame)
    assert pair.loop.run(lambda: "client" in pair.ended, 5)
    assert not pair.client.open


def test_timers_fire_once_in_order_and_can_be_cancelled() -> None:
    loop = Loop()
    fired: list[str] = []
    loop.after(0.02, lambda: fired.append("late"))
    loop.after(0, lambda: fired.append("soon"))
    loop.cancel(loop.after(0.01, lambda: fired.append("never")))
    assert loop.run(lambda: len(fired) == 2, 5)
    assert fired == ["soon", "late"]
    assert not loop.run(lambda: len(fired) > 2, 0.03)
    loop.after(-1, lambda: fired.append("later"))
    loop.after(-2, lambda: fired.append("long due"))
    loop.catch_up()
    assert fired[2:] == ["long due", "later"]


def test_the_end_of_a_socket_is_seen_behind_what_is_still_to_be_read() -> None:
    loop, ended = Loop(), []
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def end() -> None:
        ended.append(1)
        loop.unwatch(ours.fileno())

    loop.watch_end(ours.fileno(), end)
    theirs.send(b"somebody else's")
    assert not loop.run(lambda: bool(ended), 0.02)
    theirs.close()
    assert loop.run(lambda: bool(ended), 5)
    loop.catch_up()
    assert ended == [1]
    ours.close()
