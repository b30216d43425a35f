"""The life of a gofer: make the trees, lock down, serve one sentry until it is gone.

:func:`set_up` or :func:`take_up` is called in new namespaces, before the process gives its root and privileges up;
:func:`serve` last.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
from collections.abc import Sequence
from typing import NoReturn

from pysc.cabi.build_id import BUILD
from pysc.gofer import confinement, kept, owners, tree
from pysc.gofer.handlers import handlers
from pysc.gofer.mounts import ServedMount
from pysc.urpc.blocking import serve as serve_peer
from pysc.urpc.codec import BadFrame
from pysc.urpc.schema.gofer import GOFER


def set_up(
    exports: Sequence[tree.Export], *, trees: bool, private: bool = True, map_owners: bool = False
) -> tuple[list[ServedMount], dict[int, int]]:
    """Make what is served, in the order of ``exports``, and, with ``trees``, the descriptors for the sentry by mount.

    ``private``: the process has a mount namespace of its own.  Without one nothing can be cloned or covered: sources
    are served as they are, and there is no tree for the sentry.  ``map_owners``: keep owners and modes beside the
    host's inodes; then there is no tree either, in which the sentry would see those.

    Raises:
        SetUpError: one line that names the source and the cause.
    """
    if map_owners:
        tree.check_attributes(exports)
    made = tree.clone(exports, readable=trees and not map_owners) if private else tree.plain(exports)
    return _owned(made.mounts, map_owners), made.readable


def leave(mounts: Sequence[ServedMount]) -> list[int]:
    """Return the descriptors to leave for the next gofer (:mod:`pysc.gofer.kept`); the first is the caller's."""
    return kept.leave(mounts)


def take_up(left: Sequence[int], *, map_owners: bool = False) -> list[ServedMount]:
    """Return what an earlier gofer has left, instead of :func:`set_up`; takes the descriptors over."""
    return _owned(kept.take_up(left), map_owners)


def _owned(mounts: list[ServedMount], map_owners: bool) -> list[ServedMount]:
    for mount in mounts:
        mount.owners = owners.MAPPED if map_owners else owners.HOST
    return mounts


def serve(sock: socket.socket, mounts: Sequence[ServedMount], *, confined: bool = True) -> NoReturn:
    """Answer the sentry at the other end of ``sock`` until it is gone, then exit.  no_new_privs must be set.

    ``confined``: with the filter of :mod:`pysc.gofer.confinement`; only tests do without.
    """
    os.umask(0)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    table = handlers(mounts)
    gc.freeze()
    try:
        serve_peer(sock, GOFER, table, build=BUILD, lock_down=confinement.lock_down if confined else _stay_open)
    except BadFrame:
        os._exit(1)
    os._exit(0)


def _stay_open() -> None:
    pass
