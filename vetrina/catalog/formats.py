"""Text formats as streams of records: CSV and its kin, JSON and NDJSON, each in memory bounded by a few rows."""

import codecs
import csv
import io
import json
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain, count

from vetrina.catalog.columns import MAX_CELL, MAX_RECORD, ColumnMap, Fault, Number, Record, find_columns, fold
from vetrina.errors import CatalogError

MAX_REPLAYS = 100
"""Quotes left open that a file may have: each costs reading up to `MAX_RECORD` characters twice."""
MOST_ASIDE = 20
"""Values of a JSON object that are kept until it is clear whether rows by id stand beside them; more are counted."""

# The UTF-32 mark begins with the UTF-16 one, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ESCAPED = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_GAP = re.compile(r"[ \t\r\n]*")
_SCALAR_END = re.compile(r"[\s,\]}]")
_BRACKET = re.compile(r'[{}\[\]"]')
_IN_STRING = re.compile(r'"|\\(?:[\s\S]|\Z)')
_ROW_LISTS = frozenset({"products", "items", "rows", "data", "catalog", "results", "records", "entries"})
_NOT_ROWS = frozenset({"meta", "metadata", "paging", "pagination", "links", "schema", "info"})

_ROWS = object()
"""Stands for a value whose rows were given already."""

TOO_LONG = Fault("row-too-long", f"the row has more than {MAX_RECORD} characters; shorten it")


def text_chunks(chunks: Iterable[bytes], name: str) -> Iterator[str]:
    """Bytes decoded as text, as non-empty pieces.

    A byte order mark decides; without one the text is UTF-8, or Windows-1252 from the first byte on that UTF-8
    cannot hold. A damaged byte becomes a lone surrogate, which no id and no picture may hold.
    Raises CatalogError when UTF-16 or UTF-32 text is cut within a character or damaged.
    """
    source = iter(chunks)
    head = b""
    while len(head) < 4 and (more := next(source, b"")):
        head += more
    mark, encoding = next(((m, e) for m, e in _MARKS if head.startswith(m)), (b"", ""))
    head = head[len(mark) :]
    if encoding in ("", "utf-8"):
        yield from _eight_bit(head, source, marked=bool(mark))
        return
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        for piece in chain((head,), source):
            if text := decoder.decode(piece):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text
    except UnicodeDecodeError as error:
        raise CatalogError(
            f"{name}: the {encoding} text is cut or damaged ({error.reason}); export the file again as UTF-8"
        ) from error


def _eight_bit(head: bytes, source: Iterator[bytes], *, marked: bool) -> Iterator[str]:
    decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8")()
    plain = not marked
    # The empty piece at the end tells the decoder that nothing follows.
    for piece, final in chain(((p, False) for p in chain((head,), source)), ((b"", True),)):
        try:
            text = decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            data = decoder.getstate()[0] + piece
            windows = plain and data[: error.start].isascii() and not _mostly_utf8(data)
            decoder = codecs.getincrementaldecoder("cp1252" if windows else "utf-8")("surrogateescape")
            text = decoder.decode(data, final)
        plain = plain and text.isascii()
        if text:
            yield text


