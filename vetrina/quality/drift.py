"""Drift: whether a batch is like the batches before it, in its mix of classes and in how near its pictures are.

The figures of every batch are kept, so that judging one reads a bounded number of small files, however many
batches there are. With few data nothing is said: a warning that cries wolf is not read.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vetrina.catalog.batches import Batch, list_batches
from vetrina.embedding.vectors import embeddings_path
from vetrina.errors import StoreError
from vetrina.quality.verdict import Verdict
from vetrina.store import Store
from vetrina.words import counted

CLASS_MIX = "class_mix_is_usual"
NEAREST = "neighbour_distance_is_usual"
NOTHING = "(nothing detected)"
_BASELINE = 20  # earlier batches compared with
_LOOKED_AT = 60  # earlier batches asked for figures
_FEWEST_BATCHES, _FEWEST_PRODUCTS = 3, 30
_REFERENCE_BATCHES, _REFERENCE_EACH, _QUERIES = 8, 256, 64


@dataclass(frozen=True, slots=True)
class BatchFigures:
    """What a batch looks like.

    Attributes:
        products: how many have a vector.
        classes: label → crops; NOTHING counts products without a crop.
        distance: median cosine distance of its pictures to the nearest of a sample of earlier ones; None without.
        reference: pictures in that sample.
    """

    products: int
    classes: dict[str, int]
    distance: float | None
    reference: int


def measure_batch(store: Store, batch: Batch, embeddings: str) -> BatchFigures:
    """Measure a batch against earlier ones, and keep the figures."""
    whole = _sample(store, batch, embeddings, _QUERIES)
    products, classes = _classes(store, batch, embeddings)
    earlier = [other for other in list_batches(store) if other.sequence < batch.sequence]
    samples: list[np.ndarray] = []
    for other in reversed(earlier[-_LOOKED_AT:]):
        found = _sample(store, other, embeddings, _REFERENCE_EACH)
        if len(found):
            samples.append(found)
        if len(samples) == _REFERENCE_BATCHES:
            break
    reference = np.concatenate(samples) if samples else whole[:0]
    distance = None
    if len(whole) and len(reference):
        distance = float(np.median(1.0 - (whole @ reference.T).max(axis=1)))
    figures = BatchFigures(products, dict(classes), distance, len(reference))
    store.write_json(_path(batch, embeddings), asdict(figures), durable=False)
    return figures


def earlier_figures(store: Store, batch: Batch, embeddings: str) -> list[BatchFigures]:
    """Figures of the batches before this one, newest first, at most 20."""
    found: list[BatchFigures] = []
    earlier = [other for other in list_batches(store) if other.sequence < batch.sequence]
    for other in reversed(earlier[-_LOOKED_AT:]):
        figures = kept_figures(store, other, embeddings)
        if figures is not None:
            found.append(figures)
        if len(found) == _BASELINE:
            break
    return found


def kept_figures(store: Store, batch: Batch, embeddings: str) -> BatchFigures | None:
    """What `measure_batch` found; None where it was not measured, or what was kept was cut by a power failure."""
    try:
        return BatchFigures(**store.read_json(_path(batch, embeddings)))
    except (FileNotFoundError, TypeError, StoreError):
        return None


def judge_class_mix(figures: BatchFigures, earlier: Sequence[BatchFigures], most: float) -> Verdict:
    """Whether the batch's classes come in the usual shares.

    Args:
        most: Jensen-Shannon divergence (0: the same shares, 1: no class in common) that is no drift yet.
    """
    pooled: Counter[str] = Counter()
    for other in earlier:
        pooled.update(other.classes)
    if len(earlier) < _FEWEST_BATCHES or min(figures.products, sum(pooled.values())) < _FEWEST_PRODUCTS:
        return Verdict(CLASS_MIX, True, _too_little(figures.products, len(earlier)))
    drift = divergence(figures.classes, pooled)
    chance = chance_divergence(figures.classes, pooled)
    shifts = _shifts(figures.classes, pooled)
    facts = {"divergence": round(drift, 4), "by_chance": round(chance, 4), "most": most, "shifts": shifts}
    if drift - 2 * chance <= most:
        return Verdict(
            CLASS_MIX, True, f"Classes as in the {len(earlier)} batches before (divergence {drift:.2f})", facts
        )
    told = "; ".join(f"{label} {now:.0%} instead of {before:.0%}" for label, (before, now) in list(shifts.items())[:3])
    return Verdict(
        CLASS_MIX,
        False,
        f"The classes differ from the {len(earlier)} batches before (divergence {drift:.2f}, usual up to {most}): "
        f"{told}. A new range of products looks like this, and so does a wrong picture column",
        facts,
    )


def judge_neighbour_distance(figures: BatchFigures, earlier: Sequence[BatchFigures], most: float) -> Verdict:
    """Whether the batch's pictures are as far from earlier ones as it is usual.

    Args:
        most: difference of the median cosine distance that is no drift yet.
    """
    # Against a much smaller sample everything is farther, so only like is compared with like.
    comparable = [
        other.distance for other in earlier if other.distance is not None and other.reference * 2 >= figures.reference
    ]
    if figures.distance is None or figures.products < _FEWEST_PRODUCTS or len(comparable) < _FEWEST_BATCHES:
        return Verdict(NEAREST, True, _too_little(figures.products, len(comparable)))
    usual = float(np.median(comparable))
    spread = 1.4826 * float(np.median(np.abs(np.array(comparable) - usual)))
    shift = figures.distance - usual
    facts = {"distance": round(figures.distance, 4), "usual": round(usual, 4), "spread": round(spread, 4), "most": most}
    if abs(shift) <= max(most, 3 * spread):
        return Verdict(NEAREST, True, f"Median distance {figures.distance:.3f}, usual {usual:.3f}", facts)
    hint = (
        "its pictures are like nothing before: a new range, or placeholders and wrong files"
        if shift > 0
        else "nearly all its pictures are there already: copies under other ids, or one placeholder for many"
    )
    return Verdict(
        NEAREST,
        False,
        f"The median distance to the nearest earlier picture is {figures.distance:.3f}, usually {usual:.3f}; {hint}",
        facts,
    )


def _too_little(products: int, earlier: int) -> str:
    return f"Too little to compare: {counted(products, 'product', 'products')}, {counted(earlier, 'batch', 'batches')}"


def divergence(left: Mapping[str, int], right: Mapping[str, int]) -> float:
    """Jensen-Shannon divergence of two counts' shares, base 2: 0 to 1. Both must count something."""
    names = sorted({*left, *right})
    p, q = _shares(left, names), _shares(right, names)
    middle = (p + q) / 2
    return max(0.0, (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2)


def chance_divergence(left: Mapping[str, int], right: Mapping[str, int]) -> float:
    """What the divergence of two samples of these sizes from one distribution is on average."""
    classes = len({*left, *right})
    return (classes - 1) / (8 * math.log(2)) * (1 / sum(left.values()) + 1 / sum(right.values()))


def _shares(counts: Mapping[str, int], names: Sequence[str]) -> np.ndarray:
    values = np.array([counts.get(name, 0) for name in names], np.float64)
    return values / values.sum()


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    there = p > 0
    return float((p[there] * np.log2(p[there] / q[there])).sum())


def _shifts(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Label → share before and now, the largest changes first, at most ten."""
    total_now, total_before = sum(now.values()), sum(before.values())
    shares = {
        name: (round(before.get(name, 0) / total_before, 4), round(now.get(name, 0) / total_now, 4))
        for name in {*now, *before}
    }
    return dict(sorted(shares.items(), key=lambda entry: (-abs(entry[1][1] - entry[1][0]), entry[0]))[:10])


def _classes(store: Store, batch: Batch, embeddings: str) -> tuple[int, Counter[str]]:
    """How many products, and label → crops, with the products that have none."""
    path = embeddings_path(batch, embeddings)
    try:
        with store.open(path) as handle:
            table = pq.read_table(handle, columns=["product_id", "kind", "label"])
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(f"{path} cannot be read; materialize the batch again ({error})") from error
    ids, kinds, labels = (table[name].to_pylist() for name in ("product_id", "kind", "label"))
    cropped = {product for product, kind in zip(ids, kinds, strict=True) if kind == "crop"}
    counts = Counter(str(label) for label, kind in zip(labels, kinds, strict=True) if kind == "crop")
    bare = len(set(ids) - cropped)
    if bare:
        counts[NOTHING] = bare
    return len(set(ids)), counts


def _sample(store: Store, batch: Batch, embeddings: str, most: int) -> np.ndarray:
    """Vectors of whole pictures from the head of the batch: float32 [n, dims]; none when it is not embedded."""
    try:
        with store.open(embeddings_path(batch, embeddings)) as handle:
            parquet = pq.ParquetFile(handle)
            rows = next(parquet.iter_batches(batch_size=4 * most, columns=["kind", "vector"]), None)
    except (FileNotFoundError, pa.ArrowInvalid):
        return np.zeros((0, 1), np.float32)
    if rows is None:
        return np.zeros((0, 1), np.float32)
    column: Any = rows.column("vector")
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    whole = np.array([kind == "whole" for kind in rows.column("kind").to_pylist()], bool)
    return np.ascontiguousarray(vectors[whole][:most])


def _path(batch: Batch, embeddings: str) -> str:
    return f"reports/figures/{embeddings}/{batch.key}.json"
