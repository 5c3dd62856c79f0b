"""Detectors that are SavedModels, with the contract of TF Hub's Open Images models.

    images float32 [1, h, w, 3], red, green, blue in [0, 1], of any height and width
    → detection_boxes float32 [n, 4]: ymin, xmin, ymax, xmax as shares of the picture
      detection_class_entities string [n]: Open Images names; detection_scores float32 [n]

(google/faster_rcnn/openimages_v4/inception_resnet_v2/1 and google/openimages_v4/ssd/mobilenet_v2/1.) One picture at
a time: the models take no more. They suppress overlapping boxes themselves, so nothing is suppressed here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from vetrina.detection.classes import open_images_names
from vetrina.detection.detector import Detections, Detector, DetectorFamily, DetectorIdentity
from vetrina.errors import ModelError, UnfitModel
from vetrina.models import fingerprint_of
from vetrina.models.families import Report
from vetrina.models.handles import Handle
from vetrina.models.saved_model_network import Network, answer_of, described, open_network
from vetrina.models.saved_model_roles import Plan, SavedModelRole
from vetrina.models.saved_model_sources import shown_place
from vetrina.models.saved_models import place_of

LONGEST = 1024
"""Pixels of the longer side. Faster R-CNN scales pictures to at most this itself; 50 Mpx would be 600 MB of floats."""
KEEP_SCORE = 0.05  # far below any useful threshold, as of the bundled detector
MIN_SCORE = 0.6
"""What the source uses with Faster R-CNN."""
_BOXES, _ENTITIES, _SCORES = "detection_boxes", "detection_class_entities", "detection_scores"
_TRIAL = ((96, 128), (128, 96))
_ROLE = SavedModelRole("detector", code=1)


def preprocess(pixels: np.ndarray) -> np.ndarray:
    """The picture as the model wants it: uint8 [h, w, 3] RGB → float32 [1, h, w, 3] in [0, 1].

    Its longer side is shrunk to 1024 pixels where it is longer.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a picture is uint8 [h, w, 3], not {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape[:2]
    scale = LONGEST / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    return (pixels.astype(np.float32) / np.float32(255))[None]


def decode(outputs: Mapping[str, Any], shown: str) -> Detections:
    """What a model's answer says: boxes within the picture, best first, of score 0.05 or more.

    Boxes are clipped to the picture; those that are empty then are dropped.

    Raises:
        ModelError: it answers a class that Open Images does not have, or numbers that are not finite.
    """
    boxes = np.asarray(outputs[_BOXES], np.float32).reshape(-1, 4)
    scores = np.asarray(outputs[_SCORES], np.float32).reshape(-1)
    entities = np.asarray(outputs[_ENTITIES]).reshape(-1)
    if not np.isfinite(boxes).all() or not np.isfinite(scores).all():
        raise ModelError(f"The detector {shown} gave numbers that are not finite")
    boxes, scores = np.clip(boxes, 0, 1), np.clip(scores, 0, 1)
    real = np.flatnonzero((scores >= KEEP_SCORE) & np.all(boxes[:, 2:] > boxes[:, :2], axis=1))
    kept = real[np.argsort(-scores[real], kind="stable")]
    return Detections(boxes[kept], scores[kept], tuple(_class_name(entities[row], shown) for row in kept))


def _class_name(entity: bytes | str, shown: str) -> str:
    """An Open Images name. Another one would never be wanted by any class list, and so lose boxes silently."""
    name = entity.decode("utf-8", "replace") if isinstance(entity, bytes) else entity
    if name not in open_images_names():
        raise ModelError(f"The detector {shown} answered the class {name!r}, which Open Images V4 does not have")
    return name


def inspect(network: Network, shown: str) -> Plan:
    """See that a network serves as a detector, by running it on noise, upright and lying.

    Returns:
        signature: as kept beside the model.

    Raises:
        UnfitModel: it does not.
    """
    if network.batch not in (None, 1) or (network.height, network.width) != (None, None):
        size = [network.batch, network.height, network.width, 3]
        raise UnfitModel(f"The model {shown} takes pictures of {size}; a detector takes one of any height and width")
    for height, width in _TRIAL:
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        outputs = answer_of(network, preprocess(noise), shown)
        _check_outputs(outputs, shown)
        decode(outputs, shown)
    return {"signature": network.signature}


def _check_outputs(outputs: Mapping[str, Any], shown: str) -> None:
    wanted = {_BOXES: "float32", _ENTITIES: "string", _SCORES: "float32"}
    if all(name in outputs and outputs[name].dtype.name == kind for name, kind in wanted.items()):
        boxes, *lines = (outputs[name].shape.num_elements() for name in wanted)
        if all(boxes == 4 * count for count in lines):
            return
    raise UnfitModel(
        f"The model {shown} is no detector: it gives {described(outputs)}; needed are {_BOXES} float32 [n, 4], "
        f"{_ENTITIES} string [n] (Open Images names) and {_SCORES} float32 [n]"
    )


class SavedModelDetector:
    """A detector (see `Detector`) around a network; several threads may call `detect`, one at a time runs."""

    def __init__(self, identity: DetectorIdentity, network: Network) -> None:
        self.handle = identity.handle
        self.fingerprint = identity.fingerprint
        self.vocabulary = identity.vocabulary
        self.default_min_score = identity.default_min_score
        self._network = network
        self._running = threading.Lock()

    def detect(self, pixels: np.ndarray) -> Detections:
        """Detect in one uint8 [h, w, 3] RGB picture: boxes of score 0.05 or more."""
        prepared = preprocess(pixels)
        with self._running:
            outputs = answer_of(self._network, prepared, self.handle)
        return decode(outputs, self.handle)


def _identify(handle: Handle) -> DetectorIdentity:
    handle.chosen("sha256")
    plan = _ROLE.plan(handle)
    made = {name: plan[name] for name in ("digest", "signature", "code")}
    fingerprint = fingerprint_of(made | {"preprocess": ["0..1", LONGEST, "area"], "decode": [KEEP_SCORE]})
    return DetectorIdentity(handle.text, fingerprint, tuple(sorted(open_images_names())), MIN_SCORE)


def _prepare(handle: Handle, store: object, report: Report) -> None:
    handle.chosen("sha256")
    shown = shown_place(place_of(handle))
    _ROLE.prepare(handle, report, lambda folder: inspect(open_network(folder, shown), shown))
    report(f"Detector {shown} is ready")


def _open(handle: Handle, store: object) -> Detector:
    identity = _identify(handle)
    return SavedModelDetector(identity, open_network(_ROLE.folder(handle), shown_place(place_of(handle))))


FAMILY: DetectorFamily = DetectorFamily(_identify, _prepare, _open, _ROLE.files)
