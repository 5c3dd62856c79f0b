"""What a detector is, and how one is opened by its handle.

Belongs here: the contract every detector keeps and the list of handles. Not here: any one detector's arithmetic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vetrina.models import opener_of

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


def _open_openimages_ssd() -> Detector:
    # Imported on opening: a module that only names detectors must not load a runtime.
    from vetrina.detection.ssd import OpenImagesSsd

    return OpenImagesSsd()


def _identify_openimages_ssd() -> DetectorIdentity:
    from vetrina.detection.ssd import IDENTITY

    return IDENTITY


_OPENERS: dict[str, Callable[[], Detector]] = {DEFAULT_DETECTOR: _open_openimages_ssd}
_IDENTITIES: dict[str, Callable[[], DetectorIdentity]] = {DEFAULT_DETECTOR: _identify_openimages_ssd}


def detector_handles() -> tuple[str, ...]:
    """Every handle `open_detector` accepts."""
    return tuple(_OPENERS)


def open_detector(handle: str = DEFAULT_DETECTOR) -> Detector:
    """Open a detector by its handle.

    Raises:
        ModelError: the handle is unknown, or its weights are missing or altered.
    """
    return opener_of("detector", handle, _OPENERS)()


def identify_detector(handle: str = DEFAULT_DETECTOR) -> DetectorIdentity:
    """Name a detector without reading its weights; one that cannot be named otherwise is opened.

    Raises:
        ModelError: as `open_detector`.
    """
    if handle in _IDENTITIES:
        return _IDENTITIES[handle]()
    opened = open_detector(handle)
    return DetectorIdentity(opened.handle, opened.fingerprint, opened.vocabulary, opened.default_min_score)
