"""Doing the same thing to many things at once, in order, with a bound on what is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(work: Callable[[T], R], things: Iterable[T], workers: int) -> Iterator[R]:
    """`work` of each thing, in the order of the things, on `workers` threads.

    Things are taken as they are needed: at most two for each worker are under way or waiting.
    The first error stops everything and is raised here.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for thing in things:
                waiting.append(pool.submit(work, thing))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class Behind:
    """Does things behind one's back: `do` comes back at once, and leaving the block waits until all is done.

    Args:
        workers: how many are done at the same time, on threads of their own; with 1, `do` does the thing itself.

    The first error is raised by the next `do` or when the block ends; what was not begun by then is left undone.
    """

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self._room = BoundedSemaphore(2 * workers)
        self._failure: BaseException | None = None

    def do(self, thing: Callable[[], object]) -> None:
        """Do `thing`, now or soon; waits while many are waiting already. May be called from several threads."""
        if self._pool is None:
            thing()
            return
        self._raise_failure()
        self._room.acquire()
        self._pool.submit(self._done, thing)

    def _done(self, thing: Callable[[], object]) -> None:
        try:
            if self._failure is None:
                thing()
        except BaseException as error:
            self._failure = self._failure or error
        finally:
            self._room.release()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=error is not None)
        if error is None:
            self._raise_failure()
