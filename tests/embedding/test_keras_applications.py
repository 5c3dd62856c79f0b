"""Extractors of keras.applications: each with its own preprocessing, and weights from everywhere they may come from."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import fault_server as faults
from support.fault_server import FaultServer

from vetrina.embedding import keras_applications, keras_weights
from vetrina.embedding.backbone import backbone_of
from vetrina.embedding.extractor import (
    Extractor,
    extractor_files,
    identify_extractor,
    open_extractor,
    prepare_extractor,
)
from vetrina.embedding.keras_applications import Chosen, build_network
from vetrina.embedding.keras_table import APPLICATIONS, wide_dims
from vetrina.embedding.on_litert import LiteRTExtractor, model_file
from vetrina.embedding.on_tensorflow import TensorFlowExtractor
from vetrina.embedding.preprocessing import normalised
from vetrina.errors import ModelError
from vetrina.models import files
from vetrina.models.handles import parse_handle

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
SMALL = "keras:MobileNetV2#alpha=0.35"
WEIGHTS_NAME = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
# The first numbers of the vector of oak-chair.png that SMALL with random weights gives, on every machine.
PINNED = [0.0226, 0.03233, 0.00084, 0.05918, 0.04635, 0.00245, 0.00024, 0.0463, 0.00265, 0.00792, 0.00631, 0.0273]
MAX_DIFFERENCE = 1e-5


def _quiet(line: str) -> None:
    """Nobody reads the report."""


@cache
def _network(text: str) -> Any:
    """The Keras model of a handle with random weights, built once."""
    return build_network(Chosen.of(parse_handle(text)))


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder in which SMALL with random weights was converted."""
    folder = tmp_path_factory.mktemp("keras") / "weights"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(files.FOLDER_VARIABLE, str(folder))
        prepare_extractor(f"{SMALL},weights=random", None, _quiet)
    return folder


