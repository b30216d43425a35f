"""Programs of a Debian system, dynamic and threaded, on the host's own root under the memory overlay."""

# A script is clearer in one line.
# ruff: noqa: E501
from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox, on_host

WRAP = 'd=$(mktemp -d /tmp/pysc-test.XXXXXX) && trap "rm -rf $d" EXIT && cd "$d" && export HOME=$d LC_ALL=C && eval "$SCRIPT"'

SCRIPTS = {
    "pipes": "seq 10000 | awk '{print $1 % 97}' | sort -n | uniq -c | sort -rn | head -3; echo ${PIPESTATUS[*]}",
    "two hundred forks": "for i in $(seq 200); do /bin/true || exit 1; done; echo $i; for i in {1..200}; do (:); done; echo done",
    # Until its child has executed sleep, a bash with an EXIT trap can lose the signal to its own handler; so on Linux.
    "job control": "set -m; begun() { until read -r c </proc/$!/comm && [ $c = sleep ]; do :; done; }; "
    "sleep 100 & begun; jobs | sed 's/+ *//'; kill %1; wait %1; echo $?; sleep 100 & begun; kill -STOP %%; "
    "until jobs | grep -q Stopped; do :; done; bg >/dev/null; kill %%; wait %%; echo $?",
    "substitution": "diff <(seq 5) <(seq 6); echo $(< /etc/hostname) >/dev/null; x=$(cat <(echo in) ); echo $x; read a b < <(echo 1 2); echo $b",
    "coprocess": "coproc cat; echo ping >&${COPROC[1]}; read -t 5 x <&${COPROC[0]}; echo $x; exec {COPROC[1]}>&-; wait",
    "signals": "trap 'echo usr1' USR1; kill -USR1 $$; trap '' TERM; kill -TERM $$; echo alive; (sleep 0.05; kill -USR1 $$) & wait $!; echo $?",
    "arrays": 'declare -A m=([a]=1 [b]=2); echo ${#m[@]}; a=(x y "z w"); printf "<%s>" "${a[@]}"; echo; [[ abc =~ b(.) ]] && echo ${BASH_REMATCH[1]}',
    "coreutils": "seq 100 | shuf --random-source=/bin/true | sort -n | md5sum; split -l 30 <(seq 100) p; ls p*; cat p* | tac | head -2; "
    "join <(echo 1 a) <(echo 1 b); paste <(seq 2) <(seq 2); comm <(seq 3) <(seq 2 4); cut -d: -f1 /etc/passwd | head -1; "
    "numfmt --to=iec 123456789; date -u -d @0; nproc >/dev/null; factor 1234567; base64 <<<hello; od -c <<<hi; tsort <<<'a b b c'",
    "files": "mkdir -p a/b; touch -d @1000000000 a/f; stat -c '%Y %s %a %F' a/f; ln -s f a/l; readlink -f a/l | sed \"s,$d,,\"; "
    "cp -a a c; ls -lR c | awk 'NF > 2 {print $1,$NF}'; mv c/f c/g; install -m 640 a/f i; stat -c %a i; rm -rf a c; df . >/dev/null; "
    "du -sb . | cut -f1 >/dev/null; truncate -s 1M big; cmp big <(head -c 1M /dev/zero) && echo same; mktemp -u x.XXXX | wc -c",
    "tar": "mkdir t; for i in $(seq 50); do echo $i >t/$i; done; tar czf t.tgz t; rm -r t; tar xzf t.tgz; cat t/* | sort -n | md5sum; "
    "tar cf - -C /usr/lib/python3 . 2>/dev/null | tar tf - | sort | md5sum",
    "grep -r": "grep -rl 'Debian' /usr/share/doc/bash /usr/share/doc/coreutils /etc/debian_version /etc/os-release | sort; grep -rc root /etc/pam.d | sort | head",
    "find": "find /usr/share/doc -maxdepth 2 | sort | md5sum; find /usr/lib -xdev -type l | wc -l; find /etc -name 'host*' -perm -004 | sort",
    "xargs": "seq 100 | xargs -P 4 -n 5 echo | wc -l; find /etc -maxdepth 1 -type f -print0 | sort -z | xargs -0 -n 50 cat 2>/dev/null | md5sum",
    "perl": 'perl -e \'my $p = fork; if (!$p) { exit 3 } waitpid($p, 0); print $? >> 8, "\\n"; print join(",", sort { $b <=> $a } 1..9), "\\n"; '
    '$SIG{ALRM} = sub { print "alarm\\n" }; alarm 1; select(undef, undef, undef, 5); print `echo sub`\'',
    "gcc": "printf '#include <stdio.h>\\n#include <math.h>\\nint main(void) { printf(\"%%.3f\\\\n\", sqrt(2)); return 4; }' >x.c; "
    "gcc -O2 -Wall x.c -o x -lm; ./x; echo $?; gcc -static x.c -o y -lm && ./y; gcc -c x.c && ar rcs l.a x.o && nm l.a | grep main",
    "make": "printf 'all: a b\\na b:\\n\\techo $@ >$@\\n\\t@cat $@\\n' >Makefile; make -s -j2 | sort; make -s; touch -d @0 a; ls",
    "git": "export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='@1000000000 +0000' GIT_COMMITTER_DATE='@1000000000 +0000'; git init -q -b main .; "
    "git config user.email a@b; git config user.name n; for i in 1 2 3; do echo $i >f$i; git add .; git commit -qm c$i; done; "
    "git log --oneline; git checkout -qb side HEAD~1; echo x >g; git add g; git commit -qm side; git merge -q --no-edit main; git log --oneline | wc -l; "
    "git fsck 2>&1; git status --short; git gc -q; git show HEAD --stat | tail -3; git clone -q . ../$(basename $d).c && rm -rf ../$(basename $d).c && echo cloned",
}

