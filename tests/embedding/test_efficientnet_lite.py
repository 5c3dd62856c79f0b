import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vetrina.embedding import efficientnet_lite
from vetrina.embedding.efficientnet_lite import MAX_DIFFERENCE, PREPROCESSING, keras_model
from vetrina.embedding.extractor import Extractor, open_extractor
from vetrina.embedding.legacy_torch import read_legacy_torch
from vetrina.embedding.lite0_keras import Lite0Builder
from vetrina.embedding.preprocessing import letterbox, normalised
from vetrina.errors import ModelError
from vetrina.models import bundled, files

# ImageNet indices: the name among the first five, and whether it is the first.
EXPECTED = {
    "oak-chair": ({559, 765}, True),  # folding chair, rocking chair
    "white-chair": ({559}, True),
    "teddy-bear": ({850}, True),
    "umbrella": ({879}, True),
    "television": ({782, 851}, True),  # screen, television
    "yogurt-bottle": ({898, 680}, True),  # water bottle, nipple
    "coffee-cup": ({967, 968}, False),  # espresso, cup
    "box": ({519, 478, 492}, True),  # crate, carton, chest
}
# The first numbers of the vector of oak-chair.png. Pinned: if they change, every stored vector is void, and the
# fingerprint must change with them.
PINNED = [
    0.00368,
    0.00000,
    0.00000,
    0.00000,
    0.00000,
    0.02449,
    0.00064,
    0.00000,
    0.00000,
    0.00000,
    0.00000,
    0.00000,
    0.01288,
    0.02181,
    0.00972,
    0.00000,
    0.00064,
    0.00000,
    0.00000,
    0.00000,
    0.00000,
    0.07897,
    0.00000,
    0.08178,
]


def _raw(model: Any, pictures: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(model.predict(np.concatenate([PREPROCESSING(p) for p in pictures.values()]), verbose=0))


@pytest.fixture(scope="module")
def vectors(extractor: Extractor, pictures: dict[str, np.ndarray]) -> np.ndarray:
    return extractor.embed([*pictures.values()])


@pytest.mark.parametrize("name", EXPECTED)
def test_the_network_recognises_known_products(name: str, classifier: Any, pictures: dict[str, np.ndarray]) -> None:
    best = np.argsort(-classifier.predict(PREPROCESSING(pictures[name]), verbose=0)[0])[:5].tolist()
    indices, first = EXPECTED[name]
    assert best[0] in indices if first else indices & set(best)


def test_vectors_are_1280_float32_numbers_of_length_1(extractor: Extractor, vectors: np.ndarray) -> None:
    assert vectors.shape == (12, 1280) == (12, extractor.dims) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_vector_of_a_known_picture_is_the_pinned_one(
    vectors: np.ndarray, pictures: dict[str, np.ndarray], extractor: Extractor
) -> None:
    assert np.allclose(vectors[list(pictures).index("oak-chair"), :24], PINNED, atol=1e-3)
    assert np.std(PINNED) > 3e-3, "numbers near zero would pin nothing"
    assert extractor.fingerprint == "eac8d766f0d7b3fb"


@pytest.mark.parametrize(("one", "other"), [("bootie", "slippers"), ("coffee-cup", "beer-glass")])
def test_like_is_nearer_than_unlike(one: str, other: str, vectors: np.ndarray, pictures: dict[str, np.ndarray]) -> None:
    names = list(pictures)
    cosines = vectors @ vectors.T - 2 * np.eye(len(names))
    assert names[cosines[names.index(one)].argmax()] == other
    assert names[cosines[names.index(other)].argmax()] == one


@pytest.mark.parametrize("folded", [True, False])
def test_keras_and_litert_give_the_same_vectors(
    folded: bool, vectors: np.ndarray, pictures: dict[str, np.ndarray]
) -> None:
    keras_vectors = normalised(_raw(keras_model(folded=folded), pictures))
    assert np.abs(keras_vectors - vectors).max() <= MAX_DIFFERENCE


def test_one_by_one_in_any_order_from_any_thread_gives_the_same_vectors(
    extractor: Extractor, vectors: np.ndarray, pictures: dict[str, np.ndarray]
) -> None:
    rows = [*range(len(vectors))] * 2 + [*range(len(vectors))][::-1]
    values = [*pictures.values()]
    with ThreadPoolExecutor(4) as pool:
        again = np.concatenate(list(pool.map(lambda row: extractor.embed([values[row]]), rows)))
    assert np.abs(again - vectors[rows]).max() <= MAX_DIFFERENCE


def test_padding_the_torch_way_is_not_the_same_network(vectors: np.ndarray, pictures: dict[str, np.ndarray]) -> None:
    class Symmetric(Lite0Builder):
        def convolution(
            self, x: Any, kernel: np.ndarray, stride: int, depthwise: bool, options: dict[str, Any]
        ) -> tuple[Any, Any]:
            layers = self._keras.layers
            size = kernel.shape[0]
            kind = layers.DepthwiseConv2D if depthwise else layers.Conv2D
            arguments = (size, stride) if depthwise else (kernel.shape[3], size, stride)
            layer = kind(*arguments, padding="valid", **options)
            return layer(layers.ZeroPadding2D(size // 2)(x)), layer

    wrong = Symmetric(read_legacy_torch(bundled.lite0_weights()), folded=True).build()
    cosines = (normalised(_raw(wrong, pictures)) * vectors).sum(axis=1)
    assert np.median(cosines) < 0.99 and np.abs(normalised(_raw(wrong, pictures)) - vectors).max() > 1e-2


def test_the_model_is_fed_minus_one_to_one_and_not_0_to_255() -> None:
    ends = np.zeros((224, 224, 3), np.uint8)
    ends[:112] = 255
    fed = PREPROCESSING(ends)
    assert fed.shape == (1, 224, 224, 3) and fed.dtype == np.float32
    assert fed.min() == -127 / 128 and fed.max() == 1


def test_letterboxing_keeps_the_shape_and_pads_with_the_borders_mean_colour() -> None:
    tall = np.full((100, 50, 3), (200, 100, 50), np.uint8)
    tall[40:60, 20:30] = 0
    square = letterbox(tall, 224)
    assert square.shape == (224, 224, 3) and square.dtype == np.uint8
    assert (square[:, :56] == (200, 100, 50)).all() and (square[:, 168:] == (200, 100, 50)).all()
    rows, columns = np.nonzero(square[:, :, 0] < 100)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert abs(height - 44.8) <= 2 and abs(width - 22.4) <= 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (3000, 2), (224, 224), (225, 224), (37, 900)])
def test_any_size_becomes_a_vector(shape: tuple[int, int], extractor: Extractor) -> None:
    vector = extractor.embed([np.full((*shape, 3), 128, np.uint8)])
    assert np.isfinite(vector).all() and np.isclose(np.linalg.norm(vector), 1)


def test_the_size_of_a_picture_changes_its_vector_little(extractor: Extractor, pictures: dict[str, np.ndarray]) -> None:
    small = pictures["oak-chair"]
    large = np.repeat(np.repeat(small, 5, axis=0), 5, axis=1)
    one, other = extractor.embed([small, large])
    assert one @ other > 0.9


def test_nothing_to_embed_is_an_empty_table(extractor: Extractor) -> None:
    assert extractor.embed([]).shape == (0, 1280)


@pytest.mark.parametrize(
    "pixels", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3), np.float32)]
)
def test_what_is_no_rgb_picture_is_refused(pixels: np.ndarray, extractor: Extractor) -> None:
    with pytest.raises(ValueError, match="uint8"):
        extractor.embed([pixels])


