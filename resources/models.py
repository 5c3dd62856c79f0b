"""The detector and the extractor, as Dagster resources. A model is loaded once in a process, when first used."""

from collections.abc import Callable
from typing import TypeVar

import dagster as dg
from pydantic import Field

from vetrina.detection.classes import ClassChoice, ClassList
from vetrina.detection.crops import Selection
from vetrina.detection.detector import Detector, DetectorIdentity, identify_detector, open_detector
from vetrina.embedding.extractor import Extractor, ExtractorIdentity, identify_extractor, open_extractor
from vetrina.embedding.vectors import embeddings_fingerprint
from vetrina.search.window import ShopWindow
from vetrina.store import Store

Model = TypeVar("Model")
_HELD = 2
_detectors: dict[tuple[str, str], Detector] = {}
_extractors: dict[tuple[str, str], Extractor] = {}


def _held(models: dict[tuple[str, str], Model], key: tuple[str, str], opener: Callable[[], Model]) -> Model:
    """The model that was opened before under this handle and fingerprint: what a path names may change tomorrow."""
    if key not in models:
        opened = opener()
        while len(models) >= _HELD:
            models.pop(next(iter(models)))
        models[key] = opened
    return models[key]


class DetectorResource(dg.ConfigurableResource):
    """Finds products on pictures, and says which of its findings become crops."""

    handle: str = Field(description="The model (VETRINA_DETECTOR).")
    classes: str = Field(description="A preset or Open Images names (VETRINA_CLASSES).")
    min_score: float | None = Field(description="Lowest score; none: the model's own (VETRINA_MIN_SCORE).")
    max_boxes: int = Field(description="Most crops of a picture (VETRINA_MAX_BOXES).")
    min_box: float = Field(description="Smallest share of the picture (VETRINA_MIN_BOX).")

    def open(self) -> Detector:
        """The detector. Raises ModelError."""
        return _held(_detectors, (self.handle, self.identity().fingerprint), lambda: open_detector(self.handle))

    def identity(self) -> DetectorIdentity:
        """The detector's name and classes; reads no weights. Raises ModelError for an unknown handle."""
        return identify_detector(self.handle)

    def selection(self) -> Selection:
        """Which detections become crops. Raises SettingError for an unknown class."""
        detector = self.identity()
        return Selection(
            classes=self._choice().selected,
            min_score=detector.default_min_score if self.min_score is None else self.min_score,
            max_boxes=self.max_boxes,
            min_box=self.min_box,
        )

    def undetectable(self) -> tuple[str, ...]:
        """Classes asked for that the detector does not know. Raises SettingError for an unknown class."""
        return self._choice().undetectable

    def _choice(self) -> ClassChoice:
        vocabulary = self.identity().vocabulary
        return ClassList.parse(self.classes, vocabulary).choose(vocabulary)

    def labels_fingerprint(self) -> str:
        """Names the labels that this configuration makes."""
        return self.selection().fingerprint(self.identity())


class ExtractorResource(dg.ConfigurableResource):
    """Turns crops into vectors."""

    handle: str = Field(description="The model (VETRINA_EXTRACTOR).")

    def open(self, store: Store) -> Extractor:
        """The extractor; a fine-tuned one comes out of the store. Raises ModelError."""
        key = (self.handle, self.identity().fingerprint)
        return _held(_extractors, key, lambda: open_extractor(self.handle, store))

    def identity(self) -> ExtractorIdentity:
        """The extractor's name; reads no weights. Raises ModelError for an unknown handle."""
        return identify_extractor(self.handle)

    def embeddings_fingerprint(self, detector: DetectorResource) -> str:
        """Names the embeddings that this extractor makes of that detector's crops."""
        return embeddings_fingerprint(detector.labels_fingerprint(), self.identity())


def shop_window(store: Store, detector: DetectorResource, extractor: ExtractorResource) -> ShopWindow:
    """The shop window as these models serve it. Raises NotFound, IndexDamaged, ModelError."""
    return ShopWindow(
        store,
        detector.open(),
        detector.selection(),
        extractor.identity(),
        lambda handle: ExtractorResource(handle=handle).open(store),
    )


def model_fingerprints(detector: DetectorResource, extractor: ExtractorResource) -> dict[str, str]:
    """Role → fingerprint of all that vectors are made with; reads no weights. Raises ModelError, SettingError."""
    return {
        "detector": detector.identity().fingerprint,
        "labels": detector.labels_fingerprint(),
        "extractor": extractor.identity().fingerprint,
        "embeddings": extractor.embeddings_fingerprint(detector),
    }
