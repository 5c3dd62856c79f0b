"""What the results of a search must meet, and what holds where a question does not say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vetrina.search.filters import Filter, parse_filter


@dataclass(frozen=True, slots=True)
class Conditions:
    """What results must meet.

    Attributes:
        class_name: they have an item of this class, or of one within it.
        where: their catalog attributes pass.
        distinct: none is a near-duplicate of the product that asks, and of those that are one another's near-duplicates
            there is the best only.
        exact: everything is compared.
        min_similarity: likeness below which nothing is similar to a photo; None: as calibrated for the index.
        exclude: ids of products that are not wanted. Ids that no product has are told in the answer.
    """

    class_name: str | None = None
    where: Filter | None = None
    distinct: bool = False
    exact: bool = False
    min_similarity: float | None = None
    exclude: frozenset[str] = frozenset()


ANY = Conditions()


@dataclass(frozen=True, slots=True)
class Usual:
    """What holds where a question says nothing of it; the attributes are those of `Conditions`."""

    distinct: bool
    min_similarity: float | None

    def conditions(
        self,
        class_name: str | None = None,
        where: str | None = None,
        duplicates: bool | None = None,
        exact: bool = False,
        min_similarity: float | None = None,
        exclude: Iterable[str] = (),
    ) -> Conditions:
        """The conditions of a question; `duplicates` says the opposite of `distinct`. Raises SettingError."""
        return Conditions(
            class_name=class_name,
            where=None if where is None else parse_filter(where),
            distinct=self.distinct if duplicates is None else not duplicates,
            exact=exact,
            min_similarity=self.min_similarity if min_similarity is None else min_similarity,
            exclude=frozenset(exclude),
        )
