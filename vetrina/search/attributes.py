"""What the catalogs say of products besides their pictures: the attributes of each product's newest row."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping

from vetrina.catalog.batches import list_batches
from vetrina.catalog.shop import changes
from vetrina.store import Store

Attributes = Mapping[str, Mapping[str, str]]
"""Product id → attribute → value."""

_NAMES = ("name", "title", "product_name", "label")


def attributes_of(store: Store, product_ids: Collection[str]) -> dict[str, str]:
    """The attributes (JSON) that the newest catalog row of each product gave."""
    wanted = set(product_ids)
    found: dict[str, str] = {}
    for product_id, attributes in _newest_first(store):
        if product_id in wanted and product_id not in found:
            found[product_id] = attributes
            if len(found) == len(wanted):
                break
    return found


def parse_attributes(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Attributes as the catalog keeps them (JSON) → attribute → value, without those that are blank."""
    found = {}
    for product_id, text in texts.items():
        pairs = ((name, str(value).strip()) for name, value in json.loads(text).items() if value is not None)
        found[product_id] = {name: value for name, value in pairs if value}
    return found


def names_in(texts: Mapping[str, str]) -> dict[str, str]:
    """The names of products, from their attributes (JSON); absent where there is none."""
    named = ((product_id, name_of(json.loads(text))) for product_id, text in texts.items())
    return {product_id: name for product_id, name in named if name}


def name_of(attributes: Mapping[str, str]) -> str | None:
    """The name of a product among its attributes; None where there is none."""
    found = {key.lower(): value for key, value in attributes.items()}
    return next((found[key] for key in _NAMES if key in found), None) or None


def is_name(attribute: str) -> bool:
    """Whether an attribute is one that names products."""
    return attribute.lower() in _NAMES


def _newest_first(store: Store) -> Iterator[tuple[str, str]]:
    for batch in reversed(list_batches(store)):
        for row in changes(store, batch):
            if not row["removed"]:
                yield str(row["product_id"]), str(row["attributes"])
