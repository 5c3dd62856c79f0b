"""Whether the table of similar products is made exactly or by the index, and how much of it the index finds.

Counts decide and what is measured on a sample, never the clock: a table that is made again, or that goes on after an
interruption, is made in the same way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vetrina.index.candidates import AnnoySearch
from vetrina.index.reader import Index
from vetrina.index.recall import lower_bound
from vetrina.index.settings import BY_INDEX, EXACT, TableSettings
from vetrina.index.table import SIMILAR_SCHEMA

EXACT_WORK = 3e13
"""Multiplications and additions up to which all items are compared: those of 340 000 items of 128 dimensions, some ten
minutes of processor time (bench/README.md)."""
BY_CLASS = 5.0
"""How many times as much it takes where products of the same class come first."""
_STEP = 1.33
_SHARE = 8  # visiting more than one node for eight items takes longer than comparing all
_DEEPEST = 4  # nodes for each item: trees share items, so as many nodes as items do not reach all of them

Lines = Callable[[np.ndarray, AnnoySearch | None], Iterable[pa.Table]]
"""The lines of some products (int64 positions, ascending), exactly or by a search."""


@dataclass(frozen=True, slots=True)
class TableSearch:
    """How a table is made.

    Attributes:
        search: by which the index finds the lines; `None`: exactly.
        why: in words.
        recall: of the lines that the index finds, see `_measured`; empty where nothing can be missed.
    """

    search: AnnoySearch | None
    why: str
    recall: dict[str, Any]

    @property
    def made_by(self) -> str:
        """EXACT or BY_INDEX."""
        return EXACT if self.search is None else BY_INDEX


def exact_work(index: Index) -> float:
    """Multiplications and additions that it takes to compare all items of an index."""
    items, dims = index.rows.vectors.shape
    return 2.0 * items * items * dims


def table_search(index: Index, settings: TableSettings, lines: Lines, workers: int = 1) -> TableSearch:
    """How to make the table of an index.

    The index is asked with as much search as it serves with, and more until the lower 95 % bound of what it finds
    reaches the recall target of its build. Where it does not reach that, the table is exact unless the setting says
    otherwise.

    Args:
        workers: products to search for at the same time.
    """
    items, dims = index.rows.vectors.shape
    if settings.made_by == EXACT:
        return TableSearch(None, "the setting VETRINA_TABLE says so", {})
    work = exact_work(index) * (BY_CLASS if settings.same_class else 1.0)
    if settings.made_by != BY_INDEX and work <= EXACT_WORK:
        return TableSearch(None, f"{items} items of {dims} dimensions are few enough to compare all", {})
    deepest = _DEEPEST * items if settings.made_by == BY_INDEX else items // _SHARE
    search, recall = _deep_enough(index, settings.neighbours, lines, workers, deepest)
    if settings.made_by == BY_INDEX:
        return TableSearch(search, "the setting VETRINA_TABLE says so", recall)
    if recall["met"]:
        return TableSearch(search, f"{items} items of {dims} dimensions are too many to compare all", recall)
    found = f"{recall['lower_95']:.4f} of {recall['target']}"
    return TableSearch(None, f"the recall target is out of the index's reach: {found}", {})


def _deep_enough(
    index: Index, neighbours: int, lines: Lines, workers: int, deepest: int
) -> tuple[AnnoySearch, dict[str, Any]]:
    """The least search that meets the target, or the first that visits so many nodes, and what it finds."""
    rows, manifest = index.rows, index.manifest
    rng = np.random.default_rng(manifest.settings["seed"])
    count = min(manifest.settings["recall_sample"], rows.products)
    sample = np.sort(rng.choice(rows.products, count, replace=False))
    names = rows.product_ids(sample)
    truth = _by_product(lines(sample, None))
    k, target = max(1, min(neighbours, rows.products - 1)), manifest.settings["recall_target"]
    nodes = int(manifest.annoy["search_k"])
    while True:
        search = AnnoySearch(index.annoy, nodes, workers)
        found = _by_product(lines(sample, search))
        shares = np.array([_share(truth.get(name), found.get(name)) for name in names])
        recall = _measured(shares, k, census=count == rows.products)
        met = recall["lower_95"] >= target
        if met or nodes >= deepest:
            return search, {**recall, "target": target, "met": met, "search_k": nodes}
        nodes = math.ceil(nodes * _STEP)


def _measured(shares: np.ndarray, k: int, *, census: bool) -> dict[str, Any]:
    """Mean share of the true lines of a product that are found, and its one-sided 95 % lower bound.

    Args:
        census: every product was asked for, so the mean is no estimate.
    """
    mean = float(shares.mean())
    lower = mean if census else lower_bound(shares, k)
    return {"recall": mean, "lower_95": lower, "k": k, "queries": len(shares)}


def _share(truth: Counter[tuple[bool, float]] | None, found: Counter[tuple[bool, float]] | None) -> float:
    """The share of true lines that are found. One as good as a true line stands for it: copies of one picture tie."""
    if not truth:
        return 1.0
    return (truth & (found or Counter())).total() / truth.total()


def _by_product(tables: Iterable[pa.Table]) -> dict[str, Counter[tuple[bool, float]]]:
    """The lines of each product by what makes them good: the same class, and the score."""
    table = pa.concat_tables([SIMILAR_SCHEMA.empty_table(), *tables])
    lists: dict[str, Counter[tuple[bool, float]]] = {}
    columns = (table[name].to_pylist() for name in ("product_id", "same_class", "score"))
    for product_id, same_class, score in zip(*columns, strict=True):
        lists.setdefault(product_id, Counter())[same_class, score] += 1
    return lists
