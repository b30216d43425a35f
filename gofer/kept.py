"""What outlives a gofer: the trees that it serves, for the next one.

By the numbers of their mounts a gofer knows the descriptors that were opened below its trees (changing.py).  One that
made its own clones would not know those that the sentry has from before: of a file without a name nothing could be
changed any more.  So the first gofer of a sandbox leaves its trees with the spawner, which gives them to no other
process, and each later one takes them up.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import msgspec

from pysc.gofer.mounts import ServedMount, own_descriptors


class Kept(msgspec.Struct, frozen=True):
    """What is known of a tree beside its root."""

    readonly: bool
    path: bytes
    hidden: frozenset[int]
    host_ids: frozenset[int]
    readers: frozenset[int]
    source: bytes


def leave(mounts: Sequence[ServedMount]) -> list[int]:
    """Return the descriptors to leave: a description, which is the caller's, and the roots, which stay the mounts'."""
    known = [
        Kept(mount.readonly, mount.path, mount.hidden, frozenset(mount.host_ids), mount.readers, mount.source)
        for mount in mounts
    ]
    description = os.memfd_create("mounts", os.MFD_CLOEXEC)
    with open(description, "wb", closefd=False) as file:
        file.write(msgspec.msgpack.encode(known))
    return [description, *(mount.root for mount in mounts)]


def take_up(left: Sequence[int]) -> list[ServedMount]:
    """Make the mounts again of what was left; takes the descriptors over."""
    description, *roots = left
    with open(description, "rb") as file:
        file.seek(0)
        known = msgspec.msgpack.decode(file.read(), type=list[Kept])
    mounts = []
    descriptors = own_descriptors() if any(kept.source for kept in known) else -1
    for number, (root, kept) in enumerate(zip(roots, known, strict=True)):
        mount = ServedMount(number, root, readonly=kept.readonly, path=kept.path)
        mount.hidden = kept.hidden
        mount.host_ids.update(kept.host_ids)
        mount.readers = kept.readers
        mount.source, mount.descriptors = kept.source, descriptors
        mounts.append(mount)
    return mounts
