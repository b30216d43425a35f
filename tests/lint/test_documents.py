"""The documents are in step with the code: every flag and command is explained, every link leads somewhere."""

from __future__ import annotations

import importlib
import re

import pytest

from pysc.supervisor import flags
from pysc.supervisor.cli import COMMANDS
from pysc.supervisor.options import GlobalOptions
from tests.support.sources import ROOT

MANUAL = (ROOT / "docs/cli.md").read_text()


def flags_of(command: str) -> set[str]:
    """Return the visible flags of a command, or the global ones."""
    if command == "global":
        options: type = GlobalOptions
    else:
        options = importlib.import_module(f"pysc.supervisor.commands.{COMMANDS[command].module}").Options
    return {flag.name for flag in flags.table(options).values() if not flag.help.hidden}


def section_of(command: str) -> str:
    """Return the part of the manual that explains a command."""
    if command == "global":
        return MANUAL.partition("## GLOBAL FLAGS")[2].partition("\n## ")[0]
    sections = re.split(r"^### ", MANUAL, flags=re.MULTILINE)[1:]
    found = [section for section in sections if f"pysc {command}" in section.splitlines()[0]]
    assert len(found) == 1, f"docs/cli.md has no section of {command}"
    return found[0]


@pytest.mark.parametrize("command", ["global", *(name for name in COMMANDS if name != "help")])
def test_the_manual_explains_every_flag(command: str) -> None:
    section = section_of(command)
    silent = [name for name in flags_of(command) if not re.search(rf"--{re.escape(name)}(?![\w-])", section)]
    assert not silent, f"{command}: {silent}"


def test_the_manual_explains_no_flag_that_is_not_there() -> None:
    known = {name for command in ("global", *COMMANDS) if command != "help" for name in flags_of(command)}
    named = set(re.findall(r"`--([a-z][a-z-]+)", MANUAL))
    assert named <= known, named - known


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text()
    broken = [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / link).exists()]
    assert not broken, broken


def test_the_verbs_of_the_documents_exist() -> None:
    verbs = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    texts = "".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md", "docs/performance.md"))
    named = set(re.findall(r"`make ([a-z-]+)`|^make ([a-z-]+)", texts, re.MULTILINE))
    assert {first or second for first, second in named} <= verbs
