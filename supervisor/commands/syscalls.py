"""``pysc syscalls``: the table of the kernel inside."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pysc.supervisor.flags import Help
from pysc.supervisor.log import Log
from pysc.supervisor.options import GlobalOptions


class Options(msgspec.Struct, frozen=True):
    """Flags of syscalls."""

    format: Annotated[Literal["table", "json"], Help("how to print", aliases=("f",))] = "table"


def main(options: GlobalOptions, own: Options, arguments: list[str], log: Log) -> int:
    """Print all rows, or those of the named calls."""
    from pysc.sentry.syscalls.x86_64 import X86_64

    rows = [
        {"number": number, "name": row.name, "support": str(row.support), "note": row.note}
        for number, row in sorted(X86_64.rows.items())
        if not arguments or row.name in arguments
    ]
    if own.format == "json":
        print(msgspec.json.encode(rows).decode())
        return 0
    for row in rows:
        print(f"{row['number']:>4}  {row['name']:24} {row['support']:12} {row['note']}".rstrip())
    return 0
