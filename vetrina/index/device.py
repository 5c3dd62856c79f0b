"""Where the heavy arithmetic of an index is done: NumPy on the processor, or TensorFlow on a graphics card.

Both give the same neighbours: rows are compared by float32 products, equal scores by the lower row, and what is
published is scored again in float64 (`vetrina.index.scoring`). TensorFlow is imported only where a card is there and
the work is worth the import. The projection of vectors stays on the processor: its last bits must not depend on where
an index was built.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from vetrina.accelerator import card_present, tensorflow
from vetrina.errors import SettingError

_log = logging.getLogger(__name__)
DEVICES = ("auto", "cpu", "gpu")
_CELLS = 1 << 23  # float32 scores held at once: 32 MB
_CARD_CELLS = 1 << 27  # the same on a card: 512 MB
_CARD_ROWS = 1 << 17
_WORTH = 1e12
"""Multiplications and additions that take two cores about as long as importing TensorFlow does (10 to 20 s)."""


class Device(Protocol):
    """Something that multiplies matrices."""

    name: str

    def top_k(self, queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k largest inner products of each query with the vectors, best first; equal ones by the lower row.

        Args:
            queries: float32 [q, d]. vectors: float32 [n, d].
            k: at least 1; cut to n.

        Returns:
            rows int64 [q, k] and scores float32 [q, k].
        """

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """`rows.T @ rows` of float64 [b, d] whole numbers: exact, so the same on every device."""


class NumpyDevice:
    """The processor."""

    name = "cpu"

    def top_k(self, queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Device.top_k`."""
        count = len(vectors)
        k = min(k, count)
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        size = max(1, _CELLS // max(1, count))
        for start in range(0, len(queries) if k else 0, size):
            products = queries[start : start + size] @ vectors.T
            kth = np.partition(products, count - k, axis=1)[:, count - k]
            for at, line in enumerate(products):
                # All that reach the k-th, in the order of rows: a stable sort keeps it among equals.
                found = np.flatnonzero(line >= kth[at])
                best = found[np.argsort(-line[found], kind="stable")[:k]]
                rows[start + at], scores[start + at] = best, line[best]
        return rows, scores

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """As `Device.gram`."""
        product: np.ndarray = rows.T @ rows
        return product


class TensorFlowDevice:
    """A graphics card, or for comparison the processor, by TensorFlow. Vectors stay on it from call to call.

    Args:
        place: "gpu" or "cpu".

    Raises:
        SettingError: TensorFlow sees no card.
    """

    def __init__(self, place: str = "gpu") -> None:
        tf = self._tf = tensorflow()
        self.name = place
        if place == "gpu" and not tf.config.list_physical_devices("GPU"):
            raise SettingError(
                "VETRINA_INDEX_DEVICE is gpu, but TensorFlow sees no GPU; set it to auto or cpu, "
                "or give this machine's TensorFlow its card (pip install 'tensorflow[and-cuda]')"
            )
        self._place = f"/{place.upper()}:0"
        self._held: tuple[np.ndarray, list[Any]] | None = None

    def top_k(self, queries: np.ndarray, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Device.top_k`."""
        tf = self._tf
        k = min(k, len(vectors))
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        size = max(1, _CARD_CELLS // max(1, min(len(vectors), _CARD_ROWS)))
        with tf.device(self._place):
            blocks = self._blocks(vectors) if k else []
            for start in range(0, len(queries) if k else 0, size):
                part = tf.constant(queries[start : start + size])
                best: Any = None
                for number, block in enumerate(blocks):
                    found = tf.math.top_k(tf.matmul(part, block, transpose_b=True), min(k, block.shape[0]))
                    here = found.values, tf.cast(found.indices, tf.int64) + number * _CARD_ROWS
                    if best is not None:
                        # Earlier rows stand first, so equal scores stay in the order of rows.
                        values, where = (tf.concat(pair, axis=1) for pair in zip(best, here, strict=True))
                        merged = tf.math.top_k(values, min(k, values.shape[1]))
                        here = merged.values, tf.gather(where, merged.indices, batch_dims=1)
                    best = here
                scores[start : start + size], rows[start : start + size] = (part.numpy() for part in best)
        return rows, scores

    def gram(self, rows: np.ndarray) -> np.ndarray:
        """As `Device.gram`."""
        with self._tf.device(self._place):
            product: np.ndarray = self._tf.matmul(rows, rows, transpose_a=True).numpy()
        return product

    def _blocks(self, vectors: np.ndarray) -> list[Any]:
        if self._held is None or self._held[0] is not vectors:
            self._held = None  # frees the memory before it is needed again
            cut = range(0, len(vectors), _CARD_ROWS)
            self._held = vectors, [self._tf.constant(vectors[start : start + _CARD_ROWS]) for start in cut]
        return self._held[1]


def choose_device(setting: str, work: float) -> Device:
    """The device that the setting names.

    Args:
        setting: "cpu", "gpu", or "auto": a card when there is one and the work is worth it.
        work: multiplications and additions to come.

    Raises:
        SettingError: another name, or "gpu" where TensorFlow sees none.
    """
    if setting not in DEVICES:
        raise SettingError(f"VETRINA_INDEX_DEVICE is {setting!r}; use one of {', '.join(DEVICES)}")
    if setting == "cpu" or (setting == "auto" and (work < _WORTH or not card_present())):
        return NumpyDevice()
    try:
        return _card()
    except SettingError as error:
        if setting == "gpu":
            raise
        _log.warning("There is a graphics card, but TensorFlow cannot use it; the processor does the work (%s)", error)
        return NumpyDevice()


@lru_cache(maxsize=1)
def _card() -> TensorFlowDevice:
    return TensorFlowDevice()
