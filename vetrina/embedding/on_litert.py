"""An extractor that runs on LiteRT: the fastest exact way on the processor, one picture at a time on each thread.

Measured (bench/README.md): with a thread for each core, LiteRT takes a half of TensorFlow's time at batch 32 for
networks of small convolutions, and the same for ResNet50V2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.embedding.precision import FLOAT32, LOWEST_COSINE, made_up_pictures, reduce
from vetrina.embedding.preprocessing import Preprocessing, normalised
from vetrina.errors import ModelError
from vetrina.interpreters import InterpreterPool
from vetrina.models import made_once, models_folder, read_pinned, sha256_hex, write_atomically

# No path to a vector (Keras, LiteRT, any thread) may differ from another by more, in any number.
MAX_DIFFERENCE = 1e-5


class LiteRTExtractor:
    """An `Extractor` around a LiteRT model with the fixed input [1, side, side, 3]; threads run side by side.

    Args:
        handle, fingerprint, dims: as of `Extractor`.
        preprocessing: what the model wants its pictures to go through.
        model: the LiteRT file's bytes.
    """

    batch = 1

    def __init__(self, handle: str, fingerprint: str, dims: int, preprocessing: Preprocessing, model: bytes) -> None:
        self.handle = handle
        self.fingerprint = fingerprint
        self.dims = dims
        self._preprocessing = preprocessing
        self._interpreters = InterpreterPool(lambda: _open_interpreter(handle, model, preprocessing.side, dims))

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Embed uint8 [h, w, 3] RGB pictures of any sizes: float32 [n, dims], rows of length 1."""
        raw = np.empty((len(pictures), self.dims), np.float32)
        with self._interpreters.borrow() as (interpreter, input_index, output_index, room):
            for row, pixels in enumerate(pictures):
                interpreter.set_tensor(input_index, self._preprocessing(pixels, room))
                interpreter.invoke()
                raw[row] = interpreter.get_tensor(output_index)[0]
        return normalised(raw)


def converted(
    fingerprint: str,
    build: Callable[[], Any],
    preprocessing: Preprocessing,
    handle: str,
    precision: str = FLOAT32,
) -> bytes:
    """The LiteRT model that the fingerprint names, out of the models folder; made from the Keras model where it lacks.

    Args:
        fingerprint: the extractor's.
        build: gives the Keras model, float32 [n, side, side, 3] → [n, dims]; called only where nothing is kept.
        preprocessing: of the extractor.
        handle: of the extractor, for messages.
        precision: one of `PRECISIONS`; the fingerprint must tell them apart.

    Raises:
        ModelError: what is kept is altered, or the conversion changes the vectors (more than the precision must).
    """
    kept = kept_model(fingerprint)
    if kept is not None:
        return kept
    path = model_file(fingerprint)
    with made_once(path):
        kept = kept_model(fingerprint)  # another process may have made it meanwhile
        if kept is not None:
            return kept
        model = converted_anew(build(), preprocessing, handle, precision)
        # The model first: a sidecar without its model is missing weights, never a wrong check.
        write_atomically(path, model)
        write_atomically(_sidecar(fingerprint), f"{sha256_hex(model)}\n".encode())
    return model


def converted_anew(network: Any, preprocessing: Preprocessing, handle: str, precision: str = FLOAT32) -> bytes:
    """A Keras model as a LiteRT model whose vectors are the same, not kept anywhere. Otherwise as `converted`."""
    model = _convert(network, preprocessing, precision)
    _check(handle, network, model, preprocessing, precision)
    return model


def model_file(fingerprint: str) -> Path:
    """Where the LiteRT model of an extractor lies, or will lie; its sha256 stands beside it."""
    return models_folder() / "extractors" / f"{fingerprint}.tflite"


def files_of(fingerprint: str) -> list[Path]:
    """What lies, or will lie, in the models folder of an extractor that LiteRT runs."""
    return [model_file(fingerprint), _sidecar(fingerprint)]


def kept_model(fingerprint: str) -> bytes | None:
    """The LiteRT model of an extractor, checked; None where it was not made yet. Raises ModelError: altered."""
    path, sidecar = model_file(fingerprint), _sidecar(fingerprint)
    if not path.exists() or not sidecar.exists():
        return None
    return read_pinned(path, sidecar.read_text().strip())


def _sidecar(fingerprint: str) -> Path:
    return model_file(fingerprint).with_suffix(".sha256")


def _convert(network: Any, preprocessing: Preprocessing, precision: str) -> bytes:
    """The Keras model as a LiteRT file: float32 [1, side, side, 3] → float32 [1, dims], whatever lies between."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from vetrina.accelerator import tensorflow

    tf = tensorflow()
    # A concrete function pins the batch to 1: XNNPACK refuses to reshape, and threads scale better than batches.
    specification = tf.TensorSpec((1, preprocessing.side, preprocessing.side, 3), tf.float32, name="picture")
    function = tf.function(lambda picture: network(picture, training=False)).get_concrete_function(specification)
    # Frozen first: left as variables, the weights would stay out of the file (88 kB, and it fails on invoke).
    converter = tf.lite.TFLiteConverter.from_concrete_functions([convert_variables_to_constants_v2(function)])
    reduce(converter, precision, preprocessing)
    return bytes(converter.convert())


def _check(handle: str, network: Any, model: bytes, preprocessing: Preprocessing, precision: str) -> None:
    """Refuse a converted model whose vectors of fixed pictures differ from the Keras model's.

    Conversion can go wrong without an error (once it left the weights out); such a file must not be kept.
    """
    pictures = list(made_up_pictures(preprocessing.side, 4, seed=1))
    right = normalised(np.asarray(network(np.concatenate([preprocessing(p) for p in pictures]), training=False)))
    if not np.isfinite(right).all():
        raise ModelError(f"The extractor {handle} gives numbers that are not finite: its weights are of no use")
    try:
        ours = LiteRTExtractor(handle, "", right.shape[1], preprocessing, model).embed(pictures)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"The conversion of {handle} to LiteRT gave a model that does not run: {error}") from error
    difference, cosine = float(np.abs(ours - right).max()), float((ours * right).sum(axis=1).min())
    # Written so that what is no number is refused too.
    if not (difference <= MAX_DIFFERENCE if precision == FLOAT32 else cosine >= LOWEST_COSINE[precision]):
        raise ModelError(
            f"The conversion of {handle} to LiteRT changed the vectors by {difference:.1e} (cosine {cosine:.3f}): "
            "not kept"
        )


def _open_interpreter(handle: str, model: bytes, side: int, dims: int) -> tuple[Any, int, int, np.ndarray]:
    """A one-thread LiteRT interpreter of the model, the indices of its input and output, and room for an input."""
    # LiteRT is imported on use, so that naming an extractor stays cheap.
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"The model of the extractor {handle} does not run: {error}") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shape = (1, side, side, 3)
    if [tuple(d["shape"]) for d in inputs] != [shape] or [tuple(d["shape"]) for d in outputs] != [(1, dims)]:
        raise ModelError(f"The extractor {handle} has unexpected inputs or outputs")
    return interpreter, inputs[0]["index"], outputs[0]["index"], np.empty(shape, np.float32)
