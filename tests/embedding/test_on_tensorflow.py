"""A function of tensors as an extractor: batches of few shapes, found by trying, halved where memory ends."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from vetrina.accelerator import tensorflow
from vetrina.embedding import on_tensorflow
from vetrina.embedding.on_tensorflow import BATCH, TensorFlowExtractor, find_batch, padded
from vetrina.embedding.preprocessing import Preprocessing
from vetrina.errors import ModelError

SIDE = 8


class Corners:
    """A network: the numbers of two pixels, and how many pictures came in each call. No more than `room` fit."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.shapes: list[int] = []

    def __call__(self, pictures: np.ndarray) -> Any:
        self.shapes.append(len(pictures))
        if len(pictures) > self.room:
            raise tensorflow().errors.ResourceExhaustedError(None, None, "OOM when allocating")
        return tensorflow().constant(np.concatenate([pictures[:, 0, 0], pictures[:, 4, 4]], axis=1))


def _extractor(network: Any, batch: int | None = 8, dims: int = 6) -> TensorFlowExtractor:
    return TensorFlowExtractor("test:corners", "c" * 16, dims, Preprocessing(SIDE), network, batch=batch)


def _pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(1, 256, (5 + at % 7, 9, 3), np.uint8) for at in range(count)]


def test_vectors_are_the_same_alone_in_batches_and_from_any_thread() -> None:
    pictures = _pictures(21)
    network = Corners()
    extractor = _extractor(network)
    together = extractor.embed(pictures)
    assert together.shape == (21, 6) and together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    with ThreadPoolExecutor(4) as pool:
        alone = np.concatenate(list(pool.map(lambda picture: extractor.embed([picture]), pictures)))
    assert np.array_equal(alone, together)
    assert len(np.unique(together.round(4), axis=0)) == 21
    assert extractor.embed([]).shape == (0, 6)


def test_a_network_meets_few_shapes() -> None:
    network = Corners()
    extractor = _extractor(network, batch=12)
    for count in range(1, 40):
        extractor.embed(_pictures(count))
    assert set(network.shapes) == {1, 2, 4, 8, 12}


@pytest.mark.parametrize(("count", "size"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 12), (12, 12)])
def test_a_batch_is_padded_to_a_power_of_two_or_the_most(count: int, size: int) -> None:
    assert padded(count, 12) == size


def test_what_pads_a_batch_comes_from_no_earlier_call() -> None:
    seen: list[np.ndarray] = []

    def network(pictures: np.ndarray) -> np.ndarray:
        seen.append(pictures.copy())
        return np.ones((len(pictures), 6), np.float32)

    extractor = _extractor(network)
    extractor.embed(_pictures(8))
    extractor.embed(_pictures(3))
    assert seen[1].shape[0] == 4 and not seen[1][3].any() and seen[1][2].any()


def test_a_batch_that_does_not_fit_is_halved_and_its_vectors_are_the_same() -> None:
    pictures = _pictures(8)
    tight = Corners(room=2)
    assert np.array_equal(_extractor(tight).embed(pictures), _extractor(Corners()).embed(pictures))
    assert tight.shapes == [8, 4, 2, 2, 4, 2, 2]


def test_memory_for_not_one_picture_is_an_error_that_names_the_device() -> None:
    with pytest.raises(ModelError, match=r"test:corners does not find memory for one picture on .*cores"):
        _extractor(Corners(room=0)).embed(_pictures(3))


def test_a_network_that_gives_something_else_is_refused() -> None:
    with pytest.raises(ModelError, match=r"test:corners gave \(4, 6\), not \(4, 7\)"):
        _extractor(Corners(), dims=7).embed(_pictures(3))
    with pytest.raises(ModelError, match="not finite"):
        _extractor(lambda pictures: np.full((len(pictures), 6), np.nan)).embed(_pictures(1))


def test_the_batch_is_fixed_on_the_processor_and_found_on_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _extractor(Corners(), batch=None).batch == BATCH
    monkeypatch.setattr(on_tensorflow, "has_card", lambda: True)
    network = Corners(room=16)
    extractor = _extractor(network, batch=None)
    assert 1 <= extractor.batch <= 16
    asked = len(network.shapes)
    extractor.embed(_pictures(3))
    assert len(network.shapes) == asked + 1, "the batch is found once"


def test_the_batch_grows_while_it_gains_a_twentieth() -> None:
    per_picture = {1: 10.0, 2: 6.0, 4: 4.0, 8: 3.0, 16: 2.9, 32: 1.0}
    tried: list[int] = []

    def seconds(size: int) -> float:
        tried.append(size)
        return per_picture[size] * size

    assert find_batch(seconds, 512) == 8
    assert tried == [1, 2, 4, 8, 16]


def test_the_batch_stays_within_memory_and_within_the_most() -> None:
    network = Corners(room=5)

    def seconds(size: int) -> float:
        network(np.zeros((size, SIDE, SIDE, 3), np.float32))
        return 1.0

    assert find_batch(seconds, 512) == 4
    assert find_batch(lambda size: 1.0, 100) == 64
    assert find_batch(lambda size: 1.0, 0) == 1
