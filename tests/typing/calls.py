"""What type checkers must see of the interfaces that everything uses.  Checked, never run."""

from __future__ import annotations

from typing import assert_type

from pysc.cabi.linux.errors import ENOENT, LinuxError
from pysc.sentry.kernel.scheduler import Completion, WaitQueue, park
from pysc.urpc import aio, blocking, loop
from pysc.urpc.schema.gofer import Attach, Attached, Open, Opened, Unlink
from pysc.urpc.schema.sentry import Empty, Resume


def blocking_calls(client: blocking.Client, attach: Attach, open_: Open, unlink: Unlink) -> None:
    assert_type(client.call(attach), Attached)
    assert_type(client.call(open_), Opened)
    client.call(Attached)  # type: ignore[arg-type]  # a reply is no request


async def awaited_calls(client: aio.Client, attach: Attach, resume: Resume) -> None:
    assert_type(await client.call(attach), Attached)
    assert_type(await client.call(resume), Empty)


async def calls_of_the_sentry(client: loop.Client, attach: Attach) -> None:
    assert_type(await client.call(attach), Attached)


async def waiting(queue: WaitQueue, reply: Completion[bytes]) -> None:
    assert_type(await park(queue, deadline=None), bool)
    assert_type(await reply, bytes)


def errors() -> LinuxError:
    error = ENOENT("a detail for the log")
    assert_type(error.errno, int)
    return error
