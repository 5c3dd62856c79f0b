"""The goods of a window as lists: search by name or id, and how many there are of each class and attribute."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vetrina.search.filters import Filter
from vetrina.search.window import ShopWindow
from web.shown.facets import Columns, Facet


@dataclass(frozen=True, slots=True)
class Product:
    """A product that can be found; `sha256` is that of its picture."""

    product_id: str
    name: str | None
    sha256: str
    classes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Listing:
    """A part of the products that match.

    Attributes:
        total: how many match in all.
        classes: how many there are of each class, if no class were asked for.
        facets: how many have each value of the attributes that have few, each as if it alone were not asked for.
    """

    products: list[Product]
    total: int
    classes: list[tuple[str, int]]
    facets: list[Facet]


class Goods:
    """All products of a window, by name and then id.

    Attributes:
        columns: what the catalogs say of them, in this order.
        facets: the attributes that have few values, over all products.
        classes: all that their pictures show.
    """

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
        self.columns = Columns([window.attributes.get(product.product_id, {}) for product in found])
        self.facets = [self.columns.facet(name, np.ones(len(found), bool)) for name in self.columns.few]
        self.classes = sorted({name for product in found for name in product.classes})
        codes = {name: code for code, name in enumerate(self.classes)}
        # Every pair of a product and one of its classes, as two columns.
        pairs = [(place, codes[name]) for place, product in enumerate(found) for name in product.classes]
        self._class_of = np.array(pairs, np.int32).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._all)

    def product(self, product_id: str) -> Product | None:
        """A product; None if there is none of this id."""
        return self._by_id.get(product_id)

    def first(self, count: int) -> list[Product]:
        """The first products, or all there are."""
        return self._all[:count]

    def shows(self, sha256: str) -> bool:
        """Whether a product has this picture: others are nobody's business."""
        return sha256 in self._pictures

    def listing(
        self,
        text: str = "",
        class_name: str | None = None,
        where: Filter | None = None,
        *,
        narrowed: Mapping[str, Filter] | None = None,
        start: int = 0,
        count: int = 60,
    ) -> Listing:
        """Products whose name or id has all the words, of a class and passing a filter.

        Args:
            narrowed: further filters, each by the one attribute that it asks for.

        Raises:
            SettingError: unknown class.
            NotFound: unknown attribute.
        """
        asked = self._having(text) & self._passing(where)
        in_class = self._of_class(self._window.classes_within(class_name))
        masks = {name: self.columns.passing(name, own) for name, own in (narrowed or {}).items()}
        passing = asked & _all_of(masks, len(self))
        places = np.flatnonzero(passing & in_class)
        facets = [
            self.columns.facet(name, asked & in_class & _all_of(masks, len(self), but=name))
            for name in self.columns.few
        ]
        products = [self._all[place] for place in places[start : start + count].tolist()]
        return Listing(products, len(places), self._counted(passing), facets)

    def _having(self, text: str) -> np.ndarray:
        words = dict.fromkeys(text.casefold().split())
        if not words:
            return np.ones(len(self), bool)
        places: Sequence[int] = range(len(self))
        for word in words:
            places = [place for place in places if word in self._texts[place]]
        found = np.zeros(len(self), bool)
        found[places] = True
        return found

    def _passing(self, where: Filter | None) -> np.ndarray:
        if where is None:
            return np.ones(len(self), bool)
        passing = set(self._window.passing(where).product_ids)
        return np.array([product.product_id in passing for product in self._all], bool)

    def _of_class(self, names: Collection[str] | None) -> np.ndarray:
        if names is None:
            return np.ones(len(self), bool)
        wanted = np.array([name in names for name in self.classes], bool)
        found = np.zeros(len(self), bool)
        found[self._class_of[wanted[self._class_of[:, 1]], 0]] = True
        return found

    def _counted(self, mask: np.ndarray) -> list[tuple[str, int]]:
        counts = np.bincount(self._class_of[mask[self._class_of[:, 0]], 1], minlength=len(self.classes))
        found = [(name, int(count)) for name, count in zip(self.classes, counts, strict=True) if count]
        return sorted(found, key=lambda entry: (-entry[1], entry[0]))


def _all_of(masks: Mapping[str, np.ndarray], n: int, but: str | None = None) -> np.ndarray:
    found = np.ones(n, bool)
    for name, mask in masks.items():
        if name != but:
            found &= mask
    return found
