"""The shop: what each batch changes, and which batch answers for each product.

Cataloguing a batch compares its file with the shop as the batches before it left it, so a batch holds only what
changed. Batches are catalogued strictly in sequence; what results depends on the files alone, never on when or
in which order runs happen.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vetrina.catalog.batches import Batch, catalog_file, list_batches
from vetrina.catalog.reading import CatalogRow, RejectedRow
from vetrina.errors import CatalogError
from vetrina.store import Store
from vetrina.tables import CATALOG, REJECTED, TableWriter, read_rows, read_tables, table_schema

_CHECKPOINT_EVERY = 50
_CHECKPOINT = table_schema(
    ("product_id", pa.string(), False), ("sequence", pa.int64(), False), ("digest", pa.string(), False)
)
_BRIEF = ("product_id", "removed", "digest")
DUPLICATE = "duplicate-id"
"""Reason of a row that a later row of the same file replaces."""


@dataclass(frozen=True, slots=True)
class CatalogReport:
    """What became of the rows of one catalog. rows = accepted + unchanged + superseded + rejected + removed.

    `removed_by_snapshot` counts products, not rows: what the catalog brought before and a snapshot now lacks.
    """

    rows: int
    accepted: int
    unchanged: int
    superseded: int
    rejected: int
    removed: int
    removed_by_snapshot: int
    reasons: dict[str, int]
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """The batch (its sequence) that answers for a product, and the digest of its row."""

    sequence: int
    digest: str


def catalogue_batch(store: Store, batch: Batch) -> CatalogReport:
    """Read the batch's catalog, and those of the batches before it if they were not read yet.

    Writes `catalog.parquet`, `rejected.parquet` and, last, `catalog.json`. Reading twice changes nothing.

    Raises:
        CatalogError: the file cannot be read to its end. Nothing of it applies then.
    """
    known = read_report(store, batch)
    if known is None:
        _catalogue_up_to(store, batch.sequence)
        known = read_report(store, batch)
        assert known is not None
    if known.error is not None:
        raise CatalogError(known.error)
    return known


def shop_now(store: Store) -> dict[str, Holding]:
    """Which batch answers for each product after all batches, those included that nobody has catalogued yet."""
    batches = list_batches(store)
    if not batches:
        return {}
    # Batches are catalogued in sequence, so when the newest is, all are.
    if read_report(store, batches[-1]) is None:
        _catalogue_up_to(store, batches[-1].sequence)
    return shop_after(store, batches[-1].sequence)


def _catalogue_up_to(store: Store, sequence: int) -> None:
    with store.exclusive("catalog"):
        due = [batch for batch in list_batches(store) if batch.sequence <= sequence]
        for batch, report in zip(due, store.map(lambda batch: read_report(store, batch), due), strict=True):
            if report is None:
                _catalogue(store, batch)


def read_report(store: Store, batch: Batch) -> CatalogReport | None:
    """The batch's catalog report; None while it was not catalogued."""
    try:
        return CatalogReport(**store.read_json(batch.path("catalog.json"), unchanging=True))
    except FileNotFoundError:
        return None


def refused_rows(store: Store, batch: Batch) -> Iterator[RejectedRow]:
    """The rows of a catalogued and usable batch that were rejected or repeat an id."""
    for row in read_rows(store, batch.path("rejected.parquet"), REJECTED, unchanging=True):
        yield RejectedRow(**row)


def changes(store: Store, batch: Batch) -> Iterator[dict[str, object]]:
    """The rows of a catalogued batch (schema CATALOG), in the order of its file; empty if it was unusable."""
    report = read_report(store, batch)
    if report is not None and report.error is None:
        yield from read_rows(store, batch.path("catalog.parquet"), CATALOG, unchanging=True)


def change_of(store: Store, batch: Batch, product_id: str) -> dict[str, object] | None:
    """What a catalogued batch changes of a product, as `changes` has it; None if nothing."""
    report = read_report(store, batch)
    if report is None or report.error is not None:
        return None
    for table in read_tables(store, batch.path("catalog.parquet"), CATALOG, unchanging=True):
        found = table.filter(pc.equal(table.column("product_id"), pa.scalar(product_id)))
        if found.num_rows:
            row: dict[str, object] = found.slice(0, 1).to_pylist()[0]
            return row
    return None


def shop_after(store: Store, sequence: int) -> dict[str, Holding]:
    """Which batch answers for each product once the batches up to `sequence` are applied; removed ones are absent.

    Reads the newest checkpoint and at most a few dozen catalogs after it.
    """
    shop, start = _checkpoint(store, sequence)
    later = [batch for batch in list_batches(store) if start < batch.sequence <= sequence]
    for batch, tables in zip(later, store.map(lambda batch: _brief_changes(store, batch), later), strict=True):
        _apply(tables, batch, shop)
    return shop


