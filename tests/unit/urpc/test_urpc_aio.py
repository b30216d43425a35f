"""The anyio transport."""

from __future__ import annotations

import os
import socket
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from pysc.cabi.linux.errors import EDOM, EIO
from pysc.urpc import aio
from pysc.urpc.blocking import Disconnected
from pysc.urpc.codec import HEADER, Answered, BadFrame, Codec, Frame, Type
from pysc.urpc.fds import RegularFd
from pysc.urpc.message import CREDITS, MAX_FRAME, MAX_QUEUE, Event
from pysc.urpc.schema.gofer import GOFER, MAX_XATTR, File, SetXattr
from tests.unit.urpc.sample_service import SAMPLE, Add, Blob, Crash, Fetch, Opened, Poke, Sum, Swap, Take, Tick


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module", autouse=True)
def descriptors_of_uvloop() -> None:
    """Let uvloop open what it keeps for the whole process before descriptors are counted."""
    anyio.run(anyio.lowlevel.checkpoint, backend_options={"use_uvloop": True})


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


async def add(request: Add) -> Sum:
    if request.a == 13:
        raise EDOM("unlucky")
    if request.a == 99:
        await anyio.sleep_forever()
    return Sum(request.a + request.b)


async def swap(request: Swap) -> Opened:
    return Opened(RegularFd(request.file.take()))


async def take(request: Take) -> None:
    return None


async def fetch(request: Fetch) -> Blob:
    return Blob(bytes(request.size))


async def crash(_: Crash) -> None:
    raise ZeroDivisionError


HANDLERS: dict[Any, Any] = {Add: add, Swap: swap, Take: take, Fetch: fetch, Crash: crash}


async def test_calls_of_many_tasks() -> None:
    ours, theirs = pair()
    results: list[Any] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aio.Server(theirs, SAMPLE, HANDLERS).serve)
        async with aio.connect(ours, SAMPLE) as client:

            async def one(number: int) -> None:
                results.append((number, await client.call(Add(number, 1))))

            async with anyio.create_task_group() as callers:
                for number in range(100, 100 + 3 * CREDITS):
                    callers.start_soon(one, number)
            with pytest.raises(EDOM):
                await client.call(Add(13, 1))
            with pytest.raises(EIO):
                await client.call(Crash())
            with pytest.raises(EIO):
                await client.call(Fetch(70000))
    assert sorted(results, key=lambda result: result[0]) == [(n, Sum(n + 1)) for n in range(100, 100 + 3 * CREDITS)]


async def test_many_large_replies() -> None:
    ours, theirs = pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aio.Server(theirs, SAMPLE, HANDLERS).serve)
        async with aio.connect(ours, SAMPLE) as client, anyio.create_task_group() as callers:
            for _ in range(100):
                callers.start_soon(client.call, Fetch(65000))


async def test_descriptors_and_events() -> None:
    ours, theirs = pair()
    told: list[Event] = []
    poked = anyio.Event()

    async def on_event(event: Event) -> None:
        told.append(event)

    async def on_poke(event: Event) -> None:
        poked.set()

    server = aio.Server(theirs, SAMPLE, HANDLERS, on_event=on_poke)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        async with aio.connect(ours, SAMPLE, on_event=on_event) as client:
            opened = await client.call(Swap(RegularFd(os.memfd_create("test"))))
            opened.file.close()
            await server.tell(Tick(5))
            await client.tell(Poke(b"x"))
            await poked.wait()
            await client.call(Add(1, 1))
    assert told == [Tick(5)]


async def test_a_cancelled_call_gives_its_credit_back_when_answered() -> None:
    ours, theirs = pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(aio.Server(theirs, SAMPLE, HANDLERS).serve)
        async with aio.connect(ours, SAMPLE) as client:
            for _ in range(2 * CREDITS):
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await client.call(Add(1, 1))
            assert await client.call(Add(1, 1)) == Sum(2)


async def test_a_lost_peer_fails_all_calls() -> None:
    ours, theirs = pair()
    failures = []
    async with anyio.create_task_group() as tasks, aio.connect(ours, SAMPLE) as client:

        async def one() -> None:
            with pytest.raises(Disconnected) as caught:
                await client.call(Add(99, 1))
            failures.append(caught.value)

        for _ in range(CREDITS + 5):
            tasks.start_soon(one)
        await anyio.wait_all_tasks_blocked()
        theirs.close()
        await client.lost.wait()
        await anyio.wait_all_tasks_blocked()
    assert len(failures) == CREDITS + 5


