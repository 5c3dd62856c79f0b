"""The Annoy file: built reproducibly, opened only when it is what the manifest says and finds its own items.

Annoy opens a truncated file, answers from an index that was never loaded, and takes NaN; none of it is an error
there, so it is checked here.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import annoy
import numpy as np

from vetrina.errors import IndexDamaged, SettingError, StoreError

_CHECKS = 16


def build_file(vectors: np.ndarray, file: Path, *, trees: int, seed: int) -> None:
    """Write an angular Annoy file; the same bytes for the same input.

    Args:
        vectors: float32 [n, d], n ≥ 1, finite; may be a memory map. Item i of the file is row i.

    Raises:
        StoreError: the disk refuses.
    """
    _check_room(file, len(vectors), vectors.shape[1], trees)
    index = annoy.AnnoyIndex(vectors.shape[1], "angular")
    index.set_seed(seed)
    try:
        index.on_disk_build(str(file))
        for row, vector in enumerate(vectors):
            index.add_item(row, vector)
        # One thread: with more, the same seed gives other bytes.
        index.build(trees, n_jobs=1)
    except OSError as error:
        raise StoreError(f"The Annoy file {file} cannot be written: {error}") from error
    finally:
        index.unload()


def _check_room(file: Path, items: int, dims: int, trees: int) -> None:
    """Refuse to begin what the disk cannot hold: Annoy writes through a map, and a full disk then kills the process.

    The size is an estimate from how Annoy lays out its nodes; another process may still fill the disk meanwhile.
    """
    nodes = items + trees * (3.5 * items / (dims + 2) + 2)  # each tree's root is there twice
    needed = int((12 + 4 * dims) * nodes)
    free = shutil.disk_usage(file.parent).free
    if needed > free:
        raise StoreError(
            f"The index takes about {needed / 1e6:,.1f} MB while it is built, and {file.parent} has "
            f"{free / 1e6:,.1f} MB free; free some room, then run the same again"
        )


class AnnoyFile:
    """An opened Annoy file.

    Args:
        items: how many items it must hold.
        vectors: float32 [n, d], the vectors it was built from.

    Raises:
        IndexDamaged: the file cannot be opened, holds another number of items, or fails to find its own items.
    """

    def __init__(self, file: Path, vectors: np.ndarray) -> None:
        self.items, self.dims = vectors.shape
        self._index: Any = annoy.AnnoyIndex(self.dims, "angular")
        try:
            self._index.load(str(file))
        except OSError as error:
            raise IndexDamaged(f"The Annoy file {file.name} cannot be opened: {error}") from error
        found = self._index.get_n_items()
        if found != self.items:
            self.close()
            raise IndexDamaged(f"The Annoy file {file.name} holds {found} items where {self.items} are expected")
        self._self_test(vectors, file.name)

    def _self_test(self, vectors: np.ndarray, name: str) -> None:
        want = min(10, self.items)
        for row in np.unique(np.linspace(0, self.items - 1, _CHECKS).astype(int)):
            vector = np.asarray(vectors[row])
            rows = self.nearest(vector, want, max(1000, 20 * want))
            best = float((vectors[rows] @ vector).max()) if len(rows) else -1.0
            if len(rows) < want or best < 1.0 - 1e-4:
                self.close()
                raise IndexDamaged(
                    f"The Annoy file {name} does not find its own item {row} ({len(rows)} of {want} neighbours); "
                    "rebuild the index, and reinstall annoy if that does not help"
                )

    def nearest(self, vector: np.ndarray, count: int, search_k: int) -> np.ndarray:
        """Rows of about the `count` nearest items, nearest first: int64, at most `count`.

        Raises:
            SettingError: the vector is not finite or has other dimensions than the index.
            IndexDamaged: the file was closed.
        """
        if self._index is None:
            raise IndexDamaged("The Annoy file is closed; open the index again")
        if vector.shape != (self.dims,) or not np.isfinite(vector).all():
            raise SettingError(f"An Annoy query must be {self.dims} finite numbers, not shape {vector.shape}")
        return np.array(self._index.get_nns_by_vector(vector, count, search_k), np.int64)

    def inspected(self, vector: np.ndarray, search_k: int) -> int:
        """How many items Annoy compares with a vector: none that it meets is cut off. Raises as `nearest`."""
        return len(self.nearest(vector, self.items, search_k))

    def close(self) -> None:
        """Unmap the file; later queries raise."""
        if self._index is not None:
            self._index.unload()
            self._index = None
