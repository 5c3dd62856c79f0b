"""What a search is asked and what it answers, as data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vetrina.index.rows import ItemInfo


@dataclass(frozen=True, slots=True)
class Query:
    """What to search with.

    Attributes:
        vectors: float32 [m, D], m ≥ 1, finite, not zero.
        kinds: "whole" or "crop" per row.
        projected: the vectors are in index space already (those of `product_query` are: an index keeps no others).
        stored: they are in the index, which finds the neighbours of what it holds with less search; a product that is
            newer than the index is a stranger to it, like a photo.
        labels: the classes of what is on it.
    """

    vectors: np.ndarray
    kinds: tuple[str, ...]
    projected: bool = False
    stored: bool = False
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A product found.

    Attributes:
        score: cosine of the best pair less its penalty; what the order is by.
        cosine: of that pair, in index space, −1..1.
        query_row: which row of the query it was.
        item: which picture or crop of the product it was.
    """

    product_id: str
    score: float
    cosine: float
    query_row: int
    item: ItemInfo


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of a query and an item of a product: their cosine in index space, and what it loses for their kinds."""

    query_row: int
    item: ItemInfo
    cosine: float
    penalty: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found.

    Attributes:
        neighbours: best first, equal scores by product id.
        available: products that pass the filters (classes, removed, excluded); `min_score` is not one of them.
        exact: no approximation was involved.
        search_k: Annoy nodes that each query row was let inspect; 0 where Annoy was not asked.
        read: pictures and crops of the nearest cells that were compared; 0 where no cells were read.
    """

    neighbours: list[Neighbour]
    available: int
    exact: bool
    index_version: str
    search_k: int = 0
    read: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a product stands among all that pass.

    Attributes:
        rank: its place, compared exactly; 1 is the best. of: how many products pass.
        found: whether the index, as it serves, finds it at that place.
    """

    rank: int
    of: int
    found: bool


@dataclass(frozen=True, slots=True)
class Products:
    """All products that can be found, in the order of their ids; n of them.

    Attributes:
        sha256: of each product's picture.
        labels: of its best detection; `None` where there is none.
        vectors: of its whole picture, float32 [n, d] unit rows in index space.
    """

    product_ids: list[str]
    sha256: list[str]
    labels: list[str | None]
    vectors: np.ndarray
