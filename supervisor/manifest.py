"""The manifest: what a container was made from and on, which no daemon is asked (``ROOT/ID/manifest``).

Written once, by the supervisor, while the daemons start; what a checkpoint says of itself is compared with it.  It is
msgpack, as the specification stands in it byte by byte, whatever its bytes are.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from pysc.cabi.build_id import BUILD, GUEST_BUILD_SIZE, guest_build
from pysc.cabi.digest import sha256
from pysc.cabi.linux.limits import PATH_MAX
from pysc.supervisor import processor
from pysc.supervisor.failure import Failure
from pysc.supervisor.plan import MAX_EXPORTS, Plan
from pysc.supervisor.processor import Processor
from pysc.supervisor.spec import Bundle
from pysc.supervisor.state import Damaged
from pysc.urpc.message import U64

VERSION: Final = 1
MAX_SPEC: Final = 40 << 20
"""That of ``do`` has arguments and environment, at most 6 MiB (execve(2)), of which each byte may be written as six."""
MAX_MANIFEST: Final = MAX_SPEC + (2 << 20)


Path = Annotated[bytes, Meta(max_length=PATH_MAX)]
GuestBuild = Annotated[bytes, Meta(min_length=GUEST_BUILD_SIZE, max_length=GUEST_BUILD_SIZE)]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tree of the host's that the container has: the root is the first."""

    path: Path
    device: U64
    inode: U64


class Host(msgspec.Struct, frozen=True):
    """What a manifest must fit."""

    build: str
    guest: bytes
    processor: Processor


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it."""

    version: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    build: Annotated[str, Meta(max_length=64)]
    guest: GuestBuild
    """The guest half's build: its code is in the memory of every guest."""
    bundle: Path
    """The directory that relative paths in the specification are from."""
    spec: Annotated[bytes, Meta(max_length=MAX_SPEC)]
    """As it was given; of ``do`` the one that it made."""
    spec_sha256: Annotated[bytes, Meta(min_length=32, max_length=32)]
    processor: Processor
    sources: Annotated[tuple[Source, ...], Meta(min_length=1, max_length=MAX_EXPORTS)]

    def misfit(self, host: Host) -> str | None:
        """Return in a line why what was made so cannot go on there, and what to do; None if it can."""
        if self.build != host.build:
            return f"it was made by build {self.build} of pysc, this is {host.build}: use the pysc that made it"
        if self.guest != host.guest:
            return "its guest half was compiled by other tools than the one here: use the pysc that made it"
        lack = processor.misfit(self.processor, host.processor)
        return lack and f"{lack}: use a host like the one that it was made on"


class _Versioned(msgspec.Struct):
    """What all versions have."""

    version: int


def here() -> Host:
    """Return what this host is.

    Raises:
        Failure: pysc is not installed whole.
    """
    try:
        return Host(BUILD, guest_build(), processor.read())
    except OSError as error:
        raise Failure(f"cannot read the guest half {error.filename}: {error.strerror}; build it with make") from None


def make(bundle: Bundle, plan: Plan) -> Manifest:
    """Return the manifest of a container that is being made here.

    Raises:
        Failure: something that it is made from is gone.
    """
    host = here()
    return Manifest(
        version=VERSION,
        build=host.build,
        guest=host.guest,
        bundle=os.fsencode(bundle.directory),
        spec=bundle.text,
        spec_sha256=sha256(bundle.text),
        processor=host.processor,
        sources=tuple(_source(export.source) for export in plan.exports),
    )


def _source(path: bytes) -> Source:
    try:
        found = os.stat(path)
    except OSError as error:
        raise Failure(f"mount source {os.fsdecode(path)}: {error.strerror}; name another") from None
    return Source(path, found.st_dev, found.st_ino)


def encode(manifest: Manifest) -> bytes:
    """Return the contents of its file."""
    return msgspec.msgpack.encode(manifest)


def decode_untrusted(data: bytes) -> Manifest:
    """Return what a file says.

    Raises:
        Damaged: it is no manifest, or one of another version of pysc.
    """
    try:
        version = msgspec.msgpack.decode(data, type=_Versioned).version
        if version != VERSION:
            raise Damaged(f"the manifest is of version {version}, this pysc reads {VERSION}: use the pysc that made it")
        manifest = msgspec.msgpack.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged(f"the manifest is damaged ({error}): make the container anew") from None
    if sha256(manifest.spec) != manifest.spec_sha256:
        raise Damaged("the manifest is damaged (the digest is another specification's): make the container anew")
    return manifest
