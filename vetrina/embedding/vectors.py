"""Vectors: every crop of a batch through the extractor, once, into the batch's embeddings.

A vector is made from the picture as decoded, cut by the crop's box, in this and every other path, and remembered
by (crop, extractor): the same pixels never pass the network twice. One memo holds the crops of a picture.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from typing import Any

import numpy as np
import pyarrow as pa

from vetrina.catalog.batches import Batch
from vetrina.detection.crops import cut
from vetrina.detection.labelling import labels_path
from vetrina.embedding.extractor import Extractor, ExtractorIdentity
from vetrina.errors import PictureError
from vetrina.memos import read_memo, write_memo
from vetrina.parallel import Behind, ordered_map
from vetrina.pictures.collecting import Progress
from vetrina.pictures.decoders import DecoderPool
from vetrina.pictures.decoding import Picture
from vetrina.store import Store, blob_path
from vetrina.tables import LABELS, TableWriter, embeddings_schema, read_metadata, read_rows

_WRITTEN_AT_ONCE = 1024
"""Rows; their vectors are in memory twice while they are written."""
_PIXELS = 256 << 20
"""Bytes of decoded pictures that wait for an extractor at most, or one picture for each worker where that is more."""


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
        if _is_made_of(store, path, digest):
            report.reused = len(rows)
            progress(len(rows), len(rows))
            return report
        schema = embeddings_schema(extractor.dims)
        # Vectors wait in a file, by position: a batch of any length takes the same memory.
        with store.scratch() as folder, (folder / "vectors").open("w+b") as waiting:
            size = extractor.dims * np.dtype(np.float32).itemsize
            place = {row["crop_id"]: number for number, row in enumerate(rows)}
            unreadable: dict[str, str] = {}
            done = 0
            with store.behind() as behind:
                work = _Embedding(store, extractor, report, behind)
                groups = _groups(work.prepare(rows, decoders), extractor.batch, _PIXELS // (2 * workers))
                for sha256, made in chain.from_iterable(ordered_map(work.embed, groups, workers)):
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


def is_embedded(store: Store, batch: Batch, labels: str, extractor: Extractor | ExtractorIdentity) -> bool:
    """Whether `embed_crops` would find nothing to do. Raises FileNotFoundError when the batch has no such labels."""
    digest = _digest(list(read_rows(store, labels_path(batch, labels), LABELS, ["product_id", "crop_id", "label"])))
    return _is_made_of(store, embeddings_path(batch, embeddings_fingerprint(labels, extractor)), digest)


def _is_made_of(store: Store, path: str, digest: str) -> bool:
    """Whether embeddings are there, of just these crops, and whole."""
    notes = read_metadata(store, path)
    return notes is not None and notes["digest"] == digest and not notes["unreadable"]


def remembered_vectors(store: Store, extractor: Extractor, sha256: str) -> dict[str, np.ndarray]:
    """The vectors of a picture's crops that this extractor made before, float32 [dims] by crop id."""
    memo = read_memo(store, _memos(extractor), sha256) or b""
    entries = np.frombuffer(memo, _entry(extractor))
    return {entry["crop"].tobytes().hex(): entry["vector"] for entry in entries}


def _memos(extractor: Extractor) -> str:
    return f"vectors/{extractor.fingerprint}"


def _entry(extractor: Extractor) -> np.dtype[Any]:
    """What a memo holds for each crop: the crop id's bytes and the vector."""
    return np.dtype([("crop", np.uint8, 16), ("vector", np.float32, extractor.dims)])


