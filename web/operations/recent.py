"""What was worked out a moment ago, so that however many ask, a costly answer is worked out seldom and once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Answer:
    lock: threading.Lock = field(default_factory=threading.Lock)
    until: float = 0.0
    value: Any = None

    def is_stale(self, now: float) -> bool:
        """Whether it is no longer good, and not being worked out again."""
        return 0 < self.until <= now and not self.lock.locked()


class Recent:
    """Answers by key; may be used from several threads.

    Args:
        seconds: how long an answer is good for, at least.
        share: of the time at most so much goes into working one answer out: a costly one is good for longer.
        most: answers that are kept; the one that was begun first goes. One that is no longer good is not kept.
    """

    def __init__(self, seconds: float, share: float = 0.1, most: int = 4096) -> None:
        self._seconds = seconds
        self._share = share
        self._most = most
        self._guard = threading.Lock()
        self._answers: dict[Hashable, _Answer] = {}

    def get(self, key: Hashable, work: Callable[[], T]) -> T:
        """The answer, worked out where it is not known or no longer good. Raises what `work` raises, remembers none."""
        with self._guard:
            answer = self._answers.setdefault(key, _Answer())
        with answer.lock:
            began = time.monotonic()
            if began >= answer.until:
                try:
                    answer.value = work()
                except BaseException:
                    self._drop(key, answer)
                    raise
                ended = time.monotonic()
                answer.until = ended + max(self._seconds, (ended - began) / self._share)
                self._make_room(ended)
            value: T = answer.value
            return value

    def _drop(self, key: Hashable, answer: _Answer) -> None:
        with self._guard:
            if self._answers.get(key) is answer:
                del self._answers[key]

    def _make_room(self, now: float) -> None:
        with self._guard:
            for key in [key for key, answer in self._answers.items() if answer.is_stale(now)]:
                del self._answers[key]
            while len(self._answers) > self._most:
                del self._answers[next(iter(self._answers))]

    def forget(self) -> None:
        """Work everything out anew, also what is being worked out now."""
        with self._guard:
            self._answers.clear()
