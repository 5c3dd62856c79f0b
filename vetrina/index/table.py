"""The table of similar products for a shop's database: every product with its nearest others.

Exactly, by all pairs in matrix products of bounded size, or from what Annoy finds; either way what is listed is scored
exactly, and memory does not grow with the square of the products.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vetrina.errors import SettingError, StoreError
from vetrina.index.candidates import AnnoySearch, Candidates, by_annoy, candidates
from vetrina.index.device import Device, NumpyDevice
from vetrina.index.reader import Index
from vetrina.index.rows import Rows
from vetrina.index.scoring import best_pairs
from vetrina.index.settings import Penalties, penalty_matrix
from vetrina.pictures.likeness import without_repeats
from vetrina.pictures.prints import Prints

_FIELDS: list[pa.Field[Any]] = [
    pa.field("product_id", pa.string()),
    pa.field("rank", pa.int32()),
    pa.field("similar_id", pa.string()),
    pa.field("score", pa.float32()),
    pa.field("crop_id", pa.string()),
    pa.field("similar_crop_id", pa.string()),
    pa.field("same_class", pa.bool_()),
]
SIMILAR_SCHEMA = pa.schema(_FIELDS)
_TABLE_PRODUCTS = 1024  # of one table of the stream
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Pictures:
    """What the items show, for a table that shows no picture twice.

    Attributes:
        prints: of the pictures, each once.
        of_item: int64 [n], the picture of each row of the index, as a place in the prints.
    """

    prints: Prints
    of_item: np.ndarray


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of one product, best first: int64 products, own items and their items; float64 scores."""

    products: np.ndarray
    own_items: np.ndarray
    items: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.products)

    def take(self, places: list[int] | slice | np.ndarray) -> _Lines:
        return _Lines(self.products[places], self.own_items[places], self.items[places], self.scores[places])

    def then(self, other: _Lines) -> _Lines:
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__slots__)
        return _Lines(*(np.concatenate(pair) for pair in pairs))


def pictures_of(rows: Rows) -> tuple[list[str], np.ndarray]:
    """The pictures of an index (sha256, each once) and for each row its picture, as a place among them: int64 [n]."""
    codes = rows.table["sha256"].combine_chunks().dictionary_encode()
    places: np.ndarray = codes.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return [str(sha256) for sha256 in codes.dictionary.to_pylist()], places


def product_classes(rows: Rows) -> np.ndarray:
    """The class of each product, the label of its best-scoring labelled crop, as a code; −1 without: int64 [P]."""
    labels = rows.table["label"].combine_chunks().dictionary_encode()
    codes = labels.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    scores = rows.table["score"].fill_null(pa.scalar(-1.0, pa.float32())).to_numpy().astype(np.float64)
    # Within a product: the unlabelled last, then by score; equal scores in row order.
    order = np.lexsort((-scores, codes < 0, rows.product_of))
    return codes[order[rows.starts[:-1]]]


def similar_products(
    index: Index,
    k: int,
    *,
    same_class: bool,
    min_score: float | None,
    penalties: Penalties | None = None,
    pictures: Pictures | None = None,
    part: range | np.ndarray | None = None,
    device: Device | None = None,
    search: AnnoySearch | None = None,
) -> Iterator[pa.Table]:
    """The k nearest other products of every product, in the order of ids, as tables of SIMILAR_SCHEMA.

    Args:
        same_class: products of the same class come first; others follow only to fill k, with `same_class` false.
            A product without a class has nothing in common with others that have none.
        min_score: leave out what scores less.
        penalties: instead of those the index was built with.
        pictures: leave out products whose item shows the picture of the product itself, or of a better one, again;
            k is filled with others.
        part: only these products, by their positions (ascending).
        device: what finds the candidates; the table is the same on each.
        search: let Annoy find them instead, which misses some.

    Raises:
        SettingError: k below 1.
    """
    if k < 1:
        raise SettingError(f"The number of similar products is {k}; it must be at least 1")
    settings = index.manifest.settings
    loss = penalty_matrix(penalties or Penalties(settings["crop_penalty"], settings["crop_crop_penalty"]))
    floor = -np.inf if min_score is None else min_score
    rows = index.rows
    work = _Ranking(rows, k, same_class, floor, loss, pictures)
    products = range(rows.products) if part is None else part
    if search is None:
        found = candidates(rows, loss, k, device or NumpyDevice(), products, work.by_class)
    else:
        found = by_annoy(rows, loss, k, search, (int(product) for product in products))
    return work.tables(found)


