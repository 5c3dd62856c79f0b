"""What to hand over: the similar products of each product, or what changed in them between two tables.

Both are streams in the order of product ids, so memory does not grow with the shop.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from vetrina.errors import NotFound, StoreError
from vetrina.index.publishing import CURRENT_TABLE, TABLE
from vetrina.index.table import SIMILAR_SCHEMA
from vetrina.store import Store
from vetrina.tables import read_tables

_FOLDER = "similar_products"
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]*")


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


def between(store: Store, old: str, new: str) -> Iterator[Change]:
    """The lists that are not the same in both tables, as the new one has them. Raises StoreError."""
    before, after = whole(store, old), whole(store, new)
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
            if was.similar != now.similar:
                yield now
            was, now = next(before, None), next(after, None)


def _lists(store: Store, name: str) -> Iterator[Change]:
    columns = ["product_id", "rank", "similar_id", "score", "same_class"]
    rows = (
        row
        for table in read_tables(store, f"{_FOLDER}/{name}/{TABLE}", SIMILAR_SCHEMA, columns)
        for row in zip(*(table[column].to_pylist() for column in columns), strict=True)
    )
    for product_id, lines in groupby(rows, key=lambda row: row[0]):
        yield Change(str(product_id), tuple(Similar(*line[1:]) for line in lines))
