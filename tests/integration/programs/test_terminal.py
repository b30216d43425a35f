"""bash on a terminal: line editing, ^C, ^Z, fg and bg, window size, the status of it all, and the modes given back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

BASH = ("/bin/bash", "--norc", "--noprofile", "-i")


@pytest.fixture(params=["host", "sandbox"])
def start(request: pytest.FixtureRequest, sandbox: Sandbox) -> Callable[[], Terminal]:
    """Return what opens a terminal with bash on it: on the host, to test the test, and inside."""
    if request.param == "host":
        return lambda: Terminal(("/usr/bin/env", "-C", "/tmp", *BASH))
    return lambda: Terminal(sandbox.command("/usr/bin/env", "-C", "/tmp", *BASH))


@pytest.fixture
def bash(start: Callable[[], Terminal]) -> Iterator[Terminal]:
    with start() as terminal:
        terminal.type("bind 'set enable-bracketed-paste off'; PS1='ready''> '\r")
        terminal.expect("ready> ")
        yield terminal


def begin(bash: Terminal, command: str, setup: str = ":") -> None:
    """Run ``command`` as a job; wait until it has the terminal: what is typed then is not the line editor's."""
    bash.type(f"sh -c '{setup}; echo be\"\"gun; {command}'\r")
    bash.expect("begun\r\n")


def test_it_is_a_terminal(bash: Terminal) -> None:
    bash.type("tty; test -t 0 && ps -o stat= -p $$ | sed 's/s.*/ leads/'\r")
    bash.expect(r"/dev/(pts/\d+|console|tty)\r\n.* leads\r\n.*ready> ")
    bash.type("exit 6\r")
    assert bash.finish() == 6


def test_interrupt_ends_the_foreground_job_and_not_the_shell(bash: Terminal) -> None:
    begin(bash, "exec sleep 100")
    bash.type("\x03")
    bash.expect("ready> ")
    bash.type("echo status $?\r")
    bash.expect("status 130\r\n")
    bash.expect("ready> ")
    begin(bash, "cat | cat")
    bash.type("line\r")
    bash.expect("line\r\nline\r\n")
    bash.type("\x03")
    bash.expect("ready> ")
    # Not at the prompt: a ^C that comes just before readline's read waits for another key, on the host as well.
    begin(bash, "exec cat")
    bash.type("half a line\x03")
    bash.expect("ready> ")
    bash.type("echo status $?\r")
    bash.expect("status 130\r\n")


def test_stop_foreground_background(bash: Terminal) -> None:
    begin(bash, "exec cat")
    bash.type("first\r")
    bash.expect("first\r\nfirst\r\n")
    bash.type("\x1a")
    bash.expect(r"Stopped\s+sh.*ready> ")
    bash.type("jobs\r")
    bash.expect(r"\[1\]\+\s+Stopped\s+sh.*ready> ")
    bash.type("fg\r")
    bash.expect("fg\r\nsh.*cat.\r\n")
    bash.type("second\r")
    bash.expect("second\r\nsecond\r\n")
    bash.type("\x1a")
    bash.expect(r"Stopped\s+sh.*ready> ")
    bash.type("bg\r")  # a background job that reads its terminal stops by itself
    bash.expect(r"cat. &\r\n.*ready> ")
    bash.type("while jobs -s | wc -l | grep -q 0; do :; done; jobs\r")
    bash.expect(r"Stopped\s+sh.*ready> ")
    bash.type("fg\r")
    bash.expect("fg\r\nsh.*cat.\r\n")
    bash.type("\x04")
    bash.expect("ready> ")
    bash.type("echo status $?; sleep 100 & kill $!; wait $!; echo status $?\r")
    bash.expect("status 0\r\n.*status 143\r\n")


def test_quit_and_end_of_file(bash: Terminal) -> None:
    begin(bash, "ulimit -c 0; exec sleep 100")
    bash.type("\x1c")
    bash.expect("Quit.*ready> ")
    bash.type("echo status $?\r")
    bash.expect("status 131\r\n.*ready> ")
    bash.type("(exit 9)\r")
    bash.expect("ready> ")
    bash.type("\x04")
    assert bash.finish() == 9


def test_the_terminal_is_the_console(sandbox: Sandbox) -> None:
    with Terminal(sandbox.command("/bin/sh", "-c", "tty; tty </dev/console; echo shown >/dev/console")) as terminal:
        terminal.expect("/dev/pts/0\r\n/dev/console\r\nshown\r\n")
        assert terminal.finish() == 0


@pytest.mark.parametrize(("key", "status"), [("\x03", 130), ("\x1c", 131)], ids=["^C", "^\\"])
def test_keys_end_a_command_that_is_the_first_process(sandbox: Sandbox, key: str, status: int) -> None:
    with Terminal(sandbox.command("/bin/sh", "-c", "echo begun; exec sleep 100")) as terminal:
        terminal.expect("begun\r\n")
        terminal.type(key)
        assert terminal.finish() == status


def test_window_size(bash: Terminal) -> None:
    bash.type("stty size\r")
    bash.expect("24 80\r\n.*ready> ")
    begin(bash, "while :; do sleep 0.05; done", setup='trap "stty size" WINCH')
    bash.resize(50, 132)
    bash.expect("50 132\r\n")


def test_line_editing_of_the_terminal_and_of_readline(bash: Terminal) -> None:
    begin(bash, "cat >f; cat f; rm f")
    bash.type("typed\x15kept\r\x04")
    bash.expect("kept\r\nkept\r\n.*ready> ")
    bash.type("echo abd\x7fc\r")
    bash.expect("\r\nabc\r\n.*ready> ")
    bash.type("ech one\x01\x06\x06\x06o\r")
    bash.expect("\r\none\r\n")


def test_the_terminal_s_modes_are_given_back(start: Callable[[], Terminal]) -> None:
    with start() as terminal:
        terminal.type("PS1='ready''> '\r")
        terminal.expect("ready> ")
        terminal.type("exec true\r")
        assert terminal.finish() == 0
        assert terminal.attributes() == terminal.initial


def test_a_python_prompt(sandbox: Sandbox) -> None:
    with Terminal(sandbox.command("/usr/bin/python3", "-q")) as terminal:
        terminal.expect(">>> ")
        terminal.type("6*7\r")
        terminal.expect("42\r\n>>> ")
        terminal.type("import time; print('be' + 'gun'); time.sleep(100)\r")
        terminal.expect("begun")
        terminal.type("\x03")
        terminal.expect("KeyboardInterrupt.*>>> ")
        terminal.type("\x04")
        assert terminal.finish() == 130  # CPython's status once an interrupt was not caught, on the host, too
