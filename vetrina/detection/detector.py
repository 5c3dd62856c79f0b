"""What a detector is, and how one is opened by its handle.

Belongs here: the contract every detector keeps and the families of handles. Not here: any one detector's arithmetic.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from vetrina.models.families import Family, Report, family_of
from vetrina.models.handles import SAVED_MODEL, parse_handle
from vetrina.models.prepared import Prepared, note_prepared

DEFAULT_DETECTOR = "bundled:openimages-ssd"


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes found in one picture, best first.

    Attributes:
        boxes: float32 [n, 4]; ymin, xmin, ymax, xmax as shares of the picture's height and width, 0..1,
            with ymin < ymax and xmin < xmax.
        scores: float32 [n], 0..1, descending.
        classes: n Open Images class names.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.classes)


class Detector(Protocol):
    """Finds objects in pictures. `detect` may be called from several threads at once.

    Attributes:
        fingerprint: 16 hexadecimal digits; changes with weights, preprocessing, decoding or code version.
        handle: the setting text that opens this detector.
        vocabulary: every class name `detect` can answer.
        default_min_score: the score from which this detector's boxes are worth keeping (detectors differ).
    """

    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def handle(self) -> str: ...  # noqa: D102
    @property
    def vocabulary(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def default_min_score(self) -> float: ...  # noqa: D102

    def detect(self, pixels: np.ndarray) -> Detections:
        """Detect in one uint8 [h, w, 3] RGB picture of any size."""
        ...


@dataclass(frozen=True, slots=True)
class DetectorIdentity:
    """What is known of a detector without its weights; the attributes are those of `Detector`."""

    handle: str
    fingerprint: str
    vocabulary: tuple[str, ...]
    default_min_score: float


DetectorFamily = Family[DetectorIdentity, Detector]


def _bundled() -> DetectorFamily:
    # Imported on use, as every family: a module that only names detectors must not load a runtime.
    from vetrina.detection.ssd import FAMILY

    return FAMILY


def _saved_model() -> DetectorFamily:
    from vetrina.detection.saved_model import FAMILY

    return FAMILY


_FAMILIES: dict[str, Callable[[], DetectorFamily]] = {"bundled": _bundled, SAVED_MODEL: _saved_model}


def open_detector(text: str = DEFAULT_DETECTOR) -> Detector:
    """Open a detector by its handle.

    Raises:
        ModelError: the handle is unknown, or its weights are missing or altered.
    """
    return _family(text).open(parse_handle(text), None)


def identify_detector(text: str = DEFAULT_DETECTOR) -> DetectorIdentity:
    """Name a detector without reading its weights. Raises ModelError: unknown, or not fetched yet."""
    return _family(text).identify(parse_handle(text))


def prepare_detector(text: str, report: Report) -> None:
    """Bring a detector onto this machine; one that is there and right stays. Raises ModelError."""
    _family(text).prepare(parse_handle(text), None, report)
    note_prepared(Prepared("detector", text))


def detector_files(text: str) -> Sequence[Path]:
    """The files that a detector takes on this machine. Raises ModelError: unknown, or not fetched yet."""
    return _family(text).files(parse_handle(text))


def _family(text: str) -> DetectorFamily:
    return family_of("detector", parse_handle(text), _FAMILIES)
