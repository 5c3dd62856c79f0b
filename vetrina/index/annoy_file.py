"""The Annoy file: built reproducibly, opened only when it is what the manifest says and finds its own items.

Annoy opens a truncated file, answers from an index that was never loaded, and takes NaN; none of it is an error
there, so it is checked here.
"""

from __future__ import annotations

import math
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import annoy
import numpy as np

from vetrina.errors import BrokenLibrary, IndexDamaged, SettingError, StoreError

Metric = Literal["angular", "euclidean"]
_CHECKS, _DEEPER = 16, 16
_MOST_NODES = 1 << 24
_APART = 0.0142  # more than two unit vectors are apart whose cosine is 1 − 1e-4


@lru_cache(maxsize=1)
def check_annoy() -> None:
    """Compare the installed Annoy with exact search over some vectors; once in a process, in about a millisecond.

    Some compilers have made an Annoy that builds and loads as it should and finds one neighbour, or wrong ones.

    Raises:
        BrokenLibrary: it does not find the true neighbours.
    """
    rng = np.random.default_rng(17)
    vectors = rng.standard_normal((64, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = annoy.AnnoyIndex(8, "angular")
    index.set_seed(17)
    for row, vector in enumerate(vectors):
        index.add_item(row, vector)
    index.build(10, n_jobs=1)
    wrong = 0
    for vector in vectors:
        cosines = vectors @ vector
        # So much search that no item is left out: what is missing or out of order is a fault, not an approximation.
        found = cosines[index.get_nns_by_vector(vector, 10, 1 << 16)]
        true = np.sort(cosines)[:-11:-1]
        wrong += len(found) != len(true) or not np.allclose(found, true, atol=1e-5)
    if wrong:
        raise BrokenLibrary(
            f"The installed annoy gives wrong neighbours for {wrong} of {len(vectors)} test vectors; build it again "
            "for this machine with another compiler or plainer options: "
            "ANNOY_COMPILER_ARGS=-O2,-std=c++14 pip install --force-reinstall --no-cache-dir --no-binary annoy annoy"
        )


def build_file(vectors: np.ndarray, file: Path, *, trees: int, seed: int, metric: Metric = "angular") -> None:
    """Write an Annoy file; the same bytes for the same input.

    Args:
        vectors: float32 [n, d], n ≥ 1, finite; may be a memory map. Item i of the file is row i.
        metric: "angular" or "euclidean".

    Raises:
        BrokenLibrary: the installed Annoy gives wrong neighbours.
        StoreError: the disk refuses.
    """
    check_annoy()
    _check_room(file, len(vectors), vectors.shape[1], trees)
    index = annoy.AnnoyIndex(vectors.shape[1], metric)
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
        metric: the one it was built for.

    Raises:
        BrokenLibrary: the installed Annoy gives wrong neighbours.
        IndexDamaged: the file cannot be opened, holds another number of items, or fails to find its own items.
    """

    def __init__(self, file: Path, vectors: np.ndarray, metric: Metric = "angular") -> None:
        check_annoy()
        self.items, self.dims = vectors.shape
        self._index: Any = annoy.AnnoyIndex(self.dims, metric)
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
        most = min(2 * self.items * (self._index.get_n_trees() + 1), _MOST_NODES)
        for row in np.unique(np.linspace(0, self.items - 1, _CHECKS).astype(int)):
            vector = np.asarray(vectors[row])
            nodes = max(1000, 20 * want)
            rows = self.nearest(vector, want, nodes)
            # Many trees can give the same few items over and over, and trees cannot part equal items, so that others
            # lie scattered among thousands of them; asked for all that the trees hold, none is left out.
            while nodes < most and not _holds(rows, vectors, vector, want):
                nodes = min(_DEEPER * nodes, most)
                rows = self.nearest(vector, want, nodes)
            if not _holds(rows, vectors, vector, want):
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
        # Annoy takes Python's numbers out of a list in a tenth of the time that it takes NumPy's out of an array.
        values = vector.tolist()
        if vector.shape != (self.dims,) or not math.isfinite(sum(values)):
            raise SettingError(f"An Annoy query must be {self.dims} finite numbers, not shape {vector.shape}")
        return np.array(self._index.get_nns_by_vector(values, count, search_k), np.int64)

    def inspected(self, vector: np.ndarray, search_k: int) -> int:
        """How many items Annoy compares with a vector: none that it meets is cut off. Raises as `nearest`."""
        return len(self.nearest(vector, self.items, search_k))

    def close(self) -> None:
        """Unmap the file; later queries raise."""
        if self._index is not None:
            self._index.unload()
            self._index = None


def _holds(rows: np.ndarray, vectors: np.ndarray, vector: np.ndarray, want: int) -> bool:
    """Whether as many rows were found as are wanted, the vector's own or one as near among them."""
    if len(rows) < want:
        return False
    apart = np.linalg.norm(vectors[rows] - vector, axis=1)
    return bool(apart.min() <= _APART * np.linalg.norm(vector))
