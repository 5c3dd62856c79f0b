"""The bundled extractors, each against its own weights: what it recognises, its vectors on every path, its errors."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image
from support.lite import lite

from vetrina.embedding import efficientnet_lite
from vetrina.embedding.backbone import backbone_of
from vetrina.embedding.extractor import Extractor, identify_extractor, open_extractor, prepare_extractor
from vetrina.embedding.legacy_torch import read_legacy_torch
from vetrina.embedding.lite_keras import NETWORKS, LiteBuilder
from vetrina.embedding.on_litert import MAX_DIFFERENCE
from vetrina.embedding.on_tensorflow import TensorFlowExtractor
from vetrina.embedding.preprocessing import letterbox, normalised
from vetrina.errors import ModelError
from vetrina.models.bundled import LITE_WEIGHTS

LITE0, LITE1, LITE2 = (f"bundled:{name}" for name in NETWORKS)
# ImageNet indices, of which one must be among the first five answers.
EXPECTED = {
    "oak-chair": {559, 765},  # folding chair, rocking chair
    "white-chair": {559},
    "teddy-bear": {850},
    "umbrella": {879},
    "television": {782, 851},  # screen, television
    "yogurt-bottle": {898, 680},  # water bottle, nipple
    "coffee-cup": {967, 968},  # espresso, cup
    "box": {519, 478, 492},  # crate, carton, chest
}
# For how many it is the first answer; these are drawings of 128 pixels.
FIRST = {LITE0: 7, LITE1: 5, LITE2: 7}
# The first numbers of the vector of oak-chair.png. Pinned: if they change, every stored vector is void, and the
# fingerprint must change with them.
PINNED = {
    LITE0: (
        "eac8d766f0d7b3fb",
        "0.00368, 0.0, 0.0, 0.0, 0.0, 0.02449, 0.00064, 0.0, 0.0, 0.0, 0.0, 0.0, 0.01288, 0.02181, 0.00972, "
        "0.0, 0.00064, 0.0, 0.0, 0.0, 0.0, 0.07897, 0.0, 0.08178",
    ),
    LITE1: (
        "9f07b1b493c5ca8e",
        "0.0, 0.0, 0.00111, 0.0, 0.0, 0.02329, 0.00452, 0.05018, 0.00216, 0.00672, 0.0, 0.00449, 0.0, "
        "0.00371, 0.02032, 0.04357, 0.0, 0.0, 0.0, 0.0, 0.00193, 0.00241, 0.02318, 0.00236",
    ),
    LITE2: (
        "c0d0df0f50d24eb3",
        "0.0, 0.06105, 0.0, 0.0, 0.0, 0.04896, 0.0, 0.00589, 0.05032, 0.01753, 0.01629, 0.04471, 0.00108, "
        "0.0, 0.00117, 0.0, 0.0, 0.0114, 0.0, 0.03965, 0.0, 0.0, 0.00531, 0.0",
    ),
}


@dataclass(frozen=True)
class Member:
    """A member of the family with what the tests ask of it, made once."""

    handle: str
    extractor: Extractor
    pictures: dict[str, np.ndarray]

    @cached_property
    def vectors(self) -> np.ndarray:
        return self.extractor.embed([*self.pictures.values()])

    @cached_property
    def fed(self) -> np.ndarray:
        return np.concatenate([lite(self.handle).preprocessing(picture) for picture in self.pictures.values()])


@pytest.fixture(scope="module", params=[LITE0, LITE1, LITE2])
def member(request: pytest.FixtureRequest, pictures: dict[str, np.ndarray]) -> Member:
    prepare_extractor(request.param, None, lambda line: None)
    return Member(request.param, open_extractor(request.param), pictures)


@pytest.fixture(scope="module")
def vectors(extractor: Extractor, pictures: dict[str, np.ndarray]) -> np.ndarray:
    return extractor.embed([*pictures.values()])


def _numbers(network: Any, fed: np.ndarray) -> np.ndarray:
    return np.asarray(network(fed, training=False))


def test_the_network_recognises_known_products_and_a_photo(member: Member) -> None:
    rows = [list(member.pictures).index(name) for name in EXPECTED]
    photo = np.array(Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB"))
    fed = np.concatenate([member.fed[rows], lite(member.handle).preprocessing(photo)])
    logits = _numbers(lite(member.handle).network(folded=False, classifier=True), fed)
    *answers, best_of_photo = np.argsort(-logits)[:, :5].tolist()
    first = 0
    for (name, right), best in zip(EXPECTED.items(), answers, strict=True):
        assert right & set(best), name
        first += best[0] in right
    assert first == FIRST[member.handle]
    assert best_of_photo[0] == 652  # military uniform


def test_the_vector_of_a_known_picture_is_the_pinned_one(member: Member) -> None:
    fingerprint, numbers = PINNED[member.handle]
    pinned = np.array([float(number) for number in numbers.split(",")])
    assert len(pinned) == 24 and np.std(pinned) > 3e-3, "numbers near zero would pin nothing"
    assert np.allclose(member.vectors[list(member.pictures).index("oak-chair"), :24], pinned, atol=1e-4)
    assert member.extractor.fingerprint == identify_extractor(member.handle).fingerprint == fingerprint


@pytest.mark.parametrize("folded", [True, False])
def test_keras_and_litert_give_the_same_vectors(folded: bool, member: Member) -> None:
    network = backbone_of(member.handle).build() if folded else lite(member.handle).network(folded=False)
    difference = np.abs(normalised(_numbers(network, member.fed)) - member.vectors).max()
    assert difference <= MAX_DIFFERENCE


def test_where_there_is_a_card_tensorflow_gives_the_same_vectors_in_batches(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(efficientnet_lite, "has_card", lambda: True)
    extractor = open_extractor(member.handle)
    assert isinstance(extractor, TensorFlowExtractor) and extractor.batch > 1
    assert extractor.fingerprint == member.extractor.fingerprint
    assert np.abs(extractor.embed([*member.pictures.values()]) - member.vectors).max() <= MAX_DIFFERENCE


def test_a_reduced_precision_stays_on_litert_where_there_is_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "has_card", lambda: True)
    assert open_extractor(f"{LITE0}#precision=float16").batch == 1


def test_members_and_precisions_never_share_a_fingerprint() -> None:
    handles = [handle + tail for handle in PINNED for tail in ("", "#precision=float16", "#precision=int8")]
    assert len({identify_extractor(handle).fingerprint for handle in handles}) == 9
    assert identify_extractor(f"{LITE0}#precision=float32").fingerprint == identify_extractor(LITE0).fingerprint


def test_vectors_are_1280_float32_numbers_of_length_1(extractor: Extractor, vectors: np.ndarray) -> None:
    assert vectors.shape == (12, 1280) == (12, extractor.dims) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("one", "other"), [("bootie", "slippers"), ("coffee-cup", "beer-glass")])
def test_like_is_nearer_than_unlike(one: str, other: str, vectors: np.ndarray, pictures: dict[str, np.ndarray]) -> None:
    names = list(pictures)
    cosines = vectors @ vectors.T - 2 * np.eye(len(names))
    assert names[cosines[names.index(one)].argmax()] == other
    assert names[cosines[names.index(other)].argmax()] == one


def test_one_by_one_in_any_order_from_any_thread_gives_the_same_vectors(
    extractor: Extractor, vectors: np.ndarray, pictures: dict[str, np.ndarray]
) -> None:
    rows = [*range(len(vectors))] * 2 + [*range(len(vectors))][::-1]
    values = [*pictures.values()]
    with ThreadPoolExecutor(4) as pool:
        again = np.concatenate(list(pool.map(lambda row: extractor.embed([values[row]]), rows)))
    assert np.abs(again - vectors[rows]).max() <= MAX_DIFFERENCE


def test_padding_the_torch_way_is_not_the_same_network(vectors: np.ndarray, pictures: dict[str, np.ndarray]) -> None:
    class Symmetric(LiteBuilder):
        def convolution(
            self, x: Any, kernel: np.ndarray, stride: int, depthwise: bool, options: dict[str, Any]
        ) -> tuple[Any, Any]:
            layers = self._keras.layers
            size = kernel.shape[0]
            kind = layers.DepthwiseConv2D if depthwise else layers.Conv2D
            arguments = (size, stride) if depthwise else (kernel.shape[3], size, stride)
            layer = kind(*arguments, padding="valid", **options)
            return layer(layers.ZeroPadding2D(size // 2)(x)), layer

    model = lite(LITE0)
    fed = np.concatenate([model.preprocessing(picture) for picture in pictures.values()])
    weights = read_legacy_torch(LITE_WEIGHTS[model.name].read())
    wrong = normalised(_numbers(Symmetric(NETWORKS[model.name], weights, folded=True).build(), fed))
    assert np.median((wrong * vectors).sum(axis=1)) < 0.99 and np.abs(wrong - vectors).max() > 1e-2


def test_the_model_is_fed_minus_one_to_one_and_not_0_to_255() -> None:
    ends = np.zeros((224, 224, 3), np.uint8)
    ends[:112] = 255
    fed = lite(LITE0).preprocessing(ends)
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
    with pytest.raises(ModelError, match=r"did you mean 'bundled:efficientnet-lite0'.*bundled:efficientnet-lite2"):
        open_extractor("bundled:efficientnet-lit0")


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        ("#precision=int4", r"has the precision 'int4'; use one of float32, float16, int8"),
        ("#precision=int8,precision=int8", "has the option 'precision' twice"),
        ("#size=240", r"has an unknown option 'size'; it takes precision"),
    ],
)
def test_an_option_that_there_is_not_is_refused_before_anything_is_loaded(handle: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        identify_extractor(LITE0 + handle)


def test_rounded_weights_are_not_trained_further() -> None:
    with pytest.raises(ModelError, match=r"int8 cannot be trained further.*take bundled:efficientnet-lite1"):
        backbone_of(f"{LITE1}#precision=int8")


def test_a_backbone_says_what_its_input_went_through_and_what_it_gives() -> None:
    backbone = backbone_of(LITE2)
    assert (backbone.preprocessing.side, backbone.dims) == (260, 1280)
    assert backbone.fingerprint == identify_extractor(LITE2).fingerprint


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
