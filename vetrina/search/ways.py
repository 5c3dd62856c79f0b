"""Three ways to find products: read all that pass, read the cells of them that promise most, or ask Annoy.

Whatever the way, the tail is read whole, and what may be among the k best gets its exact score.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vetrina.index.annoy_file import AnnoyFile
from vetrina.index.cells import Cells, Grouping, grouped
from vetrina.index.rows import Rows
from vetrina.index.scoring import ROUNDING, Pairs, among, at_least_kth, best_of_each, best_pairs, scan

ONE_IN = 8  # beyond one item in eight, reading all of them in order is faster than Annoy or than picking them
_FIRST_CANDIDATES = 16
_FIRST_READ = 1024  # items; enough to know about how good the k-th best is


@dataclass(eq=False, slots=True)
class Segment:
    """Some rows and which of their products may be shown: bool [P], and how many those are."""

    rows: Rows
    alive: np.ndarray
    count: int

    @property
    def narrow(self) -> bool:
        """Whether so few may be shown that reading them one by one is faster than reading all in order."""
        return self.count * ONE_IN <= self.rows.products

    def to_read(self) -> np.ndarray | None:
        """The items that a search without classes reads: int64, ascending; `None` for all of them in order."""
        return self.rows.items_of(np.flatnonzero(self.alive)) if self.narrow else None

    @property
    def read(self) -> int:
        """How many items that are."""
        items = self.to_read()
        return len(self.rows) if items is None else len(items)

    @property
    def thinned(self) -> bool:
        """Whether so many may not be shown that Annoy would often have to be asked twice."""
        return 4 * self.count < 3 * self.rows.products


Parts = tuple[Segment, Segment]
"""The index and the tail."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, checked.

    Attributes:
        vectors: float32 [m, d] unit rows in index space; kinds: uint8 [m].
        hidden: products not to return, of the index and of the tail: int64 positions, ascending.
        floor: the least score, −inf for none.
        classes: only items with one of these labels count; `None` means all items.
        penalties: float64 [query kind, item kind].
        least: what each query row loses at least: float64 [m].
    """

    vectors: np.ndarray
    kinds: np.ndarray
    k: int
    hidden: tuple[np.ndarray, np.ndarray]
    floor: float
    classes: frozenset[str] | None
    penalties: np.ndarray
    least: np.ndarray


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found: all that can be among the k best, and how.

    Attributes:
        available: products that pass.
        exact: whether everything that passes was compared.
        search_k: nodes that Annoy was let inspect for each query row.
        read: items of cells that were compared.
    """

    found: list[tuple[Segment, Pairs]]
    available: int
    exact: bool = True
    search_k: int = 0
    read: int = 0


def group(cells: Cells, segment: Segment, classes: frozenset[str] | None) -> Grouping:
    """The items of a segment that may be shown and have one of the labels, by cell."""
    rows = segment.rows
    if classes is None:
        items = rows.items_of(np.flatnonzero(segment.alive))
    else:
        items = rows.items_labelled(classes)
        items = items[segment.alive[rows.product_of[items]]]
    return grouped(cells, items, rows.product_of)


def read_all(parts: Parts, asked: Asked) -> Seen:
    """Every product that passes is scanned."""
    scanned = [
        _scanned(part, asked, gone, _passing(part, asked)) for part, gone in zip(parts, asked.hidden, strict=True)
    ]
    threshold = at_least_kth(np.concatenate([scores for _, scores in scanned]), asked.k)
    found = [
        (part, _scored(part, asked, products[scores >= threshold]))
        for part, (products, scores) in zip(parts, scanned, strict=True)
    ]
    return Seen(found, sum(len(products) for products, _ in scanned))


def count_before(parts: Parts, asked: Asked, rows: Rows, product: int) -> tuple[int, int]:
    """How many products that pass stand before one (of these rows, by its position), and how many pass.

    They score more than it does, or as much and have a smaller id.
    """
    own = next(part for part in parts if part.rows is rows)
    score = float(_scored(own, asked, np.array([product])).scores[0])
    before = available = 0
    for part, gone in zip(parts, asked.hidden, strict=True):
        products, scores = _scanned(part, asked, gone, _passing(part, asked))
        available += len(products)
        before += int(np.count_nonzero(scores > score + ROUNDING))
        pairs = _scored(part, asked, products[np.abs(scores - score) <= ROUNDING])
        smaller = pairs.products < part.rows.position(rows.product_id(product))
        before += int(np.count_nonzero((pairs.scores > score) | ((pairs.scores == score) & smaller)))
    return before, available


