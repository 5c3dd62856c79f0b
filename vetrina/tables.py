"""The Parquet tables: their schemas, and the only functions that write and read them.

Every table is written in row groups, so memory does not grow with its length, and checked against its schema
when it is read. Boxes are ymin, xmin, ymax, xmax as shares of the picture (0 to 1).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.errors import StoreError
from vetrina.store import Store

_GROUP = 4096
_BOX = [(side, pa.float32(), False) for side in ("ymin", "xmin", "ymax", "xmax")]


def table_schema(*fields: tuple[str, pa.DataType, bool]) -> pa.Schema:
    """A schema of (name, type, nullable) columns."""
    return pa.schema([pa.field(name, kind, nullable=nullable) for name, kind, nullable in fields])


CATALOG = table_schema(
    ("product_id", pa.string(), False),
    ("line", pa.int64(), True),  # in the catalog file; null for a product that a snapshot lacks
    ("picture", pa.string(), False),  # absolute reference; empty when removed
    ("attributes", pa.string(), False),  # JSON object of the further columns, as text
    ("removed", pa.bool_(), False),
    ("digest", pa.string(), False),  # of picture and attributes: equal means unchanged
)
"""One row for each product that a batch changes."""

REJECTED = table_schema(
    ("line", pa.int64(), False),
    ("product_id", pa.string(), True),
    ("reason", pa.string(), False),
    ("detail", pa.string(), False),
)
"""One row for each catalog row that cannot be used."""

IMAGES = table_schema(
    ("product_id", pa.string(), False),
    ("picture", pa.string(), False),
    ("state", pa.string(), False),  # "ok" or one of vetrina.states.FAILED
    ("reason", pa.string(), True),
    ("detail", pa.string(), True),
    ("transient", pa.bool_(), False),  # a failure that may pass by itself
    ("sha256", pa.string(), True),
    ("media", pa.string(), True),
    ("bytes", pa.int64(), True),
    ("width", pa.int32(), True),  # pixels
    ("height", pa.int32(), True),
    ("attempts", pa.int32(), False),
    ("seconds", pa.float32(), False),
)
"""One row for each product of a batch: the outcome of its picture."""

LABELS = table_schema(
    ("product_id", pa.string(), False),
    ("sha256", pa.string(), False),
    ("crop_id", pa.string(), False),
    ("kind", pa.string(), False),  # "whole" or "crop"
    ("label", pa.string(), True),  # Open Images name; null for the whole picture
    ("score", pa.float32(), True),
    *_BOX,
)
"""One row for each crop of a product; its whole picture is the first."""


def embeddings_schema(dims: int) -> pa.Schema:
    """LABELS with the crop's vector: float32 [dims], length 1. A fixed-size list is what other tools read."""
    return LABELS.append(pa.field("vector", pa.list_(pa.float32(), dims), nullable=False))


ITEMS_EXTRA = pa.field("batch", pa.string(), nullable=False)
"""Added to the embeddings when batches are put together for an index."""


TRAINING_SET = table_schema(
    ("product_id", pa.string(), False),
    ("sha256", pa.string(), False),
    *_BOX,  # the part of the picture that is looked at
    ("label", pa.string(), True),
    ("group", pa.string(), False),  # products that show the same picture share one
    ("part", pa.string(), False),  # "learn", "held out" or "left out"
    ("reason", pa.string(), True),  # why it is left out
)
"""One row for each product of the shop: what it is for in a fine-tuning."""

SPLIT = table_schema(
    ("product_id", pa.string(), False),
    ("part", pa.string(), False),  # "train", "validation" or "test"
    ("label", pa.string(), True),  # of held-out products: the true class
    ("predicted", pa.string(), True),  # and the one that the classifier gave
)
"""One row for each product that a fine-tuning learnt from or was tested on."""


class TableWriter:
    """Writes a table row by row or table by table; it appears in the store, whole, when the block ends well."""

    def __init__(self, store: Store, path: str, schema: pa.Schema, metadata: Mapping[str, Any] | None = None) -> None:
        notes = {f"vetrina.{key}": json.dumps(value) for key, value in (metadata or {}).items()}
        self._schema = schema.with_metadata(notes) if notes else schema
        self._file = store.writing(path)
        self._rows: list[dict[str, Any]] = []

    def __enter__(self) -> TableWriter:
        # Vectors hardly repeat, hardly shrink and have no useful extremes; trying costs more than writing them.
        plain: Any = [field.name for field in self._schema if not pa.types.is_fixed_size_list(field.type)]
        with ExitStack() as opening:  # a disk that is full already refuses the first bytes
            self._parquet = opening.enter_context(
                pq.ParquetWriter(
                    opening.enter_context(self._file),
                    self._schema,
                    compression="zstd" if len(plain) == len(self._schema) else "none",
                    use_dictionary=plain,
                    write_statistics=plain,
                )
            )
            self._open = opening.pop_all()
        return self

    def add(self, row: dict[str, Any]) -> None:
        """Append one row."""
        self._rows.append(row)
        if len(self._rows) >= _GROUP:
            self._flush()

    def add_table(self, table: pa.Table) -> None:
        """Append the rows of a table that has this schema."""
        self._flush()
        self._parquet.write_table(table.cast(self._schema), row_group_size=_GROUP)

    def _flush(self) -> None:
        if self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows.clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Whatever fails on the way out, the stack tells the file, which then is not published.
        if error is None:
            self._open.callback(self._flush)
        self._open.__exit__(kind, error, trace)


def write_table(
    store: Store,
    path: str,
    schema: pa.Schema,
    rows: Iterable[dict[str, Any]],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write `rows` as the table at `path`, atomically."""
    with TableWriter(store, path, schema, metadata) as writer:
        for row in rows:
            writer.add(row)


def read_tables(
    store: Store, path: str, schema: pa.Schema, columns: list[str] | None = None, *, unchanging: bool = False
) -> Iterator[pa.Table]:
    """The table at `path` in pieces of a few thousand rows; `unchanging` as for `Store.read`.

    Raises:
        FileNotFoundError: there is no such table.
        StoreError: it is not Parquet or does not have this schema.
    """
    with store.open(path, unchanging=unchanging) as handle:
        try:
            parquet = pq.ParquetFile(handle)
            _check(parquet.schema_arrow, schema, path)
            for batch in parquet.iter_batches(batch_size=_GROUP, columns=columns):
                yield pa.Table.from_batches([batch])
        except (pa.ArrowInvalid, OSError) as error:
            raise StoreError(f"{path} in {store.root} cannot be read as Parquet: {error}") from error


def read_rows(
    store: Store, path: str, schema: pa.Schema, columns: list[str] | None = None, *, unchanging: bool = False
) -> Iterator[dict[str, Any]]:
    """The rows of the table at `path`, one dictionary each. Raises as `read_tables`."""
    for table in read_tables(store, path, schema, columns, unchanging=unchanging):
        yield from table.to_pylist()


def read_metadata(store: Store, path: str) -> dict[str, Any] | None:
    """What the writer noted beside the table at `path`; None when there is no such table or it is damaged."""
    try:
        with store.open(path) as handle:
            found = pq.read_schema(handle).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return {
        key.decode().removeprefix("vetrina."): json.loads(value)
        for key, value in found.items()
        if key.startswith(b"vetrina.")
    }


def _check(found: pa.Schema, expected: pa.Schema, path: str) -> None:
    for field in expected:
        index = found.get_field_index(field.name)
        if index < 0 or found.field(index).type != field.type:
            have = "nothing" if index < 0 else str(found.field(index).type)
            raise StoreError(f"{path}: column {field.name!r} should be {field.type}, found {have}")
