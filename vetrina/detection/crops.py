"""Crops: the parts of a picture that stand for its products, and the rule that selects them from detections.

A crop is known by its picture and its box, whichever detector drew it: the same pixels have the same vector.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vetrina.detection.detector import Detections, Detector, DetectorIdentity


class Box(NamedTuple):
    """A part of a picture: shares of its height and width, from the top left corner."""

    ymin: float
    xmin: float
    ymax: float
    xmax: float

    @property
    def area(self) -> float:
        """Share of the picture's area."""
        return max(self.ymax - self.ymin, 0.0) * max(self.xmax - self.xmin, 0.0)


WHOLE = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Crop:
    """A detected product on a picture."""

    box: Box
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Selection:
    """Which detections become crops.

    Attributes:
        classes: names that count, ancestors already widened to what the detector knows.
        min_score: lowest score.
        max_boxes: most crops of one picture, taken after the class filter.
        min_box: smallest share of the picture's area.
    """

    classes: frozenset[str]
    min_score: float
    max_boxes: int
    min_box: float

    def select(self, detections: Detections) -> list[Crop]:
        """The best detections that qualify, best first."""
        crops = [
            Crop(Box(*(round(float(side), 5) for side in box)), label, float(score))
            for box, label, score in zip(detections.boxes, detections.classes, detections.scores, strict=True)
            if label in self.classes and score >= self.min_score
        ]
        return [crop for crop in crops if crop.box.area >= self.min_box][: self.max_boxes]

    def fingerprint(self, detector: Detector | DetectorIdentity) -> str:
        """Names the labels that this selection makes of this detector's findings."""
        settings = [sorted(self.classes), self.min_score, self.max_boxes, self.min_box]
        content = json.dumps([detector.fingerprint, settings], ensure_ascii=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def crop_id(sha256: str, box: Sequence[float]) -> str:
    """The name of the part `box` of the picture `sha256`: 32 hexadecimal characters."""
    text = ",".join(f"{side:.5f}" for side in box)
    return hashlib.sha256(f"{sha256}:{text}".encode()).hexdigest()[:32]


def cut(pixels: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """The part `box` of uint8 [height, width, 3] pixels, at least one pixel each way; a view, not a copy."""
    height, width = pixels.shape[:2]
    # A box comes as written or back from a float32 column; both must cut the same pixels.
    ymin, xmin, ymax, xmax = (round(float(side), 5) for side in box)
    top, left = min(int(ymin * height), height - 1), min(int(xmin * width), width - 1)
    bottom, right = max(round(ymax * height), top + 1), max(round(xmax * width), left + 1)
    return pixels[top:bottom, left:right]
