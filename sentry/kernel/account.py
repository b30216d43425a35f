"""What processes have used, and who is told of it: their parents, by wait(2)."""

from __future__ import annotations

import msgspec

from pysc.sentry.kernel.scheduler import Completion


class Usage(msgspec.Struct):
    """Processor time in nanoseconds, as getrusage(2) sums it, and the largest resident set in KiB."""

    user: int = 0
    system: int = 0
    maxrss: int = 0

    def plus(self, other: Usage) -> Usage:
        """Return the sum."""
        return Usage(self.user + other.user, self.system + other.system, max(self.maxrss, other.maxrss))

    def add(self, other: Usage) -> None:
        """Add another's."""
        self.user += other.user
        self.system += other.system
        self.maxrss = max(self.maxrss, other.maxrss)


class Account:
    """Of one process.  How large a resident set was at most the host says once all of it has ended: a moment later.

    Invariant: ``_open`` counts the spaces of which it has yet to say so, those of waited-for children included.
    """

    __slots__ = ("_heir", "_open", "_waiters", "children", "own")

    def __init__(self) -> None:
        self.own = Usage()
        """Of tasks and spaces that have ended."""
        self.children = Usage()
        """Of children that were waited for."""
        self._heir: Account | None = None
        """Of who has waited for the process."""
        self._open = 0
        self._waiters: list[Completion[None]] = []

    @property
    def total(self) -> Usage:
        """The process's and its children's."""
        return self.own.plus(self.children)

    def inherit(self, child: Account) -> None:
        """Take over a child's that has been waited for."""
        child._heir = self
        self.children.add(child.total)
        self._open += child._open

    def begin_end(self, user: int, system: int) -> None:
        """Add the processor time of a space that ends; :meth:`__call__` follows."""
        self.own.user += user
        self.own.system += system
        self._open += 1

    def __call__(self, maxrss: int) -> None:
        """Take what the host says of a space that has ended."""
        self.own.maxrss = max(self.own.maxrss, maxrss)
        account: Account | None = self
        while account is not None:
            account._open -= 1
            if not account._open:
                waiters, account._waiters = account._waiters, []
                for waiter in waiters:
                    waiter.resolve(None)
            account = account._heir
            if account is not None:
                account.children.maxrss = max(account.children.maxrss, maxrss)

    async def closed(self) -> None:
        """Wait until the host has said all."""
        while self._open:
            waiter: Completion[None] = Completion(killable=True)
            self._waiters.append(waiter)
            await waiter
