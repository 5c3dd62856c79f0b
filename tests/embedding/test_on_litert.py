"""Conversion to LiteRT: what is kept, at which precision, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.lite import lite

from vetrina.embedding import on_litert
from vetrina.embedding.extractor import Extractor, extractor_files, open_extractor, prepare_extractor
from vetrina.embedding.on_litert import converted, model_file
from vetrina.embedding.precision import made_up_pictures
from vetrina.embedding.preprocessing import Preprocessing
from vetrina.errors import ModelError
from vetrina.models import files

LITE0 = "bundled:efficientnet-lite0"
SMALL = Preprocessing(32)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder."""
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path / "weights"))
    return tmp_path / "weights"


def _network(seed: int = 0) -> Any:
    """A network of one convolution, for what has nothing to do with its size."""
    import keras

    picture = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 5, 4, activation="relu", kernel_initializer=keras.initializers.HeNormal(seed))(picture)
    return keras.Model(picture, keras.layers.GlobalAveragePooling2D()(x))


def _forbidden() -> Any:
    raise AssertionError("what is kept is not made again")


@pytest.mark.parametrize(("precision", "share", "cosine"), [("float16", 0.52, 0.9998), ("int8", 0.31, 0.95)])
def test_a_reduced_model_is_smaller_and_its_vectors_stay_near(
    precision: str, share: float, cosine: float, extractor: Extractor, pictures: dict[str, np.ndarray]
) -> None:
    handle = f"{LITE0}#precision={precision}"
    prepare_extractor(handle, None, lambda line: None)
    reduced = open_extractor(handle)
    assert reduced.fingerprint == lite(handle).fingerprint != extractor.fingerprint
    assert [file.exists() for file in extractor_files(handle)] == [True, True]
    sizes = [model_file(found.fingerprint).stat().st_size for found in (reduced, extractor)]
    assert sizes[0] < share * sizes[1]
    exact, near = (found.embed([*pictures.values()]) for found in (extractor, reduced))
    cosines = (exact * near).sum(axis=1)
    assert cosine < cosines.min() and np.abs(exact - near).max() > 1e-4, "it is another model, and not far"


def test_a_model_is_converted_once_and_found_afterwards(empty: Path) -> None:
    made = converted("a" * 16, _network, SMALL, "test:small")
    assert sorted(file.name for file in empty.rglob("*") if file.is_file()) == [
        f"{'a' * 16}.sha256",
        f"{'a' * 16}.tflite",
    ]
    assert converted("a" * 16, _forbidden, SMALL, "test:small") == made


def test_an_altered_model_is_refused_on_opening_and_on_preparing(extractor: Extractor, tmp_path: Path) -> None:
    right = model_file(extractor.fingerprint)
    data, sidecar = bytearray(right.read_bytes()), right.with_suffix(".sha256").read_bytes()
    data[len(data) // 2] ^= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(files.FOLDER_VARIABLE, str(tmp_path))
        altered = model_file(extractor.fingerprint)
        files.write_atomically(altered, bytes(data))
        files.write_atomically(altered.with_suffix(".sha256"), sidecar)
        with pytest.raises(ModelError, match="altered"):
            open_extractor()
        with pytest.raises(ModelError, match="altered"):
            prepare_extractor(LITE0, None, lambda line: None)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_conversion_that_changes_the_vectors_is_not_kept(
    empty: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    convert: Callable[..., bytes] = on_litert._convert
    monkeypatch.setattr(on_litert, "_convert", lambda network, *how: convert(_network(seed=1), *how))
    with pytest.raises(ModelError, match=r"test:small to LiteRT changed the vectors by .*: not kept"):
        converted("b" * 16, _network, SMALL, "test:small", precision)
    assert not list(empty.rglob("*.tflite"))


def test_a_conversion_that_does_not_run_is_not_kept(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_litert, "_convert", lambda network, *how: b"no model at all")
    with pytest.raises(ModelError, match=r"test:small does not run: .*Flatbuffer"):
        converted("c" * 16, _network, SMALL, "test:small")
    assert not list(empty.rglob("*.tflite"))


def test_a_network_that_gives_nan_is_not_kept(empty: Path) -> None:
    def broken() -> Any:
        network = _network()
        network.set_weights([np.full_like(values, np.nan) for values in network.get_weights()])
        return network

    with pytest.raises(ModelError, match="not finite"):
        converted("d" * 16, broken, SMALL, "test:small")
    assert not list(empty.rglob("*.tflite"))


def test_made_up_pictures_are_the_same_everywhere_and_all_different() -> None:
    one, again = (np.stack(list(made_up_pictures(48, 6, seed=3))) for _ in range(2))
    assert one.shape == (6, 48, 48, 3) and one.dtype == np.uint8 and np.array_equal(one, again)
    assert len({picture.tobytes() for picture in one}) == 6
    assert not np.array_equal(one, np.stack(list(made_up_pictures(48, 6, seed=4))))
    assert one.reshape(6, -1).std(axis=1).min() > 5, "a picture of one colour shows a network nothing"
