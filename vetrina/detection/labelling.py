"""Labelling: what is on each picture of a batch, as crops and a table of labels.

What the detector found on a picture is remembered by (picture, detector), before any threshold: another class
list or `min_score` costs no new detection.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np

from vetrina.catalog.batches import Batch
from vetrina.detection.crops import WHOLE, Crop, Selection, crop_id, cut
from vetrina.detection.detector import Detections, Detector
from vetrina.errors import PictureError
from vetrina.memos import read_json_memo, write_json_memo
from vetrina.parallel import Behind, ordered_map
from vetrina.pictures.collecting import Progress
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.decoding import Picture
from vetrina.store import Store, blob_path
from vetrina.tables import IMAGES, LABELS, TableWriter, read_metadata, read_rows

CROP_QUALITY = 90
"""Of the JPEG that a crop is kept as, for people; vectors are made from the picture itself."""


@dataclass(slots=True)
class LabelsReport:
    """What labelling a batch cost, in pictures; `crops` counts boxes, `whole` products without any."""

    products: int = 0
    pictures: int = 0
    detected: int = 0
    reused: int = 0
    crops: int = 0
    whole: int = 0
    unreadable: int = 0


def labels_path(batch: Batch, fingerprint: str) -> str:
    """Where the labels of `batch` lie that `Selection.fingerprint` names."""
    return batch.path(f"labels/{fingerprint}.parquet")


def label_pictures(
    store: Store,
    batch: Batch,
    detector: Detector,
    selection: Selection,
    decoders: DecoderPool,
    *,
    workers: int,
    progress: Progress = lambda done, total: None,
) -> LabelsReport:
    """Detect on the batch's pictures, keep the crops, and write `labels/<fingerprint>.parquet`.

    A picture that was usable when it was collected and cannot be read now costs its products; the table's notes
    say why, and the next run tries it again.
    """
    path = labels_path(batch, selection.fingerprint(detector))
    with store.exclusive(f"labels-{batch.key}"):
        products = [
            (row["product_id"], row["sha256"])
            for row in read_rows(store, batch.path("images.parquet"), IMAGES, ["product_id", "state", "sha256"])
            if row["state"] == "ok"
        ]
        pictures = list(dict.fromkeys(sha256 for _, sha256 in products))
        report = LabelsReport(products=len(products), pictures=len(pictures))
        known = _known_labels(store, path, products)
        if known is not None:
            report.reused, report.crops, report.whole = len(pictures), *known
            progress(len(pictures), len(pictures))
            return report
        crops: dict[str, list[Crop]] = {}
        unreadable: dict[str, str] = {}
        with store.behind() as behind:
            work = _Labelling(store, detector, selection, report, behind)
            labelled = ordered_map(work.label, work.prepare(pictures, decoders), workers)
            for done, (sha256, found) in enumerate(labelled, 1):
                if isinstance(found, PictureError):
                    unreadable[sha256] = found.detail
                else:
                    crops[sha256] = found
                progress(done, len(pictures))
        report.unreadable = len(unreadable)
        notes = {"products": _digest(products), "unreadable": unreadable}
        with TableWriter(store, path, LABELS, notes) as writer:
            for product_id, sha256 in products:
                if sha256 in crops:
                    for row in _label_rows(product_id, sha256, crops[sha256]):
                        writer.add(row)
                    report.crops += len(crops[sha256])
                    report.whole += not crops[sha256]
    return report


class _Labelling:
    """Detects on one picture after the other, or remembers; thread-safe."""

    def __init__(
        self, store: Store, detector: Detector, selection: Selection, report: LabelsReport, behind: Behind
    ) -> None:
        self._store = store
        self._detector = detector
        self._selection = selection
        self._memos = f"detections/{detector.fingerprint}"
        self._report = report
        self._behind = behind
        self._counting = threading.Lock()

    def prepare(self, pictures: list[str], decoders: DecoderPool) -> Iterator[_Prepared]:
        """What is remembered of each picture, and its pixels where they are needed."""
        remembered: dict[str, Detections] = {}
        to_decode: list[str] = []
        for sha256, (detections, kept) in zip(pictures, self._store.map(self._recall, pictures), strict=True):
            if detections is not None:
                remembered[sha256] = detections
            if kept:
                yield sha256, detections, None
            else:
                to_decode.append(sha256)
        for sha256, decoded in decoders.decode_all((sha256, self._loader(sha256)) for sha256 in to_decode):
            yield sha256, remembered.get(sha256), decoded

    def _recall(self, sha256: str) -> tuple[Detections | None, bool]:
        """What is remembered of a picture, and whether its crops are kept too."""
        memo = read_json_memo(self._store, self._memos, sha256)
        if memo is None:
            return None, False
        detections = _from_json(memo)
        return detections, self._crops_kept(sha256, detections)

    def _loader(self, sha256: str) -> Callable[[], bytes]:
        return lambda: self._store.read(blob_path(sha256), unchanging=True)

    def _crops_kept(self, sha256: str, detections: Detections) -> bool:
        crops = self._selection.select(detections)
        return all(self._store.exists(crop_path(crop_id(sha256, crop.box))) for crop in crops)

    def label(self, prepared: _Prepared) -> tuple[str, list[Crop] | PictureError]:
        """The crops of one picture; detects where nothing is remembered."""
        sha256, detections, decoded = prepared
        if isinstance(decoded, PictureError):
            return sha256, decoded
        if detections is None:
            assert decoded is not None
            memo = _to_json(self._detector.detect(decoded.pixels))
            self._behind.do(partial(write_json_memo, self._store, self._memos, sha256, memo))
            detections = _from_json(memo)  # rounded, as a later run reads it: both must label alike
            with self._counting:
                self._report.detected += 1
        else:
            with self._counting:
                self._report.reused += 1
        crops = self._selection.select(detections)
        if decoded is not None:
            for crop in crops:
                path = crop_path(crop_id(sha256, crop.box))
                jpeg = _jpeg(cut(decoded.pixels, crop.box))
                self._behind.do(partial(self._store.write, path, jpeg, durable=False, unchanging=True))
        return sha256, crops


_Prepared = tuple[str, Detections | None, Picture | PictureError | None]


def crop_path(crop: str) -> str:
    """Where the JPEG of a crop lies, for people to look at."""
    return f"crops/{crop[:2]}/{crop}.jpg"


def _label_rows(product_id: str, sha256: str, crops: list[Crop]) -> Iterator[dict[str, Any]]:
    parts = [("whole", None, None, WHOLE)] + [("crop", crop.label, crop.score, crop.box) for crop in crops]
    for kind, label, score, box in parts:
        yield {
            "product_id": product_id,
            "sha256": sha256,
            "crop_id": crop_id(sha256, box),
            "kind": kind,
            "label": label,
            "score": score,
            **box._asdict(),
        }


def _known_labels(store: Store, path: str, products: list[tuple[str, str]]) -> tuple[int, int] | None:
    """Crops and products without one, if the table at `path` was made whole of just these products."""
    notes = read_metadata(store, path)
    if notes is None or notes["products"] != _digest(products) or notes["unreadable"]:
        return None
    rows = list(read_rows(store, path, LABELS, ["product_id", "kind"]))
    crops = sum(row["kind"] == "crop" for row in rows)
    with_crops = {row["product_id"] for row in rows if row["kind"] == "crop"}
    return crops, len(products) - len(with_crops)


def _digest(products: list[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(products, ensure_ascii=True).encode()).hexdigest()


def _to_json(detections: Detections) -> dict[str, Any]:
    return {
        "boxes": detections.boxes.round(6).tolist(),
        "scores": detections.scores.round(6).tolist(),
        "classes": list(detections.classes),
    }


def _from_json(memo: dict[str, Any]) -> Detections:
    boxes = np.array(memo["boxes"], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array(memo["scores"], np.float32), tuple(memo["classes"]))


def _jpeg(pixels: np.ndarray) -> bytes:
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, CROP_QUALITY])[1])