PYTHON = {
    "json and re": """
        import json, re
        data = {"list": list(range(100)), "text": "ünï", "nested": {"a": [None, True, 1.5]}}
        assert json.loads(json.dumps(data)) == data
        print(re.findall(r"(\\w+)@(\\w+)", "a@b c@d " * 3))
    """,
    "threads": """
        import queue, threading
        work, results = queue.Queue(), queue.Queue()
        def run():
            while (item := work.get()) is not None:
                results.put(item * item)
        threads = [threading.Thread(target=run) for _ in range(8)]
        [t.start() for t in threads]
        [work.put(i) for i in range(500)]
        [work.put(None) for _ in threads]
        [t.join() for t in threads]
        print(sum(results.get() for _ in range(500)))
        lock, barrier, event = threading.Lock(), threading.Barrier(4), threading.Event()
        t = threading.Timer(0.05, event.set); t.start(); print(event.wait(10)); t.join()
    """,
    "subprocess": """
        import subprocess, sys
        print(subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 3"], capture_output=True, text=True))
        p = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        data = bytes(300000); print(p.communicate(data)[0] == data, p.returncode)
        try: subprocess.run(["sleep", "10"], timeout=0.1)
        except subprocess.TimeoutExpired as e: print("timeout")
        try: subprocess.run(["/nowhere"])
        except FileNotFoundError as e: print(e)
        print(subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid() > 0)"]))
        print([subprocess.call(["true"]) for _ in range(10)])
    """,
    "multiprocessing": """
        import multiprocessing as m
        def square(x): return x * x
        def child(q, e): e.wait(10); q.put("from the child")
        if __name__ == "__main__":
            for method in ("fork", "spawn"):
                with m.get_context(method).Pool(3) as pool: print(sum(pool.map(square, range(100))))
            q, e = m.Queue(), m.Event()
            p = m.Process(target=child, args=(q, e)); p.start(); e.set(); print(q.get(timeout=20)); p.join(); print(p.exitcode)
            v = m.Value("i", 0)
            def add():
                for _ in range(200):
                    with v.get_lock(): v.value += 1
            ps = [m.Process(target=add) for _ in range(3)]; [p.start() for p in ps]; [p.join() for p in ps]; print(v.value)
            from multiprocessing import shared_memory
            s = shared_memory.SharedMemory(create=True, size=100); s.buf[5] = 7
            t = shared_memory.SharedMemory(s.name); print(t.buf[5]); t.close(); s.close(); s.unlink()
    """,
    "mmap": """
        import mmap, os, tempfile
        with tempfile.TemporaryFile() as f:
            f.write(b"x" * 10000); f.flush()
            m = mmap.mmap(f.fileno(), 0); m[5000:5005] = b"hello"; m.flush(); f.seek(5000); print(f.read(5)); m.resize(20000); print(len(m))
        a = mmap.mmap(-1, 4096)
        if os.fork() == 0: a[0] = 9; os._exit(0)
        os.wait(); print(a[0])
    """,
    "sqlite3": """
        import sqlite3
        for name in ("one.db", ":memory:"):
            c = sqlite3.connect(name); c.execute("pragma journal_mode=wal") if name != ":memory:" else None
            c.execute("create table t (a integer primary key, b text)")
            c.executemany("insert into t values (?, ?)", [(i, str(i) * 10) for i in range(1000)]); c.commit()
            print(c.execute("select count(*), sum(a), max(b) from t").fetchone(), c.execute("pragma integrity_check").fetchone())
            d = sqlite3.connect(name, timeout=0.1)
            if name != ":memory:":
                c.execute("begin immediate")
                try: d.execute("insert into t values (5000, '')")
                except sqlite3.OperationalError as e: print(e)
                c.rollback(); print(d.execute("select count(*) from t").fetchone())
    """,
    "asyncio": """
        import asyncio, os, signal, socket
        async def main():
            a, b = socket.socketpair()
            ra, wa = await asyncio.open_connection(sock=a); rb, wb = await asyncio.open_connection(sock=b)
            async def echo():
                while line := await rb.readline(): wb.write(line.upper()); await wb.drain()
                wb.close()
            task = asyncio.create_task(echo())
            for i in range(100): wa.write(b"line %d\\n" % i); assert await ra.readline() == b"LINE %d\\n" % i
            wa.write_eof(); await task; print("echoed")
            server = await asyncio.start_unix_server(lambda r, w: (w.write(b"served"), w.close()), "s")
            r, w = await asyncio.open_unix_connection("s"); print(await r.read()); w.close(); server.close()
            got = asyncio.Event(); asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, got.set)
            os.kill(os.getpid(), signal.SIGUSR1); await asyncio.wait_for(got.wait(), 10); print("signal")
            p = await asyncio.create_subprocess_exec("sh", "-c", "echo sub; exit 2", stdout=-1); print(await p.communicate(), p.returncode)
            print(await asyncio.gather(*(asyncio.sleep(0.01 * i, i) for i in range(5))), await asyncio.to_thread(sum, range(10)))
            try: await asyncio.wait_for(asyncio.sleep(10), 0.05)
            except TimeoutError: print("timeout")
        asyncio.run(main())
    """,
    "os": """
        import os, pathlib, shutil, signal, stat, tempfile, time
        os.makedirs("a/b/c"); pathlib.Path("a/b/f").write_text("x"); print(sorted(str(p) for p in pathlib.Path("a").rglob("*")))
        shutil.copytree("a", "d"); os.rename("d", "e"); shutil.rmtree("a"); print(os.listdir("."), stat.filemode(os.stat("e").st_mode))
        signal.signal(signal.SIGALRM, lambda *a: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause()
        r, w = os.pipe(); os.set_blocking(r, False)
        try: os.read(r, 1)
        except BlockingIOError as e: print(e)
        print([e.name for e in os.scandir("e")], os.get_terminal_size if 0 else os.isatty(0), os.cpu_count() > 0, len(os.urandom(8)), time.sleep(0.01))
        pid, status = os.waitpid(os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "kill -9 $$"), 0); print(os.WTERMSIG(status))
        import resource, socket, hashlib, zlib, ctypes, decimal, threading, uuid, select, selectors, platform, pwd
        print(hashlib.sha256(b"x").hexdigest()[:8], zlib.crc32(b"x"), pwd.getpwuid(0).pw_name, platform.machine(), ctypes.CDLL(None).abs(-3))
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_bash_script_prints_what_it_prints_on_the_host(
    name: str, sandbox: Sandbox, need: Callable[[str], str]
) -> None:
    need({"gcc": "gcc", "git": "git", "make": "make", "perl": "perl"}.get(name, "bash"))
    command = ("/usr/bin/env", f"SCRIPT={SCRIPTS[name]}", "/bin/bash", "-c", WRAP)
    native = on_host(*command)
    ran = sandbox.run(*command)
    assert (ran.status, ran.text, ran.stderr) == (native.status, native.text, native.stderr), ran.explain()


@pytest.mark.parametrize("name", PYTHON)
def test_a_python_program_prints_what_it_prints_on_the_host(name: str, sandbox: Sandbox, shared_folder: Path) -> None:
    program = shared_folder / f"program_{name.replace(' ', '_')}.py"
    if not program.exists():
        partial = program.with_suffix(f".{id(name)}")
        partial.write_text(textwrap.dedent(PYTHON[name]))
        partial.rename(program)
    script = f"/usr/bin/python3 -B {program}"
    command = ("/usr/bin/env", f"SCRIPT={script}", "/bin/bash", "-c", WRAP)
    native = on_host(*command)
    assert native.status == 0, native.explain()
    ran = sandbox.run(*command)
    assert (ran.status, ran.text) == (native.status, native.text), ran.explain()


def test_a_race_is_found_by_thread_sanitizer(sandbox: Sandbox, need: Callable[[str], str]) -> None:
    """It refuses a process that has memory where it expects none; so does Go's race detector."""
    need("gcc")
    program = "int x; void *f(void *a) { x++; return a; } int main(void) { pthread_t t; "
    program += "pthread_create(&t, 0, f, 0); x++; return pthread_join(t, 0); }"
    script = f"echo '#include <pthread.h>\n{program}' | gcc -g -fsanitize=thread -x c - -o /tmp/race && exec /tmp/race"
    ran = sandbox.sh(script)
    assert ran.status == 66, ran.explain()
    assert b"WARNING: ThreadSanitizer: data race" in ran.stderr, ran.explain()


@pytest.mark.slow
def test_find_walks_all_of_usr(sandbox: Sandbox) -> None:
    command = ("/bin/bash", "-c", "find /usr -xdev | LC_ALL=C sort | md5sum")
    native = on_host(*command)
    ran = sandbox.run(*command)
    assert ran.text == native.text, ran.explain()
