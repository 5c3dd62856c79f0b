"""Candidates for the table of similar products: for each product the others that may be among its nearest.

Scores here are float32 and right up to ROUNDING; what is chosen from the candidates is scored again, exactly. The
processor scores all pairs of products in matrix products of bounded size; a card lists the nearest items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np

from vetrina.index.device import Device, NumpyDevice
from vetrina.index.rows import Rows
from vetrina.index.scoring import ROUNDING

_CELLS = 1 << 23  # float32 scores held at once: 32 MB
_COLUMNS = 8192
_CHUNK = 64


class Candidates(Protocol):
    """Other products by their scores up to ROUNDING: whatever may be among the k best of some, int64 positions."""

    def best(self, k: int) -> np.ndarray:
        """Of all."""

    def best_of(self, members: np.ndarray, k: int) -> np.ndarray:
        """Of the members (ascending)."""

    def best_but(self, members: np.ndarray, k: int) -> np.ndarray:
        """Of all but the members (ascending)."""


def candidates(rows: Rows, loss: np.ndarray, k: int, device: Device) -> Iterator[tuple[int, Candidates]]:
    """Every product, in order, with its candidates.

    Args:
        loss: float64 [own kind, other's kind], what a pair of items loses.
        k: how many others are wanted of each.
    """
    return _by_lines(rows, loss) if isinstance(device, NumpyDevice) else _by_lists(rows, loss, k, device)


class _Line:
    """Candidates from the scores of all products: float32 [P], −inf for the product itself."""

    def __init__(self, scores: np.ndarray) -> None:
        self._scores = scores

    def best(self, k: int) -> np.ndarray:
        return _survivors(self._scores, k)

    def best_of(self, members: np.ndarray, k: int) -> np.ndarray:
        found: np.ndarray = members[_survivors(self._scores[members], k)]
        return found

    def best_but(self, members: np.ndarray, k: int) -> np.ndarray:
        others = self._scores.copy()
        others[members] = -np.inf
        return _survivors(others, k)


class _List:
    """Candidates from the nearest items only; where those do not settle it, from the scores of all products.

    Args:
        products, scores: int64 and float32 [c], the products of those items and their best scores.
        bound: no product that is missing scores more.
        line: gives the scores of all products.
    """

    def __init__(self, products: np.ndarray, scores: np.ndarray, bound: float, line: Callable[[], np.ndarray]) -> None:
        self._products, self._scores, self._bound, self._line = products, scores, bound, line

    def best(self, k: int) -> np.ndarray:
        found = self._settled(np.ones(len(self._products), bool), k)
        return _Line(self._line()).best(k) if found is None else found

    def best_of(self, members: np.ndarray, k: int) -> np.ndarray:
        found = self._settled(_within(self._products, members), k)
        return _Line(self._line()).best_of(members, k) if found is None else found

    def best_but(self, members: np.ndarray, k: int) -> np.ndarray:
        found = self._settled(~_within(self._products, members), k)
        return _Line(self._line()).best_but(members, k) if found is None else found

    def _settled(self, counting: np.ndarray, k: int) -> np.ndarray | None:
        """What may be among the k best of those that count; None when one that is missing may be, too."""
        scores = self._scores[counting]
        if self._bound == -np.inf:
            return self._products[counting][_survivors(scores, k)]
        if len(scores) < k:
            return None
        threshold = float(np.partition(scores, len(scores) - k)[len(scores) - k]) - 2 * ROUNDING
        return None if threshold <= self._bound + 2 * ROUNDING else self._products[counting][scores >= threshold]


def _within(values: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Which of the values are among others: bool, as long as `values`."""
    if not len(ascending):
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: np.ndarray = ascending[at] == values
    return found


def _survivors(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of what may be among the k best finite scores: int64."""
    threshold = -np.inf
    if len(scores) > k:
        # The k-th best of the maxima of chunks is at most the k-th best of all, and much cheaper to find.
        whole = len(scores) // _CHUNK * _CHUNK
        tops = scores[:whole].reshape(-1, _CHUNK).max(axis=1) if whole >= 4 * k * _CHUNK else scores
        threshold = np.partition(tops, len(tops) - k)[len(tops) - k] - 2 * ROUNDING
    found = np.flatnonzero((scores >= threshold) & (scores > -np.inf))
    if len(found) > k:
        values = scores[found]
        found = found[values >= np.partition(values, len(values) - k)[len(values) - k] - 2 * ROUNDING]
    return found


def _by_lines(rows: Rows, loss: np.ndarray) -> Iterator[tuple[int, Candidates]]:
    """Every product with the scores of all others, by the processor."""
    edges = _edges(rows.starts, max(1, _CELLS // _COLUMNS))
    limit = max(1, _CELLS // max(1, rows.products))
    for low, high in zip(*_bounded(edges, limit), strict=True):
        for offset, line in enumerate(_scores(rows, loss, int(low), int(high))):
            line[low + offset] = -np.inf
            yield int(low) + offset, _Line(line)


def _by_lists(rows: Rows, loss: np.ndarray, k: int, device: Device) -> Iterator[tuple[int, Candidates]]:
    """Every product with the products of the items nearest to its own, by a device."""
    if not rows.products:
        return
    most = int(np.diff(rows.starts).max())
    # As deep as k others reach at most: all items of theirs, and the product's own, may come first.
    depth = min((k + 1) * most + 1, len(rows))
    everything = _with_kinds(rows, slice(0, len(rows)), np.eye(len(loss)))
    edges = _edges(rows.starts, max(1, _CELLS // depth))
    for low, high in pairwise(edges):
        own = slice(int(rows.starts[low]), int(rows.starts[high]))
        items, scores = device.top_k(_with_kinds(rows, own, -loss), everything, depth)
        for product in range(int(low), int(high)):
            part = slice(int(rows.starts[product]) - own.start, int(rows.starts[product + 1]) - own.start)
            bound = float(scores[part, -1].max()) if depth < len(rows) else -np.inf

            def line(product: int = product) -> np.ndarray:
                (found,) = _scores(rows, loss, product, product + 1)
                found[product] = -np.inf
                return found

            yield product, _List(*_best_of_products(rows, product, items[part], scores[part]), bound, line)


def _best_of_products(rows: Rows, product: int, items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The products of some items but one, ascending, and their best scores."""
    owners, flat = rows.product_of[items.ravel()], scores.ravel()
    order = np.lexsort((-flat, owners))
    owners, flat = owners[order], flat[order]
    first = np.r_[True, owners[1:] != owners[:-1]] & (owners != product)
    return owners[first], flat[first]


def _scores(rows: Rows, loss: np.ndarray, low: int, high: int) -> np.ndarray:
    """Scores up to ROUNDING of some products, low to high − 1, with every product: float32 [high − low, P]."""
    starts = rows.starts
    own = slice(int(starts[low]), int(starts[high]))
    left = _with_kinds(rows, own, -loss)
    groups = starts[low : high + 1] - starts[low]
    scores = np.empty((high - low, rows.products), np.float32)
    for start, end in pairwise(_edges(starts, _COLUMNS)):
        other = slice(int(starts[start]), int(starts[end]))
        # Items down, own rows across: a maximum over items then runs along whole lines.
        pairs = _with_kinds(rows, other, np.eye(len(loss))) @ left.T
        by_product = _group_max(pairs, starts[start : end + 1] - starts[start])
        scores[:, start:end] = _group_max(np.ascontiguousarray(by_product.T), groups)
    return scores


def _group_max(lines: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Maximum over groups of lines: float32 [n, w] → [g, w]; group i is lines bounds[i]..bounds[i + 1] - 1.

    As `np.maximum.reduceat(lines, bounds[:-1])`, which is twenty times slower.
    """
    counts = np.diff(bounds)
    best = lines[bounds[:-1]]
    for nth in range(1, int(counts.max())):
        longer = np.flatnonzero(counts > nth)
        best[longer] = np.maximum(best[longer], lines[bounds[longer] + nth])
    return best


def _with_kinds(rows: Rows, part: slice, columns: np.ndarray) -> np.ndarray:
    """Vectors with columns by kind beside them, so that one matrix product gives cosine minus penalty."""
    return np.hstack([rows.vectors[part], columns[rows.kinds[part]].astype(np.float32)])


def _edges(starts: np.ndarray, most: int) -> np.ndarray:
    """Product positions that cut the rows into pieces of at most `most` rows (one product may be larger)."""
    edges, total = [0], len(starts) - 1
    while edges[-1] < total:
        at = edges[-1]
        reach = int(np.searchsorted(starts, starts[at] + most, side="right")) - 1
        edges.append(min(max(reach, at + 1), total))
    return np.array(edges, np.int64)


def _bounded(edges: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of the pieces, cut again so that none spans more than `most` products."""
    lows = [np.arange(low, high, most) for low, high in pairwise(edges)]
    flat = np.concatenate(lows) if lows else np.zeros(0, np.int64)
    return flat, np.append(flat[1:], edges[-1]) if len(flat) else flat
