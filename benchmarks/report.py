"""Printing the figures: a rich table on a terminal, plain columns in a pipe, JSON on demand."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence

from benchmarks.measure import Samples
from benchmarks.runtimes import Runtime
from pysc import __version__

Results = dict[str, dict[str, Samples]]
"""By title of the question, by runtime."""

NOTE = "Medians, and in brackets the ratio to the host. Load on the machine, frequency and placement move them."


def number(value: float) -> str:
    """Write a figure with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def rows_of(samples: dict[str, Samples], runtimes: Sequence[Runtime]) -> list[list[str]]:
    """Return the table of one question, without its head."""
    medians = {name: sample.medians() for name, sample in samples.items()}
    names = list(dict.fromkeys(row for values in medians.values() for row in values))
    host = next((medians[runtime.name] for runtime in runtimes if runtime.bare), {})
    table = []
    for name in names:
        cells = [name]
        for runtime in runtimes:
            value = medians[runtime.name].get(name)
            if value is None:
                cells.append("-")
            elif runtime.bare or name not in host:
                cells.append(number(value))
            else:
                cells.append(f"{number(value)} ({number(value / host[name])})")
        table.append(cells)
    return table


def print_json(results: Results) -> None:
    """Print every value."""
    questions = {
        title: {name: {"values": sample.values, "complaints": sample.complaints} for name, sample in samples.items()}
        for title, samples in results.items()
    }
    print(json.dumps({"pysc": __version__, "kernel": platform.release(), "questions": questions}, indent=1))


def print_plain(results: Results, runtimes: Sequence[Runtime]) -> None:
    """Print columns that a pipe can take."""
    for title, samples in results.items():
        rows = rows_of(samples, runtimes)
        if not rows:
            continue
        table = [[title, *(runtime.name for runtime in runtimes)], *rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        for row in table:
            print(
                "  ".join(
                    [
                        row[0].ljust(widths[0]),
                        *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
                    ]
                )
            )
        print()
    print(NOTE)


def print_rich(results: Results, runtimes: Sequence[Runtime]) -> None:
    """Print tables for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, samples in results.items():
        rows = rows_of(samples, runtimes)
        if not rows:
            continue
        table = Table(title=f"{title}, {platform.release()}")
        table.add_column("")
        for runtime in runtimes:
            table.add_column(runtime.name, justify="right")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(NOTE)


def print_report(results: Results, runtimes: Sequence[Runtime], as_json: bool) -> None:
    """Print in the form that fits, and complaints on standard error."""
    if as_json:
        print_json(results)
    elif sys.stdout.isatty():
        print_rich(results, runtimes)
    else:
        print_plain(results, runtimes)
    for samples in results.values():
        for name, sample in samples.items():
            for complaint in sample.complaints:
                print(f"{name}: {complaint}", file=sys.stderr)
