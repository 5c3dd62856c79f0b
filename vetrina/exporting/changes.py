"""What to hand over: the similar products of each product, or what changed in them since others were written.

Both are streams in the order of product ids, so memory does not grow with the shop.

Each new index projects the vectors anew, so one new product moves every score a little: by up to 0.0013 in a made-up
shop of 2 000, where a fifth of the lists name other products or another order. A list that only its scores tell from
the one before, and by so little, has not changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from vetrina.errors import NotFound, StoreError
from vetrina.index.publishing import CURRENT_TABLE, TABLE
from vetrina.index.table import SIMILAR_SCHEMA
from vetrina.store import Store
from vetrina.tables import read_tables

_FOLDER = "similar_products"
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")
SCORE_TOLERANCE = 0.005
"""A list whose scores all moved by no more than this, about what two decimals show, and nothing else, is the same."""


@dataclass(frozen=True, slots=True)
class Similar:
    """One line of a product's list."""

    rank: int
    similar_id: str
    score: float
    same_class: bool


@dataclass(frozen=True, slots=True)
class Change:
    """The new list of a product, best first; empty where it has none any more."""

    product_id: str
    similar: tuple[Similar, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A finished table of similar products: its name (that of its folder) and the index version it was made from."""

    name: str
    index: str


def current_table(store: Store) -> Table:
    """The table that the shop should read. Raises NotFound when there is none yet."""
    try:
        pointer = store.read_json(CURRENT_TABLE)
    except FileNotFoundError:
        raise NotFound(
            f"There is no table of similar products in {store.root} yet; add a catalog first: vetrina add CATALOG"
        ) from None
    return Table(str(pointer["folder"]).rpartition("/")[2], str(pointer["index"]))


def has_table(store: Store, name: str) -> bool:
    """Whether a table is (still) in the store, whole."""
    return _NAME.fullmatch(name) is not None and store.exists(f"{_FOLDER}/{name}/table.json")


def whole(store: Store, name: str) -> Iterator[Change]:
    """The lists of all products of a table. Raises StoreError when it cannot be read."""
    try:
        yield from _lists(store, name)
    except FileNotFoundError:
        raise StoreError(f"The table {name} is not in {store.root} any more; materialize similar_products") from None


def between(before: Iterator[Change], after: Iterator[Change]) -> Iterator[Change]:
    """The lists of `after` that are not the same in `before`, and an empty one for each that `after` lacks.

    A list is the same when it has the same products in the same order, of the same classes, with scores that differ by
    no more than SCORE_TOLERANCE.

    Args:
        before, after: in the order of product ids.
    """
    was, now = next(before, None), next(after, None)
    while was is not None or now is not None:
        if now is None or (was is not None and was.product_id < now.product_id):
            assert was is not None
            yield Change(was.product_id, ())
            was = next(before, None)
        elif was is None or now.product_id < was.product_id:
            yield now
            now = next(after, None)
        else:
            if not _same(was.similar, now.similar):
                yield now
            was, now = next(before, None), next(after, None)


def _same(was: tuple[Similar, ...], now: tuple[Similar, ...]) -> bool:
    return len(was) == len(now) and all(
        (old.similar_id, old.same_class) == (new.similar_id, new.same_class)
        and abs(old.score - new.score) <= SCORE_TOLERANCE
        for old, new in zip(was, now, strict=True)
    )


def _lists(store: Store, name: str) -> Iterator[Change]:
    columns = ["product_id", "rank", "similar_id", "score", "same_class"]
    rows = (
        row
        for table in read_tables(store, f"{_FOLDER}/{name}/{TABLE}", SIMILAR_SCHEMA, columns)
        for row in zip(*(table[column].to_pylist() for column in columns), strict=True)
    )
    return grouped(rows)


def grouped(rows: Iterable[Sequence[Any]]) -> Iterator[Change]:
    """The lists of rows (product id, rank, similar id, score, same class), those of a product together."""
    for product_id, lines in groupby(rows, key=lambda row: row[0]):
        yield Change(str(product_id), tuple(Similar(*line[1:]) for line in lines))
