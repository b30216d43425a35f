"""Descriptor tables against a model: the lowest free number, references, close-on-exec."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pysc.cabi.linux.errors import EBADF, EMFILE
from pysc.sentry.fs.file import FileDescription
from pysc.sentry.kernel.fd_table import FDTable
from pysc.sentry.kernel.task import Task

LIMIT = 12
TASK = cast(Task, None)


class CountingFile(FileDescription):
    __slots__ = ("released",)

    def __init__(self) -> None:
        super().__init__(0)
        self.released = 0

    def flush(self, task: Task) -> None: ...

    def release(self) -> None:
        self.released += 1


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table = FDTable()
        self.model: dict[int, tuple[CountingFile, bool]] = {}
        self.files: list[CountingFile] = []

    def new(self) -> CountingFile:
        file = CountingFile()
        self.files.append(file)
        return file

    @rule(lowest=st.integers(0, LIMIT + 2), cloexec=st.booleans())
    def install(self, lowest: int, cloexec: bool) -> None:
        file = self.new()
        expected = next(fd for fd in range(lowest, 100) if fd not in self.model)
        if expected >= LIMIT:
            with pytest.raises(EMFILE):
                self.table.install(file, LIMIT, cloexec=cloexec, lowest=lowest)
            self.files.remove(file)
        else:
            assert self.table.install(file, LIMIT, cloexec=cloexec, lowest=lowest) == expected
            self.model[expected] = (file, cloexec)

    @rule(old=st.integers(0, LIMIT), new=st.integers(-1, LIMIT), cloexec=st.booleans())
    def duplicate(self, old: int, new: int, cloexec: bool) -> None:
        if old not in self.model:
            with pytest.raises(EBADF):
                self.table.get(old)
            return
        file = self.table.get(old)
        if not 0 <= new < LIMIT:
            with pytest.raises(EBADF):
                self.table.replace(TASK, new, file, LIMIT)
            return
        self.table.replace(TASK, new, file, LIMIT, cloexec=cloexec)
        self.model[new] = (self.model[old][0], cloexec)

    @rule(fd=st.integers(0, LIMIT))
    def close(self, fd: int) -> None:
        if self.model.pop(fd, None) is None:
            with pytest.raises(EBADF):
                self.table.close(TASK, fd)
        else:
            self.table.close(TASK, fd)

    @rule()
    def execute(self) -> None:
        self.table.close_on_exec(TASK)
        self.model = {fd: row for fd, row in self.model.items() if not row[1]}

    @rule()
    def fork_and_leave(self) -> None:
        copy = self.table.copy()
        assert list(copy) == list(self.table)
        self.table.leave(TASK)
        assert len(self.table) == 0
        self.table = copy

    @invariant()
    def agrees(self) -> None:
        assert list(self.table) == sorted(self.model)
        for fd, (file, cloexec) in self.model.items():
            assert self.table.get(fd) is file
            assert self.table.cloexec(fd) == cloexec
        for file in self.files:
            count = sum(held is file for held, _ in self.model.values())
            assert file.references == count
            assert file.released == (count == 0)


Model.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestModel = Model.TestCase
