"""Go's rules for flags."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysc.supervisor import flags
from pysc.supervisor.failure import UsageError
from pysc.supervisor.flags import Help, HelpRequested


class Options(msgspec.Struct, frozen=True):
    """One of each kind."""

    name: Annotated[str, Help("a name", "NAME", aliases=("n",))] = ""
    detach: Annotated[bool, Help("a switch", aliases=("d",))] = False
    count: Annotated[int, Help("a number")] = 3
    wait: Annotated[float, Help("seconds")] = 0.5
    mode: Annotated[Literal["on", "off"], Help("a choice")] = "on"
    env: Annotated[list[str], Help("many", "K=V")] = msgspec.field(default_factory=list)
    extra_gids: Annotated[list[int], Help("many numbers")] = msgspec.field(default_factory=list)
    secret: Annotated[bool, Help("not shown", hidden=True)] = False


@pytest.mark.parametrize(
    ("arguments", "expected", "rest"),
    [
        ([], Options(), []),
        (["-name", "x"], Options(name="x"), []),
        (["--name=x=y"], Options(name="x=y"), []),
        (["--name="], Options(), []),
        (["-n", "--detach"], Options(name="--detach"), []),
        (["-d", "false"], Options(detach=True), ["false"]),
        (["-d=false"], Options(), []),
        (["--detach=T"], Options(detach=True), []),
        (["--count", "0x10"], Options(count=16), []),
        (["--wait=2.5"], Options(wait=2.5), []),
        (["--mode", "off"], Options(mode="off"), []),
        (["--env", "a=1,b=2", "-env=c"], Options(env=["a=1,b=2", "c"]), []),
        (["--extra-gids=1", "--extra-gids", "2"], Options(extra_gids=[1, 2]), []),
        (["id", "-d", "--name", "x"], Options(), ["id", "-d", "--name", "x"]),
        (["-d", "--", "-n"], Options(detach=True), ["-n"]),
        (["-", "-d"], Options(), ["-", "-d"]),
        (["-n", "a", "-n", "b"], Options(name="b"), []),
    ],
)
def test_what_parses(arguments: list[str], expected: Options, rest: list[str]) -> None:
    assert flags.parse(Options, arguments) == (expected, rest)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense"], "unknown flag --nonsense"),
        (["--nonsense=1"], "unknown flag --nonsense"),
        (["--detahc"], "unknown flag --detahc (did you mean --detach?)"),
        (["--name"], "flag needs a value: -name"),
        (["---name"], "bad flag syntax: ---name"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-detach=maybe"], 'invalid boolean value "maybe" for flag -detach'),
        (["-count=many"], 'invalid integer value "many" for flag -count'),
        (["-wait", "\x1b"], 'invalid number value "\\x1b" for flag -wait'),
        (["-mode=perhaps"], 'invalid value "perhaps" for flag -mode: use on or off'),
    ],
)
def test_what_does_not(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        flags.parse(Options, arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("flag", ["-h", "--help", "-help"])
def test_help(flag: str) -> None:
    with pytest.raises(HelpRequested):
        flags.parse(Options, ["-d", flag])


def test_the_description_shows_everything_but_the_hidden() -> None:
    assert flags.describe(Options) == [
        ("-n, --name=NAME", "a name"),
        ("-d, --detach", "a switch"),
        ("--count=N", "a number (default 3)"),
        ("--wait=N", "seconds (default 0.5)"),
        ("--mode=on|off", "a choice (default on)"),
        ("--env=K=V", "many (may be repeated)"),
        ("--extra-gids=VALUE", "many numbers (may be repeated)"),
    ]


@given(st.lists(st.text(max_size=8), max_size=6))
def test_nothing_but_a_usage_error_comes_out(arguments: list[str]) -> None:
    try:
        _, rest = flags.parse(Options, arguments)
    except (UsageError, HelpRequested):
        return
    assert arguments[len(arguments) - len(rest) :] == rest


class Numbers(msgspec.Struct, frozen=True):
    """Numbers with an end."""

    size: Annotated[int, Help("bytes", least=0)] = 0
    pause: Annotated[float, Help("seconds", least=0.01)] = 1.0
    any: Annotated[int, Help("no least")] = 0


@pytest.mark.parametrize(
    "argument", ["--size=-1", "--size=99999999999", "--pause=0", "--pause=nan", "--pause=inf", "--any=0x80000000"]
)
def test_numbers_have_an_end(argument: str) -> None:
    with pytest.raises(UsageError, match=r"is out of range: use .* to 2147483647"):
        flags.parse(Numbers, [argument])
    assert flags.parse(Numbers, ["--size=0", "--pause=0.01", "--any=-5"])[0] == Numbers(0, 0.01, -5)
