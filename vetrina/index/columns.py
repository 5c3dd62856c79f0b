"""Single values out of columns: a few of a million are wanted, and Arrow makes an object for each on the way."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """The chunks of a column as one."""
    return pa.concat_arrays(column.chunks or [pa.array([], column.type)])


class Texts:
    """A column of text; `texts[row]` is the value of a row from 0, an empty text where there is none."""

    __slots__ = ("_ends", "_letters")

    def __init__(self, column: pa.Array) -> None:
        _, ends, letters = column.buffers() if len(column) else (None, None, None)
        self._ends = memoryview(ends or b"").cast("i")[column.offset :]
        self._letters = memoryview(letters or b"")

    def __getitem__(self, row: int) -> str:
        return str(self._letters[self._ends[row] : self._ends[row + 1]], "utf8")


def encoded(column: pa.Array) -> tuple[np.ndarray, list[str | None]]:
    """A column of text as places in a list of its different values, `None` among them: int32."""
    codes: Any = column.dictionary_encode(null_encoding="encode")
    return codes.indices.to_numpy(zero_copy_only=False), codes.dictionary.to_pylist()


class Records:
    """Numbers of several columns row by row, so that those of one row lie together in memory.

    Args:
        columns: arrays as long as one another, float32, int32 or uint8.
    """

    __slots__ = ("_bytes", "_record")

    def __init__(self, *columns: np.ndarray) -> None:
        fields = [(str(number), column.dtype) for number, column in enumerate(columns)]
        table = np.empty(len(columns[0]), np.dtype(fields))
        for (name, _), column in zip(fields, columns, strict=True):
            table[name] = column
        self._record = struct.Struct("=" + "".join(column.dtype.char for column in columns))
        self._bytes = table.view(np.uint8).data

    def __getitem__(self, row: int) -> tuple[Any, ...]:
        return self._record.unpack_from(self._bytes, row * self._record.size)
