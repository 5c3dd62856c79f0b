"""Whether a catalog is whole: read to its end before anything is registered, so that there is no half batch.

What the rows mean belongs in `reading`; what they change belongs in `shop`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from vetrina.catalog.columns import ColumnMap
from vetrina.catalog.locations import byte_chunks
from vetrina.catalog.reading import CatalogRow, RejectedRow, read_catalog
from vetrina.errors import CatalogError

_ROWS_BETWEEN_LOOKS = 500
_CUT = frozenset({"wrong-cell-count", "unclosed-quote", "bad-json", "bad-csv"})
"""Reasons for which a row may be rejected because the file ends within it."""

Row = TypeVar("Row")


class TooLong(Exception):
    """Reading was not done when its time was up; somebody with more time must do it. Never leaves the room."""


def check_whole(
    file: Path,
    *,
    name: str,
    base: str,
    columns: ColumnMap,
    allow_outside: bool = False,
    until: float | None = None,
) -> None:
    """Read a catalog to its end.

    Args:
        until: `time.monotonic()` at which to give up.

    Raises:
        CatalogError: it cannot be read to its end, or it ends within a row.
        TooLong: `until` has passed.
    """
    rows = whole_rows(file, name=name, base=base, columns=columns, allow_outside=allow_outside)
    for _ in in_time(rows, until):
        pass


def in_time(rows: Iterable[Row], until: float | None) -> Iterator[Row]:
    """The same rows. Raises TooLong once `until`, a `time.monotonic()`, has passed."""
    for number, row in enumerate(rows):
        if until is not None and number % _ROWS_BETWEEN_LOOKS == 0 and time.monotonic() > until:
            raise TooLong
        yield row


def whole_rows(
    file: Path, *, name: str, base: str, columns: ColumnMap, allow_outside: bool = False
) -> Iterator[CatalogRow | RejectedRow]:
    """The rows of a catalog as `read_catalog` gives them.

    Raises:
        CatalogError: as there, and at the end when the file ends within a row.
    """
    last: CatalogRow | RejectedRow | None = None
    for last in read_catalog(file, name=name, base=base, columns=columns, allow_outside=allow_outside):
        yield last
    if isinstance(last, RejectedRow) and last.reason in _CUT and not _ends_with_a_line(file, name):
        raise CatalogError(
            f"{name}: ends within line {last.line}, so it is cut ({last.detail}); copy or export it again, "
            "and end the last line with a line break"
        )


def _ends_with_a_line(file: Path, name: str) -> bool:
    end = b""
    for chunk in byte_chunks(file, name):
        end = (end + chunk)[-4:]
    return end.rstrip(b"\0")[-1:] in (b"\n", b"\r")
