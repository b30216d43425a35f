"""What the caller of ``pysc do`` is limited to, the program is, too."""

from __future__ import annotations

from tests.support.sandbox import PYSC, run

LIMITS = "ulimit -S -n 300; ulimit -S -s 4096; ulimit -S -f 100000; ulimit -c 0"


def test_limits_are_the_callers(namespaces: None) -> None:
    """A hard limit of 0 for cores, as many services have it, is none of the guest half's business."""
    native = run(["sh", "-c", f"{LIMITS}; ulimit -a"])
    inside = run(["sh", "-c", f'{LIMITS}; exec "$@"', "sh", *PYSC, "do", "--", "sh", "-c", "ulimit -a"])
    kept = ("time", "file", "data", "stack", "coredump", "nofiles", "vmemory")
    assert inside.status == 0, inside.explain()
    assert [line for line in inside.text.splitlines() if line.startswith(kept)] == [
        line for line in native.text.splitlines() if line.startswith(kept)
    ]
    assert len([line for line in native.text.splitlines() if line.startswith(kept)]) == len(kept)
