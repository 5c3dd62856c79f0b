"""Search: products near a query, from the current index, the tail of what is newer, less what was removed.

Filters come first and the k nearest are taken from what is left, so fewer than k are returned only when fewer
qualify.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vetrina.errors import NotFound, SettingError
from vetrina.index.projection import to_index_space
from vetrina.index.reader import Index
from vetrina.index.rows import ItemInfo, Rows, rows_from_tables
from vetrina.index.scoring import ROUNDING, Pairs, among, at_least_kth, best_pairs, scan
from vetrina.index.settings import KINDS, Penalties, kind_codes, penalty_matrix
from vetrina.search.answers import Answer, Neighbour, Pair, Products, Query

_FIRST_CANDIDATES = 32
_SHARE = 8  # beyond one item in eight, reading all of them in order is faster than Annoy or than picking them


@dataclass(slots=True)
class _Segment:
    """Some rows and which of their products may be shown: bool [P], and how many those are."""

    rows: Rows
    alive: np.ndarray
    count: int

    @property
    def narrow(self) -> bool:
        """Whether so few may be shown that reading them one by one is faster than reading all in order."""
        return self.count * _SHARE <= self.rows.products


_Found = tuple[_Segment, Pairs]


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
        tables = [tail] if isinstance(tail, pa.Table) else list(tail or ())
        newer = rows_from_tables(tables, index.manifest.raw_dims, index.projection)
        replaced = [newer.product_id(product) for product in range(newer.products)]
        self._main = self._segment(index.rows, [*removed, *replaced])
        self._tail = self._segment(newer, removed)
        self._segments = (self._main, self._tail)

    @staticmethod
    def _segment(rows: Rows, hidden: Collection[str]) -> _Segment:
        alive = np.ones(rows.products, bool)
        alive[rows.find_all(hidden)] = False
        return _Segment(rows, alive, int(alive.sum()))

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
        return sum(len(segment.rows) for segment in self._segments)

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
            segments.append(_Segment(segment.rows, kept, int(kept.sum())))
        narrowed._main, narrowed._tail = segments
        narrowed._segments = (narrowed._main, narrowed._tail)
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
        return Query(np.array(rows.vectors[at]), kinds, projected=True, labels=frozenset(rows.labels_of(at)))

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
        vectors, kinds = self._prepared(query)
        hidden = [segment.rows.find_all(set(exclude)) for segment in self._segments]
        # Among few products Annoy would have to be asked for nearly all items until k of them are found.
        exact = exact or classes is not None or self._main.narrow
        asked_for = self._search_k(query)
        floor = -np.inf if min_score is None else min_score
        found: list[_Found] | None = None
        search_k = 0
        if not exact and asked_for is not None:
            found, search_k = self._approximate(vectors, kinds, k, hidden, floor, asked_for)
        exact = found is None
        if found is None:
            found, available = self._exact(vectors, kinds, k, hidden, classes)
        else:
            # A product of the index that the tail replaced is not alive, so no id is counted twice.
            available = sum(
                segment.count - int(segment.alive[gone].sum())
                for segment, gone in zip(self._segments, hidden, strict=True)
            )
        best = sorted(
            (-float(pairs.scores[at]), segment.rows.product_id(pairs.products[at]), number, int(at))
            for number, (segment, pairs) in enumerate(found)
            for at in _top(pairs.scores, k, floor)
        )[:k]
        items = []
        for number, (segment, pairs) in enumerate(found):
            chosen = np.array([at for *_, owner, at in best if owner == number], np.int64)
            items.append(iter(segment.rows.infos(pairs.items[chosen])))
        neighbours = []
        for negative, product_id, number, at in best:
            pairs = found[number][1]
            neighbours.append(
                Neighbour(
                    product_id=product_id,
                    score=-negative,
                    cosine=float(pairs.cosines[at]),
                    query_row=int(pairs.query_rows[at]),
                    item=next(items[number]),
                )
            )
        return Answer(neighbours, available, exact, self.index.version, search_k)

    def visited(self, query: Query, answer: Answer) -> int:
        """How many pictures and crops were compared with each row of the query for an unfiltered answer, on average.

        Approximate searches are done again to count, so this is for measuring. Of one that Annoy had to be asked
        several times for, the last time counts: it looks at all that the earlier ones did.
        """
        if answer.exact:
            return self.items
        vectors, _ = self._prepared(query)
        seen = [self.index.annoy.inspected(vector, answer.search_k) for vector in vectors]
        return round(sum(seen) / len(seen)) + len(self._tail.rows)

    def _search_k(self, query: Query) -> int | None:
        """How many nodes Annoy has to visit for a query; `None` where only exact search meets the recall target."""
        manifest = self.index.manifest
        if manifest.serve_with == "exact" or not query.labels.isdisjoint(manifest.exact_classes):
            return None
        for_items: int = manifest.annoy["search_k"]
        # Vectors of the index are those of products; all others come from outside.
        return for_items if query.projected else manifest.annoy.get("outside_search_k", for_items)

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
        norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if not (np.isfinite(norms) & (norms > 1e-9)).all():
            raise SettingError("The query has a row that is zero or not finite; embed the picture again")
        if query.projected:
            return vectors.astype(np.float32, copy=False), kinds
        return to_index_space(vectors, self.index.projection), kinds

    def _exact(
        self,
        vectors: np.ndarray,
        kinds: np.ndarray,
        k: int,
        hidden: list[np.ndarray],
        classes: Collection[str] | None,
    ) -> tuple[list[_Found], int]:
        """Every product that passes the filters is scanned: what can be among the k best, and how many passed."""
        scanned = []
        for segment, gone in zip(self._segments, hidden, strict=True):
            items = None if classes is None else segment.rows.items_labelled(classes)
            if items is None and segment.narrow:
                items = segment.rows.items_of(np.flatnonzero(segment.alive))
            products, scores = scan(segment.rows, vectors, kinds, self._penalties, items)
            kept = segment.alive[products]
            kept[among(products, gone)] = False
            scanned.append((segment, products[kept], scores[kept], items))
        threshold = at_least_kth(np.concatenate([scores for _, _, scores, _ in scanned]), k)
        found = []
        for segment, products, scores, items in scanned:
            rows = segment.rows.items_of(products[scores >= threshold])
            if items is not None:
                rows = rows[among(rows, items)]
            found.append((segment, best_pairs(segment.rows, rows, vectors, kinds, self._penalties)))
        return found, sum(len(products) for _, products, _, _ in scanned)

    def _approximate(
        self, vectors: np.ndarray, kinds: np.ndarray, k: int, hidden: list[np.ndarray], floor: float, search_k: float
    ) -> tuple[list[_Found] | None, int]:
        """What Annoy finds, scored exactly, beside the whole tail; `None` when reading everything is cheaper.

        Also the nodes that Annoy was let inspect for it.

        More items are asked for until k products are found and no item beyond those returned could still bring
        one of them down: such an item is farther than the last one returned.
        """
        annoy, rows = self.index.annoy, self._main.rows
        recall_k = self.index.manifest.settings["recall_k"]
        search_k *= max(1.0, k / recall_k)
        want = max(_FIRST_CANDIDATES, math.ceil(2 * k * len(rows) / rows.products))
        least = self._penalties.min(axis=1)[kinds]
        tail = self._tail.rows
        newer = self._tail.alive.copy()
        newer[hidden[1]] = False
        tail_items = tail.items_of(np.flatnonzero(newer))
        tail_pairs = best_pairs(tail, tail_items, vectors, kinds, self._penalties)
        while want * _SHARE <= len(rows):
            nodes = max(want, int(search_k))
            near = [annoy.nearest(vector, want, nodes) for vector in vectors]
            products = np.unique(rows.product_of[np.concatenate(near)])
            products = products[self._main.alive[products] & ~among(products, hidden[0])]
            pairs = best_pairs(rows, rows.items_of(products), vectors, kinds, self._penalties)
            scores = np.concatenate([pairs.scores, tail_pairs.scores])
            reached = np.partition(scores, len(scores) - k)[len(scores) - k] if len(scores) >= k else -np.inf
            last = np.array([rows.vectors[found[-1]] @ vector for found, vector in zip(near, vectors, strict=True)])
            if max(reached, floor) >= (last - least).max() - ROUNDING:
                return [(self._main, pairs), (self._tail, tail_pairs)], nodes
            want, search_k = 2 * want, 2 * search_k
        return None, 0


def _top(scores: np.ndarray, k: int, floor: float) -> np.ndarray:
    """Positions of the scores that reach `floor` and are among the k best, with all that tie with the k-th."""
    kept = np.flatnonzero(scores >= floor)
    if len(kept) > k:
        values = scores[kept]
        kept = kept[values >= np.partition(values, len(values) - k)[len(values) - k]]
    return kept
