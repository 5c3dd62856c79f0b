"""A cache that is bounded in bytes, and drops first what was not used for longest."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class BoundedCache(Generic[V]):
    """Remembers values up to a number of bytes; may be used from several threads.

    Args:
        most_bytes: of all values.
        size_of: the bytes of a value, with what belongs to it.
        largest: a value with more bytes is not kept; None: one that alone is more than all may be.
    """

    def __init__(self, most_bytes: int, size_of: Callable[[V], int], largest: int | None = None) -> None:
        self._most = most_bytes
        self._size_of = size_of
        self._largest = most_bytes if largest is None else largest
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
        """Remember a value in place of what was here."""
        size = self._size_of(value)
        with self._lock:
            self._drop(key)
            if size > self._largest:
                return
            self._values[key] = value
            self.bytes += size
            while self.bytes > self._most:
                self._drop(next(iter(self._values)))

    def forget(self, key: Hashable) -> None:
        """The value is not right any more."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        if key in self._values:
            self.bytes -= self._size_of(self._values.pop(key))
