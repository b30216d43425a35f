"""CPython's own tests of what it asks the kernel for."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from tests.conformance.suite import Call, Suite

MODULES = {
    **dict.fromkeys(
        (
            "test_asyncio.test_subprocess", "test_asyncio.test_unix_events", "test_dbm_dumb", "test_eintr",
            "test_epoll", "test_faulthandler", "test_fcntl", "test_file", "test_file_eintr", "test_fileio",
            "test_fork1", "test_glob", "test_grp", "test_io", "test_ioctl", "test_largefile", "test_mailbox",
            "test_mmap", "test_openpty", "test_os", "test_pathlib", "test_pipes", "test_poll", "test_popen",
            "test_posix", "test_posixpath", "test_pty", "test_pwd", "test_queue", "test_resource", "test_select",
            "test_selectors", "test_shutil", "test_signal", "test_sqlite3", "test_stat", "test_subprocess",
            "test_tarfile", "test_tempfile", "test_termios", "test_thread", "test_threadedtempfile",
            "test_threading", "test_threading_local", "test_threadsignals", "test_time", "test_tty", "test_wait3",
            "test_wait4", "test_zipfile",
        ),
        (),
    ),
    "test_socket": ("*Unix*", "*SCMRights*"),  # the others want a network
}  # fmt: skip
"""Those that are run, and which classes of them; none: all."""


class CPython(Suite):
    """A test is a module without its listed methods, or, as MODULE:CLASS.METHOD, one of these; or a listed module."""

    name = "cpython"
    what = "an interpreter that has its `test` package, its prefix, its standard library, or a built source tree"
    seconds = 240

    @cached_property
    def _python(self) -> Path:
        place = self.place
        # /usr, a source tree, /usr/lib/python3.11
        candidates = (place, place / "bin/python3", place / "python", place.parent.parent / "bin" / place.name)
        for candidate in candidates:
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return candidate
        raise ValueError(f"{place} is no interpreter of Python, and has none")

    def tests(self) -> list[str]:
        """Return the modules, and the methods that are listed of some."""
        assert self._python
        return sorted({*MODULES, *self.differences()})

    def call(self, test: str) -> Call:
        """Have its runner run the module, in this one process."""
        module, _, method = test.partition(":")
        options = [word for pattern in MODULES[module] for word in ("-m", pattern)]
        if method:
            options = ["-m", f"*.{method}"]
        else:
            listed = [name.partition(":")[2] for name in self.differences() if name.startswith(f"{module}:")]
            options += [word for name in listed for word in ("-i", f"*.{name}")]
        return Call([self._python, "-m", "test", "-W", *options, module], env={"PYTHONPATH": ""})