def test_an_unknown_extractor_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"did you mean 'bundled:efficientnet-lite0'.*Extractors: bundled"):
        open_extractor("bundled:efficientnet-lit0")


def test_an_altered_model_is_refused_on_opening_and_on_fetching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extractor: Extractor
) -> None:
    right = efficientnet_lite.model_file()
    data, sidecar = bytearray(right.read_bytes()), right.with_suffix(".sha256").read_bytes()
    data[len(data) // 2] ^= 1
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path))
    altered = efficientnet_lite.model_file()
    files.write_atomically(altered, bytes(data))
    files.write_atomically(altered.with_suffix(".sha256"), sidecar)
    with pytest.raises(ModelError, match="altered"):
        open_extractor()
    with pytest.raises(ModelError, match="altered"):
        efficientnet_lite.fetch_extractor(lambda line: None)


def test_a_conversion_that_changes_the_vectors_is_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extractor: Extractor, classifier: Any
) -> None:
    converted = efficientnet_lite.model_file().read_bytes()
    weights = {name: tensor.copy() for name, tensor in read_legacy_torch(bundled.lite0_weights()).items()}
    weights["_bn1.bias"] += 0.05
    wrong = Lite0Builder(weights, folded=True).build()
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(efficientnet_lite, "keras_model", lambda: wrong)
    monkeypatch.setattr(efficientnet_lite, "convert_to_litert", lambda model: converted)
    with pytest.raises(ModelError, match="changed the vectors"):
        efficientnet_lite.fetch_extractor(lambda line: None)
    assert not list(tmp_path.rglob("*.tflite"))


def test_embedding_with_the_fetched_model_loads_no_tensorflow(extractor: Extractor) -> None:
    code = (
        "import sys, numpy as np\n"
        "import vetrina.embedding.extractor, vetrina.embedding.efficientnet_lite\n"
        "assert 'ai_edge_litert' not in sys.modules, 'naming an extractor loads no runtime'\n"
        "vetrina.embedding.extractor.open_extractor().embed([np.zeros((9, 9, 3), np.uint8)])\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'tf_keras')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
