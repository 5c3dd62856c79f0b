"""A cache that is bounded in bytes, and drops first what was not used for longest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """Remembers values up to a number of bytes; may be used from several threads. Keys are to be small.

    Args:
        most_bytes: of all values; one that alone is larger is not kept.
        size_of: the bytes of a value, with what belongs to it.
    """

    def __init__(self, most_bytes: int, size_of: Callable[[V], int]) -> None:
        self._most = most_bytes
        self._size_of = size_of
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable) -> V | None:
        """The value; None if it is not here."""
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: Hashable, value: V) -> None:
        """Remember a value."""
        size = self._size_of(value)
        with self._lock:
            old = self._values.pop(key, None)
            if old is not None:
                self.bytes -= self._size_of(old)
            if size > self._most:
                return
            self._values[key] = value
            self.bytes += size
            while self.bytes > self._most:
                _, dropped = self._values.popitem(last=False)
                self.bytes -= self._size_of(dropped)
