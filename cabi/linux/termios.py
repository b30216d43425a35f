"""Terminals: flags, control characters, ioctl requests and layouts of x86-64 (termios(3), ioctl_tty(2))."""

from __future__ import annotations

from struct import Struct
from typing import Final

# c_iflag
IGNBRK: Final = 0o1
BRKINT: Final = 0o2
IGNPAR: Final = 0o4
PARMRK: Final = 0o10
INPCK: Final = 0o20
ISTRIP: Final = 0o40
INLCR: Final = 0o100
IGNCR: Final = 0o200
ICRNL: Final = 0o400
IUCLC: Final = 0o1000
IXON: Final = 0o2000
IXANY: Final = 0o4000
IXOFF: Final = 0o10000
IMAXBEL: Final = 0o20000
IUTF8: Final = 0o40000

# c_oflag
OPOST: Final = 0o1
OLCUC: Final = 0o2
ONLCR: Final = 0o4
OCRNL: Final = 0o10
ONOCR: Final = 0o20
ONLRET: Final = 0o40
TABDLY: Final = 0o14000
XTABS: Final = 0o14000

# c_cflag
CSIZE: Final = 0o60
CS8: Final = 0o60
CREAD: Final = 0o200
HUPCL: Final = 0o2000
B38400: Final = 0o17
CBAUD: Final = 0o10017

# c_lflag
ISIG: Final = 0o1
ICANON: Final = 0o2
ECHO: Final = 0o10
ECHOE: Final = 0o20
ECHOK: Final = 0o40
ECHONL: Final = 0o100
NOFLSH: Final = 0o200
TOSTOP: Final = 0o400
ECHOCTL: Final = 0o1000
ECHOPRT: Final = 0o2000
ECHOKE: Final = 0o4000
IEXTEN: Final = 0o100000

# Indices of c_cc
VINTR: Final = 0
VQUIT: Final = 1
VERASE: Final = 2
VKILL: Final = 3
VEOF: Final = 4
VTIME: Final = 5
VMIN: Final = 6
VSTART: Final = 8
VSTOP: Final = 9
VSUSP: Final = 10
VEOL: Final = 11
VREPRINT: Final = 12
VWERASE: Final = 14
VLNEXT: Final = 15
VEOL2: Final = 16
NCCS: Final = 19

DEFAULT_CC: Final = bytes([3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0])

# ioctl requests
TCGETS: Final = 0x5401
TCSETS: Final = 0x5402
TCSETSW: Final = 0x5403
TCSETSF: Final = 0x5404
TCGETA: Final = 0x5405
TCSETA: Final = 0x5406
TCSETAW: Final = 0x5407
TCSETAF: Final = 0x5408
TCSBRK: Final = 0x5409
TCXONC: Final = 0x540A
TCFLSH: Final = 0x540B
TIOCEXCL: Final = 0x540C
TIOCNXCL: Final = 0x540D
TIOCSCTTY: Final = 0x540E
TIOCGPGRP: Final = 0x540F
TIOCSPGRP: Final = 0x5410
TIOCOUTQ: Final = 0x5411
TIOCSTI: Final = 0x5412
TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
FIONREAD: Final = 0x541B
FIONBIO: Final = 0x5421
TIOCPKT: Final = 0x5420
TIOCNOTTY: Final = 0x5422
TIOCSETD: Final = 0x5423
TIOCGETD: Final = 0x5424
TCSBRKP: Final = 0x5425
TIOCGSID: Final = 0x5429
TCGETS2: Final = 0x802C542A
TCSETS2: Final = 0x402C542B
TCSETSW2: Final = 0x402C542C
TCSETSF2: Final = 0x402C542D
TIOCGPTN: Final = 0x80045430
TIOCSPTLCK: Final = 0x40045431
TIOCGPKT: Final = 0x80045438
TIOCGPTLCK: Final = 0x80045439
TIOCGEXCL: Final = 0x80045440
TIOCGPTPEER: Final = 0x5441

# What packet mode tells of (TIOCPKT)
PKT_FLUSHREAD: Final = 1
PKT_FLUSHWRITE: Final = 2
PKT_STOP: Final = 4
PKT_START: Final = 8
PKT_NOSTOP: Final = 16
PKT_DOSTOP: Final = 32

TCIFLUSH: Final = 0
TCOFLUSH: Final = 1
TCIOFLUSH: Final = 2
TCOOFF: Final = 0
TCOON: Final = 1
TCIOFF: Final = 2
TCION: Final = 3

TERMIOS: Final = Struct("<IIIIB19s")
"""struct termios of the kernel: iflag, oflag, cflag, lflag, line, cc."""
TERMIOS2: Final = Struct("<IIIIB19sII")
"""struct termios2: with the speeds."""
TERMIO: Final = Struct("<HHHHB8sx")
"""struct termio, which was before: the low halves of the flags, and the first eight characters."""
WINSIZE: Final = Struct("<HHHH")
"""struct winsize: rows, columns, and two pixel sizes that nobody uses."""
