"""How much a cell is taken to promise, so that searches within a filter meet the recall target; measured.

A filter leaves some of the items, and its questions come from them or from anywhere: a page of the class, a photo of
something else. Filters to measure with are none (an attribute that has nothing to do with looks is a thinned copy of
it, and easier), the largest classes, and two neighbourhoods of items, which stand for attributes that look alike. A
true neighbour is found when the share taken is at least what its cell needs to promise as much as the worst of the
true neighbours; so one pass over exact neighbours tells the recall at any share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from vetrina.index.cells import Cells
from vetrina.index.device import Device, choose_device
from vetrina.index.recall import NO_LABEL, lower_bound
from vetrina.index.sampling import from_outside
from vetrina.index.scoring import ROUNDING
from vetrina.index.settings import IndexSettings

FEW = 4096
"""Items that are read at once rather than by cells: up to here that is faster."""
_MOST_CLASSES = 32
_NEIGHBOURHOODS = (8, 32)  # of one item in so many
_BLOCK = 1 << 14
_TINY = 1e-6
_EVERYTHING = 10.0  # a share at which hardly a cell is left out


@dataclass(frozen=True, slots=True)
class CellsTuned:
    """The share that was chosen, and what was measured with it.

    Attributes:
        share: see `Cells.promises`.
        filters: of each {"label" (a code, or in words), "items", "queries", "recall", "lower_95", "read"},
            the last the mean share of its items that is read.
    """

    share: float
    filters: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Asked:
    """Questions within a filter: the share that each true neighbour needs, float32 [q, k], and each cell, [q, c].

    `sizes` int64 [c]: how many of the filter's items a cell has.
    """

    label: int | str
    sizes: np.ndarray
    neighbours: np.ndarray
    cells: np.ndarray

    def recall(self, share: float) -> tuple[float, float]:
        """The mean, and its one-sided 95 % lower bound."""
        each = (self.neighbours <= share).mean(axis=1)
        return float(each.mean()), lower_bound(each, self.neighbours.shape[1])

    def least_share(self, target: float) -> float:
        """The least share at which the bound meets the target; where none does, the least that finds everything."""
        tried = np.unique(self.neighbours)
        low, high = 0, len(tried) - 1
        while low < high:
            middle = (low + high) // 2
            if self.recall(float(tried[middle]))[1] >= target:
                high = middle
            else:
                low = middle + 1
        return float(tried[low])


def tune_cells(
    vectors: np.ndarray, labels: np.ndarray, cells: Cells, settings: IndexSettings, device: str = "cpu"
) -> CellsTuned:
    """Measure what the cells need to promise.

    Args:
        vectors: float32 [n, d] unit rows, n > FEW; may be a memory map.
        labels: int [n], code of each item's label; −1 is no label.
        device: where exact search is done.
    """
    rng = np.random.default_rng(settings.seed)
    work = 2.0 * settings.recall_sample * vectors.size
    searcher = choose_device(device, work)
    asked = [
        _asked(vectors, name, rows, cells, settings, rng, searcher) for name, rows in _filters(vectors, labels, rng)
    ]
    share = max(found.least_share(settings.recall_target) for found in asked)
    filters = []
    for found in asked:
        recall, lower = found.recall(share)
        read = ((found.cells <= share) @ found.sizes).mean() / found.sizes.sum()
        filters.append(
            {
                "label": found.label,
                "items": int(found.sizes.sum()),
                "queries": len(found.neighbours),
                "recall": recall,
                "lower_95": lower,
                "read": float(read),
            }
        )
    return CellsTuned(share, filters)


def _filters(
    vectors: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[int | str, np.ndarray]]:
    """Names and rows (int64, ascending) of the filters to measure with."""
    yield "all items", np.arange(len(vectors))
    codes, sizes = np.unique(labels, return_counts=True)
    large = np.flatnonzero((sizes > FEW) & (codes != NO_LABEL))
    for code in codes[large[np.argsort(-sizes[large], kind="stable")[:_MOST_CLASSES]]].tolist():
        yield code, np.flatnonzero(labels == code)
    for part in _NEIGHBOURHOODS:
        size = len(vectors) // part
        if size > FEW:
            cosines = vectors @ vectors[int(rng.integers(len(vectors)))]
            yield f"1/{part} around an item", np.sort(np.argpartition(-cosines, size)[:size])


def _asked(
    vectors: np.ndarray,
    name: int | str,
    rows: np.ndarray,
    cells: Cells,
    settings: IndexSettings,
    rng: np.random.Generator,
    device: Device,
) -> _Asked:
    """Half of the questions come from the filter's own items, a quarter from any, a quarter from outside."""
    count = settings.recall_sample
    inside = rng.choice(rows, min(len(rows), math.ceil(count / 2)), replace=False)
    anywhere = rng.choice(len(vectors), math.ceil(count / 4), replace=False)
    strangers = from_outside(vectors, math.ceil(count / 4), rng)
    own = np.concatenate([inside, anywhere, np.full(len(strangers), -1)])
    queries = np.concatenate([vectors[inside], vectors[anywhere], strangers])
    neighbours, scores = _nearest(vectors, rows, queries, own, settings.recall_k, device)
    needed = needed_share(cells, queries, scores[:, -1])
    sizes = np.bincount(cells.cell_of[rows], minlength=len(cells.centres))
    return _Asked(name, sizes, np.take_along_axis(needed, cells.cell_of[neighbours].astype(np.int64), axis=1), needed)


def needed_share(cells: Cells, queries: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The share at which each cell promises each query a score, up to ROUNDING: float32 [q, c].

    Args:
        queries: float32 [q, d] unit rows. scores: float32 [q].
    """
    least = cells.promises(queries, 0.0)
    lacking = scores[:, None] - np.float32(ROUNDING) - least
    share = lacking / np.maximum(cells.promises(queries, 1.0) - least, np.float32(_TINY))
    return np.clip(share, 0.0, _EVERYTHING).astype(np.float32)


def _nearest(
    vectors: np.ndarray, rows: np.ndarray, queries: np.ndarray, own: np.ndarray, k: int, device: Device
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of some rows for each query, without the row that asks: int64 and float32 [q, k], best first."""
    k = min(k, len(rows) - 1)
    best = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(rows), _BLOCK):
        here = rows[start : start + _BLOCK]
        places, found = device.top_k(queries, vectors[here], k + 1)
        best = np.hstack([best, here[places]])
        scores = np.hstack([scores, np.where(here[places] == own[:, None], -np.inf, found)])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best, scores = np.take_along_axis(best, order, axis=1), np.take_along_axis(scores, order, axis=1)
    return best, scores
