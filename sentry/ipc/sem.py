"""Semaphores: sets, the operations that wait for them, and what is undone when processes end.

As in Linux, who changes a semaphore carries out what others wait to do with it: they wake when it is done.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from pysc.cabi.linux.errors import EAGAIN, EIDRM, EINVAL, ENOMEM, ENOSPC, ERANGE, LinuxError
from pysc.cabi.linux.ipc import (
    IPC_NOWAIT,
    SEM_UNDO,
    SEMAEM,
    SEMID_DS,
    SEMMNI,
    SEMMNS,
    SEMMSL,
    SEMOPM,
    SEMVMX,
)
from pysc.cabi.objects import memory_is_out
from pysc.sentry.ipc.objects import IpcObject, IpcTable, seconds
from pysc.sentry.kernel.scheduler import WaitQueue, yield_now

if TYPE_CHECKING:
    from pysc.sentry.kernel.credentials import Credentials
    from pysc.sentry.kernel.kernel import Kernel
    from pysc.sentry.kernel.task import Task

STEPS: Final = 256
"""Operations that are looked at, or undone, before others have their turn."""

VALUE_SIZE: Final = 2

Operations = tuple[tuple[int, int, int], ...]
"""Number, change and flags of each."""


class Waiting:
    """A semop(2) in progress: all of it is done, or nothing."""

    __slots__ = ("blocked", "operations", "pid", "queue", "result", "semaphores", "undo")

    def __init__(self, semaphores: SemaphoreSet, operations: Operations, pid: int, undo: UndoList | None) -> None:
        self.semaphores = semaphores
        self.operations = operations
        self.pid = pid
        self.undo = undo
        """Where the process notes what SEM_UNDO undoes; None: no operation says so."""
        self.blocked = 0
        """The index of the operation that could not be done."""
        self.result: int | None = None
        """0: done; negative: the errno of why it never will be."""
        self.queue = WaitQueue()
        """Woken when there is a result."""

    @property
    def number(self) -> int:
        """The semaphore that it waits for."""
        return self.operations[self.blocked][0]

    @property
    def for_zero(self) -> bool:
        """Whether it waits for that to be 0."""
        return self.operations[self.blocked][1] == 0

    def may_go_on(self, value: int, before: int) -> bool:
        """Whether it is worth another try, now that the semaphore has another value than before."""
        if len(self.operations) > 1:  # it may change the same one, before it waits
            return True
        return not value if self.for_zero else value > before

    def leave(self) -> None:
        """Wait no more."""
        self.semaphores.forget(self)

    def end(self, result: int) -> None:
        """Let it return."""
        self.result = result
        self.queue.wake_all()


class UndoList:
    """What SEM_UNDO has noted for a process, or for all tasks that share it (CLONE_SYSVSEM).

    Invariant: ``sets`` are those that have it among their ``undos``.
    """

    __slots__ = ("sets", "users")

    def __init__(self) -> None:
        self.sets: dict[SemaphoreSet, None] = {}
        self.users = 1

    def leave(self, kernel: Kernel, pid: int) -> None:
        """A task has it no more; at the end of the last all is undone: at once, if it is not much."""
        self.users -= 1
        if not self.users and self.sets:
            kernel.spawn(self._undo(kernel, pid))

    async def _undo(self, kernel: Kernel, pid: int) -> None:
        left = STEPS
        for known in list(self.sets):
            while not (left := known.undo(self, pid, left, kernel)):
                await yield_now()
                left = STEPS


def exit_sem(task: Task) -> None:
    """Undo what only a task would undo that ends, or does not share that any more (unshare(2))."""
    if task.undo is not None:
        task.undo.leave(task.kernel, task.group.tgid)
        task.undo = None


class SemaphoreSet(IpcObject):
    """Invariant: whoever is in ``waiting`` under a semaphore's number could not go on as that was last looked at."""

    __slots__ = ("_due", "_going_on", "otime", "pids", "undos", "values", "waiting")

    def __init__(self, key: int, count: int, flags: int, creds: Credentials) -> None:
        super().__init__(key, flags, creds)
        self.values = array("H", bytes(VALUE_SIZE * count))
        self.pids = array("i", bytes(4 * count))
        """Who changed each last."""
        self.otime = 0
        self.undos: dict[UndoList, dict[int, int]] = {}
        """What is added to which semaphores at the end of processes."""
        self.waiting: dict[int, dict[Waiting, None]] = {}
        """By the semaphore that they wait for, in order of arrival."""
        self._due: dict[Waiting, None] = {}
        """Who may be able to go on."""
        self._going_on = False
        """A routine of the kernel's looks at the rest of them."""

    def status(self) -> bytes:
        """Return its struct semid_ds."""
        return SEMID_DS.pack(self.permissions(), self.otime, self.ctime, len(self.values))

    # Operations
    def attempt(self, wanted: Waiting) -> bool:
        """Carry all its operations out, if none has to wait.  EAGAIN: one may not; ERANGE; ENOMEM."""
        values: dict[int, int] = {}
        adjustments: dict[int, int] = {}
        noted = {} if wanted.undo is None else self.undos.get(wanted.undo, {})
        for index, (number, change, flags) in enumerate(wanted.operations):
            value = values.get(number, self.values[number])
            if value + change < 0 or (not change and value):
                if flags & IPC_NOWAIT:
                    raise EAGAIN
                wanted.blocked = index
                return False
            if value + change > SEMVMX:
                raise ERANGE
            values[number] = value + change
            if flags & SEM_UNDO and change:
                adjustment = adjustments.get(number, noted.get(number, 0)) - change
                if not -SEMAEM - 1 <= adjustment <= SEMAEM:
                    raise ERANGE
                adjustments[number] = adjustment
        if adjustments and wanted.undo is not None:
            if memory_is_out() and adjustments.keys() - noted.keys():
                raise ENOMEM
            self.undos.setdefault(wanted.undo, noted).update(adjustments)
            wanted.undo.sets[self] = None
        self.otime = seconds()
        for number, value in values.items():
            self._set(number, value, wanted.pid)
        return True

    def _set(self, number: int, value: int, pid: int) -> None:
        before = self.values[number]
        self.values[number] = value
        self.pids[number] = pid
        self._note_change(number, before)

    def _note_change(self, number: int, before: int) -> None:
        value = self.values[number]
        if value != before:
            waiting = self.waiting.get(number, {})
            self._due.update({wanted: None for wanted in waiting if wanted.may_go_on(value, before)})

    def settle(self, kernel: Kernel) -> None:
        """Let those go on whose operations can be done now; after every change.  The rest of many follow soon."""
        self._look()
        if self._due and not self._going_on:
            self._going_on = True
            kernel.spawn(self._go_on())

    async def _go_on(self) -> None:
        while self._due:
            await yield_now()
            self._look()
        self._going_on = False

    def _look(self) -> None:
        steps = 0
        while self._due and steps < STEPS:
            wanted = next(iter(self._due))
            del self._due[wanted]
            steps += len(wanted.operations)
            number = wanted.number
            try:
                if self.attempt(wanted):
                    self.forget(wanted)
                    wanted.end(0)
                elif wanted.number != number:
                    self._forget_at(number, wanted)
                    self.wait(wanted)
            except LinuxError as error:
                self.forget(wanted)
                wanted.end(-error.errno)

    def wait(self, wanted: Waiting) -> None:
        """Let it wait for the semaphore that it is blocked at; it is forgotten when it has a result."""
        self.waiting.setdefault(wanted.number, {})[wanted] = None

    def forget(self, wanted: Waiting) -> None:
        """It waits no longer."""
        self._due.pop(wanted, None)
        self._forget_at(wanted.number, wanted)

    def _forget_at(self, number: int, wanted: Waiting) -> None:
        others = self.waiting.get(number, {})
        others.pop(wanted, None)
        if not others:
            self.waiting.pop(number, None)

    def count_waiting(self, number: int, *, for_zero: bool) -> int:
        """Return how many wait for a semaphore (GETNCNT, GETZCNT)."""
        return sum(wanted.for_zero is for_zero for wanted in self.waiting.get(number, ()))

    # Control
    def assign(self, number: int, value: int, pid: int) -> None:
        """Set one semaphore (SETVAL); what would be undone of it is forgotten."""
        for noted in self.undos.values():
            noted.pop(number, None)
        self._set(number, value, pid)
        self.ctime = seconds()

    def assign_all(self, values: array[int], pid: int) -> None:
        """Set all (SETALL); what would be undone is forgotten."""
        for noted in self.undos.values():
            noted.clear()
        before, self.values = self.values, values
        self.pids = array("i", [pid]) * len(values)
        for number in self.waiting:
            self._note_change(number, before[number])
        self.ctime = seconds()

    def undo(self, noted_by: UndoList, pid: int, most: int, kernel: Kernel) -> int:
        """Undo what a process has noted, in up to ``most`` steps; return how many are left, 0 if there may be more."""
        noted = self.undos.get(noted_by, {})
        most -= 1
        while noted and most:
            number, adjustment = noted.popitem()
            self._set(number, min(max(self.values[number] + adjustment, 0), SEMVMX), pid)
            most -= 1
        self.otime = seconds()
        self.settle(kernel)
        if not noted:
            self.undos.pop(noted_by, None)
            noted_by.sets.pop(self, None)
        return most

    def break_off(self) -> None:
        """It is gone: nobody waits for it any more, nothing is undone."""
        for others in list(self.waiting.values()):
            for wanted in others:
                wanted.end(-EIDRM.errno)
        self.waiting.clear()
        self._due.clear()
        for noted_by in self.undos:
            del noted_by.sets[self]
        self.undos.clear()


