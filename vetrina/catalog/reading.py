"""The catalog reader: a file of any supported format as a stream of product rows, its bad rows with the reason."""

import json
import math
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.catalog.columns import (
    ColumnMap,
    Fault,
    FoundColumns,
    Number,
    Record,
    attributes_of,
    find_columns,
    fold,
    id_of,
    removal_of,
    shown,
)
from vetrina.catalog.formats import delimited_header, json_records, ndjson_records, numbered_lines, text_chunks
from vetrina.catalog.locations import byte_chunks, head_of, resolve_picture
from vetrina.errors import CatalogError, PictureError

HELD_BACK = 1000
"""Rejected rows to wait for before a file without any id or picture column is refused as a whole."""
MAX_PARQUET_ROWS = 100_000_000
MAX_UNPACKED_PARQUET = 4 << 30
"""Bytes of a gzipped Parquet file, which has to be unpacked to disk: it is read from its end."""
BATCH = 512

_SUFFIXES = {
    ".csv": "delimited",
    ".tsv": "delimited",
    ".tab": "delimited",
    ".txt": "delimited",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}
_SUPPORTED = "CSV, TSV, JSON, NDJSON and Parquet, each also as .gz"
_FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"%PDF": "a PDF file",
    b"<": "XML or HTML",
}
_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype\b|html\b|\?xml\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """One product of a catalog; `picture` is an absolute reference, empty only when the row removes the product."""

    line: int
    product_id: str
    picture: str
    removed: bool
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be used: a stable reason and a sentence that says what to mend."""

    line: int
    product_id: str | None
    reason: str
    detail: str


_DEFAULT = ColumnMap()


def read_catalog(
    file: Path, *, name: str, base: str, columns: ColumnMap = _DEFAULT, allow_outside: bool = False
) -> Iterator[CatalogRow | RejectedRow]:
    """The rows of a catalog, in order, good and rejected; memory stays small whatever the size of the file.

    `name` is the catalog's original file name, whose suffix tells the format; `base` the folder (a local path, or an
    s3 or http(s) prefix) that relative pictures are relative to. Ids that come twice are not looked for.
    Raises CatalogError, at the first row or where the damage is met, when the catalog as a whole cannot be read.
    """
    _check_file(file, name)
    names, unread, records = _open(file, name, columns)
    rows = _Rows(name, columns, base, allow_outside)
    if names is not None:
        rows.check(names, unread)
    # In JSON every row has columns of its own: only after a while is it clear that none has an id or a picture.
    held: list[RejectedRow] = []
    try:
        for record in records:
            row = rows.row_of(record)
            if isinstance(row, RejectedRow) and not rows.settled and len(held) < HELD_BACK:
                held.append(row)
                continue
            waiting, held = held, []
            if not rows.settled:
                rows.settle()
            yield from waiting
            yield row
    except CatalogError:
        yield from held
        raise
    if held:
        rows.settle()
        yield from held


def _check_file(file: Path, name: str) -> None:
    try:
        if file.is_dir():
            raise CatalogError(f"{name}: is a folder; give one catalog file ({_SUPPORTED})")
        if not file.exists():
            raise CatalogError(f"{name}: there is no such file; check the path")
        if not file.is_file():
            raise CatalogError(f"{name}: is not an ordinary file; give one catalog file ({_SUPPORTED})")
        size = file.stat().st_size
    except (OSError, ValueError) as error:
        raise CatalogError(f"{name}: cannot be read ({error}); check the path and its permissions") from error
    if size == 0:
        raise CatalogError(f"{name}: is empty (0 bytes); export the catalog again")


def _open(file: Path, name: str, columns: ColumnMap) -> tuple[Sequence[str] | None, Sequence[str], Iterator[Record]]:
    """The columns of a table (None: every row has its own), those of bytes, which are not read, and the records."""
    head = head_of(file, name)
    kind = _kind_of(name, head, columns)
    if kind == "parquet":
        return _open_parquet(file, name)
    text = text_chunks(byte_chunks(file, name), name)
    if kind == "json":
        return None, (), json_records(text, name)
    if kind == "ndjson":
        return None, (), ndjson_records(numbered_lines(text))
    usual = "\t" if ".tsv" in name.lower() or ".tab" in name.lower() else ","
    names, records = delimited_header(numbered_lines(text), name, columns, usual)
    return names, (), records


def _kind_of(name: str, head: bytes, columns: ColumnMap) -> str:
    suffixes = [s.lower() for s in PurePath(name.strip()).suffixes if s.lower() != ".gz"]
    named = _SUFFIXES.get(suffixes[-1], "") if suffixes else ""
    if head.startswith(b"PAR1"):
        return "parquet"
    foreign = next((what for mark, what in _FOREIGN.items() if head.lstrip().startswith(mark)), "")
    # A row of a delimited catalog may well begin with <, but not as a page does that stands in for an export.
    if _PAGE.match(head):
        foreign, named = _FOREIGN[b"<"], ""
    if foreign and not (head.lstrip()[:1] == b"<" and named):
        raise CatalogError(f"{name}: is {foreign}, which is not read; export the catalog as one of {_SUPPORTED}")
    if named == "parquet":
        raise CatalogError(f"{name}: is not Parquet although its name says so; export the catalog again")
    text = next(text_chunks((head,), name), "").lstrip()
    if not text:
        raise CatalogError(f"{name}: is empty; export the catalog again")
    first, _, rest = text.partition("\n")
    if named == "json" or (named != "delimited" and text[0] in "[{"):
        lines = named == "ndjson" or _is_row_per_line(first, rest)
        return "ndjson" if lines and text[0] != "[" else "json"
    if named:
        return named
    if "\0" not in first and any(find_columns(first.split(delimiter), columns).id is not None for delimiter in ",;\t|"):
        return "delimited"
    raise CatalogError(f"{name}: its format is not known; give one of {_SUPPORTED}, with the suffix of the format")


def _is_row_per_line(first: str, rest: str) -> bool:
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return False
    flat = isinstance(row, dict) and bool(row) and not any(isinstance(v, dict | list) for v in row.values())
    return isinstance(row, dict) and (rest.lstrip().startswith("{") or (flat and not rest.strip()))


class _Rows:
    """Turns records into rows; remembers which columns were met on the way."""

    def __init__(self, name: str, columns: ColumnMap, base: str, allow_outside: bool) -> None:
        self._name = name
        self._columns = columns
        self._base = base
        self._allow_outside = allow_outside
        self._names: Sequence[str] = ()
        self._unread: Sequence[str] = ()
        self._found: FoundColumns = find_columns((), columns)
        self._met: dict[str, None] = {}
        self._fixed = False
        self._records = 0
        self._id_met = False
        self._picture_met = False
        self.settled = False

    def check(self, names: Sequence[str], unread: Sequence[str]) -> None:
        """Takes the columns of a table, the same for every row, and the names of those that are not read.

        Raises CatalogError when the id or picture column is missing or stands there twice.
        """
        self._names, self._found, self._fixed = names, find_columns(names, self._columns), True
        self._met = dict.fromkeys(names[:50])
        self._unread = unread
        if self._found.repeated is not None:
            raise CatalogError(
                f"{self._name}: has the column {shown(self._found.repeated)} more than once; rename all but one"
            )
        self._id_met, self._picture_met = self._found.id is not None, self._found.picture is not None
        # A table without pictures can still be a list of removals.
        if not self._id_met or (not self._picture_met and self._found.deleted is None):
            raise self._missing_column()
        self.settled = True

    def settle(self) -> None:
        """Raises CatalogError when records were read, but none with an id column, or none with a picture column."""
        if self._records and not (self._id_met and self._picture_met):
            raise self._missing_column()

    def _missing_column(self) -> CatalogError:
        what, names = ("picture", self._columns.picture) if self._id_met else ("id", self._columns.id)
        found = ", ".join(shown(n, 40) for n in self._met) or "none"
        wanted = {fold(n) for n in names}
        for unread in self._unread:
            if fold(unread) in wanted:
                found += f" ({shown(unread, 40)} holds bytes, which are not read: export it as text)"
        return CatalogError(
            f"{self._name}: has no {what} column; the columns are {found}; name the column that holds the {what} in "
            f"the setting VETRINA_{what.upper()}_COLUMNS (looked for: {', '.join(names)})"
        )

    def row_of(self, record: Record) -> CatalogRow | RejectedRow:
        """The row of a record, or why it is rejected.

        Raises CatalogError when a table without a picture column has a row that removes nothing.
        """
        product_id: str | None = None
        fault = record.fault
        if fault is None:
            if record.names != self._names:
                self._names, self._found = record.names, find_columns(record.names, self._columns)
            found = self._found
            if not self.settled:
                self._meet(record, found)
            if found.repeated is not None:
                detail = f"the row has {shown(found.repeated)} more than once; keep one of them"
                return RejectedRow(record.line, None, "ambiguous-column", detail)
            value = None if found.id is None else record.values[found.id]
            made = id_of(record.key if value is None else value)
            if isinstance(made, str):
                product_id = made
                row = self._row(record, found, product_id)
                if isinstance(row, CatalogRow):
                    self.settled = True
                    return row
                made = row
            fault = made
        elif record.key is not None and isinstance(named := id_of(record.key), str):
            product_id = named
        return RejectedRow(record.line, product_id, fault.reason, fault.detail)

    def _meet(self, record: Record, found: FoundColumns) -> None:
        self._records += 1
        self._id_met = self._id_met or found.id is not None or record.key is not None
        self._picture_met = self._picture_met or found.picture is not None
        self.settled = self._id_met and self._picture_met
        if len(self._met) < 50:
            self._met.update(dict.fromkeys(record.names[:50]))

    def _row(self, record: Record, found: FoundColumns, product_id: str) -> CatalogRow | Fault:
        removed = removal_of(None if found.deleted is None else record.values[found.deleted])
        if isinstance(removed, Fault):
            return removed
        if self._fixed and found.picture is None and not removed:
            raise self._missing_column()
        picture = ""
        value = None if found.picture is None else record.values[found.picture]
        if not removed:
            if value is not None and (not isinstance(value, str) or isinstance(value, Number)):
                return Fault("bad-picture", "the picture must be text: an address or a path")
            try:
                picture = resolve_picture(value or "", self._base, self._allow_outside)
            except PictureError as error:
                return Fault(error.reason, error.detail)
        attributes = attributes_of(record, found.attributes)
        if isinstance(attributes, Fault):
            return attributes
        return CatalogRow(record.line, product_id, picture, removed, attributes)


def _open_parquet(file: Path, name: str) -> tuple[list[str], list[str], Iterator[Record]]:
    try:
        with file.open("rb") as stream:
            packed = stream.read(4) != b"PAR1"
        source: Path | IO[bytes] = _unpacked_copy(file, name) if packed else file
        table = pq.ParquetFile(source, buffer_size=1 << 16, pre_buffer=False)
        fields = list(table.schema_arrow)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CatalogError(f"{name}: is cut or no sound Parquet file ({error}); export it again") from error
    # A file of one megabyte can claim any number of rows: the claim is looked at first.
    rows = table.metadata.num_rows
    if rows > MAX_PARQUET_ROWS:
        raise CatalogError(f"{name}: has {rows} rows, more than {MAX_PARQUET_ROWS}; split it into smaller files")
    names = [field.name for field in fields if not _is_binary(field.type)]
    unread = [field.name for field in fields if _is_binary(field.type)]
    return names, unread, _parquet_records(table, names, name)


def _unpacked_copy(file: Path, name: str) -> IO[bytes]:
    copy = tempfile.TemporaryFile()  # noqa: SIM115  # closed with its last reader
    for chunk in byte_chunks(file, name):
        if copy.tell() + len(chunk) > MAX_UNPACKED_PARQUET:
            copy.close()
            raise CatalogError(f"{name}: unpacks to over {MAX_UNPACKED_PARQUET} bytes; give the .parquet file itself")
        copy.write(chunk)
    copy.seek(0)
    return copy


def _parquet_records(table: pq.ParquetFile, names: list[str], name: str) -> Iterator[Record]:
    line = 0
    size = max(16, min(BATCH, 16 * BATCH // max(1, len(names))))
    batches = table.iter_batches(batch_size=size, columns=sorted(set(names)), use_threads=False)
    try:
        for batch in batches:
            # A name may come more than once, and brings its columns of bytes along.
            columns: dict[str, list[list[object]]] = {}
            for column, field in zip(batch.columns, batch.schema, strict=True):
                if not _is_binary(field.type):
                    columns.setdefault(field.name, []).append(_column_values(column))
            for values in zip(*(columns[n].pop(0) for n in names), strict=True):
                line += 1
                yield Record(line, names, values)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CatalogError(f"{name}: is damaged after row {line} ({error}); export the catalog again") from error


def _is_binary(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _column_values(column: pa.Array) -> list[object]:
    if isinstance(column, pa.DictionaryArray):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_nested(kind):
        return [_plain(_value(item)) for item in column]
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return list(column.to_pylist())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        try:
            return list(column.to_pylist())
        except UnicodeDecodeError:
            # Parquet does not check its text: damaged bytes become lone surrogates, which no id may hold.
            raw = column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist()
            return [None if item is None else item.decode("utf-8", "surrogateescape") for item in raw]
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    try:
        texts = column.cast(pa.string()).to_pylist()
    except pa.ArrowException:
        return [_plain(_value(item)) for item in column]
    return [Number(text) if number and text not in (None, "nan", "inf", "-inf") else _known(text) for text in texts]


def _known(text: str | None) -> str | None:
    return None if text in ("nan", "inf", "-inf") else text


def _value(item: pa.Scalar) -> object:
    try:
        return item.as_py()
    except (ValueError, OverflowError, RecursionError, pa.ArrowException):
        return None  # Damaged text, or a date beyond what Python can hold: as good as empty.


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | bytes):
        return value if isinstance(value, bool) else None
    if isinstance(value, int | float):
        return Number(value) if math.isfinite(value) else None
    return str(value)
