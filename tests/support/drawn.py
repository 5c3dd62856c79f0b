"""Drawn pictures in three classes, and a network so small that training takes seconds."""

from __future__ import annotations

from functools import partial
from typing import Any

import cv2
import numpy as np

from vetrina.embedding.backbone import Backbone
from vetrina.embedding.preprocessing import Preprocessing
from vetrina.finetuning.plan import Example

SIDE = 24
COLOURS = {"cherry": (200, 30, 40), "lime": (60, 190, 50), "plum": (70, 40, 170)}
_SIZE = 48


def drawn_square(label: str, number: int, side: int) -> np.ndarray:
    """A disc or a box in about the label's colour, somewhere on a noisy ground: uint8 [side, side, 3]."""
    rng = np.random.default_rng((sorted(COLOURS).index(label), number))
    pixels = rng.integers(140, 255, (6, 6, 3), np.uint8)
    pixels = cv2.resize(pixels, (_SIZE, _SIZE), interpolation=cv2.INTER_CUBIC)
    colour = [int(np.clip(part + rng.integers(-30, 30), 0, 255)) for part in COLOURS[label]]
    x, y = (int(place) for place in rng.integers(14, _SIZE - 14, 2))
    if rng.random() < 0.5:
        cv2.circle(pixels, (x, y), 11, colour, -1)
    else:
        cv2.rectangle(pixels, (x - 10, y - 10), (x + 10, y + 10), colour, -1)
    return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)


def drawn_examples(each: int = 12, labels: tuple[str, ...] = tuple(COLOURS)) -> list[Example]:
    """As many pictures of each class, ids such as lime-3."""
    return [
        Example(f"{label}-{number}", label, f"{label}-{number}", partial(drawn_square, label, number))
        for label in labels
        for number in range(each)
    ]


def tiny_network() -> Any:
    """A functional Keras model with random weights (the same ones each time): two blocks, each with a shortcut."""
    import keras

    layers = keras.layers

    def convolve(x: Any, filters: int, seed: int, stride: int = 1) -> Any:
        start = keras.initializers.HeNormal(seed)
        return layers.Conv2D(filters, 3, stride, padding="same", activation="relu", kernel_initializer=start)(x)

    picture = keras.Input((SIDE, SIDE, 3))
    x = convolve(picture, 8, 1, stride=2)
    for seed in (2, 3):
        inner = layers.BatchNormalization(name=f"norm{seed}")(convolve(x, 8, seed))
        x = layers.Add(name=f"merge{seed}")([x, inner])
    x = convolve(x, 16, 4, stride=2)
    return keras.Model(picture, layers.GlobalAveragePooling2D()(x))


def tiny_backbone() -> Backbone:
    """The tiny network as a backbone."""
    preprocessing = Preprocessing(SIDE, (127.0,) * 3, (128.0,) * 3)
    return Backbone("bundled:tiny", "0123456789abcdef", preprocessing, 16, tiny_network)