def _mostly_utf8(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape")
    return len(_BEYOND_ASCII.findall(text)) > 2 * len(_ESCAPED.findall(text))


def numbered_lines(chunks: Iterable[str]) -> Iterator[tuple[int, str | None]]:
    """Physical lines with their numbers from 1, ends (LF, CRLF, CR) kept; None for one over `MAX_RECORD`."""
    number, tail, dropping = 1, "", False
    for chunk in chunks:
        parts = list(io.StringIO(tail + chunk, newline=""))
        # A line without LF may go on, and a CR at the end may be half of a CRLF.
        tail = "" if parts[-1].endswith("\n") else parts.pop()
        for part in parts:
            yield number, None if dropping or len(part) > MAX_RECORD else part
            number, dropping = number + 1, False
        if len(tail) > MAX_RECORD or dropping:
            tail, dropping = tail[-1:], True
    if tail:
        yield number, None if dropping or len(tail) > MAX_RECORD else tail


class _TooLong(Exception):
    """A record has passed its bound; raised through csv.reader, which then starts afresh."""


class _Lines:
    """Physical lines on their way into csv.reader, remembered for as long as their record lasts."""

    def __init__(self, lines: Iterator[tuple[int, str | None]]) -> None:
        self._lines = lines
        self._again: deque[tuple[int, str | None]] = deque()
        self._size = 0
        self.taken: list[tuple[int, str | None]] = []
        self.ended_inside = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is None:
            self.ended_inside = bool(self.taken)
            raise StopIteration
        self.taken.append(line)
        self._size += len(line[1] or "")
        if line[1] is None or self._size > MAX_RECORD:
            raise _TooLong
        return line[1]

    def start(self) -> None:
        """A new record begins."""
        self.taken, self._size, self.ended_inside = [], 0, False

    def give_back(self) -> None:
        """Reads every line of the record under way again, but for the first."""
        self._again.extendleft(reversed(self.taken[1:]))


def delimited_header(
    lines: Iterator[tuple[int, str | None]], name: str, columns: ColumnMap, usual: str
) -> tuple[list[str], Iterator[Record]]:
    """The column names of a CSV or TSV catalog and its records; the delimiter is found out from the header.

    Raises CatalogError when there is no header, or later when quotes are left open again and again.
    """
    # csv cuts cells at 131 072 characters unless told otherwise; the setting is one for the whole process.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    first: tuple[int, str | None] | None = next((n for n in lines if n[1] is None or n[1].strip()), None)
    if first is None:
        raise CatalogError(f"{name}: is empty; a catalog needs a line of column names and rows below it")
    delimiter = ""
    if first[1] is not None and (told := re.fullmatch(r"sep=(.)\s*", first[1], re.IGNORECASE)):
        delimiter, first = told.group(1), next(lines, (2, ""))
    source = _Lines(chain((first,), lines))
    try:
        delimiter = delimiter or _delimiter_of(first[1] or "", columns, usual)
        reader = csv.reader(source, delimiter=delimiter)
        header = next(reader, [])
    except (csv.Error, _TooLong) as error:
        raise _no_header(name, str(error) or TOO_LONG.detail) from error
    if source.ended_inside:
        raise _no_header(name, "a quote that it opens is never closed")
    return header, _delimited_records(reader, source, header, name)


def _no_header(name: str, why: str) -> CatalogError:
    return CatalogError(
        f"{name}: the line of column names cannot be read ({why}); "
        "check that the file is CSV and that its quotes are closed"
    )


def _delimiter_of(line: str, columns: ColumnMap, usual: str) -> str:
    def fitness(delimiter: str) -> tuple[int, bool, int]:
        names = next(csv.reader([line], delimiter=delimiter), [])
        found = find_columns(names, columns)
        return (
            (found.id is not None) + (found.picture is not None),
            delimiter == usual and len(names) > 1,
            len(names),
        )

    return max(",;\t|", key=fitness)


def _delimited_records(reader: Iterator[list[str]], source: _Lines, header: list[str], name: str) -> Iterator[Record]:
    replays = 0
    while True:
        source.start()
        cells: list[str] = []
        fault: Fault | None = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _TooLong) as error:
            fault = TOO_LONG if isinstance(error, _TooLong) else _cell_fault(error)
        line = source.taken[0][0]
        if source.ended_inside or (fault and len(source.taken) > 1):
            # Only the line with the open quote is lost: what it swallowed is read again.
            source.give_back()
            replays += 1
            if replays > MAX_REPLAYS:
                raise CatalogError(
                    f"{name}: more than {MAX_REPLAYS} quotes are never closed, the last on line {line}; "
                    "write a quote inside a cell twice, or export the file again"
                )
            detail = "a quote opened on this line is not closed in time; close it, or write a quote in a cell twice"
            fault = Fault("unclosed-quote", detail)
        elif not cells and not fault:
            continue
        elif not fault and len(cells) != len(header):
            detail = f"the row has {len(cells)} cells, the header {len(header)}; quote cells that hold a delimiter"
            fault = Fault("wrong-cell-count", detail)
        yield Record(line, fault=fault) if fault else Record(line, header, cells)


def _cell_fault(error: Exception) -> Fault:
    if "field limit" in str(error):
        return Fault("cell-too-long", f"a cell has more than {MAX_CELL} characters; shorten it")
    return Fault("bad-csv", f"the row is not CSV ({error})")


_JSON = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=lambda _: None, strict=False)


def ndjson_records(lines: Iterable[tuple[int, str | None]]) -> Iterator[Record]:
    """One record per line that is not blank."""
    for number, text in lines:
        if text is None:
            yield Record(number, fault=TOO_LONG)
        elif text.strip():
            yield _json_record(number, _parsed(text), None)


def _parsed(text: str) -> object:
    try:
        return _JSON.decode(text)
    except RecursionError:
        return Fault("bad-json", "the row is nested too deep")
    except ValueError as error:
        return Fault("bad-json", f"the row is not valid JSON: {error}")


def _json_record(line: int, value: object, key: str | None) -> Record:
    if isinstance(value, Fault):
        return Record(line, key=key, fault=value)
    if not isinstance(value, dict):
        return Record(line, key=key, fault=Fault("bad-json", "the row is not an object with named values"))
    return Record(line, tuple(value), tuple(value.values()), key)


