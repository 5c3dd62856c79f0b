"""Items in the order of the index: which columns they have, how they are checked, ordered and grouped.

An *item* is a picture or a crop; the items of a product are contiguous rows, its whole picture first.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vetrina.errors import StoreError
from vetrina.index.columns import Records, Texts, encoded, one_array
from vetrina.index.projection import Projection, to_index_space
from vetrina.index.settings import CROP, KINDS

_FIELDS: list[pa.Field[Any]] = [
    *(pa.field(name, pa.string()) for name in ("product_id", "crop_id", "sha256", "kind", "label")),
    *(pa.field(name, pa.float32()) for name in ("score", "ymin", "xmin", "ymax", "xmax")),
    pa.field("batch", pa.string()),
]
META_SCHEMA = pa.schema(_FIELDS)
_BOX = ("ymin", "xmin", "ymax", "xmax")
_MARKED = 64  # every so many-th id is a mark among which others are looked up
_FEW = 32  # ids looked up one by one rather than all at once
_BLOCK = 8192  # rows handled at once: 40 MB at 1280 dims
_JOINED = 2048  # rows of small tables put together: beyond, checks cost no less and memory does


@dataclass(frozen=True, slots=True)
class ItemInfo:
    """What is known of one item; `box` is (ymin, xmin, ymax, xmax) in 0..1."""

    crop_id: str
    sha256: str
    kind: str
    label: str | None
    score: float | None
    box: tuple[float, float, float, float]
    batch: str


@dataclass(frozen=True, slots=True)
class Block:
    """Some checked items as they arrived: columns, raw float32 [b, D] vectors, uint64 [b] vector hashes."""

    meta: pa.Table
    vectors: np.ndarray
    hashes: np.ndarray


def read_blocks(tables: Iterable[pa.Table], dims: int | None = None) -> Iterator[Block]:
    """The items of a stream of tables in blocks of bounded size, each vector checked.

    Args:
        dims: what every vector must have; `None` takes it from the first table.

    Raises:
        StoreError: a missing column, or a vector that is missing, zero, not finite or of the wrong dimension;
            names the product.
    """
    for table in _joined(tables):
        missing = [name for name in (*META_SCHEMA.names, "vector") if name not in table.column_names]
        if missing:
            raise StoreError(f"The items table lacks the column {missing[0]!r}")
        kind = table.schema.field("vector").type
        first = table["product_id"][0].as_py()
        if not (pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type)):
            raise StoreError(f"The vectors of product {first!r} are {kind}, not a fixed-size list of floats")
        dims = kind.list_size if dims is None else dims
        if kind.list_size != dims:
            raise StoreError(
                f"The vector of product {first!r} has {kind.list_size} dimensions where {dims} are expected; "
                "vectors of two extractors cannot share an index"
            )
        for start in range(0, table.num_rows, _BLOCK):
            yield _checked(table.slice(start, _BLOCK), dims)


def _joined(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables of one chunk, none empty; small ones of the same columns put together, since each costs checks."""
    waiting: list[pa.Table] = []
    for table in tables:
        if waiting and (not table.schema.equals(waiting[0].schema) or sum(map(len, waiting)) + len(table) > _JOINED):
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
        if len(table):
            waiting.append(table)
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def _checked(table: pa.Table, dims: int) -> Block:
    meta = table.select(META_SCHEMA.names).cast(META_SCHEMA)
    column: Any = table["vector"].chunk(0)
    for name in ("product_id", "crop_id", "sha256", "kind", "batch"):
        if meta[name].null_count:
            row = int(np.argmax(meta[name].is_null().to_numpy()))
            raise StoreError(f"Product {meta['product_id'][row].as_py()!r} has an item without {name}")
    known = pc.is_in(meta["kind"], value_set=pa.array(KINDS)).to_numpy()
    if not known.all():
        row = int(np.argmin(known))
        raise StoreError(
            f"Product {meta['product_id'][row].as_py()!r} has an item of unknown kind {meta['kind'][row].as_py()!r}"
        )
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise StoreError(f"Product {meta['product_id'][row].as_py()!r} has an item without a vector")
    values = column.flatten()
    vectors = values.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(-1, dims)
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors)).astype(np.float64)
    doubtful = np.flatnonzero(~((norms > 1e-6) & (norms < 1e6)))
    norms[doubtful] = np.linalg.norm(vectors[doubtful].astype(np.float64), axis=1)
    usable = np.isfinite(norms) & (norms > 1e-9)
    if not usable.all():
        row = int(np.argmin(usable))
        what = "zero" if norms[row] <= 1e-9 else "not finite (NaN or infinity)"
        raise StoreError(
            f"The vector of product {meta['product_id'][row].as_py()!r}, crop {meta['crop_id'][row].as_py()!r} "
            f"is {what}; embed it again"
        )
    return Block(meta, vectors, _hashes(vectors))


