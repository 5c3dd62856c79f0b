"""How many trees and how much search the Annoy file needs, measured against exact search; and whether it pays.

Queries are stored items, each label with its share, and as many vectors from outside the catalog. Those need several
times as much search as stored items, which stand where a leaf of every tree was cut around them; so each kind has a
`search_k` of its own, at which its recall meets the target, or exact search. Choices depend on counts and cosines only,
never on the clock: the same vectors and seed give the same file. Only what serves looks at the time, and the number of
trees where a budget of time is set (`IndexSettings.query_ms`).

Trap: with n ≤ dims + 2 items Annoy keeps all of them in one leaf, and its search is exact whatever the trees.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vetrina.index.annoy_file import AnnoyFile, build_file
from vetrina.index.recall import LabelAudit, Truth, exact_truth, lower_bound, outside_truth, recalls, timed_recalls
from vetrina.index.sampling import from_outside, stratified
from vetrina.index.scoring import BLOCK_CELLS
from vetrina.index.settings import IndexSettings

_STEP = 1.33
_FIRST_TREES, _MOST_TREES = 40, 160
_FIRST_SEARCH_K = 100
_CLASS_STEPS = 4
_SHARE = 8
_TIMED = 50


@dataclass(frozen=True, slots=True)
class Point:
    """One setting that was measured.

    Attributes:
        recall, lower: mean over stored items, and its one-sided 95 % lower bound.
        outside_recall, outside_lower: the same for queries from outside.
        cpu_ms: mean CPU time of one search for a stored item.
    """

    trees: int
    search_k: int
    recall: float
    lower: float
    outside_recall: float
    outside_lower: float
    cpu_ms: float

    def as_json(self) -> dict[str, Any]:
        """The point for the manifest."""
        return {
            "trees": self.trees,
            "search_k": self.search_k,
            "recall": self.recall,
            "lower_95": self.lower,
            "outside_recall": self.outside_recall,
            "outside_lower_95": self.outside_lower,
            "cpu_ms": self.cpu_ms,
        }


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was chosen, and the figures measured with it.

    Attributes:
        frontier: all settings that were measured, in order.
        chosen: the one for stored items.
        outside: the one for queries from outside, of the same trees; `None`: exact search.
        by_label: {"label", "recall", "lower_95", "queries", "below_target"} per label; label `None` are items
            without one.
        exact_ms, annoy_ms: median time of one query, for the same queries.
        within_budget: whether a query takes no longer than the settings allow; `None` without such a setting.
    """

    frontier: list[Point]
    chosen: Point
    outside: Point | None
    k: int
    queries: int
    outside_queries: int
    target: float
    by_label: list[dict[str, Any]]
    exact_ms: float
    annoy_ms: float
    query_ms: float
    within_budget: bool | None
    serve_with: str
    reason: str
    note: str

    @property
    def met(self) -> bool:
        """Whether the bound for stored items reaches the target; that for others does, or they are searched exactly."""
        return self.chosen.lower >= self.target

    def as_json(self) -> dict[str, Any]:
        """The figures for the manifest."""
        return {
            "recall": self.chosen.recall,
            "lower_95": self.chosen.lower,
            "k": self.k,
            "queries": self.queries,
            "outside": None
            if self.outside is None
            else {
                "recall": self.outside.outside_recall,
                "lower_95": self.outside.outside_lower,
                "queries": self.outside_queries,
                "cpu_ms": self.outside.cpu_ms,
            },
            "target": self.target,
            "met": self.met,
            "by_label": self.by_label,
            "exact_classes": [entry["label"] for entry in self.by_label if entry["below_target"]],
            "frontier": [point.as_json() for point in self.frontier],
            "exact_ms": self.exact_ms,
            "annoy_ms": self.annoy_ms,
            "query_ms": self.query_ms,
            "within_budget": self.within_budget,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class _Audit:
    """The queries of both kinds with their truth; `census`: every item is a query, so the mean itself is judged."""

    vectors: np.ndarray
    inside: Truth
    outside: Truth
    census: bool

    def point(self, index: AnnoyFile, trees: int, search_k: int) -> Point:
        # The first queries also pay for reading the file in, so those that are timed come second.
        beyond = recalls(self.vectors, index, self.outside, search_k)
        within, cpu_ms = timed_recalls(self.vectors, index, self.inside, search_k)
        k = max(1, self.inside.k)
        return Point(
            trees=trees,
            search_k=search_k,
            recall=float(within.mean()),
            lower=float(within.mean()) if self.census else lower_bound(within, k),
            outside_recall=float(beyond.mean()),
            outside_lower=lower_bound(beyond, k),
            cpu_ms=cpu_ms,
        )


def tune(vectors: np.ndarray, labels: np.ndarray, file: Path, settings: IndexSettings, device: str = "cpu") -> Tuned:
    """Build the Annoy file and measure it.

    Of the settings that meet the recall target it is the one with fewest trees that visits fewest nodes; with a
    budget of time there are more trees until a query for a stored item keeps it, and the fastest is taken. Recall
    comes first.

    Args:
        vectors: float32 [n, d] unit rows, n ≥ 1; may be a memory map.
        labels: int [n], code of each item's label (the codes only group; −1 is no label).
        file: where the Annoy file goes.
        device: where exact search is done.

    Raises:
        StoreError: the file cannot be written.
        IndexDamaged: what Annoy wrote does not find its own items.
    """
    rng = np.random.default_rng(settings.seed)
    count, dims = vectors.shape
    sample = stratified(labels, settings.recall_sample, rng)
    strangers = from_outside(vectors, settings.recall_sample, rng)
    audit = _Audit(
        vectors,
        exact_truth(vectors, sample, settings.recall_k, device),
        outside_truth(vectors, strangers, settings.recall_k, device),
        census=count <= settings.recall_sample,
    )
    frontier, chosen, index = _tried(audit, file, settings)
    classes = LabelAudit.of(vectors, labels, settings, rng, device)
    search_k, by_label = _enough_for_classes(classes, vectors, index, chosen, settings)
    if search_k != chosen.search_k:
        chosen = audit.point(index, chosen.trees, search_k)
        # Measured again where the sweep came by; one entry for each setting.
        frontier = [point for point in frontier if (point.trees, point.search_k) != (chosen.trees, search_k)]
        frontier.append(chosen)
    exact_ms = _exact_ms(vectors, audit.inside)
    annoy_ms = _annoy_ms(index, audit.inside, chosen.search_k)
    index.close()
    serve_with, within_budget, reason = _choice(settings, chosen, exact_ms, annoy_ms)
    return Tuned(
        frontier=frontier,
        chosen=chosen,
        outside=_for_outside(frontier, chosen, settings, exact_ms),
        k=audit.inside.k,
        queries=len(sample),
        outside_queries=len(strangers),
        target=settings.recall_target,
        by_label=by_label,
        exact_ms=exact_ms,
        annoy_ms=annoy_ms,
        query_ms=settings.query_ms,
        within_budget=within_budget,
        serve_with=serve_with,
        reason=reason,
        note=f"{count} items in {dims} dimensions share one Annoy leaf: exact by itself" if count <= dims + 2 else "",
    )


def _tried(audit: _Audit, file: Path, settings: IndexSettings) -> tuple[list[Point], Point, AnnoyFile]:
    """All points that were measured, the one for stored items, and the opened file with its trees."""
    frontier: list[Point] = []
    trees = settings.trees or _FIRST_TREES
    while True:
        index = _built(audit.vectors, file, trees, settings.seed)
        points = _swept(audit, index, trees, settings)
        frontier += points
        met = _first_met(points, settings)
        in_time = met is not None and (not settings.query_ms or met.cpu_ms <= settings.query_ms)
        if in_time or settings.trees is not None or trees >= _MOST_TREES:
            break
        index.close()
        trees *= 2
    chosen = _fastest(frontier, settings)
    if chosen.trees != trees:
        index.close()
        index = _built(audit.vectors, file, chosen.trees, settings.seed)
    return frontier, chosen, index


def _built(vectors: np.ndarray, file: Path, trees: int, seed: int) -> AnnoyFile:
    file.unlink(missing_ok=True)
    build_file(vectors, file, trees=trees, seed=seed)
    return AnnoyFile(file, vectors)


def _swept(audit: _Audit, index: AnnoyFile, trees: int, settings: IndexSettings) -> list[Point]:
    """Points of growing search until both kinds of queries meet the target."""
    points = [audit.point(index, trees, settings.search_k or _FIRST_SEARCH_K)]
    while settings.search_k is None:
        last = points[-1]
        # Inspecting more nodes than there are items costs more than reading them all; an eighth gains little any more,
        # but stored items decide whether Annoy serves at all.
        for_items = last.lower < settings.recall_target and last.search_k < len(audit.vectors)
        for_others = last.outside_lower < settings.recall_target and last.search_k * _SHARE < len(audit.vectors)
        if not (for_items or for_others):
            break
        points.append(audit.point(index, trees, math.ceil(last.search_k * _STEP)))
    return points


def _first_met(points: list[Point], settings: IndexSettings) -> Point | None:
    """The least search at which stored items meet the target."""
    return next((point for point in points if point.lower >= settings.recall_target), None)


def _fastest(frontier: list[Point], settings: IndexSettings) -> Point:
    """Of each number of trees the least search that meets the target, of these the fastest; the last where none does.

    Only a budget of time lets there be more than one of them.
    """
    by_trees = [
        _first_met([p for p in frontier if p.trees == trees], settings) for trees in {p.trees for p in frontier}
    ]
    meeting = [point for point in by_trees if point is not None]
    return min(meeting, key=lambda point: point.cpu_ms, default=frontier[-1])


def _for_outside(frontier: list[Point], chosen: Point, settings: IndexSettings, exact_ms: float) -> Point | None:
    """The least search at which queries from outside meet the target; `None` where none does or exact is as fast."""
    meeting = (
        point for point in frontier if point.trees == chosen.trees and point.outside_lower >= settings.recall_target
    )
    found = min(meeting, key=lambda point: point.search_k, default=None)
    return found if found is not None and found.cpu_ms < exact_ms else None


def _enough_for_classes(
    classes: LabelAudit, vectors: np.ndarray, index: AnnoyFile, chosen: Point, settings: IndexSettings
) -> tuple[int, list[dict[str, Any]]]:
    """The search at which every class meets the target, or nearly: up to three times as much; and recall by label.

    A little more search for all costs less than exact search for the products of a class.
    """
    search_k, by_label = chosen.search_k, classes.measured(vectors, index, chosen.search_k)
    if settings.search_k is not None or chosen.lower < settings.recall_target:
        return search_k, by_label
    for _ in range(_CLASS_STEPS):
        if search_k >= len(vectors) or not any(entry["below_target"] for entry in by_label):
            break
        search_k = math.ceil(search_k * _STEP)
        by_label = classes.measured(vectors, index, search_k)
    return search_k, by_label


def _choice(settings: IndexSettings, chosen: Point, exact_ms: float, annoy_ms: float) -> tuple[str, bool | None, str]:
    """What serves, whether it keeps the budget of time (`None`: there is none), and why in words."""
    times = f"exact {exact_ms:.3f} ms, annoy {annoy_ms:.3f} ms a query"
    if settings.serve_with != "auto":
        serve_with, reason = settings.serve_with, f"the setting serve_with says so ({times})"
    elif chosen.lower < settings.recall_target:
        serve_with = "exact"
        reason = f"the recall target {settings.recall_target} is out of reach: {chosen.lower:.4f} ({times})"
    elif exact_ms <= annoy_ms:
        serve_with, reason = "exact", f"exact search is at least as fast ({times})"
    else:
        serve_with, reason = "annoy", f"faster at the recall target ({times})"
    if not settings.query_ms:
        return serve_with, None, reason
    within = (exact_ms if serve_with == "exact" else chosen.cpu_ms) <= settings.query_ms
    budget = f"the budget of {settings.query_ms:g} ms a query (VETRINA_QUERY_MS)"
    if within:
        return serve_with, True, f"{reason}; within {budget}"
    return serve_with, False, f"{reason}; over {budget}: recall comes first"


def _exact_ms(vectors: np.ndarray, truth: Truth) -> float:
    keep = min(truth.k + 1, len(vectors) - 1)
    size = max(1, BLOCK_CELLS // vectors.shape[1])

    def search(vector: np.ndarray) -> None:
        # In blocks, as the search engine reads them.
        parts = [vectors[at : at + size] @ vector for at in range(0, len(vectors), size)]
        scores = np.concatenate(parts)
        np.argpartition(scores, len(scores) - 1 - keep)[-keep:]

    return _median_ms(search, truth.asked[:_TIMED])


def _annoy_ms(index: AnnoyFile, truth: Truth, search_k: int) -> float:
    return _median_ms(lambda vector: index.nearest(vector, truth.k + 1, search_k), truth.asked[:_TIMED])


def _median_ms(search: Callable[[np.ndarray], object], asked: np.ndarray) -> float:
    """Median, since other work on the machine makes some queries slow; after one that reads the files in."""
    search(asked[0])
    times = []
    for vector in asked:
        start = time.perf_counter()
        search(vector)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3
