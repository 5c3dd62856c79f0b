"""Precision: how a converted model may keep its numbers, and what that costs.

    float32  the same vectors as in Keras, to 1e-5.
    float16  weights stored half as wide, computed in float32: half the file, the same speed.
    int8     weights and activations in whole numbers of 8 bits, for which the range of every activation must be known.

The ranges of int8 come from made-up pictures, so that every machine makes the same model (to rounding), whatever is
installed and whatever a shop sells. Measured on the sample shop (bench/README.md), they lose no more neighbours than
the shop's own pictures do; weights of 8 bits with activations in float32 ("dynamic range") run half as fast as float32.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from vetrina.accelerator import tensorflow
from vetrina.embedding.preprocessing import Preprocessing

FLOAT32, FLOAT16, INT8 = PRECISIONS = ("float32", "float16", "int8")
LOWEST_COSINE = {FLOAT16: 0.999, INT8: 0.9}
"""Between a reduced model's vector and the exact one; a conversion that turns a vector further went wrong."""
_SEED = 0
_PICTURES = 100
RECIPES: dict[str, list[object]] = {FLOAT16: [FLOAT16, "weights"], INT8: [INT8, "full", "made-up", _SEED, _PICTURES]}
"""What the vectors of a reduced precision depend on beside the weights: a part of the fingerprint."""


def reduce(converter: Any, precision: str, preprocessing: Preprocessing) -> None:
    """Make a TFLiteConverter keep its model at the precision; inputs and outputs stay float32."""
    if precision == FLOAT32:
        return
    tf = tensorflow()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
        return
    pictures = made_up_pictures(preprocessing.side, _PICTURES, _SEED)
    converter.representative_dataset = lambda: ([preprocessing(pixels)] for pixels in pictures)


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
