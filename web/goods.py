"""The goods of a window as lists: search by name or id, and how many there are of each class."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from vetrina.search.filters import Filter
from vetrina.search.window import ShopWindow


@dataclass(frozen=True, slots=True)
class Product:
    """A product that can be found; `sha256` is that of its picture."""

    product_id: str
    name: str | None
    sha256: str
    classes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Listing:
    """A part of the products that match, how many match in all, and how many of them there are of each class."""

    products: list[Product]
    total: int
    classes: list[tuple[str, int]]


class Goods:
    """All products of a window, by name and then id."""

    def __init__(self, window: ShopWindow) -> None:
        self._window = window
        found = [
            Product(product_id, window.name_of(product_id), sha256, classes)
            for product_id, sha256, classes in window.engine.listed()
        ]
        found.sort(key=lambda product: ((product.name or product.product_id).casefold(), product.product_id))
        self._all = found
        self._texts = [f"{product.name or ''}\n{product.product_id}".casefold() for product in found]
        self._by_id = {product.product_id: product for product in found}
        self._pictures = frozenset(product.sha256 for product in found)

    def __len__(self) -> int:
        return len(self._all)

    def product(self, product_id: str) -> Product | None:
        """A product; None if there is none of this id."""
        return self._by_id.get(product_id)

    def shows(self, sha256: str) -> bool:
        """Whether a product has this picture: others are nobody's business."""
        return sha256 in self._pictures

    def listing(
        self,
        text: str = "",
        class_name: str | None = None,
        where: Filter | None = None,
        *,
        start: int = 0,
        count: int = 60,
    ) -> Listing:
        """Products whose name or id has all the words, of a class and passing a filter.

        Raises:
            SettingError: unknown class.
            NotFound: unknown attribute.
        """
        words = text.casefold().split()
        passing = None if where is None else set(self._window.passing(where).product_ids)
        matching = [
            product
            for product, own in zip(self._all, self._texts, strict=True)
            if all(word in own for word in words) and (passing is None or product.product_id in passing)
        ]
        counts = Counter(name for product in matching for name in product.classes)
        classes = self._window.classes_within(class_name)
        if classes is not None:
            matching = [product for product in matching if not product.classes.isdisjoint(classes)]
        ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        return Listing(matching[start : start + count], len(matching), ranked)
