"""The protocol, without a socket."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pysc.cabi.linux.errors import EMSGSIZE, ENOENT, EPROTO
from pysc.urpc.codec import HEADER, Answered, Asked, BadFrame, Codec, Frame, Greeted, Refused, Told, TooLong, Type
from pysc.urpc.fds import RegularFd
from pysc.urpc.message import CREDITS, MAX_QUEUE, Failure
from tests.unit.urpc.sample_service import SAMPLE, Add, Blob, Fetch, Opened, Poke, Sum, Swap, Take, Tick


def carry(frame: Frame, to: Codec) -> Any:
    """Do what a socket does: the receiver gets duplicates."""
    fds = [os.dup(fd.fileno()) for fd in frame[1]]
    for fd in frame[1]:
        fd.close()
    return to.receive_untrusted(frame[0], fds)


def pair() -> tuple[Codec, Codec]:
    client, server = Codec(SAMPLE, serves=False, build="1"), Codec(SAMPLE, serves=True, build="1")
    assert isinstance(carry(client.hello(), server), Greeted)
    assert isinstance(carry(server.hello(), client), Greeted)
    return client, server


def memfd() -> int:
    return os.memfd_create("test")


def test_a_request_is_answered() -> None:
    client, server = pair()
    id_, frame = client.ask(Add(2, 3))
    asked = carry(frame, server)
    assert asked == Asked(id_, Add(2, 3))
    assert carry(server.answer(id_, Sum(5)), client) == Answered(id_, Sum(5))
    assert client.credits == CREDITS
    assert server.outstanding == []


def test_answers_may_come_out_of_order() -> None:
    client, server = pair()
    first, second = client.ask(Add(1, 1)), client.ask(Add(2, 2))
    carry(first[1], server)
    carry(second[1], server)
    assert carry(server.answer(second[0], Sum(4)), client).value == Sum(4)
    assert carry(server.answer(first[0], Sum(2)), client).value == Sum(2)


def test_an_errno_travels_with_its_detail() -> None:
    client, server = pair()
    id_, frame = client.ask(Add(1, 1))
    carry(frame, server)
    answered = carry(server.fail(id_, ENOENT("no such thing")), client)
    assert isinstance(answered.error, ENOENT)
    assert str(answered.error) == "no such thing"


def test_a_detail_is_cut_to_what_travels() -> None:
    client, server = pair()
    id_, frame = client.ask(Add(1, 1))
    carry(frame, server)
    answered = carry(server.fail(id_, ENOENT("\udcff" + 5000 * "x")), client)
    assert isinstance(answered.error, ENOENT)
    assert str(answered.error) == "?" + 1023 * "x"


def test_events_go_both_ways_and_not_the_wrong_one() -> None:
    client, server = pair()
    assert carry(server.tell(Tick(7)), client) == Told(Tick(7))
    assert carry(client.tell(Poke(b"x")), server) == Told(Poke(b"x"))
    with pytest.raises(BadFrame):
        carry(client.tell(Tick(7)), server)


def test_descriptors_travel_and_are_owned_by_the_receiver() -> None:
    client, server = pair()
    fd = memfd()
    id_, frame = client.ask(Swap(RegularFd(fd)))
    asked = carry(frame, server)
    file = asked.request.file
    answered = carry(server.answer(id_, Opened(RegularFd(file.take()))), client)
    answered.value.file.close()


def test_a_lent_descriptor_stays_open() -> None:
    fd = memfd()
    with RegularFd.lend(fd) as lent:
        assert lent.fileno() == fd
    os.fstat(fd)
    os.close(fd)


def test_a_descriptor_of_another_kind_is_refused() -> None:
    client, server = pair()
    _, frame = client.ask(Swap(RegularFd(os.open("/", os.O_RDONLY))))
    refused = carry(frame, server)
    assert isinstance(refused, Refused)
    assert isinstance(carry(refused.answer, client).error, EPROTO)


@pytest.mark.parametrize("count", [0, 2])
def test_missing_and_surplus_descriptors_are_refused(count: int) -> None:
    client, server = pair()
    _, (data, fds) = client.ask(Swap(RegularFd(memfd())))
    fds[0].close()
    assert isinstance(server.receive_untrusted(data, [memfd() for _ in range(count)]), Refused)


@pytest.mark.parametrize("numbers", [b"\x92\x00\x00", b"\x92\x00\xff", b"\x91\xff", b"\x91\x01", b"\x91\xc3"])
def test_each_descriptor_is_claimed_once_by_its_number(numbers: bytes) -> None:
    """Twice; also as the last of a list, as Python counts; the last one only so; one too far; and true is no number."""
    client, server = pair()
    fd = RegularFd(memfd())
    _, (data, _) = client.ask(Take([fd]))
    assert data[-2:] == b"\x91\x00"
    assert isinstance(server.receive_untrusted(data[:-2] + numbers, [memfd()]), Refused)


def test_another_build_is_refused() -> None:
    server = Codec(SAMPLE, serves=True, build="2")
    with pytest.raises(BadFrame, match="sample 1"):
        carry(Codec(SAMPLE, serves=False, build="1").hello(), server)


def test_nothing_comes_before_hello() -> None:
    server = Codec(SAMPLE, serves=True)
    _, frame = Codec(SAMPLE, serves=False).ask(Add(1, 2))
    with pytest.raises(BadFrame):
        carry(frame, server)


def test_credits_are_enforced() -> None:
    client, server = pair()
    for _ in range(CREDITS):
        carry(client.ask(Add(1, 1))[1], server)
    assert client.credits == 0
    forged = HEADER.pack(Type.REQUEST, 99) + b"\x93\x01\x01\x01"
    with pytest.raises(BadFrame):
        server.receive_untrusted(forged, [])


def test_an_id_in_use_is_refused() -> None:
    _, server = pair()
    forged = HEADER.pack(Type.REQUEST, 5) + b"\x93\x01\x01\x01"
    server.receive_untrusted(forged, [])
    with pytest.raises(BadFrame):
        server.receive_untrusted(forged, [])


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x02",
        HEADER.pack(Type.REPLY, 0) + b"\xc0",
        HEADER.pack(9, 0),
        b"\x02\x01\0\0\0\0\0\0\x93\x01\x01\x01",  # a request, but for the second byte
        HEADER.pack(Type.HELLO, 0) + b"\x92\xa1x\xa1y",
        HEADER.pack(Type.REQUEST, 0) + bytes(65529),  # one too many
    ],
)
def test_broken_framing_is_told(frame: bytes) -> None:
    _, server = pair()
    with pytest.raises(BadFrame):
        server.receive_untrusted(frame, [memfd()])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\x93\x01\x01",
        b"\x93\x01\x01\xd0\xff",  # -1
        b"\x93\x01\x01\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x94\x01\x01\x01\x01",  # a field too many
        b"\x93\x63\x01\x01",  # an unknown tag
        b"\x91" * 60000,
        b"\x92\x02" + b"\x91" * 60000,  # where a descriptor's number belongs, which is decoded as anything first
    ],
)
def test_an_undecodable_request_is_answered_with_eproto(body: bytes) -> None:
    client, server = pair()
    id_, _ = client.ask(Add(1, 1))
    refused = server.receive_untrusted(HEADER.pack(Type.REQUEST, id_) + body, [memfd()])
    assert isinstance(refused, Refused)
    assert isinstance(carry(refused.answer, client).error, EPROTO)
    assert server.outstanding == []


def test_a_request_that_does_not_fit_is_not_asked() -> None:
    client, _ = pair()
    with pytest.raises(EMSGSIZE):
        client.ask(Take([RegularFd.lend(0)] * 70000))
    assert client.credits == CREDITS


BOUND = 1000 + 14
"""Of the answer to Fetch(1000); its own bytes are 12 less."""


def test_an_answer_is_as_long_as_its_request_allows() -> None:
    client, server = pair()
    id_, frame = client.ask(Fetch(1000))
    carry(frame, server)
    with pytest.raises(TooLong):
        server.answer(id_, Blob(bytes(BOUND - 11)))
    assert server.outstanding == [id_]
    answer = server.answer(id_, Blob(bytes(BOUND - 12)))
    assert len(answer[0]) == BOUND
    assert carry(answer, client).value == Blob(bytes(BOUND - 12))


def test_an_answer_that_is_longer_than_its_request_allows_is_refused() -> None:
    client, _ = pair()
    forged = [HEADER.pack(Type.REPLY, id_) + b"\x91\xc5" + bytes([3, 234 + id_]) + bytes(1002 + id_) for id_ in (0, 1)]
    client.ask(Fetch(1000))
    client.ask(Fetch(1000))
    assert len(client.receive_untrusted(forged[0], []).value.data) == 1002  # type: ignore[union-attr]
    with pytest.raises(BadFrame, match="longer"):
        client.receive_untrusted(forged[1], [])


def test_there_is_room_for_another_request_while_its_answer_would_fit() -> None:
    """Beside what is queued and the answers that are owed; a failure may be longer than what it stands for."""
    client, server = pair()
    room = MAX_QUEUE - SAMPLE.max_reply
    assert server.has_room(room)
    assert not server.has_room(room + 1)
    for request, bound in ((Add(1, 1), Failure.max_frame), (Fetch(50000), 50014)):
        _, frame = client.ask(request)
        carry(frame, server)
        room -= bound
        assert server.has_room(room)
        assert not server.has_room(room + 1)
    server.answer(0, Sum(2))
    assert server.has_room(room + Failure.max_frame)
    server.fail(1, ENOENT())
    assert server.has_room(MAX_QUEUE - SAMPLE.max_reply)
