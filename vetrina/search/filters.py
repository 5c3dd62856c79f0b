"""Filters on catalog attributes: `category = "Living room" and price < 100`.

    condition  ATTRIBUTE = VALUE, also != < <= > >= ; ATTRIBUTE in (VALUE, …) ; ATTRIBUTE contains VALUE ; ATTRIBUTE
    joined by  and, or, not, parentheses; `and` binds more tightly than `or`; at most 64 conditions
    names      one word, or "in double quotes" where a name has spaces
    values     a word, a number, or text in single or double quotes

An attribute alone asks whether a product has it. Text is compared without regard to case; `<` and its like compare
numbers, and a currency beside one is passed over (`19.90 EUR`). A product that lacks the attribute, or has no number
where one is asked for, does not pass; `!=` and `not` ask for what is there, so `colour != red` needs a colour.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from vetrina.errors import NotFound, SettingError
from vetrina.words import nearest

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<mark><=|>=|!=|<>|==|[=<>(),])
    |(?P<word>[^\s"'=<>!(),]+))""",
    re.VERBOSE,
)
_APART = " \u00a0\u202f'\u2019"  # between the thousands, besides commas and points
_NUMBER = re.compile(
    rf"""[^\d+-]*?
    (?P<sign>[+-]?)(?:
        (?P<whole>[1-9]\d{{0,2}}(?:[{_APART}]\d{{3}})+(?!\d)|\d+)(?P<rest>(?:[.,]\d+)*)
        |(?<![\w.,])[.,](?P<decimals>\d+)
    )
    [^\d]*""",
    re.VERBOSE,
)
_ORDERS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_DEEPEST = 50
_LONGEST = 10_000  # characters
_MOST = 64  # conditions, each of which costs a microsecond a product

Product = Mapping[str, str]
"""Attribute → value of one product."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that was understood.

    Attributes:
        text: as it was written.
        attributes: the attributes it asks for.
    """

    text: str
    attributes: frozenset[str]
    _passes: Callable[[Product], bool]

    def passes(self, product: Product) -> bool:
        """Whether a product with these attributes passes."""
        return self._passes(product)

    def check(self, known: Collection[str]) -> None:
        """Raise NotFound for an attribute that no product has, with the ones that are near."""
        for name in sorted(self.attributes):
            if name not in known:
                raise NotFound(f"No product has the attribute {name!r}; {nearest(name, known)}")


