"""Cells: the items of an index by neighbourhood, so that a filtered search reads those near the query and no others.

Annoy cannot filter: it gives the nearest of all items, and whether enough of them pass is luck. A cell knows all of its
items, so those that pass are read cell by cell, the most promising first, until no cell promises anything better than
what was found. What a cell promises is an estimate: the cosine that an item as far from the cell's centre as its items
are on average has with the query, where it lies a *share* of the way from beside the centre to right before the query.
The share is measured (`vetrina.index.cell_tuning`). Centres are found by k-means with cosines (Dhillon and Modha 2001,
"Concept decompositions for large sparse text data using clustering"), a few rounds over a sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vetrina.errors import IndexDamaged
from vetrina.index.projection import unit_rows
from vetrina.index.rows import runs

_PER_ROOT, _MOST = 2, 8192
_SAMPLE, _ROUNDS = 32, 3
_ROWS = 4096  # of a block: BLAS rounds the edge rows of other shapes differently


@dataclass(frozen=True, slots=True)
class Cells:
    """The neighbourhoods of n items; c of them.

    Attributes:
        centres: float32 [c, d] unit rows.
        nearness: float32 [c], mean cosine of a cell's items to its centre; 1 for an empty cell.
        cell_of: uint16 [n], the cell of each item.
    """

    centres: np.ndarray
    nearness: np.ndarray
    cell_of: np.ndarray

    def promises(self, query: np.ndarray, share: float) -> np.ndarray:
        """The cosine that each cell promises for each query row: float32 [m, c].

        Args:
            query: float32 [m, d] unit rows.
            share: 0 for items beside the centre, 1 for items right before the query.
        """
        cosines = np.minimum(query @ self.centres.T, np.float32(1.0))
        aside = np.sqrt(1.0 - np.square(self.nearness)) * np.float32(share)
        cosines_aside = np.sqrt(np.maximum(1.0 - np.square(cosines), 0.0))
        promised: np.ndarray = cosines * self.nearness + cosines_aside * aside
        return promised

    def save(self, file: Path) -> None:
        """Write as .npz without pickle; the same bytes for the same cells."""
        np.savez(file, centres=self.centres, nearness=self.nearness, cell_of=self.cell_of)

    @staticmethod
    def load(file: Path, items: int, dims: int) -> Cells:
        """Read what `save` wrote. Raises IndexDamaged when it is not of so many items and dimensions."""
        try:
            with np.load(file, allow_pickle=False) as data:
                cells = Cells(data["centres"], data["nearness"], data["cell_of"])
        except (OSError, ValueError, KeyError) as error:
            raise IndexDamaged(f"The cells {file.name} cannot be read: {error}") from error
        count = len(cells.centres)
        shapes = cells.centres.shape, cells.nearness.shape, cells.cell_of.shape
        if shapes != ((count, dims), (count,), (items,)) or int(cells.cell_of.max()) >= count:
            raise IndexDamaged(f"The cells {file.name} are of other items than the index holds")
        return cells


def build_cells(vectors: np.ndarray, seed: int) -> Cells:
    """The cells of some items.

    Args:
        vectors: float32 [n, d] unit rows, n ≥ 1; may be a memory map.
    """
    rng = np.random.default_rng(seed)
    count = min(_MOST, len(vectors), math.isqrt(_PER_ROOT**2 * len(vectors)))
    sample = vectors[np.sort(rng.choice(len(vectors), min(len(vectors), _SAMPLE * count), replace=False))]
    centres = sample[rng.choice(len(sample), count, replace=False)]
    for _ in range(_ROUNDS):
        nearest, _ = _assigned(sample, centres)
        order = np.argsort(nearest, kind="stable")
        used, first = np.unique(nearest[order], return_index=True)
        sums = np.add.reduceat(sample[order].astype(np.float64), first)
        # Opposite items have no middle; such a cell stays where it was.
        has_middle = np.linalg.norm(sums, axis=1) > 1e-6
        centres[used[has_middle]] = unit_rows(sums[has_middle]).astype(np.float32)
    cell_of, cosines = _assigned(vectors, centres)
    sizes = np.bincount(cell_of, minlength=count)
    nearness = np.bincount(cell_of, cosines, minlength=count) / np.maximum(sizes, 1)
    nearness[sizes == 0] = 1.0
    return Cells(centres, np.clip(nearness, 0.0, 1.0).astype(np.float32), cell_of)


def _assigned(vectors: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centre of each row, the first of equals, and its cosine: uint16 [n], float32 [n]."""
    nearest = np.empty(len(vectors), np.uint16)
    cosines = np.empty(len(vectors), np.float32)
    block = np.zeros((_ROWS, vectors.shape[1]), np.float32)
    across = np.arange(_ROWS)
    for start in range(0, len(vectors), _ROWS):
        part = vectors[start : start + _ROWS]
        block[: len(part)] = part
        scores = block @ centres.T
        best = scores.argmax(axis=1)
        nearest[start : start + _ROWS] = best[: len(part)]
        cosines[start : start + _ROWS] = scores[across, best][: len(part)]
    return nearest, cosines


@dataclass(frozen=True, slots=True)
class Grouping:
    """Some of the items, cell by cell.

    Attributes:
        rows: int32, those of a cell together and ascending.
        bounds: int64 [c + 1]; cell i has rows bounds[i]..bounds[i + 1] - 1.
        products: how many products own them.
    """

    rows: np.ndarray
    bounds: np.ndarray
    products: int

    def items_in(self, cells: np.ndarray) -> np.ndarray:
        """The rows in some cells: int64, ascending."""
        return np.sort(self.rows[runs(self.bounds[cells], self.bounds[cells + 1])]).astype(np.int64)


def grouped(cells: Cells, items: np.ndarray, product_of: np.ndarray) -> Grouping:
    """Items by cell.

    Args:
        items: int64, ascending.
        product_of: int64 [n], the product of every item of the index.
    """
    codes = cells.cell_of[items]
    # Codes of 16 bits are sorted by radix.
    rows = items[np.argsort(codes, kind="stable")].astype(np.int32)
    bounds = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(cells.centres)))])
    products = int(np.count_nonzero(np.diff(product_of[items]))) + 1 if len(items) else 0
    return Grouping(rows, bounds, products)