def read_cells(parts: Parts, asked: Asked, cells: Cells, grouping: Grouping, share: float, recall_k: int) -> Seen:
    """Cells are read, the most promising first, until none promises more than the worst that was found has.

    Args:
        grouping: what passes in the index, by `group`.
        share: see `Cells.promises`.
        recall_k: what the share was measured for. Of fewer neighbours each would have to be promised more, so so many
            are looked for, and for every query row.
    """
    deep = max(asked.k, recall_k) * len(asked.vectors)
    main, tail = parts
    newer, newer_scores = _scanned(tail, asked, asked.hidden[1], _passing(tail, asked))
    promised = (cells.promises(asked.vectors, share) - asked.least[:, None]).max(axis=0)
    sizes = np.diff(grouping.bounds)
    order = np.flatnonzero(sizes)
    order = order[np.argsort(-promised[order], kind="stable")]
    promised, ends = promised[order], np.cumsum(sizes[order])
    products, scores = np.zeros(0, np.int64), np.zeros(0, np.float32)
    bar, at, read, step = -np.inf, 0, 0, _FIRST_READ
    while at < len(order) and promised[at] >= bar - ROUNDING:
        enough = int(np.searchsorted(-promised, ROUNDING - bar, side="right"))
        end = min(enough, max(at + 1, int(np.searchsorted(ends, read + step, side="right"))))
        more, their_scores = _scanned(main, asked, asked.hidden[0], grouping.items_in(order[at:end]))
        products, scores = best_of_each(np.concatenate([products, more]), np.concatenate([scores, their_scores]))
        bar = at_least_kth(np.concatenate([scores, newer_scores]), deep)
        products, scores = products[scores >= bar], scores[scores >= bar]
        at, read, step = end, int(ends[end - 1]), 2 * step
    found = [(main, _scored(main, asked, products)), (tail, _scored(tail, asked, newer[newer_scores >= bar]))]
    available = grouping.products - _passing_products(main, asked) + len(newer)
    return Seen(found, available, exact=at == len(order), read=read)


def ask_annoy(parts: Parts, asked: Asked, annoy: AnnoyFile, search_k: float) -> Seen | None:
    """What Annoy finds beside the whole tail; `None` when reading everything is cheaper.

    More items are asked for until k products are found and no item beyond those returned could still bring
    one of them down: such an item is farther than the last one returned.

    Args:
        search_k: nodes to inspect at first.
    """
    (main, tail), k = parts, asked.k
    rows = main.rows
    unwanted = set(asked.hidden[0].tolist())
    found: list[tuple[Segment, Pairs]] = []
    if len(tail.rows):
        newer = tail.alive.copy()
        newer[asked.hidden[1]] = False
        found = [(tail, _scored(tail, asked, np.flatnonzero(newer)))]
    want = max(_FIRST_CANDIDATES, math.ceil(2 * k * len(rows) / rows.products))
    while want * ONE_IN <= len(rows):
        nodes = max(want, int(search_k))
        near = [annoy.nearest(vector, want, nodes) for vector in asked.vectors]
        owners = {owner for items in near for owner in rows.products_of(items).tolist()}
        products = np.array(sorted(owners - unwanted), np.int64)
        pairs = _scored(main, asked, products[main.alive[products]])
        scores = sorted(score for _, seen in [(main, pairs), *found] for score in seen.scores.tolist())
        bar = max(scores[-k] if len(scores) >= k else -math.inf, asked.floor)
        beyond = (
            float(rows.vectors[items[-1]] @ vector) - least
            for items, vector, least in zip(near, asked.vectors, asked.least.tolist(), strict=True)
        )
        if bar >= max(beyond) - ROUNDING:
            # A product of the index that the tail replaced is not alive, so no id is counted twice.
            hidden = sum(
                int(np.count_nonzero(part.alive[gone])) for part, gone in zip(parts, asked.hidden, strict=True)
            )
            return Seen([(main, pairs), *found], main.count + tail.count - hidden, exact=False, search_k=nodes)
        want, search_k = 2 * want, 2 * search_k
    return None


def _passing(segment: Segment, asked: Asked) -> np.ndarray | None:
    """The items to read: int64, ascending; `None` for all of them in order."""
    if asked.classes is not None:
        return segment.rows.items_labelled(asked.classes)
    return segment.to_read()


def _scanned(
    segment: Segment, asked: Asked, gone: np.ndarray, items: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The products of some items that may be shown: int64, ascending, and scores up to ROUNDING, float32."""
    products, scores = scan(segment.rows, asked.vectors, asked.kinds, asked.penalties, items)
    kept = segment.alive[products]
    kept[among(products, gone)] = False
    return products[kept], scores[kept]


def _scored(segment: Segment, asked: Asked, products: np.ndarray) -> Pairs:
    """Exact scores of some products by those of their items that count."""
    items = segment.rows.items_of(products)
    if asked.classes is not None:
        items = items[segment.rows.labelled(items, asked.classes)]
    return best_pairs(segment.rows, items, asked.vectors, asked.kinds, asked.penalties)


def _passing_products(main: Segment, asked: Asked) -> int:
    """How many of the hidden products of the index would pass."""
    gone = asked.hidden[0]
    gone = gone[main.alive[gone]]
    if asked.classes is None or not len(gone):
        return len(gone)
    items = main.rows.items_of(gone)
    return len(np.unique(main.rows.product_of[items[main.rows.labelled(items, asked.classes)]]))
