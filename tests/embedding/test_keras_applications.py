"""Extractors of keras.applications: each with its own preprocessing, the same vectors on every path."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.keras_networks import (
    MAX_DIFFERENCE,
    RANDOM,
    SMALL,
    chosen,
    network_of,
)

from vetrina.embedding import keras_applications
from vetrina.embedding.backbone import backbone_of
from vetrina.embedding.extractor import (
    Extractor,
    identify_extractor,
    open_extractor,
    prepare_extractor,
)
from vetrina.embedding.keras_table import APPLICATIONS, wide_dims
from vetrina.embedding.on_litert import LiteRTExtractor, model_file
from vetrina.embedding.on_tensorflow import TensorFlowExtractor
from vetrina.embedding.preprocessing import normalised
from vetrina.errors import ModelError

# The networks that were asked for, one of each kind, run; of the others shape and preprocessing are looked at.
FAMILIES = ("MobileNetV2", "ResNet50", "ResNet50V2", "VGG16", "InceptionV3", "EfficientNetB0", "EfficientNetV2B0")
FURTHER = (
    "VGG19",
    "InceptionResNetV2",
    "Xception",
    "DenseNet121",
    "NASNetMobile",
    "MobileNetV3Small",
    "ConvNeXtTiny",
)
# The first numbers of the vector of oak-chair.png that SMALL with random weights gives, on every machine.
PINNED = [0.0226, 0.03233, 0.00084, 0.05918, 0.04635, 0.00245, 0.00024, 0.0463, 0.00265, 0.00792, 0.00631, 0.0273]


@pytest.mark.parametrize("name", [*FAMILIES, *FURTHER])
def test_each_family_has_the_preprocessing_and_the_size_of_its_module(name: str) -> None:
    import keras

    application = APPLICATIONS[name]
    side = application.preprocessing.side
    square = np.random.default_rng(7).integers(0, 256, (side, side, 3), np.uint8)
    theirs = getattr(keras.applications, application.module).preprocess_input(square[None].astype(np.float32))
    ours = application.preprocessing(square)
    assert ours.shape == (1, side, side, 3) and ours.dtype == np.float32
    assert np.abs(ours - theirs).max() <= MAX_DIFFERENCE
    if name in FURTHER:
        assert chosen(f"keras:{name}").construct(None).output_shape == (None, application.dims)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_gives_a_picture_the_same_vector_alone_and_in_a_batch(name: str) -> None:
    application = APPLICATIONS[name]
    side = application.preprocessing.side
    pictures = np.random.default_rng(7).integers(0, 256, (2, side, side, 3), np.uint8)
    prepared = np.concatenate([application.preprocessing(picture) for picture in pictures])
    network = network_of(f"keras:{name}#weights=random")
    together = normalised(np.asarray(network(prepared, training=False)))
    assert together.shape == (2, application.dims) == (2, network.output_shape[1])
    alone = normalised(np.concatenate([np.asarray(network(each[None], training=False)) for each in prepared]))
    assert np.abs(alone - together).max() <= MAX_DIFFERENCE
    assert np.abs(together[0] - together[1]).max() > 1e-4, "pictures that differ have vectors that differ"


def test_every_module_of_the_table_has_a_family_that_is_tested() -> None:
    tested = {APPLICATIONS[name].module for name in (*FAMILIES, *FURTHER)}
    assert tested == {each.module for each in APPLICATIONS.values()}


@pytest.mark.parametrize(("name", "side"), [("EfficientNetB7", 600), ("EfficientNetV2S", 384), ("ResNet152", 224)])
def test_sides_are_those_that_the_weights_were_trained_at(name: str, side: int) -> None:
    assert APPLICATIONS[name].preprocessing.side == side


@pytest.mark.parametrize("alpha", [0.35, 0.6, 1.1, 1.4])
def test_mobilenet_has_any_width(alpha: float) -> None:
    found = chosen(f"keras:MobileNetV2#weights=random,alpha={alpha}")
    assert found.dims == wide_dims(alpha) == found.construct(None).output_shape[1]


def test_litert_gives_the_vectors_of_keras(small: Extractor, pictures: dict[str, np.ndarray]) -> None:
    assert isinstance(small, LiteRTExtractor) and small.batch == 1
    vectors = small.embed([*pictures.values()])
    assert vectors.shape == (12, small.dims) == (12, 1280)
    prepared = np.concatenate([APPLICATIONS["MobileNetV2"].preprocessing(each) for each in pictures.values()])
    theirs = normalised(np.asarray(network_of(RANDOM)(prepared, training=False)))
    assert np.abs(vectors - theirs).max() <= MAX_DIFFERENCE
    assert small.embed([]).shape == (0, 1280)


def test_random_weights_are_the_same_everywhere(small: Extractor, pictures: dict[str, np.ndarray]) -> None:
    vector = small.embed([pictures["oak-chair"]])[0]
    assert np.allclose(vector[: len(PINNED)], PINNED, atol=1e-4) and np.std(PINNED) > 1e-2


def test_random_weights_are_said_loudly(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines: list[str] = []
    handle = RANDOM
    prepare_extractor(handle, None, lines.append)
    assert lines[0].startswith("WARNING: ") and "random weights" in lines[0] and "mean nothing" in lines[0]
    assert lines[-1] == f"Extractor {handle} is in place"
    with caplog.at_level(logging.WARNING):
        open_extractor(handle)
    assert "random weights" in caplog.text


def test_a_graphics_card_runs_tensorflow_with_the_same_vectors(
    small: Extractor, pictures: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_applications, "has_card", lambda: True)
    monkeypatch.setattr(keras_applications, "build_network", lambda model: network_of(model.text))
    card = open_extractor(RANDOM)
    assert isinstance(card, TensorFlowExtractor) and card.fingerprint == small.fingerprint
    few = [*pictures.values()][:5]
    assert np.abs(card.embed(few) - small.embed(few)).max() <= MAX_DIFFERENCE


def test_mixed_precision_gives_other_vectors_under_another_fingerprint(
    small: Extractor, pictures: dict[str, np.ndarray]
) -> None:
    import keras

    mixed = open_extractor(f"{SMALL},weights=random,precision=mixed")
    assert mixed.fingerprint != small.fingerprint
    few = [*pictures.values()][:3]
    one, other = mixed.embed(few), small.embed(few)
    assert one.dtype == np.float32 and 1e-6 < np.abs(one - other).max() < 0.02
    assert keras.config.dtype_policy().name == "float32", "other models are not touched"


def test_a_backbone_is_the_network_of_the_extractor(small: Extractor, pictures: dict[str, np.ndarray]) -> None:
    backbone = backbone_of(RANDOM)
    assert (backbone.fingerprint, backbone.dims) == (small.fingerprint, small.dims)
    network, picture = backbone.build(), pictures["box"]
    ours = normalised(np.asarray(network(backbone.preprocessing(picture), training=False)))
    assert np.abs(ours - small.embed([picture])).max() <= MAX_DIFFERENCE
    assert network.trainable_weights


def test_naming_and_opening_load_no_tensorflow(models: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom vetrina.embedding.extractor import identify_extractor, open_extractor\n"
        f"identify_extractor('keras:VGG16#weights=random')\n"
        "assert 'ai_edge_litert' not in sys.modules\n"
        f"open_extractor('{SMALL},weights=random').embed([np.zeros((9, 9, 3), np.uint8)])\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'h5py')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_altered_conversion_is_refused(models: Path) -> None:
    handle = RANDOM
    file = model_file(identify_extractor(handle).fingerprint)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ModelError, match="altered"):
        open_extractor(handle)


# Handles


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        ("keras:ResNet5", r"Unknown extractor 'keras:ResNet5': did you mean 'keras:ResNet50'"),
        ("keras:MobileNetV2#alpha=wide", r"has the alpha 'wide'; use a number above 0"),
        ("keras:MobileNetV2#alpha=0,weights=random", r"has the alpha '0'"),
        ("keras:MobileNetV2#alpha=9,weights=random", r"at most 4"),
        ("keras:MobileNetV2#alpha=nan,weights=random", r"has the alpha 'nan'"),
        ("keras:MobileNetV2#alpha=0.6", r"no ImageNet weights .* alpha may be 0.35, 0.5, 0.75, 1, 1.3, 1.4"),
        ("keras:ResNet50#alpha=1", r"unknown option 'alpha'; it takes weights, precision"),
        ("keras:ResNet50#precision=half", r"has the precision 'half'; use float32 or mixed"),
    ],
)
def test_a_handle_that_cannot_be_understood_is_refused(handle: str, message: str) -> None:
    for ask in (identify_extractor, open_extractor, backbone_of):
        with pytest.raises(ModelError, match=message):
            ask(handle)
