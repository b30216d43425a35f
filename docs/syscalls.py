"""Write docs/syscalls.md, to standard output, from the table of system calls: ``make generated``."""

from __future__ import annotations

import errno
from collections import Counter

from pysc.sentry.syscalls.x86_64 import X86_64

HEAD = """\
# System calls

Generated from `sentry/syscalls/x86_64.py` by `make generated`; `pysc syscalls` prints the same. *full*: everything that
the man page says. *partial*: what the note names is missing. *refused*: always the errno named, and why. A number that
is not in the table is ENOSYS.

"""


def main() -> None:
    """Print the document."""
    rows = X86_64.rows
    count = Counter(row.support for row in rows.values())
    print(HEAD + ", ".join(f"{count[word]} {word}" for word in ("full", "partial", "refused")) + ".\n")
    print("| number | name | support | note |")
    print("|---:|---|---|---|")
    for number, row in sorted(rows.items()):
        support = f"refused, {errno.errorcode[row.errno]}" if row.support == "refused" else row.support
        print(f"| {number} | `{row.name}` | {support} | {row.note} |")


if __name__ == "__main__":
    main()
