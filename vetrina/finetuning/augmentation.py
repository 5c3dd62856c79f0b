"""Augmentation: the same product turned, shifted, sheared, smaller and mirrored, its colours left alone.

The amounts `source` are those of the fashion recommender this follows: rotation up to 30°, shift up to 10 %, shear up
to 25°, zoom 1 to 2, horizontal flip, in the terms of Keras' ImageDataGenerator, whose zoom of 2 shows the picture at
half its size. They cost quality (bench/README.md), so `gentle` ones are the default. There as here what comes into
view at the border repeats it. OpenCV does all of them as one affine map, so that a picture is resampled once; a chain
of layers, one for each, would resample it four times and blur it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True, slots=True)
class Amounts:
    """How far augmentation goes.

    Attributes:
        rotation, shear: degrees to either side.
        shift: share of the side, in any direction.
        zoom: least and most by which the picture shrinks; for height and width each by itself.
        flip: how often it is mirrored.
    """

    rotation: float
    shift: float
    shear: float
    zoom: tuple[float, float]
    flip: float


AMOUNTS = {
    "gentle": Amounts(rotation=15.0, shift=0.1, shear=10.0, zoom=(0.8, 1.25), flip=0.5),
    "source": Amounts(rotation=30.0, shift=0.1, shear=25.0, zoom=(1.0, 2.0), flip=0.5),
}


def augmented(square: np.ndarray, rng: np.random.Generator, amounts: Amounts) -> np.ndarray:
    """Another view of a picture: uint8 [side, side, 3] → the same shape; no colour that the picture has not."""
    side = square.shape[0]
    matrix = _matrix(rng, amounts, side)
    seen: np.ndarray = cv2.warpAffine(
        square, matrix[:2], (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return seen


def _matrix(rng: np.random.Generator, amounts: Amounts, side: int) -> np.ndarray:
    """The affine map of pixels, about the picture's middle: float64 [3, 3]."""
    turn = np.deg2rad(rng.uniform(-amounts.rotation, amounts.rotation))
    lean = np.deg2rad(rng.uniform(-amounts.shear, amounts.shear))
    shrink = 1 / rng.uniform(*amounts.zoom, size=2)
    mirror = -1.0 if rng.random() < amounts.flip else 1.0
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    shear = np.array([[1.0, -np.sin(lean)], [0.0, np.cos(lean)]])
    matrix = np.eye(3)
    matrix[:2, :2] = rotation @ shear @ np.diag(shrink * (mirror, 1.0))
    middle = (side - 1) / 2
    shift = rng.uniform(-amounts.shift, amounts.shift, size=2) * side
    matrix[:2, 2] = middle + shift - matrix[:2, :2] @ (middle, middle)
    return matrix
