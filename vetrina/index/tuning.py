"""How many trees and how much search the Annoy file needs, measured against exact search; and whether it pays.

Queries are stored items; the item itself does not count as found. A neighbour as near as the true k-th counts as
found, so copies of one picture do not look like misses. Choices depend on counts and cosines only, never on the
clock: the same vectors and seed give the same file. Only `serve_with` looks at the time.

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
from vetrina.index.device import choose_device
from vetrina.index.scoring import BLOCK_CELLS
from vetrina.index.settings import IndexSettings

_Z95 = 1.6448536269514722  # one-sided 95 % quantile of the normal distribution
_STEP = 1.33
_FIRST_TREES, _MOST_TREES = 40, 160
_FIRST_SEARCH_K = 400
_PER_LABEL, _MOST_EXTRA = 20, 1000
_TIMED = 50
_SAME = 1e-6  # two float32 cosines nearer than this are equal


def lower_bound(recalls: np.ndarray, k: int) -> float:
    """One-sided 95 % lower bound of the mean recall from the recalls of single queries.

    Wilson's bound with as many trials as the spread between queries justifies: one per neighbour when misses are
    scattered, one per query when they come together. The spread is judged as if one more query had found nothing,
    which stands for the rare bad ones that a sample misses: without it up to 10 % of draws overstate a recall of
    0.995, with it 5 % at most. 400 perfect queries give 0.9933; a target above that needs a larger sample.

    Args:
        recalls: float [q] in 0..1, each a multiple of 1/k.
        k: neighbours per query.
    """
    count = len(recalls)
    if count == 0:
        return 0.0
    with_miss = np.append(recalls, 0.0)
    mean, variance = float(with_miss.mean()), float(with_miss.var())
    trials = float(count)
    if variance > 0:
        trials = min(max(mean * (1.0 - mean) / variance, 1.0), float(k)) * count
    share = float(recalls.mean())
    z2 = _Z95**2 / trials
    spread = _Z95 * math.sqrt(share * (1.0 - share) / trials + z2 / (4.0 * trials))
    return max(0.0, (share + z2 / 2.0 - spread) / (1.0 + z2))


@dataclass(frozen=True, slots=True)
class Truth:
    """What exact search says: queries int64 [q] (rows), kth float32 [q] (cosine of the k-th nearest), k used."""

    queries: np.ndarray
    kth: np.ndarray
    k: int


def exact_truth(vectors: np.ndarray, queries: np.ndarray, k: int, device: str = "cpu") -> Truth:
    """The cosine of the k-th nearest other item of each query row; k is cut to the items there are."""
    count, dims = vectors.shape
    k = min(k, count - 1)
    if k == 0 or not len(queries):
        return Truth(queries, np.full(len(queries), -1.0, np.float32), k)
    work = 2.0 * len(queries) * count * dims
    rows, scores = choose_device(device, work).top_k(vectors[queries], vectors, k + 1)
    # Without the query itself the k-th is the last; it is the last but one where copies keep the query off the list.
    itself = (rows == queries[:, None]).any(axis=1)
    return Truth(queries, np.where(itself, scores[:, k], scores[:, k - 1]), k)


def recalls(vectors: np.ndarray, index: AnnoyFile, truth: Truth, search_k: int) -> np.ndarray:
    """Recall of each query: float64 [q], the share of its true k nearest that Annoy returns."""
    if truth.k == 0:
        return np.ones(len(truth.queries))
    found = np.zeros(len(truth.queries))
    for at, query in enumerate(truth.queries):
        vector = vectors[query]
        rows = index.nearest(vector, truth.k + 1, search_k)
        rows = rows[rows != query][: truth.k]
        found[at] = np.count_nonzero(vectors[rows] @ vector >= truth.kth[at] - _SAME)
    return found / truth.k


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was chosen, and the figures measured with it.

    Attributes:
        recall: mean over the sample; `lower` its one-sided 95 % lower bound (the mean itself when every item
            was a query).
        by_label: {"label", "recall", "queries"} per label; label `None` are items without one.
        exact_ms, annoy_ms: median time of one query, for the same queries.
    """

    trees: int
    search_k: int
    recall: float
    lower: float
    k: int
    queries: int
    target: float
    met: bool
    by_label: list[dict[str, Any]]
    exact_ms: float
    annoy_ms: float
    serve_with: str
    reason: str
    note: str

    def as_json(self) -> dict[str, Any]:
        """The figures for the manifest."""
        return {
            "recall": self.recall,
            "lower_95": self.lower,
            "k": self.k,
            "queries": self.queries,
            "target": self.target,
            "met": self.met,
            "by_label": self.by_label,
            "exact_ms": self.exact_ms,
            "annoy_ms": self.annoy_ms,
            "note": self.note,
        }


