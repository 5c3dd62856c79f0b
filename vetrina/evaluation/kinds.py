"""Kinds of index in one table: what each costs to reach a recall, on the same vectors and queries."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.errors import SettingError
from vetrina.index.device import choose_device
from vetrina.index.kinds import KINDS, Kind, build_kind, open_kind
from vetrina.index.kinds.exact import ExactKind
from vetrina.index.manifest import VECTORS

TARGETS = (0.90, 0.95, 0.99)
_STEP = 1.2
_SAME = 1e-6  # two float32 cosines nearer than this are equal
_MOST_QUERIES = 500

Search = Callable[[np.ndarray, int], np.ndarray]
"""Rows near a vector (float32 [d]) with some effort: int64."""


@dataclass(frozen=True, slots=True)
class Task:
    """Unit vectors to index (float32 [n, d]) and to ask with (float32 [q, d]), and what is true.

    Attributes:
        k: neighbours wanted, at most n.
        kth: cosine of the k-th nearest of each query: float32 [q].
    """

    vectors: np.ndarray
    queries: np.ndarray
    k: int
    kth: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray, queries: np.ndarray, k: int, device: str = "cpu") -> Task:
        """The task with its truth, by exact search."""
        k = min(k, len(vectors))
        work = 2.0 * len(queries) * vectors.size
        return cls(vectors, queries, k, choose_device(device, work).top_k(queries, vectors, k)[1][:, -1])

    def recall(self, found: Iterable[np.ndarray]) -> float:
        """Share of the true k nearest among the rows found, a query after another; one as near as the k-th counts."""
        hits = [
            np.count_nonzero(self.vectors[rows[: self.k]] @ query >= kth - _SAME)
            for rows, query, kth in zip(found, self.queries, self.kth, strict=True)
        ]
        return float(np.mean(hits)) / self.k


@dataclass(frozen=True, slots=True)
class Reached:
    """What a search costs that reaches a recall.

    Attributes:
        target: the recall wanted.
        effort: least effort that reached it, in steps of a fifth; `None` when none did, and the rest is of the most.
        recall: mean over the queries.
        p50_ms, p99_ms: processor time of one query on one thread.
    """

    target: float
    effort: int | None
    recall: float
    p50_ms: float
    p99_ms: float


def reach(task: Task, search: Search, most_effort: int, targets: Sequence[float] = TARGETS) -> list[Reached]:
    """What a search costs at each recall wanted; more effort must not find less, but for chance."""
    efforts = _ladder(most_effort)
    known: dict[int, float] = {}

    def recall(effort: int) -> float:
        if effort not in known:
            known[effort] = task.recall(search(query, effort) for query in task.queries)
        return known[effort]

    reached = []
    for target in targets:
        low, high = 0, len(efforts) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if recall(efforts[middle]) >= target else (middle + 1, high)
        effort = efforts[low]
        met = recall(effort) >= target
        times = _times(task.queries, search, effort)
        reached.append(
            Reached(
                target=target,
                effort=effort if met else None,
                recall=recall(effort),
                p50_ms=float(np.percentile(times, 50)),
                p99_ms=float(np.percentile(times, 99)),
            )
        )
    return reached


def _ladder(most: int) -> list[int]:
    steps = [1]
    while steps[-1] < most:
        steps.append(min(math.ceil(steps[-1] * _STEP), most))
    return steps


def _times(queries: np.ndarray, search: Search, effort: int) -> np.ndarray:
    """Milliseconds of processor time of this thread for each query, after one that reads the files in."""
    search(queries[0], effort)
    times = []
    for query in queries:
        start = time.thread_time()
        search(query, effort)
        times.append(time.thread_time() - start)
    return np.array(times) * 1e3


@dataclass(frozen=True, slots=True)
class Compared:
    """One kind of index.

    Attributes:
        build_s: processor time, all threads.
        file_bytes: of its files, beside the vectors that every kind keeps.
        visited: share of the items that a query compares, by target.
        note: why there are no figures; empty otherwise.
    """

    kind: str
    parameters: dict[str, int | float]
    build_s: float
    file_bytes: int
    reached: list[Reached]
    visited: list[float]
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def compare_kinds(task: Task, folder: Path, targets: Sequence[float] = TARGETS, device: str = "cpu") -> list[Compared]:
    """Build every kind with its defaults in a folder, and measure it; one that is not installed says so.

    Args:
        device: where exact search is done; the other kinds know the processor only.

    Raises:
        SettingError: a device that there is not.
        StoreError: the disk refuses.
    """
    compared = []
    for name in KINDS:
        start = time.process_time()
        try:
            build_kind(name, task.vectors, folder / name)
        except SettingError as error:
            compared.append(Compared(name, dict(KINDS[name].defaults), 0.0, 0, [], [], str(error)))
            continue
        spent = time.process_time() - start
        kind = open_kind(folder / name)
        if isinstance(kind, ExactKind):
            kind.on(device)
        compared.append(_measured(task, kind, folder / name, spent, targets))
    return compared


def _measured(task: Task, kind: Kind, folder: Path, build_s: float, targets: Sequence[float]) -> Compared:
    reached = reach(task, lambda query, effort: kind.nearest(query, task.k, effort), kind.most_effort, targets)
    efforts = [entry.effort or kind.most_effort for entry in reached]
    return Compared(
        kind=kind.name,
        parameters=dict(kind.parameters),
        build_s=build_s,
        file_bytes=sum(file.stat().st_size for file in folder.iterdir() if file.name != VECTORS),
        reached=reached,
        visited=[
            float(np.mean([kind.visited(query, task.k, effort) for query in task.queries])) / kind.items
            for effort in efforts
        ],
    )


def held_out(vectors: np.ndarray, k: int, seed: int = 17) -> Task:
    """A task of some vectors (float32 [n, d] unit rows): a fifth of them, at most 500, ask for the others.

    Raises:
        SettingError: k below 1, or fewer than two vectors.
    """
    if k < 1:
        raise SettingError(f"The number of neighbours is {k}; it must be at least 1")
    if len(vectors) < 2:
        raise SettingError("Kinds of index are compared on two vectors or more; add products first")
    asking = np.zeros(len(vectors), bool)
    count = min(max(len(vectors) // 5, 1), _MOST_QUERIES)
    asking[np.random.default_rng(seed).choice(len(vectors), count, replace=False)] = True
    return Task.of(np.ascontiguousarray(vectors[~asking]), vectors[asking], k)
