"""The four questions: what calls cost, how long programs take, how long a start takes, what an idle sandbox costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.runtimes import Runtime, Workshop, busybox_root
from benchmarks.workloads import timed_script


@dataclass
class Samples:
    """What was measured of one runtime: values by row, and what went wrong."""

    values: dict[str, list[float]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def add(self, row: str, value: float) -> None:
        """Note one value."""
        self.values.setdefault(row, []).append(value)

    def medians(self) -> dict[str, float]:
        """Return one value a row."""
        return {row: median(values) for row, values in self.values.items()}


Question = Callable[[Runtime, Workshop, Samples, bool], None]


def ask_calls(runtime: Runtime, shop: Workshop, samples: Samples, quick: bool) -> None:
    """Run the guest program: microseconds a call."""
    guest = f"{runtime.kit(shop)}/guest"
    ran = runtime.run(shop, [guest, runtime.writable(shop), "50" if quick else "1"])
    for line in ran.output.splitlines():
        row, _, value = line.partition("\t")
        samples.add(row, float(value))
    if not ran.ok:
        samples.complaints.append(f"calls: {ran.complaint}")


def ask_programs(runtime: Runtime, shop: Workshop, samples: Samples, quick: bool) -> None:
    """Run the programs in one sandbox: seconds each."""
    script = timed_script(quick, runtime.kit(shop), runtime.writable(shop))
    ran = runtime.run(shop, ["/bin/bash", "-c", script])
    for line in ran.output.splitlines():
        row, _, value = line.partition("\t")
        if value == "-":
            samples.complaints.append(f"{row}: {ran.complaint}")
        else:
            samples.add(row, float(value) / 1e6)
    if not ran.ok:
        samples.complaints.append(f"programs: {ran.complaint}")


def ask_start(runtime: Runtime, shop: Workshop, samples: Samples, quick: bool) -> None:
    """Start and end a sandbox around /bin/echo: seconds of the whole command."""
    root = busybox_root(shop)
    if runtime.bare or root is None:
        return
    for _ in range(1 if quick else 7):
        start = time.perf_counter()
        ran = runtime.run(shop, ["/bin/echo", "hello"], root, deadline=60)
        if not ran.ok:
            samples.complaints.append(f"start: {ran.complaint}")
            return
        samples.add("run of echo", time.perf_counter() - start)


def ask_idle(runtime: Runtime, shop: Workshop, samples: Samples, quick: bool) -> None:
    """Look at a sandbox that sleeps: proportional memory and CPU of all its processes."""
    root = busybox_root(shop)
    if runtime.bare or root is None:
        return
    settle, watch = (1.0, 1.0) if quick else (3.0, 10.0)
    with runtime.start(shop, ["/bin/sleep", str(int(settle + watch + 3))], root) as process:
        time.sleep(settle)
        family = descendants(process.pid)
        before = sum(cpu_seconds(pid) for pid in family)
        time.sleep(watch)
        if process.poll() is None:
            samples.add("idle memory, MB", sum(pss_megabytes(pid) for pid in family))
            samples.add("idle CPU, %", 100 * (sum(cpu_seconds(pid) for pid in family) - before) / watch)
        else:
            samples.complaints.append("idle: it ended")
        process.communicate()


def descendants(pid: int) -> list[int]:
    """Return a process and all that it started."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def cpu_seconds(pid: int) -> float:
    """Return what a process has used so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_megabytes(pid: int) -> float:
    """Return a process's proportional set size."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


QUESTIONS: dict[str, tuple[str, Question]] = {
    "calls": ("system calls, us", ask_calls),
    "programs": ("programs, s", ask_programs),
    "start": ("start, s", ask_start),
    "idle": ("an idle sandbox", ask_idle),
}