def tune(vectors: np.ndarray, labels: np.ndarray, file: Path, settings: IndexSettings, device: str = "cpu") -> Tuned:
    """Build the Annoy file and measure it.

    Args:
        vectors: float32 [n, d] unit rows, n ≥ 1; may be a memory map.
        labels: int [n], code of each item's label (the codes only group; see `label_recalls`).
        file: where the Annoy file goes.
        device: where exact search is done.

    Raises:
        StoreError: the file cannot be written.
        IndexDamaged: what Annoy wrote does not find its own items.
    """
    rng = np.random.default_rng(settings.seed)
    count, dims = vectors.shape
    census = count <= settings.recall_sample
    sample = np.sort(rng.choice(count, min(count, settings.recall_sample), replace=False))
    truth = exact_truth(vectors, sample, settings.recall_k, device)

    def judged(index: AnnoyFile, search_k: int) -> tuple[np.ndarray, float]:
        found = recalls(vectors, index, truth, search_k)
        return found, float(found.mean()) if census else lower_bound(found, max(1, truth.k))

    trees = settings.trees or _FIRST_TREES
    while True:
        file.unlink(missing_ok=True)
        build_file(vectors, file, trees=trees, seed=settings.seed)
        index = AnnoyFile(file, vectors)
        search_k = settings.search_k or _FIRST_SEARCH_K
        found, lower = judged(index, search_k)
        # Inspecting more nodes than there are items costs more than reading them all.
        while lower < settings.recall_target and settings.search_k is None and search_k < count:
            search_k = math.ceil(search_k * _STEP)
            found, lower = judged(index, search_k)
        met = lower >= settings.recall_target
        if met or settings.trees is not None or trees >= _MOST_TREES:
            break
        index.close()
        trees *= 2

    by_label = _label_recalls(vectors, labels, index, search_k, settings, rng, device)
    exact_ms, annoy_ms = _exact_ms(vectors, truth), _annoy_ms(vectors, index, truth, search_k)
    index.close()
    serve_with, reason = _choice(settings, met, lower, exact_ms, annoy_ms)
    note = f"{count} items in {dims} dimensions share one Annoy leaf: exact by itself" if count <= dims + 2 else ""
    return Tuned(
        trees=trees,
        search_k=search_k,
        recall=float(found.mean()),
        lower=lower,
        k=truth.k,
        queries=len(sample),
        target=settings.recall_target,
        met=met,
        by_label=by_label,
        exact_ms=exact_ms,
        annoy_ms=annoy_ms,
        serve_with=serve_with,
        reason=reason,
        note=note,
    )


def _choice(settings: IndexSettings, met: bool, lower: float, exact_ms: float, annoy_ms: float) -> tuple[str, str]:
    times = f"exact {exact_ms:.3f} ms, annoy {annoy_ms:.3f} ms a query"
    if settings.serve_with != "auto":
        return settings.serve_with, f"the setting serve_with says so ({times})"
    if not met:
        return "exact", f"the recall target {settings.recall_target} is out of reach: {lower:.4f} ({times})"
    if exact_ms <= annoy_ms:
        return "exact", f"exact search is at least as fast ({times})"
    return "annoy", f"faster at the recall target ({times})"


def _label_recalls(
    vectors: np.ndarray,
    labels: np.ndarray,
    index: AnnoyFile,
    search_k: int,
    settings: IndexSettings,
    rng: np.random.Generator,
    device: str,
) -> list[dict[str, Any]]:
    """Recall per label code, most items first: up to 20 queries each; {"label": code, "recall", "queries"}."""
    codes, counts = np.unique(labels, return_counts=True)
    chosen: list[tuple[int, np.ndarray]] = []
    spent = 0
    for code in codes[np.argsort(-counts, kind="stable")]:
        members = np.flatnonzero(labels == code)
        queries = np.sort(rng.choice(members, min(len(members), _PER_LABEL), replace=False))
        if spent + len(queries) > _MOST_EXTRA:
            break
        spent += len(queries)
        chosen.append((int(code), queries))
    truth = exact_truth(vectors, np.concatenate([queries for _, queries in chosen]), settings.recall_k, device)
    found = recalls(vectors, index, truth, search_k)
    out, at = [], 0
    for code, queries in chosen:
        part = found[at : at + len(queries)]
        out.append({"label": code, "recall": float(part.mean()), "queries": len(queries)})
        at += len(queries)
    return out


def _exact_ms(vectors: np.ndarray, truth: Truth) -> float:
    keep = min(truth.k + 1, len(vectors) - 1)
    size = max(1, BLOCK_CELLS // vectors.shape[1])

    def search(query: int) -> None:
        # In blocks, as the search engine reads them.
        parts = [vectors[at : at + size] @ vectors[query] for at in range(0, len(vectors), size)]
        scores = np.concatenate(parts)
        np.argpartition(scores, len(scores) - 1 - keep)[-keep:]

    return _median_ms(search, truth.queries[:_TIMED])


def _annoy_ms(vectors: np.ndarray, index: AnnoyFile, truth: Truth, search_k: int) -> float:
    return _median_ms(lambda query: index.nearest(vectors[query], truth.k + 1, search_k), truth.queries[:_TIMED])


def _median_ms(search: Callable[[int], object], queries: np.ndarray) -> float:
    """Median, since other work on the machine makes some queries slow; after one that reads the files in."""
    search(int(queries[0]))
    times = []
    for query in queries:
        start = time.perf_counter()
        search(int(query))
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e3
