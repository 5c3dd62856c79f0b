"""Search: products near a query, from the current index, the tail of what is newer, less what was removed.

Filters come first and the k nearest are taken from what is left, so fewer than k are returned only when fewer
qualify.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa

from vetrina.errors import NotFound, SettingError
from vetrina.index.cell_tuning import FEW
from vetrina.index.projection import to_index_space
from vetrina.index.reader import Index
from vetrina.index.rows import ItemInfo, Rows, rows_from_tables
from vetrina.index.settings import KINDS, Penalties, kind_codes, penalty_matrix
from vetrina.search.answers import Answer, Neighbour, Pair, Products, Query, Standing
from vetrina.search.ways import (
    ONE_IN,
    Asked,
    Parts,
    Seen,
    Segment,
    ask_annoy,
    count_before,
    group,
    read_all,
    read_cells,
)

_MOST_GROUPED = 32
"""Filters whose items are remembered cell by cell, four bytes for each item that passes."""


class SearchEngine:
    """Search over one index version.

    Args:
        index: the index.
        tail: item tables (with `vector`, extractor space) not in the index yet. A product in the tail replaces all
            items that the index has of it.
        removed: ids never to show, in the index or in the tail.
        penalties: instead of those the index was built with.

    Raises:
        StoreError: the tail has vectors that cannot be used or are not of this index's extractor.
    """

    def __init__(
        self,
        index: Index,
        *,
        tail: Sequence[pa.Table] | pa.Table | None = None,
        removed: Collection[str] = (),
        penalties: Penalties | None = None,
    ) -> None:
        self.index = index
        if penalties is None:
            settings = index.manifest.settings
            penalties = Penalties(settings["crop_penalty"], settings["crop_crop_penalty"])
        self._penalties = penalty_matrix(penalties)
        self._least_penalties = self._penalties.min(axis=1)
        tables = [tail] if isinstance(tail, pa.Table) else list(tail or ())
        newer = rows_from_tables(tables, index.manifest.raw_dims, index.projection)
        replaced = [newer.product_id(product) for product in range(newer.products)]
        self._main = self._segment(index.rows, [*removed, *replaced])
        self._tail = self._segment(newer, removed)
        if index.cells is not None:
            # Shared by what `only` gives, so that all filters together are bounded.
            self._grouped = lru_cache(_MOST_GROUPED)(partial(group, index.cells))

    @staticmethod
    def _segment(rows: Rows, hidden: Collection[str]) -> Segment:
        alive = np.ones(rows.products, bool)
        alive[rows.find_all(hidden)] = False
        return Segment(rows, alive, int(alive.sum()))

    @property
    def _segments(self) -> Parts:
        return self._main, self._tail

    @property
    def products(self) -> int:
        """How many products can be found."""
        return sum(segment.count for segment in self._segments)

    @property
    def newer(self) -> int:
        """How many of these are newer than the index: they are searched beside it, one by one."""
        return self._tail.count

    @property
    def items(self) -> int:
        """How many pictures and crops an exact search without filters reads."""
        return sum(segment.read for segment in self._segments)

    def everything(self) -> Products:
        """All products that can be found."""
        found: list[tuple[str, str, str | None, np.ndarray]] = []
        for segment in self._segments:
            rows = segment.rows
            # Sorted by score within a product, so that the first is the best; whole pictures have neither.
            scores = np.array([np.nan if s is None else s for s in rows.table["score"].to_pylist()], np.float64)
            order = np.lexsort((-np.nan_to_num(scores, nan=-1.0), rows.product_of))
            best = order[rows.starts[:-1]]
            labels = rows.table["label"].to_pylist()
            pictures = [str(sha256) for sha256 in rows.table["sha256"].to_pylist()]
            for product in np.flatnonzero(segment.alive).tolist():
                first = int(rows.starts[product])
                found.append((rows.product_id(product), pictures[first], labels[best[product]], rows.vectors[first]))
        found.sort(key=lambda entry: entry[0])
        vectors = np.array([entry[3] for entry in found], np.float32).reshape(len(found), self.index.manifest.dims)
        return Products(
            [entry[0] for entry in found], [entry[1] for entry in found], [entry[2] for entry in found], vectors
        )

    def listed(self) -> Iterator[tuple[str, str, frozenset[str]]]:
        """Of every product that can be found: its id, the sha256 of its picture, and its labels."""
        for segment in self._segments:
            rows = segment.rows
            pictures = rows.table["sha256"].to_pylist()
            labels = rows.table["label"].to_pylist()
            for product in np.flatnonzero(segment.alive).tolist():
                own = labels[rows.starts[product] : rows.starts[product + 1]]
                found = frozenset(label for label in own if label is not None)
                yield rows.product_id(product), str(pictures[rows.starts[product]]), found

    def only(self, product_ids: Collection[str]) -> SearchEngine:
        """The same search over these products alone; unknown ids are ignored."""
        narrowed = copy.copy(self)
        segments = []
        for segment in self._segments:
            kept = np.zeros(segment.rows.products, bool)
            kept[segment.rows.find_all(product_ids)] = True
            kept &= segment.alive
            segments.append(Segment(segment.rows, kept, int(kept.sum())))
        narrowed._main, narrowed._tail = segments
        return narrowed

    @property
    def product_ids(self) -> list[str]:
        """The ids of all products that can be found."""
        shown = [(segment.rows, np.flatnonzero(segment.alive)) for segment in self._segments]
        return [product_id for rows, products in shown for product_id in rows.product_ids(products)]

    @property
    def labels(self) -> list[str]:
        """The labels of all items, sorted."""
        return sorted({label for segment in self._segments for label in segment.rows.labels})

    def product_query(self, product_id: str) -> Query:
        """A query with all items of a product.

        Raises:
            NotFound: no such product, or it was removed; names ids that look alike.
        """
        rows, at = self._rows_of(product_id)
        kinds = tuple(KINDS[code] for code in rows.kinds[at])
        labels = frozenset(rows.labels_of(at))
        indexed = rows is self._main.rows
        return Query(np.array(rows.vectors[at]), kinds, projected=True, stored=indexed, labels=labels)

    def projected(self, query: Query) -> Query:
        """The same query in index space: for whoever searches with it several times. Raises SettingError."""
        return replace(query, vectors=self._prepared(query)[0], projected=True)

    def pairs(self, query: Query, product_id: str) -> list[Pair]:
        """Every pair of a query row and an item of a product, best first. Raises NotFound, SettingError."""
        vectors, kinds = self._prepared(query)
        rows, at = self._rows_of(product_id)
        cosines = np.clip(vectors.astype(np.float64) @ rows.vectors[at].astype(np.float64).T, -1.0, 1.0)
        losses = self._penalties[kinds[:, None], rows.kinds[at][None, :]]
        items = rows.infos(np.arange(at.start, at.stop))
        found = [
            Pair(row, item, float(cosines[row, place]), float(losses[row, place]))
            for row in range(len(vectors))
            for place, item in enumerate(items)
        ]
        return sorted(found, key=lambda pair: pair.penalty - pair.cosine)

    def in_tail(self, product_id: str) -> bool:
        """Whether a product is newer than the index. Raises NotFound as `product_query`."""
        return self._rows_of(product_id)[0] is self._tail.rows

    def items_of(self, product_id: str) -> list[ItemInfo]:
        """The items of a product, its whole picture first. Raises NotFound as `product_query`."""
        rows, at = self._rows_of(product_id)
        return rows.infos(np.arange(at.start, at.stop))

    def _rows_of(self, product_id: str) -> tuple[Rows, slice]:
        for segment in self._segments:
            product = segment.rows.find(product_id)
            if product is not None and segment.alive[product]:
                return segment.rows, slice(int(segment.rows.starts[product]), int(segment.rows.starts[product + 1]))
        raise NotFound(self.absence(product_id))

    def absence(self, product_id: str) -> str:
        """That there is no such product, in words, with the ids that look alike."""
        close = self._alike(product_id)
        hint = f"; did you mean {', '.join(map(repr, close))}?" if close else ""
        return f"There is no product {product_id!r} in the index{hint}"

    def absent(self, product_ids: Collection[str]) -> list[str]:
        """Those of the ids that no product that can be found has, sorted."""
        shown: set[str] = set()
        for segment in self._segments:
            found = segment.rows.find_all(product_ids)
            shown.update(segment.rows.product_ids(found[segment.alive[found]]))
        return sorted(set(product_ids) - shown)

    def _alike(self, product_id: str) -> list[str]:
        """Ids similar to an unknown one: among those next to it in the order, and all when they are few."""
        near: set[str] = set()
        for segment in self._segments:
            rows, at = segment.rows, segment.rows.position(product_id)
            low, high = (0, rows.products) if rows.products <= 2000 else (max(0, at - 50), at + 50)
            shown = (p for p in range(low, min(high, rows.products)) if segment.alive[p])
            near.update(rows.product_id(product) for product in shown)
        close = difflib.get_close_matches(product_id, sorted(near), n=50, cutoff=0.6)

        def rank(other: str) -> tuple[float, int, str]:
            ratio = difflib.SequenceMatcher(None, product_id, other).ratio()
            differ = (at for at, (a, b) in enumerate(zip(product_id, other, strict=False)) if a != b)
            return -ratio, -next(differ, min(len(product_id), len(other))), other

        return sorted(close, key=rank)[:3]

    def search(
        self,
        query: Query,
        k: int,
        *,
        exclude: Collection[str] = (),
        classes: Collection[str] | None = None,
        exact: bool = False,
        min_score: float | None = None,
    ) -> Answer:
        """The k products nearest to the query.

        Args:
            exclude: product ids not to return (the query's own, say).
            classes: only items with one of these labels count; `None` means all items. An empty collection
                leaves nothing.
            exact: compare with everything even when the index serves approximately.
            min_score: leave out what scores less; the only filter after which fewer than k may come although
                more are available.

        Raises:
            SettingError: k below 1, or a query that does not fit the index.
        """
        if k < 1:
            raise SettingError(f"The number of neighbours is {k}; it must be at least 1")
        asked = self._asked(query, k, exclude, classes, min_score)
        seen = None if exact else self._approximately(asked, query)
        if seen is None:
            seen = read_all(self._segments, asked)
        neighbours = _best(seen, asked)
        return Answer(neighbours, seen.available, seen.exact, self.index.version, seen.search_k, seen.read)

    def standing(self, query: Query, product_id: str, *, exclude: Collection[str] = ()) -> Standing:
        """Where a product stands, without listing those before it. Raises NotFound, SettingError."""
        rows, at = self._rows_of(product_id)
        product = int(rows.product_of[at.start])
        asked = self._asked(query, 1, exclude)
        before, available = count_before(self._segments, asked, rows, product)
        seen = self._approximately(replace(asked, k=before + 1), query)
        # Of those before it the index sees some at most, so it is found at its place where it is seen at all.
        found = seen is None or any(
            segment.rows is rows and product in pairs.products.tolist() for segment, pairs in seen.found
        )
        return Standing(before + 1, available, found)

    def visited(self, query: Query, answer: Answer) -> int:
        """How many pictures and crops were compared with each row of the query for an unfiltered answer, on average.

        Approximate searches are done again to count, so this is for measuring. Of one that Annoy had to be asked
        several times for, the last time counts: it looks at all that the earlier ones did.
        """
        if answer.read:
            return answer.read + self._tail.read
        if answer.exact:
            return self.items
        vectors, _ = self._prepared(query)
        seen = [self.index.annoy.inspected(vector, answer.search_k) for vector in vectors]
        return round(sum(seen) / len(seen)) + self._tail.read

    def _asked(
        self,
        query: Query,
        k: int,
        exclude: Collection[str],
        classes: Collection[str] | None = None,
        min_score: float | None = None,
    ) -> Asked:
        """A question, checked. Raises SettingError for a query that does not fit the index."""
        vectors, kinds = self._prepared(query)
        return Asked(
            vectors,
            kinds,
            k,
            hidden=(self._main.rows.find_all(exclude), self._tail.rows.find_all(exclude)),
            floor=-np.inf if min_score is None else min_score,
            classes=None if classes is None else frozenset(classes),
            penalties=self._penalties,
            least=self._least_penalties[kinds],
        )

    def _approximately(self, asked: Asked, query: Query) -> Seen | None:
        """Without reading all that pass; `None` where only that meets the recall target, or where it is as fast."""
        manifest, cells = self.index.manifest, self.index.cells
        if manifest.serve_with == "exact":
            return None
        if cells is not None and (asked.classes is not None or self._main.thinned):
            grouping = self._grouped(self._main, asked.classes)
            if len(grouping.rows) <= FEW or asked.k * ONE_IN > grouping.products:
                return None
            return read_cells(
                self._segments, asked, cells, grouping, manifest.cells["share"], manifest.settings["recall_k"]
            )
        # Among few products Annoy would have to be asked for nearly all items until k of them are found.
        if asked.classes is not None or self._main.narrow:
            return None
        search_k = self._search_k(query)
        if search_k is None:
            return None
        deeper = max(1.0, asked.k / manifest.settings["recall_k"])
        return ask_annoy(self._segments, asked, self.index.annoy, search_k * deeper)

    def _search_k(self, query: Query) -> int | None:
        """How many nodes Annoy has to visit for a query; `None` where only exact search meets the recall target."""
        manifest = self.index.manifest
        if not query.labels.isdisjoint(manifest.exact_classes):
            return None
        for_items: int = manifest.annoy["search_k"]
        return for_items if query.stored else manifest.annoy.get("outside_search_k", for_items)

    def _prepared(self, query: Query) -> tuple[np.ndarray, np.ndarray]:
        """The query in index space, float32 [m, d] unit rows, and its kind codes, uint8 [m]."""
        vectors = np.asarray(query.vectors)
        manifest = self.index.manifest
        dims = manifest.dims if query.projected else manifest.raw_dims
        if vectors.ndim != 2 or len(vectors) == 0 or vectors.shape[1] != dims:
            raise SettingError(
                f"The query has shape {vectors.shape}; this index needs one or more rows of {dims} numbers "
                "from the extractor it was built with"
            )
        if len(query.kinds) != len(vectors):
            raise SettingError(f"The query has {len(vectors)} rows but {len(query.kinds)} kinds")
        kinds = kind_codes(query.kinds)
        wide = vectors.astype(np.float64)
        squares = np.add.reduce(wide * wide, axis=1)
        if not all(1e-18 < square < np.inf for square in squares.tolist()):
            raise SettingError("The query has a row that is zero or not finite; embed the picture again")
        if query.projected:
            return vectors.astype(np.float32, copy=False), kinds
        return to_index_space(vectors, self.index.projection), kinds


def _best(seen: Seen, asked: Asked) -> list[Neighbour]:
    """The k best, best first, equal scores by product id."""
    by_score = sorted(
        (-score, number, at)
        for number, (_, pairs) in enumerate(seen.found)
        for at, score in enumerate(pairs.scores.tolist())
        if score >= asked.floor
    )
    worst = by_score[min(asked.k, len(by_score)) - 1][0] if by_score else 0.0
    ranked = []
    for negative, number, at in by_score:
        if negative > worst:
            break
        segment, pairs = seen.found[number]
        ranked.append((negative, segment.rows.product_id(int(pairs.products[at])), number, at))
    neighbours = []
    for negative, product_id, number, at in sorted(ranked)[: asked.k]:
        segment, pairs = seen.found[number]
        neighbours.append(
            Neighbour(
                product_id=product_id,
                score=-negative,
                cosine=float(pairs.cosines[at]),
                query_row=int(pairs.query_rows[at]),
                item=segment.rows.info(int(pairs.items[at])),
            )
        )
    return neighbours
