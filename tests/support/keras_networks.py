"""Small networks of keras.applications with random weights, and files as Keras publishes them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from vetrina.embedding.keras_applications import Chosen, build_network
from vetrina.models.handles import parse_handle

SMALL = "keras:MobileNetV2#alpha=0.35"
RANDOM = f"{SMALL},weights=random"
WEIGHTS_NAME = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
MAX_DIFFERENCE = 1e-5


def chosen(text: str) -> Chosen:
    return Chosen.of(parse_handle(text))


@cache
def network_of(text: str) -> Any:
    """The Keras model of a handle with random weights, built once."""
    return build_network(chosen(text))


def save_published(network: Any, file: Path) -> None:
    """Keras publishes weights in its older layout, which it reads and does not write any more."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(file, "w") as handle:
        save_weights_to_hdf5_group(handle, network)


def quiet(line: str) -> None:
    """Nobody reads the report."""
