"""Fine-tuned extractors: opened by their handle out of a store, checked, and trainable further."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.drawn import tiny_network
from support.s3_server import S3Server
from support.tiny_models import DIMS, PREPROCESSING, noise, publish_tiny

from vetrina.embedding.backbone import backbone_of
from vetrina.embedding.extractor import identify_extractor, open_extractor, prepare_extractor
from vetrina.embedding.on_litert import MAX_DIFFERENCE, LiteRTExtractor, converted_anew
from vetrina.embedding.preprocessing import normalised
from vetrina.embedding.tuned import KERAS_FILE, LITERT_FILE, MANIFEST, TunedModel, tuned_models
from vetrina.errors import ModelError
from vetrina.models import models_folder, sha256_hex
from vetrina.store import Store

ABSENT = "models/00112233445566ff"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TunedModel]:
    """A store with one fine-tuned model, made once; tests that alter it work on a copy."""
    folder = tmp_path_factory.mktemp("published")
    return folder, publish_tiny(Store(folder), folder / "no logs")


@pytest.fixture
def store(published: tuple[Path, TunedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A copy of that store, and a machine that has no copy of the model yet."""
    monkeypatch.setenv("VETRINA_MODELS", str(tmp_path / "models"))
    shutil.copytree(published[0], tmp_path / "store")
    yield Store(tmp_path / "store")


@pytest.fixture
def model(published: tuple[Path, TunedModel]) -> TunedModel:
    return published[1]


def in_store(store: Store, model: TunedModel, name: str) -> Path:
    return Path(store.root) / model.handle / name


def copy_of(model: TunedModel, name: str) -> Path:
    return models_folder() / "tuned" / model.fingerprint / name


def test_its_vectors_are_those_of_the_network_that_was_trained(store: Store, model: TunedModel) -> None:
    extractor = open_extractor(model.handle, store)
    assert (extractor.handle, extractor.fingerprint, extractor.dims) == (model.handle, model.fingerprint, DIMS)
    pictures = noise(5)
    prepared = np.concatenate([PREPROCESSING(pixels) for pixels in pictures])
    expected = normalised(np.asarray(tiny_network()(prepared, training=False)))
    assert np.abs(extractor.embed(pictures) - expected).max() <= MAX_DIFFERENCE
    assert extractor.embed([]).shape == (0, DIMS)


def test_a_handle_names_its_model_without_a_store_or_a_runtime() -> None:
    code = (
        f"from vetrina.embedding.extractor import identify_extractor as i; print(i({ABSENT!r}).fingerprint)\n"
        "import sys; print({'tensorflow', 'keras', 'ai_edge_litert'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [ABSENT.removeprefix("models/"), "set()"]


def test_a_model_that_is_not_there_is_told_with_those_that_are(store: Store, model: TunedModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"no model {ABSENT} in .*it has {model.handle} \(shape, 2026-01-02\)$"):
        open_extractor(ABSENT, store)
    with pytest.raises(ModelError, match=r"no fine-tuned model yet: vetrina finetune --label ATTRIBUTE$"):
        open_extractor(ABSENT, Store(tmp_path / "empty"))


def test_once_it_was_prepared_it_opens_without_the_store(store: Store, model: TunedModel) -> None:
    with pytest.raises(
        ModelError, match=f"not on this machine yet: run vetrina models with VETRINA_EXTRACTOR={model.handle}"
    ):
        open_extractor(model.handle, None)
    lines: list[str] = []
    prepare_extractor(model.handle, store, lines.append)
    assert lines == [f"Extractor {model.handle} is in place: {copy_of(model, LITERT_FILE)}"]
    shutil.rmtree(store.root)
    assert open_extractor(model.handle, None).embed(noise(1)).shape == (1, DIMS)


@pytest.mark.parametrize("damage", ["cut", "altered", "gone"])
def test_a_damaged_file_of_the_store_is_refused_and_never_copied(store: Store, model: TunedModel, damage: str) -> None:
    file = in_store(store, model, LITERT_FILE)
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-100] if damage == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    said = "is missing" if damage == "gone" else "is altered or cut"
    with pytest.raises(
        ModelError, match=rf"{LITERT_FILE} in .* {said}: restore it from a backup, or delete its folder"
    ):
        open_extractor(model.handle, store)
    assert not copy_of(model, LITERT_FILE).exists()


