"""A queue of bytes for pipes, stream sockets and terminals: chunks as they came, small ones merged."""

from __future__ import annotations

from collections import deque
from typing import Final

MERGE: Final = 4096
"""Writes smaller than this are gathered, so that a queue of n bytes costs n, not n objects."""


class ByteQueue:
    """Bytes, first in, first out.

    Invariant: no chunk is empty, ``_head`` is less than the length of the first one, and ``len()`` is what is left.
    """

    __slots__ = ("_chunks", "_head", "_size")

    def __init__(self) -> None:
        self._chunks: deque[bytes | bytearray] = deque()
        self._head = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes | memoryview) -> None:
        """Add ``data`` at the end."""
        size = len(data)
        if not size:
            return
        self._size += size
        if size < MERGE:
            last = self._chunks[-1] if self._chunks else None
            if isinstance(last, bytearray) and len(last) + size <= MERGE:
                last += data
            else:
                self._chunks.append(bytearray(data))
        else:
            self._chunks.append(bytes(data))

    def take(self, size: int) -> bytes:
        """Remove and return up to ``size`` bytes."""
        data = self.peek(size)
        self.drop(len(data))
        return data

    def peek(self, size: int, offset: int = 0) -> bytes:
        """Return up to ``size`` bytes, ``offset`` bytes after the front, and leave them."""
        size = min(size, self._size - offset)
        if size <= 0:
            return b""
        first = self._chunks[0]
        start = self._head + offset
        if start == 0 and size == len(first):
            return bytes(first)
        if start + size <= len(first):
            return bytes(memoryview(first)[start : start + size])
        parts = []
        for chunk in self._chunks:
            if start >= len(chunk):
                start -= len(chunk)
                continue
            part = memoryview(chunk)[start : start + size]
            parts.append(part)
            size -= len(part)
            start = 0
            if not size:
                break
        return b"".join(parts)

    def drop(self, size: int) -> None:
        """Remove ``size`` bytes, or as many as there are."""
        size = min(size, self._size)
        self._size -= size
        chunks, head = self._chunks, self._head
        while size:
            left = len(chunks[0]) - head
            if size < left:
                head += size
                break
            chunks.popleft()
            size -= left
            head = 0
        self._head = head

    def clear(self) -> None:
        """Remove everything."""
        self._chunks.clear()
        self._head = self._size = 0
