"""Queries within filters against those without, in turn, and the recall of the filtered ones; part of `large.py`.

Filters are the classes of the index, products drawn at random (an attribute that has nothing to do with looks: the
price), and the products nearest to one of them (an attribute that has: the collection).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vetrina.index.device import NumpyDevice
from vetrina.index.recall import lower_bound
from vetrina.search.answers import Answer
from vetrina.search.engine import SearchEngine

PARTS = (2, 4, 8, 16, 64)
"""A filter leaves one product in so many."""
_QUERIES = 400
_BLOCK = 1 << 14


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of the thread."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def filtered(engine: SearchEngine, k: int) -> Iterator[dict[str, Any]]:
    """What each filter costs and finds; each product of the index has one item."""
    rows = engine.index.rows
    rng = np.random.default_rng(11)
    for label in rows.labels:
        yield _measured(engine, engine, {label}, rows.items_labelled([label]), k, rng) | {"filter": label}
    for part in PARTS:
        drawn = np.sort(rng.choice(len(rows), len(rows) // part, replace=False))
        cosines = rows.vectors @ rows.vectors[int(rng.integers(len(rows)))]
        near = np.sort(np.argpartition(-cosines, len(drawn))[: len(drawn)])
        for name, members in (("at random", drawn), ("nearest to one", near)):
            narrowed = engine.only(rows.product_ids(members))
            yield _measured(engine, narrowed, None, members, k, rng) | {"filter": f"1/{part} {name}"}


def _measured(
    engine: SearchEngine,
    narrowed: SearchEngine,
    classes: set[str] | None,
    members: np.ndarray,
    k: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Half of the questions come from within the filter, as a shop's page asks, half from anywhere."""
    rows = engine.index.rows
    inside = rng.choice(members, min(len(members), _QUERIES // 2), replace=False)
    asked = np.concatenate([inside, rng.choice(len(rows), _QUERIES // 2, replace=False)])
    kth = _kth_within(rows.vectors, members, asked, k)
    plain, ours, recalls = [], [], []
    answers: list[Answer] = []
    first_ms = 0.0
    for at, row in enumerate(asked.tolist()):
        name = rows.product_id(row)
        query = engine.product_query(name)

        def unfiltered() -> None:
            engine.search(query, k, exclude=[name])  # noqa: B023

        def within() -> None:
            answers.append(narrowed.search(query, k, exclude=[name], classes=classes))  # noqa: B023

        if at == 0:
            first_ms = cpu(within) * 1e3
        order = (unfiltered, within) if at % 2 else (within, unfiltered)
        times = {work: cpu(work) for work in order}
        plain.append(times[unfiltered])
        ours.append(times[within])
        found = [int(rows.find(neighbour.product_id) or 0) for neighbour in answers[-1].neighbours]
        recalls.append(np.count_nonzero(rows.vectors[found] @ rows.vectors[row] >= kth[at] - 1e-6) / k)
    halves = np.array(recalls)
    return {
        "items": len(members),
        "ms": np.mean(ours) * 1e3,
        "unfiltered_ms": np.mean(plain) * 1e3,
        "ratio": np.sum(ours) / np.sum(plain),
        "first_ms": first_ms,
        "recall": halves.mean(),
        "recall_inside": halves[: len(inside)].mean(),
        "recall_anywhere": halves[len(inside) :].mean(),
        "lower_95": lower_bound(halves, k),
        "exact": sum(answer.exact for answer in answers[1:]) / len(asked),
        "read": np.mean([answer.read for answer in answers[1:]]),
        "filled": all(len(answer.neighbours) == k for answer in answers),
    }


def _kth_within(vectors: np.ndarray, members: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    """The cosine of the k-th nearest of some rows, without the row that asks: float32 [q]."""
    best = np.zeros((len(asked), 0), np.float32)
    for start in range(0, len(members), _BLOCK):
        here = members[start : start + _BLOCK]
        places, scores = NumpyDevice().top_k(vectors[asked], vectors[here], k + 1)
        scores[here[places] == asked[:, None]] = -np.inf
        best = -np.sort(-np.hstack([best, scores]), axis=1)[:, :k]
    return best[:, -1]
