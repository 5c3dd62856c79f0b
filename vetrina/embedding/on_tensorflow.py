"""An extractor that runs on TensorFlow, whatever the network came from: pictures in batches, one call at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vetrina.accelerator import device_name, has_card, tensorflow
from vetrina.embedding.preprocessing import Preprocessing, normalised
from vetrina.errors import ModelError
from vetrina.interpreters import InterpreterPool

BATCH = 32
"""Pictures in a call on the processor: beyond this a call gains nothing but memory."""
_ROOM = 128 << 20
"""Bytes of prepared pictures that a thread holds at most, where the batch is found."""
_WORTH = 1.05
"""A batch twice as large must give this many times the pictures per second."""


class TensorFlowExtractor:
    """An `Extractor` around a function of tensors; while one thread's call runs, others prepare their pictures.

    Args:
        handle, fingerprint, dims: as of `Extractor`.
        preprocessing: what `network` wants its pictures to go through.
        network: float32 [n, side, side, 3] → [n, dims] for any n; a `tf.function` or the like.
        batch: pictures in one call of it; None: found on a card when first needed, `BATCH` on the processor.
    """

    def __init__(
        self,
        handle: str,
        fingerprint: str,
        dims: int,
        preprocessing: Preprocessing,
        network: Callable[[Any], Any],
        *,
        batch: int | None = None,
    ) -> None:
        self.handle = handle
        self.fingerprint = fingerprint
        self.dims = dims
        self._preprocessing = preprocessing
        self._network = network
        self._batch = batch
        self._calling = threading.Lock()  # one call fills the device
        self._choosing = threading.Lock()
        self._rooms: InterpreterPool[np.ndarray] = InterpreterPool(lambda: self._room(self.batch))

    @property
    def batch(self) -> int:
        """Pictures that are embedded in one call."""
        with self._choosing:
            if self._batch is None:
                self._batch = find_batch(self._seconds, _ROOM // self._room(1).nbytes) if has_card() else BATCH
            return self._batch

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed uint8 [h, w, 3] RGB pictures of any sizes: float32 [n, dims], rows of length 1.

        Raises:
            ModelError: the network gives something else than finite [n, dims], or the device has too little memory.
        """
        raw = np.empty((len(pictures), self.dims), np.float32)
        if not len(pictures):
            return raw
        with self._rooms.borrow() as room:
            for start in range(0, len(pictures), len(room)):
                chunk = pictures[start : start + len(room)]
                for row, pixels in enumerate(chunk):
                    self._preprocessing(pixels, room[row : row + 1])
                raw[start : start + len(chunk)] = self._call(room, len(chunk))
        return normalised(raw)

    def _call(self, room: np.ndarray, count: int) -> np.ndarray:
        """The numbers of the first `count` pictures of `room`, float32 [count, dims]."""
        shape = padded(count, len(room))
        # What pads the batch is thrown away, but rubbish there could make numbers that are not finite.
        room[count:shape] = 0
        with self._calling:
            answer = self._run(room[:shape])
        if answer.shape != (shape, self.dims):
            raise ModelError(f"The extractor {self.handle} gave {answer.shape}, not {(shape, self.dims)}")
        if not np.isfinite(answer[:count]).all():
            raise ModelError(f"The extractor {self.handle} gave numbers that are not finite")
        return answer[:count]

    def _run(self, prepared: np.ndarray) -> np.ndarray:
        """The network's answer; in halves where the device has no memory for the whole."""
        tf = tensorflow()
        try:
            return np.asarray(self._network(prepared))
        except tf.errors.ResourceExhaustedError:
            if len(prepared) == 1:
                raise ModelError(
                    f"The extractor {self.handle} does not find memory for one picture on {device_name()}: "
                    "end what else uses it, or take a smaller model"
                ) from None
            half = len(prepared) // 2
            return np.concatenate([self._run(prepared[:half]), self._run(prepared[half:])])

    def _seconds(self, size: int) -> float:
        """Seconds that a call with `size` pictures takes, the first one (which prepares the device) not counted."""
        room = self._room(size)
        with self._calling:
            np.asarray(self._network(room))
            began = time.perf_counter()
            np.asarray(self._network(room))
            return time.perf_counter() - began

    def _room(self, size: int) -> np.ndarray:
        return np.zeros((size, self._preprocessing.side, self._preprocessing.side, 3), np.float32)


def traced(network: Any) -> Callable[[Any], Any]:
    """A Keras model as a function of batches of any size, whose numbers are float32."""
    tf = tensorflow()
    side = network.input_shape[1]

    @tf.function(input_signature=[tf.TensorSpec((None, side, side, 3), tf.float32)])
    def call(pictures: Any) -> Any:
        return tf.cast(network(pictures, training=False), tf.float32)

    return call


def padded(count: int, most: int) -> int:
    """The size of the batch that `count` pictures go in: a power of two or `most`, so that there are few shapes.

    A network is traced, and a card's fastest kernels are chosen, anew for each shape that it meets.
    """
    return min(1 << (count - 1).bit_length(), most)


def find_batch(seconds: Callable[[int], float], most: int) -> int:
    """The smallest power of two from which on larger batches gain less than a twentieth, or do not fit.

    Args:
        seconds: how long a call with so many pictures takes; raises TensorFlow's ResourceExhaustedError.
        most: no more than this.
    """
    tf = tensorflow()
    best, rate = 1, 0.0
    size = 1
    while size <= most:
        try:
            found = size / seconds(size)
        except tf.errors.ResourceExhaustedError:
            break
        if found < rate * _WORTH:
            break
        best, rate = size, found
        size *= 2
    return best
