"""How many dimensions does it take? Quality and cost of the search over PCA projections of growing size.

The sweep of a lecture notebook on Caltech-101 (dimensions against accuracy and time), with intervals, on the shop's own
pictures. Each product is its whole picture here: crops and their penalties, Annoy and the tail are left aside, so its
figures are those of the space and not of the search as it is served.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vetrina.errors import NotFound, SettingError
from vetrina.evaluation.evaluation import Plan, Roles
from vetrina.evaluation.intervals import Estimate, micro
from vetrina.evaluation.measures import ACCURACY_AT, PRECISION_AT, depth_for, measure
from vetrina.index.projection import Moments, Projection, to_index_space, unit_rows
from vetrina.index.settings import WHOLE

DIMS = (16, 32, 64, 100, 128, 150, 256, 512)
MOST_PRODUCTS = 10_000
"""Whose vectors are held at once: 50 MB at 1280 dimensions; their scores with 2 000 queries take 80 MB."""
_TIMED = 200
_TIE = 1e-6  # cosines nearer than this are equal in float32


@dataclass(frozen=True, slots=True)
class Space:
    """One size of the projection, measured.

    Attributes:
        dims: how many dimensions; `raw`: those of the extractor, neither centred nor turned.
        variance_kept: share of the variance, 0 to 1.
        measures: "map@k", "precision@5", "accuracy@4" and "neighbours@k": the share of the k nearest of the raw
            vectors that are among the k nearest here.
        cpu_ms: processor milliseconds of one exact search over all products.
    """

    dims: int
    raw: bool
    variance_kept: float
    measures: dict[str, Estimate]
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """Spaces from small to raw, and over how many products and queries they were measured."""

    spaces: list[Space]
    products: int
    queries: int

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "products": self.products,
            "queries": self.queries,
            "spaces": [
                {
                    "dims": space.dims,
                    "raw": space.raw,
                    "variance_kept": round(space.variance_kept, 6),
                    **{name: estimate.as_json() for name, estimate in space.measures.items()},
                    "cpu_ms": round(space.cpu_ms, 4),
                }
                for space in self.spaces
            ],
        }


def sweep(
    items: Iterable[pa.Table],
    labels: Mapping[str, str],
    roles: Roles,
    plan: Plan,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Sweep:
    """Measure every size that the vectors and products allow, and the raw vectors.

    Args:
        items: item tables with `product_id`, `kind` and `vector` of the extractor; only whole pictures count.
        roles: who asks and who may be found. At most MOST_PRODUCTS may be found, drawn at random beyond.

    Raises:
        NotFound: none of the products has a vector.
        SettingError: k is beyond the products that can be found.
    """
    wanted = _drawn(sorted(roles.searched | roles.distractors), plan.seed)
    ids, vectors = _whole_pictures(items, set(wanted) | set(roles.queries))
    if not ids:
        raise NotFound("No product that was to be searched has an embedding; run the batches again")
    found = set(wanted)
    task = _Task.of(ids, np.array([name in found for name in ids]), labels, roles.queries, plan)
    if plan.k > int(task.searched.sum()) - 1:
        raise SettingError(f"k is {plan.k}, but the sweep can search {int(task.searched.sum())} products only")
    shop = vectors[task.searched]
    dims, count = vectors.shape[1], len(shop)
    sizes = [size for size in DIMS if size < min(dims, count)]
    raw = unit_rows(vectors).astype(np.float32)
    truth = _scores(raw, task)
    nearest = -np.partition(-truth, plan.k - 1, axis=1)[:, plan.k - 1]
    moments = Moments(dims)
    for start in range(0, count, 1 << 14):
        moments.add(unit_rows(shop[start : start + (1 << 14)]))
    widest = moments.projection(max(sizes)) if sizes else None
    spaces = []
    if widest is not None:
        for place, size in enumerate(sizes, start=1):
            cut = Projection(widest.mean, widest.components[:, :size], 0.0)
            spaces.append(_measured(to_index_space(vectors, cut), task, truth, nearest, _kept(shop, cut), raw=False))
            progress(place, len(sizes) + 1)
    spaces.append(_measured(raw, task, truth, nearest, 1.0, raw=True))
    progress(len(sizes) + 1, len(sizes) + 1)
    return Sweep(spaces, count, len(task.queries))


@dataclass(frozen=True, slots=True)
class _Task:
    """Rows that ask, int [q]; rows that may be found, bool [n]; class codes of all rows, int [n]."""

    queries: np.ndarray
    searched: np.ndarray
    codes: np.ndarray
    relevant: np.ndarray
    plan: Plan

    @staticmethod
    def of(
        ids: list[str], searched: np.ndarray, labels: Mapping[str, str], queries: Iterable[str], plan: Plan
    ) -> _Task:
        classes = {label: code for code, label in enumerate(sorted(set(labels.values())))}
        codes = np.array([classes[labels[name]] if name in labels else -1 for name in ids], np.int64)
        row_of = {name: row for row, name in enumerate(ids)}
        rows = np.array([row_of[name] for name in queries if name in row_of], np.int64)
        sizes = np.bincount(codes[searched & (codes >= 0)], minlength=len(classes))
        relevant = sizes[codes[rows]] - searched[rows]
        return _Task(rows[relevant > 0], searched, codes, relevant[relevant > 0], plan)


def _drawn(product_ids: list[str], seed: int) -> list[str]:
    if len(product_ids) <= MOST_PRODUCTS:
        return product_ids
    places = np.random.default_rng(seed).choice(len(product_ids), MOST_PRODUCTS, replace=False)
    return [product_ids[place] for place in np.sort(places)]


def _whole_pictures(items: Iterable[pa.Table], wanted: set[str]) -> tuple[list[str], np.ndarray]:
    """Ids, sorted, and vectors of the whole pictures of some products: float32 [n, D]."""
    found: dict[str, np.ndarray] = {}
    for table in items:
        column: Any = table["vector"].combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        vectors = flat.reshape(len(table), -1)
        names = zip(table["product_id"].to_pylist(), table["kind"].to_pylist(), strict=True)
        for row, (name, kind) in enumerate(names):
            if kind == WHOLE and name in wanted:
                found[name] = vectors[row].copy()
    ids = sorted(found)
    return ids, np.array([found[name] for name in ids], np.float32)


def _kept(vectors: np.ndarray, projection: Projection) -> float:
    """Share of the variance of unit rows that a projection keeps."""
    kept = total = 0.0
    for start in range(0, len(vectors), 1 << 12):
        centred = unit_rows(vectors[start : start + (1 << 12)]) - projection.mean
        kept += float(np.square(centred @ projection.components).sum())
        total += float(np.square(centred).sum())
    return kept / total


def _scores(vectors: np.ndarray, task: _Task) -> np.ndarray:
    """Cosines of queries with all rows: float32 [q, n]; −inf with itself and with what may not be found."""
    scores = vectors[task.queries] @ vectors.T
    scores[:, ~task.searched] = -np.inf
    scores[np.arange(len(task.queries)), task.queries] = -np.inf
    return np.asarray(scores)


def _measured(
    vectors: np.ndarray, task: _Task, truth: np.ndarray, nearest: np.ndarray, kept: float, *, raw: bool
) -> Space:
    plan, scores = task.plan, _scores(vectors, task)
    depth = min(depth_for(plan.k), int(task.searched.sum()) - 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    hits = task.codes[order] == task.codes[task.queries][:, None]
    measured = measure(hits, task.relevant, plan.k)
    true = np.take_along_axis(truth, order[:, : plan.k], axis=1) >= nearest[:, None] - _TIE
    names = (f"map@{plan.k}", f"precision@{PRECISION_AT}", f"accuracy@{ACCURACY_AT}")
    values = np.column_stack([*(measured.of(name) for name in names), true.mean(axis=1)])
    estimates = micro(values, resamples=plan.resamples, seed=plan.seed)
    measures = dict(zip((*names, f"neighbours@{plan.k}"), estimates, strict=True))
    return Space(vectors.shape[1], raw, kept, measures, _cpu_ms(vectors, task))


def _cpu_ms(vectors: np.ndarray, task: _Task) -> float:
    shop, k = np.ascontiguousarray(vectors[task.searched]), task.plan.k
    queries = vectors[task.queries[:_TIMED]]
    started = time.process_time()
    for query in queries:
        scores = shop @ query
        np.argpartition(scores, len(scores) - k)[-k:]
    return (time.process_time() - started) * 1000 / len(queries)
