"""sd_notify(3): tell a service manager how the service is."""

from __future__ import annotations

import os
import socket
from typing import Final

PATIENCE: Final = 1
"""Seconds that a service manager may be too busy to be told something."""


def notify(state: str) -> None:
    """Send lines of ``NAME=value`` to $NOTIFY_SOCKET, if there is one; nobody listening is no failure."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.settimeout(PATIENCE)
            sock.sendto(state.encode(), address)
    except OSError:
        pass


def watchdog_interval() -> float:
    """Return after how many seconds to send WATCHDOG=1, half of what the manager waits; 0: never.

    As sd_watchdog_enabled(3).
    """
    wanted, who = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not (wanted.isascii() and wanted.isdecimal()) or who not in ("", str(os.getpid())):
        return 0
    return max(0.1, int(wanted[:12]) / 2e6) if int(wanted[:12]) else 0
