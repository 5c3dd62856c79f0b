"""Questions to what is shown, answered with plain values: the API sends them, the pages draw them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vetrina.index.rows import ItemInfo
from vetrina.pictures.addresses import public_name
from vetrina.search.answers import Query as VectorQuery
from vetrina.search.conditions import Conditions
from vetrina.search.describing import answer_as_json, detections_as_json, explanation_as_json
from vetrina.search.explaining import Origin, explain, origin_of
from vetrina.search.window import PhotoQuery
from web.shown.goods import Listing, Product
from web.shown.showing import Showing


def similar(showing: Showing, product_id: str, k: int, conditions: Conditions) -> dict[str, Any]:
    """The products most similar to a product. Raises NotFound, SettingError."""
    window = showing.window
    found = window.similar(product_id, k, conditions)
    served = window.similar(product_id, k, replace(conditions, exact=False)) if conditions.exact else None
    return {
        "query": product_as_json(showing, product_id),
        **answer_as_json(window, found, _names(showing, found.answer.neighbours), served=served),
    }


def search(showing: Showing, photo: PhotoQuery, k: int, conditions: Conditions) -> dict[str, Any]:
    """The products most similar to a photo. Raises NotFound, SettingError."""
    window = showing.window
    found = window.search(photo, k, conditions)
    served = window.search(photo, k, replace(conditions, exact=False)) if conditions.exact else None
    height, width = photo.pixels.shape[:2]
    return {
        "query": {"width": width, "height": height, "detections": detections_as_json(photo)},
        **answer_as_json(window, found, _names(showing, found.answer.neighbours), served=served, photo=photo),
    }


def explained(showing: Showing, product_id: str, result: str) -> dict[str, Any]:
    """Why a product is a result of another. Raises NotFound."""
    window = showing.window
    items = window.engine.items_of(product_id)
    asked = {"product_id": product_id, "name": window.name_of(product_id)}
    origin = origin_of(window.store, product_id, items[0].batch)
    sides = [_item_as_json(item) for item in items]
    return _explained(showing, window.engine.product_query(product_id), asked, sides, origin, result, product_id)


def explained_photo(showing: Showing, photo: PhotoQuery, result: str, own: str | None = None) -> dict[str, Any]:
    """Why a product is a result of a photo, which is the picture of `own` if that is given. Raises NotFound."""
    sides = [
        {"kind": kind, "label": crop and crop.label, "score": crop and crop.score, "box": list(box)}
        for kind, (box, crop) in zip(photo.query.kinds, photo.parts, strict=True)
    ]
    return _explained(showing, photo.query, {}, sides, None, result, own)


def _explained(
    showing: Showing,
    query: VectorQuery,
    asked: dict[str, Any],
    sides: list[dict[str, Any]],
    origin: Origin | None,
    result: str,
    own: str | None,
) -> dict[str, Any]:
    window = showing.window
    found = explain(window, query, result, own=own)
    name = window.name_of(result)
    explained = explanation_as_json(window, asked, sides, origin, result, found, {result: name} if name else {})
    # Where things lie on this machine, and what an address has for a password, is nobody's business.
    for pair in explained["pairs"]:
        del pair["result"]["picture"]
    for side in ("query", "result"):
        if said := explained[side]["origin"]:
            said |= {name: public_name(said[name]) for name in ("source", "picture")}
    return explained


def product_as_json(showing: Showing, product_id: str) -> dict[str, Any]:
    """A product with its attributes, picture and crops. Raises NotFound."""
    window = showing.window
    items = window.engine.items_of(product_id)
    return {
        "product_id": product_id,
        "name": window.name_of(product_id),
        "sha256": items[0].sha256,
        "attributes": dict(window.attributes.get(product_id, {})),
        "items": [_item_as_json(item) for item in items],
        "newer_than_index": window.engine.in_tail(product_id),
    }


def listed_as_json(product: Product) -> dict[str, Any]:
    """A product of a listing."""
    return {
        "product_id": product.product_id,
        "name": product.name,
        "sha256": product.sha256,
        "classes": sorted(product.classes),
    }


def listing_as_json(listing: Listing) -> dict[str, Any]:
    """A part of the products, how many there are, and how many of each class and of each value of an attribute."""
    return {
        "products": [listed_as_json(product) for product in listing.products],
        "total": listing.total,
        "classes": [{"class": name, "products": count} for name, count in listing.classes],
        "facets": [
            {
                "attribute": facet.attribute,
                "values": [{"value": value, "products": count} for value, count in facet.values],
            }
            for facet in listing.facets
        ],
    }


def _item_as_json(item: ItemInfo) -> dict[str, Any]:
    # Written out: `asdict` copies deeply, and this is done for every answer.
    return {
        "crop_id": item.crop_id,
        "sha256": item.sha256,
        "kind": item.kind,
        "label": item.label,
        "score": item.score,
        "box": [round(side, 5) for side in item.box],
        "batch": item.batch,
    }


def _names(showing: Showing, neighbours: list[Any]) -> dict[str, str]:
    named = ((other.product_id, showing.window.name_of(other.product_id)) for other in neighbours)
    return {product_id: name for product_id, name in named if name}
