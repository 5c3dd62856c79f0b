"""Work in threads, so that the event loop is never blocked; who waits too long in line is told to come back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from web.problems import Problem

P = ParamSpec("P")
R = TypeVar("R")


def busy() -> Problem:
    """The answer to one request too many."""
    return Problem(503, "busy", "Too many requests wait", "Try again in a second", headers={"Retry-After": "1"})


class Turns:
    """Runs functions in a few threads; a context manager.

    Args:
        threads: how many run at the same time.
        most_waiting: how many may wait for their turn.
    """

    def __init__(self, threads: int, most_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="turn")
        self._most = threads + most_waiting
        self._taken = 0
        self._counting = threading.Lock()

    def __enter__(self) -> Turns:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The function's result. Raises Problem (503) when too many wait, and what the function raises."""
        with self._counting:
            if self._taken >= self._most:
                raise busy()
            self._taken += 1
        try:
            working = self._threads.submit(work, *args, **kwargs)
        except BaseException:
            self._leave()
            raise
        # By the work's own end: whoever hung up does not free the place, for the thread works on.
        working.add_done_callback(lambda _: self._leave())
        return await asyncio.wrap_future(working)

    def _leave(self) -> None:
        with self._counting:
            self._taken -= 1
