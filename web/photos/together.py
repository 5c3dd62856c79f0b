"""Work that goes together when it has to wait: what came while all threads were busy is done in one call.

What comes alone is begun at once, so nobody waits for company.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from web.turns import busy

G = TypeVar("G")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(eq=False, slots=True)
class _Waiting(Generic[G, T, R]):
    group: G
    thing: T
    done: Future[R] = field(default_factory=Future)


class Together(Generic[G, T, R]):
    """Works in a few threads; a context manager.

    Args:
        work: gives a result, or the exception that it cost, for each thing of one group.
        at_once: how many things of a group it is fastest with in one call.
        threads: how many calls run at the same time.
        most_waiting: how many things may wait.
    """

    def __init__(
        self,
        work: Callable[[G, list[T]], Sequence[R | Exception]],
        at_once: Callable[[G], int],
        threads: int,
        most_waiting: int,
    ) -> None:
        self._work = work
        self._at_once = at_once
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="together")
        self._idle = threads
        self._most = most_waiting
        self._waiting: deque[_Waiting[G, T, R]] = deque()
        self._lock = threading.Lock()

    def __enter__(self) -> Together[G, T, R]:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for one in self._waiting:
            one.done.cancel()

    async def run(self, group: G, thing: T) -> R:
        """The result for a thing. Raises Problem (503) when too many wait, and what the thing cost.

        Whoever is cancelled while the thing waits takes it out of the line.
        """
        one: _Waiting[G, T, R] = _Waiting(group, thing)
        with self._lock:
            if len(self._waiting) >= self._most + self._idle:
                raise busy()
            self._waiting.append(one)
        # One call for each thing: one whose thing went with others looks for what else there is.
        self._threads.submit(self._work_off)
        return await asyncio.wrap_future(one.done)

    def _work_off(self) -> None:
        with self._lock:
            self._idle -= 1
        try:
            taken = self._take()
            if taken:
                self._settle(taken)
        finally:
            with self._lock:
                self._idle += 1

    def _take(self) -> list[_Waiting[G, T, R]]:
        """The next things that go together, at least one while any wait."""
        while True:
            with self._lock:
                if not self._waiting:
                    return []
                first = self._waiting[0]
            try:
                at_once = self._at_once(first.group)  # may open a model: not under the lock
            except Exception:
                at_once = 1  # the work will say it too
            with self._lock:
                same = [one for one in self._waiting if one.group is first.group]
                # Shared out evenly with the threads that have nothing to do.
                share = min(max(at_once, 1), math.ceil(len(same) / (self._idle + 1)))
                for one in same[:share]:
                    self._waiting.remove(one)
            taken = [one for one in same[:share] if one.done.set_running_or_notify_cancel()]
            if taken:
                return taken

    def _settle(self, taken: list[_Waiting[G, T, R]]) -> None:
        try:
            results = self._work(taken[0].group, [one.thing for one in taken])
        except Exception as error:
            if len(taken) == 1:
                taken[0].done.set_exception(error)
                return
            for one in taken:  # whichever it was: the others are not to pay for it
                self._settle([one])
            return
        for one, result in zip(taken, results, strict=True):
            if isinstance(result, Exception):
                one.done.set_exception(result)
            else:
                one.done.set_result(result)
