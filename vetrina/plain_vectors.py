"""Vectors out of a Parquet table at the speed of copying, where they lie there plainly.

Parquet keeps a column of fixed-size lists as numbers with levels that say where lists begin and what is missing; to
decode those costs readers far more than the numbers. `vetrina.tables.TableWriter` writes vectors uncompressed, plain
and without anything missing, so between the levels they lie as in memory. Any other column is left to pyarrow.

Format: https://parquet.apache.org/docs/file-format/ (data pages, version 1), whose page headers are in Thrift's compact
protocol, https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_DATA_PAGE, _PLAIN = 0, 0
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 12


class _Other(Exception):
    """The column is written in another way."""


def plain_vectors(
    handle: IO[bytes] | pa.BufferReader, file: pq.ParquetFile, group: int, field: pa.Field[Any]
) -> np.ndarray | None:
    """The vectors of a row group, float32 [rows, dims]; None where they do not lie there plainly.

    Args:
        handle: the file, at any position.
        file: the same, opened.
        field: their column, as the file's schema has it.
    """
    kind = field.type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
        return None
    rows = file.metadata.row_group(group)
    chunks = (rows.column(number) for number in range(rows.num_columns))
    chunk = next(one for one in chunks if one.path_in_schema.partition(".")[0] == field.name)
    if chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page:
        return None
    handle.seek(chunk.data_page_offset)
    data = handle.read(chunk.total_compressed_size)
    try:
        pages = list(_pages(data, rows.num_rows * kind.list_size))
    except (_Other, IndexError, KeyError, TypeError, RecursionError):
        return None  # pyarrow says what is wrong with bytes that are no pages
    # Copied even if there is one page: there the numbers may begin at any byte.
    numbers = np.concatenate([np.zeros(0, np.float32), *pages])
    return numbers.reshape(rows.num_rows, kind.list_size)


def _pages(data: bytes, total: int) -> Iterator[np.ndarray]:
    """The numbers of each page of a column chunk, float32, as views. Raises _Other where it cannot be read so."""
    at = done = 0
    while done < total:
        header, at = _struct(data, at)
        page = header.get(5, {})
        if header[1] != _DATA_PAGE or page[2] != _PLAIN:
            raise _Other
        first = at
        for _ in ("repetition levels", "definition levels"):
            first += 4 + int.from_bytes(data[first : first + 4], "little")
        at += header[3]
        count = page[1]
        # Numbers that are missing have levels, but take no room.
        if count < 0 or at - first != 4 * count or done + count > total or at > len(data):
            raise _Other
        yield np.frombuffer(data, np.float32, count, first)
        done += count


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """A Thrift struct in the compact protocol, by field number, and where it ends."""
    fields: dict[int, Any] = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        kind, delta = head & 15, head >> 4
        if delta:
            number += delta
        else:
            number, at = _integer(data, at)
        fields[number], at = (kind == _TRUE, at) if kind in (_TRUE, _FALSE) else _value(data, at, kind)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (_I16, _I32, _I64):
        return _integer(data, at)
    if kind == _STRUCT:
        return _struct(data, at)
    if kind == _BINARY:
        length, at = _varint(data, at)
        return data[at : at + length], at + length
    if kind in (_BYTE, _DOUBLE):
        size = 1 if kind == _BYTE else 8
        return data[at : at + size], at + size
    raise _Other  # no page header has lists or maps


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
