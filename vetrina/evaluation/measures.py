"""The measures of many answers at once, as arrays. What they mean is defined, one answer at a time, in `metrics`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BLOCK_CELLS = 1 << 20
PRECISION_AT = 5
ACCURACY_AT = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """Values of each query: float64 [q, m], and the names of the m measures."""

    names: tuple[str, ...]
    values: np.ndarray

    def of(self, name: str) -> np.ndarray:
        """The values of one measure: float64 [q]."""
        return self.values[:, self.names.index(name)]


def measure_names(k: int) -> tuple[str, ...]:
    """The names of what `measure` gives, in its order."""
    return tuple(dict.fromkeys((f"map@{k}", f"precision@{PRECISION_AT}", f"precision@{k}", "accuracy@4", f"ndcg@{k}")))


def depth_for(k: int) -> int:
    """How many results `measure` wants to see of each answer."""
    return max(k, PRECISION_AT, ACCURACY_AT)


def measure(hits: np.ndarray, relevant: np.ndarray, k: int) -> Measured:
    """Average precision, precision, accuracy@4 (precision of four places) and nDCG of every query.

    "map@k" is the average precision of a query: its mean over queries is the mAP.

    Args:
        hits: bool [q, d], best result first, False in places that stayed empty.
        relevant: int [q], at least 1: how many could have been found.

    Raises:
        ValueError: k below 1, a query with nothing relevant or with more hits than relevant items.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    if len(relevant) and int(relevant.min()) < 1:
        raise ValueError("A query has nothing relevant, so its measures are not defined; leave it out")
    if (hits.sum(axis=1) > relevant).any():
        raise ValueError("A query has more hits than relevant items")
    names = measure_names(k)
    values = np.zeros((len(hits), len(names)))
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideals = np.cumsum(discounts)
    size = max(1, _BLOCK_CELLS // max(hits.shape[1], k))
    for start in range(0, len(hits), size):
        block = slice(start, start + size)
        within = hits[block, :k].astype(np.float64)
        places = np.arange(1, within.shape[1] + 1)
        best = np.minimum(k, relevant[block])
        found = {
            f"map@{k}": (within * within.cumsum(axis=1) / places).sum(axis=1) / best,
            f"precision@{PRECISION_AT}": hits[block, :PRECISION_AT].sum(axis=1) / PRECISION_AT,
            f"precision@{k}": within.sum(axis=1) / k,
            "accuracy@4": hits[block, :ACCURACY_AT].sum(axis=1) / ACCURACY_AT,
            f"ndcg@{k}": within @ discounts[: within.shape[1]] / ideals[best - 1],
        }
        values[block] = np.stack([found[name] for name in names], axis=1)
    return Measured(names, values)
