"""Weights of keras.applications from everywhere they may come from, and what goes wrong with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import fault_server as faults
from support.fault_server import FaultServer
from support.keras_networks import (
    MAX_DIFFERENCE,
    RANDOM,
    SMALL,
    WEIGHTS_NAME,
    chosen,
    network_of,
    quiet,
    save_published,
)

from vetrina.embedding import keras_applications, keras_weights
from vetrina.embedding.backbone import backbone_of
from vetrina.embedding.extractor import (
    Extractor,
    extractor_files,
    identify_extractor,
    open_extractor,
    prepare_extractor,
)
from vetrina.embedding.keras_applications import build_network
from vetrina.embedding.preprocessing import normalised
from vetrina.errors import ModelError


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the weights of SMALL as keras.applications publishes them."""
    file = tmp_path_factory.mktemp("published") / WEIGHTS_NAME
    save_published(network_of(RANDOM), file)
    return file


# Weights that Keras publishes


@pytest.fixture
def published(weights: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A server in place of the one that Keras's weights lie on; has those of SMALL."""
    from keras.src.applications import mobilenet_v2

    with FaultServer({f"/{WEIGHTS_NAME}": weights.read_bytes()}) as server:
        monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", server.url("/"))
        yield server


def test_imagenet_weights_are_fetched_once_and_then_need_no_network(
    published: FaultServer, models: Path, pictures: dict[str, np.ndarray], small: Extractor
) -> None:
    for ask in (identify_extractor, open_extractor, backbone_of):
        with pytest.raises(ModelError, match=r"were not fetched yet: run `vetrina models`"):
            ask(SMALL)
    lines: list[str] = []
    prepare_extractor(SMALL, None, lines.append)
    assert lines[0] == f"Fetching {published.url('/' + WEIGHTS_NAME)}" and "is in place" in lines[-1]
    assert [file.name for file in (models / "keras").iterdir() if file.suffix == ".h5"] == [WEIGHTS_NAME]
    found = open_extractor(SMALL)
    assert identify_extractor(SMALL).fingerprint == found.fingerprint != small.fingerprint
    # The weights served are the random ones, so the vectors must be theirs.
    few = [*pictures.values()][:3]
    assert np.abs(found.embed(few) - small.embed(few)).max() <= MAX_DIFFERENCE
    prepare_extractor(SMALL, None, quiet)
    assert published.count(f"/{WEIGHTS_NAME}") == 1
    kept = extractor_files(SMALL)
    assert len(kept) == 4 and all(file.is_file() for file in kept) and models / "keras" / WEIGHTS_NAME in kept


def test_a_file_that_lies_there_already_is_taken(published: FaultServer, weights: Path, models: Path) -> None:
    (models / "keras").mkdir()
    shutil.copy(weights, models / "keras" / WEIGHTS_NAME)
    lines: list[str] = []
    keras_applications._fetch(chosen(SMALL), lines.append)
    assert "is there already" in lines[0] and published.count(f"/{WEIGHTS_NAME}") == 0
    assert identify_extractor(SMALL)


def test_altered_weights_are_refused_and_fetched_again(published: FaultServer, models: Path) -> None:
    keras_applications._fetch(chosen(SMALL), quiet)
    file = models / "keras" / WEIGHTS_NAME
    right = file.read_bytes()
    file.write_bytes(right[:-1] + b"?")
    with pytest.raises(ModelError, match=r"altered or cut: delete the file and run `vetrina models`"):
        open_extractor(SMALL)
    keras_applications._fetch(chosen(SMALL), quiet)
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
        prepare_extractor(SMALL, None, quiet)
    assert list((models / "keras").iterdir()) == []


def test_a_download_is_bounded_in_time_and_size(published: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = keras_weights._LIMITS
    assert limits.deadline <= 3600 and limits.max_bytes <= 4 << 30 and limits.max_redirects <= 5
    monkeypatch.setattr(keras_weights, "_LIMITS", replace(limits, deadline=0.2, attempts=1))
    published.fail(f"/{WEIGHTS_NAME}", faults.drip())
    with pytest.raises(ModelError, match=r"did not arrive within 0.2 s"):
        keras_applications._fetch(chosen(SMALL), quiet)
    monkeypatch.setattr(keras_weights, "_LIMITS", replace(limits, max_bytes=1000))
    published.fail(f"/{WEIGHTS_NAME}", faults.answer(bytes(5000)))
    with pytest.raises(ModelError, match=r"larger than 1000 bytes"):
        keras_applications._fetch(chosen(SMALL), quiet)


def test_offline_nothing_is_asked(published: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VETRINA_OFFLINE", "yes")
    with pytest.raises(ModelError, match=r"alpha=0.35 is not on this machine, and VETRINA_OFFLINE forbids"):
        prepare_extractor(SMALL, None, quiet)
    assert published.count(f"/{WEIGHTS_NAME}") == 0


def test_a_server_that_is_not_reached_is_said_with_what_to_do(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.applications import mobilenet_v2

    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", "http://127.0.0.1:9/")
    with pytest.raises(ModelError) as failure:
        prepare_extractor(SMALL, None, quiet)
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
        prepare_extractor("keras:EfficientNetB0", None, quiet)
    assert list((models / "keras").iterdir()) == []


def test_efficientnet_is_the_network_that_keras_makes_for_imagenet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras
    from keras.src.utils import file_utils

    file = tmp_path / "efficientnetb0_notop.h5"
    save_published(network_of("keras:EfficientNetB0#weights=random"), file)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(file))
    theirs = keras.applications.EfficientNetB0(include_top=False, pooling="avg", input_shape=(224, 224, 3))
    ours = build_network(chosen(f"keras:EfficientNetB0#weights={file}"))
    plain = keras.applications.EfficientNetB0(
        include_top=False, pooling="avg", input_shape=(224, 224, 3), weights=str(file)
    )
    picture = np.random.default_rng(3).integers(0, 256, (1, 224, 224, 3)).astype(np.float32)
    one, other, third = (normalised(np.asarray(each(picture, training=False))) for each in (ours, theirs, plain))
    assert np.abs(one - other).max() <= MAX_DIFFERENCE
    assert np.abs(third - other).max() > 1e-3, "Keras makes another network for a file, so there is something to do"


# Weights in a file of one's own


def test_every_kind_of_file_gives_the_same_network(weights: Path, tmp_path: Path) -> None:
    network = network_of(RANDOM)
    network.save(str(tmp_path / "whole.keras"))
    network.save_weights(str(tmp_path / "own.weights.h5"))
    expected = [np.asarray(value) for value in network.weights]
    for file in (weights, tmp_path / "whole.keras", tmp_path / "own.weights.h5"):
        built = build_network(chosen(f"{SMALL},weights={file}"))
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
    save_published(network_of("keras:MobileNetV2#alpha=0.5,weights=random"), file)


def _of_a_part(file: Path, weights: Path) -> None:
    import keras

    network = network_of(RANDOM)
    save_published(keras.Model(network.inputs, network.layers[40].output), file)


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
        (_of_another_width, "w.h5", r"are not of keras:MobileNetV2#alpha=0\.35,weights=.+: .*shape"),
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
        prepare_extractor(f"{SMALL},weights={tmp_path / name}", None, quiet)
    assert sorted(models.rglob("*")) == kept


def test_records_hold_what_names_the_weights(published: FaultServer, models: Path) -> None:
    keras_applications._fetch(chosen(SMALL), quiet)
    record = json.loads((models / "keras" / "MobileNetV2-0.35.json").read_text())
    assert record == {"file": WEIGHTS_NAME, "sha256": keras_weights.digest_of(models / "keras" / WEIGHTS_NAME)}
