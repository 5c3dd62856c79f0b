"""Trials: the shop's crops embedded by another extractor than the one in use, to compare the two or to switch.

What is served is not touched: embeddings lie under their fingerprint, and vectors are remembered by crop and
extractor, so an interrupted trial goes on, and a switch later finds everything made. A trial is noted in the store,
so that garbage collection leaves what it made alone for a month.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from vetrina.catalog.batches import Batch, list_batches
from vetrina.detection.crops import cut
from vetrina.detection.labelling import labels_path
from vetrina.embedding.extractor import Extractor, ExtractorIdentity
from vetrina.embedding.vectors import embed_crops, embeddings_fingerprint, is_embedded, remembered_vectors
from vetrina.errors import ModelError, PictureError, SettingError, StoreError, StoreUnavailable, VetrinaError
from vetrina.parallel import ordered_map
from vetrina.pictures.collecting import Progress
from vetrina.pictures.decoders import DecoderPool
from vetrina.store import Store, blob_path
from vetrina.tables import LABELS, read_rows

_TRIALS = "trials"
_WHAT_ENDS_ALL = (ModelError, SettingError, StoreUnavailable)


@dataclass(frozen=True, slots=True)
class Trial:
    """An extractor that is or was on trial.

    Attributes:
        handle: of the extractor.
        fingerprints: role → fingerprint of what the trial makes: "labels", "extractor", "embeddings".
    """

    handle: str
    fingerprints: dict[str, str]


@dataclass(slots=True)
class TrialReport:
    """What embedding the shop cost, in crops (a whole picture counts as one).

    Attributes:
        unreadable: of pictures that cannot be read any more, as in `EmbeddingsReport`.
        failed: key of a batch that could not be embedded → why.
    """

    batches: int = 0
    crops: int = 0
    embedded: int = 0
    reused: int = 0
    unreadable: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialCost:
    """What embedding the shop would cost, in crops.

    Attributes:
        batches: that lack embeddings of the extractor.
        crops: of these batches.
        to_embed: of these, crops that no earlier run embedded.
    """

    batches: int
    crops: int
    to_embed: int


def note_trial(store: Store, labels: str, extractor: Extractor | ExtractorIdentity) -> Trial:
    """Note that an extractor is on trial, from now on for a month."""
    embeddings = embeddings_fingerprint(labels, extractor)
    made = {"labels": labels, "extractor": extractor.fingerprint, "embeddings": embeddings}
    trial = Trial(extractor.handle, made)
    store.write_json(f"{_TRIALS}/{embeddings}.json", asdict(trial))
    return trial


def trials_since(store: Store, since: datetime) -> list[Trial]:
    """The trials noted since a time (UTC)."""
    recent = [file.path for file in store.walk(_TRIALS) if file.path.endswith(".json") and file.modified >= since]
    return [Trial(**store.read_json(path)) for path in sorted(recent)]


def not_embedded(store: Store, labels: str, extractor: Extractor | ExtractorIdentity) -> list[Batch]:
    """The labelled batches that lack embeddings of an extractor, by sequence.

    Args:
        labels: fingerprint of the labels in use; a batch without these is not ready for a trial.
    """

    def lacks(batch: Batch) -> bool:
        try:
            return not is_embedded(store, batch, labels, extractor)
        except FileNotFoundError:
            return False
        except StoreUnavailable:
            raise
        except StoreError:
            return True  # damaged; `embed_shop` says how

    batches = list_batches(store)
    return [batch for batch, missing in zip(batches, store.map(lacks, batches), strict=True) if missing]


def embed_shop(
    store: Store,
    labels: str,
    extractor: Extractor,
    decoders: DecoderPool,
    *,
    workers: int,
    progress: Progress = lambda done, total: None,
) -> TrialReport:
    """Embed every labelled batch, those that arrive meanwhile as well. A batch that fails costs no other its result.

    Raises:
        ModelError, SettingError, StoreUnavailable: what would fail for every batch.
    """
    note_trial(store, labels, extractor)
    report = TrialReport()
    tried: set[str] = set()  # a batch with a picture that cannot be read any more is never done
    done = 0
    while batches := [batch for batch in not_embedded(store, labels, extractor) if batch.key not in tried]:
        sizes = {batch.key: sum(1 for _ in _rows(store, batch, labels)) for batch in batches}
        total = done + sum(sizes.values())
        for batch in batches:
            before = done
            tried.add(batch.key)

            def count(crops: int, _: int, before: int = before, total: int = total) -> None:
                progress(before + crops, total)

            try:
                found = embed_crops(store, batch, labels, extractor, decoders, workers=workers, progress=count)
            except _WHAT_ENDS_ALL:
                raise
            except VetrinaError as error:
                report.failed[batch.key] = str(error)
                continue
            done += sizes[batch.key]
            progress(done, total)
            report.batches += 1
            for name in ("crops", "embedded", "reused", "unreadable"):
                setattr(report, name, getattr(report, name) + getattr(found, name))
    return report


def cost_of(store: Store, labels: str, extractor: Extractor) -> TrialCost:
    """What `embed_shop` would cost now."""
    batches = not_embedded(store, labels, extractor)
    by_picture: dict[str, set[str]] = {}
    crops = 0
    for batch in batches:
        for row in _rows(store, batch, labels):
            by_picture.setdefault(row["sha256"], set()).add(row["crop_id"])
            crops += 1
    remembered = store.map(lambda sha256: remembered_vectors(store, extractor, sha256), by_picture)
    to_embed = sum(
        len(wanted - vectors.keys()) for wanted, vectors in zip(by_picture.values(), remembered, strict=True)
    )
    return TrialCost(len(batches), crops, to_embed)


def sample_crops(store: Store, labels: str, count: int, decoders: DecoderPool) -> list[np.ndarray]:
    """Crops from all over the shop as an extractor gets them: uint8 [h, w, 3], at most `count`, the same each time."""
    rows = [row for batch in list_batches(store) for row in _rows(store, batch, labels)]
    by_picture: dict[str, list[dict[str, Any]]] = {}
    for place in np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)).tolist():
        by_picture.setdefault(rows[place]["sha256"], []).append(rows[place])
    jobs = ((sha256, lambda sha256=sha256: store.read(blob_path(sha256), unchanging=True)) for sha256 in by_picture)
    crops = []
    for sha256, decoded in decoders.decode_all(jobs):
        if not isinstance(decoded, PictureError):
            boxes = (tuple(row[side] for side in ("ymin", "xmin", "ymax", "xmax")) for row in by_picture[sha256])
            crops += [cut(decoded.pixels, box) for box in boxes]
    return crops


def seconds_for_each(extractor: Extractor, crops: Sequence[np.ndarray], workers: int) -> float:
    """Wall seconds that one crop takes of an extractor which is warm, with all workers at it, decoding not counted."""
    extractor.embed(crops[:1])
    began = time.perf_counter()
    for _ in ordered_map(lambda crop: extractor.embed([crop]), crops, workers):
        pass
    return (time.perf_counter() - began) / len(crops)


def _rows(store: Store, batch: Batch, labels: str) -> Iterator[dict[str, Any]]:
    """The crops of a batch; none where it has no such labels, or none that can be read."""
    try:
        yield from read_rows(store, labels_path(batch, labels), LABELS)
    except FileNotFoundError:
        return
    except StoreUnavailable:
        raise
    except StoreError:
        return  # damaged; `embed_shop` says how