@pytest.fixture
def models(converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of the test's own; what was converted is there, to save time."""
    folder = tmp_path / "weights"
    shutil.copytree(converted, folder)
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the weights of SMALL as keras.applications publishes them."""
    file = tmp_path_factory.mktemp("published") / WEIGHTS_NAME
    _network(f"{SMALL},weights=random").save_weights(str(file.with_suffix(".weights.h5")))
    _save_published(_network(f"{SMALL},weights=random"), file)
    return file


def _save_published(network: Any, file: Path) -> None:
    """Keras publishes weights in its older layout, which it reads and does not write any more."""
    import h5py
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(file, "w") as handle:
        save_weights_to_hdf5_group(handle, network)


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
        assert Chosen.of(parse_handle(f"keras:{name}")).construct(None).output_shape == (None, application.dims)


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_gives_a_picture_the_same_vector_alone_and_in_a_batch(name: str) -> None:
    application = APPLICATIONS[name]
    side = application.preprocessing.side
    pictures = np.random.default_rng(7).integers(0, 256, (2, side, side, 3), np.uint8)
    prepared = np.concatenate([application.preprocessing(picture) for picture in pictures])
    network = _network(f"keras:{name}#weights=random")
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
    chosen = Chosen.of(parse_handle(f"keras:MobileNetV2#weights=random,alpha={alpha}"))
    assert chosen.dims == wide_dims(alpha) == chosen.construct(None).output_shape[1]


@pytest.fixture
def extractor(models: Path) -> Extractor:
    return open_extractor(f"{SMALL},weights=random")


def test_litert_gives_the_vectors_of_keras(extractor: Extractor, pictures: dict[str, np.ndarray]) -> None:
    assert isinstance(extractor, LiteRTExtractor) and extractor.batch == 1
    vectors = extractor.embed([*pictures.values()])
    assert vectors.shape == (12, extractor.dims) == (12, 1280)
    prepared = np.concatenate([APPLICATIONS["MobileNetV2"].preprocessing(each) for each in pictures.values()])
    theirs = normalised(np.asarray(_network(f"{SMALL},weights=random")(prepared, training=False)))
    assert np.abs(vectors - theirs).max() <= MAX_DIFFERENCE
    assert extractor.embed([]).shape == (0, 1280)


def test_random_weights_are_the_same_everywhere(extractor: Extractor, pictures: dict[str, np.ndarray]) -> None:
    vector = extractor.embed([pictures["oak-chair"]])[0]
    assert np.allclose(vector[: len(PINNED)], PINNED, atol=1e-4) and np.std(PINNED) > 1e-2


def test_random_weights_are_said_loudly(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines: list[str] = []
    handle = f"{SMALL},weights=random"
    prepare_extractor(handle, None, lines.append)
    assert lines[0].startswith("WARNING: ") and "random weights" in lines[0] and "mean nothing" in lines[0]
    assert lines[-1] == f"Extractor {handle} is in place"
    with caplog.at_level(logging.WARNING):
        open_extractor(handle)
    assert "random weights" in caplog.text


def test_a_graphics_card_runs_tensorflow_with_the_same_vectors(
    extractor: Extractor, pictures: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_applications, "has_card", lambda: True)
    monkeypatch.setattr(keras_applications, "build_network", lambda chosen: _network(chosen.text))
    card = open_extractor(f"{SMALL},weights=random")
    assert isinstance(card, TensorFlowExtractor) and card.fingerprint == extractor.fingerprint
    few = [*pictures.values()][:5]
    assert np.abs(card.embed(few) - extractor.embed(few)).max() <= MAX_DIFFERENCE


def test_mixed_precision_gives_other_vectors_under_another_fingerprint(
    extractor: Extractor, pictures: dict[str, np.ndarray]
) -> None:
    import keras

    mixed = open_extractor(f"{SMALL},weights=random,precision=mixed")
    assert mixed.fingerprint != extractor.fingerprint
    few = [*pictures.values()][:3]
    one, other = mixed.embed(few), extractor.embed(few)
    assert one.dtype == np.float32 and 1e-6 < np.abs(one - other).max() < 0.02
    assert keras.config.dtype_policy().name == "float32", "other models are not touched"


def test_a_backbone_is_the_network_of_the_extractor(extractor: Extractor, pictures: dict[str, np.ndarray]) -> None:
    backbone = backbone_of(f"{SMALL},weights=random")
    assert (backbone.fingerprint, backbone.dims) == (extractor.fingerprint, extractor.dims)
    network, picture = backbone.build(), pictures["box"]
    ours = normalised(np.asarray(network(backbone.preprocessing(picture), training=False)))
    assert np.abs(ours - extractor.embed([picture])).max() <= MAX_DIFFERENCE
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
    handle = f"{SMALL},weights=random"
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


# Weights that Keras publishes


@pytest.fixture
def published(weights: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A server in place of the one that Keras's weights lie on; has those of SMALL."""
    from keras.src.applications import mobilenet_v2

    with FaultServer({f"/{WEIGHTS_NAME}": weights.read_bytes()}) as server:
        monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", server.url("/"))
        yield server


def test_imagenet_weights_are_fetched_once_and_then_need_no_network(
    published: FaultServer, models: Path, pictures: dict[str, np.ndarray], extractor: Extractor
) -> None:
    for ask in (identify_extractor, open_extractor, backbone_of):
        with pytest.raises(ModelError, match=r"were not fetched yet: run `vetrina models`"):
            ask(SMALL)
    lines: list[str] = []
    prepare_extractor(SMALL, None, lines.append)
    assert lines[0] == f"Fetching {published.url('/' + WEIGHTS_NAME)}" and "is in place" in lines[-1]
    assert [file.name for file in (models / "keras").iterdir() if file.suffix == ".h5"] == [WEIGHTS_NAME]
    found = open_extractor(SMALL)
    assert identify_extractor(SMALL).fingerprint == found.fingerprint != extractor.fingerprint
    # The weights served are the random ones, so the vectors must be theirs.
    few = [*pictures.values()][:3]
    assert np.abs(found.embed(few) - extractor.embed(few)).max() <= MAX_DIFFERENCE
    prepare_extractor(SMALL, None, _quiet)
    assert published.count(f"/{WEIGHTS_NAME}") == 1
    kept = extractor_files(SMALL)
    assert len(kept) == 4 and all(file.is_file() for file in kept) and models / "keras" / WEIGHTS_NAME in kept


def test_a_file_that_lies_there_already_is_taken(published: FaultServer, weights: Path, models: Path) -> None:
    (models / "keras").mkdir()
    shutil.copy(weights, models / "keras" / WEIGHTS_NAME)
    lines: list[str] = []
    keras_applications._fetch(Chosen.of(parse_handle(SMALL)), lines.append)
    assert "is there already" in lines[0] and published.count(f"/{WEIGHTS_NAME}") == 0
    assert identify_extractor(SMALL)


def test_altered_weights_are_refused_and_fetched_again(published: FaultServer, models: Path) -> None:
    chosen = Chosen.of(parse_handle(SMALL))
    keras_applications._fetch(chosen, _quiet)
    file = models / "keras" / WEIGHTS_NAME
    right = file.read_bytes()
    file.write_bytes(right[:-1] + b"?")
    with pytest.raises(ModelError, match=r"altered or cut: delete the file and run `vetrina models`"):
        open_extractor(SMALL)
    keras_applications._fetch(chosen, _quiet)
    assert file.read_bytes() == right
    (models / "keras" / "MobileNetV2-0.35.json").write_text("{")
    with pytest.raises(ModelError, match=r"MobileNetV2-0.35.json cannot be read .*: delete it"):
        identify_extractor(SMALL)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (faults.status(404), r"cannot be fetched: answered 404 \(http-404\): check the network, or get the file"),
        (faults.reset(), r"cannot be fetched after 3 tries: .*\(connection\)"),
        (faults.short(), r"cannot be fetched after 3 tries: .*\(short-body\)"),
        (faults.html(), r"no such file as their ending says"),
    ],
    ids=["404", "reset", "short", "html"],
)
def test_a_download_that_fails_is_said_and_leaves_nothing(
    published: FaultServer, models: Path, fault: Any, message: str
) -> None:
    published.fail(f"/{WEIGHTS_NAME}", fault)
    with pytest.raises(ModelError, match=message):
        prepare_extractor(SMALL, None, _quiet)
    assert list((models / "keras").iterdir()) == []