def parse_filter(text: str) -> Filter:
    """Understand a filter. Raises SettingError, which says where the text stops making sense."""
    parser = _Parser(text)
    passes = parser.whole()
    return Filter(text, frozenset(parser.attributes), passes)


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of the text: its kind (text, mark, word, end), what it says and where it begins."""

    kind: str
    says: str
    at: int


class _Parser:
    """Recursive descent over the grammar above; each method gives what a product must pass."""

    def __init__(self, text: str) -> None:
        self._text = text
        if len(text) > _LONGEST:
            raise SettingError(f"The filter has {len(text)} characters; at most {_LONGEST} are read")
        self._tokens = list(self._split())
        self._next = 0
        self._depth = 0
        self._conditions = 0
        self.attributes: set[str] = set()
        self._judged: set[str] = set()  # of them, those whose values are compared

    def _split(self) -> Iterator[_Token]:
        at, end = 0, len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None:
                raise self._wrong(at + len(self._text[at:]) - len(self._text[at:].lstrip()), "cannot be read")
            kind = str(found.lastgroup)
            says = found[kind]
            if kind == "text":
                says = re.sub(r"\\(.)", r"\1", says[1:-1])
            yield _Token(kind, says, found.start(kind))
            at = found.end()
        yield _Token("end", "", len(self._text))

    def _wrong(self, at: int, what: str) -> SettingError:
        rest = self._text[at : at + 20]
        where = f"at {rest!r} (character {at + 1})" if rest.strip() else "at its end"
        return SettingError(
            f'The filter {self._text!r} {what} {where}; write for example: category = "Living room" and price < 100'
        )

    def _peek(self, word: str) -> bool:
        token = self._tokens[self._next]
        return token.kind == "word" and token.says.casefold() == word

    def _take_word(self, word: str) -> bool:
        if self._peek(word):
            self._next += 1
            return True
        return False

    def _take_mark(self, mark: str) -> bool:
        token = self._tokens[self._next]
        if token.kind == "mark" and token.says == mark:
            self._next += 1
            return True
        return False

    def _need_mark(self, mark: str) -> None:
        if not self._take_mark(mark):
            raise self._wrong(self._tokens[self._next].at, f"lacks a {mark!r}")

    def _need_value(self, what: str) -> str:
        token = self._tokens[self._next]
        if token.kind not in ("text", "word"):
            raise self._wrong(token.at, f"lacks {what}")
        self._next += 1
        return token.says

    def whole(self) -> Callable[[Product], bool]:
        passes = self._either()
        token = self._tokens[self._next]
        if token.kind != "end":
            raise self._wrong(token.at, "goes on unexpectedly")
        return passes

    def _either(self) -> Callable[[Product], bool]:
        parts = [self._both()]
        while self._take_word("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda product: any(part(product) for part in parts)

    def _both(self) -> Callable[[Product], bool]:
        parts = [self._one()]
        while self._take_word("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda product: all(part(product) for part in parts)

    def _one(self) -> Callable[[Product], bool]:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong(self._tokens[self._next].at, f"is nested more than {_DEEPEST} deep")
        try:
            if self._take_word("not"):
                return self._negated()
            if self._take_mark("("):
                inner = self._either()
                self._need_mark(")")
                return inner
            return self._condition()
        finally:
            self._depth -= 1

    def _negated(self) -> Callable[[Product], bool]:
        before, self._judged = self._judged, set()
        inner = self._one()
        asked = frozenset(self._judged)
        self._judged |= before
        return lambda product: all(name in product for name in asked) and not inner(product)

    def _condition(self) -> Callable[[Product], bool]:
        self._conditions += 1
        if self._conditions > _MOST:
            raise SettingError(
                f"The filter has more than {_MOST} conditions; write several values of one attribute as one: "
                "colour in (red, blue)"
            )
        name = self._need_value("the name of an attribute")
        self.attributes.add(name)
        token = self._tokens[self._next]
        compared = token.kind == "mark" and token.says not in "(),"
        if not (compared or self._peek("in") or self._peek("contains")):
            return lambda product: name in product
        self._judged.add(name)
        if self._take_word("in"):
            self._need_mark("(")
            values = [self._need_value("a value")]
            while self._take_mark(","):
                values.append(self._need_value("a value"))
            self._need_mark(")")
            among = _among(values)
            return lambda product: name in product and among(product[name])
        if self._take_word("contains"):
            part = self._need_value("a value").casefold()
            return lambda product: name in product and part in product[name].casefold()
        self._next += 1
        if token.says in _ORDERS:
            return self._order(name, _ORDERS[token.says])
        equal = _among([self._need_value("a value")])
        wanted = token.says in ("=", "==")
        return lambda product: name in product and equal(product[name]) == wanted

    def _order(self, name: str, order: Callable[[float, float], bool]) -> Callable[[Product], bool]:
        token = self._tokens[self._next]
        limit = number_in(self._need_value("a number"))
        if limit is None:
            raise self._wrong(token.at, "needs a number")

        def passes(product: Product) -> bool:
            found = number_in(product.get(name, ""))
            return found is not None and order(found, limit)

        return passes


def number_in(text: str) -> float | None:
    """The one number in a text, with a currency or a unit beside it or not; None where there is none or several.

    Of commas and points the last one begins the decimals, unless it stands more than once, or is a comma and the only
    one and three digits follow: `1,299.00`, `1.299,00`, `1,299` and `1299` are all over a thousand, `12,99` and `0,125`
    are not. Spaces and apostrophes part thousands and nothing else: `1 299,00` is a number, `3 4` are two. A number may
    begin with its point: `.99`.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, whole, rest, decimals = found.group("sign", "whole", "rest", "decimals")
    if decimals is not None:
        return float(f"{sign}0.{decimals}")
    parts = re.split("[.,]", whole + rest)
    if rest and not _parts_thousands(whole, rest):
        parts[-1] = "." + parts[-1]
    return float(sign + re.sub(f"[{_APART}]", "", "".join(parts)))


def _parts_thousands(whole: str, rest: str) -> bool:
    """Whether the last comma or point of a number parts thousands; else it begins the decimals."""
    mark = max(".,", key=rest.rfind)
    lone_comma = mark == "," and len(rest) == 4 and whole.isdigit() and whole.strip("0")
    return rest.count(mark) > 1 or bool(lone_comma)


def _among(values: Collection[str]) -> Callable[[str], bool]:
    """Whether a value is one of these, as text or as a number; it costs the same however many they are."""
    texts = {value.strip().casefold() for value in values}
    numbers = {number for value in values if (number := _plain_number(value)) is not None}
    return lambda value: value.strip().casefold() in texts or (bool(numbers) and _plain_number(value) in numbers)


def _plain_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
