"""The table of system calls is whole: every number of this kernel's headers has a row, under the kernel's name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pysc.sentry.syscalls.x86_64 import X86_64
from tests.support.needs import missing
from tests.support.sources import ROOT

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")


@pytest.fixture(scope="module")
def numbers() -> dict[int, str]:
    if not HEADER.exists():
        missing("linux-libc-dev is not installed")
    return {int(match[2]): match[1] for match in re.finditer(r"#define __NR_(\w+)\s+(\d+)", HEADER.read_text())}


def test_every_number_has_a_row(numbers: dict[int, str]) -> None:
    absent = [f"{number} {name}" for number, name in numbers.items() if number not in X86_64.rows]
    assert not absent, "\n".join(absent)


def test_rows_carry_the_kernel_s_names(numbers: dict[int, str]) -> None:
    wrong = [
        f"{number}: {row.name}, the kernel's is {numbers[number]}"
        for number, row in X86_64.rows.items()
        if number in numbers and row.name != numbers[number]
    ]
    assert not wrong, "\n".join(wrong)


def test_rows_are_in_order() -> None:
    assert list(X86_64.rows) == sorted(X86_64.rows)


def test_what_is_missing_or_refused_says_why() -> None:
    for number, row in X86_64.rows.items():
        assert row.support in ("full", "partial", "refused")
        if row.support == "refused":
            assert row.handler is None, number
            assert row.errno > 0, number
        else:
            assert row.handler is not None, number
        if row.support != "full":
            assert len(row.note) > 3, f"{row.name} ({number}) is {row.support} without a reason"


def test_the_document_is_generated_from_it() -> None:
    generator = [sys.executable, "-P", str(ROOT / "docs/syscalls.py")]
    generated = subprocess.run(generator, capture_output=True, text=True, timeout=50, check=True)
    assert (ROOT / "docs/syscalls.md").read_text() == generated.stdout, "run `make generated`"
