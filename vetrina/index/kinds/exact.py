"""The kind that reads every vector: by NumPy in blocks of the mapped file, or by TensorFlow on a graphics card."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from vetrina.errors import SettingError
from vetrina.index.device import Device, NumpyDevice, choose_device
from vetrina.index.kinds.interface import COSINE, Kind, Parameters, scan


class ExactKind(Kind):
    """Exact search. It has no files of its own: the vectors are the index."""

    name = "exact"
    defaults: ClassVar[Parameters] = {}
    effort_name = None

    def __init__(self, folder: Path, vectors: np.ndarray, metric: str, parameters: Parameters) -> None:
        super().__init__(folder, vectors, metric, parameters)
        self._device: Device = NumpyDevice()

    @classmethod
    def write(cls, vectors: np.ndarray, folder: Path, metric: str, parameters: Parameters) -> None:
        """As `Kind.write`."""

    def on(self, setting: str) -> ExactKind:
        """The same, searching on the device of a setting (see `choose_device`; auto looks at the work of one query).

        Raises:
            SettingError: another setting, no card, or a card for Euclidean distances.
        """
        device = choose_device(setting, 2.0 * self.vectors.size)
        if device.name == "gpu" and self.metric != COSINE:
            raise SettingError("Euclidean distances are computed on the processor only; set the device to cpu")
        self._device = device
        return self

    def _search(self, vector: np.ndarray, k: int, effort: int) -> np.ndarray:
        if self._device.name == "gpu":
            return self._device.top_k(vector[None], self.vectors, k)[0][0]
        return scan(self.vectors, vector, self.metric, k)

    def _count(self, vector: np.ndarray, k: int, effort: int) -> int:
        return self.items
