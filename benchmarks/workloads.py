"""What is run inside: the programs of the table, and the script that times each of them there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Workload:
    """One row: a shell script, run in an empty directory; ``{n}`` is its size, smaller when it only must run."""

    name: str
    script: str
    size: int
    quick: int


PROGRAMS: Final = (
    Workload("sh, 200 fork+exec", "/bin/sh -c 'i=0; while [ $i -lt {n} ]; do /bin/true; i=$((i+1)); done'", 200, 10),
    Workload("find /usr | wc -l", "find /usr/{n} | wc -l >/dev/null", 0, 1),
    Workload("tar of the python library", "tar cf - -C /usr/lib python3{n} 2>/dev/null | cat >/dev/null", 0, 1),
    Workload("python start x5", "for i in $(seq {n}); do /usr/bin/python3 -c pass; done", 5, 1),
    Workload("4 python threads, a queue", "/usr/bin/python3 $KIT/threads.py {n}", 4000, 50),
    Workload("2000 small files", "/usr/bin/python3 $KIT/files.py {n}", 2000, 20),
    Workload("dd, 125 MB in 64 KiB writes", "dd if=/dev/zero of=big bs=65536 count={n} 2>/dev/null; rm big", 1907, 20),
    Workload("grep -r", "grep -r {n}nothing-like-it /usr/share/perl /usr/lib/python3 || true", 0, 1),
    Workload("gcc x5", "for i in $(seq {n}); do gcc -O1 $KIT/hello.c -o hello; done", 5, 1),
    Workload(
        "git, 8 commits", "git init -q .; for i in $(seq {n}); do echo $i >f; git add f; git commit -qm c; done", 8, 1
    ),
    Workload("sqlite, 300 autocommits", "/usr/bin/python3 $KIT/sqlite.py {n}", 300, 5),
)  # fmt: skip

PATHS: Final = {"find /usr | wc -l": ("", "lib/python3"), "tar of the python library": ("", ""), "grep -r": ("", "")}
"""Rows whose size is a word of a path."""

KIT: Final = {
    "hello.c": '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n',
    "threads.py": """\
import queue, sys, threading
n, todo, done = int(sys.argv[1]), queue.Queue(), queue.Queue()
def work():
    while (item := todo.get()) is not None:
        done.put(item + 1)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for i in range(n): todo.put(i)
for _ in threads: todo.put(None)
for thread in threads: thread.join()
assert done.qsize() == n
""",
    "files.py": """\
import os, sys
n = int(sys.argv[1])
os.mkdir("d")
for i in range(n):
    with open(f"d/{i}", "w") as file: file.write("small")
for name in os.listdir("d"): os.unlink("d/" + name)
os.rmdir("d")
""",
    "sqlite.py": """\
import sqlite3, sys
db = sqlite3.connect("db", isolation_level=None)
db.execute("create table t (a integer, b text)")
for i in range(int(sys.argv[1])): db.execute("insert into t values (?, ?)", (i, "x" * 50))
assert db.execute("select count(*) from t").fetchone()[0] == int(sys.argv[1])
""",
}

ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
    "HOME": "/tmp",
    "LC_ALL": "C",
    "PYTHONDONTWRITEBYTECODE": "1",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "n@n", "GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "n@n",
}  # fmt: skip


def timed_script(quick: bool, kit: str, work: str) -> str:
    """Return a bash script that runs every program and prints its name and seconds, or ``-`` where it failed.

    Bash's own clock is read, so nothing is started to measure.
    """
    lines = [f"KIT={kit}; export KIT; umask 022"]
    for workload in PROGRAMS:
        if workload.name in PATHS:
            size: int | str = PATHS[workload.name][quick]
        else:
            size = workload.quick if quick else workload.size
        script = workload.script.replace("{n}", str(size))
        lines += [
            f"rm -rf {work}/w; mkdir -p {work}/w; cd {work}/w",
            f"start=${{EPOCHREALTIME/./}}; ( set -e; {script}\n) >/dev/null; status=$?; end=${{EPOCHREALTIME/./}}",
            f"if [ $status = 0 ]; then printf '%s\\t%d\\n' '{workload.name}' $((end - start)); "
            f"else printf '%s\\t-\\n' '{workload.name}'; fi",
        ]
    return "\n".join([*lines, f"cd /; rm -rf {work}/w"])
