"""Asking the search for the neighbours of many products, as it serves them and exactly, with the time it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vetrina.pictures.collecting import Progress
from vetrina.search.answers import Answer
from vetrina.search.engine import SearchEngine


@dataclass(frozen=True, slots=True)
class Answers:
    """What the search said to q queries.

    Attributes:
        served: product ids of each answer, best first.
        recall: share of the k nearest by exact search that the served answer has among its first k, float64 [q].
            A product that ties with the k-th counts as one of them.
        seconds: that each served search took, float64 [q]; cpu_seconds: of the processor, all threads together.
        visited: pictures and crops that were compared with each row of the query, float64 [q].
        exact: whether the served answer was exact, bool [q].
    """

    served: list[list[str]]
    recall: np.ndarray
    seconds: np.ndarray
    cpu_seconds: np.ndarray
    visited: np.ndarray
    exact: np.ndarray


def ask(
    whole: SearchEngine,
    searched: SearchEngine,
    queries: Sequence[str],
    *,
    k: int,
    depth: int,
    hidden: Mapping[str, Sequence[str]] | None = None,
    progress: Progress = lambda done, total: None,
) -> Answers:
    """Ask for each product what else looks like it.

    Args:
        whole: knows the queries' vectors.
        searched: knows the products that may be found.
        queries: product ids; none is an answer to itself.
        k: how many count for the recall; depth: how many are asked for, at least k.
        hidden: further products not to show, by query.
    """
    count = len(queries)
    times, visited = np.zeros((2, count)), np.zeros(count)
    found = Answers([], np.ones(count), times[0], times[1], visited, np.zeros(count, bool))
    for place, product_id in enumerate(queries):
        query = whole.product_query(product_id)
        exclude = [product_id, *(hidden or {}).get(product_id, ())]
        if place == 0:
            searched.search(query, depth, exclude=exclude)  # the first search also pays for reading the index
        started, cpu_started = time.perf_counter(), time.process_time()
        answer = searched.search(query, depth, exclude=exclude)
        found.seconds[place] = time.perf_counter() - started
        found.cpu_seconds[place] = time.process_time() - cpu_started
        found.exact[place] = answer.exact
        found.served.append([neighbour.product_id for neighbour in answer.neighbours])
        found.visited[place] = searched.visited(query, answer)
        if not answer.exact:
            found.recall[place] = recall_against(answer, searched.search(query, depth, exclude=exclude, exact=True), k)
        progress(place + 1, count)
    return found


def recall_against(served: Answer, exact: Answer, k: int) -> float:
    """Share of the k nearest of the exact answer that the served one has among its first k; ties count as found."""
    nearest = [neighbour.score for neighbour in exact.neighbours[:k]]
    if not nearest:
        return 1.0
    got = sum(neighbour.score >= nearest[-1] for neighbour in served.neighbours[:k])
    return min(1.0, got / len(nearest))