class _Cursor:
    """A place in JSON text that arrives in pieces."""

    def __init__(self, chunks: Iterator[str], broken: Callable[[str], CatalogError]) -> None:
        self._chunks = chunks
        self._text = ""
        self._at = 0
        self.broken = broken
        self.lists = 0

    def _more(self) -> bool:
        chunk = next(self._chunks, "")
        self._text, self._at = self._text[self._at :] + chunk, 0
        return bool(chunk)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            self._at = _GAP.match(self._text, self._at).end()  # type: ignore[union-attr]  # matches the empty text
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Passes over the character that `peek` gave."""
        self._at += 1

    def value(self) -> object:
        """The value that begins here, or a Fault; either way the cursor stands behind it."""
        try:
            value, end = _JSON.raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            pass  # Broken, or not all there yet: its extent tells.
        else:
            # A number that ends where the piece ends may go on.
            if end < len(self._text):
                self._at = end
                return value
        text = self._extent()
        return TOO_LONG if text is None else _parsed(text)

    def _extent(self) -> str | None:
        """The text of the value that begins here, up to its closing bracket; None when it passes the bound."""
        kept: list[str] = []
        size, depth, quoted, escaped = 0, 0, False, False
        scalar = self.peek() not in ("{", "[", '"')
        while True:
            pattern = _SCALAR_END if scalar else _IN_STRING if quoted else _BRACKET
            found = pattern.search(self._text, self._at + escaped)
            end = len(self._text) if found is None else found.start() if scalar else found.end()
            size += end - self._at
            if size <= MAX_RECORD:
                kept.append(self._text[self._at : end])
            self._at = end
            mark = found.group() if found else ""
            # A backslash at the end of a piece hides the first character of the next.
            escaped = mark == "\\"
            if (not mark or escaped) and self._more():
                continue
            if not (scalar or mark) or escaped:
                raise self.broken("the file ends within a row; it is cut")
            if mark == '"':
                quoted = not quoted
            elif not quoted and not scalar:
                depth += 1 if mark in "{[" else -1
            if scalar or (depth <= 0 and not quoted):
                return "".join(kept) if size <= MAX_RECORD else None


def json_records(chunks: Iterator[str], name: str) -> Iterator[Record]:
    """The rows of a JSON array, of an object of rows by id, or of a list under a name such as `products`.

    Raises CatalogError, after the good rows, when the text is cut or its structure cannot be followed.
    """
    rows = count(1)
    last = 0

    def broken(what: str) -> CatalogError:
        return CatalogError(f"{name}: is not valid JSON after row {last}: {what}; export the file again")

    cursor = _Cursor(chunks, broken)
    opening = cursor.peek()
    if opening not in ("[", "{"):
        raise CatalogError(f"{name}: holds no rows; JSON must be an array of objects, or an object of objects by id")
    for record in _array(cursor, rows) if opening == "[" else _object(cursor, rows, 0):
        last = record.line
        yield record
    if cursor.peek():
        raise broken("there is more text after the end; one object a line is NDJSON (name the file .ndjson)")
    if opening == "{" and not last and not cursor.lists:
        names = ", ".join(sorted(_ROW_LISTS))
        raise CatalogError(f"{name}: holds no rows; put the list of them under one of the names {names}")


def _array(cursor: _Cursor, rows: Iterator[int]) -> Iterator[Record]:
    cursor.skip()
    cursor.lists += 1
    while (mark := cursor.peek()) != "]":
        if mark == ",":
            cursor.skip()
            continue
        if not mark:
            raise cursor.broken("the list of rows never ends; the file is cut")
        yield _json_record(next(rows), cursor.value(), None)
        if cursor.peek() not in (",", "]"):
            raise cursor.broken("a comma or ] is missing between two rows")
    cursor.skip()


def _object(cursor: _Cursor, rows: Iterator[int], depth: int) -> Generator[Record, None, object]:
    """The rows that an object holds; one that holds none is given as a value, which may itself be a row."""
    cursor.skip()
    keyed = listed = False
    # A count, a date, a description: no rows, unless rows by id turn up beside them.
    aside: list[tuple[str, object]] = []
    further = 0
    while (mark := cursor.peek()) != "}":
        if mark == ",":
            cursor.skip()
            continue
        key = cursor.value() if mark == '"' else None
        if not isinstance(key, str) or cursor.peek() != ":":
            raise cursor.broken("a quoted name and a colon are missing" if mark else "the file is cut")
        cursor.skip()
        mark, folded = cursor.peek(), fold(key)
        value: object = _ROWS
        if mark == "[" and folded in _ROW_LISTS:
            yield from _array(cursor, rows)
        elif mark == "{" and folded in _ROW_LISTS and depth < 3:
            value = yield from _object(cursor, rows, depth + 1)
        else:
            value = cursor.value()
            keyed = keyed or (mark == "{" and folded not in _NOT_ROWS)
        if value is _ROWS:
            listed = True
        elif keyed or len(aside) < MOST_ASIDE:
            aside.append((key, value))
        else:
            further += 1
        if keyed:
            yield from (_json_record(next(rows), row, name) for name, row in aside)
            yield from (_json_record(next(rows), None, None) for _ in range(further))
            aside, further = [], 0
        if cursor.peek() not in (",", "}"):
            raise cursor.broken("a comma or } is missing between two rows")
    cursor.skip()
    if keyed or listed:
        return _ROWS
    return next((value for _, value in aside if isinstance(value, Fault)), dict(aside))
