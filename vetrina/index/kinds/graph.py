"""A graph index by USearch, which is an optional extra.

A navigable small-world graph (Malkov, Yashunin 2018). Of the kept libraries that have one and come as wheels, faiss is
the other; USearch counts what each single search compares, and brings no OpenMP to stand beside TensorFlow's threads.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vetrina.errors import IndexDamaged, SettingError
from vetrina.index.kinds.interface import COSINE, EUCLIDEAN, Kind, Parameters

_FILE = "graph.usearch"
_METRICS = {COSINE: "ip", EUCLIDEAN: "l2sq"}
_BLOCK = 1 << 14


class GraphKind(Kind):
    """A navigable small-world graph: `connectivity` edges an item, `expansion` candidates kept during a search."""

    name = "graph"
    defaults: ClassVar[Parameters] = {"connectivity": 16, "expansion_add": 128, "expansion": 64}
    effort_name = "expansion"
    libraries = ("numpy", "usearch")

    def __init__(self, folder: Path, vectors: np.ndarray, metric: str, parameters: Parameters) -> None:
        super().__init__(folder, vectors, metric, parameters)
        file = folder / _FILE
        try:
            self._graph = _library().restore(str(file), view=True)
        except (RuntimeError, ValueError) as error:
            raise IndexDamaged(f"The graph file {file} cannot be opened: {error}") from error
        if self._graph is None or (len(self._graph), self._graph.ndim) != vectors.shape:
            raise IndexDamaged(f"The graph file {file} is not of {self.items} vectors of {self.dims} numbers")

    @classmethod
    def write(cls, vectors: np.ndarray, folder: Path, metric: str, parameters: Parameters) -> None:
        """As `Kind.write`."""
        graph = _library()(
            ndim=vectors.shape[1],
            metric=_METRICS[metric],
            dtype="f32",
            connectivity=int(parameters["connectivity"]),
            expansion_add=int(parameters["expansion_add"]),
        )
        for start in range(0, len(vectors), _BLOCK):
            part = np.ascontiguousarray(vectors[start : start + _BLOCK])
            # One thread: with more, the order in which items come in differs from build to build.
            graph.add(np.arange(start, start + len(part), dtype=np.uint64), part, threads=1)
        try:
            graph.save(str(folder / _FILE))
        except RuntimeError as error:
            raise OSError(str(error)) from error

    def _matches(self, vector: np.ndarray, k: int, effort: int) -> Any:
        self._graph.expansion_search = max(k, effort)
        return self._graph.search(vector, k, threads=1)

    def _search(self, vector: np.ndarray, k: int, effort: int) -> np.ndarray:
        return self._matches(vector, k, effort).keys.astype(np.int64)

    def _count(self, vector: np.ndarray, k: int, effort: int) -> int:
        return int(self._matches(vector, k, effort).computed_distances)


def _library() -> Any:
    try:
        return import_module("usearch.index").Index
    except ImportError as error:
        raise SettingError(
            "The index kind graph needs USearch, which is not installed: pip install 'vetrina[graph]'"
        ) from error