class _Ranking:
    """Picks the lines of one product after the other from its candidates."""

    def __init__(
        self, rows: Rows, k: int, same_class: bool, floor: float, loss: np.ndarray, pictures: Pictures | None
    ) -> None:
        self._rows, self._k, self._floor, self._loss, self._pictures = rows, k, floor, loss, pictures
        self._classes = product_classes(rows)
        self._members = _grouped_by(self._classes) if same_class else {}
        self._shown = None if pictures is None else _shared_pictures(rows, pictures.of_item)
        self._showing = {} if self._shown is None else _grouped_by(self._shown)

    @property
    def by_class(self) -> bool:
        """Whether candidates will be asked for by class."""
        return bool(self._members)

    def tables(self, found: Iterator[tuple[int, Candidates]]) -> Iterator[pa.Table]:
        """The lines of products, in their order, from their candidates."""
        while pending := [(product, self._lines(product, one)) for product, one in islice(found, _TABLE_PRODUCTS)]:
            table = self._table(pending)
            if table.num_rows:
                yield table

    def _lines(self, product: int, found: Candidates) -> _Lines:
        """The lines of one product."""
        want = self._k
        while True:
            nearest = self._nearest(product, found, want)
            chosen = self._without_repeats(product, nearest)
            if len(chosen) >= self._k or len(nearest) < want:
                return chosen
            want *= 2

    def _nearest(self, product: int, found: Candidates, k: int) -> _Lines:
        """The k best; those of the product's class first, if they are to be."""
        members, copies = self._members.get(int(self._classes[product])), self._copies(product)
        if members is None:
            return self._best(product, found.best_but(copies, k) if len(copies) else found.best(k), k)
        besides = members
        if len(copies):
            members, besides = np.setdiff1d(members, copies, assume_unique=True), np.union1d(members, copies)
        lines = self._best(product, found.best_of(members, k), k)
        if len(lines) < k:
            missing = k - len(lines)
            lines = lines.then(self._best(product, found.best_but(besides, missing), missing))
        return lines

    def _copies(self, product: int) -> np.ndarray:
        """Products that show the same picture as this one and nothing else (ascending); none where it is the only one.

        They would be left out one by one, and a picture may stand in for those of thousands of products.
        """
        return _NONE if self._shown is None else self._showing.get(int(self._shown[product]), _NONE)

    def _best(self, product: int, others: np.ndarray, k: int) -> _Lines:
        """The k best of some products by their exact scores, equal ones in order of ids."""
        rows = self._rows
        start, end = int(rows.starts[product]), int(rows.starts[product + 1])
        pairs = best_pairs(rows, rows.items_of(others), rows.vectors[start:end], rows.kinds[start:end], self._loss)
        # Positions are in the order of ids, so they break ties.
        order = np.lexsort((pairs.products, -pairs.scores))[:k]
        lines = _Lines(pairs.products, start + pairs.query_rows, pairs.items, pairs.scores).take(order)
        return lines.take(lines.scores >= self._floor)

    def _without_repeats(self, product: int, lines: _Lines) -> _Lines:
        if self._pictures is None:
            return lines
        own = self._pictures.of_item[self._rows.starts[product] : self._rows.starts[product + 1]]
        offered = self._pictures.of_item[lines.items]
        return lines.take(without_repeats(self._pictures.prints, np.unique(own), offered, self._k)[0])

    def _table(self, found: list[tuple[int, _Lines]]) -> pa.Table:
        rows, counts = self._rows, [len(lines) for _, lines in found]
        own = np.repeat([product for product, _ in found], counts)
        other, own_items, items, scores = (
            np.concatenate([getattr(lines, name) for _, lines in found]) for name in _Lines.__slots__
        )
        ranks = np.concatenate([np.arange(1, count + 1, dtype=np.int32) for count in counts])
        crops, codes = rows.table["crop_id"], self._classes
        columns = [
            rows.ids_of(own),
            pa.array(ranks),
            rows.ids_of(other),
            pa.array(scores, pa.float32()),
            crops.take(pa.array(own_items)),
            crops.take(pa.array(items)),
            pa.array((codes[own] >= 0) & (codes[own] == codes[other])),
        ]
        return pa.table(columns, schema=SIMILAR_SCHEMA)


def _shared_pictures(rows: Rows, of_item: np.ndarray) -> np.ndarray:
    """The picture of each product that shows one only, which others do, too; −1 of the rest: int64 [P]."""
    first = rows.starts[:-1]
    lowest, highest = (pick.reduceat(of_item, first) for pick in (np.minimum, np.maximum))
    shown = np.where(lowest == highest, lowest, -1)
    return np.where(np.bincount(shown + 1)[shown + 1] > 1, shown, -1)


def _grouped_by(codes: np.ndarray) -> dict[int, np.ndarray]:
    """The products (ascending) of each code that is not negative."""
    order = np.argsort(codes, kind="stable")
    runs = zip(*_runs(codes[order]), strict=True)
    return {int(code): order[start:end] for code, start, end in runs if code >= 0}


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, starts and ends of the runs of equal values."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.zeros(0, np.int64)
    return values[starts], starts, np.append(starts[1:], len(values))


def write_similar_json(tables: Iterable[pa.Table], file: Path) -> int:
    """Write ``{"<product id>": {"<similar id>": score, …}, …}``, best first; gives the number of products.

    Streams: holds one product at a time. The file appears whole or not at all.

    Args:
        tables: of SIMILAR_SCHEMA, the rows of a product together.

    Raises:
        StoreError: the file cannot be written.
    """
    part = file.with_name(f".{file.name}.part")
    count = 0
    try:
        with part.open("w", encoding="utf-8") as handle:
            handle.write("{")
            for product_id, similar in _grouped(tables):
                handle.write(",\n" if count else "\n")
                handle.write(f"{json.dumps(product_id)}: {json.dumps(similar)}")
                count += 1
            handle.write("\n}\n")
        part.replace(file)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def _grouped(tables: Iterable[pa.Table]) -> Iterator[tuple[str, dict[str, float]]]:
    current: str | None = None
    similar: dict[str, float] = {}
    for table in tables:
        columns = (table[name].to_pylist() for name in ("product_id", "similar_id", "score"))
        for product_id, similar_id, score in zip(*columns, strict=True):
            if product_id != current:
                if current is not None:
                    yield current, similar
                current, similar = product_id, {}
            similar[similar_id] = round(score, 6)
    if current is not None:
        yield current, similar
