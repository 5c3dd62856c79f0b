"""The bundled detector: SSD MobileNetV2 trained on Open Images V4, 23 classes, run by LiteRT.

The model and its decoding are those of MediaPipe's Objectron graph (Apache-2.0): anchors by its
SsdAnchorsCalculator, boxes and scores by its TensorsToDetectionsCalculator, both restated here in numpy.
"""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vetrina.detection.boxes import suppress
from vetrina.detection.detector import DEFAULT_DETECTOR, Detections, Detector, DetectorFamily, DetectorIdentity
from vetrina.errors import ModelError
from vetrina.interpreters import InterpreterPool
from vetrina.models import fingerprint_of
from vetrina.models.bundled import SSD_LABELS, SSD_MODEL, fetch_detector
from vetrina.models.families import Report, unknown
from vetrina.models.handles import Handle

SIDE = 300
ANCHORS = 1917
# Far below any useful threshold: whoever asks for another min_score later needs no second run of the model.
KEEP_SCORE = 0.05
MAX_BOXES = 100
NMS_IOU = 0.5
# Suppression compares pairs; a picture has some 60 candidates, only noise has more than this.
MAX_CANDIDATES = 1000

_FEATURE_MAPS = (19, 10, 5, 3, 2, 1)
_MIN_SCALE, _MAX_SCALE = 0.2, 0.95
_RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
_CENTRE_SCALE, _SIZE_SCALE = 10.0, 5.0
_CODE_VERSION = 1
_RANGE = (np.arange(256, dtype=np.float32) / 127.5 - 1).astype(np.float32)
_VOCABULARY = (
    "Bicycle, Boot, Laptop, Person, Chair, Cattle, Desk, Cat, Computer mouse, Computer monitor, Box, Mug, Coffee cup, "
    "Stationary bicycle, Table, Bottle, High heels, Vehicle, Footwear, Dog, Book, Camera, Car"
)
IDENTITY = DetectorIdentity(
    handle=DEFAULT_DETECTOR,
    fingerprint=fingerprint_of(
        {
            "weights": SSD_MODEL.sha256,
            "labels": SSD_LABELS.sha256,
            "preprocess": ["stretch", SIDE, "area-or-linear", "-1..1"],
            "decode": [KEEP_SCORE, MAX_BOXES, NMS_IOU, MAX_CANDIDATES],
            "code": _CODE_VERSION,
        }
    ),
    # As the label map has it; said here too, so that the classes can be checked before the model is fetched.
    vocabulary=tuple(_VOCABULARY.split(", ")),
    # Measured on a sample shop of 818 products: at 0.3 the class is right for 0.85-1.0 of the products whose
    # name says one of its classes; the source's 0.6 belongs to Faster R-CNN and would lose most of them.
    default_min_score=0.3,
)


def ssd_anchors() -> np.ndarray:
    """The anchors, float32 [1917, 4]: centre y, centre x, height, width as shares of the picture.

    Layer i of n has scale min + (max - min)·i/(n - 1); each cell holds one anchor per aspect ratio a (width
    s·√a, height s/√a) and one square of the geometric mean of this layer's scale and the next's. The lowest
    layer is reduced to three anchors: (0.1, ratio 1), (its scale, 2), (its scale, ½). Centres at +0.5.
    """
    last = len(_FEATURE_MAPS) - 1
    scales = [_MIN_SCALE + (_MAX_SCALE - _MIN_SCALE) * i / last for i in range(last + 1)] + [1.0]
    layers = []
    for i, cells in enumerate(_FEATURE_MAPS):
        if i == 0:
            shapes = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            shapes = [(scales[i], ratio) for ratio in _RATIOS]
            shapes.append((math.sqrt(scales[i] * scales[i + 1]), 1.0))
        sizes = np.array([(s / math.sqrt(a), s * math.sqrt(a)) for s, a in shapes])
        centres = (np.arange(cells) + 0.5) / cells
        # Row-major cells, and within a cell the shapes in order: the order of the model's 1917 outputs.
        grid = np.empty((cells, cells, len(shapes), 4))
        grid[..., 0] = centres[:, None, None]
        grid[..., 1] = centres[None, :, None]
        grid[..., 2:] = sizes
        layers.append(grid.reshape(-1, 4))
    return np.concatenate(layers).astype(np.float32)


