"""The loop is never away for long in an ordinary run: the watchdog tells of nothing."""

from __future__ import annotations

from dataclasses import replace

from tests.support.sandbox import Sandbox

ORDINARY = """
cd /tmp
for i in 1 2 3 4 5 6 7 8 9 10; do
    mkdir d$i; echo $i > d$i/f; cat d$i/f | wc -c; cp d$i/f d$i/g; ln -s g d$i/l; mv d$i/f d$i/h; ls -l d$i; rm -r d$i
done
head -c 300000 /dev/zero > zeros; sort zeros | wc -c
(sleep .05; echo done) & wait
ls -l /bin/ /usr/ | wc -l
"""
TRIES = 4
"""What the disk has not yet read, and a host that is busy elsewhere, are nobody's fault."""


def test_ordinary_runs_have_none(sandbox: Sandbox) -> None:
    told: list[str] = []
    for _ in range(TRIES):
        ran = replace(sandbox, flags=(*sandbox.flags, "--debug")).sh(ORDINARY)
        assert ran.status == 0, ran.explain()
        stalls = [line for line in ran.stderr.decode().splitlines() if "the loop was away" in line]
        if not stalls:
            return
        told += stalls
    raise AssertionError("\n".join(told))
