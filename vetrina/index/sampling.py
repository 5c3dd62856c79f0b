"""Samples of the items: for the recall of an index, of every label and from outside; and while a stream is read."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from vetrina.index.rows import Block
from vetrina.index.settings import KINDS

_FARTHEST = 0.5  # beyond, the other item is the nearer one
_TINY = 1e-6


class Sample:
    """Vectors of some items: those with the smallest hashes, so in whatever order they come.

    Args:
        most: how many.
        kinds: only items of these.

    Attributes:
        vectors: float32 [n, D], n up to `most`, ascending by hash.
    """

    def __init__(self, most: int, kinds: Collection[str] = KINDS) -> None:
        self.vectors = np.zeros((0, 0), np.float32)
        self._most, self._kinds = most, kinds
        self._hashes = np.zeros(0, np.uint64)

    def add(self, block: Block) -> None:
        """Take in a block of items."""
        chosen = np.array([kind in self._kinds for kind in block.meta["kind"].to_pylist()], bool)
        hashes = np.concatenate([self._hashes, block.hashes[chosen]])
        kept = np.argsort(hashes, kind="stable")[: self._most]
        own = self.vectors.reshape(-1, block.vectors.shape[1])
        self.vectors = np.concatenate([own, block.vectors[chosen]])[kept]
        self._hashes = hashes[kept]


def stratified(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows in which each label has its share of all rows: int64 [min(count, n)], ascending, each once.

    Shares are rounded by the largest remainder, so the mean over the sample is still that over the rows, with less
    chance in it than a plain draw has.

    Args:
        labels: int [n], code of each row's label.
    """
    total = len(labels)
    count = min(count, total)
    _, group, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    shares = sizes * (count / total)
    taken = np.floor(shares + 1e-9).astype(np.int64)
    # Equal remainders are settled for the larger label, then for the first.
    order = np.lexsort((np.arange(len(sizes)), -sizes, -(shares - taken)))
    taken[order[: count - int(taken.sum())]] += 1
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    return np.sort(
        np.concatenate([rng.choice(rows, number, replace=False) for rows, number in zip(members, taken, strict=True)])
    )


def from_outside(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors that no item has, as photos from elsewhere are: float32 [count, d] unit rows.

    Each lies on the way from one item to another one drawn at random, at most half of it: from a new photo of
    a product (cosine 1 to it) to one that shows something between two (cosine 0.7 to both, where they are at right
    angles). Items held out of the file would be the other way; they need a second build, and an item of a catalog is
    as near to the others as the indexed ones are, while the photos of strangers are farther.

    Args:
        vectors: float32 [n, d] unit rows, n ≥ 1.
    """
    starts, others = rng.integers(len(vectors), size=(2, count))
    way = rng.uniform(0.0, _FARTHEST, (count, 1))
    origin = vectors[starts].astype(np.float64)
    between = (1.0 - way) * origin + way * vectors[others]
    lengths = np.linalg.norm(between, axis=1, keepdims=True)
    # Opposite items have nothing between them.
    return np.where(lengths > _TINY, between / np.maximum(lengths, _TINY), origin).astype(np.float32)
