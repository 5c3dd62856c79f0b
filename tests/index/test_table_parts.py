"""What lies aside of a table that is under way, on a disk and on S3."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from support.s3_server import S3Server

from vetrina.index import table_parts
from vetrina.index.table_parts import drop_parts, in_parts
from vetrina.store import Store

SCHEMA = pa.schema([pa.field("number", pa.int64())])


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_parts_that_are_there_are_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: S3Server, kind: str
) -> None:
    monkeypatch.setattr(table_parts, "PART_PRODUCTS", 3)
    store = Store(tmp_path if kind == "folder" else "s3://shop/parts")
    made: list[range] = []

    def make(part: range) -> Iterator[pa.Table]:
        made.append(part)
        yield from (pa.table({"number": [number]}, SCHEMA) for number in part if number != 4)

    def read(count: int) -> list[list[int]]:
        tables = in_parts(store, "t", count, make, SCHEMA, lambda done, total: None)
        return [table["number"].to_pylist() for table in tables]

    first = in_parts(store, "t", 8, make, SCHEMA, lambda done, total: None)
    next(first), next(first)
    first.close()
    assert made == [range(3), range(3, 6)]
    assert read(8) == [[0, 1, 2], [3, 5], [6, 7]]
    assert made == [range(3), range(3, 6), range(6, 8)]
    store.write("t/parts/000001.parquet", b"no Parquet")
    assert read(8) == [[0, 1, 2], [3, 5], [6, 7]]
    assert made[3:] == [range(3, 6)]
    drop_parts(store, "t")
    assert store.names("t/parts") == []
    made.clear()
    assert read(3) == read(3) == [[0, 1, 2]]
    assert made == [range(3), range(3)]  # a table of one part puts nothing aside
    assert store.names("t/parts") == []
    assert read(0) == []
