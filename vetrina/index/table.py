"""The table of similar products for a shop's database: every product with its nearest others, exactly.

All pairs by matrix products of bounded size; memory does not grow with the square of the products.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vetrina.errors import SettingError, StoreError
from vetrina.index.candidates import Candidates, candidates
from vetrina.index.device import Device, NumpyDevice
from vetrina.index.reader import Index
from vetrina.index.rows import Rows
from vetrina.index.scoring import best_pairs
from vetrina.index.settings import Penalties, penalty_matrix

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
_TABLE_ROWS = 1 << 16

_Row = tuple[str, int, str, float, str, str, bool]


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
    device: Device | None = None,
) -> Iterator[pa.Table]:
    """The k nearest other products of every product, in the order of ids, as tables of SIMILAR_SCHEMA.

    Args:
        same_class: products of the same class come first; others follow only to fill k, with `same_class` false.
            A product without a class has nothing in common with others that have none.
        min_score: leave out what scores less.
        penalties: instead of those the index was built with.
        device: what finds the candidates; the table is the same on each.

    Raises:
        SettingError: k below 1.
    """
    if k < 1:
        raise SettingError(f"The number of similar products is {k}; it must be at least 1")
    settings = index.manifest.settings
    penalties = penalties or Penalties(settings["crop_penalty"], settings["crop_crop_penalty"])
    floor = -np.inf if min_score is None else min_score
    return _tables(index.rows, k, same_class, floor, penalties, device or NumpyDevice())


def _tables(
    rows: Rows, k: int, same_class: bool, floor: float, penalties: Penalties, device: Device
) -> Iterator[pa.Table]:
    loss = penalty_matrix(penalties)
    classes = product_classes(rows)
    order = np.argsort(classes, kind="stable")
    bounds = {
        int(code): order[start:end]
        for code, start, end in zip(
            *_runs(classes[order]),
            strict=True,
        )
    }
    pending: list[_Row] = []
    for product, found in candidates(rows, loss, k, device):
        code = int(classes[product])
        pending += _neighbours(rows, product, found, k, floor, loss, classes, bounds[code] if same_class else None)
        if len(pending) >= _TABLE_ROWS:
            yield _table(pending)
            pending = []
    if pending:
        yield _table(pending)


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, starts and ends of the runs of equal values."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.zeros(0, np.int64)
    return values[starts], starts, np.append(starts[1:], len(values))


def _neighbours(
    rows: Rows,
    product: int,
    found: Candidates,
    k: int,
    floor: float,
    loss: np.ndarray,
    classes: np.ndarray,
    members: np.ndarray | None,
) -> list[_Row]:
    """The lines of one product; `members` are the products of its class."""
    code = classes[product]
    if members is None or code < 0:
        chosen = _nearest(rows, product, found.best(k), k, floor, loss)
    else:
        chosen = _nearest(rows, product, found.best_of(members, k), k, floor, loss)
        if len(chosen) < k:
            missing = k - len(chosen)
            chosen += _nearest(rows, product, found.best_but(members, missing), missing, floor, loss)
    own = rows.product_id(product)
    crop = rows.table["crop_id"]
    return [
        (
            own,
            rank,
            rows.product_id(other),
            score,
            crop[own_item].as_py(),
            crop[item].as_py(),
            bool(code >= 0 and classes[other] == code),
        )
        for rank, (score, other, own_item, item) in enumerate(chosen, start=1)
    ]


def _nearest(
    rows: Rows, product: int, others: np.ndarray, k: int, floor: float, loss: np.ndarray
) -> list[tuple[float, int, int, int]]:
    """Exact (score, product, own item, its item) of the k best of some products, equal scores in order of ids."""
    if not len(others):
        return []
    start, end = int(rows.starts[product]), int(rows.starts[product + 1])
    pairs = best_pairs(rows, rows.items_of(others), rows.vectors[start:end], rows.kinds[start:end], loss)
    # Positions are in the order of ids, so they break ties.
    order = np.lexsort((pairs.products, -pairs.scores))[:k]
    return [
        (float(pairs.scores[at]), int(pairs.products[at]), start + int(pairs.query_rows[at]), int(pairs.items[at]))
        for at in order
        if pairs.scores[at] >= floor
    ]


def _table(lines: list[_Row]) -> pa.Table:
    return pa.table(
        [pa.array(column, kind) for column, kind in zip(zip(*lines, strict=True), SIMILAR_SCHEMA.types, strict=True)],
        schema=SIMILAR_SCHEMA,
    )


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
