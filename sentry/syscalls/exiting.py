"""The end of tasks: exit(2), exit_group(2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.sentry.kernel.exit import end_group, exit_task
from pysc.sentry.syscalls.table import I32, NO_REPLY, NoReply

if TYPE_CHECKING:
    from pysc.sentry.kernel.task import Task


def exit_(task: Task, status: I32) -> NoReply:
    """End this thread; the last one's end is the process's."""
    task.exit_code = (status & 0xFF) << 8
    exit_task(task)
    return NO_REPLY


def exit_group(task: Task, status: I32) -> NoReply:
    """End the process."""
    end_group(task.group, (status & 0xFF) << 8)
    exit_task(task)
    return NO_REPLY
