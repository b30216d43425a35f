"""netstackd's life after its set-up: lock down, then answer the sentry until it is gone."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from pysc.cabi.build_id import BUILD
from pysc.netstackd import confinement
from pysc.urpc import blocking
from pysc.urpc.codec import BadFrame
from pysc.urpc.schema import netstack


def serve(sock: socket.socket) -> NoReturn:
    """Serve the sentry on ``sock``; there is no link so far, so every list is empty."""
    confinement.lock_down()
    try:
        blocking.serve(sock, netstack.NETSTACK, {netstack.ListLinks: _list_links}, build=BUILD)
    except BadFrame:
        os._exit(1)
    os._exit(0)


def _list_links(request: netstack.ListLinks) -> netstack.Links:
    return netstack.Links([])
