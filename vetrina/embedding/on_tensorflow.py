"""An extractor that runs on TensorFlow, whatever the network came from: pictures in batches, one call at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vetrina.embedding.preprocessing import Preprocessing, normalised
from vetrina.errors import ModelError

BATCH = 32


class TensorFlowExtractor:
    """An `Extractor` around a function of tensors.

    Args:
        handle, fingerprint, dims: as of `Extractor`.
        preprocessing: what `network` wants its pictures to go through.
        network: float32 [n, side, side, 3] → [n, dims] for any n; a `tf.function` or the like.
        batch: pictures in one call of it.
    """

    def __init__(
        self,
        handle: str,
        fingerprint: str,
        dims: int,
        preprocessing: Preprocessing,
        network: Callable[[Any], Any],
        *,
        batch: int = BATCH,
    ) -> None:
        self.handle = handle
        self.fingerprint = fingerprint
        self.dims = dims
        self.batch = batch
        self._preprocessing = preprocessing
        self._network = network
        self._calling = threading.Lock()  # one call fills the device; others prepare their pictures meanwhile

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed uint8 [h, w, 3] RGB pictures of any sizes: float32 [n, dims], rows of length 1."""
        raw = np.empty((len(pictures), self.dims), np.float32)
        for start in range(0, len(pictures), self.batch):
            chunk = pictures[start : start + self.batch]
            prepared = np.concatenate([self._preprocessing(pixels) for pixels in chunk])
            with self._calling:
                answer = np.asarray(self._network(prepared))
            if answer.shape != (len(chunk), self.dims):
                raise ModelError(f"The extractor {self.handle} gave {answer.shape}, not {(len(chunk), self.dims)}")
            if not np.isfinite(answer).all():
                raise ModelError(f"The extractor {self.handle} gave numbers that are not finite")
            raw[start : start + len(chunk)] = answer
        return normalised(raw)
