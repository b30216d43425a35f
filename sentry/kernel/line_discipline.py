"""N_TTY: what lies between a terminal's keys and its readers, and between its writers and its screen (termios(3)).

Bytes in, bytes out: no waiting, no tasks.  What the keys mean for processes goes to the :class:`Terminal` that owns it.
Names and order of the steps are those of Linux's n_tty, so that the two can be compared.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

import msgspec

from pysc.cabi.linux import termios as abi
from pysc.cabi.linux.signals import SIGINT, SIGQUIT, SIGTSTP

BUFFER: Final = 4095
"""Bytes that wait to be read: of a line, too, whose last byte the next ones replace."""
DISABLED: Final = 0
"""A control character with this value is none (_POSIX_VDISABLE)."""
TAB: Final = 9
NEWLINE: Final = 10
RETURN: Final = 13
BACKSPACE: Final = 8
RUBOUT: Final = b"\b \b"


class Termios(msgspec.Struct, frozen=True):
    """struct ktermios; the default is a terminal's after boot."""

    iflag: int = abi.ICRNL | abi.IXON
    oflag: int = abi.OPOST | abi.ONLCR
    cflag: int = abi.B38400 | abi.CS8 | abi.CREAD
    lflag: int = abi.ISIG | abi.ICANON | abi.ECHO | abi.ECHOE | abi.ECHOK | abi.ECHOCTL | abi.ECHOKE | abi.IEXTEN
    line: int = 0
    cc: bytes = abi.DEFAULT_CC
    ispeed: int = 38400
    ospeed: int = 38400

    @property
    def keys_stop_output(self) -> bool:
        """Whether ^S and ^Q do: who shows the output may hold it by itself (TIOCPKT)."""
        return bool(self.iflag & abi.IXON) and (self.cc[abi.VSTOP], self.cc[abi.VSTART]) == (0x13, 0x11)


class Terminal(Protocol):
    """Whoever owns a line discipline."""

    def signal(self, signo: int) -> None:
        """Send a signal to the foreground process group."""

    def flush_output(self) -> None:
        """Drop what was written and not shown yet."""

    def set_stopped(self, stopped: bool) -> None:
        """Hold the output, or let it go on (^S, ^Q)."""

    def tell(self, status: int) -> None:
        """Tell the controlling side of what happened, if it wants to know (PKT_*)."""


