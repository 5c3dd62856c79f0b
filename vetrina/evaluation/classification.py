"""How good a classifier is: its confusion matrix, and precision, recall and F1 with bootstrap intervals.

A class's precision is the share of the products given to it that belong to it, its recall the share of its products
that are given to it, F1 their harmonic mean: 2·hits / (given + own); 0 where the class has products and no hit. The
macro mean weighs every class the same, the weighted mean every product. Intervals are percentile intervals as in
`intervals`: products drawn again with replacement, which draws the cells of the confusion matrix from a multinomial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vetrina.evaluation.intervals import LEVEL, Estimate

_CELLS_AT_ONCE = 1 << 22
RATES = ("precision", "recall", "f1")


@dataclass(frozen=True, slots=True)
class ClassQuality:
    """One class: how many products it has and was given, and its rates (precision, recall, f1)."""

    name: str
    products: int
    given: int
    rates: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Classification:
    """A classifier's answers on n products it has not seen.

    Attributes:
        confusion: int64 [c, c]; row: the true class, column: the given one.
        macro, weighted: means of the classes' rates, by their names.
        classes: those with products, in the order of the names.
    """

    names: tuple[str, ...]
    confusion: np.ndarray
    accuracy: Estimate
    macro: dict[str, Estimate]
    weighted: dict[str, Estimate]
    classes: list[ClassQuality]

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "products": int(self.confusion.sum()),
            "accuracy": self.accuracy.as_json(),
            "macro": _plain(self.macro),
            "weighted": _plain(self.weighted),
            "classes": [
                {"class": one.name, "products": one.products, "given": one.given, **_plain(one.rates)}
                for one in self.classes
            ],
            "confusion": {"classes": list(self.names), "counts": self.confusion.tolist()},
        }


def classification(
    names: Sequence[str], truth: np.ndarray, predicted: np.ndarray, *, resamples: int = 1000, seed: int = 17
) -> Classification:
    """Measure a classifier's answers.

    Args:
        names: of the c classes.
        truth, predicted: int [n], indices into `names`, n ≥ 1.

    Raises:
        ValueError: there is nothing to measure.
    """
    if not len(truth):
        raise ValueError("Nothing was classified, so there is nothing to measure")
    size = len(names)
    confusion = np.bincount(truth * size + predicted, minlength=size * size).reshape(size, size)
    measured = _rates(confusion[None].astype(np.float64))
    drawn = _drawn(confusion, resamples, seed)
    rates = {name: _estimates(measured[name][0], drawn[name]) for name in RATES}
    return Classification(
        names=tuple(names),
        confusion=confusion,
        accuracy=_estimates(measured["accuracy"], drawn["accuracy"][:, None])[0],
        macro={name: _estimates(measured[f"macro {name}"], drawn[f"macro {name}"][:, None])[0] for name in RATES},
        weighted={
            name: _estimates(measured[f"weighted {name}"], drawn[f"weighted {name}"][:, None])[0] for name in RATES
        },
        classes=[
            ClassQuality(name, int(own), int(given), {rate: rates[rate][place] for rate in RATES})
            for place, (name, own, given) in enumerate(zip(names, confusion.sum(1), confusion.sum(0), strict=True))
            if own
        ],
    )


def _drawn(confusion: np.ndarray, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """The rates of confusion matrices of as many products, drawn with replacement."""
    rng = np.random.default_rng(seed)
    shares = confusion.ravel() / confusion.sum()
    at_once = max(1, _CELLS_AT_ONCE // confusion.size)
    parts = []
    for start in range(0, resamples, at_once):
        rows = min(at_once, resamples - start)
        cells = rng.multinomial(int(confusion.sum()), shares, rows).reshape(rows, *confusion.shape)
        parts.append(_rates(cells.astype(np.float64)))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _rates(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Of r confusion matrices, float64 [r, c, c]: rates [r, c] (NaN where a class has no products) and means [r]."""
    hits = np.einsum("rcc->rc", confusion)
    own, given = confusion.sum(2), confusion.sum(1)
    present = own > 0
    rates = {
        "precision": hits / np.maximum(given, 1),
        "recall": hits / np.maximum(own, 1),
        "f1": 2 * hits / np.maximum(own + given, 1),
    }
    found = {"accuracy": hits.sum(1) / own.sum(1)}
    for name, values in rates.items():
        found[name] = np.where(present, values, np.nan)
        found[f"macro {name}"] = (values * present).sum(1) / present.sum(1)
        found[f"weighted {name}"] = (values * own).sum(1) / own.sum(1)
    return found


def _estimates(values: np.ndarray, drawn: np.ndarray) -> list[Estimate]:
    """Each value with the middle share of its column's draws, those left out that do not define it."""
    tail = (1 - LEVEL) / 2
    estimates = []
    for value, column in zip(values, drawn.T, strict=True):
        known = column[~np.isnan(column)]
        low, high = np.quantile(known, [tail, 1 - tail]) if len(known) else (np.nan, np.nan)
        estimates.append(Estimate(float(value), float(low), float(high)))
    return estimates


def _plain(estimates: dict[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.as_json() for name, estimate in estimates.items()}
