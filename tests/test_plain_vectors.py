"""Vectors are taken out of Parquet without decoding only where they lie plainly, and are then what pyarrow reads."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vetrina.plain_vectors import plain_vectors

DIMS = 7
PLAIN: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_statistics": False}


def _column(rows: int, kind: pa.DataType | None = None) -> pa.Array:
    numbers = np.random.default_rng(rows).standard_normal(rows * DIMS).astype(np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers), type=kind or pa.list_(pa.float32(), DIMS))


def _written(column: pa.Array, nullable: bool = False, **options: Any) -> io.BytesIO:
    schema = pa.schema([pa.field("name", pa.string()), pa.field("vector", column.type, nullable=nullable)])
    file = io.BytesIO()
    pq.write_table(pa.table([["é"] * len(column), column], schema=schema), file, **(PLAIN | options))
    return file


def _read(file: io.BytesIO) -> list[np.ndarray | None]:
    parquet = pq.ParquetFile(file)
    field = parquet.schema_arrow.field("vector")
    return [plain_vectors(file, parquet, group, field) for group in range(parquet.num_row_groups)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"data_page_size": 64, "write_batch_size": 5},  # many pages, which end within lists
        {"row_group_size": 100},
        {"write_statistics": True},
        {"write_page_checksum": True},
        {"version": "1.0"},
    ],
)
@pytest.mark.parametrize("nullable", [False, True])
def test_vectors_that_lie_plainly_are_what_pyarrow_reads(options: dict[str, Any], nullable: bool) -> None:
    column = _column(1000)
    found = _read(_written(column, nullable, **options))
    assert all(part is not None and part.dtype == np.float32 and part.shape[1] == DIMS for part in found)
    expected = column.flatten().to_numpy().reshape(-1, DIMS)
    assert np.array_equal(np.concatenate([part for part in found if part is not None]), expected)


def test_no_rows_are_no_vectors() -> None:
    assert all(part is not None and part.shape == (0, DIMS) for part in _read(_written(_column(0))))


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "zstd"},
        {"use_dictionary": True},
        {"data_page_version": "2.0"},
        {"column_encoding": {"vector.list.element": "BYTE_STREAM_SPLIT"}},
    ],
)
def test_vectors_written_in_another_way_are_left_to_pyarrow(options: dict[str, Any]) -> None:
    assert _read(_written(_column(100), **options)) == [None]


def test_missing_vectors_missing_numbers_and_other_types_are_left_to_pyarrow() -> None:
    kind = pa.list_(pa.float32(), 2)
    for rows in ([[1.0, 2.0], None], [[1.0, 2.0], [None, 3.0]]):
        assert _read(_written(pa.array(rows, kind), nullable=True)) == [None]
    assert _read(_written(pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2)))) == [None]
    assert _read(_written(pa.array([[1.0, 2.0]], pa.list_(pa.float32())))) == [None]


def test_bytes_that_are_no_pages_are_left_to_pyarrow() -> None:
    sound = _written(_column(50))
    parquet = pq.ParquetFile(sound)
    chunk = parquet.metadata.row_group(0).column(1)
    field = parquet.schema_arrow.field("vector")
    start = chunk.data_page_offset
    rng = np.random.default_rng(1)
    for _ in range(300):
        data = bytearray(sound.getvalue())
        data[start : start + 24] = rng.integers(0, 256, 24, np.uint8).tobytes()
        found = plain_vectors(io.BytesIO(bytes(data)), parquet, 0, field)
        assert found is None or found.shape == (50, DIMS)
    cut = io.BytesIO(sound.getvalue()[: start + 40])
    assert plain_vectors(cut, parquet, 0, field) is None
