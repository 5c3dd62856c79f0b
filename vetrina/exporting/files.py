"""Export into a file: Parquet, CSV or JSON lines, by its name. The file appears whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.errors import SettingError, StoreError
from vetrina.exporting.changes import Change

_COLUMNS = ("product_id", "rank", "similar_id", "score", "same_class")
_FIELDS: list[pa.Field[Any]] = [
    pa.field("product_id", pa.string(), nullable=False),
    pa.field("rank", pa.int32()),
    pa.field("similar_id", pa.string()),
    pa.field("score", pa.float32()),
    pa.field("same_class", pa.bool_()),
]
_SCHEMA = pa.schema(_FIELDS)
"""A product without similar ones, in an export of changes, is one row with nulls."""
_ROWS = 1 << 16


def write_file(changes: Iterable[Change], file: Path) -> None:
    """Write the lists into `file`, whose suffix says how: .parquet, .csv, .jsonl or .ndjson.

    Raises:
        SettingError: another suffix.
        StoreError: the file cannot be written.
    """
    write = _writers.get(file.suffix.lower())
    if write is None:
        raise SettingError(f"{file} has no suffix that says how to write it; use one of {', '.join(_writers)}")
    with _whole(file) as handle:
        write(changes, handle)


@contextmanager
def _whole(file: Path) -> Iterator[BinaryIO]:
    aside = file.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with aside.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        aside.replace(file)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}; choose another place") from error
    finally:
        aside.unlink(missing_ok=True)


def _rows(changes: Iterable[Change]) -> Iterator[tuple[str, int | None, str | None, float | None, bool | None]]:
    for change in changes:
        for line in change.similar:
            yield change.product_id, line.rank, line.similar_id, line.score, line.same_class
        if not change.similar:
            yield change.product_id, None, None, None, None


def _parquet(changes: Iterable[Change], handle: BinaryIO) -> None:
    with pq.ParquetWriter(handle, _SCHEMA, compression="zstd") as writer:
        pending: list[tuple[object, ...]] = []
        for row in _rows(changes):
            pending.append(row)
            if len(pending) == _ROWS:
                writer.write_table(_table(pending))
                pending.clear()
        writer.write_table(_table(pending))


def _table(rows: list[tuple[object, ...]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(_COLUMNS, row, strict=True)) for row in rows], schema=_SCHEMA)


def _csv(changes: Iterable[Change], handle: BinaryIO) -> None:
    with _text(handle) as text:
        writer = csv.writer(text)
        writer.writerow(_COLUMNS)
        for product_id, rank, similar_id, score, same_class in _rows(changes):
            said = "" if same_class is None else "true" if same_class else "false"
            writer.writerow([product_id, rank, similar_id, None if score is None else f"{score:.6f}", said])


def _json_lines(changes: Iterable[Change], handle: BinaryIO) -> None:
    with _text(handle) as text:
        for change in changes:
            similar = [
                {"id": line.similar_id, "score": round(line.score, 6), "same_class": line.same_class}
                for line in change.similar
            ]
            text.write(json.dumps({"product_id": change.product_id, "similar": similar}, ensure_ascii=False) + "\n")


@contextmanager
def _text(handle: BinaryIO) -> Iterator[io.TextIOWrapper]:
    text = io.TextIOWrapper(handle, encoding="utf-8", newline="")
    try:
        yield text
        text.flush()
    finally:
        text.detach()


_writers: dict[str, Callable[[Iterable[Change], BinaryIO], None]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
