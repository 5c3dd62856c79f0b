"""Means with bootstrap intervals: over queries (micro) and over classes (macro).

The interval is the percentile interval of B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993),
chapter 13: the same queries drawn again with replacement, and the middle share of the means that this gives. Draws
are seeded: the same values give the same interval. The interval of a difference is that of the per-query
differences, so it is paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_DRAWN_AT_ONCE = 1 << 22  # places drawn at once: 32 MB
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval; of a single query the interval is the value itself."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """As plain values of six decimals."""
        return {"value": round(self.value, 6), "low": round(self.low, 6), "high": round(self.high, 6)}


def micro(values: np.ndarray, *, resamples: int, seed: int) -> list[Estimate]:
    """The mean over queries of each measure. Every query weighs the same.

    Args:
        values: float64 [q, m], q ≥ 1.

    Raises:
        ValueError: there are no queries, or fewer than 1 resamples.
    """
    _check(values, resamples)
    return _estimates(values.mean(axis=0), _resampled_means(values, resamples, np.random.default_rng(seed)))


def macro(values: np.ndarray, classes: np.ndarray, *, resamples: int, seed: int) -> list[Estimate]:
    """The mean over classes of the mean over the queries of each class. Every class weighs the same.

    Queries are drawn again within their class: the interval says how far chance among queries goes, for these classes.
    A class of one query has no spread to show, so with many of those the interval is too narrow.

    Args:
        values: float64 [q, m], q ≥ 1; classes: int [q], not negative.

    Raises:
        ValueError: as `micro`.
    """
    _check(values, resamples)
    rng = np.random.default_rng(seed)
    order = np.argsort(classes, kind="stable")
    starts = np.flatnonzero(np.diff(classes[order], prepend=-1))
    members = np.split(order, starts[1:])
    drawn = np.zeros((resamples, values.shape[1]))
    for member in members:
        drawn += _resampled_means(values[member], resamples, rng)
    means = np.mean([values[member].mean(axis=0) for member in members], axis=0)
    return _estimates(means, drawn / len(members))


def _check(values: np.ndarray, resamples: int) -> None:
    if not len(values):
        raise ValueError("The mean of no queries is not defined")
    if resamples < 1:
        raise ValueError(f"{resamples} resamples; there must be at least 1")


def _resampled_means(values: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means of queries drawn with replacement: float64 [resamples, m]."""
    count = len(values)
    means = np.empty((resamples, values.shape[1]))
    size = max(1, _DRAWN_AT_ONCE // count)
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = rng.integers(0, count, (rows, count))
        drawn += np.arange(rows)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        means[start : start + rows] = times @ values / count
    return means


def _estimates(means: np.ndarray, drawn: np.ndarray) -> list[Estimate]:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return [Estimate(*map(float, entry)) for entry in zip(means, low, high, strict=True)]
