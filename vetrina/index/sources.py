"""What an index is made of: the newest embeddings of every product that the shop still has.

A product whose newest batch is not embedded yet goes on with its former picture; a removed one is gone at once; one
whose new picture failed is gone too, since the old picture no longer shows it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.catalog.batches import Batch, list_batches
from vetrina.catalog.shop import read_report
from vetrina.embedding.vectors import embeddings_path
from vetrina.errors import StoreError
from vetrina.plain_vectors import plain_vectors
from vetrina.store import Store
from vetrina.tables import CATALOG, ITEMS_EXTRA, read_metadata, read_tables

CATALOGUED = "catalogued"
"""The source of a batch that gives no items, but takes removed products out."""

_SMALL = 1 << 24  # bytes of a file that is read at once

# What a file said, with the stamp of that file: whoever asks every half minute opens only what was replaced.
_KNOWN: dict[tuple[str, str], tuple[str, str | None]] = {}


def index_sources(store: Store, fingerprint: str) -> dict[str, str]:
    """What each catalogued batch gives to an index, as a digest: equal sources make an equal index.

    Args:
        fingerprint: of the embeddings (`embeddings_fingerprint`).
    """
    batches = list_batches(store)
    paths = [(batch.path("catalog.json"), embeddings_path(batch, fingerprint)) for batch in batches]
    stamps = store.stamps("batches", [path for pair in paths for path in pair])
    sources: dict[str, str] = {}

    def source(number: int) -> str | None:
        catalog, embeddings = paths[number]
        if _known(store, catalog, stamps[2 * number], partial(_usable, store, batches[number])) is None:
            return None
        # Unfinished, it still takes removed products out.
        return _known(store, embeddings, stamps[2 * number + 1], partial(_digest_of, store, embeddings)) or CATALOGUED

    for batch, found in zip(batches, store.map(source, range(len(batches))), strict=True):
        if found is not None:
            sources[batch.key] = found
    return sources


def _known(store: Store, path: str, stamp: str | None, read: Callable[[], str | None]) -> str | None:
    """What `read` says of the file at `path`, read anew when its stamp has changed; None without a file."""
    if stamp is None:
        return None
    found = _KNOWN.get((store.identity, path))
    if found is None or found[0] != stamp:
        # The stamp is older than what is read, so a file replaced in between is only read once more.
        found = _KNOWN[store.identity, path] = stamp, read()
    return found[1]


def _usable(store: Store, batch: Batch) -> str | None:
    report = read_report(store, batch)
    return None if report is None or report.error is not None else "usable"


def _digest_of(store: Store, path: str) -> str | None:
    notes = read_metadata(store, path)
    return None if notes is None else str(notes["digest"])


def sources_digest(sources: dict[str, str]) -> str:
    """One name for all sources together, whatever their order."""
    content = "\n".join(f"{key}={value}" for key, value in sorted(sources.items()))
    return hashlib.sha256(content.encode()).hexdigest()


class IndexItems:
    """The items of an index, as a stream that can be read again.

    Args:
        fingerprint: of the embeddings; nothing made by other models takes part.

    Attributes:
        sources: what each batch gives, as `index_sources`.
    """

    def __init__(self, store: Store, fingerprint: str) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self.sources = index_sources(store, fingerprint)
        self._batches = [batch for batch in list_batches(store) if batch.key in self.sources]
        self._owners = self._owners_of_products()

    def _embedded(self, batch: Batch) -> bool:
        return self.sources[batch.key] != CATALOGUED

    def _owners_of_products(self) -> dict[str, int]:
        owners: dict[str, int] = {}
        for batch, tables in zip(self._batches, self._store.map(self._changes, self._batches), strict=True):
            for table in tables:
                rows = zip(*(_values(table, name) for name in ("product_id", "removed")), strict=True)
                for product_id, removed in rows:
                    if removed:
                        owners.pop(product_id, None)
                    elif self._embedded(batch):
                        owners[product_id] = batch.sequence
        return owners

    def _changes(self, batch: Batch) -> list[pa.Table]:
        path = batch.path("catalog.parquet")
        return list(read_tables(self._store, path, CATALOG, ["product_id", "removed"], unchanging=True))

    def __call__(self) -> Iterator[pa.Table]:
        """Tables of the embeddings' columns and `batch`, a few thousand rows each."""
        yield from self._tables(self._batches)

    def newer_than(self, sources: dict[str, str]) -> Iterator[pa.Table]:
        """Only the tables of batches that an index made of `sources` lacks: its tail."""
        return self._tables([batch for batch in self._batches if sources.get(batch.key) != self.sources[batch.key]])

    def unchanged_since(self, sources: dict[str, str]) -> set[str]:
        """Ids of the products whose batch gave just the same to an index made of `sources`."""
        same = {batch.sequence for batch in self._batches if sources.get(batch.key) == self.sources[batch.key]}
        return {product_id for product_id, sequence in self._owners.items() if sequence in same}

    def _tables(self, batches: Sequence[Batch]) -> Iterator[pa.Table]:
        embedded = [batch for batch in batches if self._embedded(batch)]
        paths = [embeddings_path(batch, self._fingerprint) for batch in embedded]
        for batch, path, opened in zip(embedded, paths, self._store.map(self._store.open, paths), strict=True):
            with opened as handle:
                try:
                    for table in _row_groups(handle):
                        yield self._owned(table, batch)
                except (pa.ArrowInvalid, OSError) as error:
                    raise StoreError(f"{path} cannot be read; materialize the batch again ({error})") from error

    def _owned(self, table: pa.Table, batch: Batch) -> pa.Table:
        owned = [self._owners.get(product_id) == batch.sequence for product_id in _values(table, "product_id")]
        kept = table if all(owned) else table.filter(pa.array(owned, pa.bool_()))
        kept = kept.replace_schema_metadata(None)
        return kept.append_column(ITEMS_EXTRA, pa.array([batch.key] * kept.num_rows, pa.string()))


def _row_groups(handle: IO[bytes]) -> Iterator[pa.Table]:
    """Embeddings in pieces of a few thousand rows, as they were written."""
    source: Any = handle
    if handle.seek(0, os.SEEK_END) <= _SMALL:
        handle.seek(0)
        source = pa.BufferReader(handle.read())  # one request, and no call into Python for every column
    file = pq.ParquetFile(source)
    schema = file.schema_arrow
    field = schema.field("vector")
    others = [name for name in schema.names if name != field.name]
    for group in range(file.num_row_groups):
        vectors = plain_vectors(source, file, group, field)
        if vectors is None:
            for rows in file.iter_batches(batch_size=4096, row_groups=[group]):
                yield pa.Table.from_batches([rows])
        else:
            column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=field.type)
            yield file.read_row_group(group, columns=others, use_threads=False).append_column(field, column)


def _values(table: pa.Table, column: str) -> list[Any]:
    return table.column(column).to_pylist()