class Line:
    """A line that was ended; by a newline, which is part of it, or by EOF, which is not."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def is_control(char: int) -> bool:
    """iscntrl of the kernel."""
    return char < 32 or char == 127


def is_word(char: int) -> bool:
    """Whether WERASE takes it with its neighbours: letters and digits of Latin-1, and the underscore."""
    return (
        48 <= char <= 57
        or 65 <= char <= 90
        or 97 <= char <= 122
        or char == 95
        or (char >= 0xC0 and char not in (0xD7, 0xF7))
    )


class LineDiscipline:
    """Invariant: ``_lines`` and ``_line`` are used in canonical mode, ``_raw`` in the other; the rest is empty."""

    __slots__ = (
        "_canon_column",
        "_column",
        "_erasing",
        "_line",
        "_lines",
        "_lnext",
        "_raw",
        "_special",
        "echoes",
        "stopped",
        "terminal",
        "termios",
    )

    def __init__(self, terminal: Terminal, termios: Termios) -> None:
        self.terminal = terminal
        self.termios = termios
        self.stopped = False
        self.echoes = bytearray()
        """What is to be shown because it was typed; whoever owns this takes it away."""
        self._lines: deque[Line] = deque()
        self._line = bytearray()
        self._raw = bytearray()
        self._lnext = False
        self._erasing = False
        self._column = 0
        self._canon_column = 0
        self._special = self._special_chars()

    # Modes
    def _iflag(self, flag: int) -> bool:
        return bool(self.termios.iflag & flag)

    def _oflag(self, flag: int) -> bool:
        return bool(self.termios.oflag & flag)

    def _lflag(self, flag: int) -> bool:
        return bool(self.termios.lflag & flag)

    def _cc(self, index: int) -> int:
        return self.termios.cc[index]

    @property
    def canonical(self) -> bool:
        """Whether lines are edited and read whole."""
        return bool(self.termios.lflag & abi.ICANON)

    def set_termios(self, new: Termios) -> None:
        """Change the modes.  What waits stays readable: entering canonical mode makes a line of it."""
        old, self.termios = self.termios, new
        if (old.lflag ^ new.lflag) & abi.ICANON:
            if self.canonical:
                if self._raw:
                    self._lines.append(Line(bytes(self._raw)))
                    self._raw.clear()
            else:
                for line in self._lines:
                    self._raw += line.data
                self._raw += self._line
                self._lines.clear()
                self._line.clear()
            self._erasing = self._lnext = False
        self._special = self._special_chars()
        if self.stopped and old.iflag & abi.IXON and not new.iflag & abi.IXON:
            self._start()

    def _special_chars(self) -> frozenset[int]:
        """Return what needs a look in non-canonical mode."""
        found = set()
        if self._lflag(abi.ISIG):
            found |= {self._cc(index) for index in (abi.VINTR, abi.VQUIT, abi.VSUSP)}
        if self._iflag(abi.IXON):
            found |= {self._cc(abi.VSTART), self._cc(abi.VSTOP)}
        found.discard(DISABLED)
        if self.termios.iflag & (abi.ICRNL | abi.IGNCR):
            found.add(RETURN)
        if self._iflag(abi.INLCR):
            found.add(NEWLINE)
        if self._iflag(abi.PARMRK):
            found.add(0xFF)
        return frozenset(found)

    # Input
    def __len__(self) -> int:
        """Bytes that a reader could take now, as FIONREAD counts them."""
        return sum(len(line.data) for line in self._lines) if self.canonical else len(self._raw)

    @property
    def room(self) -> int:
        """Bytes of input that it takes now; always some while a line is not ended, or nobody could end it."""
        if self.canonical and not self._lines:
            return BUFFER
        return max(0, BUFFER - len(self) - len(self._line))

    def readable(self, least: int) -> bool:
        """Whether a line, or ``least`` bytes, can be read."""
        return bool(self._lines) if self.canonical else len(self._raw) >= least

    def take(self, size: int) -> bytes:
        """Remove and return up to ``size`` bytes, of one line in canonical mode; b"" for an EOF."""
        if not self.canonical:
            data = bytes(self._raw[:size])
            del self._raw[:size]
            return data
        line = self._lines[0]
        data = line.data[:size]
        line.data = line.data[size:]
        if not line.data:
            self._lines.popleft()
        return data

    def flush_input(self) -> None:
        """Drop all that was typed and not read."""
        self._lines.clear()
        self._line.clear()
        self._raw.clear()
        self._lnext = self._erasing = False

    def receive(self, data: bytes) -> None:
        """Take what the keys sent."""
        if self._takes_plainly(data):
            self._raw += data
            return
        for char in data:
            if self._iflag(abi.ISTRIP):
                char &= 0x7F
            if self._iflag(abi.IUCLC) and self._lflag(abi.IEXTEN):
                char = _lower(char)
            if self._lnext:
                self._lnext = False
                self._receive_ordinary(char)
            else:
                self._receive_char(char)

    def _takes_plainly(self, data: bytes) -> bool:
        return not (
            self.canonical
            or self.termios.lflag & (abi.ECHO | abi.ECHONL)
            or self.termios.iflag & (abi.ISTRIP | abi.IUCLC)
            or self._lnext
            or self.stopped
            or not self._special.isdisjoint(data)
        )

    def _receive_char(self, char: int) -> None:
        cc = self.termios.cc
        if self._iflag(abi.IXON) and char:
            if char == cc[abi.VSTART]:
                self._start()
                return
            if char == cc[abi.VSTOP]:
                self._stop()
                return
        if self._lflag(abi.ISIG) and char:
            for index, signo in ((abi.VINTR, SIGINT), (abi.VQUIT, SIGQUIT), (abi.VSUSP, SIGTSTP)):
                if char == cc[index]:
                    self._receive_signal(signo, char)
                    return
        if self.stopped and self._iflag(abi.IXON) and self._iflag(abi.IXANY):
            self._start()
        from_return = False
        if char == RETURN:
            if self._iflag(abi.IGNCR):
                return
            if self._iflag(abi.ICRNL):
                char, from_return = NEWLINE, True
        elif char == NEWLINE and self._iflag(abi.INLCR):
            char = RETURN
        if self.canonical and self._receive_canonical(char):
            return
        self._receive_ordinary(char, from_return=from_return)

    def _receive_signal(self, signo: int, char: int) -> None:
        if not self._lflag(abi.NOFLSH):
            self.echoes.clear()
            self.flush_input()
            self.terminal.tell(abi.PKT_FLUSHREAD)
            self.terminal.flush_output()
        self.terminal.signal(signo)
        if self._iflag(abi.IXON):
            self._start()
        if self._lflag(abi.ECHO):
            self._echo_char(char)

    def _receive_canonical(self, char: int) -> bool:
        """Handle what has a meaning in canonical mode only; true if it was that."""
        cc = self.termios.cc
        extended = self._lflag(abi.IEXTEN)
        echo = self._lflag(abi.ECHO)
        if char == NEWLINE:
            if echo or self._lflag(abi.ECHONL):
                self._echo_raw(NEWLINE)
            self._put(char)
            self._end_line()
            return True
        if char == DISABLED:
            return False
        if char in (cc[abi.VERASE], cc[abi.VKILL]) or (char == cc[abi.VWERASE] and extended):
            self._erase(char)
        elif char == cc[abi.VLNEXT] and extended:
            self._lnext = True
            if echo:
                self._finish_erasing()
                if self._lflag(abi.ECHOCTL):
                    self._echo_raw(94)
                    self._echo_raw(BACKSPACE)
        elif char == cc[abi.VREPRINT] and echo and extended:
            self._finish_erasing()
            self._echo_char(char)
            self._echo_raw(NEWLINE)
            for typed in self._line:
                self._echo_char(typed)
        elif char == cc[abi.VEOF]:
            self._end_line()
        elif char == cc[abi.VEOL] or (char == cc[abi.VEOL2] and extended):
            if echo:
                self._note_canon_column()
                self._echo_char(char)
            self._put(char)
            self._end_line()
        else:
            return False
        return True

    def _receive_ordinary(self, char: int, *, from_return: bool = False) -> None:
        if self._lflag(abi.ECHO):
            self._finish_erasing()
            if from_return:
                self._echo_raw(NEWLINE)
            else:
                self._note_canon_column()
                self._echo_char(char)
        if char == 0xFF and self._iflag(abi.PARMRK):
            self._put(char)
        self._put(char)

    def _put(self, char: int) -> None:
        buffer = self._line if self.canonical else self._raw
        if len(buffer) >= BUFFER:
            buffer.pop()
        buffer.append(char)

    def _end_line(self) -> None:
        self._lines.append(Line(bytes(self._line)))
        self._line.clear()

    def _start(self) -> None:
        if self.stopped:
            self.stopped = False
            self.terminal.set_stopped(False)

    def _stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.terminal.set_stopped(True)

    # Erasing
    def _erase(self, char: int) -> None:
        """ERASE, WERASE, KILL: remove from the line, and from the screen."""
        line = self._line
        if not line:
            return
        echo = self._lflag(abi.ECHO)
        single = char == self._cc(abi.VERASE)
        word = not single and char == self._cc(abi.VWERASE)
        kill = not single and not word
        if kill:
            if not echo:
                line.clear()
                return
            if not all(self._lflag(flag) for flag in (abi.ECHOK, abi.ECHOKE, abi.ECHOE)):
                line.clear()
                self._finish_erasing()
                self._echo_char(self._cc(abi.VKILL))
                if self._lflag(abi.ECHOK):
                    self._echo_raw(NEWLINE)
                return
        seen_word = False
        while line:
            size = self._last_character(line)
            if not size:
                break
            first = line[-size]
            if word:
                if is_word(first):
                    seen_word = True
                elif seen_word:
                    break
            erased = bytes(line[-size:])
            del line[-size:]
            if echo:
                self._echo_erase(erased, single)
            if single:
                break
        if not line and echo:
            self._finish_erasing()

    def _last_character(self, line: bytearray) -> int:
        """Return the bytes of the last character, 0 for a part of one."""
        size = 1
        while size < len(line) and self._continues(line[-size]):
            size += 1
        return 0 if self._continues(line[-size]) else size

    def _continues(self, char: int) -> bool:
        return self._iflag(abi.IUTF8) and char & 0xC0 == 0x80

    def _echo_erase(self, erased: bytes, single: bool) -> None:
        char = erased[0]
        if self._lflag(abi.ECHOPRT):
            if not self._erasing:
                self._echo_raw(92)
                self._erasing = True
            self._echo_char(char)
            for more in erased[1:]:
                self._echo_raw(more)
        elif single and not self._lflag(abi.ECHOE):
            self._echo_char(self._cc(abi.VERASE))
        elif char == TAB:
            self._echo_erase_tab()
        else:
            shown = not is_control(char) or self._lflag(abi.ECHOCTL)
            if is_control(char) and self._lflag(abi.ECHOCTL):
                self._rub_out()
            if shown:
                self._rub_out()

    def _rub_out(self) -> None:
        for char in RUBOUT:
            self._echo_raw(char)

    def _echo_erase_tab(self) -> None:
        """Go back to where the tab began: that depends on what stands before it."""
        width, after_tab = 0, False
        for char in reversed(self._line):
            if char == TAB:
                after_tab = True
                break
            if is_control(char):
                width += 2 * self._lflag(abi.ECHOCTL)
            elif not self._continues(char):
                width += 1
        if not after_tab:
            width += self._canon_column
        backwards = 8 - (width & 7)
        self.echoes += b"\b" * backwards
        self._column = max(0, self._column - backwards)

    def _finish_erasing(self) -> None:
        if self._erasing:
            self._echo_raw(47)
            self._erasing = False

    # Echo
    def _note_canon_column(self) -> None:
        if not self._line:
            self._canon_column = self._column

    def _echo_raw(self, char: int) -> None:
        self._show(char)

    def _echo_char(self, char: int) -> None:
        if self._lflag(abi.ECHOCTL) and is_control(char) and char != TAB:
            self.echoes += bytes((94, char ^ 0o100))
            self._column += 2
        else:
            self._show(char)

    def _show(self, char: int) -> None:
        if char == 0xFF:  # Linux marks its echo operations with this byte, and shows one itself as it is
            self.echoes.append(char)
            self._column += 1
            return
        self.echoes += self._process_char(char) if self._oflag(abi.OPOST) else bytes((char,))

    # Output
    def process_output(self, data: bytes) -> bytes:
        """Return what goes to the screen for what was written."""
        if not self._oflag(abi.OPOST):
            return data
        if self.termios.oflag & (abi.OPOST | abi.ONLCR) == self.termios.oflag:
            return self._process_simply(data)
        return b"".join(map(self._process_char, data))

    def _process_simply(self, data: bytes) -> bytes:
        """Do the same for the usual modes, in bulk."""
        last = data.rfind(b"\n")
        if last >= 0:
            if self._oflag(abi.ONLCR):
                self._column = self._canon_column = 0
            else:
                for char in data[: last + 1]:
                    self._process_char(char)
        for char in data[last + 1 :]:
            self._process_char(char)
        return data.replace(b"\n", b"\r\n") if self._oflag(abi.ONLCR) else data

    def _process_char(self, char: int) -> bytes:
        """do_output_char."""
        if char == NEWLINE:
            if self._oflag(abi.ONLRET):
                self._column = 0
            if self._oflag(abi.ONLCR):
                self._column = self._canon_column = 0
                return b"\r\n"
            self._canon_column = self._column
        elif char == RETURN:
            if self._oflag(abi.ONOCR) and not self._column:
                return b""
            if self._oflag(abi.OCRNL):
                if self._oflag(abi.ONLRET):
                    self._column = self._canon_column = 0
                return b"\n"
            self._column = self._canon_column = 0
        elif char == TAB:
            spaces = 8 - (self._column & 7)
            self._column += spaces
            if self.termios.oflag & abi.TABDLY == abi.XTABS:
                return b" " * spaces
        elif char == BACKSPACE:
            if self._column:
                self._column -= 1
        elif not is_control(char):
            if self._oflag(abi.OLCUC):
                char = _upper(char)
            if not self._continues(char):
                self._column += 1
        return bytes((char,))


def _lower(char: int) -> int:
    return char + 32 if 65 <= char <= 90 or (0xC0 <= char <= 0xDE and char != 0xD7) else char


def _upper(char: int) -> int:
    return char - 32 if 97 <= char <= 122 or (char >= 0xDF and char != 0xF7) else char
