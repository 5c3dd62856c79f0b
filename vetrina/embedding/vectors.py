"""Vectors: every crop of a batch through the extractor, once, into the batch's embeddings.

A vector is made from the picture as decoded, cut by the crop's box, in this and every other path, and remembered
by (crop, extractor): the same pixels never pass the network twice. One memo holds the crops of a picture.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from vetrina.catalog.batches import Batch
from vetrina.detection.crops import cut
from vetrina.detection.labelling import labels_path
from vetrina.embedding.extractor import Extractor, ExtractorIdentity
from vetrina.errors import PictureError
from vetrina.memos import read_memo, write_memo
from vetrina.parallel import ordered_map
from vetrina.pictures.collecting import Progress
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.decoding import Picture
from vetrina.store import Store, blob_path
from vetrina.tables import LABELS, TableWriter, embeddings_schema, read_metadata, read_rows

_WRITTEN_AT_ONCE = 1024
"""Rows; their vectors are in memory twice while they are written."""


@dataclass(slots=True)
class EmbeddingsReport:
    """What embedding a batch cost, in crops (a whole picture counts as one)."""

    products: int = 0
    crops: int = 0
    embedded: int = 0
    reused: int = 0
    unreadable: int = 0


def embeddings_fingerprint(labels: str, extractor: Extractor | ExtractorIdentity) -> str:
    """Names the vectors that `extractor` makes of the crops that the labels fingerprint `labels` names."""
    return hashlib.sha256(f"{labels}:{extractor.fingerprint}".encode()).hexdigest()[:16]


def embeddings_path(batch: Batch, fingerprint: str) -> str:
    """Where the embeddings of `batch` lie that `embeddings_fingerprint` names."""
    return batch.path(f"embeddings/{fingerprint}.parquet")


def embed_crops(
    store: Store,
    batch: Batch,
    labels: str,
    extractor: Extractor,
    decoders: DecoderPool,
    *,
    workers: int,
    progress: Progress = lambda done, total: None,
) -> EmbeddingsReport:
    """Embed the crops that the labels fingerprint `labels` names and write `embeddings/<fingerprint>.parquet`.

    A picture that cannot be read any more costs its products; the table's notes say why.
    """
    path = embeddings_path(batch, embeddings_fingerprint(labels, extractor))
    with store.exclusive(f"embeddings-{batch.key}"):
        rows = list(read_rows(store, labels_path(batch, labels), LABELS))
        report = EmbeddingsReport(products=len({row["product_id"] for row in rows}), crops=len(rows))
        digest = _digest(rows)
        notes = read_metadata(store, path)
        if notes is not None and notes["digest"] == digest and not notes["unreadable"]:
            report.reused = len(rows)
            progress(len(rows), len(rows))
            return report
        work = _Embedding(store, extractor, report)
        schema = embeddings_schema(extractor.dims)
        # Vectors wait in a file, by position: a batch of any length takes the same memory.
        with store.scratch() as folder, (folder / "vectors").open("w+b") as waiting:
            size = extractor.dims * np.dtype(np.float32).itemsize
            place = {row["crop_id"]: number for number, row in enumerate(rows)}
            unreadable: dict[str, str] = {}
            done = 0
            for sha256, made in ordered_map(work.embed, work.prepare(rows, decoders), workers):
                if isinstance(made, PictureError):
                    unreadable[sha256] = made.detail
                    continue
                for crop, vector in made.items():
                    os.pwrite(waiting.fileno(), vector.tobytes(), place[crop] * size)
                done += len(made)
                progress(done, len(place))
            report.unreadable = len(unreadable)
            notes = {
                "digest": digest,
                "labels": labels,
                "extractor": extractor.fingerprint,
                "unreadable": unreadable,
            }
            with TableWriter(store, path, schema, notes) as writer:
                readable = [row for row in rows if row["sha256"] not in unreadable]
                for start in range(0, len(readable), _WRITTEN_AT_ONCE):
                    chunk = readable[start : start + _WRITTEN_AT_ONCE]
                    vectors = [os.pread(waiting.fileno(), size, place[row["crop_id"]] * size) for row in chunk]
                    writer.add_table(_table(chunk, b"".join(vectors), schema))
    return report


class _Embedding:
    """Embeds the crops of one picture after the other, or remembers; thread-safe."""

    def __init__(self, store: Store, extractor: Extractor, report: EmbeddingsReport) -> None:
        self._store = store
        self._extractor = extractor
        self._memos = f"vectors/{extractor.fingerprint}"
        self._entry = np.dtype([("crop", np.uint8, 16), ("vector", np.float32, extractor.dims)])
        self._report = report
        self._counting = threading.Lock()

    def prepare(self, rows: list[dict[str, Any]], decoders: DecoderPool) -> Iterator[_Prepared]:
        """For each picture the crops that are remembered, those that are not, and pixels where they are needed."""
        waiting: dict[str, tuple[dict[str, np.ndarray], dict[str, tuple[float, ...]]]] = {}
        by_picture = groupby(sorted(rows, key=lambda row: row["sha256"]), key=lambda row: row["sha256"])
        for sha256, crops in by_picture:
            known: dict[str, np.ndarray] = {}
            missing: dict[str, tuple[float, ...]] = {}
            remembered = self._remembered(sha256)
            for row in crops:
                if row["crop_id"] in remembered:
                    known[row["crop_id"]] = remembered[row["crop_id"]]
                else:
                    missing[row["crop_id"]] = tuple(row[side] for side in ("ymin", "xmin", "ymax", "xmax"))
            if missing:
                waiting[sha256] = known, missing
            else:
                yield sha256, known, missing, None
        for sha256, decoded in decoders.decode_all((sha256, self._loader(sha256)) for sha256 in waiting):
            yield sha256, *waiting[sha256], decoded

    def _remembered(self, sha256: str) -> dict[str, np.ndarray]:
        """The vectors of the picture's crops that were made before, by crop id."""
        memo = read_memo(self._store, self._memos, sha256) or b""
        entries = np.frombuffer(memo, self._entry)
        return {entry["crop"].tobytes().hex(): entry["vector"] for entry in entries}

    def _remember(self, sha256: str, made: dict[str, np.ndarray]) -> None:
        """Add to the picture's memo; of two writers at the same time one may be forgotten, and is made again."""
        vectors = self._remembered(sha256) | made
        entries = np.empty(len(vectors), self._entry)
        entries["crop"] = [np.frombuffer(bytes.fromhex(crop), np.uint8) for crop in vectors]
        entries["vector"] = list(vectors.values())
        write_memo(self._store, self._memos, sha256, entries.tobytes())

    def _loader(self, sha256: str) -> Callable[[], bytes]:
        return lambda: self._store.read(blob_path(sha256))

    def embed(self, prepared: _Prepared) -> tuple[str, dict[str, np.ndarray] | PictureError]:
        """The vectors of one picture's crops by crop id, float32 [dims]."""
        sha256, known, missing, decoded = prepared
        if isinstance(decoded, PictureError):
            return sha256, decoded
        made: dict[str, np.ndarray] = {}
        if decoded is not None:
            vectors = self._extractor.embed([cut(decoded.pixels, box) for box in missing.values()])
            made = dict(zip(missing, vectors, strict=True))
            self._remember(sha256, made)
        with self._counting:
            self._report.embedded += len(made)
            self._report.reused += len(known)
        return sha256, known | made


_Prepared = tuple[str, dict[str, np.ndarray], dict[str, tuple[float, ...]], Picture | PictureError | None]


def _table(rows: list[dict[str, Any]], vectors: bytes, schema: pa.Schema) -> pa.Table:
    """The rows with their vectors, without a Python number for each of a vector's."""
    field = schema.field("vector")
    column = pa.FixedSizeListArray.from_arrays(pa.array(np.frombuffer(vectors, np.float32)), type=field.type)
    return pa.Table.from_pylist(rows, schema=LABELS).append_column(field, column)


def _digest(rows: list[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{len(row['product_id'])}:{row['product_id']}{row['crop_id']}{row['label']}".encode())
    return digest.hexdigest()
