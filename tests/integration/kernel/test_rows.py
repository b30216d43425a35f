"""Rows of a kernel that runs real programs on the host's files, made while they run (tests/support/frozen.py)."""

from __future__ import annotations

import re

from tests.support.modes import Mode
from tests.support.sandbox import Sandbox

PROGRAM = r"""
import fcntl, mmap, os, select, signal, socket, sqlite3, subprocess, tempfile, threading, time
for place in ("/sys", "/proc", "/usr/share"):
    next(os.walk(place))
poll, (reader, writer) = select.epoll(), os.pipe()
poll.register(reader)
here, there = socket.socketpair()
socket.send_fds(here, [b"x"], [writer])
os.write(writer, b"x")
file = tempfile.TemporaryFile()
file.write(b"abc" * 100_000)
file.flush()
fcntl.lockf(file.fileno(), fcntl.LOCK_EX)
mapped = mmap.mmap(file.fileno(), 4096)
program = open("/bin/sh", "rb")
database = sqlite3.connect(tempfile.mkdtemp() + "/db")
database.execute("create table t (a)")
threads = [threading.Thread(target=time.sleep, args=(.4,)) for _ in range(5)]
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, .1, .1)
for thread in threads:
    thread.start()
sleeper = subprocess.Popen(["sleep", ".3"])
print(poll.poll(1), sleeper.wait())
for thread in threads:
    thread.join()
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_all_that_real_programs_use_has_rows() -> None:
    for sandbox in (Sandbox(mode, ("--debug",)) for mode in (Mode(frozen="beat"), Mode(direct=False, frozen="beat"))):
        outcome = sandbox.run("/usr/bin/python3", "-c", PROGRAM)
        assert outcome.status == 0, outcome.explain()
        assert re.fullmatch(r"\[\(\d+, 1\)\] 0\n", outcome.text), outcome.explain()
        assert len(re.findall(rb"\d+ bytes of rows", outcome.stderr)) > 1, outcome.explain()
