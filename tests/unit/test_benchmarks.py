"""The command line of the benchmarks; what it measures is run by ``make bench-smoke``."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import parse
from benchmarks.measure import Samples
from benchmarks.report import rows_of
from benchmarks.runtimes import Runtime


def test_further_runtimes() -> None:
    options = parse(["--runtime", "mine=sh -c 'a b'", "--runtime=runc=env runc", "--rounds=2"])
    assert [(extra.name, extra.command) for extra in options.runtime] == [
        ("mine", ["sh", "-c", "a b"]),
        ("runc", ["env", "runc"]),
    ]
    assert options.rounds == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runtime=mine"], "use NAME=COMMAND"),
        (["--runtime=mine="], "use NAME=COMMAND"),
        (["--runtime==sh"], "use NAME=COMMAND"),
        (["--runtime=host=sh"], "other than host"),
        (["--runtime=mine=/nowhere run"], "there is no program /nowhere"),
        (["--rounds=0"], "above 0"),
        (["--only=calls,naps"], "use calls, programs, start, idle"),
    ],
)
def test_a_bad_command_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert words in capsys.readouterr().err


def test_medians_and_ratios() -> None:
    runtimes = [Runtime("host"), Runtime("pysc", ["pysc"]), Runtime("other", ["other"])]
    samples = {"host": Samples({"getpid": [0.1, 0.3, 0.2]}), "pysc": Samples({"getpid": [0.3, 9, 0.1], "start": [2]})}
    samples["other"] = Samples()
    assert rows_of(samples, runtimes) == [["getpid", "0.2", "0.3 (1.5)", "-"], ["start", "-", "2", "-"]]