class _Embedding:
    """Embeds the crops of pictures, or remembers; thread-safe."""

    def __init__(self, store: Store, extractor: Extractor, report: EmbeddingsReport, behind: Behind) -> None:
        self._store = store
        self._extractor = extractor
        self._report = report
        self._behind = behind
        self._counting = threading.Lock()

    def prepare(self, rows: list[dict[str, Any]], decoders: DecoderPool) -> Iterator[_Prepared]:
        """For each picture the crops that are remembered, those that are not, and pixels where they are needed."""
        waiting: dict[str, _Prepared] = {}
        by_picture = {
            sha256: list(crops)
            for sha256, crops in groupby(sorted(rows, key=lambda row: row["sha256"]), key=lambda row: row["sha256"])
        }
        remembered = self._store.map(
            lambda sha256: remembered_vectors(self._store, self._extractor, sha256), by_picture
        )
        for (sha256, crops), vectors in zip(by_picture.items(), remembered, strict=True):
            prepared = _Prepared(sha256, vectors)
            for row in crops:
                if row["crop_id"] in vectors:
                    prepared.known[row["crop_id"]] = vectors[row["crop_id"]]
                else:
                    prepared.missing[row["crop_id"]] = tuple(row[side] for side in ("ymin", "xmin", "ymax", "xmax"))
            if prepared.missing:
                waiting[sha256] = prepared
            else:
                yield prepared
        for sha256, decoded in decoders.decode_all((sha256, self._loader(sha256)) for sha256 in list(waiting)):
            prepared = waiting.pop(sha256)
            prepared.decoded = decoded
            yield prepared

    def _remember(self, sha256: str, vectors: dict[str, np.ndarray]) -> None:
        """Write the picture's memo; of two writers at the same time one may be forgotten, and is made again."""
        entries = np.empty(len(vectors), _entry(self._extractor))
        entries["crop"] = [np.frombuffer(bytes.fromhex(crop), np.uint8) for crop in vectors]
        entries["vector"] = list(vectors.values())
        write_memo(self._store, _memos(self._extractor), sha256, entries.tobytes())

    def _loader(self, sha256: str) -> Callable[[], bytes]:
        return lambda: self._store.read(blob_path(sha256), unchanging=True)

    def embed(self, group: list[_Prepared]) -> list[tuple[str, dict[str, np.ndarray] | PictureError]]:
        """For each picture the vectors of its crops by crop id, float32 [dims]; missing ones are embedded together."""
        crops = [cut(pixels, box) for prepared in group for pixels, box in prepared.to_embed()]
        vectors = iter(self._extractor.embed(crops) if crops else ())
        return [(prepared.sha256, self._finish(prepared, vectors)) for prepared in group]

    def _finish(self, prepared: _Prepared, vectors: Iterator[np.ndarray]) -> dict[str, np.ndarray] | PictureError:
        """The vectors of one picture's crops; takes those of the missing ones from `vectors`, and remembers them."""
        if isinstance(prepared.decoded, PictureError):
            return prepared.decoded
        made = {crop: next(vectors) for crop in prepared.missing}
        if made:
            self._behind.do(partial(self._remember, prepared.sha256, prepared.remembered | made))
        with self._counting:
            self._report.embedded += len(made)
            self._report.reused += len(prepared.known)
        return prepared.known | made


@dataclass(slots=True)
class _Prepared:
    """One picture: all vectors remembered of it, of these the ones wanted, boxes of the missing ones, and pixels."""

    sha256: str
    remembered: dict[str, np.ndarray]
    known: dict[str, np.ndarray] = field(default_factory=dict)
    missing: dict[str, tuple[float, ...]] = field(default_factory=dict)
    decoded: Picture | PictureError | None = None

    def to_embed(self) -> Iterator[tuple[np.ndarray, tuple[float, ...]]]:
        """Pixels and box of each crop that is missing; none where the picture cannot be read."""
        if isinstance(self.decoded, Picture):
            for box in self.missing.values():
                yield self.decoded.pixels, box

    @property
    def pixel_bytes(self) -> int:
        """Memory that the decoded picture takes."""
        return self.decoded.pixels.nbytes if isinstance(self.decoded, Picture) else 0


def _groups(pictures: Iterator[_Prepared], batch: int, pixels: int) -> Iterator[list[_Prepared]]:
    """Pictures put together until they have `batch` crops to embed or `pixels` bytes; others go by themselves."""
    group: list[_Prepared] = []
    for prepared in pictures:
        if not prepared.pixel_bytes:
            yield [prepared]
            continue
        group.append(prepared)
        if sum(len(each.missing) for each in group) >= batch or sum(each.pixel_bytes for each in group) >= pixels:
            yield group
            group = []
    if group:
        yield group


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
