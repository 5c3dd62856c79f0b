"""Annoy as a kind of index: the file that a shop is served from."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from vetrina.index.annoy_file import AnnoyFile, Metric, build_file
from vetrina.index.kinds.interface import COSINE, EUCLIDEAN, Kind, Parameters

_FILE = "index.ann"
_METRICS: dict[str, Metric] = {COSINE: "angular", EUCLIDEAN: "euclidean"}


class AnnoyKind(Kind):
    """A forest of random projection trees (github.com/spotify/annoy); a search looks into `search_k` leaf entries."""

    name = "annoy"
    defaults: ClassVar[Parameters] = {"trees": 40, "search_k": 4000, "seed": 17}
    effort_name = "search_k"
    libraries = ("annoy", "numpy")

    def __init__(self, folder: Path, vectors: np.ndarray, metric: str, parameters: Parameters) -> None:
        super().__init__(folder, vectors, metric, parameters)
        self._file = AnnoyFile(folder / _FILE, vectors, _METRICS[metric])

    @classmethod
    def write(cls, vectors: np.ndarray, folder: Path, metric: str, parameters: Parameters) -> None:
        """As `Kind.write`."""
        trees, seed = int(parameters["trees"]), int(parameters["seed"])
        build_file(vectors, folder / _FILE, trees=trees, seed=seed, metric=_METRICS[metric])

    @property
    def most_effort(self) -> int:
        """As `Kind.most_effort`: every leaf of every tree."""
        return self.items * int(self.parameters["trees"])

    def _search(self, vector: np.ndarray, k: int, effort: int) -> np.ndarray:
        return self._file.nearest(vector, k, effort)

    def _count(self, vector: np.ndarray, k: int, effort: int) -> int:
        # Asked for all items, Annoy returns each that it compared.
        return len(self._file.nearest(vector, self.items, max(k, effort)))
