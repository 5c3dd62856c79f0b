"""How products and figures are said on the pages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vetrina.search.attributes import is_name
from web.shown.showing import Showing

_PRICES = ("price", "sale_price", "preis", "prix", "prezzo", "precio")


class Wording:
    """The words for the products of what is shown."""

    def __init__(self, showing: Showing) -> None:
        self._window = showing.window
        self._few = showing.goods.columns.few

    def name(self, product_id: str) -> str:
        """What a product is called; its id where it has no name."""
        return self._window.name_of(product_id) or product_id

    def aside(self, product_id: str) -> str:
        """What stands beside a name: the price, and the first of the attributes that products share."""
        said = self._window.attributes.get(product_id, {})
        price = next((said[name] for name in said if name.lower() in _PRICES), None)
        kind = next((said[name] for name in self._few if name in said), None)
        return " · ".join(part for part in (price, kind) if part)

    def details(self, product_id: str) -> list[tuple[str, str]]:
        """All that the catalog says of a product besides its name."""
        said = self._window.attributes.get(product_id, {})
        return [(name, value) for name, value in said.items() if not is_name(name)]


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number of things, as "1 product" or "1,204 products"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def short(number: float) -> str:
    """A number without more digits than it needs."""
    return f"{number:,.2f}".rstrip("0").rstrip(".")


def box_text(box: Sequence[float]) -> str:
    """A box as addresses write it: ymin,xmin,ymax,xmax in shares."""
    return ",".join(f"{min(max(side, 0.0), 1.0):.4f}" for side in box)


def moment(text: str) -> str:
    """A time as ISO 8601 writes it, for people: `25 November 2026, 16:16 UTC`."""
    when = datetime.fromisoformat(text)
    return f"{when.day} {when:%B %Y, %H:%M} {when.tzname() or ''}".strip()