async def test_an_error_in_the_context_comes_out_as_it_is() -> None:
    ours, theirs = pair()
    with pytest.raises(KeyError):
        async with aio.connect(ours, SAMPLE):
            raise KeyError
    theirs.close()


async def test_a_broken_peer_is_told_to_the_servers_caller() -> None:
    ours, theirs = pair()
    ours.send(b"nonsense")
    with pytest.raises(BadFrame):
        await aio.Server(theirs, SAMPLE, HANDLERS).serve()
    ours.close()


async def test_a_peer_that_takes_no_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio, "DRAIN_SECONDS", 0.1)
    ours, theirs = pair()
    codec = Codec(SAMPLE, serves=False)
    ours.send(codec.hello()[0])
    for _ in range(20):
        ours.send(codec.ask(Fetch(60000))[1][0])
    with anyio.fail_after(5):
        await aio.Server(theirs, SAMPLE, HANDLERS).serve()
    ours.close()


async def test_a_server_reads_no_more_than_it_can_answer() -> None:
    """A client that asks and does not listen fills no memory: the rest of what it asks stays with it."""
    ours, theirs = pair()
    server = aio.Server(theirs, SAMPLE, HANDLERS)
    ours.setblocking(False)
    ours.send(Codec(SAMPLE, serves=False).hello()[0])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        for number in range(100):
            ours.send(HEADER.pack(Type.REQUEST, number) + b"\x92\x04\xcd\xea\x60")
            await anyio.wait_all_tasks_blocked()
        assert MAX_QUEUE - MAX_FRAME < server._connection._queued <= MAX_QUEUE
        ours.close()


async def test_room_is_kept_for_the_answers_to_what_is_being_served() -> None:
    """A client asks for as much as it may and reads nothing; handlers wait for a word; in the end all is answered."""
    ours, theirs = pair()
    word, begun = anyio.Event(), []

    async def slow(request: Fetch) -> Blob:
        begun.append(request)
        await word.wait()
        return Blob(bytes(request.size))

    server = aio.Server(theirs, SAMPLE, {**HANDLERS, Fetch: slow})
    client = aio.Connection(ours, Codec(SAMPLE, serves=False))
    await client.send(client.codec.hello())
    for _ in range(CREDITS):
        await client.send(client.codec.ask(Fetch(60000))[1])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await anyio.wait_all_tasks_blocked()
        assert len(begun) == (MAX_QUEUE - MAX_FRAME) // 60014 + 1
        word.set()
        await anyio.wait_all_tasks_blocked()
        assert MAX_QUEUE - MAX_FRAME < server._connection._queued <= MAX_QUEUE
        answers = 0
        with anyio.fail_after(5):
            while answers < CREDITS:
                answers += isinstance(await client.receive_untrusted(), Answered)
                assert server._connection._queued <= MAX_QUEUE
        client.close()


async def test_a_client_asks_no_more_than_its_queue_holds() -> None:
    """What does not go out waits, and goes out once there is room."""
    ours, theirs = pair()
    server = aio.Connection(theirs, Codec(GOFER, serves=True))
    async with anyio.create_task_group() as tasks, aio.connect(ours, GOFER) as client:
        for _ in range(CREDITS):
            tasks.start_soon(client.call, SetXattr(File(0, b"f"), b"user.x", bytes(MAX_XATTR)))
        await anyio.wait_all_tasks_blocked()
        assert client._connection._queued <= MAX_QUEUE
        with anyio.fail_after(5):
            while len(server.codec.outstanding) < CREDITS:
                await server.receive_untrusted()
                assert client._connection._queued <= MAX_QUEUE
        tasks.cancel_scope.cancel()
    server.close()


async def test_a_frame_may_wait_for_its_turn_longer_than_a_peer_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that drains slowly is not cut off."""

    async def slowly(connection: aio.Connection, frame: Frame) -> None:
        await anyio.sleep(0.1)

    monkeypatch.setattr(aio, "DRAIN_SECONDS", 0.5)
    monkeypatch.setattr(aio.Connection, "_send", slowly)
    ours, theirs = pair()
    connection = aio.Connection(ours, Codec(SAMPLE, serves=True))
    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(connection.send, connection.codec.hello())
    connection.close()
    theirs.close()
