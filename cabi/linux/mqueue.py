"""POSIX message queues (mq_overview(7)): limits, layouts."""

from __future__ import annotations

import struct
from typing import Final

MQ_PRIO_MAX: Final = 1 << 15
"""One more than the highest priority."""
MQ_ATTR: Final = struct.Struct("<qqqq32x")
"""mq_flags, mq_maxmsg, mq_msgsize, mq_curmsgs."""
NOTIFY_COOKIE_LEN: Final = 32
"""What SIGEV_THREAD has its value point to."""

HARD_MSGMAX: Final = 1 << 16
"""Messages of a queue, for the privileged, and what msg_max may be."""
MIN_MSGSIZEMAX: Final = 128
DFLT_QUEUESMAX: Final = 256
DFLT_MSG: Final = 10
DFLT_MSGSIZE: Final = 8192

MESSAGE_COST: Final = 48
"""Bytes that RLIMIT_MSGQUEUE counts for each message beside its own (getrlimit(2)), and again for each priority."""
FILENT_SIZE: Final = 80
"""st_size of a queue."""
DIRENT_SIZE: Final = 20