def test_a_download_is_bounded_in_time_and_size(published: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, limits = Chosen.of(parse_handle(SMALL)), keras_weights._LIMITS
    assert limits.deadline <= 3600 and limits.max_bytes <= 4 << 30 and limits.max_redirects <= 5
    monkeypatch.setattr(keras_weights, "_LIMITS", replace(limits, deadline=0.2, attempts=1))
    published.fail(f"/{WEIGHTS_NAME}", faults.drip())
    with pytest.raises(ModelError, match=r"did not arrive within 0.2 s"):
        keras_applications._fetch(chosen, _quiet)
    monkeypatch.setattr(keras_weights, "_LIMITS", replace(limits, max_bytes=1000))
    published.fail(f"/{WEIGHTS_NAME}", faults.answer(bytes(5000)))
    with pytest.raises(ModelError, match=r"larger than 1000 bytes"):
        keras_applications._fetch(chosen, _quiet)


def test_offline_nothing_is_asked(published: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VETRINA_OFFLINE", "yes")
    with pytest.raises(ModelError, match=r"alpha=0.35 is not on this machine, and VETRINA_OFFLINE forbids"):
        prepare_extractor(SMALL, None, _quiet)
    assert published.count(f"/{WEIGHTS_NAME}") == 0


def test_a_server_that_is_not_reached_is_said_with_what_to_do(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.applications import mobilenet_v2

    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", "http://127.0.0.1:9/")
    with pytest.raises(ModelError) as failure:
        prepare_extractor(SMALL, None, _quiet)
    said = str(failure.value)
    assert f"http://127.0.0.1:9/{WEIGHTS_NAME}" in said and "(connection)" in said
    assert "weights=/path/to/file.h5" in said and str(models / "keras" / WEIGHTS_NAME) in said


def test_other_weights_than_the_published_are_refused_by_their_digest(
    published: FaultServer, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.src.applications import efficientnet

    monkeypatch.setattr(efficientnet, "BASE_WEIGHTS_PATH", published.url("/"))
    published.fail("/efficientnetb0_notop.h5", faults.answer(b"something else"))
    with pytest.raises(ModelError, match=r"efficientnetb0_notop.h5 is not the published one"):
        prepare_extractor("keras:EfficientNetB0", None, _quiet)
    assert list((models / "keras").iterdir()) == []


def test_efficientnet_is_the_network_that_keras_makes_for_imagenet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    from keras.src.utils import file_utils

    file = tmp_path / "efficientnetb0_notop.h5"
    _save_published(_network("keras:EfficientNetB0#weights=random"), file)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(file))
    theirs = keras.applications.EfficientNetB0(include_top=False, pooling="avg", input_shape=(224, 224, 3))
    ours = build_network(Chosen.of(parse_handle(f"keras:EfficientNetB0#weights={file}")))
    plain = keras.applications.EfficientNetB0(
        include_top=False, pooling="avg", input_shape=(224, 224, 3), weights=str(file)
    )
    picture = np.random.default_rng(3).integers(0, 256, (1, 224, 224, 3)).astype(np.float32)
    one, other, third = (normalised(np.asarray(each(picture, training=False))) for each in (ours, theirs, plain))
    assert np.abs(one - other).max() <= MAX_DIFFERENCE
    assert np.abs(third - other).max() > 1e-3, "Keras makes another network for a file, so there is something to do"


# Weights in a file of one's own


def test_every_kind_of_file_gives_the_same_network(weights: Path, tmp_path: Path) -> None:
    network = _network(f"{SMALL},weights=random")
    network.save(str(tmp_path / "whole.keras"))
    network.save_weights(str(tmp_path / "own.weights.h5"))
    expected = [np.asarray(value) for value in network.weights]
    for file in (weights, tmp_path / "whole.keras", tmp_path / "own.weights.h5"):
        built = build_network(Chosen.of(parse_handle(f"{SMALL},weights={file}")))
        assert all(np.array_equal(np.asarray(one), other) for one, other in zip(built.weights, expected, strict=True))


def test_the_fingerprint_follows_the_content_of_the_file_and_not_its_name(weights: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    shutil.copy(weights, copy)
    prints = [identify_extractor(f"{SMALL},weights={file}").fingerprint for file in (weights, copy)]
    assert prints[0] == prints[1]
    copy.write_bytes(copy.read_bytes() + b"more")
    assert identify_extractor(f"{SMALL},weights={copy}").fingerprint != prints[0]


def _missing(file: Path, weights: Path) -> None:
    """There is no file."""


def _noise(file: Path, weights: Path) -> None:
    file.write_bytes(b"these are no weights")


def _cut(file: Path, weights: Path) -> None:
    file.write_bytes(weights.read_bytes()[:-200_000])


def _of_another_width(file: Path, weights: Path) -> None:
    _save_published(_network("keras:MobileNetV2#alpha=0.5,weights=random"), file)


def _of_a_part(file: Path, weights: Path) -> None:
    import keras

    network = _network(f"{SMALL},weights=random")
    _save_published(keras.Model(network.inputs, network.layers[40].output), file)


def _not_finite(file: Path, weights: Path) -> None:
    import h5py

    shutil.copy(weights, file)
    with h5py.File(file, "r+") as handle:
        names: list[str] = []
        handle.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        handle[names[0]][...] = np.nan


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (_missing, "w.h5", r"w\.h5 do not exist: check the path"),
        (_noise, "w.bin", r"end in none of \.weights\.h5, \.h5, \.keras"),
        (_noise, "w.h5", r"cut or no such file as their ending says"),
        (_noise, "w.keras", r"cut or no such file as their ending says"),
        (_noise, "w.weights.h5", r"cut or no such file as their ending says"),
        (_cut, "w.h5", r"cut or no such file as their ending says"),
        (_of_another_width, "w.h5", r"are not of keras:MobileNetV2#alpha=0\.35,weights=\S+: .*shape"),
        (_of_a_part, "w.h5", r"are not of keras:.*expected 104 layers, found \d+ saved"),
        (_not_finite, "w.h5", r"hold numbers that are not finite"),
    ],
)
def test_weights_of_no_use_are_refused_with_what_is_wrong(
    make: Callable[[Path, Path], None], name: str, message: str, weights: Path, models: Path, tmp_path: Path
) -> None:
    make(tmp_path / name, weights)
    kept = sorted(models.rglob("*"))
    with pytest.raises(ModelError, match=message):
        prepare_extractor(f"{SMALL},weights={tmp_path / name}", None, _quiet)
    assert sorted(models.rglob("*")) == kept


def test_records_hold_what_names_the_weights(published: FaultServer, models: Path) -> None:
    keras_applications._fetch(Chosen.of(parse_handle(SMALL)), _quiet)
    record = json.loads((models / "keras" / "MobileNetV2-0.35.json").read_text())
    assert record == {"file": WEIGHTS_NAME, "sha256": keras_weights.digest_of(models / "keras" / WEIGHTS_NAME)}
