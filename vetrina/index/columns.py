"""Single values out of columns: a few of a million are wanted, and Arrow makes an object for each on the way."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


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


def numbers(column: pa.Array) -> memoryview:
    """A column of numbers to take single ones from; NaN where there is none."""
    values: Any = column.to_numpy(zero_copy_only=False)
    return memoryview(values)


def lacking(column: pa.Array) -> memoryview:
    """Whether a value is lacking, by row."""
    values: Any = pc.is_null(column).to_numpy(zero_copy_only=False)
    return memoryview(values)