def _brief_changes(store: Store, batch: Batch) -> list[pa.Table]:
    """Ids, removals and digests of what a batch changes; nothing if it was unusable or is not catalogued yet."""
    report = read_report(store, batch)
    if report is None or report.error is not None:
        return []
    return list(read_tables(store, batch.path("catalog.parquet"), CATALOG, list(_BRIEF), unchanging=True))


def _apply(changed: list[pa.Table], batch: Batch, shop: dict[str, Holding]) -> None:
    for table in changed:
        for product_id, removed, digest in zip(*(table.column(name).to_pylist() for name in _BRIEF), strict=True):
            if removed:
                shop.pop(product_id, None)
            else:
                shop[product_id] = Holding(batch.sequence, digest)


def _checkpoint(store: Store, sequence: int) -> tuple[dict[str, Holding], int]:
    numbers = [int(name.split(".")[0]) for name in store.names("shop")]
    start = max((number for number in numbers if number <= sequence), default=0)
    if start == 0:
        return {}, 0
    rows = read_rows(store, _checkpoint_path(start), _CHECKPOINT, unchanging=True)
    return {row["product_id"]: Holding(row["sequence"], row["digest"]) for row in rows}, start


def _checkpoint_path(sequence: int) -> str:
    return f"shop/{sequence:09d}.parquet"


def _catalogue(store: Store, batch: Batch) -> None:
    shop = shop_after(store, batch.sequence - 1)
    try:
        report = _write_changes(store, batch, shop)
    except CatalogError as error:
        report = CatalogReport(0, 0, 0, 0, 0, 0, 0, {}, error=str(error))
    store.write_json(batch.path("catalog.json"), asdict(report))
    if batch.sequence % _CHECKPOINT_EVERY == 0:
        _apply(_brief_changes(store, batch), batch, shop)
        with TableWriter(store, _checkpoint_path(batch.sequence), _CHECKPOINT) as writer:
            for product_id, holding in shop.items():
                writer.add({"product_id": product_id, **asdict(holding)})


def _write_changes(store: Store, batch: Batch, shop: dict[str, Holding]) -> CatalogReport:
    # Two passes keep memory to the ids: the first finds the last row of each id, the second writes those.
    last = {row.product_id: row.line for row in _rows(store, batch) if isinstance(row, CatalogRow)}
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    with (
        TableWriter(store, batch.path("catalog.parquet"), CATALOG) as accepted,
        TableWriter(store, batch.path("rejected.parquet"), REJECTED) as rejected,
    ):
        for row in _rows(store, batch):
            counts["rows"] += 1
            if isinstance(row, RejectedRow):
                counts["rejected"] += 1
                reasons[row.reason] += 1
                rejected.add(asdict(row))
            elif last[row.product_id] != row.line:
                counts["superseded"] += 1
                detail = f"Line {last[row.product_id]} has the same id and wins"
                rejected.add({"line": row.line, "product_id": row.product_id, "reason": DUPLICATE, "detail": detail})
            elif row.removed:
                counts["removed"] += 1
                accepted.add(_removal(row.product_id, row.line))
            else:
                digest = row_digest(row)
                held = shop.get(row.product_id)
                if held is not None and held.digest == digest:
                    counts["unchanged"] += 1
                    continue
                counts["accepted"] += 1
                accepted.add(
                    {
                        "product_id": row.product_id,
                        "line": row.line,
                        "picture": row.picture,
                        "attributes": json.dumps(row.attributes, ensure_ascii=False),
                        "removed": False,
                        "digest": digest,
                    }
                )
        if batch.mode == "snapshot":
            brought = {other.sequence for other in list_batches(store) if other.catalog == batch.catalog}
            for product_id, holding in shop.items():
                if holding.sequence in brought and product_id not in last:
                    counts["removed_by_snapshot"] += 1
                    accepted.add(_removal(product_id, None))
    return CatalogReport(
        rows=counts["rows"],
        accepted=counts["accepted"],
        unchanged=counts["unchanged"],
        superseded=counts["superseded"],
        rejected=counts["rejected"],
        removed=counts["removed"],
        removed_by_snapshot=counts["removed_by_snapshot"],
        reasons=dict(reasons),
    )


def _rows(store: Store, batch: Batch) -> Iterator[CatalogRow | RejectedRow]:
    return batch.rows(catalog_file(store, batch))


def _removal(product_id: str, line: int | None) -> dict[str, object]:
    return {
        "product_id": product_id,
        "line": line,
        "picture": "",
        "attributes": "{}",
        "removed": True,
        "digest": "",
    }


def row_digest(row: CatalogRow) -> str:
    """What tells whether a row says something new: a digest of its picture and attributes."""
    content = json.dumps([row.picture, row.attributes], ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]
