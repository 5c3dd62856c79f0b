"""What similar products a page shows, and under which terms they were asked for."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Query

from vetrina.search.conditions import Conditions
from web.pages.picking import Picked
from web.pages.picking import Query as Parameters
from web.shop import Shop

COUNTS = (12, 24, 48, 96)
"""How many results a person may choose to see."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How results are asked for, besides what was picked.

    Attributes:
        duplicates: also products that show the same picture again; else it is as the shop has it.
        exact: everything is compared, and what the index misses is said.
    """

    k: int
    duplicates: bool
    exact: bool

    @property
    def counts(self) -> list[int]:
        """How many results there are to choose from, this number among them."""
        return sorted({*COUNTS, self.k})

    @property
    def query(self) -> Parameters:
        """The parameters that say this; those that say nothing new are left out."""
        ticked = [(name, "1") for name, on in (("duplicates", self.duplicates), ("exact", self.exact)) if on]
        return ([("k", str(self.k))] if self.k != COUNTS[0] else []) + ticked

    def conditions(self, shop: Shop, picked: Picked) -> Conditions:
        """What results must meet. Raises SettingError."""
        duplicates = self.duplicates or None
        return shop.usual.conditions(picked.class_name or None, picked.filter_text, duplicates, self.exact)


async def terms(
    k: Annotated[int, Query(ge=1, le=200)] = COUNTS[0], duplicates: bool = False, exact: bool = False
) -> Terms:
    """The parameters that pages of results take."""
    return Terms(k, duplicates, exact)


TheTerms = Annotated[Terms, Depends(terms)]


class Results:
    """An answer as a page draws it.

    Attributes:
        found: the similar products, best first, as the API says them.
        available: how many products pass what was picked.
        missed: what the index alone does not find; None where not everything was compared.
        nothing_similar: nothing in the shop is similar to the photo, however near the nearest are.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        self.found: list[dict[str, Any]] = answer["similar"]
        self.available: int = answer["available"]
        self.missed: list[str] | None = answer["missed"]
        self.nothing_similar: bool = bool(answer["nothing_similar"])
        self._again: dict[str | None, list[str]] = defaultdict(list)
        for left_out in answer["left_out"]:
            self._again[left_out["same_as"]].append(left_out["product_id"])

    @property
    def same(self) -> list[str]:
        """Products that show the picture of the query again, and were left out."""
        return self._again.get(None, [])

    def again(self, product_id: str) -> list[str]:
        """Products that show the picture of a result again, and were left out."""
        return self._again.get(product_id, [])
