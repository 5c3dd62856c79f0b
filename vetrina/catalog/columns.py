"""What a record of a catalog is, which of its columns is which, and what the values in them mean."""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

_FOLDED_AWAY = re.compile(r"[\s_-]+")

MAX_CELL = 1 << 20
"""Characters of one cell; a longer one costs its row."""
MAX_RECORD = 1 << 22
"""Characters of one row of a text format; a longer one is skipped without being kept in memory."""
MAX_NESTING = 64
MAX_ID_BYTES = 512
MAX_ATTRIBUTES = 200
"""Attributes that are kept of one row; further ones are dropped, in the order of the columns."""

_TRUE = frozenset({"1", "true", "yes", "y", "t"})
_FALSE = frozenset({"", "0", "false", "no", "n", "f"})
_SURROGATE = re.compile("[\ud800-\udfff]")


class Number(str):
    """A number kept as the text it was written in, so that no digit is lost."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one record cannot be read: a stable code and a sentence."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Record:
    """One row as its format gave it.

    Values are text, `Number`, bool, None, or lists and dicts of these. `key` is the name that a row has in a JSON
    object of rows. `fault` is set when the row could not be taken apart; it then has no values.
    """

    line: int
    names: Sequence[str] = ()
    values: Sequence[object] = ()
    key: str | None = None
    fault: Fault | None = None


def shown(text: str, limit: int = 80) -> str:
    """Text quoted for a message: short, printable whatever it holds."""
    return ascii(text) if len(text) <= limit else ascii(text[:limit]) + "…"


def compact_json(value: object, depth: int = 0) -> str:
    """One JSON value as compact text, numbers as they were written.

    Raises ValueError when the value is nested deeper than `MAX_NESTING`.
    """
    if depth > MAX_NESTING:
        raise ValueError(f"it is nested deeper than {MAX_NESTING} levels")
    if isinstance(value, dict):
        pairs = (f"{_quoted(str(k))}:{compact_json(v, depth + 1)}" for k, v in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(compact_json(item, depth + 1) for item in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return str(value)
    return _quoted(str(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Names to look for, the first that a catalog has wins; case, spaces, `_` and `-` make no difference."""

    id: tuple[str, ...] = (
        "id",
        "product_id",
        "g:id",
        "sku",
        "item_id",
        "article_id",
        "product_code",
        "item_code",
        "article_number",
        "asin",
        "gtin",
        "ean",
        "uid",
        "uuid",
        "identifier",
        "product",
        "item",
    )
    picture: tuple[str, ...] = (
        "image_url",
        "image_link",
        "g:image_link",
        "picture_url",
        "photo_url",
        "image_path",
        "picture_path",
        "photo_path",
        "image_src",
        "image_file",
        "main_image",
        "image",
        "picture",
        "photo",
        "img",
        "img_url",
        "thumbnail",
        "file_path",
        "file_name",
        "path",
        "file",
        "url",
        "link",
        "src",
    )
    deleted: tuple[str, ...] = ("deleted", "removed", "is_deleted")


@dataclass(frozen=True, slots=True)
class FoundColumns:
    """Positions of the columns of one list of names; `repeated` is a wanted name that stands there twice."""

    id: int | None
    picture: int | None
    deleted: int | None
    attributes: tuple[tuple[int, str], ...]
    repeated: str | None


def fold(name: str) -> str:
    """A column name without case, spaces, `_` and `-`."""
    return _FOLDED_AWAY.sub("", name).casefold()


def find_columns(names: Sequence[str], wanted: ColumnMap) -> FoundColumns:
    """Where the wanted columns stand among the names; all others are attributes, each under a name of its own."""
    folded = [fold(name) for name in names]
    places: list[int | None] = []
    repeated: str | None = None
    for choices in (wanted.id, wanted.picture, wanted.deleted):
        choice = next((c for c in map(fold, choices) if c in folded), None)
        places.append(None if choice is None else folded.index(choice))
        if choice is not None and folded.count(choice) > 1:
            repeated = repeated or names[folded.index(choice)]
    used = set(places)
    taken: set[str] = set()
    attributes: list[tuple[int, str]] = []
    for position, name in enumerate(names):
        if position not in used:
            unique = _unique(name.strip() or f"column_{position + 1}", taken)
            taken.add(unique)
            attributes.append((position, unique))
    return FoundColumns(places[0], places[1], places[2], tuple(attributes), repeated)


def _unique(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    count = 2
    while f"{name}_{count}" in taken:
        count += 1
    return f"{name}_{count}"


def id_of(value: object) -> str | Fault:
    """A product id as opaque text, or why the value cannot be one; a number becomes its exact decimal text."""
    if value is None:
        return Fault("missing-id", "the row has no id")
    if isinstance(value, Number):
        value = decimal_text(value)
    if not isinstance(value, str):
        return Fault("bad-id", "the id must be text or a number, not true or false, a list or an object")
    text = value.strip()
    if not text:
        return Fault("missing-id", "the row has no id")
    if not text.isprintable() and any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        return Fault("bad-id", f"the id {shown(text)} holds control characters or damaged text")
    if len(text.encode()) > MAX_ID_BYTES:
        return Fault("id-too-long", f"the id {shown(text)} has more than {MAX_ID_BYTES} bytes")
    return text


def decimal_text(number: Number) -> str:
    """A number without exponent and without zeros after the point; as it stands when that would be very long."""
    if number.isdecimal():
        return str(number)
    try:
        value = Decimal(number)
    except InvalidOperation:
        return str(number)
    if not value.is_finite() or abs(value.adjusted()) > MAX_ID_BYTES or len(number) > 2 * MAX_ID_BYTES:
        return str(number)
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def removal_of(value: object) -> bool | Fault:
    """Whether a value of the `deleted` column says yes."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str):
        text = (decimal_text(value) if isinstance(value, Number) else value).strip().lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
    return Fault("bad-deleted", "the mark of a removal must be one of 1, true, yes, y, t, 0, false, no, n, f or empty")


def attributes_of(record: Record, columns: tuple[tuple[int, str], ...]) -> dict[str, str] | Fault:
    """The further values of a record as text, without the empty ones; nested ones as compact JSON."""
    attributes: dict[str, str] = {}
    size = 0
    for position, name in columns:
        value = record.values[position]
        if value is None or value == "":
            continue
        try:
            text = value if isinstance(value, str) else compact_json(value)
        except ValueError as error:
            return Fault("bad-json", f"the value of {shown(name)} cannot be kept: {error}")
        if not text.strip():
            continue
        size += len(text) + len(name)
        if len(text) > MAX_CELL:
            return Fault("cell-too-long", f"the value of {shown(name)} has more than {MAX_CELL} characters; shorten it")
        if size > MAX_CELL:
            return Fault("attributes-too-long", f"the attributes have more than {MAX_CELL} characters together")
        attributes[_sound(name)] = _sound(str(text))
        if len(attributes) == MAX_ATTRIBUTES:
            break
    return attributes


def _sound(text: str) -> str:
    # Lone surrogates (damaged text) cannot be stored: the sign for damaged text stands in for them.
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def split_names(text: str) -> tuple[str, ...]:
    """Column names of a setting: separated by commas, none for an empty text."""
    return tuple(name.strip() for name in text.split(",") if name.strip())
