"""Command-line flags by Go's rules, which clients of OCI runtimes rely on.

``-f`` and ``--f`` are the same; a value follows ``=`` or is the next argument; booleans take one after ``=`` only;
parsing stops at the first argument that is no flag, or after ``--``.  A set of flags is a msgspec struct whose
fields carry a :class:`Help`::

    class Options(msgspec.Struct):
        bundle: Annotated[str, Help("directory with config.json", "DIR", aliases=("b",))] = "."

Field types: bool, int, float, str, ``Literal[...]`` of strings, and ``list[str]`` or ``list[int]`` for flags that
may be repeated.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec

from pysc.supervisor.failure import UsageError

Options = TypeVar("Options", bound=msgspec.Struct)

_BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


MOST: Final = 0x7FFF_FFFF
"""No number on a command line is larger."""


class Help:
    """What a person should know about a flag."""

    __slots__ = ("aliases", "hidden", "least", "metavar", "text")

    def __init__(
        self,
        text: str,
        metavar: str = "",
        *,
        aliases: Sequence[str] = (),
        hidden: bool = False,
        least: float = -MOST,
    ) -> None:
        self.text = text
        self.metavar = metavar
        self.aliases = tuple(aliases)
        self.hidden = hidden
        self.least = least
        """The smallest number that it takes."""


class UnknownFlag(UsageError):
    """There is no such flag here."""

    def __init__(self, argument: str, name: str, meant: str) -> None:
        super().__init__(f"unknown flag {argument}{meant}")
        self.argument = argument
        self.name = name


class HelpRequested(Exception):
    """``-h`` or ``--help`` stands among the flags."""


class Flag(msgspec.Struct, frozen=True):
    """One flag of a table."""

    name: str
    field: str
    type: Any
    default: Any
    help: Help

    @property
    def boolean(self) -> bool:
        """Whether it takes no detached value."""
        return self.type is bool

    @property
    def repeatable(self) -> bool:
        """Whether values add up."""
        return typing.get_origin(self.type) is list

    def convert(self, text: str) -> Any:
        """Return the value that ``text`` means.

        Raises:
            UsageError: it means none.
        """
        kind = typing.get_args(self.type)[0] if self.repeatable else self.type
        if typing.get_origin(kind) is Literal:
            if text in (choices := typing.get_args(kind)):
                return text
            raise UsageError(f"invalid value {quoted(text)} for flag -{self.name}: use {' or '.join(choices)}")
        try:
            if kind is bool:
                return _BOOLEANS[text]
            value = int(text, 0) if kind is int else kind(text)
        except (KeyError, ValueError):
            noun = {bool: "boolean", int: "integer", float: "number"}[kind]
            raise UsageError(f"invalid {noun} value {quoted(text)} for flag -{self.name}") from None
        if kind is not str and not self.help.least <= value <= MOST:  # not a number is not in there either
            least, most = f"{self.help.least:g}", MOST
            raise UsageError(f"value {quoted(text)} for flag -{self.name} is out of range: use {least} to {most}")
        return value


def quoted(text: str) -> str:
    """Return ``text`` in double quotes, control characters escaped."""
    return '"' + text.encode("unicode_escape", "replace").decode().replace('"', '\\"') + '"'


def table(options: type[msgspec.Struct]) -> dict[str, Flag]:
    """Return the flags of an options struct by name and alias, in order of declaration."""
    hints = typing.get_type_hints(options, include_extras=True)
    flags: dict[str, Flag] = {}
    for field in msgspec.structs.fields(options):
        annotated = hints[field.name]
        kind = annotated.__origin__
        (about,) = annotated.__metadata__
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        flag = Flag(field.name.replace("_", "-"), field.name, kind, default, about)
        flags.update(dict.fromkeys((flag.name, *about.aliases), flag))
    return flags


def parse(options: type[Options], arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """Parse leading flags; return the options and the remaining arguments.

    Raises:
        UsageError: a flag is unknown, lacks its value, or has a wrong one.
        HelpRequested: help is asked for.
    """
    flags = table(options)
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        argument = rest.pop(0)
        if argument == "--":
            break
        name, equals, text = argument[2 if argument.startswith("--") else 1 :].partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {argument}")
        flag = flags.get(name)
        if flag is None:
            if name in ("h", "help"):
                raise HelpRequested
            raise UnknownFlag(argument.partition("=")[0], name, _meant(name, flags))
        if not equals:
            if flag.boolean:
                text = "true"
            elif not rest:
                raise UsageError(f"flag needs a value: -{name}")
            else:
                text = rest.pop(0)
        value = flag.convert(text)
        if flag.repeatable:
            values.setdefault(flag.field, []).append(value)
        else:
            values[flag.field] = value
    return options(**values), rest


def _meant(name: str, flags: dict[str, Flag]) -> str:
    import difflib  # only for those who mistyped

    close = difflib.get_close_matches(name, flags, 1)
    return f" (did you mean --{close[0]}?)" if close else ""


def describe(options: type[msgspec.Struct]) -> list[tuple[str, str]]:
    """Return the flags as (how to write it, what it does), in order of declaration."""
    rows = []
    seen: set[str] = set()
    for flag in table(options).values():
        if flag.name in seen or flag.help.hidden:
            continue
        seen.add(flag.name)
        names = ", ".join([*(f"-{alias}" for alias in flag.help.aliases), f"--{flag.name}"])
        rows.append((names + _value_of(flag), flag.help.text + _default_of(flag)))
    return rows


def _value_of(flag: Flag) -> str:
    if flag.boolean:
        return ""
    if typing.get_origin(flag.type) is Literal:
        return "=" + "|".join(typing.get_args(flag.type))
    return "=" + (flag.help.metavar or ("N" if flag.type in (int, float) else "VALUE"))


def _default_of(flag: Flag) -> str:
    if flag.repeatable:
        return " (may be repeated)"
    if isinstance(flag.default, types.NoneType | bool) or flag.default == "":
        return ""
    return f" (default {flag.default})"
