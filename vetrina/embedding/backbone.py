"""Backbones: an extractor's network as a Keras model, so that it can be trained further or run on a graphics card."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vetrina.embedding.preprocessing import Preprocessing
from vetrina.errors import ModelError
from vetrina.models.handles import TUNED, Handle, parse_handle


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that can be built in Keras.

    Attributes:
        handle: the extractor's.
        fingerprint: the extractor's: says which weights `build` gives it.
        preprocessing: what its input went through.
        dims: numbers it gives for a picture.
        build: loads TensorFlow and gives a functional keras.Model, float32 [n, side, side, 3] (preprocessed)
            → [n, dims], pooled, before any normalisation. Raises ModelError.
    """

    handle: str
    fingerprint: str
    preprocessing: Preprocessing
    dims: int
    build: Callable[[], Any]


def backbone_of(text: str) -> Backbone:
    """The backbone of an extractor. Raises ModelError where its network cannot be built in Keras, or is unknown."""
    check_trainable(text)
    handle = parse_handle(text)
    return _BACKBONES[handle.kind](handle)


def check_trainable(text: str) -> None:
    """Raise ModelError where extractors of this kind cannot be trained further; nothing is fetched to find out."""
    if parse_handle(text).kind not in _BACKBONES:
        raise ModelError(f"{text} cannot be trained further: take a bundled: or a keras: extractor")


def _bundled(handle: Handle) -> Backbone:
    from vetrina.embedding.efficientnet_lite import lite_backbone

    return lite_backbone(handle)


def _tuned(handle: Handle) -> Backbone:
    from vetrina.embedding.tuned import tuned_backbone

    return tuned_backbone(handle)


def _keras(handle: Handle) -> Backbone:
    from vetrina.embedding.keras_applications import keras_backbone

    return keras_backbone(handle)


_BACKBONES: dict[str, Callable[[Handle], Backbone]] = {"bundled": _bundled, "keras": _keras, TUNED: _tuned}