@pytest.mark.parametrize("name", [LITERT_FILE, MANIFEST])
def test_a_damaged_copy_on_this_machine_is_fetched_again(store: Store, model: TunedModel, name: str) -> None:
    first = open_extractor(model.handle, store).embed(noise(2))
    copy_of(model, name).write_bytes(b"{}")
    assert np.array_equal(open_extractor(model.handle, store).embed(noise(2)), first)
    assert copy_of(model, name).read_bytes() == in_store(store, model, name).read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values.pop("files"), "cannot be used"),
        (lambda values: values["preprocessing"].update(scale=[0, 1, 1]), "cannot be used"),
        (lambda values: values.update(weights="another"), "describes another model"),
        (lambda values: values.update(dims=13), "describes another model"),
    ],
)
def test_a_description_that_is_not_the_models_is_refused(store: Store, model: TunedModel, change, said: str) -> None:
    file = in_store(store, model, MANIFEST)
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=rf"model.json of {model.handle} {said}"):
        open_extractor(model.handle, store)
    assert tuned_models(store) == []


def test_a_folder_without_a_description_is_no_model(store: Store, model: TunedModel) -> None:
    in_store(store, model, MANIFEST).unlink()
    with pytest.raises(ModelError, match=f"There is no model {model.handle} .* no fine-tuned model yet"):
        open_extractor(model.handle, store)


def test_it_takes_no_options() -> None:
    with pytest.raises(ModelError, match="unknown option 'alpha'; it takes none"):
        identify_extractor(f"{ABSENT}#alpha=1")


def test_the_fingerprint_is_of_what_makes_vectors_and_of_nothing_else(model: TunedModel) -> None:
    same = dataclasses.replace(model, trained_at="2030-01-01T00:00:00+00:00", plan={}, summary={}, files={})
    assert same.fingerprint == model.fingerprint
    for other in (
        dataclasses.replace(model, weights="0"),
        dataclasses.replace(model, dims=13),
        dataclasses.replace(model, code=model.code + 1),
        dataclasses.replace(model, preprocessing=dataclasses.replace(PREPROCESSING, side=33)),
    ):
        assert other.fingerprint != model.fingerprint
    assert TunedModel.from_bytes(model.as_bytes(), model.fingerprint) == model


def test_every_file_of_the_folder_is_named_with_its_checksum(store: Store, model: TunedModel) -> None:
    folder = Path(store.root) / model.handle
    there = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    del there[MANIFEST]
    assert {name: sha256_hex(data) for name, data in there.items()} == model.files


def test_it_can_be_trained_further(store: Store, model: TunedModel) -> None:
    with pytest.raises(ModelError, match="not on this machine yet"):
        backbone_of(model.handle)
    prepare_extractor(model.handle, store, lambda line: None)
    found = backbone_of(model.handle)
    assert (found.fingerprint, found.dims, found.preprocessing) == (model.fingerprint, DIMS, PREPROCESSING)
    prepared = PREPROCESSING(noise(1)[0])
    again, trained = (np.asarray(network(prepared, training=False)) for network in (found.build(), tiny_network()))
    assert np.abs(again - trained).max() <= MAX_DIFFERENCE


def test_a_network_file_that_keras_cannot_read_is_an_error_in_words(store: Store, model: TunedModel) -> None:
    rubbish = b"no archive"
    file = in_store(store, model, MANIFEST)
    values = json.loads(file.read_text())
    values["files"][KERAS_FILE] = sha256_hex(rubbish)
    file.write_text(json.dumps(values))
    in_store(store, model, KERAS_FILE).write_bytes(rubbish)
    prepare_extractor(model.handle, store, lambda line: None)
    with pytest.raises(ModelError, match=f"The network of {model.handle} cannot be built"):
        backbone_of(model.handle).build()


def test_a_model_lies_in_an_s3_store_as_well(
    s3: S3Server, published: tuple[Path, TunedModel], model: TunedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VETRINA_MODELS", str(tmp_path / "models"))
    store = Store("s3://shop/tuned")
    for file in (published[0] / model.handle).rglob("*"):
        if file.is_file():
            store.write(str(file.relative_to(published[0])), file.read_bytes())
    assert open_extractor(model.handle, store).embed(noise(1)).shape == (1, DIMS)


def test_a_file_that_is_no_network_or_another_one_is_refused() -> None:
    with pytest.raises(ModelError, match="The model of the extractor h does not run"):
        LiteRTExtractor("h", "f", DIMS, PREPROCESSING, b"TFL3 no model").embed(noise(1))
    file = converted_anew(tiny_network(), PREPROCESSING, "tiny")
    with pytest.raises(ModelError, match="The extractor h has unexpected inputs or outputs"):
        LiteRTExtractor("h", "f", DIMS + 1, PREPROCESSING, file).embed(noise(1))


def test_a_network_that_gives_no_numbers_is_never_converted() -> None:
    network = tiny_network()
    network.layers[-2].bias.assign(np.full(DIMS, np.nan))
    with pytest.raises(ModelError, match="gives numbers that are not finite"):
        converted_anew(network, PREPROCESSING, "tiny")
