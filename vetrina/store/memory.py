"""What a store may remember of files that never change: the least recently used goes when there is too much."""

from __future__ import annotations

import threading
from collections import OrderedDict


class Memory:
    """Small files by path, at most `most_bytes` of them together; thread-safe."""

    def __init__(self, most_bytes: int = 64 << 20, largest: int = 1 << 20) -> None:
        self._most = most_bytes
        self._largest = largest
        self._lock = threading.Lock()
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, path: str) -> bytes | None:
        """The file, if it is remembered."""
        with self._lock:
            data = self._files.get(path)
            if data is not None:
                self._files.move_to_end(path)
            return data

    def keep(self, path: str, data: bytes) -> None:
        """Remember the file, unless it is large."""
        if len(data) > self._largest:
            return
        with self._lock:
            self._drop(path)
            self._files[path] = data
            self._bytes += len(data)
            while self._bytes > self._most:
                self._drop(next(iter(self._files)))

    def forget(self, path: str) -> None:
        """The file was written or deleted."""
        with self._lock:
            self._drop(path)

    def _drop(self, path: str) -> None:
        self._bytes -= len(self._files.pop(path, b""))
