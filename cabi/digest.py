"""SHA-256 without hashlib, whose library costs a start milliseconds and a sandbox megabytes."""

from __future__ import annotations

from pysc.cabi._shim import ffi, lib


def sha256(data: bytes) -> bytes:
    """Return the digest, 32 bytes."""
    digest = ffi.new("unsigned char[32]")
    lib.pysc_sha256(data, len(data), digest)
    return bytes(digest)
