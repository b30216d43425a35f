"""``python -m benchmarks``: measure and print."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence

from benchmarks.measure import QUESTIONS, Samples
from benchmarks.report import Results, print_report
from benchmarks.runtimes import Runtime, known_runtimes, workshop

HOST = "host"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="everything once and small, host and pysc only: does it run?"
    )
    parser.add_argument("--json", action="store_true", help="print every value as JSON")
    parser.add_argument("--rounds", type=positive, metavar="N", help="rounds over all runtimes (default 3)")
    parser.add_argument(
        "--only", default=",".join(QUESTIONS), metavar="LIST", help=f"of {', '.join(QUESTIONS)}; separated by commas"
    )
    parser.add_argument(
        "--runtime",
        action="append",
        default=[],
        type=runtime,
        metavar="NAME=COMMAND",
        help="measure one more, or another one by a name that is known: COMMAND is called with "
        "`run --bundle DIR ID`; may be repeated",
    )
    options = parser.parse_args(arguments)
    unknown = set(options.only.split(",")) - set(QUESTIONS)
    if unknown:
        parser.error(f"--only={','.join(sorted(unknown))}: use {', '.join(QUESTIONS)}")
    return options


def positive(text: str) -> int:
    """Read a number of rounds."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: use a number above 0")
    return int(text)


def runtime(text: str) -> Runtime:
    """Read NAME=COMMAND."""
    name, _, command = text.partition("=")
    words = shlex.split(command)
    if not name or not words or name == HOST:
        raise argparse.ArgumentTypeError(f"{text}: use NAME=COMMAND, with a name other than {HOST}")
    if shutil.which(words[0]) is None:
        raise argparse.ArgumentTypeError(f"{text}: there is no program {words[0]}")
    return Runtime(name, words)


def main(arguments: Sequence[str]) -> int:
    """Measure; fail if pysc did not run everything."""
    options = parse(arguments)
    rounds = options.rounds or (1 if options.quick else 3)
    results: Results = {}
    with workshop() as shop:
        runtimes = [Runtime(HOST)]
        if shop.root is None:
            print("containers need root here (a bind mount of /): only the host is measured", file=sys.stderr)
        else:
            found = known_runtimes(shop.base)
            named = {known.name: known for known in (found[:1] if options.quick else found)}
            runtimes += (named | {extra.name: extra for extra in options.runtime}).values()
        for word in options.only.split(","):
            title, ask = QUESTIONS[word]
            samples = results[title] = {runtime.name: Samples() for runtime in runtimes}
            for _ in range(rounds):  # interleaved, so that a slow minute of the machine hits all of them
                for runtime in runtimes:
                    ask(runtime, shop, samples[runtime.name], options.quick)
        print_report(results, runtimes, options.json)
    failed = any(samples["pysc"].complaints for samples in results.values() if "pysc" in samples)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
