import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.detection import ssd
from vetrina.detection.boxes import iou
from vetrina.detection.detector import Detections, Detector, open_detector
from vetrina.errors import ModelError
from vetrina.models import bundled, files

EXPECTED = {
    "oak-chair": "Chair",
    "white-chair": "Chair",
    "coffee-cup": "Coffee cup",
    "beer-glass": "Mug",
    "yogurt-bottle": "Bottle",
    "bootie": "Boot",
    "slippers": "Footwear",
    "box": "Box",
    "technical-table": "Table",
    "television": "Computer monitor",
}


def _same(one: Detections, other: Detections) -> bool:
    return (
        one.classes == other.classes
        and np.array_equal(one.boxes, other.boxes)
        and np.array_equal(one.scores, other.scores)
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_the_best_box_of_a_known_product_has_its_class(
    name: str, detector: Detector, pictures: dict[str, np.ndarray]
) -> None:
    found = detector.detect(pictures[name])
    assert found.classes[0] == EXPECTED[name] and found.scores[0] >= detector.default_min_score == 0.3


@pytest.mark.parametrize("name", ["oak-chair", "beer-glass", "box"])
def test_the_best_box_lies_around_the_product(name: str, detector: Detector, pictures: dict[str, np.ndarray]) -> None:
    pixels = pictures[name]
    rows, columns = np.nonzero((pixels < 245).any(axis=2))
    outline = np.array([[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]]) / len(pixels)
    assert iou(detector.detect(pixels).boxes[:1].astype(float), outline)[0, 0] > 0.6


def test_a_box_follows_its_product_when_the_picture_is_not_square(
    detector: Detector, pictures: dict[str, np.ndarray]
) -> None:
    wide = np.full((128, 320, 3), 255, np.uint8)
    wide[:, 192:] = pictures["oak-chair"]
    found = detector.detect(wide)
    assert found.classes[0] == "Chair"
    assert found.boxes[0, 1] > 0.55, "xmin lies in the right part: boxes are ymin, xmin, ymax, xmax"


def test_every_answer_keeps_the_contract_of_detections(detector: Detector, pictures: dict[str, np.ndarray]) -> None:
    for pixels in [*pictures.values(), np.zeros((1, 1, 3), np.uint8), np.full((3, 900, 3), 200, np.uint8)]:
        found = detector.detect(pixels)
        assert found.boxes.shape == (len(found), 4) and len(found.scores) == len(found) <= ssd.MAX_BOXES
        assert found.boxes.dtype == found.scores.dtype == np.float32
        assert set(found.classes) <= set(detector.vocabulary)
        _check(found.boxes, found.scores)


def _check(boxes: np.ndarray, scores: np.ndarray) -> None:
    assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert (np.diff(scores) <= 0).all() and (scores >= ssd.KEEP_SCORE - 1e-6).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-5, 2))
def test_whatever_the_model_says_boxes_lie_in_the_picture_and_classes_do_not_overlap_themselves(
    seed: int, bias: float
) -> None:
    random = np.random.default_rng(seed)
    encodings = random.normal(0, 4, (ssd.ANCHORS, 4)).astype(np.float32)
    logits = random.normal(bias, 1.5, (ssd.ANCHORS, 24)).astype(np.float32)
    boxes, scores, columns = ssd.decode(encodings, logits, ssd.ssd_anchors())
    _check(boxes, scores)
    assert len(boxes) <= ssd.MAX_BOXES and (columns > 0).all()
    assert not np.triu((iou(boxes, boxes) > ssd.NMS_IOU) & (columns[:, None] == columns), 1).any()


def test_anchors_are_those_of_the_model() -> None:
    anchors = ssd.ssd_anchors()
    assert anchors.shape == (1917, 4) and anchors.dtype == np.float32
    assert np.allclose(anchors[0], [0.5 / 19, 0.5 / 19, 0.1, 0.1])
    assert np.allclose(anchors[1], [0.5 / 19, 0.5 / 19, 0.2 / 2**0.5, 0.2 * 2**0.5])
    assert np.allclose(anchors[3], [0.5 / 19, 1.5 / 19, 0.1, 0.1]), "x runs before y"
    assert np.allclose(anchors[19 * 19 * 3], [0.05, 0.05, 0.35, 0.35])
    assert np.allclose(anchors[-1], [0.5, 0.5, 0.95**0.5, 0.95**0.5])


