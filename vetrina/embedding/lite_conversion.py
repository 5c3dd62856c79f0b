"""EfficientNet-Lite from Keras to LiteRT, at full or reduced precision. TensorFlow is loaded where a model is converted.

    float32  the same numbers as in Keras, to 1e-5.
    float16  weights stored half as wide, computed in float32: half the file, the same speed.
    int8     weights and activations in whole numbers of 8 bits, for which the range of every activation must be known.

The ranges of int8 come from made-up pictures, so that every machine makes the same model, whatever is installed and
whatever a shop sells. Measured on the sample shop (bench/README.md), made-up pictures lose no more neighbours than the
shop's own do; weights of 8 bits with activations left in float32 ("dynamic range") run half as fast as float32.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from vetrina.embedding.preprocessing import Preprocessing

PRECISIONS = ("float32", "float16", "int8")
_CALIBRATION_SEED = 0
_CALIBRATION_PICTURES = 100
CONVERSIONS: dict[str, list[object]] = {
    "float16": ["weights"],
    "int8": ["full", "made-up", _CALIBRATION_SEED, _CALIBRATION_PICTURES],
}
"""What the vectors of a reduced precision depend on beside the weights: a part of the fingerprint."""


def convert_to_litert(model: Any, preprocessing: Preprocessing, precision: str) -> bytes:
    """The Keras model as a LiteRT file: float32 [1, side, side, 3] → float32 [1, dims], whatever lies between.

    Args:
        model: as `LiteBuilder.build` gives it.
        precision: one of `PRECISIONS`.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    # A concrete function pins the batch to 1: XNNPACK refuses to reshape, and threads scale better than batches.
    specification = tf.TensorSpec((1, preprocessing.side, preprocessing.side, 3), tf.float32, name="picture")
    function = tf.function(lambda picture: model(picture, training=False)).get_concrete_function(specification)
    # Frozen first: left as variables, the weights would stay out of the file (88 kB, and it fails on invoke).
    frozen = convert_variables_to_constants_v2(function)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        pictures = made_up_pictures(preprocessing.side, _CALIBRATION_PICTURES, _CALIBRATION_SEED)
        converter.representative_dataset = lambda: ([preprocessing(pixels)] for pixels in pictures)
    return bytes(converter.convert())


def made_up_pictures(side: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Pictures of nothing with what real ones have: flat parts, edges of every size and direction, shading, grain.

    Shapes cover each other, and their sizes follow a power law: the "dead leaves" model, whose statistics come near
    those of photographs (Lee, Mumford & Huang 2001, "Occlusion models for natural images").

    Returns:
        `count` pictures, uint8 [side, side, 3]; the same for the same arguments.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        # A third stand on white or nearly so, as in a shop.
        lowest = 200 if rng.random() < 1 / 3 else 0
        picture = np.full((side, side, 3), rng.integers(lowest, 256, 3), np.uint8)
        for _ in range(int(rng.integers(3, 150))):
            _draw_leaf(picture, rng)
        shade = np.linspace(rng.uniform(0.4, 1), 1, side)[:: rng.choice((-1, 1)), None, None]
        grain = rng.normal(0, rng.uniform(0, 12), picture.shape)
        yield np.clip(picture * shade + grain, 0, 255).astype(np.uint8)


def _draw_leaf(picture: np.ndarray, rng: np.random.Generator) -> None:
    """An ellipse or a rectangle of one colour, anywhere, turned anyhow."""
    side = len(picture)
    radius = min(side * 0.6, 3 + side * 0.02 * rng.pareto(1.0))
    centre = rng.uniform(-radius, side + radius, 2).tolist()
    box = (centre, (2 * radius, max(2.0, 2 * radius * rng.random())), rng.uniform(0, 180))
    colour = rng.integers(0, 256, 3).tolist()
    if rng.random() < 0.5:
        cv2.ellipse(picture, box, colour, -1, cv2.LINE_AA)
    else:
        cv2.fillPoly(picture, [cv2.boxPoints(box).astype(np.int32)], colour, cv2.LINE_AA)
