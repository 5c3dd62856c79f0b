"""An extractor that runs on LiteRT, whatever the network came from, and how a Keras network becomes one.

One thread an interpreter, one picture a call: threads scale better than batches there, and nothing of TensorFlow is
needed but for the conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vetrina.embedding.preprocessing import Preprocessing, normalised
from vetrina.errors import ModelError
from vetrina.interpreters import InterpreterPool

# No path to a vector (Keras, LiteRT, any thread) may differ from another by more, in any number.
MAX_DIFFERENCE = 1e-5


class LiteRtExtractor:
    """An `Extractor` around a LiteRT file; `embed` runs in parallel on several threads.

    Args:
        handle, fingerprint, dims: as of `Extractor`.
        preprocessing: what the network wants its pictures to go through.
        model: the LiteRT file: float32 [1, side, side, 3] → [1, dims].
    """

    def __init__(self, handle: str, fingerprint: str, dims: int, preprocessing: Preprocessing, model: bytes) -> None:
        self.handle = handle
        self.fingerprint = fingerprint
        self.dims = dims
        self._preprocessing = preprocessing
        self._interpreters = InterpreterPool(lambda: self._open(model))

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed uint8 [h, w, 3] RGB pictures of any sizes: float32 [n, dims], rows of length 1.

        Raises ModelError: the file is no such network, or gave numbers that are not finite.
        """
        raw = np.empty((len(pictures), self.dims), np.float32)
        with self._interpreters.borrow() as (interpreter, input_index, output_index, room):
            for row, pixels in enumerate(pictures):
                interpreter.set_tensor(input_index, self._preprocessing(pixels, room))
                interpreter.invoke()
                raw[row] = interpreter.get_tensor(output_index)[0]
        if not np.isfinite(raw).all():
            raise ModelError(f"The extractor {self.handle} gave numbers that are not finite; train it again")
        return normalised(raw)

    def _open(self, model: bytes) -> tuple[Any, int, int, np.ndarray]:
        """A one-thread interpreter, the indices of its input and output, and room for an input."""
        # LiteRT is imported on use, so that naming an extractor stays cheap.
        from ai_edge_litert.interpreter import Interpreter

        try:
            interpreter = Interpreter(model_content=model, num_threads=1)
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"The model of the extractor {self.handle} does not run: {error}") from error
        shape = (1, self._preprocessing.side, self._preprocessing.side, 3)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        found = [tuple(int(size) for size in one["shape"]) for one in (*inputs, *outputs)]
        if found != [shape, (1, self.dims)]:
            raise ModelError(f"The extractor {self.handle} takes and gives {found}, not {[shape, (1, self.dims)]}")
        return interpreter, inputs[0]["index"], outputs[0]["index"], np.empty(shape, np.float32)


def convert_to_litert(model: Any) -> bytes:
    """The Keras model, float32 [n, side, side, 3] → [n, dims], as a float32 LiteRT file for one picture a call."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # A concrete function pins the batch to 1: XNNPACK refuses to reshape, and threads scale better than batches.
    specification = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="picture")
    function = tf.function(lambda picture: model(picture, training=False)).get_concrete_function(specification)
    # Frozen first: left as variables, the weights would stay out of the file (88 kB, and it fails on invoke).
    frozen = convert_variables_to_constants_v2(function)
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())


def converted(model: Any, preprocessing: Preprocessing, dims: int) -> bytes:
    """As `convert_to_litert`, and proven: the vector of a noise picture is that of the Keras model.

    Conversion can go wrong without an error (once it left the weights out), and such a file must not be kept.

    Raises:
        ModelError: the vectors differ by more than MAX_DIFFERENCE in any number, or the file does not run.
    """
    file = convert_to_litert(model)
    noise = np.random.default_rng(0).integers(0, 256, (preprocessing.side, preprocessing.side, 3), np.uint8)
    ours = LiteRtExtractor("just converted", "", dims, preprocessing, file).embed([noise])
    theirs = normalised(np.asarray(model(preprocessing(noise), training=False)))
    difference = float(np.abs(ours - theirs).max())
    if not difference <= MAX_DIFFERENCE:
        raise ModelError(f"The conversion to LiteRT changed the vectors by {difference:.1e}; the model is not kept")
    return file
