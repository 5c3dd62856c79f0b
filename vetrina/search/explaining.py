"""Why a product is among the results: from the pair of vectors back to the pictures, the catalogs and the models."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from vetrina.catalog.batches import list_batches
from vetrina.catalog.shop import change_of
from vetrina.errors import NotFound
from vetrina.index.rows import ItemInfo
from vetrina.search.answers import Pair, Query
from vetrina.search.window import ShopWindow
from vetrina.store import Store, blob_path


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a product comes from.

    Attributes:
        batch: the batch that answers for it, with its catalog file, when it was registered, and its `line` there
            (null where the format has none).
        picture: the address that the catalog gives.
        attributes: what else it says (JSON).
    """

    batch: str
    catalog: str
    source: str
    registered_at: str
    line: int | None
    picture: str
    attributes: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a product is a result.

    Attributes:
        rank: its place among all products, compared exactly; 1 is the best.
        of: how many products there are to compare with.
        found: whether the index, as it serves, finds it at that place.
        newer: the product is not in the index yet and was compared exactly beside it.
        pairs: every pair of a query row and an item of the product, best first; the first one decides.
        origin: of the product.
    """

    rank: int
    of: int
    found: bool
    newer: bool
    pairs: list[Pair]
    origin: Origin


def explain(window: ShopWindow, query: Query, product_id: str, *, own: str | None = None) -> Explanation:
    """Explain a result of a query.

    Args:
        own: the product that asks, which is not compared with itself.

    Raises:
        NotFound: no such product, or it was asked for itself.
    """
    engine = window.engine
    if product_id == own:
        raise NotFound(f"{product_id!r} is the query itself; name one of its results")
    pairs = engine.pairs(query, product_id)
    standing = engine.standing(query, product_id, exclude=[] if own is None else [own])
    return Explanation(
        rank=standing.rank,
        of=standing.of,
        found=standing.found,
        newer=engine.in_tail(product_id),
        pairs=pairs,
        origin=origin_of(window.store, product_id, pairs[0].item.batch),
    )


def origin_of(store: Store, product_id: str, key: str) -> Origin:
    """Where a product comes from. Raises NotFound when the batch is not in the store any more."""
    batch = next((batch for batch in list_batches(store) if batch.key == key), None)
    row = None
    if batch is not None:
        with suppress(FileNotFoundError):
            row = change_of(store, batch, product_id)
    if batch is None or row is None:
        raise NotFound(f"The batch {key} with product {product_id!r} is not in {store.root} any more; restore it")
    line = row["line"]
    return Origin(
        batch=key,
        catalog=batch.catalog,
        source=batch.source,
        registered_at=batch.registered_at,
        line=None if line is None else int(str(line)),
        picture=str(row["picture"]),
        attributes=str(row["attributes"]),
    )


def item_as_json(store: Store, item: ItemInfo) -> dict[str, Any]:
    """An item with the place of its picture in the store."""
    values = asdict(item) | {"box": [round(side, 5) for side in item.box]}
    return values | {"picture": f"{store.root.rstrip('/')}/{blob_path(item.sha256)}"}
