"""How many trees and how much search the Annoy file needs, measured against exact search; and whether it pays.

Queries are stored items, each label with its share, and as many vectors from outside the catalog; the recall of both
must meet the target. Choices depend on counts and cosines only, never on the clock: the same vectors and seed give
the same file. Only `serve_with` looks at the time, and the number of trees where a budget of time is set
(`IndexSettings.query_ms`).

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

    @property
    def bound(self) -> float:
        """What must reach the target: the lower of the two bounds."""
        return min(self.lower, self.outside_lower)

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
        chosen: the setting, one of `frontier`: all that were measured, in order.
        by_label: {"label", "recall", "lower_95", "queries", "below_target"} per label; label `None` are items
            without one.
        exact_ms, annoy_ms: median time of one query, for the same queries.
        within_budget: whether a query takes no longer than the settings allow; `None` without such a setting.
    """

    chosen: Point
    frontier: list[Point]
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
        """Whether both bounds reach the target."""
        return self.chosen.bound >= self.target

    def as_json(self) -> dict[str, Any]:
        """The figures for the manifest."""
        return {
            "recall": self.chosen.recall,
            "lower_95": self.chosen.bound,
            "k": self.k,
            "queries": self.queries,
            "outside": {
                "recall": self.chosen.outside_recall,
                "lower_95": self.chosen.outside_lower,
                "queries": self.outside_queries,
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
    """The queries of both kinds with their truth; the means themselves are judged when every item is a query."""

    vectors: np.ndarray
    inside: Truth
    outside: Truth
    census: bool

    def point(self, index: AnnoyFile, trees: int, search_k: int) -> Point:
        # The first queries also pay for reading the file in, so those that are timed come second.
        beyond = recalls(self.vectors, index, self.outside, search_k)
        within, cpu_ms = timed_recalls(self.vectors, index, self.inside, search_k)
        return Point(
            trees,
            search_k,
            float(within.mean()),
            self._judged(within),
            float(beyond.mean()),
            self._judged(beyond),
            cpu_ms,
        )

    def _judged(self, found: np.ndarray) -> float:
        return float(found.mean()) if self.census else lower_bound(found, max(1, self.inside.k))


def tune(vectors: np.ndarray, labels: np.ndarray, file: Path, settings: IndexSettings, device: str = "cpu") -> Tuned:
    """Build the Annoy file and measure it.

    Of the settings that meet the recall target it is the one that visits fewest nodes with the fewest trees; with a
    budget of time there are more trees until a query keeps it, and the fastest is taken. Recall comes first.

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
    frontier: list[Point] = []
    trees = settings.trees or _FIRST_TREES
    while True:
        index = _built(vectors, file, trees, settings.seed)
        frontier += _swept(audit, index, trees, settings)
        if _settled(frontier[-1], settings) or settings.trees is not None or trees >= _MOST_TREES:
            break
        index.close()
        trees *= 2
    chosen = _fastest(frontier, settings)
    if chosen.trees != trees:
        index.close()
        index = _built(vectors, file, chosen.trees, settings.seed)

    classes = LabelAudit.of(vectors, labels, settings, rng, device)
    search_k, by_label = chosen.search_k, classes.measured(vectors, index, chosen.search_k)
    # A little more search for all costs less than exact search for a class.
    if settings.search_k is None and chosen.bound >= settings.recall_target:
        for _ in range(_CLASS_STEPS):
            if search_k >= count or not any(entry["below_target"] for entry in by_label):
                break
            search_k = math.ceil(search_k * _STEP)
            by_label = classes.measured(vectors, index, search_k)
    if search_k != chosen.search_k:
        chosen = audit.point(index, chosen.trees, search_k)
        frontier.append(chosen)
    exact_ms = _exact_ms(vectors, audit.inside)
    annoy_ms = _annoy_ms(index, audit.inside, chosen.search_k)
    index.close()
    serve_with, within_budget, reason = _choice(settings, chosen, exact_ms, annoy_ms)
    return Tuned(
        chosen=chosen,
        frontier=frontier,
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


def _built(vectors: np.ndarray, file: Path, trees: int, seed: int) -> AnnoyFile:
    file.unlink(missing_ok=True)
    build_file(vectors, file, trees=trees, seed=seed)
    return AnnoyFile(file, vectors)


def _swept(audit: _Audit, index: AnnoyFile, trees: int, settings: IndexSettings) -> list[Point]:
    """Points of growing search until the target is met."""
    points = [audit.point(index, trees, settings.search_k or _FIRST_SEARCH_K)]
    # Inspecting more nodes than there are items costs more than reading them all.
    while (
        points[-1].bound < settings.recall_target
        and settings.search_k is None
        and points[-1].search_k < len(audit.vectors)
    ):
        points.append(audit.point(index, trees, math.ceil(points[-1].search_k * _STEP)))
    return points


def _settled(point: Point, settings: IndexSettings) -> bool:
    in_time = not settings.query_ms or point.cpu_ms <= settings.query_ms
    return point.bound >= settings.recall_target and in_time


def _fastest(frontier: list[Point], settings: IndexSettings) -> Point:
    """The fastest point that meets the target; the last where none does. Only a budget lets several meet it."""
    meeting = [point for point in frontier if point.bound >= settings.recall_target]
    return min(meeting, key=lambda point: point.cpu_ms, default=frontier[-1])


def _choice(settings: IndexSettings, chosen: Point, exact_ms: float, annoy_ms: float) -> tuple[str, bool | None, str]:
    """What serves, whether it keeps the budget of time (`None`: there is none), and why in words."""
    times = f"exact {exact_ms:.3f} ms, annoy {annoy_ms:.3f} ms a query"
    if settings.serve_with != "auto":
        serve_with, reason = settings.serve_with, f"the setting serve_with says so ({times})"
    elif chosen.bound < settings.recall_target:
        serve_with = "exact"
        reason = f"the recall target {settings.recall_target} is out of reach: {chosen.bound:.4f} ({times})"
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
    return serve_with, False, f"{reason}; over {budget}, which no setting that was measured keeps: recall comes first"


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
