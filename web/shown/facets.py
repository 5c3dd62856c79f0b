"""What catalogs say of products, as columns: which attributes can narrow a listing, and how many products have what.

A column keeps every value once, so a filter on one attribute is asked once for each value and not for each product.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vetrina.bounded_cache import BoundedCache
from vetrina.errors import NotFound
from vetrina.search.attributes import is_name
from vetrina.search.filters import Filter, number_in
from vetrina.words import nearest

FEW = 40
"""An attribute with more values than this is not offered as a list of values."""
_MOST_FACETS = 6
_MOST_SPANS = 4
_LOOKED_AT = 1000  # values by which an attribute is judged
_MEASURE = re.compile(r"([A-Z]{3}\b|[^\w\s])?\s*[-+]?\d")
_MOST_MASKS = 64  # filters whose products are remembered, a byte for each product


@dataclass(frozen=True, slots=True)
class Facet:
    """An attribute with few values, and how many products have each; the most frequent first."""

    attribute: str
    values: list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Span:
    """An attribute of numbers, from the lowest to the highest."""

    attribute: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class _Column:
    """The values of an attribute, and which of them each product has: int32 [n], −1 where it has none."""

    values: list[str]
    codes: np.ndarray


class Columns:
    """The attributes of n products.

    Attributes:
        few: attributes with few values, each of which several products share, in the order of the catalogs.
        spans: attributes that are numbers, of those that have more values.
    """

    def __init__(self, products: Sequence[Mapping[str, str]]) -> None:
        self._products = products
        self._columns: dict[str, _Column] = {}
        size = max(len(products), 1)
        self._masks: BoundedCache[np.ndarray] = BoundedCache(_MOST_MASKS * size, lambda _: size)
        present = Counter(name for product in products for name in product)
        self._names = tuple(present)
        shared = [name for name in present if present[name] > 1 and not is_name(name)]
        self.few = self._with_few_values(shared, present)
        self.spans = self._of_numbers([name for name in shared if name not in self.few], present)

    def _with_few_values(self, names: Sequence[str], present: Mapping[str, int]) -> tuple[str, ...]:
        seen: dict[str, set[str]] = {name: set() for name in names}
        for product in self._products:
            for name in [name for name in product if name in seen]:
                seen[name].add(product[name])
                if len(seen[name]) > FEW:
                    del seen[name]
        few = [name for name, values in seen.items() if 1 < len(values) <= present[name] / 2]
        return tuple(few[:_MOST_FACETS])

    def _of_numbers(self, names: Sequence[str], present: Mapping[str, int]) -> tuple[Span, ...]:
        spans = []
        for name in names:
            values = self.column(name).values
            # A number of its own for every product is more likely a name than a measure.
            if len(values) == present[name] > FEW or not _are_measures(values[:_LOOKED_AT]):
                continue
            numbers = [number for value in values if (number := number_in(value)) is not None]
            spans.append(Span(name, min(numbers), max(numbers)))
            if len(spans) == _MOST_SPANS:
                break
        return tuple(spans)

    def column(self, name: str) -> _Column:
        """An attribute as a column."""
        found = self._columns.get(name)
        if found is None:
            places: dict[str, int] = {}
            codes = [
                -1 if (value := product.get(name)) is None else places.setdefault(value, len(places))
                for product in self._products
            ]
            found = self._columns[name] = _Column(list(places), np.array(codes, np.int32))
        return found

    def passing(self, name: str, where: Filter) -> np.ndarray:
        """Which products pass a filter that asks for this attribute alone: bool [n]. Raises NotFound if unknown."""
        if name not in self._names:
            raise NotFound(f"No product has the attribute {name!r}; {nearest(name, self._names)}")
        mask = self._masks.get(where.text)
        if mask is None:
            column = self.column(name)
            verdicts = [*(where.passes({name: value}) for value in column.values), where.passes({})]
            # The code −1 of what is absent is the place of the last verdict.
            mask = np.array(verdicts, bool)[column.codes]
            self._masks.put(where.text, mask)
        return mask

    def facet(self, name: str, mask: np.ndarray) -> Facet:
        """How many of some products (bool [n]) have each value of an attribute."""
        column = self.column(name)
        counts = np.bincount(column.codes[mask] + 1, minlength=len(column.values) + 1)[1:]
        found = [(value, int(count)) for value, count in zip(column.values, counts, strict=True) if count]
        return Facet(name, sorted(found, key=lambda entry: (-entry[1], entry[0].casefold())))


def _are_measures(values: Sequence[str]) -> bool:
    """Whether nearly all values are numbers, with a currency before them or not."""
    found = sum(_MEASURE.match(value) is not None and number_in(value) is not None for value in values)
    return found >= 0.9 * len(values)
