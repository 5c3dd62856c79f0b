"""Sharing out jobs among worker threads, fairly by host; what a job is, is the caller's business."""

import heapq
import itertools
import sys
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator, Iterable
from typing import Generic, Protocol, TypeVar

R = TypeVar("R")
J = TypeVar("J", bound="_HasHost")

_LOOK_AHEAD = 64


class _HasHost(Protocol):
    host: str


class Fleet(Generic[J, R]):
    """Workers that share out jobs: none is given a job whose host is at its limit, none sleeps through a pause.

    `step` makes one attempt at a job: its outcome, or the seconds to let pass before the next attempt.
    """

    def __init__(self, step: Callable[[J, threading.Event], R | float], concurrency: int, per_host: int) -> None:
        self._step, self._concurrency, self._per_host = step, concurrency, per_host
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # workers wait on it
        self._news = threading.Condition(self._lock)  # the caller waits on it
        self._stop = threading.Event()
        self._workers: list[threading.Thread] = []
        self._queues: dict[str, deque[J]] = {}
        self._open: OrderedDict[str, None] = OrderedDict()  # hosts with a job and below their limit, in turn
        self._busy: Counter[str] = Counter()
        self._paused: list[tuple[float, int, J]] = []
        self._order = itertools.count()
        self._pending = 0  # drawn jobs that no worker holds
        self._active = 0
        self._done: deque[tuple[J, R]] = deque()
        self._crash: BaseException | None = None

    def outcomes(self, jobs: Iterable[J]) -> Generator[tuple[J, R], None, None]:
        """Draw jobs while workers could use them, and yield outcomes as they come."""
        source, drawn_all = iter(jobs), False
        while True:
            with self._lock:
                while not (self._done or self._crash or (not drawn_all and self._hungry())):
                    if drawn_all and not self._pending and not self._active:
                        return
                    self._news.wait()
                if self._crash:
                    raise RuntimeError("a fetch worker failed") from self._crash
                # Deep look-ahead, in search of another host, never holds back an outcome that is there.
                draw = not drawn_all and self._hungry() and not (self._done and self._pending >= self._concurrency)
                outcome = self._done.popleft() if self._done and not draw else None
                self._work.notify()
            if outcome:
                yield outcome
            elif (job := next(source, None)) is None:
                drawn_all = True
            else:
                self._add(job)

    def close(self) -> None:
        """Stop the workers; one that waits for a name or a connection ends by itself a little later."""
        self._stop.set()
        with self._lock:
            self._work.notify_all()
        until = time.monotonic() + 2.0
        for worker in self._workers:
            worker.join(max(until - time.monotonic(), 0.0))

    def _hungry(self) -> bool:
        if self._pending < self._concurrency:
            return True
        idle = self._concurrency - self._active
        return len(self._open) < idle and self._pending < _LOOK_AHEAD * self._concurrency

    def _add(self, job: J) -> None:
        with self._lock:
            self._pending += 1
            self._enqueue(job)
            if len(self._workers) < min(self._concurrency, self._active + self._pending):
                name = f"vetrina-fetch-{len(self._workers)}"
                self._workers.append(threading.Thread(target=self._run, name=name, daemon=True))
                self._workers[-1].start()

    def _enqueue(self, job: J) -> None:
        self._queues.setdefault(job.host, deque()).append(job)
        self._reopen(job.host)
        self._work.notify()

    def _reopen(self, host: str) -> None:
        # Local files are no one's server: only the number of workers bounds them.
        limit = self._per_host if host else self._concurrency
        if self._queues.get(host) and self._busy[host] < limit:
            self._open.setdefault(host)
        else:
            self._open.pop(host, None)

    def _run(self) -> None:
        while job := self._take():
            step: R | float | None = None
            try:
                step = self._step(job, self._stop)
            finally:
                self._finish(job, step, sys.exc_info()[1])

    def _take(self) -> J | None:
        with self._lock:
            while not self._stop.is_set() and not self._crash:
                now = time.monotonic()
                while self._paused and self._paused[0][0] <= now:
                    self._enqueue(heapq.heappop(self._paused)[2])
                if self._open and self._active + len(self._done) < self._concurrency:
                    host, _ = self._open.popitem(last=False)
                    job = self._queues[host].popleft()
                    if not self._queues[host]:
                        del self._queues[host]
                    self._busy[host] += 1
                    self._reopen(host)
                    self._pending -= 1
                    self._active += 1
                    self._news.notify()
                    if self._open or self._paused:
                        self._work.notify()  # someone else must watch the rest and the pauses
                    return job
                self._work.wait(self._paused[0][0] - now if self._paused else None)
            return None

    def _finish(self, job: J, step: R | float | None, crash: BaseException | None) -> None:
        with self._lock:
            self._active -= 1
            self._busy[job.host] -= 1
            if not self._busy[job.host]:
                del self._busy[job.host]
            self._reopen(job.host)
            if isinstance(step, float):
                self._pending += 1
                heapq.heappush(self._paused, (time.monotonic() + step, next(self._order), job))
                self._work.notify()
            elif step is not None:
                self._done.append((job, step))
            else:
                self._crash = crash
                self._work.notify_all()
            self._news.notify()
