"""Detectors that are SavedModels, by the real tensorflow_hub, with the contract of TF Hub's Open Images models."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hub_models import ENTITIES, save_detector, save_signature
from support.hub_server import DETECTOR, EXTRACTOR, HubServer

from vetrina.detection.classes import open_images_names
from vetrina.detection.detector import Detections, Detector, identify_detector, open_detector, prepare_detector
from vetrina.detection.saved_model import LONGEST, decode, preprocess
from vetrina.errors import ModelError, UnfitModel

WEIGHTS = np.ones(1, np.float32)
Answer = Callable[[Any, Any], Mapping[str, Any]]


def ready(handle: object) -> Detector:
    prepare_detector(str(handle), lambda line: None)
    return open_detector(str(handle))


@pytest.fixture(scope="module")
def hub_detector(tmp_path_factory: pytest.TempPathFactory, hub_archives: dict[str, bytes]) -> Iterator[Detector]:
    """The tiny detector from a hub that has gone since."""
    with pytest.MonkeyPatch.context() as environment, HubServer() as server:
        environment.setenv("VETRINA_MODELS", str(tmp_path_factory.mktemp("models")))
        handle = server.publish(DETECTOR, hub_archives[DETECTOR])
        yield ready(handle)


def shop_window(height: int = 240, width: int = 400) -> np.ndarray:
    """A white picture with a red, a green and a blue rectangle side by side, the red one largest."""
    picture = np.full((height, width, 3), 255, np.uint8)
    for channel, (top, left, bottom, right) in enumerate(RECTANGLES):
        rows, columns = slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))
        picture[rows, columns] = np.eye(3, dtype=np.uint8)[channel] * 200
    return picture


RECTANGLES = [(0.25, 0.1, 0.75, 0.5), (0.5, 0.55, 0.75, 0.65), (0.25, 0.7, 0.75, 0.9)]
NAMES = ("Chair", "Jeans", "Houseplant")
"""What the tiny detector calls them, the best first: red, blue, green."""


def test_it_finds_what_is_there_in_pictures_of_any_size(hub_detector: Detector) -> None:
    for size in ((240, 400), (400, 240), (1000, 1000), (40, 80)):
        found = hub_detector.detect(shop_window(*size))
        assert found.classes == NAMES
        expected = np.float32([RECTANGLES[0], RECTANGLES[2], RECTANGLES[1]])
        assert np.abs(found.boxes - expected).max() <= 1.01 / min(size)
        assert found.boxes.dtype == found.scores.dtype == np.float32
        assert (np.diff(found.scores) <= 0).all() and found.scores.min() >= 0.05 and found.scores.max() <= 1


def test_a_picture_with_nothing_on_it_has_no_boxes(hub_detector: Detector) -> None:
    found = hub_detector.detect(np.full((50, 60, 3), 99, np.uint8))
    assert len(found) == 0 and found.boxes.shape == (0, 4)


def test_it_knows_the_601_entities_and_its_own_least_score(hub_detector: Detector) -> None:
    identity = identify_detector(hub_detector.handle)
    assert set(identity.vocabulary) == open_images_names() and len(identity.vocabulary) == 601
    assert hub_detector.vocabulary == identity.vocabulary and hub_detector.fingerprint == identity.fingerprint
    assert "Luggage and bags" in identity.vocabulary
    assert hub_detector.default_min_score == identity.default_min_score == 0.6


def test_several_threads_may_detect_at_once(hub_detector: Detector) -> None:
    pictures = [shop_window(100 + step, 300 - step) for step in range(0, 80, 5)]
    alone = [hub_detector.detect(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(hub_detector.detect, pictures))
    for one, other in zip(alone, together, strict=True):
        assert one.classes == other.classes and np.array_equal(one.boxes, other.boxes)


def test_the_model_is_given_numbers_from_0_to_1(pictures: dict[str, np.ndarray]) -> None:
    for picture in pictures.values():
        given = preprocess(picture)
        assert given.shape == (1, *picture.shape) and given.dtype == np.float32
        assert np.abs(given[0] - picture / 255).max() <= 1e-5
    levels = preprocess(np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3))
    assert levels.min() == 0 and levels.max() == 1
    with pytest.raises(ValueError, match="a picture is uint8"):
        preprocess(np.zeros((4, 4, 3), np.float32))


def test_a_large_picture_is_shrunk_and_its_boxes_stay_where_they_are(hub_detector: Detector) -> None:
    large = shop_window(3000, 5000)
    assert preprocess(large).shape == (1, 614, LONGEST, 3)
    assert preprocess(np.zeros((9000, 2, 3), np.uint8)).shape == (1, LONGEST, 1, 3)
    assert preprocess(np.zeros((LONGEST, 3, 3), np.uint8)).shape == (1, LONGEST, 3, 3)
    found = hub_detector.detect(large)
    assert found.classes == NAMES
    assert np.abs(found.boxes[0] - np.float32(RECTANGLES[0])).max() <= 2 / 614


def answer(*rows: tuple[list[float], float, bytes]) -> dict[str, np.ndarray]:
    return {
        "detection_boxes": np.float32([row[0] for row in rows]),
        "detection_scores": np.float32([row[1] for row in rows]),
        "detection_class_entities": np.array([row[2] for row in rows], object),
    }


def test_boxes_are_clipped_sorted_and_none_is_empty() -> None:
    found = decode(
        answer(
            ([0.1, 0.1, 0.2, 0.2], 0.3, b"Chair"),
            ([-0.5, 0.2, 0.5, 1.5], 0.9, b"Luggage and bags"),
            ([1.1, 0.0, 1.2, 1.0], 0.8, b"Table"),
            ([0.4, 0.4, 0.4, 0.6], 0.7, b"Table"),
            ([0.6, 0.6, 0.5, 0.7], 0.7, b"Table"),
            ([0.1, 0.1, 0.2, 0.2], 0.04, b"Not a class, but below every threshold"),
        ),
        "the model",
    )
    expected = Detections(
        np.float32([[0, 0.2, 0.5, 1], [0.1, 0.1, 0.2, 0.2]]), np.float32([0.9, 0.3]), ("Luggage and bags", "Chair")
    )
    assert found.classes == expected.classes
    assert np.array_equal(found.boxes, expected.boxes) and np.array_equal(found.scores, expected.scores)


def test_an_answer_that_is_none_is_an_error() -> None:
    with pytest.raises(ModelError, match="the model answered the class 'Frock', which Open Images V4 does not have"):
        decode(answer(([0, 0, 1, 1], 0.9, b"Frock")), "the model")
    for box, score in (([0, 0, float("nan"), 1], 0.5), ([0, 0, 1, 1], float("inf"))):
        with pytest.raises(ModelError, match="the model gave numbers that are not finite"):
            decode(answer((box, score, b"Chair")), "the model")


def test_a_detector_with_classes_of_its_own_is_refused(own_models: Path, tmp_path: Path) -> None:
    save_detector(tmp_path / "m", ["Chair", "Houseplant", "Jeans"])
    assert ready(tmp_path / "m").detect(shop_window()).classes == NAMES
    others = [name.replace("Jeans", "Denim").replace("Chair", "Seat").replace("Houseplant", "Pot") for name in ENTITIES]
    save_detector(tmp_path / "other", others, ("Seat", "Pot", "Denim"))
    with pytest.raises(ModelError, match=r"answered the class '(Seat|Pot|Denim)', which Open Images V4 does not have"):
        ready(tmp_path / "other").detect(shop_window())


def batched(weights: Any, images: Any) -> Mapping[str, Any]:
    """As a detector that answers a batch of one: a batch dimension before everything."""
    import tensorflow as tf

    return {
        "detection_boxes": tf.constant([[[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0]]]) * tf.reduce_mean(weights),
        "detection_scores": tf.constant([[0.5, 0.9]]),
        "detection_class_entities": tf.constant([["Chair", "Table"]]),
        "num_detections": tf.constant([2.0]),
    }


def test_answers_in_a_batch_of_one_are_taken_apart(own_models: Path, tmp_path: Path) -> None:
    save_signature(tmp_path / "m", batched, WEIGHTS, [None, None, None, 3], "serving_default")
    found = ready(tmp_path / "m").detect(shop_window())
    assert found.classes == ("Table", "Chair")
    assert np.allclose(found.boxes, [[0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]])


def without_entities(weights: Any, images: Any) -> Mapping[str, Any]:
    given = dict(batched(weights, images))
    del given["detection_class_entities"]
    return given


def of_unequal_length(weights: Any, images: Any) -> Mapping[str, Any]:
    return {**batched(weights, images), "detection_boxes": batched(weights, images)["detection_boxes"][:, :1]}


def with_numbers(weights: Any, images: Any) -> Mapping[str, Any]:
    import tensorflow as tf

    return {**batched(weights, images), "detection_class_entities": tf.constant([[1, 2]])}


@pytest.mark.parametrize(
    ("answer", "shape", "dtype", "says"),
    [
        (without_entities, [1, None, None, 3], "float32", "no detector: it gives .*; needed are detection_boxes"),
        (of_unequal_length, [1, None, None, 3], "float32", r"detection_boxes float32 \[1, 1, 4\]"),
        (with_numbers, [1, None, None, 3], "float32", r"detection_class_entities int32 \[1, 2\]"),
        (batched, [1, None, None, 3], "uint8", r"takes images uint8 \[1, None, None, 3\].*float32 pictures"),
        (batched, [1, 300, 300, 3], "float32", r"takes pictures of \[1, 300, 300, 3\]; .*any height and width"),
        (batched, [8, None, None, 3], "float32", r"takes pictures of \[8, None, None, 3\]"),
    ],
)
def test_a_model_with_another_signature_is_refused_before_it_is_used(
    own_models: Path, tmp_path: Path, answer: Answer, shape: list[int | None], dtype: str, says: str
) -> None:
    save_signature(tmp_path / "m", answer, WEIGHTS, shape, "default", dtype)
    with pytest.raises(UnfitModel, match=says):
        ready(tmp_path / "m")
    with pytest.raises(ModelError, match="not ready on this machine: run `vetrina models`"):
        identify_detector(str(tmp_path / "m"))


def test_an_extractor_is_no_detector(hub: HubServer, hub_archives: dict[str, bytes]) -> None:
    with pytest.raises(UnfitModel, match=r"takes pictures of \[None, 224, 224, 3\]; a detector takes one of any"):
        ready(hub.publish(EXTRACTOR, hub_archives[EXTRACTOR]))


def test_the_options_of_a_detectors_handle(own_models: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown option 'side'; it takes sha256"):
        prepare_detector(f"{tmp_path}/m#side=5", lambda line: None)
