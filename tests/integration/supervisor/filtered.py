"""Run a command under a filter that answers errnos: ``filtered.py unshare=EPERM,openat2=ENOSYS -- COMMAND...``.

``unshare&0x80=EINVAL`` is about those whose first argument has the bit.
"""

from __future__ import annotations

import errno
import os
import sys

import pyseccomp


def main(answers: str, command: list[str]) -> None:
    made = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for item in answers.split(","):
        call, _, answer = item.partition("=")
        name, _, bit = call.partition("&")
        wanted = [pyseccomp.Arg(0, pyseccomp.MASKED_EQ, int(bit, 16), int(bit, 16))] if bit else []
        made.add_rule(pyseccomp.ERRNO(getattr(errno, answer)), name, *wanted)
    made.load()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3:])
