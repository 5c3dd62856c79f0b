"""Tables appear whole or not at all."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.disk import disk_with_room_for

from vetrina.errors import StoreError
from vetrina.store import Store
from vetrina.tables import TableWriter, read_rows, table_schema

SCHEMA = table_schema(("vector", pa.binary(), False))


def test_a_disk_that_fills_leaves_the_former_table_and_no_part_of_the_new_one(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with TableWriter(store, "t.parquet", SCHEMA) as writer:
        writer.add({"vector": b"former"})
    noise = np.random.default_rng(1).bytes(1 << 20)
    with (
        pytest.raises(StoreError, match=r"t\.parquet cannot be written"),
        disk_with_room_for(1 << 19),
        TableWriter(store, "t.parquet", SCHEMA) as writer,
    ):
        for _ in range(8):
            writer.add({"vector": noise})
    assert [row["vector"] for row in read_rows(store, "t.parquet", SCHEMA)] == [b"former"]
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]


def test_a_disk_that_is_full_already_refuses_a_table_in_the_same_words(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with (
        pytest.raises(StoreError, match=r"t\.parquet cannot be written"),
        disk_with_room_for(0),
        TableWriter(store, "t.parquet", SCHEMA),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
