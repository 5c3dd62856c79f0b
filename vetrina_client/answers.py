"""Answers of the API as data. What a newer server says besides is passed over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Box = tuple[float, float, float, float]
"""ymin, xmin, ymax, xmax as shares of a picture's height and width, 0 to 1."""
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """A picture or a crop of a product.

    Attributes:
        kind: "whole" or "crop".
        label: Open Images class of a crop.
        score: the detector's confidence, 0 to 1.
    """

    sha256: str
    kind: str
    label: str | None
    score: float | None
    box: Box

    @staticmethod
    def of(said: Json) -> Item:
        """From JSON."""
        return Item(said["sha256"], said["kind"], said["label"], said["score"], _box(said))


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the shop.

    Attributes:
        name: what the catalog calls it.
        sha256: of its picture, for `Vetrina.picture`.
        attributes: what the catalog says of it.
        items: its whole picture, then its crops.
        newer_than_index: it came after the index was built, and is found all the same.
    """

    product_id: str
    name: str | None
    sha256: str
    attributes: dict[str, str]
    items: list[Item]
    newer_than_index: bool

    @staticmethod
    def of(said: Json) -> Product:
        """From JSON."""
        items = [Item.of(item) for item in said["items"]]
        return Product(
            said["product_id"], said["name"], said["sha256"], dict(said["attributes"]), items, said["newer_than_index"]
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A product that was found.

    Attributes:
        score: likeness, at most 1; the order.
        class_name: Open Images class of what matched; None of a whole picture.
        matched: "whole" or "crop"; which part of its picture is the `box`.
        because_of: of a photo: what on it the product is like.
    """

    product_id: str
    name: str | None
    score: float
    class_name: str | None
    matched: str
    box: Box
    sha256: str
    because_of: str | None

    @staticmethod
    def of(said: Json) -> Found:
        """From JSON."""
        return Found(
            said["product_id"],
            said["name"],
            said["score"],
            said["class"],
            said["matched"],
            _box(said),
            said["sha256"],
            said.get("because_of"),
        )


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A near-duplicate that was left out of the results, and the one it repeats; None: the product that asked."""

    product_id: str
    same_as: str | None


@dataclass(frozen=True, slots=True)
class Detection:
    """A thing that was detected on a photo; `number` chooses it."""

    number: int
    class_name: str
    score: float
    box: Box


@dataclass(frozen=True, slots=True)
class Photo:
    """The photo that was searched with, in pixels, and what was detected on it."""

    width: int
    height: int
    detections: list[Detection]

    @staticmethod
    def of(said: Json) -> Photo:
        """From JSON."""
        seen = [Detection(one["object"], one["class"], one["score"], _box(one)) for one in said["detections"]]
        return Photo(said["width"], said["height"], seen)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found, best first.

    Attributes:
        query: the product or the photo that asked.
        available: products that meet the conditions; fewer than k are found only when fewer do.
        nothing_similar: of a photo: nothing in the shop is similar, however near the nearest are; None: not known.
        likeness: of a photo: how like the shop's goods it is.
        exact: everything was compared.
        missed: where `exact` was asked for: ids that the index would have missed.
        index_version: what answered.
    """

    query: Product | Photo
    similar: list[Found]
    left_out: list[LeftOut]
    available: int
    nothing_similar: bool | None
    likeness: float | None
    exact: bool
    missed: list[str] | None
    index_version: str

    @staticmethod
    def of(said: Json) -> Answer:
        """From JSON."""
        query = said["query"]
        return Answer(
            query=Photo.of(query) if "detections" in query else Product.of(query),
            similar=[Found.of(one) for one in said["similar"]],
            left_out=[LeftOut(one["product_id"], one["same_as"]) for one in said["left_out"]],
            available=said["available"],
            nothing_similar=said["nothing_similar"],
            likeness=said["likeness"],
            exact=said["exact"],
            missed=said["missed"],
            index_version=said["index_version"],
        )


@dataclass(frozen=True, slots=True)
class ListedProduct:
    """A product of a listing, with the classes of what was detected on its picture."""

    product_id: str
    name: str | None
    sha256: str
    classes: list[str]


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How many products there are of a class."""

    class_name: str
    products: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A part of the products that match, how many match in all, and how many there are of each class."""

    products: list[ListedProduct]
    total: int
    classes: list[ClassCount]

    @staticmethod
    def of(said: Json) -> Listing:
        """From JSON."""
        products = [
            ListedProduct(one["product_id"], one["name"], one["sha256"], list(one["classes"]))
            for one in said["products"]
        ]
        return Listing(products, said["total"], [ClassCount(one["class"], one["products"]) for one in said["classes"]])


def _box(said: Json) -> Box:
    ymin, xmin, ymax, xmax = said["box"]
    return ymin, xmin, ymax, xmax
