"""A circuit breaker: once a store is judged down, further calls fail at once for a while instead of each waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from vetrina.errors import StoreUnavailable


class Breaker:
    """Judges one store by the calls made to it; thread-safe.

    Args:
        failures: calls that must fail one after the other.
        rest: seconds for which nothing is asked then. After it one more failure opens the breaker again.
        clock: seconds, never going back.
    """

    def __init__(self, failures: int, rest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = failures
        self._rest = rest
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = 0
        self._closed_at = 0.0
        self._reason = ""

    def check(self) -> None:
        """Raise StoreUnavailable while the store is judged down."""
        with self._lock:
            left = self._closed_at - self._clock()
            if self._failed >= self._most and left > 0:
                raise StoreUnavailable(f"{self._reason} (not asked again for {left:.0f} s)")

    def succeeded(self) -> None:
        """A call was answered, with whatever."""
        with self._lock:
            self._failed = 0

    def failed(self, error: StoreUnavailable) -> None:
        """A call failed for good although it was tried again."""
        with self._lock:
            self._failed += 1
            self._closed_at = self._clock() + self._rest
            self._reason = str(error)
