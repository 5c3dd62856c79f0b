"""Candidates for the table of similar products: for each product the others that may be among its nearest.

Scores here are float32 and right up to ROUNDING; what is chosen from the candidates is scored again, exactly. The
processor multiplies tiles of items that stay in its caches and keeps only the scores that reach a threshold, which a
sample of the products gives for each; a card lists the nearest items; Annoy lists near ones, and may miss some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from math import ceil, isqrt
from typing import Protocol

import numpy as np

from vetrina.index.annoy_file import AnnoyFile
from vetrina.index.device import Device, NumpyDevice
from vetrina.index.rows import Rows
from vetrina.index.scoring import ROUNDING, scan
from vetrina.parallel import ordered_map

_CELLS = 1 << 23  # float32 scores held at once: 32 MB
_COLUMNS = 8192
_CHUNK = 64
OWN, OTHERS = 1024, 4096
"""Rows of a tile, 16 MB of scores. Smaller ones keep BLAS threads waiting, larger ones leave the caches."""
_KEPT = 1 << 22  # scores that may reach the thresholds of a block of products: 64 MB with their places
_FIRST = 32  # items that Annoy is asked for at first
_SHARE = 8  # beyond one item in eight, comparing with all is faster than Annoy
_LOOKED_AT = 4096  # members of a class: half a millisecond at 128 dimensions
_SAMPLE = 5  # one kept score costs about as much as this many products of 150 numbers


@dataclass(frozen=True, slots=True)
class AnnoySearch:
    """How Annoy is asked for what is near the items of a product.

    Attributes:
        nodes: that are visited for each item, as `search_k` of Annoy; more where more items are asked for.
        workers: products asked for at the same time.
    """

    annoy: AnnoyFile
    nodes: int
    workers: int = 1


class Candidates(Protocol):
    """Other products by their scores up to ROUNDING: whatever may be among the k best of some, int64 positions."""

    def best(self, k: int) -> np.ndarray:
        """Of all."""

    def best_of(self, members: np.ndarray, k: int) -> np.ndarray:
        """Of the members (ascending)."""

    def best_but(self, members: np.ndarray, k: int) -> np.ndarray:
        """Of all but the members (ascending)."""


def candidates(
    rows: Rows, loss: np.ndarray, k: int, device: Device, part: range | np.ndarray, by_class: bool
) -> Iterator[tuple[int, Candidates]]:
    """Some products, in order, with their candidates.

    Args:
        loss: float64 [own kind, other's kind], what a pair of items loses.
        k: how many others are wanted of each.
        part: which products, by their positions. A range is worked in tiles, others one by one.
        by_class: `best_of` and `best_but` will be asked for, so a list of the nearest is seldom enough.
    """
    if not isinstance(part, range):
        return ((product, _line_of(rows, loss, product)) for product in part.tolist())
    if not isinstance(device, NumpyDevice):
        return _by_lists(rows, loss, k, device, part)
    return _by_lines(rows, loss, part) if by_class else _by_thresholds(rows, loss, k, part)


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
    """Candidates from the nearest items only; where those do not settle it, from more of them.

    Args:
        products, scores: int64 and float32 [c], the products of those items and their best scores.
        bound: no product that is missing scores more.
        more: gives candidates that are nearer to settling it.
    """

    def __init__(self, products: np.ndarray, scores: np.ndarray, bound: float, more: Callable[[], Candidates]) -> None:
        self._products, self._scores, self._bound, self._more = products, scores, bound, cache(more)

    def best(self, k: int) -> np.ndarray:
        found = self._settled(np.ones(len(self._products), bool), k)
        return self._more().best(k) if found is None else found

    def best_of(self, members: np.ndarray, k: int) -> np.ndarray:
        found = self._settled(_within(self._products, members), k)
        return self._more().best_of(members, k) if found is None else found

    def best_but(self, members: np.ndarray, k: int) -> np.ndarray:
        found = self._settled(~_within(self._products, members), k)
        return self._more().best_but(members, k) if found is None else found

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
        threshold = float(_reached_by(scores[None, :], k)[0]) - 2 * ROUNDING
    found = np.flatnonzero((scores >= threshold) & (scores > -np.inf))
    if len(found) > k:
        values = scores[found]
        found = found[values >= np.partition(values, len(values) - k)[len(values) - k] - 2 * ROUNDING]
    return found


def _reached_by(lines: np.ndarray, k: int) -> np.ndarray:
    """What at least k scores of each line reach: float32 [q] of [q, n], n ≥ k. Not much below the k-th best."""
    # The k-th best of the maxima of chunks is at most the k-th best of all, and much cheaper to find.
    chunk = min(_CHUNK, lines.shape[1] // (4 * k))
    if chunk > 1:
        whole = lines.shape[1] // chunk * chunk
        lines = lines[:, :whole].reshape(len(lines), -1, chunk).max(axis=2)
    kth: np.ndarray = np.partition(lines, lines.shape[1] - k, axis=1)[:, lines.shape[1] - k]
    return kth


def _by_lines(rows: Rows, loss: np.ndarray, part: range) -> Iterator[tuple[int, Candidates]]:
    """Products with the scores of all others, by the processor."""
    edges = _edges(rows.starts, max(1, _CELLS // _COLUMNS), part)
    limit = max(1, _CELLS // max(1, rows.products))
    for low, high in zip(*_bounded(edges, limit), strict=True):
        for offset, line in enumerate(_scores(rows, loss, int(low), int(high))):
            line[low + offset] = -np.inf
            yield int(low) + offset, _Line(line)


def _by_thresholds(rows: Rows, loss: np.ndarray, k: int, part: range) -> Iterator[tuple[int, Candidates]]:
    """Products with those others whose scores reach a threshold that k others reach, by the processor."""
    step = max(1, isqrt(rows.products // (_SAMPLE * k)))
    sample = _with_kinds(rows, rows.starts[:-1:step], np.eye(len(loss)))
    waiting = list(pairwise(_edges(rows.starts, OWN, part)))[::-1]
    while waiting:
        low, high = (int(edge) for edge in waiting.pop())
        own = rows.starts[low : high + 1]
        thresholds = np.full(high - low, -np.inf, np.float32)
        if len(sample) > k:
            # One more than k, since the product itself may be in the sample; first items score no more than products.
            scores = _with_kinds(rows, own[:-1], -loss) @ sample.T
            thresholds = _reached_by(scores, k + 1) - np.float32(5 * ROUNDING)
        kept = _reaching(rows, loss, low, high, thresholds)
        if kept is None:
            middle = (low + high) // 2
            waiting += [(middle, high), (low, middle)]
            continue
        bounds, items, scores = kept
        for product in range(low, high):
            mine = slice(*bounds[own[[product - low, product - low + 1]] - own[0]])
            found = _best_of_products(rows, product, items[mine], scores[mine])
            yield product, _List(*found, float(thresholds[product - low]), partial(_line_of, rows, loss, product))


def _reaching(
    rows: Rows, loss: np.ndarray, low: int, high: int, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The items that score a product's threshold with it, for products low to high − 1.

    Returns:
        int64 [m + 1] bounds of the m own rows in what follows: items (int64, ascending for each own row) and float32
        scores. None when there are too many for several products.
    """
    counts = np.diff(rows.starts[low : high + 1])
    left = _with_kinds(rows, slice(int(rows.starts[low]), int(rows.starts[high])), -loss)
    least = np.repeat(thresholds, counts)[:, None]
    tile, reached = (np.empty(len(left) * OTHERS, kind) for kind in (np.float32, bool))
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    total = 0
    for start in range(0, len(rows), OTHERS):
        right = _with_kinds(rows, slice(start, start + OTHERS), np.eye(len(loss)))
        shape = len(left), len(right)
        scores, hits = (block[: shape[0] * shape[1]].reshape(shape) for block in (tile, reached))
        np.matmul(left, right.T, out=scores)
        np.greater_equal(scores, least, out=hits)
        places = np.flatnonzero(hits)
        own, item = np.divmod(places, len(right))
        found.append((own, item + start, scores.ravel()[places]))
        total += len(places)
        if total > _KEPT and high - low > 1:
            return None
    own, items, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    # Counted in 16 bits where they fit: NumPy sorts those by radix.
    order = np.argsort(own.astype(np.uint16) if len(left) <= 1 << 16 else own, kind="stable")
    return np.searchsorted(own[order], np.arange(len(left) + 1)), items[order], scores[order]


def _line_of(rows: Rows, loss: np.ndarray, product: int) -> Candidates:
    """The candidates of one product from the scores of all others."""
    scores = _scores_of(rows, loss, product, None)
    scores[product] = -np.inf
    return _Line(scores)


def _scores_of(rows: Rows, loss: np.ndarray, product: int, others: np.ndarray | None) -> np.ndarray:
    """Scores up to ROUNDING of one product with some (ascending) or all: float32."""
    own = slice(int(rows.starts[product]), int(rows.starts[product + 1]))
    items = None if others is None else rows.items_of(others)
    return scan(rows, rows.vectors[own], rows.kinds[own], loss, items)[1]


def by_annoy(
    rows: Rows, loss: np.ndarray, k: int, search: AnnoySearch, products: Iterable[int]
) -> Iterator[tuple[int, Candidates]]:
    """Some products, in order, with those that Annoy finds near them. See `candidates` for the arguments."""
    want = max(_FIRST, ceil(2 * k * len(rows) / rows.products))

    def near(product: int) -> tuple[int, Candidates]:
        return product, _Near(rows, loss, product, _listed(rows, loss, search, product, want, search.nodes))

    return ordered_map(near, products, search.workers)


def _listed(rows: Rows, loss: np.ndarray, search: AnnoySearch, product: int, want: int, nodes: int) -> Candidates:
    """The products of the items that Annoy finds near a product's; where it would be asked for too many, all."""
    if want * _SHARE > len(rows):
        return _line_of(rows, loss, product)
    own = slice(int(rows.starts[product]), int(rows.starts[product + 1]))
    vectors, kinds = rows.vectors[own], rows.kinds[own]
    near = [search.annoy.nearest(vector, want, max(want, nodes)) for vector in vectors]
    items = np.unique(np.concatenate(near))
    scores = vectors @ rows.vectors[items].T - loss[kinds][:, rows.kinds[items]].astype(np.float32)
    # What is not returned is farther than the last that is; which kind it is of is not known.
    last = [rows.vectors[found[-1]] @ vector for found, vector in zip(near, vectors, strict=True)]
    bound = float((np.array(last) - loss[kinds].min(axis=1)).max())
    found = _best_of_products(rows, product, items, scores.max(axis=0))
    return _List(*found, bound, partial(_listed, rows, loss, search, product, 2 * want, 2 * nodes))


class _Near:
    """Candidates that Annoy finds; in a small class all members are looked at, which takes less than finding them."""

    def __init__(self, rows: Rows, loss: np.ndarray, product: int, listed: Candidates) -> None:
        self._rows, self._loss, self._product, self._listed = rows, loss, product, listed

    def best(self, k: int) -> np.ndarray:
        return self._listed.best(k)

    def best_of(self, members: np.ndarray, k: int) -> np.ndarray:
        if len(members) > _LOOKED_AT:
            return self._listed.best_of(members, k)
        scores = _scores_of(self._rows, self._loss, self._product, members)
        scores[members == self._product] = -np.inf
        found: np.ndarray = members[_survivors(scores, k)]
        return found

    def best_but(self, members: np.ndarray, k: int) -> np.ndarray:
        return self._listed.best_but(members, k)


def _by_lists(rows: Rows, loss: np.ndarray, k: int, device: Device, part: range) -> Iterator[tuple[int, Candidates]]:
    """Products with the products of the items nearest to their own, by a device."""
    if not part:
        return
    most = int(np.diff(rows.starts).max())
    # As deep as k others reach at most: all items of theirs, and the product's own, may come first.
    depth = min((k + 1) * most + 1, len(rows))
    everything = _with_kinds(rows, slice(0, len(rows)), np.eye(len(loss)))
    for low, high in pairwise(_edges(rows.starts, max(1, _CELLS // depth), part)):
        own = slice(int(rows.starts[low]), int(rows.starts[high]))
        items, scores = device.top_k(_with_kinds(rows, own, -loss), everything, depth)
        for product in range(int(low), int(high)):
            mine = slice(int(rows.starts[product]) - own.start, int(rows.starts[product + 1]) - own.start)
            bound = float(scores[mine, -1].max()) if depth < len(rows) else -np.inf
            found = _best_of_products(rows, product, items[mine].ravel(), scores[mine].ravel())
            yield product, _List(*found, bound, partial(_line_of, rows, loss, product))


def _best_of_products(rows: Rows, product: int, items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The products of some items but one, ascending, and their best scores."""
    owners = rows.product_of[items]
    others = owners != product
    owners, scores = owners[others], scores[others]
    if (owners[1:] <= owners[:-1]).any():  # else each is there once, in order
        order = np.lexsort((-scores, owners))
        owners, scores = owners[order], scores[order]
        first = np.r_[True, owners[1:] != owners[:-1]]
        owners, scores = owners[first], scores[first]
    return owners, scores


def _scores(rows: Rows, loss: np.ndarray, low: int, high: int) -> np.ndarray:
    """Scores up to ROUNDING of some products, low to high − 1, with every product: float32 [high − low, P]."""
    starts = rows.starts
    own = slice(int(starts[low]), int(starts[high]))
    left = _with_kinds(rows, own, -loss)
    groups = starts[low : high + 1] - starts[low]
    scores = np.empty((high - low, rows.products), np.float32)
    for start, end in pairwise(_edges(starts, _COLUMNS, range(rows.products))):
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


def _with_kinds(rows: Rows, part: slice | np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Vectors with columns by kind beside them, so that one matrix product gives cosine minus penalty."""
    return np.hstack([rows.vectors[part], columns[rows.kinds[part]].astype(np.float32)])


def _edges(starts: np.ndarray, most: int, part: range) -> np.ndarray:
    """Product positions that cut the rows of a part into pieces of at most `most` (one product may be larger)."""
    edges = [part.start]
    while edges[-1] < part.stop:
        at = edges[-1]
        reach = int(np.searchsorted(starts, starts[at] + most, side="right")) - 1
        edges.append(min(max(reach, at + 1), part.stop))
    return np.array(edges, np.int64)


def _bounded(edges: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds of the pieces, cut again so that none spans more than `most` products."""
    lows = [np.arange(low, high, most) for low, high in pairwise(edges)]
    flat = np.concatenate(lows) if lows else np.zeros(0, np.int64)
    return flat, np.append(flat[1:], edges[-1]) if len(flat) else flat
