"""What the API answers, described: for its document, and for the tests that hold real answers against it.

Answers are sent as they are made (`web.sending`), not through these models: checking each would cost more than finding.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

Box = Annotated[
    list[float],
    Field(
        min_length=4,
        max_length=4,
        description="A part of a picture: ymin, xmin, ymax, xmax as shares of its height and width, 0 to 1.",
    ),
]
ProductId = Annotated[str, Field(description="The product's id, as the catalog gives it; any text.")]
Name = Annotated[str | None, Field(description="What the catalog calls it.")]
Sha256 = Annotated[str, Field(description="Of the picture's file, hex; see GET /api/v1/pictures/{sha256}.")]
Kind = Annotated[Literal["whole", "crop"], Field(description="The whole picture, or the crop of a detected thing.")]
ClassName = Annotated[str | None, Field(description="Open Images class of the crop; null of a whole picture.")]
Batch = Annotated[str, Field(description="The batch that brought it.")]


class Problem(BaseModel):
    """An answer that is an error (RFC 9457)."""

    type: str = Field(description="Stable: urn:vetrina:problem:KIND.")
    title: str = Field(description="What kind of problem it is, the same each time.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="This problem, and what to do.")
    reason: str | None = Field(None, description="Of a picture that cannot be used: a stable code such as truncated.")


class Item(BaseModel):
    """A picture or a crop of a product."""

    crop_id: str
    sha256: Sha256
    kind: Kind
    label: ClassName
    score: float | None = Field(description="The detector's confidence, 0 to 1; null of a whole picture.")
    box: Box
    batch: Batch


class Product(BaseModel):
    """A product with its attributes, picture and crops."""

    product_id: ProductId
    name: Name
    sha256: Sha256
    attributes: dict[str, str] = Field(description="What the catalog says of it.")
    items: list[Item] = Field(description="Its whole picture, then its crops.")
    newer_than_index: bool = Field(description="It came after the index was built, and is compared exactly beside it.")


class ListedProduct(BaseModel):
    """A product of a listing."""

    product_id: ProductId
    name: Name
    sha256: Sha256
    classes: list[str] = Field(description="Open Images classes of what was detected on its picture.")


class ClassCount(BaseModel):
    """How many products there are of a class."""

    class_: str = Field(alias="class")
    products: int


class ValueCount(BaseModel):
    """How many products have a value of an attribute."""

    value: str
    products: int


class Facet(BaseModel):
    """An attribute of the catalogs that has few values."""

    attribute: str
    values: list[ValueCount]


class ProductList(BaseModel):
    """Products by name, with how many there are of each class and of each value of an attribute."""

    products: list[ListedProduct]
    total: int = Field(description="How many match in all; the list holds `count` of them from `start` on.")
    classes: list[ClassCount] = Field(description="Of all that match, whatever class was asked for; most first.")
    facets: list[Facet] = Field(description="Of all that match, by the attributes that have few values; most first.")


class Neighbour(BaseModel):
    """A product that was found."""

    product_id: ProductId
    name: Name
    score: float = Field(description="Likeness, at most 1: the cosine of the best pair less its penalty; the order.")
    class_: ClassName = Field(alias="class")
    matched: Kind
    box: Box
    sha256: Sha256
    batch: Batch


class PhotoNeighbour(Neighbour):
    """A product that was found for a photo."""

    because_of: str = Field(description="What on the photo it is like: a class, `whole photo`, or `chosen part`.")


class LeftOut(BaseModel):
    """A product that was left out because it shows the same picture again."""

    product_id: ProductId
    same_as: str | None = Field(description="The better result whose picture it shows; null: the one asked with.")


class _Answer(BaseModel):
    left_out: list[LeftOut] = Field(description="Near-duplicates that were left out; see `duplicates`.")
    available: int = Field(description="How many products meet the conditions; fewer than k come only when fewer do.")
    nothing_similar: bool | None = Field(description="Of a photo: nothing in the shop is similar. Null: not known.")
    likeness: float | None = Field(description="Of a photo: how like the shop's goods it is, −1 to 1.")
    min_similarity: float | None = Field(description="The likeness below which nothing is similar.")
    exact: bool = Field(description="Everything was compared: nothing can have been missed.")
    missed: list[str] | None = Field(description="Where `exact` was asked for: products that the index would miss.")
    index_version: str = Field(description="The index that answered, 16 hex digits.")
    problems: list[str] = Field(
        description="Newer index versions that had to be skipped, and why; ids to exclude that the shop does not have."
    )


class SimilarAnswer(_Answer):
    """The products most similar to a product, best first."""

    query: Product
    similar: list[Neighbour]


class Detection(BaseModel):
    """A thing that was detected on a photo."""

    object: int = Field(description="Its number, by which `object=` chooses it; from 0.")
    class_: str = Field(alias="class")
    score: float = Field(description="The detector's confidence, 0 to 1.")
    box: Box


class Photo(BaseModel):
    """The photo that was searched with."""

    width: int = Field(description="In pixels.")
    height: int = Field(description="In pixels.")
    detections: list[Detection] = Field(description="What was detected on it, best first.")


class SearchAnswer(_Answer):
    """The products most similar to a photo, best first."""

    query: Photo
    similar: list[PhotoNeighbour]


class Origin(BaseModel):
    """Where a product comes from."""

    batch: Batch
    catalog: str
    source: str = Field(description="The catalog's file or address.")
    registered_at: str = Field(description="When the batch was registered, ISO 8601.")
    line: int | None = Field(description="In the catalog; null where its format has no lines.")
    picture: str = Field(description="The address that the catalog gives.")
    attributes: str = Field(description="What else it says, as JSON.")


class Side(BaseModel):
    """A product with where it comes from."""

    product_id: ProductId
    name: Name
    origin: Origin


class Pair(BaseModel):
    """A picture or crop of one product against one of the other."""

    cosine: float = Field(description="Of the two vectors in the index's space, −1 to 1.")
    distance: float = Field(description="The same as an angular distance: √(2 − 2 · cosine).")
    penalty: float = Field(description="What the pair loses because one or both are crops.")
    query: Item
    result: Item


class IndexFacts(BaseModel):
    """The index that answered."""

    version: str
    built_at: str = Field(description="ISO 8601.")
    serve_with: Literal["annoy", "exact"]
    dims: int = Field(description="Of the index's vectors.")
    raw_dims: int = Field(description="Of the extractor's.")
    projection: dict[str, Any] | None = Field(description="dims, and variance_kept from 0 to 1.")


class ExplainAnswer(BaseModel):
    """Why a product is a result of another."""

    query: Side
    result: Side
    score: float = Field(description="Cosine of the best pair less its penalty.")
    rank: int = Field(description="Its place among all products, compared exactly; 1 is the best.")
    of: int = Field(description="How many products there are to compare with.")
    found: bool = Field(description="Whether the index, as it serves, finds it at that place.")
    newer_than_index: bool
    pairs: list[Pair] = Field(description="Every pair, best first; the first one decides.")
    index: IndexFacts
    models: dict[str, str] = Field(description="Role → fingerprint of the model.")
    problems: list[str]


class Alive(BaseModel):
    """The process lives."""

    status: Literal["alive"]


class Ready(BaseModel):
    """There is something to show."""

    status: Literal["ready"]
    index_version: str
    products: int = Field(description="How many can be found.")
    last_look: str = Field(description="When the store was last seen, ISO 8601 UTC.")
    problem: str | None = Field(description="Why the newest look at the store failed; what was there is shown on.")
