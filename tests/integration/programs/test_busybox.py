"""busybox-static, the whole userland in one static program: each script must print what it prints on the host."""

# A script is clearer in one line.
# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.sandbox import Sandbox, on_host
from tests.support.terminal import Terminal

BUSYBOX = "/bin/busybox"

SCRIPTS = {
    "echo": "echo hello; exit 7",
    "pipes": "seq 1000 | grep 7 | sort -rn | head -5 | tr 0-9 a-j; echo abc | cat | cat | cat",
    "forks": "i=0; while [ $i -lt 40 ]; do busybox true; i=$((i+1)); done; echo $i; (exit 3); echo $?; false || echo or",
    "redirections": "echo one >a; echo two >>a; cat <a; cat a 2>&1 >b; wc -c <b; cat nothing 2>c; cat c; exec 3<a; read x <&3; echo $x",
    "here": "x=5; cat <<END\nvalue $x $((x*2)) $(echo sub)\nEND\ncat <<'END'\nraw $x\nEND",
    "functions": "f() { echo $# $1; return 4; }; f a b; echo $?; set -- x y z; shift; echo $*; for i; do echo =$i; done; "
    "case abc in a*) echo star;; esac",
    "traps": "trap 'echo caught' USR1; kill -USR1 $$; trap 'echo bye' EXIT; (kill -9 $(sh -c 'echo $PPID')) ; echo $?",
    "background": "for i in 1 2 3; do (sleep 0.0$i; exit $i) & done; wait; (exit 9) & wait $!; echo $?",
    "find": "mkdir -p d/e/f; touch d/1 d/e/2 d/e/f/3; ln -s 1 d/l; find d | sort; find d -type f -name '[12]' -exec echo {} + | sort",
    "tar": "mkdir -p d/e; echo text >d/e/f; ln d/e/f d/h; ln -s e d/s; chmod 600 d/h; tar cf - d | (mkdir x; cd x; tar xf -); "
    "cat x/d/s/f; stat -c '%a %h %F' x/d/h x/d/s; tar cz d | tar tz | sort",
    "awk": "seq 200 | awk '{s+=$1; n[$1%7]++} END {print s; for (i=0;i<7;i++) print i, n[i]}'; "
    "printf 'b 2\\na 1\\n' | awk '{print $2 | \"sort\"}'",
    "sort": "seq 3000 | sort -r | tail -3; printf 'x\\ny\\nx\\n' | sort -u; printf '10 a\\n9 b\\n' | sort -n -k1",
    "sed": "printf 'one\\ntwo\\n' | sed -e 's/o/0/g' -e '2p'; echo x >f; sed -i s/x/y/ f; cat f",
    "files": "mkdir d; cd d; pwd | sed 's,.*/,,'; dd if=/dev/zero of=z bs=1000 count=300 2>/dev/null; wc -c z; truncate -s 5 z; "
    "wc -c z; cp z y; mv y x; ls; rm -r ../d; ls ../d 2>&1",
    "sums": "seq 100000 >n; md5sum n; sha256sum n; cksum n; gzip n; gunzip -c n.gz | md5sum; ls -l n.gz | awk '{print $1}'",
    "identity": "id -u; hostname >/dev/null && uname -s; whoami; tty; umask; ulimit -n >/dev/null; echo $((1<<40)); printenv HOME",
    "xargs": "seq 50 | xargs -n 7 echo; seq 5 | xargs -I{} sh -c 'echo got {}'; seq 20 | xargs -P 4 -n 1 true; echo $?",
    "fifo": "mkfifo p; (echo through >p) & cat p; wait; (cat p >out) & echo again >p; wait; cat out",
    "signals": "exec 2>/dev/null; sleep 100 & p=$!; kill $p; wait $p; echo $?; sleep 100 & kill -STOP $!; kill -9 $!; wait $!; echo $?; timeout 0.1 sleep 9; echo $?",
    "proc": "cat /proc/self/comm; tr '\\0' ' ' </proc/self/cmdline; echo; ls /proc/self/fd | wc -l; grep -c . /proc/mounts >/dev/null && echo m",
    "many": "i=0; while [ $i -lt 300 ]; do echo $i >f$i; i=$((i+1)); done; cat f* | wc -l; ls | wc -l; rm f*; ls | wc -l",
}
WRAP = 'd=$(mktemp -d /tmp/pysc-test.XXXXXX) && trap \'rm -rf "$d"\' 0 && cd "$d" && busybox sh -c "$SCRIPT"; s=$?; cd /; exit $s'


def in_scratch(script: str) -> tuple[str, ...]:
    """Return a command that runs ``script`` in an empty directory of its own."""
    return ("/bin/busybox", "env", f"SCRIPT={script}", "PATH=/bin:/usr/bin", "HOME=/root", BUSYBOX, "sh", "-c", WRAP)


@pytest.fixture(scope="module", autouse=True)
def busybox(need: Callable[[str], str]) -> None:
    need("busybox")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_prints_what_it_prints_on_the_host(name: str, sandbox: Sandbox) -> None:
    command = in_scratch(SCRIPTS[name])
    native = on_host(*command)
    ran = sandbox.run(*command)
    assert (ran.status, ran.text, ran.stderr) == (native.status, native.text, native.stderr), ran.explain()


def test_vi_edits_a_file_on_a_terminal(sandbox: Sandbox) -> None:
    script = "cd /tmp; busybox printf 'first\\nsecond\\n' >edited; busybox vi edited; busybox cat edited; rm edited"
    with Terminal(sandbox.command(BUSYBOX, "sh", "-c", script)) as terminal:
        terminal.expect("- edited")
        terminal.type("cwchanged")
        terminal.expect("changed")
        terminal.type("\x1b")
        terminal.expect("- edited")
        terminal.type("jdd:wq\r")
        terminal.expect("changed\r\n")
        assert terminal.finish() == 0


def test_standard_input_and_output_are_the_caller_s(sandbox: Sandbox) -> None:
    data = bytes(range(256)) * 4000
    ran = sandbox.run(BUSYBOX, "cat", stdin=data)
    assert ran.status == 0, ran.explain()
    assert ran.stdout == data
    ran = sandbox.run(BUSYBOX, "sh", "-c", "echo out; echo err >&2; exit 5")
    assert (ran.status, ran.stdout, ran.stderr) == (5, b"out\n", b"err\n")


@pytest.mark.parametrize("signal", [1, 9, 11, 15])
def test_a_signal_s_end_is_128_and_its_number(signal: int, sandbox: Sandbox) -> None:
    ran = sandbox.run(BUSYBOX, "sh", "-c", f"busybox sh -c 'kill -{signal} $$'; exit $?")
    assert ran.status == 128 + signal, ran.explain()


def test_what_the_sandbox_writes_stays_inside(sandbox: Sandbox, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    kept = tmp_path / "kept"
    kept.write_text("host")
    script = f"echo inside >{mark}; echo changed >{kept}; cat {mark} {kept}; rm {kept}; ls {tmp_path}"
    ran = sandbox.run(BUSYBOX, "sh", "-c", script)
    assert ran.text == "inside\nchanged\nmark\n", ran.explain()
    assert not mark.exists()
    assert kept.read_text() == "host"
