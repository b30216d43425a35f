"""``pysc syscalls``: the table of the kernel inside."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from pysc.supervisor.failure import Failure
from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions


class Options(msgspec.Struct, frozen=True):
    """Flags of syscalls."""

    format: Annotated[Literal["table", "json"], Help("how to print", aliases=("f",))] = "table"


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Print all rows, or those of the named calls.

    Raises:
        Failure: there is no such call.
    """
    from pysc.sentry.syscalls.x86_64 import X86_64

    check_names(arguments)
    rows = [
        {"number": number, "name": row.name, "support": _support(row.support, row.errno), "note": row.note}
        for number, row in sorted(X86_64.rows.items())
        if not arguments or row.name in arguments
    ]
    if own.format == "json":
        print(msgspec.json.encode(rows).decode())
        return 0
    for row in rows:
        print(f"{row['number']:>4}  {row['name']:24} {row['support']:20} {row['note']}".rstrip())
    return 0


def check_names(names: Sequence[str]) -> None:
    """Refuse names that no system call has.

    Raises:
        Failure: it names them.
    """
    from pysc.sentry.syscalls.x86_64 import X86_64

    unknown = set(names) - {row.name for row in X86_64.rows.values()}
    if unknown:
        raise Failure(f"x86-64 has no system call named {' or '.join(sorted(unknown))}: see pysc syscalls")


def _support(support: str, error: int) -> str:
    return f"{support}, {errno.errorcode[error]}" if error else support