def _hashes(vectors: np.ndarray) -> np.ndarray:
    if vectors.shape[1] % 2:
        vectors = np.pad(vectors, ((0, 0), (0, 1)))
    bits = np.ascontiguousarray(vectors).view(np.uint64)  # two numbers at a time
    weights = np.random.default_rng(1).integers(1, 2**63, bits.shape[1], dtype=np.uint64) | np.uint64(1)
    return np.einsum("nd,d->n", bits, weights)


def row_order(meta: pa.Table, hashes: np.ndarray) -> np.ndarray:
    """The order of rows in an index: int64 [n] positions in `meta`.

    By product id, whole pictures first, then by everything else, so that the order in which items arrived
    leaves no trace.
    """
    keys: list[tuple[str, Literal["ascending", "descending"]]] = [
        ("product_id", "ascending"),
        ("kind", "descending"),  # "whole" comes after "crop" in the alphabet
        *((name, "ascending") for name in ("crop_id", "sha256", *_BOX, "label", "score", "batch", "hash")),
    ]
    table = meta.append_column("hash", pa.array(hashes))
    return pc.sort_indices(table, sort_keys=keys).to_numpy().astype(np.int64)


class Rows:
    """Items in index order, grouped into products.

    Attributes:
        vectors: float32 [n, d] unit rows; may be a memory map.
        table: the columns of META_SCHEMA, n rows.
        kinds: uint8 [n], position in KINDS.
        starts: int64 [P + 1]; the items of product p are rows starts[p]..starts[p + 1] - 1.
        product_of: int64 [n].
    """

    def __init__(self, vectors: np.ndarray, table: pa.Table) -> None:
        # A plain view of the map: np.memmap makes every index operation a slow Python call.
        self.vectors = np.asarray(vectors)
        self.table = table.combine_chunks()
        self.kinds = (
            pc.equal(table["kind"], pa.scalar(CROP)).to_numpy().astype(np.uint8)
            if len(table)
            else np.zeros(0, np.uint8)
        )
        ids = self.table["product_id"]
        changed = np.ones(len(table), bool)
        if len(table) > 1:
            changed[1:] = pc.not_equal(ids.slice(1), ids.slice(0, len(table) - 1)).to_numpy()
        first = np.flatnonzero(changed)
        self.starts = np.append(first, len(table)).astype(np.int64)
        self.product_of = np.cumsum(changed) - 1
        self._ids = one_array(ids.take(first))
        self._last_found: tuple[str | None, int | None] = None, None
        self._id_texts = Texts(self._ids)
        self._crop_ids, self._pictures = (Texts(one_array(table[name])) for name in ("crop_id", "sha256"))
        self._label_codes, self._label_names = encoded(one_array(table["label"]))
        batches, self._batch_names = encoded(one_array(table["batch"]))
        numbers = (one_array(table[name]).to_numpy(zero_copy_only=False) for name in ("score", *_BOX))
        self._records = Records(self.kinds, self._label_codes, batches, *numbers)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def products(self) -> int:
        """How many products there are."""
        return len(self.starts) - 1

    def product_id(self, product: int) -> str:
        """The id of a product by its position."""
        return self._id_texts[product]

    def product_ids(self, products: np.ndarray) -> list[str]:
        """The ids of some products by their positions."""
        return [str(product_id) for product_id in self.ids_of(products).to_pylist()]

    def ids_of(self, products: np.ndarray) -> pa.Array:
        """The same as a column of text."""
        return self._ids.take(pa.array(products))

    def find(self, product_id: str) -> int | None:
        """The position of a product, `None` when it is not here."""
        # A product that asks is looked up again at once, so as not to be its own neighbour.
        known, found = self._last_found
        if known != product_id:
            at = self.position(product_id)
            found = at if at < self.products and self.product_id(at) == product_id else None
            self._last_found = product_id, found
        return found

    def position(self, product_id: str) -> int:
        """Where the id is or would be in the order of ids."""
        mark = bisect_left(self._marks, product_id)
        low, high = max(0, (mark - 1) * _MARKED), min(mark * _MARKED, self.products)
        return bisect_left(range(self.products), product_id, low, high, key=self.product_id)

    @cached_property
    def _marks(self) -> list[str]:
        """Every 64th id as Python text: looking up one of Arrow's costs microseconds."""
        return self.product_ids(np.arange(0, self.products, _MARKED))

    def find_all(self, product_ids: Iterable[str]) -> np.ndarray:
        """Positions of those of the ids that are here: int64, sorted, each once."""
        wanted = list(product_ids)
        if len(wanted) <= _FEW:
            found = {self.find(product_id) for product_id in wanted}
            return np.array(sorted(at for at in found if at is not None), np.int64)
        return np.flatnonzero(
            pc.is_in(self._ids, value_set=pa.array(wanted, pa.string())).to_numpy(zero_copy_only=False)
        ).astype(np.int64)

    def items_of(self, products: np.ndarray) -> np.ndarray:
        """Rows of the items of the products, in the order given: int64."""
        if self.products == len(self):
            return products
        return runs(self.starts[products], self.starts[products + 1])

    def products_of(self, items: np.ndarray) -> np.ndarray:
        """The product of each of some items: int64."""
        return items if self.products == len(self) else self.product_of[items]

    @cached_property
    def _postings(self) -> dict[str | None, np.ndarray]:
        indices, names = self._label_codes, self._label_names
        order = np.argsort(indices, kind="stable")
        bounds = np.searchsorted(indices[order], np.arange(len(names) + 1))
        return {name: order[bounds[i] : bounds[i + 1]] for i, name in enumerate(names)}

    @property
    def labels(self) -> list[str]:
        """The labels that items have, sorted."""
        return sorted(name for name in self._postings if name is not None)

    def items_labelled(self, labels: Collection[str | None]) -> np.ndarray:
        """Rows of the items with one of the labels: int64, ascending; not to be changed."""
        lists = [self._postings[label] for label in set(labels) if label in self._postings]
        if len(lists) == 1:
            return lists[0]
        return np.sort(np.concatenate(lists)) if lists else np.zeros(0, np.int64)

    def labelled(self, items: np.ndarray, labels: Collection[str]) -> np.ndarray:
        """Which of some items have one of the labels: bool, as long as `items`."""
        wanted = [code for code, name in enumerate(self._label_names) if name in labels]
        return np.isin(self._label_codes[items], wanted)

    def infos(self, rows: np.ndarray) -> list[ItemInfo]:
        """What is known of the items in some rows, in their order."""
        return [self.info(row) for row in rows.tolist()]

    def info(self, row: int) -> ItemInfo:
        """What is known of the item in a row."""
        kind, label, batch, score, *box = self._records[row]
        return ItemInfo(
            crop_id=self._crop_ids[row],
            sha256=self._pictures[row],
            kind=KINDS[kind],
            label=self._label_names[label],
            score=None if math.isnan(score) else score,
            box=tuple(box),
            batch=self._batch_names[batch],
        )

    def labels_of(self, part: slice) -> set[str]:
        """The labels of the items in some rows."""
        labels = (self._label_names[code] for code in self._label_codes[part].tolist())
        return {label for label in labels if label is not None}


def runs(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The whole numbers from each start up to its end, which is left out, one run after the other: int64."""
    counts = ends - starts
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())


def rows_from_tables(tables: Iterable[pa.Table], dims: int, projection: Projection | None) -> Rows:
    """Items in memory as rows of an index space: what a rebuild would make of them, bit for bit.

    Args:
        dims: dimensions of the extractor's vectors.

    Raises:
        StoreError: as `read_blocks`.
    """
    blocks = list(read_blocks(tables, dims))
    if not blocks:
        width = dims if projection is None else projection.components.shape[1]
        return Rows(np.zeros((0, width), np.float32), META_SCHEMA.empty_table())
    meta = pa.concat_tables([block.meta for block in blocks])
    order = row_order(meta, np.concatenate([block.hashes for block in blocks]))
    vectors = np.concatenate([to_index_space(block.vectors, projection) for block in blocks])
    return Rows(vectors[order], meta.take(pa.array(order)))
