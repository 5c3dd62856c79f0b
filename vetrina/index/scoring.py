"""Scores of products against a query: a fast scan to find the candidates, then exact scores of those.

A product's score is its best (query row, item) pair: cosine minus the pair's penalty. The scan uses float32 BLAS,
whose last bits depend on where a row lies; the final score is a float64 sum per row, the same for the same two
vectors wherever they lie (index, tail, any block), so equal pictures have equal scores and ties can be broken by id.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vetrina.index.rows import Rows

ROUNDING = 2e-5  # more than a float32 dot product of unit vectors can be off
_CELLS = 1 << 22  # numbers held at once by exact scoring: 32 MB of float64
BLOCK_CELLS = 1 << 18  # of a scanned block: 1 MB, stays in the cache from one query row to the next


@dataclass(frozen=True, slots=True)
class Pairs:
    """The best pair of each product: int64 [p] positions and rows, float64 [p] scores."""

    products: np.ndarray
    scores: np.ndarray
    cosines: np.ndarray
    query_rows: np.ndarray
    items: np.ndarray


def scan(
    rows: Rows, query: np.ndarray, kinds: np.ndarray, penalties: np.ndarray, items: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all products, up to ROUNDING.

    Args:
        query: float32 [m, d] unit rows in index space; kinds: uint8 [m].
        penalties: float64 [query kind, item kind].
        items: only these rows count (ascending); `None` means all.

    Returns:
        positions int64 [p] ascending, and scores float32 [p].
    """
    count = len(rows) if items is None else len(items)
    best = np.full(count, -np.inf, np.float32)
    # [item kind, query row]: what each pair loses.
    loss = penalties.T[:, kinds].astype(np.float32)
    size = max(1, BLOCK_CELLS // query.shape[1])
    picked = np.empty((size, query.shape[1]), np.float32)
    for start in range(0, count, size):
        part = slice(start, start + size)
        where: slice | np.ndarray
        if items is None:
            where, vectors = part, rows.vectors[part]
        else:
            where = items[part]
            # Rows are in range, and "clip" writes them where they are wanted without a copy.
            vectors = np.take(rows.vectors, where, axis=0, out=picked[: len(where)], mode="clip")
        codes = rows.kinds[where]
        # One row at a time: a matrix with a few columns keeps BLAS threads waiting for each other.
        for at, row in enumerate(query):
            scores = vectors @ row
            if loss[:, at].any():
                scores -= loss[codes, at]
            np.maximum(best[part], scores, out=best[part])
    if items is None:
        products, first = np.arange(rows.products), rows.starts[:-1]
    else:
        owners = rows.product_of[items]
        first = np.flatnonzero(_changes(owners))
        products = owners[first]
    return products, np.maximum.reduceat(best, first) if count else best


def best_pairs(rows: Rows, items: np.ndarray, query: np.ndarray, kinds: np.ndarray, penalties: np.ndarray) -> Pairs:
    """Exact best pair of every product that owns one of the items.

    Among equal pairs the first item wins, then the first query row.

    Args:
        items: int64, rows grouped by product.
    """
    size = max(1, _CELLS // query.shape[1])
    starts = range(0, len(items), size) if len(items) > size else (0,)
    blocks = [_best_rows(rows, items[start : start + size], query, kinds, penalties) for start in starts]
    scores, cosines, query_rows = blocks[0] if len(blocks) == 1 else map(np.concatenate, zip(*blocks, strict=True))
    owners = rows.products_of(items)
    new = _changes(owners)
    (first,) = new.nonzero()
    if len(first) == len(items):
        return Pairs(owners, scores, cosines, query_rows, items)
    group = np.cumsum(new) - 1
    top = np.maximum.reduceat(scores, first)
    hits = np.flatnonzero(scores == top[group])
    winners = hits[np.unique(group[hits], return_index=True)[1]]
    return Pairs(owners[winners], top, cosines[winners], query_rows[winners], items[winners])


def _best_rows(
    rows: Rows, items: np.ndarray, query: np.ndarray, kinds: np.ndarray, penalties: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, cosine and place of the query row that fits each item best, the first of equals.

    In few operations: after Annoy, which leaves nothing in the processor's caches, each one costs microseconds.
    """
    vectors = rows.vectors[items].astype(np.float64)
    codes = rows.kinds[items]
    scores = cosines = query_rows = np.zeros(0)
    for at, (row, kind) in enumerate(zip(query.astype(np.float64), kinds.tolist(), strict=True)):
        cosine = np.add.reduce(vectors * row, axis=1)
        np.minimum(cosine, 1.0, out=cosine)
        np.maximum(cosine, -1.0, out=cosine)
        score = cosine - penalties[kind][codes]
        if at == 0:
            scores, cosines, query_rows = score, cosine, np.zeros(len(items), np.int64)
            continue
        better = score > scores
        np.copyto(scores, score, where=better)
        np.copyto(cosines, cosine, where=better)
        np.copyto(query_rows, at, where=better)
    return scores, cosines, query_rows


def best_of_each(owners: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each owner once, ascending, and the best of its scores."""
    order = np.argsort(owners, kind="stable")
    owners, scores = owners[order], scores[order]
    if not len(owners):
        return owners, scores
    first = np.flatnonzero(_changes(owners))
    return owners[first], np.maximum.reduceat(scores, first)


def _changes(owners: np.ndarray) -> np.ndarray:
    """Where a run of equal values starts: bool, as long as `owners`."""
    new = np.empty(len(owners), bool)
    new[:1] = True
    np.not_equal(owners[1:], owners[:-1], out=new[1:])
    return new


def among(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which values are known: bool, as long as `values`. As `np.isin`, for `known` ascending and each once."""
    if not len(known):
        return np.zeros(len(values), bool)
    places = np.searchsorted(known, values)
    return known[np.minimum(places, len(known) - 1)] == values


def at_least_kth(scores: np.ndarray, k: int) -> float:
    """A threshold that the k best and all that might tie with them reach; −inf when there are at most k."""
    if len(scores) <= k:
        return -np.inf
    return float(np.partition(scores, len(scores) - k)[len(scores) - k]) - 2 * ROUNDING
