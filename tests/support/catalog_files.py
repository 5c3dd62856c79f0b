"""Catalog files read in a test, and what came of their rows."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.catalog.reading import CatalogRow, RejectedRow, read_catalog
from vetrina.errors import CatalogError

Rows = list[CatalogRow | RejectedRow]


def read(folder: Path, name: str, content: bytes | str) -> Rows:
    file = folder / "stored"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_catalog(file, name=name, base=str(folder)))


def good(rows: Rows) -> list[CatalogRow]:
    return [row for row in rows if isinstance(row, CatalogRow)]


def ids(rows: Rows) -> list[str]:
    return [row.product_id for row in good(rows)]


def faults(rows: Rows) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows if isinstance(row, RejectedRow)]


def parquet(columns: dict[str, pa.Array | list[object]]) -> bytes:
    return written(pa.table(columns))


def written(table: pa.Table) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def taken_until_error(rows: Iterator[CatalogRow | RejectedRow]) -> tuple[Rows, str]:
    found: Rows = []
    try:
        for row in rows:
            found.append(row)
    except CatalogError as error:
        return found, str(error)
    raise AssertionError("no CatalogError")
