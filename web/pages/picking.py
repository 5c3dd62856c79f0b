"""What a person picked to narrow what a page shows: read from the address, and written into links again.

q=chair                      words of the name or the id
class=Chair                  an Open Images class
is.category=Kitchen          a value of an attribute; several of one attribute are alternatives
min.price=10  max.price=99   limits of an attribute that is a number
where=…                      a filter as the API takes it
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from vetrina.errors import SettingError
from vetrina.search.filters import Filter, parse_filter

_MOST = 100  # parameters that are read
_LONGEST = 10_000  # characters of one
_LONGEST_TEXT = {"q": 500, "class": 200}  # as the API takes them

Query = list[tuple[str, str]]


@dataclass(frozen=True)
class Picked:
    """What was picked.

    Attributes:
        values: attribute → the values that are wanted.
        least, most: attribute → limit, as it was written.
    """

    text: str = ""
    class_name: str = ""
    values: tuple[tuple[str, str], ...] = ()
    least: tuple[tuple[str, str], ...] = ()
    most: tuple[tuple[str, str], ...] = ()
    where: str = ""

    def __bool__(self) -> bool:
        return self != Picked()

    @property
    def filters(self) -> bool:
        """Whether anything was picked that products are asked for one by one, besides their names."""
        return bool(self.values or self.least or self.most or self.where)

    @property
    def query(self) -> Query:
        """The parameters that say this; `?` and these give this again."""
        found = [("q", self.text), ("class", self.class_name)]
        for prefix, pairs in (("is.", self.values), ("min.", self.least), ("max.", self.most)):
            found += [(prefix + name, value) for name, value in pairs]
        return [pair for pair in [*found, ("where", self.where)] if pair[1]]

    @cached_property
    def narrowed(self) -> dict[str, Filter]:
        """A filter for each attribute. Raises SettingError when a limit is no number."""
        conditions: dict[str, list[str]] = {}
        for name in self.valued:
            wanted = ", ".join(quoted(value) for value in self.picked_of(name))
            conditions.setdefault(name, []).append(f"{quoted(name)} in ({wanted})")
        for mark, limits in ((">=", self.least), ("<=", self.most)):
            for name, limit in limits:
                conditions.setdefault(name, []).append(f"{quoted(name)} {mark} {quoted(limit)}")
        return {name: parse_filter(" and ".join(parts)) for name, parts in conditions.items()}

    @property
    def filter_text(self) -> str | None:
        """All conditions on attributes in one filter; None where there are none. Raises SettingError."""
        parts = [f"({self.where})"] if self.where else []
        parts += [f"({own.text})" for own in self.narrowed.values()]
        return " and ".join(parts) or None

    @property
    def valued(self) -> list[str]:
        """The attributes of which values are wanted."""
        return list(dict(self.values))

    @property
    def limited(self) -> list[str]:
        """The attributes that have a limit."""
        return list(dict(self.least + self.most))

    def but_limits(self, attributes: Collection[str]) -> Query:
        """The parameters without the limits of these attributes."""
        least, most = ([pair for pair in pairs if pair[0] not in attributes] for pairs in (self.least, self.most))
        return replace(self, least=tuple(least), most=tuple(most)).query

    def limit(self, kind: str, attribute: str) -> str:
        """The lower ("least") or the upper ("most") limit of an attribute; empty where there is none."""
        return dict(self.least if kind == "least" else self.most).get(attribute, "")

    def picked_of(self, attribute: str) -> list[str]:
        """The values of an attribute that are wanted."""
        return [value for name, value in self.values if name == attribute]

    def picks(self, attribute: str, value: str) -> bool:
        """Whether a value of an attribute is wanted."""
        return (attribute, value) in self.values

    def toggled(self, attribute: str, value: str) -> Query:
        """The parameters with a value of an attribute added, or taken away if it is wanted."""
        pair = (attribute, value)
        rest = tuple(other for other in self.values if other != pair)
        return replace(self, values=rest if pair in self.values else (*self.values, pair)).query

    def with_class(self, class_name: str) -> Query:
        """The parameters with another class, or with none if it is this one."""
        return replace(self, class_name="" if class_name == self.class_name else class_name).query

    def chips(self) -> Iterator[tuple[str, str, Query]]:
        """Of each thing that was picked: what it is, what it says, and the parameters without it."""
        if self.text:
            yield "Search", f"“{self.text}”", replace(self, text="").query
        if self.class_name:
            yield "Shows", self.class_name, replace(self, class_name="").query
        for name, value in self.values:
            yield label_of(name), value, self.toggled(name, value)
        for name, value in self.least:
            rest = tuple(other for other in self.least if other[0] != name)
            yield label_of(name), f"from {value}", replace(self, least=rest).query
        for name, value in self.most:
            rest = tuple(other for other in self.most if other[0] != name)
            yield label_of(name), f"up to {value}", replace(self, most=rest).query
        if self.where:
            yield "Filter", self.where, replace(self, where="").query


def quoted(text: str) -> str:
    """A name or a value as a filter writes it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def is_plain_number(text: str) -> bool:
    """Whether a field of numbers can show a text."""
    return re.fullmatch(r"-?(\d+(\.\d+)?|\.\d+)", text, re.ASCII) is not None


def label_of(attribute: str) -> str:
    """An attribute as a person reads it: `width_cm` as "Width cm"."""
    words = attribute.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


async def picked(request: Request) -> Picked:
    """What the address of a request says was picked. Raises SettingError when it says too much."""
    given = request.query_params.multi_items()
    if len(given) > _MOST or any(len(name) + len(value) > _LONGEST for name, value in given):
        raise SettingError(f"The address is too long: at most {_MOST} conditions of {_LONGEST} characters are read")
    for name, most in _LONGEST_TEXT.items():
        if (length := len(request.query_params.get(name, ""))) > most:
            raise SettingError(f"The parameter {name} has {length} characters; at most {most} are read")

    def under(prefix: str) -> tuple[tuple[str, str], ...]:
        found = [(name.removeprefix(prefix), value.strip()) for name, value in given if name.startswith(prefix)]
        return tuple(dict.fromkeys((name, value) for name, value in found if name and value))

    asked = request.query_params
    return Picked(
        text=" ".join(asked.get("q", "").split()),
        class_name=asked.get("class", "").strip(),
        values=under("is."),
        least=tuple(dict(under("min.")).items()),
        most=tuple(dict(under("max.")).items()),
        where=asked.get("where", "").strip(),
    )


ThePicked = Annotated[Picked, Depends(picked)]
