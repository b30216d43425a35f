"""All System V objects and message queues that processes of a namespace can name (ipc_namespaces(7)); there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysc.sentry.ipc.mqueue import Mqueue
from pysc.sentry.ipc.msg import MessageQueues
from pysc.sentry.ipc.sem import Semaphores
from pysc.sentry.ipc.shm import SharedMemory

if TYPE_CHECKING:
    from pysc.sentry.fs.memory_file import Budget


class IpcNamespace:
    """``budget`` is what its shared memory is charged to."""

    __slots__ = ("mqueue", "msg", "sem", "shm")

    def __init__(self, budget: Budget) -> None:
        self.shm = SharedMemory(budget)
        self.sem = Semaphores()
        self.msg = MessageQueues()
        self.mqueue = Mqueue()
