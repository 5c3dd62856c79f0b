"""How many dimensions an index keeps where nobody says: the fewest whose neighbours agree with those of all.

Neighbours in the first d directions of most variance are compared with those in all directions, both centred, for a
sample of items among all items. The rule and its target were chosen by measurement (bench/README.md): at an agreement
of 0.9 no shop that was tried loses more than 0.005 mAP against 128 dimensions. A share of the variance is no such
measure: at 0.75 one extractor takes 128 dimensions, and another one 48, which lose 0.014.

The items are read once more for it. Memory is that of the sample and of a block; what is chosen depends on the items
alone, not on their order, the machine or the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vetrina.index.projection import Projection, unit_rows
from vetrina.index.recall import lower_bound

CANDIDATES = (32, 48, 64, 96, 128, 192, 256, 384, 512)
FEWEST_PER_DIM = 4
"""Items for each dimension: fewer are too few to estimate it."""
AGREEMENT = 0.9
"""Share of the nearest items that must be the same, as a one-sided 95 % lower bound."""
_ROWS = 1024  # of a block; BLAS rounds the rows of other shapes differently
_TINY = 1e-12
_SAME = 1e-9  # cosines nearer than this are equal


@dataclass(frozen=True, slots=True)
class Candidate:
    """A number of dimensions that was tried.

    Attributes:
        variance_kept: share of the variance, 0 to 1.
        agreement, lower: mean share of the k nearest in all dimensions that are among the k nearest here, and its
            one-sided 95 % lower bound; the mean itself where every item asked.
    """

    dims: int
    variance_kept: float
    agreement: float
    lower: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and from what.

    Attributes:
        projection: the one of the chosen dimensions.
        frontier: all that were tried, fewest dimensions first.
        k, queries: how many neighbours, and how many items asked.
    """

    projection: Projection
    frontier: list[Candidate]
    k: int
    queries: int

    @property
    def met(self) -> bool:
        """Whether any of them agrees enough; where none does, the most dimensions are taken."""
        return any(candidate.lower >= AGREEMENT for candidate in self.frontier)

    def as_json(self) -> dict[str, Any]:
        """The figures for the manifest."""
        return {
            "target": AGREEMENT,
            "k": self.k,
            "queries": self.queries,
            "met": self.met,
            "frontier": [
                {
                    "dims": candidate.dims,
                    "variance_kept": candidate.variance_kept,
                    "agreement": candidate.agreement,
                    "lower_95": candidate.lower,
                }
                for candidate in self.frontier
            ],
        }


def candidates(count: int, raw_dims: int) -> list[int]:
    """The numbers of dimensions that so many items of so many dimensions allow."""
    return [dims for dims in CANDIDATES if dims < raw_dims and dims * FEWEST_PER_DIM <= count]


def choose_dims(
    blocks: Iterable[np.ndarray], asked: np.ndarray, projections: Sequence[Projection], count: int, k: int
) -> Choice:
    """Choose the projection with the fewest dimensions that agrees enough.

    Args:
        blocks: the vectors of all items, float32 [b, D] each.
        asked: those of the items that ask, float32 [q, D], q ≥ 1.
        projections: to try, fewest dimensions first; each is the beginning of the next.
        count: how many items there are, more than one.
        k: how many neighbours; cut to the items there are.
    """
    k = min(k, count - 1)
    spaces = _Spaces(asked, projections, k + 1)
    waiting = np.zeros((0, asked.shape[1]), np.float32)
    for vectors in blocks:
        waiting = np.concatenate([waiting, vectors])
        whole = len(waiting) // _ROWS * _ROWS
        for start in range(0, whole, _ROWS):
            spaces.add(waiting[start : start + _ROWS])
        waiting = waiting[whole:]
    if len(waiting):
        spaces.add(waiting)
    frontier = []
    for projection, shares in zip(projections, spaces.agreements(), strict=True):
        mean = float(shares.mean())
        lower = mean if len(asked) == count else lower_bound(shares, k)
        frontier.append(Candidate(projection.components.shape[1], projection.variance_kept, mean, lower))
    enough = (place for place, candidate in enumerate(frontier) if candidate.lower >= AGREEMENT)
    return Choice(projections[next(enough, -1)], frontier, k, len(asked))


class _Spaces:
    """The nearest items of those that ask, in all dimensions and in the first ones, of all items that were added."""

    def __init__(self, asked: np.ndarray, projections: Sequence[Projection], keep: int) -> None:
        widest = projections[-1]
        self._mean, self._components = widest.mean, widest.components
        self._bounds = [0, *(projection.components.shape[1] for projection in projections)]
        centred = unit_rows(asked) - self._mean
        self._asked, self._moved = _unit(centred), centred @ self._components
        self._truth = _Nearest(len(asked), keep)
        self._found = [_Nearest(len(asked), keep) for _ in projections]

    def add(self, vectors: np.ndarray) -> None:
        """Take in float32 [b, D], b up to _ROWS."""
        count = len(vectors)
        centred = np.zeros((_ROWS, vectors.shape[1]))
        centred[:count] = unit_rows(vectors) - self._mean
        true = (_unit(centred) @ self._asked.T)[:count]
        self._truth.add(true, true)
        moved = centred @ self._components
        products = np.zeros((_ROWS, len(self._asked)))
        own, others = np.zeros(_ROWS), np.zeros(len(self._asked))
        for found, start, end in zip(self._found, self._bounds, self._bounds[1:], strict=False):
            part, asked = moved[:, start:end], self._moved[:, start:end]
            products += part @ asked.T
            own += np.square(part).sum(axis=1)
            others += np.square(asked).sum(axis=1)
            lengths = np.sqrt(own)[:, None] * np.sqrt(others)
            found.add((products / np.maximum(lengths, _TINY))[:count], true)

    def agreements(self) -> list[np.ndarray]:
        """For each projection the share of its nearest, itself left out, that truly are: float64 [q]."""
        kth = self._truth.scores[:, -1:]
        # What asks is its own nearest, or as near as a copy of it.
        return [(found.values[:, 1:] >= kth - _SAME).mean(axis=1) for found in self._found]


class _Nearest:
    """The highest scores of each query, descending, with a value beside each: float64 [q, keep]."""

    def __init__(self, queries: int, keep: int) -> None:
        self.scores = np.full((queries, keep), -np.inf)
        self.values = np.full((queries, keep), -np.inf)

    def add(self, scores: np.ndarray, values: np.ndarray) -> None:
        """Take in float64 [b, q]. Of equal scores those with the highest values stay, in whatever order they come."""
        rows, asked = np.nonzero(scores >= self.scores[:, -1])
        queries, keep = self.scores.shape
        owners = np.concatenate([np.repeat(np.arange(queries), keep), asked])
        both = [
            np.concatenate([kept.ravel(), new[rows, asked]])
            for kept, new in ((self.scores, scores), (self.values, values))
        ]
        order = np.lexsort((-both[1], -both[0], owners))
        first = np.searchsorted(owners[order], np.arange(queries))
        best = order[first[:, None] + np.arange(keep)]
        self.scores, self.values = both[0][best], both[1][best]


def _unit(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _TINY)
    return scaled
