"""Recall of an Annoy file, measured against exact search: of single queries, their mean with its bound, and by label.

A stored item that asks does not count as found. A neighbour as near as the true k-th counts as found, so copies of one
picture do not look like misses.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from vetrina.index.annoy_file import AnnoyFile
from vetrina.index.device import choose_device
from vetrina.index.settings import IndexSettings

NO_LABEL = -1
"""The code of items without a label."""
_Z95 = 1.6448536269514722  # one-sided 95 % quantile of the normal distribution
_MOST_EXTRA = 4000  # queries of all labels together, where there are no more labels than that
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
    """What exact search says of q queries.

    Attributes:
        queries: int64 [q], the row that asks; −1 for a vector from outside.
        asked: float32 [q, d] unit rows.
        kth: float32 [q], cosine of the k-th nearest other item.
        k: how many were asked for, or as many others as there are.
    """

    queries: np.ndarray
    asked: np.ndarray
    kth: np.ndarray
    k: int


def exact_truth(vectors: np.ndarray, queries: np.ndarray, k: int, device: str = "cpu") -> Truth:
    """The cosine of the k-th nearest other item of each query row; k is cut to the items there are."""
    return _truth(vectors, queries, vectors[queries], k, device)


def outside_truth(vectors: np.ndarray, asked: np.ndarray, k: int, device: str = "cpu") -> Truth:
    """The same for vectors from outside: float32 [q, d] unit rows."""
    return _truth(vectors, np.full(len(asked), -1), asked, k, device)


def _truth(vectors: np.ndarray, queries: np.ndarray, asked: np.ndarray, k: int, device: str) -> Truth:
    count, dims = vectors.shape
    k = min(k, count - 1)
    if k == 0 or not len(queries):
        return Truth(queries, asked, np.full(len(queries), -1.0, np.float32), k)
    work = 2.0 * len(queries) * count * dims
    rows, scores = choose_device(device, work).top_k(asked, vectors, k + 1)
    # Without the query itself the k-th is the last; it is the last but one where copies keep the query off the list.
    itself = (rows == queries[:, None]).any(axis=1)
    return Truth(queries, asked, np.where(itself, scores[:, k], scores[:, k - 1]), k)


def recalls(vectors: np.ndarray, index: AnnoyFile, truth: Truth, search_k: int) -> np.ndarray:
    """Recall of each query: float64 [q], the share of its true k nearest that Annoy returns."""
    return timed_recalls(vectors, index, truth, search_k)[0]


def timed_recalls(vectors: np.ndarray, index: AnnoyFile, truth: Truth, search_k: int) -> tuple[np.ndarray, float]:
    """Recall of each query, and the mean CPU time of one search in milliseconds."""
    start = time.thread_time()
    answers = [index.nearest(vector, truth.k + 1, search_k) for vector in truth.asked]
    cpu_ms = (time.thread_time() - start) * 1e3 / max(1, len(answers))
    if truth.k == 0:
        return np.ones(len(answers)), cpu_ms
    found = np.zeros(len(answers))
    for at, (query, vector, rows) in enumerate(zip(truth.queries, truth.asked, answers, strict=True)):
        others = rows[rows != query][: truth.k]
        found[at] = np.count_nonzero(vectors[others] @ vector >= truth.kth[at] - _SAME)
    return found / truth.k, cpu_ms


@dataclass(frozen=True, slots=True)
class LabelAudit:
    """Queries of every label with their truth, the queries of a label together.

    Attributes:
        labels: (code, number of queries, whether these are all items of the label), most items first.
    """

    labels: list[tuple[int, int, bool]]
    truth: Truth
    target: float

    @staticmethod
    def of(
        vectors: np.ndarray, labels: np.ndarray, settings: IndexSettings, rng: np.random.Generator, device: str
    ) -> LabelAudit:
        """As many queries of each label as of the whole; fewer of each, but some, when there are many labels."""
        codes, sizes = np.unique(labels, return_counts=True)
        caps = range(settings.recall_sample, 1, -1)
        cap = next((cap for cap in caps if np.minimum(sizes, cap).sum() <= _MOST_EXTRA), 1)
        chosen: list[tuple[int, int, bool]] = []
        parts: list[np.ndarray] = []
        for code, size in sorted(zip(codes.tolist(), sizes.tolist(), strict=True), key=lambda entry: -entry[1]):
            number = min(size, cap)
            chosen.append((code, number, number == size))
            parts.append(np.sort(rng.choice(np.flatnonzero(labels == code), number, replace=False)))
        return LabelAudit(
            chosen,
            exact_truth(vectors, np.concatenate(parts), settings.recall_k, device),
            settings.recall_target,
        )

    def measured(self, vectors: np.ndarray, index: AnnoyFile, search_k: int) -> list[dict[str, Any]]:
        """Recall per label code; see `Tuned.by_label`.

        A label is below the target when the lower bound is, or the mean where all its items were asked for or too few
        for any bound to reach the target. Items without a label (−1) are no class, so never that.
        """
        found = recalls(vectors, index, self.truth, search_k)
        k = max(1, self.truth.k)
        out, at = [], 0
        for code, number, census in self.labels:
            part = found[at : at + number]
            at += number
            mean = float(part.mean())
            lower = mean if census else lower_bound(part, k)
            provable = lower_bound(np.ones(number), k) >= self.target
            below = (lower if provable else mean) < self.target
            out.append(
                {
                    "label": code,
                    "recall": mean,
                    "lower_95": lower,
                    "queries": number,
                    "below_target": below and code != NO_LABEL,
                }
            )
        return out
