"""Locality-sensitive hashing with p-stable projections: Datar, Immorlica, Indyk, Mirrokni, SoCG 2004.

A table gives each vector a bucket: h whole numbers floor((a · x + b) / w), with a from the normal distribution (stable
for Euclidean distance) and b even in [0, w). Near vectors share a bucket more often than far ones; g tables give near
ones g chances. The items in the query's g buckets are compared with it exactly. The width w is a distance: it must suit
how far apart neighbours are. Among unit vectors Euclidean distance and cosine put the same items first, so one scheme
serves both.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from vetrina.errors import IndexDamaged, SettingError
from vetrina.index.kinds.interface import Kind, Parameters, nearest_of

_DIRECTIONS, _OFFSETS, _MIXERS, _KEYS, _ROWS = (
    f"{name}.npy" for name in ("directions", "offsets", "mixers", "keys", "rows")
)
_TABLE_BITS = 8  # of a 64-bit key say the table; the others are a hash of the bucket's whole numbers
_BLOCK = 1 << 11


class LshKind(Kind):
    """g tables of h projections with width w; `tables` may be lowered per query, to the first so many."""

    name = "lsh"
    defaults: ClassVar[Parameters] = {"tables": 128, "projections": 12, "width": 2.0, "seed": 17}
    effort_name = "tables"

    def __init__(self, folder: Path, vectors: np.ndarray, metric: str, parameters: Parameters) -> None:
        super().__init__(folder, vectors, metric, parameters)
        tables, projections = int(parameters["tables"]), int(parameters["projections"])
        self._width = float(parameters["width"])
        shapes = {
            _DIRECTIONS: (self.dims, tables * projections),
            _OFFSETS: (tables * projections,),
            _MIXERS: (tables, projections),
            _KEYS: (tables * self.items,),
            _ROWS: (tables * self.items,),
        }
        parts = {}
        for name, shape in shapes.items():
            # A plain view: np.memmap makes every index operation a slow Python call.
            parts[name] = np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False))
            if parts[name].shape != shape:
                raise IndexDamaged(
                    f"The LSH file {folder / name} has shape {parts[name].shape} where {shape} is expected"
                )
        self._directions, self._offsets, self._mixers, self._keys, self._rows = parts.values()

    @classmethod
    def write(cls, vectors: np.ndarray, folder: Path, metric: str, parameters: Parameters) -> None:
        """As `Kind.write`. All tables are one array of keys, sorted, and the row of each key."""
        tables, projections = int(parameters["tables"]), int(parameters["projections"])
        if tables > 1 << _TABLE_BITS:
            raise SettingError(f"tables is {tables}; LSH takes at most {1 << _TABLE_BITS}")
        width = float(parameters["width"])
        rng = np.random.default_rng(int(parameters["seed"]))
        count, dims = vectors.shape
        directions = rng.standard_normal((dims, tables * projections)).astype(np.float32)
        offsets = (rng.random(tables * projections) * width).astype(np.float32)
        # Odd multipliers: multiply-shift hashing, Dietzfelbinger et al. 1997.
        mixers = rng.integers(1 << 63, size=(tables, projections), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        keys = np.empty((tables, count), np.uint64)
        for start in range(0, count, _BLOCK):
            part = slice(start, start + _BLOCK)
            keys[:, part] = _keys(vectors[part] @ directions, offsets, mixers, width).T
        rows = np.empty((tables, count), np.int32)
        for table in range(tables):
            rows[table] = np.argsort(keys[table], kind="stable")
            keys[table] = keys[table][rows[table]]
        # The table stands in the key's upper bits, so the tables one after another are sorted as a whole.
        for name, array in (
            (_DIRECTIONS, directions),
            (_OFFSETS, offsets),
            (_MIXERS, mixers),
            (_KEYS, keys.ravel()),
            (_ROWS, rows.ravel()),
        ):
            np.save(folder / name, array, allow_pickle=False)

    def _candidates(self, vector: np.ndarray, tables: int) -> np.ndarray:
        """Rows that share a bucket with the query in one of the first tables, ascending: int64."""
        hashes = self._mixers.shape[1] * tables
        projected = vector @ self._directions[:, :hashes]
        keys = _keys(projected[None], self._offsets[:hashes], self._mixers[:tables], self._width)[0]
        lows = np.searchsorted(self._keys, keys, "left")
        highs = np.searchsorted(self._keys, keys, "right")
        shared = np.zeros(self.items, bool)
        for low, high in zip(lows, highs, strict=True):
            shared[self._rows[low:high]] = True
        return np.flatnonzero(shared)

    def _search(self, vector: np.ndarray, k: int, effort: int) -> np.ndarray:
        return nearest_of(self.vectors, self._candidates(vector, effort), vector, self.metric, k)

    def _count(self, vector: np.ndarray, k: int, effort: int) -> int:
        return len(self._candidates(vector, effort))

    @property
    def most_effort(self) -> int:
        """As `Kind.most_effort`: all tables."""
        return len(self._mixers)

    def _effort(self, k: int, effort: int | None) -> int:
        tables = super()._effort(k, effort)
        if tables > self.most_effort:
            raise SettingError(f"The effort is {tables}; this index has {self.most_effort} tables")
        return tables


def _keys(projected: np.ndarray, offsets: np.ndarray, mixers: np.ndarray, width: float) -> np.ndarray:
    """The key of each vector in each table: uint64 [n, tables], from its projections, float32 [n, tables · h]."""
    tables, projections = mixers.shape
    cells = np.floor((projected + offsets) / np.float32(width)).astype(np.int64).view(np.uint64)
    mixed = (cells.reshape(-1, tables, projections) * mixers).sum(axis=2, dtype=np.uint64)
    table = np.arange(tables, dtype=np.uint64) << np.uint64(64 - _TABLE_BITS)
    return (mixed >> np.uint64(_TABLE_BITS)) | table
