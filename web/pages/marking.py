"""What was detected on a picture, as a page marks it and lets a person choose it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vetrina.detection.crops import Box, Crop
from web.pages.picking import Query
from web.pages.wording import box_text


@dataclass(frozen=True, slots=True)
class Part:
    """A detected thing.

    Attributes:
        number: its place among all that were detected, from 0.
        score: how sure the detector is, 0 to 1.
        query: the parameters of the photo page that search by it.
        chosen: the page shows what looks like it.
    """

    number: int
    label: str
    score: float
    box: Box
    query: Query
    chosen: bool = False


def parts_of_product(product_id: str, items: Sequence[dict[str, Any]], chosen: str = "") -> list[Part]:
    """What was detected on a product's picture, from its items as the API says them; `chosen` is a box's text."""
    crops = [item for item in items if item["kind"] == "crop"]
    found = []
    for number, item in enumerate(crops):
        text = box_text(item["box"])
        query = [("product", product_id), ("box", text)]
        found.append(Part(number, item["label"], item["score"], Box(*item["box"]), query, text == chosen))
    return found


def parts_of_photo(detected: Sequence[Crop], chosen: object = None) -> list[Part]:
    """What was detected on a photo; `chosen` is the number of one."""
    return [
        Part(number, crop.label, crop.score, crop.box, [("object", str(number))], number == chosen)
        for number, crop in enumerate(detected)
    ]


def marked(item: Mapping[str, Any]) -> list[Sequence[float]]:
    """What is outlined on the picture of a result or of an item: the part that it is, unless that is the whole."""
    return [item["box"]] if item.get("matched", item.get("kind")) == "crop" else []


def large_first(parts: Sequence[Part]) -> list[Part]:
    """The order to draw parts in, so that a small one lies on top of a large one."""
    return sorted(parts, key=lambda part: -part.box.area)
