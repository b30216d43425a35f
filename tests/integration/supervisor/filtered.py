"""Run a command under a filter that answers errnos: ``filtered.py unshare=EPERM,openat2=ENOSYS -- COMMAND...``."""

from __future__ import annotations

import errno
import os
import sys

import pyseccomp


def main(wanted: str, command: list[str]) -> None:
    made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for item in wanted.split(","):
        name, _, answer = item.partition("=")
        made.add_rule(pyseccomp.ERRNO(getattr(errno, answer)), name)
    made.load()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3:])