def test_a_zero_encoding_is_its_anchor() -> None:
    anchors = ssd.ssd_anchors()
    middle = len(anchors) - 1 - 6 - 24 * 1
    logits = np.full((ssd.ANCHORS, 24), -20, np.float32)
    logits[middle, 5] = 3
    boxes, scores, columns = ssd.decode(np.zeros((ssd.ANCHORS, 4), np.float32), logits, anchors)
    y, x, height, width = anchors[middle]
    expected = np.clip([y - height / 2, x - width / 2, y + height / 2, x + width / 2], 0, 1)
    assert np.allclose(boxes, [expected], atol=1e-6) and columns.tolist() == [5]
    assert np.allclose(scores, 1 / (1 + np.exp(-3)))


def test_the_background_is_never_an_answer() -> None:
    logits = np.full((ssd.ANCHORS, 24), -20, np.float32)
    logits[:, 0] = 9
    assert len(ssd.decode(np.zeros((ssd.ANCHORS, 4), np.float32), logits, ssd.ssd_anchors())[0]) == 0


def test_threads_and_repeats_give_the_same_answers(detector: Detector, pictures: dict[str, np.ndarray]) -> None:
    once = [detector.detect(pixels) for pixels in pictures.values()]
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(detector.detect, [*pictures.values()] * 3))
    assert all(_same(a, once[i % len(once)]) for i, a in enumerate(again))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((9, 9), np.uint8),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((9, 9, 3), np.float32),
        np.zeros((0, 9, 3), np.uint8),
    ],
)
def test_what_is_no_rgb_picture_is_refused(pixels: np.ndarray, detector: Detector) -> None:
    with pytest.raises(ValueError, match="uint8"):
        detector.detect(pixels)


def test_a_view_with_strides_is_read_rightly(detector: Detector, pictures: dict[str, np.ndarray]) -> None:
    flipped = pictures["box"][:, ::-1]
    assert _same(detector.detect(flipped), detector.detect(flipped.copy()))


def test_the_vocabulary_is_the_models_own(detector: Detector) -> None:
    assert len(detector.vocabulary) == 23 and "???" not in detector.vocabulary
    assert detector.handle == "bundled:openimages-ssd"
    assert len(detector.fingerprint) == 16 and int(detector.fingerprint, 16) >= 0


def test_an_unknown_detector_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"did you mean 'bundled:openimages-ssd'.*Detectors: bundled"):
        open_detector("bundled:openimages-sdd")


def test_altered_and_missing_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: Detector
) -> None:
    weights = bytearray(bundled.SSD_MODEL.read())
    labels = bundled.SSD_LABELS.read()
    monkeypatch.setenv(files.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(ModelError, match="missing"):
        open_detector()
    weights[len(weights) // 2] ^= 1
    files.write_atomically(bundled.SSD_LABELS.location(), labels)
    files.write_atomically(bundled.SSD_MODEL.location(), bytes(weights))
    with pytest.raises(ModelError, match="altered"):
        open_detector()


def test_detecting_loads_no_tensorflow() -> None:
    code = (
        "import sys, numpy as np\n"
        "import vetrina.detection.detector, vetrina.detection.ssd, vetrina.detection.classes\n"
        "assert 'ai_edge_litert' not in sys.modules, 'naming a detector loads no runtime'\n"
        "vetrina.detection.detector.open_detector().detect(np.zeros((9, 9, 3), np.uint8))\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'tf_keras')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_classes_said_before_the_model_is_fetched_are_those_of_its_label_map(bundled_models: None) -> None:
    assert bundled.SSD_LABELS.read().decode().splitlines()[1:] == list(ssd.IDENTITY.vocabulary)
