"""Reading an object of any size: a small one in one request, a large one in pieces as they are wanted."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import IO

PIECE = 8 << 20
"""Bytes asked for at once, at the least, when a large object is read."""


class _Pieces(io.RawIOBase):
    """An object of which the end is known already (where Parquet keeps its directory).

    Args:
        fetch: gives the bytes from a first position to before a last one.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, end: bytes) -> None:
        self._fetch = fetch
        self._size = size
        self._end = end
        self._piece = b""
        self._piece_at = 0
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._at = base + offset
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        wanted = len(buffer)
        if self._at >= self._size or not wanted:
            return 0
        found = self._known(wanted)
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def _known(self, wanted: int) -> bytes | memoryview:
        """At least one byte from here on; asks for a piece when none is at hand."""
        before_end = self._size - len(self._end)
        if self._at >= before_end:
            return memoryview(self._end)[self._at - before_end :][:wanted]
        offset = self._at - self._piece_at
        if not 0 <= offset < len(self._piece):
            self._piece = self._fetch(self._at, min(before_end, self._at + max(wanted, PIECE)))
            self._piece_at, offset = self._at, 0
        return memoryview(self._piece)[offset : offset + wanted]


def reader(fetch: Callable[[int, int], bytes], size: int, end: bytes) -> IO[bytes]:
    """An object opened for reading at any position.

    Args:
        fetch: gives the bytes from a first position to before a last one.
        size: of the object in bytes.
        end: its last bytes; all of them when it is small.
    """
    if len(end) == size:
        return io.BytesIO(end)
    return io.BufferedReader(_Pieces(fetch, size, end), 1 << 16)