class Semaphores:
    """The sets of a namespace, and their limits (proc_sys_kernel(5))."""

    __slots__ = ("count", "semmns", "semmsl", "semopm", "table")

    def __init__(self) -> None:
        self.table: IpcTable[SemaphoreSet] = IpcTable(SEMMNI)
        self.semmsl = SEMMSL
        """Semaphores of a set."""
        self.semmns = SEMMNS
        """Semaphores of all."""
        self.semopm = SEMOPM
        """Operations of a call."""
        self.count = 0

    def get(self, key: int, count: int, flags: int, creds: Credentials) -> SemaphoreSet:
        """Do what semget(2) does.  EINVAL, EEXIST, ENOENT, EACCES, ENOSPC, ENOMEM."""
        if not 0 <= count <= self.semmsl:
            raise EINVAL
        found = self.table.find(key, flags)
        if found is not None:
            if count > len(found.values):
                raise EINVAL
            found.check(creds, flags)
            return found
        if not count:
            raise EINVAL
        if self.count + count > self.semmns:
            raise ENOSPC
        self.table.check_room()
        made = SemaphoreSet(key, count, flags, creds)
        self.count += count
        self.table.add(made)
        return made

    def remove(self, known: SemaphoreSet) -> None:
        """Remove one; who waits for it gets EIDRM."""
        self.table.remove(known)
        self.count -= len(known.values)
        known.break_off()
