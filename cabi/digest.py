"""SHA-256 by the interpreter's own module, as its ``random`` has it: hashlib's library costs a start milliseconds."""

from __future__ import annotations

try:
    from _sha2 import sha256 as _sha256  # type: ignore[import-not-found]  # from 3.12 on
except ImportError:
    try:
        from _sha256 import sha256 as _sha256  # type: ignore[import-not-found]
    except ImportError:  # an interpreter that was built without
        from hashlib import sha256 as _sha256


def sha256(data: bytes) -> bytes:
    """Return the digest, 32 bytes."""
    digest: bytes = _sha256(data).digest()
    return digest
