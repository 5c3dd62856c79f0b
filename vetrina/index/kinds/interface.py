"""What every kind of index can do, and the checks that are the same for all."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from vetrina.errors import SettingError, StoreError
from vetrina.index.scoring import BLOCK_CELLS

COSINE, EUCLIDEAN = "cosine", "euclidean"
METRICS = (COSINE, EUCLIDEAN)
Parameters = Mapping[str, int | float]
_UNIT = 1e-3  # how far the length of a unit row may be off


class Kind(ABC):
    """An opened index of one kind over n vectors of d numbers. Not safe for use by several threads.

    Args:
        folder: where `write` wrote; its checksums are compared by `open_kind` before.
        vectors: float32 [n, d], those it was built from; row i is item i.
        metric: "cosine" or "euclidean".
        parameters: those it was built with.

    Attributes:
        name: of the kind.
        defaults: its parameters and their defaults; a whole number or a float, all above 0.
        effort_name: the parameter that `effort` stands for; `None` where a search has nothing to choose.
        libraries: distributions that write its files.
    """

    name: ClassVar[str]
    defaults: ClassVar[Parameters]
    effort_name: ClassVar[str | None]
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)

    def __init__(self, folder: Path, vectors: np.ndarray, metric: str, parameters: Parameters) -> None:
        self.vectors = vectors
        self.items, self.dims = vectors.shape
        self.metric = metric
        self.parameters = parameters

    @classmethod
    @abstractmethod
    def write(cls, vectors: np.ndarray, folder: Path, metric: str, parameters: Parameters) -> None:
        """Write the files of this kind into a folder; the same bytes for the same input.

        Raises:
            SettingError: a library that it needs is not installed.
            OSError: the disk refuses.
        """

    @abstractmethod
    def _search(self, vector: np.ndarray, k: int, effort: int) -> np.ndarray:
        """As `nearest`, for a checked query and k below n."""

    @abstractmethod
    def _count(self, vector: np.ndarray, k: int, effort: int) -> int:
        """As `visited`, for a checked query and k below n."""

    def nearest(self, vector: np.ndarray, k: int, effort: int | None = None) -> np.ndarray:
        """Rows of the k nearest items, nearest first: int64.

        All items when k is n or more. An approximate kind may miss some, and `lsh` returns fewer than k where
        fewer lie in the buckets of the query.

        Args:
            vector: float32 [d], finite; not zero under cosine, where its length does not count.
            k: at least 1.
            effort: how much to search, in place of the parameter `effort_name`.

        Raises:
            SettingError: a vector, k or effort that cannot be used.
        """
        vector = self._query(vector)
        effort = self._effort(k, effort)
        if k >= self.items:
            return scan(self.vectors, vector, self.metric, self.items)
        return self._search(vector, k, effort)

    def visited(self, vector: np.ndarray, k: int, effort: int | None = None) -> int:
        """How many items the same search compares with the query; a second search, so that `nearest` need not count.

        Raises:
            SettingError: as `nearest`.
        """
        vector = self._query(vector)
        effort = self._effort(k, effort)
        return self.items if k >= self.items else self._count(vector, k, effort)

    @property
    def most_effort(self) -> int:
        """The effort beyond which searching more finds nothing more, or no sooner than reading everything."""
        return self.items if self.effort_name else 1

    def _query(self, vector: np.ndarray) -> np.ndarray:
        vector = np.asarray(vector, np.float32)
        if vector.shape != (self.dims,):
            raise SettingError(f"The query has shape {vector.shape}; this index needs {self.dims} numbers")
        if not np.isfinite(vector).all():
            raise SettingError("The query has a number that is not finite; embed the picture again")
        if self.metric == EUCLIDEAN:
            return vector
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if length < 1e-9:
            raise SettingError("The query is zero, which has no direction; embed the picture again")
        return vector if abs(length - 1.0) < 1e-6 else (vector / length).astype(np.float32)

    def _effort(self, k: int, effort: int | None) -> int:
        if k < 1:
            raise SettingError(f"The number of neighbours is {k}; it must be at least 1")
        if effort is not None and effort < 1:
            raise SettingError(f"The effort is {effort}; it must be at least 1")
        if self.effort_name is None:
            return 0
        return int(self.parameters[self.effort_name]) if effort is None else effort


def complete(kind: type[Kind], given: Parameters) -> dict[str, int | float]:
    """The parameters of a kind, those not given by their defaults. Raises SettingError for one that cannot be used."""
    if unknown := sorted(set(given) - set(kind.defaults)):
        known = ", ".join(kind.defaults) or "none"
        raise SettingError(f"The index kind {kind.name} has no parameter {unknown[0]!r}; it has {known}")
    for name, value in given.items():
        whole = isinstance(kind.defaults[name], int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise SettingError(f"{name} is {value!r}; it must be a {'whole ' if whole else ''}number")
        if not (math.isfinite(value) and value > 0):
            raise SettingError(f"{name} is {value}; it must be above 0")
    return {**kind.defaults, **given}


def check_rows(vectors: np.ndarray, metric: str) -> None:
    """Raise SettingError for an unknown metric, StoreError for vectors that cannot be indexed under it."""
    if metric not in METRICS:
        raise SettingError(f"There is no metric {metric!r}; use one of {', '.join(METRICS)}")
    if vectors.ndim != 2 or 0 in vectors.shape or vectors.dtype != np.float32:
        raise StoreError(
            f"Vectors of shape {vectors.shape} and type {vectors.dtype} cannot be indexed; give float32 rows"
        )
    size = _block(vectors)
    for start in range(0, len(vectors), size):
        lengths = np.linalg.norm(vectors[start : start + size].astype(np.float64), axis=1)
        # Not a number is not near 1 either.
        good = np.isfinite(lengths) if metric == EUCLIDEAN else np.abs(lengths - 1.0) < _UNIT
        if not good.all():
            row = start + int(np.flatnonzero(~good)[0])
            raise StoreError(
                f"The vector in row {row} has length {lengths[row - start]:.4g}; "
                + ("it must be finite" if metric == EUCLIDEAN else "cosine needs finite rows of length 1")
            )


def scan(vectors: np.ndarray, query: np.ndarray, metric: str, k: int) -> np.ndarray:
    """Rows of the k nearest vectors by reading all of them in blocks, equal ones by the lower row: int64.

    Args:
        vectors: float32 [n, d], n ≥ 1. query: float32 [d]. k: at least 1; cut to n.
    """
    size = _block(vectors)
    starts = range(0, len(vectors), size)
    far = np.concatenate([_distances(vectors[start : start + size], query, metric) for start in starts])
    return _first(far, k)


def nearest_of(vectors: np.ndarray, rows: np.ndarray, query: np.ndarray, metric: str, k: int) -> np.ndarray:
    """The k of some rows (int64, ascending) that are nearest to the query, nearest first."""
    return rows[_first(_distances(vectors[rows], query, metric), k)] if len(rows) else rows


def _distances(vectors: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """What orders vectors by distance: float32 [n], minus the cosine or the square of the Euclidean distance."""
    if metric == COSINE:
        return -(vectors @ query)
    apart = vectors - query
    squares: np.ndarray = np.einsum("ij,ij->i", apart, apart)
    return squares


def _first(far: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k smallest, smallest first, equal ones in their order."""
    # All that reach the k-th, so that a stable sort keeps the order among equals.
    kth = np.partition(far, k - 1)[k - 1] if k < len(far) else np.inf
    kept = np.flatnonzero(far <= kth)
    return kept[np.argsort(far[kept], kind="stable")[:k]]


def _block(vectors: np.ndarray) -> int:
    return max(1, BLOCK_CELLS // vectors.shape[1])