def preprocess(pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The picture as the model wants it: float32 [1, 300, 300, 3] in [-1, 1], stretched to the square.

    Written into `out` where it is given: a megabyte of fresh memory costs more than the arithmetic.

    Area averaging when both sides shrink (no aliasing), linear otherwise: on the sample shop linear, cubic and
    Lanczos name 120, 119 and 117 of 139 products rightly, nearest 117 with a tenth fewer detections.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a picture is uint8 [h, w, 3], not {pixels.dtype} {pixels.shape}")
    shrinks = min(pixels.shape[:2]) >= SIDE
    resized = cv2.resize(
        np.ascontiguousarray(pixels), (SIDE, SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    scaled: np.ndarray = cv2.LUT(resized, _RANGE, dst=None if out is None else out[0])
    return scaled[None]


def decode(encodings: np.ndarray, logits: np.ndarray, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn the model's two outputs into boxes, scores and class numbers, after suppression.

    With anchor (cy, cx, h, w) and encoding (ty, tx, th, tw): centre = (ty/10·h + cy, tx/10·w + cx),
    size = (h·exp(th/5), w·exp(tw/5)); score = sigmoid(logit); class 0 (background) is ignored.

    Args:
        encodings: float32 [1917, 4]; ty, tx, th, tw.
        logits: float32 [1917, classes]; column 0 is the background.
        anchors: float32 [1917, 4] of `ssd_anchors`.

    Returns:
        boxes float32 [n, 4] within 0..1, scores float32 [n] descending, classes int64 [n] (columns of logits).
    """
    # Thresholding the logits first leaves a handful of rows for exp and sigmoid.
    anchor, column = np.divmod(np.flatnonzero(logits >= math.log(KEEP_SCORE / (1 - KEEP_SCORE))), logits.shape[1])
    anchor, column = anchor[column > 0], column[column > 0]
    scores = 1 / (1 + np.exp(-logits[anchor, column]))
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    anchor, column, scores = anchor[order], column[order], scores[order]
    centre = encodings[anchor, :2] / _CENTRE_SCALE * anchors[anchor, 2:] + anchors[anchor, :2]
    half = np.exp(encodings[anchor, 2:] / _SIZE_SCALE) * anchors[anchor, 2:] / 2
    boxes = np.clip(np.concatenate([centre - half, centre + half], axis=1), 0, 1).astype(np.float32)
    # A box that lies outside the picture is empty after clipping: nothing could be cropped from it.
    real = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    boxes, column, scores = boxes[real], column[real], scores[real].astype(np.float32)
    kept = suppress(boxes, column, NMS_IOU, MAX_BOXES)
    return boxes[kept], scores[kept], column[kept]


class OpenImagesSsd:
    """The bundled detector (a `Detector`); `detect` runs in parallel on several threads."""

    handle = IDENTITY.handle
    fingerprint = IDENTITY.fingerprint
    vocabulary = IDENTITY.vocabulary
    default_min_score = IDENTITY.default_min_score

    def __init__(self) -> None:
        self._labels = tuple(SSD_LABELS.read().decode().splitlines())
        model = SSD_MODEL.read()
        self._anchors = ssd_anchors()
        self._interpreters = InterpreterPool(lambda: _open_interpreter(model, len(self._labels)))

    def detect(self, pixels: np.ndarray) -> Detections:
        """Detect in one uint8 [h, w, 3] RGB picture: at most 100 boxes of score 0.05 or more."""
        with self._interpreters.borrow() as (interpreter, input_index, boxes_index, logits_index, room):
            interpreter.set_tensor(input_index, preprocess(pixels, room))
            interpreter.invoke()
            encodings, logits = interpreter.get_tensor(boxes_index)[0], interpreter.get_tensor(logits_index)[0]
        boxes, scores, columns = decode(encodings, logits, self._anchors)
        return Detections(boxes, scores, tuple(self._labels[c] for c in columns))


def _open_interpreter(model: bytes, classes: int) -> tuple[Any, int, int, int, np.ndarray]:
    """A one-thread LiteRT interpreter, the indices of its input, box and class tensors, and room for an input."""
    # LiteRT is imported on use, so that naming a detector stays cheap.
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    inputs = interpreter.get_input_details()
    outputs = {tuple(d["shape"]): d["index"] for d in interpreter.get_output_details()}
    boxes_index, logits_index = outputs.get((1, ANCHORS, 4)), outputs.get((1, ANCHORS, classes))
    if [tuple(d["shape"]) for d in inputs] != [(1, SIDE, SIDE, 3)] or boxes_index is None or logits_index is None:
        raise ModelError(f"The detector {DEFAULT_DETECTOR} has unexpected inputs or outputs")
    return interpreter, inputs[0]["index"], boxes_index, logits_index, np.empty((1, SIDE, SIDE, 3), np.float32)


def _identify(handle: Handle) -> DetectorIdentity:
    handle.chosen()
    if handle.text != DEFAULT_DETECTOR:
        raise unknown("detector", handle.text, [DEFAULT_DETECTOR])
    return IDENTITY


def _prepare(handle: Handle, store: object, report: Report) -> None:
    _identify(handle)
    fetch_detector(report)


def _open(handle: Handle, store: object) -> Detector:
    _identify(handle)
    return OpenImagesSsd()


def _files(handle: Handle) -> list[Path]:
    return [SSD_LABELS.location(), SSD_MODEL.location()]


FAMILY: DetectorFamily = DetectorFamily(_identify, _prepare, _open, _files)
