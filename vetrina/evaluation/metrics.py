"""Quality of one ranked answer: average precision, nDCG, precision and recall at k, by their standard definitions.

`hits` says of each result, best first, whether it is relevant; it may be shorter than k when no more exist. Results
beyond k do not count. `measures` computes the same for many answers at once.

Sources: C. D. Manning, P. Raghavan, H. Schütze, "Introduction to Information Retrieval" (2008), chapter 8, for
precision, recall and average precision; K. Järvelin, J. Kekäläinen, "Cumulated gain-based evaluation of IR
techniques" (2002) for nDCG. The normaliser min(k, relevant) of average precision is that of most retrieval
benchmarks: k places cannot hold more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def average_precision_at_k(hits: Sequence[bool], relevant: int, k: int) -> float:
    """Sum of precision@i over the relevant positions i ≤ k, divided by min(k, relevant): 1 is the best possible.

    Args:
        relevant: how many relevant items could have been found, whether they were or not.

    Raises:
        ValueError: k below 1, nothing relevant (the measure is not defined), or more hits than relevant items.
    """
    _check(hits, relevant, k)
    found, total = 0, 0.0
    for position, hit in enumerate(hits[:k], start=1):
        if hit:
            found += 1
            total += found / position
    return total / min(k, relevant)


def mean_average_precision_at_k(answers: Sequence[tuple[Sequence[bool], int]], k: int) -> float:
    """mAP@k: mean of `average_precision_at_k` over (hits, relevant) of every query; without queries a ValueError."""
    if not answers:
        raise ValueError("mAP of no queries is not defined")
    return sum(average_precision_at_k(hits, relevant, k) for hits, relevant in answers) / len(answers)


def precision_at_k(hits: Sequence[bool], k: int) -> float:
    """Share of k places that hold a relevant result; a place left empty holds none. "Accuracy" of k neighbours."""
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    return sum(map(bool, hits[:k])) / k


def recall_at_k(hits: Sequence[bool], relevant: int, k: int) -> float:
    """Share of the relevant items that are among the first k. Raises ValueError as `average_precision_at_k`."""
    _check(hits, relevant, k)
    return sum(map(bool, hits[:k])) / relevant


def ndcg_at_k(hits: Sequence[bool], relevant: int, k: int) -> float:
    """Sum of 1 / log2(1 + i) over the relevant positions i ≤ k, divided by that of the best possible answer.

    Gains are binary. Raises ValueError as `average_precision_at_k`.
    """
    _check(hits, relevant, k)
    gained = sum(1 / math.log2(1 + position) for position, hit in enumerate(hits[:k], start=1) if hit)
    return gained / sum(1 / math.log2(1 + position) for position in range(1, min(k, relevant) + 1))


def _check(hits: Sequence[bool], relevant: int, k: int) -> None:
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    if relevant < 1:
        raise ValueError("Nothing is relevant, so the measure is not defined; leave such queries out")
    if sum(map(bool, hits)) > relevant:
        raise ValueError(f"{sum(map(bool, hits))} hits, but only {relevant} relevant items")
